"""Predictions and exercises of notebook 05: what samples share, and what prompts find. 5.3 is in
``nb05_writes.py``.
"""

from collections.abc import Callable, Iterator
from itertools import product
from random import Random
from typing import Any, NamedTuple

from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.studies import ask_with_prefix, hit_share, sample_in_parallel
from paged_demo.course.exercises.fence import NoAnswerError
from paged_demo.course.exercises.functions import ask_function, keep_as_given
from paged_demo.course.exercises.kinds import ask_letters, mistake
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.course.exercises.reading import read_whole_numbers
from paged_demo.course.exercises.verdict import describe


def hit_cases() -> Iterator[tuple[int, int]]:
    """Make prompts, those around the end of a page first, each with every page size."""
    return product((48, 49, 15, 16, 17, 1, 30, 31, 100), (16, 10, 3, 4, 1))


@ask_function(
    "5.1",
    cases=hit_cases,
    tell="{0} tokens asked twice, with pages of {1}",
    hints=(
        "The model has to run on at least one token of the prompt. How many can be found then, at most?",
        "Whole pages of n - 1 tokens.",
    ),
    insight=(
        "At least one token is left to compute, since its output is the next token. Only whole pages are"
        " found; so where a prompt ends with a page, that one token costs the page."
    ),
)
def hit(num_tokens: int, page_size: int) -> int:
    """Count the tokens that a prompt finds the second time."""
    return (num_tokens - 1) // page_size * page_size


@mistake("5.1")
def all_whole_pages(num_tokens: int, page_size: int) -> int:
    """If all tokens were found, nothing would be left to run the model on, and there would be no next
    token.
    """
    return num_tokens // page_size * page_size


@mistake("5.1")
def parts_of_pages(num_tokens: int, page_size: int) -> int:
    """A page has a key only when it is full. What comes after the last full page is computed."""
    return num_tokens - 1


@mistake("5.1")
def everything(num_tokens: int, page_size: int) -> int:
    """The last token is always computed, and only full pages are found."""
    return num_tokens


@mistake("5.1", "Pages, not tokens")
def pages_not_tokens(num_tokens: int, page_size: int) -> int:
    """This counts pages. Tokens are asked for."""
    return (num_tokens - 1) // page_size


@mistake("5.1")
def a_page_too_few(num_tokens: int, page_size: int) -> int:
    """If the last token lies in a page that is not full, all full pages are found."""
    return max(num_tokens // page_size - 1, 0) * page_size


ask_letters(
    "5.2",
    "acf",
    hints=(
        "Three of the six are true. Try the two explorers at page sizes 4 and 64.",
        "What becomes of a common beginning that ends in the middle of a page?",
    ),
    insight="All three are one reason: a page is shared whole, or not at all.",
    remarks="""
        a: This one holds. 100 tokens fill six pages of 16, which are 96 tokens. They fill no page of 128.
        b: The hash is as good. SHA-256 has 256 bits for a page of any size; two pages with one key are out
           of reach.
        c: This one holds. Up to a page less one token is left over: 15 tokens at 16, and 127 at 128.
        d: A table entry is cheap. An entry of a page table is a few bytes, and larger pages need fewer of
           them.
        e: The beginning counts. The key of a page depends on all that comes before it. Where beginnings
           differ nothing is shared, at any size.
        f: This one holds. The page in which two prompts part is held by each of them, with all its common
           tokens.
    """,
)


FreeCase = tuple[list[int], list[int], list[int]]
"""A sequence that ends: its table, the references to each page, and the free pages."""


def free_cases() -> Iterator[FreeCase]:
    """Make sequences that end, the simplest first."""
    yield [0], [1, 0], [1]
    yield [0], [2, 0], [1]
    yield [0, 1], [1, 1, 0], [2]
    yield [0, 1], [2, 1, 0], [2]
    # Page 1 is another sequence's.
    yield [0], [1, 1, 0], [2]
    rng = Random(0)
    for _ in range(20):
        num_pages = rng.randint(4, 9)
        pages = rng.sample(range(num_pages), num_pages)
        num_held = rng.randint(1, num_pages - 1)
        num_own = rng.randint(1, num_held)
        counts = [0] * num_pages
        for page_id in pages[:num_held]:
            counts[page_id] = rng.randint(1, 3)
        yield pages[:num_own], counts, pages[num_held:]


class Freed(NamedTuple):
    """What a sequence left behind when it ended."""

    counts: list[int]
    free_pages: list[int]


def call_free(function: Callable[..., Any], case: FreeCase) -> Freed:
    """Call a function that frees on copies of a case, and keep what it did to them."""
    table, counts, free_pages = map(list, case)
    answer = function(table, counts, free_pages)
    returned = read_whole_numbers(answer, expected="the list `free_pages` was")
    freed = Freed(read_whole_numbers(counts), read_whole_numbers(free_pages))
    if answer is not free_pages and returned != freed.free_pages:
        raise NoAnswerError(
            f"it returned another list, {describe(answer)}. Change the list `free_pages` in place, and return"
            " it"
        )
    keep_as_given([case[0]], [table], ["table"])
    return freed


@ask_function(
    "5.4",
    cases=free_cases,
    tell="the table {0}, counts {1} and free pages {2}",
    call=call_free,
    hints=(
        "How often does a page stand in `free_pages` when two of its three holders have left?",
        "Put the page to the front only when its count has come down to 0.",
    ),
    insight="A page goes back when its last holder leaves, and the count alone tells who that is.",
)
def free(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """Let go of a sequence's pages, so that its last is the next to be taken."""
    for page_id in table:
        counts[page_id] -= 1
        if counts[page_id] == 0:
            free_pages.insert(0, page_id)
    return free_pages


@mistake("5.4")
def freed_while_others_hold_it(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """The count is lowered, and nobody looks at it: this is the mistake of `careless_free`."""
    for page_id in table:
        counts[page_id] -= 1
        free_pages.insert(0, page_id)
    return free_pages


@mistake("5.4")
def the_count_stays(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """A shared page keeps its count here, so it will never come down to 0."""
    for page_id in table:
        if counts[page_id] == 1:
            counts[page_id] = 0
            free_pages.insert(0, page_id)
    return free_pages


@mistake("5.4")
def head_first(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """The pages are right and their order is not. The page that goes to the front last is taken first; that
    is to be the last of the table.
    """
    return free(table[::-1], counts, free_pages)


@mistake("5.4")
def to_the_back(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """The pages are right and their place is not. What stands first in `free_pages` is taken next: a page
    that was just freed is to be that.
    """
    freed: list[int] = []
    free(table, counts, freed)
    free_pages.extend(freed)
    return free_pages


@mistake("5.4", "To the back, head first")
def to_the_back_head_first(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """The pages are right and their place is not. They go to the front, one by one, so that the last of the
    table is the next to be taken.
    """
    freed: list[int] = []
    free(table, counts, freed)
    free_pages.extend(reversed(freed))
    return free_pages


@mistake("5.4")
def one_too_late(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """The count is looked at before it is lowered, so nothing is ever free."""
    for page_id in table:
        if counts[page_id] == 0:
            free_pages.insert(0, page_id)
        counts[page_id] -= 1
    return free_pages


@ask_before("5.1", unit="tokens", because="only whole pages are found")
def found_of_100() -> int:
    """Count what each later request finds of a common beginning of 100 tokens."""
    pool = ask_with_prefix(100, 4, page_size=16, num_own=20)
    return pool.num_found // 3


@ask_before(
    "5.2",
    unit="tokens",
    because="the word at 20 changes the key of the second page, and so of every page after it",
)
def found_before_another_word() -> int:
    """Count what a prompt finds that differs from a known one at position 20."""
    pool, text = PagedAllocator(100, 16, prefix_caching=True), list(range(48))
    pool.allocate("first", text)
    return pool.allocate("second", [*text[:20], 99, *text[21:], 99])


@ask_before(
    "5.3",
    because="C first takes the page that nobody can find, and then the one that has been cached longest, the"
    " end of B",
)
def lost_to_a_newcomer() -> str:
    """Play the small pool, and say whose cached pages were taken."""
    pool = PagedAllocator(6, 4, prefix_caching=True)
    for seq_id, tokens in (("A", range(13)), ("B", range(50, 58))):
        pool.allocate(seq_id, tokens)
    pages_of_b = set(pool.page_table("B"))
    pool.free("A")
    pool.free("B")
    pool.allocate("A", range(13))
    pool.free("A")
    before = set(pool.cached_pages)
    pool.allocate("C", range(90, 95))
    lost = before - set(pool.cached_pages)
    return {(1, 0): "a", (0, 1): "b", (0, 2): "c"}[len(lost - pages_of_b), len(lost & pages_of_b)]


@ask_before(
    "5.4",
    unit="pages",
    because="equal pages are not merged: A and B hold three each, and C shares the two that were sealed first"
    " and takes one",
)
def held_by_twins() -> int:
    """Count the pages of two that compute one prompt side by side, and of a third that comes later."""
    pool = PagedAllocator(12, 4, prefix_caching=True, seal_late=True)
    for name in "AB":
        pool.allocate(name, range(9))
    for name in "BA":
        pool.seal(name)
    pool.allocate("C", range(9))
    return pool.num_pages - pool.num_free_pages


@ask_before("5.5", unit="%", because="each prompt is evicted shortly before it comes again")
def found_in_turn() -> float:
    """Compute the share of tokens that forty prompts in turn find in a pool of half their pages."""
    prompts = [[number] * 65 for number in range(40)] * 10
    return 100 * hit_share(prompts, num_pages=80, page_size=16)


@ask_before(
    "5.6",
    unit="page",
    because="only A writes into a page that B reads too; when B writes, it holds the old page alone",
)
def copies_of_two_samples() -> int:
    """Count the pages that two samples copy when they part in the middle of a page."""
    pool = PagedAllocator(8, 4)
    pool.allocate("A", range(7))
    pool.fork("A", "B")
    return sum(pool.append(seq_id, 0).copy is not None for seq_id in "AB")


@ask_before(
    "5.7",
    unit="tokens",
    because="three samples copy the 7 tokens of the last page, and the fourth writes in place",
)
def copied_by_four_samples() -> int:
    """Count the tokens that four samples of a prompt of 55 copy."""
    pool = sample_in_parallel(55, 4, page_size=16)
    return len(pool.copies) * (55 % 16)
