"""Pictures of a case that went wrong. Apart, because they load Matplotlib."""

from collections.abc import Hashable, Mapping

from paged_demo.allocators.memory_map import MemoryMap
from paged_demo.views import style
from paged_demo.views.picture import Picture, new_axes, show
from paged_demo.views.strip import slot_strip


@style.applied()
def strip_with_marks(
    memory_map: MemoryMap,
    future_tokens: Mapping[Hashable, int],
    *,
    expected: int | None,
    came: int | None,
    words: str,
) -> Picture:
    """Draw a small pool as a strip, with arrows to the slot that was expected and the one that came.

    Parameters
    ----------
    memory_map, future_tokens
        As for `paged_demo.views.strip.slot_strip`.
    expected, came : int or None
        Slots to point to, from above and from below; None for no arrow.
    words : str
        What the picture shows.
    """
    ax = slot_strip(memory_map, future_tokens, num_columns=memory_map.num_slots, ax=new_axes(1.9))
    ax.set_ylim(2.0, -1.0)
    ax.set_yticks([])
    ax.set_ylabel("")
    size = memory_map.page_size or memory_map.num_slots
    ax.set_xticks(
        [start + size / 2 for start in range(0, memory_map.num_slots, size)],
        [f"page {page_id}" for page_id in range(-(-memory_map.num_slots // size))],
    )
    for name, slot, tip, text in (("expected", expected, 0, -0.8), ("yours", came, 1, 1.8)):
        if slot is not None and 0 <= slot < memory_map.num_slots:
            ax.annotate(
                f"{name}: slot {slot}",
                (slot + 0.5, tip),
                (slot + 0.5, text),
                ha="center",
                va="center",
                arrowprops={"arrowstyle": "->", "color": "black"},
            )
    return show(ax, words)
