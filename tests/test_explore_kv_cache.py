"""Notebook 01's explorer and plots."""

import re

import numpy as np
import pytest
from explorers import move

from paged_demo import PRESETS
from paged_demo.course import nb01_plots
from paged_demo.course.nb01 import explore_memory
from paged_demo.model import GIB, MemoryBudget
from paged_demo.views.picture import new_figure


def new_axes():
    return new_figure(3).subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("memory_gib", [16, 640])
@pytest.mark.parametrize("context", [256, 131072])
@pytest.mark.parametrize("batch", [1, 64])
def test_all_models_at_the_ends_of_the_other_controls_stay_in_the_picture(memory_gib, context, batch):
    explorer = explore_memory()
    for model in PRESETS:
        for kv_type in ("FP8", "FP32"):
            move(explorer, model=model, kv_type=kv_type, memory_gib=memory_gib, context=context, batch=batch)
            figure = explorer._figure.bbox
            for artist in explorer._moving():
                box = artist.get_window_extent(explorer._figure.canvas.get_renderer())
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
    move(explorer, memory_gib=40, context=16384)
    assert "are missing. In all, 1 request of 16,384 tokens fits." in explorer.words


def test_the_triangle_has_a_cell_for_every_pair_that_is_computed():
    ax = nb01_plots.recomputation(5, ax=new_axes())
    widths = [patch.get_width() for patch in ax.patches]
    assert sum(widths) == 2 * 5 * 6 / 2
    assert texts(ax) == ["without a cache: 15 computed", "with a cache: 5 computed"]


def test_the_factors_beside_a_bar_give_its_length():
    ax = nb01_plots.bytes_per_token(PRESETS.values(), ax=new_axes())
    for label, bar, model in zip(texts(ax), ax.patches, PRESETS.values(), strict=True):
        size, product = label.replace(",", "").split(" KiB = ")
        factors = [int(number) for number in re.findall(r"\d+", product)]
        assert np.prod(factors) == int(size) * 1024 == model.kv_bytes_per_token
        assert bar.get_width() == int(size)
    with pytest.raises(ValueError, match="models must hold at least one model, got none"):
        nb01_plots.bytes_per_token([])


def test_a_memory_bar_names_its_parts_where_there_is_room():
    budget = MemoryBudget(
        model=PRESETS["OPT-13B"], memory_bytes=40 * GIB, num_requests=7, tokens_per_request=2048
    )
    shown = texts(nb01_plots.memory_bar(budget))
    assert shown == ["memory: 40 GiB", "weights\n23.94 GiB", "keys and values\n10.94 GiB", "free\n5.12 GiB"]
