"""What a run of the language model looks like, step by step: snapshots of the pool and of the texts."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Patch

from paged_demo.allocators.memory_map import MemoryMap
from paged_demo.llm.beam import Beam
from paged_demo.llm.cache import PagedCache
from paged_demo.llm.decoding import Text
from paged_demo.llm.generate import Engine
from paged_demo.views import style
from paged_demo.views.labels import Label, write
from paged_demo.views.picture import new_axes
from paged_demo.views.screen import is_narrow
from paged_demo.views.strip import letter, slot_strip, tint
from paged_demo.views.style import count_of

Decode = Callable[[Sequence[int]], str]

LINE_LETTERS, NARROW_LINE_LETTERS = 104, 72
MOST_ROWS = 9

KEY = {
    "shared": "tokens of several texts",
    "reserved": "held, not yet written",
    "cached": "free, can be found",
    "free": "free",
}
"""What the pool of a run shows beside the tokens of each text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A moment of a run.

    Attributes
    ----------
    memory_map : MemoryMap
        The pool.
    page_tables : mapping of int to tuple of int
        The pages of each sequence in the pool.
    outputs : mapping of int to str
        What each text says so far, whether or not it is in the pool.
    waiting, finished : tuple of int
        The texts that were begun and preempted, and those that are complete.
    """

    memory_map: MemoryMap
    page_tables: Mapping[int, tuple[int, ...]]
    outputs: Mapping[int, str]
    waiting: tuple[int, ...] = ()
    finished: tuple[int, ...] = ()

    @property
    def num_held_pages(self) -> int:
        """Pages that some sequence holds; a shared one counts once."""
        return len({page_id for table in self.page_tables.values() for page_id in table})

    def future_tokens(self) -> dict[Hashable, int]:
        """Return how many tokens each sequence may still write: enough to fill its last page."""
        return dict.fromkeys(self.page_tables, self.memory_map.page_size or 1)

    def words(self) -> str:
        """Return what the frame shows, in words."""
        num_pages = self.memory_map.num_slots // (self.memory_map.page_size or 1)
        told = [f"{self.num_held_pages} of {count_of(num_pages, 'page')} held."]
        for seq_id, output in self.outputs.items():
            told.append(f"{letter(seq_id)} ({self.place_of(seq_id)}): {output or '(nothing yet)'}")
        return "\n".join(told)

    def place_of(self, seq_id: int) -> str:
        """Return where a sequence is, in words: its page table, if it has one."""
        if seq_id in self.page_tables:
            return f"pages {', '.join(map(str, self.page_tables[seq_id]))}"
        if seq_id in self.waiting:
            return "preempted, waits"
        return "finished" if seq_id in self.finished else "not in the pool"


def frame_of(cache: PagedCache, outputs: Mapping[int, str]) -> Frame:
    """Take a frame of a cache and of the texts in it."""
    memory_map = cache.memory_map()
    # In the order of their letters, whoever came to a shared page first.
    regions = tuple(
        region._replace(
            seq_ids=tuple(sorted(region.seq_ids, key=lambda each: (len(letter(each)), letter(each))))
        )
        for region in memory_map.regions
    )
    memory_map = replace(memory_map, regions=regions)
    held = {seq_id for region in memory_map.regions for seq_id in region.seq_ids}
    tables = {seq_id: tuple(cache.allocator.page_table(seq_id)) for seq_id in outputs if seq_id in held}
    return Frame(memory_map=memory_map, page_tables=tables, outputs=outputs)


def record(engine: Engine, texts: Sequence[Text], decode: Decode) -> list[Frame]:
    """Run an engine over pages until all is generated, and return a frame of each step."""
    frames: list[Frame] = []

    def watch(engine: Engine) -> None:
        assert isinstance(engine.cache, PagedCache)
        frame = frame_of(engine.cache, {text.seq_id: decode(text.output) for text in texts})
        waiting = (text.seq_id for group in engine.waiting for text in group if text.output)
        finished = (text.seq_id for text in texts if text.is_finished)
        frames.append(replace(frame, waiting=tuple(waiting), finished=tuple(finished)))

    engine.run(watch)
    return frames


def recorder_of_beams(cache: PagedCache, decode: Decode) -> tuple[list[Frame], Callable[[list[Beam]], None]]:
    """Return a list, and the ``watch`` of a beam search that fills it with a frame of each step."""
    frames: list[Frame] = []

    def watch(beams: list[Beam]) -> None:
        in_order = sorted(beams, key=lambda beam: beam.seq_id)
        frames.append(frame_of(cache, {beam.seq_id: decode(beam.output) for beam in in_order}))

    return frames, watch


@style.applied()
def pool_of_pages(frame: Frame, *, ax: Axes | None = None) -> Axes:
    """Draw the pool of a frame slot by slot, and the name of each page in its corner.

    Parameters
    ----------
    frame : Frame
        A moment of a run.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = slot_strip(frame.memory_map, frame.future_tokens(), ax=ax)
    num_columns = round(ax.get_xlim()[1])
    page_size = frame.memory_map.page_size or 1
    names = []
    for page_id in range(frame.memory_map.num_slots // page_size):
        row, column = divmod(page_id * page_size, num_columns)
        # On the right, which is written last: on the left it would cover the letter of a few tokens.
        names.append((column + page_size, row, f"page {page_id}" if page_size >= 4 else str(page_id)))
    plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    look: dict[str, Any] = {
        "ha": "right",
        "va": "top",
        "fontsize": 8 if is_narrow(ax) else 6.5,
        "bbox": plate,
    }
    write(ax, names, transform=style.beside(ax, (-3, -2)), **look)
    return ax


@style.applied()
def key_of_pool(*, ax: Axes | None = None) -> Axes:
    """Fill some axes with the key to `pool_of_pages`, in one row, or two where a row has too little room.

    Parameters
    ----------
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(0.4)
    patches = [Patch(facecolor=tint(0), label="A: token of text A")]
    patches += [Patch(**style.FATES[name].patch_style(), label=meaning) for name, meaning in KEY.items()]
    ax.set_axis_off()
    num_columns = 3 if is_narrow(ax) else len(patches)
    look: dict[str, Any] = {"columnspacing": 1.5, "labelspacing": 0.1, "borderpad": 0}
    ax.legend(handles=patches, loc="center", ncols=num_columns, fontsize=9, **look)
    return ax


@style.applied()
def texts_so_far(frame: Frame, *, num_rows: int = MOST_ROWS, ax: Axes | None = None) -> Axes:
    """Draw the texts of a frame, each behind the letter of its sequence; of a long one the end.

    Parameters
    ----------
    frame : Frame
        A moment of a run.
    num_rows : int
        Lines that there is room for.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(2.2)
    rows_of_each = max(1, num_rows // max(1, len(frame.outputs)))
    written: dict[str, list[Label]] = {"normal": [], "italic": []}
    for index, (seq_id, output) in enumerate(frame.outputs.items()):
        top = index * rows_of_each
        fill = {"facecolor": tint(seq_id), "edgecolor": "black", "linewidth": 0.8, "pad": 1.8}
        ax.text(0.012, top + 0.5, letter(seq_id), ha="center", va="center", fontsize=9, bbox=fill)
        rows = [frame.place_of(seq_id)] if rows_of_each > 1 else []
        lines = wrap(drawable(output), NARROW_LINE_LETTERS if is_narrow(ax) else LINE_LETTERS)
        room = rows_of_each - len(rows)
        rows += lines if len(lines) <= room else ["... " + lines[-room], *lines[len(lines) - room + 1 :]]
        for number, line in enumerate(rows):
            slant = "italic" if number == 0 and rows_of_each > 1 else "normal"
            written[slant].append((0.035, top + number + 0.5, line))
    for slant, labels in written.items():
        write(ax, labels, va="center", fontsize=9.5, style=slant, parse_math=False)
    ax.set(xlim=(0, 1), ylim=(num_rows, 0))
    ax.set_axis_off()
    return ax


@style.applied()
def text_in_pages(
    pieces: Sequence[str], page_table: Sequence[int], *, page_size: int, ax: Axes | None = None
) -> Axes:
    """Draw the tokens of a text in the pages that hold them: a row for each logical page.

    Parameters
    ----------
    pieces : sequence of str
        The tokens as text.
    page_table : sequence of int
        The physical page of each row.
    page_size : int
        Slots in a page.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(0.3 + 0.32 * len(page_table))
    empty = style.FATES["free"].patch_style()
    written: dict[str, Any] = {"facecolor": style.sequence_tint(0), "edgecolor": "white", "linewidth": 0.8}
    for index in range(len(page_table) * page_size):
        row, column = divmod(index, page_size)
        look = written if index < len(pieces) else empty
        ax.barh(row + 0.5, 1, left=column, height=0.9, **look)
        if index < len(pieces):
            piece = drawable(pieces[index])
            label = piece if len(piece) <= 8 else piece[:7] + "…"
            ax.text(column + 0.5, row + 0.5, label, ha="center", va="center", fontsize=7.5, parse_math=False)
    ax.set(xlim=(0, page_size), ylim=(len(page_table), 0), xticks=[])
    ax.set_yticks(
        [row + 0.5 for row in range(len(page_table))], [f"page {page_id}" for page_id in page_table]
    )
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def drawable(text: str) -> str:
    """Return a text with a sign for each line break, and for what the font has no letter for."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    signed = text.replace("\n", "↵")
    return "".join(character if ord(character) in known else "□" for character in signed)
