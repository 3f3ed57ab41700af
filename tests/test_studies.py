"""Small studies: what they count is what the allocators and the rules of serving do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import PRESETS, CacheFullError, PagedAllocator, Request, account, keep_one_sequence
from paged_demo.allocators.studies import (
    ask_with_prefix,
    hit_share,
    measure_page_size,
    sample_in_parallel,
)
from paged_demo.model import MIB
from paged_demo.serving.rules import pages_held, pages_without_sharing


def in_mib(usage):
    per_slot = PRESETS["Llama-2-7B"].kv_bytes_per_token / MIB
    return usage.allocated * per_slot, usage.used * per_slot, usage.wasted * per_slot


def test_500_tokens_of_a_7b_hold_1024_mib_the_one_way_and_256_the_other():
    usages = keep_one_sequence(500, page_size=16)
    assert in_mib(usages["traditional"]) == (1024.0, 250.0, 774.0)
    assert in_mib(usages["paged"]) == (256.0, 250.0, 6.0)
    assert f"{usages['traditional'].wasted / usages['traditional'].allocated:.1%}" == "75.6%"
    assert f"{usages['paged'].wasted / usages['paged'].allocated:.1%}" == "2.3%"
    assert 1 - usages["paged"].allocated / usages["traditional"].allocated == 0.75


def test_100_tokens_reserve_2048_slots_or_take_7_pages():
    usages = keep_one_sequence(100)
    assert (usages["traditional"].allocated, usages["paged"].allocated) == (2048, 7 * 16)
    assert f"{usages['traditional'].wasted / 2048:.0%}" == "95%"
    assert f"{usages['paged'].wasted / 112:.0%}" == "11%"


@given(num_tokens=st.integers(1, 2048), page_size=st.integers(1, 2048))
def test_both_ways_use_the_tokens_and_paging_wastes_less_than_a_page(num_tokens, page_size):
    usages = keep_one_sequence(num_tokens, page_size=page_size)
    assert usages["traditional"].used == usages["paged"].used == num_tokens
    assert usages["traditional"].allocated == 2048
    assert usages["paged"].wasted == -num_tokens % page_size


@given(num_tokens=st.integers(1, 2048))
def test_pages_of_the_greatest_length_are_the_traditional_way(num_tokens):
    usages = keep_one_sequence(num_tokens, page_size=2048)
    assert usages["paged"] == usages["traditional"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_tokens": 0}, ValueError, "num_tokens must be at least 1, got 0"),
        ({"num_tokens": 2049}, ValueError, r"num_tokens must be at most max_tokens \(2048\), got 2049"),
        ({"num_tokens": 5, "page_size": 0}, ValueError, "page_size must be at least 1, got 0"),
        ({"num_tokens": 5, "max_tokens": 8.0}, TypeError, "max_tokens must be a whole number, got 8.0"),
    ],
)
def test_bad_counts_of_one_sequence_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        keep_one_sequence(**arguments)


pairs = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=6)


@given(pairs=pairs, page_size=st.integers(1, 20))
def test_the_effect_of_a_page_size_is_what_an_allocator_does(pairs, page_size):
    prompts = [num_prompt for num_prompt, _ in pairs]
    finals = [num_prompt + num_output for num_prompt, num_output in pairs]
    allocator = PagedAllocator(500, page_size)
    for seq_id, final in enumerate(finals):
        allocator.allocate(seq_id, range(final))
    usage = account(allocator.memory_map(), dict.fromkeys(range(len(finals)), 0))
    tables = [allocator.page_table(seq_id) for seq_id in range(len(finals))]
    effect = measure_page_size(prompts, finals, page_size=page_size)
    assert effect.mean_wasted == pytest.approx(usage.wasted / len(finals))
    assert effect.wasted_share == pytest.approx(usage.wasted / usage.allocated)
    assert effect.mean_pages == pytest.approx(sum(map(len, tables)) / len(tables))


@given(prompt=st.integers(1, 60), page_size=st.integers(1, 20))
def test_a_prompt_is_shareable_where_a_second_one_like_it_finds_a_page(prompt, page_size):
    allocator = PagedAllocator(200, page_size, prefix_caching=True)
    allocator.allocate("first", range(prompt))
    found = allocator.allocate("second", range(prompt))
    effect = measure_page_size([prompt], [prompt], page_size=page_size)
    assert effect.shareable_share == (found > 0)


def test_bad_lengths_are_named():
    with pytest.raises(ValueError, match="prompt_tokens must hold at least one length, got none"):
        measure_page_size([], [], page_size=16)
    with pytest.raises(TypeError, match="prompt_tokens must be an iterable of lengths, got 5"):
        measure_page_size(5, [1], page_size=16)
    with pytest.raises(ValueError, match="final_tokens must have 2 lengths like prompt_tokens, got 1"):
        measure_page_size([1, 2], [3], page_size=16)
    with pytest.raises(ValueError, match="each of final_tokens must be at least 1, got 0"):
        measure_page_size([1], [0], page_size=16)
    with pytest.raises(ValueError, match="final_tokens must be at least prompt_tokens, 9, got 8"):
        measure_page_size([1, 9], [1, 8], page_size=16)
    with pytest.raises(ValueError, match="page_size must be at least 1, got 0"):
        measure_page_size([1], [1], page_size=0)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 20), st.integers(0, 30))
def test_samples_hold_what_the_rules_of_serving_count(num_prompt, num_samples, page_size, num_generated):
    pool = sample_in_parallel(num_prompt, num_samples, page_size=page_size, num_generated=num_generated)
    request = Request(0, num_prompt, 30, num_samples=num_samples)
    assert pool.num_pages == pages_held(request, num_generated, page_size)
    assert pool.num_pages_unshared == pages_without_sharing(request, num_generated, page_size)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 20))
def test_all_samples_but_one_copy_a_page_unless_the_prompt_ends_with_one(num_prompt, num_samples, page_size):
    pool = sample_in_parallel(num_prompt, num_samples, page_size=page_size)
    assert len(pool.copies) == (num_samples - 1 if num_prompt % page_size else 0)


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 20), st.integers(1, 20))
def test_later_prompts_find_the_full_pages_of_the_common_beginning(common, num_requests, page_size, num_own):
    pool = ask_with_prefix(common, num_requests, page_size=page_size, num_own=num_own)
    num_full = common // page_size
    assert pool.num_found == (num_requests - 1) * num_full * page_size
    assert pool.num_pages_unshared - pool.num_pages == (num_requests - 1) * num_full


def test_nothing_is_saved_by_a_single_sequence():
    assert sample_in_parallel(20, 1, page_size=16).saved_share == 0
    assert ask_with_prefix(40, 1, page_size=16).saved_share == 0


@pytest.mark.parametrize("num_tokens", range(1, 70))
def test_a_prompt_that_returns_finds_all_whole_pages_before_its_last_token(num_tokens):
    share = hit_share([range(num_tokens)] * 2, num_pages=10, page_size=16)
    assert share == (num_tokens - 1) // 16 * 16 / (2 * num_tokens)


def test_prompts_in_turn_find_nothing_until_all_of_them_fit():
    prompts = [[number] * 17 for number in range(4)] * 10
    shares = [hit_share(prompts, num_pages=num_pages, page_size=16) for num_pages in (3, 4, 5, 6, 8)]
    assert shares[:2] == [0, 0]
    assert shares[-1] == 36 * 16 / (40 * 17)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample_in_parallel(0, 2, page_size=4), ValueError, "num_prompt_tokens must be at least 1"),
        (lambda: sample_in_parallel(7, 0, page_size=4), ValueError, "num_samples must be at least 1, got 0"),
        (lambda: sample_in_parallel(7, 2, page_size=0), ValueError, "page_size must be at least 1, got 0"),
        (
            lambda: sample_in_parallel(7, 2, page_size=4, num_generated=-1),
            ValueError,
            "num_generated must be at least 0, got -1",
        ),
        (lambda: ask_with_prefix(-1, 2, page_size=4), ValueError, "num_common must be at least 0, got -1"),
        (lambda: ask_with_prefix(4, 2.0, page_size=4), TypeError, "num_requests must be a whole number"),
        (lambda: ask_with_prefix(4, 2, page_size=4, num_own=0), ValueError, "num_own must be at least 1"),
        (lambda: hit_share([], num_pages=4, page_size=4), ValueError, "prompts must hold at least one"),
        (lambda: hit_share([1, 2], num_pages=4, page_size=4), TypeError, r"prompts must be .*got \[1, 2\]"),
        (lambda: hit_share(7, num_pages=4, page_size=4), TypeError, "prompts must be .*, got 7"),
        (lambda: hit_share([range(9)], num_pages=2, page_size=4), CacheFullError, "need 3 pages, 2 free"),
    ],
)
def test_bad_input_of_a_shared_pool_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_error_in_a_generator_of_prompts_is_told_as_it_is():
    prompts = (range("9") for _ in range(3))
    with pytest.raises(TypeError, match="'str' object cannot be interpreted as an integer"):
        hit_share(prompts, num_pages=4, page_size=4)


def test_what_notebook_05_says_of_prompts_in_turn_is_so():
    prompts = [[number] * 65 for number in range(40)] * 10
    assert hit_share(prompts, num_pages=161, page_size=16) == 0.9 * 64 / 65
    # One prompt has no room, and then another; but what is lost is found by nobody in its turn.
    assert hit_share(prompts, num_pages=156, page_size=16) < 0.9 * 64 / 65
    assert hit_share(prompts, num_pages=80, page_size=16) == 0


def test_a_page_that_cannot_be_found_evicts_nobody():
    # Prompt 0 alone comes again and again, and its fifth page is new each time.
    prompts = [[number] * 65 for number in range(4)]
    returning = [*prompts, *[prompts[0]] * 20, *prompts[1:]]
    for num_pages in (20, 40):
        assert hit_share(returning, num_pages=num_pages, page_size=16) == 23 * 64 / (27 * 65)


def test_counts_of_numpy_are_counts():
    asked = ask_with_prefix(np.uint8(250), 2, page_size=4, num_own=np.uint8(20))
    assert set(asked.num_tokens.values()) == {270}
