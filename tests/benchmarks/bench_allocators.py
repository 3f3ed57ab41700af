"""Operations a second of the paged allocator with prefix caching on, and of a full group alone.

Run with ``python tests/benchmarks/bench_allocators.py``. An operation is one call: ``allocate``,
``append`` or ``free``. The time is processor time, the best of several rounds, and includes the
loop that makes the calls; that loop alone is measured too.
"""

import gc
import statistics
import time
from collections import deque

import numpy as np

from paged_demo import FullGroup, GroupedAllocator, PagedAllocator
from paged_demo.allocators.sequences import Append

NUM_REQUESTS = 1024
PAGE_SIZE = 16
MEAN_PROMPT, MEAN_OUTPUT = 161, 338
NUM_PAGES = 16_384
ROUNDS = 7


class NoAllocator:
    """Answers at once: what is left is the time of the loop."""

    def __init__(self):
        self.answer = Append(0, None)

    def allocate(self, seq_id, token_ids):
        return 0

    def append(self, seq_id, token_id):
        return self.answer

    def free(self, seq_id):
        pass


def make_requests(num_prompts, rng):
    """Return NUM_REQUESTS pairs of a prompt and its output; prompts repeat in turn."""
    lengths = 1 + rng.geometric(1 / MEAN_PROMPT, num_prompts)
    prompts = [rng.integers(0, 50_000, length).tolist() for length in lengths]
    outputs = [rng.integers(0, 50_000, n).tolist() for n in rng.geometric(1 / MEAN_OUTPUT, NUM_REQUESTS)]
    return [(prompts[index % num_prompts], output) for index, output in enumerate(outputs)]


def serve(allocator, requests, num_at_once):
    """Run all requests, a token each in turn; return the operations made and the tokens found."""
    waiting = deque(enumerate(requests))
    running = []
    num_operations = num_found = 0
    while waiting or running:
        while waiting and len(running) < num_at_once:
            seq_id, (prompt, output) = waiting.popleft()
            num_found += allocator.allocate(seq_id, prompt)
            running.append((seq_id, iter(output)))
            num_operations += 1
        append = allocator.append
        still_running = []
        for entry in running:
            seq_id, output = entry
            for token_id in output:
                append(seq_id, token_id)
                still_running.append(entry)
                break
            else:
                allocator.free(seq_id)
        num_operations += len(running)
        running = still_running
    return num_operations, num_found


def measure(make_allocator, requests, num_at_once):
    """Return the median and best rate in operations a second, and the tokens found."""
    rates = []
    for _ in range(ROUNDS):
        allocator = make_allocator()
        gc.collect()
        start = time.process_time()
        num_operations, num_found = serve(allocator, requests, num_at_once)
        rates.append(num_operations / (time.process_time() - start))
    return statistics.median(rates), max(rates), num_found


def main():
    """Print the table."""
    rng = np.random.default_rng(0)
    cases = [
        ("(a) all prompts different, 256 at once", make_requests(NUM_REQUESTS, rng), 256),
        ("(b) 256 prompts asked four times, 32 at once", make_requests(256, rng), 32),
    ]
    print(f"{NUM_REQUESTS} requests, page size {PAGE_SIZE}, pool of {NUM_PAGES} pages; million operations/s")
    print(f"{'':46} {'median':>7} {'best':>7} {'tokens found':>13}")
    for name, requests, num_at_once in cases:
        for label, make in [
            (name, lambda: PagedAllocator(NUM_PAGES, PAGE_SIZE, prefix_caching=True)),
            (
                "    one full group",
                lambda: GroupedAllocator(NUM_PAGES, PAGE_SIZE, [FullGroup()], prefix_caching=True),
            ),
            ("    the loop alone", NoAllocator),
        ]:
            median, best, num_found = measure(make, requests, num_at_once)
            print(f"{label:46} {median / 1e6:7.2f} {best / 1e6:7.2f} {num_found:13,}")


if __name__ == "__main__":
    main()
