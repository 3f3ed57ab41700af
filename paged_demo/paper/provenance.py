"""Where every constant of the simulation comes from.

The one place: the notebook of results shows the table.
"""

from statistics import fmean
from typing import NamedTuple

from paged_demo.paper import numbers as paper
from paged_demo.paper.experiment import SERVERS, Table
from paged_demo.paper.latency_figures import ALPACA_KNEE_S, FIG_18B_WORKLOADS
from paged_demo.paper.memory_figures import BEAM_SWITCH_SHARE, FIG_15_WORKLOADS, WARM_UP_S
from paged_demo.serving.iteration_time import OPT_13B_ITERATION, OPT_13B_SWAP
from paged_demo.serving.rules import PAPER_RULES, PagedPool
from paged_demo.serving.workload import sharegpt

PEAK_FLOPS = 312e12
"""Operations a second of an A100 in half precision, by NVIDIA's data sheet."""

OPERATIONS_PER_TOKEN = 2 * 13e9
"""A multiplication and an addition for each parameter of OPT-13B."""


def compute_share(seconds_per_token: float) -> float:
    """Return the share of an A100's peak at which OPT-13B computes a token in so many seconds."""
    return OPERATIONS_PER_TOKEN / seconds_per_token / PEAK_FLOPS


def recompute_shares() -> tuple[float, float]:
    """Return the shares of an A100's peak that Fig. 19a gives: by all its time, and without the fixed part.

    Both are means over its page sizes, and hang on our reading that it computes 256 tokens.

    Examples
    --------
    >>> [round(share, 2) for share in recompute_shares()]
    [0.56, 0.79]
    """
    recompute_s = fmean(paper.FIG_19A_MS["recompute"].values()) / 1e3
    times = (recompute_s, recompute_s - OPT_13B_ITERATION.fixed_s)
    whole, rest = (compute_share(time_s / paper.TOKENS_OF_FIG_19A) for time_s in times)
    return whole, rest


class Constant(NamedTuple):
    """A constant of the simulation.

    Attributes
    ----------
    name, value : str
        What it is, and how large, with its unit.
    origin : str
        One of `ORIGINS`.
    source : str
        Where it stands or how it was found.
    enters : str
        The figures that we make with it.
    """

    name: str
    value: str
    origin: str
    source: str
    enters: str


ORIGINS = {
    "printed": "stands in the paper, or in the data sheet of its hardware",
    "computed": "from printed numbers alone",
    "inferred": "from a printed number and a drawing together",
    "fitted": "to points of the paper's figures, or to samples of its data sets",
    "chosen": "by us, or the default of the vLLM of 2023; the paper does not give it",
}

_TIME, _SWAP = OPT_13B_ITERATION, OPT_13B_SWAP
_LARGER = [SERVERS[name] for name in ("OPT-66B", "OPT-175B")]
_COPIES = 80
_WHOLE, _REST = recompute_shares()
_SERVING = "2, 12, 13, 15, 18b"

CONSTANTS = (
    Constant("longest sequence", f"{paper.MAX_TOKENS:,} tokens", "printed", "section 3", _SERVING),
    Constant("page size", f"{paper.PAGE_SIZE} slots", "printed", "section 7.2", _SERVING),
    Constant(
        "OPT-13B's weights", f"{paper.TABLE_1['OPT-13B'].weights_gb} GB", "printed", "Table 1", _SERVING
    ),
    Constant(
        "weights of OPT-66B and OPT-175B",
        " and ".join(f"{paper.TABLE_1[name].weights_gb}" for name in ("OPT-66B", "OPT-175B")) + " GB",
        "printed",
        "Table 1",
        "12b, 12c",
    ),
    Constant(
        "bandwidth of an A100 with 40 and 80 GB",
        "1.555 and 2.039 TB/s",
        "printed",
        "data sheet; no kernel quite reaches it",
        _SERVING,
    ),
    Constant(
        "time to read the weights",
        f"{1e3 * _TIME.weights_s:.1f} ms",
        "computed",
        "26 GB at 1.555 TB/s",
        _SERVING,
    ),
    Constant(
        "time to read a token's keys and values",
        f"{1e6 * _TIME.kv_read_s:.3f} us",
        "computed",
        "819,200 B at 1.555 TB/s, for every scheme alike",
        _SERVING,
    ),
    Constant(
        "how several GPUs share the work",
        "evenly",
        "chosen",
        "time to communicate: in the fixed time",
        "12b, 12c",
    ),
    Constant("requests per second of Fig. 13", "2 and 30", "printed", "section 6.2", "13"),
    Constant(
        "length of a trace",
        "an hour, 15 minutes with OPT-175B",
        "printed",
        "section 6.1",
        "12, 13, 15, 18b",
    ),
    Constant(
        "traces of Alpaca in the search for the knee",
        f"{ALPACA_KNEE_S // 60} minutes",
        "chosen",
        "an hour of the search takes ten times as long",
        "12d",
    ),
    Constant(
        "start of a run that is left out", f"{WARM_UP_S} s", "chosen", "queues have yet to form", "2, 13"
    ),
    Constant(
        "OPT-13B's pool",
        f"{paper.NUM_SLOTS_13B:,} slots",
        "inferred",
        "Table 1 prints 15.7K; the free part of Fig. 2's Orca (Max) chose among the multiples of 16",
        _SERVING,
    ),
    Constant(
        "pools of OPT-66B and OPT-175B",
        " and ".join(f"{server.num_pages * paper.PAGE_SIZE:,}" for server in _LARGER) + " slots",
        "inferred",
        "Table 1 prints 9.7K and 60.1K; cut to whole pages",
        "12b, 12c",
    ),
    Constant(
        "time to compute a token",
        f"{1e3 * _TIME.compute_s:.2f} ms",
        "chosen",
        f"{100 * compute_share(_TIME.compute_s):.0f} % of 312 TFLOP/s, between two readings of Fig. 19a:"
        f" {100 * _WHOLE:.0f} % by all of its time, {100 * _REST:.0f} % without the fixed part",
        _SERVING,
    ),
    Constant(
        "tokens that Fig. 19a brings back",
        f"{paper.TOKENS_OF_FIG_19A}",
        "inferred",
        "the figure does not say; its largest page has so many",
        "19a, and by the time to compute a token all others",
    ),
    Constant(
        "fixed time of an iteration",
        f"{1e3 * _TIME.fixed_s:.0f} ms",
        "fitted",
        "to points of Fig. 12a without congestion, with the next one",
        _SERVING,
    ),
    Constant(
        "time per request",
        f"{1e3 * (_TIME.request_s + _TIME.sequence_s):.2f} ms",
        "fitted",
        "as the one above",
        _SERVING,
    ),
    Constant(
        "of it per sequence",
        f"{1e3 * _TIME.sequence_s:.2f} ms",
        "chosen",
        "no source; with one sample a request only the sum counts",
        "15",
    ),
    Constant(
        "fixed time with OPT-66B and OPT-175B",
        " and ".join(f"{1e3 * server.iteration_time.fixed_s:.0f}" for server in _LARGER) + " ms",
        "fitted",
        "to vLLM's first point of Figs. 12b and 12c, one each",
        "12b, 12c",
    ),
    Constant(
        "lengths of ShareGPT and Alpaca",
        "lognormals, Weibull",
        "fitted",
        "to samples with the means that Fig. 11 prints",
        _SERVING,
    ),
    Constant(
        "correlation of ShareGPT's lengths",
        f"{sharegpt.correlation}",
        "fitted",
        "measured on that sample; 0 for Alpaca is assumed",
        _SERVING,
    ),
    Constant(
        "tokens an iteration computes at most",
        f"{PAPER_RULES.max_batched_tokens:,}",
        "chosen",
        "default of the vLLM of 2023; the paper does not give it",
        _SERVING,
    ),
    Constant(
        "watermark",
        f"{100 * PagedPool(num_pages=1).watermark_share:.0f} % of the pages",
        "chosen",
        "default of the vLLM of 2023; the paper does not give it",
        _SERVING,
    ),
    Constant(
        "sequences that run at most",
        f"{PAPER_RULES.max_running:,}",
        "chosen",
        "never reached here; the default of 2023 was 256",
        _SERVING,
    ),
    Constant(
        "buddy placement of Orca",
        "chunks of 16 to 2,048",
        "chosen",
        'section 6.1 assumes a buddy allocator ("we assume"); unit and order are ours',
        "2, 12, 13",
    ),
    Constant(
        "load of Fig. 2",
        "4 requests/s, 15 minutes",
        "chosen",
        "the paper gives neither; 5 to 15 are measured",
        "2",
    ),
    Constant(
        "latency that counts as sustained",
        f"{paper.SUSTAINED_LATENCY_S} s/token",
        "chosen",
        'section 6.2 says "similar latencies"',
        "12",
    ),
    Constant(
        "rates of Fig. 18b",
        " and ".join(f"{rate_rps}/s" for _, rate_rps in FIG_18B_WORKLOADS.values()),
        "fitted",
        "to the points of Fig. 18b at pages of 16",
        "18b",
    ),
    Constant(
        "loads of Fig. 15",
        " and ".join(f"{rate_rps:g}/s" for _, rate_rps in FIG_15_WORKLOADS.values()),
        "chosen",
        "Alpaca and ShareGPT; the shares hardly depend on it",
        "15",
    ),
    Constant(
        "share of steps in which a beam dies",
        f"{BEAM_SWITCH_SHARE}",
        "fitted",
        "to Fig. 15 at a width of 2",
        "15",
    ),
    Constant(
        "speed of swapping, in and out",
        f"{819_200 / _SWAP.slot_in_s / 1e9:.1f} and {819_200 / _SWAP.slot_out_s / 1e9:.1f} GB/s",
        "fitted",
        "to Fig. 19a, if it moves 256 tokens",
        "19a",
    ),
    Constant(
        "time of a copy, in and out",
        f"{1e6 * _SWAP.page_in_s / _COPIES:.2f} and {1e6 * _SWAP.page_out_s / _COPIES:.2f} us",
        "fitted",
        "to Fig. 19a",
        "19a",
    ),
)


def constants() -> Table:
    """Return every constant, and where it comes from."""
    return Table(
        title="The constants of the simulation",
        setup="; ".join(f"{origin}: {meaning}" for origin, meaning in ORIGINS.items()),
        rows=[["constant", "value", "origin", "source", "enters figures"], *CONSTANTS],
    )
