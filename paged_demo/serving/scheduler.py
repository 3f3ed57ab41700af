"""Serve requests over an allocator, one iteration at a time."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import chain, repeat
from math import inf
from statistics import fmean
from typing import Any, NamedTuple, Protocol, runtime_checkable

from paged_demo.allocators.memory_map import CacheFullError, MemoryMap, MemoryUsage, account
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.checks import check_count, check_share
from paged_demo.serving.pools import PagedPool, Pool
from paged_demo.serving.rules import (
    MAX_BATCHED_TOKENS,
    MAX_RUNNING,
    SwapPolicy,
    check_samples,
    fits_budget,
    pages_held,
    swap_several,
    tokens_to_compute,
)
from paged_demo.serving.run import MeanUsage, Moment, Run, Stay, Window, check_moments, check_window
from paged_demo.serving.step_time import OPT_13B_STEP, OPT_13B_SWAP, StepTime, SwapTime
from paged_demo.serving.workload import Request, check_requests


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


@runtime_checkable
class ForkingAllocator(KVAllocator, Protocol):
    """What a scheduler needs besides, to let several samples share a prompt."""

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far."""


AdmissionPolicy = Callable[[Request, int], bool]
"""Whether a request, whose samples have so many tokens each, may start now if there is room."""


def admit_always(request: Request, num_generated: int) -> bool:
    """Admit whatever finds room."""
    return True


def keep_pages_free(allocator: PagedAllocator, *, share: float = 0.01) -> AdmissionPolicy:
    """Admit a request only if it leaves this share of the pages free, for the others to grow.

    Kwon et al. leave 1 % (their implementation's watermark).
    """
    num_kept = int(check_share("share", share) * allocator.num_pages)

    def may_admit(request: Request, num_generated: int) -> bool:
        num_pages = pages_held(request, num_generated, allocator.page_size)
        return num_pages + num_kept <= allocator.num_free_pages

    return may_admit


@dataclass(slots=True, eq=False)
class _Progress:
    request: Request
    num_generated: int = 0
    is_swapped: bool = False
    start_s: float = 0.0

    @property
    def seq_ids(self) -> list[Hashable]:
        request_id, num_samples = self.request.request_id, self.request.num_samples
        return [request_id] if num_samples == 1 else [(request_id, sample) for sample in range(num_samples)]

    @property
    def num_tokens(self) -> int:
        return self.request.num_samples * (self.request.num_prompt_tokens + self.num_generated)

    @property
    def num_to_come(self) -> int:
        return self.request.num_output_tokens - self.num_generated


class Iteration(NamedTuple):
    """What one iteration did.

    Attributes
    ----------
    start_s, end_s : float
        When it began and ended.
    num_running : int
        Requests in flight.
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
        Tokens that each sequence has yet to generate, for `account`.
    waiting : tuple of int
        Requests that have arrived and are not in flight, the next one first.
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
    have them swapped back in; nobody is admitted meanwhile. A request that has its last token leaves as
    the next iteration begins.

    Parameters
    ----------
    allocator : KVAllocator
        Where the tokens go. Several samples need a `ForkingAllocator`.
    requests : iterable of Request
        In the order of their arrival.
    may_admit : AdmissionPolicy
        A further condition for starting a request.
    swaps : SwapPolicy
        Which preempted requests are swapped out, instead of computed again.
    step_time : StepTime
        How long an iteration takes.
    swap_time : SwapTime
        How long it takes to swap, in addition.
    max_batched_tokens : int
        Tokens that one iteration computes at most. A prompt longer than that starts without others.
    max_running : int
        Sequences in flight at most.

    References
    ----------
    Kwon et al. (2023), section 4.5: first come first served, preemption of the latest, recomputation and
    swapping; section 4.4: parallel samples.
    """

    def __init__(
        self,
        allocator: KVAllocator,
        requests: Iterable[Request],
        *,
        may_admit: AdmissionPolicy = admit_always,
        swaps: SwapPolicy = swap_several,
        step_time: StepTime = OPT_13B_STEP,
        swap_time: SwapTime = OPT_13B_SWAP,
        max_batched_tokens: int = MAX_BATCHED_TOKENS,
        max_running: int = MAX_RUNNING,
    ) -> None:
        self.now_s = 0.0
        self.finish_s: dict[int, float] = {}
        self.stays: list[Stay] = []
        self._allocator = allocator
        self._may_admit = may_admit
        self._swaps = swaps
        self._step_time = step_time
        self._swap_time = swap_time
        self._max_batched_tokens = check_count("max_batched_tokens", max_batched_tokens)
        self._max_running = check_count("max_running", max_running)
        checked = check_requests(requests)
        check_samples(
            checked, can_fork=isinstance(allocator, ForkingAllocator), max_running=self._max_running
        )
        self._waiting = deque(_Progress(request) for request in checked)
        self._running: list[_Progress] = []

    @property
    def num_waiting(self) -> int:
        """Requests that have not started, or have to start again; some may yet have to arrive."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Requests in flight, those included that have just had their last token."""
        return len(self._running)

    def step(self) -> Iteration:
        """Run one iteration. It takes no time if nobody is left to serve.

        Raises
        ------
        CacheFullError
            If a request alone does not fit into the pool.
        """
        self._retire()
        if not self._running and self._waiting:
            self.now_s = max(self.now_s, self._waiting[0].request.arrival_s)
        start_s = self.now_s
        preempted = self._grow()
        num_sequences = self._num_sequences()
        started, num_computed = ([], 0) if preempted else self._admit(num_sequences)
        num_tokens = sum(progress.num_tokens for progress in self._running)
        if self._running:
            self.now_s += self._step_time(
                num_batched=num_sequences + num_computed,
                num_requests=len(self._running),
                num_sequences=self._num_sequences(),
                num_kv_tokens=num_tokens,
            ) + self._time_to_swap(preempted, started)
        for progress in started:
            progress.is_swapped = False
        for progress in self._running:
            if progress.num_to_come == 0:
                self.finish_s[progress.request.request_id] = self.now_s
        return Iteration(start_s, self.now_s, len(self._running), num_tokens, len(preempted))

    def future_tokens(self) -> dict[Hashable, int]:
        """Tell how many tokens each running sequence has yet to generate, for ``account``."""
        return {seq_id: progress.num_to_come for progress in self._running for seq_id in progress.seq_ids}

    def snapshot(self) -> Snapshot:
        """Take a snapshot of the pool and the queue."""
        waiting = tuple(
            progress.request.request_id
            for progress in self._waiting
            if progress.request.arrival_s <= self.now_s
        )
        return Snapshot(self.now_s, self._allocator.memory_map(), self.future_tokens(), waiting)

    def _num_sequences(self) -> int:
        return sum(progress.request.num_samples for progress in self._running)

    def _retire(self) -> None:
        for progress in self._running:
            if progress.num_to_come == 0:
                self._leave(progress, is_preempted=False)
        self._running = [progress for progress in self._running if progress.num_to_come > 0]

    def _leave(self, progress: _Progress, *, is_preempted: bool) -> None:
        for seq_id in progress.seq_ids:
            self._allocator.free(seq_id)
        self.stays.append(Stay(progress.request.request_id, progress.start_s, self.now_s, is_preempted))

    def _grow(self) -> list[_Progress]:
        """Append a token to every running sequence; return the requests that had to yield."""
        preempted: list[_Progress] = []
        index = 0
        while index < len(self._running):
            progress = self._running[index]
            to_grow = progress.seq_ids
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
            if not to_grow:
                progress.num_generated += 1
            index += 1
        return preempted

    def _preempt_newest(self) -> _Progress:
        newest = self._running.pop()
        self._leave(newest, is_preempted=True)
        newest.is_swapped = self._swaps(newest.request)
        self._waiting.appendleft(newest)
        return newest

    def _admit(self, num_decoding: int) -> tuple[list[_Progress], int]:
        """Start waiting requests; return them, and the tokens to compute for them."""
        started: list[_Progress] = []
        num_computed = 0
        num_sequences = num_decoding
        while self._waiting:
            progress = self._waiting[0]
            request, num_generated = progress.request, progress.num_generated
            num_tokens = tokens_to_compute(request, num_generated, is_swapped=progress.is_swapped)
            if request.arrival_s > self.now_s:
                break
            if num_sequences + request.num_samples > self._max_running:
                break
            if not fits_budget(num_tokens, num_decoding, num_computed, self._max_batched_tokens):
                break
            # Alone, a request may have all the room there is: nobody else has to grow.
            if self._running and not self._may_admit(request, num_generated):
                break
            try:
                self._start(progress)
            except CacheFullError:
                if not self._running:
                    raise
                break
            self._running.append(self._waiting.popleft())
            started.append(progress)
            num_computed += num_tokens
            num_sequences += request.num_samples
        return started, num_computed

    def _start(self, progress: _Progress) -> None:
        """Give a request the slots of all tokens that it has, or raise and leave all as it was."""
        request = progress.request
        first, *others = progress.seq_ids
        # The first token sets a prompt apart from all others.
        prompt = chain((request.request_id,), repeat(0, request.num_prompt_tokens - 1))
        final_tokens = request.num_prompt_tokens + request.num_output_tokens
        self._allocator.allocate(first, prompt, final_tokens=final_tokens)
        held = [first]
        try:
            for child in others:
                assert isinstance(self._allocator, ForkingAllocator)
                self._allocator.fork(first, child)
                held.append(child)
            for _ in range(progress.num_generated):
                for seq_id in held:
                    self._allocator.append(seq_id, 0)
        except CacheFullError:
            for seq_id in held:
                self._allocator.free(seq_id)
            raise
        progress.start_s = self.now_s

    def _time_to_swap(self, preempted: list[_Progress], started: list[_Progress]) -> float:
        if not isinstance(self._allocator, PagedAllocator):
            return 0.0
        page_size = self._allocator.page_size
        num_out, num_in = (
            sum(
                pages_held(progress.request, progress.num_generated, page_size)
                for progress in moved
                if progress.is_swapped
            )
            for moved in (preempted, started)
        )
        return self._swap_time(num_pages_out=num_out, num_pages_in=num_in, page_size=page_size)


def scheduler_of(requests: Iterable[Request], pool: Pool, **rules: Any) -> Scheduler:
    """Make a scheduler that serves requests from a pool, and keeps the pool's watermark.

    Parameters
    ----------
    requests : iterable of Request
        In the order of their arrival.
    pool : PagedPool or TraditionalPool
        How slots are handed out.
    **rules
        Further arguments of `Scheduler`.

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
    checked = check_requests(requests)
    allocator = pool.allocator()
    if isinstance(pool, PagedPool) and isinstance(allocator, PagedAllocator):
        rules["may_admit"] = keep_pages_free(allocator, share=pool.watermark_share)
    scheduler = Scheduler(allocator, checked, **rules)
    pool.require_room(checked)
    return scheduler


Progress = Callable[[Iterable[int]], Iterable[int]]
"""Passes on what it is given, and shows how far it has come; such as ``tqdm``."""


def serve(
    requests: Iterable[Request],
    pool: Pool,
    *,
    window: Window = (0.0, inf),
    moments: Iterable[float] = (),
    progress: Progress = iter,
    **rules: Any,
) -> Run:
    """Serve requests from a pool one iteration at a time, accounting for every slot in each.

    `paged_demo.serving.simulator.simulate` has the same parameters and the same outcome, much sooner.

    Parameters
    ----------
    requests, pool, window, moments
        As for `simulate`.
    progress : callable
        Wraps the count of requests that are done, as ``tqdm`` does, to show how far a long run has come.
    **rules
        Further arguments of `Scheduler`.
    """
    checked = check_requests(requests)
    recorder = _Recorder(scheduler_of(checked, pool, **rules), checked, window, moments)
    for num_done in progress(range(len(checked))):
        while recorder.num_done <= num_done:
            recorder.step()
    return recorder.run()


class _Recorder:
    """Steps a scheduler, and notes what the record of a run holds."""

    def __init__(
        self, scheduler: Scheduler, requests: list[Request], window: Window, moments: Iterable[float]
    ) -> None:
        check_window(window)
        self._scheduler = scheduler
        self._requests = requests
        self._window = window
        self._times = deque(check_moments(moments))
        self._moments: list[Moment] = []
        self._usages: list[MemoryUsage] = []
        self._num_running: list[int] = []
        self._num_saved: list[int] = []

    @property
    def num_done(self) -> int:
        return len(self._scheduler.finish_s)

    def step(self) -> None:
        num_done = self.num_done
        iteration = self._scheduler.step()
        is_measured = self._window[0] <= iteration.start_s < self._window[1]
        if not is_measured and not (self._times and self._times[0] < iteration.end_s):
            return
        memory_map, future_tokens, _ = self._scheduler.snapshot()[1:]
        usage = account(memory_map, future_tokens)
        if is_measured:
            self._usages.append(usage)
            self._num_running.append(iteration.num_running)
            saved = [region.num_slots * (len(region.seq_ids) - 1) for region in memory_map.regions]
            self._num_saved.append(sum(saved))
        while self._times and self._times[0] < iteration.end_s:
            time_s = self._times.popleft()
            if time_s < iteration.start_s:
                self._moments.append(Moment(time_s, 0, 0, 0, 0, 0, 0))
                continue
            num_arrived = bisect_right(self._requests, time_s, key=lambda request: request.arrival_s)
            num_running = iteration.num_running
            fates = (usage.used, usage.reserved, usage.internal, usage.rounding)
            self._moments.append(Moment(time_s, num_running, num_arrived - num_done - num_running, *fates))

    def run(self) -> Run:
        self._scheduler.step()  # Nobody is left to serve: those who are done go.
        if not self._usages:
            raise ValueError(f"window must hold an iteration, got {self._window}")
        self._moments.extend(Moment(time_s, 0, 0, 0, 0, 0, 0) for time_s in self._times)
        finish_s = self._scheduler.finish_s
        return Run(
            requests=self._requests,
            finish_s=[finish_s[request.request_id] for request in self._requests],
            stays=self._scheduler.stays,
            moments=self._moments,
            num_iterations=len(self._usages),
            mean_running=fmean(self._num_running),
            mean_usage=MeanUsage(
                used=fmean(usage.used for usage in self._usages),
                reserved=fmean(usage.reserved for usage in self._usages),
                internal=fmean(usage.internal for usage in self._usages),
                rounding=fmean(usage.rounding for usage in self._usages),
                free=fmean(usage.external + usage.cached + usage.free for usage in self._usages),
            ),
            mean_saved=fmean(self._num_saved),
        )
