"""Functions of notebook 02 and the cases to try them on: right answers, and wrong ones that people give."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from paged_demo.allocators.memory_map import CacheFullError, Hole
from paged_demo.allocators.placement import first_fit
from paged_demo.course.exercises.functions import Finding
from paged_demo.course.exercises.verdict import describe

WORDS = ("used", "reserved", "internal", "rounding")


class SlotOfARun(NamedTuple):
    """A slot of the run that a request holds, and what is known about the request."""

    slot: int
    num_tokens: int
    final_tokens: int
    num_reserved: int


def classify(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Name the fate of a slot: the reference of exercise 2.1."""
    if slot < num_tokens:
        return "used"
    if slot < final_tokens:
        return "reserved"
    return "internal" if slot < num_reserved else "rounding"


def classify_cases() -> Iterator[SlotOfARun]:
    """Make slots on both sides of every boundary, and some at random."""
    for run in ((3, 5, 10), (1, 1, 4), (4, 4, 4), (100, 438, 2048)):
        for boundary in run:
            yield SlotOfARun(boundary - 1, *run)
            yield SlotOfARun(boundary, *run)
    rng = Random(0)
    for _ in range(30):
        num_tokens, final_tokens, num_reserved = sorted(rng.sample(range(1, 60), 3))
        yield SlotOfARun(rng.randrange(70), num_tokens, final_tokens, num_reserved)


def tell_slot_of_a_run(case: SlotOfARun) -> str:
    """Write a slot in words."""
    return (
        f"slot {case.slot} of a request that has {case.num_tokens} tokens now, {case.final_tokens} in the"
        f" end, and asked for {case.num_reserved}"
    )


def read_word(value: Any) -> str:
    """Read one of the four words, or say what came."""
    if not isinstance(value, str) or value not in WORDS:
        raise TypeError(f"one of {', '.join(WORDS)} was expected, and it returned {describe(value)}")
    return value


def call_all_waste_internal(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Take every slot without a token for the same waste."""
    return "used" if slot < num_tokens else "internal"


def call_all_waste_reserved(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Take whatever was asked for as reserved."""
    if slot < num_tokens:
        return "used"
    return "reserved" if slot < num_reserved else "rounding"


def forget_rounding(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Take what was never asked for as internal."""
    if slot < num_tokens:
        return "used"
    return "reserved" if slot < final_tokens else "internal"


def count_from_one(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Count slots from 1."""
    return classify(slot - 1, num_tokens, final_tokens, num_reserved)


NUM_POOL_SLOTS = 12


class WatchedPool:
    """A pool under first fit that remembers whether anything was released."""

    def __init__(self) -> None:
        self._placement = first_fit(NUM_POOL_SLOTS)
        self.was_released = False

    def place(self, num_slots: int) -> Hole:
        """Take a run."""
        return self._placement.place(num_slots)

    def release(self, run: Hole) -> None:
        """Give a run back."""
        self.was_released = True
        self._placement.release(run)

    def judge(self, num_slots: int) -> Finding:
        """Say what becomes of one more request."""
        num_free = sum(hole.num_slots for hole in self._placement.holes())
        if num_free == 0:
            return Finding("a request to a pool without free slots")
        if num_slots > num_free:
            return Finding("a request for more slots than are free")
        try:
            self.place(num_slots)
        except CacheFullError:
            return Finding("an allocation that fails although enough slots are free")
        if self.was_released:
            return Finding("a request that fits, into a hole that is long enough")
        return Finding("a request that fits, since nothing was released")


def fragment(pool: Any) -> int:
    """Cut a pool into pieces: the reference of exercise 2.2."""
    runs = [pool.place(4) for _ in range(3)]
    pool.release(runs[0])
    pool.release(runs[2])
    return 8


def call_fragment(function: Callable[..., Any], case: Any) -> Any:
    """Let a function loose on a pool, and say what becomes of the request that it returns."""
    pool = WatchedPool()
    num_slots = function(pool)
    if type(num_slots) is not int or num_slots < 1:
        return num_slots
    return pool.judge(num_slots)


def ask_a_full_pool(pool: Any) -> int:
    """Fill the pool, and ask for one slot more."""
    pool.place(NUM_POOL_SLOTS)
    return 1


def ask_for_too_much(pool: Any) -> int:
    """Fill half of the pool, and ask for one slot more than is left."""
    pool.place(NUM_POOL_SLOTS // 2)
    return NUM_POOL_SLOTS // 2 + 1


def free_neighbours(pool: Any) -> int:
    """Release two runs that lie side by side."""
    runs = [pool.place(4) for _ in range(3)]
    pool.release(runs[0])
    pool.release(runs[1])
    return 8


def release_nothing(pool: Any) -> int:
    """Leave a hole at the end only."""
    pool.place(4)
    return 8
