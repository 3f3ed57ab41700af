import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import KVStore

DTYPES = [np.float16, np.float32, np.float64]


def token_values(num_tokens, num_kv_heads=2, head_dim=3, first=0):
    """Numbers that tell which token, head and element they are."""
    shape = (num_tokens, num_kv_heads, head_dim)
    return np.arange(first, first + np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.fixture
def store():
    return KVStore(num_pages=3, page_size=4, num_kv_heads=2, head_dim=3)


def contents(store):
    return store.keys.copy(), store.values.copy()


def assert_unchanged(store, before):
    assert np.array_equal(store.keys, before[0], equal_nan=True)
    assert np.array_equal(store.values, before[1], equal_nan=True)


def test_a_new_store_holds_nothing_but_nan(store):
    assert store.keys.shape == (3, 2, 3, 4)
    assert store.values.shape == (3, 2, 4, 3)
    assert np.isnan(store.keys).all()
    assert np.isnan(store.values).all()


def test_a_token_is_written_to_its_slot_and_nowhere_else(store):
    keys = token_values(1)
    store.write([6], keys, -keys)
    for head in range(2):
        for element in range(3):
            assert store.keys[1, head, element, 2] == keys[0, head, element]
            assert store.values[1, head, 2, element] == -keys[0, head, element]
    assert np.isnan(store.keys).sum() == store.keys.size - 6
    assert np.isnan(store.values).sum() == store.values.size - 6


@given(slots=st.lists(st.integers(0, 11), unique=True))
def test_tokens_are_read_back_in_the_order_that_is_asked_for(slots):
    store = KVStore(3, 4, 2, 3)
    keys = token_values(len(slots))
    store.write(slots, keys, -keys)
    for order in (list(range(len(slots))), list(range(len(slots)))[::-1]):
        read_keys, read_values = store.gather([slots[token] for token in order])
        assert np.array_equal(read_keys, keys[order])
        assert np.array_equal(read_values, -keys[order])


def test_what_is_gathered_is_a_contiguous_copy(store):
    store.write([0, 5], token_values(2), token_values(2))
    for array in store.gather([5, 0]):
        assert array.flags.c_contiguous
        assert not np.shares_memory(array, store.keys)
        assert not np.shares_memory(array, store.values)


def test_a_slot_that_was_never_written_is_gathered_as_nan(store):
    store.write([0], token_values(1), token_values(1))
    keys, values = store.gather([0, 1])
    assert np.isnan(keys[1]).all()
    assert np.isnan(values[1]).all()
    assert not np.isnan(keys[0]).any()


def test_a_page_is_copied_with_the_slots_that_were_never_written(store):
    store.write([4, 5, 8, 9, 10], token_values(5), -token_values(5))
    store.copy_page(1, 2)
    assert np.array_equal(store.keys[2], store.keys[1], equal_nan=True)
    assert np.array_equal(store.values[2], store.values[1], equal_nan=True)
    assert np.isnan(store.gather([10])[0]).all()
    assert np.isnan(store.keys[0]).all()


def test_a_copy_does_not_follow_later_writes(store):
    store.write([0, 1], token_values(2), token_values(2))
    store.copy_page(0, 1)
    store.write([1], token_values(1, first=100), token_values(1, first=100))
    assert np.array_equal(store.gather([4, 5])[0], token_values(2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_kept_in_the_stores_type(dtype):
    store = KVStore(1, 2, 1, 1, dtype)
    third = np.full((1, 1, 1), 1 / 3)
    store.write([1], third, third)
    keys, values = store.gather([1])
    assert store.keys.dtype == store.values.dtype == keys.dtype == values.dtype == dtype
    assert keys[0, 0, 0] == values[0, 0, 0] == dtype(1 / 3)


def test_slots_may_come_as_an_array_of_any_integers(store):
    store.write(np.array([11, 3], dtype=np.uint8), token_values(2), token_values(2))
    assert np.array_equal(store.gather(np.array([11, 3], dtype=np.int64))[0], token_values(2))


def test_writing_no_tokens_changes_nothing(store):
    before = contents(store)
    store.write([], token_values(0), token_values(0))
    assert_unchanged(store, before)
    assert store.gather([])[0].shape == (0, 2, 3)


ONE = token_values(1)
TWO = token_values(2)

BAD_WRITES = [
    (([12], ONE, ONE), ValueError, "slots must be from 0 to 11, got 12 to 12"),
    (([0, -1], TWO, TWO), ValueError, "slots must be from 0 to 11, got -1 to 0"),
    (([5, 5], TWO, TWO), ValueError, "slots must be all different, got [5, 5]"),
    (([0.0], ONE, ONE), TypeError, "slots must hold whole numbers, got float64"),
    (([True], ONE, ONE), TypeError, "slots must hold whole numbers, got bool"),
    (([[0]], ONE, ONE), ValueError, "slots must have 1 axis, got the shape (1, 1)"),
    ((5, ONE, ONE), ValueError, "slots must have 1 axis, got the shape ()"),
    (([[0], [1, 2]], ONE, ONE), ValueError, "slots must have rows of equal length, got [[0], [1, 2]]"),
    (([0, 1], ONE, ONE), ValueError, "keys must have the shape (2, 2, 3), got (1, 2, 3)"),
    (([0], ONE, TWO), ValueError, "values must have the shape (1, 2, 3), got (2, 2, 3)"),
    (([0], ONE, ONE.astype(np.int64)), TypeError, "values must be float16, float32 or float64, got int64"),
    (([0], ONE.tolist(), ONE), TypeError, "keys must be a numpy array, got list"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_WRITES)
def test_a_bad_write_is_named_and_changes_nothing(store, arguments, error, message):
    store.write([5], ONE, ONE)
    before = contents(store)
    with pytest.raises(error, match=re.escape(message)):
        store.write(*arguments)
    assert_unchanged(store, before)


@pytest.mark.parametrize(("dtype", "huge"), [(np.float16, 1e6), (np.float16, -65520.0), (np.float32, 1e39)])
def test_a_finite_number_that_would_become_infinite_is_named_and_changes_nothing(dtype, huge):
    store = KVStore(1, 2, 1, 1, dtype)
    one, too_large = np.ones((1, 1, 1)), np.full((1, 1, 1), huge)
    with pytest.raises(ValueError, match=f"values must be from -.* to .* kept as {dtype.__name__}, got "):
        store.write([0], one, too_large)
    assert np.isnan(store.keys).all()


def test_infinity_is_kept_as_infinity():
    store = KVStore(1, 2, 1, 1, np.float16)
    store.write([0], np.full((1, 1, 1), np.inf), np.full((1, 1, 1), -np.inf))
    keys, values = store.gather([0])
    assert keys.item() == np.inf
    assert values.item() == -np.inf


@pytest.mark.parametrize(
    ("pages", "error", "message"),
    [
        ((3, 0), ValueError, "src_page must be below 3, got 3"),
        ((0, 3), ValueError, "dst_page must be below 3, got 3"),
        ((0, -1), ValueError, "dst_page must be at least 0, got -1"),
        ((True, 0), TypeError, "src_page must be a whole number, got True"),
    ],
)
def test_a_bad_copy_is_named_and_changes_nothing(store, pages, error, message):
    store.write([0], token_values(1), token_values(1))
    before = contents(store)
    with pytest.raises(error, match=message):
        store.copy_page(*pages)
    assert_unchanged(store, before)


def test_gathering_beyond_the_pool_is_named(store):
    with pytest.raises(ValueError, match="slots must be from 0 to 11, got 0 to 12"):
        store.gather([0, 12])


@pytest.mark.parametrize("name", ["num_pages", "page_size", "num_kv_heads", "head_dim"])
@pytest.mark.parametrize(("count", "error"), [(0, ValueError), (1.0, TypeError), (True, TypeError)])
def test_a_size_that_is_no_count_is_named(name, count, error):
    sizes = {"num_pages": 1, "page_size": 1, "num_kv_heads": 1, "head_dim": 1, name: count}
    with pytest.raises(error, match=f"{name} must be .*, got {count}"):
        KVStore(**sizes)


@pytest.mark.parametrize("dtype", [int, bool, np.complex64, np.uint8])
def test_a_type_that_is_no_floating_point_type_is_refused(dtype):
    with pytest.raises(TypeError, match="dtype must be float16, float32 or float64, got "):
        KVStore(1, 1, 1, 1, dtype)


def test_the_repr_tells_the_sizes(store):
    assert repr(store) == "KVStore(3 pages of 4 slots, 2 heads of 3, float32)"
    assert store.num_slots == 12


def test_slots_of_a_narrow_integer_type_are_as_good_as_any():
    store = KVStore(2, 200, 1, 2)
    keys = np.ones((2, 1, 2), np.float32)
    store.write(np.array([1, 2], np.int8), keys, keys)
    np.testing.assert_array_equal(store.gather(np.array([1, 2], np.uint8))[0], keys)


def test_a_boolean_among_slots_is_refused():
    with pytest.raises(TypeError, match="slots must hold whole numbers, got True or False among them"):
        KVStore(2, 4, 1, 2).gather([True, 2])
