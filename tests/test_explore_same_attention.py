"""The explorers of notebook 04, without a kernel and without a browser."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from test_explorers import alt, ends_and_middle, pixels

from paged_demo.course import nb04 as same_attention
from paged_demo.course.nb04 import explore_page_order, explore_roofline
from paged_demo.paper.numbers import FIG_2, FIG_13, NUM_SLOTS_13B
from paged_demo.serving.step_time import OPT_13B_STEP
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import DPI

EXPLORERS = {"page_order": explore_page_order, "roofline": explore_roofline}


@pytest.fixture(params=EXPLORERS)
def explorer(request):
    return EXPLORERS[request.param]()


def settings_of(explorer):
    """Every control at its ends and in its middle, one after the other."""
    for control in explorer.controls.values():
        first = control.value
        for value in ends_and_middle(control):
            control.value = value
            yield control
        control.value = first


def test_every_control_can_be_moved_through_its_whole_range(explorer):
    size = pixels(explorer).shape
    seen = set()
    for control in settings_of(explorer):
        assert pixels(explorer).shape == size
        seen.add((control.description, explorer.words, explorer._image.value))
    assert len(seen) == sum(len(set(ends_and_middle(control))) for control in explorer.controls.values())


def test_all_controls_at_their_ends_at_once_raise_nothing(explorer):
    first, second = explorer.controls.values()
    for one in ends_and_middle(first):
        for other in ends_and_middle(second):
            first.value, second.value = one, other
            assert explorer.words


def test_the_words_name_the_value_of_every_control_and_are_the_alternative_text(explorer):
    for _ in settings_of(explorer):
        words = explorer.words.replace(",", "")
        assert all(re.search(rf"\b{value}\b", words) for value in explorer.values.values())
        assert alt(explorer) == explorer.words


def test_the_picture_that_follows_a_slider_is_the_one_a_full_drawing_gives(explorer):
    for control in settings_of(explorer):
        quick = pixels(explorer).astype(int)
        explorer._figure.canvas.draw()
        full = np.asarray(explorer._figure.canvas.buffer_rgba())[..., :3].astype(int)
        differing = (np.abs(quick - full).max(axis=-1) > 40).mean()
        assert differing < 0.002, (control.description, control.value, differing)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (explore_page_order, [(0, 16), (50, 4), (1, 8)]),
        (explore_roofline, [(31, 100), (1, 0), (7, 26)]),
    ],
)
def test_a_picture_does_not_depend_on_the_ones_before_it(make, settings):
    explorer = make()
    for values in settings:
        for control, value in zip(explorer.controls.values(), values, strict=True):
            control.value = value
    assert np.array_equal(pixels(explorer), pixels(make()))


def test_no_label_leaves_the_picture(explorer):
    for control in settings_of(explorer):
        box = explorer._figure.bbox
        for artist in explorer._scene.moving():
            extent = artist.get_window_extent(explorer._figure.canvas.get_renderer())
            assert box.x0 <= extent.x0, (control.description, artist)
            assert extent.x1 <= box.x1, (control.description, artist)
            assert extent.y1 <= box.y1, (control.description, artist)


def test_a_contact_sheet_tells_every_setting(explorer):
    name, control = next(iter(explorer.controls.items()))
    values = ends_and_middle(control)[:3]
    sheet = explorer.contact_sheet([{name: value} for value in values], num_columns=2, height=2)
    for value, words in zip(values, sheet.words.split("\n"), strict=True):
        control.value = value
        assert words == explorer.words
    assert Image.open(io.BytesIO(sheet.png)).size == (9 * DPI, 4 * DPI)


def test_a_notebook_output_has_the_live_view_the_picture_and_the_words(explorer):
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"] == explorer.words
    assert bundle[WIDGET_VIEW]["model_id"]


def test_the_output_stays_to_the_last_bit_wherever_the_pages_lie():
    explorer = explore_page_order()
    places = set()
    for page_size in same_attention.PAGE_SIZES:
        explorer.controls["page_size"].value = page_size
        for shuffle in range(9):
            explorer.controls["shuffle"].value = shuffle
            assert "of the 16 numbers of the output 0 moved" in explorer.words.lower()
            assert "they agree with attention over plain arrays" in explorer.words
            places.add(re.search(r"pages ([\d, ]+) of", explorer.words)[1])
    assert len(places) > 15


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
    seconds = OPT_13B_STEP.weights_s + 1.5 * tokens * OPT_13B_STEP.kv_read_s
    assert f"{tokens:,.0f} tokens in {1500 * tokens * OPT_13B_STEP.kv_read_s:.1f} ms" in explorer.words
    assert f"{14 / seconds:,.0f} tokens per second" in explorer.words
    mark = explorer._scene._ax.lines[-1]
    assert [list(data) for data in mark.get_data()] == [[14], [14 / seconds]]
