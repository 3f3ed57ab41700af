"""Live pictures: sliders above, one picture below that follows them, and its words.

A slider is pleasant to move if the picture follows within about 60 ms. So the figure persists, what does
not move is drawn once and kept as a background, and only the rest is drawn anew. What a reader is likely
to ask for next is drawn before it is asked for.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from math import ceil
from types import MappingProxyType
from typing import Any, NamedTuple

import ipywidgets
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from paged_demo.checks import came, check_widgets
from paged_demo.views import plots
from paged_demo.views.ahead import Setting, likely_after
from paged_demo.views.controls import Control, Item, LiveView
from paged_demo.views.drawing import Filling, all_of, begun, drawing, more_of
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import DPI, Picture, draw, encode_png, new_figure, with_few_colours
from paged_demo.views.screen import Box, Screen, Screens
from paged_demo.views.style import DRAWING

check_widgets(ipywidgets)

REST_AFTER_S = 0.2
"""How long (s) the controls are left alone before a picture goes on with what takes long: while a slider is
moved, nothing stands in the way of its next move."""

AHEAD_AFTER_S = 0.05
"""How long (s) the controls are left alone before what may be asked for next is drawn, also while a cell
runs."""

NUM_FIRST = 2
"""Pictures that may be drawn ahead before the one that is shown goes on: of the next value to either side."""

PAUSE_S = 0.005
"""How long (s) the kernel is left to its messages before each bit that nobody waits for: one takes several
turns to arrive."""

MOST_PICTURES = 32
"""Pictures that an explorer keeps. Together they take about as much memory as one of its backgrounds."""

KEY_INCHES = 3.0
"""Width of a column of a key to the fates."""

Panels = Mapping[str, Axes]

Fill = Callable[..., str | Filling]
"""Draws on empty panels what some values (by name) mean, and returns it in words."""


class Kept(NamedTuple):
    """A picture that was drawn, and whether what takes long is there too."""

    picture: Picture
    is_whole: bool


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
        self._fill = fill
        self._sheet = sheet or panels
        self._background = background
        self._key = key
        self._screens = Screens(self._lay_out, panels, height, narrow=narrow, still=still)
        self._kept: dict[Setting, Kept] = {}
        self._num_moves = 0
        self.view = LiveView(
            [*rows, *([control] for control in self.controls.values())],
            take=self._take,
        )
        self._setting = self._asked = self._set_now()
        self._on_screen: Setting | None = None  # what was drawn without an error, and last
        for control in self.controls.values():
            control.changed = self._follow
        self._follow()

    @property
    def screen(self) -> Screen:
        """What pictures are drawn on, with what is shown now; its pixels may be those of another."""
        with drawing():
            if self._on_screen != self._setting:
                (all_of if self._shown.is_whole else more_of)(self._start(self._setting))
                self._on_screen = self._setting
            return self._screen_of(self._setting)

    @property
    def words(self) -> str:
        """What the picture shows."""
        return self._shown.picture.words

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
            return Picture(with_few_colours(self._shown.picture.png), self.words)

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
                    all_of(self._fill(self._lay_out(part, self._sheet), **self.values | dict(setting)))
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
            is_resized = self.view.is_narrow != self._asked[0]  # Also where that could not be drawn.
            if is_resized or any(item in were_set for item in self.controls.values()):
                self._follow(at_once=False)

    def _screen_of(self, setting: Setting) -> Screen:
        return self._screens.of(is_narrow=bool(setting[0]))

    def _follow(self, *, at_once: bool = True) -> None:
        loop = None
        with suppress(RuntimeError):  # No kernel, and so nobody to go on meanwhile.
            loop = asyncio.get_running_loop()
        must_be_whole = at_once or loop is None
        with drawing():
            setting = self._asked = self._set_now()
            self._num_moves += 1
            if must_be_whole:
                self._kept.clear()  # A program may have changed what else the pictures depend on.
            if setting not in self._kept:
                try:
                    self._draw(setting, at_once=must_be_whole)
                except BaseException:
                    self.view.is_whole = True  # Nobody goes on with the picture before.
                    raise
            num_options = [len(control.options) for control in self.controls.values()]
            likely = likely_after(self._setting, setting, num_options)
            self._setting = setting
            self._send_picture()
        if loop and not at_once:
            self._task = loop.create_task(self._go_on_meanwhile(self._num_moves, likely))

    def _set_now(self) -> Setting:
        return self.view.is_narrow, *(control.sent for control in self.controls.values())

    def _start(self, setting: Setting) -> Filling:
        """Empty the screen, and return what draws a setting on it."""
        self._on_screen, screen = None, self._screen_of(setting)
        screen.clear()
        chosen = zip(self.controls.items(), setting[1:], strict=True)
        values = {name: control.options[position] for (name, control), position in chosen}
        self._filling = begun(self._fill(screen.panels, **values))
        return self._filling

    def _draw(self, setting: Setting, *, at_once: bool = False) -> None:
        """Draw a setting until there is something to show, or all at once."""
        filling = self._start(setting)
        self._keep(setting, *((all_of(filling), True) if at_once else more_of(filling)))

    def _keep(self, setting: Setting, words: str, is_whole: bool) -> None:
        """Finish the pixels of what is on the screen, and keep them."""
        screen = self._screen_of(setting)
        screen.redraw()
        self._kept.pop(setting, None)
        if len(self._kept) == MOST_PICTURES:
            del self._kept[next(iter(self._kept))]
        self._kept[setting] = Kept(Picture(encode_png(screen.figure, moving=True), words), is_whole)
        self._on_screen = setting

    def _send_picture(self) -> None:
        self._shown = self._kept[self._setting]
        picture, is_whole = self._shown
        self.view.show(picture.png, picture.words, self._screen_of(self._setting).size_px, is_whole=is_whole)

    async def _go_on_meanwhile(self, num_moves: int, likely: Sequence[Setting]) -> None:
        """Go on in turns with the kernel's messages, one of which may bring other values."""
        await asyncio.sleep(AHEAD_AFTER_S)
        await self._draw_ahead(num_moves, likely[:NUM_FIRST])
        if not self._shown.is_whole:
            await asyncio.sleep(REST_AFTER_S - AHEAD_AFTER_S)
        while not self._shown.is_whole and self._num_moves == num_moves:
            await asyncio.sleep(PAUSE_S)
            with drawing():
                if self._num_moves == num_moves:
                    self._draw_more()
        await self._draw_ahead(num_moves, likely[NUM_FIRST:])

    async def _draw_ahead(self, num_moves: int, likely: Sequence[Setting]) -> None:
        for setting in likely:
            await asyncio.sleep(PAUSE_S)
            with drawing():
                if self._num_moves == num_moves and setting not in self._kept:
                    # Whoever asks for it will be told what it raises; and no Interrupt is meant for it.
                    with suppress(Exception, KeyboardInterrupt):
                        self._draw(setting)

    def _draw_more(self) -> None:
        """Draw more of what takes long."""
        try:
            filling = self._filling if self._on_screen == self._setting else self._start(self._setting)
            self._on_screen = None
            words, is_whole = more_of(filling)
            if is_whole:
                self._keep(self._setting, words, is_whole)
                self._send_picture()
            self._on_screen = self._setting
        except (Exception, KeyboardInterrupt) as raised:
            is_error = isinstance(raised, Exception)
            self.view.tell(f"{type(raised).__name__}: {raised}" if is_error else "Interrupted.")
            raise

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], Any]:
        bundle, metadata = self.picture().bundle()
        metadata["image/png"]["width"] = self.view.width_px
        view = self.view._repr_mimebundle_()
        assert view is not None
        return bundle | {WIDGET_VIEW: view[0][WIDGET_VIEW]}, metadata
