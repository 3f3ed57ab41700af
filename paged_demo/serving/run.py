"""What came out of serving requests, whichever engine served them; and the readable engine, which steps."""

import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple, Protocol

from paged_demo.allocators.memory_map import account
from paged_demo.checks import came, check_number
from paged_demo.serving.rules import PAPER_RULES, Pool, Rules
from paged_demo.serving.scheduler import Scheduler, scheduler_of
from paged_demo.serving.sequence_group import Stay
from paged_demo.serving.workload import Request

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Passes on what it is given, and shows how far it has come; such as ``tqdm``."""

Window = tuple[float, float]
"""Iterations that begin from the one time (s) on and before the other are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanUsage:
    """The fates of a pool's slots, as in `MemoryUsage`, each the mean over iterations.

    ``free`` holds whatever no sequence holds: only the next request could tell external from free.
    """

    used: float
    reserved: float
    internal: float
    rounding: float
    free: float


class Moment(NamedTuple):
    """A pool at one time: in the iteration that runs then, or empty if none does.

    Attributes
    ----------
    time_s : float
        When.
    num_running, num_waiting : int
        Running requests, and requests that have arrived and are not.
    used, reserved, internal, rounding : int
        Slots by their fate, as in `MemoryUsage`; the others are free.
    """

    time_s: float
    num_running: int = 0
    num_waiting: int = 0
    used: int = 0
    reserved: int = 0
    internal: int = 0
    rounding: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Run:
    """The record of a run.

    Attributes
    ----------
    requests : sequence of Request
        What was served.
    finish_s : sequence of float
        When each of them had its last token, in their order.
    first_token_s : sequence of float
        When each of them had its first one: at the end of the iteration that computed the last of its prompt.
    longest_gap_s : float
        The longest time between two tokens of a running request: the longest iteration in which one decodes.
    stays : sequence of Stay
        Who was running when, in the order in which the stays ended.
    moments : sequence of Moment
        The pool at the times that were asked for.
    num_iterations : int
        Iterations that began in the window of measurement.
    mean_running : float
        Running requests, the mean over those iterations.
    mean_usage : MeanUsage
        Where the slots went, the mean over those iterations.
    mean_saved : float
        Slots that sharing saved, the mean over those iterations.
    """

    requests: Sequence[Request]
    finish_s: Sequence[float]
    first_token_s: Sequence[float]
    longest_gap_s: float
    stays: Sequence[Stay]
    moments: Sequence[Moment]
    num_iterations: int
    mean_running: float
    mean_usage: MeanUsage
    mean_saved: float

    def __repr__(self) -> str:
        return (
            f"Run({len(self.requests)} requests, {self.mean_running:.1f} running on average,"
            f" {self.normalised_latency_s:.3g} s per output token, {self.num_preempted} preemptions)"
        )

    @property
    def num_preempted(self) -> int:
        """How often a request had to give its slots back before it was done."""
        return sum(stay.is_preempted for stay in self.stays)

    @property
    def normalised_latency_s(self) -> float:
        """Mean over requests of the time from arrival to end by output token (s/token), as in Fig. 12."""
        return fmean(
            (finish_s - request.arrival_s) / request.num_output_tokens
            for request, finish_s in zip(self.requests, self.finish_s, strict=True)
        )

    @property
    def mean_time_to_first_token_s(self) -> float:
        """Mean over requests of the time from arrival to the first token (s)."""
        arrivals_s = (request.arrival_s for request in self.requests)
        return fmean(map(operator.sub, self.first_token_s, arrivals_s))

    @property
    def saved_share(self) -> float:
        """Share of the slots that sharing saved, of those that would be held without it, as in Fig. 15."""
        usage = self.mean_usage
        held = usage.used + usage.reserved + usage.internal + usage.rounding
        return self.mean_saved / (held + self.mean_saved)


class ServingEngine(Protocol):
    """What a record needs of either engine: times by the ids of requests, and the others as in `Run`."""

    finish_s: dict[int, float]
    first_token_s: dict[int, float]
    longest_gap_s: float
    stays: list[Stay]


class Recorder:
    """Notes what the record of a run holds, for either engine.

    Parameters
    ----------
    requests : list of Request
        Whom the engine serves, in the order of their arrival.
    num_slots : int
        Slots in the pool.
    window, moments
        As for `simulate`; they are checked here.

    Attributes
    ----------
    next_s : float
        The time of the next moment, or infinity.
    """

    def __init__(
        self, requests: list[Request], num_slots: int, window: Window, moments: Iterable[float]
    ) -> None:
        self.window = _check_window(window)
        self.requests = requests
        self._num_slots = num_slots
        # The moments that are still to come, the next one last; behind them one that never comes.
        self._times = [math.inf, *reversed(_check_moments(moments))]
        self.next_s = self._times.pop()
        self._moments: list[Moment] = []
        self._sums = [0] * 6

    def note(
        self, until_s: float, num_done: int, num_running: int = 0, fates: Iterable[int] = (0, 0, 0, 0)
    ) -> None:
        """Note the moments before a time, in which the pool was like this.

        Parameters
        ----------
        until_s : float
            The time.
        num_done, num_running : int
            Requests that were done before those moments, and running requests.
        fates : iterable of int
            Slots that are used, reserved, internal and rounding.
        """
        while self.next_s < until_s:
            time_s, self.next_s = self.next_s, self._times.pop()
            num_arrived = bisect_right(self.requests, time_s, key=lambda request: request.arrival_s)
            self._moments.append(Moment(time_s, num_running, num_arrived - num_done - num_running, *fates))

    def add(self, *amounts: int) -> None:
        """Add to the sums over iterations of the window.

        Parameters
        ----------
        *amounts : int
            Running requests; slots that are used, reserved, internal and rounding, and that sharing saves.
        """
        self._sums = list(map(operator.add, self._sums, amounts))

    def record(self, engine: ServingEngine, num_iterations: int) -> Run:
        """Return what came out, when all has been served.

        Parameters
        ----------
        engine : ServingEngine
            Who served the requests.
        num_iterations : int
            Iterations of the window, all of which have been added.

        Raises
        ------
        ValueError
            If there are none.
        """
        if num_iterations < 1:
            start_s, end_s = self.window
            raise ValueError(f"window must hold an iteration, got ({start_s:g}, {end_s:g})")
        self.note(math.inf, len(engine.finish_s))
        running, used, reserved, internal, rounding, saved = (total / num_iterations for total in self._sums)
        # Of whole numbers: a sum of means that are rounded may be above the pool.
        free = (num_iterations * self._num_slots - sum(self._sums[1:5])) / num_iterations
        usage = MeanUsage(used=used, reserved=reserved, internal=internal, rounding=rounding, free=free)
        return Run(
            requests=self.requests,
            finish_s=[engine.finish_s[request.request_id] for request in self.requests],
            first_token_s=[engine.first_token_s[request.request_id] for request in self.requests],
            longest_gap_s=engine.longest_gap_s,
            stays=engine.stays,
            moments=self._moments,
            num_iterations=num_iterations,
            mean_running=running,
            mean_usage=usage,
            mean_saved=saved,
        )


def serve(
    requests: Iterable[Request],
    pool: Pool,
    *,
    window: Window = (0.0, math.inf),
    moments: Iterable[float] = (),
    progress: Progress = iter,
    rules: Rules = PAPER_RULES,
) -> Run:
    """Serve requests from a pool one iteration at a time, accounting for every slot in each.

    `simulate` has the same parameters, but for ``progress``, and the same outcome, much sooner. Only where an
    arrival falls exactly on the end of an iteration may the two differ by rounding.

    Parameters
    ----------
    requests, pool, window, moments, rules
        As for `simulate`.
    progress : callable
        Wraps the count of requests that are done, as ``tqdm`` does, to show how far a long run has come.

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
    scheduler = scheduler_of(requests, pool, rules=rules)
    recorder = Recorder(scheduler.requests, pool.num_slots, window, moments)
    num_measured = 0
    for num_done in progress(range(len(scheduler.requests))):
        while len(scheduler.finish_s) <= num_done:
            num_measured += _step(scheduler, recorder)
    scheduler.step()  # Nobody is left to serve: those who are done go.
    return recorder.record(scheduler, num_measured)


def _step(scheduler: Scheduler, recorder: Recorder) -> bool:
    """Run an iteration, account for it where the record asks for that, and say whether it is measured."""
    num_done = len(scheduler.finish_s)
    iteration = scheduler.step()
    recorder.note(iteration.start_s, num_done)
    is_measured = recorder.window[0] <= iteration.start_s < recorder.window[1]
    if is_measured or recorder.next_s < iteration.end_s:
        snapshot = scheduler.snapshot()
        usage = account(snapshot.memory_map, snapshot.future_tokens)
        fates = (usage.used, usage.reserved, usage.internal, usage.rounding)
        recorder.note(iteration.end_s, num_done, iteration.num_running, fates)
        if is_measured:
            regions = snapshot.memory_map.regions
            num_saved = sum(region.num_slots * (len(region.seq_ids) - 1) for region in regions)
            recorder.add(iteration.num_running, *fates, num_saved)
    return is_measured


def _check_window(window: Window) -> Window:
    """Return the two times, or raise an error unless they are a time and a later one."""
    with suppress(TypeError, ValueError):
        start_s, end_s = (check_number("window", time_s) for time_s in window)
        if 0 <= start_s < end_s:
            return start_s, end_s
    raise ValueError(f"window must be a time from 0 on and a later one, in seconds, got {came(window)}")


def _check_moments(moments: Iterable[float]) -> list[float]:
    """Return the times as a list, or raise an error unless they are from 0 on and in order."""
    try:
        times = [check_number("a moment", time_s) for time_s in moments]
    except TypeError as error:
        raise TypeError(f"moments must hold times (s): {error}") from None
    for earlier, time_s in pairwise([0.0, *times]):
        if not earlier <= time_s < math.inf:
            raise ValueError(
                f"moments must be times (s) from 0 on and in order, got {time_s} after {earlier}"
            )
    return times
