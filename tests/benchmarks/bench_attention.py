"""Time of an iteration over pages, against the same over contiguous keys and values.

Run with ``OPENBLAS_NUM_THREADS=1 python tests/benchmarks/bench_attention.py``. Eight sequences of 600 to
1500 tokens, 32 query heads and 8 heads of keys and values, head dimension 128, float32; the pages are
shuffled over the pool. Every way is timed in every round, in random order and with cold caches: 96 MB of
something else are read before.

The rival is `dense_attention` on contiguous arrays, in the layout that is quickest on this machine; the
others are shown too. The floor is NumPy's sum of the same bytes. PyTorch is timed if it is installed.
"""

import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np

from paged_demo import KVStore, dense_attention, paged_attention, paged_attention_pagewise

NUM_SEQS, NUM_QUERY_HEADS, NUM_KV_HEADS, HEAD_DIM = 8, 32, 8, 128
PAGE_SIZES = (1, 4, 16, 64, 128)
ROUNDS = 31

# Order of the axes (token, head, element) in memory.
LAYOUTS = {"token head element": (0, 1, 2), "head token element": (1, 0, 2), "head element token": (1, 2, 0)}


def lay_out(array, order):
    """Return the array with the same axes, and its numbers in this order in memory."""
    return np.ascontiguousarray(array.transpose(order)).transpose(np.argsort(order))


def measure(ways, rng):
    """Return the seconds of each way, round by round."""
    something_else = np.ones(24_000_000, np.float32)
    times = {name: [] for name in ways}
    order = list(ways)
    for _ in range(ROUNDS):
        rng.shuffle(order)
        for name in order:
            something_else.sum()
            start = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - start)
    return times


def dense(queries, contexts):
    """Attend from each sequence to its own contiguous context."""
    for query, (keys, values) in zip(queries, contexts, strict=True):
        dense_attention(query[np.newaxis], keys, values)


def sum_all(contexts):
    """Read every byte once."""
    for keys, values in contexts:
        keys.sum()
        values.sum()


def pagewise(queries, store, tables, lengths):
    """Attend with the readable kernel."""
    for query, table, length in zip(queries, tables, lengths.tolist(), strict=True):
        paged_attention_pagewise(query, store.keys, store.values, table, length)


def with_torch(queries, contexts):
    """Prepare PyTorch's attention on contiguous copies."""
    import torch  # noqa: PLC0415 (optional)

    torch.set_num_threads(int(os.environ.get("OPENBLAS_NUM_THREADS", "1")))
    arguments = [
        [torch.from_numpy(np.ascontiguousarray(a.transpose(1, 0, 2)))[None] for a in (q[np.newaxis], *kv)]
        for q, kv in zip(queries, contexts, strict=True)
    ]
    attend = torch.nn.functional.scaled_dot_product_attention
    return lambda: [attend(*each, enable_gqa=True) for each in arguments]


def make_pages(contexts, lengths, page_size, rng):
    """Write the contexts into shuffled pages, and return the store and the tables."""
    counts = -(-lengths // page_size)
    store = KVStore(int(counts.sum()), page_size, NUM_KV_HEADS, HEAD_DIM)
    shuffled = rng.permutation(store.num_pages)
    tables = np.zeros((NUM_SEQS, counts.max()), np.intp)
    for row, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        tables[row, :count], shuffled = shuffled[:count], shuffled[count:]
        logical, offsets = np.divmod(np.arange(length), page_size)
        store.write(tables[row, logical] * page_size + offsets, *contexts[row])
    return store, tables


def print_times(times, num_bytes):
    """Print a row for each way, with its time relative to the quickest dense one."""
    dense_times = [seconds for name, seconds in times.items() if name.startswith("dense")]
    rivals = [min(map(of, dense_times)) for of in (statistics.median, min)]
    print(f"{'':44} {'median':>8} {'best':>8} {'GB/s':>6} {'ratio of medians, bests':>24}")
    for name, seconds in times.items():
        figures = statistics.median(seconds), min(seconds)
        median, best = (f"{1e3 * figure:5.2f} ms" for figure in figures)
        ratios = " ".join(f"{figure / rival:11.2f}" for figure, rival in zip(figures, rivals, strict=True))
        print(f"{name:44} {median} {best} {num_bytes / figures[0] / 1e9:6.1f} {ratios}")


def run():
    """Measure with as many threads as the environment says, and print the table."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(600, 1501, NUM_SEQS)
    shape = (NUM_KV_HEADS, HEAD_DIM)
    drawn = [[rng.standard_normal((n, *shape), dtype=np.float32) for _ in "kv"] for n in lengths]
    queries = rng.standard_normal((NUM_SEQS, NUM_QUERY_HEADS, HEAD_DIM), dtype=np.float32)
    num_bytes = sum(array.nbytes for context in drawn for array in context)

    print(f"\n{os.environ.get('OPENBLAS_NUM_THREADS', 'all')} threads, {num_bytes / 1e6:.0f} MB of KV")
    ways = {"sum of the same bytes": lambda: sum_all(drawn)}
    for name, order in LAYOUTS.items():
        contexts = [(lay_out(keys, order), lay_out(values, (1, 0, 2))) for keys, values in drawn]
        ways[f"dense, keys by {name}"] = lambda contexts=contexts: dense(queries, contexts)
    if find_spec("torch"):
        ways["torch scaled_dot_product_attention"] = with_torch(queries, drawn)
    for page_size in PAGE_SIZES:
        store, tables = make_pages(drawn, lengths, page_size, rng)
        arguments = queries, store.keys, store.values, tables, lengths
        ways[f"paged, page size {page_size}"] = lambda arguments=arguments: paged_attention(*arguments)
        if page_size >= 16:
            ways[f"pagewise, page size {page_size}"] = lambda store=store, tables=tables: pagewise(
                queries, store, tables, lengths
            )
    print_times(measure(ways, rng), num_bytes)


def main():
    """Print a table for one thread and one for two, unless the environment says how many."""
    if "OPENBLAS_NUM_THREADS" in os.environ:
        run()
        return
    for num_threads in ("1", "2"):
        # OpenBLAS reads the number of threads once, when it is loaded.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": num_threads}
        subprocess.run([sys.executable, __file__], env=environment, check=True)


if __name__ == "__main__":
    main()
