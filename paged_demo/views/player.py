"""A story in steps: one picture, a slider for the step, and buttons beside it."""

from typing import Any

from paged_demo.checks import check_count
from paged_demo.views.controls import StepButton, number
from paged_demo.views.live import Explorer, Fill
from paged_demo.views.picture import Picture


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
