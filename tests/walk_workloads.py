"""Random workloads, served by the readable engine and by the quick one: their records must be equal.

`walk.py` walks them: all kinds of pools, rules, samples, swaps, and prompts in pieces.
"""

from dataclasses import astuple
from functools import partial
from random import Random

import pytest

from paged_demo import (
    CacheFullError,
    FullGroup,
    GroupedPool,
    PagedPool,
    Request,
    Rules,
    SlidingGroup,
    StateGroup,
    TraditionalPool,
    best_fit,
    buddy,
    first_fit,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
    serve,
    simulate,
)
from paged_demo.allocators.group_kinds import most_pages
from paged_demo.serving.iteration_time import IterationTime, SwapTime
from paged_demo.serving.rules import pages_held, swap_always, swap_never, swap_several

MAX_TOKENS = 64
WINDOWS = [(0.0, float("inf")), (0.5 + 1 / 7907, 2 + 1 / 7907)]


def attempt(engine, *served, **settings):
    try:
        return engine(*served, **settings)
    except (CacheFullError, ValueError) as error:
        return error


def compare(requests, pool, **settings):
    """Serve the requests with both engines; return the record of the run, or the error that both raise."""
    slow, quick = (attempt(engine, requests, pool, **settings) for engine in (serve, simulate))
    if isinstance(slow, Exception):
        assert repr(quick) == repr(slow)
        return slow
    assert quick.finish_s == pytest.approx(slow.finish_s, rel=1e-9, abs=1e-9)
    assert quick.first_token_s == pytest.approx(slow.first_token_s, rel=1e-9, abs=1e-9)
    assert quick.longest_gap_s == pytest.approx(slow.longest_gap_s, rel=1e-9, abs=1e-9)
    assert list(quick.stays) == [pytest.approx(stay) for stay in slow.stays]
    assert quick.num_preempted == slow.num_preempted
    assert quick.num_iterations == slow.num_iterations
    assert quick.mean_running == pytest.approx(slow.mean_running)
    assert astuple(quick.mean_usage) == pytest.approx(astuple(slow.mean_usage), abs=1e-6)
    assert quick.mean_saved == pytest.approx(slow.mean_saved, abs=1e-6)
    assert quick.moments == slow.moments
    return slow


class Workload:
    """Requests, a pool and rules, drawn from a seed."""

    def __init__(self, seed):
        self.rng = rng = Random(seed)
        self.kind = rng.choice(list(KINDS))
        self.requests = self.draw_requests()
        in_pieces = "in pieces" in self.kind
        self.budget = rng.choice([rng.randint(1, 9), rng.randint(5, 60), rng.randint(30, 120)])
        self.pool = KINDS[self.kind](self)
        self.rules = Rules(
            iteration_time=IterationTime(
                fixed_s=self.duration() + 1 / 997,
                weights_s=self.duration(),
                compute_s=self.duration() / 10,
                request_s=self.duration() / 10,
                sequence_s=self.duration() / 10,
                kv_read_s=self.duration() / 1000,
            ),
            swap_time=SwapTime(
                slot_in_s=self.duration() / 100,
                page_in_s=self.duration() / 10,
                slot_out_s=self.duration() / 100,
                page_out_s=self.duration() / 10,
            ),
            swaps=rng.choice([swap_several, swap_always, swap_never][:: 2 if "groups" in self.kind else 1]),
            max_batched_tokens=self.budget,
            max_running=rng.randint(1, 12),
            chunked_prefill=in_pieces,
        )

    def step(self):
        """Serve it with both engines, and return its kind; raise an AssertionError if they differ."""
        moments = sorted(self.time() for _ in range(self.rng.randint(0, 5)))
        came = compare(
            self.requests, self.pool, rules=self.rules, window=self.rng.choice(WINDOWS), moments=moments
        )
        if isinstance(came, Exception):
            return f"{self.kind}: {type(came).__name__}"
        often = " often" if came.num_preempted > 20 else ""
        return f"{self.kind}: {f'preempts{often}' if came.num_preempted else 'served'}"

    # Fractions over different primes, so that no two events fall on the same instant: the engines add up
    # times in different orders, and which of two equal times comes first would be a matter of rounding.

    def time(self):
        return self.rng.randint(0, 3000) / 1009 + 1 / 7919

    def duration(self):
        return self.rng.randint(0, 100) / 997

    def draw_requests(self):
        num_requests = self.rng.randint(1, 25)
        crowding = self.rng.choice([1, 50])
        arrivals = sorted(self.time() / crowding for _ in range(num_requests))
        # Ids in another order than the arrivals: nothing may depend on them.
        return [
            Request(
                num_requests - index,
                self.rng.randint(1, 30),
                self.rng.randint(1, 34),
                arrival_s,
                self.rng.randint(1, 5) if "samples" in self.kind else 1,
            )
            for index, arrival_s in enumerate(arrivals)
        ]

    def draw_pages(self):
        page_size = self.rng.randint(1, 20)
        most = max(pages_held(request, request.num_output_tokens, page_size) for request in self.requests)
        return PagedPool(num_pages=self.pages_around(most), page_size=page_size, watermark_share=self.share())

    def pages_around(self, most):
        return max(1, most + self.rng.choice([-1, 0, 1, 2, 5, 12, 40]))

    def share(self):
        return self.rng.choice([0.0, 0.01, 0.1, 0.4])

    def draw_groups(self):
        unit, page_size = self.rng.randint(1, 5), self.rng.choice([1, 2, 4])
        groups = [self.draw_group(unit) for _ in range(self.rng.randint(1, 4))]
        longest = max(request.final_tokens for request in self.requests)
        chunk = self.budget if "in pieces" in self.kind else None
        num_pages = self.pages_around(most_pages(groups, unit * page_size, longest, chunk))
        return GroupedPool(
            num_pages=num_pages, page_size=unit * page_size, groups=groups, watermark_share=self.share()
        )

    def draw_group(self, unit):
        own = self.rng.choice([None, unit, 2 * unit, 4 * unit])
        kind = self.rng.choice([FullGroup, StateGroup, SlidingGroup, SlidingGroup])
        if kind is SlidingGroup:
            return SlidingGroup(window=self.rng.randint(1, 30), page_size=own)
        return kind(page_size=own)

    def draw_runs(self):
        reserve = self.rng.choice([reserve_max(MAX_TOKENS), reserve_pow2(MAX_TOKENS), reserve_oracle])
        placements = [first_fit, best_fit, partial(buddy, unit_slots=4, max_tokens=MAX_TOKENS)]
        num_slots = self.rng.randint(MAX_TOKENS // 2, 400)
        return TraditionalPool(num_slots=num_slots, reserve=reserve, placement=self.rng.choice(placements))


KINDS = {
    "pages": Workload.draw_pages,
    "pages, several samples": Workload.draw_pages,
    "pages, in pieces": Workload.draw_pages,
    "groups": Workload.draw_groups,
    "groups, in pieces": Workload.draw_groups,
    "runs": Workload.draw_runs,
}
"""How the pool of each kind of workload is drawn."""
