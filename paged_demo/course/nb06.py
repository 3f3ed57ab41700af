"""Notebook 06: a server under load, recomputed at every move; and a small one, iteration by iteration."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from paged_demo.allocators.memory_map import account
from paged_demo.allocators.traditional import reserve_max
from paged_demo.checks import check_whole
from paged_demo.course import nb06_plots
from paged_demo.paper import numbers as paper
from paged_demo.paper.experiment import SERVERS
from paged_demo.serving.rules import PagedPool, Pool, Rules, TraditionalPool
from paged_demo.serving.run import Run
from paged_demo.serving.scheduler import Snapshot, scheduler_of
from paged_demo.serving.simulator import simulate
from paged_demo.serving.traces import read_trace
from paged_demo.serving.workload import DATA_SETS, Request, azure_code, azure_conv, poisson_arrivals
from paged_demo.views import style
from paged_demo.views.controls import choice, number
from paged_demo.views.drawing import Filling
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.progress import progress  # noqa: F401 - the notebook uses it
from paged_demo.views.strip import letter, slot_strip
from paged_demo.views.style import count_of, percent

SMALL_SERVERS: dict[str, Pool] = {
    "traditional": TraditionalPool(num_slots=256, reserve=reserve_max(64)),
    "paged": PagedPool(num_pages=32, page_size=8),
}


def small_requests() -> list[Request]:
    """Draw sixteen requests of at most 64 tokens, which arrive 50 ms apart."""
    lengths = np.random.default_rng(0).integers((4, 8), (16, 40), (16, 2)).tolist()
    return [
        Request(number, num_prompt, num_output, arrival_s=0.05 * number)
        for number, (num_prompt, num_output) in enumerate(lengths)
    ]


def film_of(requests: Sequence[Request], pool: Pool) -> list[Snapshot]:
    """Serve requests to the end, and return what the pool looks like after each iteration."""
    scheduler = scheduler_of(requests, pool)
    film = []
    while scheduler.num_waiting or scheduler.num_running:
        scheduler.step()
        film.append(scheduler.snapshot())
    return film


def conversations(path: str | None) -> list[Request]:
    """Read a trace, such as ``AzureLLMInferenceTrace_conv.csv``, or draw one that is like it."""
    if path:
        return read_trace(path)
    drawn = azure_conv.sample(1500, rng=np.random.default_rng(0), context_limit=8192)
    return poisson_arrivals(drawn, rate_rps=1.5, rng=np.random.default_rng(1))


def served_both_ways(trace: Sequence[Request]) -> str:
    """Serve a trace by the paper's server, reserving its longest request and in pages; say how it went."""
    longest = max(request.final_tokens for request in trace)
    ways: dict[str, Pool] = {
        "reserve the longest": TraditionalPool(num_slots=paper.NUM_SLOTS_13B, reserve=reserve_max(longest)),
        "pages of 16": PagedPool(num_pages=paper.NUM_PAGES_13B),
    }
    told = []
    for name, pool in ways.items():
        run = simulate(trace, pool)
        told.append(
            f"{name}: {run.mean_running:.1f} of {len(trace):,} requests running,"
            f" {run.normalised_latency_s:.2f} s per token, {run.num_preempted:,} preemptions"
        )
    return "\n".join(told)


BUDGETS = (256, 512, 1024, 2048, 4096, 8192)


def served_by_budget(*, rate_rps: float) -> tuple[Run, dict[int, Run]]:
    """Serve requests for code with whole prompts, and in pieces by each of some token budgets."""
    rng = np.random.default_rng(0)
    requests = azure_code.sample(NUM_REQUESTS, rng=rng, context_limit=8192)
    requests = poisson_arrivals(requests, rate_rps=rate_rps, rng=rng)
    pool = PagedPool(num_pages=paper.NUM_PAGES_13B)
    return simulate(requests, pool), {
        budget: simulate(requests, pool, rules=Rules(max_batched_tokens=budget, chunked_prefill=True))
        for budget in BUDGETS
    }


RATES_RPS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 12, 20, 30)
NUM_REQUESTS = 400
NUM_MOMENTS = 150


@lru_cache(maxsize=64)
def _requests(workload: str, rate_rps: float, seed: int) -> list[Request]:
    """Draw the same requests for every rate: only the time between them differs."""
    rng = np.random.default_rng(seed)
    requests = DATA_SETS[workload].sample(NUM_REQUESTS, rng=rng, context_limit=paper.MAX_TOKENS)
    return poisson_arrivals(requests, rate_rps=rate_rps, rng=rng)


def _pool(scheme: str, page_size: int, watermark: int) -> Pool:
    pool = SERVERS["OPT-13B"].pools()[scheme]
    if not isinstance(pool, PagedPool):
        return pool
    num_pages = paper.NUM_SLOTS_13B // page_size
    return replace(pool, num_pages=num_pages, page_size=page_size, watermark_share=watermark / 100)


@lru_cache(maxsize=64)
def _knee(workload: str, scheme: str, page_size: int, watermark: int, seed: int) -> dict[float, float]:
    """Return latency by rate as far as it was measured: who measures more of it adds that."""
    return {}


@lru_cache(maxsize=128)
def _serve(workload: str, rate: float, *, scheme: str, page_size: int, watermark: int, seed: int) -> Run:
    """Serve the requests; a slider that comes back to a value need not serve them again."""
    requests = _requests(workload, rate, seed)
    window = (0.0, requests[-1].arrival_s)
    moments = np.linspace(*window, NUM_MOMENTS).tolist()
    return simulate(requests, _pool(scheme, page_size, watermark), window=window, moments=moments)


def _tell(run: Run) -> str:
    used = percent(run.mean_usage.used / paper.NUM_SLOTS_13B)
    verdict = "sustained" if run.normalised_latency_s <= paper.SUSTAINED_LATENCY_S else "too high"
    return (
        f"latency is {run.normalised_latency_s:.3g} s per output token, so the rate is {verdict}."
        f" While requests arrive, {run.mean_running:.1f} run on average and {used} of the slots hold a token."
        f" {count_of(run.num_preempted, 'preemption')};"
        f" {count_of(run.moments[-1].num_waiting, 'request')} in the queue at the last arrival."
    )


def _draw_latency_axes(ax: Axes) -> None:
    ax.set(xscale="log", yscale="log", xlim=(0.2, 40), ylim=(0.015, 60))
    ax.set(xlabel="arrival rate (requests/s)", ylabel="latency (s per output token)")
    ax.set_xticks([0.3, 1, 3, 10, 30], ["0.3", "1", "3", "10", "30"])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda latency, _: f"{latency:g}"))
    ax.minorticks_off()
    ax.axhline(paper.SUSTAINED_LATENCY_S, color="black", linewidth=0.8, linestyle="--", zorder=0.5)
    ax.text(0.22, paper.SUSTAINED_LATENCY_S * 1.1, "0.5 s/token")


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
    seed = check_whole("seed", seed, minimum=0)

    def fill(
        panels: Panels, *, workload: str, scheme: str, rate: float, page_size: int, watermark: int
    ) -> Filling:
        effect = f"pages of {page_size} and a watermark of {watermark} %"
        if scheme != "vLLM":
            effect += " have no effect here"
            page_size, watermark = paper.PAGE_SIZE, 0  # the same for all, so that nothing is served again
        run = _serve(workload, rate, scheme=scheme, page_size=page_size, watermark=watermark, seed=seed)
        words = f"{workload}, {NUM_REQUESTS} requests at {rate} per second, {scheme} ({effect}): {_tell(run)}"
        running = nb06_plots.running_over_time(run.moments, ax=panels["running"])
        running.set_title(f"{scheme}: {run.mean_running:.1f} running on average")
        usage = nb06_plots.usage_over_time(run.moments, num_slots=paper.NUM_SLOTS_13B, ax=panels["usage"])
        if "latency" not in panels:
            running.set_ylim(0, NUM_REQUESTS)  # one scale for all parts of a sheet
            usage.set_title(f"{percent(run.mean_usage.used / paper.NUM_SLOTS_13B)} of the slots hold a token")
            return words
        running.set_xlabel("")
        running.tick_params(labelbottom=False)  # the axis below has the same times
        latency = panels["latency"]
        latency.plot(rate, run.normalised_latency_s, **style.MARK, zorder=3)
        latency.set_title(f"{run.normalised_latency_s:.3g} s/token at {rate}/s")
        knee, pool = _knee(workload, scheme, page_size, watermark, seed), _pool(scheme, page_size, watermark)
        for each_rps in RATES_RPS:
            if each_rps not in knee:
                yield words  # To serve at all rates takes ten times as long as all the rest.
                knee[each_rps] = simulate(_requests(workload, each_rps, seed), pool).normalised_latency_s
        latencies = [knee[each_rps] for each_rps in RATES_RPS]
        latency.plot(RATES_RPS, latencies, linewidth=2, markersize=4, **style.SCHEMES[scheme])
        return words

    return Explorer(
        fill,
        {
            "workload": choice("workload", DATA_SETS, workload),
            "scheme": choice("scheme", paper.SCHEMES, scheme),
            "rate": choice("rate (requests/s)", RATES_RPS, 2),
            "page_size": choice("page size (slots)", (2**power for power in range(11)), paper.PAGE_SIZE),
            "watermark": number("watermark (%)", 1, lowest=0, highest=20),
        },
        panels={
            "running": (0.075, 0.665, 0.42, 0.265),
            "usage": (0.075, 0.255, 0.42, 0.265),
            "latency": (0.6, 0.255, 0.385, 0.675),
            "key": (0, 0, 1, 0.14),
        },
        sheet={"running": (0.075, 0.3, 0.4, 0.5), "usage": (0.57, 0.3, 0.4, 0.5)},
        narrow={"running": 1.3, "usage": 1.3, "latency": 2.6, "key": 1.2},
        height=4.8,
        background={"latency": _draw_latency_axes},
        key=nb06_plots.FATES_OVER_TIME,
    )


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

    def fill(panels: Panels, *, scheme: str, iteration: int) -> str:
        snapshot = films[scheme][min(iteration, len(films[scheme]) - 1)]
        usage = account(snapshot.memory_map, snapshot.future_tokens)
        running, waiting = len(snapshot.future_tokens), len(snapshot.waiting)
        strip = panels["strip"] if "strip" in panels else panels["bare strip"]
        slot_strip(snapshot.memory_map, snapshot.future_tokens, ax=strip)
        busy = f"{running} run, {waiting} wait" if running or waiting else "all have ended"
        strip.set_title(f"{scheme}, iteration {iteration}: {busy}")
        queue = " ".join(map(letter, snapshot.waiting)) or "nobody"
        panels["queue"].text(0, 0.5, f"waiting: {queue}", va="center")
        return (
            f"{scheme}, iteration {iteration}: {count_of(running, 'request')} running, waiting: {queue};"
            f" of {usage.num_slots} slots {usage.used} hold a token, {usage.allocated} are held."
        )

    return Explorer(
        fill,
        {
            "scheme": choice("scheme", films, list(films)[-1]),
            "iteration": number("iteration", last // 4, lowest=0, highest=last),
        },
        panels={
            "strip": (0.075, 0.29, 0.915, 0.6),
            "queue": (0.075, 0.15, 0.915, 0.12),
            "key": (0, 0, 1, 0.13),
        },
        sheet={"bare strip": (0.02, 0.17, 0.96, 0.68), "queue": (0.02, 0, 0.96, 0.14)},
        height=2.9,
        background={
            "bare strip": lambda ax: ax.yaxis.set_visible(False),
            "queue": lambda ax: ax.set_axis_off(),
        },
        key=nb06_plots.FATES_OVER_TIME[1:3],
    )
