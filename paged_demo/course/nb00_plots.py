"""Plots of notebook 00: where the slots of a pool go, and how many requests it holds."""

from collections.abc import Mapping
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from paged_demo.allocators.memory_map import MemoryUsage
from paged_demo.model import ModelSpec
from paged_demo.paper.numbers import FIG_13, MAX_TOKENS, NUM_SLOTS_13B, PAGE_SIZE
from paged_demo.serving.saturation import FullPool
from paged_demo.views import style
from paged_demo.views.amounts import amount_of, percent, scale_of
from paged_demo.views.picture import new_axes, with_words


@style.applied()
def batch_against_page_size(pools: Mapping[int, FullPool], *, ax: Axes | None = None) -> Axes:
    """Draw the requests in flight against the page size, beside the paper's numbers.

    The paper's are those of its own pool, at its own two page sizes; others have no number to compare.

    Parameters
    ----------
    pools : mapping of int to FullPool
        What the pool held, by page size in slots.
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
        style.note(ax, label, point, offset, ha=align)
    style.page_size_axis(ax, page_sizes)
    ax.set(ylim=(0, None), ylabel="requests in flight")
    told = ", ".join(f"{pool.mean_running:.1f} at {page_size}" for page_size, pool in pools.items())
    return with_words(ax, f"requests in flight by page size: {told}.")


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
        style.note(ax, wasted, (start, row), (6, 0))
    for name, pieces in bars.items():
        rows, starts, widths = zip(*pieces, strict=True)
        ax.barh(rows, widths, left=starts, height=0.62, **style.FATES[name].patch_style())
    for row, (name, usage) in enumerate(usages.items()):
        holds = f"{name}\nholds {amount_of(usage.allocated * scale, unit)}"
        style.note(ax, holds, (0, row), (-6, 0), xycoords=("axes fraction", "data"), ha="right")
    ax.set_yticks([])
    ax.set(xlim=(0, longest * scale), ylim=(len(usages) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(lambda amount, _: amount_of(amount, unit))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.spines["left"].set_visible(False)
    return ax
