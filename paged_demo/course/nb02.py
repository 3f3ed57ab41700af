"""Notebook 02: a small pool under reservations, with every slot to be seen."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import astuple
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from paged_demo.allocators.memory_map import MemoryMap, fates
from paged_demo.allocators.placement import buddy
from paged_demo.allocators.traditional import TraditionalAllocator, reserve_oracle
from paged_demo.checks import check_whole
from paged_demo.course.nb02_film import (
    MAX_TOKENS,
    NUM_MOMENTS,
    NUM_SLOTS,
    PLACEMENTS,
    RESERVATIONS,
    SPREADS,
    film,
)
from paged_demo.paper.numbers import NUM_SLOTS_13B
from paged_demo.serving.saturation import keep_full
from paged_demo.serving.workload import Request
from paged_demo.views import style
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.progress import progress  # noqa: F401 - the notebook uses it
from paged_demo.views.strip import slot_strip
from paged_demo.views.style import percent

KEY = ("reserved", "internal", "rounding", "external")
"""Slots that hold a token have the tint and the letter of their request. In a full pool no hole
takes the next request, so that no slot is just free."""


def _fill(
    panels: Panels, *, reservation: str, placement: str, max_tokens: int, spread: float, moment: int
) -> str:
    shown = film(reservation, placement, max_tokens, spread)
    now = shown.stills[moment - 1]
    strip = slot_strip(now.memory_map, now.future_tokens, request_slots=now.request_slots, ax=panels["strip"])
    used = percent(shown.mean_used_share)
    setting = f"{reservation}, {placement}, spread {spread}"
    strip.set_title(f"{setting}: {used} of the slots hold a token on average")
    parts = zip(style.FATES, astuple(now.usage), strict=False)
    told = ", ".join(f"{slots} {name}" for name, slots in parts if slots)
    return (
        f"Reservation {reservation}, placement {placement}, at most {max_tokens} tokens, spread {spread}:"
        f" on average {shown.mean_running:.1f} requests run, and {used} of {NUM_SLOTS} slots hold a"
        f" token. Moment {moment}: {told}; the next request asks for {now.request_slots}."
    )


def explore_reservations() -> Explorer:
    """Explore what reservations waste, by what is reserved and where, and by the lengths of the requests."""
    return Explorer(
        _fill,
        {
            "reservation": choice("reservation", RESERVATIONS),
            "placement": choice("placement", PLACEMENTS),
            "max_tokens": choice("at most (tokens)", MAX_TOKENS, 64),
            "spread": choice("spread of lengths", SPREADS, 0.5),
            "moment": number("moment", 1, lowest=1, highest=NUM_MOMENTS),
        },
        panels={"strip": (0.07, 0.295, 0.92, 0.555), "key": (0, 0, 1, 0.25)},
        sheet={"strip": (0.07, 0.06, 0.92, 0.74)},
        height=2.9,
        key=KEY,
    )


def filled_by_an_oracle(requests: Sequence[Request]) -> float:
    """Return the share of the paper's pool that holds a token, with exact reservations and first fit.

    Parameters
    ----------
    requests : sequence of Request
        A queue that is too long for the pool, as for `paged_demo.keep_full`.
    """
    return keep_full(TraditionalAllocator(NUM_SLOTS_13B, reserve=reserve_oracle), requests).mean_used_share


def fates_by_name(
    memory_map: MemoryMap,
    future_tokens: Mapping[Hashable, int],
    *,
    request_slots: int,
    ax: Axes | None = None,
) -> Axes:
    """Draw a pool of one row slot by slot, and name each fate where it comes first.

    Parameters
    ----------
    memory_map, future_tokens, request_slots
        As for `paged_demo.fates`.
    """
    ax = slot_strip(memory_map, future_tokens, request_slots=request_slots, ax=ax or new_axes(1.9))
    runs = fates(memory_map, future_tokens, request_slots=request_slots)
    for run in {run.fate: run for run in reversed(runs)}.values():
        middle = run.start_slot + run.num_slots / 2
        ax.text(middle, -0.08, run.fate, ha="center", color="black", fontsize=10)
    told = []
    for seq_ids, held in groupby(runs, key=lambda run: run.seq_ids):
        parts = ", ".join(f"{run.num_slots} {run.fate}" for run in held)
        told.append(f"{', '.join(map(str, seq_ids))}: {parts}." if seq_ids else f"Then {parts} slots.")
    return with_words(ax, " ".join(told))


@style.applied()
def buddy_split(num_reserved: int, *, pool_slots: int, ax: Axes | None = None) -> Axes:
    """Draw how buddies halve a free chunk until a half would be too small, a row for each size.

    Parameters
    ----------
    num_reserved : int
        Slots that a request asks for.
    pool_slots : int
        Slots in the pool, which is one free chunk: a power of two from 16.
    """
    pool_slots = check_whole("pool_slots", pool_slots, minimum=0)
    if pool_slots < 16 or pool_slots & (pool_slots - 1):
        raise ValueError(f"pool_slots must be a power of two from 16, got {pool_slots}")
    run = buddy(pool_slots, max_tokens=pool_slots).place(num_reserved)
    rounding = run.num_slots - num_reserved
    sizes = [pool_slots]
    while sizes[-1] > run.num_slots:
        sizes.append(sizes[-1] // 2)
    ax = ax or new_axes(0.7 + 0.5 * len(sizes))
    for row, size in enumerate(sizes):
        pieces = [(size, "free", f"{size}, free")]
        if size == run.num_slots:
            pieces = [(num_reserved, "reserved", f"asked for: {num_reserved}"), (rounding, "rounding", "")]
        pieces += [(half, "free", f"{half}, free") for half in sizes[row:0:-1]]
        left = 0
        for width, fate, label in pieces:
            ax.add_patch(Rectangle((left, row), width, 0.72, **style.FATES[fate].patch_style()))
            place = (left + width / 2, row + 0.36)
            ax.text(*place, label, ha="center", va="center", **style.FATES[fate].text_style())
            left += width
    held = f"held: {run.num_slots}, of which {rounding} are rounding"
    style.note(ax, held, (0, len(sizes) - 0.28), (0, -6), va="top")
    ax.set(xlim=(-2, pool_slots + 2), ylim=(len(sizes) + 0.3, -0.1), xticks=[], yticks=[])
    style.bare(ax)
    return with_words(
        ax,
        f"a free chunk is halved from row to row: {', '.join(map(str, sizes))} slots. A request for"
        f" {num_reserved} slots gets one of {run.num_slots}: {rounding} of them are rounding.",
    )
