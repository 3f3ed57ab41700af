"""What running requests hold of a pool with several groups, counted in jumps from change to change.

A request's pages change where it starts one in a group, and where a window leaves one. Between two such
tokens nothing has to be done, so that the work grows with the pages.
"""

from collections import Counter
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import accumulate

from paged_demo.allocators.group_kinds import PageGroup, SlidingGroup, StateGroup, most_pages
from paged_demo.serving.flights import NEVER, Flight, PageCounts, RunPlaces, pages_up_to
from paged_demo.serving.grouped_pool import GroupedPool
from paged_demo.serving.rules import PagedPool, Pool, Rules


class GroupCounts:
    """What equal groups hold of a sequence with so many tokens.

    Parameters
    ----------
    group : FullGroup, SlidingGroup or StateGroup
        One of the groups.
    num_groups : int
        How many there are of it.
    page_size : int
        Tokens in its pages.
    page_slots : int
        Slots of a page in the pool, of which the same share is written.
    """

    def __init__(self, group: PageGroup, num_groups: int, page_size: int, page_slots: int) -> None:
        self._group, self._num_groups, self._size = group, num_groups, page_size
        self._is_state = isinstance(group, StateGroup)
        self._window = group.window if isinstance(group, SlidingGroup) else NEVER
        idle = [0] * page_size if self._is_state else range(page_size - 1, -1, -1)
        self._idle = [num_idle * page_slots // page_size for num_idle in idle]
        self._idle_up_to = [0, *accumulate(self._idle)]

    def pages(self, num_tokens: int, num_before: int) -> int:
        """Count the pages with so many tokens, if there were so many before the last call."""
        return self._num_groups * self._group.pages_after(num_tokens, num_before, self._size)

    def next_change(self, num_tokens: int) -> int:
        """Return the length at which the next page is started or left, from so many tokens on."""
        if self._is_state:
            return NEVER
        starts = -(-num_tokens // self._size) * self._size + 1
        num_left = max(1, (num_tokens - self._window) // self._size + 1)
        return min(starts, self._window + num_left * self._size)

    def sum_pages(self, num_tokens: int) -> int:
        """Sum the pages at all lengths up to this one, each grown by one token."""
        if self._is_state:
            return self._num_groups * num_tokens
        # With n tokens as many pages lie behind the window as n - window tokens fill.
        num_behind = max(0, num_tokens - self._window)
        behind = pages_up_to(num_behind + 1, self._size) - (num_behind + 1)
        return self._num_groups * (pages_up_to(num_tokens, self._size) - behind)

    def sum_idle(self, num_tokens: int) -> int:
        """Sum the slots of last pages that hold no token, over all lengths up to this one."""
        full, rest = divmod(num_tokens, self._size)
        return self._num_groups * (full * self._idle_up_to[-1] + self._idle_up_to[rest])

    def never_written(self, num_tokens: int, num_to_come: int) -> int:
        """Count those of the last page that hold no token, and none of so many to come."""
        return self._num_groups * max(0, self._idle[(num_tokens - 1) % self._size] - num_to_come)


class GroupedCounts(PageCounts):
    """A pool with several groups, as a number of free pages, and of the requests that change it next.

    Parameters
    ----------
    pool : GroupedPool
        The pool.
    rules : Rules
        How the server runs: whether prompts are computed in pieces.
    """

    def __init__(self, pool: GroupedPool, rules: Rules) -> None:
        super().__init__(pool)
        self._pool = pool
        self._chunk = rules.chunk
        self._groups = [
            GroupCounts(group, num_groups, group.page_size or pool.page_size, pool.page_size)
            for group, num_groups in Counter(pool.groups).items()
        ]
        # Who decodes, with a number in the order of admission.
        self._numbers: dict[Flight, int] = {}
        self._num_admitted = 0
        # The iterations of the next changes. Those of requests that have left are still there.
        self._changes: list[tuple[int, int, Flight]] = []

    def admit(self, flight: Flight, num_generated: int, *, is_alone: bool) -> bool:
        """Take the slots that a request starts with, and say whether there was room."""
        num_tokens = flight.request.num_prompt_tokens + num_generated
        needed = most_pages(self._pool.groups, self.page_size, num_tokens, self._chunk)
        if needed + (0 if is_alone else self._num_kept) > self._num_free:
            return False
        if self._chunk is None and num_generated:
            flight.num_before = num_tokens - 1  # A prompt that comes back gets its generated tokens in turn.
        self._num_free -= self._pages(flight, flight.first)
        self._num_admitted += 1
        self._numbers[flight] = self._num_admitted
        if not flight.num_missing:
            self._plan(flight, flight.first)
        return True

    def release(self, flight: Flight, iteration: int) -> None:
        """Take back what a request holds after an iteration."""
        self._num_free += self._pages(flight, iteration)
        del self._numbers[flight]

    def extend(self, flight: Flight, iteration: int, num_tokens: int) -> bool:
        """Take the pages of a prompt's next piece, and say whether there was room."""
        if num_tokens:
            num_before = iteration - 1 - flight.origin
            needed = sum(
                group.pages(num_before + num_tokens, num_before) - group.pages(num_before, flight.num_before)
                for group in self._groups
            )
            if needed > self._num_free:
                return False
            self._num_free -= needed
            flight.num_before = num_before
        flight.origin += 1 - num_tokens
        flight.num_missing -= num_tokens
        if not flight.num_missing:
            self._plan(flight, iteration)
        return True

    def grow(self, iteration: int, limit: int, num_sequences: int) -> int:
        """Take the pages of up to ``limit`` iterations from this one on; return how many have enough.

        It ends before an iteration in which windows leave more pages than are taken, for somebody who waits
        may find room then.
        """
        while self._changes and self._changes[0][0] < iteration + limit:
            now = self._changes[0][0]
            changing = self._pop(now)
            num_free = self._num_free_after(changing, now)
            if num_free is None or num_free > self._num_free:
                for flight in changing:
                    heappush(self._changes, (now, self._numbers[flight], flight))
                return now - iteration
            self._apply(changing, now, num_free)
        return limit

    def grow_or_preempt(self, iteration: int, flights: Iterable[Flight]) -> list[Flight]:
        """Take the pages of one iteration in the order of admission; return the newest, who must yield."""
        changing = self._pop(iteration)
        num_free = self._num_free_after(changing, iteration)
        if num_free is not None:
            self._apply(changing, iteration, num_free)
            return []
        preempted = self._grow_one_by_one(iteration, list(flights), changing)
        self._changes.clear()
        for flight in self._numbers:
            if not flight.num_missing:
                self._plan(flight, iteration)
        return preempted

    def _pop(self, now: int) -> list[Flight]:
        """Take those off the line whose pages change now, in the order of admission."""
        changing = []
        while self._changes and self._changes[0][0] == now:
            flight = heappop(self._changes)[2]
            if flight in self._numbers:
                changing.append(flight)
        return changing

    def _num_free_after(self, changing: list[Flight], now: int) -> int | None:
        """Count the pages that are free when all have grown; None if one of them finds too few."""
        num_free = self._num_free
        for flight in changing:
            needed = self._pages_to_grow(flight, now)
            if needed > num_free:
                return None
            num_free -= needed
        return num_free

    def _apply(self, changing: list[Flight], now: int, num_free: int) -> None:
        self._num_free = num_free
        for flight in changing:
            self._plan(flight, now)

    def held(self, flight: Flight, first: int, last: int) -> tuple[int, int, int, int, int]:
        """Sum over some iterations what a request holds: used, reserved, internal, rounding; and saves."""
        begin, end, final = first - flight.origin, last - flight.origin, flight.final_tokens
        pages = sum(group.sum_pages(end) - group.sum_pages(begin - 1) for group in self._groups)
        if first == flight.first:
            pages += self._pages(flight, first) - sum(group.pages(begin, begin - 1) for group in self._groups)
        idle = sum(group.sum_idle(end) - group.sum_idle(begin - 1) for group in self._groups)
        # Less than a page of tokens is to come where some of the last page is never written.
        internal = sum(
            group.never_written(num_tokens, final - num_tokens)
            for num_tokens in range(max(begin, final - self.page_size), end + 1)
            for group in self._groups
        )
        return self.page_size * pages - idle, idle - internal, internal, 0, 0

    def _pages(self, flight: Flight, iteration: int) -> int:
        """Count the pages that a request holds after an iteration."""
        num_tokens = iteration - flight.origin
        is_first = iteration == flight.first or flight.num_missing
        num_before = flight.num_before if is_first else num_tokens - 1
        return sum(group.pages(num_tokens, num_before) for group in self._groups)

    def _pages_to_grow(self, flight: Flight, iteration: int) -> int:
        """Count the pages that a token takes, less those that the window leaves before it."""
        return self._pages(flight, iteration) - self._pages(flight, iteration - 1)

    def _plan(self, flight: Flight, iteration: int) -> None:
        """Note when a request's pages change next: with its first token after a prompt, and then seldom."""
        num_tokens = iteration - flight.origin
        if iteration == flight.first:
            then = num_tokens + 1
        else:
            then = min(group.next_change(num_tokens) for group in self._groups)
        heappush(self._changes, (flight.origin + then, self._numbers[flight], flight))


def counts_of(pool: Pool, rules: Rules) -> PageCounts | RunPlaces:
    """Make the quick engine's count of a pool."""
    if isinstance(pool, GroupedPool):
        return GroupedCounts(pool, rules)
    return PageCounts(pool) if isinstance(pool, PagedPool) else RunPlaces(pool)
