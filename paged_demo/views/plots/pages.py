"""Pages: which a sequence holds, and the words that lie in them."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from paged_demo.allocators.memory_map import FateRun, MemoryMap, fates
from paged_demo.checks import check_count
from paged_demo.views import style
from paged_demo.views.labels import Label, write
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.screen import is_narrow
from paged_demo.views.strip import Box, collect, letter, rule, tint

MOST_PAGE_EDGES = 100
MOST_PAGES_DRAWN = 1_000

MOST_LETTERS_ACROSS = 60
"""How many letters of the usual size stand side by side in a picture of page tables."""

CELL_HEIGHT = 0.8

FONT: Mapping[str, Any] = MappingProxyType({"fontsize": 9})

GAP, NARROW_GAP = 3.3, 2.2
"""Between the logical pages and the physical ones, in slots: room for the lines from the one to the other."""

COUNTS_WIDTH = 1.7
"""To the right of the pool, in slots: room for the holders of a page and for a copy."""


class Cell(NamedTuple):
    """A slot to draw, at its upper left corner or its lower one, as the axis goes."""

    x: float
    y: float
    text: str = ""
    width: float = 1


@style.applied()
def page_tables(tables: Mapping[Hashable, Sequence[int]], *, num_pages: int, ax: Axes | None = None) -> Axes:
    """Draw which physical page each logical page of some sequences lies in.

    Parameters
    ----------
    tables : mapping of sequence id to sequence of int
        The page tables.
    num_pages : int
        Pages in the pool.
    """
    num_pages = check_count("num_pages", num_pages, maximum=MOST_PAGES_DRAWN)
    tables = {
        seq_id: [check_count("each page of tables", page, minimum=0, maximum=num_pages - 1) for page in table]
        for seq_id, table in tables.items()
    }
    ax = ax or new_axes(2.6)
    num_logical = sum(map(len, tables.values())) + len(tables) - 1
    width = max(num_pages, num_logical)
    owners: dict[int, list[Hashable]] = {}
    logical_pages: list[Label] = []
    logical_x = (width - num_logical) / 2
    pool_x = (width - num_pages) / 2
    for seq_id, table in tables.items():
        fill = tint(seq_id)
        for logical, page_id in enumerate(table):
            style.rectangle(ax, logical_x, 2, 1, 0.7, facecolor=fill, edgecolor="black", linewidth=0.8)
            logical_pages.append((logical_x + 0.5, 2.35, f"{letter(seq_id)}{logical}"))
            ax.plot([logical_x + 0.5, pool_x + page_id + 0.5], [2, 0.7], color="black", linewidth=0.8)
            owners.setdefault(page_id, []).append(seq_id)
            logical_x += 1
        logical_x += 1
    write(ax, logical_pages, ha="center", va="center")
    written: dict[tuple[int, bool], list[Label]] = {}
    for page_id in range(num_pages):
        holders = owners.get(page_id, [])
        fate = style.FATES["shared" if len(holders) > 1 else "free"]
        look = fate.patch_style() | {"edgecolor": "black", "linewidth": 0.8}
        if len(holders) == 1:
            look["facecolor"] = tint(holders[0])
        style.rectangle(ax, pool_x + page_id, 0, 1, 0.7, **look)
        letters = "".join(map(letter, holders))
        size = 11 if len(letters) * width < MOST_LETTERS_ACROSS else 7
        label = pool_x + page_id + 0.5, 0.35, letters
        written.setdefault((size, len(holders) > 1), []).append(label)
    for (size, is_shared), labels in written.items():
        ink = style.FATES["shared"].text_style() if is_shared else {}
        write(ax, labels, ha="center", va="center", fontsize=size, **ink)
    numbers = [(pool_x + page_id + 0.5, -0.1, str(page_id)) for page_id in range(num_pages)]
    write(ax, numbers, ha="center", va="top")
    ax.set(xlim=(-0.2, width + 0.2), ylim=(-0.6, 2.9))
    ax.set_yticks([0.35, 2.35], ["physical\npages", "logical\npages"])
    ax.set_xticks([])
    style.bare(ax)
    told = [f"{letter(seq_id)} in the pages {', '.join(map(str, table))}" for seq_id, table in tables.items()]
    left = f"{num_pages - len(owners)} of {num_pages} pages are free"
    return with_words(ax, f"in the order of their tokens, {' and '.join(told)}; {left}.")


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
    """
    size = memory_map.page_size
    if size is None:
        raise ValueError("memory_map must be of a pool with pages, got one without")
    ax = ax or new_axes(4.2)
    narrow = is_narrow(ax)
    left = 0.0 if page_tables is None else size + (NARROW_GAP if narrow else GAP)
    rows = [(left, float(page_id), page_id) for page_id in range(memory_map.num_slots // size)]
    rows += _point_to_pages(ax, page_tables or {}, size, left, font_size)
    cells_of: dict[int, list[Cell]] = {}
    for x, y, page_id in rows:
        for offset in range(size):
            slot = page_id * size + offset
            cells_of.setdefault(slot, []).append(Cell(x + offset, y, words.get(slot, "")))
    new_cells = [cell for slot in new_slots for cell in cells_of[slot]]
    for slot in new_slots:  # Their words are written with their frames.
        cells_of[slot] = [cell._replace(text="") for cell in cells_of[slot]]
    holders: dict[int, str] = {}
    alike: dict[str, list[Cell]] = {}
    for run in fates(memory_map, future_tokens):
        owner = ", ".join(map(letter, run.seq_ids))
        owner = f"{len(run.seq_ids)}: {owner}" if counts_references and owner else owner
        fill = _fill(run)
        for slot in range(run.start_slot, run.start_slot + run.num_slots):
            holders[slot // size] = owner
            alike.setdefault(fill, []).extend(cells_of[slot])
    font: dict[str, Any] = {"fontsize": font_size} | ({"weight": "normal"} if narrow else {})
    for fill, cells in alike.items():
        look: dict[str, Any] = {"facecolor": fill, "edgecolor": "white"}
        if fill in style.FATES:
            look = style.FATES[fill].patch_style() | {"linewidth": 0}
        ink = style.FATES["shared"].text_style() if fill == "shared" else {}
        draw_cells(ax, cells, font | ink, **look)
    outlines = [Cell(x, y, width=size) for x, y, _ in rows]
    draw_cells(ax, outlines, facecolor="none", edgecolor="black", linewidth=1)
    draw_cells(ax, new_cells, font, is_new=True, facecolor="none")
    nobody = "0" if counts_references else ""
    on_left, on_right = [], []
    for page_id in range(memory_map.num_slots // size):
        on_left.append((left - 0.1, page_id + 0.4, f"page {page_id}"))
        on_right.append((left + size + 0.1, page_id + 0.4, holders.get(page_id) or nobody))
    right = left + size + (COUNTS_WIDTH if counts_references else 0.4)
    for src_page, dst_page in copies:
        x = right - (0.85 if narrow else 0.75)
        style.arrow(ax, (x, src_page + 0.4), (x, dst_page + 0.4), bend=-0.3)
        on_left.append((right, (src_page + dst_page) / 2 + 0.4, "copy"))
    write(ax, on_left, ha="right", va="center", fontsize=font_size)
    write(ax, on_right, va="center", fontsize=font_size)
    bottom = memory_map.num_slots // size
    ax.set(xlim=(-1 if page_tables is None else -0.4, right), ylim=(bottom, -0.2), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _point_to_pages(
    ax: Axes, page_tables: Mapping[Hashable, Sequence[int]], size: int, left: float, font_size: float
) -> list[tuple[float, float, int]]:
    """Draw a line from each logical page to the one that it lies in; return where the logical ones are."""
    places: list[tuple[float, float, int]] = []
    names, told = [], []
    line = (size + 0.1, left - 0.9) if is_narrow(ax) else (size + 1.1, left - 0.8)
    row = 0.0
    for seq_id, table in page_tables.items():
        for logical, page_id in enumerate(table):
            places.append((0.0, row, page_id))
            names.append((-0.1, row + 0.4, f"{letter(seq_id)}{logical}"))
            told.append((size + 0.1, row + 0.4, f"in page {page_id}"))
            ax.plot(line, [row + 0.4, page_id + 0.4], color="black", linewidth=0.8)
            row += 1
        row += 0.4
    write(ax, names, ha="right", va="center", fontsize=font_size)
    if not is_narrow(ax):  # There the line alone has to say it.
        write(ax, told, va="center", fontsize=font_size)
    return places


def page_edges(ax: Axes, num_pages: Iterable[int], page_size: int) -> None:
    """Draw the edges between the pages of rows, unless there are too many to be told apart."""
    if page_size >= ax.get_xlim()[1] / MOST_PAGE_EDGES:
        edges = [(page * page_size, row) for row, count in enumerate(num_pages) for page in range(1, count)]
        starts, rows = np.array(edges).reshape(-1, 2).T
        lines = rule(starts, rows - 0.37, starts, rows + 0.37, edgecolor="white", linewidth=1)
        ax.add_collection(lines, autolim=False)


def _fill(run: FateRun) -> str:
    """Say what a run is filled with: the name of a fate, or the tint of its only sequence."""
    if run.fate != "used":
        return run.fate
    return "shared" if len(run.seq_ids) > 1 else tint(run.seq_ids[0])


def draw_cells(
    ax: Axes, cells: Sequence[Cell], font: Mapping[str, Any] = FONT, *, is_new: bool = False, **look: Any
) -> None:
    """Draw cells that look alike. What was written just now has a frame, and bold words."""
    if is_new:
        look |= {"edgecolor": "black", "linewidth": 2.4, "zorder": 3}
    boxes = [Box(cell.x, cell.y, cell.width, CELL_HEIGHT) for cell in cells]
    # The limits are set by hand: to find them would take longer than to draw.
    ax.add_collection(collect(boxes, **look), autolim=False)
    words = [(cell.x + cell.width / 2, cell.y + CELL_HEIGHT / 2, cell.text) for cell in cells]
    weight = "bold" if is_new else "normal"
    write(ax, words, **{"ha": "center", "va": "center", "weight": weight, "zorder": 4, **font})
