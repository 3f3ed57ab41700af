"""Exercise 5.5 of notebook 05: a prompt that is refused although it would fit beside a held copy."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.course.exercises.functions import Finding, ask_function, read_finding
from paged_demo.course.exercises.kinds import mistake

PAGE_SIZE = 4


class CrowdedPool:
    """Four pages of four, with prefix caching, for a reader to fill."""

    def __init__(self) -> None:
        self._allocator = PagedAllocator(4, PAGE_SIZE, prefix_caching=True)
        self._prompts: dict[Hashable, list[int]] = {}

    def allocate(self, seq_id: Hashable, tokens: Sequence[int]) -> int:
        """Give a prompt its pages, and return how many of its tokens were found."""
        prompt = list(tokens)
        found = self._allocator.allocate(seq_id, prompt)
        self._prompts[seq_id] = prompt
        return found

    def free(self, seq_id: Hashable) -> None:
        """Let go of a prompt."""
        self._allocator.free(seq_id)
        del self._prompts[seq_id]

    def ask(self, prompt: Sequence[int]) -> Finding:
        """Say what becomes of a prompt, and what would if a held copy were found before a free one."""
        tokens, num_free = list(prompt), self._allocator.num_free_pages
        num_found = self._allocator.find(tokens) // PAGE_SIZE
        prefixes = [tokens[: PAGE_SIZE * number] for number in range(1, num_found + 1)]
        held = [any(other[: len(each)] == each for other in self._prompts.values()) for each in prefixes]
        needed_beside_held = -(-len(tokens) // PAGE_SIZE) - sum(held)
        try:
            self._allocator.allocate(object(), tokens)
        except CacheFullError:
            if needed_beside_held <= num_free:
                return Finding("a prompt that is refused, and would fit beside the held copy")
            return Finding("a prompt that is refused, and would be whichever copy is found")
        if num_found == 0:
            return Finding("a prompt that is granted, and finds nothing")
        taken = num_free - self._allocator.num_free_pages
        if taken == -(-len(tokens) // PAGE_SIZE) - num_found:
            return Finding("a prompt that is granted, and finds a page that is held")
        return Finding("a prompt that is granted, and finds a page that is free")


def call_crowd(function: Callable[..., Any], case: Any) -> Any:
    """Let a function fill a pool, and ask for the prompt that it returns."""
    pool = CrowdedPool()
    prompt = function(pool)
    return pool.ask(prompt) if isinstance(prompt, list | tuple | range) and prompt else prompt


@ask_function(
    "5.5",
    cases=lambda: [()],
    tell="a pool of four pages of 4",
    call=call_crowd,
    read=partial(read_finding, expected="the token ids of a prompt were"),
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
