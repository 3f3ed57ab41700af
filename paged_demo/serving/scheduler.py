"""Serve requests over an allocator, one iteration at a time."""

from collections import deque
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from paged_demo.allocators.memory_map import CacheFullError, MemoryMap
from paged_demo.checks import check_bool, check_functions, check_positive
from paged_demo.serving.admission import check_pool, check_served
from paged_demo.serving.grouped_pool import pool_of
from paged_demo.serving.rules import (
    PAPER_RULES,
    AdmissionPolicy,
    PagedPool,
    Pool,
    Rules,
    admit_always,
    keep_pages_free,
)
from paged_demo.serving.sequence_group import IterationProgress, KVAllocator, SequenceGroup, Stay, has_pages
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
            pool_of(self._pages).require_room(self.requests, rules)
        self._waiting = deque(map(SequenceGroup, self.requests))
        self._running: list[SequenceGroup] = []
        self._num_sequences = 0
        self._progress: IterationProgress | None = None

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

        If the allocator or a function of the reader raises an error, the next call goes on with the iteration
        where it stopped: nobody gains a token twice, and nobody loses a place.

        Raises
        ------
        CacheFullError
            If a request alone does not find room in a pool without pages.
        ValueError, TypeError
            If a function of the reader returns something else than it should.
        """
        done = self._progress = self._progress or self._begin()
        for group in done.preempted:
            group.free(self._allocator)  # It has not given all back if that was interrupted.
        self._grow(done)
        self._continue_prompts(done)
        if not done.preempted:
            self._admit(done)
        start_s = self.now_s
        num_tokens = sum(group.num_tokens for group in self._running)
        if self._running:
            duration_s = self._duration_s(done, num_tokens)
            self.now_s += duration_s
            if done.num_decoding:
                self.longest_gap_s = max(self.longest_gap_s, duration_s)
        for group in self._running:
            if group.num_generated == 0 and group.num_missing == 0:
                self.first_token_s.setdefault(group.request.request_id, self.now_s)
            if group.num_generated == group.request.num_output_tokens:
                self.finish_s[group.request.request_id] = self.now_s
        self._progress = None
        return Iteration(start_s, self.now_s, len(self._running), num_tokens, len(done.preempted))

    def let_go(self) -> None:
        """Give all slots back, to leave the allocator to others: who was running is served no further."""
        for group in (*self._running, *self._waiting):
            group.free(self._allocator)
        self._running.clear()
        self._num_sequences = 0

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

    def _begin(self) -> IterationProgress:
        for group in [group for group in self._running if group.request.request_id in self.finish_s]:
            group.free(self._allocator)
            self._running.remove(group)
            self._num_sequences -= group.request.num_samples
            self._note_stay(group, is_preempted=False)
        if not self._running and self._waiting:
            self.now_s = max(self.now_s, self._waiting[0].request.arrival_s)
        for group in self._running:
            if not group.num_missing:
                group.num_to_grow = group.request.num_samples
        return IterationProgress()

    def _note_stay(self, group: SequenceGroup, *, is_preempted: bool) -> None:
        self.stays.append(Stay(group.request.request_id, group.start_s, self.now_s, is_preempted))

    def _grow(self, done: IterationProgress) -> None:
        """Append a token to every sequence with a whole prompt, or preempt the newest if there is no room."""
        for group in self._running:  # The newest leave it from its end.
            while group.num_to_grow:  # A group that yields has none to grow.
                try:
                    done.num_decoding += group.grow(self._allocator)
                except CacheFullError as error:
                    self._preempt_newest(done, error)

    def _continue_prompts(self, done: IterationProgress) -> None:
        """Compute the next pieces of running prompts, and preempt the newest where there is no room."""
        for group in self._running.copy():
            # A group that yields misses nothing any more: it begins anew.
            while group.num_missing and (budget := self._rules.max_batched_tokens - done.num_batched) > 0:
                try:
                    done.num_in_pieces += group.extend(self._allocator, budget)
                except CacheFullError as error:
                    self._preempt_newest(done, error)

    def _preempt_newest(self, done: IterationProgress, error: CacheFullError) -> None:
        """Send the newest request back to the queue, or raise the error if there is no other."""
        if len(self._running) == 1:
            raise error
        newest = self._running[-1]
        # Asked first: if it raises, nobody has lost a place. An incomplete prompt is computed again: it has
        # produced nothing that is worth the way.
        newest.is_swapped = not newest.num_missing and self._rules.is_swapped(newest.request)
        self._waiting.appendleft(self._running.pop())
        self._num_sequences -= newest.request.num_samples
        done.preempted.append(newest)
        self._note_stay(newest, is_preempted=True)
        newest.free(self._allocator)

    def _admit(self, done: IterationProgress) -> None:
        """Start waiting requests."""
        while self._waiting:
            group = self._waiting[0]
            request = group.request
            if request.arrival_s > self.now_s:
                break
            if self._num_sequences + request.num_samples > self._rules.max_running:
                break
            num_others = done.num_batched - done.num_admitted
            if not self._rules.may_start(group.num_to_compute, num_others, done.num_admitted):
                break
            # Alone, a request may have all the room there is: nobody else has to grow.
            if self._running and not self._is_admitted(group):
                break
            try:
                budget = self._rules.piece_budget(done.num_batched)
                done.num_admitted += group.allocate(self._allocator, budget, self._rules.chunk)
            except CacheFullError:
                if not self._running:
                    raise
                break
            group.start_s = self.now_s
            self._running.append(self._waiting.popleft())
            done.started.append(group)
            self._num_sequences += request.num_samples

    def _is_admitted(self, group: SequenceGroup) -> bool:
        return check_bool("what may_admit returns", self._may_admit(group.request, group.num_generated))

    def _duration_s(self, done: IterationProgress, num_tokens: int) -> float:
        rules = self._rules
        duration_s = rules.iteration_time(
            num_batched=done.num_batched,
            num_requests=len(self._running),
            num_sequences=self._num_sequences,
            num_kv_tokens=num_tokens,
        )
        if self._pages is not None:
            page_size = self._pages.page_size
            num_out, num_in = done.num_swapped_pages(page_size)
            duration_s += rules.swap_time(num_pages_out=num_out, num_pages_in=num_in, page_size=page_size)
        return check_positive("what iteration_time and swap_time return", duration_s)


def scheduler_of(requests: Iterable[Request], pool: Pool, *, rules: Rules = PAPER_RULES) -> Scheduler:
    """Make a scheduler that serves requests from a pool, and keeps the pool's watermark.

    Parameters
    ----------
    requests : iterable of Request
        In the order of their arrival.
    pool : PagedPool, GroupedPool or TraditionalPool
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
        may_admit = keep_pages_free(pages, share=pool.watermark_share, chunk=rules.chunk)
        scheduler = Scheduler(pages, requests, may_admit=may_admit, rules=rules)
    else:
        scheduler = Scheduler(pool.allocator(), requests, rules=rules)
    # A pool may refuse more than its allocator: a run that lies nowhere, samples with groups.
    pool.require_room(scheduler.requests, rules)
    return scheduler
