import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import PRESETS, keep_one_sequence
from paged_demo.model import MIB


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
def test_bad_counts_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        keep_one_sequence(**arguments)
