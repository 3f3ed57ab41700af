"""Errors for bad arguments: each names the argument and what came."""

import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Element = TypeVar("Element")

MAX_COUNT = 2**25
"""The most of whatever is kept one by one: pages, slots, requests, tokens of a sequence. A page of an empty
pool takes 136 bytes of the computer's memory, measured with Python 3.11 and tracemalloc."""

MAX_WHOLE = 2**63 - 1
"""The largest number that names, limits or measures something, such as a token id, a budget or bytes."""

MOST_SHOWN = 200


def _of_numpy(*names: str) -> tuple[type, ...]:
    """Return these types of NumPy; none if nobody has loaded it, for then no value is of its types."""
    numpy = sys.modules.get("numpy")
    return tuple(getattr(numpy, name) for name in names) if numpy else ()


def _is_no_scalar(value: object) -> bool:
    """Say whether this converts to a number and is none.

    So do booleans, complex numbers, durations, and arrays of one, which can change.
    """
    if type(value) in (int, float):
        return False
    return isinstance(value, (bool, *_of_numpy("bool_", "complexfloating", "timedelta64", "ndarray")))


def came(value: object) -> str:
    """Return what came as Python writes it, cut where it is long. It never raises.

    Examples
    --------
    >>> came("16"), came(10**5000)
    ("'16'", 'one of 16610 bits')
    """
    if isinstance(value, int) and abs(value) >= 10**100:
        return f"one of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # such as that of a fraction of more than 4,300 digits
        return f"something of type {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def check_count(name: str, value: Any, *, minimum: int = 1, maximum: int = MAX_COUNT) -> int:
    """Return ``value`` as an int, or say why it is not a count of things that are kept one by one.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : int or integer scalar
        What the caller passed. Booleans, floats and arrays are refused, even whole ones.
    minimum, maximum : int
        The smallest and the largest value allowed.

    Raises
    ------
    TypeError
        If ``value`` is not a whole number.
    ValueError
        If ``value`` is below ``minimum`` or above ``maximum``.

    Examples
    --------
    >>> check_count("page_size", 16)
    16
    >>> check_count("page_size", 16.0)
    Traceback (most recent call last):
    TypeError: page_size must be a whole number, got 16.0
    >>> check_count("page_size", 0)
    Traceback (most recent call last):
    ValueError: page_size must be at least 1, got 0
    """
    if type(value) is int and minimum <= value <= maximum:
        return value  # the usual case, which is met many times in a run
    try:
        if _is_no_scalar(value):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {came(value)}") from None
    if not minimum <= count <= maximum:
        bound = f"at least {minimum}" if count < minimum else f"at most {maximum}"
        raise ValueError(f"{name} must be {bound}, got {came(value)}")
    return count


def check_whole(name: str, value: Any, *, minimum: int = 1) -> int:
    """Return ``value`` as an int of 64 bits, or raise as `check_count` does; it may be larger than a count.

    Examples
    --------
    >>> check_whole("memory_bytes", 80 * 10**9)
    80000000000
    """
    return check_count(name, value, minimum=minimum, maximum=MAX_WHOLE)


def check_counts(*, minimum: int = 1, **counts: Any) -> list[int]:
    """Check several counts, each under its own name, and return them in the order given.

    Errors are those of `check_count`.

    Examples
    --------
    >>> check_counts(num_pages=984, page_size=16)
    [984, 16]
    >>> check_counts(num_pages=984, page_size=0)
    Traceback (most recent call last):
    ValueError: page_size must be at least 1, got 0
    """
    return [check_count(name, value, minimum=minimum) for name, value in counts.items()]


def check_bool(name: str, value: Any) -> bool:
    """Return ``value`` as a bool, or raise a TypeError unless it is one, be it NumPy's.

    Examples
    --------
    >>> check_bool("prefix_caching", "no")
    Traceback (most recent call last):
    TypeError: prefix_caching must be True or False, got 'no'
    """
    if type(value) is bool:
        return value
    if not isinstance(value, _of_numpy("bool_")):
        raise TypeError(f"{name} must be True or False, got {came(value)}")
    return bool(value)


def check_number(name: str, value: Any) -> float:
    """Return ``value`` as a float, or raise an error if it is no number or one beyond all floats.

    Examples
    --------
    >>> check_number("arrival_s", 2)
    2.0
    >>> check_number("arrival_s", "2")
    Traceback (most recent call last):
    TypeError: arrival_s must be a number, got '2'
    """
    try:
        if _is_no_scalar(value):
            raise TypeError
        return float(value.__float__())
    except (AttributeError, TypeError, ValueError):  # a Decimal may be a NaN that signals
        raise TypeError(f"{name} must be a number, got {came(value)}") from None
    except OverflowError:
        raise ValueError(f"{name} must fit into a float, got a number beyond all of them") from None


def check_positive(name: str, value: Any) -> float:
    """Return ``value`` as a float, or say why it is not a finite number above zero.

    Raises
    ------
    TypeError
        If ``value`` is not a number.
    ValueError
        If ``value`` is zero, negative, infinite or not a number (NaN).

    Examples
    --------
    >>> check_positive("rate_rps", 2)
    2.0
    >>> check_positive("rate_rps", float("nan"))
    Traceback (most recent call last):
    ValueError: rate_rps must be a finite number above 0, got nan
    """
    number = check_number(name, value)
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"{name} must be a finite number above 0, got {came(value)}")
    return number


def check_share(name: str, value: Any) -> float:
    """Return ``value`` as a float, or say why it is not a share that leaves something.

    Raises
    ------
    TypeError
        If ``value`` is not a number.
    ValueError
        If it is not from 0 up to, but not including, 1.

    Examples
    --------
    >>> check_share("watermark_share", 0.01)
    0.01
    """
    share = check_number(name, value)
    if isinstance(value, _of_numpy("float16", "float32")):
        share = float(str(value))  # which was meant: in fewer bits it may be a little less
    if not 0 <= share < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {came(value)}")
    return share


def keep_checked(record: object, check: Callable[[str, Any], object], *names: str) -> None:
    """Check fields of a frozen record, and keep what the check returns in place of what came."""
    for name in names:
        object.__setattr__(record, name, check(name, getattr(record, name)))


def check_functions(**functions: object) -> None:
    """Raise a TypeError that names the argument which should be a function and is none."""
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"{name} must be a function or a record that can be called, got {came(function)}")


def check_iterable(name: str, values: Iterable[Element], elements: str) -> list[Element]:
    """Return the values as a list, or raise a TypeError that says of which elements they should be.

    Examples
    --------
    >>> check_iterable("seeds", range(2), "whole numbers")
    [0, 1]
    >>> check_iterable("seeds", 5, "whole numbers")
    Traceback (most recent call last):
    TypeError: seeds must be an iterable of whole numbers, got 5
    """
    try:
        iterator = iter(values)
    except TypeError:
        raise TypeError(f"{name} must be an iterable of {elements}, got {came(values)}") from None
    return list(iterator)


def follow(progress: Callable[[Any], Iterable[object]], values: Sequence[Element]) -> Iterator[Element]:
    """Go through values while ``progress`` shows how far. What it yields is not used: it may be anything.

    Examples
    --------
    >>> list(follow(lambda values: "a", range(2)))
    [0, 1]
    """
    shown = progress(values)
    if not isinstance(shown, Iterable):
        raise TypeError(f"what progress returns must be iterable, got {came(shown)}")
    steps = iter(shown)
    for value in values:
        next(steps, None)
        yield value
    next(steps, None)  # A bar closes when it is asked for one more.


def check_widgets(ipywidgets: Any) -> None:
    """Raise an ImportError that says what to install if this ipywidgets cannot show an explorer."""
    if ipywidgets.__version__.startswith("7.") or not hasattr(ipywidgets.Widget, "_repr_mimebundle_"):
        raise ImportError(
            f"the sliders need ipywidgets 8, got {ipywidgets.__version__}: "
            "pip install 'ipywidgets>=8.1,<9', then restart the kernel"
        )
