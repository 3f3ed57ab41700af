"""Notebook 05's player and explorers."""

import itertools
import re

import pytest
from test_explorers import ends_and_middle

from paged_demo.allocators.sharing import ask_with_prefix, sample_in_parallel
from paged_demo.views.explorers import (
    FATES_OF_SAMPLES,
    explore_prefixes,
    explore_samples,
    play_two_samples,
)


@pytest.fixture(params=[play_two_samples, explore_samples, explore_prefixes], ids=lambda make: make.__name__)
def explorer(request):
    return request.param()


def move(explorer, setting):
    for name, value in setting.items():
        explorer.controls[name].value = value


def test_no_label_leaves_the_picture(explorer):
    for control in explorer.controls.values():
        for value in ends_and_middle(control):
            control.value = value
            figure = explorer._figure.bbox
            for artist in explorer._scene.moving():
                box = artist.get_window_extent(explorer._figure.canvas.get_renderer())
                assert figure.x0 - 1 <= box.x0, artist
                assert box.x1 <= figure.x1 + 1, artist


def test_all_controls_of_the_samples_at_their_ends_tell_what_the_allocator_does():
    explorer = explore_samples()
    for setting in ({"prompt": 1, "samples": 1}, {"prompt": 95, "samples": 8}, {"prompt": 64, "samples": 8}):
        for page_size in (1, 64):
            move(explorer, setting | {"page_size": page_size})
            pool = sample_in_parallel(setting["prompt"], setting["samples"], page_size=page_size)
            assert f"{pool.num_pages} page" in explorer.words
            assert ("Nothing copied" in explorer.words) == (not pool.copies)


def test_all_controls_of_the_prefixes_at_their_ends_tell_what_the_allocator_does():
    explorer = explore_prefixes()
    for common, requests, page_size in itertools.product((0, 128), (1, 8), (1, 64)):
        move(explorer, {"common": common, "requests": requests, "page_size": page_size})
        pool = ask_with_prefix(common, requests, page_size=page_size)
        assert f": {pool.num_found:,} of {sum(pool.num_tokens.values()):,} tokens found" in explorer.words
        assert f" {pool.num_pages_unshared - pool.num_pages:,} saved" in explorer.words


def test_the_film_strip_tells_every_step():
    strip = play_two_samples().film_strip(num_columns=2, height=2.3, key=FATES_OF_SAMPLES)
    assert strip.png.startswith(b"\x89PNG")
    assert re.findall(r"^Step (\d)", strip.words, re.MULTILINE) == list("123456")


def test_what_the_story_says_of_the_copy_is_said_at_its_step():
    player = play_two_samples()
    player.controls["step"].value = 3
    assert player.words.startswith("Step 3 of 6, A: fathers.")
    assert "Page 1 is copied to page 3" in player.words
    assert "A in pages 7, 3; B in pages 7, 1" in player.words
