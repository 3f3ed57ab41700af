"""What an answer gave, as plain numbers, text and lists: nothing of a reader's own making is compared.

All run inside the fence (`attempt`): a reader's class may loop in ``__index__``. They raise `NoAnswerError`.
"""

import math
import operator
import re
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice
from numbers import Real
from types import GeneratorType
from typing import Any

import numpy as np

from paged_demo.course.exercises.fence import NoAnswerError
from paged_demo.course.exercises.verdict import describe

MOST_ENTRIES = 1_000
"""Longer lists are not read: the longest of a right answer has some dozens."""

_ITERATED = (GeneratorType, map, zip, range, deque)
_BETWEEN_GROUPS = "[,_' \u00a0\u2009\u202f]"
"""Marks and spaces, those too that a page or a locale sets between thousands."""

_GROUPED = re.compile(rf"[+-]?\d{{1,3}}({_BETWEEN_GROUPS}\d{{3}})+(\.\d*)?", re.ASCII)
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)


def unexpected(expected: str, value: Any) -> NoAnswerError:
    """Make the error that says what was expected, such as "a name was", and what a call gave back."""
    return NoAnswerError(f"{expected} expected, and it returned {describe(value)}")


def is_a(value: Any, *kinds: type) -> bool:
    """Say whether a value is of one of these types; unlike `isinstance`, not by what it claims."""
    return issubclass(type(value), kinds)


def _item(value: Any) -> Any:
    """Return what an array of no axes holds, and anything else as it is."""
    array = np.asarray(value) if is_a(value, np.ndarray) else None
    return value if array is None or array.ndim or array.dtype.kind not in "OU" else array.item()


def read_number(value: Any) -> float:
    """Read a number of any type, Python's or numpy's or an array of no axes; a bool is none.

    A whole number of an integer type stays an int, everything else becomes a float.
    """
    number = _plain_number(value)
    if number is None:
        raise unexpected("a number was", value)
    return number


def read_whole_number(value: Any, *, expected: str = "a whole number was") -> int:
    """Read a whole number, whatever its type: 7.0 is one."""
    number = _plain_number(value)
    if number is None or (is_a(number, float) and not number.is_integer()):
        raise unexpected(expected, value)
    return int(number)


def _plain_number(value: Any) -> float | None:
    value = _item(value)
    if is_a(value, int):
        return None if is_a(value, bool) else int.__index__(value)
    if is_a(value, float):
        return float.__float__(value)
    if is_a(value, np.ndarray, np.generic):
        array = np.asarray(value)
        read = {"i": int, "u": int, "f": float}.get(array.dtype.kind)
        return read(array) if read and array.ndim == 0 else None
    try:
        if hasattr(type(value), "__index__"):
            return operator.index(value)
        return float(value) if is_a(value, Decimal, Real) else None
    except (TypeError, ValueError, OverflowError):
        return None


def read_written_number(answer: Any) -> float:
    """Read a number that may also be written as text, such as ``"15,728"``, or NaN if it is none."""
    answer = _item(answer)
    number = read_text(answer) if is_a(answer, str) else answer
    if is_a(number, str):
        written = number.strip()
        if _GROUPED.fullmatch(written):
            written = re.sub(_BETWEEN_GROUPS, "", written)
        number = float(written) if len(written) < 100 and _PLAIN.fullmatch(written) else None
    found = _plain_number(number)
    try:
        return math.nan if found is None else float(found)
    except OverflowError:
        return math.nan


def read_text(value: Any, *, expected: str = "a name was") -> str:
    """Read a string, also one of a subclass such as ``np.str_``."""
    text = _item(value)
    if not is_a(text, str):
        raise unexpected(expected, value)
    return str.__str__(text)


def read_letters(answer: Any) -> set[str]:
    """Read letters and digits from a string, or from a list, tuple, set or array of strings; else none."""
    answer = _item(answer)
    try:
        if is_a(answer, str, set, frozenset):
            answer = [answer] if is_a(answer, str) else list(answer)
        texts = read_items(answer, expected="letters were")
        together = "".join(read_text(text) for text in texts)
    except NoAnswerError:
        return set()
    return {letter for letter in together.lower() if letter.isalnum()}


def read_items(values: Any, *, expected: str) -> list[Any]:
    """Read what a list, tuple, array, range, generator, ``map`` or ``zip`` holds, if it is not long."""
    items: Any
    if is_a(values, list):
        items = list.__iter__(values)
    elif is_a(values, tuple):
        items = tuple.__iter__(values)
    elif is_a(values, np.ndarray) and np.ndim(array := np.asarray(values)):
        items = iter(array)
    elif type(values) in _ITERATED:
        items = iter(values)
    else:
        raise unexpected(expected, values)
    read = list(islice(items, MOST_ENTRIES + 1))
    if len(read) > MOST_ENTRIES:
        raise NoAnswerError(
            f"{expected} expected, and what it returned has more than {MOST_ENTRIES:,} entries"
        )
    return read


def read_whole_numbers(values: Iterable[Any], *, expected: str = "whole numbers were") -> list[int]:
    """Read a list of whole numbers: one that an answer returned, or one that it was to change."""
    items = read_items(values, expected=expected)
    # Nearly always, and quick.
    return items if set(map(type, items)) <= {int} else [read_whole_number(value) for value in items]


def handed_numbers(name: str, values: Iterable[Any]) -> list[int]:
    """Read whole numbers that an answer hands to something it was given; errors are those of a call."""
    numbers = list(map(operator.index, islice(values, MOST_ENTRIES + 1)))
    if len(numbers) > MOST_ENTRIES:
        raise ValueError(f"{name} must have at most {MOST_ENTRIES:,} entries")
    return numbers


def read_table(values: Any, *, expected: str) -> list[list[float]]:
    """Read rows of numbers. Those that are whole are written without a point."""
    return [
        [shown(read_number(number)) for number in read_items(row, expected=expected)]
        for row in read_items(values, expected=expected)
    ]


def plain(value: Any) -> Any:
    """Read whatever holds numbers, text and None in lists, tuples and arrays, as just that."""
    if value is None or type(value) in (int, float, str):  # nearly always, and quick
        return value
    if is_a(value, str):
        return read_text(value)
    if is_a(value, list, tuple, np.ndarray):
        items = [plain(item) for item in read_items(value, expected="a list was")]
        return tuple(items) if is_a(value, tuple) else items
    return read_number(value)


def shown(number: float) -> float:
    """Return a number as a reader would type it: an int if it is whole.

    Examples
    --------
    >>> shown(5.0), shown(0.5)
    (5, 0.5)
    """
    number = float(number)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def same(expected: Any, came: Any) -> bool:
    """Compare two plain values whole: of one type, NaN equal to NaN, floats to five digits.

    An int and a float are equal if their values are.

    Examples
    --------
    >>> same([1, 2.0], [1.0, 2]), same([1], (1,)), same(0.5, 0.5000001), same(1, True)
    (True, False, True, False)
    """
    numbers = (int, float)
    if type(expected) in numbers and type(came) in numbers:
        if type(expected) is type(came) is float:
            both_nan = math.isnan(expected) and math.isnan(came)
            return both_nan or math.isclose(expected, came, rel_tol=1e-5, abs_tol=1e-12)
        return bool(expected == came)
    if type(expected) is not type(came):
        return False
    if isinstance(expected, list | tuple):
        return len(expected) == len(came) and all(map(same, expected, came))
    if isinstance(expected, dict):
        return list(expected) == list(came) and all(map(same, expected.values(), came.values()))
    return bool(expected == came)
