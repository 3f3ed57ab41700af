"""Notebook 03's player and explorer."""

import re

import numpy as np
import pytest
from test_explorers import alt, ends_and_middle, pixels

from paged_demo import alpaca, sharegpt
from paged_demo.course.nb03 import FATES_OF_A_STORY, explore_page_choice, play_two_requests
from paged_demo.views.player import Player
from paged_demo.views.story import SENTENCES, tell_two_requests


@pytest.fixture(scope="module")
def workloads():
    rng = np.random.default_rng(0)
    return {"chat": sharegpt.sample(200, rng=rng), "short": alpaca.sample(200, rng=rng)}


@pytest.fixture(params=["player", "choice"])
def explorer(request, workloads):
    if request.param == "player":
        return play_two_requests()
    return explore_page_choice(workloads, [1, 4, 16, 64, 512])


def test_every_control_can_be_moved_through_its_whole_range(explorer):
    size = pixels(explorer).shape
    for control in explorer.controls.values():
        seen = set()
        for value in ends_and_middle(control):
            control.value = value
            assert pixels(explorer).shape == size
            assert alt(explorer) == explorer.words
            seen.add(explorer.words)
        assert len(seen) == len(set(ends_and_middle(control)))


def test_the_words_name_the_value_of_every_control(explorer):
    for control in explorer.controls.values():
        for value in ends_and_middle(control):
            control.value = value
            for shown in explorer.values.values():
                assert re.search(rf"\b{shown}\b", explorer.words)


def test_the_picture_that_follows_a_control_is_the_one_a_full_drawing_gives(explorer):
    for control in explorer.controls.values():
        for value in ends_and_middle(control):
            control.value = value
            quick = pixels(explorer).astype(int)
            explorer._figure.canvas.draw()
            full = np.asarray(explorer._figure.canvas.buffer_rgba())[..., :3].astype(int)
            assert (np.abs(quick - full).max(axis=-1) > 40).mean() < 0.002


def test_no_label_leaves_the_picture(explorer):
    for control in explorer.controls.values():
        for value in ends_and_middle(control):
            control.value = value
            figure = explorer._figure.bbox
            for artist in explorer._scene.moving():
                box = artist.get_window_extent(explorer._figure.canvas.get_renderer())
                assert figure.x0 - 1 <= box.x0, artist
                assert box.x1 <= figure.x1 + 1, artist


def test_a_full_turn_of_the_sheet_is_a_picture(workloads):
    player = play_two_requests()
    strip = player.film_strip(num_columns=3, height=2.3, key=FATES_OF_A_STORY)
    assert strip.png.startswith(b"\x89PNG")
    assert re.findall(r"^Step (\d)", strip.words, re.MULTILINE) == list("12345678")
    choice = explore_page_choice(workloads, [16, 64])
    settings = [{"page_size": size, "workload": name} for name in workloads for size in (16, 64)]
    words = choice.contact_sheet(settings, num_columns=2, height=2).words
    assert len(words.splitlines()) == 4


def test_the_buttons_step_and_stop_at_the_ends():
    player = play_two_requests()
    step = player.controls["step"]
    for _ in range(20):
        player.next.click()
    assert step.value == step.max == 8
    player.previous.click()
    assert step.value == 7
    assert player.words.startswith("Step 7 of 8, A ends.")
    for _ in range(20):
        player.previous.click()
    assert step.value == 1
    assert not player.next.disabled
    assert [player.previous.description, player.next.description] == ["Previous step", "Next step"]


def test_a_player_needs_a_step():
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        Player(lambda figure: None, 0, height=3)


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


def test_what_the_story_says_of_pages_is_so():
    for moment in tell_two_requests():
        words = moment.told
        if found := re.search(r"takes? (?:pages )?((?:\d, )*\d(?: and \d)?)[,.:]", words):
            pages = [int(number) for number in re.findall(r"\d", found[1])]
            assert any(table[-len(pages) :] == pages for table in moment.page_tables.values()), words


def test_workloads_without_requests_are_named():
    for workloads in ({}, {"chat": []}):
        with pytest.raises(ValueError, match="workloads must hold requests for every name"):
            explore_page_choice(workloads, [16])
