"""Serve requests by jumping from event to event: what the scheduler does, many times sooner.

Every running request gains one token per iteration. Between two events all is therefore known in closed
form: the time, the tokens, and the pages that are needed. An event is an iteration in which a request may
be admitted, finds no page, or has its last token. The work grows with the requests, not with their tokens.
While a prompt is computed in pieces, each iteration is an event.

Times are added up in another order than the scheduler adds them. Where an arrival falls exactly on the end
of an iteration, rounding may decide otherwise which comes first.
"""

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from math import inf

from paged_demo.serving.admission import check_pool, check_served
from paged_demo.serving.flights import NEVER, Flight, PageCounts
from paged_demo.serving.grouped_flights import counts_of
from paged_demo.serving.iteration_time import Stretch
from paged_demo.serving.rules import (
    PAPER_RULES,
    PagedPool,
    Pool,
    Rules,
)
from paged_demo.serving.run import Recorder, Run, Window
from paged_demo.serving.sequence_group import SequenceGroup, Stay
from paged_demo.serving.workload import Request, check_requests


class _Engine:
    """The state of a run; its methods are the parts of the loop."""

    def __init__(self, pool: Pool, rules: Rules, recorder: Recorder) -> None:
        self.now_s = 0.0
        self.iteration = 0
        self.finish_s: dict[int, float] = {}
        self.first_token_s: dict[int, float] = {}
        self.longest_gap_s = 0.0
        self.stays: list[Stay] = []
        self._slots = counts_of(pool, rules)
        self._rules = rules
        self._recorder = recorder
        self._waiting = deque(map(SequenceGroup, recorder.requests))
        self._running: dict[int, Flight] = {}
        # The one prompt that is not complete. It is the newest request: only a prompt that is complete leaves
        # budget for another.
        self._prompt: Flight | None = None
        # Who has the first token when the iteration ends.
        self._completed: list[int] = []
        # By the last iteration, then by the order of admission, in which the scheduler frees slots too.
        self._ends: list[tuple[int, int, Flight]] = []
        self._num_started = 0
        self._num_sequences = 0
        self._num_tokens = 0
        self._head_has_no_room = False
        # The times of the window that are still to come, the next one last.
        self._edges = [inf, *reversed(recorder.window)]
        self._window_first = NEVER
        self._window_last = NEVER

    def run(self) -> Run:
        while True:
            if self.now_s >= self._edges[-1]:
                self._note_window()
            if self._ends and self._ends[0][0] < self.iteration:
                self._retire()
            if not self._running:
                if not self._waiting:
                    break
                next_s = self._waiting[0].request.arrival_s
                self._recorder.note(next_s, len(self.finish_s))
                self.now_s = max(self.now_s, next_s)
                self._note_window()
            if not self._jump():
                self._step()
            if self._recorder.next_s < self.now_s:
                self._note_moments()
        num_measured = min(self._window_last, self.iteration - 1) - self._window_first + 1
        return self._recorder.record(self, num_measured)

    def _retire(self) -> None:
        """Let those go that had their last token in the iteration before; it ended just now."""
        while self._ends and self._ends[0][0] < self.iteration:
            last, _, flight = heappop(self._ends)
            request_id = flight.request.request_id
            if self._running.get(request_id) is flight:
                self.finish_s[request_id] = self.now_s
                self._slots.release(flight, last)
                self._forget(flight, last, is_preempted=False)

    def _forget(self, flight: Flight, last: int, *, is_preempted: bool) -> None:
        """End a flight whose slots are free again after iteration ``last``: its sums are known now."""
        request = flight.request
        del self._running[request.request_id]
        self.stays.append(Stay(request.request_id, flight.start_s, self.now_s, is_preempted))
        self._num_sequences -= request.num_samples
        self._num_tokens -= request.num_samples * (last - flight.origin)
        self._head_has_no_room = False
        self._add_up(flight, last)

    def _add_up(self, flight: Flight, last: int) -> None:
        """Add to the record what a request held in the iterations of the window up to this one."""
        first, last = max(flight.first, self._window_first), min(last, self._window_last)
        if first <= last:
            self._recorder.add(last - first + 1, *self._slots.held(flight, first, last))

    def _jump(self) -> bool:
        """Run the iterations up to the next event, if there are any: nobody is admitted or preempted."""
        if not self._running or self._prompt is not None:
            return False
        head_s = self._waiting[0].request.arrival_s if self._waiting else inf
        head_has_arrived = head_s <= self.now_s
        if head_has_arrived and not self._head_has_no_room:
            return False
        limit = self._ends[0][0] - self.iteration + 1
        if limit <= 0:
            return False
        stretch = Stretch(
            self._rules.iteration_time, self.now_s, len(self._running), self._num_sequences, self._num_tokens
        )
        # The next time at which something changes by itself.
        event_s = min(self._edges[-1], self._recorder.next_s, inf if head_has_arrived else head_s)
        if event_s < inf:
            limit = stretch.iterations_until(event_s, limit)
        count = self._slots.grow(self.iteration, limit, self._num_sequences)
        if count and (last_s := stretch.last_s(count)) > self.longest_gap_s:
            self.longest_gap_s = last_s
        self.now_s += stretch.elapsed_s(count)
        self._num_tokens += count * self._num_sequences
        self.iteration += count
        return count > 0

    def _step(self) -> None:
        """Run one iteration as the scheduler does."""
        preempted = self._slots.grow_or_preempt(self.iteration, self._running.values())
        num_pages_out = sum(map(self._send_back, preempted)) if preempted else 0
        num_decoding = self._num_sequences - (self._prompt is not None)
        self._num_tokens += num_decoding
        num_batched = num_decoding
        if self._prompt is not None:
            piece = min(self._prompt.num_missing, max(0, self._rules.max_batched_tokens - num_decoding))
            if self._continue(self._prompt, piece):
                num_batched += piece
            else:
                self._slots.release(self._prompt, self.iteration - 1)
                preempted.append(self._prompt)
                self._send_back(self._prompt)
        num_computed, num_pages_in = (0, 0) if preempted else self._admit(num_batched)
        step_s = self._rules.iteration_time(
            num_batched=num_batched + num_computed,
            num_requests=len(self._running),
            num_sequences=self._num_sequences,
            num_kv_tokens=self._num_tokens,
        )
        self.now_s += step_s
        if num_pages_out or num_pages_in:
            swap_s = self._rules.swap_time(
                num_pages_out=num_pages_out, num_pages_in=num_pages_in, page_size=self._slots.page_size
            )
            self.now_s += swap_s
            step_s += swap_s
        if num_decoding and step_s > self.longest_gap_s:
            self.longest_gap_s = step_s
        if self._completed:
            for request_id in self._completed:
                self.first_token_s.setdefault(request_id, self.now_s)
            self._completed.clear()
        self.iteration += 1

    def _continue(self, prompt: Flight, num_tokens: int) -> bool:
        """Compute the next piece of a prompt, and say whether there was room for it."""
        assert isinstance(self._slots, PageCounts)
        self._add_up(prompt, self.iteration - 1)
        prompt.first = self.iteration
        if not self._slots.extend(prompt, self.iteration, num_tokens):
            return False
        self._num_tokens += num_tokens
        if not prompt.num_missing:
            self._prompt = None
            self._complete(prompt)
        return True

    def _complete(self, flight: Flight) -> None:
        """Note that a request has its whole prompt: from now on it decodes, up to a known iteration."""
        self._num_started += 1
        last = flight.origin + flight.final_tokens
        heappush(self._ends, (last, self._num_started, flight))
        self._completed.append(flight.request.request_id)

    def _send_back(self, flight: Flight) -> int:
        """Put a request that was preempted at the head of the queue; return the pages to swap out."""
        self._forget(flight, self.iteration - 1, is_preempted=True)
        num_generated = flight.num_generated(self.iteration - 1)
        is_swapped = not flight.num_missing and self._rules.is_swapped(flight.request)
        group = SequenceGroup(flight.request, num_generated, is_swapped)
        if flight is self._prompt:
            self._prompt = None
        self._waiting.appendleft(group)
        return group.num_swapped_pages(self._slots.page_size)

    def _admit(self, num_batched: int) -> tuple[int, int]:
        """Start waiting requests; return the tokens to compute for them, and the pages to swap in."""
        num_computed = num_pages_in = num_missing = 0
        rules = self._rules
        while self._waiting:
            head = self._waiting[0]
            request, num_generated = head.request, head.num_generated
            if request.arrival_s > self.now_s:
                break
            num_tokens = head.num_to_compute
            if self._num_sequences + request.num_samples > rules.max_running:
                self._head_has_no_room = True
                break
            if not rules.may_start(num_tokens, num_batched, num_computed):
                break
            if rules.chunked_prefill:
                num_missing = max(0, num_tokens + num_batched + num_computed - rules.max_batched_tokens)
            origin = self.iteration - request.num_prompt_tokens - num_generated + num_missing
            flight = Flight(request, origin, self.iteration, self.now_s, num_missing)
            if not self._slots.admit(flight, num_generated, is_alone=not self._running):
                self._head_has_no_room = True
                break
            self._waiting.popleft()
            self._head_has_no_room = False  # Windows may have made room: nobody has to leave for that.
            self._running[request.request_id] = flight
            if num_missing:
                self._prompt = flight
            else:
                self._complete(flight)
            self._num_sequences += request.num_samples
            self._num_tokens += head.num_tokens - num_missing
            num_computed += num_tokens - num_missing
            num_pages_in += head.num_swapped_pages(self._slots.page_size)
        return num_computed, num_pages_in

    def _note_window(self) -> None:
        """Note which iterations are the first and the last that begin in the window."""
        while self.now_s >= self._edges[-1]:
            self._edges.pop()
            if self._window_first == NEVER:
                self._window_first = self.iteration
            else:
                self._window_last = self.iteration - 1

    def _note_moments(self) -> None:
        """Note the pool in the iteration that ended just now, for the moments that lie in it."""
        iteration = self.iteration - 1
        held = [self._slots.held(flight, iteration, iteration)[:4] for flight in self._running.values()]
        fates = [sum(slots) for slots in zip(*held, strict=True)]
        self._recorder.note(self.now_s, len(self.finish_s), len(self._running), fates)


def simulate(
    requests: Iterable[Request],
    pool: Pool,
    *,
    window: Window = (0.0, inf),
    moments: Iterable[float] = (),
    rules: Rules = PAPER_RULES,
) -> Run:
    """Serve requests from a pool, and return the record of the run.

    Parameters
    ----------
    requests : iterable of Request
        In the order of their arrival.
    pool : PagedPool, GroupedPool or TraditionalPool
        How slots are handed out. Only pages serve requests with several samples.
    window : (float, float)
        The means are over the iterations that begin from the one time (s) on and before the other.
    moments : iterable of float
        Times (s) at which to note the state of the pool, in order.
    rules : Rules
        How the server runs.

    Raises
    ------
    CacheFullError
        If a request can never be served from this pool; it says how much is missing.
    ValueError, TypeError
        If an argument is not what it should be, or no iteration begins in the window.

    Examples
    --------
    >>> requests = [Request(request_id, 100, 400) for request_id in range(200)]
    >>> round(simulate(requests, PagedPool(num_pages=984), window=(20, 40)).mean_running)
    42
    """
    checked = check_requests(requests)
    check_pool(pool)
    check_served(checked, can_fork=isinstance(pool, PagedPool), rules=rules)
    pool.require_room(checked, rules)
    return _Engine(pool, rules, Recorder(checked, pool.num_slots, window, moments)).run()
