"""What came out of serving a list of requests, whichever engine served it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from paged_demo.serving.workload import Request


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The record of a run.

    Attributes
    ----------
    requests : sequence of Request
        What was served.
    finish_s : sequence of float
        When each of them had its last token, in their order.
    num_preempted : int
        How often a request had to give its slots back.
    num_iterations : int
        Iterations that began in the window of measurement.
    mean_running : float
        Requests in flight, the mean over those iterations.
    mean_usage : MeanUsage
        Where the slots went, the mean over those iterations.
    """

    requests: Sequence[Request]
    finish_s: Sequence[float]
    num_preempted: int
    num_iterations: int
    mean_running: float
    mean_usage: MeanUsage

    @property
    def normalised_latency_s(self) -> float:
        """Mean over requests of the time from arrival to end by output token (s/token), as in Fig. 12."""
        return fmean(
            (finish_s - request.arrival_s) / request.num_output_tokens
            for request, finish_s in zip(self.requests, self.finish_s, strict=True)
        )
