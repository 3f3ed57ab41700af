"""The quick engine against the readable one, on random workloads, pools and rules."""

import tracemalloc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from amounts import amount
from hypothesis import given
from hypothesis import strategies as st
from two_pools import ONE_SECOND
from walk import walk
from walk_workloads import compare

from paged_demo import (
    CacheFullError,
    Request,
    buddy,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
)
from paged_demo.serving.flights import Flight, PageCounts
from paged_demo.serving.rules import (
    PagedPool,
    Rules,
    TraditionalPool,
    pages_held,
    pages_without_sharing,
)
from paged_demo.serving.run import Moment, Recorder, serve
from paged_demo.serving.simulator import simulate


def test_both_engines_serve_any_workload_alike():
    num_workloads = amount(short=100, long=1000)
    kinds = walk("workloads", num_workloads)
    told = ["pages", "pages, several samples", "pages, in pieces", "groups", "groups, in pieces"]
    many = num_workloads / 40
    assert all(kinds[f"{kind}: {how}"] > many for kind in told for how in ("served", "preempts"))
    assert sum(kinds[f"{kind}: preempts often"] for kind in told) > many / 2
    assert kinds["runs: served"] > many
    assert sum(number for kind, number in kinds.items() if kind.endswith("Error")) > many


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
        run = engine(requests, pool, rules=Rules(iteration_time=ONE_SECOND), moments=[0.5, 0.7, 4.5])
        assert run.moments == [
            Moment(0.5, num_running=1, num_waiting=1, used=3, reserved=1, internal=0, rounding=0),
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


def test_the_request_that_reserves_most_has_to_fit_even_if_another_ends_longer():
    """Its 33 tokens of output are rounded up to 64; the longer one reserves 138 slots."""
    requests = [Request(5, 100, 33), Request(6, 130, 8)]
    pool = TraditionalPool(num_slots=150, reserve=reserve_pow2(2048))
    for engine in (serve, simulate):
        with pytest.raises(CacheFullError, match=r"need 164 slots, 150 free .*: request 5 can never"):
            engine(requests, pool)


def test_a_pool_that_just_holds_a_request_serves_it():
    for engine in (serve, simulate):
        assert engine([Request(0, 60, 4)], PagedPool(num_pages=4)).num_preempted == 0


def test_a_limit_of_tokens_may_be_larger_than_any_count():
    rules = Rules(chunked_prefill=True, max_batched_tokens=2**40)
    for engine in (serve, simulate):
        assert engine([Request(0, 3, 1)], PagedPool(num_pages=9), rules=rules).num_iterations == 2


@pytest.mark.parametrize(("pool", "named"), [(None, "None"), (PagedPool(num_pages=4).allocator(), "Paged")])
def test_what_is_no_pool_is_named(pool, named):
    for engine in (serve, simulate):
        with pytest.raises(
            TypeError, match=f"pool must be a PagedPool, GroupedPool or TraditionalPool, got {named}"
        ):
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


def test_what_sharing_saves_is_a_share_of_all_slots_that_would_be_held_without_it():
    """The samples end in the middle of a page, so that some of what is held is never written."""
    request = Request(0, 20, 13, num_samples=3)
    held, unshared = (
        sum(count(request, num_generated, 16) for num_generated in range(14))
        for count in (pages_held, pages_without_sharing)
    )
    for engine in (serve, simulate):
        run = engine([request], PagedPool(num_pages=20))
        assert run.mean_usage.internal > 0
        assert run.saved_share == pytest.approx(1 - held / unshared)


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
