"""Live pictures: sliders above, one picture below that follows them, and its words.

A slider is pleasant to move if the picture follows within about 60 ms. So the figure persists, what does
not move is drawn once and kept as a background, and only the rest is drawn anew.
"""

import base64
import html
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from types import MappingProxyType
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from paged_demo.checks import came, check_count, check_widgets
from paged_demo.views import plots, style
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import WIDTH_INCHES, WIDTH_PX, Picture, draw, encode_png, new_figure

DRAWING = threading.RLock()
"""Held by whoever draws. JupyterLab may see to a slider in a second thread, and Matplotlib's settings, which
a style changes while it is applied, are those of all threads."""

LOOKS = {"layout": {"width": "min(100%, 32em)"}, "style": {"description_width": "9em"}}
"""Keyword arguments of a control: as wide as a phone allows, with room for its name."""

CLASS = "paged-demo-explorer"
WHOLE_READOUTS = f"<style>.{CLASS} .widget-readout {{ flex-shrink: 0; }}</style>"
"""In a narrow window the track of a slider gives way, and not the value beside it."""

MOST_BACKGROUNDS = 24
"""Backgrounds that an explorer keeps, of 2 MB or so each."""

MARK: dict[str, Any] = {"marker": "o", "markersize": 15, "markerfacecolor": "none", "color": "black"}
"""The look of a ring around the point of a curve that the controls are set to."""

Box = tuple[float, float, float, float]
"""Left, bottom, width and height of a panel, as shares of the picture."""

Panels = Mapping[str, Axes]

Fill = Callable[..., str]
"""Draws on empty panels what some values (by name) mean, and returns it in words."""


def number(description: str, value: int, *, lowest: int, highest: int) -> Any:
    """Make a slider over whole numbers."""
    return widgets.IntSlider(value, lowest, highest, description=description, **LOOKS)


def choice(description: str, options: Iterable[Any], value: Any = None) -> Any:
    """Make a slider over a few options; it begins at the first, unless another is given.

    A closed dropdown would lose its arrow keys to JupyterLab.

    Raises
    ------
    ValueError
        If the value is none of the options.
    """
    choices = list(options)
    if value is not None and value not in choices:
        raise ValueError(f"{description} must be one of {choices}, got {came(value)}")
    first = choices[0] if value is None else value
    return widgets.SelectionSlider(options=choices, value=first, description=description, **LOOKS)


class Explorer:
    """Controls, and a picture that follows them.

    In a notebook with a kernel the controls are live. Where there is none, the same output shows the
    picture and its words as they were when the notebook was saved.

    Parameters
    ----------
    fill : callable
        Called with the panels, and with the value of each control by its name.
    controls : mapping of str to widget
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
    buttons : sequence of widget
        Shown in a row above the controls, whose values they may set.
    """

    def __init__(
        self,
        fill: Fill,
        controls: Mapping[str, Any],
        *,
        panels: Mapping[str, Box],
        height: float,
        sheet: Mapping[str, Box] | None = None,
        background: Mapping[str, Callable[[Axes], object]] = MappingProxyType({}),
        still: Collection[str] = (),
        key: Sequence[str] = (),
        buttons: Sequence[Any] = (),
    ) -> None:
        check_widgets(widgets)
        self.controls = dict(controls)
        self.words = ""
        self._fill = fill
        self._sheet = sheet or panels
        self._background = background
        self._still = still
        self._key = key
        self._height_px = round(height * WIDTH_PX / WIDTH_INCHES)
        with drawing():
            self._figure = new_figure(height)
            self.panels = self._lay_out(self._figure, panels)
            self._staying = {artist for ax in self.panels.values() for artist in contents(ax)}
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
            control = self.controls[name]
            allowed = getattr(control, "options", None) or range(control.min, control.max + 1)
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

    def _follow(self, change: Any = None) -> None:
        with drawing():
            for ax in self.panels.values():
                clear_contents(ax, self._staying)
            self.words = self._fill(self.panels, **self.values)
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
        return bundle | {WIDGET_VIEW: self._widget._repr_mimebundle_()[WIDGET_VIEW]}, metadata


class Player(Explorer):
    """A story in steps: an explorer whose one control is the step, counted from 1.

    The buttons can be reached with Tab and pressed with Enter or the space bar. At the ends they do nothing:
    a button that is disabled while it is pressed loses the keyboard.

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
        self._step = number("step", begin_with, lowest=1, highest=check_count("num_steps", num_steps))
        self.previous = widgets.Button(description="Previous step")
        self.next = widgets.Button(description="Next step")
        self.previous.on_click(lambda _: self._move(-1))
        self.next.on_click(lambda _: self._move(1))
        super().__init__(fill, {"step": self._step}, buttons=(self.previous, self.next), **options)

    def _move(self, num_steps: int) -> None:
        self._step.value += num_steps  # the slider stops at its ends

    def film_strip(self, *, num_columns: int, height: float, key: bool = False) -> Picture:
        """Draw every step side by side: the story on paper, as a contact sheet."""
        steps = [{"step": step} for step in range(self._step.min, self._step.max + 1)]
        return self.contact_sheet(steps, num_columns=num_columns, height=height, key=key)


@contextmanager
def drawing() -> Iterator[None]:
    """Let one thread draw at a time, in our style, with titles in a fixed place.

    Matplotlib would place them when it draws the axes, and here these are seldom drawn.
    """
    with DRAWING, style.applied(), mpl.rc_context({"axes.titley": 1.0}):
        yield


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
