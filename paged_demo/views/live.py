"""Live pictures: sliders above, one picture below that follows them, and its words.

A slider is pleasant to move if the picture follows within about 60 ms. So the figure persists, what does
not move is drawn once and kept as a background, and only the rest is drawn anew.
"""

import sys
import threading
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from types import MappingProxyType
from typing import Any

import ipywidgets
import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from paged_demo.checks import came, check_count, check_widgets
from paged_demo.views import plots, style
from paged_demo.views.controls import Control, Item, LiveView, StepButton, number
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import WIDTH_INCHES, WIDTH_PX, Picture, draw, encode_png, new_figure

check_widgets(ipywidgets)

DRAWING = threading.RLock()
"""Held by whoever draws. JupyterLab may see to a slider in a second thread, and Matplotlib's settings, which
a style changes while it is applied, are those of all threads."""

SWITCH_INTERVAL_S = 0.0005
"""How long (s) another thread may compute before one that draws has its turn; Python's own is 0.005."""

MOST_BACKGROUNDS = 24
"""Backgrounds that an explorer keeps, of 2 MB or so each."""

MARK: dict[str, Any] = {"marker": "o", "markersize": 15, "markerfacecolor": "none", "color": "black"}
"""The look of a ring around the point of a curve that the controls are set to."""

Box = tuple[float, float, float, float]
"""Left, bottom, width and height of a panel, as shares of the picture."""

Panels = Mapping[str, Axes]

Fill = Callable[..., str]
"""Draws on empty panels what some values (by name) mean, and returns it in words."""


class Explorer:
    """Controls, and a picture that follows them.

    In a notebook with a kernel the controls are live. Where there is none, the same output shows the
    picture and its words as they were when the notebook was saved.

    Parameters
    ----------
    fill : callable
        Called with the panels, and with the value of each control by its name.
    controls : mapping of str to Control
        The controls, by the name of the value that each sets.
    panels : mapping of str to Box
        Where the panels lie in the picture.
    height : float
        Height of the picture in inches; it is 9 inches wide.
    sheet : mapping of str to Box, optional
        The panels of each part of a contact sheet, if fewer say enough there or they lie otherwise.
    background : mapping of str to callable
        Draws on the panels named here, which it gets one by one, what stays whatever the values are.
    still : collection of str
        Panels with much to draw and few states, told apart by their titles: kept with the background.
    key : sequence of str
        Fates to explain, in the panel ``key`` if there is one.
    rows : sequence of sequence of Item
        What else to show, above the controls.
    """

    def __init__(
        self,
        fill: Fill,
        controls: Mapping[str, Control],
        *,
        panels: Mapping[str, Box],
        height: float,
        sheet: Mapping[str, Box] | None = None,
        background: Mapping[str, Callable[[Axes], object]] = MappingProxyType({}),
        still: Collection[str] = (),
        key: Sequence[str] = (),
        rows: Sequence[Sequence[Item]] = (),
    ) -> None:
        self.controls = dict(controls)
        self.words = ""
        self._fill = fill
        self._sheet = sheet or panels
        self._background = background
        self._still = still
        self._key = key
        with drawing():
            self._figure = new_figure(height)
            self.panels = self._lay_out(self._figure, panels)
            self._staying = {artist for ax in self.panels.values() for artist in contents(ax)}
        self._backgrounds: dict[Hashable, Any] = {}
        self.view = LiveView(
            [*rows, *([control] for control in self.controls.values())],
            height_px=round(height * WIDTH_PX / WIDTH_INCHES),
            take=self._take,
        )
        for control in self.controls.values():
            control.changed = self._follow
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
        self, settings: Sequence[Mapping[str, Any]], *, num_columns: int, height: float, key: bool = False
    ) -> Picture:
        """Draw the picture at several settings side by side: the explorer on paper.

        Parameters
        ----------
        settings : sequence of mapping
            Values for each part; a control that is left out keeps its present value.
        num_columns : int
            Parts in a row.
        height : float
            Height of a part in inches.
        key : bool
            Whether to explain the fates in a part of their own.
        """
        if not settings:
            raise ValueError("settings must hold at least one setting, got none")
        for setting in settings:
            self._check(setting)
        num_rows = ceil((len(settings) + key) / num_columns)
        words = []
        with drawing():
            figure = new_figure(height * num_rows)
            parts = list(figure.subfigures(num_rows, num_columns, squeeze=False).flat)
            for part, setting in zip(parts, settings, strict=False):
                words.append(self._fill(self._lay_out(part, self._sheet), **self.values | dict(setting)))
            if key:
                plots.fate_legend(parts[len(settings)].add_axes((0, 0, 1, 1)), self._key, num_columns=1)
            draw(figure)
        return Picture(encode_png(figure), "\n".join(words))

    def _check(self, setting: Mapping[str, Any]) -> None:
        for name, value in setting.items():
            if name not in self.controls:
                raise ValueError(f"settings must name controls ({', '.join(self.controls)}), got {name!r}")
            allowed = self.controls[name].options
            if value not in allowed:
                raise ValueError(f"{name} must be one that its control offers, {allowed}, got {came(value)}")

    def _lay_out(self, figure: Figure | SubFigure, boxes: Mapping[str, Box]) -> dict[str, Axes]:
        panels = {name: figure.add_axes(box) for name, box in boxes.items()}
        if self._key and "key" in panels:
            is_wide = boxes["key"][2] == 1
            plots.fate_legend(panels["key"], self._key, num_columns=3 if is_wide else 1)
        for name, draw_on in self._background.items():
            if name in panels:
                draw_on(panels[name])
        return panels

    def _take(self, were_set: Mapping[Item, Any]) -> None:
        with drawing():
            for item, sent in were_set.items():
                item.receive(sent)
            if any(control in were_set for control in self.controls.values()):
                self._follow()

    def _follow(self) -> None:
        with drawing():
            for ax in self.panels.values():
                clear_contents(ax, self._staying)
            self.words = self._fill(self.panels, **self.values)
            self._redraw()
            self.view.show(encode_png(self._figure, moving=True), self.words)

    def _moving(self) -> list[Artist]:
        """List what was drawn for the present values, in the order in which to draw it."""
        moving: list[Artist] = [ax.title for ax in self.panels.values()]
        for name, ax in self.panels.items():
            if name not in self._still:
                moving += [artist for artist in contents(ax) if artist not in self._staying]
        return sorted(moving, key=lambda artist: artist.get_zorder())

    def _redraw(self) -> None:
        canvas = self._figure.canvas
        assert isinstance(canvas, FigureCanvasAgg)
        moving = self._moving()
        titles = tuple(self.panels[name].get_title() for name in self._still)
        frame = titles, *map(_frame_of, self.panels.values())
        if frame not in self._backgrounds:
            if len(self._backgrounds) == MOST_BACKGROUNDS:
                del self._backgrounds[next(iter(self._backgrounds))]
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
        view = self.view._repr_mimebundle_()
        assert view is not None
        return bundle | {WIDGET_VIEW: view[0][WIDGET_VIEW]}, metadata


class Player(Explorer):
    """A story in steps: an explorer whose one control is the step, counted from 1.

    Parameters
    ----------
    fill : callable
        As for `Explorer`. It takes the step, and its words name it.
    num_steps : int
        Steps there are.
    begin_with : int
        The step to show first.
    **options
        As for `Explorer`.
    """

    def __init__(self, fill: Fill, num_steps: int, *, begin_with: int = 1, **options: Any) -> None:
        step = number("step", begin_with, lowest=1, highest=check_count("num_steps", num_steps))
        buttons = [StepButton("Previous step", step, -1), StepButton("Next step", step, 1)]
        super().__init__(fill, {"step": step}, rows=[buttons], **options)
        self._is_on_paper = False

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], Any]:
        bundle, metadata = super()._repr_mimebundle_(include, exclude)
        if self._is_on_paper:
            # Where there is no kernel the strip has shown this step already, and in words.
            del bundle["image/png"]
        return bundle, metadata

    def film_strip(self, *, num_columns: int, height: float, key: bool = False) -> Picture:
        """Draw every step side by side: the story on paper, as a contact sheet."""
        self._is_on_paper = True
        steps = [{"step": step} for step in self.controls["step"].options]
        return self.contact_sheet(steps, num_columns=num_columns, height=height, key=key)


@contextmanager
def drawing() -> Iterator[None]:
    """Let one thread draw at a time, in our style, with titles in a fixed place.

    Matplotlib would place them when it draws the axes, and here these are seldom drawn. Beside a cell that
    runs, Python would pass this thread by for most of the time: so it asks to be heard more often.
    """
    with DRAWING, style.applied(), mpl.rc_context({"axes.titley": 1.0}):
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            yield
        finally:
            sys.setswitchinterval(interval_s)


def contents(ax: Axes) -> list[Artist]:
    """List what was drawn on some axes, apart from the axes themselves, their title and their legend."""
    return [*ax.patches, *ax.collections, *ax.lines, *ax.texts]


def clear_contents(ax: Axes, staying: Collection[Artist] = ()) -> None:
    """Remove what was drawn on some axes, and keep the axes: much faster than to make them anew."""
    for artist in contents(ax):
        if artist not in staying:
            artist.remove()
    ax.set_title("")


def _frame_of(ax: Axes) -> Hashable:
    """Return what the axes show apart from their contents: a background fits as long as this is the same."""
    return tuple(
        (
            axis.get_visible(),
            *axis.get_view_interval(),
            axis.get_label_text(),
            *axis.get_major_formatter().format_ticks(axis.get_majorticklocs().tolist()),
        )
        for axis in (ax.xaxis, ax.yaxis)
    )
