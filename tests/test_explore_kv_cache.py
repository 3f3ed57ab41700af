"""Notebook 01's explorer and plots."""

import itertools

import pytest
from amounts import amount
from explorers import FAR_APART, move, unseen  # noqa: F401 - a fixture

from paged_demo import PRESETS
from paged_demo.course.nb01 import explore_memory


@pytest.mark.parametrize(
    ("memory_gib", "context", "batch"),
    amount(
        short=[(16, 131072, 64), (640, 256, 1)],
        long=list(itertools.product([16, 640], [256, 131072], [1, 64])),
    ),
)
def test_all_models_at_the_ends_of_the_other_controls_stay_in_the_picture(memory_gib, context, batch):
    explorer = explore_memory()
    for model in amount(short=FAR_APART, long=PRESETS):
        for kv_type in ("FP8", "FP32"):
            move(explorer, model=model, kv_type=kv_type, memory_gib=memory_gib, context=context, batch=batch)
            figure = explorer.screen.figure.bbox
            for artist in explorer.screen.moving():
                box = artist.get_window_extent(explorer.screen.figure.canvas.get_renderer())
                assert figure.x0 <= box.x0, artist
                assert box.x1 <= figure.x1, artist


def test_the_words_say_what_fits_and_what_does_not():
    explorer = explore_memory()
    assert (
        "batch 7 of context 2,048 in FP16 (800 KiB a token): 10.94 GiB of keys and values" in explorer.words
    )
    assert explorer.words.endswith("In all, 10 requests of 2,048 tokens fit.")
    move(explorer, memory_gib=16)
    assert explorer.words.endswith("In all, the weights alone do not fit.")
    move(explorer, memory_gib=24)
    assert explorer.words.endswith(" are missing. In all, 0 requests of 2,048 tokens fit."), (
        "beside the weights"
    )
    move(explorer, memory_gib=40, context=16384)
    assert "are missing. In all, 1 request of 16,384 tokens fits." in explorer.words
