"""How a picture is drawn: by one thread at a time, and bit by bit where it takes long."""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from paged_demo.views import style

SWITCH_INTERVAL_S = 0.0005
"""How long (s) another thread may compute before one that draws has its turn; Python's own is 0.005."""

Filling = Generator[str, None, str]
"""Draws what is quick, and yields the words; goes on with what takes long, yields now and then, returns them.

Each ``yield`` lets a reader go on, who may choose other values. Then this is not continued."""


@contextmanager
def drawing() -> Iterator[None]:
    """Let one thread draw at a time, in our style, with titles in a fixed place.

    Matplotlib would place them when it draws the axes, and here these are seldom drawn. Beside a cell that
    runs, Python would pass this thread by for most of the time: so it asks to be heard more often.
    """
    with style.applied({"axes.titley": 1.0}):
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            yield
        finally:
            sys.setswitchinterval(interval_s)


def begun(filled: str | Filling) -> Filling:
    """Return what an explorer's `fill` returned as if it had been drawn bit by bit."""
    if isinstance(filled, str):
        return filled
        yield
    return (yield from filled)


def more_of(filling: Filling) -> tuple[str, bool]:
    """Draw until there is something to show; return the words, and whether that is all."""
    try:
        return next(filling), False
    except StopIteration as end:
        return str(end.value), True


def all_of(filled: str | Filling) -> str:
    """Draw all at once, and return the words."""
    filling, is_whole = begun(filled), False
    while not is_whole:
        words, is_whole = more_of(filling)
    return words
