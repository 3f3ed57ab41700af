"""Where in the pool a run of slots is placed: first fit, best fit, or buddies."""

from bisect import bisect
from collections.abc import Callable
from typing import Protocol

from paged_demo.allocators.memory_map import CacheFullError, Hole
from paged_demo.checks import check_count


class Placement(Protocol):
    """Gives out runs of slots of one pool, and takes them back."""

    @property
    def unit_slots(self) -> int:
        """The shortest run that is given out."""

    def place(self, num_slots: int) -> Hole:
        """Take a run of at least ``num_slots`` slots.

        Raises
        ------
        CacheFullError
            If no free run is long enough. Nothing has changed then.
        """

    def release(self, run: Hole) -> None:
        """Take back a run that `place` gave out.

        Raises
        ------
        ValueError
            If it did not, or has the run back already. Nothing has changed then.
        """

    def holes(self) -> tuple[Hole, ...]:
        """List the free runs that `place` can use, in the order of their addresses."""


PlacementPolicy = Callable[[int], Placement]
"""Makes the placement for a pool of so many slots."""


def first_fit(num_slots: int) -> Placement:
    """Place each run at the lowest address where it fits, in exactly the slots asked for."""
    return _FreeRuns(num_slots, choose=lambda fitting: fitting[0])


def best_fit(num_slots: int) -> Placement:
    """Place each run in the shortest hole that takes it, in exactly the slots asked for."""
    return _FreeRuns(num_slots, choose=lambda fitting: min(fitting, key=lambda hole: hole.num_slots))


def buddy(num_slots: int, *, unit_slots: int = 16, max_tokens: int = 2048) -> Placement:
    """Place runs in chunks of a power-of-two number of units, halved and merged in pairs.

    Parameters
    ----------
    num_slots : int
        Slots in the pool.
    unit_slots : int
        The smallest chunk. Requests are rounded up to units, then to a power of two.
    max_tokens : int
        The longest sequence; no chunk is longer than the power of two of units that holds it.

    References
    ----------
    Kwon et al. (2023), section 6.1: Orca's memory manager is assumed to be a buddy allocator.
    """
    return _Buddies(num_slots, unit_slots=unit_slots, max_tokens=max_tokens)


class _FreeRuns:
    """All free runs in the order of their addresses; neighbours are always merged."""

    unit_slots = 1

    def __init__(self, num_slots: int, *, choose: Callable[[list[Hole]], Hole]) -> None:
        self._holes = [Hole(0, check_count("num_slots", num_slots))]
        self._choose = choose
        self._placed: dict[Hole, Hole] = {}

    def place(self, num_slots: int) -> Hole:
        num_slots = check_count("num_slots", num_slots)
        fitting = [hole for hole in self._holes if hole.num_slots >= num_slots]
        if not fitting:
            raise _no_room(num_slots, [hole.num_slots for hole in self._holes])
        hole = self._choose(fitting)
        index = bisect(self._holes, hole) - 1
        rest = Hole(hole.start_slot + num_slots, hole.num_slots - num_slots)
        self._holes[index : index + 1] = [rest] if rest.num_slots else []
        return _noted(self._placed, Hole(hole.start_slot, num_slots))

    def release(self, run: Hole) -> None:
        run = _forget(self._placed, run)
        start, num_slots = run
        index = bisect(self._holes, run)
        first, last = index, index
        if index > 0 and sum(self._holes[index - 1]) == start:
            first = index - 1
            start, num_slots = self._holes[first].start_slot, self._holes[first].num_slots + num_slots
        if index < len(self._holes) and self._holes[index].start_slot == sum(run):
            last = index + 1
            num_slots += self._holes[index].num_slots
        self._holes[first:last] = [Hole(start, num_slots)]

    def holes(self) -> tuple[Hole, ...]:
        return tuple(self._holes)


class _Buddies:
    """Free chunks by size. A chunk of 2n slots splits into two buddies of n, which merge again."""

    def __init__(self, num_slots: int, *, unit_slots: int, max_tokens: int) -> None:
        num_slots = check_count("num_slots", num_slots)
        self.unit_slots = check_count("unit_slots", unit_slots)
        largest = self._chunk_slots(check_count("max_tokens", max_tokens))
        # The free chunks of each size: a dict is a stack from whose middle a buddy can be removed.
        self._free: dict[int, dict[int, None]] = {}
        size = self.unit_slots
        while size <= largest:
            self._free[size] = {}
            size *= 2
        start = 0
        for size, starts in reversed(self._free.items()):
            num_chunks = (num_slots - start) // size
            starts.update((start + index * size, None) for index in reversed(range(num_chunks)))
            start += num_chunks * size
        self._remnant = Hole(start, num_slots - start)
        self._placed: dict[Hole, Hole] = {}

    def place(self, num_slots: int) -> Hole:
        wanted = self._chunk_slots(check_count("num_slots", num_slots))
        for size, starts in self._free.items():
            if starts and size >= wanted:
                break
        else:
            lengths = [size for size, starts in self._free.items() for _ in starts]
            raise _no_room(wanted, [*lengths, self._remnant.num_slots])
        start, _ = starts.popitem()
        while size > wanted:
            size //= 2
            self._free[size][start + size] = None
        return _noted(self._placed, Hole(start, wanted))

    def release(self, run: Hole) -> None:
        start, size = _forget(self._placed, run)
        while (buddy_start := self._buddy_start(start, size)) in self._free[size] and 2 * size in self._free:
            del self._free[size][buddy_start]
            start = min(start, buddy_start)
            size *= 2
        self._free[size][start] = None

    def holes(self) -> tuple[Hole, ...]:
        chunks = [Hole(start, size) for size, starts in self._free.items() for start in starts]
        remnant = [self._remnant] if self._remnant.num_slots else []
        return tuple(sorted(chunks + remnant))

    def _chunk_slots(self, num_slots: int) -> int:
        num_units = -(-num_slots // self.unit_slots)
        return self.unit_slots * next_power_of_two(num_units)

    def _buddy_start(self, start: int, size: int) -> int:
        return start - size if (start // size) % 2 else start + size


def _noted(placed: dict[Hole, Hole], run: Hole) -> Hole:
    placed[run] = run
    return run


def _forget(placed: dict[Hole, Hole], run: Hole) -> Hole:
    """Return the run that was placed, whatever numbers that are equal came."""
    if run not in placed:
        raise ValueError(f"run must be one that was placed and not yet released, got {run!r}")
    return placed.pop(run)


def next_power_of_two(count: int) -> int:
    """Round a count up to a power of two.

    Examples
    --------
    >>> [next_power_of_two(count) for count in (1, 2, 3, 16, 17)]
    [1, 2, 4, 16, 32]
    """
    return 1 << (count - 1).bit_length()


def _no_room(needed: int, lengths: list[int]) -> CacheFullError:
    longest = max(lengths, default=0)
    return CacheFullError(
        needed=needed, free=sum(lengths), unit="slots", where=f", the longest run has {longest}"
    )
