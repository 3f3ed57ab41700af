"""Plot of notebook 02: the fates of the slots in a small pool, by name."""

from collections.abc import Hashable, Mapping
from itertools import groupby

from matplotlib.axes import Axes

from paged_demo.allocators.memory_map import MemoryMap, fates
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.strip import slot_strip


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
