"""Pages: which a sequence holds, and how many requests a pool of them holds."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from paged_demo.allocators.studies import PageSizeEffect
from paged_demo.checks import check_count
from paged_demo.paper.numbers import FIG_13, MAX_TOKENS, NUM_SLOTS_13B, PAGE_SIZE
from paged_demo.serving.saturation import FullPool
from paged_demo.views import style
from paged_demo.views.picture import new_axes
from paged_demo.views.strip import letter, tint

MOST_LETTERS_ACROSS = 60
"""How many letters of the usual size stand side by side in a picture of page tables."""

LABELLED_PAGE_SIZES = (1, 4, 16, 64, 256, 2048)


@style.applied()
def batch_against_page_size(pools: Mapping[int, FullPool], *, ax: Axes | None = None) -> Axes:
    """Draw the requests in flight against the page size, beside the paper's numbers.

    The paper's are those of its own pool, at its own two page sizes; others have no number to compare.

    Parameters
    ----------
    pools : mapping of int to FullPool
        What the pool held, by page size in slots.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes()
    page_sizes = list(pools)
    ax.plot(page_sizes, [pool.mean_running for pool in pools.values()], "o-", color=style.PAGED, linewidth=2)
    ends = [("vLLM", PAGE_SIZE, (0, -22), "center"), ("Orca (Max)", MAX_TOKENS, (-14, -4), "right")]
    for name, page_size, offset, align in ends:
        if page_size not in pools or pools[page_size].memory_map.num_slots != NUM_SLOTS_13B:
            continue
        point = (page_size, FIG_13["ShareGPT"][name])
        ax.plot(*point, "D", color="black", markerfacecolor="none", markersize=9)
        label = f"paper,\n{name}: {point[1]:.2f}"
        ax.annotate(label, point, offset, textcoords="offset points", ha=align, va="center")
    ax.set_xscale("log", base=2)
    is_crowded = len(page_sizes) > len(LABELLED_PAGE_SIZES) + 1
    labels = [str(size) if size in LABELLED_PAGE_SIZES or not is_crowded else "" for size in page_sizes]
    ax.set_xticks(page_sizes, labels)
    ax.set(ylim=(0, None), xlabel="page size (slots)", ylabel="requests in flight")
    return ax


@style.applied()
def page_tables(tables: Mapping[Hashable, Sequence[int]], *, num_pages: int, ax: Axes | None = None) -> Axes:
    """Draw which physical page each logical page of some sequences lies in.

    Parameters
    ----------
    tables : mapping of sequence id to sequence of int
        The page tables.
    num_pages : int
        Pages in the pool.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(2.6)
    num_logical = sum(map(len, tables.values())) + len(tables) - 1
    width = max(num_pages, num_logical)
    owners: dict[int, list[Hashable]] = {}
    logical_x = (width - num_logical) / 2
    pool_x = (width - num_pages) / 2
    for seq_id, table in tables.items():
        fill = tint(seq_id)
        for logical, page_id in enumerate(table):
            ax.add_patch(Rectangle((logical_x, 2), 1, 0.7, facecolor=fill, edgecolor="black", linewidth=0.8))
            ax.text(logical_x + 0.5, 2.35, f"{letter(seq_id)}{logical}", ha="center", va="center")
            ax.plot([logical_x + 0.5, pool_x + page_id + 0.5], [2, 0.7], color="black", linewidth=0.8)
            owners.setdefault(page_id, []).append(seq_id)
            logical_x += 1
        logical_x += 1
    for page_id in range(num_pages):
        holders = owners.get(page_id, [])
        fate = style.FATES["shared" if len(holders) > 1 else "free"]
        look = fate.patch_style() | {"edgecolor": "black", "linewidth": 0.8}
        if len(holders) == 1:
            look["facecolor"] = tint(holders[0])
        ax.add_patch(Rectangle((pool_x + page_id, 0), 1, 0.7, **look))
        ax.text(pool_x + page_id + 0.5, -0.1, str(page_id), ha="center", va="top")
        letters = "".join(map(letter, holders))
        ax.text(
            pool_x + page_id + 0.5,
            0.35,
            letters,
            ha="center",
            va="center",
            fontsize=11 if len(letters) * width < MOST_LETTERS_ACROSS else 7,
            **fate.text_style() if len(holders) > 1 else {},
        )
    ax.set(xlim=(-0.2, width + 0.2), ylim=(-0.6, 2.9))
    ax.set_yticks([0.35, 2.35], ["physical\npages", "logical\npages"])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


@style.applied()
def waste_against_length(*, page_size: int = PAGE_SIZE, num_pages: int = 5, ax: Axes | None = None) -> Axes:
    """Draw the empty slots of a sequence's last page against its length, up to so many pages.

    Parameters
    ----------
    page_size : int
        Slots in a page.
    num_pages : int
        Pages of the longest sequence.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(2.8)
    lengths = np.arange(1, check_count("num_pages", num_pages) * check_count("page_size", page_size) + 1)
    wasted = -lengths % page_size
    ax.bar(lengths, wasted, width=1.0, **style.FATES["internal"].patch_style() | {"hatch": None})
    ax.axhline(page_size, color="black", linewidth=1, linestyle="--")
    ax.axhline(wasted.mean(), color="black", linewidth=1.6)
    for text, height in ((f"one page: {page_size}", page_size), (f"mean: {wasted.mean():g}", wasted.mean())):
        ax.annotate(
            text,
            (1.0, height),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
        )
    ax.set(xlim=(0.5, lengths[-1] + 0.5), ylim=(0, 1.15 * page_size))
    ax.set_xticks([1, *range(page_size, lengths[-1] + 1, page_size)])
    ax.set(xlabel="length of the sequence (tokens)", ylabel="empty slots")
    return ax


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
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(2.6)
    tokens = np.asarray(lengths)
    pages = -(-tokens // check_count("page_size", page_size))
    rows = np.arange(len(tokens))
    reach = axis_slots or int(pages.max()) * page_size
    ax.barh(rows, tokens, height=0.74, **style.FATES["used"].patch_style())
    wasted = pages * page_size - tokens
    ax.barh(rows, wasted, left=tokens, height=0.74, **style.FATES["internal"].patch_style())
    if page_size >= reach / 100:
        edges = [(row, page * page_size) for row in rows for page in range(1, pages[row])]
        if edges:
            at_rows, starts = np.array(edges).T
            ax.vlines(starts, at_rows - 0.37, at_rows + 0.37, color="white", linewidth=1)
    ax.set(xlim=(0, reach), ylim=(len(tokens) - 0.4, -0.6), yticks=[])
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
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(2.6)
    scale = 100 if name.endswith("_share") else 1
    for line, (workload, by_size) in zip(("-", "--", ":", "-."), effects.items(), strict=False):
        values = [scale * getattr(effect, name) for effect in by_size.values()]
        ax.plot(list(by_size), values, line, color=style.PAGED, linewidth=2, label=workload)
    ax.set_xscale("log", base=2)
    sizes = list(next(iter(effects.values())))
    ax.set_xticks(sizes, [str(size) if size in LABELLED_PAGE_SIZES else "" for size in sizes])
    ax.set(xlabel="page size (slots)", ylabel=label, ylim=(0, None))
    return ax
