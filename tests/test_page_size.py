import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import PagedAllocator, account
from paged_demo.allocators.page_size import measure_page_size

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
    with pytest.raises(ValueError, match="final_tokens must have 2 lengths like prompt_tokens, got 1"):
        measure_page_size([1, 2], [3], page_size=16)
    with pytest.raises(ValueError, match="each of final_tokens must be at least 1, got 0"):
        measure_page_size([1], [0], page_size=16)
    with pytest.raises(ValueError, match="page_size must be at least 1, got 0"):
        measure_page_size([1], [1], page_size=0)
