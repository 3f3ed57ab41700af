from dataclasses import astuple, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paged_demo import (
    CacheFullError,
    FullGroup,
    GroupedPool,
    PagedAllocator,
    PagedPool,
    Request,
    TraditionalPool,
    first_fit,
    reserve_max,
    reserve_oracle,
    swap_never,
)
from paged_demo.serving.iteration_time import OPT_13B_ITERATION, OPT_13B_SWAP
from paged_demo.serving.rules import (
    Rules,
    fits_budget,
    keep_pages_free,
    pages_held,
    pages_kept,
    pages_without_sharing,
)


@given(
    num_prompt_tokens=st.integers(1, 40),
    num_generated=st.integers(0, 40),
    num_samples=st.integers(1, 5),
    page_size=st.integers(1, 20),
)
def test_pages_held_are_those_an_allocator_takes(num_prompt_tokens, num_generated, num_samples, page_size):
    allocator = PagedAllocator(num_pages=500, page_size=page_size)
    allocator.allocate(0, range(num_prompt_tokens))
    for sample in range(1, num_samples):
        allocator.fork(0, sample)
    for _ in range(num_generated):
        for sample in range(num_samples):
            allocator.append(sample, 7)
    request = Request(0, num_prompt_tokens, 40, num_samples=num_samples)
    assert pages_held(request, num_generated, page_size) == 500 - allocator.num_free_pages
    tables = [allocator.page_table(sample) for sample in range(num_samples)]
    assert pages_without_sharing(request, num_generated, page_size) == sum(map(len, tables))


def test_a_prompt_beyond_the_budget_starts_only_without_other_prompts():
    assert fits_budget(10, 3, 0, budget=8)
    assert not fits_budget(10, 3, 1, budget=8)


def test_decoding_and_prompts_share_the_budget():
    assert fits_budget(5, 2, 1, budget=8)
    assert not fits_budget(5, 2, 2, budget=8)


@given(num_pages=st.integers(1, 10**6), percent=st.integers(0, 99))
@example(num_pages=100, percent=29)
def test_a_share_in_percent_keeps_exactly_its_pages(num_pages, percent):
    assert pages_kept(percent / 100, num_pages) == percent * num_pages // 100


@given(num_pages=st.integers(1, 10**6), data=st.data())
def test_a_share_that_is_so_many_of_the_pages_keeps_those(num_pages, data):
    num_kept = data.draw(st.integers(0, num_pages - 1))
    assert pages_kept(num_kept / num_pages, num_pages) == num_kept


@given(share=st.floats(0, 1, exclude_max=True), num_pages=st.integers(1, 10**6))
def test_pages_kept_are_the_whole_ones_of_a_share_but_for_its_rounding(share, num_pages):
    exact = Fraction(share) * num_pages
    assert exact - 1 < pages_kept(share, num_pages) <= exact * (1 + Fraction(1, 2**52))


@pytest.mark.parametrize(
    "share", [0.29, np.float32(0.29), np.float16(0.29), Decimal("0.29"), Fraction(29, 100)]
)
def test_an_admission_leaves_the_whole_share_free(share):
    assert PagedPool(num_pages=100, watermark_share=share).watermark_share == 0.29
    may_admit = keep_pages_free(PagedAllocator(100, 16), share=share)
    assert may_admit(Request(0, 71 * 16, 1), 0)
    assert not may_admit(Request(0, 71 * 16 + 1, 1), 0)


def test_numpy_numbers_of_a_record_are_kept_as_pythons_own():
    pool = PagedPool(num_pages=np.int8(100), page_size=np.int8(16), watermark_share=np.float32(0.25))
    assert pool.num_slots == 1600
    runs = TraditionalPool(num_slots=np.int16(2048), reserve=reserve_max(np.int16(2048)))
    rules = Rules(max_batched_tokens=np.int16(30_000), max_running=np.int8(100))
    iteration_time = replace(OPT_13B_ITERATION, fixed_s=np.float32(0.5), weights_s=np.int8(1))
    swap_time = replace(OPT_13B_SWAP, slot_in_s=np.float64(0.5))
    kept = [*astuple(pool), runs.num_slots, runs.reserve(1, 2), rules.max_batched_tokens, rules.max_running]
    assert set(map(type, [*kept, *astuple(iteration_time), *astuple(swap_time)])) == {int, float}


@pytest.mark.parametrize("bad", [np.array(0.5), np.True_, np.complex64(0.5), "0.5"])
def test_what_is_no_plain_number_is_no_share_and_no_time(bad):
    with pytest.raises(TypeError, match="watermark_share must be a number, got"):
        PagedPool(num_pages=100, watermark_share=bad)
    with pytest.raises(TypeError, match="fixed_s must be a number, got"):
        replace(OPT_13B_ITERATION, fixed_s=bad)


NARROW = Request(0, np.int8(100), np.int8(100))
POOLS = [
    PagedPool(num_pages=12),
    GroupedPool(num_pages=12, groups=[FullGroup()]),
    TraditionalPool(num_slots=199, reserve=reserve_oracle),
]


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: type(pool).__name__)
def test_a_request_in_numpys_small_integers_is_as_large_as_in_pythons(pool):
    rules = Rules(swaps=swap_never)
    with pytest.raises(CacheFullError, match=r"can never be served, 1 (page|slot)s are missing"):
        pool.require_room([NARROW], rules)
    for bad in (Request(0, 2.5, 1), Request(0, -5, 1), "A"):
        with pytest.raises((TypeError, ValueError), match=r"num_prompt_tokens of request 0|Request records"):
            pool.require_room([bad], rules)


@pytest.mark.parametrize("pool", POOLS[:2], ids=lambda pool: type(pool).__name__)
def test_an_admission_of_numpys_small_integers_needs_as_many_pages(pool):
    assert pool.most_pages(NARROW, Rules()) == 13
    may_admit = keep_pages_free(pool.allocator(), share=0.0)
    answers = [may_admit(NARROW, np.int8(num_generated)) for num_generated in (92, 93)]
    assert answers == [True, False]
    assert {*map(type, answers)} == {bool}


def test_a_placement_that_has_no_room_at_all_is_told_as_any_other():
    def full(num_slots):
        placement = first_fit(num_slots)
        placement.place(num_slots)
        return placement

    pool = TraditionalPool(num_slots=64, reserve=reserve_oracle, placement=full)
    with pytest.raises(CacheFullError, match="request 3 can never be served, 10 slots are missing"):
        pool.require_room([Request(3, 5, 5)])
