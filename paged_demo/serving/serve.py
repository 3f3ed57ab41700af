"""Serve requests one iteration at a time, and account for every slot in each."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from math import inf
from statistics import fmean
from typing import Unpack

from paged_demo.allocators.memory_map import MemoryUsage, account
from paged_demo.serving.pools import Pool
from paged_demo.serving.rules import RuleChoices
from paged_demo.serving.run import MeanUsage, Moment, Progress, Run, Window, check_moments, check_window
from paged_demo.serving.scheduler import Scheduler, scheduler_of
from paged_demo.serving.workload import Request


def serve(
    requests: Iterable[Request],
    pool: Pool,
    *,
    window: Window = (0.0, inf),
    moments: Iterable[float] = (),
    progress: Progress = iter,
    **rules: Unpack[RuleChoices],
) -> Run:
    """Serve requests from a pool one iteration at a time, accounting for every slot in each.

    `simulate` has the same parameters, but for ``progress``, and the same outcome, much sooner. Only where an
    arrival falls exactly on the end of an iteration may the two differ by rounding.

    Parameters
    ----------
    requests, pool, window, moments
        As for `simulate`.
    progress : callable
        Wraps the count of requests that are done, as ``tqdm`` does, to show how far a long run has come.
    **rules
        Those of `Rules`.

    Raises
    ------
    CacheFullError, ValueError, TypeError
        As for `simulate`.

    Examples
    --------
    >>> from paged_demo import PagedPool
    >>> serve([Request(0, 20, 2), Request(1, 30, 5)], PagedPool(num_pages=8)).num_iterations
    6
    """
    scheduler = scheduler_of(requests, pool, **rules)
    recorder = _Recorder(scheduler, window, moments)
    for num_done in progress(range(len(scheduler.requests))):
        while recorder.num_done <= num_done:
            recorder.step()
    return recorder.run()


class _Recorder:
    """Steps a scheduler, and notes what the record of a run holds."""

    def __init__(self, scheduler: Scheduler, window: Window, moments: Iterable[float]) -> None:
        check_window(window)
        self._scheduler = scheduler
        self._requests = scheduler.requests
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
        snapshot = self._scheduler.snapshot()
        usage = account(snapshot.memory_map, snapshot.future_tokens)
        if is_measured:
            self._usages.append(usage)
            self._num_running.append(iteration.num_running)
            saved = (region.num_slots * (len(region.seq_ids) - 1) for region in snapshot.memory_map.regions)
            self._num_saved.append(sum(saved))
        while self._times and self._times[0] < iteration.end_s:
            time_s = self._times.popleft()
            if time_s < iteration.start_s:
                self._moments.append(Moment(time_s))
                continue
            num_arrived = bisect_right(self._requests, time_s, key=lambda request: request.arrival_s)
            num_running = iteration.num_running
            fates = (usage.used, usage.reserved, usage.internal, usage.rounding)
            self._moments.append(Moment(time_s, num_running, num_arrived - num_done - num_running, *fates))

    def run(self) -> Run:
        self._scheduler.step()  # Nobody is left to serve: those who are done go.
        if not self._usages:
            raise ValueError(f"window must hold an iteration, got {self._window}")
        self._moments.extend(map(Moment, self._times))
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
