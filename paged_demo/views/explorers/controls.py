"""What the controls of all explorers share."""

LOOKS = {"layout": {"width": "min(100%, 32em)"}, "style": {"description_width": "9em"}}
"""Keyword arguments of a control: as wide as a phone allows, with room for its name."""
