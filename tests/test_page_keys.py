"""The names of full pages: equal only for equal prefixes under equal salts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo.allocators.page_keys import MAX_PAGE_SIZE, PageKeys

TOKENS = st.lists(st.integers(0, 2), max_size=9)
SALTS = st.text(st.characters(), max_size=2)  # lone surrogates too, which UTF-8 has no bytes for


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
    assert PageKeys(MAX_PAGE_SIZE).of_prefix([1, 2, 3]) == []
    with pytest.raises(ValueError, match="page_size must be at most 2147483647, got 2147483648"):
        PageKeys(MAX_PAGE_SIZE + 1)
