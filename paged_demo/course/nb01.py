"""Notebook 01: what the memory of a GPU goes to."""

from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from paged_demo.course import nb01_plots
from paged_demo.course.nb01_plots import WEIGHTS, bytes_per_token, recomputation  # noqa: F401 - the notebook uses them
from paged_demo.model import GIB, KIB, PRESETS, MemoryBudget
from paged_demo.paper.numbers import MAX_TOKENS
from paged_demo.views import style
from paged_demo.views.amounts import amount_of, count_of
from paged_demo.views.live import Explorer, Panels, choice, number

BYTES_BY_TYPE = {"FP16": 2, "FP8": 1, "FP32": 4}
CONTEXTS = tuple(2**power for power in range(8, 18))
MEMORIES_GIB = (16, 24, 40, 80, 160, 320, 640)
MOST_REQUESTS = 64


def _fill(panels: Panels, *, model: str, context: int, batch: int, kv_type: str, memory_gib: int) -> str:
    spec = replace(PRESETS[model], bytes_per_element=BYTES_BY_TYPE[kv_type])
    budget = MemoryBudget(
        model=spec, memory_bytes=memory_gib * GIB, num_requests=batch, tokens_per_request=context
    )
    bar = nb01_plots.memory_bar(budget, ax=panels["bar"])
    fits = f"{count_of(budget.most_requests, 'request')} of {context:,} tokens fit"
    if budget.most_requests == 1:
        fits = fits.replace(" fit", " fits")
    if spec.weight_bytes > budget.memory_bytes:
        fits = "the weights alone do not fit"
    bar.set_title(f"{model}, {memory_gib} GiB, cache in {kv_type}: {fits}")
    left = (
        f"{amount_of(budget.free_bytes / GIB, 'GiB')} are free"
        if budget.free_bytes >= 0
        else f"{amount_of(-budget.free_bytes / GIB, 'GiB')} are missing"
    )
    return (
        f"{model} on {memory_gib} GiB: weights {amount_of(spec.weight_bytes / GIB, 'GiB')};"
        f" batch {batch} of context {context:,} in {kv_type}"
        f" ({spec.kv_bytes_per_token / KIB:,g} KiB a token):"
        f" {amount_of(budget.kv_bytes / GIB, 'GiB')} of keys and values; {left}. In all, {fits}."
    )


def _draw_key(ax: Axes) -> None:
    ax.set_axis_off()
    used, lost, free = (style.FATES[name].patch_style() for name in ("used", "internal", "free"))
    looks = {
        "weights": WEIGHTS,
        "keys and values, request by request": used,
        "does not fit": lost,
        "free": free,
    }
    handles = [Rectangle((0, 0), 1, 1, label=label, **look) for label, look in looks.items()]
    ax.legend(handles=handles, loc="center", ncols=len(handles), fontsize=10)


def explore_memory(model: str = "OPT-13B") -> Explorer:
    """Explore what a GPU's memory goes to, by model, context, batch, type of the cache and memory.

    Parameters
    ----------
    model : str
        The model to begin with, by its name in ``PRESETS``.
    """
    begin_with = PRESETS[model].name
    return Explorer(
        _fill,
        {
            "model": choice("model", PRESETS, begin_with),
            "context": choice("context (tokens)", CONTEXTS, MAX_TOKENS),
            "batch": number("batch (requests)", 7, lowest=1, highest=MOST_REQUESTS),
            "kv_type": choice("type of the cache", BYTES_BY_TYPE),
            "memory_gib": choice("memory (GiB)", MEMORIES_GIB, 40),
        },
        panels={"bar": (0.03, 0.44, 0.94, 0.384), "key": (0, 0, 1, 0.2)},
        sheet={"bar": (0.03, 0.3, 0.94, 0.48)},
        height=2.5,
        background={"key": _draw_key},
    )
