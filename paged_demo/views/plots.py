"""Plots: each draws one record on one pair of axes, and returns the axes."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from paged_demo.allocators.memory_map import MemoryUsage
from paged_demo.checks import check_count
from paged_demo.model import GIB, MIB, ModelSpec
from paged_demo.serving.paper import MAX_TOKENS, MEAN_BATCH_SHAREGPT, NUM_SLOTS_13B, PAGE_SIZE
from paged_demo.serving.saturation import FullPool
from paged_demo.views import style
from paged_demo.views.picture import new_axes
from paged_demo.views.strip import letter, tint

LABELLED_PAGE_SIZES = (1, 4, 16, 64, 256, 2048)

PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
"""Behind a label that a line may cross."""


@style.applied()
def fate_legend(ax: Axes, names: Iterable[str], *, num_columns: int = 2) -> Axes:
    """Fill some axes with the key to the fates: their looks and what they mean."""
    patches = [
        Patch(**style.FATES[name].patch_style(), label=f"{name}: {style.FATES[name].meaning}")
        for name in names
    ]
    ax.set_axis_off()
    ax.legend(
        handles=patches, loc="center", ncols=num_columns, fontsize=10, handlelength=2, columnspacing=1.2
    )
    return ax


@style.applied()
def usage_bars(
    usages: Mapping[str, MemoryUsage],
    *,
    model: ModelSpec | None = None,
    words: Mapping[str, str] = MappingProxyType({}),
    axis_slots: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw where the slots of each pool went, as one bar per pool.

    What is wasted is told as a share of what the pool's sequences hold.

    Parameters
    ----------
    usages : mapping of str to MemoryUsage
        The bars from top to bottom, by name.
    model : ModelSpec, optional
        Draw bytes of this model's KV cache instead of slots.
    words : mapping of str to str
        What to call a fate, where its own name would say too little.
    axis_slots : int, optional
        How far the axis reaches; the size of the largest pool if left out.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    ax = ax or new_axes(0.7 + 0.7 * len(usages))
    longest = axis_slots or max(usage.num_slots for usage in usages.values())
    scale, unit = _scale(longest, model)
    bars: dict[str, list[tuple[int, float, float]]] = {}
    for row, usage in enumerate(usages.values()):
        start = 0.0
        for name, fate in style.FATES.items():
            width = getattr(usage, name, 0) * scale
            if width == 0:
                continue
            bars.setdefault(name, []).append((row, start, width))
            label = f"{words.get(name, name)} {_amount(width, unit)}"
            if width > 0.014 * len(label) * longest * scale:
                ax.text(start + width / 2, row, label, ha="center", va="center", **fate.text_style())
            start += width
        wasted = f"{percent(usage.wasted / max(usage.allocated, 1))} wasted"
        ax.annotate(wasted, (start, row), (6, 0), textcoords="offset points", va="center")
    for name, pieces in bars.items():
        rows, starts, widths = zip(*pieces, strict=True)
        ax.barh(rows, widths, left=starts, height=0.62, **style.FATES[name].patch_style())
    for row, (name, usage) in enumerate(usages.items()):
        holds = f"{name}\nholds {_amount(usage.allocated * scale, unit)}"
        ax.annotate(
            holds,
            (0, row),
            (-6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
        )
    ax.set_yticks([])
    ax.set(xlim=(0, longest * scale), ylim=(len(usages) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(lambda amount, _: _amount(amount, unit))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.spines["left"].set_visible(False)
    return ax


@style.applied()
def memory_against_length(
    model: ModelSpec, *, page_size: int = PAGE_SIZE, max_tokens: int = MAX_TOKENS, ax: Axes | None = None
) -> Axes:
    """Draw the memory that a sequence holds against its length, for both ways.

    Parameters
    ----------
    model : ModelSpec
        Gives the bytes of a token.
    page_size : int
        Slots in a page.
    max_tokens : int
        The longest sequence, which the traditional way reserves.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    """
    check_count("page_size", page_size)
    ax = ax or new_axes()
    scale, unit = _scale(max_tokens, model)
    lengths = np.arange(1, max_tokens + 1)
    paged = -(-lengths // page_size) * page_size * scale
    traditional = np.full(max_tokens, max_tokens * scale)
    saved = paged < traditional
    ax.fill_between(
        lengths, paged, traditional, where=saved, color=style.TRADITIONAL, alpha=0.12, linewidth=0
    )
    ax.plot(lengths, traditional, color=style.TRADITIONAL, linewidth=2.2, linestyle="--")
    ax.plot(lengths, paged, color=style.PAGED, linewidth=2.2)
    ax.annotate(
        f"traditional: {_amount(max_tokens * scale, unit)}, always",
        (0.03, max_tokens * scale),
        (0, -6),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="top",
        color=style.TRADITIONAL,
        bbox=PLATE,
    )
    ax.annotate(
        f"paged: whole pages of {page_size}",
        (0.62 * max_tokens, 0.62 * max_tokens * scale),
        (8, -8),
        textcoords="offset points",
        va="top",
        color=style.PAGED,
        bbox=PLATE,
    )
    ax.set(xlim=(0, max_tokens), ylim=(0, max(1.15 * max_tokens * scale, 1.03 * paged.max())))
    ax.set(xlabel="length of the sequence (tokens)", ylabel=f"memory held ({unit})")
    return ax


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
        point = (page_size, MEAN_BATCH_SHAREGPT[name])
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
            **fate.text_style() if len(holders) > 1 else {},
        )
    ax.set(xlim=(-0.2, width + 0.2), ylim=(-0.6, 2.9))
    ax.set_yticks([0.35, 2.35], ["physical\npages", "logical\npages"])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def percent(share: float) -> str:
    """Write a share as a percentage, with a second decimal where one would say 0 or 100.

    Examples
    --------
    >>> percent(0.756), percent(0.9995), percent(1)
    ('75.6 %', '99.95 %', '100.0 %')
    """
    decimals = 1 if share in {0, 1} or 0.0005 <= share < 0.9995 else 2
    return f"{100 * share:.{decimals}f} %"


def _scale(num_slots: int, model: ModelSpec | None) -> tuple[float, str]:
    """Choose a unit for so many slots: units per slot, and its name."""
    if model is None:
        return 1, "slots"
    divisor, unit = (GIB, "GiB") if model.bytes_of(num_slots) >= 4 * GIB else (MIB, "MiB")
    return model.bytes_of(1) / divisor, unit


def _amount(amount: float, unit: str) -> str:
    if unit == "GiB" and 0 < amount < 0.1:
        amount, unit = amount * GIB / MIB, "MiB"
    number = (
        f"{amount:,.0f}" if amount >= 100 or unit == "slots" else f"{amount:,.2f}".rstrip("0").rstrip(".")
    )
    return f"{number} {unit}"
