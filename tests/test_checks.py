"""Numbers that nothing can be made of: each is refused at once, by the name of its argument."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from paged_demo import (
    KVStore,
    PagedAllocator,
    PagedPool,
    PagePool,
    Request,
    TraditionalAllocator,
    TraditionalPool,
    best_fit,
    buddy,
    first_fit,
    poisson_arrivals,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
    serve,
    sharegpt,
    simulate,
)
from paged_demo.allocators.studies import (
    ask_with_prefix,
    hit_share,
    keep_one_sequence,
    measure_page_size,
    sample_in_parallel,
)
from paged_demo.checks import MAX_COUNT, MAX_WHOLE, check_count, check_number
from paged_demo.course import check
from paged_demo.course.nb01 import recomputation
from paged_demo.course.nb03 import waste_against_length
from paged_demo.model import OPT_13B, MemoryBudget
from paged_demo.serving.rules import Rules
from paged_demo.serving.saturation import fill_by_page_size
from paged_demo.views.plots.fates import memory_against_length
from paged_demo.views.plots.pages import page_tables

HUGE = [MAX_COUNT + 1, 2**63, 10**30, 10**5000]
RNG = np.random.default_rng(0)
SMALL = PagedPool(num_pages=8, page_size=4)
RUNS = TraditionalPool(num_slots=64, reserve=reserve_max(32))

COUNTS = [
    ("num_pages", PagePool),
    ("num_pages", lambda count: PagedAllocator(count, 16)),
    ("page_size", lambda count: PagedAllocator(4, count)),
    ("num_pages", lambda count: PagedPool(num_pages=count)),
    ("page_size", lambda count: PagedPool(num_pages=4, page_size=count)),
    ("num_slots", lambda count: TraditionalAllocator(count, reserve=reserve_oracle)),
    ("num_slots", lambda count: TraditionalPool(num_slots=count, reserve=reserve_oracle)),
    ("num_slots", first_fit),
    ("num_slots", best_fit),
    ("num_slots", buddy),
    ("unit_slots", lambda count: buddy(64, unit_slots=count)),
    ("max_tokens", lambda count: buddy(64, max_tokens=count)),
    ("num_slots", lambda count: buddy(64).place(count)),
    ("max_tokens", reserve_max),
    ("max_tokens", reserve_pow2),
    *(
        (f"{field} of request 0", lambda count, field=field, pool=pool, engine=engine: engine(
            [Request(0, 5, 5)._replace(**{field: count})], pool
        ))
        for field in ("num_prompt_tokens", "num_output_tokens", "num_samples")
        for pool in (SMALL, RUNS)
        for engine in (serve, simulate)
    ),
    ("num_requests", lambda count: sharegpt.sample(count, rng=RNG)),
    ("num_slots", lambda count: fill_by_page_size([Request(0, 5, 5)], [16], num_slots=count)),
    ("num_pages", lambda count: KVStore(count, 4, 1, 2)),
    ("page_size", lambda count: KVStore(4, count, 1, 2)),
    ("num_kv_heads", lambda count: KVStore(4, 4, count, 2)),
    ("head_dim", lambda count: KVStore(4, 4, 1, count)),
    ("num_tokens", keep_one_sequence),
    ("max_tokens", lambda count: keep_one_sequence(5, max_tokens=count)),
    ("each of prompt_tokens", lambda count: measure_page_size([count], [5], page_size=4)),
    ("num_samples", lambda count: sample_in_parallel(7, count, page_size=4)),
    ("num_generated", lambda count: sample_in_parallel(7, 2, page_size=4, num_generated=count)),
    ("num_common", lambda count: ask_with_prefix(count, 2, page_size=4)),
    ("num_pages", lambda count: hit_share([[1, 2]], num_pages=count, page_size=4)),
    ("num_tokens", recomputation),
    ("num_pages", lambda count: waste_against_length(page_size=4, num_pages=count)),
    ("max_tokens", lambda count: memory_against_length(OPT_13B, max_tokens=count)),
]  # fmt: skip


@pytest.mark.parametrize("count", HUGE, ids=["one more", "2**63", "10**30", "10**5000"])
@pytest.mark.parametrize(("name", "ask"), COUNTS)
def test_a_count_of_more_than_any_list_can_hold_is_refused_by_name(name, ask, count):
    with pytest.raises(ValueError, match=f"^{name} must be at most {MAX_COUNT}, got "):
        ask(count)


@pytest.mark.parametrize(
    ("tables", "num_pages", "told"),
    [
        ({"A": [0]}, 10**30, "num_pages must be at most 1000, got 1000"),
        ({"A": [8]}, 8, "each page of tables must be at most 7, got 8"),
        ({"A": [10**5000]}, 8, "each page of tables must be at most 7, got one of 16610 bits"),
    ],
    ids=["huge pool", "no page", "huge page"],
)
def test_a_table_that_no_picture_can_hold_is_refused(tables, num_pages, told):
    with pytest.raises(ValueError, match=f"^{told}"):
        page_tables(tables, num_pages=num_pages)


WHOLE = [
    ("request_id", lambda number: simulate([Request(number, 5, 5)], SMALL)),
    ("token_id", lambda number: PagedAllocator(4, 4).allocate(0, [number])),
    ("final_tokens", lambda number: PagedAllocator(4, 4).allocate(0, [1], final_tokens=number)),
    ("budget", lambda number: PagedAllocator(4, 4).allocate(0, [1], budget=number)),
    ("max_running", lambda number: Rules(max_running=number)),
    ("max_batched_tokens", lambda number: Rules(max_batched_tokens=number)),
    ("context_limit", lambda number: sharegpt.sample(5, rng=RNG, context_limit=number)),
    ("memory_bytes", OPT_13B.slots_in),
    ("num_slots", OPT_13B.bytes_of),
    ("num_requests", lambda number: MemoryBudget(
        model=OPT_13B, memory_bytes=1, num_requests=number, tokens_per_request=1
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ask"), WHOLE)
def test_a_number_that_names_or_measures_has_64_bits(name, ask):
    ask(MAX_WHOLE)
    for number in (MAX_WHOLE + 1, 10**30, 10**5000):
        with pytest.raises(ValueError, match=f"^{name} must be at most {MAX_WHOLE}, got "):
            ask(number)


@pytest.mark.parametrize(
    "shape",
    [(MAX_COUNT, MAX_COUNT, 1, 1), (MAX_COUNT, MAX_COUNT, MAX_COUNT, MAX_COUNT), (2**20, 2**20, 2**8, 1)],
)
def test_a_store_beyond_all_memory_says_what_was_asked_for(shape):
    with pytest.raises(
        ValueError, match=r"keys and values must find room in memory, got [\d,]+ bytes for an a"
    ):
        KVStore(*shape)


def test_pools_as_large_as_any_server_has_are_served():
    requests = [Request(index, 500, 20) for index in range(3)]
    pools = [
        PagedPool(num_pages=2 * 10**7, page_size=1),
        TraditionalPool(num_slots=2 * 10**7, reserve=reserve_max(2048)),
        TraditionalPool(num_slots=2 * 10**7, reserve=reserve_max(2048), placement=buddy),
    ]
    assert {simulate(requests, pool).mean_running for pool in pools} == {3.0}


def test_a_number_beyond_all_floats_is_none():
    with pytest.raises(ValueError, match=r"^arrival_s must fit into a float"):
        check_number("arrival_s", 10**400)


STRANGE = [
    Fraction(10**5000, 3),
    [10**5000],
    {"a": "x" * 10**6},
    10**5000,
    np.timedelta64(3),
    Decimal("sNaN"),
]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("page_size", lambda value: PagedPool(num_pages=4, page_size=value)),
        ("prefix_caching", lambda value: PagedAllocator(4, 4, prefix_caching=value)),
        ("watermark_share", lambda value: PagedPool(num_pages=4, watermark_share=value)),
        ("fixed_s", lambda value: replace(Rules().iteration_time, fixed_s=value)),
        ("rate_rps", lambda value: poisson_arrivals([], rate_rps=value, rng=RNG)),
        ("window", lambda value: simulate([Request(0, 5, 5)], SMALL, window=(0, value))),
        ("no exercise", lambda value: check(value, 3)),
    ],
)
def test_what_came_is_told_in_short_whatever_it_is(name, ask, value):
    with pytest.raises((TypeError, ValueError, KeyError)) as raised:
        ask(value)
    told = str(raised.value)
    assert name in told
    assert len(told) < 600


def test_a_number_that_python_does_not_print_is_told_by_its_bits():
    with pytest.raises(ValueError, match=r"^page_size must be at most \d+, got one of 16610 bits$"):
        check_count("page_size", 10**5000)
    with pytest.raises(ValueError, match=r"^page_size must be at least 1, got one of 16610 bits$"):
        check_count("page_size", -(10**5000))
