"""How much memory is held, and what becomes of it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from paged_demo.checks import check_counts
from paged_demo.model import ModelSpec
from paged_demo.paper.experiment import Comparison, Experiment
from paged_demo.paper.numbers import MAX_TOKENS, PAGE_SIZE
from paged_demo.views import style
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.style import amount_of, scale_of


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
    """
    page_size, max_tokens = check_counts(page_size=page_size, max_tokens=max_tokens)
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
    label = f"traditional: {amount_of(max_tokens * scale, unit)}, always"
    look: dict[str, Any] = {"va": "top", "bbox": style.PLATE}
    left: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "color": style.TRADITIONAL}
    style.note(ax, label, (0.03, max_tokens * scale), (0, -6), **look, **left)
    point = (0.62 * max_tokens, 0.62 * max_tokens * scale)
    style.note(ax, f"paged: whole pages of {page_size}", point, (8, -8), **look, color=style.PAGED)
    ax.set(xlim=(0, max_tokens), ylim=(0, max(1.15 * max_tokens * scale, 1.03 * paged.max())))
    ax.set(xlabel="length of the sequence (tokens)", ylabel=f"memory held ({unit})")
    words = f"Traditional: the same at every length; paged: the tokens, in whole pages of {page_size}."
    return with_words(ax, f"what a sequence holds. {words}")


_FATE_OF = {"other": "external"}
# The paper's last part looks like external waste, and is more than that.
_KEYS = {"external": "external & others"}

_PARTS = {
    "paper": ("used", "reserved", "internal", "other"),
    "ours": ("used", "reserved", "internal", "rounding", "free"),
}


@style.applied()
def usage_beside_paper(experiment: Experiment, *, ax: Axes | None = None) -> Axes:
    """Draw Fig. 2: for each scheme the paper's bar, and ours below it.

    Parameters
    ----------
    experiment : Experiment
        What `fig_2` measured.
    """
    ax = ax or new_axes(3.9)
    ticks = {}
    for index, (scheme, row) in enumerate(experiment.rows.items()):
        for offset, whose in enumerate(("paper", "ours")):
            y = 2.5 * index + offset
            ticks[y] = f"{scheme}, {whose}"
            start = 0.0
            for part in _PARTS[whose]:
                share = row[part].mean if whose == "ours" else row[part].paper or 0.0
                fate = style.FATES[_FATE_OF.get(part, part)]
                if share > 0.05:
                    ax.barh(y, share, left=start, height=0.86, **fate.patch_style())
                if share > 4:
                    label = f"{share:.1f}"
                    ax.text(start + share / 2, y, label, ha="center", va="center", **fate.text_style())
                start += share
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    names = dict.fromkeys(_FATE_OF.get(part, part) for parts in _PARTS.values() for part in parts)
    keys = [Patch(**style.FATES[name].patch_style(), label=_KEYS.get(name, name)) for name in names]
    ax.legend(
        handles=keys,
        loc="upper center",
        bbox_to_anchor=(0.42, -0.16),
        ncols=6,
        fontsize=10,
        columnspacing=1,
        title="what the paper draws as external & others, ours splits into rounding and free",
        title_fontsize=10,
    )
    ax.set(xlim=(0, 100), ylim=(max(ticks) + 0.6, -0.6), xlabel="% of the slots")
    told = []
    for scheme, row in experiment.rows.items():
        parts = [f"{cell.mean:.1f} {fate}" for fate, cell in row.items() if fate != "other"]
        told.append(f"{scheme} {', '.join(parts)}")
    return with_words(ax, f"ours, in % of the slots: {'; '.join(told)}.")


@style.applied()
def savings_beside_paper(experiment: Experiment, *, ax: Axes | None = None) -> Axes:
    """Draw Fig. 15, the pages that sharing saves, as pairs of bars: the paper's outlined, ours filled.

    The line on a bar of ours spans one standard deviation over the seeds, both ways.

    Parameters
    ----------
    experiment : Experiment
        What `fig_15` measured.
    """
    ax = ax or new_axes(3.2)
    bars_beside_paper(experiment.rows, ax=ax)
    ax.set(ylabel="pages saved (%)", xlabel="samples or beams per request")
    *others, last = next(iter(experiment.rows.values()))
    told = []
    for name, pairs in experiment.rows.items():
        shares = (pairs[last].paper, pairs[last].mean)
        told.append(f"{name} {' and '.join(f'{share:.0f} %' for share in shares if share is not None)}")
    sizes = f"{', '.join(others)} and {last} samples or beams"
    return with_words(ax, f"pages saved, paper and ours, for {sizes}. With {last}: {', '.join(told)}.")


def bars_beside_paper(groups: Mapping[str, Mapping[str, Comparison]], *, digits: int = 2, ax: Axes) -> None:
    """Draw comparisons as pairs of bars: the paper's outlined, ours filled, with one standard deviation.

    Parameters
    ----------
    groups : mapping of str to mapping of str to Comparison
        By the name of the group and of the pair.
    digits : int
        Of the number that stands on a bar.
    """
    ticks: dict[float, str] = {}
    left = 0.0
    for group, pairs in groups.items():
        for index, (name, cell) in enumerate(pairs.items()):
            x = left + 1.25 * index
            ticks[x + 0.25] = name.replace(" (", "\n(")
            bars = [(x + 0.5, cell.mean, cell.mean + cell.spread, style.PAGED)]
            if cell.paper is not None:
                bars.append((x, cell.paper, cell.paper, "white"))
            for middle, height, top, fill in bars:
                edge = "black" if fill == "white" else fill
                ax.bar(middle, height, 0.46, linewidth=1.2, facecolor=fill, edgecolor=edge)
                ax.text(middle, top, f"{height:.{digits}g}", ha="center", va="bottom", fontsize=9)
            if cell.spread:
                ax.errorbar(x + 0.5, cell.mean, cell.spread, color="black", capsize=2.5, linewidth=1)
        right = left + 1.25 * len(pairs) - 0.75
        ax.annotate(group, ((left + right) / 2, 1.0), xycoords=("data", "axes fraction"), ha="center")
        left = right + 1.5
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="x", length=0)
    ours = (
        "ours, mean and standard deviation"
        if any(cell.spread for pairs in groups.values() for cell in pairs.values())
        else "ours"
    )
    keys = [Patch(facecolor="white", edgecolor="black", label="paper"), Patch(color=style.PAGED, label=ours)]
    ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, 0.98), fontsize=10)
    ax.set(ylim=(0, ax.get_ylim()[1] * 1.04))
