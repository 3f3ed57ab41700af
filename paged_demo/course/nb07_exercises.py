"""Predictions of notebook 07. The allocator alone answers them, so they need no language model."""

import numpy as np

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.attention.quick_kernel import paged_attention
from paged_demo.attention.store import KVStore
from paged_demo.course.exercises.predictions import ask_before

PAGE_SIZE = 16
NUM_ASKED, NUM_ANSWERED = 40, 40
"""Tokens of the first question, as the model gets it, and of its answer."""

NUM_QUESTIONS, NUM_COMMON, NUM_PROMPT = 8, 64, 73
NUM_SAMPLES, NUM_SAMPLED_PROMPT = 4, 37

NUM_PAGES_FOR_THREE = 12
PROMPTS_OF_THREE = (40, 36, 44)


@ask_before(
    "7.1",
    unit="pages",
    because="the question has three pages, and with its answer it is 80 tokens long, which are five",
)
def pages_of_the_answer() -> int:
    """Count the pages that an answer takes beyond those of its question."""
    pool = PagedAllocator(16, PAGE_SIZE)
    pool.allocate("A", range(NUM_ASKED))
    num_before = len(pool.page_table("A"))
    for _ in range(NUM_ANSWERED):
        pool.append("A", 0)
    return len(pool.page_table("A")) - num_before


@ask_before(
    "7.2",
    because="a page table changes where numbers lie, and neither which are read nor in which order they are"
    " added up",
)
def how_equal() -> str:
    """Attend over the same keys and values in two places, and say how far the outputs agree."""
    rng = np.random.default_rng(0)
    store = KVStore(num_pages=8, page_size=PAGE_SIZE, num_kv_heads=3, head_dim=64)
    keys, values = rng.standard_normal((2, 3 * PAGE_SIZE, 3, 64), dtype=np.float32)
    tables = [0, 1, 2], [6, 3, 5]
    for table in tables:
        slots = [page_id * PAGE_SIZE + offset for page_id in table for offset in range(PAGE_SIZE)]
        store.write(slots, keys, values)
    query = rng.standard_normal((1, 9, 64), dtype=np.float32)
    one, other = (paged_attention(query, store.keys, store.values, [table], [45]) for table in tables)
    if np.array_equal(one, other):
        return "c"
    return "b" if np.allclose(one, other, rtol=0, atol=1e-5) else "a"


@ask_before(
    "7.3",
    unit="tokens",
    because="the first question is computed whole, and each of the seven others finds 64 tokens and computes"
    " nine",
)
def computed_for_eight() -> int:
    """Count what goes through the model for eight questions with one system prompt."""
    pool, num_computed = PagedAllocator(48, PAGE_SIZE, prefix_caching=True), 0
    for number in range(NUM_QUESTIONS):
        prompt = [*range(NUM_COMMON), *[1000 + number] * (NUM_PROMPT - NUM_COMMON)]
        num_computed += NUM_PROMPT - pool.allocate(number, prompt)
    return num_computed


@ask_before(
    "7.4",
    unit="pages",
    because="two pages of the prompt are full and stay shared, and each sample writes into a last page of its"
    " own",
)
def pages_of_four_samples() -> int:
    """Count the pages of four samples once each has written a word."""
    pool = PagedAllocator(16, PAGE_SIZE)
    pool.allocate(0, range(NUM_SAMPLED_PROMPT))
    for sample in range(1, NUM_SAMPLES):
        pool.fork(0, sample)
    for sample in range(NUM_SAMPLES):
        pool.append(sample, sample)
    return pool.num_pages - pool.num_free_pages


@ask_before(
    "7.5",
    unit="tokens",
    because="all keys and values of the text are gone, those of its words so far too; the words themselves"
    " are kept, so none is chosen anew, and the text stays the same",
)
def computed_again() -> int:
    """Let three texts grow until one finds no page, and count what the newest then loses."""
    pool = PagedAllocator(NUM_PAGES_FOR_THREE, PAGE_SIZE)
    for text, num_tokens in enumerate(PROMPTS_OF_THREE):
        pool.allocate(text, range(num_tokens))
    try:
        while True:
            for text in range(len(PROMPTS_OF_THREE)):
                pool.append(text, 0)
    except CacheFullError:
        return len(pool.slots(len(PROMPTS_OF_THREE) - 1))
