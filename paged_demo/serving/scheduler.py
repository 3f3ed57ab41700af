"""Serve requests over an allocator, one iteration at a time."""

from collections import deque
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from paged_demo.allocators.memory_map import CacheFullError, MemoryMap
from paged_demo.checks import check_functions
from paged_demo.serving.rules import (
    PAPER_RULES,
    AdmissionPolicy,
    PagedPool,
    Pool,
    Rules,
    admit_always,
    check_pool,
    check_served,
    keep_pages_free,
)
from paged_demo.serving.sequence_group import KVAllocator, SequenceGroup, Stay, has_pages
from paged_demo.serving.workload import Request, check_requests


class Iteration(NamedTuple):
    """What one iteration did.

    Attributes
    ----------
    start_s, end_s : float
        When it began and ended.
    num_running : int
        Running requests.
    num_tokens : int
        Tokens of their sequences, the ones of this iteration included. A prompt counts once a sample.
    num_preempted : int
        Requests sent back to the queue.
    """

    start_s: float
    end_s: float
    num_running: int
    num_tokens: int
    num_preempted: int


class Snapshot(NamedTuple):
    """A scheduler at one moment, for a picture.

    Attributes
    ----------
    time_s : float
        When.
    memory_map : MemoryMap
        The pool.
    future_tokens : dict
        Tokens that each sequence has yet to be given slots for, for `account`.
    waiting : tuple of int
        Requests that have arrived and are not running, the next one first.
    """

    time_s: float
    memory_map: MemoryMap
    future_tokens: dict[Hashable, int]
    waiting: tuple[int, ...]


class Scheduler:
    """First come, first served, with iteration-level batching and preemption.

    In every iteration each running sequence gains one token. Then waiting requests are admitted in
    their order, while there is room and the iteration has tokens to spare; a new request's prompt takes
    that one iteration, and its samples fork from it. When there is no room to grow, the newest running
    request gives its slots back and waits at the head of the queue, to compute its tokens again or to
    have them swapped back in; nobody is admitted in that iteration. A request that has its last token leaves
    as the next iteration begins.

    With ``rules.chunked_prefill`` a prompt takes as many iterations as the token budget asks for: running
    prompts that are not complete go on, before others are admitted, and decode once they are. One that
    finds no page for its next piece has the newest request preempted too, itself if it is that one.

    Parameters
    ----------
    allocator : KVAllocator
        Where the tokens go. Several samples need a `PagingAllocator`.
    requests : iterable of Request
        In the order of their arrival.
    may_admit : AdmissionPolicy
        A further condition for starting a request.
    rules : Rules
        How the server runs.

    References
    ----------
    Kwon et al. (2023), section 4.5: first come first served, preemption of the latest, recomputation and
    swapping; section 4.4: parallel samples. There admissions pause until all who were preempted are done;
    here they pause for one iteration, and whoever was preempted is at the head of the queue.
    """

    def __init__(
        self,
        allocator: KVAllocator,
        requests: Iterable[Request],
        *,
        may_admit: AdmissionPolicy = admit_always,
        rules: Rules = PAPER_RULES,
    ) -> None:
        check_functions(may_admit=may_admit)
        self.requests = check_requests(requests)
        self.now_s = 0.0
        self.finish_s: dict[int, float] = {}
        self.first_token_s: dict[int, float] = {}
        self.longest_gap_s = 0.0
        self.stays: list[Stay] = []
        self._allocator = allocator
        self._may_admit = may_admit
        self._pages = allocator if has_pages(allocator) else None
        self._rules = rules
        check_served(self.requests, can_fork=self._pages is not None, rules=rules)
        if self._pages is not None:
            pool = PagedPool(num_pages=self._pages.num_pages, page_size=self._pages.page_size)
            pool.require_room(self.requests)
        self._waiting = deque(map(SequenceGroup, self.requests))
        self._running: list[SequenceGroup] = []

    @property
    def num_waiting(self) -> int:
        """Requests that have not started, or have to start again; some may yet have to arrive."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Running requests, those included that have just had their last token."""
        return len(self._running)

    def step(self) -> Iteration:
        """Run one iteration. It takes no time if nobody is left to serve.

        Raises
        ------
        CacheFullError
            If a request alone does not find room in a pool without pages.
        """
        self._retire()
        if not self._running and self._waiting:
            self.now_s = max(self.now_s, self._waiting[0].request.arrival_s)
        start_s = self.now_s
        preempted = self._grow()
        num_decoding = sum(group.request.num_samples for group in self._running if not group.num_missing)
        num_batched = num_decoding + self._continue_prompts(num_decoding, preempted)
        started, num_computed = ([], 0) if preempted else self._admit(num_batched)
        num_tokens = sum(group.num_tokens for group in self._running)
        if self._running:
            duration_s = self._rules.iteration_time(
                num_batched=num_batched + num_computed,
                num_requests=len(self._running),
                num_sequences=self._num_sequences(),
                num_kv_tokens=num_tokens,
            ) + self._time_to_swap(preempted, started)
            self.now_s += duration_s
            if num_decoding:
                self.longest_gap_s = max(self.longest_gap_s, duration_s)
        for group in self._running:
            if not group.num_missing:
                self.first_token_s.setdefault(group.request.request_id, self.now_s)
            if group.num_to_come == 0:
                self.finish_s[group.request.request_id] = self.now_s
        return Iteration(start_s, self.now_s, len(self._running), num_tokens, len(preempted))

    def future_tokens(self) -> dict[Hashable, int]:
        """Tell how many tokens each running sequence has yet to be given slots for, for ``account``."""
        return {
            seq_id: group.num_missing + group.num_to_come
            for group in self._running
            for seq_id in group.seq_ids
        }

    def snapshot(self) -> Snapshot:
        """Take a snapshot of the pool and the queue."""
        waiting = tuple(
            group.request.request_id for group in self._waiting if group.request.arrival_s <= self.now_s
        )
        return Snapshot(self.now_s, self._allocator.memory_map(), self.future_tokens(), waiting)

    def _num_sequences(self) -> int:
        return sum(group.request.num_samples for group in self._running)

    def _retire(self) -> None:
        for group in self._running:
            if group.num_to_come == 0:
                self._leave(group, is_preempted=False)
        self._running = [group for group in self._running if group.num_to_come > 0]

    def _leave(self, group: SequenceGroup, *, is_preempted: bool) -> None:
        group.free(self._allocator)
        self.stays.append(Stay(group.request.request_id, group.start_s, self.now_s, is_preempted))

    def _grow(self) -> list[SequenceGroup]:
        """Append a token to every sequence with a whole prompt; return the requests that had to yield."""
        preempted: list[SequenceGroup] = []
        index = 0
        while index < len(self._running):
            group = self._running[index]
            to_grow = [] if group.num_missing else group.seq_ids
            # The newest may be this one: then it is no longer there.
            while to_grow and index < len(self._running):
                try:
                    self._allocator.append(to_grow[0], 0)
                except CacheFullError:
                    if len(self._running) == 1:
                        raise
                    preempted.append(self._preempt_newest())
                else:
                    del to_grow[0]
            if not (to_grow or group.num_missing):
                group.num_generated += 1
            index += 1
        return preempted

    def _continue_prompts(self, num_decoding: int, preempted: list[SequenceGroup]) -> int:
        """Compute the next pieces of running prompts; return their tokens, and add to those that yield."""
        budget = self._rules.max_batched_tokens - num_decoding
        for group in self._running.copy():
            # A group that yields misses nothing any more: it begins anew.
            while group.num_missing and budget > 0:
                try:
                    budget -= group.extend(self._allocator, budget)
                except CacheFullError:
                    if len(self._running) == 1:
                        raise
                    preempted.append(self._preempt_newest())
        return self._rules.max_batched_tokens - num_decoding - budget

    def _preempt_newest(self) -> SequenceGroup:
        newest = self._running[-1]
        # Asked first: it is the reader's function, and if it raises nobody has lost a place. An incomplete
        # prompt is computed again: it has produced nothing that is worth the way.
        is_swapped = not newest.num_missing and self._rules.swaps(newest.request)
        newest.is_swapped = is_swapped
        self._leave(self._running.pop(), is_preempted=True)
        self._waiting.appendleft(newest)
        return newest

    def _admit(self, num_batched: int) -> tuple[list[SequenceGroup], int]:
        """Start waiting requests; return them, and the tokens to compute for them."""
        started: list[SequenceGroup] = []
        num_computed = 0
        num_sequences = self._num_sequences()
        while self._waiting:
            group = self._waiting[0]
            request = group.request
            if request.arrival_s > self.now_s:
                break
            if num_sequences + request.num_samples > self._rules.max_running:
                break
            if not self._rules.may_start(group.num_to_compute, num_batched, num_computed):
                break
            # Alone, a request may have all the room there is: nobody else has to grow.
            if self._running and not self._may_admit(request, group.num_generated):
                break
            try:
                budget = self._rules.piece_budget(num_batched + num_computed)
                num_computed += group.allocate(self._allocator, budget)
            except CacheFullError:
                if not self._running:
                    raise
                break
            group.start_s = self.now_s
            self._running.append(self._waiting.popleft())
            started.append(group)
            num_sequences += request.num_samples
        return started, num_computed

    def _time_to_swap(self, preempted: list[SequenceGroup], started: list[SequenceGroup]) -> float:
        if self._pages is None:
            return 0.0
        page_size = self._pages.page_size
        num_out, num_in = (
            sum(group.num_swapped_pages(page_size) for group in moved) for moved in (preempted, started)
        )
        return self._rules.swap_time(num_pages_out=num_out, num_pages_in=num_in, page_size=page_size)


def scheduler_of(requests: Iterable[Request], pool: Pool, *, rules: Rules = PAPER_RULES) -> Scheduler:
    """Make a scheduler that serves requests from a pool, and keeps the pool's watermark.

    Parameters
    ----------
    requests : iterable of Request
        In the order of their arrival.
    pool : PagedPool or TraditionalPool
        How slots are handed out.
    rules : Rules
        How the server runs.

    Raises
    ------
    CacheFullError
        If a request can never be served from this pool; it says how much is missing.

    Examples
    --------
    >>> scheduler = scheduler_of([Request(0, 20, 2)], PagedPool(num_pages=4))
    >>> [scheduler.step().num_tokens for _ in range(3)]
    [20, 21, 22]
    """
    check_pool(pool)
    if isinstance(pool, PagedPool):
        pages = pool.allocator()
        may_admit = keep_pages_free(pages, share=pool.watermark_share)
        return Scheduler(pages, requests, may_admit=may_admit, rules=rules)
    scheduler = Scheduler(pool.allocator(), requests, rules=rules)
    pool.require_room(scheduler.requests)
    return scheduler
