from dataclasses import replace

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
    reserve_max,
    reserve_oracle,
)
from paged_demo.serving.iteration_time import IterationTime, SwapTime
from paged_demo.serving.rules import PagedPool, Rules, admit_always, swap_always
from paged_demo.serving.run import serve
from paged_demo.serving.scheduler import scheduler_of
from paged_demo.serving.sequence_group import IterationProgress


def requests_of(*lengths):
    return [Request(request_id, *pair) for request_id, pair in enumerate(lengths)]


def run(scheduler):
    iterations = []
    while scheduler.num_waiting or scheduler.num_running:
        iterations.append(scheduler.step())
    return iterations


def test_a_request_prefills_in_one_iteration_and_then_gains_a_token_in_each():
    scheduler = Scheduler(PagedAllocator(4, 4), requests_of((5, 3)))
    assert [iteration.num_tokens for iteration in run(scheduler)] == [5, 6, 7, 8, 0]


def test_requests_start_in_their_order_even_if_a_later_one_would_fit():
    allocator = PagedAllocator(4, 4)
    scheduler = Scheduler(allocator, requests_of((8, 1), (12, 1), (1, 1)))
    assert scheduler.step().num_running == 1
    assert list(scheduler.future_tokens()) == [0]
    run(scheduler)
    assert allocator.num_free_pages == 4


def test_the_newest_request_is_preempted_and_starts_again_with_all_its_tokens():
    allocator = PagedAllocator(4, 2)
    scheduler = Scheduler(allocator, requests_of((3, 5), (3, 3)))
    iterations = run(scheduler)
    assert [iteration.num_preempted for iteration in iterations[:3]] == [0, 0, 1]
    # The second request had 4 tokens when it lost its pages; it is admitted again with those 4.
    assert [iteration.num_tokens for iteration in iterations] == [6, 8, 5, 6, 7, 8, 4, 5, 6, 0]


def test_a_preempted_request_waits_at_the_head_and_not_in_the_iteration_that_preempts():
    scheduler = Scheduler(PagedAllocator(4, 2), requests_of((3, 5), (4, 3), (1, 1)))
    scheduler.step()
    # The second request finds no page for its fifth token. The two pages it leaves would do for its four.
    assert scheduler.step()[2:] == (1, 4, 1)
    # One page is free now: enough for the third request, which has to wait behind the second.
    assert scheduler.step()[2:] == (1, 5, 0)
    assert scheduler.num_waiting == 2


def test_a_request_that_could_never_grow_to_its_end_is_an_error_before_it_starts():
    with pytest.raises(CacheFullError, match="need 4 pages, 2 free in the empty pool: request 0 can never"):
        Scheduler(PagedAllocator(2, 2), requests_of((3, 5)))
    with pytest.raises(CacheFullError, match="need 10 pages, 5 free in the empty pool: request 0 can never"):
        Scheduler(PagedAllocator(5, 2), [Request(0, 4, 8, num_samples=2)])


def test_a_prompt_that_never_fits_is_an_error():
    with pytest.raises(CacheFullError, match="need 3 pages, 2 free"):
        Scheduler(PagedAllocator(2, 2), requests_of((5, 1))).step()


def test_a_watermark_keeps_pages_for_growth():
    allocator = PagedAllocator(10, 2)
    may_admit = keep_pages_free(allocator, share=0.39)
    assert may_admit(Request(0, 14, 1), 0)
    assert not may_admit(Request(0, 15, 1), 0)
    assert not may_admit(Request(0, 14, 9), 1)


def test_a_request_that_grew_past_the_watermark_can_come_back():
    allocator = PagedAllocator(10, 1)
    requests = requests_of((1, 7), (4, 4))
    run(Scheduler(allocator, requests, may_admit=keep_pages_free(allocator, share=0.5)))
    assert allocator.num_free_pages == 10


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan"), True, "1 %"])
def test_a_watermark_is_a_share(share):
    with pytest.raises((TypeError, ValueError), match="share must be"):
        keep_pages_free(PagedAllocator(4, 2), share=share)


def test_samples_share_their_prompt_and_part_with_their_first_tokens():
    allocator = PagedAllocator(8, 4)
    scheduler = Scheduler(allocator, [Request(0, 6, 3, num_samples=3)])
    scheduler.step()
    assert allocator.page_table((0, 0)) == allocator.page_table((0, 1)) == allocator.page_table((0, 2))
    assert allocator.num_free_pages == 6
    scheduler.step()
    tables = [allocator.page_table((0, sample)) for sample in range(3)]
    assert len({table[0] for table in tables}) == 1
    assert len({table[1] for table in tables}) == 3
    assert scheduler.step().num_tokens == 3 * 8
    run(scheduler)
    assert allocator.num_free_pages == 8


def test_each_sample_counts_against_the_sequences_that_may_run():
    requests = [Request(0, 1, 2, num_samples=3), Request(1, 1, 1, num_samples=2), Request(2, 1, 1)]
    scheduler = Scheduler(PagedAllocator(16, 4), requests, rules=Rules(max_running=4))
    assert scheduler.step().num_running == 1
    assert max(iteration.num_running for iteration in run(scheduler)) == 2


def test_as_many_samples_as_may_run_can_run():
    scheduler = Scheduler(
        PagedAllocator(16, 4), [Request(0, 1, 2, num_samples=4)], rules=Rules(max_running=4)
    )
    assert scheduler.step().num_running == 1


def test_a_scheduler_of_a_pool_keeps_its_watermark():
    requests = requests_of((4, 4), (4, 4))
    pools = [PagedPool(num_pages=10, page_size=1, watermark_share=share) for share in (0.2, 0.3)]
    assert [scheduler_of(requests, pool).step().num_running for pool in pools] == [2, 1]


def test_samples_need_an_allocator_that_can_fork():
    allocator = TraditionalAllocator(64, reserve=reserve_oracle)
    with pytest.raises(ValueError, match="num_samples of request 0 must be at most 1, since"):
        Scheduler(allocator, [Request(0, 1, 1, num_samples=2)])


TEN_A_PAGE_OUT_HUNDRED_IN = SwapTime(slot_in_s=25, page_in_s=0, slot_out_s=0, page_out_s=10)


def test_several_samples_are_swapped_and_come_back_with_what_they_had():
    allocator = PagedAllocator(6, 4)
    requests = [Request(0, 4, 8), Request(1, 4, 6, num_samples=2)]
    rules = Rules(iteration_time=ONE_SECOND, swap_time=TEN_A_PAGE_OUT_HUNDRED_IN)
    scheduler = Scheduler(allocator, requests, may_admit=keep_pages_free(allocator, share=0.4), rules=rules)
    times = [iteration.end_s - iteration.start_s for iteration in run(scheduler)]
    # Two samples of 4 + 4 tokens hold three pages, one of them shared, when their fifth tokens find no room.
    assert sorted(times)[-2:] == [1 + 3 * 10, 1 + 3 * 4 * 25]
    assert [stay[0] for stay in scheduler.stays] == [1, 0, 1]
    assert [stay.is_preempted for stay in scheduler.stays] == [True, False, False]
    allocator.check()
    assert allocator.num_free_pages == 6


def test_a_single_sample_is_computed_again_unless_the_policy_swaps_it():
    rules = Rules(iteration_time=ONE_SECOND, swap_time=TEN_A_PAGE_OUT_HUNDRED_IN)
    requests = requests_of((3, 5), (3, 3))
    again = run(Scheduler(PagedAllocator(4, 2), requests, rules=rules))
    swapped = run(Scheduler(PagedAllocator(4, 2), requests, rules=replace(rules, swaps=swap_always)))
    assert again[-1].end_s == 9
    assert swapped[-1].end_s == 9 + 2 * 10 + 2 * 2 * 25


def test_a_request_with_several_samples_that_finds_no_room_leaves_all_as_it_was():
    allocator = PagedAllocator(5, 4)
    scheduler = Scheduler(allocator, [Request(0, 4, 8), Request(1, 4, 6, num_samples=2)])
    while not scheduler.step().num_preempted:
        pass
    # Without a watermark only the allocator can say that two samples of 8 tokens find no third page.
    before = allocator.memory_map()
    done = IterationProgress()
    scheduler._admit(done)
    assert done == IterationProgress()
    assert allocator.memory_map() == before


def test_a_snapshot_shows_the_pool_and_who_waits():
    requests = [Request(0, 3, 4), Request(1, 7, 1), Request(2, 1, 1), Request(3, 1, 1, arrival_s=100.0)]
    scheduler = Scheduler(PagedAllocator(2, 4), requests)
    assert scheduler.snapshot().waiting == (0, 1, 2), "those who arrive just now"
    scheduler.step()
    snapshot = scheduler.snapshot()
    assert snapshot.waiting == (1, 2)
    assert snapshot.future_tokens == {0: 4}
    assert snapshot.time_s == scheduler.now_s
    assert account(snapshot.memory_map, snapshot.future_tokens).used == 3


def test_a_long_run_shows_how_far_it_has_come():
    seen = []

    def progress(counts):
        for count in counts:
            seen.append(count)
            yield count

    requests = requests_of((3, 5), (3, 3), (2, 9))
    served = serve(requests, PagedPool(num_pages=8, page_size=4), progress=progress)
    assert seen == [0, 1, 2]
    assert served == serve(requests, PagedPool(num_pages=8, page_size=4))


LENGTHS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=12)


@given(lengths=LENGTHS, num_pages=st.integers(6, 20))
def test_every_request_is_served_whole_and_the_pool_ends_empty(lengths, num_pages):
    allocator = PagedAllocator(num_pages, 4)
    scheduler = Scheduler(allocator, requests_of(*lengths))
    iterations = []
    while scheduler.num_waiting or scheduler.num_running:
        iterations.append(scheduler.step())
        usage = account(allocator.memory_map(), scheduler.future_tokens())
        assert usage.used == iterations[-1].num_tokens
        assert usage.num_slots == allocator.num_slots
        assert len(iterations) < 1000
    allocator.check()
    assert allocator.num_free_pages == num_pages
    assert len(iterations) >= max(num_output_tokens for _, num_output_tokens in lengths)


@given(lengths=LENGTHS)
def test_reserving_the_maximum_is_paging_with_one_page_per_sequence(lengths):
    requests = requests_of(*lengths)
    traditional = TraditionalAllocator(24 * 3 + 5, reserve=reserve_max(24))
    paged = PagedAllocator((24 * 3 + 5) // 24, 24)
    assert run(Scheduler(traditional, requests)) == run(Scheduler(paged, requests))


def test_the_schedule_over_an_oracle_never_preempts():
    scheduler = Scheduler(
        TraditionalAllocator(40, reserve=reserve_oracle),
        requests_of((10, 10), (10, 10), (10, 10)),
        may_admit=admit_always,
    )
    assert sum(iteration.num_preempted for iteration in run(scheduler)) == 0


def test_requests_are_served_when_they_have_arrived():
    requests = [Request(0, 3, 2, arrival_s=5.0), Request(1, 3, 1, arrival_s=5.5)]
    scheduler = Scheduler(PagedAllocator(4, 4), requests, rules=Rules(iteration_time=ONE_SECOND))
    assert [(step.start_s, step.num_running) for step in run(scheduler)] == [(5, 1), (6, 2), (7, 2), (8, 0)]
    assert scheduler.finish_s == {0: 8.0, 1: 8.0}


def test_an_iteration_takes_the_time_of_what_it_computes_and_reads():
    iteration_time = IterationTime(
        fixed_s=1, weights_s=10, compute_s=2, request_s=100, sequence_s=1000, kv_read_s=0.25
    )
    scheduler = Scheduler(
        PagedAllocator(8, 4), requests_of((3, 2), (5, 2)), rules=Rules(iteration_time=iteration_time)
    )
    prefill, decode = scheduler.step(), scheduler.step()
    assert prefill.end_s == 1 + 2 * 8 + 200 + 2000 + 0.25 * 8
    assert decode.end_s - decode.start_s == 1 + 10 + 200 + 2000 + 0.25 * 10


def test_an_iteration_computes_no_more_tokens_than_its_budget():
    requests = requests_of((5, 9), (5, 9), (5, 9), (11, 9), (1, 9))
    scheduler = Scheduler(PagedAllocator(99, 4), requests, rules=Rules(max_batched_tokens=10))
    # Two prompts of 5; beside two that decode, a third; the one of 11 goes alone; the last beside four.
    assert [scheduler.step().num_running for _ in range(4)] == [2, 3, 4, 5]


def test_no_more_requests_run_than_allowed():
    scheduler = Scheduler(
        PagedAllocator(99, 4), requests_of((1, 2), (1, 2), (1, 2)), rules=Rules(max_running=2)
    )
    assert [iteration.num_running for iteration in run(scheduler)] == [2, 2, 2, 1, 1, 1, 0]


def test_prompts_of_different_requests_are_different_prompts():
    allocator = PagedAllocator(99, 4, prefix_caching=True)
    Scheduler(allocator, requests_of(*[(9, 3)] * 10)).step()
    assert allocator.num_free_pages == 99 - 10 * 3


@pytest.mark.parametrize(
    ("requests", "error", "message"),
    [
        ([], ValueError, "requests must hold at least one request, got none"),
        ([Request(0, 1, 1), Request(0, 1, 1)], ValueError, "ids of their own, got one twice"),
        ([Request(0, 0, 1)], ValueError, "num_prompt_tokens of request 0 must be at least 1, got 0"),
        ([Request(0, 1, 1.5)], TypeError, "num_output_tokens of request 0 must be a whole number, got 1.5"),
        ([Request(0, 1, 1, float("nan"))], ValueError, "arrival_s of request 0 must be a finite number"),
        ([Request(0, 1, 1, 2.0), Request(1, 1, 1, 1.0)], ValueError, "request 1 must be from 2.0, got 1.0"),
        ([5], TypeError, "requests must hold Request records, got 5"),
    ],
)
def test_bad_requests_are_named_before_anything_is_served(requests, error, message):
    with pytest.raises(error, match=message):
        Scheduler(PagedAllocator(4, 2), requests)
