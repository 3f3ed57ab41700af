"""Notebook 04: attention over shuffled pages, and what a larger batch gains."""

import numpy as np

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
from paged_demo.views.live import MARK, Explorer, Panels, choice, number

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
        outputs = nb04_plots.output_bars(output, expected=expected, ax=panels["outputs"])
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
    num_kv_tokens = batch * TOKENS_PER_SEQUENCE
    reading_s = OPT_13B_STEP.reading_s(num_kv_tokens, slowdown=slowdown)
    rate = batch / reading_s
    # A sheet does not move, so its axis need not reach for the slowest kernel of the slider.
    slowest_percent = LARGEST_SLOWDOWN if "curve" in panels else 100
    longest_s = OPT_13B_STEP.reading_s(NUM_SLOTS_13B, slowdown=1 + slowest_percent / 100)
    bars = nb04_plots.reading_bars(
        OPT_13B_STEP,
        num_kv_tokens=num_kv_tokens,
        slowdown=slowdown,
        axis_ms=1150 * max(longest_s, reading_s),
        ax=panels["bars"],
    )
    sequences = count_of(batch, "sequence")
    bars.set_title(f"{sequences}: {rate:,.0f} tokens per second, paged")
    if "curve" in panels:
        curve = nb04_plots.rate_against_batch(
            OPT_13B_STEP, tokens_per_sequence=TOKENS_PER_SEQUENCE, slowdown=slowdown, ax=panels["curve"]
        )
        curve.plot(batch, rate, **MARK)
    return (
        f"A batch of {sequences}, a kernel {slower_percent} % slower: one iteration reads the weights in"
        f" {1000 * OPT_13B_STEP.weights_s:.1f} ms, and the keys and values of {num_kv_tokens:,.0f} tokens"
        f" in {1000 * (reading_s - OPT_13B_STEP.weights_s):.1f} ms. That allows"
        f" {rate:,.0f} tokens per second;"
        f" over contiguous memory it would be {batch / OPT_13B_STEP.reading_s(num_kv_tokens):,.0f}."
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
