import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import (
    CacheFullError,
    Hole,
    MemoryMap,
    PagedAllocator,
    Region,
    TraditionalAllocator,
    account,
    buddy,
    fates,
    reserve_oracle,
)
from paged_demo.allocators.memory_map import holes_between


def one_region(*, num_slots=2048, num_reserved=2048, num_tokens=100, seq_ids=("a",), page_size=None, hole=0):
    region = Region(0, num_slots, num_reserved, num_tokens, seq_ids)
    holes = (Hole(num_slots, hole),) if hole else ()
    return MemoryMap(num_slots=num_slots + hole, regions=(region,), holes=holes, page_size=page_size)


def test_every_slot_of_a_region_has_one_fate():
    usage = account(one_region(num_slots=128, num_reserved=100, num_tokens=30), {"a": 50})
    assert (usage.used, usage.reserved, usage.internal, usage.rounding) == (30, 50, 20, 28)
    assert usage.num_slots == 128
    assert usage.allocated == 128
    assert usage.wasted == 98


def test_a_future_beyond_the_region_reserves_no_more_than_its_room():
    usage = account(one_region(num_slots=16, num_reserved=16, num_tokens=10), {"a": 100})
    assert (usage.reserved, usage.internal) == (6, 0)


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 3))
def test_regions_and_the_holes_between_them_cover_the_pool_once(taken, size):
    regions = [
        Region(page * size, size, size, size, ("a",)) for page, is_taken in enumerate(taken) if is_taken
    ]
    holes = holes_between(regions, len(taken) * size)
    covered = [run.start_slot + offset for run in (*regions, *holes) for offset in range(run.num_slots)]
    assert sorted(covered) == list(range(len(taken) * size))
    ends = {hole.start_slot + hole.num_slots for hole in holes}
    assert not ends & {hole.start_slot for hole in holes}


def test_a_hole_shorter_than_the_next_request_is_external():
    memory_map = one_region(hole=952)
    assert account(memory_map, {"a": 0}, request_slots=952).free == 952
    usage = account(memory_map, {"a": 0}, request_slots=953)
    assert (usage.external, usage.free) == (952, 0)


def test_no_hole_of_a_paged_pool_is_external():
    usage = account(
        one_region(num_slots=16, num_reserved=16, page_size=16, hole=16), {"a": 0}, request_slots=999
    )
    assert (usage.external, usage.free) == (0, 16)


def test_slots_that_are_no_whole_page_are_external():
    usage = account(one_region(num_slots=16, num_reserved=16, page_size=16, hole=15), {"a": 0})
    assert (usage.external, usage.free) == (15, 0)


def test_a_free_page_that_can_be_found_is_cached_and_needs_no_future():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("a", range(6))
    allocator.free("a")
    usage = account(allocator.memory_map(), {})
    assert (usage.cached, usage.free, usage.allocated) == (4, 12, 0)


def test_the_longest_future_of_those_who_share_a_page_counts():
    usage = account(
        one_region(num_slots=16, num_reserved=16, num_tokens=6, seq_ids=("a", "b")), {"a": 1, "b": 4}
    )
    assert (usage.reserved, usage.internal) == (4, 6)


def test_a_sequence_without_a_future_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="future_tokens has no entry for sequence 'a'"):
        account(one_region(), {"b": 3})


@pytest.mark.parametrize(
    ("future_tokens", "request_slots", "error", "message"),
    [
        ({"a": -1}, 1, ValueError, r"future_tokens\['a'\] must be at least 0, got -1"),
        ({"a": 1.5}, 1, TypeError, r"future_tokens\['a'\] must be a whole number, got 1.5"),
        ({"a": 1}, 0, ValueError, "request_slots must be at least 1, got 0"),
        ({"a": 1}, True, TypeError, "request_slots must be a whole number, got True"),
    ],
)
def test_bad_counts_are_named(future_tokens, request_slots, error, message):
    with pytest.raises(error, match=message):
        account(one_region(), future_tokens, request_slots=request_slots)


def test_a_remnant_below_the_buddys_unit_is_external_for_any_request():
    allocator = TraditionalAllocator(30, reserve=reserve_oracle, placement=buddy)
    allocator.allocate("a", range(16), final_tokens=16)
    usage = account(allocator.memory_map(), {"a": 0}, request_slots=5)
    assert (usage.external, usage.free) == (14, 0)


def test_cache_full_can_be_pickled():
    error = pickle.loads(pickle.dumps(CacheFullError(needed=3, free=1, unit="pages", where=" here")))
    assert (str(error), error.needed) == ("need 3 pages, 1 free here", 3)


def test_cache_full_says_what_was_needed_and_what_was_free():
    error = CacheFullError(needed=3, free=1, unit="pages")
    assert str(error) == "need 3 pages, 1 free"
    assert (error.needed, error.free, error.unit) == (3, 1, "pages")
    assert str(CacheFullError(needed=1, free=0, unit="pages")) == "need 1 page, 0 free"


def test_the_fates_of_a_pool_are_runs_that_follow_each_other_without_a_gap():
    memory_map = one_region(num_slots=128, num_reserved=100, num_tokens=30, hole=7)
    assert fates(memory_map, {"a": 50}, request_slots=8) == [
        (0, 30, "used", ("a",)),
        (30, 50, "reserved", ("a",)),
        (80, 20, "internal", ("a",)),
        (100, 28, "rounding", ("a",)),
        (128, 7, "external", ()),
    ]


def test_slots_in_numpys_small_integers_are_as_many_as_in_pythons():
    narrow = [Region(*map(np.int8, (start, 50, 50, 50)), (start,)) for start in (0, 50, 100)]
    memory_map = MemoryMap(num_slots=np.int16(250), regions=tuple(narrow), holes=(Hole(np.uint8(150), 100),))
    assert type(memory_map.num_slots) is int
    usage = account(memory_map, {0: np.int8(5), 50: 0, 100: 0})
    assert (usage.used, usage.free, usage.num_slots) == (150, 100, 250)
    assert replace(usage, used=np.int8(100), reserved=np.int8(100)).allocated == 200


@pytest.mark.parametrize("bad", [np.array(5), np.True_, 5.0, -1, None])
def test_records_of_a_pool_keep_no_number_that_is_none(bad):
    memory_map = one_region()
    with pytest.raises((TypeError, ValueError), match="num_slots must be"):
        replace(memory_map, num_slots=bad)
    with pytest.raises((TypeError, ValueError), match="internal must be"):
        replace(account(memory_map, {"a": 0}), internal=bad)
