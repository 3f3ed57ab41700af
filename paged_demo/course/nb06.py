"""Notebook 06: a server under load, recomputed at every move; and a small one, iteration by iteration."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter
from tqdm.auto import tqdm as progress  # noqa: F401 - the notebook uses them

from paged_demo.allocators.memory_map import account
from paged_demo.checks import check_count
from paged_demo.course import nb06_plots
from paged_demo.course.nb06_plots import (  # noqa: F401 - the notebook uses them
    FATES_OVER_TIME,
    latency_against_rate,
    memory_beside_paper,
    request_timeline,
    sharing_beside_paper,
    swap_or_recompute,
)
from paged_demo.course.nb06_servers import (  # noqa: F401 - the notebook uses them
    SMALL_SERVERS,
    conversations,
    film_of,
    rates_by_kernel,
    served_both_ways,
    small_requests,
)
from paged_demo.paper.experiment import SERVERS
from paged_demo.paper.numbers import MAX_TOKENS, NUM_SLOTS_13B, PAGE_SIZE, SCHEMES, SUSTAINED_LATENCY_S
from paged_demo.serving.lengths import LengthDistribution, alpaca, azure_code, azure_conv, sharegpt
from paged_demo.serving.rules import PagedPool, Pool
from paged_demo.serving.run import Run
from paged_demo.serving.scheduler import Snapshot
from paged_demo.serving.simulator import simulate
from paged_demo.serving.workload import Request, poisson_arrivals
from paged_demo.views import plots, style
from paged_demo.views.amounts import count_of, percent
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, clear_contents, contents, set_title
from paged_demo.views.strip import letter, slot_strip

RATES_RPS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 12, 20, 30)
LENGTHS: Mapping[str, LengthDistribution] = {
    lengths.name: lengths for lengths in (sharegpt, alpaca, azure_conv, azure_code)
}
NUM_REQUESTS = 400
NUM_MOMENTS = 150

Box = tuple[float, float, float, float]
"""Left, bottom, width and height of some axes, as shares of their figure."""


@lru_cache(maxsize=64)
def _requests(workload: str, rate_rps: float, seed: int) -> list[Request]:
    """Draw the same requests for every rate: only the time between them differs."""
    rng = np.random.default_rng(seed)
    requests = LENGTHS[workload].sample(NUM_REQUESTS, rng=rng, context_limit=MAX_TOKENS)
    return poisson_arrivals(requests, rate_rps=rate_rps, rng=rng)


def _pool(scheme: str, page_size: int, watermark: int) -> Pool:
    pool = SERVERS["OPT-13B"].pools()[scheme]
    if not isinstance(pool, PagedPool):
        return pool
    num_pages = NUM_SLOTS_13B // page_size
    return replace(pool, num_pages=num_pages, page_size=page_size, watermark_share=watermark / 100)


@lru_cache(maxsize=64)
def _knee(workload: str, scheme: str, page_size: int, watermark: int, seed: int) -> dict[float, float]:
    """Measure latency at every rate of the slider; moving that slider need not measure them again."""
    pool = _pool(scheme, page_size, watermark)
    return {
        rate_rps: simulate(_requests(workload, rate_rps, seed), pool).normalised_latency_s
        for rate_rps in RATES_RPS
    }


@lru_cache(maxsize=128)
def _serve(workload: str, rate: float, *, scheme: str, page_size: int, watermark: int, seed: int) -> Run:
    """Serve the requests; a slider that comes back to a value need not serve them again."""
    requests = _requests(workload, rate, seed)
    window = (0.0, requests[-1].arrival_s)
    moments = np.linspace(*window, NUM_MOMENTS).tolist()
    return simulate(requests, _pool(scheme, page_size, watermark), window=window, moments=moments)


class _LoadScene:
    """Who runs and waits over time, and where the slots go meanwhile."""

    frame = None

    def __init__(
        self,
        figure: Figure | SubFigure,
        *,
        seed: int,
        boxes: tuple[Box, Box] = ((0.075, 0.3, 0.4, 0.5), (0.57, 0.3, 0.4, 0.5)),
    ) -> None:
        self._seed = seed
        self._in_flight, self._usage = (figure.add_axes(box) for box in boxes)

    def update(self, *, workload: str, scheme: str, rate: float, page_size: int, watermark: int) -> str:
        effect = f"pages of {page_size} and a watermark of {watermark} %"
        if scheme != "vLLM":
            effect += " have no effect here"
            page_size, watermark = PAGE_SIZE, 0  # the same for all, so that nothing is served again
        run = self.serve(
            workload=workload, scheme=scheme, rate=rate, page_size=page_size, watermark=watermark
        )
        return f"{workload}, {NUM_REQUESTS} requests at {rate} per second, {scheme} ({effect}). {_tell(run)}"

    def serve(self, *, workload: str, scheme: str, rate: float, page_size: int, watermark: int) -> Run:
        """Serve the requests and draw what happened."""
        run = _serve(workload, rate, scheme=scheme, page_size=page_size, watermark=watermark, seed=self._seed)
        for ax in (self._in_flight, self._usage):
            clear_contents(ax)
        nb06_plots.in_flight(run.moments, ax=self._in_flight)
        nb06_plots.usage_over_time(run.moments, num_slots=NUM_SLOTS_13B, ax=self._usage)
        set_title(self._in_flight, f"{scheme}: {run.mean_running:.1f} in flight on average")
        set_title(self._usage, f"{percent(run.mean_usage.used / NUM_SLOTS_13B)} of the slots hold a token")
        return run

    def moving(self) -> list[Artist]:
        axes = [self._in_flight.xaxis, self._in_flight.yaxis, self._usage.xaxis]
        return [*contents(self._in_flight), *contents(self._usage), *axes]


class _KneeScene(_LoadScene):
    """The same, and how latency depends on the rate."""

    def __init__(self, figure: Figure | SubFigure, *, seed: int) -> None:
        super().__init__(figure, seed=seed, boxes=((0.075, 0.665, 0.42, 0.265), (0.075, 0.255, 0.42, 0.265)))
        self._in_flight.tick_params(labelbottom=False)  # the axis below has the same times
        self._latency = figure.add_axes((0.6, 0.255, 0.385, 0.675))
        self._latency.set(xscale="log", yscale="log", xlim=(0.2, 40), ylim=(0.015, 60))
        self._latency.set(xlabel="arrival rate (requests/s)", ylabel="latency (s per output token)")
        self._latency.set_xticks([0.3, 1, 3, 10, 30], ["0.3", "1", "3", "10", "30"])
        self._latency.yaxis.set_major_formatter(FuncFormatter(lambda latency, _: f"{latency:g}"))
        self._latency.minorticks_off()
        self._latency.axhline(SUSTAINED_LATENCY_S, color="black", linewidth=0.8, linestyle="--", zorder=0.5)
        self._latency.text(0.22, SUSTAINED_LATENCY_S * 1.1, "0.5 s/token")
        self._curve = self._latency.plot([], [], "o-", color=style.PAGED, linewidth=2, markersize=4)[0]
        self._mark = self._latency.plot([], [], "o", markersize=15, markerfacecolor="none", color="black")[0]
        plots.fate_legend(figure.add_axes((0, 0, 1, 0.14)), FATES_OVER_TIME, num_columns=3)

    def serve(self, *, workload: str, scheme: str, rate: float, page_size: int, watermark: int) -> Run:
        run = super().serve(
            workload=workload, scheme=scheme, rate=rate, page_size=page_size, watermark=watermark
        )
        self._in_flight.set_xlabel("")
        set_title(self._usage, "")
        knee = _knee(workload, scheme, page_size, watermark, self._seed)
        look = style.SCHEMES[scheme]
        self._curve.set(data=(list(knee), list(knee.values())), color=look["color"], marker=look["marker"])
        self._mark.set_data([rate], [run.normalised_latency_s])
        set_title(self._latency, f"{run.normalised_latency_s:.3g} s/token at {rate}/s")
        return run

    def moving(self) -> list[Artist]:
        return [*super().moving(), self._curve, self._mark, self._latency.title]


def _tell(run: Run) -> str:
    used = percent(run.mean_usage.used / NUM_SLOTS_13B)
    verdict = "sustained" if run.normalised_latency_s <= SUSTAINED_LATENCY_S else "too high"
    return (
        f"While requests arrive, {run.mean_running:.1f} run on average and {used} of the slots hold a token."
        f" Latency is {run.normalised_latency_s:.3g} s per output token: the rate is {verdict}."
        f" {count_of(run.num_preempted, 'preemption')};"
        f" {count_of(run.moments[-1].num_waiting, 'request')} in the queue at the last arrival."
    )


def explore_serving(*, workload: str = "ShareGPT", scheme: str = "vLLM", seed: int = 0) -> Explorer:
    """Explore a server under load: OPT-13B on the paper's hardware, served anew at every move.

    Parameters
    ----------
    workload : str
        Whose lengths to begin with: ShareGPT, Alpaca, Azure conversation or Azure code.
    scheme : str
        The system to begin with, as the paper names it.
    seed : int
        For the lengths and the times between arrivals.
    """
    check_count("seed", seed, minimum=0)
    return Explorer(
        partial(_KneeScene, seed=seed),
        {
            "workload": choice("workload", LENGTHS, workload),
            "scheme": choice("scheme", SCHEMES, scheme),
            "rate": choice("rate (requests/s)", RATES_RPS, 2),
            "page_size": choice("page size (slots)", (2**power for power in range(11)), PAGE_SIZE),
            "watermark": number("watermark (%)", 1, lowest=0, highest=20),
        },
        height=4.8,
        make_sheet_scene=partial(_LoadScene, seed=seed),
    )


class _FilmScene:
    """A small pool in one iteration, and who waits for it."""

    frame = None

    def __init__(
        self, figure: Figure | SubFigure, films: Mapping[str, Sequence[Snapshot]], *, has_slots: bool = True
    ) -> None:
        self._films = films
        left, width = (0.075, 0.915) if has_slots else (0.02, 0.96)
        self._strip = figure.add_axes((left, 0.17, width, 0.68))
        self._strip.yaxis.set_visible(has_slots)
        self._queue = figure.add_axes((left, 0.0, width, 0.14))
        self._queue.set_axis_off()
        self._text = self._queue.text(0, 0.5, "", va="center")

    def update(self, *, scheme: str, iteration: int) -> str:
        film = self._films[scheme]
        snapshot = film[min(iteration, len(film) - 1)]
        usage = account(snapshot.memory_map, snapshot.future_tokens)
        clear_contents(self._strip)
        slot_strip(snapshot.memory_map, snapshot.future_tokens, ax=self._strip)
        running = len(snapshot.future_tokens)
        waiting = len(snapshot.waiting)
        set_title(self._strip, f"{scheme}, iteration {iteration}: {running} run, {waiting} wait")
        queue = " ".join(map(letter, snapshot.waiting)) or "nobody"
        self._text.set_text(f"waiting: {queue}")
        return (
            f"{scheme}, iteration {iteration}: {count_of(running, 'request')} in flight, waiting: {queue};"
            f" of {usage.num_slots} slots {usage.used} hold a token, {usage.allocated} are held."
        )

    def moving(self) -> list[Artist]:
        return [*contents(self._strip), self._strip.yaxis, self._text]


def explore_film(films: Mapping[str, Sequence[Snapshot]]) -> Explorer:
    """Explore what schedulers do with a small pool, iteration by iteration.

    Parameters
    ----------
    films : mapping of str to sequence of Snapshot
        The snapshots of each scheme, one for each iteration. A film that is over stays at its end.
    """
    if not films or not all(films.values()):
        raise ValueError("films must hold at least one film of one snapshot or more")
    last = max(map(len, films.values())) - 1
    return Explorer(
        partial(_FilmScene, films=films),
        {
            "scheme": choice("scheme", films, list(films)[-1]),
            "iteration": number("iteration", last // 4, lowest=0, highest=last),
        },
        height=2.6,
        make_sheet_scene=partial(_FilmScene, films=films, has_slots=False),
    )
