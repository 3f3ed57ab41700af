import numpy as np
import pytest
from amounts import amount
from walk import walk

from paged_demo import (
    Append,
    CacheFullError,
    Hole,
    Region,
    TraditionalAllocator,
    account,
    best_fit,
    buddy,
    first_fit,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
)


def test_a_two_token_hi_reserves_2048_slots():
    allocator = TraditionalAllocator(4096, reserve=reserve_max(2048))
    allocator.allocate("hi", [72, 105], final_tokens=2)
    assert allocator.memory_map().regions == (Region(0, 2048, 2048, 2, ("hi",)),)


@pytest.mark.parametrize(
    ("num_prompt_tokens", "num_output_tokens", "num_reserved"),
    [(100, 0, 100), (100, 1, 101), (100, 3, 104), (100, 256, 356), (100, 257, 612), (1500, 300, 2012)],
)
def test_pow2_rounds_the_output_alone(num_prompt_tokens, num_output_tokens, num_reserved):
    reserve = reserve_pow2(2048)
    assert reserve(num_prompt_tokens, num_prompt_tokens + num_output_tokens) == num_reserved


def test_pow2_is_capped_at_the_models_maximum():
    assert reserve_pow2(2048)(1500, 2040) == 2048


def test_the_oracle_reserves_what_will_be_used():
    allocator = TraditionalAllocator(1000, reserve=reserve_oracle)
    allocator.allocate("a", range(10), final_tokens=25)
    usage = account(allocator.memory_map(), {"a": 15})
    assert (usage.used, usage.reserved, usage.internal, usage.free) == (10, 15, 0, 975)


def test_the_fates_of_a_pow2_reservation_in_a_buddy_chunk():
    allocator = TraditionalAllocator(2048, reserve=reserve_pow2(2048), placement=buddy)
    allocator.allocate("a", range(100), final_tokens=300)
    usage = account(allocator.memory_map(), {"a": 200}, request_slots=2048)
    assert (usage.used, usage.reserved, usage.internal) == (100, 200, 56)
    assert usage.rounding == 512 - 356
    assert usage.external == 2048 - 512


def test_tokens_lie_side_by_side():
    allocator = TraditionalAllocator(64, reserve=reserve_max(32))
    allocator.allocate("a", range(3), final_tokens=5)
    allocator.allocate("b", range(2), final_tokens=3)
    assert allocator.append("b", 7) == Append(slot=34, copy=None)
    assert allocator.append("a", 7) == Append(slot=3, copy=None)
    assert (allocator.slots("a"), allocator.slots("b")) == ([0, 1, 2, 3], [32, 33, 34])


def test_a_pool_too_full_for_another_maximum_refuses_and_changes_nothing():
    allocator = TraditionalAllocator(4095, reserve=reserve_max(2048))
    allocator.allocate("a", [1], final_tokens=2)
    before = allocator.memory_map()
    with pytest.raises(CacheFullError, match="need 2048 slots, 2047 free, the longest run has 2047"):
        allocator.allocate("b", [1], final_tokens=2)
    assert allocator.memory_map() == before


def test_a_sequence_that_outgrows_its_run_is_refused_and_keeps_it():
    allocator = TraditionalAllocator(64, reserve=reserve_oracle)
    allocator.allocate("a", range(3), final_tokens=4)
    allocator.append("a", 3)
    before = allocator.memory_map()
    with pytest.raises(CacheFullError, match="need 1 slot, 0 free in the run of sequence 'a'"):
        allocator.append("a", 4)
    assert allocator.memory_map() == before


@pytest.mark.parametrize("placement", [first_fit, best_fit, buddy])
def test_a_sequence_may_fill_its_reservation_and_not_what_a_buddy_rounds_up(placement):
    allocator = TraditionalAllocator(64, reserve=reserve_oracle, placement=placement)
    allocator.allocate("a", range(3), final_tokens=5)
    for token_id in (3, 4):
        allocator.append("a", token_id)
    before = allocator.memory_map()
    with pytest.raises(CacheFullError, match="need 1 slot, 0 free in the run of sequence 'a'"):
        allocator.append("a", 5)
    assert allocator.memory_map() == before


def test_a_sequence_may_fill_its_run_to_the_maximum():
    allocator = TraditionalAllocator(2048, reserve=reserve_max(2048))
    allocator.allocate("a", range(2048), final_tokens=2048)
    assert account(allocator.memory_map(), {"a": 0}).used == 2048


def test_freed_slots_are_given_out_again():
    allocator = TraditionalAllocator(40, reserve=reserve_oracle)
    allocator.allocate("a", range(20), final_tokens=20)
    allocator.allocate("b", range(20), final_tokens=20)
    allocator.free("a")
    assert allocator.memory_map().holes == (Hole(0, 20),)
    allocator.allocate("c", range(20), final_tokens=20)
    assert allocator.slots("c") == list(range(20))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: a.free("ghost"), KeyError, "no sequence 'ghost'"),
        (lambda a: a.append("ghost", 1), KeyError, "no sequence 'ghost'"),
        (lambda a: a.slots("ghost"), KeyError, "no sequence 'ghost'"),
        (lambda a: a.allocate("a", [1], final_tokens=1), ValueError, "seq_id 'a' is already allocated"),
        (lambda a: a.allocate("b", [], final_tokens=1), ValueError, "token_ids must hold at least one"),
        (lambda a: a.allocate("b", [1, 2], final_tokens=1), ValueError, "final_tokens must be at least"),
        (lambda a: a.allocate("b", [1], final_tokens=33), ValueError, r"at most max_tokens \(32\), got 33"),
        (lambda a: a.allocate("b", [1], final_tokens=2.0), TypeError, "final_tokens must be a whole number"),
        (lambda a: a.allocate("b", [1], final_tokens=None), TypeError, "final_tokens must be a whole number"),
        (lambda a: a.append("a", "x"), TypeError, "token_id must be a whole number, got 'x'"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call, error, message):
    allocator = TraditionalAllocator(64, reserve=reserve_max(32))
    allocator.allocate("a", range(3), final_tokens=5)
    before = allocator.memory_map()
    with pytest.raises(error, match=message):
        call(allocator)
    assert allocator.memory_map() == before


def test_only_the_traditional_allocator_needs_to_know_the_final_length():
    with pytest.raises(TypeError, match="final_tokens"):
        TraditionalAllocator(64, reserve=reserve_max(32)).allocate("a", [1])


def test_a_reservation_shorter_than_the_prompt_is_refused():
    allocator = TraditionalAllocator(64, reserve=lambda num_prompt_tokens, final_tokens: 2)
    with pytest.raises(ValueError, match="reserve must return at least the prompt's 3, got 2"):
        allocator.allocate("a", range(3), final_tokens=3)


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="num_slots must be at least 1, got 0"):
        TraditionalAllocator(0, reserve=reserve_oracle)
    for policy in (reserve_max, reserve_pow2):
        with pytest.raises(TypeError, match="max_tokens must be a whole number, got '2048'"):
            policy("2048")


def test_random_histories_are_those_of_a_model_that_looks_at_every_slot():
    num_steps, many = amount(short=(12_000, 30), long=(30_000, 100))
    kinds = walk("traditional", num_steps)
    asked = ["allocate", "allocate, refused", "append", "append, refused", "free", "free all", "misuse"]
    for placement in ("first fit", "best fit", "buddy"):
        assert all(kinds[f"{placement}: {kind}"] > many for kind in asked)


POLICIES = [reserve_max(2048), reserve_pow2(2048), reserve_oracle]


@pytest.mark.parametrize("reserve", POLICIES)
@pytest.mark.parametrize(
    ("kind", "lengths"), [(np.int8, (100, 127)), (np.uint8, (200, 201)), (np.int16, (9, 2000))]
)
def test_a_reservation_for_lengths_of_numpy_is_that_for_pythons(reserve, kind, lengths):
    num_reserved = reserve(*map(kind, lengths))
    assert num_reserved == reserve(*lengths)
    assert type(num_reserved) is int


@pytest.mark.parametrize("reserve", POLICIES)
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((100, 438.0), "final_tokens must be a whole number, got 438"),
        ((np.array(100), 438), r"num_prompt_tokens must be a whole number, got array\(100\)"),
        ((0, 438), "num_prompt_tokens must be at least 1, got 0"),
        ((100, 99), "final_tokens must be at least the prompt's 100 tokens, got 99"),
    ],
)
def test_lengths_that_no_sequence_has_are_named(reserve, lengths, message):
    with pytest.raises((TypeError, ValueError), match=message):
        reserve(*lengths)
