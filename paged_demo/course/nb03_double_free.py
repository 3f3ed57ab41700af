"""Exercise 3.3 of notebook 03: how a pool that trusts its callers comes to give one page to two of them."""

import operator
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from paged_demo.allocators.page_pool import PagePool
from paged_demo.course.exercises.functions import Finding, Record, ask_function
from paged_demo.course.exercises.kinds import mistake
from paged_demo.course.exercises.reading import read_whole_numbers, unexpected

NUM_POOL_PAGES = 2


class TrustingPool:
    """A pool that believes its callers, as the one in notebook 03 does: a row of free pages, no more.

    What is taken and released is written down where it has no field for it.

    Attributes
    ----------
    free_pages : deque of int
        The row.
    take : callable
        Takes the page at the front.
    release : callable
        Puts a page back at the front.
    """

    def __init__(self, num_pages: int, calls: Record[tuple[str, int]]) -> None:
        self.free_pages = deque(range(num_pages))

        def take() -> int:
            page_id = self.free_pages.popleft()
            calls.append(("take", page_id))
            return page_id

        def release(page_id: int) -> None:
            page_id = operator.index(page_id)
            self.free_pages.appendleft(page_id)
            calls.append(("release", page_id))

        self.take, self.release = take, release


def call_provoke(function: Callable[..., Any], case: Any) -> Finding:
    """Let a function loose on a pool that trusts it, and say what came of it."""
    calls = Record[tuple[str, int]]()
    answer = function(TrustingPool(NUM_POOL_PAGES, calls))
    expected = "the pages of two sequences were"
    pages = read_whole_numbers(answer, expected=expected)
    if len(pages) != 2:
        raise unexpected(expected, answer)
    return what_came_of(pages[0], pages[1], calls)


def what_came_of(first: int, second: int, calls: list[tuple[str, int]]) -> Finding:
    """Play calls again on a pool that no answer has touched, and look at the two pages."""
    free_pages = deque(range(NUM_POOL_PAGES))
    given: list[int] = []
    num_holders: Counter[int] = Counter()
    held_twice: set[int] = set()
    freed_twice: set[int] = set()
    never_taken: set[int] = set()
    for name, page_id in calls:
        if name == "take":
            given.append(free_pages.popleft())
            num_holders[given[-1]] += 1
            if num_holders[given[-1]] > 1:
                held_twice.add(given[-1])
        elif num_holders[page_id] > 0:
            num_holders[page_id] -= 1
            free_pages.appendleft(page_id)
        else:
            (freed_twice if page_id in given else never_taken).add(page_id)
            free_pages.appendleft(page_id)
    if first != second:
        return Finding("two different pages" + (", though one was freed twice" if freed_twice else ""))
    faults = {
        "which the pool gave once": given.count(first) < 2,
        "which is none of the pool's": first not in range(NUM_POOL_PAGES),
        "which was released without having been taken": first in never_taken - freed_twice,
        "which was never freed twice": first not in freed_twice,
        "which the one gave back before the other got it": first not in held_twice,
    }
    for fault, is_so in faults.items():
        if is_so:
            return Finding(f"one page for both, {fault}")
    return Finding("one page for two sequences, since it was freed twice")


def refusal() -> str:
    """Ask the package's own pool to play along, and return what it says."""
    pool = PagePool(NUM_POOL_PAGES)
    page_id = pool.take()
    pool.release(page_id)
    try:
        pool.release(page_id)
    except ValueError as error:
        return str(error)
    raise AssertionError("PagePool let a page be released twice")


@ask_function(
    "3.3",
    cases=lambda: [()],
    tell=f"a pool of {NUM_POOL_PAGES} pages",
    call=call_provoke,
    hints=(
        "Release a page twice. How often does it stand in the row of free pages then?",
        "The pool gives out the page at the front. Take twice, and return both.",
    ),
    insight=(
        "Two sequences now write to one page, and each reads the other's tokens. Neither release nor take"
        f" notices. The package's `PagePool` stops at the second release: `{refusal()}`."
    ),
)
def provoke(pool: TrustingPool) -> tuple[int, int]:
    """Make a pool give one page to two sequences."""
    page_id = pool.take()
    pool.release(page_id)
    pool.release(page_id)
    return pool.take(), pool.take()


@mistake("3.3")
def freed_once_only(pool: TrustingPool) -> tuple[int, int]:
    """Freed once, a page stands in the row once, and one sequence gets it."""
    pool.release(pool.take())
    return pool.take(), pool.take()


@mistake("3.3")
def shared_by_hand(pool: TrustingPool) -> tuple[int, int]:
    """The function used one page twice; the pool gave it once. That is sharing, and a later notebook does it
    with a count of the holders.
    """
    page_id = pool.take()
    return page_id, page_id


@mistake("3.3")
def used_after_it_was_freed(pool: TrustingPool) -> tuple[int, int]:
    """Each release came while the page was taken, so the pool sees nothing wrong: a sequence goes on with a
    page that it gave back, or gives back one that is another's by now. Both are bugs, and relatives. Here
    release a page that is free already.
    """
    page_id = pool.take()
    pool.release(page_id)
    return page_id, pool.take()


@mistake("3.3")
def one_take_too_few(pool: TrustingPool) -> tuple[int, int]:
    """The page stands in the row twice, but not at its front both times: take on."""
    page_id, other_page = pool.take(), pool.take()
    for released in (page_id, page_id, other_page):
        pool.release(released)
    return pool.take(), pool.take()
