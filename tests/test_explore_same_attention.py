"""The explorers of notebook 04, without a kernel and without a browser."""

import re

from amounts import amount
from explorers import unseen  # noqa: F401 - a fixture

from paged_demo.course import nb04 as same_attention
from paged_demo.course.nb04 import explore_page_order, explore_roofline
from paged_demo.paper.numbers import FIG_2, FIG_13, NUM_SLOTS_13B
from paged_demo.serving.iteration_time import OPT_13B_ITERATION


def test_the_output_stays_to_the_last_bit_wherever_the_pages_lie():
    explorer = explore_page_order()
    num_shuffles = amount(short=3, long=9)
    places = set()
    for page_size in same_attention.PAGE_SIZES:
        explorer.controls["page_size"].value = page_size
        for shuffle in range(num_shuffles):
            explorer.controls["shuffle"].value = shuffle
            assert "of the 16 numbers of the output 0 moved" in explorer.words.lower()
            assert "they agree with attention over plain arrays" in explorer.words
            places.add(re.search(r"pages ([\d, ]+) of", explorer.words)[1])
    assert len(places) > 1.7 * num_shuffles


def test_shuffle_0_leaves_the_pages_in_order():
    explorer = explore_page_order()
    explorer.controls["shuffle"].value = 0
    assert "29 tokens lie in the pages 0, 1, 2, 3 of 6" in explorer.words


def test_an_output_that_moves_is_seen_and_told(monkeypatch):
    attend = same_attention.paged_attention
    calls = []

    def wrong_after_the_first(*arguments):
        calls.append(arguments)
        return attend(*arguments) + (len(calls) > 1)

    monkeypatch.setattr(same_attention, "paged_attention", wrong_after_the_first)
    words = explore_page_order().words
    assert "16 moved" in words
    assert "disagree" in words


def test_the_words_of_the_roofline_are_its_arithmetic():
    explorer = explore_roofline()
    explorer.controls["batch"].value = 14
    explorer.controls["slower_percent"].value = 50
    tokens = 14 * FIG_2["vLLM"]["used"] / 100 * NUM_SLOTS_13B / FIG_13["ShareGPT"]["vLLM"]
    seconds = OPT_13B_ITERATION.weights_s + 1.5 * tokens * OPT_13B_ITERATION.kv_read_s
    assert f"{tokens:,.0f} tokens in {1500 * tokens * OPT_13B_ITERATION.kv_read_s:.1f} ms" in explorer.words
    assert f"{14 / seconds:,.0f} tokens per second" in explorer.words
    mark = explorer.panels["curve"].lines[-1]
    assert [list(data) for data in mark.get_data()] == [[14], [14 / seconds]]
