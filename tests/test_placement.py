import numpy as np
import pytest

from paged_demo import CacheFullError, Hole, best_fit, buddy, first_fit

HOLES_OF_4_2_3 = [Hole(0, 4), Hole(5, 2), Hole(8, 3)]


def with_holes_of_4_2_3(policy):
    """Make holes of 4, 2 and 3 slots, in that order, with one taken slot between them."""
    placement = policy(11)
    runs = [placement.place(num_slots) for num_slots in (4, 1, 2, 1, 3)]
    for run in runs[::2]:
        placement.release(run)
    assert list(placement.holes()) == HOLES_OF_4_2_3
    return placement


@pytest.mark.parametrize(
    ("policy", "num_slots", "placed"),
    [
        (first_fit, 2, Hole(0, 2)),
        (first_fit, 4, Hole(0, 4)),
        (best_fit, 2, Hole(5, 2)),
        (best_fit, 3, Hole(8, 3)),
        (best_fit, 1, Hole(5, 1)),
    ],
)
def test_first_fit_takes_the_lowest_hole_and_best_fit_the_shortest(policy, num_slots, placed):
    placement = with_holes_of_4_2_3(policy)
    assert placement.place(num_slots) == placed
    assert sum(hole.num_slots for hole in placement.holes()) == 9 - num_slots


def test_of_holes_of_one_length_best_fit_takes_the_lowest():
    placement = best_fit(7)
    runs = [placement.place(num_slots) for num_slots in (2, 1, 2, 1, 1)]
    placement.release(runs[2])
    placement.release(runs[0])
    assert placement.place(2) == Hole(0, 2)


@pytest.mark.parametrize("policy", [first_fit, best_fit])
def test_enough_free_slots_are_of_no_use_when_they_are_scattered(policy):
    placement = with_holes_of_4_2_3(policy)
    with pytest.raises(CacheFullError, match="need 5 slots, 9 free, the longest run has 4"):
        placement.place(5)
    assert list(placement.holes()) == HOLES_OF_4_2_3


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_a_released_run_merges_with_the_holes_on_both_sides(order):
    placement = first_fit(10)
    runs = [placement.place(num_slots) for num_slots in (2, 3, 5)]
    for index in order:
        placement.release(runs[index])
    assert placement.holes() == (Hole(0, 10),)


@pytest.mark.parametrize(
    ("asked", "given"), [(1, 16), (16, 16), (17, 32), (33, 64), (500, 512), (1025, 2048), (2048, 2048)]
)
def test_a_buddy_rounds_up_to_units_and_then_to_a_power_of_two(asked, given):
    assert buddy(4096).place(asked).num_slots == given


def test_the_pool_of_the_paper_starts_as_seven_whole_chunks_and_a_rest():
    assert [hole.num_slots for hole in buddy(984 * 16).holes()] == [2048] * 7 + [1024, 256, 128]


def test_buddies_split_and_merge_back_to_one_chunk():
    placement = buddy(2048)
    runs = [placement.place(16) for _ in range(128)]
    assert placement.holes() == ()
    for run in runs[::2] + runs[1::2]:
        placement.release(run)
    assert placement.holes() == (Hole(0, 2048),)


def test_neighbours_that_are_not_buddies_stay_apart():
    placement = buddy(2048, max_tokens=1024)
    runs = [placement.place(512) for _ in range(4)]
    placement.release(runs[1])
    placement.release(runs[2])
    assert placement.holes() == (Hole(512, 512), Hole(1024, 512))
    with pytest.raises(CacheFullError, match="need 1024 slots, 1024 free, the longest run has 512"):
        placement.place(600)


def test_the_chunk_released_last_is_given_out_first():
    placement = buddy(64, max_tokens=16)
    runs = [placement.place(16) for _ in range(4)]
    for index in (2, 0, 3):
        placement.release(runs[index])
    assert [placement.place(16) for _ in range(3)] == [runs[3], runs[0], runs[2]]


def test_a_request_beyond_the_largest_chunk_never_fits():
    with pytest.raises(CacheFullError, match="need 4096 slots, 8192 free, the longest run has 2048"):
        buddy(8192).place(2049)


def test_slots_below_a_unit_are_a_hole_that_nobody_gets():
    placement = buddy(37)
    assert placement.holes() == (Hole(0, 32), Hole(32, 5))
    placement.place(32)
    with pytest.raises(CacheFullError, match="need 16 slots, 5 free"):
        placement.place(1)


@pytest.mark.parametrize("policy", [first_fit, best_fit, buddy])
def test_bad_sizes_are_named(policy):
    with pytest.raises(ValueError, match="num_slots must be at least 1, got 0"):
        policy(0)
    with pytest.raises(TypeError, match=r"num_slots must be a whole number, got 1\.5"):
        policy(1.5)
    with pytest.raises(ValueError, match="num_slots must be at least 1, got 0"):
        policy(64).place(0)


def test_bad_units_and_maxima_are_named():
    with pytest.raises(ValueError, match="unit_slots must be at least 1, got 0"):
        buddy(64, unit_slots=0)
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got -1"):
        buddy(64, max_tokens=-1)


def test_buddies_merge_for_a_unit_that_is_no_power_of_two():
    placement = buddy(80, unit_slots=10, max_tokens=80)
    runs = [placement.place(10) for _ in range(8)]
    for run in reversed(runs):
        placement.release(run)
    assert placement.holes() == (Hole(0, 80),)


@pytest.mark.parametrize("policy", [first_fit, best_fit, buddy])
@pytest.mark.parametrize(
    "run", [Hole(0, 16), Hole(16, 32), Hole(32, 32), Hole(16, 8), Hole(-16, 16), Hole(64, 16)]
)
def test_a_run_that_is_not_out_cannot_be_released(policy, run):
    placement = policy(64)
    first, second = placement.place(16), placement.place(16)
    placement.release(first)
    holes = placement.holes()
    with pytest.raises(ValueError, match="run must be one that was placed and not yet released, got Hole"):
        placement.release(run)
    assert placement.holes() == holes
    placement.release(second)
    assert placement.holes() == (Hole(0, 64),)


@pytest.mark.parametrize("make", [first_fit, best_fit, buddy])
@pytest.mark.parametrize("kind", [np.int8, np.uint8, float])
def test_what_is_released_are_the_numbers_that_were_placed(make, kind):
    placement = make(4096, unit_slots=64) if make is buddy else make(4096)
    before = placement.holes()
    placement.release(Hole(*map(kind, placement.place(64))))
    assert placement.holes() == before
    assert {type(number) for hole in placement.holes() for number in hole} == {int}
