"""A finished picture: pixels for those who see it, words for those who do not."""

import io
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from paged_demo.views import style
from paged_demo.views.frozen import told_below
from paged_demo.views.quick import png_of

WIDTH_INCHES = 9.0
WIDTH_PX = 900
PX_PER_INCH = WIDTH_PX / WIDTH_INCHES
DPI = 120

NUM_COLOURS = 48


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG and what it shows. A notebook displays the one and prints the other below it.

    Attributes
    ----------
    png : bytes
        The picture.
    words : str
        The same in words.
    """

    png: bytes = field(repr=False)
    words: str

    def _ipython_display_(self) -> None:
        bundle, metadata = self.bundle()
        display(bundle, metadata=metadata, raw=True)
        display(told_below(self.words), raw=True)

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the picture by media type, and its metadata, as Jupyter wants them.

        Kernels that run in a browser send on what they get, so bytes have to be text here.
        """
        png = b64encode(self.png).decode("ascii")
        return {"image/png": png, "text/plain": self.words}, {"image/png": {"width": WIDTH_PX}}


def new_figure(height: float, width: float = WIDTH_INCHES) -> Figure:
    """Make a figure of the notebook's width, or another, ``height`` inches high, apart from pyplot."""
    with style.applied():
        figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(figure)
    return figure


def new_axes(height: float = 3.6) -> Axes:
    """Make one pair of axes on a figure of its own, which fits its labels."""
    with style.applied():
        figure = new_figure(height)
        figure.set_layout_engine("constrained")
        return figure.subplots()


def with_words(axes: Axes, words: str) -> Axes:
    """Keep with some axes what they show in words, for `show`, and return the axes."""
    axes.set_label(words)  # Matplotlib's own place for a name; that of axes is not drawn.
    return axes


def show(axes: Axes, words: str = "") -> Picture:
    """Finish the figure of some axes as a picture, with what it shows in words.

    Parameters
    ----------
    axes : Axes
        What a plot has drawn, or a reader.
    words : str
        What the picture shows; what the plot says of itself if left out.
    """
    told = words or str(axes.get_label())
    if not told:
        raise ValueError("words must say what the picture shows, got none")
    figure = axes.get_figure(root=True)
    assert figure is not None
    draw(figure)
    return Picture(encode_png(figure), told)


def draw(figure: Figure) -> None:
    """Draw a whole figure onto its canvas."""
    with style.applied():
        figure.canvas.draw()


def encode_png(figure: Figure, *, moving: bool = False) -> bytes:
    """Return what is on a figure's canvas as a PNG.

    Parameters
    ----------
    figure : Figure
        Made by `new_figure`, and drawn.
    moving : bool
        Prefer speed to size, for a picture that follows a slider. Otherwise the picture is reduced
        to 48 colours, which makes a committed notebook a third as large.
    """
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    pixels = np.asarray(canvas.buffer_rgba())
    return png_of(pixels) if moving else _reduced(Image.fromarray(pixels))


def with_few_colours(png: bytes) -> bytes:
    """Reduce a picture as `encode_png` does that is not to move."""
    return _reduced(Image.open(io.BytesIO(png)))


def _reduced(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    # Pillow's default merges a colour that covers little, such as a key's, into one that covers much.
    reduced = image.convert("RGB").quantize(NUM_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    reduced.save(stream, "PNG", optimize=True)
    return stream.getvalue()
