"""Notebook 06, what rate is sustained: its picture, what the gain hangs on, and why other numbers differ."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from paged_demo.course.nb06_plots import OPEN_POINTS
from paged_demo.paper import numbers as paper
from paged_demo.paper.experiment import Experiment, Table
from paged_demo.paper.knee import find_knee
from paged_demo.paper.latency_figures import LatencyCurves
from paged_demo.paper.provenance import CONSTANTS
from paged_demo.paper.sensitivity import Sensitivity
from paged_demo.paper.sustained import SustainedRates
from paged_demo.serving.iteration_time import OPT_13B_ITERATION
from paged_demo.serving.rules import PagedPool, Rules
from paged_demo.serving.workload import sharegpt
from paged_demo.views import style
from paged_demo.views.picture import new_axes, new_figure, with_words
from paged_demo.views.plots.fates import bars_beside_paper

SLOWDOWN = 1 + paper.KERNEL_SLOWDOWN[1]
"""The paper's kernel over pages takes so many times as long at worst."""

HIGHEST_LATENCY_S = 3.0

HOW_TO_READ_KNEES = """\
open: the paper's points
dotted: its lines go on
lines: ours, same rates
dots: our search
black: what it found"""

_CONSTANT_OF = {
    "slots in the pool": "OPT-13B's pool",
    "time to read a token's KV": "time to read a token's keys and values",
    "length of prompts": "lengths of ShareGPT and Alpaca",
    "length of outputs": "lengths of ShareGPT and Alpaca",
    "correlation of the lengths": "correlation of ShareGPT's lengths",
}
"""What `constants` calls that which `move_each` moves, where the names differ."""

_ORIGINS = {constant.name: constant.origin for constant in CONSTANTS}


@style.applied()
def batches(experiment: Experiment) -> Axes:
    """Draw Fig. 13, the running requests, as pairs of bars: the paper's outlined, ours filled.

    Parameters
    ----------
    experiment : Experiment
        What `fig_13` measured on ShareGPT.
    """
    ax = new_axes(2.8)
    column = experiment.columns[0]
    cells = experiment.column(column)
    bars_beside_paper({column: cells}, digits=3, ax=ax)
    ax.set(ylabel="running requests")
    told = ", ".join(f"{scheme} {cell.mean:.1f}" for scheme, cell in cells.items())
    return with_words(ax, f"requests that run at once, {column}, the paper's and ours. Ours: {told}.")


@style.applied()
def knees(curves: LatencyCurves, rates: SustainedRates, *, ax: Axes | None = None) -> Axes:
    """Draw latency against rate: the runs of the search for each knee, and the paper's points beside ours.

    Parameters
    ----------
    curves : LatencyCurves
        What `fig_12` measured at the rates of the paper's points.
    rates : SustainedRates
        What `sustained_rates` found for the same workload.
    """
    ax = ax or new_axes(3.8)
    told = []
    for scheme, knee in rates.knees.items():
        look = style.SCHEMES[scheme]
        ours = curves.ours[scheme]
        grid = sorted(set.intersection(*(set(curve) for curve in ours)))
        latencies = [float(np.mean([curve[rate] for curve in ours])) for rate in grid]
        # Lines are straight where both axes are linear, as in the paper: that is how a crossing is read.
        between = np.linspace(grid[0], grid[-1], 400)
        ax.plot(between, np.interp(between, grid, latencies), color=look["color"], linewidth=1.2)
        ax.plot(knee.rates_rps, knee.latencies_s, "o", color=look["color"], markersize=3.5, alpha=0.7)
        published = curves.paper[scheme]
        ax.plot(list(published), list(published.values()), **look, **OPEN_POINTS)
        if scheme in paper.FIG_12_LEAVES_AT.get(rates.workload, {}):
            last = max(published)
            beyond = paper.FIG_12_LEAVES_AT[rates.workload][scheme]
            line = np.linspace([last, published[last]], beyond, 50)
            ax.plot(line[:, 0], line[:, 1], color=look["color"], linestyle=":")
        found = knee.rate_at()
        ax.errorbar(
            found.value,
            paper.SUSTAINED_LATENCY_S,
            xerr=[[found.value - found.interval[0]], [found.interval[1] - found.value]],
            color="black",
            marker="d",
            markersize=6,
            capsize=3,
            zorder=5,
        )
        label = scheme.replace(" (", "\n(")
        top = ax.get_xaxis_transform()
        ax.text(found.value, 1.01, label, color=look["color"], transform=top, ha="center")
        told.append(f"{scheme} {found}")
    ax.axhline(paper.SUSTAINED_LATENCY_S, color="black", linewidth=0.8, linestyle="--", zorder=0.5)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda latency, _: f"{latency:g}"))
    ax.text(0.01, paper.SUSTAINED_LATENCY_S, "0.5 s/token", transform=ax.get_yaxis_transform(), va="bottom")
    ax.set(ylim=(0.02, HIGHEST_LATENCY_S), xlim=(0, None))
    ax.set(xlabel="arrival rate (requests/s)", ylabel="latency (s per output token)")
    ax.text(0.56, 0.97, HOW_TO_READ_KNEES, transform=ax.transAxes, va="top")
    words = (
        "latency against rate for four schemes. Dots are runs of the search, each with a trace of its own;"
        " diamonds the rates that are sustained, with two standard errors either way, in requests/s:"
        f" {', '.join(told)}. Open marks are the paper's points, thin lines join ours at the same rates,"
        " dotted lines are the paper's beyond its last points."
    )
    return with_words(ax, words)


@style.applied()
def what_moves_it(sensitivity: Sensitivity) -> Axes:
    """Draw how far the gain, and the batch of Fig. 13, move with each constant, the largest move first.

    Behind the name of each stands where it comes from, as `constants` has it.

    Parameters
    ----------
    sensitivity : Sensitivity
        What `move_each` measured.
    """
    figure: Figure = new_figure(4.6)
    titles = {"gain": "times the rate of Orca (Max)", "batch": "vLLM's batch at 2/s"}
    if sensitivity.base.batch is None:
        del titles["batch"]
    width = 0.57 / len(titles)
    axes = [
        figure.add_axes((0.415 + width * place, 0.13, width - 0.03, 0.77)) for place in range(len(titles))
    ]
    names = sensitivity.by_span("gain")
    percent = f"{100 * sensitivity.move:.0f} %"
    told = []
    for ax, (what, title) in zip(axes, titles.items(), strict=True):
        base = getattr(sensitivity.base, what)
        for row, name in enumerate(names):
            # The bar of the way that moves it further lies below, should both go the same way.
            ends = [
                (getattr(outcome, what), colour)
                for outcome, colour in zip(sensitivity.moved[name], (style.WAITING, style.PAGED), strict=True)
            ]
            for end, colour in sorted(ends, key=lambda pair: -abs(pair[0] - base)):
                ax.barh(row, end - base, left=base, height=0.7, color=colour)
        ax.axvline(base, color="black", linewidth=1)
        ax.set(title=f"{title}: {base:.1f}", ylim=(len(names) - 0.4, -0.6))
        ax.margins(x=0.08)
        labels = [f"{name} · {_ORIGINS[_CONSTANT_OF.get(name, name)]}" for name in names]
        ax.set_yticks(range(len(names)), labels if ax is axes[0] else [""] * len(names))
        ax.tick_params(axis="y", length=0)
        most = sensitivity.by_span(what)[:3]
        spans = ("{} ({:.3g} to {:.3g})".format(name, *sensitivity.span(name, what)) for name in most)
        told.append(f"{title}: {base:.2f}, moved most by {', '.join(spans)}")
    for left, (colour, label) in zip(
        (0.415, 0.57), ((style.WAITING, f"{percent} less"), (style.PAGED, f"{percent} more")), strict=True
    ):
        figure.text(left, 0.025, "\N{BLACK SQUARE}", color=colour, fontsize=13)
        figure.text(left + 0.02, 0.028, label)
    origins = "; ".join(f"{name}: {_ORIGINS[_CONSTANT_OF.get(name, name)]}" for name in names)
    words = f"each constant moved {percent} down and up. {'; '.join(told)}. Where each is from: {origins}."
    return with_words(axes[0], words)


def knee_by_hand(scheme: str) -> tuple[float, float, float]:
    """Return a scheme's batch (Fig. 13), the seconds of an iteration, and the requests leaving in a second.

    Each of the batch gets a token in an iteration, and leaves with the last of its output. No iteration
    computes a prompt here, and nobody is preempted.
    """
    batch, time = paper.FIG_13["ShareGPT"][scheme], OPT_13B_ITERATION
    of_requests_s = (time.request_s + time.sequence_s) * batch
    iteration_s = time.fixed_s + of_requests_s + time.reading_s(paper.tokens_in_pool(scheme))
    _, num_output = paper.MEAN_LENGTHS["ShareGPT"]
    return batch, iteration_s, batch / iteration_s / num_output


def rates_by_kernel(rates: SustainedRates) -> str:
    """Search for vLLM's knee with the paper's kernel at its slowest, beside the one in ``rates``."""
    slow = replace(OPT_13B_ITERATION, kv_read_s=SLOWDOWN * OPT_13B_ITERATION.kv_read_s)
    pool = PagedPool(num_pages=paper.NUM_PAGES_13B)
    knee = find_knee(pool, sharegpt, rules=Rules(iteration_time=slow), seed=len(rates.knees))
    reference = rates.knees["Orca (Max)"].rate_at()
    found = {
        "as quick as the others'": rates.knees["vLLM"].rate_at(),
        f"{100 * (SLOWDOWN - 1):.0f} % slower": knee.rate_at(),
    }
    return "\n".join(
        f"kernel {kernel}: {rate} requests/s, {rate.over(reference)} times Orca (Max)"
        for kernel, rate in found.items()
    )


def gains(rates: Iterable[SustainedRates]) -> Table:
    """Return vLLM's gain over two of the others on several workloads, beside the paper's."""
    rows = [["", "over Orca (Oracle)", "paper's points, joined", "over Orca (Max)", "paper's points, joined"]]
    for found in rates:
        drawn = paper.JOINED_RATES[found.workload]
        cells = []
        for scheme in paper.PRINTED_GAINS:
            cells += [str(found.gain_over(scheme)), f"{drawn['vLLM'] / drawn[scheme]:.2f}"]
        rows.append([found.workload, *cells])
    printed = (f"over {name} {low:g} to {high:g} times" for name, (low, high) in paper.PRINTED_GAINS.items())
    return Table(
        title=f"How many times the rate vLLM sustains, at {paper.SUSTAINED_LATENCY_S} s/token",
        setup="in brackets two standard errors either way",
        rows=rows,
        notes=[f"The paper prints, for its models on ShareGPT (section 6.2): {'; '.join(printed)}."],
    )
