"""A running request as the quick engine keeps it, and the pools that count what it holds."""

from collections.abc import Iterable
from dataclasses import dataclass

from paged_demo.allocators.memory_map import CacheFullError, Hole
from paged_demo.serving.rules import PagedPool, TraditionalPool, pages_held, pages_kept
from paged_demo.serving.workload import Request

# Later than any iteration.
NEVER = 2**62


@dataclass(slots=True, eq=False)
class Flight:
    """A running request, as the quick engine keeps it: when it came, and when it will have its last token.

    Each sample holds ``i - origin`` tokens in iteration ``i``, from ``first`` on. ``parts_in`` is the
    iteration in which its samples copy the prompt's last page, if they do. While a prompt is computed in
    pieces, ``num_missing`` of its tokens have no slots, and each iteration moves ``origin`` and ``first``.
    ``num_before`` is how many tokens were stored before those of iteration ``first``: windows give back what
    lies behind them then.
    """

    request: Request
    origin: int
    first: int
    start_s: float
    num_missing: int = 0
    num_before: int = 0
    parts_in: int = NEVER
    run: Hole | None = None
    num_reserved: int = 0

    @property
    def final_tokens(self) -> int:
        """Tokens of each sample in the end; the numbers of the request have been made plain."""
        return self.request.num_prompt_tokens + self.request.num_output_tokens

    def num_generated(self, iteration: int) -> int:
        """Count the tokens that each sample has generated after an iteration."""
        return iteration - self.origin + self.num_missing - self.request.num_prompt_tokens


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
        if flight.num_missing:
            self._num_free -= self._pages_of_prompt(flight, flight.first)
            return True
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
        if flight.num_missing:
            self._num_free += self._pages_of_prompt(flight, iteration)
            return
        self._num_free += pages_held(flight.request, flight.num_generated(iteration), self.page_size)
        self._due[(flight.origin + 1) % self.page_size] -= flight.request.num_samples

    def extend(self, flight: Flight, iteration: int, num_tokens: int) -> bool:
        """Take the pages of a prompt's next piece, and say whether there was room."""
        num_pages = self._pages_of_prompt(flight, iteration - 1)
        needed = self._pages_of_prompt(flight, iteration - 1 + num_tokens) - num_pages
        if needed > self._num_free:
            return False
        self._num_free -= needed
        flight.origin += 1 - num_tokens
        flight.num_missing -= num_tokens
        if not flight.num_missing:
            self._due[(flight.origin + 1) % self.page_size] += 1
        return True

    def grow(self, iteration: int, limit: int, num_sequences: int) -> int:
        """Take the pages of up to ``limit`` iterations from this one on; return how many have enough."""
        size = self.page_size
        if self._parting_in >= iteration:
            limit = min(limit, self._parting_in - iteration)
        num_cycles = min(limit // size, self._num_free // num_sequences)
        self._num_free -= num_cycles * num_sequences
        grown = num_cycles * size
        if grown + size > limit and self._num_free >= num_sequences:
            first = iteration % size  # Each sequence needs at most one page for what is left of a cycle.
            self._num_free -= sum((self._due + self._due)[first : first + limit - grown])
            return limit
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
        flights, due = list(flights), (iteration - 1) % self.page_size
        # A prompt takes the pages of its next piece after all have grown.
        growing = [
            flight
            for flight in flights
            if (flight.origin % self.page_size == due or flight.parts_in == iteration)
            and not flight.num_missing
        ]
        return self._grow_one_by_one(iteration, flights, growing)

    def _grow_one_by_one(self, iteration: int, flights: list[Flight], growing: list[Flight]) -> list[Flight]:
        preempted: list[Flight] = []
        for flight in growing:
            needed = self._pages_to_grow(flight, iteration)
            while needed > self._num_free and flight not in preempted:
                newest = flights.pop()
                self.release(newest, iteration - 1)
                preempted.append(newest)
            if flight not in preempted:
                self._num_free -= needed
        return preempted

    def _pages_to_grow(self, flight: Flight, iteration: int) -> int:
        """Count the pages that a request needs for its tokens of an iteration."""
        if (iteration - flight.origin - 1) % self.page_size == 0:
            return flight.request.num_samples
        return flight.request.num_samples - 1 if iteration == flight.parts_in else 0

    def held(self, flight: Flight, first: int, last: int) -> tuple[int, int, int, int, int]:
        """Sum over some iterations what a request holds: used, reserved, internal, rounding; and saves."""
        size, origin = self.page_size, flight.origin
        num_prompt, num_samples = flight.request.num_prompt_tokens, flight.request.num_samples
        final = flight.final_tokens
        never_written = -final % size
        last_page_start = (final - 1) // size * size
        count = last - first + 1
        tokens = count * (first + last - 2 * origin) // 2
        pages = pages_up_to(last - origin, size) - pages_up_to(first - 1 - origin, size)
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

    def _pages_of_prompt(self, flight: Flight, iteration: int) -> int:
        return -(-(iteration - flight.origin) // self.page_size)


def pages_up_to(num_tokens: int, page_size: int) -> int:
    """Sum the pages of sequences of 1, 2, ... tokens."""
    full, rest = divmod(num_tokens, page_size)
    return page_size * full * (full + 1) // 2 + rest * (full + 1)


class RunPlaces:
    """A pool of reserved runs, placed for real: where a run lies decides what fits later."""

    page_size = 1

    def __init__(self, pool: TraditionalPool) -> None:
        self._placement = pool.placement(pool.num_slots)
        self._num_free = pool.num_slots
        self._pool = pool
        self._num_reserved: dict[tuple[int, int], int] = {}

    def admit(self, flight: Flight, num_generated: int, *, is_alone: bool) -> bool:
        """Take the slots that a request starts with, and say whether there was room."""
        request = flight.request
        lengths = (request.num_prompt_tokens, request.num_output_tokens)
        if lengths not in self._num_reserved:
            self._num_reserved[lengths] = self._pool.reserved_slots(request)
        flight.num_reserved = self._num_reserved[lengths]
        if flight.num_reserved > self._num_free and not is_alone:
            return False  # To ask the placement, and hear why not, would take longer.
        try:
            flight.run = self._placement.place(flight.num_reserved)
        except CacheFullError:
            if is_alone:
                raise
            return False
        self._num_free -= flight.run.num_slots
        return True

    def release(self, flight: Flight, iteration: int) -> None:
        """Take back what a request holds after an iteration."""
        assert flight.run is not None
        self._placement.release(flight.run)
        self._num_free += flight.run.num_slots

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
        final = flight.final_tokens
        return (
            used,
            count * final - used,
            count * (flight.num_reserved - final),
            count * (flight.run.num_slots - flight.num_reserved),
            0,
        )
