"""The pool of pages, and the names of full pages: equal only for equal prefixes under equal salts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import CacheFullError, PagePool
from paged_demo.allocators.page_pool import PageKeys
from paged_demo.checks import MAX_COUNT

TOKENS = st.lists(st.integers(0, 2), max_size=9)
SALTS = st.text(st.characters(), max_size=2)  # lone surrogates too, which UTF-8 has no bytes for


def sealed(pool, num_pages):
    """Take pages, and seal each under its own number."""
    page_ids = [pool.take() for _ in range(num_pages)]
    for page_id in page_ids:
        pool.seal(page_id, f"key {page_id}")
    return page_ids


def test_sealed_pages_are_taken_least_recently_released_first():
    pool = PagePool(3)
    sealed(pool, 3)
    for page_id in (1, 2, 0):
        pool.release(page_id)
    assert [pool.take() for _ in range(3)] == [1, 2, 0]


def test_a_page_that_was_never_sealed_is_taken_before_all_others():
    pool = PagePool(4)
    sealed(pool, 2)
    unsealed = pool.take()
    for page_id in (0, 1, unsealed):
        pool.release(page_id)
    assert [pool.take() for _ in range(4)] == [unsealed, 3, 0, 1]


@pytest.mark.parametrize("num_sealed", [0, 1, 2, 3])
def test_the_last_page_of_a_table_is_taken_first(num_sealed):
    pool = PagePool(3)
    table = sealed(pool, num_sealed) + [pool.take() for _ in range(3 - num_sealed)]
    pool.release_table(table)
    assert pool.cached_pages == table[:num_sealed][::-1]
    assert [pool.take() for _ in range(3)] == table[::-1]


def test_a_page_of_a_table_that_somebody_else_holds_stays_held():
    pool = PagePool(3)
    table = sealed(pool, 3)
    pool.share(1)
    pool.release_table(table)
    assert [pool.ref_count(page_id) for page_id in table] == [0, 1, 0]
    assert pool.cached_pages == [2, 0]


def test_a_table_with_a_free_page_is_not_released_at_all():
    pool = PagePool(3)
    table = sealed(pool, 2)
    pool.release(0)
    with pytest.raises(ValueError, match="page_id 0 is free already"):
        pool.release_table(table)
    with pytest.raises(ValueError, match=r"page_table must name each page once, got \[1, 1\]"):
        pool.release_table([1, 1])
    assert [pool.ref_count(page_id) for page_id in table] == [0, 1]
    pool.check()


def test_a_page_is_free_when_its_last_owner_releases_it():
    pool = PagePool(2)
    page_id = pool.take()
    pool.share(page_id)
    pool.release(page_id)
    assert (pool.ref_count(page_id), pool.num_free) == (1, 1)
    pool.release(page_id)
    assert (pool.ref_count(page_id), pool.num_free) == (0, 2)


def test_an_empty_pool_says_so_and_changes_nothing():
    pool = PagePool(1)
    pool.take()
    with pytest.raises(CacheFullError, match="need 1 page, 0 free"):
        pool.take()
    pool.check()
    assert pool.ref_count(0) == 1


def test_a_free_page_is_found_by_its_key_and_revived_by_sharing():
    pool = PagePool(3)
    page_id = pool.take()
    pool.seal(page_id, "key")
    pool.release(page_id)
    assert pool.cached_pages == [page_id]
    assert pool.find(["key"]) == [page_id]
    pool.share(page_id)
    assert (pool.num_free, pool.cached_pages) == (2, [])
    pool.check()


def test_a_key_is_forgotten_when_its_page_is_taken_for_something_else():
    pool = PagePool(1)
    pool.seal(pool.take(), "key")
    pool.release(0)
    pool.take()
    assert pool.find(["key"]) == []
    pool.check()


def test_finding_stops_at_the_first_unknown_key():
    pool = PagePool(3)
    for key in ("one", "three"):
        pool.seal(pool.take(), key)
    assert pool.find(["one", "two", "three"]) == [0]


def test_of_pages_with_equal_contents_the_one_sealed_first_is_found():
    pool = PagePool(4)
    for _ in range(3):
        pool.seal(pool.take(), "key")
    pool.release(0)
    assert pool.find(["key"]) == [0], "free, and others are held"
    assert [pool.take(), pool.take()] == [3, 0]
    assert pool.find(["key"]) == [1]


@pytest.mark.parametrize("first_to_go", [0, 1, 2])
def test_of_pages_with_equal_contents_each_keeps_serving_until_all_are_gone(first_to_go):
    pool = PagePool(3)
    for _ in range(3):
        pool.seal(pool.take(), "key")
    order = [first_to_go, *({0, 1, 2} - {first_to_go})]
    for page_id in order:
        assert pool.find(["key"])
        pool.release(page_id)
    for page_id in order:
        assert pool.find(["key"])[0] not in order[: order.index(page_id)]
        assert pool.take() == page_id
        pool.check()
    assert pool.find(["key"]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pool: pool.release(1), "page_id 1 is free already"),
        (lambda pool: pool.share(1), "page_id 1 is free and holds nothing to share"),
        (lambda pool: pool.seal(1, "key"), "page_id 1 is free, it has no contents to seal"),
        (lambda pool: pool.seal(0, "again"), "page_id 0 is sealed already"),
        (lambda pool: pool.seal(0, "key"), "page_id 0 is sealed already"),
        (lambda pool: pool.release(2), r"page_id must be below num_pages \(2\), got 2"),
        (lambda pool: pool.ref_count(-1), "page_id must be at least 0, got -1"),
    ],
)
def test_misuse_is_an_error_and_changes_nothing(call, message):
    pool = PagePool(2)
    pool.seal(pool.take(), "key")
    with pytest.raises(ValueError, match=message):
        call(pool)
    pool.check()
    assert (pool.ref_count(0), pool.num_free, pool.find(["key"])) == (1, 1, [0])


@pytest.mark.parametrize(("key", "error"), [(None, ValueError), ([1], TypeError)])
def test_a_key_that_names_nothing_is_refused_and_seals_nothing(key, error):
    pool = PagePool(2)
    page_id = pool.take()
    with pytest.raises(error):
        pool.seal(page_id, key)
    pool.check()
    pool.seal(page_id, "key")


def test_page_ids_from_numpy_become_plain_ones():
    np = pytest.importorskip("numpy")
    pool = PagePool(1)
    pool.release(np.int64(pool.take()))
    assert type(pool.take()) is int


def test_a_pool_needs_a_whole_number_of_pages():
    with pytest.raises(ValueError, match="num_pages must be at least 1, got 0"):
        PagePool(0)
    with pytest.raises(TypeError, match=r"num_pages must be a whole number, got 2\.0"):
        PagePool(2.0)


def serve_a_duplicate_only(pool):
    del pool._page_by_key["key"]
    pool._duplicates["key"] = {0: None}


def count_below_zero(pool):
    pool._ref_counts[1] = -1
    del pool._free[1]


def find_a_page_under_two_keys(pool):
    pool._page_by_key = {"other": 0, "key": 0}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pool: pool._free.popitem(),
        lambda pool: pool._ref_counts.__setitem__(1, 1),
        lambda pool: pool._keys.__setitem__(0, None),
        lambda pool: pool._page_by_key.__setitem__("other", 1),
        lambda pool: pool._duplicates.__setitem__("key", {}),
        serve_a_duplicate_only,
        count_below_zero,
        find_a_page_under_two_keys,
    ],
)
def test_check_notices_a_spoilt_pool(spoil):
    pool = PagePool(2)
    pool.seal(pool.take(), "key")
    pool.check()
    spoil(pool)
    with pytest.raises(AssertionError):
        pool.check()


@given(TOKENS, TOKENS, SALTS, SALTS, st.integers(1, 4))
def test_two_pages_have_one_name_just_if_their_prefixes_and_salts_are_equal(one, other, salt, salt_2, size):
    keys = PageKeys(size)
    names, names_2 = keys.of_prefix(one, keys.root(salt)), keys.of_prefix(other, keys.root(salt_2))
    assert len(names) == len(one) // size
    for page, name in enumerate(names):
        for page_2, name_2 in enumerate(names_2):
            prefix, prefix_2 = one[: (page + 1) * size], other[: (page_2 + 1) * size]
            assert (name == name_2) == ((prefix, salt) == (prefix_2, salt_2))


def test_salts_that_utf_8_cannot_write_are_told_apart():
    keys = PageKeys(4)
    assert len({keys.root(salt) for salt in ("", "?", "\ud800", "\udfff")}) == 4


@given(TOKENS, SALTS, st.integers(1, 4))
def test_names_made_page_by_page_are_those_of_the_whole_prefix(tokens, salt, size):
    keys = PageKeys(size)
    chained = [keys.root(salt)]
    for start in range(0, len(tokens) // size * size, size):
        chained.append(keys.chain(chained[-1], tokens[start : start + size]))
    assert chained[1:] == keys.of_prefix(tokens, keys.root(salt))


@pytest.mark.parametrize("tokens", ["hello", [1, 2, 3.0, 4], [1, 2, 3, 2**63]])
def test_what_is_no_list_of_token_ids_is_named(tokens):
    with pytest.raises(TypeError, match="tokens must be 4 token ids, got "):
        PageKeys(4).of_prefix(tokens)


@pytest.mark.parametrize("tokens", [[], [1, 2, 3], [1, 2, 3, 4, 5]])
def test_a_page_that_is_not_full_has_no_name(tokens):
    keys = PageKeys(4)
    with pytest.raises(ValueError, match=rf"tokens must be 4 token ids, got \[{str(tokens)[1:-1]}\]"):
        keys.chain(keys.root(), tokens)


def test_the_longest_page_that_can_be_named_is_allowed_and_no_longer_one():
    assert PageKeys(MAX_COUNT).of_prefix([1, 2, 3]) == []
    with pytest.raises(ValueError, match="page_size must be at most 33554432, got 33554433"):
        PageKeys(MAX_COUNT + 1)
