"""Notebook 01's explorer."""

import re

import numpy as np
import pytest
from test_explorers import alt, ends_and_middle, pixels

from paged_demo import PRESETS
from paged_demo.course.nb01 import explore_memory


def set_all(explorer, **values):
    for name, value in values.items():
        explorer.controls[name].value = value


def test_every_control_can_be_moved_through_its_whole_range():
    explorer = explore_memory()
    size = pixels(explorer).shape
    for control in explorer.controls.values():
        seen = set()
        for value in ends_and_middle(control):
            control.value = value
            assert pixels(explorer).shape == size
            assert alt(explorer) == explorer.words
            words = explorer.words.replace(",", "")
            assert all(
                re.search(rf"\b{re.escape(str(value))}\b", words) for value in explorer.values.values()
            )
            seen.add(explorer.words)
        assert len(seen) == len(set(ends_and_middle(control)))


@pytest.mark.parametrize("memory_gib", [16, 640])
@pytest.mark.parametrize("context", [256, 131072])
@pytest.mark.parametrize("batch", [1, 64])
def test_all_controls_at_their_ends_at_once_raise_nothing(memory_gib, context, batch):
    explorer = explore_memory()
    for model in PRESETS:
        for kv_type in ("FP8", "FP32"):
            set_all(
                explorer, model=model, kv_type=kv_type, memory_gib=memory_gib, context=context, batch=batch
            )
            figure = explorer._figure.bbox
            for artist in explorer._scene.moving():
                box = artist.get_window_extent(explorer._figure.canvas.get_renderer())
                assert figure.x0 <= box.x0, artist
                assert box.x1 <= figure.x1, artist


def test_the_picture_that_follows_a_control_is_the_one_a_full_drawing_gives():
    explorer = explore_memory()
    for control in explorer.controls.values():
        for value in ends_and_middle(control):
            control.value = value
            quick = pixels(explorer).astype(int)
            explorer._figure.canvas.draw()
            full = np.asarray(explorer._figure.canvas.buffer_rgba())[..., :3].astype(int)
            assert (np.abs(quick - full).max(axis=-1) > 40).mean() < 0.002


def test_the_words_say_what_fits_and_what_does_not():
    explorer = explore_memory()
    assert (
        "batch 7 of context 2,048 in FP16 (800 KiB a token): 10.94 GiB of keys and values" in explorer.words
    )
    assert explorer.words.endswith("In all, 10 requests of 2,048 tokens fit.")
    set_all(explorer, memory_gib=16)
    assert explorer.words.endswith("In all, the weights alone do not fit.")
    set_all(explorer, memory_gib=40, context=16384)
    assert "are missing. In all, 1 request of 16,384 tokens fits." in explorer.words


def test_a_contact_sheet_tells_each_setting():
    sheet = explore_memory().contact_sheet([{"batch": 1}, {"batch": 2}], num_columns=1, height=1.6)
    assert [re.search(r"batch (\d)", line)[1] for line in sheet.words.splitlines()] == ["1", "2"]
