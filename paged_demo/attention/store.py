"""Where the numbers are: the keys and values of one layer, in pages."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paged_demo.attention.shapes import Floats, Ints, check_float_type, check_ints, check_shape
from paged_demo.checks import check_count, check_counts


class KVStore:
    """Hold the keys and values of a pool of pages. It knows slots, and no sequences.

    An allocator says which slot a token goes to, and which page to copy; the store does it. A slot holds NaN
    until it is first written, and NaN spoils every sum: attention that reads one slot too many shows it.

    Parameters
    ----------
    num_pages, page_size : int
        Pages in the pool, and slots in a page.
    num_kv_heads, head_dim : int
        Heads of the keys and values, and numbers in a head.
    dtype : dtype
        How numbers are kept: float16, float32 or float64.

    Attributes
    ----------
    keys : numpy.ndarray, shape (num_pages, num_kv_heads, head_dim, page_size)
    values : numpy.ndarray, shape (num_pages, num_kv_heads, page_size, head_dim)
        A page of one head is a matrix that a matrix product reads row by row: ``queries @ keys`` adds up
        over ``head_dim``, ``weights @ values`` over ``page_size``. Keys laid out as the values are, or the
        heads of a slot side by side, made `paged_attention` 7 to 9 % slower where it was measured.

    Examples
    --------
    Two tokens with one head of two numbers, in the last slot of page 0 and the first of page 1:

    >>> store = KVStore(num_pages=2, page_size=4, num_kv_heads=1, head_dim=2)
    >>> token_keys = np.array([[[1, 2]], [[3, 4]]], dtype=np.float32)
    >>> store.write([3, 4], token_keys, -token_keys)
    >>> keys, values = store.gather([4, 3])
    >>> keys.tolist()
    [[[3.0, 4.0]], [[1.0, 2.0]]]
    >>> bool(np.isnan(store.values[0, 0, 0, 0]))
    True

    References
    ----------
    Kwon et al. (2023), section 4.2: the KV cache as fixed-size blocks of a contiguous piece of memory.
    """

    def __init__(
        self,
        num_pages: int,
        page_size: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.num_pages, self.page_size, self.num_kv_heads, self.head_dim = check_counts(
            num_pages=num_pages, page_size=page_size, num_kv_heads=num_kv_heads, head_dim=head_dim
        )
        self.dtype = check_float_type("dtype", dtype)
        heads = (self.num_pages, self.num_kv_heads)
        self.keys = unwritten((*heads, self.head_dim, self.page_size), self.dtype)
        self.values = unwritten((*heads, self.page_size, self.head_dim), self.dtype)

    def __repr__(self) -> str:
        return (
            f"KVStore({self.num_pages} pages of {self.page_size} slots,"
            f" {self.num_kv_heads} heads of {self.head_dim}, {self.dtype})"
        )

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return self.num_pages * self.page_size

    def write(self, slots: Sequence[int] | Ints, keys: Floats, values: Floats) -> None:
        """Write the keys and values of some tokens, each to its slot.

        Parameters
        ----------
        slots : sequence of int, shape (num_tokens,)
            The slot of each token: vLLM's "slot mapping". All different.
        keys, values : numpy.ndarray, shape (num_tokens, num_kv_heads, head_dim)
            Rounded to the store's type.

        Raises
        ------
        ValueError
            If a slot is outside the pool or named twice, an array has another shape, or a finite number is
            too large for the store's type.
        TypeError
            If slots are not whole numbers, or keys or values not floating-point ones.
        """
        places = self._check_slots(slots)
        if len(np.unique(places)) != len(places):
            raise ValueError(f"slots must be all different, got {places.tolist()}")
        shape = (len(places), self.num_kv_heads, self.head_dim)
        check_shape("keys", keys, shape)
        check_shape("values", values, shape)
        rounded_keys, rounded_values = self._round("keys", keys), self._round("values", values)
        page_ids, offsets = np.divmod(places, self.page_size)
        self.keys[page_ids, :, :, offsets] = rounded_keys
        self.values[page_ids, :, offsets] = rounded_values

    def copy_page(self, src_page: int, dst_page: int) -> None:
        """Copy a page, written slots and others alike.

        Raises
        ------
        ValueError, TypeError
            If one of the two is not a page of the pool.

        References
        ----------
        Kwon et al. (2023), section 4.4 (copy-on-write).
        """
        src, dst = self._check_page("src_page", src_page), self._check_page("dst_page", dst_page)
        self.keys[dst] = self.keys[src]
        self.values[dst] = self.values[src]

    def gather(self, slots: Sequence[int] | Ints) -> tuple[Floats, Floats]:
        """Return the keys and values of some slots as two arrays of their own, in the order of the slots.

        Parameters
        ----------
        slots : sequence of int, shape (num_tokens,)
            Where the tokens lie.

        Returns
        -------
        keys, values : numpy.ndarray, shape (num_tokens, num_kv_heads, head_dim)

        Raises
        ------
        ValueError, TypeError
            If a slot is not one of the pool.
        """
        page_ids, offsets = np.divmod(self._check_slots(slots), self.page_size)
        return self.keys[page_ids, :, :, offsets], self.values[page_ids, :, offsets]

    def _round(self, name: str, array: Floats) -> Floats:
        if np.can_cast(array.dtype, self.dtype):
            return array
        with np.errstate(over="ignore"):
            rounded = array.astype(self.dtype)
        overflown = array[np.isinf(rounded) & np.isfinite(array)]
        if overflown.size:
            largest = np.finfo(self.dtype).max
            raise ValueError(
                f"{name} must be from {-largest} to {largest} to be kept as {self.dtype},"
                f" got {overflown.flat[0]}"
            )
        return rounded

    def _check_slots(self, slots: Sequence[int] | Ints) -> Ints:
        places = check_ints("slots", slots, 1)
        if len(places) and not 0 <= places.min() <= places.max() < self.num_slots:
            raise ValueError(
                f"slots must be from 0 to {self.num_slots - 1}, got {places.min()} to {places.max()}"
            )
        # A narrow integer type may be too narrow for the page size.
        return places.astype(np.intp, copy=False)

    def _check_page(self, name: str, page_id: int) -> int:
        page = check_count(name, page_id, minimum=0)
        if page >= self.num_pages:
            raise ValueError(f"{name} must be below {self.num_pages}, got {page_id!r}")
        return page


def unwritten(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Floats:
    """Make an array of NaN for keys or values.

    Raises
    ------
    ValueError
        If there is no memory for it; it says how much was asked for.
    """
    try:
        return np.full(shape, np.nan, dtype)
    except (MemoryError, ValueError):  # NumPy's own are of different kinds, and name none of the arguments.
        asked = f"{math.prod(shape) * dtype.itemsize:,} bytes for an array of shape {shape}"
        raise ValueError(f"keys and values must find room in memory, got {asked}") from None
