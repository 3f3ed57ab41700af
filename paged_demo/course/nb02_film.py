"""Notebook 02: what its small pool holds under each reservation, moment by moment."""

from collections.abc import Hashable, Mapping
from functools import lru_cache, partial
from statistics import fmean
from typing import NamedTuple

import numpy as np

from paged_demo.allocators.memory_map import MemoryMap, MemoryUsage, account
from paged_demo.allocators.placement import PlacementPolicy, best_fit, buddy, first_fit
from paged_demo.allocators.traditional import (
    ReservationPolicy,
    TraditionalAllocator,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
)
from paged_demo.serving.scheduler import Scheduler
from paged_demo.serving.workload import Request

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
