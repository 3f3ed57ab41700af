"""Live pictures: sliders above, one picture below that follows them, and its words.

A slider is pleasant to move if the picture follows within about 60 ms. So the figure persists, what does
not move is drawn once and kept as a background, and only the rest is drawn anew.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil
from types import MappingProxyType
from typing import Any

import ipywidgets
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from paged_demo.checks import came, check_widgets
from paged_demo.views import plots, style
from paged_demo.views.controls import Control, Item, LiveView
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import DPI, PX_PER_INCH, Picture, draw, encode_png, new_figure
from paged_demo.views.screen import (
    LESS_NARROW_INCHES,
    NARROW_INCHES,
    Box,
    Screen,
    below_each_other,
    narrowed,
)

check_widgets(ipywidgets)

DRAWING = threading.RLock()
"""Held by whoever draws. JupyterLab may see to a slider in a second thread, and Matplotlib's settings, which
a style changes while it is applied, are those of all threads."""

SWITCH_INTERVAL_S = 0.0005
"""How long (s) another thread may compute before one that draws has its turn; Python's own is 0.005."""

REST_AFTER_S = 0.2
"""How long (s) the controls are left alone before a picture goes on with what takes long: while a slider is
moved, nothing stands in the way of its next move."""

PAUSE_S = 0.005
"""How long (s) such a picture leaves to the kernel now and then: a message takes several turns to arrive."""

MARK: dict[str, Any] = {"marker": "o", "markersize": 15, "markerfacecolor": "none", "color": "black"}
"""The look of a ring around the point of a curve that the controls are set to."""

KEY_INCHES = 3.0
"""Width of a column of a key to the fates."""

Panels = Mapping[str, Axes]

Filling = Generator[str, None, str]
"""Draws what is quick, and yields the words; goes on with what takes long, yields now and then, returns them.

Each ``yield`` lets a reader go on, who may choose other values. Then this is not continued."""

Fill = Callable[..., str | Filling]
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
    narrow : mapping of str to float
        The heights of the panels, in inches, where the picture is too narrow for them side by side and they
        lie below each other. If left out they do so in any picture.
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
        narrow: Mapping[str, float] = MappingProxyType({}),
        key: Sequence[str] = (),
        rows: Sequence[Sequence[Item]] = (),
    ) -> None:
        self.controls = dict(controls)
        self.words = ""
        self._fill = fill
        self._sheet = sheet or panels
        self._background = background
        self._key = key
        self._still = still
        self._narrow = narrow
        self._boxes, self._height = panels, height
        self._filling: Filling | None = None
        with drawing():
            self.screen = Screen(partial(self._lay_out, boxes=panels), height, still=still)
        self._screens = {False: self.screen}
        self.view = LiveView(
            [*rows, *([control] for control in self.controls.values())],
            take=self._take,
        )
        for control in self.controls.values():
            control.changed = self._follow
        self._follow()

    @property
    def panels(self) -> dict[str, Axes]:
        """The panels that are seen now."""
        return self.screen.panels

    @property
    def values(self) -> dict[str, Any]:
        """The value of each control."""
        return {name: control.value for name, control in self.controls.items()}

    def picture(self) -> Picture:
        """Return the picture as it is now."""
        with DRAWING:
            return Picture(encode_png(self.screen.figure), self.words)

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
                words.append(
                    _all_of(self._fill(self._lay_out(part, self._sheet), **self.values | dict(setting)))
                )
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
            width = panels["key"].bbox.width / DPI
            plots.fate_legend(panels["key"], self._key, num_columns=max(1, int(width / KEY_INCHES)))
        for name, draw_on in self._background.items():
            if name in panels:
                draw_on(panels[name])
        return panels

    def _take(self, were_set: Mapping[Item, Any]) -> None:
        with drawing():
            for item, sent in were_set.items():
                item.receive(sent)
            earlier, self.screen = self.screen, self._screen_of(self.view.is_narrow)
            if self.screen is not earlier or any(item in were_set for item in self.controls.values()):
                self._follow(at_once=False)

    def _screen_of(self, is_narrow: bool) -> Screen:
        """Return the screen for a front end that has little width, or enough."""
        if is_narrow not in self._screens:
            boxes, height, width = narrowed(self._boxes), self._height, LESS_NARROW_INCHES
            if self._narrow:
                (boxes, height), width = below_each_other(self._narrow), NARROW_INCHES
            lay_out = partial(self._lay_out, boxes=boxes)
            self._screens[is_narrow] = Screen(lay_out, height, width, still=self._still)
        return self._screens[is_narrow]

    def _follow(self, *, at_once: bool = True) -> None:
        with drawing():
            self.screen.clear()
            self._filling = filling = _begun(self._fill(self.panels, **self.values))
            self._go_on()
            loop = None
            with suppress(RuntimeError):  # No kernel, and so nobody to go on meanwhile.
                loop = asyncio.get_running_loop()
            if at_once or loop is None:
                while self._filling:
                    self._go_on()
            self._send_picture()
        if self._filling and loop:
            self._task = loop.create_task(self._fill_the_rest(filling))

    def _go_on(self) -> None:
        """Draw until there is something to show."""
        assert self._filling
        try:
            self.words = next(self._filling)
        except StopIteration as end:
            self.words, self._filling = end.value, None

    async def _fill_the_rest(self, filling: Filling) -> None:
        """Go on in turns with the kernel's messages, one of which may bring other values."""
        await asyncio.sleep(REST_AFTER_S)
        while self._filling is filling:
            await asyncio.sleep(PAUSE_S)
            with drawing():
                if self._filling is not filling:
                    return
                try:
                    self._go_on()
                    if not self._filling:
                        self._send_picture()
                except (Exception, KeyboardInterrupt) as raised:
                    self._filling = None
                    is_error = isinstance(raised, Exception)
                    self.view.tell(f"{type(raised).__name__}: {raised}" if is_error else "Interrupted.")
                    raise

    def _send_picture(self) -> None:
        self.screen.redraw()
        png, is_whole = encode_png(self.screen.figure, moving=True), self._filling is None
        width_px, height_px = (round(PX_PER_INCH * inches) for inches in self.screen.figure.get_size_inches())
        self.view.show(png, self.words, width_px=width_px, height_px=height_px, is_whole=is_whole)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], Any]:
        bundle, metadata = self.picture().bundle()
        metadata["image/png"]["width"] = self.view.width_px
        view = self.view._repr_mimebundle_()
        assert view is not None
        return bundle | {WIDGET_VIEW: view[0][WIDGET_VIEW]}, metadata


@contextmanager
def drawing() -> Iterator[None]:
    """Let one thread draw at a time, in our style, with titles in a fixed place.

    Matplotlib would place them when it draws the axes, and here these are seldom drawn. Beside a cell that
    runs, Python would pass this thread by for most of the time: so it asks to be heard more often.
    """
    with DRAWING, style.applied({"axes.titley": 1.0}):
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            yield
        finally:
            sys.setswitchinterval(interval_s)


def _begun(filled: str | Filling) -> Filling:
    """Return what `Fill` returned as if it had been drawn bit by bit."""
    if isinstance(filled, str):
        return filled
        yield
    return (yield from filled)


def _all_of(filled: str | Filling) -> str:
    """Draw all at once, and return the words."""
    filling = _begun(filled)
    while True:
        try:
            next(filling)
        except StopIteration as end:
            return str(end.value)
