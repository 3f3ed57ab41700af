"""Our figures beside the paper's: its numbers are outlined, ours are filled or joined by lines."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from paged_demo.checks import check_count
from paged_demo.paper.experiment import Comparison, Experiment
from paged_demo.paper.latency_figures import LatencyCurves
from paged_demo.paper.numbers import FIG_12_LEAVES_AT, FIG_19A_MS, SUSTAINED_LATENCY_S
from paged_demo.serving.step_time import OPT_13B_STEP, OPT_13B_SWAP
from paged_demo.views import style
from paged_demo.views.picture import new_axes

HIGHEST_LATENCY_S = 2.0

TOKENS_OF_FIG_19A = 256

MOST_PAIRS_WITH_THREE_DIGITS = 8

OPEN_POINTS: dict[str, Any] = {
    "linestyle": "none",
    "markerfacecolor": "white",
    "markersize": 7,
    "markeredgewidth": 1.6,
}
"""How the paper's points look."""

_FATE_OF = {"other": "external"}
_KEYS = {"external": "external & others"}
"""The paper's last part looks like external waste, and is more than that."""

_PARTS = {
    "paper": ("used", "reserved", "internal", "other"),
    "ours": ("used", "reserved", "internal", "rounding", "free"),
}


@style.applied()
def usage_beside_paper(experiment: Experiment, *, ax: Axes | None = None) -> Axes:
    """Draw Fig. 2: for each scheme the paper's bar, and ours below it.

    Parameters
    ----------
    experiment : Experiment
        What `fig_2` measured.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(3.9)
    ticks = {}
    for index, (scheme, row) in enumerate(experiment.rows.items()):
        for offset, whose in enumerate(("paper", "ours")):
            y = 2.5 * index + offset
            ticks[y] = f"{scheme}, {whose}"
            start = 0.0
            for part in _PARTS[whose]:
                share = row[part].mean if whose == "ours" else row[part].paper or 0.0
                fate = style.FATES[_FATE_OF.get(part, part)]
                if share > 0.05:
                    ax.barh(y, share, left=start, height=0.86, **fate.patch_style())
                if share > 4:
                    label = f"{share:.1f}"
                    ax.text(start + share / 2, y, label, ha="center", va="center", **fate.text_style())
                start += share
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    names = dict.fromkeys(_FATE_OF.get(part, part) for parts in _PARTS.values() for part in parts)
    keys = [Patch(**style.FATES[name].patch_style(), label=_KEYS.get(name, name)) for name in names]
    ax.legend(
        handles=keys,
        loc="upper center",
        bbox_to_anchor=(0.42, -0.16),
        ncols=6,
        fontsize=10,
        columnspacing=1,
        title="what the paper draws as external & others, ours splits into rounding and free",
        title_fontsize=10,
    )
    ax.set(xlim=(0, 100), ylim=(max(ticks) + 0.6, -0.6), xlabel="% of the slots")
    return ax


@style.applied()
def bars_beside_paper(
    groups: Mapping[str, Mapping[str, Comparison]], *, ylabel: str, xlabel: str = "", ax: Axes | None = None
) -> Axes:
    """Draw comparisons as pairs of bars: the paper's outlined, ours filled.

    The line on a bar of ours spans one standard deviation over the seeds, both ways.

    Parameters
    ----------
    groups : mapping of str to mapping of str to Comparison
        The pairs by name, group by group: the rows of an experiment, or its columns.
    ylabel : str
        What the numbers are, with the unit.
    xlabel : str
        What the names of the pairs are.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(3.2)
    num_digits = 3 if sum(map(len, groups.values())) <= MOST_PAIRS_WITH_THREE_DIGITS else 2
    ticks: dict[float, str] = {}
    left = 0.0
    for group, pairs in groups.items():
        for index, (name, cell) in enumerate(pairs.items()):
            x = left + 1.25 * index
            ticks[x + 0.25] = name.replace(" (", "\n(")
            bars = [(x + 0.5, cell.mean, cell.mean + cell.spread, style.PAGED)]
            if cell.paper is not None:
                bars.append((x, cell.paper, cell.paper, "white"))
            for middle, height, top, fill in bars:
                edge = "black" if fill == "white" else fill
                ax.bar(middle, height, 0.46, linewidth=1.2, facecolor=fill, edgecolor=edge)
                label = f"{height:.{num_digits}g}"
                ax.text(middle, top, label, ha="center", va="bottom", fontsize=9)
            ax.errorbar(x + 0.5, cell.mean, cell.spread, color="black", capsize=2.5, linewidth=1)
        right = left + 1.25 * len(pairs) - 0.75
        ax.annotate(group, ((left + right) / 2, 1.0), xycoords=("data", "axes fraction"), ha="center")
        left = right + 1.5
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="x", length=0)
    keys = [
        Patch(facecolor="white", edgecolor="black", label="paper"),
        Patch(color=style.PAGED, label="ours, mean and standard deviation"),
    ]
    ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, 0.98), fontsize=10)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, ax.get_ylim()[1] * 1.04))
    return ax


@style.applied()
def latency_against_rate(curves: LatencyCurves, *, workload: str, ax: Axes | None = None) -> Axes:
    """Draw latency against rate: our lines, the mean over the seeds, and the paper's points.

    Parameters
    ----------
    curves : LatencyCurves
        What `fig_12` measured.
    workload : str
        The workload it was measured for.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(3.4)
    for scheme, ours in curves.ours.items():
        look = style.SCHEMES[scheme]
        rates = sorted(set.intersection(*(set(curve) for curve in ours)))
        latencies = [float(np.mean([curve[rate] for curve in ours])) for rate in rates]
        # Lines are straight where both axes are linear, as in the paper: that is how a crossing is read.
        between = np.linspace(rates[0], rates[-1], 400)
        ax.plot(between, np.interp(between, rates, latencies), color=look["color"], linewidth=2)
        published = curves.paper[scheme]
        ax.plot(list(published), list(published.values()), **look, **OPEN_POINTS)
        if scheme in FIG_12_LEAVES_AT.get(workload, {}):
            last = max(published)
            beyond = FIG_12_LEAVES_AT[workload][scheme]
            line = np.linspace([last, published[last]], beyond, 50)
            ax.plot(line[:, 0], line[:, 1], color=look["color"], linestyle=":")
        leaves = np.interp(HIGHEST_LATENCY_S, latencies, rates)
        label = scheme.replace(" (", "\n(")
        top = (leaves, 1.01)
        ax.annotate(label, top, xycoords=("data", "axes fraction"), ha="center", color=look["color"])
    ax.axhline(SUSTAINED_LATENCY_S, color="black", linewidth=0.8, linestyle="--")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda latency, _: f"{latency:g}"))
    ax.annotate("0.5 s/token", (0.01, SUSTAINED_LATENCY_S), xycoords=("axes fraction", "data"), va="bottom")
    ax.set(ylim=(0.02, HIGHEST_LATENCY_S), xlim=(0, None))
    ax.set(xlabel="arrival rate (requests/s)", ylabel="latency (s per output token)")
    return ax


@style.applied()
def swap_or_recompute(num_tokens: int = 256, *, ax: Axes | None = None) -> Axes:
    """Draw the time to bring a request back against the page size: swapped out and in, or computed again.

    Parameters
    ----------
    num_tokens : int
        Tokens of the request. At 256 the paper's points are drawn too (Fig. 19a).
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    check_count("num_tokens", num_tokens)
    ax = ax or new_axes(3.2)
    sizes = list(FIG_19A_MS["recompute"])
    pages = [-(-num_tokens // size) for size in sizes]
    swap_ms = [
        1e3 * OPT_13B_SWAP(num_pages_out=count, num_pages_in=count, page_size=size)
        for size, count in zip(sizes, pages, strict=True)
    ]
    recompute_ms = 1e3 * OPT_13B_STEP(
        num_batched=num_tokens, num_requests=0, num_sequences=0, num_kv_tokens=0
    )
    ax.plot(sizes, swap_ms, color=style.PAGED, linewidth=2)
    ax.plot(sizes, [recompute_ms] * len(sizes), color=style.TRADITIONAL, linewidth=2, linestyle="--")
    if num_tokens == TOKENS_OF_FIG_19A:
        published = [FIG_19A_MS["swap in"][size] + FIG_19A_MS["swap out"][size] for size in sizes]
        recomputed = list(FIG_19A_MS["recompute"].values())
        ax.plot(sizes, published, marker="o", color=style.PAGED, **OPEN_POINTS)
        ax.plot(sizes, recomputed, marker="s", color=style.TRADITIONAL, **OPEN_POINTS)
    ax.annotate(
        "swap out and in", (sizes[1], swap_ms[1]), (8, 6), textcoords="offset points", color=style.PAGED
    )
    ax.annotate(
        "compute again",
        (sizes[-1], recompute_ms),
        (0, 6),
        textcoords="offset points",
        ha="right",
        color=style.TRADITIONAL,
    )
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.set(ylim=(0, None), xlabel="page size (slots)", ylabel="time (ms)")
    return ax
