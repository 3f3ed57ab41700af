"""The players of notebooks 03 and 05, and what notebook 03's explorer refuses."""

import re

import pytest
from explorers import hear

from paged_demo.course.nb03 import explore_page_choice, play_two_requests
from paged_demo.course.nb05 import play_two_samples
from paged_demo.views.player import Player


@pytest.mark.parametrize(
    ("play", "num_columns", "steps"), [(play_two_requests, 3, "12345678"), (play_two_samples, 2, "123456")]
)
def test_the_film_strip_tells_every_step(play, num_columns, steps):
    strip = play().film_strip(num_columns=num_columns, height=2.3, key=True)
    assert strip.png.startswith(b"\x89PNG")
    assert re.findall(r"^Step (\d)", strip.words, re.MULTILINE) == list(steps)


@pytest.mark.parametrize("play", [play_two_requests, play_two_samples])
@pytest.mark.parametrize("is_narrow", [False, True])
def test_every_word_lies_within_its_slot(play, is_narrow):
    player = play()
    for step in player.controls["step"].options:
        hear(player, {"step": step}, is_narrow=is_narrow)
        ax, renderer = player.panels["pool"], player.screen.figure.canvas.get_renderer()
        slot_width = ax.transData.transform((1, 0))[0] - ax.transData.transform((0, 0))[0]
        words = [text.get_window_extent(renderer).width for text in ax.texts if text.get_ha() == "center"]
        assert max(words, default=0) < slot_width - 2


def test_a_player_needs_a_step():
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        Player(lambda panels, step: str(step), 0, panels={}, height=3)


def test_workloads_without_requests_are_named():
    for workloads in ({}, {"chat": []}):
        with pytest.raises(ValueError, match="workloads must hold requests for every name"):
            explore_page_choice(workloads, [16])
