"""The numbers of the PagedAttention paper, each with its place and how it was read.

Source: Kwon et al. (2023), "Efficient Memory Management for Large Language Model Serving with
PagedAttention", SOSP 2023, arXiv 2309.06180. *Printed* numbers stand in its text, tables and labels. *Drawn*
ones were read from the vector paths of its figures, with more digits than it prints.

Points above the axis of a figure are not drawn, so they are not here.
"""

from collections.abc import Mapping
from typing import NamedTuple

MAX_TOKENS = 2048
"""The longest sequence of OPT, prompt and output together (printed, section 3)."""

PAGE_SIZE = 16
"""vLLM's default "block size" (printed, section 7.2)."""

NUM_PAGES_13B = 984
"""Pages of 16 slots behind the experiments with OPT-13B on one A100 with 40 GB.

Inferred: Table 1 prints 12 GB and 15.7K slots. Of the multiples of 16 near that, 15,744 is the one of which
seven reservations of 2,048 leave 8.943 %, as Fig. 2 draws for Orca (Max). So that bar chose the number, and
is no test of it."""

NUM_SLOTS_13B = NUM_PAGES_13B * PAGE_SIZE

SCHEMES = ("Orca (Max)", "Orca (Pow2)", "Orca (Oracle)", "vLLM")

THROUGHPUT_GAIN = (2, 4)
"""Times the throughput of the systems before it, at the same latency (printed, abstract)."""

GOOD_PAGE_SIZES = {"ShareGPT": (16, 128), "Alpaca": (16, 32)}
"""Page sizes that do well, from and to (printed, section 7.2)."""

SUSTAINED_LATENCY_S = 0.5
"""Normalised latency (s/token) up to which we call a rate sustained.

Chosen, not printed: section 6.2 compares the rates that keep "similar latencies"."""

OTHER_LATENCIES_S = (0.2, 0.5, 1.0)
"""Latencies (s/token) at which we compare rates, to show what the choice of one does."""


class Server(NamedTuple):
    """One column of Table 1 (printed): the machine that served a model.

    Attributes
    ----------
    gpus : str
        How many GPUs, and which.
    memory_gb, weights_gb, kv_cache_gb : int
        Memory of all GPUs, and what weights and KV cache take of it.
    thousand_slots : float
        "Max. # KV cache slots", in thousands.
    """

    gpus: str
    memory_gb: int
    weights_gb: int
    kv_cache_gb: int
    thousand_slots: float


TABLE_1 = {
    "OPT-13B": Server("A100 (40 GB)", 40, 26, 12, 15.7),
    "OPT-66B": Server("4 x A100 (40 GB)", 160, 132, 21, 9.7),
    "OPT-175B": Server("8 x A100 (80 GB)", 640, 346, 264, 60.1),
}

FIG_2 = {
    "Orca (Max)": {"used": 20.410, "reserved": 13.349, "internal": 57.298, "other": 8.943},
    "Orca (Pow2)": {"used": 26.849, "reserved": 17.883, "internal": 13.646, "other": 41.622},
    "Orca (Oracle)": {"used": 38.198, "reserved": 25.243, "internal": 0.0, "other": 36.559},
    "vLLM": {"used": 96.264},
}
"""Where the KV cache goes, in % of its slots (drawn). ``other`` is "external fragmentation and others".

For vLLM the figure labels 96.3 % and draws the rest as slivers that look measured and are not: what is left
of 100 % is split evenly. So they are left out here."""

MEAN_LENGTHS = {"ShareGPT": (161.31, 337.99), "Alpaca": (19.31, 58.45)}
"""Tokens of prompt and output on average (printed, Fig. 11)."""

Curve = Mapping[float, float]
"""Normalised latency (s per output token) by request rate (requests/s)."""

FIG_12: Mapping[str, Mapping[str, Curve]] = {
    "OPT-13B, ShareGPT": {
        "Orca (Max)": {0.2: 0.0299, 0.3: 0.0314, 0.4: 0.0595, 0.5: 0.0823},
        "Orca (Pow2)": {0.25: 0.0304, 0.5: 0.0397, 0.6: 0.0403, 0.75: 0.1168},
        "Orca (Oracle)": {0.25: 0.0302, 0.5: 0.0329, 0.75: 0.0412, 0.9: 0.0849, 1.0: 0.1923, 1.1: 0.5016},
        "vLLM": {1.0: 0.0371, 1.25: 0.0401, 1.5: 0.0487, 1.75: 0.1126, 1.8: 0.1309, 1.9: 0.2397, 2.0: 1.1245},
    },
    "OPT-66B, ShareGPT": {
        "Orca (Max)": {0.1: 0.0613, 0.2: 0.2716},
        "Orca (Pow2)": {0.1: 0.0548, 0.2: 0.0829, 0.25: 0.2472, 0.3: 0.9224},
        "Orca (Oracle)": {0.2: 0.0610, 0.3: 0.1311, 0.4: 0.3863},
        "vLLM": {0.4: 0.0584, 0.6: 0.0577, 0.8: 0.1029, 0.9: 0.2112, 1.0: 0.9481},
    },
    "OPT-175B, ShareGPT": {
        "Orca (Max)": {0.25: 0.0881, 0.5: 0.0900, 0.75: 0.1158, 1.0: 0.6890},
        "Orca (Pow2)": {0.5: 0.0861, 0.75: 0.0904, 1.0: 0.1284, 1.25: 0.3464},
        "Orca (Oracle)": {0.8: 0.0913, 1.0: 0.0960, 1.2: 0.1019, 1.4: 0.3186, 1.6: 0.3829},
        "vLLM": {1.5: 0.1129, 1.75: 0.1203, 2.0: 0.1359, 2.25: 0.2528, 2.5: 0.7376, 2.6: 0.9669},
    },
    "OPT-13B, Alpaca": {
        "Orca (Max)": {2: 0.0310, 3: 0.0490, 4: 0.5782},
        "Orca (Pow2)": {7.5: 0.0337, 10: 0.0364, 12.5: 0.0398, 15: 0.0675, 16: 0.1625},
        "Orca (Oracle)": {15: 0.0423, 17.5: 0.0464, 20: 0.0661, 21: 0.1584},
        "vLLM": {20: 0.0520, 22.5: 0.0653, 25: 0.0724, 27.5: 0.1040, 28: 0.2075},
    },
}
"""Latency against rate (drawn, Figs. 12a to 12d).

At 1.5 requests/s vLLM has a second point, of 0.0424. The traces of OPT-175B last 15 minutes, all others an
hour (section 6.1)."""

FIG_12_LEAVES_AT = {
    "OPT-13B, ShareGPT": {
        "Orca (Max)": (0.5912, 1.6188),
        "Orca (Pow2)": (0.8426, 1.6188),
        "Orca (Oracle)": (1.1484, 1.6188),
        "vLLM": (2.0457, 1.6188),
    },
    "OPT-13B, Alpaca": {
        "Orca (Max)": (4.0346, 1.4766),
        "Orca (Pow2)": (16.4224, 1.4766),
        "Orca (Oracle)": (21.2968, 1.4766),
        "vLLM": (28.2378, 1.4766),
    },
}
"""Rate and latency where each line of Fig. 12 leaves the plot, on its way to a point outside (drawn)."""

JOINED_RATES = {
    "OPT-13B, ShareGPT": {"Orca (Max)": 0.525, "Orca (Pow2)": 0.774, "Orca (Oracle)": 1.099, "vLLM": 1.929},
    "OPT-13B, Alpaca": {"Orca (Max)": 3.852, "Orca (Pow2)": 16.108, "Orca (Oracle)": 21.077, "vLLM": 28.055},
    "OPT-66B, ShareGPT": {"Orca (Max)": 0.203, "Orca (Pow2)": 0.269, "Orca (Oracle)": 0.403, "vLLM": 0.939},
    "OPT-175B, ShareGPT": {"Orca (Max)": 0.918, "Orca (Pow2)": 1.277, "Orca (Oracle)": 1.622, "vLLM": 2.377},
}
"""Requests/s at which each drawn line of Fig. 12 crosses 0.5 s/token, points outside the axis included.

A reading, not a number of the paper: it joins points that lie far apart beside the knee by straight lines, as
the figure does. What the paper prints are the ranges in `PRINTED_GAINS`."""

PRINTED_GAINS = {"Orca (Oracle)": (1.7, 2.7), "Orca (Max)": (2.7, 8.0)}
"""Times the rate of others that vLLM sustains "while maintaining similar latencies", on ShareGPT, from and to
(printed, section 6.2)."""

FIG_13 = {
    "ShareGPT": {"Orca (Max)": 7.00, "Orca (Pow2)": 9.81, "Orca (Oracle)": 13.62, "vLLM": 30.42},
    "Alpaca": {"Orca (Max)": 7.00, "Orca (Pow2)": 43.24, "Orca (Oracle)": 72.75, "vLLM": 132.44},
}
"""Running requests, OPT-13B, ShareGPT at 2 requests/s and Alpaca at 30 (printed labels)."""

FIG_15: Mapping[str, Mapping[str, Mapping[int, float]]] = {
    "Alpaca": {"parallel": {2: 6.09, 4: 8.53, 6: 9.79}, "beam": {2: 37.56, 4: 53.13, 6: 55.16}},
    "ShareGPT": {"parallel": {2: 16.2, 6: 30.5}, "beam": {2: 44.3, 6: 66.3}},
}
"""Pages that sharing saves, in %, by samples or beam width, OPT-13B.

Alpaca: printed labels. ShareGPT: the ends of two ranges printed in the text of section 6.3."""

KERNEL_SLOWDOWN = (0.20, 0.26)
"""How much slower the paged attention kernel is than FasterTransformer's (printed, section 7.1)."""

FIG_18A_US = {
    8: {64: (31.46, 21.88), 128: (43.56, 34.90), 256: (84.32, 62.34)},
    32: {64: (77.12, 61.42), 128: (127.06, 106.74), 256: (235.29, 194.51)},
}
"""Time (us) of the attention kernels of vLLM and FasterTransformer, by batch and context (drawn).

FasterTransformer's kernel reads contiguous memory."""

FIG_18B = {
    "ShareGPT": {
        1: 2.3011, 2: 1.9452, 4: 1.9758, 8: 0.5680, 16: 0.0848, 32: 0.0692, 64: 0.0863, 128: 0.1592,
        256: 1.3562,
    },
    "Alpaca": {
        1: 3.6236, 2: 1.8974, 4: 2.1170, 8: 0.7251, 16: 0.5942, 32: 0.5316, 64: 1.8972, 128: 4.8044,
        256: 18.2459,
    },
}  # fmt: skip
"""Normalised latency (s/token) by page size, at rates that the paper does not print (drawn)."""

FIG_19A_MS = {
    "recompute": {
        1: 36.32, 2: 37.48, 4: 36.93, 8: 38.81, 16: 38.62, 32: 39.02, 64: 38.25, 128: 38.40, 256: 39.12,
    },
    "swap in": {
        1: 81.97, 2: 53.63, 4: 35.14, 8: 26.05, 16: 21.61, 32: 19.28, 64: 18.24, 128: 17.57, 256: 17.30,
    },
    "swap out": {
        1: 55.47, 2: 35.64, 4: 25.90, 8: 21.05, 16: 18.54, 32: 17.28, 64: 16.67, 128: 16.30, 256: 16.11,
    },
}  # fmt: skip
"""Time (ms) to bring a request back, by page size (drawn). The figure does not say how many tokens it has."""

TOKENS_OF_FIG_19A = 256
"""Tokens that we take Fig. 19a to bring back.

Inferred: its page sizes end at 256, the largest of which one page holds just that many."""


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
    ratios = [paged_us / contiguous_us for paged_us, contiguous_us in FIG_18A_US[batch].values()]
    return min(ratios), max(ratios)
