"""A story in steps: a slider for all of them, and buttons for the next and the previous one."""

import ipywidgets as widgets

from paged_demo.checks import check_count
from paged_demo.views.controls import number
from paged_demo.views.live import Explorer, MakeScene
from paged_demo.views.picture import Picture


class Player(Explorer):
    """An explorer whose one control is the step, counted from 1.

    The buttons can be reached with Tab and pressed with Enter or the space bar. At the ends they do nothing:
    a button that is disabled while it is pressed loses the keyboard.

    Parameters
    ----------
    make_scene : callable
        Makes the scene on a figure. Its ``update`` takes the step, and its words name it.
    num_steps : int
        Steps there are.
    height : float
        Height of the picture in inches.
    make_sheet_scene : callable, optional
        Makes the scenes of the film strip.
    begin_with : int
        The step to show first.
    """

    def __init__(
        self,
        make_scene: MakeScene,
        num_steps: int,
        *,
        height: float,
        make_sheet_scene: MakeScene | None = None,
        begin_with: int = 1,
    ) -> None:
        last_step = check_count("num_steps", num_steps)
        self._step = number("step", begin_with, lowest=1, highest=last_step)
        self.previous = widgets.Button(description="Previous step")
        self.next = widgets.Button(description="Next step")
        self.previous.on_click(lambda _: self._move(-1))
        self.next.on_click(lambda _: self._move(1))
        super().__init__(
            make_scene,
            {"step": self._step},
            height=height,
            make_sheet_scene=make_sheet_scene,
            buttons=(self.previous, self.next),
        )

    def _move(self, num_steps: int) -> None:
        self._step.value += num_steps  # the slider stops at its ends

    def film_strip(self, *, num_columns: int, height: float, key: tuple[str, ...] = ()) -> Picture:
        """Draw every step side by side: the story on paper.

        Parameters
        ----------
        num_columns : int
            Steps in a row.
        height : float
            Height of a step in inches.
        key : tuple of str
            Fates to explain in a part of the strip of their own.
        """
        steps = [{"step": step} for step in range(self._step.min, self._step.max + 1)]
        return self.contact_sheet(steps, num_columns=num_columns, height=height, key=key)
