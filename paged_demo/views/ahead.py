"""What a reader of a live picture is likely to ask for next."""

from collections.abc import Sequence

Setting = tuple[int, ...]
"""Whether a picture is narrow, and the position of each control."""

NUM_NEAR = 4
"""How many near values are likely after a move. Beside them are both ends, to which a key leads."""


def likely_after(before: Setting, now: Setting, num_options: Sequence[int]) -> list[Setting]:
    """Return settings with the nearest values of the control that was moved, onward first, and its ends.

    There are none unless one control was moved, and nothing else.

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
    last = num_options[index - 1] - 1
    steps = [step for size in range(1, NUM_NEAR + 1) for step in (size * onward, -size * onward)]
    near = [now[index] + step for step in steps if 0 <= now[index] + step <= last]
    ends = [last, 0] if onward == 1 else [0, last]
    likely = dict.fromkeys([*near[:NUM_NEAR], *ends])  # each once
    return [(*now[:index], position, *now[index + 1 :]) for position in likely if position != now[index]]
