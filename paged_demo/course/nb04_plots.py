"""Plots of notebook 04, of attention over pages: what it computes, and what it costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from paged_demo.checks import check_count
from paged_demo.paper.numbers import FIG_13, NUM_SLOTS_13B, kernel_slowdowns, tokens_in_pool
from paged_demo.serving.step_time import StepTime
from paged_demo.views import style
from paged_demo.views.picture import new_axes, with_words

Numbers = npt.NDArray[np.floating[Any]] | Sequence[float]


@style.applied()
def output_bars(output: Numbers, *, expected: Numbers, ax: Axes | None = None) -> Axes:
    """Draw the numbers of an output of attention, and as outlines what they should be.

    Parameters
    ----------
    output, expected : sequence of float
        One number for each element of a head.
    """
    ax = ax or new_axes(2.2)
    elements = np.arange(len(output))
    ax.bar(elements, output, width=0.8, color=style.PAGED)
    ax.bar(elements, expected, width=0.8, facecolor="none", edgecolor="black", linewidth=1.6)
    ax.axhline(0, color="black", linewidth=0.8)
    reach = 1.2 * float(np.abs(expected).max())
    ax.set(xlim=(-0.8, len(output) - 0.2), ylim=(-reach, reach), xticks=[])
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.set(xlabel=f"the {len(output)} numbers of the output", ylabel="value")
    ax.spines["bottom"].set_visible(False)
    return ax


@style.applied()
def scores_by_page(scores: Numbers, *, page_size: int, ax: Axes | None = None) -> Axes:
    """Draw the scores of a context in the order of its pages, and the highest that was met so far.

    Above each page stands what the sums of the pages before it are multiplied with.

    Parameters
    ----------
    scores : sequence of float
        Query times key, scaled: one for each token.
    page_size : int
        Slots in a page.
    """
    check_count("page_size", page_size)
    ax = ax or new_axes(3.0)
    marks = np.asarray(scores, dtype=float)
    starts = range(0, len(marks), page_size)
    highest, steps = -np.inf, []
    for page, start in enumerate(starts):
        end = min(start + page_size, len(marks))
        higher = max(highest, marks[start:end].max())
        if page % 2 == 0:
            ax.axvspan(start - 0.5, end - 0.5, color=style.FATES["cached"].colour, alpha=0.35, linewidth=0)
        ax.hlines(higher, start - 0.5, end - 0.5, color="black", linewidth=2.2)
        factor = "start" if page == 0 else f"x {np.exp(highest - higher):.2f}"
        top, look = ((start + end - 1) / 2, 1), {"ha": "center", "va": "top"}
        style.note(ax, f"page {page}\n{factor}", top, (0, -4), xycoords=("data", "axes fraction"), **look)
        highest = higher
        steps.append(f"{highest:.2f}")
    ax.plot(np.arange(len(marks)), marks, "o", color=style.PAGED, markersize=5)
    spread = float(np.ptp(marks)) or 1.0
    ax.set(xlim=(-0.5, len(marks) - 0.5), ylim=(marks.min() - 0.1 * spread, marks.max() + 0.55 * spread))
    ax.set(xlabel="position of the token in its sequence", ylabel="score")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    told = f"a dot for each of the {len(marks)} scores; lines for the highest so far, page by page"
    return with_words(ax, f"{told}: {', '.join(steps)}.")


@style.applied()
def cost_by_page_size(ratios: Mapping[int, float], *, ax: Axes | None = None) -> Axes:
    """Draw how many times as long attention takes over pages as over contiguous memory.

    Parameters
    ----------
    ratios : mapping of int to float
        Time over pages by time over contiguous arrays, by page size in slots.
    """
    ax = ax or new_axes(3.0)
    page_sizes = list(ratios)
    low, high = kernel_slowdowns(32)
    ax.axhspan(low, high, color=style.TRADITIONAL, alpha=0.25, linewidth=0)
    ax.axhline(1, color="black", linewidth=1.2, linestyle="--")
    ax.plot(page_sizes, list(ratios.values()), "o-", color=style.PAGED, linewidth=2.2, markersize=7)
    style.page_size_axis(ax, page_sizes)
    ax.set(ylim=(0, max(1.6, 1.15 * max(ratios.values()))), ylabel="time, contiguous = 1")
    labels = {
        "dashed: contiguous memory": "black",
        "shaded: the paper's kernel on an A100 (Fig. 18a, batch 32)": style.TRADITIONAL,
    }
    for row, (label, colour) in enumerate(labels.items()):
        ax.text(0.99, 0.94 - 0.1 * row, label, transform=ax.transAxes, ha="right", va="center", color=colour)
    first = (page_sizes[0], ratios[page_sizes[0]])
    style.note(ax, "here, over pages", first, (12, 2), color=style.PAGED, bbox=style.PLATE)
    told = f"pages of {max(ratios, key=ratios.__getitem__)} cost most. Paper: {low:.2f} to {high:.2f}"
    return with_words(ax, f"time over pages by time over plain arrays: {told}")


@style.applied()
def reading_bars(
    step: StepTime, *, num_kv_tokens: float, slowdown: float, axis_ms: float, ax: Axes | None = None
) -> Axes:
    """Draw what one iteration reads, as bars of milliseconds: the weights, and keys and values.

    Parameters
    ----------
    step : StepTime
        How long each takes.
    num_kv_tokens : float
        Tokens whose keys and values are read.
    slowdown : float
        How many times as long the kernel over pages takes to read them.
    axis_ms : float
        How far the axis reaches.
    """
    ax = ax or new_axes(2.0)
    weights = 1000 * step.weights_s
    for row, (name, factor) in enumerate({"contiguous": 1.0, "paged": slowdown}.items()):
        kv = 1000 * step.reading_s(num_kv_tokens, slowdown=factor) - weights
        ax.barh(row, weights, height=0.6, facecolor="#F5F5F5", edgecolor="black", linewidth=0.8)
        colour = style.PAGED if name == "paged" else style.TRADITIONAL
        ax.barh(row, kv, left=weights, height=0.6, color=colour)
        ax.text(weights / 2, row, f"weights {weights:.1f}", ha="center", va="center", fontsize=9.5)
        style.note(ax, f"KV {kv:.1f}", (weights + kv, row), (4, 0), color=colour)
    ax.set(xlim=(0, axis_ms), ylim=(1.5, -0.5), xlabel="one iteration (ms)")
    ax.set_yticks([0, 1], ["contiguous", "paged"])
    ax.tick_params(axis="y", length=0)
    return ax


@style.applied()
def rate_against_batch(
    step: StepTime, *, tokens_per_sequence: float, slowdown: float, ax: Axes | None = None
) -> Axes:
    """Draw the tokens per second that memory allows against the batch, for both kernels.

    The diamonds are the paper's batches, with the tokens that each scheme keeps in its pool (Figs. 13 and 2).

    Parameters
    ----------
    step : StepTime
        How long it takes to read.
    tokens_per_sequence : float
        Mean context of a sequence. The curves end where the pool of 15,744 slots is full of such sequences.
    slowdown : float
        How many times as long the kernel over pages takes to read keys and values.
    """
    ax = ax or new_axes()
    batches = np.linspace(1, NUM_SLOTS_13B / tokens_per_sequence, 60)
    kernels = {
        "dashed: a kernel over contiguous memory": (1.0, style.TRADITIONAL, "--"),
        "solid: a kernel over pages": (slowdown, style.PAGED, "-"),
    }
    for row, (name, (factor, colour, line)) in enumerate(kernels.items()):
        rates = [batch / step.reading_s(batch * tokens_per_sequence, slowdown=factor) for batch in batches]
        ax.plot(batches, rates, line, color=colour, linewidth=2.2)
        ax.text(1, 1250 - 120 * row, name, color=colour)
    for scheme, batch in FIG_13["ShareGPT"].items():
        is_paged = scheme == "vLLM"
        rate = batch / step.reading_s(tokens_in_pool(scheme), slowdown=slowdown if is_paged else 1.0)
        ax.plot(batch, rate, "D", color="black", markerfacecolor="none", markersize=9)
        offset, side = ((0, -26), "center") if is_paged else ((12, -10), "left")
        look: dict[str, Any] = {"ha": side, "va": "top", "bbox": style.PLATE}
        style.note(ax, f"{scheme}: {rate:,.0f}", (batch, rate), offset, **look)
    ax.set(xlim=(0, 33.5), ylim=(0, 1400), xlabel="sequences in the batch", ylabel="tokens per second")
    return ax


def best_seconds(ways: Mapping[Any, Callable[[], Any]], *, num_rounds: int = 60) -> dict[Any, float]:
    """Run some functions in turn, and return the time of the best round of each.

    Parameters
    ----------
    ways : mapping of name to callable
        What to run.
    num_rounds : int
        How often; other programs only ever make a round slower.
    """
    seconds: dict[Any, list[float]] = {way: [] for way in ways}
    for _ in range(check_count("num_rounds", num_rounds)):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[way].append(time.perf_counter() - start)
    return {way: min(taken) for way, taken in seconds.items()}
