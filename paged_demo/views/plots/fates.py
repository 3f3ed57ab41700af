"""How much memory is held, and what becomes of it."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from paged_demo.allocators.memory_map import MemoryUsage
from paged_demo.checks import check_count
from paged_demo.model import ModelSpec
from paged_demo.paper.numbers import MAX_TOKENS, PAGE_SIZE
from paged_demo.views import style
from paged_demo.views.amounts import amount_of, percent, scale_of
from paged_demo.views.picture import new_axes

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
    scale, unit = scale_of(longest, model)
    bars: dict[str, list[tuple[int, float, float]]] = {}
    for row, usage in enumerate(usages.values()):
        start = 0.0
        for name, fate in style.FATES.items():
            width = getattr(usage, name, 0) * scale
            if width == 0:
                continue
            bars.setdefault(name, []).append((row, start, width))
            label = f"{words.get(name, name)} {amount_of(width, unit)}"
            if width > 0.014 * len(label) * longest * scale:
                ax.text(start + width / 2, row, label, ha="center", va="center", **fate.text_style())
            start += width
        wasted = f"{percent(usage.wasted / max(usage.allocated, 1))} wasted"
        ax.annotate(wasted, (start, row), (6, 0), textcoords="offset points", va="center")
    for name, pieces in bars.items():
        rows, starts, widths = zip(*pieces, strict=True)
        ax.barh(rows, widths, left=starts, height=0.62, **style.FATES[name].patch_style())
    for row, (name, usage) in enumerate(usages.items()):
        holds = f"{name}\nholds {amount_of(usage.allocated * scale, unit)}"
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
    ax.xaxis.set_major_formatter(lambda amount, _: amount_of(amount, unit))
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
    scale, unit = scale_of(max_tokens, model)
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
        f"traditional: {amount_of(max_tokens * scale, unit)}, always",
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
