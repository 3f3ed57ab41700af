"""Time of the experiments, and of the quick engine against the readable one.

Run with ``python tests/benchmarks/bench_simulator.py``. Processor time in seconds, the best of three rounds.
"""

import time

import numpy as np

from paged_demo import Scheduler, azure_conv, keep_pages_free, poisson_arrivals, simulate
from paged_demo.paper import fig_2, fig_12, fig_13
from paged_demo.paper.experiment import SERVERS
from paged_demo.paper.numbers import NUM_SLOTS_13B

ROUNDS = 3


def seconds(run, *, rounds=ROUNDS):
    """Return the least processor time of a call over some rounds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def overload(num_requests):
    """Draw the Azure conversation workload at the rate of its trace, which overloads one OPT-13B server."""
    rng = np.random.default_rng(0)
    requests = azure_conv.sample(num_requests, rng=rng, context_limit=NUM_SLOTS_13B - 256)
    return poisson_arrivals(requests, rate_rps=5.53, rng=rng)


def step_through(requests, pool):
    """Serve the requests one iteration at a time, without the account of each that ``serve`` adds."""
    allocator = pool.allocator()
    scheduler = Scheduler(allocator, requests, may_admit=keep_pages_free(allocator))
    while scheduler.num_waiting or scheduler.num_running:
        scheduler.step()


def main():
    """Print the table."""
    pool = SERVERS["OPT-13B"].pools()["vLLM"]
    trace = overload(19_366)
    num_tokens = sum(request.num_output_tokens for request in trace)
    print(f"Fig. 2, one seed: {seconds(lambda: fig_2(seeds=[0])):.2f} s")
    print(f"Fig. 12a, one seed, about 25 runs of an hour: {seconds(lambda: fig_12(seeds=[0])):.2f} s")
    print(f"Fig. 13, one seed, Alpaca for 900 s: {seconds(lambda: fig_13(seeds=[0], alpaca_s=900)):.2f} s")
    quick = seconds(lambda: simulate(trace, pool))
    readable = seconds(lambda: step_through(trace, pool), rounds=1)
    print(
        f"{len(trace):,} requests, {num_tokens:,} output tokens, {pool.num_pages} pages: {quick:.2f} s",
        end="",
    )
    print(f"; one iteration at a time {readable:.1f} s, {readable / quick:.0f} times as long")


if __name__ == "__main__":
    main()
