"""Live pictures: sliders above, one picture below that follows them, and its words.

A slider is pleasant to move if the picture follows within about 60 ms. So the figure persists, what does
not move is drawn once and kept as a background, and only the rest is drawn anew.
"""

import base64
import html
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from math import ceil
from typing import Any, Protocol

import ipywidgets as widgets
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from paged_demo.views import plots, style
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import WIDTH_INCHES, WIDTH_PX, Picture, draw, encode_png, new_figure

DRAWING = threading.RLock()
"""Held by whoever draws. JupyterLab may see to a slider in a second thread, and Matplotlib's settings, which
a style changes while it is applied, are those of all threads."""


class Scene(Protocol):
    """A picture that can be set to other values. It is made on an empty figure, or a part of one."""

    @property
    def update(self) -> Callable[..., str]:
        """Set the scene to these values (by name), and return what it then shows in words."""

    def moving(self) -> list[Artist]:
        """List the artists that `update` may have changed."""

    @property
    def frame(self) -> Hashable:
        """What the rest depends on: it is drawn once for each, so there should be a dozen or two at most."""


CLASS = "paged-demo-explorer"
WHOLE_READOUTS = f"<style>.{CLASS} .widget-readout {{ flex-shrink: 0; }}</style>"
"""In a narrow window the track of a slider gives way, and not the value beside it."""

MakeScene = Callable[[Figure | SubFigure], Scene]


class Explorer:
    """Controls, and a scene that follows them.

    In a notebook with a kernel the controls are live. Where there is none, the same output shows the
    picture and its words as they were when the notebook was saved.

    Parameters
    ----------
    make_scene : callable
        Makes the `Scene` on a figure.
    controls : mapping of str to widget
        The controls, by the name of the value that each sets.
    height : float
        Height of the picture in inches; it is 9 inches wide.
    make_sheet_scene : callable, optional
        Makes the scenes of a contact sheet, where a part of the whole scene says enough.
    buttons : sequence of widget
        Shown in a row above the controls, whose values they may set.
    """

    def __init__(
        self,
        make_scene: MakeScene,
        controls: Mapping[str, Any],
        *,
        height: float,
        make_sheet_scene: MakeScene | None = None,
        buttons: Sequence[Any] = (),
    ) -> None:
        self.controls = dict(controls)
        self.words = ""
        self._make_sheet_scene = make_sheet_scene or make_scene
        self._height_px = round(height * WIDTH_PX / WIDTH_INCHES)
        with DRAWING, style.applied():
            self._figure = new_figure(height)
            self._scene = make_scene(self._figure)
        self._backgrounds: dict[Hashable, Any] = {}
        self._image = widgets.HTML()
        self._caption = widgets.HTML()
        rows = [widgets.HBox(buttons), *self.controls.values()] if buttons else [*self.controls.values()]
        looks = widgets.HTML(WHOLE_READOUTS, layout={"display": "none"})
        self._widget = widgets.VBox([looks, *rows, self._image, self._caption])
        self._widget.add_class(CLASS)
        for control in self.controls.values():
            control.observe(self._follow, names="value")
        self._follow()

    @property
    def values(self) -> dict[str, Any]:
        """The value of each control."""
        return {name: control.value for name, control in self.controls.items()}

    def picture(self) -> Picture:
        """Return the picture as it is now."""
        with DRAWING:
            return Picture(encode_png(self._figure), self.words)

    def contact_sheet(
        self,
        settings: Sequence[Mapping[str, Any]],
        *,
        num_columns: int,
        height: float,
        key: Sequence[str] = (),
    ) -> Picture:
        """Draw the scene at several settings side by side: the explorer on paper.

        Parameters
        ----------
        settings : sequence of mapping
            Values for each scene; a control that is left out keeps its present value.
        num_columns : int
            Scenes in a row.
        height : float
            Height of a scene in inches.
        key : sequence of str
            Fates to explain in a part of the sheet of their own.
        """
        if not settings:
            raise ValueError("settings must hold at least one setting, got none")
        for setting in settings:
            self._check(setting)
        num_parts = len(settings) + bool(key)
        num_rows = ceil(num_parts / num_columns)
        words = []
        with DRAWING, style.applied():
            figure = new_figure(height * num_rows)
            parts = list(figure.subfigures(num_rows, num_columns, squeeze=False).flat)
            for part, setting in zip(parts, settings, strict=False):
                words.append(self._make_sheet_scene(part).update(**self.values | dict(setting)))
            if key:
                plots.fate_legend(parts[len(settings)].add_axes((0, 0, 1, 1)), key, num_columns=1)
            draw(figure)
        return Picture(encode_png(figure), "\n".join(words))

    def _check(self, setting: Mapping[str, Any]) -> None:
        for name, value in setting.items():
            if name not in self.controls:
                raise ValueError(f"settings must name controls ({', '.join(self.controls)}), got {name!r}")
            control = self.controls[name]
            allowed = getattr(control, "options", None) or range(control.min, control.max + 1)
            if value not in allowed:
                raise ValueError(f"{name} must be one that its control offers, {allowed}, got {value!r}")

    def _follow(self, change: Any = None) -> None:
        with DRAWING, style.applied():
            self.words = self._scene.update(**self.values)
            self._redraw()
            data = base64.b64encode(encode_png(self._figure, moving=True)).decode()
            words = html.escape(self.words, quote=True)
            self._image.value = (
                f'<img alt="{words}" src="data:image/png;base64,{data}" width="{WIDTH_PX}"'
                f' height="{self._height_px}" style="display:block;max-width:100%;height:auto">'
            )
            self._caption.value = (
                '<p role="status" aria-live="polite"'
                f' style="max-width:{WIDTH_PX}px;margin:0.5em 0;line-height:1.4">In words: {words}</p>'
            )

    def _redraw(self) -> None:
        canvas = self._figure.canvas
        assert isinstance(canvas, FigureCanvasAgg)
        moving = sorted(self._scene.moving(), key=lambda artist: artist.get_zorder())
        frame = self._scene.frame
        if frame not in self._backgrounds:
            for artist in moving:
                artist.set_visible(False)
            canvas.draw()
            for artist in moving:
                artist.set_visible(True)
            self._backgrounds[frame] = canvas.copy_from_bbox(self._figure.bbox)
        canvas.restore_region(self._backgrounds[frame])
        for artist in moving:
            artist.draw(canvas.get_renderer())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], Any]:
        bundle, metadata = self.picture().bundle()
        return bundle | {WIDGET_VIEW: self._widget._repr_mimebundle_()[WIDGET_VIEW]}, metadata


def contents(ax: Axes) -> list[Artist]:
    """List what was drawn on some axes, apart from the axes themselves."""
    return [*ax.patches, *ax.collections, *ax.lines, *ax.texts, ax.title]


def clear_contents(ax: Axes) -> None:
    """Remove what was drawn on some axes, and keep the axes: much faster than to make them anew."""
    for artist in contents(ax):
        if artist is not ax.title:
            artist.remove()
    set_title(ax, "")


def set_title(ax: Axes, title: str) -> None:
    """Set a title in a fixed place: Matplotlib places it only when it draws the axes too."""
    ax.set_title(title, y=1.0)
