"""Predictions and exercises of notebook 03: slots, pages, an analogy. 3.3 is in ``nb03_double_free.py``."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from random import Random
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from paged_demo.allocators.studies import PageSizeEffect, measure_page_size
from paged_demo.course.exercises.functions import ask_function
from paged_demo.course.exercises.kinds import ask_letters, mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.course.exercises.reading import read_whole_number, read_whole_numbers
from paged_demo.course.exercises.verdict import DrawnPool
from paged_demo.paper.numbers import PAGE_SIZE
from paged_demo.serving.workload import alpaca

SlotCase = tuple[list[int], int, int]
"""A token to look up: its sequence's page table, its position, and the page size."""


def slot_cases() -> Iterator[SlotCase]:
    """Make tokens to look up, around the boundaries of pages first."""
    for page_size in (4, 3, 10, 2, 1, 16):
        for position in (0, page_size - 1, page_size, page_size + 1, 3 * page_size - 1):
            if 0 <= position < 3 * page_size:
                yield [7, 1, 3], position, page_size
    rng = Random(0)
    for _ in range(40):
        page_size = rng.randint(1, 32)
        table = rng.sample(range(100), rng.randint(1, 8))
        yield table, rng.randrange(len(table) * page_size), page_size


def slot_pool(case: SlotCase) -> DrawnPool:
    """Make the pool of a token to look up."""
    page_table, _, page_size = case
    return {"A": (page_table, len(page_table) * page_size)}, max(page_table) + 1, page_size


@ask_function(
    "3.1",
    cases=slot_cases,
    tell="position {1} in the page table {0}, with pages of {2}",
    pool=slot_pool,
    hints=(
        "Which logical page is the token in, and which place does it have there? `divmod` gives both.",
        "The table gives the physical page. It begins at slot `page * page_size`.",
    ),
    insight="One division, one look-up, one multiplication: all that paging adds to finding a token.",
)
def slot(page_table: list[int], position: int, page_size: int) -> int:
    """Return the slot of the token at a position."""
    page, offset = divmod(position, page_size)
    return page_table[page] * page_size + offset


@mistake("3.1")
def the_table_is_not_read(page_table: list[int], position: int, page_size: int) -> int:
    """This is the slot in a pool that begins with this sequence, all in one piece."""
    return position


@mistake("3.1")
def a_page_is_not_a_slot(page_table: list[int], position: int, page_size: int) -> int:
    """The number of a page counts pages. Its first slot is that number times the page size."""
    return page_table[position // page_size] + position % page_size


@mistake("3.1")
def the_place_in_the_page_is_missing(page_table: list[int], position: int, page_size: int) -> int:
    """This is the first slot of the right page."""
    return page_table[position // page_size] * page_size


@mistake("3.1")
def page_and_place_are_swapped(page_table: list[int], position: int, page_size: int) -> int:
    """`//` gives the page, and `%` the place in it."""
    return page_table[position % page_size] * page_size + position // page_size


@mistake("3.1")
def only_the_first_page(page_table: list[int], position: int, page_size: int) -> int:
    """This goes on behind the first page, where another sequence's page may lie."""
    return page_table[0] * page_size + position


AppendCase = tuple[list[int], int, list[int], int]
"""A sequence that is to grow: its pages and its length, the free pages in turn, and the page size."""


def append_cases() -> Iterator[AppendCase]:
    """Make sequences of 0, P - 1, P and P + 1 tokens, and others; the smallest first."""
    for page_size in (4, 3, 10, 2, 1, 16):
        lengths = {0, page_size - 1, page_size, page_size + 1, 2 * page_size - 1, 2 * page_size}
        for num_tokens in sorted(lengths):
            num_pages = -(-num_tokens // page_size)
            # Pages 3 and 4 of the six are somebody else's.
            pages = [2, 0, 5, 1]
            yield pages[:num_pages], num_tokens, pages[num_pages:], page_size
    rng = Random(0)
    for _ in range(30):
        page_size = rng.randint(1, 32)
        num_tokens = rng.randint(0, 5 * page_size)
        pages = rng.sample(range(50), 12)
        num_pages = -(-num_tokens // page_size)
        yield pages[:num_pages], num_tokens, pages[num_pages:], page_size


class Appended(NamedTuple):
    """What an append gave back, and what it left behind."""

    slot: int
    page_table: list[int]
    free_pages: list[int]


def call_append(function: Callable[..., Any], case: AppendCase) -> Appended:
    """Call an append on copies of a case, and keep what it did to them."""
    page_table, num_tokens, free_pages, page_size = deepcopy(case)
    slot = read_whole_number(function(page_table, num_tokens, free_pages, page_size))
    return Appended(slot, read_whole_numbers(page_table), read_whole_numbers(free_pages))


def append_pool(case: AppendCase) -> DrawnPool:
    """Make the pool before the token is appended. What is neither held nor free is another sequence's."""
    page_table, num_tokens, free_pages, page_size = case
    num_pages = max(page_table + free_pages) + 1
    others = [page_id for page_id in range(num_pages) if page_id not in page_table + free_pages]
    held = {"A": (page_table, num_tokens), "B": (others, len(others) * page_size)}
    return held, num_pages, page_size


@ask_function(
    "3.2",
    cases=append_cases,
    tell="a sequence of {1} tokens in the pages {0}, free pages {2}, pages of {3}",
    call=call_append,
    pool=append_pool,
    hints=(
        "Of which lengths does the next token start a page? Try 0, P - 1, P and P + 1.",
        "`num_tokens % page_size == 0` is true at 0, at P and at 2 P: then take the first of `free_pages`.",
    ),
    insight=(
        "A page is taken when the token that starts it comes, so no page is ever held without a token in it,"
        " and the waste stays below one page."
    ),
)
def append(page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int) -> int:
    """Return the slot of the next token, taking a page if it starts one."""
    if num_tokens % page_size == 0:
        page_table.append(free_pages.pop(0))
    return page_table[-1] * page_size + num_tokens % page_size


@mistake("3.2")
def one_page_too_early(page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int) -> int:
    """A page that becomes full does not need another yet: perhaps this was the last token."""
    if not page_table:
        page_table.append(free_pages.pop(0))
    slot = page_table[num_tokens // page_size] * page_size + num_tokens % page_size
    if (num_tokens + 1) % page_size == 0:
        page_table.append(free_pages.pop(0))
    return slot


@mistake("3.2", "Into the neighbour's page")
def into_the_neighbours_page(
    page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int
) -> int:
    """Behind the last slot of a page lies a page of somebody else, whose keys and values would be lost."""
    if not page_table:
        page_table.append(free_pages.pop(0))
    return page_table[0] * page_size + num_tokens


@mistake("3.2")
def no_page_is_taken(page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int) -> int:
    """When all pages are full, there is no entry of the table to look up: a page has to be taken first."""
    return page_table[num_tokens // page_size] * page_size + num_tokens % page_size


@mistake("3.2")
def the_first_token(page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int) -> int:
    """An empty sequence has no page either: 0 is a multiple of the page size, too."""
    if num_tokens > 0 and num_tokens % page_size == 0:
        page_table.append(free_pages.pop(0))
    return page_table[-1] * page_size + num_tokens % page_size


@mistake("3.2")
def a_page_for_every_token(
    page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int
) -> int:
    """The last page has room until it is full. Only the token that finds it full starts a new one."""
    page_table.append(free_pages.pop(0))
    return page_table[-1] * page_size + num_tokens % page_size


@ask_before(
    "3.1", because="page 1 is full, so the word takes the first slot of the next page in the queue, page 3"
)
def slot_of_brought() -> int:
    """Append the ninth token of A, as in the answer to exercise 3.2."""
    return append(page_table=[7, 1], num_tokens=8, free_pages=[3, 5, 2, 0, 4, 6], page_size=4)


@cache
def short_texts_in_pages_of(page_size: int) -> PageSizeEffect:
    """Measure what pages of one size mean for the short instructions of notebook 03."""
    requests = alpaca.sample(1000, rng=np.random.default_rng(0))
    prompts = [request.num_prompt_tokens for request in requests]
    finals = [request.num_prompt_tokens + request.num_output_tokens for request in requests]
    return measure_page_size(prompts, finals, page_size=page_size)


@ask_before(
    "3.2", unit="%", because="nearly every sequence holds one whole page, and most have far fewer tokens"
)
def wasted_by_short_texts() -> float:
    """Compute the share of the held slots that short texts waste in pages of 256."""
    return round(100 * short_texts_in_pages_of(256).wasted_share, 1)


@ask_before(
    "3.3", because="a table has an entry for each page; larger pages waste more, and fewer prompts fill one"
)
def worse_with_smaller_pages() -> str:
    """Compare pages of 16 with pages of 64, and say which of three is worse with the smaller."""
    small, large = map(short_texts_in_pages_of, (16, 64))
    is_worse = {
        "a": small.wasted_share > large.wasted_share,
        "b": small.mean_pages > large.mean_pages,
        "c": small.shareable_share < large.shareable_share,
    }
    return next(letter for letter in is_worse if is_worse[letter])


@ask_number(
    "3.4",
    numbers={"page_size": PAGE_SIZE},
    draw_numbers=lambda rng: {"page_size": rng.choice((4, 8, 10, 20, 32, 64, 100, 128))},
    ask_with=(
        "With pages of {page_size} and lengths spread evenly, how many slots of its last page does a sequence"
        " leave empty on average?"
    ),
    hints=(
        "How many slots of the last page are empty at lengths 1 and 2, and at {page_size}, one less, and one"
        " more?",
        "None, 1, 2 and so on, less than {page_size}: all equally likely if lengths are.",
    ),
    insight=(
        "{expected} slots: each number below {page_size} equally often. It does not grow with the sequence."
    ),
)
def mean_waste(page_size: int) -> float:
    """Average the empty slots of the last page over lengths of up to 64 pages."""
    return fmean(-length % page_size for length in range(1, 64 * page_size + 1))


@mistake("3.4")
def half_a_page(page_size: int) -> float:
    """Nearly. The last page is never empty: it has less than {page_size} empty slots, not as many."""
    return page_size / 2


@mistake("3.4")
def a_whole_page(page_size: int) -> float:
    """A page without a token is not held. The waste is always less than a page."""
    return page_size


@mistake("3.4")
def the_worst_case(page_size: int) -> float:
    """So much is lost just after a page was started. The mean is asked for."""
    return page_size - 1


@mistake("3.4")
def paging_removes_all_waste(page_size: int) -> float:
    """The last page remains: a sequence of {page_size} tokens and one more holds two pages."""
    return 0


ask_letters(
    "3.5",
    "bde",
    hints=(
        "Three of the six are false. Who translates an address in a processor, and who does it here?",
        "What happens in an operating system when a page is not there? When does the scheduler take pages?",
    ),
    insight="The idea is the table. Who fills it, when, and who reads it are different.",
    remarks="""
        a: This one holds. A sequence counts its tokens from 0 in one run, wherever its pages lie. So does a
           process with its addresses.
        b: There are no page faults. The scheduler takes a page before the token is computed. The attention
           kernel never meets a page that is not there.
        c: This one holds. One entry for each page, and the same division into page and offset.
        d: A page is not 4 KiB. 16 tokens of OPT-13B are 12.5 MiB. A page is counted in tokens, not in bytes.
        e: No hardware translates. A processor has a unit for it. Here the attention kernel itself reads the
           table, and that costs some time.
        f: This one holds. Two tables may name one page, as after `fork` in both worlds.
    """,
)
