"""Plots of notebook 06, of serving: who runs and who waits, and where the slots go meanwhile."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter

from paged_demo.checks import check_count
from paged_demo.paper.numbers import FIG_19A_MS, TOKENS_OF_FIG_19A
from paged_demo.serving.iteration_time import OPT_13B_ITERATION, OPT_13B_SWAP
from paged_demo.serving.run import Moment, Run
from paged_demo.views import style
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.strip import letter

FATES_OVER_TIME = ("used", "reserved", "internal", "rounding", "free")

OPEN_POINTS: dict[str, Any] = {
    "linestyle": "none",
    "markerfacecolor": "white",
    "markersize": 7,
    "markeredgewidth": 1.6,
}


def _times(moments: Sequence[Moment]) -> list[float]:
    if not moments:
        raise ValueError("moments must hold at least one moment, got none")
    return [moment.time_s for moment in moments]


@style.applied()
def running_over_time(moments: Sequence[Moment], *, ax: Axes | None = None) -> Axes:
    """Draw how many requests run, and how many wait, over time.

    Parameters
    ----------
    moments : sequence of Moment
        What `simulate` noted.
    """
    times = _times(moments)
    ax = ax or new_axes(2.6)
    running = np.array([moment.num_running for moment in moments])
    waiting = np.array([moment.num_waiting for moment in moments])
    ax.fill_between(times, 0, running, step="post", color=style.RUNNING, linewidth=0)
    ax.fill_between(times, running, running + waiting, step="post", color=style.WAITING, linewidth=0)
    keys = [Patch(color=style.RUNNING, label="running"), Patch(color=style.WAITING, label="waiting")]
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
    """
    times = _times(moments)
    num_slots = check_count("num_slots", num_slots)
    ax = ax or new_axes(2.6)
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
def request_timeline(
    runs: Mapping[str, Run], name: str, *, first: int = 0, count: int = 30, ax: Axes | None = None
) -> Axes:
    """Draw when each request waited and when it ran: a line for the one and a bar for the other.

    A cross marks the end of a bar where the request was preempted.

    Parameters
    ----------
    runs : mapping of str to Run
        The records of some runs; the words say of each when its last request ends.
    name : str
        The run to draw.
    first, count : int
        Which requests to draw, in the order of their arrival.
    """
    first = check_count("first", first, minimum=0)
    count = check_count("count", count)
    run = runs[name]
    requests = run.requests[first : first + count]
    if not requests:
        raise ValueError(f"first must be below the number of requests ({len(run.requests)}), got {first}")
    ax = ax or new_axes(0.9 + 0.15 * len(requests))
    row_of = {request.request_id: row for row, request in enumerate(requests)}
    finish_s = dict(zip([request.request_id for request in run.requests], run.finish_s, strict=True))
    line: dict[str, Any] = {"color": style.WAITING, "linewidth": 1.6}
    cross: dict[str, Any] = {"color": "black", "marker": "x", "linestyle": "none", "markeredgewidth": 1.8}
    for row, request in enumerate(requests):
        span = [request.arrival_s, finish_s[request.request_id]]
        ax.plot(span, [row, row], solid_capstyle="butt", zorder=1, **line)
    for stay in run.stays:
        if stay.request_id not in row_of:
            continue
        row = row_of[stay.request_id]
        place = ((stay.start_s, row - 0.36), stay.end_s - stay.start_s, 0.72)
        ax.add_patch(Rectangle(*place, facecolor=style.RUNNING, edgecolor="white", linewidth=0.3))
        if stay.is_preempted:
            ax.plot(stay.end_s, row, **cross)
    keys = [
        Line2D([], [], label="waits", **line),
        Patch(color=style.RUNNING, label="runs"),
        Line2D([], [], label="is preempted", **cross),
    ]
    ax.legend(handles=keys, loc="lower left", fontsize=10)
    ax.set(ylim=(len(requests) - 0.4, -0.6), xlabel="time (s)", ylabel="request")
    ax.set_yticks(range(len(requests)), [letter(request.request_id) for request in requests])
    ax.tick_params(axis="y", length=0, labelsize=9)
    ends = [f"{name}, the last request ends at {max(run.finish_s):.2f} s" for name, run in runs.items()]
    return with_words(ax, f"When each request waited, ran and was preempted. {'; '.join(ends)}.")


@style.applied()
def swap_or_recompute(num_tokens: int = 256, *, ax: Axes | None = None) -> Axes:
    """Draw the time to bring a request back against the page size: swapped out and in, or computed again.

    Parameters
    ----------
    num_tokens : int
        Tokens of the request. At 256 the paper's points are drawn too (Fig. 19a).
    """
    num_tokens = check_count("num_tokens", num_tokens)
    ax = ax or new_axes(3.2)
    sizes = list(FIG_19A_MS["recompute"])
    pages = [-(-num_tokens // size) for size in sizes]
    swap_ms = [
        1e3 * OPT_13B_SWAP(num_pages_out=count, num_pages_in=count, page_size=size)
        for size, count in zip(sizes, pages, strict=True)
    ]
    recompute_ms = 1e3 * OPT_13B_ITERATION(
        num_batched=num_tokens, num_requests=0, num_sequences=0, num_kv_tokens=0
    )
    ax.plot(sizes, swap_ms, color=style.PAGED, linewidth=2)
    ax.plot(sizes, [recompute_ms] * len(sizes), color=style.TRADITIONAL, linewidth=2, linestyle="--")
    told = "swapping takes less the larger the pages, computing takes the same."
    words = f"time to bring back {num_tokens} tokens: {told}"
    if num_tokens == TOKENS_OF_FIG_19A:
        published = [FIG_19A_MS["swap in"][size] + FIG_19A_MS["swap out"][size] for size in sizes]
        recomputed = list(FIG_19A_MS["recompute"].values())
        ax.plot(sizes, published, marker="o", color=style.PAGED, **OPEN_POINTS)
        ax.plot(sizes, recomputed, marker="s", color=style.TRADITIONAL, **OPEN_POINTS)
        marks = zip(sizes, published, recomputed, strict=True)
        read = [f"{size}: {swap:.1f} and {again:.1f} ms" for size, swap, again in marks if 8 <= size <= 64]
        words += (
            f" Open marks are the paper's (Fig. 19a); swapping and computing with pages of {', '.join(read)}."
        )
    look: dict[str, Any] = {"va": "baseline", "color": style.PAGED}
    style.note(ax, "swap out and in", (sizes[1], swap_ms[1]), (8, 6), **look)
    look |= {"ha": "right", "color": style.TRADITIONAL}
    style.note(ax, "compute again", (sizes[-1], recompute_ms), (0, 6), **look)
    style.page_size_axis(ax, sizes)
    ax.set(ylim=(0, None), ylabel="time (ms)")
    return with_words(ax, words)


@style.applied()
def pieces_against_budget(whole: Run, pieces: Mapping[int, Run], *, ax: Axes | None = None) -> Axes:
    """Draw, against the token budget, the longest gap between two tokens and the time to the first token.

    Parameters
    ----------
    whole : Run
        The record with whole prompts; it has a broken line.
    pieces : mapping of int to Run
        The records with prompts in pieces, by the token budget of an iteration.
    """
    if not pieces:
        raise ValueError("pieces must hold at least one run, got none")
    ax = ax or new_axes(3.0)
    budgets = sorted(pieces)
    told = []
    for name, measured, colour, offset in (
        ("longest gap between two tokens", "longest_gap_s", style.PAGED, (10, -10)),
        ("mean time to the first token", "mean_time_to_first_token_s", style.TRADITIONAL, (10, 8)),
    ):
        seconds = [getattr(pieces[budget], measured) for budget in budgets]
        reference = getattr(whole, measured)
        ax.plot(budgets, seconds, color=colour, linewidth=2, marker="o", markersize=5)
        ax.axhline(reference, color=colour, linewidth=1.2, linestyle="--")
        style.note(ax, name, (budgets[0], seconds[0]), offset, color=colour)
        style.note(ax, "whole prompts", (budgets[0], reference), (10, -10), color=colour)
        told.append(
            f"{name}: {seconds[0]:.2f} s at {budgets[0]} tokens, {seconds[-1]:.2f} s at {budgets[-1]},"
            f" {reference:.2f} s with whole prompts"
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(budgets, [str(budget) for budget in budgets])
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    low, high = ax.get_ylim()
    ax.set(ylim=(low / 1.3, high * 1.3), xlabel="token budget (tokens per iteration)", ylabel="time (s)")
    return with_words(ax, f"prompts in pieces against the token budget. {'; '.join(told)}.")
