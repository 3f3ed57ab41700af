"""The slot strip: a pool, slot by slot. One cell is one slot; a sequence has a tint and a letter."""

from collections.abc import Hashable, Iterable, Mapping
from itertools import groupby
from math import ceil, isqrt
from typing import Any, NamedTuple, TypeGuard
from zlib import crc32

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.path import Path

from paged_demo.allocators.memory_map import FateRun, MemoryMap, fates
from paged_demo.checks import check_count
from paged_demo.views import style
from paged_demo.views.labels import Label, write
from paged_demo.views.picture import new_axes

MOST_SLOTS_WITH_LETTERS = 256

Look = tuple[str, tuple[Hashable, ...]]
"""A fate, and the sequence whose tint is drawn instead of the fate's colour."""


class Box(NamedTuple):
    """A rectangle of slots: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


@style.applied()
def slot_strip(
    memory_map: MemoryMap,
    future_tokens: Mapping[Hashable, int],
    *,
    request_slots: int = 1,
    num_columns: int | None = None,
    letters_stay: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a pool slot by slot, in rows that are read like text.

    In a small pool the slots that hold a token have the tint and the letter of their sequence. In a
    large one a letter has no room, and they have the colour of their fate like all others.

    Parameters
    ----------
    memory_map, future_tokens, request_slots
        As for `paged_demo.fates`.
    num_columns : int, optional
        Slots in a row.
    letters_stay : bool
        Write the letter of neighbouring slots into the first of them, where it stays while they become
        more, instead of into their middle.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    columns = check_count("num_columns", num_columns or _columns(memory_map))
    num_rows = ceil(memory_map.num_slots / columns)
    has_letters = memory_map.num_slots <= MOST_SLOTS_WITH_LETTERS
    ax = ax or new_axes(min(4.0, 1.0 + 0.35 * num_rows))
    runs = fates(memory_map, future_tokens, request_slots=request_slots)
    boxes_by_look: dict[Look, list[Box]] = {}
    for look, alike in groupby(runs, key=lambda run: _look(run, has_letters)):
        neighbours = list(alike)
        num_slots = sum(run.num_slots for run in neighbours)
        boxes_by_look.setdefault(look, []).extend(_boxes(neighbours[0].start_slot, num_slots, columns))
    for (fate, owners), boxes in boxes_by_look.items():
        fill = style.FATES[fate].patch_style()
        if owners:
            fill = {"facecolor": tint(owners[0]), "edgecolor": "none"}
        # The limits are set by hand: to find them would take longer than to draw.
        ax.add_collection(collect(boxes, **fill), autolim=False)
    if has_letters:
        _draw_cells(ax, memory_map, columns)
        _write_letters(ax, runs, columns, in_first=letters_stay)
    ax.set(xlim=(0, columns), ylim=(num_rows, 0), xticks=[])
    ax.set_yticks(range(0, num_rows, max(1, num_rows // 4)))
    ax.set_yticklabels([f"{row * columns:,}" for row in ax.get_yticks()])
    style.bare(ax)
    ax.set_ylabel("slot")
    return ax


def _columns(memory_map: MemoryMap) -> int:
    if memory_map.num_slots <= 64:
        return memory_map.num_slots
    columns = 64 if memory_map.num_slots <= MOST_SLOTS_WITH_LETTERS else isqrt(4 * memory_map.num_slots)
    page_size = memory_map.page_size or 1
    return columns - columns % page_size or columns


def _look(run: FateRun, has_letters: bool) -> Look:
    if run.fate == "used" and len(run.seq_ids) > 1:
        return "shared", ()
    return run.fate, run.seq_ids if has_letters and run.fate == "used" else ()


def _boxes(start: int, num_slots: int, columns: int) -> list[Box]:
    """Cover a run by the fewest boxes: the rest of a row, whole rows, and the begin of a row."""
    boxes = []
    end = start + num_slots
    while start < end:
        row, column = divmod(start, columns)
        num_rows = max(1, (end - start) // columns) if column == 0 else 1
        width = min(columns - column, end - start)
        boxes.append(Box(column, row, width, num_rows))
        start += width * num_rows
    return boxes


def collect(boxes: Iterable[Box], **look: Any) -> PolyCollection:
    """Make rectangles that look alike one artist, which is much quicker to draw."""
    corners = [[(x, y), (x + dx, y), (x + dx, y + dy), (x, y + dy)] for x, y, dx, dy in boxes]
    polygons: Any = np.reshape(corners, (-1, 4, 2))
    collection = PolyCollection(polygons, **look)
    if collection.get_hatch():  # Matplotlib would draw it anew for each path.
        whole: Any = Path.make_compound_path(*collection.get_paths())
        collection.set_verts_and_codes([whole.vertices], [whole.codes])
        collection.set_snap(True)
    return collection


def rule(
    x: npt.ArrayLike, y: npt.ArrayLike, end_x: npt.ArrayLike, end_y: npt.ArrayLike, **look: Any
) -> PathCollection:
    """Make lines that look alike one path, which is much quicker to make and to draw."""
    vertices = np.stack(np.broadcast_arrays(x, y, end_x, end_y), axis=-1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO], len(vertices) // 2)
    lines = Path(vertices, codes)
    return PathCollection([lines], facecolor="none", snap=True, zorder=Line2D.zorder, **look)


def _draw_cells(ax: Axes, memory_map: MemoryMap, columns: int) -> None:
    num_slots = memory_map.num_slots
    rows, places = np.arange(ceil(num_slots / columns)), np.arange(1, min(columns, num_slots))
    widths = np.minimum(columns, num_slots - rows * columns)
    heights = np.ceil((num_slots - places) / columns)
    outlines = [box for region in memory_map.regions for box in _boxes(*region[:2], columns)]
    for lines in (
        rule(places, 0, places, heights, edgecolor="white", linewidth=0.6),
        rule(0, rows, widths, rows, edgecolor="white", linewidth=1.5),
        collect(outlines, facecolor="none", edgecolor="black", linewidth=1.2),
    ):
        ax.add_collection(lines, autolim=False)


def _write_letters(ax: Axes, runs: Iterable[FateRun], columns: int, *, in_first: bool) -> None:
    own: list[Label] = []
    shared: list[Label] = []
    for run in runs:
        if run.fate != "used":
            continue
        letters = "".join(map(letter, run.seq_ids))
        written = shared if len(run.seq_ids) > 1 else own
        boxes = _boxes(run.start_slot, run.num_slots, columns)
        # Where a row breaks a run, a piece may be too narrow for its letters, which the axes would cut.
        for box in [box for box in boxes if box.width >= len(letters)] or boxes:
            written.append((box.x + (0.5 if in_first else box.width / 2), box.y + box.height / 2, letters))
    for written, ink in ((own, {"color": "black"}), (shared, style.FATES["shared"].text_style())):
        write(ax, written, ha="center", va="center", clip_on=True, **ink)


def letter(seq_id: Hashable) -> str:
    """Return the letter of a sequence: its id, or a letter for its number."""
    return style.sequence_letter(seq_id) if is_number(seq_id) else str(seq_id)


def tint(seq_id: Hashable) -> str:
    """Return the fill of a sequence, which it keeps whoever else is drawn."""
    if is_number(seq_id):
        return style.sequence_tint(seq_id)
    name = str(seq_id)
    return style.sequence_tint(
        ord(name) - ord("A") if len(name) == 1 and name >= "A" else crc32(name.encode())
    )


def is_number(seq_id: Hashable) -> TypeGuard[int]:
    """Say whether a sequence is named by a number from 0, and so has a letter of its own."""
    return isinstance(seq_id, int) and not isinstance(seq_id, bool) and seq_id >= 0
