"""Whatever a reader's function does, nothing is left half done: it raises at each of its calls in turn."""

import contextlib
import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from amounts import amount

from paged_demo import (
    CacheFullError,
    PagedAllocator,
    PagedPool,
    Request,
    Scheduler,
    TraditionalAllocator,
    account,
    best_fit,
    buddy,
    first_fit,
    keep_full,
    keep_pages_free,
    reserve_oracle,
    reserve_pow2,
)
from paged_demo.serving.iteration_time import OPT_13B_ITERATION, OPT_13B_SWAP, IterationTime, SwapTime
from paged_demo.serving.rules import Rules, swap_several
from paged_demo.serving.run import serve
from paged_demo.serving.simulator import simulate


class ReadersError(Exception):
    """What no code of the package catches."""


class Calls:
    """Counts the calls of some functions, and lets one of them raise before it does anything."""

    def __init__(self, raise_at=0):
        self.number, self.raise_at = 0, raise_at

    def of(self, function):
        def counted(*arguments, **options):
            self.number += 1
            if self.number == self.raise_at:
                raise ReadersError(function)
            return function(*arguments, **options)

        return counted

    def of_methods(self, kind, *names):
        """Make a kind of objects whose methods of these names count."""
        return type(kind.__name__, (kind,), {name: self.of(getattr(kind, name)) for name in names})

    def of_placement(self, policy):
        def place_in(num_slots):
            placement = policy(num_slots)
            return SimpleNamespace(
                place=self.of(placement.place),
                release=self.of(placement.release),
                holes=placement.holes,
                unit_slots=placement.unit_slots,
            )

        return place_in

    def rules(self, **choices):
        iteration_time, swap_time = (
            self.of_methods(kind, "__call__")(**{name: getattr(like, name) for name in kind.__slots__})
            for kind, like in ((IterationTime, OPT_13B_ITERATION), (SwapTime, OPT_13B_SWAP))
        )
        return Rules(
            iteration_time=iteration_time, swap_time=swap_time, swaps=self.of(swap_several), **choices
        )


def crowd(num_samples):
    lengths = [(3, 9), (5, 2), (6, 7), (1, 8), (7, 5), (2, 2)]
    return [
        Request(index, *pair, 0.05 * (index // 3), num_samples(index)) for index, pair in enumerate(lengths)
    ]


def over_pages(calls, *, num_pages=12, num_samples=lambda index: 1, **choices):
    """Make a scheduler over few pages, where all that the reader can give counts its calls."""
    methods = ("allocate", "extend", "append", "fork", "free")
    allocator = calls.of_methods(PagedAllocator, *methods)(num_pages, 2)
    may_admit = calls.of(keep_pages_free(allocator, share=0.1))
    scheduler = Scheduler(
        allocator, crowd(num_samples), may_admit=may_admit, rules=calls.rules(max_running=9, **choices)
    )
    return scheduler, allocator


def over_runs(calls, *, policy):
    allocator = TraditionalAllocator(
        48, reserve=calls.of(reserve_pow2(32)), placement=calls.of_placement(policy)
    )
    scheduler = Scheduler(allocator, crowd(lambda index: 1), rules=calls.rules())
    return scheduler, allocator


SERVERS = {
    "pages": over_pages,
    "pages, several samples": partial(over_pages, num_pages=16, num_samples=lambda index: 1 + index % 3),
    "pages, prompts in pieces": partial(over_pages, chunked_prefill=True, max_batched_tokens=5),
    "first fit": partial(over_runs, policy=first_fit),
    "best fit": partial(over_runs, policy=best_fit),
    "buddy": partial(over_runs, policy=partial(buddy, unit_slots=4, max_tokens=32)),
}


def run(scheduler):
    """Serve all, and call `step` again when it raised."""
    iterations = []
    while scheduler.num_waiting or scheduler.num_running:
        try:
            iterations.append(scheduler.step())
        except ReadersError:
            iterations.append(scheduler.step())
    return iterations, scheduler.stays, scheduler.first_token_s, scheduler.finish_s, scheduler.longest_gap_s


@pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
def test_a_step_that_raised_goes_on_where_it_stopped_and_the_run_is_the_same(make):
    calls = Calls()
    scheduler, _ = make(calls)
    undisturbed = run(scheduler)
    assert calls.number > 40
    for number in range(1, calls.number + 1):
        scheduler, allocator = make(Calls(raise_at=number))
        assert run(scheduler) == undisturbed, number
        assert allocator.memory_map().regions == ()


@pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
def test_whoever_was_half_gone_when_a_step_raised_is_let_go_too(make):
    calls = Calls()
    run(make(calls)[0])
    for number in range(1, calls.number + 1):
        scheduler, allocator = make(Calls(raise_at=number))
        with contextlib.suppress(ReadersError):
            while scheduler.num_waiting or scheduler.num_running:
                scheduler.step()
        scheduler.let_go()
        assert allocator.memory_map().regions == (), number


@pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
def test_these_servers_are_crowded(make):
    """Else not much could go wrong in them."""
    iterations, stays, *_ = run(make(Calls())[0])
    has_pages = make not in (SERVERS["first fit"], SERVERS["best fit"], SERVERS["buddy"])
    assert any(stay.is_preempted for stay in stays) == has_pages
    assert any(iteration.num_running < 3 for iteration in iterations)


@pytest.mark.parametrize(
    "make",
    [
        lambda calls: calls.of_methods(PagedAllocator, "allocate", "append")(5, 4),
        lambda calls: TraditionalAllocator(20, reserve=calls.of(reserve_oracle)),
    ],
    ids=["pages", "runs"],
)
def test_a_pool_that_was_kept_full_is_empty_again_whatever_came_and_can_be_kept_full_again(make):
    requests = [Request(index, 3, 5) for index in range(20)]

    def kept(allocator, may_admit=lambda request, num_generated: True):
        pool = keep_full(allocator, iter(requests), may_admit=may_admit)
        assert allocator.memory_map().regions == ()
        # Where in the pool they lie depends on who was there before.
        usage = account(pool.memory_map, pool.future_tokens)
        return pool.mean_running, pool.mean_tokens, pool.num_preempted, pool.future_tokens, usage

    calls = Calls()
    undisturbed = kept(make(calls))
    for number in range(1, calls.number + 1, amount(short=3, long=1)):
        allocator = make(Calls(raise_at=number))
        try:
            kept(allocator)
        except ReadersError:
            assert kept(allocator) == undisturbed
    allocator = make(Calls())
    with pytest.raises(ReadersError):
        kept(allocator, Calls(raise_at=7).of(lambda request, num_generated: True))
    with pytest.raises(ValueError, match="requests are too few"):
        keep_full(allocator, requests[:1])
    assert kept(allocator) == kept(allocator) == undisturbed


def test_an_allocator_whose_policy_raises_has_changed_nothing_and_can_be_asked_again():
    def history(calls):
        allocator = TraditionalAllocator(
            16, reserve=calls.of(reserve_oracle), placement=calls.of_placement(first_fit)
        )
        operations = [
            lambda: allocator.allocate("a", range(3), final_tokens=8),
            lambda: allocator.allocate("b", range(3), final_tokens=4),
            lambda: allocator.free("a"),
            lambda: allocator.allocate("a", range(9), final_tokens=9),
            lambda: allocator.free("b"),
            lambda: allocator.allocate("a", range(9), final_tokens=9),
        ]
        maps = []
        for operation in operations:
            before = allocator.memory_map()
            try:
                operation()
            except ReadersError:
                assert allocator.memory_map() == before
                with contextlib.suppress(CacheFullError):
                    operation()
            except CacheFullError:
                assert allocator.memory_map() == before
            maps.append(allocator.memory_map())
        return maps

    calls = Calls()
    undisturbed = history(calls)
    assert calls.number == 10
    for number in range(1, calls.number + 1):
        assert history(Calls(raise_at=number)) == undisturbed


@pytest.mark.parametrize("answer", [None, 1, "yes", np.array([True])])
def test_a_policy_that_answers_neither_true_nor_false_is_named(answer):
    requests = [Request(0, 3, 5), Request(1, 3, 3)]
    scheduler = Scheduler(PagedAllocator(4, 2), requests, may_admit=lambda request, num_generated: answer)
    with pytest.raises(TypeError, match="what may_admit returns must be True or False, got"):
        scheduler.step()
    rules = Rules(swaps=lambda request: answer)
    for engine in (serve, simulate):
        with pytest.raises(TypeError, match="what swaps returns must be True or False, got"):
            engine(requests, PagedPool(num_pages=4, page_size=2, watermark_share=0), rules=rules)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(0, ValueError), (-8, ValueError), (2, ValueError), (8.0, TypeError), (None, TypeError)],
)
def test_a_reservation_that_is_none_is_named_and_nothing_is_taken(answer, error):
    allocator = TraditionalAllocator(16, reserve=lambda num_prompt_tokens, final_tokens: answer)
    empty = allocator.memory_map()
    with pytest.raises(error, match="reserve"):
        allocator.allocate("a", range(3), final_tokens=8)
    assert allocator.memory_map() == empty


RUNS = [None, 5, (0,), (0, 7), (-1, 8), (9, 8), (10**30, 8), (0.0, 8.0), ("0", "8"), (0, 8, 8)]


@pytest.mark.parametrize("answer", RUNS)
def test_a_run_that_is_none_is_named_and_nobody_gets_it(answer):
    def placement(num_slots):
        return SimpleNamespace(place=lambda num_slots: answer, holes=lambda: (), unit_slots=1)

    allocator = TraditionalAllocator(16, reserve=reserve_oracle, placement=placement)
    empty = allocator.memory_map()
    with pytest.raises((TypeError, ValueError), match=r"place (returns )?must "):
        allocator.allocate("a", range(3), final_tokens=8)
    assert allocator.memory_map() == empty


@pytest.mark.parametrize("shown", [[], [7], "text", range(10**9), itertools.repeat(None)])
def test_a_bar_that_yields_something_else_changes_no_run(shown):
    requests = [Request(request_id, 5, 8) for request_id in range(6)]
    pool = PagedPool(num_pages=8, page_size=4)
    assert serve(requests, pool, progress=lambda counts: shown) == serve(requests, pool)


def test_a_bar_that_is_none_is_named_and_one_that_goes_along_is_closed():
    requests, seen = [Request(0, 5, 8), Request(1, 5, 8)], []

    def bar(counts):
        for count in counts:
            seen.append(count)
            yield count
        seen.append("closed")

    serve(requests, PagedPool(num_pages=8), progress=bar)
    assert seen == [0, 1, "closed"]
    with pytest.raises(TypeError, match="what progress returns must be iterable, got None"):
        serve(requests, PagedPool(num_pages=8), progress=lambda counts: None)


def test_a_reservation_in_numbers_of_numpy_is_kept_as_pythons_own():
    allocator = TraditionalAllocator(
        400, reserve=lambda num_prompt_tokens, final_tokens: np.uint8(final_tokens)
    )
    for seq_id in range(2):
        allocator.allocate(seq_id, range(3), final_tokens=200)
    assert [region.num_reserved for region in allocator.memory_map().regions] == [200, 200]
    assert sum(allocator.memory_map().regions[1][:2]) == 400


@pytest.mark.parametrize("answer", [float("nan"), -1.0, 0.0, float("inf")])
def test_an_iteration_that_takes_no_time_is_an_error_and_can_be_asked_again(answer):
    answers = [answer]

    class Unsteady(IterationTime):
        def __call__(self, **batch):
            return answers.pop() if answers else super().__call__(**batch)

    steady = {name: getattr(OPT_13B_ITERATION, name) for name in IterationTime.__slots__}
    scheduler = Scheduler(
        PagedAllocator(4, 2), [Request(0, 3, 5)], rules=Rules(iteration_time=Unsteady(**steady))
    )
    with pytest.raises(ValueError, match="what iteration_time and swap_time return must be a finite number"):
        scheduler.step()
    assert run(scheduler) == run(Scheduler(PagedAllocator(4, 2), [Request(0, 3, 5)]))
