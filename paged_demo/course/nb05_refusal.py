"""Exercise 5.5 of notebook 05: a prompt that is refused although it would fit beside a held copy."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.course.exercises.functions import Finding, Record, ask_function
from paged_demo.course.exercises.kinds import mistake
from paged_demo.course.exercises.reading import handed_numbers, read_whole_numbers, unexpected

PAGE_SIZE = 4

Call = tuple[int, list[int] | None]
"""The number of a prompt, and its tokens, or None when it is let go."""


class CrowdedPool:
    """Four pages of four, with prefix caching, for a reader to fill. It writes down what was done."""

    def __init__(self, calls: Record[Call]) -> None:
        self._allocator = make_allocator()
        self._calls = calls
        self._numbers: dict[Hashable, int] = {}

    def allocate(self, seq_id: Hashable, tokens: Sequence[int]) -> int:
        """Give a prompt its pages, and return how many of its tokens were found."""
        prompt = handed_numbers("tokens", tokens)
        found = self._allocator.allocate(seq_id, prompt)
        self._numbers[seq_id] = len(self._calls)
        self._calls.append((len(self._calls), prompt))
        return found

    def free(self, seq_id: Hashable) -> None:
        """Let go of a prompt."""
        self._allocator.free(seq_id)
        self._calls.append((self._numbers.pop(seq_id), None))


def make_allocator() -> PagedAllocator:
    """Make the pool that a reader is to fill."""
    return PagedAllocator(4, PAGE_SIZE, prefix_caching=True)


def call_crowd(function: Callable[..., Any], case: Any) -> Finding:
    """Let a function fill a pool, and ask for the prompt that it returns."""
    calls = Record[Call]()
    answer = function(CrowdedPool(calls))
    expected = "the token ids of a prompt were"
    prompt = read_whole_numbers(answer, expected=expected)
    if not prompt:
        raise unexpected(expected, answer)
    return what_becomes_of(prompt, calls)


def what_becomes_of(prompt: list[int], calls: list[Call]) -> Finding:
    """Play calls again on a pool that no answer has touched, and ask it for a prompt.

    What is told is also what would become of it if a held copy were found before a free one.
    """
    allocator = make_allocator()
    prompts: dict[int, list[int]] = {}
    for number, tokens in calls:
        if tokens is None:
            allocator.free(number)
            del prompts[number]
        else:
            allocator.allocate(number, tokens)
            prompts[number] = tokens
    num_free = allocator.num_free_pages
    num_found = allocator.find(prompt) // PAGE_SIZE
    prefixes = [prompt[: PAGE_SIZE * number] for number in range(1, num_found + 1)]
    held = [any(other[: len(each)] == each for other in prompts.values()) for each in prefixes]
    needed_beside_held = -(-len(prompt) // PAGE_SIZE) - sum(held)
    try:
        allocator.allocate("the prompt", prompt)
    except CacheFullError:
        if needed_beside_held <= num_free:
            return Finding("a prompt that is refused, and would fit beside the held copy")
        return Finding("a prompt that is refused, and would be whichever copy is found")
    if num_found == 0:
        return Finding("a prompt that is granted, and finds nothing")
    taken = num_free - allocator.num_free_pages
    if taken == -(-len(prompt) // PAGE_SIZE) - num_found:
        return Finding("a prompt that is granted, and finds a page that is held")
    return Finding("a prompt that is granted, and finds a page that is free")


@ask_function(
    "5.5",
    cases=lambda: [()],
    tell="a pool of four pages of 4",
    call=call_crowd,
    hints=(
        "Two prompts of exactly one page: the second does not find the first, so there are two copies.",
        "Free the prompt that was there first: its copy is free, and still the one that is found. Then fill"
        " the pool, until that is the only free page.",
        "Ask for the page and one token more. It needs a page for the hit and one for the token.",
    ),
    insight=(
        "A hit on a free page costs a free page, a hit on a held one costs none. Of two copies the one sealed"
        " first is found, whichever costs less. vLLM 0.33.0 refuses here as well."
    ),
)
def crowd(pool: CrowdedPool) -> list[int]:
    """Fill a pool, and return a prompt that is refused although it would fit beside a held copy."""
    page = [1, 2, 3, 4]
    pool.allocate("A", page)
    pool.allocate("B", page)
    pool.free("A")
    pool.allocate("C", [7])
    pool.allocate("D", [8])
    return [*page, 5]


@mistake("5.5")
def refused_in_any_case(pool: CrowdedPool) -> list[int]:
    """It is refused, and would be whichever copy were found: too few pages are free even for a hit that costs
    nothing. Leave one page free: that of the copy that is found.
    """
    return list(range(17))


@mistake("5.5")
def nothing_is_found(pool: CrowdedPool) -> list[int]:
    """The prompt finds nothing, so it has no hit to pay for. It must begin with a page that is in the cache,
    and have a token more, since the last token is never found.
    """
    return [1, 2, 3, 4]


@mistake("5.5")
def there_is_room(pool: CrowdedPool) -> list[int]:
    """The copy that is found is free, but so are other pages, and there are enough for the hit and for the
    rest. Fill the pool, until the found page is the only free one.
    """
    page = [1, 2, 3, 4]
    pool.allocate("A", page)
    pool.allocate("B", page)
    pool.free("A")
    return [*page, 5]


@mistake("5.5")
def the_held_copy_is_found(pool: CrowdedPool) -> list[int]:
    """The copy that was sealed first is held here, so it is found, and a hit on it costs nothing. Free that
    one, and hold the other.
    """
    page = [1, 2, 3, 4]
    pool.allocate("A", page)
    pool.allocate("B", page)
    pool.free("B")
    pool.allocate("C", [7])
    pool.allocate("D", [8])
    return [*page, 5]
