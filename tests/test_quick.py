"""The canvas of live pictures, beside Matplotlib's own, and its PNG, beside Pillow's reading of it."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from paged_demo.views.quick import QuickCanvas, _drawn, png_of

PLACES = [(20, 30), (20.3, 61.6), (61, 90)]


def drawn(make_canvas, write, *, places=PLACES):
    """Draw a figure with texts at some places, in pixels, and return its pixels."""
    figure = Figure(figsize=(3, 1.2), dpi=100, facecolor="white")
    canvas = make_canvas(figure)
    for x, y in places:
        write(figure, x / 300, y / 120)
    canvas.draw()
    return np.array(canvas.buffer_rgba()).astype(int)


@pytest.mark.parametrize(
    "look", [{}, {"color": "crimson", "fontsize": 13, "weight": "bold"}, {"rotation": 30}, {"alpha": 0.5}]
)
@pytest.mark.parametrize("text", ["page 3", "jg (Ay)", "$x^2$"])
def test_a_text_at_a_whole_pixel_is_the_one_that_matplotlib_draws(text, look):
    def write(figure, x, y):
        figure.text(x, y, text, va="baseline", **look)

    theirs = drawn(FigureCanvasAgg, write, places=PLACES[:1])
    assert theirs.min() < 200
    for _ in range(2):  # the second time it is copied
        ours = drawn(QuickCanvas, write, places=PLACES[:1])
        assert abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("look", [{}, {"ha": "center", "va": "center"}, {"bbox": {"facecolor": "gold"}}])
@pytest.mark.parametrize("text", ["page 3", "jg (Ay)\ntwo lines"])
def test_a_text_lies_within_half_a_pixel_of_where_matplotlib_draws_it(text, look):
    def ink(make_canvas):
        pixels = drawn(make_canvas, lambda figure, x, y: figure.text(x, y, text, **look))
        dark = 255 - pixels[..., :3].mean(axis=-1)
        places = np.indices(dark.shape)
        return dark.sum(), (places * dark).sum(axis=(1, 2)) / dark.sum()

    (ours, our_middle), (theirs, their_middle) = ink(QuickCanvas), ink(FigureCanvasAgg)
    assert ours == pytest.approx(theirs, rel=0.03)
    assert abs(our_middle - their_middle).max() <= 0.5


def test_a_text_is_drawn_once_wherever_it_stands():
    _drawn.cache_clear()
    drawn(QuickCanvas, lambda figure, x, y: figure.text(x, y, "page 3"))
    assert (_drawn.cache_info().misses, _drawn.cache_info().hits) == (1, len(PLACES) - 1)


def test_a_text_whose_look_is_changed_is_drawn_anew():
    figure = Figure(figsize=(3, 1.2), dpi=100)
    canvas = QuickCanvas(figure)
    text = figure.text(0.1, 0.5, "page 3", fontsize=10)
    seen = set()
    for change in (lambda: None, lambda: text.set_fontsize(15), lambda: text.set_color("crimson")):
        change()
        canvas.draw()
        seen.add(bytes(canvas.buffer_rgba()))
    assert len(seen) == 3
    text.set(fontsize=10, color="black")
    canvas.draw()
    assert bytes(canvas.buffer_rgba()) in seen


def test_a_text_is_cut_where_its_axes_end():
    figure = Figure(figsize=(3, 1.2), dpi=100, facecolor="white")
    canvas = QuickCanvas(figure)
    ax = figure.add_axes((0.1, 0.1, 0.4, 0.8), frameon=False, xticks=[], yticks=[])
    ax.text(0.8, 0.5, "reaches beyond", clip_on=True)
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())[..., 0]
    assert (pixels[:, 110:150] < 128).any()
    assert (pixels[:, 152:] == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (80, 33)])
def test_a_png_holds_the_very_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 4), dtype=np.uint8)
    image = Image.open(io.BytesIO(png_of(pixels)))
    image.load()
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image), pixels)
