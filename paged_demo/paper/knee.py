"""The rate that a server sustains: a search for the knee of its latency, each run with a trace of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, exp, hypot, log, sqrt
from typing import NamedTuple

import numpy as np

from paged_demo.checks import check_count, check_positive, follow
from paged_demo.paper.experiment import draw_trace
from paged_demo.paper.numbers import SUSTAINED_LATENCY_S
from paged_demo.serving.rules import PAPER_RULES, Pool, Rules
from paged_demo.serving.run import Progress
from paged_demo.serving.simulator import simulate
from paged_demo.serving.workload import LengthDistribution, Request

FEWEST_RUNS = 8

STEP = 1.1
"""The bisection begins this factor to either side of a full server's rate."""

CLOSE = 1.05
"""It ends when its ends are no more than this factor apart."""

SPREAD = 0.08
"""Runs are spread over this share of the rate to either side."""

FEWEST_REQUESTS = 50_000
"""Requests in all runs of a search together.

Whatever the server, the error of its knee falls with their number: with 50,000 it is about 1 %."""

QUEUE_LENGTH = 2000
WARM_UP_SHARE = 0.2


class Estimate(NamedTuple):
    """A number that was measured, and the interval of two standard errors around it.

    Attributes
    ----------
    value : float
        The number.
    log_error : float
        The standard error of its natural logarithm.

    Examples
    --------
    >>> print(Estimate(2.0, 0.01))
    2.00 (1.96 to 2.04)
    >>> print(Estimate(2.0, 0.01).over(Estimate(0.5, 0.02)))
    4.00 (3.83 to 4.18)
    """

    value: float
    log_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """From and to: two standard errors each way, which hold the true value nine times in ten."""
        return self.value * exp(-2 * self.log_error), self.value * exp(2 * self.log_error)

    def over(self, other: "Estimate") -> "Estimate":
        """Divide by a number that was measured independently."""
        return Estimate(self.value / other.value, hypot(self.log_error, other.log_error))

    def __str__(self) -> str:
        decimals = 3 if self.value < 1 else 2 if self.value < 10 else 1
        low, high = (f"{end:.{decimals}f}" for end in self.interval)
        return f"{self.value:.{decimals}f} ({low} to {high})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """Runs around the rate that a server sustains, each with a trace of its own.

    Attributes
    ----------
    rates_rps : tuple of float
        Arrivals in a second.
    latencies_s : tuple of float
        Normalised latency of each run, in s/token.
    """

    rates_rps: tuple[float, ...]
    latencies_s: tuple[float, ...]

    def rate_at(self, latency_s: float = SUSTAINED_LATENCY_S) -> Estimate:
        """Read the rate (requests/s) with this latency from the line through the runs, in logarithms.

        Parameters
        ----------
        latency_s : float
            Normalised latency up to which a rate counts as sustained, in s/token.

        Examples
        --------
        >>> knee = Knee(rates_rps=(1.0, 2.0, 4.0), latencies_s=(0.125, 0.5, 2.0))
        >>> print(knee.rate_at(), "and", knee.rate_at(1.0))
        2.00 (2.00 to 2.00) and 2.83 (2.83 to 2.83)
        """
        height = log(check_positive("latency_s", latency_s))
        rates, latencies = np.log(self.rates_rps), np.log(self.latencies_s)
        middle, spread = rates.mean(), ((rates - rates.mean()) ** 2).sum()
        slope = ((rates - middle) * latencies).sum() / spread
        beyond = (height - latencies.mean()) / slope
        residuals = latencies - latencies.mean() - slope * (rates - middle)
        scatter = sqrt((residuals**2).sum() / (len(rates) - 2))
        error = scatter / abs(slope) * sqrt(1 / len(rates) + beyond**2 / spread)
        return Estimate(float(np.exp(middle + beyond)), float(error))


def latency_at(
    rate_rps: float,
    pool: Pool,
    lengths: LengthDistribution,
    *,
    rules: Rules = PAPER_RULES,
    duration_s: float,
    rng: np.random.Generator,
) -> float:
    """Serve a trace and return its normalised latency in s/token."""
    trace = draw_trace(lengths, rate_rps=rate_rps, duration_s=duration_s, rng=rng)
    return simulate(trace, pool, rules=rules).normalised_latency_s


def capacity_rps(requests: Iterable[Request], pool: Pool, *, rules: Rules = PAPER_RULES) -> float:
    """Measure how many requests a server finishes in a second while its queue is never empty.

    All requests are there from the start. It counts from the end of a fifth of them up to the time at which
    the last one is admitted.

    Examples
    --------
    >>> from paged_demo import PagedPool
    >>> queue = [Request(request_id, 100, 400) for request_id in range(500)]
    >>> round(capacity_rps(queue, PagedPool(num_pages=984)), 2)
    2.34
    """
    run = simulate([request._replace(arrival_s=0.0) for request in requests], pool, rules=rules)
    until_s = max(stay.start_s for stay in run.stays)
    done_s = sorted(finish_s for finish_s in run.finish_s if finish_s <= until_s)
    num_early = round(WARM_UP_SHARE * len(done_s))
    if len(done_s) < FEWEST_RUNS:
        raise ValueError(f"requests must be too many for the pool, got {len(run.requests)}")
    return (len(done_s) - 1 - num_early) / (done_s[-1] - done_s[num_early])


def find_knee(
    pool: Pool,
    lengths: LengthDistribution,
    *,
    rules: Rules = PAPER_RULES,
    duration_s: float = 3600,
    effort: int = 1,
    seed: int = 0,
    progress: Progress = iter,
) -> Knee:
    """Search for the rate that a server sustains, at which its latency leaves the flat part of its curve.

    A bisection from the rate of a full server finds the neighbourhood. Then runs are spread over it evenly,
    each with a trace that is drawn anew, and the line through them is read by `Knee.rate_at`. Beyond the knee
    a queue grows as long as requests come, so the length of the traces is part of what is measured.

    Parameters
    ----------
    pool, lengths, rules
        The server, and the lengths of its requests.
    duration_s : float
        How long each trace lasts, in seconds.
    effort : int
        1 is as many runs behind the line as have 50,000 requests together, and at least 8; 2 is twice as
        many. Those of the bisection come on top.
    seed : int
        All traces are drawn from its children.
    progress : callable
        Wraps the runs behind the line, as ``tqdm`` does.

    References
    ----------
    Kwon et al. (2023), section 6.1 (traces of an hour) and Fig. 12.
    """
    effort = check_count("effort", effort)
    duration_s = check_positive("duration_s", duration_s)
    seeds = np.random.SeedSequence(check_count("seed", seed, minimum=0))

    def measure(rate_rps: float) -> float:
        rng = np.random.default_rng(seeds.spawn(1)[0])
        return latency_at(rate_rps, pool, lengths, rules=rules, duration_s=duration_s, rng=rng)

    queue = lengths.sample(QUEUE_LENGTH, rng=np.random.default_rng(seeds.spawn(1)[0]))
    low = capacity_rps(queue, pool, rules=rules) / STEP
    while measure(low) > SUSTAINED_LATENCY_S:
        low /= STEP
    high = low * STEP**2
    while measure(high) < SUSTAINED_LATENCY_S:
        low, high = high, high * STEP
    while high > CLOSE * low:
        middle = sqrt(low * high)
        low, high = (middle, high) if measure(middle) < SUSTAINED_LATENCY_S else (low, middle)
    middle = sqrt(low * high)
    num_runs = effort * max(FEWEST_RUNS, ceil(FEWEST_REQUESTS / (middle * duration_s)))
    rates = (middle * np.linspace(1 - SPREAD, 1 + SPREAD, num_runs)).tolist()
    latencies = [measure(rates[index]) for index in follow(progress, range(num_runs))]
    return Knee(rates_rps=tuple(rates), latencies_s=tuple(latencies))
