"""The numbers of the PagedAttention paper, each with its place, and experiments that reproduce them.

Source: Kwon et al. (2023), "Efficient Memory Management for Large Language Model Serving with
PagedAttention", SOSP 2023, arXiv 2309.06180. Numbers with more digits than it prints were read from the
vector paths of its figures.
"""

from dataclasses import asdict
from functools import partial
from math import ceil, sqrt

import numpy as np

from paged_demo.allocators.placement import buddy
from paged_demo.allocators.traditional import reserve_max, reserve_oracle, reserve_pow2
from paged_demo.checks import check_positive
from paged_demo.serving.lengths import LengthDistribution, sharegpt
from paged_demo.serving.pools import PagedPool, Pool, TraditionalPool
from paged_demo.serving.simulator import simulate
from paged_demo.serving.workload import Request, poisson_arrivals

MAX_TOKENS = 2048
"""The longest sequence of OPT-13B, prompt and output together (section 3)."""

PAGE_SIZE = 16
"""vLLM's default "block size" (section 7.2)."""

NUM_PAGES_13B = 984
"""Pages of 16 slots behind the experiments with OPT-13B on one A100 with 40 GB.

Table 1 prints 12 GB and 15.7K slots. Exactly 984 x 16 = 15,744 slots leave free the 8.943 % that Fig. 2 draws
for Orca (Max), which has room for seven reservations of 2,048."""

NUM_SLOTS_13B = NUM_PAGES_13B * PAGE_SIZE

MEAN_BATCH_SHAREGPT = {"Orca (Max)": 7.00, "Orca (Pow2)": 9.81, "Orca (Oracle)": 13.62, "vLLM": 30.42}
"""Requests in flight, OPT-13B, ShareGPT at 2 requests/s (printed labels of Fig. 13)."""

KERNEL_US = {
    8: {"vLLM": (31.46, 43.56, 84.32), "FasterTransformer": (21.88, 34.9, 62.34)},
    32: {"vLLM": (77.12, 127.06, 235.29), "FasterTransformer": (61.42, 106.74, 194.51)},
}
"""Time of the attention kernel in microseconds, by batch, for contexts of 64, 128 and 256 tokens (Fig. 18a).

FasterTransformer's kernel reads contiguous memory. Section 7.1 sums them up as 20 to 26 % longer."""

SCHEMES = ("Orca (Max)", "Orca (Pow2)", "Orca (Oracle)", "vLLM")

FIG_2 = {
    "Orca (Max)": {"used": 20.410, "reserved": 13.349, "internal": 57.298, "other": 8.943},
    "Orca (Pow2)": {"used": 26.849, "reserved": 17.883, "internal": 13.646, "other": 41.622},
    "Orca (Oracle)": {"used": 38.198, "reserved": 25.243, "internal": 0.0, "other": 36.559},
    "vLLM": {"used": 96.264, "reserved": 1.65, "internal": 0.0, "other": 2.09},
}
"""Where the KV cache goes, in % of its slots (Fig. 2). ``other`` is "external fragmentation and others".

For vLLM the figure draws slivers of reservation and of internal fragmentation that were not measured: each is
half of what is left. Here stands the slack of the last pages as ``reserved``, and free pages as ``other``."""


def tokens_in_pool(scheme: str) -> float:
    """Return how many tokens the OPT-13B pool holds on average under a scheme (Fig. 2).

    Examples
    --------
    >>> round(tokens_in_pool("vLLM"))
    15156
    """
    return FIG_2[scheme]["used"] / 100 * NUM_SLOTS_13B


def kernel_slowdowns(batch: int) -> tuple[float, float]:
    """Return the least and the greatest slowdown of the attention kernel in Fig. 18a, for a batch of 8 or 32.

    Examples
    --------
    >>> [round(slowdown, 2) for slowdown in kernel_slowdowns(32)]
    [1.19, 1.26]
    """
    times = KERNEL_US[batch]
    ratios = [ours / theirs for ours, theirs in zip(times["vLLM"], times["FasterTransformer"], strict=True)]
    return min(ratios), max(ratios)


def pools_13b() -> dict[str, Pool]:
    """Make the pools that the paper compares, all of the size of its OPT-13B server.

    The three kinds of Orca place their runs with a buddy allocator (section 6.1).
    """
    placement = partial(buddy, max_tokens=MAX_TOKENS)
    reservations = (reserve_max(MAX_TOKENS), reserve_pow2(MAX_TOKENS), reserve_oracle)
    pools: dict[str, Pool] = {
        scheme: TraditionalPool(num_slots=NUM_SLOTS_13B, reserve=reserve, placement=placement)
        for scheme, reserve in zip(SCHEMES, reservations, strict=False)
    }
    return pools | {"vLLM": PagedPool(num_pages=NUM_PAGES_13B, page_size=PAGE_SIZE)}


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
    """
    expected = check_positive("rate_rps", rate_rps) * check_positive("duration_s", duration_s)
    # Six standard deviations above the mean: a Poisson process sends no more in practice.
    requests = lengths.sample(ceil(expected + 6 * sqrt(expected) + 6), rng=rng)
    arrived = poisson_arrivals(requests, rate_rps=rate_rps, rng=rng)
    return [request for request in arrived if request.arrival_s < duration_s]


def simulate_fig_2(*, seed: int) -> dict[str, dict[str, float]]:
    """Measure where the KV cache goes, as Fig. 2 does: in % of the slots, by scheme and fate.

    ShareGPT at 4 requests/s for 900 s, the mean over the iterations from 300 s on. ``other`` is split: its
    part that the placement rounds up is ``rounding``, its free part ``free``.
    """
    trace = draw_trace(sharegpt, rate_rps=4, duration_s=900, rng=np.random.default_rng(seed))
    shares = {}
    for scheme, pool in pools_13b().items():
        usage = simulate(trace, pool, window=(300, 900)).mean_usage
        shares[scheme] = {name: 100 * slots / NUM_SLOTS_13B for name, slots in asdict(usage).items()}
    return shares


def simulate_fig_13(*, seed: int) -> dict[str, float]:
    """Measure the requests in flight, as Fig. 13 does for ShareGPT: by scheme, at 2 requests/s for an hour.

    The mean is over the iterations from 300 s on, when the queues have formed.
    """
    trace = draw_trace(sharegpt, rate_rps=2, duration_s=3600, rng=np.random.default_rng(seed))
    return {
        scheme: simulate(trace, pool, window=(300, 3600)).mean_running for scheme, pool in pools_13b().items()
    }
