"""Notebook 02: a small pool under reservations, with every slot to be seen."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import astuple
from functools import lru_cache, partial
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from paged_demo.allocators.memory_map import MemoryMap, MemoryUsage, account, fates
from paged_demo.allocators.placement import PlacementPolicy, best_fit, buddy, first_fit
from paged_demo.allocators.traditional import (
    ReservationPolicy,
    TraditionalAllocator,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
)
from paged_demo.paper.numbers import NUM_SLOTS_13B
from paged_demo.serving.saturation import keep_full
from paged_demo.serving.scheduler import Scheduler
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

NUM_SLOTS = 240
"""Small enough for a letter in each run, and no multiple of the greatest lengths, as in the paper's pool."""

UNIT_SLOTS = 4
MEAN_TOKENS = 20
NUM_REQUESTS = 400
WARM_UP = 60
NUM_MOMENTS = 200

RESERVATIONS = ("max", "pow2", "oracle")
PLACEMENTS = ("first fit", "best fit", "buddy")
MAX_TOKENS = (32, 64, 128)
SPREADS = (0.0, 0.5, 1.0, 1.5)


class Still(NamedTuple):
    """One picture of a film: the small pool in one iteration.

    Attributes
    ----------
    memory_map, future_tokens
        As for `paged_demo.account`.
    request_slots : int
        What the next request asks for.
    usage : MemoryUsage
        The slots by their fate.
    """

    memory_map: MemoryMap
    future_tokens: Mapping[Hashable, int]
    request_slots: int
    usage: MemoryUsage


class Film(NamedTuple):
    """The small pool over many iterations.

    Attributes
    ----------
    stills : tuple of Still
        One for each iteration.
    mean_running, mean_used_share : float
        Running requests, and the share of the slots that hold a token: means over the stills.
    """

    stills: tuple[Still, ...]
    mean_running: float
    mean_used_share: float


@lru_cache(maxsize=128)
def film(reservation: str, placement: str, max_tokens: int, spread: float) -> Film:
    """Keep the small pool full, and return what it looks like once the first requests have gone.

    Parameters
    ----------
    reservation, placement : str
        Of `RESERVATIONS` and `PLACEMENTS`.
    max_tokens : int
        The longest sequence.
    spread : float
        Of the lengths: the standard deviation of their logarithm.
    """
    reserve: ReservationPolicy = {
        "max": reserve_max(max_tokens),
        "pow2": reserve_pow2(max_tokens),
        "oracle": reserve_oracle,
    }[reservation]
    placements: dict[str, PlacementPolicy] = {
        "first fit": first_fit,
        "best fit": best_fit,
        "buddy": partial(buddy, unit_slots=UNIT_SLOTS, max_tokens=max_tokens),
    }
    requests = _requests(max_tokens, spread)
    allocator = TraditionalAllocator(NUM_SLOTS, reserve=reserve, placement=placements[placement])
    scheduler = Scheduler(allocator, requests)
    stills = []
    for iteration in range(WARM_UP + NUM_MOMENTS):
        scheduler.step()
        if iteration >= WARM_UP:
            snapshot = scheduler.snapshot()
            following = requests[snapshot.waiting[0]]
            wanted = reserve(following.num_prompt_tokens, following.final_tokens)
            usage = account(snapshot.memory_map, snapshot.future_tokens, request_slots=wanted)
            stills.append(Still(snapshot.memory_map, snapshot.future_tokens, wanted, usage))
    return Film(
        stills=tuple(stills),
        mean_running=fmean(len(still.future_tokens) for still in stills),
        mean_used_share=fmean(still.usage.used for still in stills) / NUM_SLOTS,
    )


def _requests(max_tokens: int, spread: float) -> list[Request]:
    """Draw requests of one mean length, whatever the spread: a quarter of each is its prompt."""
    rng = np.random.default_rng(0)
    lengths = MEAN_TOKENS * np.exp(spread * rng.standard_normal(NUM_REQUESTS) - spread**2 / 2)
    finals = np.clip(np.rint(lengths).astype(int), 2, max_tokens).tolist()
    return [
        Request(index, max(1, final // 4), final - max(1, final // 4)) for index, final in enumerate(finals)
    ]


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
        As for `paged_demo.fates`; the next request finds no room.
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
