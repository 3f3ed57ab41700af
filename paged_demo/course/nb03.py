"""Notebook 03: two requests in pages, step by step, and what the size of a page costs and brings."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from paged_demo.allocators.studies import PageSizeEffect, measure_page_size
from paged_demo.checks import check_count, check_counts
from paged_demo.paper.numbers import PAGE_SIZE
from paged_demo.serving.workload import Request
from paged_demo.views import plots, style
from paged_demo.views.controls import choice
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.player import Player
from paged_demo.views.plots.pages import CELL_HEIGHT, Cell, draw_cells, page_edges
from paged_demo.views.screen import is_narrow
from paged_demo.views.story import Scene, tell_two_requests
from paged_demo.views.strip import Box, collect, tint
from paged_demo.views.style import count_of, percent


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
    """
    page_size = check_count("page_size", page_size)
    num_positions = len(page_table) * page_size
    position = check_count("position", position, minimum=0)
    if position >= num_positions:
        raise ValueError(
            f"position must be below {num_positions}, the slots of the page table, got {position}"
        )
    last_page = check_count("num_pages", num_pages) - 1
    if not all(0 <= page_id <= last_page for page_id in page_table):
        raise ValueError(f"page_table must name pages from 0 to {last_page}, got {list(page_table)}")
    ax = ax or new_axes(3.4)
    page, offset = divmod(position, page_size)
    slot = int(page_table[page]) * page_size + offset
    num_slots = num_pages * page_size
    left = (num_slots - num_positions) / 2
    held, free = tint("A"), style.FATES["free"].colour
    positions = [Cell(left + index, 4, str(index)) for index in range(num_positions)]
    slots = [Cell(index, 0, str(index)) for index in range(num_slots)]
    draw_cells(ax, positions, facecolor=held, edgecolor="white")
    for is_held, fill in ((True, held), (False, free)):
        alike = [slots[index] for index in range(num_slots) if (index // page_size in page_table) == is_held]
        draw_cells(ax, alike, facecolor=fill, edgecolor="white")
    for logical, page_id in enumerate(page_table):
        entry = Cell(left + logical * page_size, 2.1, f"page {page_id}", page_size)
        fill = held if logical == page else "white"
        draw_cells(ax, [entry], {"fontsize": 11}, facecolor=fill, edgecolor="black")
        name = f"logical page {logical}"
        ax.text(entry.x + page_size / 2, 5.05, name, ha="center", va="bottom", fontsize=9)
    pages = [Cell(page_id * page_size, 0, width=page_size) for page_id in range(num_pages)]
    draw_cells(ax, pages, facecolor="none", edgecolor="black", linewidth=1.2)
    for page_id, cell in enumerate(pages):
        ax.text(cell.x + page_size / 2, -0.15, f"page {page_id}", ha="center", va="top", fontsize=9)
    draw_cells(ax, [positions[position], slots[slot]], is_new=True, facecolor=held)
    middle = left + (page + 0.5) * page_size
    style.arrow(ax, (left + position + 0.5, 4), (middle, 2.9), width=1.4)
    style.arrow(ax, (middle, 2.1), (slot + 0.5, CELL_HEIGHT), width=1.4)
    ax.set(xlim=(-0.2, num_slots + 0.2), ylim=(-0.9, 5.7), xticks=[])
    ax.set_yticks([0.4, 2.5, 4.4], ["pool,\nslot by slot", "page table", "sequence,\nby position"])
    style.bare(ax)
    page_id = page_table[page]
    title = (
        f"position {position}: logical page {position} // {page_size} = {page},"
        f" offset {position} % {page_size} = {offset}."
        f"  It is page {page_id}: slot {page_id} * {page_size} + {offset} = {slot}"
    )
    ax.set_title(title)
    return with_words(ax, f"{title}.")


@style.applied()
def waste_against_length(*, page_size: int = PAGE_SIZE, num_pages: int = 5, ax: Axes | None = None) -> Axes:
    """Draw the empty slots of a sequence's last page against its length, up to so many pages.

    Parameters
    ----------
    page_size : int
        Slots in a page.
    num_pages : int
        Pages of the longest sequence.
    """
    ax = ax or new_axes(2.8)
    num_pages, page_size = check_counts(num_pages=num_pages, page_size=page_size)
    lengths = np.arange(1, num_pages * page_size + 1)
    wasted = -lengths % page_size
    ax.bar(lengths, wasted, width=1.0, **style.FATES["internal"].patch_style() | {"hatch": None})
    ax.axhline(page_size, color="black", linewidth=1, linestyle="--")
    ax.axhline(wasted.mean(), color="black", linewidth=1.6)
    for text, height in ((f"one page: {page_size}", page_size), (f"mean: {wasted.mean():g}", wasted.mean())):
        style.note(ax, text, (1.0, height), (6, 0), transform=ax.get_yaxis_transform())
    ax.set(xlim=(0.5, lengths[-1] + 0.5), ylim=(0, 1.15 * page_size))
    ax.set_xticks([1, *range(page_size, lengths[-1] + 1, page_size)])
    ax.set(xlabel="length of the sequence (tokens)", ylabel="empty slots")
    told = f"from {page_size - 1} empty slots after each new page down to 0; the mean is {wasted.mean()}"
    return with_words(ax, f"a saw-tooth {told}, whatever the length.")


@style.applied()
def rows_of_pages(
    lengths: Sequence[int], *, page_size: int, axis_slots: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw sequences as rows of pages: the tokens that each holds, and what its last page wastes.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each sequence, from top to bottom.
    page_size : int
        Slots in a page.
    axis_slots : int, optional
        How far the axis reaches; as far as the longest row if left out.
    """
    ax = ax or new_axes(2.6)
    tokens = np.asarray(lengths)
    page_size = check_count("page_size", page_size)
    pages = -(-tokens // page_size)
    rows = np.arange(len(tokens))
    reach = check_count("axis_slots", axis_slots or int(pages.max()) * page_size)
    wasted = pages * page_size - tokens
    for fate, starts, widths in (("used", 0 * tokens, tokens), ("internal", tokens, wasted)):
        places = zip(starts, rows - 0.37, widths, strict=True)
        boxes = [Box(x, y, width, 0.74) for x, y, width in places]
        ax.add_collection(collect(boxes, **style.FATES[fate].patch_style()), autolim=False)
    ax.set(xlim=(0, reach), ylim=(len(tokens) - 0.4, -0.6), yticks=[])
    page_edges(ax, pages, page_size)
    ax.set_xlabel("slots that each sequence holds")
    ax.spines["left"].set_visible(False)
    return ax


@style.applied()
def effect_against_page_size(
    effects: Mapping[str, Mapping[int, PageSizeEffect]], name: str, *, label: str, ax: Axes | None = None
) -> Axes:
    """Draw one effect of the page size, for several workloads.

    Parameters
    ----------
    effects : mapping of str to mapping of int to PageSizeEffect
        The effect by workload and by page size in slots.
    name : str
        The field of `PageSizeEffect` to draw; one that ends in ``_share`` is drawn in percent.
    label : str
        What the axis says.
    """
    ax = ax or new_axes(2.6)
    scale = 100 if name.endswith("_share") else 1
    for line, (workload, by_size) in zip(("-", "--", ":", "-."), effects.items(), strict=False):
        values = [scale * getattr(effect, name) for effect in by_size.values()]
        ax.plot(list(by_size), values, line, color=style.PAGED, linewidth=2, label=workload)
    style.page_size_axis(ax, list(next(iter(effects.values()))))
    ax.set(ylabel=label, ylim=(0, None))
    return ax


def play_two_requests() -> Player:
    """Play two requests through a small pool of pages, as the paper's Figs. 6 and 7 do."""
    # The first scene is empty.
    return play(tell_two_requests(), ("reserved", "internal", "free"), height=4.6, begin_with=2)


def play(scenes: Sequence[Scene], key: Sequence[str], *, height: float, begin_with: int = 1) -> Player:
    """Play a story in steps.

    Parameters
    ----------
    scenes : sequence of Scene
        The story.
    key : sequence of str
        Fates to explain below it. If ``shared`` is one, the references to each page are counted too.
    height : float
        Height of the picture in inches.
    begin_with : int
        The step to show first.
    """

    def fill(panels: Panels, *, step: int) -> str:
        scene = scenes[step - 1]
        is_whole = "key" in panels  # A film strip shows the pool alone.
        plots.words_in_pages(
            scene.memory_map,
            scene.future_tokens,
            scene.words,
            page_tables=scene.page_tables if is_whole else None,
            new_slots=scene.new_slots,
            copies=scene.copies,
            counts_references="shared" in key,
            font_size=7 if not is_whole else 8 if is_narrow(panels["pool"]) else 9,
            ax=panels["pool"],
        )
        number = f"step {step} of {len(scenes)}:" if is_whole else f"{step}."
        panels["pool"].set_title(f"{number} {scene.title}")
        held = "; ".join(
            f"{seq_id} in pages {', '.join(map(str, table))}" for seq_id, table in scene.page_tables.items()
        )
        told = f"{scene.title}. {scene.told} Held now: {held or 'nothing'}."
        return f"Step {step} of {len(scenes)}, {told}"

    return Player(
        fill,
        len(scenes),
        begin_with=begin_with,
        panels={"pool": (0.01, 0.1, 0.98, 0.82), "key": (0, 0, 1, 0.09)},
        sheet={"pool": (0.06, 0.03, 0.92, 0.84)},
        height=height,
        key=key,
    )


NUM_ROWS = 10
EFFECTS = {
    "wasted_share": "wasted slots (%)",
    "mean_pages": "entries of a page table",
    "shareable_share": "prompts with a page\nto share (%)",
}


def explore_page_choice(workloads: Mapping[str, Sequence[Request]], page_sizes: Sequence[int]) -> Explorer:
    """Explore what the size of a page wastes, and what it leaves to share.

    Parameters
    ----------
    workloads : mapping of str to sequence of Request
        Requests by the name of their workload.
    page_sizes : sequence of int
        Sizes to choose from, in slots.
    """
    if not workloads or not all(workloads.values()):
        raise ValueError(
            f"workloads must hold requests for every name, got {count_of(len(workloads), 'name')}"
        )
    prompts = {name: [each.num_prompt_tokens for each in requests] for name, requests in workloads.items()}
    finals = {
        name: [each.num_prompt_tokens + each.num_output_tokens for each in requests]
        for name, requests in workloads.items()
    }
    effects = {
        name: {size: measure_page_size(prompts[name], finals[name], page_size=size) for size in page_sizes}
        for name in workloads
    }

    def draw_effect(name: str, ax: Axes) -> None:
        first, *_, last = EFFECTS
        effect_against_page_size(effects, name, label=EFFECTS[name], ax=ax)
        ax.yaxis.label.set_fontsize(8)
        ax.tick_params(labelsize=8)
        if name != last:
            ax.set_xlabel("")
        if name == first:
            ax.legend(fontsize=8, loc="upper left")

    def fill(panels: Panels, *, page_size: int, workload: str) -> str:
        effect, lengths = effects[workload][page_size], finals[workload][:NUM_ROWS]
        reach = max(-(-length // size) * size for length in lengths for size in page_sizes)
        rows = rows_of_pages(lengths, page_size=page_size, axis_slots=reach, ax=panels["rows"])
        rows.tick_params(labelsize=9)
        rows.xaxis.label.set_fontsize(9)
        title = f"{workload}, pages of {page_size}: {percent(effect.wasted_share)} wasted"
        rows.set_title(title, fontsize=10.5)
        for name in EFFECTS.keys() & panels.keys():
            panels[name].axvline(page_size, color="black", linewidth=1.2)
        return (
            f"{workload}, page size {page_size}. A sequence wastes {effect.mean_wasted:.1f} slots on average,"
            f" {percent(effect.wasted_share)} of what it holds; its page table has {effect.mean_pages:.1f}"
            f" entries; {percent(effect.shareable_share)} of the prompts fill a page that others could share."
        )

    begin_with = PAGE_SIZE if PAGE_SIZE in page_sizes else page_sizes[0]
    return Explorer(
        fill,
        {
            "page_size": choice("page size (slots)", page_sizes, begin_with),
            "workload": choice("workload", workloads),
        },
        panels={
            "rows": (0.016667, 0.28, 0.511111, 0.58),
            "key": (0, 0, 0.555556, 0.14),
            "wasted_share": (0.631111, 0.7, 0.355556, 0.23),
            "mean_pages": (0.631111, 0.4, 0.355556, 0.23),
            "shareable_share": (0.631111, 0.1, 0.355556, 0.23),
        },
        sheet={"rows": (0.03, 0.28, 0.92, 0.58)},
        narrow={"rows": 2.4, "key": 0.6, "wasted_share": 1.2, "mean_pages": 1.2, "shareable_share": 1.2},
        height=4.4,
        background={name: partial(draw_effect, name) for name in EFFECTS},
        key=("used", "internal"),
    )
