"""A request as the engines keep it: its sequences in an allocator, or numbers that stand for them."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Protocol, TypeGuard

from paged_demo.allocators.memory_map import CacheFullError, Hole, MemoryMap
from paged_demo.serving.rules import PagedPool, TraditionalPool, pages_held, pages_kept
from paged_demo.serving.workload import Request


class KVAllocator(Protocol):
    """What a scheduler needs of an allocator; both the traditional and the paged one have it."""

    def allocate(self, seq_id: Hashable, token_ids: Iterable[int], *, final_tokens: int) -> int:
        """Give a new sequence room for its prompt, or raise `CacheFullError`."""

    def append(self, seq_id: Hashable, token_id: int) -> Any:
        """Give a sequence room for one more token, or raise `CacheFullError`."""

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence."""

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool."""


class PagingAllocator(KVAllocator, Protocol):
    """What a scheduler needs besides, to let several samples share a prompt, and to swap."""

    num_pages: int
    page_size: int

    @property
    def num_free_pages(self) -> int:
        """Pages that no sequence holds."""

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far."""


def has_pages(allocator: KVAllocator) -> TypeGuard[PagingAllocator]:
    """Say whether an allocator hands out pages."""
    # To ask for every member of the protocol takes as long as to admit a request.
    return hasattr(allocator, "page_size")


@dataclass(slots=True, eq=False)
class SequenceGroup:
    """A request as a scheduler keeps it: its samples, which start, grow and leave together.

    Attributes
    ----------
    request : Request
        Whose samples these are.
    num_generated : int
        Tokens that each of them has generated.
    is_swapped : bool
        Whether their keys and values are in the host's memory.
    start_s : float
        When they were last admitted.
    """

    request: Request
    num_generated: int = 0
    is_swapped: bool = False
    start_s: float = 0.0

    @property
    def seq_ids(self) -> list[Hashable]:
        """The names of the sequences: that of the request, if there is only one."""
        request_id, num_samples = self.request.request_id, self.request.num_samples
        return [request_id] if num_samples == 1 else [(request_id, sample) for sample in range(num_samples)]

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences; the prompt counts in each."""
        return self.request.num_samples * (self.request.num_prompt_tokens + self.num_generated)

    @property
    def num_to_come(self) -> int:
        """Tokens that each sequence has yet to generate."""
        return self.request.num_output_tokens - self.num_generated

    @property
    def num_to_compute(self) -> int:
        """Tokens that a start computes: the prompt once for all samples; none if they were swapped out."""
        if self.is_swapped:
            return 0
        return self.request.num_prompt_tokens + self.request.num_samples * self.num_generated

    def num_swapped_pages(self, page_size: int) -> int:
        """Count the pages whose contents move between the GPU and the host."""
        return pages_held(self.request, self.num_generated, page_size) if self.is_swapped else 0

    def allocate(self, allocator: KVAllocator) -> None:
        """Take the slots of all tokens that there are, or raise a CacheFullError and leave all as it was."""
        if has_pages(allocator):
            # Pages that were taken and given back would have lost what was cached in them.
            needed = pages_held(self.request, self.num_generated, allocator.page_size)
            if needed > allocator.num_free_pages:
                raise CacheFullError(needed=needed, free=allocator.num_free_pages, unit="pages")
        first, *others = self.seq_ids
        # The first token sets a prompt apart from all others.
        prompt = chain((self.request.request_id,), repeat(0, self.request.num_prompt_tokens - 1))
        allocator.allocate(first, prompt, final_tokens=self.request.final_tokens)
        held = [first]
        try:
            for child in others:
                assert has_pages(allocator)
                allocator.fork(first, child)
                held.append(child)
            for _ in range(self.num_generated):
                for seq_id in held:
                    allocator.append(seq_id, 0)
        except CacheFullError:
            for seq_id in held:
                allocator.free(seq_id)
            raise

    def free(self, allocator: KVAllocator) -> None:
        """Give all slots back."""
        for seq_id in self.seq_ids:
            allocator.free(seq_id)


NEVER = 2**62
"""Later than any iteration."""


@dataclass(slots=True, eq=False)
class Flight:
    """A running request, as the quick engine keeps it: when it came, and when it will have its last token.

    Each sample holds ``i - origin`` tokens in iteration ``i``, from ``first`` to ``last``. ``parts_in`` is
    the iteration in which its samples copy the prompt's last page, if they do.
    """

    request: Request
    origin: int
    first: int
    last: int
    start_s: float
    parts_in: int = NEVER
    run: Hole | None = None
    num_reserved: int = 0

    def num_generated(self, iteration: int) -> int:
        """Count the tokens that each sample has generated after an iteration."""
        return iteration - self.origin - self.request.num_prompt_tokens


class PageCounts:
    """A pool of pages, as a number of free ones, and of those that will be needed when."""

    def __init__(self, pool: PagedPool) -> None:
        self.page_size = pool.page_size
        self._num_free = pool.num_pages
        self._num_kept = pages_kept(pool.watermark_share, pool.num_pages)
        # How many running sequences need a page in the iterations of each residue modulo the page size.
        self._due = [0] * self.page_size
        # Samples part in the iteration after their admission: there is at most one such iteration ahead.
        self._parting_in = NEVER
        self._num_copies = 0

    def admit(self, flight: Flight, num_generated: int, *, is_alone: bool) -> bool:
        """Take the slots that a request starts with, and say whether there was room."""
        request = flight.request
        num_pages = pages_held(request, num_generated, self.page_size)
        if num_pages + (0 if is_alone else self._num_kept) > self._num_free:
            return False
        self._num_free -= num_pages
        self._due[(flight.origin + 1) % self.page_size] += request.num_samples
        if request.num_samples > 1 and num_generated == 0 and request.num_prompt_tokens % self.page_size:
            if self._parting_in != flight.first + 1:
                self._num_copies = 0
            self._parting_in = flight.parts_in = flight.first + 1
            self._num_copies += request.num_samples - 1
        return True

    def release(self, flight: Flight, iteration: int) -> None:
        """Take back what a request holds after an iteration."""
        self._num_free += pages_held(flight.request, flight.num_generated(iteration), self.page_size)
        self._due[(flight.origin + 1) % self.page_size] -= flight.request.num_samples

    def grow(self, iteration: int, limit: int, num_sequences: int) -> int:
        """Take the pages of up to ``limit`` iterations from this one on; return how many have enough."""
        size = self.page_size
        if self._parting_in >= iteration:
            limit = min(limit, self._parting_in - iteration)
        num_cycles = min(limit // size, self._num_free // num_sequences)
        self._num_free -= num_cycles * num_sequences
        grown = num_cycles * size
        while grown < limit:
            needed = self._due[(iteration + grown) % size]
            if needed > self._num_free:
                break
            self._num_free -= needed
            grown += 1
        return grown

    def grow_or_preempt(self, iteration: int, flights: Iterable[Flight]) -> list[Flight]:
        """Take the pages of one iteration in the order of admission; return the newest, who must yield."""
        needed = self._due[iteration % self.page_size]
        if iteration == self._parting_in:
            needed += self._num_copies
        if needed <= self._num_free:
            self._num_free -= needed
            return []
        return self._grow_one_by_one(iteration, list(flights))

    def _grow_one_by_one(self, iteration: int, flights: list[Flight]) -> list[Flight]:
        preempted = []
        index = 0
        while index < len(flights):
            flight = flights[index]
            needed = 0
            if (iteration - flight.origin - 1) % self.page_size == 0:
                needed = flight.request.num_samples
            elif iteration == flight.parts_in:
                needed = flight.request.num_samples - 1
            while needed > self._num_free and index < len(flights):
                newest = flights.pop()
                self.release(newest, iteration - 1)
                preempted.append(newest)
            if index < len(flights):
                self._num_free -= needed
            index += 1
        return preempted

    def held(self, flight: Flight, first: int, last: int) -> tuple[int, int, int, int, int]:
        """Sum over some iterations what a request holds: used, reserved, internal, rounding; and saves."""
        size, origin = self.page_size, flight.origin
        num_prompt, num_samples = flight.request.num_prompt_tokens, flight.request.num_samples
        final = flight.request.final_tokens
        never_written = -final % size
        last_page_start = (final - 1) // size * size
        count = last - first + 1
        tokens = count * (first + last - 2 * origin) // 2
        pages = self._pages_up_to(last - origin) - self._pages_up_to(first - 1 - origin)
        on_last_page = max(0, last - origin - max(first - 1 - origin, last_page_start))
        internal = num_samples * on_last_page * never_written
        if num_samples == 1:
            return tokens, size * pages - tokens - internal, internal, 0, 0
        # The full pages of the prompt are shared; before the samples part, so is its last page.
        num_shared = num_prompt // size
        saved = (num_samples - 1) * count * num_shared
        used = num_samples * tokens - size * saved
        if first == flight.parts_in - 1:
            saved += num_samples - 1
            used -= (num_samples - 1) * (num_prompt - num_shared * size)
            internal -= (num_samples - 1) * never_written * (num_prompt > last_page_start)
        held = size * (num_samples * pages - saved)
        return used, held - used - internal, internal, 0, size * saved

    def _pages_up_to(self, num_tokens: int) -> int:
        """Sum the pages of sequences of 1, 2, ... tokens."""
        full, rest = divmod(num_tokens, self.page_size)
        return self.page_size * full * (full + 1) // 2 + rest * (full + 1)


class RunPlaces:
    """A pool of reserved runs, placed for real: where a run lies decides what fits later."""

    page_size = 1

    def __init__(self, pool: TraditionalPool) -> None:
        self._placement = pool.placement(pool.num_slots)
        self._pool = pool
        self._num_reserved: dict[tuple[int, int], int] = {}

    def admit(self, flight: Flight, num_generated: int, *, is_alone: bool) -> bool:
        """Take the slots that a request starts with, and say whether there was room."""
        request = flight.request
        lengths = (request.num_prompt_tokens, request.num_output_tokens)
        if lengths not in self._num_reserved:
            self._num_reserved[lengths] = self._pool.reserved_slots(request)
        flight.num_reserved = self._num_reserved[lengths]
        try:
            flight.run = self._placement.place(flight.num_reserved)
        except CacheFullError:
            if is_alone:
                raise
            return False
        return True

    def release(self, flight: Flight, iteration: int) -> None:
        """Take back what a request holds after an iteration."""
        assert flight.run is not None
        self._placement.release(flight.run)

    def grow(self, iteration: int, limit: int, num_sequences: int) -> int:
        """Take what up to ``limit`` iterations need; return how many of them have enough."""
        return limit

    def grow_or_preempt(self, iteration: int, flights: Iterable[Flight]) -> list[Flight]:
        """Take what one iteration needs; return the newest requests, who must yield."""
        return []

    def held(self, flight: Flight, first: int, last: int) -> tuple[int, int, int, int, int]:
        """Sum over some iterations what a request holds: used, reserved, internal, rounding; and saves."""
        assert flight.run is not None
        count = last - first + 1
        used = count * (first + last - 2 * flight.origin) // 2
        final = flight.request.final_tokens
        return (
            used,
            count * final - used,
            count * (flight.num_reserved - final),
            count * (flight.run.num_slots - flight.num_reserved),
            0,
        )
