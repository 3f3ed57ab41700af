"""The controls of all explorers."""

from collections.abc import Iterable
from typing import Any

import ipywidgets as widgets

LOOKS = {"layout": {"width": "min(100%, 32em)"}, "style": {"description_width": "9em"}}
"""Keyword arguments of a control: as wide as a phone allows, with room for its name."""


def number(description: str, value: int, *, lowest: int, highest: int) -> Any:
    """Make a slider over whole numbers."""
    return widgets.IntSlider(value, lowest, highest, description=description, **LOOKS)


def choice(description: str, options: Iterable[Any], value: Any = None) -> Any:
    """Make a slider over a few options; it begins at the first, unless another is given.

    A closed dropdown would lose its arrow keys to JupyterLab.

    Raises
    ------
    ValueError
        If the value is none of the options.
    """
    choices = list(options)
    if value is not None and value not in choices:
        raise ValueError(f"{description} must be one of {choices}, got {value!r}")
    first = choices[0] if value is None else value
    return widgets.SelectionSlider(options=choices, value=first, description=description, **LOOKS)
