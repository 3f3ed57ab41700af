"""Functions of notebook 05 and the cases to try them on: right answers, and wrong ones that people give."""

from collections.abc import Callable, Iterator
from itertools import product
from random import Random
from typing import Any, NamedTuple

from paged_demo.course.exercises.functions import read_whole_numbers
from paged_demo.course.exercises.verdict import describe


class FreeCase(NamedTuple):
    """A sequence that ends: its table, the references to each page, and the free pages."""

    table: list[int]
    counts: list[int]
    free_pages: list[int]


class Freed(NamedTuple):
    """What a sequence left behind when it ended."""

    counts: list[int]
    free_pages: list[int]


def free(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """Let go of a sequence's pages, its last first: the reference of exercise 5.3."""
    for page_id in reversed(table):
        counts[page_id] -= 1
        if counts[page_id] == 0:
            free_pages.append(page_id)
    return free_pages


def free_cases() -> Iterator[FreeCase]:
    """Make sequences that end, the simplest first."""
    yield FreeCase([0], [1, 0], [1])
    yield FreeCase([0], [2, 0], [1])
    yield FreeCase([0, 1], [1, 1, 0], [2])
    yield FreeCase([0, 1], [2, 1, 0], [2])
    rng = Random(0)
    for _ in range(20):
        num_pages = rng.randint(4, 9)
        pages = rng.sample(range(num_pages), num_pages)
        num_held = rng.randint(1, num_pages - 1)
        counts = [0] * num_pages
        for page_id in pages[:num_held]:
            counts[page_id] = rng.randint(1, 3)
        yield FreeCase(pages[:num_held], counts, pages[num_held:])


def call_free(function: Callable[..., Any], case: FreeCase) -> Any:
    """Call a function that frees on copies of a case, and keep what it did to them."""
    counts, free_pages = list(case.counts), list(case.free_pages)
    answer = function(list(case.table), counts, free_pages)
    if not isinstance(answer, list) or answer != free_pages:
        return answer
    return Freed(counts, free_pages)


def read_free(freed: Any) -> Freed:
    """Pass on what a function freed; anything else is what it returned instead."""
    if isinstance(freed, list):
        raise TypeError(
            f"it returned another list, {describe(freed)}. Change the list `free_pages` in place, and return"
            " it"
        )
    if not isinstance(freed, Freed):
        raise TypeError(f"the list `free_pages` was expected, and it returned {describe(freed)}")
    return Freed(*map(read_whole_numbers, freed))


def tell_free_case(case: FreeCase) -> str:
    """Write a sequence that ends in words."""
    return f"the table {case.table}, counts {case.counts} and free pages {case.free_pages}"


def free_without_counting(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """Give every page back, whoever else holds it: the mistake to be found."""
    for page_id in reversed(table):
        counts[page_id] -= 1
        free_pages.append(page_id)
    return free_pages


def free_only_what_is_alone(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """Leave the count of a shared page as it is."""
    for page_id in reversed(table):
        if counts[page_id] == 1:
            counts[page_id] = 0
            free_pages.append(page_id)
    return free_pages


def free_the_head_first(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """Give pages back in the order of the tokens."""
    return free(table[::-1], counts, free_pages)


def free_too_late(table: list[int], counts: list[int], free_pages: list[int]) -> list[int]:
    """Look at the count before it is lowered."""
    for page_id in reversed(table):
        if counts[page_id] == 0:
            free_pages.append(page_id)
        counts[page_id] -= 1
    return free_pages


class HitCase(NamedTuple):
    """A prompt that is asked twice."""

    num_tokens: int
    page_size: int


def hit(num_tokens: int, page_size: int) -> int:
    """Count the tokens that a prompt finds the second time: the reference of exercise 5.4."""
    return (num_tokens - 1) // page_size * page_size


def hit_cases() -> Iterator[HitCase]:
    """Make prompts, those around the end of a page first."""
    for num_tokens, page_size in product((48, 49, 15, 16, 17, 1, 100), (16, 4, 1)):
        yield HitCase(num_tokens, page_size)


def tell_hit_case(case: HitCase) -> str:
    """Write a prompt in words."""
    return f"{case.num_tokens} tokens asked twice, with pages of {case.page_size}"
