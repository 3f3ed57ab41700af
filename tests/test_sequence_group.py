import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import CacheFullError, PagedAllocator, Request, TraditionalAllocator, reserve_max
from paged_demo.serving.rules import pages_held
from paged_demo.serving.sequence_group import SequenceGroup

groups = st.builds(
    lambda num_prompt, num_generated, num_samples: SequenceGroup(
        Request(7, num_prompt, num_generated + 1, num_samples=num_samples), num_generated
    ),
    st.integers(1, 20),
    st.integers(0, 20),
    st.integers(1, 4),
)


@given(
    group=groups, page_size=st.integers(1, 9), num_missing=st.integers(0, 99), prefix_caching=st.booleans()
)
def test_a_group_takes_what_it_holds_or_leaves_all_as_it_was(group, page_size, num_missing, prefix_caching):
    needed = pages_held(group.request, group.num_generated, page_size)
    num_missing = min(num_missing, needed)
    allocator = PagedAllocator(needed + 1, page_size, prefix_caching=prefix_caching)
    allocator.allocate("another", range(page_size))
    for page in range(num_missing):
        allocator.allocate(("in the way", page), [0])
    if num_missing < needed:
        allocator.allocate("gone", range(100, 100 + (needed - num_missing) * page_size))
        allocator.free("gone")
    before, cached_before = allocator.memory_map(), allocator.cached_pages
    assert len(cached_before) == (needed - num_missing if prefix_caching else 0)
    if num_missing:
        with pytest.raises(CacheFullError):
            group.allocate(allocator)
    else:
        group.allocate(allocator)
        assert allocator.num_free_pages == 0
        assert sum(len(allocator.slots(seq_id)) for seq_id in group.seq_ids) == group.num_tokens
        group.free(allocator)
    assert allocator.num_free_pages == needed - num_missing
    if num_missing:
        assert (allocator.memory_map(), allocator.cached_pages) == (before, cached_before)
    allocator.check()


def test_a_group_that_leaves_an_allocator_of_another_kind_gives_back_what_it_took():
    class WithoutRoomToGrow(TraditionalAllocator):
        def append(self, seq_id, token_id):
            raise CacheFullError(needed=1, free=0, unit="slots")

    allocator = WithoutRoomToGrow(8, reserve=reserve_max(8))
    with pytest.raises(CacheFullError):
        SequenceGroup(Request(7, 2, 3), num_generated=1).allocate(allocator)
    assert allocator.memory_map().regions == ()


def test_the_samples_of_a_request_are_named_and_a_single_one_has_the_name_of_its_request():
    assert SequenceGroup(Request(7, 1, 1)).seq_ids == [7]
    assert SequenceGroup(Request(7, 1, 1, num_samples=2)).seq_ids == [(7, 0), (7, 1)]


def test_only_what_is_swapped_moves_its_pages():
    request = Request(0, 20, 40, num_samples=3)
    assert SequenceGroup(request, 13).num_swapped_pages(16) == 0
    assert SequenceGroup(request, 13, is_swapped=True).num_swapped_pages(16) == 7


@pytest.mark.parametrize(("is_swapped", "num_tokens"), [(True, 0), (False, 20 + 3 * 5)])
def test_what_was_swapped_out_need_not_be_computed_again(is_swapped, num_tokens):
    request = Request(0, 20, 9, num_samples=3)
    assert SequenceGroup(request, 5, is_swapped).num_to_compute == num_tokens
