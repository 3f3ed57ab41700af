"""Functions of notebook 04 and the cases to try them on: right answers, and wrong ones that people give."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paged_demo.attention.store import KVStore
from paged_demo.course.exercises.verdict import describe

TABLE = [2, 0, 3]
TABLE_PAGE_SIZE = 4
NUM_TOKENS = 10

Step = tuple[float, float, Any]


def gather(store: KVStore, table: list[int], first: int, last: int) -> tuple[Any, Any]:
    """Fetch the keys and values of the positions from ``first`` up to, but not including, ``last``."""
    return fetch(store, table, np.arange(first, last))


def fetch(store: KVStore, table: list[int], positions: NDArray[np.int64]) -> tuple[Any, Any]:
    """Fetch the keys and values of any positions through a page table."""
    logical, offsets = np.divmod(positions, store.page_size)
    pages = np.array(table)[logical]
    return store.keys[pages, 0, :, offsets], store.values[pages, 0, offsets]


def gather_cases() -> Iterable[tuple[int, int]]:
    """List ranges of positions, the shortest first: within a page, whole pages, and across pages."""
    return [(0, 1), (0, 4), (4, 8), (1, 3), (5, 6), (2, 7), (0, 10), (3, 10)]


def tell_gather_case(case: tuple[int, int]) -> str:
    """Write a range of positions in words."""
    return f"the positions from {case[0]} up to {case[1]}, pages of {TABLE_PAGE_SIZE} and the table {TABLE}"


def call_gather(function: Callable[..., Any], case: tuple[int, int]) -> Any:
    """Call a function on a store whose keys and values tell their position: 5 and 105 at position 5."""
    store = KVStore(4, TABLE_PAGE_SIZE, num_kv_heads=1, head_dim=2)
    positions = np.arange(NUM_TOKENS)
    slots = np.array(TABLE)[positions // TABLE_PAGE_SIZE] * TABLE_PAGE_SIZE + positions % TABLE_PAGE_SIZE
    keys = np.repeat(positions, 2).reshape(-1, 1, 2).astype(np.float32)
    store.write(slots, keys, keys + 100)
    with np.errstate(all="ignore"):
        return function(store, list(TABLE), *case)


def read_pair(value: Any) -> str:
    """Read two arrays of numbers, or raise a TypeError that says what came."""
    complaint = f"two arrays of shape (tokens, 2) were expected, and it returned {describe(value)}"
    try:
        keys, values = value
        arrays = [np.asarray(array, dtype=np.float64) for array in (keys, values)]
    except (TypeError, ValueError):
        raise TypeError(complaint) from None
    if any(array.ndim != 2 or array.shape[1] != 2 for array in arrays):
        raise TypeError(complaint)
    # NaN is not equal to itself: two answers are compared as they are written.
    keys, values = (", ".join(f"{number:g}" for number in array[:, 0]) for array in arrays)
    return f"keys {keys} and values {values}"


def make_step(
    choose: Callable[[float, float], float] = max,
    *,
    rescales_weights: bool = True,
    rescales_values: bool = True,
) -> Callable[..., Step]:
    """Make a step of the walk: right if nothing is given.

    Parameters
    ----------
    choose : callable
        Chooses what the sums are relative to, from what they were relative to and the page's highest score.
    rescales_weights, rescales_values : bool
        Whether what came before is multiplied by the factor that the new choice demands.
    """

    def step(highest: float, sum_of_weights: float, sum_of_values: Any, scores: Any, values: Any) -> Step:
        higher = choose(highest, scores.max())
        factor = np.exp(highest - higher)
        weights = np.exp(scores - higher)
        return (
            higher,
            (factor if rescales_weights else 1.0) * sum_of_weights + weights.sum(),
            (factor if rescales_values else 1.0) * sum_of_values + weights @ values,
        )

    return step


PAGES_OF_SCORES = (
    ((0.0, 0.0),),
    ((0.0, 1.0), (2.0, 1.0)),
    ((2.0, 1.0), (0.0, 1.0)),
    ((1000.0, 1001.0), (-1000.0, 1002.0)),
    ((-1000.0, -1001.0), (-1002.0, -1003.0)),
    ((900.0, 0.0), (-900.0, 0.0), (901.0, 0.0)),
)


def call_step(function: Callable[..., Any], pages: tuple[tuple[float, ...], ...]) -> Any:
    """Walk over pages of scores with a function, and return the output; the values are 1, 2, 3 and on."""
    highest, sum_of_weights, sum_of_values = -np.inf, 0.0, np.zeros(1)
    position = 0
    with np.errstate(all="ignore"):
        for page in pages:
            values = np.arange(position + 1.0, position + len(page) + 1.0)[:, np.newaxis]
            answer = function(highest, sum_of_weights, sum_of_values, np.array(page), values)
            if answer is ... or answer is None:
                return answer
            try:
                highest, sum_of_weights, sum_of_values = answer
            except (TypeError, ValueError):
                raise TypeError(f"three numbers were expected, and it returned {describe(answer)}") from None
            position += len(page)
        return np.asarray(sum_of_values, dtype=np.float64).ravel() / sum_of_weights


def read_output(value: Any) -> str:
    """Read the output of a walk to six digits, or raise a TypeError that says what came."""
    output = np.asarray(value)
    if output.shape != (1,) or output.dtype.kind not in "fiu":
        raise TypeError(f"three running numbers were expected, and it returned {describe(value)}")
    return f"{float(output[0]):.6g}"


def tell_step_case(pages: tuple[tuple[float, ...], ...]) -> str:
    """Write the scores of a case, page by page."""
    told = ", then ".join(str([f"{score:g}" for score in page]).replace("'", "") for page in pages)
    return f"the scores {told} with the values 1, 2, 3 and on"
