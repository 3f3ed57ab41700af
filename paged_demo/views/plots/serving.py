"""Serving: who runs and who waits, where the slots go meanwhile, and our figures beside the paper's."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter

from paged_demo.serving.experiments.latency import LatencyCurves
from paged_demo.serving.experiments.record import Comparison, Experiment
from paged_demo.serving.paper import FIG_12_LEAVES_AT, SUSTAINED_LATENCY_S
from paged_demo.serving.run import Moment, Run
from paged_demo.views import style
from paged_demo.views.picture import new_axes

HIGHEST_LATENCY_S = 2.0

MOST_PAIRS_WITH_THREE_DIGITS = 8

IN_FLIGHT = ("running", "waiting")

FATES_OVER_TIME = ("used", "reserved", "internal", "rounding", "free")


@style.applied()
def in_flight(moments: Sequence[Moment], *, ax: Axes | None = None) -> Axes:
    """Draw how many requests run, and how many wait, over time.

    Parameters
    ----------
    moments : sequence of Moment
        What `simulate` noted.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(2.6)
    times = [moment.time_s for moment in moments]
    running = np.array([moment.num_running for moment in moments])
    waiting = np.array([moment.num_waiting for moment in moments])
    looks = (style.FATES["used"], style.FATES["reserved"])
    for look, low, high in zip(looks, (0 * running, running), (running, running + waiting), strict=True):
        ax.fill_between(times, low, high, step="post", **look.patch_style() | {"linewidth": 0})
    keys = [Patch(**look.patch_style(), label=name) for look, name in zip(looks, IN_FLIGHT, strict=True)]
    ax.legend(handles=keys, loc="upper left", ncols=2, fontsize=10)
    top = 1.35 * max(1, (running + waiting).max())  # The key stands above all areas.
    ax.set(xlim=(0, max(times[-1], 1e-9)), ylim=(0, top), xlabel="time (s)", ylabel="requests")
    return ax


@style.applied()
def usage_over_time(moments: Sequence[Moment], *, num_slots: int, ax: Axes | None = None) -> Axes:
    """Draw where the slots of a pool go over time, in % of the pool.

    Parameters
    ----------
    moments : sequence of Moment
        What `simulate` noted.
    num_slots : int
        Slots in the pool.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(2.6)
    times = [moment.time_s for moment in moments]
    bottom = np.zeros(len(moments))
    for name in FATES_OVER_TIME[:-1]:
        top = bottom + 100 * np.array([getattr(moment, name) for moment in moments]) / num_slots
        if (top > bottom).any():
            look = style.FATES[name].patch_style() | {"linewidth": 0}
            ax.fill_between(times, bottom, top, step="post", **look)
        bottom = top
    free = style.FATES["free"].patch_style() | {"linewidth": 0}
    ax.fill_between(times, bottom, 100, step="post", **free)
    ax.set(xlim=(0, max(times[-1], 1e-9)), ylim=(0, 100), xlabel="time (s)", ylabel="% of the slots")
    return ax


@style.applied()
def request_timeline(run: Run, *, first: int = 0, count: int = 30, ax: Axes | None = None) -> Axes:
    """Draw when each request waited and when it ran: a line for the one and a bar for the other.

    A cross marks the end of a bar where the request was preempted.

    Parameters
    ----------
    run : Run
        The record of a run.
    first, count : int
        Which requests to draw, in the order of their arrival.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    requests = run.requests[first : first + count]
    if not requests:
        raise ValueError(f"first must be below the number of requests ({len(run.requests)}), got {first}")
    ax = ax or new_axes(0.9 + 0.13 * len(requests))
    row_of = {request.request_id: row for row, request in enumerate(requests)}
    finish_s = dict(zip([request.request_id for request in run.requests], run.finish_s, strict=True))
    for request in requests:
        row = row_of[request.request_id]
        ax.plot(
            [request.arrival_s, finish_s[request.request_id]],
            [row, row],
            color=style.FATES["reserved"].colour,
            linewidth=1.6,
            solid_capstyle="butt",
            zorder=1,
        )
    for stay in run.stays:
        if stay.request_id not in row_of:
            continue
        row = row_of[stay.request_id]
        place = ((stay.start_s, row - 0.36), stay.end_s - stay.start_s, 0.72)
        ax.add_patch(Rectangle(*place, facecolor=style.PAGED, edgecolor="white", linewidth=0.3))
        if stay.is_preempted:
            ax.plot(stay.end_s, row, "x", color="black", markersize=6, markeredgewidth=1.8)
    keys = [
        Line2D([], [], color=style.FATES["reserved"].colour, linewidth=1.6, label="waits"),
        Patch(color=style.PAGED, label="runs"),
        Line2D(
            [], [], color="black", marker="x", linestyle="none", markeredgewidth=1.8, label="is preempted"
        ),
    ]
    ax.legend(handles=keys, loc="lower left", fontsize=10)
    ax.set(ylim=(len(requests) - 0.4, -0.6), xlabel="time (s)", ylabel="request")
    ax.set_yticks([0, len(requests) - 1], [str(first + 1), str(first + len(requests))])
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
    ax = ax or new_axes(3.8)
    for scheme, ours in curves.ours.items():
        look = style.SCHEMES[scheme]
        rates = sorted(set.intersection(*(set(curve) for curve in ours)))
        latencies = [float(np.mean([curve[rate] for curve in ours])) for rate in rates]
        # Lines are straight where both axes are linear, as in the paper: that is how a crossing is read.
        between = np.linspace(rates[0], rates[-1], 400)
        ax.plot(between, np.interp(between, rates, latencies), color=look["color"], linewidth=2)
        published = curves.paper[scheme]
        points = dict(look, linestyle="none", markerfacecolor="white", markersize=7, markeredgewidth=1.6)
        ax.plot(list(published), list(published.values()), **points)
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
def usage_beside_paper(experiment: Experiment, *, ax: Axes | None = None) -> Axes:
    """Draw Fig. 2: for each scheme the paper's bar, and ours below it.

    Parameters
    ----------
    experiment : Experiment
        What `fig_2` measured.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(4.2)
    ticks = {}
    for index, (scheme, row) in enumerate(experiment.rows.items()):
        for offset, whose in enumerate(("paper", "ours")):
            y = 2.5 * index + offset
            ticks[y] = f"{scheme}, {whose}"
            start = 0.0
            for fate, look in _PARTS[whose].items():
                share = row[fate].mean if whose == "ours" else row[fate].paper or 0.0
                if share > 0.05:
                    ax.barh(y, share, left=start, height=0.86, **style.FATES[look].patch_style())
                if share > 4:
                    ink = style.FATES[look].text_style()
                    ax.text(start + share / 2, y, f"{share:.1f}", ha="center", va="center", **ink)
                start += share
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(0, 100), ylim=(max(ticks) + 0.6, -0.6), xlabel="% of the slots")
    return ax


_PARTS = {
    "paper": {"used": "used", "reserved": "reserved", "internal": "internal", "other": "external"},
    "ours": {
        "used": "used",
        "reserved": "reserved",
        "internal": "internal",
        "rounding": "rounding",
        "free": "free",
    },
}


@style.applied()
def bars_beside_paper(
    groups: Mapping[str, Mapping[str, Comparison]], *, ylabel: str, ax: Axes | None = None
) -> Axes:
    """Draw comparisons as pairs of bars: the paper's outlined, ours filled.

    The line on a bar of ours spans one standard deviation over the seeds, both ways.

    Parameters
    ----------
    groups : mapping of str to mapping of str to Comparison
        The pairs by name, group by group: the rows of an experiment, or its columns.
    ylabel : str
        What the numbers are, with the unit.
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
    ax.set(ylabel=ylabel, ylim=(0, ax.get_ylim()[1] * 1.04))
    return ax
