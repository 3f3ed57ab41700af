"""Labels, beside Matplotlib's own texts."""

import io
from itertools import product

import matplotlib as mpl
import numpy as np
import pytest
from amounts import amount
from drawn import new_axes

from paged_demo.views import style
from paged_demo.views.labels import _note, write
from paged_demo.views.picture import new_axes as new_axes_that_fit

WORDS = ("A", "jg (Ay)", "two\nlines", "12", "$x^2$", "")
PLACES = np.random.default_rng(0).uniform(-0.2, 1.2, (8, len(WORDS), 2))
HALVES = [(x / 4, y / 8) for x in range(4) for y in range(4)]
"""Some of them lie between two pixels."""


def drawn_by(draw_on, labels, look):
    """Draw labels, some of which lie beyond the axes, and which the axes make room for."""
    ax = new_axes_that_fit(2)
    draw_on(ax, labels, look)
    ax.figure.canvas.draw()
    return np.array(ax.figure.canvas.buffer_rgba())


def one_by_one(ax, labels, look):
    for x, y, word in labels:
        ax.text(x, y, word, **look)


def at_once(ax, labels, look):
    write(ax, labels, **look)


@pytest.mark.parametrize(
    "look",
    [
        {},
        {"fontsize": 9, "weight": "bold", "color": "crimson", "clip_on": True},
        style.FATES["shared"].text_style(),
        {"bbox": style.PLATE, "clip_on": True, "zorder": 1},
        {"rotation": 30, "alpha": 0.5, "bbox": {"facecolor": "white", "edgecolor": "black"}},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("ha", "va"),
    amount(
        short=[("left", "top"), ("center", "center"), ("right", "baseline"), ("center", "bottom")],
        long=list(product(["left", "center", "right"], ["top", "center", "baseline", "bottom"])),
    ),
)
def test_labels_are_drawn_as_matplotlib_draws_each_text(look, ha, va):
    labels = [(*place, word) for places in PLACES[:2] for place, word in zip(places, WORDS, strict=True)]
    labels += [(*place, "A") for place in HALVES]
    theirs, ours = (drawn_by(way, labels, look | {"ha": ha, "va": va}) for way in (one_by_one, at_once))
    assert (theirs[..., :3] < 128).any()
    assert np.array_equal(ours, theirs)


def test_labels_are_written_by_any_renderer():
    ax = new_axes()
    write(ax, [(0.2, 0.3, "here"), (0.6, 0.7, "and there")])
    picture = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        ax.figure.savefig(picture, format="svg")
    assert all(f">{word}</text>" in picture.getvalue() for word in ("here", "and there"))


def test_labels_are_laid_out_once_wherever_they_stand():
    _note.cache_clear()
    for offset in (0, 0.1):
        ax = new_axes()
        write(ax, [(0.2 + offset, 0.3, "A"), (0.6, 0.7, "A")])
        ax.figure.canvas.draw()
    assert (_note.cache_info().misses, _note.cache_info().hits) == (1, 3)


def test_where_nothing_is_to_be_written_nothing_is_drawn():
    ax = new_axes()
    write(ax, [(0.5, 0.5, "")], fontsize=9)
    assert not ax.artists
