"""What stands at the door of the store and the kernels: checks of arrays that name what came."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

FLOAT_TYPES = ("float16", "float32", "float64")


def check_float_type(name: str, dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return a floating-point type as a dtype, or say why it is none of the three we compute with.

    Examples
    --------
    >>> check_float_type("dtype", np.float32)
    dtype('float32')
    >>> check_float_type("dtype", int)
    Traceback (most recent call last):
    TypeError: dtype must be float16, float32 or float64, got int64
    """
    found = np.dtype(dtype)
    if found.name not in FLOAT_TYPES:
        raise TypeError(f"{name} must be float16, float32 or float64, got {found}")
    return found


def check_floats(name: str, array: Any, axes: str) -> tuple[int, ...]:
    """Return the shape of an array of floating-point numbers, or say what is wrong with it.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    array : numpy.ndarray
        What the caller passed. No axis may be empty.
    axes : str
        The names of the axes it must have, separated by spaces.

    Raises
    ------
    TypeError
        If it is no array, or of another type than float16, float32 and float64.
    ValueError
        If it has other axes, or an empty one.

    Examples
    --------
    >>> check_floats("query", np.zeros((4, 64)), "num_query_heads head_dim")
    (4, 64)
    >>> check_floats("query", np.zeros(64), "num_query_heads head_dim")
    Traceback (most recent call last):
    ValueError: query must have the shape (num_query_heads, head_dim), got (64,)
    """
    check_float_array(name, array)
    names = axes.split()
    if array.ndim != len(names):
        raise ValueError(f"{name} must have the shape ({', '.join(names)}), got {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"{name} must have no empty axis, got the shape {array.shape}")
    return tuple(array.shape)


def check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Say what is wrong if an array is not one of floating-point numbers in this very shape."""
    check_float_array(name, array)
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape}")


def check_float_array(name: str, array: Any) -> None:
    """Say what is wrong if this is no plain array of floating-point numbers."""
    # These two are arrays that compute otherwise: one leaves numbers out, the other knows two axes only.
    if not isinstance(array, np.ndarray) or isinstance(array, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(f"{name} must be a numpy array, got {type(array).__name__}")
    check_float_type(name, array.dtype)


def check_ints(name: str, numbers: Any, num_axes: int) -> Ints:
    """Return whole numbers as an array, or say why they are not such an array.

    Raises
    ------
    TypeError
        If they are not whole numbers. Booleans and floats are refused, even whole ones.
    ValueError
        If they have other axes, or rows of unequal length.

    Examples
    --------
    >>> check_ints("slots", [3, 1, 2], 1)
    array([3, 1, 2])
    >>> check_ints("slots", [0.5], 1)
    Traceback (most recent call last):
    TypeError: slots must hold whole numbers, got float64
    """
    if isinstance(numbers, np.ma.MaskedArray):
        raise TypeError(f"{name} must have no masked numbers, got a {type(numbers).__name__}")
    try:
        array = np.asarray(numbers)
    except ValueError:
        raise ValueError(f"{name} must have rows of equal length, got {numbers!r}") from None
    if array.size == 0:
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold whole numbers, got {array.dtype}")
    if array.ndim != num_axes:
        axes = "1 axis" if num_axes == 1 else f"{num_axes} axes"
        raise ValueError(f"{name} must have {axes}, got the shape {array.shape}")
    if not isinstance(numbers, np.ndarray) and _has_booleans(numbers):
        raise TypeError(f"{name} must hold whole numbers, got True or False among them")
    return array


def _has_booleans(numbers: Any) -> bool:
    """Say whether a boolean is among numbers; NumPy takes it for 0 or 1 if there are others."""
    rows = (row if isinstance(row, (list, tuple)) else (row,) for row in numbers)
    return any(isinstance(number, (bool, np.bool_)) for row in rows for number in row)


def check_heads(name: str, num_query_heads: int, num_kv_heads: int) -> None:
    """Say what is wrong if the query heads cannot be divided among the heads of the keys and values."""
    if num_query_heads % num_kv_heads:
        raise ValueError(
            f"{name} must have a multiple of the {num_kv_heads} heads of the keys, got {num_query_heads}"
        )


def check_pages(name: str, query_shape: tuple[int, ...], key_pages: Any, value_pages: Any) -> None:
    """Say what is wrong if a pool does not fit itself, or the queries called ``name``."""
    num_query_heads, head_dim = query_shape[-2:]
    axes = "num_pages num_kv_heads head_dim page_size"
    num_pages, num_kv_heads, _, page_size = check_floats("key_pages", key_pages, axes)
    check_shape("key_pages", key_pages, (num_pages, num_kv_heads, head_dim, page_size))
    check_shape("value_pages", value_pages, (num_pages, num_kv_heads, page_size, head_dim))
    check_heads(name, num_query_heads, num_kv_heads)


def first_read(num_tokens: int, num_queries: int, window: int | None) -> int:
    """Return the position of the first token that one of the last queries of a context reads.

    Examples
    --------
    >>> first_read(10, 1, window=4), first_read(10, 3, window=4), first_read(10, 3, window=None)
    (6, 4, 0)
    """
    return 0 if window is None else max(0, num_tokens - num_queries + 1 - window)


def needed_pages(
    value_pages: Floats,
    table: Ints,
    length: int,
    name: str = "page_table",
    length_name: str = "num_tokens",
    *,
    first: int = 0,
) -> Ints:
    """Return the pages of a context of this length, or say what cannot be right.

    The context must have a token, and a page table that is long enough. A page that comes twice cannot be
    right: the keys of a token depend on where it stands. Pages that lie before the token at ``first`` are not
    looked at.
    """
    num_pages, _, page_size, _ = value_pages.shape
    if not 1 <= length <= len(table) * page_size:
        raise ValueError(
            f"{length_name} must be from 1 to {len(table) * page_size}"
            f" ({len(table)} pages of {page_size}), got {length}"
        )
    needed = table[: -(-length // page_size)]
    in_order = np.sort(needed[first // page_size :])
    if not 0 <= in_order[0] <= in_order[-1] < num_pages:
        raise ValueError(
            f"{name} must name pages from 0 to {num_pages - 1}, got {in_order[0]} to {in_order[-1]}"
        )
    is_repeated = in_order[1:] == in_order[:-1]
    if is_repeated.any():
        raise ValueError(f"{name} must name each page once, got {in_order[1:][is_repeated][0]} again")
    return needed
