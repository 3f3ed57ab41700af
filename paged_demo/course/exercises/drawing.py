"""Pictures of a case that went wrong. Apart, because they load Matplotlib."""

from collections.abc import Hashable, Mapping

from paged_demo.allocators.memory_map import Hole, MemoryMap, Region
from paged_demo.views import style
from paged_demo.views.picture import Picture, new_axes, show
from paged_demo.views.strip import slot_strip

MOST_SLOTS_DRAWN = 64


def pool_with_marks(
    held: dict[str, tuple[list[int], int]], num_pages: int, page_size: int, expected: int, came: int | None
) -> Picture | None:
    """Draw a pool in which sequences hold pages and tokens, unless it is too large for a strip.

    Parameters
    ----------
    held : dict of str to (list of int, int)
        The page table and the length of each sequence. Several may hold a page.
    num_pages, page_size : int
        Pages in the pool, and slots in a page.
    expected, came : int, and int or None
        The slots to point to.
    """
    if num_pages * page_size > MOST_SLOTS_DRAWN:
        return None
    holders: dict[int, list[str]] = {}
    filled: dict[int, int] = {}
    for seq_id, (table, num_tokens) in held.items():
        for index, page_id in enumerate(table):
            holders.setdefault(page_id, []).append(seq_id)
            filled[page_id] = min(page_size, num_tokens - index * page_size)
    regions, holes = [], []
    for page_id in range(num_pages):
        start_slot = page_id * page_size
        if page_id not in holders:
            holes.append(Hole(start_slot, page_size))
            continue
        seq_ids = tuple(holders[page_id])
        regions.append(Region(start_slot, page_size, page_size, filled[page_id], seq_ids))
    memory_map = MemoryMap(
        num_slots=num_pages * page_size, regions=tuple(regions), holes=tuple(holes), page_size=page_size
    )
    yours = f"yours {came}" if came is not None else "yours none"
    words = f"A pool of {num_pages} pages of {page_size}. The expected slot is {expected}, {yours}."
    future_tokens: dict[Hashable, int] = dict.fromkeys(held, page_size)
    return strip_with_marks(memory_map, future_tokens, expected=expected, came=came, words=words)


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
