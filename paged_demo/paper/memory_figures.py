"""Where the memory goes, and what sharing saves of it: Fig. 2, Fig. 13, Table 1 and Fig. 15 of the paper."""

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from paged_demo.allocators.paged import PagedAllocator
from paged_demo.checks import check_count, check_positive, check_share
from paged_demo.model import GIB, PRESETS
from paged_demo.paper import numbers as paper
from paged_demo.paper.experiment import (
    SERVERS,
    Comparison,
    Experiment,
    check_names,
    draw_trace,
    over_seeds,
)
from paged_demo.serving.rules import pages_without_sharing
from paged_demo.serving.run import Progress
from paged_demo.serving.simulator import simulate
from paged_demo.serving.workload import Request, alpaca, check_generator, check_requests, sharegpt

WARM_UP_S = 300
"""Iterations before this time are left out: the queues have yet to form."""

PARTS_OF_FIG_2 = ("used", "reserved", "internal", "other", "rounding", "free")


def fig_2(*, seeds: Iterable[int] = range(8), progress: Progress = iter) -> Experiment:
    """Measure where the KV cache goes, as Fig. 2 does: in % of the slots.

    The paper's "external fragmentation and others" is ``other``. Ours is split besides into ``rounding``,
    which the placement adds to a run, and ``free``. The paper gives neither a rate nor a length: 4
    requests/s for 15 minutes are our choice.

    Parameters
    ----------
    seeds : iterable of int
        One trace is drawn for each.
    progress : callable
        Wraps the seeds, as ``tqdm`` does, to show how far they have come.

    Examples
    --------
    >>> fig_2(seeds=[0]).rows["Orca (Max)"]["free"].mean
    8.943...
    """
    rate_rps, duration_s = 4, 900

    def measure(seed: int) -> dict[str, dict[str, float]]:
        rng = np.random.default_rng(seed)
        trace = draw_trace(sharegpt, rate_rps=rate_rps, duration_s=duration_s, rng=rng)
        table = {}
        for scheme, pool in SERVERS["OPT-13B"].pools().items():
            usage = asdict(simulate(trace, pool, window=(WARM_UP_S, duration_s)).mean_usage)
            shares = {fate: 100 * slots / pool.num_slots for fate, slots in usage.items()}
            shares["other"] = shares["rounding"] + shares["free"]
            table[scheme] = {part: shares[part] for part in PARTS_OF_FIG_2}
        return table

    return Experiment(
        title="Fig. 2: where the KV cache goes, in % of the slots",
        setup=f"OPT-13B, ShareGPT at {rate_rps} requests/s for {duration_s} s (our choice);"
        f" mean over the iterations from {WARM_UP_S} s on",
        rows=over_seeds(measure, seeds, paper.FIG_2, progress),
        entered="the free part of Orca (Max) chose the size of the pool, so it is no test.",
        not_reproduced="how the paper splits the rest of vLLM's bar, which it draws and did not measure.",
    )


def fig_13(
    workloads: Iterable[str] = ("ShareGPT", "Alpaca"),
    *,
    seeds: Iterable[int] = range(4),
    alpaca_s: float = 3600,
    progress: Progress = iter,
) -> Experiment:
    """Measure the running requests, as Fig. 13 does.

    Parameters
    ----------
    workloads : iterable of str
        Data sets: ShareGPT, Alpaca or both.
    seeds : iterable of int
        For each a trace of ShareGPT is drawn, and two of Alpaca.
    alpaca_s : float
        How long the trace of Alpaca lasts, in seconds; the paper's lasts an hour.
    progress : callable
        Wraps the seeds, as ``tqdm`` does.
    """
    alpaca_s = check_positive("alpaca_s", alpaca_s)
    if alpaca_s <= WARM_UP_S:
        raise ValueError(f"alpaca_s must be above the {WARM_UP_S} s that are left out, got {alpaca_s!r}")
    columns = {
        f"{workload} at {rate_rps}/s": column
        for workload in check_names("workloads", workloads, paper.FIG_13)
        for rate_rps, column in {
            "ShareGPT": {2: (sharegpt, 2, 3600.0, paper.FIG_13["ShareGPT"])},
            "Alpaca": {
                30: (alpaca, 30, alpaca_s, paper.FIG_13["Alpaca"]),
                29: (alpaca, 29, alpaca_s, {}),
            },
        }[workload].items()
    }
    published = {
        scheme: {column: batches[scheme] for column, (*_, batches) in columns.items() if batches}
        for scheme in paper.SCHEMES
    }

    def measure(seed: int) -> dict[str, dict[str, float]]:
        table: dict[str, dict[str, float]] = {scheme: {} for scheme in paper.SCHEMES}
        for column, (lengths, rate_rps, duration_s, _) in columns.items():
            rng = np.random.default_rng(seed)
            trace = draw_trace(lengths, rate_rps=rate_rps, duration_s=duration_s, rng=rng)
            for scheme, pool in SERVERS["OPT-13B"].pools().items():
                run = simulate(trace, pool, window=(WARM_UP_S, duration_s))
                table[scheme][column] = run.mean_running
        return table

    return Experiment(
        title="Fig. 13: running requests",
        setup=f"OPT-13B; ShareGPT for 3,600 s, Alpaca for {alpaca_s:,.0f} s;"
        f" mean over the iterations from {WARM_UP_S} s on",
        rows=over_seeds(measure, seeds, published, progress),
        entered="nothing of this figure.",
        not_reproduced="vLLM's batch on Alpaca at exactly 30/s: that rate is on the knee, where a little more"
        " or less load changes it much. The column for 29/s shows it.",
    )


def table_1() -> Experiment:
    """Compute the slots of the paper's servers from their memory, and how many requests Orca (Max) holds."""
    rows = {}
    for model, server in paper.TABLE_1.items():
        thousand_slots = server.kv_cache_gb * GIB / PRESETS[model].kv_bytes_per_token / 1000
        num_runs = SERVERS[model].num_pages * paper.PAGE_SIZE // paper.MAX_TOKENS
        rows[model] = {
            "thousand slots": Comparison(server.thousand_slots, (thousand_slots,)),
            "runs of 2,048": Comparison(None, (num_runs,)),
        }
    return Experiment(
        title="Table 1: slots for keys and values",
        setup="memory over the bytes of a slot, 2 x layers x hidden x 2 bytes; its GB are taken as GiB",
        rows=rows,
        entered="its memory.",
        not_reproduced="OPT-66B's 9.7K: 21 GiB give 9.6K. The table rounds the memory to whole GB.",
    )


BEAM_SWITCH_SHARE = 0.07
"""Share of the steps in which a beam dies and continues another one.

Fitted to Fig. 15 at a width of 2 alone: there Alpaca comes out about a point too low, and ShareGPT, which
hardly depends on it, three points too high."""

FIG_15_WORKLOADS = {"Alpaca": (alpaca, 1.0), "ShareGPT": (sharegpt, 0.4)}
"""Data sets of Fig. 15 and of the text beside it, and the rates (requests/s) of our runs.

The shares hardly depend on the rates."""


def fig_15(
    *, seeds: Iterable[int] = range(4), num_beam_requests: int = 100, progress: Progress = iter
) -> Experiment:
    """Measure the pages that sharing saves, as Fig. 15 does: in % of the pages without sharing.

    Parameters
    ----------
    seeds : iterable of int
        Traces are drawn for each.
    num_beam_requests : int
        Requests that search with beams, for each width.
    progress : callable
        Wraps the seeds, as ``tqdm`` does.
    """
    num_beam_requests = check_count("num_beam_requests", num_beam_requests)
    loads = [f"{data} at {rate_rps:g}/s" for data, (_, rate_rps) in FIG_15_WORKLOADS.items()]
    published = {
        f"{data}, {way}": {str(width): saved for width, saved in by_width.items()}
        for data, by_way in paper.FIG_15.items()
        for way, by_width in by_way.items()
    }

    def measure(seed: int) -> dict[str, dict[str, float]]:
        table: dict[str, dict[str, float]] = {}
        for data, (lengths, rate_rps) in FIG_15_WORKLOADS.items():
            rng = np.random.default_rng(seed)
            trace = draw_trace(lengths, rate_rps=rate_rps, duration_s=3600, rng=rng)
            beam_requests = lengths.sample(num_beam_requests, rng=rng)
            for width in (2, 4, 6):
                samples = table.setdefault(f"{data}, parallel", {})
                samples[str(width)] = 100 * saved_by_samples(trace, width)
                beams = table.setdefault(f"{data}, beam", {})
                beams[str(width)] = 100 * saved_by_beams(beam_requests, width, rng=rng)
        return table

    return Experiment(
        title="Fig. 15: pages saved by sharing, in %, by samples or beams",
        setup=f"OPT-13B, pages of {paper.PAGE_SIZE}; samples: an hour of {' and '.join(loads)}, mean"
        f" over iterations; beams: {num_beam_requests} requests, mean over steps",
        rows=over_seeds(measure, seeds, published, progress),
        entered="beams of width 2 chose how often a beam dies.",
        not_reproduced="beam search on ShareGPT: the paper's beams share less, most of all six.",
    )


def saved_by_samples(trace: Iterable[Request], num_samples: int) -> float:
    """Serve a trace with several samples a request; return the share of the slots that sharing saves."""
    several = [request._replace(num_samples=num_samples) for request in trace]
    return simulate(several, SERVERS["OPT-13B"].pools()["vLLM"]).saved_share


def saved_by_beams(
    requests: Iterable[Request],
    width: int,
    *,
    rng: np.random.Generator,
    switch_share: float = BEAM_SWITCH_SHARE,
) -> float:
    """Search with beams over a real allocator; return the share of the pages that sharing saves.

    In each step every beam gains a token. A beam keeps its own hypothesis, or dies (with probability
    ``switch_share``) and continues one of the others. Which one is a matter of the model's scores; here all
    are equally likely.

    Parameters
    ----------
    requests : iterable of Request
        Each is searched by itself.
    width : int
        Beams of a request.
    rng : numpy.random.Generator
        Where the randomness comes from.
    switch_share : float
        Probability that a beam dies in a step, from 0 to below 1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> round(saved_by_beams([Request(0, 64, 64)], 4, rng=rng), 2)
    0.54
    """
    width = check_count("width", width, minimum=2)
    switch_share = check_share("switch_share", switch_share)
    check_generator(rng)
    requests = check_requests(requests)
    num_held = num_unshared = 0
    for request in requests:
        beams = request._replace(num_samples=width)
        allocator = PagedAllocator((width + 1) * -(-request.final_tokens // paper.PAGE_SIZE), paper.PAGE_SIZE)
        allocator.allocate(0, range(request.num_prompt_tokens))
        for beam in range(1, width):
            allocator.fork(0, beam)
        ids = list(range(width))
        next_id = width
        for num_generated in range(1, request.num_output_tokens + 1):
            for beam in (rng.random(width) < switch_share).nonzero()[0].tolist():
                other = (beam + 1 + int(rng.integers(width - 1))) % width
                allocator.fork(ids[other], next_id)
                allocator.free(ids[beam])
                ids[beam] = next_id
                next_id += 1
            for seq_id in ids:
                allocator.append(seq_id, 0)
            num_held += allocator.num_pages - allocator.num_free_pages
            num_unshared += pages_without_sharing(beams, num_generated, paper.PAGE_SIZE)
    return 1 - num_held / num_unshared
