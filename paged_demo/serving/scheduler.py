"""Serve requests over an allocator, one iteration at a time."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import chain, repeat
from math import inf
from statistics import fmean
from typing import Any, NamedTuple, Protocol

from paged_demo.allocators.memory_map import CacheFullError, MemoryMap, MemoryUsage, account
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.checks import check_count, check_share
from paged_demo.serving.pools import PagedPool, Pool
from paged_demo.serving.run import MeanUsage, Run
from paged_demo.serving.step_time import OPT_13B_STEP, StepTime
from paged_demo.serving.workload import Request, check_requests

MAX_BATCHED_TOKENS = 2560
MAX_RUNNING = 2048


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


AdmissionPolicy = Callable[[int], bool]
"""Whether a request of so many tokens may start now, if there is room."""


def admit_always(num_tokens: int) -> bool:
    """Admit whatever finds room."""
    return True


def keep_pages_free(allocator: PagedAllocator, *, share: float = 0.01) -> AdmissionPolicy:
    """Admit a request only if it leaves this share of the pages free, for the others to grow.

    Kwon et al. leave 1 % (their implementation's watermark).
    """
    num_kept = int(check_share("share", share) * allocator.num_pages)

    def may_admit(num_tokens: int) -> bool:
        num_pages = -(-num_tokens // allocator.page_size)
        return num_pages + num_kept <= allocator.num_free_pages

    return may_admit


def fits_budget(num_tokens: int, num_decoding: int, num_admitted: int, budget: int) -> bool:
    """Say whether a prompt may join an iteration that decodes and admits so many tokens already.

    A prompt beyond the whole budget may too, if it is the only one: else it would never start.
    """
    if num_tokens > budget:
        return num_admitted == 0
    return num_decoding + num_admitted + num_tokens <= budget


@dataclass(slots=True)
class _Progress:
    request: Request
    num_generated: int = 0

    @property
    def num_tokens(self) -> int:
        return self.request.num_prompt_tokens + self.num_generated

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
        Tokens they hold, the ones of this iteration included.
    num_preempted : int
        Requests sent back to the queue.
    """

    start_s: float
    end_s: float
    num_running: int
    num_tokens: int
    num_preempted: int


class Scheduler:
    """First come, first served, with iteration-level batching and preemption.

    In every iteration each running request gains one token. Then waiting requests are admitted in
    their order, while there is room and the iteration has tokens to spare; a new request's prompt takes
    that one iteration. When there is no room to grow, the newest running request gives its slots back
    and waits at the head of the queue, to compute its tokens again; nobody is admitted meanwhile. A
    request that has its last token leaves as the next iteration begins.

    Parameters
    ----------
    allocator : KVAllocator
        Where the tokens go.
    requests : iterable of Request
        In the order of their arrival.
    may_admit : AdmissionPolicy
        A further condition for starting a request.
    step_time : StepTime
        How long an iteration takes.
    max_batched_tokens : int
        Tokens that one iteration computes at most. A prompt longer than that starts without others.
    max_running : int
        Requests in flight at most.

    References
    ----------
    Kwon et al. (2023), section 4.5: first come first served, preemption of the latest, recomputation.
    """

    def __init__(
        self,
        allocator: KVAllocator,
        requests: Iterable[Request],
        *,
        may_admit: AdmissionPolicy = admit_always,
        step_time: StepTime = OPT_13B_STEP,
        max_batched_tokens: int = MAX_BATCHED_TOKENS,
        max_running: int = MAX_RUNNING,
    ) -> None:
        self.now_s = 0.0
        self.finish_s: dict[int, float] = {}
        self._allocator = allocator
        self._may_admit = may_admit
        self._step_time = step_time
        self._max_batched_tokens = check_count("max_batched_tokens", max_batched_tokens)
        self._max_running = check_count("max_running", max_running)
        self._waiting = deque(_Progress(request) for request in check_requests(requests))
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
        num_preempted = self._grow()
        num_batched = len(self._running)
        if num_preempted == 0:
            num_batched += self._admit(num_batched)
        num_running = len(self._running)
        num_tokens = sum(progress.num_tokens for progress in self._running)
        if num_running:
            self.now_s += self._step_time(
                num_batched=num_batched,
                num_requests=num_running,
                num_sequences=num_running,
                num_kv_tokens=num_tokens,
            )
        for progress in self._running:
            if progress.num_to_come == 0:
                self.finish_s[progress.request.request_id] = self.now_s
        return Iteration(start_s, self.now_s, num_running, num_tokens, num_preempted)

    def future_tokens(self) -> dict[Hashable, int]:
        """Tell how many tokens each running request has yet to generate, for ``account``."""
        return {progress.request.request_id: progress.num_to_come for progress in self._running}

    def _retire(self) -> None:
        for progress in self._running:
            if progress.num_to_come == 0:
                self._allocator.free(progress.request.request_id)
        self._running = [progress for progress in self._running if progress.num_to_come > 0]

    def _grow(self) -> int:
        num_preempted = 0
        index = 0
        while index < len(self._running):
            progress = self._running[index]
            try:
                self._allocator.append(progress.request.request_id, 0)
            except CacheFullError:
                if len(self._running) == 1:
                    raise
                newest = self._running.pop()
                self._allocator.free(newest.request.request_id)
                self._waiting.appendleft(newest)
                num_preempted += 1
            else:
                progress.num_generated += 1
                index += 1
        return num_preempted

    def _admit(self, num_batched: int) -> int:
        """Start waiting requests beside a batch of so many tokens; return the tokens of their prompts."""
        num_admitted = 0
        while self._waiting and len(self._running) < self._max_running:
            progress = self._waiting[0]
            request_id = progress.request.request_id
            if progress.request.arrival_s > self.now_s:
                break
            if not fits_budget(progress.num_tokens, num_batched, num_admitted, self._max_batched_tokens):
                break
            # Alone, a request may have all the room there is: nobody else has to grow.
            if self._running and not self._may_admit(progress.num_tokens):
                break
            try:
                self._allocator.allocate(
                    request_id,
                    # The first token sets a prompt apart from all others.
                    chain((request_id,), repeat(0, progress.num_tokens - 1)),
                    final_tokens=progress.num_tokens + progress.num_to_come,
                )
            except CacheFullError:
                if not self._running:
                    raise
                break
            self._running.append(self._waiting.popleft())
            num_admitted += progress.num_tokens
        return num_admitted


def serve(
    requests: Iterable[Request],
    pool: Pool,
    *,
    step_time: StepTime = OPT_13B_STEP,
    max_batched_tokens: int = MAX_BATCHED_TOKENS,
    max_running: int = MAX_RUNNING,
    window: tuple[float, float] = (0.0, inf),
) -> Run:
    """Serve requests from a pool one iteration at a time, accounting for every slot in each.

    `paged_demo.serving.simulator.simulate` has the same parameters and the same outcome, much sooner.
    """
    checked = check_requests(requests)
    allocator = pool.allocator()
    may_admit: AdmissionPolicy = admit_always
    if isinstance(allocator, PagedAllocator) and isinstance(pool, PagedPool):
        may_admit = keep_pages_free(allocator, share=pool.watermark_share)
    scheduler = Scheduler(
        allocator,
        checked,
        may_admit=may_admit,
        step_time=step_time,
        max_batched_tokens=max_batched_tokens,
        max_running=max_running,
    )
    num_preempted = 0
    measured: list[tuple[Iteration, MemoryUsage]] = []
    while scheduler.num_waiting or scheduler.num_running:
        iteration = scheduler.step()
        num_preempted += iteration.num_preempted
        if iteration.num_running and window[0] <= iteration.start_s < window[1]:
            usage = account(allocator.memory_map(), scheduler.future_tokens())
            measured.append((iteration, usage))
    if not measured:
        raise ValueError(f"window must hold an iteration, got {window}")
    usages = [usage for _, usage in measured]
    return Run(
        requests=checked,
        finish_s=[scheduler.finish_s[request.request_id] for request in checked],
        num_preempted=num_preempted,
        num_iterations=len(measured),
        mean_running=fmean(iteration.num_running for iteration, _ in measured),
        mean_usage=MeanUsage(
            used=fmean(usage.used for usage in usages),
            reserved=fmean(usage.reserved for usage in usages),
            internal=fmean(usage.internal for usage in usages),
            rounding=fmean(usage.rounding for usage in usages),
            free=fmean(usage.external + usage.cached + usage.free for usage in usages),
        ),
    )
