"""Exercises of notebook 04: fetch through a table, walk with an online softmax, tell Flash from Paged."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paged_demo.attention.store import KVStore
from paged_demo.course.exercises.functions import ask_function, unexpected
from paged_demo.course.exercises.kinds import ask_letters, ask_number, mistake
from paged_demo.model import OPT_13B
from paged_demo.paper.numbers import PAGE_SIZE

TABLE = [2, 0, 3]
TABLE_PAGE_SIZE = 4
NUM_TOKENS = 10
TABLE_ENTRY_BYTES = 4

Arrays = tuple[Any, Any]
Step = tuple[float, float, Any]


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
    complaint = unexpected("two arrays of shape (tokens, 2) were", value)
    try:
        keys, values = value
        arrays = [np.asarray(array, dtype=np.float64) for array in (keys, values)]
    except (TypeError, ValueError):
        raise complaint from None
    if any(array.ndim != 2 or array.shape[1] != 2 for array in arrays):
        raise complaint
    # NaN is not equal to itself: two answers are compared as they are written.
    keys, values = (", ".join(f"{number:g}" for number in array[:, 0]) for array in arrays)
    return f"keys {keys} and values {values}"


def fetch(store: KVStore, table: list[int], positions: NDArray[np.int64]) -> Arrays:
    """Fetch the keys and values of any positions through a page table."""
    logical, offsets = np.divmod(positions, store.page_size)
    pages = np.array(table)[logical]
    return store.keys[pages, 0, :, offsets], store.values[pages, 0, offsets]


@ask_function(
    "4.1",
    # Within a page, whole pages, and across pages.
    cases=lambda: [(0, 1), (0, 4), (4, 8), (1, 3), (5, 6), (2, 7), (0, 10), (3, 10)],
    tell=f"the positions from {{0}} up to {{1}}, pages of {TABLE_PAGE_SIZE} and the table {TABLE}",
    call=call_gather,
    read=read_pair,
    hints=(
        "Make an array of the positions first. Where does each lie: which logical page, which offset?",
        "`np.divmod(np.arange(first, last), store.page_size)` gives both, and the table the pages.",
    ),
    insight="The table is looked up for each token, and the numbers come as they were written.",
)
def gather(store: KVStore, table: list[int], first: int, last: int) -> Arrays:
    """Fetch the keys and values of the positions from ``first`` up to, but not including, ``last``."""
    return fetch(store, table, np.arange(first, last))


@mistake("4.1")
def from_the_start_of_the_page(store: KVStore, table: list[int], first: int, last: int) -> Arrays:
    """The first position may lie in the middle of a page: begin at its offset."""
    return fetch(store, table, np.arange(first // store.page_size * store.page_size, last))


@mistake("4.1")
def from_offset_0_of_the_page(store: KVStore, table: list[int], first: int, last: int) -> Arrays:
    """These are as many tokens as asked for, from the start of the page that holds the first."""
    return fetch(store, table, first // store.page_size * store.page_size + np.arange(last - first))


@mistake("4.1")
def one_token_too_many(store: KVStore, table: list[int], first: int, last: int) -> Arrays:
    """`last` is not included, as in a slice."""
    return fetch(store, table, np.arange(first, last + 1))


@mistake("4.1")
def the_table_is_not_read(store: KVStore, table: list[int], first: int, last: int) -> Arrays:
    """Logical page 0 lies where the table says, not in physical page 0."""
    return fetch(store, [0, 1, 2, 3], np.arange(first, last))


@mistake("4.1")
def from_the_first_token(store: KVStore, table: list[int], first: int, last: int) -> Arrays:
    """These are as many tokens as asked for, counted from the start of the sequence."""
    return fetch(store, table, np.arange(last - first))


PAGES_OF_SCORES = (
    ((0.0, 0.0),),
    ((0.0, 1.0), (2.0, 1.0)),
    ((2.0, 1.0), (0.0, 1.0)),
    ((1000.0, 1001.0), (-1000.0, 1002.0)),
    ((-1000.0, -1001.0), (-1002.0, -1003.0)),
    ((900.0, 0.0), (-900.0, 0.0), (901.0, 0.0)),
)


def tell_pages(pages: tuple[tuple[float, ...], ...]) -> str:
    """Write the scores of a case, page by page."""
    told = ", then ".join(str([f"{score:g}" for score in page]).replace("'", "") for page in pages)
    return f"the scores {told} with the values 1, 2, 3 and on"


def walk(function: Callable[..., Any], pages: tuple[tuple[float, ...], ...]) -> Any:
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
                raise unexpected("three numbers were", answer) from None
            position += len(page)
        return np.asarray(sum_of_values, dtype=np.float64).ravel() / sum_of_weights


def read_output(value: Any) -> str:
    """Read the output of a walk to six digits, or raise a TypeError that says what came."""
    output = np.asarray(value)
    if output.shape != (1,) or output.dtype.kind not in "fiu":
        raise unexpected("three running numbers were", value)
    return f"{float(output[0]):.6g}"


@ask_function(
    "4.2",
    cases=lambda: PAGES_OF_SCORES,
    tell=tell_pages,
    call=walk,
    read=read_output,
    hints=(
        "Take the highest of all scores so far, this page included. What were the sums relative to?",
        "Multiply both sums by `np.exp(highest - higher)` before this page is added.",
    ),
    insight=(
        "Whatever came before is known only relative to the highest score, so one factor mends it all."
        " `exp(-inf)` is 0: the first page is no special case."
    ),
)
def step(
    highest: float,
    sum_of_weights: float,
    sum_of_values: Any,
    scores: Any,
    values: Any,
    *,
    choose: Callable[[float, float], float] = max,
    rescales_weights: bool = True,
    rescales_values: bool = True,
) -> Step:
    """Take a page into the sums, right if only they are given.

    Parameters
    ----------
    highest, sum_of_weights, sum_of_values
        What came before.
    scores, values
        The page.
    choose : callable
        Chooses what the sums are relative to, from what they were relative to and the page's highest score.
    rescales_weights, rescales_values : bool
        Whether what came before is multiplied by the factor that the new choice demands.
    """
    higher = choose(highest, scores.max())
    factor = np.exp(highest - higher)
    weights = np.exp(scores - higher)
    return (
        higher,
        (factor if rescales_weights else 1.0) * sum_of_weights + weights.sum(),
        (factor if rescales_values else 1.0) * sum_of_values + weights @ values,
    )


@mistake("4.2")
def the_highest_score_is_not_subtracted(*given: Any) -> Step:
    """`exp(1000)` is infinite in floating point, and infinity divided by infinity is NaN."""
    return step(*given, choose=lambda *scores: 0.0, rescales_weights=False, rescales_values=False)


@mistake("4.2")
def nothing_is_rescaled(*given: Any) -> Step:
    """The earlier pages now count as if their best score were as high as the best of all."""
    return step(*given, rescales_weights=False, rescales_values=False)


@mistake("4.2")
def one_sum_of_two(*given: Any) -> Step:
    """Both sums are relative to the highest score, so both are to be multiplied."""
    return step(*given, rescales_values=False)


@mistake("4.2")
def the_highest_of_this_page_only(*given: Any) -> Step:
    """A later page may have lower scores: the highest so far must not fall."""
    return step(*given, choose=lambda highest, of_page: of_page)


ask_letters(
    "4.3",
    "ac",
    hints=(
        "The output is a sum over tokens. What does the kernel know of their order?",
        "Two are true.",
    ),
    insight=(
        "A sum over tokens has no order, so full pages may come in any. How many slots of a page hold a token"
        " is told by its place alone: only the last may be part empty."
    ),
    remarks="""
        a: A sum has no order. Positions matter to a model, and went into the keys before.
        b: Not the order. The same tokens are added up: only the rounding may differ.
        c: Unwritten slots. The kernel reads all of the page that now comes first: three NaN.
        d: The last page is special. Only its first five slots were ever written.
    """,
)


ask_letters(
    "4.4",
    "ad",
    hints=(
        "One of the two methods was made to save the kernel traffic with the GPU's memory.",
        "Two of the five are Paged.",
    ),
    insight=(
        "Flash is about how the scores are computed, Paged about where keys and values lie. vLLM 0.33.0 has"
        " FlashAttention kernels that read page tables."
    ),
    remarks="""
        a: Anywhere in memory. That is what the table is for.
        b: That is Flash. The paper's kernel keeps its scores on the chip as well, but was made for pages.
        c: Neither. Both compute the exact softmax, up to rounding.
        d: The batch. Pages taken when needed leave room for other requests.
        e: Not instead. They answer different questions, and work together.
    """,
)


def table_share(page_size: int, kv_bytes_per_token: float) -> float:
    """Return the bytes of page table for each byte of KV cache."""
    return TABLE_ENTRY_BYTES / (page_size * kv_bytes_per_token)


@ask_number(
    "4.5",
    tolerance=0.02,
    hints=(
        "How many bytes of keys and values lie behind one entry of the table?",
        "A page is 16 tokens of 819,200 bytes.",
    ),
    insight="{expected:.1e}: tables cost no memory to speak of. What small pages cost is time in the kernel.",
)
def share_of_the_tables() -> float:
    """Take the paper's model and page size."""
    return table_share(PAGE_SIZE, OPT_13B.kv_bytes_per_token)


@mistake("4.5")
def an_entry_for_each_token() -> float:
    """One entry serves a whole page: 16 tokens."""
    return table_share(1, OPT_13B.kv_bytes_per_token)


@mistake("4.5")
def a_table_for_each_layer() -> float:
    """A token has the same slot in all layers, so one table serves them all."""
    return table_share(PAGE_SIZE, OPT_13B.kv_bytes_per_token / OPT_13B.num_layers)


@mistake("4.5")
def upside_down() -> float:
    """This is cache per byte of table. The question is about table per byte of cache."""
    return 1 / share_of_the_tables()
