"""Notebook 09: layers that keep less, in one pool: their tables, what a request holds, what a hit needs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from paged_demo.allocators.group_kinds import FullGroup, SlidingGroup, StateGroup
from paged_demo.attention.kernels import dense_attention  # noqa: F401 - the notebook uses it
from paged_demo.attention.latent import latent_attention_naive  # noqa: F401 - the notebook uses it
from paged_demo.attention.quick_kernel import paged_attention  # noqa: F401 - the notebook uses it
from paged_demo.course.nb09_layers import (
    CONTEXTS,
    GEMMA,
    GROUPS,
    SMALL_PAGE,
    SMALL_POOL,
    Moment,
    bytes_of_request,  # noqa: F401 - the notebook uses it
    most_running,  # noqa: F401 - the notebook uses it
    pool_of_gemma,  # noqa: F401 - the notebook uses it
    requests_of,
    tell_growth,
)
from paged_demo.model import GIB
from paged_demo.sizing.layers import Sliding
from paged_demo.sizing.presets import model_of
from paged_demo.views import style
from paged_demo.views.controls import choice
from paged_demo.views.labels import write
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.player import Player
from paged_demo.views.plots.pages import CELL_HEIGHT, Cell, draw_cells
from paged_demo.views.style import count_of, memory_of

TINTS = dict(zip(GROUPS, style.SEQUENCE_TINTS, strict=False))
LONGEST = 32
POOL_ROW = 5.6


@style.applied()
def tables_over_pool(moment: Moment, *, ax: Axes | None = None) -> Axes:
    """Draw the page tables of A's groups, one below the other, and the pool that they all take from.

    Parameters
    ----------
    moment : Moment
        The pool to draw. A page that came free just now has a frame.
    """
    ax = ax or new_axes(3.4)
    for row, (name, table) in enumerate(moment.tables.items()):
        size = GROUPS[name].page_size or SMALL_PAGE
        cells = [
            Cell(number * size, 1.1 * row, "" if page_id is None else str(page_id), size)
            for number, page_id in enumerate(table)
        ]
        held = [cell for cell, page_id in zip(cells, table, strict=True) if page_id is not None]
        gone = [cell for cell in cells if cell not in held]
        draw_cells(ax, held, facecolor=TINTS[name], edgecolor="black", linewidth=1)
        draw_cells(ax, gone, facecolor="none", edgecolor="#8C8C8C", linewidth=0.8)
    width = LONGEST / SMALL_POOL
    holders = [moment.holders.get(page_id, ("", "free")) for page_id in range(SMALL_POOL)]
    pool = [Cell(page_id * width, POOL_ROW, seq_id, width) for page_id, (seq_id, _) in enumerate(holders)]
    for held_by in dict.fromkeys(name for _, name in holders):
        cells = [cell for cell, (_, name) in zip(pool, holders, strict=True) if name == held_by]
        fill = TINTS.get(held_by, style.FATES["free"].colour)
        draw_cells(ax, cells, facecolor=fill, edgecolor="black", linewidth=0.8)
    draw_cells(ax, [pool[page_id] for page_id in moment.given_back], is_new=True, facecolor="none")
    names = [(cell.x + width / 2, POOL_ROW + 0.9, str(page_id)) for page_id, cell in enumerate(pool)]
    write(ax, names, ha="center", va="top", fontsize=8)
    ax.set(xlim=(-0.1, LONGEST + 0.1), ylim=(POOL_ROW + 1.6, -0.15), xticks=[])
    rows = [1.1 * row + CELL_HEIGHT / 2 for row in range(len(GROUPS))]
    ax.set_yticks([*rows, POOL_ROW + CELL_HEIGHT / 2], [*GROUPS, "pool"])
    style.bare(ax)
    return ax


def _listed(table: Sequence[int | None]) -> str:
    return " ".join("-" if page_id is None else str(page_id) for page_id in table)


def play_growth() -> Player:
    """Play a sequence that grows in four groups, as `tell_growth` tells it."""
    moments = tell_growth()

    def fill(panels: Panels, *, step: int) -> str:
        moment = moments[step - 1]
        ax = tables_over_pool(moment, ax=panels["tables"])
        length = count_of(moment.num_tokens, "token")
        number = f"step {step} of {len(moments)}:" if panels["tables"].bbox.width > 600 else f"{step}."
        ax.set_title(f"{number} {moment.title}; A has {moment.num_tokens}", fontsize=10.5)
        tables = "; ".join(f"{name} {_listed(table)}" for name, table in moment.tables.items())
        came_free = f" Free again: {_listed(moment.given_back)}." if moment.given_back else ""
        return (
            f"Step {step} of {len(moments)}, {moment.title}. A has {length}. Its pages: {tables}.{came_free}"
        )

    return Player(
        fill,
        len(moments),
        begin_with=2,
        panels={"tables": (0.08, 0.02, 0.91, 0.88)},
        sheet={"tables": (0.13, 0.02, 0.86, 0.84)},
        height=3.4,
    )


PAGE_SIZE = 16


LOOKS: Sequence[Mapping[str, Any]] = (
    {"color": style.TRADITIONAL, "linestyle": "--"},
    {"color": style.PAGED},
    {"color": "#609F71", "linestyle": "-."},
    {"color": "#A89020", "linestyle": ":"},
)


def pages_of_layers(num_tokens: int) -> str:
    """Say how many pages of 16 tokens a layer of each kind still needs."""
    window = next(layer.window for layer in model_of(GEMMA).layers if isinstance(layer, Sliding))
    allocator = {"full": FullGroup(), "sliding": SlidingGroup(window=window), "state": StateGroup()}
    last = -(-num_tokens // PAGE_SIZE)
    pages = {name: last - group.first_kept(num_tokens, PAGE_SIZE) for name, group in allocator.items()}
    return (
        f"in pages of {PAGE_SIZE} a full or latent layer holds {count_of(pages['full'], 'page')},"
        f" a sliding one {pages['sliding']}, a state {pages['state']}"
    )


def _draw_curves(ax: Axes) -> None:
    for name, look in zip(requests_of(1), LOOKS, strict=True):
        needs = [requests_of(length)[name] / GIB for length in CONTEXTS]
        ax.plot(CONTEXTS, needs, linewidth=2, label=name, **look)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xticks(CONTEXTS[::3], [f"{length:,}" for length in CONTEXTS[::3]])
    ax.set_yticks([1 / 16, 1 / 4, 1, 4, 16, 64], ["1/16", "1/4", "1", "4", "16", "64"])
    ax.set(xlabel="context (tokens)", ylabel="one request (GiB)")
    ax.tick_params(labelsize=9)
    ax.minorticks_off()


def _fill_context(panels: Panels, *, context: int) -> str:
    needs = requests_of(context)
    bars = panels["bars"]
    for row, (name, look) in enumerate(zip(needs, LOOKS, strict=True)):
        style.rectangle(bars, 0, row - 0.21, needs[name] / GIB, 0.42, facecolor=look["color"])
        bars.text(0, row - 0.3, f"{name}: {memory_of(needs[name], 'GiB')}", va="bottom", fontsize=8.5)
        if "curves" in panels:
            panels["curves"].plot(context, needs[name] / GIB, **{**style.MARK, "markersize": 9})
    # One scale for all parts of a sheet.
    longest = max((needs if "curves" in panels else requests_of(CONTEXTS[-1])).values()) / GIB
    bars.set(xlim=(0, 1.02 * longest), ylim=(len(needs) - 0.6, -0.85), yticks=[])
    bars.spines["left"].set_visible(False)
    bars.tick_params(labelsize=9)
    bars.set_xlabel("GiB", fontsize=9)
    bars.set_title(f"one request of {context:,} tokens", fontsize=10.5)
    told = "; ".join(f"{name}, {memory_of(need, 'GiB')}" for name, need in needs.items())
    return f"One request of {context:,} tokens: {told}. Of one layer, {pages_of_layers(context)}."


def explore_context() -> Explorer:
    """Explore what one request holds, by the kinds of the layers, as its context grows."""
    return Explorer(
        _fill_context,
        {"context": choice("context (tokens)", CONTEXTS, CONTEXTS[-1])},
        panels={"curves": (0.085, 0.17, 0.4, 0.72), "bars": (0.56, 0.17, 0.42, 0.72)},
        narrow={"curves": 2.4, "bars": 2.2},
        sheet={"bars": (0.04, 0.2, 0.92, 0.64)},
        height=3.3,
        background={"curves": _draw_curves},
    )


@style.applied()
def what_a_hit_needs(num_pages: int, window: int, page_size: int, *, ax: Axes | None = None) -> Axes:
    """Draw which pages of a known beginning a full and a sliding group need, so that it is a hit.

    Parameters
    ----------
    num_pages : int
        Full pages of the beginning.
    window : int
        Tokens of the window.
    page_size : int
        Tokens of a page.
    """
    ax = ax or new_axes(1.7)
    first = SlidingGroup(window=window).first_kept(num_pages * page_size, page_size)
    for row, (name, needed) in enumerate((("full", 0), ("sliding", first))):
        cells = [Cell(number, 1.2 * row, str(number)) for number in range(num_pages)]
        draw_cells(ax, cells[:needed], facecolor="none", edgecolor="#8C8C8C", linewidth=0.8)
        draw_cells(ax, cells[needed:], facecolor=TINTS[name], edgecolor="black", linewidth=1)
    ax.set(xlim=(-0.1, num_pages + 0.1), ylim=(2.2, -0.2), xticks=[])
    ax.set_yticks([0.4, 1.6], ["full", "sliding"])
    style.bare(ax)
    told = f"Of {num_pages} pages the full group needs all, the sliding one those from {first} on"
    return with_words(ax, f"{told}; the {first} pages before may be forgotten.")
