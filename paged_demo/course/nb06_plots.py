"""Serving: who runs and who waits, and where the slots go meanwhile."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from paged_demo.checks import check_count
from paged_demo.serving.run import Moment, Run
from paged_demo.views import style
from paged_demo.views.picture import new_axes
from paged_demo.views.strip import letter

FATES_OVER_TIME = ("used", "reserved", "internal", "rounding", "free")


def _require_moments(moments: Sequence[Moment]) -> None:
    if not moments:
        raise ValueError("moments must hold at least one moment, got none")


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
    _require_moments(moments)
    ax = ax or new_axes(2.6)
    times = [moment.time_s for moment in moments]
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
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    _require_moments(moments)
    check_count("num_slots", num_slots)
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
    check_count("first", first, minimum=0)
    check_count("count", count)
    requests = run.requests[first : first + count]
    if not requests:
        raise ValueError(f"first must be below the number of requests ({len(run.requests)}), got {first}")
    ax = ax or new_axes(0.9 + 0.15 * len(requests))
    row_of = {request.request_id: row for row, request in enumerate(requests)}
    finish_s = dict(zip([request.request_id for request in run.requests], run.finish_s, strict=True))
    for request in requests:
        row = row_of[request.request_id]
        ax.plot(
            [request.arrival_s, finish_s[request.request_id]],
            [row, row],
            color=style.WAITING,
            linewidth=1.6,
            solid_capstyle="butt",
            zorder=1,
        )
    for stay in run.stays:
        if stay.request_id not in row_of:
            continue
        row = row_of[stay.request_id]
        place = ((stay.start_s, row - 0.36), stay.end_s - stay.start_s, 0.72)
        ax.add_patch(Rectangle(*place, facecolor=style.RUNNING, edgecolor="white", linewidth=0.3))
        if stay.is_preempted:
            ax.plot(stay.end_s, row, "x", color="black", markersize=6, markeredgewidth=1.8)
    keys = [
        Line2D([], [], color=style.WAITING, linewidth=1.6, label="waits"),
        Patch(color=style.RUNNING, label="runs"),
        Line2D(
            [], [], color="black", marker="x", linestyle="none", markeredgewidth=1.8, label="is preempted"
        ),
    ]
    ax.legend(handles=keys, loc="lower left", fontsize=10)
    ax.set(ylim=(len(requests) - 0.4, -0.6), xlabel="time (s)", ylabel="request")
    ax.set_yticks(range(len(requests)), [letter(request.request_id) for request in requests])
    ax.tick_params(axis="y", length=0, labelsize=9)
    return ax
