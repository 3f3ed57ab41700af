"""Plots of notebook 05, of shared pages: who holds them, what they save, in which order they are given up."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from paged_demo.allocators.studies import SharedPool
from paged_demo.checks import check_counts
from paged_demo.serving.rules import pages_held, pages_without_sharing
from paged_demo.serving.workload import Request
from paged_demo.views import style
from paged_demo.views.labels import write
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.plots.pages import page_edges
from paged_demo.views.strip import Box, collect, letter, tint


@style.applied()
def rows_of_shared_pages(
    pool: SharedPool, *, axis_slots: int | None = None, num_rows: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw sequences as rows of pages: which they share, which are their own, and what was copied.

    Parameters
    ----------
    pool : SharedPool
        What to draw.
    axis_slots : int, optional
        How far the axis reaches; as far as the longest row if left out.
    num_rows : int, optional
        Rows to leave room for; as many as there are sequences if left out.
    """
    ax = ax or new_axes(2.6)
    size = pool.memory_map.page_size or 1
    region_of = {region.start_slot // size: region for region in pool.memory_map.regions}
    boxes: dict[str, list[Box]] = {"shared": [], "reserved": []}
    own: dict[str, list[Box]] = {}
    names = [(0, row, f"{letter(seq_id)} ") for row, seq_id in enumerate(pool.page_tables)]
    write(ax, names, ha="right", va="center", fontsize=10)
    for row, (seq_id, table) in enumerate(pool.page_tables.items()):
        num_tokens = pool.num_tokens[seq_id]
        num_shared = min(size * sum(len(region_of[page_id].seq_ids) > 1 for page_id in table), num_tokens)
        boxes["shared"].append(_bar(row, 0, num_shared))
        own.setdefault(tint(seq_id), []).append(_bar(row, num_shared, num_tokens))
        boxes["reserved"].append(_bar(row, num_tokens, len(table) * size))
    drawn = [collect(bars, **style.FATES[name].patch_style()) for name, bars in boxes.items()]
    drawn += [collect(bars, facecolor=colour) for colour, bars in own.items()]
    drawn.append(collect(_copied(pool, size), facecolor="none", edgecolor="black", linewidth=2, zorder=3))
    for collection in drawn:
        ax.add_collection(collection, autolim=False)
    num_pages = [len(table) for table in pool.page_tables.values()]
    reach = axis_slots or max(num_pages) * size
    ax.set(xlim=(0, reach), ylim=((num_rows or len(num_pages)) - 0.4, -0.6), yticks=[])
    page_edges(ax, num_pages, size)
    ax.set_xlabel("slots, in the order of the tokens")
    ax.spines["left"].set_visible(False)
    return ax


def _bar(row: int, start: int, end: int) -> Box:
    return Box(start, row - 0.37, max(end - start, 0), 0.74)


def _copied(pool: SharedPool, size: int) -> list[Box]:
    """Find the tokens that were copied: those of the common beginning, in a page that came from another."""
    copied_to = {dst_page for _, dst_page in pool.copies}
    return [
        _bar(row, page * size, min(pool.num_common, (page + 1) * size))
        for row, table in enumerate(pool.page_tables.values())
        for page, page_id in enumerate(table)
        if page_id in copied_to
    ]


@style.applied()
def saved_against_prompt(*, num_samples: int, page_size: int, longest: int, ax: Axes | None = None) -> Axes:
    """Draw what sharing saves against the length of the prompt, when each sample has its first token.

    Parameters
    ----------
    num_samples : int
        Sequences that continue one prompt.
    page_size : int
        Slots in a page.
    longest : int
        Tokens of the longest prompt.
    """
    ax = ax or new_axes(2.6)
    num_samples, page_size, longest = check_counts(
        num_samples=num_samples, page_size=page_size, longest=longest
    )
    saved = {}
    for length in range(1, longest + 1):
        request = Request(0, length, 1, num_samples=num_samples)
        held, unshared = pages_held(request, 1, page_size), pages_without_sharing(request, 1, page_size)
        saved[length] = 100 * (1 - held / unshared)
    ax.plot(list(saved), list(saved.values()), color=style.PAGED, linewidth=2, drawstyle="steps-mid")
    ax.set(xlim=(0, longest), ylim=(0, 100), ylabel="pages saved (%)")
    return ax


@style.applied()
def copied_against_prompt(*, page_size: int, longest: int, ax: Axes | None = None) -> Axes:
    """Draw how much of a page a sample copies against the length of the prompt: a saw-tooth.

    Parameters
    ----------
    page_size : int
        Slots in a page.
    longest : int
        Tokens of the longest prompt.
    """
    ax = ax or new_axes(2.6)
    page_size, longest = check_counts(page_size=page_size, longest=longest)
    lengths = np.arange(1, longest + 1)
    copied = 100 * (lengths % page_size) / page_size
    ax.plot(lengths, copied, color=style.TRADITIONAL, linewidth=1.6)
    ax.axhline(100, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlim=(0, longest), ylim=(0, 112))
    ax.set(xlabel="tokens of the prompt", ylabel="copied by a\nsample (% of a page)")
    return ax


@style.applied()
def found_against_prefix(*, page_size: int, longest: int, ax: Axes | None = None) -> Axes:
    """Draw how much of a common beginning a prompt finds, against its length: whole pages only.

    Parameters
    ----------
    page_size : int
        Slots in a page.
    longest : int
        Tokens of the longest beginning.
    """
    ax = ax or new_axes(2.6)
    page_size, longest = check_counts(page_size=page_size, longest=longest)
    lengths = np.arange(longest + 1)
    found = lengths // page_size * page_size
    ax.plot(lengths, lengths, color="black", linewidth=1, linestyle="--")
    ax.plot(lengths, found, color=style.PAGED, linewidth=2, drawstyle="steps-post")
    ax.set(xlim=(0, longest), ylim=(0, longest * 1.04))
    ax.set(xlabel="tokens that the prompts begin with", ylabel="tokens found by\neach later prompt")
    return ax


@style.applied()
def eviction_queues(queues: Mapping[str, Mapping[int, str]], *, ax: Axes | None = None) -> Axes:
    """Draw the cached pages, moment by moment; the next to be evicted is at the left.

    Parameters
    ----------
    queues : mapping of str to mapping of int to str
        For each moment, what happened: the pages in the order of their eviction, with what they hold.
    """
    if not queues:
        raise ValueError("queues must hold at least one moment, got none")
    ax = ax or new_axes(0.9 + 0.55 * len(queues))
    edge: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.8}
    for row, queue in enumerate(queues.values()):
        for place, (page_id, held) in enumerate(queue.items()):
            ax.add_patch(Rectangle((place, row - 0.36), 0.94, 0.72, facecolor=tint(held[:1]), **edge))
            ax.text(place + 0.47, row, f"{held}\npage {page_id}", ha="center", va="center", fontsize=9)
        if not queue:
            ax.text(0.05, row, "none", va="center")
    longest = max(map(len, queues.values()))
    ax.set_yticks(range(len(queues)), list(queues))
    ax.set(xlim=(0, max(longest, 1)), ylim=(len(queues) - 0.5, -0.5))
    ax.set_xticks([0.47], ["evicted next"])
    style.bare(ax)
    told = "; ".join(f"{event}: {', '.join(queue.values())}" for event, queue in queues.items())
    return with_words(ax, f"the cached pages, next to be evicted first. {told}.")


@style.applied()
def hits_against_pages(
    curves: Mapping[str, Mapping[int, float]], *, asked_pages: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the share of the prompts' tokens that are found against the size of the pool.

    Parameters
    ----------
    curves : mapping of str to mapping of int to float
        For each workload: the share, 0 to 1, by the pages of the pool.
    asked_pages : int, optional
        Pages that hold all different prompts at once, to be marked.
    """
    ax = ax or new_axes(2.8)
    told = []
    for line, (name, curve) in zip(("-", "--", ":", "-."), curves.items(), strict=False):
        found = [100 * share for share in curve.values()]
        ax.plot(list(curve), found, line, color=style.PAGED, linewidth=2, label=name)
        if asked_pages is not None and (half := asked_pages // 2) in curve:
            told.append(f"{name} {100 * curve[half]:.0f} %")
    words = "tokens found by the size of the pool."
    if asked_pages is not None:
        ax.axvline(asked_pages, color="black", linewidth=0.8, linestyle="--")
        style.note(ax, "all prompts fit", (asked_pages, 3), (5, 0), va="bottom")
        if told:
            words += f" With {asked_pages // 2} pages of the {asked_pages} that all take: {', '.join(told)}."
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10)
    ax.set(xlim=(0, None), ylim=(0, 104), xlabel="pages in the pool", ylabel="tokens found (%)")
    return with_words(ax, words)
