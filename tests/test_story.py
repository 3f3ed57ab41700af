"""The stories of notebooks 03 and 05, and the words in their pages."""

import itertools
import re

import numpy as np
import pytest

from paged_demo.views.story import (
    FREE_PAGES,
    SAMPLES,
    SENTENCES,
    tell_two_requests,
    tell_two_samples,
)


def numbers(told):
    return [int(number) for number in re.findall(r"\d+", told)]


ORDERS = [
    FREE_PAGES,
    tuple(range(8)),
    *(tuple(np.random.default_rng(seed).permutation(8).tolist()) for seed in range(20)),
]
each_order = pytest.mark.parametrize("free_pages", ORDERS, ids=str)


def test_the_story_is_the_one_of_the_paper():
    moments = tell_two_requests()
    assert moments[1].page_tables == {"A": [7, 1]}
    assert moments[3].page_tables == {"A": [7, 1, 3]}
    assert moments[4].page_tables["B"] == [5, 2]
    assert set(moments[6].page_tables) == {"B"}


def test_every_moment_of_the_story_shows_each_sequence_in_order():
    for moment in tell_two_requests():
        for seq_id, table in moment.page_tables.items():
            slots = [page_id * 4 + offset for page_id in table for offset in range(4)]
            told = [moment.words[slot] for slot in slots if slot in moment.words]
            sentence = SENTENCES[seq_id].split()
            assert told == sentence[: len(told)]
            assert len(told) + moment.future_tokens[seq_id] == len(sentence)


@each_order
def test_all_numbers_in_the_words_of_the_story_are_pages_of_its_allocator(free_pages):
    scenes = tell_two_requests(free_pages)
    tables = {seq_id: table for scene in scenes for seq_id, table in scene.page_tables.items()}
    a, b, c = (tables[seq_id] for seq_id in "ABC")
    assert [*a, *b] == list(free_pages[:5]), "pages are taken in the order in which they are free"
    assert c == [*reversed(a), free_pages[5]], "what was freed last is taken first"
    told = {scene.title: numbers(scene.told) for scene in scenes}
    assert list(told.values()) == [list(free_pages), a[:2], a[1:2], a[1:], b, [], [], c]


@each_order
def test_what_the_story_says_of_where_pages_lie_is_so(free_pages):
    *_, before, last = scenes = tell_two_requests(free_pages)
    a, b = scenes[4].page_tables.values()
    inside = set(range(min(a), max(a)))
    assert ("between those of A" in scenes[4].told) == (set(b) <= inside)
    held = {page_id for table in before.page_tables.values() for page_id in table}
    four_in_a_row = any(held.isdisjoint(range(first, first + 4)) for first in range(5))
    assert ("no four free pages are neighbours" in last.told) == (not four_in_a_row)
    assert len(last.page_tables["C"]) == 4


def test_both_kinds_of_places_occur_among_the_orders():
    told = ["".join(scene.told for scene in tell_two_requests(order)) for order in ORDERS]
    for words in ("between those of A", "no four free pages are neighbours"):
        assert len({words in each for each in told}) == 2, words


def test_the_story_of_two_samples_is_the_one_of_the_paper():
    moments = tell_two_samples()
    assert [moment.page_tables for moment in moments[:4]] == [
        {"A": [7, 1]},
        {"A": [7, 1], "B": [7, 1]},
        {"A": [7, 3], "B": [7, 1]},
        {"A": [7, 3], "B": [7, 1]},
    ]
    assert [moment.copies for moment in moments] == [(), (), ((1, 3),), (), (), ()]


STORIES = [
    tuple(SAMPLES.values()),
    ("Once upon a time a king slept", "Once upon a time a queen slept well"),
    ("Once upon a time kings slept", "Once upon a time queens woke up"),
]


@pytest.mark.parametrize("sentences", STORIES)
def test_each_sample_reads_its_own_sentence_at_every_moment(sentences):
    for moment in tell_two_samples(sentences):
        for seq_id, table in moment.page_tables.items():
            slots = [page_id * 4 + offset for page_id in table for offset in range(4)]
            sentence = sentences["AB".index(seq_id)].split()
            num_words = len(sentence) - moment.future_tokens[seq_id]
            assert [moment.words.get(slot) for slot in slots[:num_words]] == sentence[:num_words]


@pytest.mark.parametrize("sentences", STORIES)
def test_a_story_names_the_pages_that_change_hands(sentences):
    moments = tell_two_samples(sentences)
    for before, moment in itertools.pairwise(moments):
        for seq_id, table in moment.page_tables.items():
            for page_id in set(table) - set(before.page_tables.get(seq_id, table)):
                assert f"page {page_id}" in moment.told
        for src_page, dst_page in moment.copies:
            assert f"Page {src_page} is copied to page {dst_page}" in moment.told
    assert moments[2].copies if len(moments[0].words) % 4 else not moments[2].copies
    for seq_id, table in moments[4].page_tables.items():
        verb = "starts" if len(table) > len(moments[3].page_tables[seq_id]) else "writes into"
        assert f"{seq_id} {verb} page {table[-1]}" in moments[4].told


@pytest.mark.parametrize(
    "sentences", [("a b c", "d e f"), ("a b c", "a b c d e"), ("a b",), ("a b c d",) * 3]
)
def test_sentences_that_do_not_part_are_no_story_of_two_samples(sentences):
    with pytest.raises(ValueError, match="sentences must be two that begin alike and go on with two words"):
        tell_two_samples(sentences)


def test_a_common_beginning_of_22_words_fits_into_the_small_pool_and_a_longer_one_is_refused():
    def told(num_common):
        return tell_two_samples(["so " * num_common + own for own in ("it goes", "they say")])

    for num_common in range(1, 23):
        assert len(told(num_common)) == 6
    for num_common in (23, 27, 28, 60):
        with pytest.raises(ValueError, match=f"sentences must fit into 8 pages of 4, .* {num_common} words"):
            told(num_common)
