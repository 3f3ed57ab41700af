"""Notebook 04: attention over shuffled pages, and what a larger batch gains."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from paged_demo.attention.kernels import dense_attention
from paged_demo.attention.quick_kernel import paged_attention
from paged_demo.attention.shapes import Floats, Ints
from paged_demo.attention.store import KVStore
from paged_demo.checks import check_count
from paged_demo.paper.numbers import FIG_13, NUM_SLOTS_13B, kernel_slowdowns, tokens_in_pool
from paged_demo.serving.iteration_time import OPT_13B_ITERATION, IterationTime
from paged_demo.views import plots, style
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.picture import new_axes, with_words
from paged_demo.views.screen import is_narrow
from paged_demo.views.strip import Box, collect
from paged_demo.views.style import count_of

Numbers = npt.NDArray[np.floating[Any]] | Sequence[float]


@style.applied()
def output_bars(output: Numbers, *, expected: Numbers, ax: Axes | None = None) -> Axes:
    """Draw the numbers of an output of attention, and as outlines what they should be.

    Parameters
    ----------
    output, expected : sequence of float
        One number for each element of a head.
    """
    ax = ax or new_axes(2.2)
    outline = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.6}
    for numbers, look in ((output, {"facecolor": style.PAGED, "edgecolor": "none"}), (expected, outline)):
        boxes = [Box(element - 0.4, 0, 0.8, number) for element, number in enumerate(numbers)]
        ax.add_collection(collect(boxes, **look), autolim=False)
    ax.axhline(0, color="black", linewidth=0.8)
    reach = 1.2 * float(np.abs(expected).max())
    ax.set(xlim=(-0.8, len(output) - 0.2), ylim=(-reach, reach), xticks=[])
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.set(xlabel=f"the {len(output)} numbers of the output", ylabel="value")
    ax.spines["bottom"].set_visible(False)
    return ax


@style.applied()
def scores_by_page(scores: Numbers, *, page_size: int, ax: Axes | None = None) -> Axes:
    """Draw the scores of a context in the order of its pages, and the highest that was met so far.

    Above each page stands what the sums of the pages before it are multiplied with.

    Parameters
    ----------
    scores : sequence of float
        Query times key, scaled: one for each token.
    page_size : int
        Slots in a page.
    """
    page_size = check_count("page_size", page_size)
    ax = ax or new_axes(3.0)
    marks = np.asarray(scores, dtype=float)
    starts = range(0, len(marks), page_size)
    highest, steps = -np.inf, []
    for page, start in enumerate(starts):
        end = min(start + page_size, len(marks))
        higher = max(highest, marks[start:end].max())
        if page % 2 == 0:
            ax.axvspan(start - 0.5, end - 0.5, color=style.FATES["cached"].colour, alpha=0.35, linewidth=0)
        ax.hlines(higher, start - 0.5, end - 0.5, color="black", linewidth=2.2)
        factor = "start" if page == 0 else f"x {np.exp(highest - higher):.2f}"
        top, look = ((start + end - 1) / 2, 1), {"ha": "center", "va": "top"}
        style.note(ax, f"page {page}\n{factor}", top, (0, -4), transform=ax.get_xaxis_transform(), **look)
        highest = higher
        steps.append(f"{highest:.2f}")
    ax.plot(np.arange(len(marks)), marks, "o", color=style.PAGED, markersize=5)
    spread = float(np.ptp(marks)) or 1.0
    ax.set(xlim=(-0.5, len(marks) - 0.5), ylim=(marks.min() - 0.1 * spread, marks.max() + 0.55 * spread))
    ax.set(xlabel="position of the token in its sequence", ylabel="score")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    told = f"a dot for each of the {len(marks)} scores; lines for the highest so far, page by page"
    return with_words(ax, f"{told}: {', '.join(steps)}.")


@style.applied()
def cost_by_page_size(ratios: Mapping[int, float], *, ax: Axes | None = None) -> Axes:
    """Draw how many times as long attention takes over pages as over contiguous memory.

    Parameters
    ----------
    ratios : mapping of int to float
        Time over pages by time over contiguous arrays, by page size in slots.
    """
    ax = ax or new_axes(3.0)
    page_sizes = list(ratios)
    low, high = kernel_slowdowns(32)
    ax.axhspan(low, high, color=style.TRADITIONAL, alpha=0.25, linewidth=0)
    ax.axhline(1, color="black", linewidth=1.2, linestyle="--")
    ax.plot(page_sizes, list(ratios.values()), "o-", color=style.PAGED, linewidth=2.2, markersize=7)
    style.page_size_axis(ax, page_sizes)
    ax.set(ylim=(0, max(1.6, 1.15 * max(ratios.values()))), ylabel="time (contiguous: 1)")
    labels = {
        "dashed: contiguous memory": "black",
        "shaded: the paper's kernel on an A100 (Fig. 18a, batch 32)": style.TRADITIONAL,
    }
    for row, (label, colour) in enumerate(labels.items()):
        ax.text(0.99, 0.94 - 0.1 * row, label, transform=ax.transAxes, ha="right", va="center", color=colour)
    first = (page_sizes[0], ratios[page_sizes[0]])
    style.note(ax, "here, over pages", first, (12, 2), color=style.PAGED, bbox=style.PLATE)
    # Of neighbours noise decides which costs more.
    comparison = "more than" if ratios[page_sizes[0]] > ratios[page_sizes[-1]] else "no more than"
    told = f"pages of {page_sizes[0]} cost {comparison} of {page_sizes[-1]}."
    told += f" Paper: {low:.2f} to {high:.2f}"
    return with_words(ax, f"time over pages by time over plain arrays: {told}")


@style.applied()
def reading_bars(
    iteration: IterationTime, *, num_kv_tokens: float, slowdown: float, axis_ms: float, ax: Axes | None = None
) -> Axes:
    """Draw what one iteration reads, as bars of milliseconds: the weights, and keys and values.

    Parameters
    ----------
    iteration : IterationTime
        How long each takes.
    num_kv_tokens : float
        Tokens whose keys and values are read.
    slowdown : float
        How many times as long the kernel over pages takes to read them.
    axis_ms : float
        How far the axis reaches.
    """
    ax = ax or new_axes(2.0)
    weights = 1000 * iteration.weights_s
    for row, (name, factor) in enumerate({"contiguous": 1.0, "paged": slowdown}.items()):
        kv = 1000 * iteration.reading_s(num_kv_tokens, slowdown=factor) - weights
        style.rectangle(ax, 0, row - 0.3, weights, 0.6, facecolor="#F5F5F5", edgecolor="black", linewidth=0.8)
        colour = style.PAGED if name == "paged" else style.TRADITIONAL
        style.rectangle(ax, weights, row - 0.3, kv, 0.6, facecolor=colour)
        label = "weights" if is_narrow(ax) else f"weights {weights:.1f}"
        ax.text(weights / 2, row, label, ha="center", va="center", fontsize=9.5)
        style.note(ax, f"KV {kv:.1f}", (weights + kv, row), (4, 0), color=colour)
    ax.set(xlim=(0, axis_ms), ylim=(1.5, -0.5), xlabel="one iteration (ms)")
    ax.set_yticks([0, 1], ["contiguous", "paged"])
    ax.tick_params(axis="y", length=0)
    return ax


@style.applied()
def rate_against_batch(
    iteration: IterationTime, *, tokens_per_sequence: float, slowdown: float, ax: Axes | None = None
) -> Axes:
    """Draw the tokens per second that memory allows against the batch, for both kernels.

    The diamonds are the paper's batches, with the tokens that each scheme keeps in its pool (Figs. 13 and 2).

    Parameters
    ----------
    iteration : IterationTime
        How long it takes to read.
    tokens_per_sequence : float
        Mean context of a sequence. The curves end where the pool of 15,744 slots is full of such sequences.
    slowdown : float
        How many times as long the kernel over pages takes to read keys and values.
    """
    ax = ax or new_axes()
    batches = np.linspace(1, NUM_SLOTS_13B / tokens_per_sequence, 60)
    kernels = {
        "dashed: a kernel over contiguous memory": (1.0, style.TRADITIONAL, "--"),
        "solid: a kernel over pages": (slowdown, style.PAGED, "-"),
    }
    for row, (name, (factor, colour, line)) in enumerate(kernels.items()):
        rates = [
            batch / iteration.reading_s(batch * tokens_per_sequence, slowdown=factor) for batch in batches
        ]
        ax.plot(batches, rates, line, color=colour, linewidth=2.2)
        ax.text(1, 1250 - 120 * row, name, color=colour)
    for scheme, batch in FIG_13["ShareGPT"].items():
        is_paged = scheme == "vLLM"
        rate = batch / iteration.reading_s(tokens_in_pool(scheme), slowdown=slowdown if is_paged else 1.0)
        ax.plot(batch, rate, "D", color="black", markerfacecolor="none", markersize=9)
        offset, side = ((0, -26), "center") if is_paged else ((12, -10), "left")
        look: dict[str, Any] = {"ha": side, "va": "top", "bbox": style.PLATE}
        style.note(ax, f"{scheme}: {rate:,.0f}", (batch, rate), offset, **look)
    ax.set(xlim=(0, 33.5), ylim=(0, 1400), xlabel="sequences in the batch", ylabel="tokens per second")
    return ax


def times_as_long(
    ways: Mapping[Any, Callable[[], Any]], *, reference: Any, num_rounds: int = 60
) -> dict[Any, float]:
    """Run functions in turn; return, as medians over rounds, how many times as long as one each takes.

    Parameters
    ----------
    ways : mapping of name to callable
        What to run.
    reference : object
        The name of the one to compare with.
    """
    rounds: list[dict[Any, float]] = []
    for _ in range(check_count("num_rounds", num_rounds)):
        seconds = {}
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[way] = time.perf_counter() - start
        rounds.append(seconds)
    return {way: median(seconds[way] / seconds[reference] for seconds in rounds) for way in ways}


NUM_TOKENS = 29
POOL_SLOTS = 48
HEAD_DIM = 16
PAGE_SIZES = (4, 8, 16)

TOKENS_PER_SEQUENCE = tokens_in_pool("vLLM") / FIG_13["ShareGPT"]["vLLM"]
LARGEST_BATCH = int(NUM_SLOTS_13B // TOKENS_PER_SEQUENCE)
LARGEST_SLOWDOWN = 900


def explore_page_order() -> Explorer:
    """Explore where the pages of a sequence lie, and what attention makes of them."""
    rng = np.random.default_rng(4)
    query, keys, values = (
        rng.standard_normal((num_tokens, 1, HEAD_DIM), dtype=np.float32)
        for num_tokens in (1, NUM_TOKENS, NUM_TOKENS)
    )
    expected = dense_attention(query, keys, values)[0, 0]

    def attend(table: Ints, page_size: int) -> Floats:
        store = KVStore(POOL_SLOTS // page_size, page_size, 1, HEAD_DIM)
        logical, offsets = np.divmod(np.arange(NUM_TOKENS), page_size)
        store.write(table[logical] * page_size + offsets, keys, values)
        outputs = paged_attention(query, store.keys, store.values, table[np.newaxis], [NUM_TOKENS])
        output: Floats = outputs[0, 0]
        return output

    def fill(panels: Panels, *, shuffle: int, page_size: int) -> str:
        in_order = attend(np.arange(-(-NUM_TOKENS // page_size)), page_size)
        table, num_pages = _shuffled_table(shuffle, page_size), POOL_SLOTS // page_size
        output = attend(table, page_size)
        num_moved = int((output != in_order).sum())
        tables = plots.page_tables({"A": table.tolist()}, num_pages=num_pages, ax=panels["tables"])
        tables.set_title(f"shuffle {shuffle}, pages of {page_size}")
        outputs = output_bars(output, expected=expected, ax=panels["outputs"])
        outputs.set_title(f"output: {num_moved} of {HEAD_DIM} numbers moved")
        agrees = bool(np.allclose(output, expected, rtol=1e-5, atol=1e-6))
        return (
            f"Shuffle {shuffle}, page size {page_size}: {NUM_TOKENS} tokens lie in the pages"
            f" {', '.join(map(str, table))} of {num_pages}, in this order."
            f" Of the {HEAD_DIM} numbers of the output {num_moved} moved, to the last bit; they"
            f" {'agree' if agrees else 'disagree'} with attention over plain arrays."
        )

    return Explorer(
        fill,
        {
            "shuffle": number("shuffle", 1, lowest=0, highest=50),
            "page_size": choice("page size (slots)", PAGE_SIZES, 8),
        },
        panels={"tables": (0.1, 0.486667, 0.88, 0.429524), "outputs": (0.1, 0.095238, 0.88, 0.285714)},
        sheet={"tables": (0.2, 0.486667, 0.78, 0.429524), "outputs": (0.2, 0.095238, 0.78, 0.285714)},
        height=4.4,
    )


def _shuffled_table(shuffle: int, page_size: int) -> Ints:
    num_pages = POOL_SLOTS // page_size
    order: Ints = np.arange(num_pages)
    if shuffle:
        np.random.default_rng(shuffle).shuffle(order)
    return order[: -(-NUM_TOKENS // page_size)]


def _fill_roofline(panels: Panels, *, batch: int, slower_percent: int) -> str:
    slowdown = 1 + slower_percent / 100
    num_kv_tokens, weights_s = batch * TOKENS_PER_SEQUENCE, OPT_13B_ITERATION.weights_s
    reading_s = OPT_13B_ITERATION.reading_s(num_kv_tokens, slowdown=slowdown)
    rate = batch / reading_s
    # A sheet does not move, so its axis need not reach for the slowest kernel of the slider.
    slowest_percent = LARGEST_SLOWDOWN if "curve" in panels else 100
    longest_s = OPT_13B_ITERATION.reading_s(NUM_SLOTS_13B, slowdown=1 + slowest_percent / 100)
    axis_ms = 1150 * max(longest_s, reading_s)
    sequences = count_of(batch, "sequence")
    reading_bars(
        OPT_13B_ITERATION, num_kv_tokens=num_kv_tokens, slowdown=slowdown, axis_ms=axis_ms, ax=panels["bars"]
    ).set_title(f"{sequences}: {rate:,.0f} tokens per second, paged")
    if "curve" in panels:
        rate_against_batch(
            OPT_13B_ITERATION, tokens_per_sequence=TOKENS_PER_SEQUENCE, slowdown=slowdown, ax=panels["curve"]
        ).plot(batch, rate, **style.MARK)
    return (
        f"A batch of {sequences}, a kernel {slower_percent} % slower: one iteration reads the weights in"
        f" {1000 * weights_s:.1f} ms, and the keys and values of {num_kv_tokens:,.0f} tokens in"
        f" {1000 * (reading_s - weights_s):.1f} ms. That allows {rate:,.0f} tokens per second;"
        f" over contiguous memory it would be {batch / OPT_13B_ITERATION.reading_s(num_kv_tokens):,.0f}."
    )


def explore_roofline() -> Explorer:
    """Explore how the batch and the kernel set the tokens per second, on the paper's OPT-13B server."""
    return Explorer(
        _fill_roofline,
        {
            "batch": number("batch", 7, lowest=1, highest=LARGEST_BATCH),
            "slower_percent": number("kernel slower (%)", 26, lowest=0, highest=LARGEST_SLOWDOWN),
        },
        panels={"bars": (0.14, 0.828571, 0.84, 0.114286), "curve": (0.14, 0.114286, 0.84, 0.571429)},
        sheet={"bars": (0.14, 0.4, 0.84, 0.4)},
        height=5.2,
    )
