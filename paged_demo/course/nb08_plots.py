"""Plots of notebook 08: the chain of memory, one pool read twice, four servers, the seconds of a step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from paged_demo.course.nb08_server import SETTINGS, Reading
from paged_demo.sizing.batch import Step
from paged_demo.sizing.memory import Memory
from paged_demo.sizing.plan import Plan
from paged_demo.sizing.units import GIB, in_gib
from paged_demo.views import style
from paged_demo.views.picture import new_axes, new_figure, with_words

COMPUTED: dict[str, Any] = {"facecolor": style.SEQUENCE_TINTS[6], "edgecolor": "none"}
MEASURED: dict[str, Any] = {"facecolor": "white", "edgecolor": "black", "linestyle": "--", "linewidth": 1.0}
POOL = style.FATES["free"].patch_style()
HELD = style.FATES["used"].patch_style()
LACKING = style.FATES["internal"].patch_style()
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "computed": COMPUTED,
    "measured": MEASURED,
    "pool": POOL,
    "one request": HELD,
    "lacking": LACKING,
}


@style.applied()
def waterfall(memory: Memory, planned: Plan, *, ax: Axes | None = None) -> Axes:
    """Draw the chain from a GPU's memory to its pool, and below it one request of the longest length.

    Parameters
    ----------
    memory : Memory
        The chain of one GPU.
    planned : Plan
        Its pool, of one stage.
    """
    ax = ax or new_axes(3.0)
    total = memory.total_bytes
    weights, peak, outside, _ = memory.parts
    steps = [
        ("card", total, COMPUTED),
        ("not asked", total - memory.requested_bytes, COMPUTED),
        ("weights", weights[1], COMPUTED if planned.server.tensor_parallel > 1 else MEASURED),
        ("trial run", peak[1], MEASURED),
        ("other", outside[1], MEASURED),
    ]
    end = total
    for row, (_, size, look) in enumerate(steps):
        start = end - size
        style.rectangle(ax, max(start, 0) / GIB, row - 0.4, (end - max(start, 0)) / GIB, 0.8, **look)
        _label(ax, (start, end), row, f"{'' if row == 0 else '-'}{in_gib(size)}", total)
        end = end if row == 0 else start
    left = memory.available_bytes
    style.rectangle(ax, 0, 4.6, max(left, 0) / GIB, 0.8, **POOL)
    _label(ax, (0, max(left, 0)), 5, in_gib(left), total)
    need = planned.needed_bytes[0]
    held = min(need, max(left, 0))
    style.rectangle(ax, 0, 5.6, held / GIB, 0.8, **HELD)
    if need > left:
        style.rectangle(ax, held / GIB, 5.6, (min(need, total) - held) / GIB, 0.8, **LACKING)
    _label(ax, (0, min(need, total)), 6, in_gib(need), total)
    ax.set_yticks(range(7), [*(name for name, *_ in steps), "= pool", "request"], fontsize=10)
    ax.set(xlim=(0, total / GIB), ylim=(6.6, -0.6), xlabel="GiB of one GPU")
    ax.tick_params(axis="y", length=0)
    return with_words(ax, f"{in_gib(left)} GiB are left of {in_gib(total)}; a request takes {in_gib(need)}.")


def _label(ax: Axes, span: tuple[int, int], row: int, text: str, total: int) -> None:
    """Write an amount right of its bar, or left of it where there is no room."""
    start, end = (max(each, 0) for each in span)
    plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    if end < 0.84 * total:
        ax.text(end / GIB + 0.3, row, text, va="center", fontsize=9)
    elif start > 0.2 * total:
        ax.text(start / GIB - 0.3, row, text, va="center", ha="right", fontsize=9)
    else:
        ax.text((start + end) / 2 / GIB, row, text, va="center", ha="center", fontsize=9, bbox=plate)


@style.applied()
def one_pool_twice(plans: Sequence[Plan], *, ax: Axes | None = None) -> Axes:
    """Draw a pool in requests of the longest length, once for each plan of it.

    Parameters
    ----------
    plans : sequence of Plan
        Plans of one pool with other longest lengths; groups of windows are drawn apart from full ones.
    """
    if not plans:
        raise ValueError("plans must hold at least one plan, got none")
    ax = ax or new_axes(0.9 + 0.75 * len(plans))
    looks = {"windows": style.FATES["shared"].patch_style(), "all tokens": HELD}
    for row, planned in enumerate(plans):
        held = planned.blocks_for(planned.max_model_len or 1)
        kinds = [group.kind for group in planned.groups]
        in_windows = sum(blocks for blocks, kind in zip(held, kinds, strict=True) if kind == "sliding")
        start = 0
        while start < planned.blocks:
            for name, blocks in (("windows", in_windows), ("all tokens", sum(held) - in_windows)):
                width = max(0, min(blocks, planned.blocks - start))
                ax.add_patch(Rectangle((start, row - 0.3), width, 0.6, **looks[name]))
                start += blocks
            ax.plot([start] * 2, [row - 0.4, row + 0.4], color="black", linewidth=1.5)
        ax.text(
            0,
            row - 0.36,
            f'"{planned.tokens:,} tokens", {planned.concurrency:.2f}x',
            va="bottom",
            fontsize=10,
        )
    blocks = plans[0].blocks
    ax.set_yticks(range(len(plans)), [f"{planned.max_model_len:,}" for planned in plans])
    ax.set(xlim=(0, blocks), ylim=(len(plans) - 0.5, -0.7), xlabel="blocks", ylabel="max_model_len")
    ax.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    handles = [Rectangle((0, 0), 1, 1, label=name, **look) for name, look in looks.items()]
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, fontsize=10)
    told = "; ".join(
        f"{planned.max_model_len:,}: a request takes {planned.need:,}, K is {planned.concurrency:.2f}, "
        f"the line says {planned.tokens:,} tokens"
        for planned in plans
    )
    return with_words(ax, f"the same {blocks:,} blocks by max_model_len. {told}.")


@style.applied()
def servers(runs: Mapping[str, Sequence[Reading]]) -> Axes:
    """Draw the metrics of servers over time, side by side: requests above, usage and hits below.

    Parameters
    ----------
    runs : mapping of str to sequence of Reading
        What each server's metrics said.
    """
    if not runs or not all(runs.values()):
        raise ValueError("runs must hold at least one run of one reading or more")
    figure = new_figure(3.8)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(2, len(runs), sharex=True, sharey="row", squeeze=False)
    for column, (name, readings) in enumerate(runs.items()):
        times = [each.time_s for each in readings]
        running = np.array([each.running for each in readings])
        waiting = np.array([each.waiting for each in readings])
        above, below = axes[:, column]
        above.fill_between(times, 0, running, step="post", color=style.RUNNING, linewidth=0, label="running")
        above.fill_between(
            times, running, running + waiting, step="post", color=style.WAITING, linewidth=0, label="waiting"
        )
        above.set_title(f"{name}: {readings[-1].preemptions} preemptions", fontsize=11)
        usage = [100 * each.usage for each in readings]
        below.plot(times, usage, color=style.PAGED, linewidth=1.6, label="KV cache usage")
        hits = [100 * each.found / each.asked if each.asked else 0 for each in readings]
        below.plot(times, hits, color=style.TRADITIONAL, linewidth=1.6, linestyle="--", label="hit rate")
        below.set(xlabel="time (s)", ylim=(-4, 104))
    axes[0, 0].set_ylabel("requests")
    axes[1, 0].set_ylabel("%")
    axes[0, -1].legend(fontsize=9, loc="upper left")
    axes[1, -1].legend(fontsize=9, loc="upper left")
    told = ". ".join(f"{name} at the end: {_told(readings[-1])}" for name, readings in runs.items())
    return with_words(axes[0, 0], f"four servers over time, each with its metrics. {told}.")


def _told(last: Reading) -> str:
    return (
        f"{last.running} running, {last.waiting} waiting, usage {100 * last.usage:.0f} %,"
        f" {last.preemptions} preemptions"
    )


def flags_of(name: str) -> str:
    """Write the flags and the load of one of the four servers."""
    setting = SETTINGS[name]
    told = f"max_num_seqs {setting.max_num_seqs}, max_num_batched_tokens {setting.max_num_batched_tokens:,}"
    told += f", {setting.num_blocks:,} blocks of {setting.block_size}, {setting.rate_rps:g} requests/s"
    return told + (f", the first {setting.num_common} tokens alike" if setting.num_common else "")


@style.applied()
def seconds_of_steps(
    steps: Sequence[Step], *, output_tokens: int, most_requests: int, ax: Axes | None = None
) -> Axes:
    """Draw what a step's seconds go to, by its batch, and the requests that end in a second.

    Parameters
    ----------
    steps : sequence of Step
        By batch, the smallest first.
    output_tokens : int
        Of a request.
    most_requests : int
        The batch that the pool holds: those beyond it are drawn paler.
    """
    if not steps:
        raise ValueError("steps must hold at least one step, got none")
    ax = ax or new_axes(3.4)
    looks = {
        "reading weights": COMPUTED,
        "reading KV": HELD,
        "computing longer than reading": style.FATES["reserved"].patch_style(),
    }
    for place, step in enumerate(steps):
        bottom = 0.0
        alpha = 1.0 if step.requests <= most_requests else 0.35
        parts = (step.fixed_s + step.weights_s, step.cache_s, step.compute_s)
        for part, look in zip(parts, looks.values(), strict=True):
            ax.bar(place, 1e3 * part, 0.7, 1e3 * bottom, alpha=alpha, **look)
            bottom += part
        rate = step.requests_per_s(output_tokens)
        ax.text(place, 1e3 * bottom, f"{rate:.1f}/s", ha="center", va="bottom", fontsize=10)
    fits = sum(step.requests <= most_requests for step in steps)
    top = 1.15e3 * max(step.total_s for step in steps)
    if 0 < fits < len(steps):
        ax.axvline(fits - 0.5, color="black", linewidth=1, linestyle="--")
        ax.text(fits - 0.45, 0.98 * top, "beyond the pool", va="top", fontsize=10)
    ax.set_xticks(range(len(steps)), [f"{step.requests:,}" for step in steps])
    ax.set(xlabel="batch (requests)", ylabel="a step (ms)", ylim=(0, top))
    handles = [Rectangle((0, 0), 1, 1, label=name, **look) for name, look in looks.items()]
    ax.legend(handles=handles, loc="upper left", fontsize=10)
    told = ", ".join(
        f"{step.requests} {1e3 * step.total_s:.1f} ms, {step.requests_per_s(output_tokens):.1f}/s"
        for step in steps
    )
    words = (
        f"a step by its batch, and the requests that end in a second: {told}. The pool holds {most_requests}."
    )
    return with_words(ax, words)
