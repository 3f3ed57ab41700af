"""What a live picture is drawn on: what does not move is drawn once, and kept."""

from collections.abc import Callable, Collection, Hashable, Mapping
from functools import partial
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paged_demo.views.picture import PX_PER_INCH, WIDTH_INCHES, new_figure
from paged_demo.views.quick import QuickCanvas

MOST_BACKGROUNDS = 24
"""Backgrounds that a screen keeps, of 2 MB or so each."""


class Screen:
    """A figure with panels, on which one thing after another is drawn.

    Parameters
    ----------
    lay_out : callable
        Called with the figure; makes the panels, and draws what stays on them.
    height, width : float
        In inches.
    still : collection of str
        Panels whose contents are kept with the background, and told apart by their titles.
    """

    def __init__(
        self,
        lay_out: Callable[[Figure], dict[str, Axes]],
        height: float,
        width: float = WIDTH_INCHES,
        *,
        still: Collection[str] = (),
    ) -> None:
        self.figure = new_figure(height, width)
        self._canvas: FigureCanvasAgg = QuickCanvas(self.figure)
        self._still = still
        self.panels = lay_out(self.figure)
        self._staying = {artist for ax in self.panels.values() for artist in contents(ax)}
        self.backgrounds: dict[Hashable, Any] = {}

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height in the page (CSS pixels)."""
        width, height = self.figure.get_size_inches()
        return round(PX_PER_INCH * width), round(PX_PER_INCH * height)

    def clear(self) -> None:
        """Remove what was drawn last."""
        for ax in self.panels.values():
            clear_contents(ax, self._staying)

    def moving(self) -> list[Artist]:
        """List what is not kept with the background, in the order in which to draw it."""
        moving: list[Artist] = [ax.title for ax in self.panels.values()]
        for name, ax in self.panels.items():
            if name not in self._still:
                moving += [artist for artist in contents(ax) if artist not in self._staying]
        return sorted(moving, key=lambda artist: artist.get_zorder())

    def redraw(self) -> None:
        """Draw what moves, over the background."""
        moving = self.moving()
        titles = tuple(self.panels[name].get_title() for name in self._still)
        frame = titles, *map(_frame_of, self.panels.values())
        if frame not in self.backgrounds:
            if len(self.backgrounds) == MOST_BACKGROUNDS:
                del self.backgrounds[next(iter(self.backgrounds))]
            try:
                for artist in moving:
                    artist.set_visible(False)
                self._canvas.draw()
            finally:  # The titles are there for the next picture too.
                for artist in moving:
                    artist.set_visible(True)
            self.backgrounds[frame] = self._canvas.copy_from_bbox(self.figure.bbox)
        self._canvas.restore_region(self.backgrounds[frame])
        for artist in moving:
            artist.draw(self._canvas.get_renderer())


def contents(ax: Axes) -> list[Artist]:
    """List what was drawn on some axes, apart from the axes themselves, their title and their legend."""
    return [*ax.patches, *ax.collections, *ax.lines, *ax.texts, *ax.artists]


def clear_contents(ax: Axes, staying: Collection[Artist] = ()) -> None:
    """Remove what was drawn on some axes, and keep the axes: much faster than to make them anew."""
    for artist in contents(ax):
        if artist not in staying:
            artist.remove()
    ax.set_title("")


def _frame_of(ax: Axes) -> Hashable:
    """Return what the axes show apart from their contents: a background fits as long as this is the same."""
    if not ax.axison:
        return ()
    return tuple(
        (
            axis.get_visible(),
            *axis.get_view_interval(),
            axis.get_label_text(),
            *axis.get_major_formatter().format_ticks(axis.get_majorticklocs().tolist()),
        )
        for axis in (ax.xaxis, ax.yaxis)
    )


TITLE_INCHES, LABELS_INCHES, LEFT_INCHES, RIGHT_INCHES = 0.55, 0.6, 0.8, 0.2
"""Room around a panel: above, below, and beside it."""

NARROW_INCHES = 5.0
"""Width of a narrow picture of panels that lie side by side in a wide one."""

LESS_NARROW_INCHES = 6.5
"""Width of a narrow picture of panels that lie below each other anyway: their rows hold more."""

Box = tuple[float, float, float, float]
"""Left, bottom, width and height of a panel, as shares of the picture."""


def below_each_other(heights: Mapping[str, float]) -> tuple[dict[str, Box], float]:
    """Lay out panels of some heights (inches) from top to bottom, but for the key with room for their labels.

    Returns
    -------
    dict of str to Box, float
        Where each lies; and the height of the picture in inches.
    """
    around = {name: 0.0 if name == "key" else TITLE_INCHES + LABELS_INCHES for name in heights}
    whole = top = sum(heights.values()) + sum(around.values())
    boxes = {}
    for name, height in heights.items():
        top -= height + around[name]
        if name == "key":
            boxes[name] = (0.0, top / whole, 1.0, height / whole)
        else:
            width = 1 - (LEFT_INCHES + RIGHT_INCHES) / NARROW_INCHES
            boxes[name] = (LEFT_INCHES / NARROW_INCHES, (top + LABELS_INCHES) / whole, width, height / whole)
    return boxes, whole


def narrowed(boxes: Mapping[str, Box]) -> dict[str, Box]:
    """Lay out panels in a picture that is less narrow, with as much room beside them as in a wide one."""
    scale = WIDTH_INCHES / LESS_NARROW_INCHES
    return {
        name: (left * scale, bottom, 1 - (1 - width) * scale, height)
        for name, (left, bottom, width, height) in boxes.items()
    }


class Screens:
    """A screen for a wide picture, and one for a narrow one, each made when it is asked for.

    Parameters
    ----------
    lay_out : callable
        Called with the figure and the boxes of panels; makes the panels, and draws what stays on them.
    boxes : mapping of str to Box
        Where the panels lie in a wide picture.
    height : float
        Its height in inches.
    narrow : mapping of str to float
        The heights of the panels (inches) where they lie below each other, if they lie otherwise in a wide
        picture.
    still : collection of str
        As for `Screen`.
    """

    def __init__(
        self,
        lay_out: Callable[..., dict[str, Axes]],
        boxes: Mapping[str, Box],
        height: float,
        *,
        narrow: Mapping[str, float],
        still: Collection[str],
    ) -> None:
        self._lay_out = lay_out
        self._boxes, self._height = boxes, height
        self.narrow = narrow
        self._still = still
        self._made: dict[bool, Screen] = {}

    def of(self, *, is_narrow: bool) -> Screen:
        """Return the screen for a front end that has little width, or enough."""
        if is_narrow not in self._made:
            boxes, height, width = self._boxes, self._height, WIDTH_INCHES
            if is_narrow and self.narrow:
                (boxes, height), width = below_each_other(self.narrow), NARROW_INCHES
            elif is_narrow:
                boxes, width = narrowed(boxes), LESS_NARROW_INCHES
            lay_out = partial(self._lay_out, boxes=boxes)
            self._made[is_narrow] = Screen(lay_out, height, width, still=self._still)
        return self._made[is_narrow]


def is_narrow(ax: Axes) -> bool:
    """Say whether some axes are part of a narrow picture, in whose rows less fits."""
    figure = ax.get_figure(root=True)
    return figure is not None and figure.get_figwidth() < WIDTH_INCHES
