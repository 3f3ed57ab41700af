"""Notebook 04: attention over shuffled pages, and what a larger batch gains."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure

from paged_demo.attention.kernels import dense_attention
from paged_demo.attention.quick_kernel import paged_attention
from paged_demo.attention.shapes import Floats, Ints
from paged_demo.attention.store import KVStore
from paged_demo.course import nb04_plots
from paged_demo.course.nb04_plots import best_seconds, cost_by_page_size, scores_by_page  # noqa: F401 - the notebook uses them
from paged_demo.paper.numbers import FIG_13, NUM_SLOTS_13B, tokens_in_pool
from paged_demo.serving.step_time import OPT_13B_STEP
from paged_demo.views import plots
from paged_demo.views.amounts import count_of
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, clear_contents, contents, set_title

NUM_TOKENS = 29
POOL_SLOTS = 48
HEAD_DIM = 16
PAGE_SIZES = (4, 8, 16)

TOKENS_PER_SEQUENCE = tokens_in_pool("vLLM") / FIG_13["ShareGPT"]["vLLM"]
LARGEST_BATCH = int(NUM_SLOTS_13B // TOKENS_PER_SEQUENCE)
LARGEST_SLOWDOWN = 900


class _PageOrderScene:
    """One sequence in pages that lie anywhere, and the output of its attention."""

    frame = None

    def __init__(self, figure: Figure | SubFigure, left: float = 0.1) -> None:
        top, bottom = figure.subfigures(2, 1, height_ratios=[11, 10], squeeze=False).flat
        self._tables = top.add_axes((left, 0.02, 0.98 - left, 0.82))
        self._outputs = bottom.add_axes((left, 0.2, 0.98 - left, 0.6))
        rng = np.random.default_rng(4)
        self._query, self._keys, self._values = (
            rng.standard_normal((num_tokens, 1, HEAD_DIM), dtype=np.float32)
            for num_tokens in (1, NUM_TOKENS, NUM_TOKENS)
        )
        self._expected = dense_attention(self._query, self._keys, self._values)[0, 0]

    def update(self, *, shuffle: int, page_size: int) -> str:
        in_order = self._attend(np.arange(-(-NUM_TOKENS // page_size)), page_size)
        table = _shuffled_table(shuffle, page_size)
        output = self._attend(table, page_size)
        num_moved = int((output != in_order).sum())
        clear_contents(self._tables)
        plots.page_tables({"A": table.tolist()}, num_pages=POOL_SLOTS // page_size, ax=self._tables)
        set_title(self._tables, f"shuffle {shuffle}, pages of {page_size}")
        clear_contents(self._outputs)
        nb04_plots.output_bars(output, expected=self._expected, ax=self._outputs)
        set_title(self._outputs, f"output: {num_moved} of {HEAD_DIM} numbers moved")
        agrees = bool(np.allclose(output, self._expected, rtol=1e-5, atol=1e-6))
        return (
            f"Shuffle {shuffle}, page size {page_size}: {NUM_TOKENS} tokens lie in the pages"
            f" {', '.join(map(str, table))} of {POOL_SLOTS // page_size}, in this order."
            f" Of the {HEAD_DIM} numbers of the output {num_moved} moved, to the last bit; they"
            f" {'agree' if agrees else 'disagree'} with attention over plain arrays."
        )

    def moving(self) -> list[Artist]:
        return [*contents(self._tables), *contents(self._outputs)]

    def _attend(self, table: Ints, page_size: int) -> Floats:
        store = KVStore(POOL_SLOTS // page_size, page_size, 1, HEAD_DIM)
        logical, offsets = np.divmod(np.arange(NUM_TOKENS), page_size)
        store.write(table[logical] * page_size + offsets, self._keys, self._values)
        outputs = paged_attention(self._query, store.keys, store.values, table[np.newaxis], [NUM_TOKENS])
        output: Floats = outputs[0, 0]
        return output


def _shuffled_table(shuffle: int, page_size: int) -> Ints:
    num_pages = POOL_SLOTS // page_size
    order: Ints = np.arange(num_pages)
    if shuffle:
        np.random.default_rng(shuffle).shuffle(order)
    return order[: -(-NUM_TOKENS // page_size)]


def explore_page_order() -> Explorer:
    """Explore where the pages of a sequence lie, and what attention makes of them."""
    return Explorer(
        _PageOrderScene,
        {
            "shuffle": number("shuffle", 1, lowest=0, highest=50),
            "page_size": choice("page size (slots)", PAGE_SIZES, 8),
        },
        height=4.4,
        make_sheet_scene=lambda figure: _PageOrderScene(figure, left=0.2),
    )


class _ReadingBars:
    """What one iteration reads, and how many tokens per second that allows."""

    frame = None

    def __init__(self, figure: Figure | SubFigure, *, slowest_percent: int) -> None:
        self._ax = figure.add_axes((0.14, 0.4, 0.84, 0.4))
        self._longest_s = OPT_13B_STEP.reading_s(NUM_SLOTS_13B, slowdown=1 + slowest_percent / 100)

    def update(self, *, batch: int, slower_percent: int) -> str:
        slowdown = 1 + slower_percent / 100
        num_kv_tokens = batch * TOKENS_PER_SEQUENCE
        reading_s = OPT_13B_STEP.reading_s(num_kv_tokens, slowdown=slowdown)
        clear_contents(self._ax)
        nb04_plots.reading_bars(
            OPT_13B_STEP,
            num_kv_tokens=num_kv_tokens,
            slowdown=slowdown,
            axis_ms=1150 * max(self._longest_s, reading_s),
            ax=self._ax,
        )
        sequences = count_of(batch, "sequence")
        set_title(self._ax, f"{sequences}: {batch / reading_s:,.0f} tokens per second, paged")
        return (
            f"A batch of {sequences}, a kernel {slower_percent} % slower: one iteration reads the weights in"
            f" {1000 * OPT_13B_STEP.weights_s:.1f} ms, and the keys and values of {num_kv_tokens:,.0f} tokens"
            f" in {1000 * (reading_s - OPT_13B_STEP.weights_s):.1f} ms. That allows"
            f" {batch / reading_s:,.0f} tokens per second;"
            f" over contiguous memory it would be {batch / OPT_13B_STEP.reading_s(num_kv_tokens):,.0f}."
        )

    def moving(self) -> list[Artist]:
        return contents(self._ax)


class _RooflineScene:
    """What one iteration reads, and where its batch lies on the curve of all batches."""

    frame = None

    def __init__(self, figure: Figure | SubFigure) -> None:
        top, bottom = figure.subfigures(2, 1, height_ratios=[2, 5], squeeze=False).flat
        self._bars = _ReadingBars(top, slowest_percent=LARGEST_SLOWDOWN)
        self._ax = bottom.add_axes((0.14, 0.16, 0.84, 0.8))

    def update(self, *, batch: int, slower_percent: int) -> str:
        slowdown = 1 + slower_percent / 100
        clear_contents(self._ax)
        nb04_plots.rate_against_batch(
            OPT_13B_STEP, tokens_per_sequence=TOKENS_PER_SEQUENCE, slowdown=slowdown, ax=self._ax
        )
        rate = batch / OPT_13B_STEP.reading_s(batch * TOKENS_PER_SEQUENCE, slowdown=slowdown)
        self._ax.plot(batch, rate, "o", markersize=15, markerfacecolor="none", color="black")
        return self._bars.update(batch=batch, slower_percent=slower_percent)

    def moving(self) -> list[Artist]:
        return [*self._bars.moving(), *contents(self._ax)]


def explore_roofline() -> Explorer:
    """Explore how the batch and the kernel set the tokens per second, on the paper's OPT-13B server."""
    return Explorer(
        _RooflineScene,
        {
            "batch": number("batch", 7, lowest=1, highest=LARGEST_BATCH),
            "slower_percent": number("kernel slower (%)", 26, lowest=0, highest=LARGEST_SLOWDOWN),
        },
        height=5.2,
        # A sheet does not move, so its axis need not reach for the slowest kernel of the slider.
        make_sheet_scene=lambda figure: _ReadingBars(figure, slowest_percent=100),
    )
