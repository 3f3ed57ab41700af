"""Notebook 05's player and explorers."""

import itertools

import pytest
from explorers import move, unseen  # noqa: F401 - a fixture

from paged_demo.allocators.studies import ask_with_prefix, sample_in_parallel
from paged_demo.course.nb05 import explore_prefixes, explore_samples, play_two_samples
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import new_figure


def test_all_controls_of_the_samples_at_their_ends_tell_what_the_allocator_does():
    explorer = explore_samples()
    for setting in ({"prompt": 1, "samples": 1}, {"prompt": 95, "samples": 8}, {"prompt": 64, "samples": 8}):
        for page_size in (1, 64):
            move(explorer, **setting, page_size=page_size)
            pool = sample_in_parallel(setting["prompt"], setting["samples"], page_size=page_size)
            assert f"{pool.num_pages} page" in explorer.words
            assert ("Nothing copied" in explorer.words) == (not pool.copies)


def test_all_controls_of_the_prefixes_at_their_ends_tell_what_the_allocator_does():
    explorer = explore_prefixes()
    for common, requests, page_size in itertools.product((0, 128), (1, 8), (1, 64)):
        move(explorer, common=common, requests=requests, page_size=page_size)
        pool = ask_with_prefix(common, requests, page_size=page_size)
        assert f": {pool.num_found:,} of {sum(pool.num_tokens.values()):,} tokens found" in explorer.words
        assert f" {pool.num_pages_unshared - pool.num_pages:,} saved" in explorer.words


def test_the_title_and_the_marks_follow_the_sliders():
    samples, prefixes = explore_samples(), explore_prefixes()
    move(samples, prompt=40, samples=3, page_size=16)
    assert (
        samples.panels["rows"].get_title() == "5 pages, not 9: 44.4 % saved\n2 copied (framed), 8 tokens each"
    )
    for name in ("saved", "copied"):
        assert list(samples.panels[name].lines[-1].get_xdata()) == [40, 40]
    move(samples, samples=1)
    assert samples.panels["rows"].get_title() == "3 pages, none saved\nnothing copied"
    move(prefixes, common=40, requests=3, page_size=16)
    assert prefixes.panels["rows"].get_title() == "64 of 180 tokens found\n8 pages, not 12"
    assert list(prefixes.panels["found"].lines[-1].get_xdata()) == [40, 40]


def test_one_copy_and_several_are_told():
    explorer = explore_samples()
    move(explorer, prompt=17, samples=2, page_size=16)
    assert explorer.words.endswith("1 page copied, with 1 token.")
    move(explorer, prompt=18, samples=3)
    assert explorer.words.endswith("2 pages copied, each with 2 tokens.")


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (explore_samples, {"prompt": 55, "samples": 4, "page_size": 16}),
        (explore_prefixes, {"common": 40, "requests": 4, "page_size": 16}),
    ],
)
def test_in_the_sheet_the_rows_fill_their_axes_and_beside_the_sliders_these_stay(make, setting):
    explorer = make()
    move(explorer, **setting)
    before = explorer.panels["rows"].axis()
    alone = explorer._lay_out(new_figure(2.3), explorer._sheet)
    explorer._fill(alone, **setting)
    assert alone["rows"].axis()[1:3] == (64, 3.6)
    move(
        explorer,
        **{name: control.options[-1] for name, control in explorer.controls.items() if name != "page_size"},
    )
    assert explorer.panels["rows"].axis() == before


def test_the_player_takes_sentences_and_explains_what_they_leave_empty():
    player = play_two_samples(["Once upon a time a king slept", "Once upon a time a queen slept"])
    assert player.words.startswith("Step 3 of 6, A: king.")

    def keys(player):
        legends = (ax.get_legend() for ax in player.screen.figure.axes)
        return {text.get_text().partition(":")[0] for legend in legends if legend for text in legend.texts}

    assert keys(player) == {"shared", "reserved", "internal"}
    assert keys(play_two_samples()) == {"shared", "reserved", "free"}


def test_the_player_begins_where_the_samples_part_and_tells_the_copy():
    player = play_two_samples()
    assert player.values == {"step": 3}
    assert player.words.startswith("Step 3 of 6, A: fathers.")
    assert "Page 1 is copied to page 3" in player.words
    assert "A in pages 7, 3; B in pages 7, 1" in player.words


def test_a_story_that_is_on_paper_leaves_no_picture_of_its_own_where_there_is_no_kernel():
    player = play_two_samples()
    assert "image/png" in player._repr_mimebundle_()[0]
    player.film_strip(num_columns=2, height=1.9)
    bundle, _ = player._repr_mimebundle_()
    assert "image/png" not in bundle
    assert WIDGET_VIEW in bundle
