"""The quick engine against the readable one, on random workloads, pools and rules."""

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from paged_demo import (
    CacheFullError,
    Request,
    alpaca,
    best_fit,
    buddy,
    first_fit,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
)
from paged_demo.serving.pools import PagedPool, TraditionalPool
from paged_demo.serving.scheduler import serve
from paged_demo.serving.simulator import simulate
from paged_demo.serving.step_time import StepTime

MAX_TOKENS = 64
ONE_SECOND = StepTime(fixed_s=1, weights_s=0, compute_s=0, request_s=0, sequence_s=0, kv_read_s=0)

paged_pools = st.builds(
    PagedPool,
    num_pages=st.integers(4, 60),
    page_size=st.integers(1, 20),
    watermark_share=st.sampled_from([0.0, 0.01, 0.1, 0.4]),
)
traditional_pools = st.builds(
    TraditionalPool,
    num_slots=st.integers(MAX_TOKENS, 400),
    reserve=st.sampled_from([reserve_max(MAX_TOKENS), reserve_pow2(MAX_TOKENS), reserve_oracle]),
    placement=st.sampled_from([first_fit, best_fit, partial(buddy, unit_slots=4, max_tokens=MAX_TOKENS)]),
)
# Fractions over different primes, so that no two events fall on the same instant: the engines add up times in
# different orders, and which of two equal times comes first would be a matter of rounding.
times = st.integers(0, 3000).map(lambda number: number / 1009 + 1 / 7919)
durations = st.integers(0, 100).map(lambda number: number / 997)
WINDOWS = [(0.0, float("inf")), (0.5 + 1 / 7907, 2 + 1 / 7907)]

requests_lists = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 34), times), min_size=1, max_size=25
).map(
    lambda rows: [
        Request(request_id, num_prompt_tokens, num_output_tokens, arrival_s)
        for request_id, (num_prompt_tokens, num_output_tokens, arrival_s) in enumerate(
            sorted(rows, key=lambda row: row[2])
        )
    ]
)
step_times = st.builds(
    StepTime,
    fixed_s=durations.map(lambda seconds: seconds + 1 / 997),
    weights_s=durations,
    compute_s=durations.map(lambda seconds: seconds / 10),
    request_s=durations.map(lambda seconds: seconds / 10),
    sequence_s=durations.map(lambda seconds: seconds / 10),
    kv_read_s=durations.map(lambda seconds: seconds / 1000),
)


def compare(requests, pool, **rules):
    """Serve the requests with both engines; return how often a request was preempted."""
    try:
        slow = serve(requests, pool, **rules)
    except (CacheFullError, ValueError) as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            simulate(requests, pool, **rules)
        return 0
    quick = simulate(requests, pool, **rules)
    assert quick.finish_s == pytest.approx(slow.finish_s, rel=1e-9, abs=1e-9)
    assert quick.num_preempted == slow.num_preempted
    assert quick.num_iterations == slow.num_iterations
    assert quick.mean_running == pytest.approx(slow.mean_running)
    for fate in ("used", "reserved", "internal", "rounding", "free"):
        assert getattr(quick.mean_usage, fate) == pytest.approx(getattr(slow.mean_usage, fate), abs=1e-6), (
            fate
        )
    return slow.num_preempted


rules = {
    "step_time": step_times,
    "max_batched_tokens": st.integers(5, 120),
    "max_running": st.integers(1, 12),
    "window": st.sampled_from(WINDOWS),
}


@given(requests=requests_lists, pool=paged_pools | traditional_pools, rules=st.fixed_dictionaries(rules))
@settings(max_examples=200, deadline=None)
def test_both_engines_serve_alike(requests, pool, rules):
    compare(requests, pool, **rules)


@given(
    requests=requests_lists,
    page_size=st.integers(1, 20),
    num_spare_pages=st.integers(0, 12),
    watermark_share=st.sampled_from([0.0, 0.1, 0.4]),
    rules=st.fixed_dictionaries(rules),
)
@settings(max_examples=200, deadline=None)
def test_both_engines_serve_alike_from_a_pool_that_is_too_small(
    *, requests, page_size, num_spare_pages, watermark_share, rules
):
    longest = max(request.num_prompt_tokens + request.num_output_tokens for request in requests)
    num_pages = -(-longest // page_size) + num_spare_pages
    crowd = [request._replace(arrival_s=request.arrival_s / 50) for request in requests]
    pool = PagedPool(num_pages=num_pages, page_size=page_size, watermark_share=watermark_share)
    event("preempts" if compare(crowd, pool, **rules) else "does not preempt")


def test_a_crowd_is_preempted_often_and_alike():
    """The engines are compared where it is hardest: most of these pools preempt, some many times."""
    counts = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        requests = alpaca.sample(60, rng=rng, context_limit=200)
        pool = PagedPool(num_pages=int(rng.integers(30, 90)), page_size=int(rng.integers(4, 17)))
        counts.append(compare(requests, pool, max_batched_tokens=300))
    assert sum(count > 0 for count in counts) >= 15
    assert max(counts) > 20


def test_a_window_without_an_iteration_is_an_error():
    for engine in (serve, simulate):
        with pytest.raises(ValueError, match=r"window must hold an iteration, got \(50, 60\)"):
            engine([Request(0, 1, 1)], PagedPool(num_pages=4), window=(50, 60))


def test_a_request_that_never_fits_is_an_error_that_says_what_it_needs():
    for engine in (serve, simulate):
        with pytest.raises(CacheFullError, match="need 7 pages, 4 free"):
            engine([Request(0, 100, 1)], PagedPool(num_pages=4))


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (PagedPool, {"num_pages": 0}, ValueError, "num_pages must be at least 1, got 0"),
        (PagedPool, {"num_pages": 2.5}, TypeError, "num_pages must be a whole number, got 2.5"),
        (PagedPool, {"num_pages": 4, "page_size": 0}, ValueError, "page_size must be at least 1, got 0"),
        (
            PagedPool,
            {"num_pages": 4, "watermark_share": 7.0},
            ValueError,
            "watermark_share must be at least 0",
        ),
        (
            TraditionalPool,
            {"num_slots": 0, "reserve": reserve_oracle},
            ValueError,
            "num_slots must be at least 1",
        ),
    ],
)
def test_a_pool_names_its_bad_arguments(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("reserved", "error", "message"),
    [
        (2, ValueError, "reserve must return at least the prompt's 3, got 2"),
        (6.5, TypeError, "what reserve returns must be a whole number, got 6.5"),
    ],
)
def test_both_engines_refuse_a_reservation_that_does_not_hold_the_prompt(reserved, error, message):
    pool = TraditionalPool(num_slots=64, reserve=lambda num_prompt_tokens, final_tokens: reserved)
    for engine in (serve, simulate):
        with pytest.raises(error, match=message):
            engine([Request(0, 3, 3)], pool)


def test_several_samples_are_not_simulated_yet():
    with pytest.raises(ValueError, match="num_samples must be 1 for every request"):
        simulate([Request(0, 1, 1, num_samples=2)], PagedPool(num_pages=4))


def test_the_latency_is_per_output_token():
    run = simulate([Request(0, 8, 4, arrival_s=2.0)], PagedPool(num_pages=4), step_time=ONE_SECOND)
    assert run.finish_s == [2 + 5]
    assert run.normalised_latency_s == 5 / 4
