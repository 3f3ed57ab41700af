"""What a check says, how it looks in a notebook and in plain text, and the picture of a case that went wrong.

Matplotlib is slow to load: only who looks at HTML or a picture needs it, so it is imported there.
"""

import base64
import html
import math
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from reprlib import Repr
from textwrap import indent
from typing import TYPE_CHECKING, Any

from paged_demo.allocators.memory_map import Hole, MemoryMap, Region
from paged_demo.course.exercises.fence import LONGEST_TEXT, name_of, text_of

if TYPE_CHECKING:
    from paged_demo.views.picture import Picture

OPEN = "open"
RIGHT = "right"
WRONG = "wrong"

MOST_SLOTS_DRAWN = 64

DrawnPool = tuple[dict[str, tuple[list[int], int]], int, int]
"""The page table and the length of each sequence, by its name; the pages in the pool; the page size."""

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
    printed : tuple of str, optional
        What to call what the answer printed, and its first lines. A notebook folds it away.
    """

    exercise_id: str
    mark: str
    title: str
    words: str
    draw: "Callable[[], Picture | None] | None" = None
    printed: tuple[str, str] | None = None

    def __str__(self) -> str:
        sign, _ = _LOOKS[self.mark]
        told = f"{sign} {self.exercise_id} {self.title} {self.words}"
        if not self.printed:
            return told
        heading, lines = self.printed
        return f"{told}\n{heading}:\n{indent(lines, '    ')}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        sign, fate = _LOOKS[self.mark]
        heading = f"{sign} {self.exercise_id} {self.title}"
        picture = self.draw() if self.draw else None
        return framed(heading, self.words, fate=fate, picture=picture, folded=self.printed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A heading and some words, shown as text or as HTML.

    Attributes
    ----------
    heading, words : str
        What is told.
    """

    heading: str
    words: str

    def __str__(self) -> str:
        return f"{self.heading} {self.words}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return framed(self.heading, self.words, fate="free")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Hint(Told):
    """A hint.

    Attributes
    ----------
    number : int
        Which one it is, from 1.
    """

    number: int


def framed(
    heading: str,
    words: str,
    *,
    fate: str,
    picture: "Picture | None" = None,
    folded: tuple[str, str] | None = None,
) -> str:
    """Write a heading and words beside a coloured bar, in the reader's own ink: dark or light.

    Parameters
    ----------
    heading, words : str
        Plain text; what stands between backquotes is set as code.
    fate : str
        Whose colour the bar has. The heading says the same in words.
    picture : Picture, optional
        Shown below the words, which are its alternative text with its own.
    folded : tuple of str, optional
        A heading, and lines that appear below it when it is clicked.
    """
    from paged_demo.views import style  # noqa: PLC0415

    colour = style.FATES[fate].outline or style.FATES[fate].colour
    image = ""
    if picture:
        data = base64.b64encode(picture.png).decode()
        image = (
            f'<img alt="{html.escape(picture.words)}" src="data:image/png;base64,{data}"'
            ' style="display:block;max-width:100%;margin-top:0.5em">'
        )
    details = ""
    if folded:
        summary, lines = map(html.escape, folded)
        details = f"<details><summary>{summary}</summary><pre>{lines}</pre></details>"
    return (
        f'<div style="border-left:6px solid {colour};padding:0.2em 0.8em;max-width:60em">'
        f"<strong>{_marked_up(heading)}</strong> {_marked_up(words)}{image}{details}</div>"
    )


def _marked_up(text: str) -> str:
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def describe_both(expected: Any, came: Any, same: Callable[[Any, Any], bool]) -> tuple[str, str]:
    """Describe two records, what was expected and what came: the fields that differ, in full.

    Examples
    --------
    >>> from operator import eq
    >>> from paged_demo.allocators.sequences import Append
    >>> describe_both(Append(6, (0, 1)), Append(2, (0, 1)), eq)
    ('slot 6', 'slot 2')
    """
    differing = [name for name in expected._fields if not same(getattr(expected, name), getattr(came, name))]

    def tell(record: Any) -> str:
        fields = ((name.replace("_", " "), getattr(record, name)) for name in differing)
        return "; ".join(f"{name} {describe(value, longest=LONGEST_TEXT)}" for name, value in fields)

    return tell(expected), tell(came)


class _Writer(Repr):
    """Writes the beginning of what is long, whatever it is."""

    def repr_int(self, value: int, level: int) -> str:
        # Python writes no int of more than 4,300 digits.
        if value.bit_length() > LONGEST_TEXT:
            return f"a whole number of about {round(value.bit_length() * math.log10(2)):,} digits"
        return repr(value)

    def repr_instance(self, value: Any, level: int) -> str:
        return repr(value)


_WRITER = _Writer()
_WRITER.maxlevel = 3
_WRITER.maxlist = _WRITER.maxtuple = _WRITER.maxdict = _WRITER.maxset = _WRITER.maxfrozenset = 30
_WRITER.maxdeque = _WRITER.maxarray = 30
_WRITER.maxstring = _WRITER.maxother = LONGEST_TEXT


def describe(value: Any, *, longest: int = 80) -> str:
    """Write a value as the reader would type it, cut where it is long. It never raises, and always ends.

    Examples
    --------
    >>> describe([1, 2]), describe(10**5000)
    ('[1, 2]', 'a whole number of about 5,000 digits')
    """
    text = text_of(value, _WRITER.repr, longest=longest)
    if text is None:
        return f"something of type {name_of(type(value))}"
    return re.sub(r"\s*\n\s*", " ", text)


def pool_with_marks(
    held: dict[str, tuple[list[int], int]], num_pages: int, page_size: int, expected: int, came: int | None
) -> "Picture | None":
    """Draw a pool in which sequences hold pages and tokens, unless it is too large for a strip.

    Arrows point to the slot that was expected, from above, and to the one that came, from below.

    Parameters
    ----------
    held : dict of str to (list of int, int)
        The page table and the length of each sequence. Several may hold a page.
    num_pages, page_size : int
        Pages in the pool, and slots in a page.
    expected, came : int, and int or None
        The slots to point to; None for no arrow.
    """
    if num_pages * page_size > MOST_SLOTS_DRAWN:
        return None
    holders: dict[int, list[str]] = {}
    filled: dict[int, int] = {}
    for seq_id, (table, num_tokens) in held.items():
        for index, page_id in enumerate(table):
            holders.setdefault(page_id, []).append(seq_id)
            filled[page_id] = min(page_size, num_tokens - index * page_size)
    regions, holes = [], []
    for page_id in range(num_pages):
        start_slot = page_id * page_size
        if page_id not in holders:
            holes.append(Hole(start_slot, page_size))
            continue
        seq_ids = tuple(holders[page_id])
        regions.append(Region(start_slot, page_size, page_size, filled[page_id], seq_ids))
    memory_map = MemoryMap(
        num_slots=num_pages * page_size, regions=tuple(regions), holes=tuple(holes), page_size=page_size
    )
    yours = f"yours {describe(came)}" if came is not None else "yours none"
    words = f"A pool of {num_pages} pages of {page_size}. The expected slot is {expected}, {yours}."
    future_tokens: dict[Hashable, int] = dict.fromkeys(held, page_size)
    from paged_demo.views import style  # noqa: PLC0415
    from paged_demo.views.picture import new_axes, show  # noqa: PLC0415
    from paged_demo.views.strip import slot_strip  # noqa: PLC0415

    with style.applied():
        ax = slot_strip(memory_map, future_tokens, num_columns=memory_map.num_slots, ax=new_axes(1.9))
        ax.set_ylim(2.0, -1.0)
        ax.set_yticks([])
        ax.set_ylabel("")
        ax.set_xticks(
            [(page_id + 0.5) * page_size for page_id in range(num_pages)],
            [f"page {page_id}" for page_id in range(num_pages)],
        )
        for name, slot, tip, text in (("expected", expected, 0, -0.8), ("yours", came, 1, 1.8)):
            if slot is not None and 0 <= slot < memory_map.num_slots:
                ax.annotate(
                    f"{name}: slot {slot}",
                    (slot + 0.5, tip),
                    (slot + 0.5, text),
                    ha="center",
                    va="center",
                    arrowprops={"arrowstyle": "->", "color": "black"},
                )
        return show(ax, words)
