"""The stories of small pools."""

import itertools

import pytest

from paged_demo.views.story import SAMPLES, tell_two_samples


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
