"""What a reader of a live picture is likely to ask for next."""

from collections.abc import Sequence

Setting = tuple[int, ...]
"""Whether a picture is narrow, and the position of each control."""

NUM_AHEAD = 4
"""How many pictures may be drawn ahead after a move."""


def likely_after(before: Setting, now: Setting, num_options: Sequence[int]) -> list[Setting]:
    """Return the nearest values of a control that was moved, onward first; none if several things changed.

    Parameters
    ----------
    before, now : Setting
        Before the move and after it.
    num_options : sequence of int
        How many values each control offers.
    """
    moved = [index for index, (old, new) in enumerate(zip(before, now, strict=True)) if old != new]
    if len(moved) != 1 or moved == [0]:
        return []
    [index] = moved
    onward = 1 if now[index] > before[index] else -1
    steps = [step for size in range(1, NUM_AHEAD + 1) for step in (size * onward, -size * onward)]
    near = [now[index] + step for step in steps if 0 <= now[index] + step < num_options[index - 1]]
    return [(*now[:index], position, *now[index + 1 :]) for position in near[:NUM_AHEAD]]
