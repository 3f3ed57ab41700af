import numpy as np
import pytest
from amounts import amount

from paged_demo import (
    PagedAllocator,
    Request,
    TraditionalAllocator,
    account,
    buddy,
    fill_by_page_size,
    keep_full,
    reserve_max,
    sharegpt,
)
from paged_demo.paper.numbers import NUM_SLOTS_13B

NUM_REQUESTS = amount(short=130, long=300)


@pytest.fixture(scope="module")
def requests():
    return sharegpt.sample(NUM_REQUESTS, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def pools(requests):
    return fill_by_page_size(requests, [1, 16, 64, 256, 2048], num_slots=NUM_SLOTS_13B)


def test_how_far_the_pools_are_filled_is_told_size_by_size(requests):
    told = []
    options = {"num_slots": NUM_SLOTS_13B, "progress": lambda sizes: told.append(list(sizes)) or sizes}
    assert list(fill_by_page_size(requests, [256, 2048], **options)) == [256, 2048]
    assert told == [[256, 2048]]


def test_pages_of_2048_hold_exactly_seven_requests_as_orca_max_does(requests, pools):
    """Kwon et al. (2023), Fig. 13a: Orca (Max) batches 7.00 requests."""
    traditional = TraditionalAllocator(NUM_SLOTS_13B, reserve=reserve_max(2048), placement=buddy)
    assert pools[2048].mean_running == keep_full(traditional, requests).mean_running == 7


def test_smaller_pages_hold_more_requests_in_the_same_pool(pools):
    batches = [pools[page_size].mean_running for page_size in (1, 16, 64, 256, 2048)]
    assert batches == sorted(batches, reverse=True)
    assert {pool.memory_map.num_slots for pool in pools.values()} == {NUM_SLOTS_13B}


def test_pages_of_16_hold_over_four_times_the_requests_of_pages_of_2048(pools):
    assert pools[16].mean_running / pools[2048].mean_running > 4
    assert pools[16].mean_used_share > 0.95
    assert pools[2048].mean_used_share < 0.25


def test_only_pools_that_overcommit_preempt_requests(pools):
    assert pools[2048].num_preempted == 0
    assert pools[16].num_preempted > 0


def test_slots_left_over_by_the_cut_are_external(pools):
    usage = account(pools[2048].memory_map, pools[2048].future_tokens)
    assert usage.external == NUM_SLOTS_13B - 7 * 2048
    assert usage.num_slots == NUM_SLOTS_13B


def test_the_snapshot_is_near_the_means_and_its_futures_are_those_of_its_requests(requests, pools):
    for pool in pools.values():
        lengths = {request.request_id: request.num_output_tokens for request in requests}
        assert all(0 <= future <= lengths[request_id] for request_id, future in pool.future_tokens.items())
        assert sum(pool.future_tokens.values()) > len(pool.future_tokens)
        assert pool.num_requests == NUM_REQUESTS
        usage = account(pool.memory_map, pool.future_tokens)
        assert usage.used == pytest.approx(pool.mean_tokens, rel=0.25)
        assert len(pool.future_tokens) == pytest.approx(pool.mean_running, rel=0.25)


def test_the_means_leave_out_the_young_pool():
    """Four requests at once fill the pool from the start to the end; only the ages differ."""
    requests = [Request(request_id, 4, 12) for request_id in range(40)]
    pool = keep_full(PagedAllocator(4, 16), requests)
    assert pool.mean_running > 3.5
    assert pool.mean_tokens / pool.mean_running == pytest.approx(4 + 12 / 2, rel=0.15)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="requests are too few to keep the pool full, got 1"):
        keep_full(PagedAllocator(4, 16), [Request(0, 1, 1)])
    with pytest.raises(ValueError, match=r"page_size must be at most num_slots \(15744\), got 20000"):
        fill_by_page_size([Request(0, 1, 1)], [20000], num_slots=NUM_SLOTS_13B)
    with pytest.raises(
        ValueError, match=r"room for the longest request \(90 tokens\) .* got 100 in pages of 64"
    ):
        fill_by_page_size([Request(0, 40, 50)], [64], num_slots=100)
    with pytest.raises(ValueError, match="page_size must be at least 1, got 0"):
        fill_by_page_size([Request(0, 1, 1)], [0], num_slots=NUM_SLOTS_13B)
    with pytest.raises(TypeError, match="page_sizes must be an iterable of whole numbers, got 16"):
        fill_by_page_size([Request(0, 1, 1)], 16, num_slots=NUM_SLOTS_13B)
