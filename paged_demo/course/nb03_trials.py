"""Functions of notebook 03 and the cases to try them on: right answers, and wrong ones that people give."""

from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from paged_demo.allocators.page_pool import PagePool
from paged_demo.course.exercises.functions import Finding, read_whole_number, read_whole_numbers

if TYPE_CHECKING:
    from paged_demo.views.picture import Picture


class SlotCase(NamedTuple):
    """A token to look up: its sequence's page table, its position, and the page size."""

    page_table: list[int]
    position: int
    page_size: int


def slot(page_table: list[int], position: int, page_size: int) -> int:
    """Return the slot of the token at a position: the reference of exercise 3.1."""
    page, offset = divmod(position, page_size)
    return page_table[page] * page_size + offset


def slot_cases() -> Iterator[SlotCase]:
    """Make tokens to look up, around the boundaries of pages first."""
    page_table = [7, 1, 3]
    for page_size in (4, 2, 1, 16):
        for position in (0, page_size - 1, page_size, page_size + 1, 3 * page_size - 1):
            if 0 <= position < 3 * page_size:
                yield SlotCase(page_table, position, page_size)
    rng = Random(0)
    for _ in range(40):
        page_size = rng.randint(1, 32)
        table = rng.sample(range(100), rng.randint(1, 8))
        yield SlotCase(table, rng.randrange(len(table) * page_size), page_size)


def tell_slot_case(case: SlotCase) -> str:
    """Write a token to look up in words."""
    return f"position {case.position} in the page table {case.page_table}, with pages of {case.page_size}"


class AppendCase(NamedTuple):
    """A sequence that is to grow by one token, and the free pages, next to be taken first."""

    page_table: list[int]
    num_tokens: int
    free_pages: list[int]
    page_size: int


def append(page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int) -> int:
    """Return the slot of the next token, taking a page if it starts one: the reference of 3.2."""
    if num_tokens % page_size == 0:
        page_table.append(free_pages.pop(0))
    return page_table[-1] * page_size + num_tokens % page_size


def append_cases() -> Iterator[AppendCase]:
    """Make sequences of 0, P - 1, P and P + 1 tokens, and others; the smallest first."""
    for page_size in (4, 2, 1, 16):
        lengths = {0, page_size - 1, page_size, page_size + 1, 2 * page_size - 1, 2 * page_size}
        for num_tokens in sorted(lengths):
            num_pages = -(-num_tokens // page_size)
            # Pages 3 and 4 of the six are somebody else's.
            pages = [2, 0, 5, 1]
            yield AppendCase(pages[:num_pages], num_tokens, pages[num_pages:], page_size)
    rng = Random(0)
    for _ in range(30):
        page_size = rng.randint(1, 32)
        num_tokens = rng.randint(0, 5 * page_size)
        pages = rng.sample(range(50), 12)
        num_pages = -(-num_tokens // page_size)
        yield AppendCase(pages[:num_pages], num_tokens, pages[num_pages:], page_size)


class Appended(NamedTuple):
    """What an append gave back, and what it left behind."""

    slot: Any
    page_table: list[int]
    free_pages: list[int]


def call_append(function: Callable[..., Any], case: AppendCase) -> Any:
    """Call an append on copies of a case, and keep what it did to them."""
    page_table, free_pages = list(case.page_table), list(case.free_pages)
    answer = function(page_table, case.num_tokens, free_pages, case.page_size)
    return answer if answer is None or answer is ... else Appended(answer, page_table, free_pages)


def read_append(appended: Appended) -> Appended:
    """Read the slot that an append gave back, and the lists that it changed."""
    slot, *lists = appended
    return Appended(read_whole_number(slot), *map(read_whole_numbers, lists))


def tell_append_case(case: AppendCase) -> str:
    """Write a sequence that is to grow in words."""
    return (
        f"a sequence of {case.num_tokens} tokens in the pages {case.page_table}, free pages"
        f" {case.free_pages}, pages of {case.page_size}"
    )


def append_eagerly(page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int) -> int:
    """Take the next page as soon as one is full."""
    if not page_table:
        page_table.append(free_pages.pop(0))
    slot = page_table[num_tokens // page_size] * page_size + num_tokens % page_size
    if (num_tokens + 1) % page_size == 0:
        page_table.append(free_pages.pop(0))
    return slot


def append_beyond_the_page(
    page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int
) -> int:
    """Take one page, and write on beyond its end."""
    if not page_table:
        page_table.append(free_pages.pop(0))
    return page_table[0] * page_size + num_tokens


def append_without_taking(
    page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int
) -> int:
    """Look the slot up, and never take a page."""
    return page_table[num_tokens // page_size] * page_size + num_tokens % page_size


def append_but_not_the_first(
    page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int
) -> int:
    """Take a page at each boundary, but not for the first token."""
    if num_tokens > 0 and num_tokens % page_size == 0:
        page_table.append(free_pages.pop(0))
    return page_table[-1] * page_size + num_tokens % page_size


def append_a_page_a_token(
    page_table: list[int], num_tokens: int, free_pages: list[int], page_size: int
) -> int:
    """Take a page for every token."""
    page_table.append(free_pages.pop(0))
    return page_table[-1] * page_size + num_tokens % page_size


class TrustingPool:
    """A pool that believes its callers, as the one in notebook 03 does: a queue of free pages, no more."""

    def __init__(self, num_pages: int) -> None:
        self.free_pages = deque(range(num_pages))
        self.given: list[int] = []
        self.was_freed_twice = False

    def take(self) -> int:
        """Take the page that has been free longest."""
        self.given.append(self.free_pages.popleft())
        return self.given[-1]

    def release(self, page_id: int) -> None:
        """Put a page back."""
        self.was_freed_twice |= page_id in self.free_pages
        self.free_pages.append(page_id)


NUM_POOL_PAGES = 2


def provoke(pool: Any) -> tuple[int, int]:
    """Make a pool give one page to two sequences: the reference of exercise 3.3."""
    page_id = pool.take()
    pool.release(page_id)
    pool.release(page_id)
    pool.take()
    return pool.take(), pool.take()


def call_provoke(function: Callable[..., Any], case: Any) -> Any:
    """Let a function loose on a pool that trusts it, and say what came of it."""
    pool = TrustingPool(NUM_POOL_PAGES)
    answer = function(pool)
    if not isinstance(answer, tuple | list) or [type(page_id) for page_id in answer] != [int, int]:
        return answer
    first, second = answer
    if first != second:
        return Finding(
            "two different pages" + (", though one was freed twice" if pool.was_freed_twice else "")
        )
    if pool.given.count(first) < 2:
        return Finding("one page for both, which the pool gave once")
    if not pool.was_freed_twice:
        return Finding("one page for both, which was never freed twice")
    return Finding("one page for two sequences, since it was freed twice")


def share_by_hand(pool: Any) -> tuple[int, int]:
    """Take one page and use it twice."""
    page_id = pool.take()
    return page_id, page_id


def release_once(pool: Any) -> tuple[int, int]:
    """Take, release once, and take again."""
    pool.release(pool.take())
    return pool.take(), pool.take()


def use_after_free(pool: Any) -> tuple[int, int]:
    """Keep the number of a page that went back to the pool, until the pool gives it out again."""
    page_id = pool.take()
    pool.release(page_id)
    pool.take()
    return page_id, pool.take()


def release_twice_and_stop(pool: Any) -> tuple[int, int]:
    """Release twice, but take no further than the other page."""
    page_id = pool.take()
    pool.release(page_id)
    pool.release(page_id)
    return pool.take(), pool.take()


def refusal() -> str:
    """Ask the package's own pool to play along, and return what it says."""
    try:
        provoke(PagePool(NUM_POOL_PAGES))
    except ValueError as error:
        return str(error)
    raise AssertionError("PagePool let a page be released twice")


def draw_slot_case(case: SlotCase, expected: int, came: int | None) -> "Picture | None":
    """Draw the pool of a token to look up."""
    num_tokens = len(case.page_table) * case.page_size
    num_pages = max(case.page_table) + 1
    return _draw({"A": (case.page_table, num_tokens)}, num_pages, case.page_size, expected, came)


def draw_append_case(case: AppendCase, expected: Appended, came: Appended | None) -> "Picture | None":
    """Draw the pool before the token is appended. What is neither held nor free is another sequence's."""
    known = {*case.page_table, *case.free_pages}
    num_pages = max(known) + 1
    others = [page_id for page_id in range(num_pages) if page_id not in known]
    held = {"A": (case.page_table, case.num_tokens), "B": (others, len(others) * case.page_size)}
    return _draw(held, num_pages, case.page_size, expected.slot, came.slot if came else None)


def _draw(*pool_and_slots: Any) -> "Picture | None":
    # Loads Matplotlib, which nobody needs whose answer is right.
    from paged_demo.course.exercises import drawing  # noqa: PLC0415

    return drawing.pool_with_marks(*pool_and_slots)
