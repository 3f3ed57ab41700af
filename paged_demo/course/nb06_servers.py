"""The servers of notebook 06: a small one, iteration by iteration, and the paper's for other loads."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from paged_demo.allocators.traditional import reserve_max
from paged_demo.paper.latency_figures import LatencyCurves, latency_at, sustained_rate
from paged_demo.paper.numbers import NUM_PAGES_13B, NUM_SLOTS_13B
from paged_demo.serving.lengths import azure_conv, sharegpt
from paged_demo.serving.rules import PagedPool, Pool, TraditionalPool
from paged_demo.serving.scheduler import Snapshot, scheduler_of
from paged_demo.serving.simulator import simulate
from paged_demo.serving.step_time import OPT_13B_STEP
from paged_demo.serving.workload import Request, poisson_arrivals, read_trace

SLOWDOWN = 1.26
"""The paper's kernel over pages takes so many times as long at worst (Fig. 18a, batch 32)."""

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


def rates_by_kernel(curves: LatencyCurves) -> str:
    """Measure the rate that pages sustain with two kernels, beside that of Orca (Max) in `curves`."""
    kernels = {
        "as quick as the others'": OPT_13B_STEP,
        "26 % slower": replace(OPT_13B_STEP, kv_read_s=SLOWDOWN * OPT_13B_STEP.kv_read_s),
    }
    pool = PagedPool(num_pages=NUM_PAGES_13B)
    reference = curves.sustained.rows["Orca (Max)"]["rate (1/s)"].mean
    told = []
    for kernel, step in kernels.items():
        latencies = {
            rate: latency_at(rate, pool, sharegpt, step_time=step, duration_s=3600, seed=0)
            for rate in (1.8, 1.9, 2.0, 2.1)
        }
        rate = sustained_rate(latencies)
        told.append(f"kernel {kernel}: {rate:.2f} requests/s, {rate / reference:.1f} times Orca (Max)")
    return "\n".join(told)


def conversations(path: str | None) -> list[Request]:
    """Read a trace, such as ``AzureLLMInferenceTrace_conv.csv``, or draw one that is like it."""
    if path:
        return read_trace(path)
    drawn = azure_conv.sample(1500, rng=np.random.default_rng(0), context_limit=8192)
    return poisson_arrivals(drawn, rate_rps=1.5, rng=np.random.default_rng(1))


def served_both_ways(trace: Sequence[Request]) -> str:
    """Serve a trace by the paper's server, reserving its longest request and in pages; say how it went."""
    longest = max(request.num_prompt_tokens + request.num_output_tokens for request in trace)
    ways: dict[str, Pool] = {
        "reserve the longest": TraditionalPool(num_slots=NUM_SLOTS_13B, reserve=reserve_max(longest)),
        "pages of 16": PagedPool(num_pages=NUM_PAGES_13B),
    }
    told = []
    for name, pool in ways.items():
        run = simulate(trace, pool)
        told.append(
            f"{name}: {run.mean_running:.1f} of {len(trace):,} requests in flight,"
            f" {run.normalised_latency_s:.2f} s per token, {run.num_preempted:,} preemptions"
        )
    return "\n".join(told)
