"""What came out of serving a list of requests, whichever engine served it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from paged_demo.checks import check_number
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


class Stay(NamedTuple):
    """The time that a request spent in flight without a break.

    Attributes
    ----------
    request_id : int
        Whose stay it was; one that was preempted comes back for another.
    start_s, end_s : float
        When the iteration began that admitted it, and when its slots were given back.
    is_preempted : bool
        Whether it ended before the request had its last token.
    """

    request_id: int
    start_s: float
    end_s: float
    is_preempted: bool


class Moment(NamedTuple):
    """A pool at one time: in the iteration that runs then, or empty if none does.

    Attributes
    ----------
    time_s : float
        When.
    num_running, num_waiting : int
        Requests in flight, and requests that have arrived and are not.
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
    stays : sequence of Stay
        Who was in flight when, in the order in which the stays ended.
    moments : sequence of Moment
        The pool at the times that were asked for.
    num_iterations : int
        Iterations that began in the window of measurement.
    mean_running : float
        Requests in flight, the mean over those iterations.
    mean_usage : MeanUsage
        Where the slots went, the mean over those iterations.
    mean_saved : float
        Slots that sharing saved, the mean over those iterations.
    """

    requests: Sequence[Request]
    finish_s: Sequence[float]
    stays: Sequence[Stay]
    moments: Sequence[Moment]
    num_iterations: int
    mean_running: float
    mean_usage: MeanUsage
    mean_saved: float

    def __repr__(self) -> str:
        return (
            f"Run({len(self.requests)} requests, {self.mean_running:.1f} in flight on average,"
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
    def saved_share(self) -> float:
        """Share of the slots that sharing saved, of those that would be held without it, as in Fig. 15."""
        usage = self.mean_usage
        held = usage.used + usage.reserved + usage.internal + usage.rounding
        return self.mean_saved / (held + self.mean_saved)


def check_window(window: Window) -> None:
    """Raise an error unless this is a time and a later one."""
    try:
        is_window = len(window) == 2 and 0 <= window[0] < window[1]
    except TypeError:
        is_window = False
    if not is_window:
        raise ValueError(f"window must be a time from 0 on and a later one, in seconds, got {window!r}")


def check_moments(moments: Iterable[float]) -> list[float]:
    """Return the times as a list, or raise an error unless they are from 0 on and in order."""
    try:
        times = [check_number("a moment", time_s) for time_s in moments]
    except TypeError as error:
        raise TypeError(f"moments must hold times (s): {error}") from None
    earlier = 0.0
    for time_s in times:
        if not earlier <= time_s < math.inf:
            raise ValueError(
                f"moments must be times (s) from 0 on and in order, got {time_s} after {earlier}"
            )
        earlier = time_s
    return times
