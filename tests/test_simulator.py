"""The quick engine against the readable one, on random workloads, pools and rules."""

import re
import tracemalloc
from dataclasses import astuple, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from amounts import amount
from hypothesis import event, given, settings
from hypothesis import strategies as st
from two_pools import ONE_SECOND

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
from paged_demo.serving.flights import Flight, PageCounts
from paged_demo.serving.iteration_time import IterationTime, SwapTime
from paged_demo.serving.rules import (
    PagedPool,
    Rules,
    TraditionalPool,
    pages_held,
    swap_always,
    swap_never,
    swap_several,
)
from paged_demo.serving.run import Moment, Recorder, serve
from paged_demo.serving.simulator import simulate

MAX_TOKENS = 64

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


def requests_of(rows):
    """Make requests of (prompt tokens, output tokens, arrival, samples), in the order of their arrival."""
    rows = sorted(rows, key=lambda row: row[2])
    # Ids in another order than the arrivals: nothing may depend on them.
    ids = reversed(range(len(rows)))
    return [Request(request_id, *row) for request_id, row in zip(ids, rows, strict=True)]


def request_lists(num_samples):
    row = st.tuples(st.integers(1, 30), st.integers(1, 34), times, num_samples)
    return st.lists(row, min_size=1, max_size=25).map(requests_of)


single_samples = request_lists(st.just(1))
several_samples = request_lists(st.integers(1, 5))
iteration_times = st.builds(
    IterationTime,
    fixed_s=durations.map(lambda seconds: seconds + 1 / 997),
    weights_s=durations,
    compute_s=durations.map(lambda seconds: seconds / 10),
    request_s=durations.map(lambda seconds: seconds / 10),
    sequence_s=durations.map(lambda seconds: seconds / 10),
    kv_read_s=durations.map(lambda seconds: seconds / 1000),
)


def compare(requests, pool, **settings):
    """Serve the requests with both engines; return how often a request was preempted."""
    try:
        slow = serve(requests, pool, **settings)
    except (CacheFullError, ValueError) as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            simulate(requests, pool, **settings)
        return 0
    quick = simulate(requests, pool, **settings)
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
    return slow.num_preempted


swap_times = st.builds(
    SwapTime,
    slot_in_s=durations.map(lambda seconds: seconds / 100),
    page_in_s=durations.map(lambda seconds: seconds / 10),
    slot_out_s=durations.map(lambda seconds: seconds / 100),
    page_out_s=durations.map(lambda seconds: seconds / 10),
)

rules = st.builds(
    Rules,
    iteration_time=iteration_times,
    swap_time=swap_times,
    swaps=st.sampled_from([swap_several, swap_always, swap_never]),
    max_batched_tokens=st.integers(5, 120),
    max_running=st.integers(1, 12),
)
windows = st.sampled_from(WINDOWS)
moments = st.lists(times, max_size=5).map(sorted)


@given(
    requests=single_samples,
    pool=paged_pools | traditional_pools,
    rules=rules,
    window=windows,
    moments=moments,
)
@settings(max_examples=amount(short=30, long=250))
def test_both_engines_serve_alike(requests, pool, rules, window, moments):
    compare(requests, pool, rules=rules, window=window, moments=moments)


@given(
    requests=several_samples,
    page_size=st.integers(1, 20),
    num_spare_pages=st.integers(0, 12),
    watermark_share=st.sampled_from([0.0, 0.1, 0.4]),
    rules=rules,
    window=windows,
    moments=moments,
)
@settings(max_examples=amount(short=30, long=250))
def test_both_engines_serve_alike_from_a_pool_that_is_too_small(
    *, requests, page_size, num_spare_pages, watermark_share, rules, window, moments
):
    most = max(pages_held(request, request.num_output_tokens, page_size) for request in requests)
    crowd = [request._replace(arrival_s=request.arrival_s / 50) for request in requests]
    pool = PagedPool(num_pages=most + num_spare_pages, page_size=page_size, watermark_share=watermark_share)
    num_preempted = compare(crowd, pool, rules=rules, window=window, moments=moments)
    event("preempts" if num_preempted else "does not preempt")


@given(
    requests=single_samples,
    page_size=st.integers(1, 20),
    num_spare_pages=st.sampled_from([0, 1, 2, 5, 12, 40]),
    watermark_share=st.sampled_from([0.0, 0.1, 0.4]),
    rules=rules,
    budget=st.integers(1, 60),
    window=windows,
    moments=moments,
)
@settings(max_examples=amount(short=30, long=250))
def test_both_engines_serve_prompts_in_pieces_alike(
    *, requests, page_size, num_spare_pages, watermark_share, rules, budget, window, moments
):
    most = max(pages_held(request, request.num_output_tokens, page_size) for request in requests)
    crowd = [request._replace(arrival_s=request.arrival_s / 50) for request in requests]
    pool = PagedPool(num_pages=most + num_spare_pages, page_size=page_size, watermark_share=watermark_share)
    in_pieces = replace(rules, chunked_prefill=True, max_batched_tokens=budget)
    num_preempted = compare(crowd, pool, rules=in_pieces, window=window, moments=moments)
    event("preempts" if num_preempted else "does not preempt")


def test_a_crowd_is_preempted_often_and_alike():
    """The engines are compared where it is hardest: most of these pools preempt, some many times."""
    counts = []
    for seed in amount(short=range(4), long=range(25)):
        rng = np.random.default_rng(seed)
        requests = alpaca.sample(60, rng=rng, context_limit=200)
        pool = PagedPool(num_pages=int(rng.integers(30, 90)), page_size=int(rng.integers(4, 17)))
        num_samples = 1 + seed % 3
        crowd = [request._replace(num_samples=num_samples) for request in requests]
        pool = replace(pool, num_pages=num_samples * pool.num_pages)
        counts.append(compare(crowd, pool, rules=Rules(max_batched_tokens=300)))
    assert sum(count > 0 for count in counts) >= 0.6 * len(counts)
    assert max(counts) > 20


def test_moments_on_the_edge_of_an_iteration_belong_to_the_one_that_begins():
    requests = [Request(0, 3, 2), Request(1, 2, 1, arrival_s=10.0)]
    rules, moments = Rules(iteration_time=ONE_SECOND), [0, 0.5, 1, 2, 3, 9.5, 10, 11, 12, 50]
    pool = PagedPool(num_pages=4, page_size=4)
    run = simulate(requests, pool, rules=rules, moments=moments)
    assert run.moments == serve(requests, pool, rules=rules, moments=moments).moments
    assert [(moment.num_running, moment.used) for moment in run.moments] == [
        (1, 3), (1, 3), (1, 4), (1, 5), (0, 0), (0, 0), (1, 2), (1, 3), (0, 0), (0, 0),
    ]  # fmt: skip


def test_a_moment_counts_who_waits_and_what_is_reserved():
    requests = [Request(0, 3, 2), Request(1, 9, 3, arrival_s=0.5), Request(2, 1, 1, arrival_s=0.9)]
    pool = PagedPool(num_pages=3, page_size=4)
    for engine in (serve, simulate):
        run = engine(requests, pool, rules=Rules(iteration_time=ONE_SECOND), moments=[0.7, 4.5])
        assert run.moments == [
            Moment(0.7, num_running=1, num_waiting=1, used=3, reserved=1, internal=0, rounding=0),
            Moment(4.5, num_running=1, num_waiting=1, used=10, reserved=2, internal=0, rounding=0),
        ]


def test_the_copies_of_all_requests_whose_samples_part_at_once_are_counted():
    """Each holds a page of eight with three tokens; when its two samples part it needs another."""
    for num_pages, preempted in [(5, 0), (4, 0), (3, 1)]:
        counts = PageCounts(PagedPool(num_pages=num_pages, page_size=8, watermark_share=0.0))
        flights = [Flight(Request(number, 3, 5, num_samples=2), -2, 1, start_s=0.0) for number in range(2)]
        assert all(counts.admit(flight, 0, is_alone=False) for flight in flights)
        assert [flight.parts_in for flight in flights] == [2, 2]
        assert counts.grow(2, limit=10, num_sequences=4) == 0, "it is an iteration of its own"
        assert counts.grow_or_preempt(2, flights) == flights[2 - preempted :]
        assert counts.grow(3, limit=1, num_sequences=4 - 2 * preempted) == 1, "nobody parts any more"
        for flight in flights[: 2 - preempted]:
            counts.release(flight, 3)
        assert counts.admit(Flight(Request(9, 8 * num_pages, 1), 0, 4, start_s=0.0), 0, is_alone=True)


@given(used=st.lists(st.integers(0, 100), min_size=1, max_size=9))
def test_a_pool_that_is_always_full_has_no_free_slots_on_average(used):
    recorder = Recorder([Request(0, 1, 1)], 100, (0, 1), ())
    for num_used in used:
        recorder.add(1, num_used, 0, (100 - num_used) // 2, (101 - num_used) // 2, 0)
    engine = SimpleNamespace(finish_s={0: 1.0}, first_token_s={0: 1.0}, longest_gap_s=0.0, stays=[])
    assert recorder.record(engine, len(used)).mean_usage.free == 0


def test_a_window_without_an_iteration_is_an_error():
    for engine in (serve, simulate):
        with pytest.raises(ValueError, match=r"window must hold an iteration, got \(50, 60\)"):
            engine([Request(0, 1, 1)], PagedPool(num_pages=4), window=(50, 60))


@pytest.mark.parametrize(
    ("pool", "request_", "message"),
    [
        (
            PagedPool(num_pages=4),
            Request(5, 60, 30),
            "need 6 pages, 4 free in the empty pool: request 5 can never be served, 2 pages are missing",
        ),
        (
            PagedPool(num_pages=4),
            Request(5, 30, 10, num_samples=3),
            "need 7 pages, 4 free in the empty pool: request 5 can never be served, 3 pages are missing",
        ),
        (
            TraditionalPool(num_slots=100, reserve=reserve_oracle),
            Request(5, 90, 30),
            "need 120 slots, 100 free in one run of the empty pool: request 5 can never be served, 20 slots",
        ),
        (
            TraditionalPool(num_slots=100, reserve=reserve_oracle, placement=partial(buddy, max_tokens=2048)),
            Request(5, 60, 10),
            "need 128 slots, 64 free in one run of the empty pool: request 5 can never be served, 64 slots",
        ),
    ],
)
def test_a_request_that_never_fits_is_an_error_that_says_by_how_much(pool, request_, message):
    for engine in (serve, simulate):
        with pytest.raises(CacheFullError, match=message):
            engine([Request(0, 1, 1), request_], pool)


def test_a_pool_that_just_holds_a_request_serves_it():
    for engine in (serve, simulate):
        assert engine([Request(0, 60, 4)], PagedPool(num_pages=4)).num_preempted == 0


@pytest.mark.parametrize(("pool", "named"), [(None, "None"), (PagedPool(num_pages=4).allocator(), "Paged")])
def test_what_is_no_pool_is_named(pool, named):
    for engine in (serve, simulate):
        with pytest.raises(TypeError, match=f"pool must be a PagedPool or a TraditionalPool, got {named}"):
            engine([Request(0, 1, 1)], pool)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"iteration_time": 3}, "iteration_time must be a IterationTime, got 3"),
        ({"iteration_time": lambda **batch: 1.0}, "iteration_time must be a IterationTime, got <f"),
        ({"swap_time": lambda **pages: 1.0}, "swap_time must be a SwapTime, got <f"),
        ({"swaps": "x"}, "swaps must be a function or a record .*, got 'x'"),
        ({"max_running": 2.5}, "max_running must be a whole number, got 2.5"),
        ({"max_batched_tokens": "x"}, "max_batched_tokens must be a whole number, got 'x'"),
        ({"max_runing": 2}, "unexpected keyword argument 'max_runing'"),
    ],
)
def test_a_rule_that_is_unknown_or_of_the_wrong_type_is_named(choices, message):
    with pytest.raises(TypeError, match=message):
        Rules(**choices)


def test_a_policy_that_is_no_function_is_named():
    with pytest.raises(TypeError, match="reserve must be a function or a record that can be called, got 5"):
        TraditionalPool(num_slots=64, reserve=5)


def test_a_request_beyond_the_models_maximum_is_named():
    pool = TraditionalPool(num_slots=256, reserve=reserve_max(64))
    for engine in (serve, simulate):
        with pytest.raises(ValueError, match="request 7 can never be served: final_tokens must be at most"):
            engine([Request(0, 1, 1), Request(7, 60, 5)], pool)


def test_times_that_lie_very_far_away_are_served_like_others():
    requests = [Request(0, 8, 20), Request(1, 8, 20, 1e300)]
    rules = Rules(iteration_time=ONE_SECOND)
    far = {"window": (0, 1e301), "moments": [0.1, 1e15, 1e299, 1e302], "rules": rules}
    compare(requests, PagedPool(num_pages=4), **far)
    assert simulate(requests, PagedPool(num_pages=4), **far).num_iterations == 42


def test_a_run_shows_its_summary_and_not_its_thousand_requests():
    run = simulate(
        [Request(0, 8, 4, arrival_s=2.0)], PagedPool(num_pages=4), rules=Rules(iteration_time=ONE_SECOND)
    )
    assert repr(run) == "Run(1 requests, 1.0 running on average, 1.25 s per output token, 0 preemptions)"


def test_samples_that_can_never_run_are_an_error_that_names_the_request():
    several = [Request(0, 1, 1), Request(7, 1, 1, num_samples=3)]
    cases = [
        (
            TraditionalPool(num_slots=64, reserve=reserve_oracle),
            Rules(),
            "at most 1, since .* cannot fork .*, got 3",
        ),
        (PagedPool(num_pages=4), Rules(max_running=2), r"at most max_running \(2\), got 3"),
    ]
    for pool, rules, message in cases:
        for engine in (serve, simulate):
            with pytest.raises(ValueError, match=f"num_samples of request 7 must be {message}"):
                engine(several, pool, rules=rules)


@pytest.mark.parametrize(
    "window",
    [(5, 5), (3, 1), (-1, 4), (float("nan"), 4), 7, (1, 2, 3), ("a", "b"), np.array(5), (0, np.array(5.0))],
)
def test_a_window_is_a_time_and_a_later_one(window):
    for engine in (serve, simulate):
        with pytest.raises(ValueError, match="window must be a time from 0 on and a later one"):
            engine([Request(0, 1, 1)], PagedPool(num_pages=4), window=window)


@pytest.mark.parametrize("moments", [[-1.0], [2.0, 1.0], [float("nan")], [float("inf")]])
def test_moments_are_times_in_order(moments):
    for engine in (serve, simulate):
        with pytest.raises(ValueError, match=r"moments must be times \(s\) from 0 on and in order"):
            engine([Request(0, 1, 1)], PagedPool(num_pages=4), moments=moments)


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


def test_the_latency_is_per_output_token():
    run = simulate(
        [Request(0, 8, 4, arrival_s=2.0)], PagedPool(num_pages=4), rules=Rules(iteration_time=ONE_SECOND)
    )
    assert run.finish_s == [2 + 5]
    assert run.normalised_latency_s == 5 / 4


def test_memory_grows_with_the_requests_and_not_with_their_tokens():
    def peak_bytes(num_requests, num_output_tokens):
        requests = [Request(number, 10, num_output_tokens) for number in range(num_requests)]
        tracemalloc.start()
        simulate(requests, PagedPool(num_pages=100_000))  # Nobody is preempted: a stay for each request.
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    few, long, many = peak_bytes(200, 50), peak_bytes(200, 5000), peak_bytes(2000, 50)
    assert long < 1.3 * few
    assert many > 4 * few
