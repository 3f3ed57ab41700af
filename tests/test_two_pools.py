import pytest
from amounts import amount
from hypothesis import given, settings
from hypothesis import strategies as st
from two_pools import ONE_SECOND, serve_side_by_side

from paged_demo import CacheFullError, PagedPool, Request, Rules, TraditionalPool, reserve_max, serve

POOLS = {
    "traditional": TraditionalPool(num_slots=40, reserve=reserve_max(20)),
    "paged": PagedPool(num_pages=10, page_size=4),
}


def at_once(*lengths):
    return [Request(index, *each) for index, each in enumerate(lengths)]


lengths = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 12)), min_size=1, max_size=12)


@given(lengths=lengths)
@settings(max_examples=amount(short=10, long=30))
def test_each_pool_serves_the_requests_as_it_would_alone(lengths):
    requests = at_once(*lengths, (8, 12))  # the last keeps every pool at work for 13 steps
    served = serve_side_by_side(requests, POOLS, num_steps=13)
    for name, pool in POOLS.items():
        run = serve(
            requests, pool, rules=Rules(iteration_time=ONE_SECOND), moments=[step + 0.5 for step in range(13)]
        )
        for moment, step in zip(run.moments, served.steps[1:], strict=True):
            side = step[name]
            assert (moment.num_running, moment.used) == (side.num_running, side.usage.used)
            assert moment.num_waiting == len(side.snapshot.waiting)


@given(lengths=lengths)
@settings(max_examples=amount(short=10, long=30))
def test_whoever_has_arrived_runs_waits_or_has_finished(lengths):
    requests = [
        Request(0, 8, 12),
        *(Request(index, *each, index // 2) for index, each in enumerate(lengths, 1)),
    ]
    for step in serve_side_by_side(requests, POOLS, num_steps=13).steps:
        for side in step.values():
            arrived = [
                request.request_id for request in requests if request.arrival_s <= side.snapshot.time_s
            ]
            running = list(side.snapshot.future_tokens)
            assert sorted([*running, *side.snapshot.waiting, *side.finished]) == arrived


def test_the_finished_are_told_in_the_order_in_which_they_leave():
    served = serve_side_by_side(at_once((2, 3), (2, 1), (2, 9)), POOLS, num_steps=5)
    assert [step["paged"].finished for step in served.steps] == [(), (), (), (1,), (1,), (1, 0)]
    # The third finds no room beside two reservations, and takes that of the second.
    assert [step["traditional"].num_running for step in served.steps] == [0, 2, 2, 2, 2, 1]


def test_a_request_that_gives_way_is_counted_and_has_not_finished():
    pools = {"paged": PagedPool(num_pages=3, page_size=2, watermark_share=0)}
    served = serve_side_by_side(at_once((2, 4), (2, 4)), pools, num_steps=3)
    assert [step["paged"].num_preempted for step in served.steps] == [0, 0, 1, 1]
    assert served.steps[-1]["paged"].finished == ()


def test_several_samples_that_give_way_keep_in_step_too():
    requests = [Request(index, 8, 20, num_samples=2) for index in range(2)]
    served = serve_side_by_side(requests, {"paged": PagedPool(num_pages=8, page_size=8)}, num_steps=20)
    sides = [step["paged"] for step in served.steps]
    assert sides[-1].num_preempted > 0
    assert [side.snapshot.time_s for side in sides] == list(range(21))


def test_requests_that_leave_a_pool_without_work_are_refused():
    with pytest.raises(ValueError, match="requests must keep 'paged' at work for 4 steps, got 3"):
        serve_side_by_side(at_once((2, 2)), {"paged": POOLS["paged"]}, num_steps=4)
    with pytest.raises(ValueError, match="requests must keep 'paged' at work for 4 steps, got 0"):
        serve_side_by_side([Request(0, 2, 9, 1.0)], {"paged": POOLS["paged"]}, num_steps=4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="pools must hold at least one pool, got none"):
        serve_side_by_side(at_once((2, 2)), {}, num_steps=1)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        serve_side_by_side(at_once((2, 2)), POOLS, num_steps=0)
    with pytest.raises(TypeError, match="pool must be a PagedPool, GroupedPool or TraditionalPool, got 3"):
        serve_side_by_side(at_once((2, 2)), {"paged": 3}, num_steps=1)
    with pytest.raises(CacheFullError, match="can never be served"):
        serve_side_by_side(at_once((40, 2)), {"paged": POOLS["paged"]}, num_steps=1)
