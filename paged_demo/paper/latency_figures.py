"""How long requests take: Fig. 12 and Fig. 18b of the paper."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import floor
from typing import NamedTuple

import numpy as np

from paged_demo.checks import follow
from paged_demo.paper import numbers as paper
from paged_demo.paper.experiment import (
    SERVERS,
    Comparison,
    Experiment,
    PaperServer,
    check_names,
    check_seeds,
    over_seeds,
)
from paged_demo.paper.knee import latency_at
from paged_demo.paper.numbers import Curve
from paged_demo.serving.rules import PagedPool, Rules
from paged_demo.serving.run import Progress
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
        those of Fig. 12a reach 3.8 to 4.3 s/token, where we measure 4.3 to 6.1.
    entered : str
        Which of the figure's points chose or fitted a constant.
    not_reproduced : str
        What these rules do not give.
    knee_s : float, optional
        How long the traces of the search for the knee last, if not as long as the paper's.
    """

    lengths: LengthDistribution
    step_beyond: float
    entered: str
    not_reproduced: str
    knee_s: float | None = None


ALPACA_KNEE_S = 360
"""An hour of Alpaca has 100,000 requests at vLLM's knee. In six minutes a queue has less time to grow, so the
knees lie higher than in an hour: by 2 % for Orca (Max), by 6 % for the others. Over an hour they are 3.86,
16.3, 22.5 and 29.4 requests/s (Max, Pow2, Oracle, vLLM)."""

FIG_12_WORKLOADS: Mapping[str, Workload] = {
    "OPT-13B, ShareGPT": Workload(
        sharegpt,
        0.25,
        "points without congestion, in the fixed time of an iteration and the time per request.",
        "FasterTransformer, which does not batch by iteration.",
    ),
    "OPT-13B, Alpaca": Workload(
        alpaca,
        2.5,
        "nothing of this figure.",
        "FasterTransformer, which does not batch by iteration.",
        knee_s=ALPACA_KNEE_S,
    ),
    "OPT-66B, ShareGPT": Workload(
        sharegpt,
        0.1,
        "vLLM's first point, in the fixed time of an iteration.",
        "FasterTransformer. One trace strays by 10 % and more.",
    ),
    "OPT-175B, ShareGPT": Workload(
        sharegpt,
        0.25,
        "vLLM's first point, in the fixed time of an iteration.",
        "FasterTransformer. One trace of 15 minutes strays by 10 % and more.",
    ),
}

MOST_EXTRA_POINTS = 8


def find_workload(name: str) -> tuple[Workload, PaperServer]:
    """Return a workload of Fig. 12 by its name, and the server it is for, or say which there are."""
    if name not in FIG_12_WORKLOADS:
        raise ValueError(f"workload must be one of {'; '.join(FIG_12_WORKLOADS)}; got {name!r}")
    return FIG_12_WORKLOADS[name], SERVERS[name.split(",", maxsplit=1)[0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyCurves:
    """The curves of Fig. 12 at the rates of the paper's points, and where the lines that join them cross.

    Attributes
    ----------
    paper : mapping of str to Curve
        The drawn curves, by scheme.
    ours : mapping of str to list of Curve
        By scheme, one curve for each seed.
    joined : Experiment
        The rates (requests/s) at which the joined points cross 0.5 s/token, and their ratios.
    """

    paper: Mapping[str, Curve]
    ours: Mapping[str, list[Curve]]
    joined: Experiment


def fig_12(
    workload: str = "OPT-13B, ShareGPT",
    *,
    seeds: Iterable[int] = range(4),
    duration_s: float | None = None,
    progress: Progress = iter,
) -> LatencyCurves:
    """Measure latency against rate at the rates of the paper's own points, each with a trace of its own.

    Where our line has not crossed 0.5 s/token at the last point, the grid goes on (``step_beyond``). What a
    server sustains is `sustained_rates`: the points of Fig. 12 lie too far apart beside the knee to tell.

    Parameters
    ----------
    workload : str
        One of ``FIG_12_WORKLOADS``: a model and a data set.
    seeds : iterable of int
        The traces of a whole set of curves are drawn from the children of each.
    duration_s : float, optional
        How long the traces last; as long as the paper's if left out.
    progress : callable
        Wraps the seeds, as ``tqdm`` does.
    """
    (lengths, step_beyond, entered, not_reproduced, *_), server = find_workload(workload)
    published = paper.FIG_12[workload]
    trace_s = server.trace_s if duration_s is None else duration_s
    rules = Rules(iteration_time=server.iteration_time)
    ours: dict[str, list[Curve]] = {scheme: [] for scheme in published}
    for seed in follow(progress, check_seeds(seeds)):
        children = np.random.SeedSequence(seed)
        for scheme, pool in server.pools().items():
            curve: dict[float, float] = {}
            for rate_rps in _grid(published[scheme], step_beyond):
                rng = np.random.default_rng(children.spawn(1)[0])
                curve[rate_rps] = latency_at(
                    rate_rps, pool, lengths, rules=rules, duration_s=trace_s, rng=rng
                )
                if rate_rps >= max(published[scheme]) and curve[rate_rps] > paper.SUSTAINED_LATENCY_S:
                    break
            ours[scheme].append(curve)
    rates = {scheme: [joined_rate(curve) for curve in curves] for scheme, curves in ours.items()}
    drawn = paper.JOINED_RATES[workload]
    rows = {
        scheme: {
            "rate (1/s)": Comparison(drawn[scheme], tuple(rates[scheme])),
            "vLLM's over it": Comparison(
                drawn["vLLM"] / drawn[scheme],
                tuple(most / rate for most, rate in zip(rates["vLLM"], rates[scheme], strict=True)),
            ),
        }
        for scheme in published
    }
    return LatencyCurves(
        paper=published,
        ours=ours,
        joined=Experiment(
            title=f"Fig. 12: the paper's points, joined as the paper joins them, {workload}",
            setup=f"where the lines cross {paper.SUSTAINED_LATENCY_S} s/token; traces of {trace_s:,.0f} s",
            rows=rows,
            entered=entered,
            not_reproduced=not_reproduced,
        ),
    )


def joined_rate(curve: Curve, latency_s: float = paper.SUSTAINED_LATENCY_S) -> float:
    """Return the rate at which the straight lines between the points of a curve first cross a latency.

    Raises
    ------
    ValueError
        If they do not.

    Examples
    --------
    >>> round(joined_rate({1.0: 0.1, 2.0: 0.4, 3.0: 0.6}), 3)
    2.5
    """
    for (rate, latency), (next_rate, next_latency) in pairwise(curve.items()):
        if latency <= latency_s < next_latency:
            return rate + (next_rate - rate) * (latency_s - latency) / (next_latency - latency)
    raise ValueError(f"curve must cross {latency_s} s/token, got {dict(curve)}")


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
    chosen = check_names("workloads", workloads, FIG_18B_WORKLOADS)

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
        rules = Rules(iteration_time=SERVERS["OPT-13B"].iteration_time)
        rng = np.random.default_rng(seed)
        return latency_at(rate_rps, pool, lengths, rules=rules, duration_s=3600, rng=rng)

    return Experiment(
        title="Fig. 18b, right half: normalised latency by page size, in s/token",
        setup="OPT-13B, traces of 3,600 s",
        rows=over_seeds(
            lambda seed: table(partial(measure, seed=seed)),
            seeds,
            table(lambda workload, page_size: paper.FIG_18B[workload][page_size]),
            progress,
        ),
        entered="the points at pages of 16 chose the rates.",
        not_reproduced="the left half: small pages are slow in the kernel, which a model of memory does"
        " not know; the small gain of ShareGPT from 16 to 32; and how far the last points rise, which varies"
        " much by trace: Alpaca's rise further here.",
    )
