"""What a check says, and how it looks in a notebook and in plain text."""

import base64
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paged_demo.views.picture import Picture

OPEN = "open"
RIGHT = "right"
WRONG = "wrong"

_LOOKS = {OPEN: ("…", "free"), RIGHT: ("✓", "shared"), WRONG: ("✗", "internal")}
"""A sign for each mark, and the fate whose colour is the bar beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a check says about an answer.

    Attributes
    ----------
    exercise_id : str
        Such as ``"3.1"``.
    mark : str
        ``"open"`` (not attempted), ``"right"`` or ``"wrong"``.
    title : str
        The verdict in a few words. For a known misconception it is its name.
    words : str
        What there is to learn from it.
    draw : callable, optional
        Draws the case that went wrong, when the verdict is shown in a notebook.
    """

    exercise_id: str
    mark: str
    title: str
    words: str
    draw: "Callable[[], Picture | None] | None" = None

    def __str__(self) -> str:
        sign, _ = _LOOKS[self.mark]
        return f"{sign} {self.exercise_id} {self.title} {self.words}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        sign, fate = _LOOKS[self.mark]
        heading = f"{sign} {self.exercise_id} {self.title}"
        return framed(heading, self.words, fate=fate, picture=self.draw() if self.draw else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A hint, shown as text or as HTML.

    Attributes
    ----------
    exercise_id : str
        Such as ``"3.1"``.
    number, num_hints : int
        Which hint it is, from 1, and of how many.
    words : str
        The hint.
    """

    exercise_id: str
    number: int
    num_hints: int
    words: str

    @property
    def _heading(self) -> str:
        return f"{self.exercise_id} Hint {self.number} of {self.num_hints}."

    def __str__(self) -> str:
        return f"{self._heading} {self.words}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return framed(self._heading, self.words, fate="free")


def framed(heading: str, words: str, *, fate: str, picture: "Picture | None" = None) -> str:
    """Write a heading and words beside a coloured bar, in the reader's own ink: dark or light.

    Parameters
    ----------
    heading, words : str
        Plain text; what stands between backquotes is set as code.
    fate : str
        Whose colour the bar has. The heading says the same in words.
    picture : Picture, optional
        Shown below the words, which are its alternative text with its own.
    """
    # Matplotlib is slow to load, and only who looks at HTML needs its colours.
    from paged_demo.views import style  # noqa: PLC0415

    colour = style.FATES[fate].outline or style.FATES[fate].colour
    image = ""
    if picture:
        data = base64.b64encode(picture.png).decode()
        image = (
            f'<img alt="{html.escape(picture.words)}" src="data:image/png;base64,{data}"'
            ' style="display:block;max-width:100%;margin-top:0.5em">'
        )
    return (
        f'<div style="border-left:6px solid {colour};padding:0.2em 0.8em;max-width:60em">'
        f"<strong>{_marked_up(heading)}</strong> {_marked_up(words)}{image}</div>"
    )


def _marked_up(text: str) -> str:
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def describe_both(expected: Any, came: Any) -> tuple[str, str]:
    """Describe two records, what was expected and what came: the fields that differ, in full.

    Examples
    --------
    >>> from paged_demo.allocators.sequences import Append
    >>> describe_both(Append(6, (0, 1)), Append(2, (0, 1)))
    ('slot 6', 'slot 2')
    """
    differing = [name for name in expected._fields if getattr(expected, name) != getattr(came, name)]

    def tell(record: Any) -> str:
        fields = ((name.replace("_", " "), getattr(record, name)) for name in differing)
        return "; ".join(f"{name} {describe(value, longest=400)}" for name, value in fields)

    return tell(expected), tell(came)


def describe(value: Any, *, longest: int = 80) -> str:
    """Write a value as the reader would type it, cut where it is long.

    Examples
    --------
    >>> describe([1, 2])
    '[1, 2]'
    """
    try:
        text = repr(value)
    except Exception:  # a reader's own class may have a mistake in it
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
