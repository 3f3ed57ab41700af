"""Exercise 2.2 of notebook 02: a pool that refuses a request although enough slots are free."""

from collections.abc import Callable
from typing import Any

from paged_demo.allocators.memory_map import CacheFullError, Hole
from paged_demo.allocators.placement import first_fit
from paged_demo.course.exercises.functions import Finding, Record, ask_function
from paged_demo.course.exercises.kinds import mistake
from paged_demo.course.exercises.reading import handed_numbers, read_whole_number, unexpected

NUM_POOL_SLOTS = 12


class WatchedPool:
    """A pool under first fit. What is placed and released is written down where it has no field for it.

    Attributes
    ----------
    place : callable
        Takes a run of so many slots.
    release : callable
        Gives a run back.
    """

    def __init__(self, calls: Record[tuple[str, Any]]) -> None:
        placement = first_fit(NUM_POOL_SLOTS)

        def place(num_slots: int) -> Hole:
            run = placement.place(num_slots)
            calls.append(("place", run.num_slots))
            return run

        def release(run: Hole) -> None:
            run = Hole(*handed_numbers("run", run))
            placement.release(run)
            calls.append(("release", run))

        self.place, self.release = place, release


def ask_for_more(function: Callable[..., Any], case: Any) -> Finding:
    """Let a function loose on a pool, and say what becomes of the request that it returns."""
    calls = Record[tuple[str, Any]]()
    expected = "a number of slots from 1 was"
    answer = function(WatchedPool(calls))
    num_slots = read_whole_number(answer, expected=expected)
    if num_slots < 1:
        raise unexpected(expected, answer)
    return what_becomes_of(num_slots, calls)


def what_becomes_of(num_slots: int, calls: list[tuple[str, Any]]) -> Finding:
    """Play calls again on a pool that no answer has touched, and ask it for so many slots."""
    placement = first_fit(NUM_POOL_SLOTS)
    for name, argument in calls:
        getattr(placement, name)(argument)
    num_free = sum(hole.num_slots for hole in placement.holes())
    if num_free == 0:
        return Finding("a request to a pool without free slots")
    if num_slots > num_free:
        return Finding("a request for more slots than are free")
    try:
        placement.place(num_slots)
    except CacheFullError:
        return Finding("an allocation that fails although enough slots are free")
    if any(name == "release" for name, _ in calls):
        return Finding("a request that fits, into a hole that is long enough")
    return Finding("a request that fits, since nothing was released")


@ask_function(
    "2.2",
    cases=lambda: [()],
    tell=f"a pool of {NUM_POOL_SLOTS} slots",
    call=ask_for_more,
    hints=(
        "You need two holes, with something between them that stays.",
        "Place three runs, and release the first and the last. How much is free, and in how long a hole?",
    ),
    insight=(
        "Enough is free, and none of the holes is long enough: external waste. Pages of one size cannot have"
        " it."
    ),
)
def fragment(pool: WatchedPool) -> int:
    """Cut a pool into pieces."""
    runs = [pool.place(4) for _ in range(3)]
    pool.release(runs[0])
    pool.release(runs[2])
    return 8


@mistake("2.2")
def simply_full(pool: WatchedPool) -> int:
    """A pool without free slots refuses everybody. The question is how one with enough free slots can."""
    pool.place(NUM_POOL_SLOTS)
    return 1


@mistake("2.2")
def more_than_is_free(pool: WatchedPool) -> int:
    """Every pool refuses that, in however few pieces its free slots lie. Ask for what is free."""
    return NUM_POOL_SLOTS + 1


@mistake("2.2")
def neighbours_merge(pool: WatchedPool) -> int:
    """Two holes side by side become one. Something has to stay between them."""
    runs = [pool.place(4) for _ in range(3)]
    pool.release(runs[0])
    pool.release(runs[1])
    return 8


@mistake("2.2")
def one_hole_only(pool: WatchedPool) -> int:
    """All that is free lies in one piece here, at the end. Holes come from runs that are released."""
    pool.place(4)
    return 8
