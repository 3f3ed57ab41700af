"""Serve requests by jumping from event to event: what the scheduler does, many times sooner.

Every running request gains one token per iteration. Between two events all is therefore known in closed
form: the time, the tokens, and the pages that are needed. An event is an iteration in which a request may
be admitted, finds no page, or has its last token. The work grows with the requests, not with their tokens.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil, inf, sqrt

from paged_demo.allocators.memory_map import CacheFullError, Hole
from paged_demo.allocators.traditional import reserved_slots
from paged_demo.checks import check_count
from paged_demo.serving.pools import PagedPool, Pool, TraditionalPool
from paged_demo.serving.run import MeanUsage, Run
from paged_demo.serving.scheduler import MAX_BATCHED_TOKENS, MAX_RUNNING, fits_budget
from paged_demo.serving.step_time import OPT_13B_STEP, StepTime
from paged_demo.serving.workload import Request, check_requests

Window = tuple[float, float]
"""Iterations that begin from the one time (s) on and before the other are measured."""

NEVER = 2**62
"""Later than any iteration."""


@dataclass(slots=True, eq=False)
class _Stay:
    """A request in flight: in iteration ``i``, from ``first`` to ``last``, it holds ``i - origin`` tokens."""

    request: Request
    origin: int
    first: int
    last: int
    run: Hole | None = None
    num_reserved: int = 0


class _Pages:
    """A pool of pages, as a number of free ones, and of those that will be needed when."""

    def __init__(self, pool: PagedPool) -> None:
        self.num_slots = pool.num_slots
        self._size = pool.page_size
        self._num_free = pool.num_pages
        self._num_kept = int(pool.watermark_share * pool.num_pages)
        # How many running requests need a page in the iterations of each residue modulo the page size.
        self._due = [0] * self._size

    def admit(self, stay: _Stay, num_tokens: int, *, is_alone: bool) -> bool:
        num_pages = -(-num_tokens // self._size)
        if num_pages + (0 if is_alone else self._num_kept) > self._num_free:
            if is_alone:
                raise CacheFullError(needed=num_pages, free=self._num_free, unit="pages")
            return False
        self._num_free -= num_pages
        self._due[(stay.origin + 1) % self._size] += 1
        return True

    def release(self, stay: _Stay, num_tokens: int) -> None:
        self._num_free += -(-num_tokens // self._size)
        self._due[(stay.origin + 1) % self._size] -= 1

    def grow(self, iteration: int, limit: int, num_running: int) -> int:
        """Take the pages of up to ``limit`` iterations from this one on; return how many have enough."""
        size = self._size
        num_cycles = min(limit // size, self._num_free // num_running)
        self._num_free -= num_cycles * num_running
        grown = num_cycles * size
        while grown < limit:
            needed = self._due[(iteration + grown) % size]
            if needed > self._num_free:
                break
            self._num_free -= needed
            grown += 1
        return grown

    def grow_or_preempt(self, iteration: int, stays: list[_Stay]) -> list[_Stay]:
        """Take the pages of one iteration in the order of admission; return the newest, who must yield."""
        preempted = []
        index = 0
        while index < len(stays):
            stay = stays[index]
            if (iteration - stay.origin - 1) % self._size == 0:
                if self._num_free == 0:
                    if len(stays) == 1:
                        raise CacheFullError(needed=1, free=0, unit="pages")
                    newest = stays.pop()
                    self.release(newest, iteration - 1 - newest.origin)
                    preempted.append(newest)
                    continue
                self._num_free -= 1
            index += 1
        return preempted

    def slack(self, stay: _Stay, first: int, last: int) -> tuple[int, int, int]:
        """Sum what a stay holds and has not used over some iterations: reserved, internal, rounding."""
        held = self._size * (
            self._pages_up_to(last - stay.origin) - self._pages_up_to(first - 1 - stay.origin)
        )
        used = (last - first + 1) * (first + last - 2 * stay.origin) // 2
        final = stay.request.num_prompt_tokens + stay.request.num_output_tokens
        never_written = -final % self._size
        on_last_page = max(
            0, last - stay.origin - max(first - 1 - stay.origin, (final - 1) // self._size * self._size)
        )
        internal = on_last_page * never_written
        return held - used - internal, internal, 0

    def _pages_up_to(self, num_tokens: int) -> int:
        """Sum the pages of sequences of 1, 2, ... tokens."""
        full, rest = divmod(num_tokens, self._size)
        return self._size * full * (full + 1) // 2 + rest * (full + 1)


class _Runs:
    """A pool of reserved runs, placed for real: where a run lies decides what fits later."""

    def __init__(self, pool: TraditionalPool) -> None:
        self.num_slots = pool.num_slots
        self._reserve = pool.reserve
        self._placement = pool.placement(pool.num_slots)

    def admit(self, stay: _Stay, num_tokens: int, *, is_alone: bool) -> bool:
        final = stay.request.num_prompt_tokens + stay.request.num_output_tokens
        stay.num_reserved = reserved_slots(self._reserve, num_tokens, final)
        try:
            stay.run = self._placement.place(stay.num_reserved)
        except CacheFullError:
            if is_alone:
                raise
            return False
        return True

    def release(self, stay: _Stay, num_tokens: int) -> None:
        assert stay.run is not None
        self._placement.release(stay.run)

    def grow(self, iteration: int, limit: int, num_running: int) -> int:
        return limit

    def grow_or_preempt(self, iteration: int, stays: list[_Stay]) -> list[_Stay]:
        return []

    def slack(self, stay: _Stay, first: int, last: int) -> tuple[int, int, int]:
        assert stay.run is not None
        count = last - first + 1
        used = count * (first + last - 2 * stay.origin) // 2
        final = stay.request.num_prompt_tokens + stay.request.num_output_tokens
        return (
            count * final - used,
            count * (stay.num_reserved - final),
            count * (stay.run.num_slots - stay.num_reserved),
        )


class _Engine:
    """The state of a run; its methods are the parts of the loop."""

    def __init__(
        self,
        requests: list[Request],
        pool: Pool,
        *,
        step_time: StepTime,
        max_batched_tokens: int,
        max_running: int,
        window: Window,
    ) -> None:
        self.now_s = 0.0
        self.iteration = 0
        self.finish_s: dict[int, float] = {}
        self.num_preempted = 0
        self._slots = _Pages(pool) if isinstance(pool, PagedPool) else _Runs(pool)
        self._step_time = step_time
        self._max_batched_tokens = max_batched_tokens
        self._max_running = max_running
        self._waiting = deque((request, 0) for request in requests)
        self._running: dict[int, _Stay] = {}
        self._ends: list[tuple[int, int, _Stay]] = []
        self._num_tokens = 0
        self._head_has_no_room = False
        self._window = window
        self._window_first = NEVER
        self._window_last = NEVER
        self._sums = [0, 0, 0, 0, 0]

    def run(self) -> None:
        while True:
            self._note_window()
            self._retire()
            if not self._running:
                if not self._waiting:
                    break
                self.now_s = max(self.now_s, self._waiting[0][0].arrival_s)
                self._note_window()
            if not self._jump():
                self._step()

    def _retire(self) -> None:
        """Let those go that had their last token in the iteration before; it ended just now."""
        while self._ends and self._ends[0][0] < self.iteration:
            last, request_id, stay = heappop(self._ends)
            if self._running.get(request_id) is stay:
                self.finish_s[request_id] = self.now_s
                self._slots.release(stay, last - stay.origin)
                self._forget(stay, last)

    def _forget(self, stay: _Stay, last: int) -> None:
        """End a stay whose slots are free again after iteration ``last``: its sums are known now."""
        del self._running[stay.request.request_id]
        self._num_tokens -= last - stay.origin
        self._head_has_no_room = False
        first, last = max(stay.first, self._window_first), min(last, self._window_last)
        if first <= last:
            count = last - first + 1
            used = count * (first + last - 2 * stay.origin) // 2
            for index, amount in enumerate((count, used, *self._slots.slack(stay, first, last))):
                self._sums[index] += amount

    def _jump(self) -> bool:
        """Run the iterations up to the next event, if there are any: nobody is admitted or preempted."""
        num_running = len(self._running)
        head_has_arrived = bool(self._waiting) and self._waiting[0][0].arrival_s <= self.now_s
        if not num_running or (head_has_arrived and not self._head_has_no_room):
            return False
        limit = self._ends[0][0] - self.iteration + 1
        if limit <= 0:
            return False
        step_s = self._step_time(
            num_batched=num_running, num_requests=num_running, num_sequences=num_running, num_kv_tokens=0
        )
        for event_s in self._next_times(head_has_arrived):
            limit = min(limit, self._iterations_until(event_s, step_s))
        count = self._slots.grow(self.iteration, limit, num_running)
        self.now_s += self._elapsed_s(count, step_s)
        self._num_tokens += count * num_running
        self.iteration += count
        return count > 0

    def _step(self) -> None:
        """Run one iteration as the scheduler does."""
        stays = list(self._running.values())
        preempted = self._slots.grow_or_preempt(self.iteration, stays)
        for stay in preempted:
            self._forget(stay, self.iteration - 1)
            num_generated = self.iteration - 1 - stay.origin - stay.request.num_prompt_tokens
            self._waiting.appendleft((stay.request, num_generated))
        self.num_preempted += len(preempted)
        num_batched = len(self._running)
        self._num_tokens += num_batched
        if not preempted:
            num_batched += self._admit(num_batched)
        num_running = len(self._running)
        self.now_s += self._step_time(
            num_batched=num_batched,
            num_requests=num_running,
            num_sequences=num_running,
            num_kv_tokens=self._num_tokens,
        )
        self.iteration += 1

    def _admit(self, num_batched: int) -> int:
        num_admitted = 0
        while self._waiting:
            request, num_generated = self._waiting[0]
            num_tokens = request.num_prompt_tokens + num_generated
            if request.arrival_s > self.now_s:
                break
            if not fits_budget(num_tokens, num_batched, num_admitted, self._max_batched_tokens):
                break
            last = self.iteration + request.num_output_tokens - num_generated
            stay = _Stay(request, self.iteration - num_tokens, self.iteration, last)
            if len(self._running) == self._max_running or not self._slots.admit(
                stay, num_tokens, is_alone=not self._running
            ):
                self._head_has_no_room = True
                break
            self._waiting.popleft()
            self._running[request.request_id] = stay
            heappush(self._ends, (last, request.request_id, stay))
            self._num_tokens += num_tokens
            num_admitted += num_tokens
        return num_admitted

    def _next_times(self, head_has_arrived: bool) -> list[float]:
        """List the times still to come at which something changes by itself."""
        times = list(self._window)
        if self._waiting and not head_has_arrived:
            times.append(self._waiting[0][0].arrival_s)
        return [time for time in times if self.now_s < time < inf]

    def _iterations_until(self, time_s: float, step_s: float) -> int:
        """Count the iterations after which it is ``time_s`` or later, if nothing else happens."""
        wait_s = time_s - self.now_s
        growth = self._step_time.kv_read_s * len(self._running) / 2
        slope = step_s + self._step_time.kv_read_s * self._num_tokens + growth
        # The root of growth * n**2 + slope * n = wait_s, in the form that stays exact for small growth.
        count = max(1, ceil(2 * wait_s / (slope + sqrt(slope**2 + 4 * growth * wait_s))))
        while count > 1 and self.now_s + self._elapsed_s(count - 1, step_s) >= time_s:
            count -= 1
        while self.now_s + self._elapsed_s(count, step_s) < time_s:
            count += 1
        return count

    def _elapsed_s(self, count: int, step_s: float) -> float:
        """Sum the time of so many iterations in which nobody comes or goes."""
        num_kv_tokens = count * self._num_tokens + len(self._running) * count * (count + 1) // 2
        return count * step_s + self._step_time.kv_read_s * num_kv_tokens

    def _note_window(self) -> None:
        """Note which iterations are the first and the last that begin in the window."""
        if self._window_first == NEVER and self.now_s >= self._window[0]:
            self._window_first = self.iteration
        if self._window_last == NEVER and self.now_s >= self._window[1]:
            self._window_last = self.iteration - 1

    def record(self, requests: list[Request]) -> Run:
        """Return what came out, when all has been served."""
        count = min(self._window_last, self.iteration - 1) - self._window_first + 1
        if count < 1:
            raise ValueError(f"window must hold an iteration, got {self._window}")
        running, used, reserved, internal, rounding = (total / count for total in self._sums)
        return Run(
            requests=requests,
            finish_s=[self.finish_s[request.request_id] for request in requests],
            num_preempted=self.num_preempted,
            num_iterations=count,
            mean_running=running,
            mean_usage=MeanUsage(
                used=used,
                reserved=reserved,
                internal=internal,
                rounding=rounding,
                free=self._slots.num_slots - used - reserved - internal - rounding,
            ),
        )


def simulate(
    requests: Iterable[Request],
    pool: Pool,
    *,
    step_time: StepTime = OPT_13B_STEP,
    max_batched_tokens: int = MAX_BATCHED_TOKENS,
    max_running: int = MAX_RUNNING,
    window: Window = (0.0, inf),
) -> Run:
    """Serve requests from a pool, and return the record of the run.

    Parameters
    ----------
    requests : iterable of Request
        In the order of their arrival, one sample each.
    pool : PagedPool or TraditionalPool
        How slots are handed out.
    step_time, max_batched_tokens, max_running
        As for `Scheduler`.
    window : (float, float)
        The means are over the iterations that begin from the one time on and before the other.

    Raises
    ------
    CacheFullError
        If a request alone does not fit into the pool.
    ValueError, TypeError
        If an argument is not what it should be, or no iteration begins in the window.

    Examples
    --------
    >>> requests = [Request(request_id, 100, 400) for request_id in range(200)]
    >>> round(simulate(requests, PagedPool(num_pages=984), window=(20, 40)).mean_running)
    42
    """
    checked = check_requests(requests)
    if any(request.num_samples > 1 for request in checked):
        raise ValueError("num_samples must be 1 for every request")
    engine = _Engine(
        checked,
        pool,
        step_time=step_time,
        max_batched_tokens=check_count("max_batched_tokens", max_batched_tokens),
        max_running=check_count("max_running", max_running),
        window=window,
    )
    engine.run()
    return engine.record(checked)
