"""A canvas for live pictures: it keeps how each text looks, and encodes without delay."""

import struct
import zlib
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]

MOST_TEXTS = 2048
"""Texts that are kept, mostly of a few thousand pixels each."""

PADDING_PX = 3
"""Letters may reach a little beyond the box that they are said to take."""


class QuickRenderer(RendererAgg):
    """Draws each text once, and copies it from then on; a text begins at a whole pixel.

    Matplotlib draws texts glyph by glyph, which is most of the time that a picture of a notebook takes, and
    from one picture to the next nearly all texts stay.
    """

    def draw_text(  # noqa: PLR0917 - the arguments are Matplotlib's
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        """Draw a text that begins at x, and whose line is at y, counted from the top."""
        if ismath or angle or gc.get_alpha() != 1:
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)  # type: ignore[no-untyped-call]
            return
        # A copy, since whoever owns the font may change it.
        pixels, below = _drawn(s, prop.copy(), gc.get_rgb(), self.dpi)
        self.draw_image(gc, round(x) - PADDING_PX, self.height - round(y) - below, pixels)


@lru_cache(maxsize=MOST_TEXTS)
def _drawn(text: str, font: Any, colour: Any, dpi: float) -> tuple[Pixels, int]:
    """Draw a text on nothing; return it from the bottom up, and how far it reaches below its line."""
    width, height, descent = RendererAgg(1, 1, dpi).get_text_width_height_descent(text, font, False)
    above, below = ceil(height - descent) + PADDING_PX, ceil(descent) + PADDING_PX
    renderer = RendererAgg(ceil(width) + 2 * PADDING_PX, above + below, dpi)
    gc = renderer.new_gc()
    gc.set_foreground(colour, isRGBA=True)
    renderer.draw_text(gc, PADDING_PX, above, text, font, 0)
    return np.array(renderer.buffer_rgba())[::-1], below


class QuickCanvas(FigureCanvasAgg):
    """A canvas with such a renderer; its figure keeps its size."""

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure)
        size = self.get_width_height(physical=True)
        self._quick = QuickRenderer(*size, figure.dpi)  # type: ignore[no-untyped-call]

    def get_renderer(self) -> QuickRenderer:
        """Return the renderer."""
        return self._quick


def png_of(pixels: Pixels) -> bytes:
    """Encode rows of RGBA pixels as a PNG, for speed.

    Pillow tries five filters on each row, which takes twice as long as all the rest, and saves little
    where most is white.
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a row begins with its filter: 0 is none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits for each of RGBA
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
