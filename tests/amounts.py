"""How much of everything the tests try: ``--long`` all of it, else as much as shows a law in little time."""

from typing import TypeVar

T = TypeVar("T")

IS_LONG = False
"""Set when pytest has read its options, which is before it imports any test."""


def amount(*, short: T, long: T) -> T:
    """Return the one of two that this run of the tests asks for."""
    return long if IS_LONG else short
