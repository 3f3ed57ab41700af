"""Prompts in pieces: what an iteration computes, who starts, who yields, and what a reader feels of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_pools import ONE_SECOND

from paged_demo import (
    CacheFullError,
    PagedAllocator,
    Request,
    Scheduler,
    TraditionalAllocator,
    account,
    keep_pages_free,
    reserve_oracle,
    simulate,
)
from paged_demo.serving.iteration_time import IterationTime, SwapTime
from paged_demo.serving.rules import PagedPool, Rules, TraditionalPool, swap_always
from paged_demo.serving.run import serve
from paged_demo.serving.scheduler import scheduler_of
from paged_demo.serving.sequence_group import SequenceGroup

A_TOKEN_A_SECOND = IterationTime(
    fixed_s=1, weights_s=0, compute_s=1, request_s=0, sequence_s=0, kv_read_s=0.001
)  # and a second beside


def in_pieces(budget, **choices):
    return Rules(
        **{"max_batched_tokens": budget, "chunked_prefill": True, "iteration_time": ONE_SECOND} | choices
    )


def requests_of(*lengths):
    return [Request(request_id, *pair) for request_id, pair in enumerate(lengths)]


LENGTHS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=12)
crowds = st.builds(
    lambda lengths, gap_s: [Request(i, *pair, arrival_s=i * gap_s) for i, pair in enumerate(lengths)],
    LENGTHS,
    st.sampled_from([0.0, 0.3, 3.0]),
)
pools = st.builds(PagedPool, num_pages=st.integers(11, 25), page_size=st.just(4))


def test_what_decodes_comes_first_and_prompts_share_what_is_left_in_their_order():
    scheduler = Scheduler(PagedAllocator(99, 4), requests_of((10, 2), (3, 2)), rules=in_pieces(4))
    # The first prompt takes 4 + 4 + 2, the second 2 beside it and, when the first one decodes, the last 1.
    assert [scheduler.step().num_tokens for _ in range(7)] == [4, 8, 12, 14, 16, 5, 0]
    assert scheduler.first_token_s == {0: 3.0, 1: 4.0}
    assert scheduler.finish_s == {0: 5.0, 1: 6.0}


def test_sequences_that_fill_the_budget_decode_and_no_prompt_goes_on():
    scheduler = Scheduler(PagedAllocator(99, 4), requests_of((1, 2), (1, 2), (5, 1)), rules=in_pieces(2))
    assert [scheduler.step().num_tokens for _ in range(7)] == [2, 4, 6, 2, 4, 5, 6]


def test_a_prompt_starts_if_all_of_it_fits_and_takes_pages_for_its_first_piece():
    requests = requests_of((4, 8), (12, 4))
    for num_pages, share, num_running in [(4, 0, 1), (5, 0, 2), (5, 0.2, 1)]:
        allocator = PagedAllocator(num_pages, 4)
        may_admit = keep_pages_free(allocator, share=share)
        scheduler = Scheduler(allocator, requests, may_admit=may_admit, rules=in_pieces(4))
        scheduler.step()
        assert scheduler.step().num_running == num_running
        assert allocator.num_free_pages == num_pages - 2 - (num_running - 1)


@pytest.mark.parametrize("may_swap", [{}, {"swaps": swap_always}])
def test_a_piece_that_finds_no_page_preempts_the_newest_which_is_never_swapped(may_swap):
    allocator = PagedAllocator(6, 4)
    a_page_takes_long = SwapTime(slot_in_s=25, page_in_s=0, slot_out_s=0, page_out_s=10)
    rules = in_pieces(4, swap_time=a_page_takes_long, **may_swap)
    scheduler = Scheduler(allocator, requests_of((4, 8), (13, 2)), rules=rules)
    steps = [scheduler.step() for _ in range(15)]
    # The first one takes its third page; the other's thirteenth token finds none, and it begins anew.
    assert [step.num_preempted for step in steps].index(1) == 5
    assert [step.num_tokens for step in steps[4:6]] == [8 + 12, 9]
    assert [step.num_tokens for step in steps[9:]] == [4, 8, 12, 13, 14, 15]
    assert scheduler.now_s == 15
    assert scheduler.first_token_s == {0: 1.0, 1: 13.0}
    scheduler.step()
    allocator.check()
    assert allocator.num_free_pages == 6


def test_a_request_that_lost_its_pages_has_all_its_tokens_computed_in_pieces_and_one_first_token():
    scheduler = Scheduler(PagedAllocator(5, 2), requests_of((3, 5), (3, 5)), rules=in_pieces(3))
    steps = []
    while scheduler.num_waiting or scheduler.num_running:
        steps.append(scheduler.step())
    # The second one comes back with 3 + 1 tokens: three of them in one iteration, and one in the next.
    assert [step.num_tokens for step in steps] == [3, 6, 8, 10, 7, 8, 3, 4, 5, 6, 7, 8, 0]
    assert scheduler.first_token_s == {0: 1.0, 1: 3.0}


def test_a_request_that_was_swapped_comes_back_whole():
    rules = in_pieces(3, swaps=swap_always)
    scheduler = Scheduler(PagedAllocator(5, 2), requests_of((3, 5), (3, 5)), rules=rules)
    steps = []
    while scheduler.num_waiting or scheduler.num_running:
        steps.append(scheduler.step().num_tokens)
    assert steps == [3, 6, 8, 10, 7, 8, 4, 5, 6, 7, 8, 0]


@given(requests=crowds, pool=pools, budget=st.integers(1, 40))
def test_in_pieces_every_request_is_served_and_every_slot_and_gap_accounted_for(requests, pool, budget):
    scheduler = scheduler_of(requests, pool, rules=in_pieces(budget, iteration_time=A_TOKEN_A_SECOND))
    gaps_s = []
    while scheduler.num_waiting or scheduler.num_running:
        generated = {group.request.request_id: group.num_generated for group in scheduler._running}
        step = scheduler.step()
        usage = account(scheduler.snapshot().memory_map, scheduler.future_tokens())
        assert usage.used == step.num_tokens
        assert usage.num_slots == pool.num_slots
        # A second, one for each token that is computed, and next to nothing for those that are read.
        assert int(step.end_s - step.start_s) - 1 <= max(budget, step.num_running)
        now = {group.request.request_id: group.num_generated for group in scheduler._running}
        if any(now[request_id] > generated.get(request_id, now[request_id]) for request_id in now):
            gaps_s.append(step.end_s - step.start_s)
    assert scheduler.longest_gap_s == pytest.approx(max(gaps_s))
    for request in requests:
        first_s = scheduler.first_token_s[request.request_id]
        assert request.arrival_s < first_s < scheduler.finish_s[request.request_id]


@given(requests=crowds, pool=pools)
def test_with_a_budget_for_all_pieces_are_whole_prompts(requests, pool):
    for engine in (serve, simulate):
        whole, pieces = (
            engine(requests, pool, moments=[0.5, 1.0], rules=Rules(max_batched_tokens=10**6, **how))
            for how in ({}, {"chunked_prefill": True})
        )
        assert whole == pieces


def test_small_pieces_keep_the_gap_short_and_delay_the_first_token():
    requests = [Request(0, 10, 60), Request(1, 200, 5, arrival_s=1.0)]
    runs = [
        simulate(requests, PagedPool(num_pages=99), rules=in_pieces(budget, iteration_time=A_TOKEN_A_SECOND))
        for budget in (10, 20, 50, 250)
    ]
    gaps_s = [run.longest_gap_s for run in runs]
    first_s = [run.mean_time_to_first_token_s for run in runs]
    assert gaps_s == sorted(gaps_s)
    assert first_s == sorted(first_s, reverse=True)
    assert [int(gap_s) for gap_s in gaps_s] == [11, 21, 51, 202]


def test_the_time_to_the_first_token_is_from_arrival_to_the_end_of_the_prompt():
    requests = [Request(0, 8, 4, arrival_s=2.0), Request(1, 3, 4, arrival_s=3.5)]
    for engine in (serve, simulate):
        run = engine(requests, PagedPool(num_pages=9), rules=Rules(iteration_time=ONE_SECOND))
        assert run.first_token_s == [3.0, 5.0]
        assert run.mean_time_to_first_token_s == (1.0 + 1.5) / 2
        assert run.longest_gap_s == 1.0


def test_a_group_takes_its_prompt_in_pieces_and_asks_for_room_for_all_of_it():
    allocator = PagedAllocator(3, 4)
    group = SequenceGroup(Request(7, 9, 9), num_generated=2)
    assert group.allocate(allocator, 5) == 5
    assert (group.num_tokens, group.num_missing, allocator.num_free_pages) == (5, 6, 1)
    assert [group.extend(allocator, 4), group.extend(allocator, 4)] == [4, 2]
    assert (group.num_tokens, group.num_missing, allocator.num_free_pages) == (11, 0, 0)
    group.free(allocator)
    allocator.allocate("in the way", [0])
    with pytest.raises(CacheFullError, match="need 3 pages, 2 free"):
        group.allocate(allocator, 1)
    assert (group.num_missing, allocator.num_free_pages) == (0, 2)


@pytest.mark.parametrize("chosen", [1, "yes", None])
def test_in_pieces_or_not_is_true_or_false(chosen):
    with pytest.raises(TypeError, match=f"chunked_prefill must be True or False, got {chosen!r}"):
        Rules(chunked_prefill=chosen)


def test_a_budget_without_a_token_is_an_error():
    with pytest.raises(ValueError, match="max_batched_tokens must be at least 1, got 0"):
        in_pieces(0)


def test_pieces_need_pages_and_single_samples():
    several = [Request(0, 1, 1), Request(7, 1, 1, num_samples=3)]
    runs = TraditionalPool(num_slots=64, reserve=reserve_oracle)
    for engine in (serve, simulate):
        with pytest.raises(ValueError, match="num_samples of request 7 must be at most 1 with chunked_pref"):
            engine(several, PagedPool(num_pages=9), rules=in_pieces(8))
        with pytest.raises(ValueError, match="chunked_prefill must be False without pages, for a run is"):
            engine(several[:1], runs, rules=in_pieces(8))
    with pytest.raises(ValueError, match="chunked_prefill must be False without pages"):
        Scheduler(TraditionalAllocator(64, reserve=reserve_oracle), several[:1], rules=in_pieces(8))
