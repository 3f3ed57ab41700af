"""Our figures beside the paper's: its numbers are outlined, ours are filled or joined by lines."""

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from paged_demo.paper.experiment import Experiment
from paged_demo.views import style
from paged_demo.views.picture import new_axes, with_words

_FATE_OF = {"other": "external"}
_KEYS = {"external": "external & others"}
"""The paper's last part looks like external waste, and is more than that."""

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
    ticks: dict[float, str] = {}
    left = 0.0
    for group, pairs in experiment.rows.items():
        for index, (name, cell) in enumerate(pairs.items()):
            x = left + 1.25 * index
            ticks[x + 0.25] = name.replace(" (", "\n(")
            bars = [(x + 0.5, cell.mean, cell.mean + cell.spread, style.PAGED)]
            if cell.paper is not None:
                bars.append((x, cell.paper, cell.paper, "white"))
            for middle, height, top, fill in bars:
                edge = "black" if fill == "white" else fill
                ax.bar(middle, height, 0.46, linewidth=1.2, facecolor=fill, edgecolor=edge)
                ax.text(middle, top, f"{height:.2g}", ha="center", va="bottom", fontsize=9)
            ax.errorbar(x + 0.5, cell.mean, cell.spread, color="black", capsize=2.5, linewidth=1)
        right = left + 1.25 * len(pairs) - 0.75
        ax.annotate(group, ((left + right) / 2, 1.0), xycoords=("data", "axes fraction"), ha="center")
        left = right + 1.5
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="x", length=0)
    keys = [
        Patch(facecolor="white", edgecolor="black", label="paper"),
        Patch(color=style.PAGED, label="ours, mean and standard deviation"),
    ]
    ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, 0.98), fontsize=10)
    ax.set(ylim=(0, ax.get_ylim()[1] * 1.04), ylabel="pages saved (%)", xlabel="samples or beams per request")
    *others, last = next(iter(experiment.rows.values()))
    told = ", ".join(f"{name} {pairs[last].mean:.0f} %" for name, pairs in experiment.rows.items())
    sizes = f"{', '.join(others)} and {last} samples or beams"
    return with_words(ax, f"pages saved, paper and ours, for {sizes}. Ours with {last}: {told}.")
