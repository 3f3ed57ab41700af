"""The servers of the paper: their pools and the time of their iterations; and traces to send them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, sqrt

import numpy as np

from paged_demo.allocators.placement import buddy
from paged_demo.allocators.traditional import reserve_max, reserve_oracle, reserve_pow2
from paged_demo.checks import check_positive
from paged_demo.paper.numbers import MAX_TOKENS, NUM_PAGES_13B, PAGE_SIZE, SCHEMES, TABLE_1
from paged_demo.serving.lengths import LengthDistribution
from paged_demo.serving.pools import PagedPool, Pool, TraditionalPool
from paged_demo.serving.step_time import OPT_13B_STEP, StepTime
from paged_demo.serving.workload import Request, poisson_arrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperServer:
    """A model on the paper's hardware.

    Attributes
    ----------
    num_pages : int
        Pages of 16 slots.
    step_time : StepTime
        How long an iteration takes.
    trace_s : float
        How long the paper's traces for it last, in seconds (section 6.1).
    """

    num_pages: int
    step_time: StepTime
    trace_s: float = 3600

    def pools(self) -> dict[str, Pool]:
        """Make the pools that the paper compares, all of one size.

        The three kinds of Orca place their runs with a buddy allocator (section 6.1).
        """
        placement = partial(buddy, max_tokens=MAX_TOKENS)
        reservations = (reserve_max(MAX_TOKENS), reserve_pow2(MAX_TOKENS), reserve_oracle)
        pools: dict[str, Pool] = {
            scheme: TraditionalPool(
                num_slots=self.num_pages * PAGE_SIZE, reserve=reserve, placement=placement
            )
            for scheme, reserve in zip(SCHEMES, reservations, strict=False)
        }
        return pools | {"vLLM": PagedPool(num_pages=self.num_pages, page_size=PAGE_SIZE)}


SLOT_BYTES = {"OPT-13B": 819_200, "OPT-66B": 2_359_296, "OPT-175B": 4_718_592}
"""Bytes of one token's keys and values: 2 x layers x hidden x 2 (fp16)."""


def _larger_server(
    model: str,
    *,
    num_gpus: int,
    bytes_per_s: float,
    parameters: float,
    fixed_s: float,
    trace_s: float = 3600,
) -> PaperServer:
    """Take OPT-13B's server to a larger model on several GPUs, which share all bytes and operations."""
    column = TABLE_1[model]
    step_time = replace(
        OPT_13B_STEP,
        fixed_s=fixed_s,
        weights_s=column.weights_gb * 1e9 / (num_gpus * bytes_per_s),
        compute_s=OPT_13B_STEP.compute_s * parameters / 13e9 / num_gpus,
        kv_read_s=SLOT_BYTES[model] / (num_gpus * bytes_per_s),
    )
    num_pages = round(1000 * column.thousand_slots) // PAGE_SIZE
    return PaperServer(num_pages=num_pages, step_time=step_time, trace_s=trace_s)


SERVERS: Mapping[str, PaperServer] = {
    "OPT-13B": PaperServer(num_pages=NUM_PAGES_13B, step_time=OPT_13B_STEP),
    "OPT-66B": _larger_server("OPT-66B", num_gpus=4, bytes_per_s=1.555e12, parameters=66e9, fixed_s=29e-3),
    "OPT-175B": _larger_server(
        "OPT-175B", num_gpus=8, bytes_per_s=2.039e12, parameters=175e9, fixed_s=59e-3, trace_s=900
    ),
}
"""The paper's three servers, by model.

Pages: those of Table 1's slots, in whole pages; OPT-13B's are exact. Bandwidths of an A100: 1.555 TB/s
with 40 GB, 2.039 TB/s with 80 GB (NVIDIA's data sheet). ``fixed_s`` of the two larger models is fitted to one
point each of Fig. 12 without congestion: vLLM at 0.4 requests/s (OPT-66B) and at 1.5 (OPT-175B)."""


def draw_trace(
    lengths: LengthDistribution, *, rate_rps: float, duration_s: float, rng: np.random.Generator
) -> list[Request]:
    """Draw the requests that arrive within a time.

    Parameters
    ----------
    lengths : LengthDistribution
        How long they are.
    rate_rps : float
        Requests per second on average.
    duration_s : float
        When the trace ends, in seconds.
    rng : numpy.random.Generator
        Where the randomness comes from.

    Raises
    ------
    ValueError, TypeError
        If a rate or a duration is not a finite number above 0, or nobody arrives within the time.
    """
    if not isinstance(lengths, LengthDistribution):
        raise TypeError(f"lengths must be a LengthDistribution, such as sharegpt, got {lengths!r}")
    expected = check_positive("rate_rps", rate_rps) * check_positive("duration_s", duration_s)
    # Six standard deviations above the mean: a Poisson process sends no more in practice.
    requests = lengths.sample(ceil(expected + 6 * sqrt(expected) + 6), rng=rng)
    arrived = poisson_arrivals(requests, rate_rps=rate_rps, rng=rng)
    trace = [request for request in arrived if request.arrival_s < duration_s]
    if not trace:
        raise ValueError(f"duration_s must be long enough for a request, got {duration_s} at {rate_rps}/s")
    return trace
