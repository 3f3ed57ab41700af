"""Predictions and exercises of notebook 04: gather, Flash or Paged. 4.2 is in ``nb04_walk.py``."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paged_demo.allocators.paged import PagedAllocator
from paged_demo.attention.kernels import paged_attention_pagewise
from paged_demo.attention.quick_kernel import paged_attention
from paged_demo.attention.store import KVStore
from paged_demo.course.exercises.fence import NoAnswerError
from paged_demo.course.exercises.functions import ask_function, keep_as_given
from paged_demo.course.exercises.kinds import ask_letters, mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.course.exercises.reading import read_items, read_table, unexpected
from paged_demo.model import OPT_13B, PRESETS, ModelSpec
from paged_demo.paper.numbers import FIG_13, PAGE_SIZE, tokens_in_pool
from paged_demo.serving.iteration_time import OPT_13B_ITERATION

HEAD_DIM = 3
READABLE_PAGE_SIZE = 4
TABLE_ENTRY_BYTES = 4

Arrays = tuple[Any, Any]


class GatherCase(NamedTuple):
    """Positions to fetch, up to a last one, through a table of pages."""

    first: int
    last: int
    page_size: int
    table: list[int]


def gather_cases() -> Iterator[GatherCase]:
    """Make parts to fetch: within a page, whole pages, and across pages; the shortest first."""
    for first, last in ((0, 1), (0, 4), (4, 8), (1, 3), (5, 6), (2, 7), (0, 10), (3, 10)):
        yield GatherCase(first, last, READABLE_PAGE_SIZE, [2, 0, 3])
    for first, last in ((2, 5), (0, 9), (7, 11)):
        yield GatherCase(first, last, 3, [4, 1, 5, 0])
    for first, last in ((9, 11), (3, 28)):
        yield GatherCase(first, last, 10, [1, 3, 0])


class Gathered(NamedTuple):
    """The keys and values that a part has, a row for each token."""

    keys: list[list[float]]
    values: list[list[float]]


def call_gather(function: Callable[..., Any], case: GatherCase) -> Gathered:
    """Call a function on a store whose numbers tell their position: 50, 51 and 52 are keys at position 5.

    With some pages they are in no order, so that none can be computed.
    """
    first, last, page_size, table = case
    store = KVStore(max(table) + 2, page_size, num_kv_heads=1, head_dim=HEAD_DIM)
    positions = np.arange(len(table) * page_size)
    numbers = np.add.outer([0, 1000], np.add.outer(10 * positions, np.arange(HEAD_DIM)))
    if page_size != READABLE_PAGE_SIZE:
        numbers = np.random.default_rng(0).permuted(numbers)
    store.write(
        np.array(table)[positions // page_size] * page_size + positions % page_size,
        *numbers[:, :, np.newaxis].astype(np.float32),
    )
    arrays, pages = (store.keys, store.values), list(table)
    before = [array.tobytes() for array in arrays]
    with np.errstate(all="ignore"):
        answer = function(store, pages, first, last)
    expected = f"two arrays of shape (tokens, {HEAD_DIM}) were"
    try:
        parts = [read_table(part, expected=expected) for part in read_items(answer, expected=expected)]
        gathered = Gathered(*parts)
    except (NoAnswerError, TypeError):
        raise unexpected(expected, answer) from None
    if [array.tobytes() for array in arrays] != before:
        raise NoAnswerError("it changed what is in the store, which is only to be read")
    keep_as_given([table], [pages], ["table"])
    return gathered


def fetch(store: KVStore, table: list[int], positions: NDArray[np.int64]) -> Arrays:
    """Fetch the keys and values of any positions through a page table."""
    logical, offsets = np.divmod(positions, store.page_size)
    pages = np.array(table)[logical]
    return store.keys[pages, 0, :, offsets], store.values[pages, 0, offsets]


@ask_function(
    "4.1",
    cases=gather_cases,
    tell="the positions from {0} up to {1}, pages of {2} and the table {3}",
    call=call_gather,
    hints=(
        "Make an array of the positions first. Where does each lie: which logical page, which offset?",
        "`np.divmod(np.arange(first, last), store.page_size)` gives both, and the table the pages.",
    ),
    insight="Every token is where the table says, and its numbers come as they were written.",
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
    return fetch(store, list(range(len(table))), np.arange(first, last))


@mistake("4.1")
def from_the_first_token(store: KVStore, table: list[int], first: int, last: int) -> Arrays:
    """These are as many tokens as asked for, counted from the start of the sequence."""
    return fetch(store, table, np.arange(last - first))


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
    numbers={"page_size": PAGE_SIZE, "model": OPT_13B},
    draw_numbers=lambda rng: {
        "page_size": rng.choice((4, 8, 32, 64, 128)),
        "model": rng.choice(list(PRESETS.values())),
    },
    ask_with=(
        f"An entry of a page table takes {TABLE_ENTRY_BYTES} bytes. How many bytes of table does"
        " {model.name} need for each byte of KV cache, at page size {page_size}? A token takes"
        " {model.kv_bytes_per_token:,} bytes."
    ),
    tolerance=0.02,
    hints=(
        "How many bytes of keys and values lie behind one entry of the table?",
        "A page is {page_size} tokens of {model.kv_bytes_per_token:,} bytes.",
    ),
    insight="{expected:.1e}: tables cost no memory to speak of. What small pages cost is time in the kernel.",
)
def share_of_the_tables(page_size: int, model: ModelSpec) -> float:
    """Compare an entry with a page."""
    return table_share(page_size, model.kv_bytes_per_token)


@mistake("4.5")
def an_entry_for_each_token(page_size: int, model: ModelSpec) -> float:
    """One entry serves a whole page: {page_size} tokens."""
    return table_share(1, model.kv_bytes_per_token)


@mistake("4.5")
def a_table_for_each_layer(page_size: int, model: ModelSpec) -> float:
    """A token has the same slot in all layers, so one table serves them all."""
    return table_share(page_size, model.kv_bytes_per_token / model.num_layers)


@mistake("4.5")
def upside_down(page_size: int, model: ModelSpec) -> float:
    """This is cache per byte of table. The question is about table per byte of cache."""
    return 1 / share_of_the_tables(page_size, model)


def poisoned_store(tables: list[list[int]], num_tokens: int) -> KVStore:
    """Make a store of nine pages in which only the first tokens of these tables were ever written."""
    rng = np.random.default_rng(4)
    store = KVStore(num_pages=9, page_size=8, num_kv_heads=1, head_dim=HEAD_DIM)
    logical, offsets = np.divmod(np.arange(num_tokens), store.page_size)
    for table in tables:
        keys, values = rng.standard_normal((2, num_tokens, 1, HEAD_DIM), dtype=np.float32)
        store.write(np.array(table)[logical] * store.page_size + offsets, keys, values)
    return store


@ask_before("4.1", because="the same numbers in the same order go through the same lines")
def how_close_gathering_comes() -> str:
    """Fetch a context that was written through a table, and compare it with the same in order."""
    written, in_order = (poisoned_store([table], 29) for table in ([4, 3, 0, 6], [0, 1, 2, 3]))
    gathered = fetch(written, [4, 3, 0, 6], np.arange(29))
    plain = fetch(in_order, [0, 1, 2, 3], np.arange(29))
    return "a" if all(map(np.array_equal, gathered, plain)) else "c"


@ask_before("4.2", because="the table changes, and the numbers that are read do not")
def numbers_that_move() -> int:
    """Attend through two tables to the same keys and values, and count the numbers that differ."""
    query = np.ones((1, 1, HEAD_DIM), dtype=np.float32)
    outputs = []
    for table in ([0, 1, 2, 3], [4, 0, 2, 1]):
        store = poisoned_store([table], 29)
        outputs.append(paged_attention(query, store.keys, store.values, np.array([table]), [29]))
    return int((outputs[0] != outputs[1]).sum())


@ask_before("4.3", because="B's numbers are as good as A's, and what was never written is NaN")
def wrong_and_looks_right() -> str:
    """Attend through three wrong tables, and name the one whose output is a number."""
    query = np.ones((1, HEAD_DIM), dtype=np.float32)
    store = poisoned_store([[4, 3, 0, 6], [2, 1, 5, 7]], 29)
    wrong = {"a": ([4, 3, 0, 6], 30), "b": ([4, 3, 0, 8], 29), "c": ([4, 3, 0, 2], 29)}
    outputs = {
        letter: paged_attention_pagewise(query, store.keys, store.values, table, num_tokens)
        for letter, (table, num_tokens) in wrong.items()
    }
    return next(letter for letter, output in outputs.items() if not np.isnan(output).any())


@ask_before("4.4", unit="entries", because="a table has one entry for each page, and not one for each token")
def entries_for_one_token() -> int:
    """Count the entries of the page table of a sequence of 1,024 tokens."""
    allocator = PagedAllocator(num_pages=64, page_size=PAGE_SIZE)
    allocator.allocate("A", range(1024))
    return len(allocator.page_table("A"))


def reading_s(scheme: str) -> float:
    """Return what an iteration reads at a batch of the paper, in seconds."""
    return OPT_13B_ITERATION.reading_s(tokens_in_pool(scheme))


@ask_before(
    "4.5",
    unit="times",
    because="four times as many requests share the weights, and keys and values take longer",
)
def gain_by_reading() -> float:
    """Compare the tokens per second of the batches with pages and with reservations."""
    batches = FIG_13["ShareGPT"]
    rates = [batches[scheme] / reading_s(scheme) for scheme in ("vLLM", "Orca (Max)")]
    return round(rates[0] / rates[1], 1)


@ask_before("4.6", unit="times", because="keys and values are the smaller part of what is read")
def slowness_without_gain() -> float:
    """Find how slow a kernel over pages makes the same tokens per second as the smaller batch."""
    batches = FIG_13["ShareGPT"]
    time_s = reading_s("Orca (Max)") * batches["vLLM"] / batches["Orca (Max)"]
    of_kv_s = OPT_13B_ITERATION.kv_read_s * tokens_in_pool("vLLM")
    return round((time_s - OPT_13B_ITERATION.weights_s) / of_kv_s, 1)
