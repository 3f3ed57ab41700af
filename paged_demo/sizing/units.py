"""Bytes with their units: as they are written, and as they are printed."""

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from paged_demo.checks import MAX_WHOLE, came, check_whole

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

UNITS: Mapping[str, int] = MappingProxyType({"KiB": KIB, "MiB": MIB, "GiB": GIB, "MB": 10**6, "GB": 10**9})
"""Bytes of each unit. What is divided into slots is told in binary ones, what others print in theirs."""

_LONG = MappingProxyType({"B": 1, **UNITS, "TiB": 1024 * GIB, "TB": 10**12})


def bytes_of(name: str, written: object) -> int:
    """Return the bytes that are written as a whole number, or as a number with its unit.

    Parameters
    ----------
    name : str
        What the amount is, for the message.
    written : int or str
        Bytes, or a text such as ``"24GB"``, ``"3.81 GiB"`` or ``"4563402752 B"``. GB is 10**9 bytes, GiB is
        2**30. What lies between two bytes is cut.

    Raises
    ------
    TypeError
        If it is neither a whole number nor a text.
    ValueError
        If the text is no number with a unit, or the amount is negative.

    Examples
    --------
    >>> bytes_of("gpu", "24GB"), bytes_of("available", "3.81 GiB"), bytes_of("available", 100)
    (24000000000, 4090956349, 100)
    >>> bytes_of("gpu", "24")
    Traceback (most recent call last):
    ValueError: gpu must be a number with a unit, such as 24GB or 23.58GiB, got '24'
    """
    if not isinstance(written, str):
        return check_whole(name, written, minimum=0)
    # Python reads no number of more than 4,300 digits.
    amount = r"(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?:\.\d{1,30})?"
    match = re.fullmatch(rf"\s*({amount})\s*([KMGT]i?B|B)\s*", written, re.ASCII)
    if match is None or match[2] not in _LONG:
        raise ValueError(
            f"{name} must be a number with a unit, such as 24GB or 23.58GiB, got {came(written)}"
        )
    num_bytes = int(Fraction(match[1].replace(",", "")) * _LONG[match[2]])
    if num_bytes > MAX_WHOLE:
        raise ValueError(f"{name} must be at most {MAX_WHOLE} bytes, got {came(written)}")
    return num_bytes


def in_gib(num_bytes: int) -> str:
    """Return GiB as vLLM prints them: two digits after the point, without zeros at the end but one.

    Examples
    --------
    >>> in_gib(16 * GIB), in_gib(4_088_859_197)
    ('16.0', '3.81')
    """
    return str(round(num_bytes / GIB, 2))


def printed_as(printed: str) -> range:
    """Return the bytes that are printed as these GiB.

    Parameters
    ----------
    printed : str
        GiB with two digits or fewer after the point, such as ``"3.81 GiB"`` or ``"3.81"``.

    Raises
    ------
    ValueError
        If it is no such text.

    Examples
    --------
    >>> pools = printed_as("3.81 GiB")
    >>> in_gib(pools[0] - 1), in_gib(pools[0]), in_gib(pools[-1]), in_gib(pools[-1] + 1)
    ('3.8', '3.81', '3.81', '3.82')
    """
    match = (
        re.fullmatch(r"\s*(-?\d{1,9}(?:\.\d{1,2})?)\s*(?:GiB)?\s*", printed, re.ASCII)
        if isinstance(printed, str)
        else None
    )
    if match is None:
        raise ValueError(f"printed must be GiB with at most two digits after the point, got {came(printed)}")
    value = Fraction(match[1])
    half = Fraction(1, 200)
    first, last = int((value - half) * GIB) - 1, int((value + half) * GIB) + 1
    # Which of the two neighbours a tie goes to depends on how floats lie there.
    while round(first / GIB, 2) != float(value):
        first += 1
    while round(last / GIB, 2) != float(value):
        last -= 1
    return range(first if value < 0 else max(first, 0), last + 1)
