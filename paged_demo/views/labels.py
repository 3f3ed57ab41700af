"""Many texts that look alike, such as the letters in cells, as one artist: quicker to make and to draw."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox

from paged_demo.views.quick import MOST_TEXTS

Label = tuple[float, float, str]
"""The place that a text is aligned to, and the text."""


class Labels(Artist):
    """Texts that look alike, each drawn where and as a `matplotlib.text.Text` would be.

    Parameters
    ----------
    labels : sequence of Label
        One or more, none of them empty; placed in the data if no transform is given.
    bbox : mapping
        The look of a plate behind each text.
    clip_on, transform, zorder, **look
        As for a `Text`.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        *,
        bbox: Mapping[str, Any] | None = None,
        clip_on: bool = False,
        transform: Any = None,
        zorder: float = Text.zorder,
        **look: Any,
    ) -> None:
        super().__init__()
        self.set(clip_on=clip_on, zorder=zorder)
        if transform is not None:
            self.set_transform(transform)
        self.labels = labels
        self.look = {"color": mpl.rcParams["text.color"], "fontsize": mpl.rcParams["font.size"]} | look
        self.plate = dict(bbox or {})

    def draw(self, renderer: Any) -> None:
        """Draw each text with its plate."""
        if not self.get_visible():
            return
        height = renderer.get_canvas_width_height()[1]
        for x, y, noted in self._placed():
            for gc, path, transform, fill in noted.plates:
                moved = transform + Affine2D().translate(x, y)
                renderer.draw_path(self._own(gc, renderer), path, moved, fill)
            for gc, line_x, line_y, *line in noted.lines:
                top = height - (y + line_y) if renderer.flipy() else y + line_y
                renderer.draw_text(self._own(gc, renderer), x + line_x, top, *line)

    def get_window_extent(self, renderer: Any = None) -> Bbox:
        """Return the box around all texts, for a layout."""
        return Bbox.union([noted.extent.translated(x, y) for x, y, noted in self._placed()])

    def _placed(self) -> Iterator[tuple[float, float, "_Noted"]]:
        figure = self.get_figure(root=True)
        assert figure is not None
        look, plate = tuple(self.look.items()), tuple(self.plate.items())
        places = self.get_transform().transform([label[:2] for label in self.labels])
        for (x, y), (_, _, text) in zip(places, self.labels, strict=True):
            yield x, y, _note(text, look, plate, figure.dpi)

    def _own(self, noted_gc: Any, renderer: Any) -> Any:
        gc = renderer.new_gc()
        gc.copy_properties(noted_gc)
        if self.get_clip_on():
            gc.set_clip_rectangle(self.get_clip_box())
            gc.set_clip_path(self.get_clip_path())
        return gc


def write(ax: Axes, labels: Sequence[Label], **look: Any) -> None:
    """Write texts that look alike on some axes; the look is that of `Labels`."""
    not_empty = [label for label in labels if label[2]]
    if not_empty:
        ax.add_artist(Labels(not_empty, **look))


class _Noted(NamedTuple):
    """What Matplotlib does to draw a text at the origin; a line is at its y, counted from the bottom."""

    plates: list[tuple[Any, ...]]
    lines: list[tuple[Any, ...]]
    extent: Bbox


class _NotingRenderer(RendererAgg):
    """Notes what it is told to draw."""

    def __init__(self, dpi: float) -> None:
        super().__init__(1, 1, dpi)  # type: ignore[no-untyped-call]
        self.plates: list[tuple[Any, ...]] = []
        self.lines: list[tuple[Any, ...]] = []

    def flipy(self) -> bool:
        return False

    def draw_path(self, *plate: Any) -> None:
        self.plates.append(plate)

    def draw_text(self, *line: Any, mtext: Any = None, ismath: Any = False) -> None:
        self.lines.append((*line, ismath))


@lru_cache(maxsize=MOST_TEXTS)
def _note(text: str, look: tuple[Any, ...], plate: tuple[Any, ...], dpi: float) -> _Noted:
    artist = Text(0, 0, text, figure=Figure(dpi=dpi), bbox=dict(plate) or None, **dict(look))
    renderer = _NotingRenderer(dpi)
    artist.draw(renderer)
    return _Noted(renderer.plates, renderer.lines, artist.get_window_extent(renderer))
