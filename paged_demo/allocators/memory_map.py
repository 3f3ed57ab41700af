"""Snapshots of a KV cache, and the account of where its slots went.

A *slot* is room for the keys and values of one token in all layers. ``memory_map()`` of an
allocator is a frozen picture of which sequence holds which slots; ``account`` sorts the slots of
such a picture by their fate.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from operator import index
from typing import Any, NamedTuple

from paged_demo.checks import check_count, check_whole, keep_checked


class CacheFullError(RuntimeError):
    """Raised when there is no room; nothing has changed.

    Attributes
    ----------
    needed, free : int
        What was asked for and what was free, in ``unit``.
    unit : str
        ``"pages"`` or ``"slots"``.

    Examples
    --------
    >>> raise CacheFullError(needed=3, free=1, unit="pages")
    Traceback (most recent call last):
    paged_demo.allocators.memory_map.CacheFullError: need 3 pages, 1 free
    """

    def __init__(self, *, needed: int, free: int, unit: str, where: str = "") -> None:
        self.needed = needed
        self.free = free
        self.unit = unit
        self._where = where
        asked = unit.removesuffix("s") if needed == 1 else unit
        super().__init__(f"need {needed} {asked}, {free} free{where}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make an equal error, so that it can cross processes."""
        make = partial(CacheFullError, needed=self.needed, free=self.free, unit=self.unit, where=self._where)
        return make, ()


class Region(NamedTuple):
    """A run of slots that is taken, or a cached page.

    Attributes
    ----------
    start_slot, num_slots : int
        Where it lies, and how many slots it takes from the pool.
    num_reserved : int
        Slots that were asked for; fewer than ``num_slots`` where the placement rounds up.
    num_tokens : int
        Slots that hold a token, counted from ``start_slot``.
    seq_ids : tuple
        The sequences that hold it: several share it, none means a free cached page.
    """

    start_slot: int
    num_slots: int
    num_reserved: int
    num_tokens: int
    seq_ids: tuple[Hashable, ...]


class Hole(NamedTuple):
    """A free run of slots, as the allocator's placement can give it out.

    Two holes may be neighbours: a buddy allocator cannot use them as one.
    """

    start_slot: int
    num_slots: int


def holes_between(regions: Sequence[Region], num_slots: int) -> tuple[Hole, ...]:
    """Find the longest runs that regions, in the order of their addresses, leave free in a pool.

    Examples
    --------
    >>> holes_between([Region(4, 4, 4, 3, ("a",))], num_slots=16)
    (Hole(start_slot=0, num_slots=4), Hole(start_slot=8, num_slots=8))
    """
    starts = [0, *(region.start_slot + region.num_slots for region in regions)]
    ends = [*(region.start_slot for region in regions), num_slots]
    return tuple(Hole(start, end - start) for start, end in zip(starts, ends, strict=True) if start < end)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMap:
    """Who holds which slots of a pool at one moment.

    Attributes
    ----------
    num_slots : int
        Size of the pool. Regions and holes cover it exactly.
    regions : tuple of Region
        In the order of their addresses.
    holes : tuple of Hole
        In the order of their addresses.
    page_size : int or None
        Slots in a page; None if the pool has no pages.
    unit_slots : int
        The shortest run that the placement gives out.
    """

    num_slots: int
    regions: tuple[Region, ...]
    holes: tuple[Hole, ...]
    page_size: int | None = None
    unit_slots: int = 1

    def __post_init__(self) -> None:
        keep_checked(self, check_whole, "num_slots", "unit_slots")
        if self.page_size is not None:
            keep_checked(self, check_whole, "page_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUsage:
    """The slots of a pool, sorted by their fate. They sum to the pool.

    Attributes
    ----------
    used : int
        Hold a token.
    reserved : int
        Held; a token of their sequence will be written there later.
    internal : int
        Held, asked for, and never written.
    rounding : int
        Held because the placement gave more than was asked for.
    external : int
        Free, but in a run that is too short for the next request.
    cached : int
        Free, and their full page can still be found.
    free : int
        Free, and not cached.

    References
    ----------
    Kwon et al. (2023), section 3 and Fig. 2, name reserved, internal and external. What they call
    "external fragmentation & others" we take to be ``rounding + external + free``.
    """

    used: int
    reserved: int
    internal: int
    rounding: int
    external: int
    cached: int
    free: int

    def __post_init__(self) -> None:
        keep_checked(self, _check_slots, *(field.name for field in fields(self)))

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return sum(astuple(self))

    @property
    def allocated(self) -> int:
        """Slots that some sequence holds."""
        return self.used + self.reserved + self.internal + self.rounding

    @property
    def wasted(self) -> int:
        """Slots that some sequence holds and no token fills."""
        return self.allocated - self.used


class FateRun(NamedTuple):
    """Neighbouring slots with the same fate.

    Attributes
    ----------
    start_slot, num_slots : int
        Where it lies.
    fate : str
        The name of a field of `MemoryUsage`.
    seq_ids : tuple
        The sequences that hold it.
    """

    start_slot: int
    num_slots: int
    fate: str
    seq_ids: tuple[Hashable, ...]


def fates(
    memory_map: MemoryMap, future_tokens: Mapping[Hashable, int], *, request_slots: int = 1
) -> list[FateRun]:
    """Sort every slot of a pool by its fate, in the order of the addresses.

    Parameters
    ----------
    memory_map : MemoryMap
        The pool at one moment.
    future_tokens : mapping of sequence id to int
        Tokens each sequence has yet to append. Only someone who knows the future can tell a
        reserved slot from an internal one. Where sequences share a page that is not full, the one
        with the longest future counts.
    request_slots : int
        Slots the next request needs in one run: a free run that is shorter counts as external. A
        pool with pages needs runs of one page only, whatever the request.

    Raises
    ------
    ValueError
        If a sequence of the map has no entry in ``future_tokens``, or a count is negative.
    TypeError
        If a count is not a whole number.
    """
    request_slots = check_count("request_slots", request_slots)
    # Each sequence is asked for once, however many pages it holds.
    holders = dict.fromkeys(seq_id for region in memory_map.regions for seq_id in region.seq_ids)
    futures = {seq_id: _future(future_tokens, seq_id) for seq_id in holders}
    runs = []
    for region in memory_map.regions:
        if not region.seq_ids:
            parts = {"cached": region.num_slots}
        else:
            room = region.num_reserved - region.num_tokens
            to_come = min(room, max(futures[seq_id] for seq_id in region.seq_ids)) if room else 0
            parts = {
                "used": region.num_tokens,
                "reserved": to_come,
                "internal": room - to_come,
                "rounding": region.num_slots - region.num_reserved,
            }
        start_slot = index(region.start_slot)  # A sum of NumPy's integers can overflow.
        for fate, num_slots in parts.items():
            if num_slots > 0:
                runs.append(FateRun(start_slot, num_slots, fate, region.seq_ids))
                start_slot += index(num_slots)
    shortest_run = memory_map.page_size or max(request_slots, memory_map.unit_slots)
    runs.extend(
        FateRun(*hole, "external" if hole.num_slots < shortest_run else "free", ())
        for hole in memory_map.holes
    )
    return sorted(runs, key=lambda run: run.start_slot)


def account(
    memory_map: MemoryMap, future_tokens: Mapping[Hashable, int], *, request_slots: int = 1
) -> MemoryUsage:
    """Count the slots of a pool by their fate. Parameters and errors are those of `fates`.

    Examples
    --------
    A sequence of 100 tokens in a region of 2048, and 28 tokens still to come:

    >>> region = Region(start_slot=0, num_slots=2048, num_reserved=2048, num_tokens=100, seq_ids=("a",))
    >>> memory_map = MemoryMap(num_slots=3000, regions=(region,), holes=(Hole(2048, 952),))
    >>> account(memory_map, {"a": 28}, request_slots=2048)
    MemoryUsage(used=100, reserved=28, internal=1920, rounding=0, external=952, cached=0, free=0)
    """
    counts = dict.fromkeys((field.name for field in fields(MemoryUsage)), 0)
    for run in fates(memory_map, future_tokens, request_slots=request_slots):
        counts[run.fate] += index(run.num_slots)
    return MemoryUsage(**counts)


def _check_slots(name: str, value: object) -> int:
    return check_whole(name, value, minimum=0)


def _future(future_tokens: Mapping[Hashable, int], seq_id: Hashable) -> int:
    if seq_id not in future_tokens:
        raise ValueError(f"future_tokens has no entry for sequence {seq_id!r}")
    return check_whole(f"future_tokens[{seq_id!r}]", future_tokens[seq_id], minimum=0)
