"""Notebook 01: what the memory of a GPU goes to."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from paged_demo.checks import check_count
from paged_demo.model import GIB, KIB, PRESETS, MemoryBudget, ModelSpec
from paged_demo.paper.numbers import MAX_TOKENS
from paged_demo.serving.iteration_time import OPT_13B_ITERATION
from paged_demo.views import style
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.screen import is_narrow
from paged_demo.views.style import count_of, memory_of

WEIGHTS: dict[str, Any] = {"facecolor": style.SEQUENCE_TINTS[6], "edgecolor": "none"}
"""The look of the weights: they have no slots, and so no fate."""

AXIS_REACH = 1.3
"""How far beyond the memory a bar is drawn, as a multiple of it."""


@style.applied()
def recomputation(num_tokens: int, *, ax: Axes | None = None) -> Axes:
    """Draw for which tokens each step computes keys and values: without a cache, and with one.

    Parameters
    ----------
    num_tokens : int
        Tokens to generate, one in each step.
    """
    ax = ax or new_axes(3.4)
    count = check_count("num_tokens", num_tokens)
    computed = style.FATES["used"].patch_style()
    again = style.FATES["internal"].patch_style()
    read = style.FATES["free"].patch_style()
    gap = count + 1 + count // 4
    for left, old in ((0, again), (gap, read)):
        for step in range(count):
            if step:
                ax.add_patch(Rectangle((left, step), step, 0.86, **old))
            ax.add_patch(Rectangle((left + step, step), 1, 0.86, **computed))
    total = count * (count + 1) // 2
    titles = ((0, f"without a cache: {total} computed"), (gap, f"with a cache: {count} computed"))
    for left, text in titles:
        ax.text(left, -0.5, text, ha="left", va="bottom", fontsize=12)
    legend = (("computed, new", computed), ("computed again", again), ("read from the cache", read))
    handles = [Rectangle((0, 0), 1, 1, label=label, **look) for label, look in legend]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 0.95))
    ax.set(xlim=(-0.2, gap + count + 0.2), ylim=(count, -0.8), xticks=[], ylabel="step")
    ax.set_yticks([0.4, count - 0.6], ["1", str(count)])
    ax.set_xlabel("tokens of the sequence, from left to right")
    style.bare(ax)
    told = f"without a cache {total} pairs of a key and a value are computed"
    return with_words(ax, f"{told}, of which {total - count} not for the first time; with a cache {count}.")


@style.applied()
def bytes_per_token(models: Iterable[ModelSpec], *, ax: Axes | None = None) -> Axes:
    """Draw what one token's keys and values take, for several models, with the factors.

    Parameters
    ----------
    models : iterable of ModelSpec
        From top to bottom.
    """
    specs = list(models)
    if not specs:
        raise ValueError("models must hold at least one model, got none")
    ax = ax or new_axes(0.9 + 0.36 * len(specs))
    sizes = [spec.kv_bytes_per_token / KIB for spec in specs]
    rows = range(len(specs))
    ax.barh(rows, sizes, height=0.66, **style.FATES["used"].patch_style())
    for row, (spec, size) in enumerate(zip(specs, sizes, strict=True)):
        heads = "1 KV head" if spec.num_kv_heads == 1 else f"{spec.num_kv_heads} KV heads"
        label = f"{size:,.0f} KiB = 2 x {spec.num_layers} layers x {heads} x {spec.head_dim}"
        label = f"{label} x {spec.bytes_per_element} B"
        style.note(ax, label, (size, row), (6, 0), fontsize=9)
    ax.set_yticks(rows, [spec.name for spec in specs])
    ax.set(ylim=(len(specs) - 0.4, -0.6), xlim=(0, 2.1 * max(sizes)), xlabel="KV cache of one token (KiB)")
    ax.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    told = "; ".join(f"{spec.name} {size:,.0f} KiB" for spec, size in zip(specs, sizes, strict=True))
    return with_words(ax, f"the keys and values of one token take: {told}.")


@style.applied()
def reading_times(batches: Sequence[int], *, tokens_per_request: int, ax: Axes | None = None) -> Axes:
    """Draw how long one iteration of OPT-13B reads on an A100: the weights once, and keys and values.

    Parameters
    ----------
    batches : sequence of int
        Requests that run at once, from top to bottom.
    tokens_per_request : int
        Tokens that each has so far.
    """
    ax = ax or new_axes(2.2)
    weights_ms = 1000 * OPT_13B_ITERATION.weights_s
    times_ms = [1000 * OPT_13B_ITERATION.reading_s(batch * tokens_per_request) for batch in batches]
    labels = [
        f"{time_ms:.1f} ms for {batch} tokens: {time_ms / batch:.1f} ms each"
        for batch, time_ms in zip(batches, times_ms, strict=True)
    ]
    bars = {"weights": (0.0, weights_ms, WEIGHTS)}
    for row, (time_ms, label) in enumerate(zip(times_ms, labels, strict=True)):
        bars["keys and values"] = (weights_ms, time_ms, style.FATES["used"].patch_style())
        for name, (start, end, look) in bars.items():
            ax.barh(row, end - start, left=start, height=0.6, label="" if row else name, **look)
        style.note(ax, label, (time_ms, row), (6, 0))
    ax.set_yticks(range(len(batches)), [f"{batch} requests" for batch in batches])
    ax.set(
        ylim=(len(batches) - 0.5, -0.5), xlim=(0, 1.7 * max(times_ms)), xlabel="reading in one iteration (ms)"
    )
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    told = "; ".join(f"{batch} requests, {label}" for batch, label in zip(batches, labels, strict=True))
    return with_words(ax, f"{told}. The weights take {weights_ms:.1f} ms in each.")


@style.applied()
def memory_bar(budget: MemoryBudget, *, axis_gib: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw what a GPU's memory goes to, as one bar: the weights, each request, and what is free.

    What does not fit is drawn beyond the end of the memory, as far as there is room.

    Parameters
    ----------
    budget : MemoryBudget
        What to draw.
    axis_gib : float, optional
        How far the axis reaches, in GiB; a little beyond the memory if left out.
    """
    ax = ax or new_axes(1.8)
    memory, weights = budget.memory_bytes / GIB, budget.model.weight_bytes / GIB
    reach = axis_gib or AXIS_REACH * memory
    whole = weights + budget.kv_bytes / GIB
    end = min(whole, reach)
    free = style.FATES["free"].patch_style()
    style.rectangle(ax, 0, 0, memory, 1, **free)
    style.rectangle(ax, 0, 0, min(weights, reach), 1, **WEIGHTS)
    if end > weights:
        style.rectangle(ax, weights, 0, end - weights, 1, **style.FATES["used"].patch_style())
        request = budget.request_bytes / GIB
        if request > reach / 200:
            starts = [weights + index * request for index in range(1, budget.num_requests)]
            ax.vlines([start for start in starts if start < end], 0, 1, color="white", linewidth=1)
    if end > memory:
        lost = style.FATES["internal"].patch_style()
        style.rectangle(ax, memory, 0, end - memory, 1, **lost)
    if whole > reach:
        _break_off(ax, reach, f"to {memory_of(budget.model.weight_bytes + budget.kv_bytes, 'GiB')}")
    ax.plot([memory, memory], [-0.18, 1.18], color="black", linewidth=2)
    told = f"memory: {memory_of(budget.memory_bytes, 'GiB')}"
    ax.text(memory, 1.24, told, ha="center", va="bottom", fontsize=9)
    parts = (
        ("weights", budget.model.weight_bytes, 0.0, min(weights, memory)),
        ("keys and values", budget.kv_bytes, weights, min(end, memory)),
        ("free", budget.free_bytes, weights + budget.kv_bytes / GIB, memory),
    )
    letter = (0.016 if is_narrow(ax) else 0.012) * reach  # about what one takes
    for name, num_bytes, start, stop in parts:
        lines = name, memory_of(num_bytes, "GiB")
        ink = style.FATES["used"].text_style() if name == "keys and values" else {"color": "black"}
        if stop - start > letter * max(map(len, lines)):
            ax.text((start + stop) / 2, 0.5, "\n".join(lines), ha="center", va="center", fontsize=9, **ink)
    ax.set(xlim=(0, reach), ylim=(-0.2, 1.6), yticks=[])
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel("GiB")
    ax.spines["left"].set_visible(False)
    return ax


def _break_off(ax: Axes, end: float, told: str) -> None:
    """Mark that a bar goes on beyond the end of its axis, and tell how far."""
    lost = style.FATES["internal"]
    for start in (0.975, 0.985):
        ax.plot([start * end, (start + 0.01) * end], [-0.1, 1.1], color="white", linewidth=3)
    ax.text(0.965 * end, 0.5, told, ha="right", va="center", fontsize=9, **lost.text_style())


BYTES_BY_TYPE = {"FP16": 2, "FP8": 1, "FP32": 4}
CONTEXTS = tuple(2**power for power in range(8, 18))
SHEET_MEMORY_GIB = 40
MEMORIES_GIB = (16, 24, 40, 80, 160, 320, 640)
MOST_REQUESTS = 64


def _fill(panels: Panels, *, model: str, context: int, batch: int, kv_type: str, memory_gib: int) -> str:
    spec = replace(PRESETS[model], bytes_per_element=BYTES_BY_TYPE[kv_type])
    budget = MemoryBudget(
        model=spec, memory_bytes=memory_gib * GIB, num_requests=batch, tokens_per_request=context
    )
    # On a sheet all bars have one scale, as far as they fit.
    axis_gib = None if "key" in panels else AXIS_REACH * max(memory_gib, SHEET_MEMORY_GIB)
    bar = memory_bar(budget, axis_gib=axis_gib, ax=panels["bar"])
    fits = f"{count_of(budget.most_requests, 'request')} of {context:,} tokens fit"
    if budget.most_requests == 1:
        fits = fits.replace(" fit", " fits")
    if spec.weight_bytes > budget.memory_bytes:
        fits = "the weights alone do not fit"
    bar.set_title(f"{model}, {memory_gib} GiB, cache in {kv_type}: {fits}")
    left = (
        f"{memory_of(budget.free_bytes, 'GiB')} are free"
        if budget.free_bytes >= 0
        else f"{memory_of(-budget.free_bytes, 'GiB')} are missing"
    )
    return (
        f"{model} on {memory_gib} GiB: weights {memory_of(spec.weight_bytes, 'GiB')};"
        f" batch {batch} of context {context:,} in {kv_type}"
        f" ({spec.kv_bytes_per_token / KIB:,g} KiB a token):"
        f" {memory_of(budget.kv_bytes, 'GiB')} of keys and values; {left}. In all, {fits}."
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
    ax.legend(handles=handles, loc="center", ncols=2 if is_narrow(ax) else len(handles), fontsize=10)


def explore_memory(model: str = "OPT-13B") -> Explorer:
    """Explore what a GPU's memory goes to, by model, context, batch, type of the cache and memory.

    Parameters
    ----------
    model : str
        The model to begin with, by its name in ``PRESETS``.
    """
    return Explorer(
        _fill,
        {
            "model": choice("model", PRESETS, PRESETS[model].name),
            "context": choice("context (tokens)", CONTEXTS, MAX_TOKENS),
            "batch": number("batch (requests)", 7, lowest=1, highest=MOST_REQUESTS),
            "kv_type": choice("type of the cache", BYTES_BY_TYPE),
            "memory_gib": choice("memory (GiB)", MEMORIES_GIB, SHEET_MEMORY_GIB),
        },
        panels={"bar": (0.03, 0.44, 0.94, 0.384), "key": (0, 0, 1, 0.2)},
        sheet={"bar": (0.03, 0.3, 0.94, 0.48)},
        height=2.5,
        background={"key": _draw_key},
    )
