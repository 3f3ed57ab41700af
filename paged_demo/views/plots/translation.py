"""Where a sequence's tokens lie: from a position to a slot, and words in their pages."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from paged_demo.allocators.memory_map import FateRun, MemoryMap, fates
from paged_demo.checks import check_count
from paged_demo.views import style
from paged_demo.views.picture import new_axes
from paged_demo.views.strip import Box, collect, letter, tint

CELL_HEIGHT = 0.8

GAP = 3.3
"""Between the logical pages and the physical ones, in slots: room for the lines from the one to the other."""

COUNTS_WIDTH = 1.7
"""To the right of the pool, in slots: room for the holders of a page and for a copy."""


class _Cell(NamedTuple):
    """A slot to draw, at its upper left corner or its lower one, as the axis goes."""

    x: float
    y: float
    text: str = ""
    width: float = 1


@style.applied()
def translation(
    page_table: Sequence[int], position: int, *, page_size: int, num_pages: int, ax: Axes | None = None
) -> Axes:
    """Draw how a token's position becomes its slot: through the page table of its sequence.

    Parameters
    ----------
    page_table : sequence of int
        The physical page of each logical page.
    position : int
        The token's place in its sequence.
    page_size : int
        Slots in a page.
    num_pages : int
        Pages in the pool.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    check_count("page_size", page_size)
    num_positions = len(page_table) * page_size
    if check_count("position", position, minimum=0) >= num_positions:
        raise ValueError(
            f"position must be below {num_positions}, the slots of the page table, got {position}"
        )
    last_page = check_count("num_pages", num_pages) - 1
    if not all(0 <= page_id <= last_page for page_id in page_table):
        raise ValueError(f"page_table must name pages from 0 to {last_page}, got {list(page_table)}")
    ax = ax or new_axes(3.4)
    page, offset = divmod(position, page_size)
    slot = page_table[page] * page_size + offset
    num_slots = num_pages * page_size
    left = (num_slots - num_positions) / 2
    held: dict[str, Any] = {"facecolor": tint("A")}
    positions = [_Cell(left + index, 4, str(index)) for index in range(num_positions)]
    slots = [_Cell(index, 0, str(index)) for index in range(num_slots)]
    _draw(ax, positions, edgecolor="white", **held)
    free: dict[str, Any] = {"facecolor": style.FATES["free"].colour}
    for is_held, look in ((True, held), (False, free)):
        alike = [slots[index] for index in range(num_slots) if (index // page_size in page_table) == is_held]
        _draw(ax, alike, edgecolor="white", **look)
    for logical, page_id in enumerate(page_table):
        entry = _Cell(left + logical * page_size, 2.1, f"page {page_id}", page_size)
        _draw(
            ax,
            [entry],
            edgecolor="black",
            font_size=11,
            **held if logical == page else {"facecolor": "white"},
        )
        name = f"logical page {logical}"
        ax.text(entry.x + page_size / 2, 5.05, name, ha="center", va="bottom", fontsize=9)
    pages = [_Cell(page_id * page_size, 0, width=page_size) for page_id in range(num_pages)]
    _draw(ax, pages, facecolor="none", edgecolor="black", linewidth=1.2)
    for page_id, cell in enumerate(pages):
        ax.text(cell.x + page_size / 2, -0.15, f"page {page_id}", ha="center", va="top", fontsize=9)
    _draw(ax, [positions[position], slots[slot]], is_new=True, **held)
    middle = left + (page + 0.5) * page_size
    _arrow(ax, (left + position + 0.5, 4), (middle, 2.9))
    _arrow(ax, (middle, 2.1), (slot + 0.5, CELL_HEIGHT))
    ax.set(xlim=(-0.2, num_slots + 0.2), ylim=(-0.9, 5.7), xticks=[])
    ax.set_yticks([0.4, 2.5, 4.4], ["pool,\nslot by slot", "page table", "sequence,\nby position"])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    page_id = page_table[page]
    ax.set_title(
        f"position {position}: logical page {position} // {page_size} = {page},"
        f" offset {position} % {page_size} = {offset}."
        f"  It is page {page_id}: slot {page_id} * {page_size} + {offset} = {slot}"
    )
    return ax


@style.applied()
def words_in_pages(
    memory_map: MemoryMap,
    future_tokens: Mapping[Hashable, int],
    words: Mapping[int, str],
    *,
    page_tables: Mapping[Hashable, Sequence[int]] | None = None,
    new_slots: Collection[int] = (),
    copies: Collection[tuple[int, int]] = (),
    counts_references: bool = False,
    font_size: float = 9,
    ax: Axes | None = None,
) -> Axes:
    """Draw a small pool, a page in each row, with the word that each slot holds.

    Parameters
    ----------
    memory_map, future_tokens
        As for `paged_demo.fates`; the map of a pool with pages.
    words : mapping of int to str
        The word in each slot that holds one.
    page_tables : mapping of sequence id to sequence of int, optional
        Sequences to draw to the left of the pool as they see themselves: page by page, in order.
    new_slots : collection of int
        Slots to frame, since they were written just now.
    copies : collection of (int, int)
        Pages that were copied just now, from and to: an arrow for each, to the right of the pool.
    counts_references : bool
        Whether to write beside each page how many sequences hold it.
    font_size : float
        Of the words, in points.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    size = memory_map.page_size
    if size is None:
        raise ValueError("memory_map must be of a pool with pages, got one without")
    ax = ax or new_axes(4.2)
    left = 0.0 if page_tables is None else size + GAP
    rows = [(left, float(page_id), page_id) for page_id in range(memory_map.num_slots // size)]
    label: dict[str, Any] = {"va": "center", "fontsize": font_size}
    row = 0.0
    for seq_id, table in (page_tables or {}).items():
        for logical, page_id in enumerate(table):
            rows.append((0.0, row, page_id))
            ax.text(-0.1, row + 0.4, f"{letter(seq_id)}{logical}", ha="right", **label)
            ax.text(size + 0.1, row + 0.4, f"in page {page_id}", ha="left", **label)
            ends = [size + 1.1, left - 0.8], [row + 0.4, page_id + 0.4]
            ax.plot(*ends, color="black", linewidth=0.8)
            row += 1
        row += 0.4
    cells_of: dict[int, list[_Cell]] = {}
    for x, y, page_id in rows:
        for offset in range(size):
            slot = page_id * size + offset
            cells_of.setdefault(slot, []).append(_Cell(x + offset, y, words.get(slot, "")))
    new_cells = [cell for slot in new_slots for cell in cells_of[slot]]
    holders: dict[int, str] = {}
    alike: dict[str, list[_Cell]] = {}
    for run in fates(memory_map, future_tokens):
        owner = ", ".join(map(letter, run.seq_ids))
        owner = f"{len(run.seq_ids)}: {owner}" if counts_references and owner else owner
        fill = _fill(run)
        for slot in range(run.start_slot, run.start_slot + run.num_slots):
            holders[slot // size] = owner
            blank = slot in new_slots
            alike.setdefault(fill, []).extend(
                cell._replace(text="") if blank else cell for cell in cells_of[slot]
            )
    for fill, cells in alike.items():
        look: dict[str, Any] = {"facecolor": fill.removeprefix("tint "), "edgecolor": "white"}
        if fill in style.FATES:
            look = style.FATES[fill].patch_style() | {"linewidth": 0}
        plate = style.FATES["shared"].text_style() if fill == "shared" else {}
        _draw(ax, cells, font_size=font_size, plate=plate, **look)
    outlines = [_Cell(x, y, width=size) for x, y, _ in rows]
    _draw(ax, outlines, facecolor="none", edgecolor="black", linewidth=1)
    _draw(ax, new_cells, font_size=font_size, is_new=True, facecolor="none")
    nobody = "0" if counts_references else ""
    for page_id in range(memory_map.num_slots // size):
        ax.text(left - 0.1, page_id + 0.4, f"page {page_id}", ha="right", **label)
        ax.text(left + size + 0.1, page_id + 0.4, holders.get(page_id) or nobody, ha="left", **label)
    right = left + size + (COUNTS_WIDTH if counts_references else 0.4)
    _draw_copies(ax, copies, right=right, font_size=font_size)
    bottom = memory_map.num_slots // size
    ax.set(xlim=(-1 if page_tables is None else -0.4, right), ylim=(bottom, -0.2), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _fill(run: FateRun) -> str:
    """Name what a run is filled with: the fate's look, or the tint of its only sequence."""
    if run.fate != "used":
        return run.fate
    return "shared" if len(run.seq_ids) > 1 else f"tint {tint(run.seq_ids[0])}"


def _draw_copies(ax: Axes, copies: Collection[tuple[int, int]], *, right: float, font_size: float) -> None:
    look = {"arrowstyle": "->", "color": "black", "linewidth": 1.6, "connectionstyle": "arc3,rad=-0.3"}
    for src_page, dst_page in copies:
        edge = right - 0.75
        ax.annotate("", (edge, dst_page + 0.4), (edge, src_page + 0.4), arrowprops=look)
        middle = (src_page + dst_page) / 2 + 0.4
        ax.text(right, middle, "copy", ha="right", va="center", fontsize=font_size)


def _draw(
    ax: Axes,
    cells: Sequence[_Cell],
    *,
    is_new: bool = False,
    font_size: float = 9,
    plate: Mapping[str, Any] = MappingProxyType({}),
    **look: Any,
) -> None:
    """Draw cells that look alike. What was written just now has a frame, and bold words."""
    if is_new:
        look |= {"edgecolor": "black", "linewidth": 2.4, "zorder": 3}
    boxes = [Box(cell.x, cell.y, cell.width, CELL_HEIGHT) for cell in cells]
    # The limits are set by hand: to find them would take longer than to draw.
    ax.add_collection(collect(boxes, **look), autolim=False)
    for cell in cells:
        if cell.text:
            center = cell.x + cell.width / 2, cell.y + CELL_HEIGHT / 2
            weight = "bold" if is_new else "normal"
            looks = {"size": font_size, "weight": weight, "zorder": 4, **plate}
            ax.text(*center, cell.text, ha="center", va="center", **looks)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "black", "linewidth": 1.4})
