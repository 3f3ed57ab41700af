"""Notebook 00: a full pool by its page size, and one sequence kept both ways."""

from collections.abc import Mapping
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from paged_demo.allocators.memory_map import MemoryUsage, account
from paged_demo.allocators.studies import keep_one_sequence
from paged_demo.model import PRESETS, ModelSpec
from paged_demo.paper.numbers import FIG_13, MAX_TOKENS, NUM_SLOTS_13B, PAGE_SIZE
from paged_demo.serving.saturation import FullPool
from paged_demo.views import plots, style
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.progress import progress  # noqa: F401 - the notebook uses it
from paged_demo.views.screen import is_narrow
from paged_demo.views.strip import slot_strip
from paged_demo.views.style import amount_of, count_of, memory_of, percent, scale_of


@style.applied()
def batch_against_page_size(pools: Mapping[int, FullPool], *, ax: Axes | None = None) -> Axes:
    """Draw the running requests against the page size, beside the paper's numbers.

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
    ax.set(ylim=(0, None), ylabel="running requests")
    told = ", ".join(f"{pool.mean_running:.1f} at {page_size}" for page_size, pool in pools.items())
    return with_words(ax, f"running requests by page size: {told}.")


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
    letter = 0.023 if is_narrow(ax) else 0.014  # of the axis, with some room
    scale, unit = scale_of(longest, model)
    for row, usage in enumerate(usages.values()):
        start = 0.0
        for name, fate in style.FATES.items():
            width = getattr(usage, name, 0) * scale
            if width == 0:
                continue
            style.rectangle(ax, start, row - 0.31, width, 0.62, **fate.patch_style())
            word = words.get(name, name)
            labels = [f"{word} {amount_of(width, unit)}", *([word] if is_narrow(ax) else [])]
            fitting = [label for label in labels if width > letter * len(label) * longest * scale]
            if fitting:
                ax.text(start + width / 2, row, fitting[0], ha="center", va="center", **fate.text_style())
            start += width
        wasted = f"{percent(usage.wasted / max(usage.allocated, 1))} wasted"
        style.note(ax, wasted, (start, row), (6, 0))
    for row, (name, usage) in enumerate(usages.items()):
        holds = f"{name}\nholds {amount_of(usage.allocated * scale, unit)}"
        style.note(ax, holds, (0, row), (-6, 0), transform=ax.get_yaxis_transform(), ha="right")
    ax.set_yticks([])
    ax.set(xlim=(0, longest * scale), ylim=(len(usages) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(lambda amount, _: amount_of(amount, unit))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.spines["left"].set_visible(False)
    return ax


LARGEST_PAGE = 256


def explore_page_size(pools: Mapping[int, FullPool]) -> Explorer:
    """Explore a full pool by its page size.

    Parameters
    ----------
    pools : mapping of int to FullPool
        What `paged_demo.fill_by_page_size` measured.
    """
    if not pools:
        raise ValueError("pools must hold at least one page size, got none")
    usages = {size: account(pool.memory_map, pool.future_tokens) for size, pool in pools.items()}

    def fill(panels: Panels, *, page_size: int) -> str:
        pool = pools[page_size]
        slot_strip(pool.memory_map, pool.future_tokens, ax=panels["pool"])
        panels["pool"].set_title(f"page size {page_size}: {pool.mean_running:.1f} requests")
        if "curve" in panels:
            panels["curve"].plot(page_size, pool.mean_running, **style.MARK)
        usage = usages[page_size]
        return (
            f"Page size {page_size}: on average {pool.mean_running:.1f} requests run, and"
            f" {percent(pool.mean_used_share)} of the {usage.num_slots:,} slots hold a token."
            f" In the picture: {len(pool.future_tokens)} requests, {_describe_fates(usage)} slots."
        )

    return Explorer(
        fill,
        {"page_size": choice("page size (slots)", pools, PAGE_SIZE if PAGE_SIZE in pools else None)},
        panels={
            "pool": (0.011, 0.191667, 0.528, 0.708333),
            "curve": (0.613, 0.308333, 0.3735, 0.616667),
            "key": (0, 0, 1, 0.166667),
        },
        sheet={"pool": (0.02, 0.03, 0.96, 0.85)},
        narrow={"pool": 2.6, "curve": 2.2, "key": 1.2},
        height=4.3,
        background={
            "pool": lambda ax: ax.yaxis.set_visible(False),
            "curve": lambda ax: batch_against_page_size(pools, ax=ax),
        },
        still=("pool",),
        key=("used", "reserved", "internal", "external", "free"),
    )


def _fill_one_sequence(panels: Panels, *, num_tokens: int, page_size: int, model: str) -> str:
    spec = PRESETS[model]
    usages = keep_one_sequence(num_tokens, page_size=page_size, max_tokens=MAX_TOKENS)
    bars = usage_bars(
        usages,
        model=spec,
        words={"internal": "wasted"},
        axis_slots=MAX_TOKENS + LARGEST_PAGE,
        ax=panels["bars"],
    )
    comparison = _compare(usages["paged"].allocated, usages["traditional"].allocated)
    length = count_of(num_tokens, "token")
    bars.set_title(f"{length}, pages of {page_size}: paging holds {comparison}")
    if "curves" in panels:
        curves = panels["curves"]
        plots.memory_against_length(spec, page_size=page_size, max_tokens=MAX_TOKENS, ax=curves)
        curves.axvline(num_tokens, color="black", linewidth=1)
    return (
        f"{model}, {length}, page size {page_size}: paging holds {comparison}."
        f" Traditional: {_describe_usage(usages['traditional'], spec)}."
        f" Paged: {count_of(usages['paged'].allocated // page_size, 'page')},"
        f" {_describe_usage(usages['paged'], spec)}."
    )


def explore_one_sequence(model: str = "Llama-2-7B") -> Explorer:
    """Explore what one sequence holds, by its length, the page size and the model.

    Parameters
    ----------
    model : str
        The model to begin with, by its name in ``PRESETS``.
    """
    return Explorer(
        _fill_one_sequence,
        {
            "num_tokens": number("tokens", 500, lowest=1, highest=MAX_TOKENS),
            "page_size": number("page size (slots)", PAGE_SIZE, lowest=1, highest=LARGEST_PAGE),
            "model": choice("model", PRESETS, PRESETS[model].name),
        },
        panels={"bars": (0.15, 0.68, 0.71, 0.24), "curves": (0.15, 0.12, 0.71, 0.456)},
        sheet={"bars": (0.15, 0.2, 0.71, 0.6)},
        height=4.6,
    )


def _compare(allocated: int, reference: int) -> str:
    if allocated == reference:
        return "as much"
    word = "less" if allocated < reference else "more"
    return f"{percent(abs(1 - allocated / reference))} {word}"


def _describe_usage(usage: MemoryUsage, model: ModelSpec) -> str:
    parts = {"allocated": usage.allocated, "used": usage.used, "wasted": usage.wasted}
    told = [
        f"{count_of(number, 'slot')} ({memory_of(model.bytes_of(number), 'MiB')}) {word}"
        for word, number in parts.items()
    ]
    return f"{', '.join(told)}, {percent(usage.wasted / usage.allocated)}"


def _describe_fates(usage: MemoryUsage) -> str:
    parts = [f"{getattr(usage, name):,} {name}" for name in style.FATES if getattr(usage, name, 0)]
    return ", ".join(parts)
