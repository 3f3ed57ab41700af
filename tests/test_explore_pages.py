"""Notebook 03's player, explorer and plots."""

import re

import pytest
from matplotlib.collections import PolyCollection

from paged_demo import PagedAllocator
from paged_demo.course.nb03 import explore_page_choice, play_two_requests
from paged_demo.views import plots
from paged_demo.views.live import Player
from paged_demo.views.picture import new_figure


def new_axes():
    return new_figure(3).subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_film_strip_tells_every_step():
    strip = play_two_requests().film_strip(num_columns=3, height=2.3, key=True)
    assert strip.png.startswith(b"\x89PNG")
    assert re.findall(r"^Step (\d)", strip.words, re.MULTILINE) == list("12345678")


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
        Player(lambda panels, step: str(step), 0, panels={}, height=3)


@pytest.mark.parametrize("position", range(12))
def test_the_translation_ends_at_the_slot_of_the_allocator(position):
    allocator = PagedAllocator(8, 4)
    allocator.allocate("other", range(9))
    allocator.allocate("A", range(12))
    table = allocator.page_table("A")
    ax = plots.translation(table, position, page_size=4, num_pages=8, ax=new_axes())
    slot = allocator.slots("A")[position]
    assert ax.get_title().endswith(f" = {slot}")
    framed = next(item for item in ax.collections if item.get_linewidth() > 2)
    corners = [path.vertices.min(axis=0).tolist() for path in framed.get_paths()]
    assert corners[1] == [slot, 0]


@pytest.mark.parametrize("position", [-1, 12, 2.0, True])
def test_a_position_outside_the_table_is_named(position):
    with pytest.raises((ValueError, TypeError), match="position must be"):
        plots.translation([7, 1, 3], position, page_size=4, num_pages=8)


@pytest.mark.parametrize("page_table", [[7, 1, 8], [7, -1, 3]])
def test_a_page_outside_the_pool_is_named(page_table):
    with pytest.raises(ValueError, match=r"page_table must name pages from 0 to 7, got \[7, "):
        plots.translation(page_table, 9, page_size=4, num_pages=8)


def test_the_waste_is_a_saw_tooth_below_one_page():
    ax = plots.waste_against_length(page_size=4, num_pages=3, ax=new_axes())
    assert [bar.get_height() for bar in ax.patches] == [3, 2, 1, 0] * 3
    assert texts(ax) == ["one page: 4", "mean: 1.5"]


def test_rows_of_pages_hold_the_tokens_and_the_waste():
    ax = plots.rows_of_pages([5, 8, 1], page_size=4, ax=new_axes())
    assert [bar.get_width() for bar in ax.patches] == [5, 8, 1, 3, 0, 3]
    assert ax.get_xlim() == (0, 8)
    assert not any(isinstance(item, PolyCollection) for item in ax.collections)


def test_workloads_without_requests_are_named():
    for workloads in ({}, {"chat": []}):
        with pytest.raises(ValueError, match="workloads must hold requests for every name"):
            explore_page_choice(workloads, [16])
