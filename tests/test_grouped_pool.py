"""A server whose model has several kinds of layers: what its requests hold, and what is refused."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_pools import ONE_SECOND

from paged_demo import (
    CacheFullError,
    FullGroup,
    GroupedAllocator,
    GroupedPool,
    PagedPool,
    Request,
    Rules,
    Scheduler,
    Server,
    SlidingGroup,
    StateGroup,
    account,
    plan,
    scheduler_of,
    serve,
    simulate,
)
from paged_demo.allocators.group_kinds import most_pages
from paged_demo.serving.rules import swap_always
from paged_demo.sizing.layers import Chunked, Full
from paged_demo.sizing.presets import CONFIGS, model_of

SIX = [FullGroup(), *[SlidingGroup(window=20)] * 4, StateGroup()]

any_group = st.one_of(
    st.builds(FullGroup, page_size=st.sampled_from([None, 1, 4])),
    st.builds(StateGroup, page_size=st.sampled_from([None, 2, 4])),
    st.builds(SlidingGroup, window=st.integers(1, 14), page_size=st.sampled_from([None, 1, 2, 4])),
)
any_groups = st.lists(any_group, min_size=1, max_size=4)
crowds = st.builds(
    lambda lengths, gap_s: [Request(i, *pair, arrival_s=i * gap_s) for i, pair in enumerate(lengths)],
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=10),
    st.sampled_from([0.0, 0.3, 3.0]),
)
any_rules = st.builds(
    Rules,
    iteration_time=st.just(ONE_SECOND),
    max_batched_tokens=st.integers(1, 40),
    chunked_prefill=st.booleans(),
)


def pool_that_serves(groups, requests, rules, num_spare):
    longest = max(request.final_tokens for request in requests)
    most = most_pages(groups, 4, longest, rules.chunk)
    return GroupedPool(num_pages=most + num_spare, page_size=4, groups=groups, watermark_share=0.0)


@given(groups=any_groups, num_tokens=st.integers(1, 60), chunk=st.none() | st.integers(1, 20))
def test_a_sequence_never_holds_more_than_the_most_pages_of_its_groups(groups, num_tokens, chunk):
    allocator = GroupedAllocator(300, 4, groups)
    allocator.allocate("a", range(num_tokens), budget=chunk)
    counts = [300 - allocator.num_free_pages]
    while len(allocator.slots("a")) < num_tokens:
        allocator.extend("a", chunk)
        counts.append(300 - allocator.num_free_pages)
    assert max(counts) <= most_pages(groups, 4, num_tokens, chunk)


@given(groups=any_groups, requests=crowds, rules=any_rules, num_spare=st.integers(0, 20))
def test_every_request_is_served_and_every_page_is_accounted_for(groups, requests, rules, num_spare):
    pool = pool_that_serves(groups, requests, rules, num_spare)
    scheduler = scheduler_of(requests, pool, rules=rules)
    while scheduler.num_waiting or scheduler.num_running:
        step = scheduler.step()
        allocator = scheduler._allocator
        allocator.check()
        usage = account(allocator.memory_map(), scheduler.future_tokens())
        assert usage.num_slots == pool.num_slots
        assert usage.allocated == 4 * (pool.num_pages - allocator.num_free_pages)
        if any(isinstance(group, FullGroup) for group in groups):
            assert usage.used >= step.num_tokens
    assert allocator.num_free_pages == pool.num_pages
    assert scheduler.finish_s.keys() == {request.request_id for request in requests}


@given(requests=crowds, rules=any_rules, num_pages=st.integers(11, 25))
def test_a_full_group_alone_serves_as_a_paged_pool(requests, rules, num_pages):
    pools = [
        PagedPool(num_pages=num_pages, page_size=4),
        GroupedPool(num_pages=num_pages, page_size=4, groups=[FullGroup()]),
    ]
    for engine in (serve, simulate):
        paged, grouped = (engine(requests, pool, rules=rules, moments=[0.5, 7.5]) for pool in pools)
        assert paged == grouped


def test_a_window_in_pieces_holds_a_window_and_a_piece_and_without_pieces_the_whole_prompt():
    """A prompt of 400 tokens has 100 pages in the full group; the window of 20 and a piece of 8 lie in 8."""
    groups = [FullGroup(), SlidingGroup(window=20)]
    for pieces, most in ((True, 100 + 8), (False, 100 + 100)):
        rules = Rules(iteration_time=ONE_SECOND, chunked_prefill=pieces, max_batched_tokens=8)
        pool = GroupedPool(num_pages=most, page_size=4, groups=groups)
        assert pool.most_pages(Request(0, 399, 1), rules) == most
        assert simulate([Request(0, 399, 1)], pool, rules=rules) == serve(
            [Request(0, 399, 1)], pool, rules=rules
        )
        with pytest.raises(
            CacheFullError, match=f"need {most} pages, {most - 1} free .* can never be served"
        ):
            simulate(
                [Request(0, 399, 1)], GroupedPool(num_pages=most - 1, page_size=4, groups=groups), rules=rules
            )


def test_the_batch_is_what_pages_by_kind_hold_and_not_what_full_layers_would():
    """Sequences of 200 tokens hold 50 pages in the full group, 6 in each window, and a state."""
    rules = Rules(iteration_time=ONE_SECOND, chunked_prefill=True, max_batched_tokens=60)
    requests = [Request(number, 192, 200) for number in range(60)]
    most_running = []
    for groups in (SIX, [FullGroup()] * 6):
        run = simulate(
            requests,
            GroupedPool(num_pages=1200, page_size=4, groups=groups),
            rules=rules,
            moments=range(2000),
        )
        most_running.append(max(moment.num_running for moment in run.moments))
    by_kind, all_full = most_running
    assert by_kind > 3 * all_full


@pytest.mark.parametrize(("num_tokens", "least", "most"), [(8192, 3, 4.5), (131_072, 5, 7)])
def test_a_pool_holds_several_times_the_requests_that_it_would_if_all_layers_were_full(
    num_tokens, least, most
):
    gemma = model_of("google/gemma-3-27b-it").layers
    means = []
    for by_kind in (True, False):
        server = Server(hybrid_manager=by_kind, max_num_batched_tokens=2048)
        pool = GroupedPool.of_plan(plan(gemma, server, "80GiB"))
        each = pool.most_pages(
            Request(0, num_tokens - 1, 1), Rules(chunked_prefill=True, max_batched_tokens=1)
        )
        means.append(pool.num_pages / each)
    assert least < means[0] / means[1] < most


@pytest.mark.parametrize("name", CONFIGS)
def test_every_preset_makes_a_pool_in_which_both_engines_serve_alike(name):
    model = model_of(name)
    server = Server(num_gpu_blocks_override=400, max_num_batched_tokens=64, state_bytes=model.state_bytes)
    pool = GroupedPool.of_plan(plan(model.layers, server))
    assert pool.num_pages == 399
    requests = [Request(number, 150 + 10 * number, 30) for number in range(6)]
    rules = Rules(iteration_time=ONE_SECOND, chunked_prefill=True, max_batched_tokens=64)
    assert serve(requests, pool, rules=rules) == simulate(requests, pool, rules=rules)


def test_what_cannot_be_served_with_groups_is_named():
    several, single = [Request(0, 1, 1), Request(7, 1, 1, num_samples=3)], [Request(7, 9, 9)]
    for engine, groups in product((serve, simulate), (SIX, [FullGroup()])):
        pool = GroupedPool(num_pages=50, page_size=4, groups=groups)
        with pytest.raises(ValueError, match=r"num_samples of request 7 must be 1 in a pool with .*, got 3"):
            engine(several, pool)
        with pytest.raises(ValueError, match=r"swaps must return False in a pool .*, got True for request 7"):
            engine(single, pool, rules=Rules(swaps=swap_always))
    pool = GroupedPool(num_pages=50, page_size=4, groups=SIX)
    for engine in (serve, simulate):
        with pytest.raises(CacheFullError, match=r"request 7 can never be served, 201 pages are missing"):
            engine([Request(7, 150, 50)], pool)


def test_a_scheduler_alone_admits_as_a_pool_without_a_watermark_does():
    """A later piece of a prompt may be longer than the first: its window has more pages then."""
    pool = GroupedPool(
        num_pages=90, page_size=4, groups=[*[SlidingGroup(window=6)] * 3, FullGroup()], watermark_share=0.0
    )
    rules = Rules(chunked_prefill=True, max_batched_tokens=40)
    for seed in range(5):
        lengths = np.random.default_rng(seed).integers(1, (90, 25), size=(20, 2)).tolist()
        requests = [Request(number, *pair, arrival_s=0.01 * number) for number, pair in enumerate(lengths)]
        scheduler = Scheduler(pool.allocator(), requests, rules=rules)
        while len(scheduler.finish_s) < len(requests):
            scheduler.step()
        run = simulate(requests, pool, rules=rules)
        assert list(run.finish_s) == pytest.approx([scheduler.finish_s[number] for number in range(20)])


def test_a_request_that_comes_late_finds_the_room_that_a_window_left():
    requests = [Request(0, 4, 4), Request(1, 6, 2), Request(2, 2, 1, arrival_s=2.5)]
    pool = GroupedPool(num_pages=4, page_size=2, groups=[SlidingGroup(window=1)], watermark_share=0.0)
    for engine in (serve, simulate):
        stays = engine(requests, pool, rules=Rules(iteration_time=ONE_SECOND)).stays
        assert [stay.start_s for stay in stays if stay.request_id == 2] == [3.0]


def planned_pool(name="google/gemma-3-27b-it", **flags):
    options = {"max_model_len": 4096, "num_gpu_blocks_override": 99} | flags
    return GroupedPool.of_plan(plan(model_of(name).layers, Server(**options)))


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda: GroupedPool(num_pages=4, groups=[]), ValueError, "groups must hold at least one group"),
        (
            lambda: GroupedPool(num_pages=4, groups=5),
            TypeError,
            "groups must be an iterable of groups, got 5",
        ),
        (lambda: GroupedPool(num_pages=4, groups=["full"]), TypeError, r"groups\[0\] must be a FullGroup"),
        (lambda: GroupedPool(num_pages=0, groups=SIX), ValueError, "num_pages must be at least 1, got 0"),
        (
            lambda: GroupedPool(num_pages=4, page_size=16, groups=[FullGroup(page_size=24), FullGroup()]),
            ValueError,
            r"page_size of groups\[1\] must divide the largest, 24, got 16",
        ),
        (
            lambda: GroupedPool.of_plan(
                plan(
                    [Full(kv_heads=8, head_dim=64), Chunked(kv_heads=8, head_dim=64, chunk=8192)],
                    Server(num_gpu_blocks_override=9, max_num_batched_tokens=64),
                )
            ),
            ValueError,
            "planned must have full, latent, sliding and state groups only, got 'chunked'",
        ),
        (
            lambda: planned_pool("meta-llama/Llama-3.1-8B", decode_context_parallel=4),
            ValueError,
            r"planned must keep all tokens of a page on one GPU \(decode_context_parallel=1\), got 4",
        ),
        (
            lambda: planned_pool("Qwen/Qwen3.5-27B", speculative_tokens=3),
            ValueError,
            r"planned must keep one state of a sequence \(no speculative_tokens, .*, got 3 and",
        ),
        (
            lambda: planned_pool(num_gpu_blocks_override=1),
            ValueError,
            "planned must have memory for two blocks",
        ),
    ],
)
def test_a_pool_with_groups_names_its_bad_arguments(make, error, told):
    with pytest.raises(error, match=told):
        make()
