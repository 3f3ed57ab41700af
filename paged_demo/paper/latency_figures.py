"""How long requests take: Fig. 12 and Fig. 18b of the paper."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import floor
from typing import NamedTuple

import numpy as np

from paged_demo.paper import numbers as paper
from paged_demo.paper.experiment import SERVERS, Comparison, Experiment, check_seeds, draw_trace, over_seeds
from paged_demo.paper.numbers import Curve
from paged_demo.serving.iteration_time import IterationTime
from paged_demo.serving.rules import PagedPool, Pool, Rules
from paged_demo.serving.run import Progress
from paged_demo.serving.simulator import simulate
from paged_demo.serving.workload import LengthDistribution, alpaca, sharegpt


class Workload(NamedTuple):
    """A model and a data set of Fig. 12, besides its drawn curves.

    Attributes
    ----------
    lengths : LengthDistribution
        The data set.
    step_beyond : float
        Beyond the last drawn point a grid goes on at the next multiples of this (requests/s). The points
        outside the plot are not known, but the drawn lines point to them: carried on to the next multiple,
        those of Fig. 12a reach 3.8 to 4.3 s/token, which is about what we measure there.
    not_reproduced : str
        What these rules do not give.
    """

    lengths: LengthDistribution
    step_beyond: float
    not_reproduced: str


FIG_12_WORKLOADS: Mapping[str, Workload] = {
    "OPT-13B, ShareGPT": Workload(sharegpt, 0.25, "FasterTransformer, which does not batch by iteration."),
    "OPT-13B, Alpaca": Workload(
        alpaca,
        2.5,
        "FasterTransformer; Orca (Max), which sustains a seventh less here than in the paper,"
        " and Orca (Oracle), which sustains somewhat more.",
    ),
    "OPT-66B, ShareGPT": Workload(sharegpt, 0.1, "FasterTransformer. One trace strays by 10 % and more."),
    "OPT-175B, ShareGPT": Workload(
        sharegpt, 0.25, "FasterTransformer. One trace of 15 minutes strays by 10 % and more."
    ),
}

MOST_EXTRA_POINTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyCurves:
    """The curves of Fig. 12, and the rates at which they cross 0.5 s/token.

    Attributes
    ----------
    paper : mapping of str to Curve
        The drawn curves, by scheme.
    ours : mapping of str to list of Curve
        By scheme, one curve for each seed.
    sustained : Experiment
        The rates (requests/s) at which the lines cross, and their ratios.
    """

    paper: Mapping[str, Curve]
    ours: Mapping[str, list[Curve]]
    sustained: Experiment


def fig_12(
    workload: str = "OPT-13B, ShareGPT",
    *,
    seeds: Iterable[int] = range(4),
    duration_s: float | None = None,
    progress: Progress = iter,
) -> LatencyCurves:
    """Measure latency against rate, as Fig. 12 does, at the rates of its own points.

    Where our line has not crossed 0.5 s/token at the last point, the grid goes on (``step_beyond``).

    Parameters
    ----------
    workload : str
        One of ``FIG_12_WORKLOADS``: a model and a data set.
    seeds : iterable of int
        A trace is drawn for each, at each rate.
    duration_s : float, optional
        How long the traces last; as long as the paper's if left out.
    progress : callable
        Wraps the seeds, as ``tqdm`` does.
    """
    if workload not in FIG_12_WORKLOADS:
        raise ValueError(f"workload must be one of {'; '.join(FIG_12_WORKLOADS)}; got {workload!r}")
    lengths, step_beyond, not_reproduced = FIG_12_WORKLOADS[workload]
    published = paper.FIG_12[workload]
    server = SERVERS[workload.split(",", maxsplit=1)[0]]
    trace_s = server.trace_s if duration_s is None else duration_s
    ours: dict[str, list[Curve]] = {scheme: [] for scheme in published}
    for seed in progress(check_seeds(seeds)):
        for scheme, pool in server.pools().items():
            curve: dict[float, float] = {}
            for rate_rps in _grid(published[scheme], step_beyond):
                curve[rate_rps] = latency_at(
                    rate_rps,
                    pool,
                    lengths,
                    iteration_time=server.iteration_time,
                    duration_s=trace_s,
                    seed=seed,
                )
                if rate_rps >= max(published[scheme]) and curve[rate_rps] > paper.SUSTAINED_LATENCY_S:
                    break
            ours[scheme].append(curve)
    rates = {scheme: [sustained_rate(curve) for curve in curves] for scheme, curves in ours.items()}
    printed = paper.SUSTAINED_RATES[workload]
    rows = {
        scheme: {
            "rate (1/s)": Comparison(printed[scheme], tuple(rates[scheme])),
            "vLLM's over it": Comparison(
                printed["vLLM"] / printed[scheme],
                tuple(most / rate for most, rate in zip(rates["vLLM"], rates[scheme], strict=True)),
            ),
        }
        for scheme in published
    }
    fixed = "the iteration time's fixed part and part per request, to uncongested points of Fig. 12a"
    if not workload.startswith("OPT-13B"):
        fixed = "the iteration time's fixed part, to vLLM's first point of this figure"
    return LatencyCurves(
        paper=published,
        ours=ours,
        sustained=Experiment(
            title=f"Fig. 12: rate at which latency crosses 0.5 s/token, {workload}",
            setup=f"traces of {trace_s:,.0f} s at the rates of the paper's points, joined by straight lines",
            rows=rows,
            fitted=f"the distributions of lengths; {fixed}. No point under saturation entered a fit.",
            not_reproduced=not_reproduced,
        ),
    )


def latency_at(
    rate_rps: float,
    pool: Pool,
    lengths: LengthDistribution,
    *,
    iteration_time: IterationTime,
    duration_s: float,
    seed: int,
) -> float:
    """Serve a trace and return its normalised latency in s/token."""
    trace = draw_trace(lengths, rate_rps=rate_rps, duration_s=duration_s, rng=np.random.default_rng(seed))
    return simulate(trace, pool, rules=Rules(iteration_time=iteration_time)).normalised_latency_s


def sustained_rate(curve: Curve) -> float:
    """Return the rate at which the line through the points of a curve first crosses 0.5 s/token.

    Raises
    ------
    ValueError
        If it does not.

    Examples
    --------
    >>> round(sustained_rate({1.0: 0.1, 2.0: 0.4, 3.0: 0.6}), 3)
    2.5
    """
    crossing = paper.SUSTAINED_LATENCY_S
    for (rate, latency), (next_rate, next_latency) in pairwise(curve.items()):
        if latency <= crossing < next_latency:
            return rate + (next_rate - rate) * (crossing - latency) / (next_latency - latency)
    raise ValueError(f"curve must cross {crossing} s/token, got {dict(curve)}")


def _grid(published: Curve, step_beyond: float) -> Iterator[float]:
    yield from published
    first = floor(max(published) / step_beyond + 1e-9) + 1
    yield from (number * step_beyond for number in range(first, first + MOST_EXTRA_POINTS))


FIG_18B_WORKLOADS = {"ShareGPT": (sharegpt, 1.77), "Alpaca": (alpaca, 29.6)}
"""Data sets of Fig. 18b, and rates (requests/s).

The paper does not print the rates: ours are those at which pages of 16 give about the latency it draws."""

PAGE_SIZES_18B = (16, 32, 64, 128, 256)


def fig_18b(
    workloads: Iterable[str] = ("ShareGPT", "Alpaca"),
    *,
    seeds: Iterable[int] = range(4),
    progress: Progress = iter,
) -> Experiment:
    """Measure latency (s/token) against page size, as the right half of Fig. 18b does: 16 slots and more.

    Parameters
    ----------
    workloads : iterable of str
        Data sets: ShareGPT, Alpaca or both.
    seeds : iterable of int
        A trace of an hour is drawn for each.
    progress : callable
        Wraps the seeds, as ``tqdm`` does.
    """
    chosen = list(workloads)
    for workload in chosen:
        if workload not in FIG_18B_WORKLOADS:
            raise ValueError(f"workloads must be of {', '.join(FIG_18B_WORKLOADS)}; got {workload!r}")

    def table(cell: Callable[[str, int], float]) -> dict[str, dict[str, float]]:
        return {
            f"{workload} at {FIG_18B_WORKLOADS[workload][1]}/s": {
                f"pages of {page_size}": cell(workload, page_size) for page_size in PAGE_SIZES_18B
            }
            for workload in chosen
        }

    def measure(workload: str, page_size: int, seed: int) -> float:
        lengths, rate_rps = FIG_18B_WORKLOADS[workload]
        pool = PagedPool(num_pages=paper.NUM_SLOTS_13B // page_size, page_size=page_size)
        iteration_time = SERVERS["OPT-13B"].iteration_time
        return latency_at(rate_rps, pool, lengths, iteration_time=iteration_time, duration_s=3600, seed=seed)

    return Experiment(
        title="Fig. 18b, right half: normalised latency by page size, in s/token",
        setup="OPT-13B, traces of 3,600 s",
        rows=over_seeds(
            lambda seed: table(partial(measure, seed=seed)),
            seeds,
            table(lambda workload, page_size: paper.FIG_18B[workload][page_size]),
            progress,
        ),
        fitted="the distributions of lengths; the rates, to the points at pages of 16.",
        not_reproduced="the left half: small pages are slow in the kernel, which a model of memory does"
        " not know; the small gain of ShareGPT from 16 to 32; and how far the last points rise, which varies"
        " much by trace: Alpaca's rise further here.",
    )
