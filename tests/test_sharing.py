"""Programs that share pages."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import CacheFullError, PagedAllocator, Request
from paged_demo.allocators.sharing import ask_with_prefix, hit_share, sample_in_parallel
from paged_demo.serving.rules import pages_held, pages_without_sharing
from paged_demo.views.story import SAMPLES, tell_two_samples


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 20), st.integers(0, 30))
def test_samples_hold_what_the_rules_of_serving_count(num_prompt, num_samples, page_size, num_generated):
    pool = sample_in_parallel(num_prompt, num_samples, page_size=page_size, num_generated=num_generated)
    request = Request(0, num_prompt, 30, num_samples=num_samples)
    assert pool.num_pages == pages_held(request, num_generated, page_size)
    assert pool.num_pages_unshared == pages_without_sharing(request, num_generated, page_size)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 20))
def test_all_samples_but_one_copy_a_page_unless_the_prompt_ends_with_one(num_prompt, num_samples, page_size):
    pool = sample_in_parallel(num_prompt, num_samples, page_size=page_size)
    assert len(pool.copies) == (num_samples - 1 if num_prompt % page_size else 0)


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 20), st.integers(1, 20))
def test_later_prompts_find_the_full_pages_of_the_common_beginning(common, num_requests, page_size, num_own):
    pool = ask_with_prefix(common, num_requests, page_size=page_size, num_own=num_own)
    num_full = common // page_size
    assert pool.num_found == (num_requests - 1) * num_full * page_size
    assert pool.num_pages_unshared - pool.num_pages == (num_requests - 1) * num_full


def test_nothing_is_saved_by_a_single_sequence():
    assert sample_in_parallel(20, 1, page_size=16).saved_share == 0
    assert ask_with_prefix(40, 1, page_size=16).saved_share == 0


@pytest.mark.parametrize("num_tokens", range(1, 70))
def test_a_prompt_that_returns_finds_all_whole_pages_before_its_last_token(num_tokens):
    share = hit_share([range(num_tokens)] * 2, num_pages=10, page_size=16)
    assert share == (num_tokens - 1) // 16 * 16 / (2 * num_tokens)


def test_prompts_in_turn_find_nothing_until_all_of_them_fit():
    prompts = [[number] * 17 for number in range(4)] * 10
    shares = [hit_share(prompts, num_pages=num_pages, page_size=16) for num_pages in (3, 4, 5, 6, 8)]
    assert shares[:2] == [0, 0]
    assert shares[-1] == 36 * 16 / (40 * 17)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample_in_parallel(0, 2, page_size=4), ValueError, "num_prompt_tokens must be at least 1"),
        (lambda: sample_in_parallel(7, 0, page_size=4), ValueError, "num_samples must be at least 1, got 0"),
        (lambda: sample_in_parallel(7, 2, page_size=0), ValueError, "page_size must be at least 1, got 0"),
        (
            lambda: sample_in_parallel(7, 2, page_size=4, num_generated=-1),
            ValueError,
            "num_generated must be at least 0, got -1",
        ),
        (lambda: ask_with_prefix(-1, 2, page_size=4), ValueError, "num_common must be at least 0, got -1"),
        (lambda: ask_with_prefix(4, 2.0, page_size=4), TypeError, "num_requests must be a whole number"),
        (lambda: ask_with_prefix(4, 2, page_size=4, num_own=0), ValueError, "num_own must be at least 1"),
        (lambda: hit_share([], num_pages=4, page_size=4), ValueError, "prompts must hold at least one"),
        (lambda: hit_share([1, 2], num_pages=4, page_size=4), TypeError, r"prompts must be .*got \[1, 2\]"),
        (lambda: hit_share(7, num_pages=4, page_size=4), TypeError, "prompts must be .*, got 7"),
        (lambda: hit_share([range(9)], num_pages=2, page_size=4), CacheFullError, "need 3 pages, 2 free"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_error_in_a_generator_of_prompts_is_told_as_it_is():
    prompts = (range("9") for _ in range(3))
    with pytest.raises(TypeError, match="'str' object cannot be interpreted as an integer"):
        hit_share(prompts, num_pages=4, page_size=4)


def test_the_cached_pages_are_listed_in_the_order_of_their_eviction():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("A", range(8))
    allocator.allocate("B", range(20, 28))
    allocator.free("A")
    allocator.free("B")
    assert allocator.cached_pages == [1, 0, 3, 2]
    allocator.allocate("A", range(8))
    assert allocator.page_table("A") == [0, 1]
    assert allocator.cached_pages == [3, 2]
    allocator.free("A")
    assert allocator.cached_pages == [3, 2, 1, 0]
    for page_id in [3, 2, 1, 0]:
        assert allocator.cached_pages[0] == page_id
        allocator.allocate(page_id, [page_id])
    assert allocator.cached_pages == []


def test_a_page_that_never_was_full_is_free_and_not_cached():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("A", range(7))
    allocator.free("A")
    assert allocator.cached_pages == [0]


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


def test_what_notebook_05_says_of_prompts_in_turn_is_so():
    prompts = [[number] * 65 for number in range(40)] * 10
    lacks_one, fits = (hit_share(prompts, num_pages=num_pages, page_size=16) for num_pages in (195, 200))
    assert lacks_one == 0
    assert fits == 0.9 * 64 / 65


def test_a_page_that_remembers_nothing_waits_in_the_queue_like_the_others():
    # Prompt 0 alone comes again and again; its fifth page is new each time, and evicts somebody.
    prompts = [[number] * 65 for number in range(4)]
    returning = [*prompts, *[prompts[0]] * 20, *prompts[1:]]
    just_fits, with_room = (hit_share(returning, num_pages=num, page_size=16) for num in (20, 40))
    assert just_fits == 20 * 64 / (27 * 65)
    assert with_room == 23 * 64 / (27 * 65)


def test_counts_of_numpy_are_counts():
    asked = ask_with_prefix(np.uint8(250), 2, page_size=4, num_own=np.uint8(20))
    assert set(asked.num_tokens.values()) == {270}
