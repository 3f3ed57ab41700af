"""Controls of a live picture, and the widget that shows both: sliders, lists, buttons, a text field.

They are the browser's own, so that keys, names and values are what a keyboard and a screen reader expect.
Here stands what they are set to; ``controls.js`` shows them, and sends what a reader does.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from paged_demo.checks import came
from paged_demo.views.frozen import takeaway

NARROW_PX = 600


class Item:
    """One thing in a row of controls, with what it is set to.

    Attributes
    ----------
    key : str
        What the browser calls it; the view that shows it chooses this.
    changed : callable
        Called when a program, and not a reader, has changed it; the view that shows it sends it then.
    """

    kind: str

    def __init__(self, label: str) -> None:
        self.label = label
        self.key = ""
        self.changed: Callable[[], object] = lambda: None

    def looks(self) -> dict[str, Any]:
        """Return all that the browser has to know of it, but for what it is set to."""
        return {"kind": self.kind, "key": self.key, "label": self.label}

    @property
    def sent(self) -> Any:
        """What it is set to, as the browser knows it; None if there is nothing to set."""
        return None

    def receive(self, sent: Any) -> None:
        """Take what a reader has set it to."""

    def press(self) -> None:
        """Do what a button does."""


class Control(Item):
    """A choice of one value of several, such as a page size: numbers get a slider, all else a list.

    Parameters
    ----------
    label : str
        Its name, and the unit of its values.
    options : sequence
        The values.
    value : object
        The one to begin with.

    Raises
    ------
    ValueError
        If the value is none of the options.
    """

    def __init__(self, label: str, options: Sequence[Any], value: Any) -> None:
        super().__init__(label)
        self.offer(options, value)

    def offer(self, options: Sequence[Any], value: Any) -> None:
        """Offer other values, and choose one of them. If that cannot be shown, all stays as it was."""
        before = vars(self).copy()
        self.options, self._position = options, self._position_of(value, options)
        self.kind = "range" if all(isinstance(option, int | float) for option in options[:2]) else "select"
        try:
            self.changed()
        except Exception:  # An interrupt says nothing against the values.
            vars(self).update(before)
            raise

    @property
    def value(self) -> Any:
        """The value that is chosen."""
        return self.options[self._position]

    @value.setter
    def value(self, value: Any) -> None:
        if self._position_of(value, self.options) != self._position:
            self.offer(self.options, value)

    def _position_of(self, value: Any, options: Sequence[Any]) -> int:
        try:
            return options.index(value)
        except ValueError:
            raise ValueError(f"{self.label} must be one of {options}, got {came(value)}") from None

    def looks(self) -> dict[str, Any]:
        """Return all that the browser has to know of it; of whole numbers in a row the first is enough."""
        if isinstance(self.options, range):
            return super().looks() | {"count": len(self.options), "first": self.options[0]}
        return super().looks() | {"count": len(self.options), "texts": list(map(str, self.options))}

    @property
    def sent(self) -> int:
        """The position of the value."""
        return self._position

    def receive(self, sent: int) -> None:
        """Take the position of a value; one beyond the end is of options that are no longer offered."""
        self._position = min(max(int(sent), 0), len(self.options) - 1)


class StepButton(Item):
    """A button that moves a slider by some positions. The browser does it alone."""

    kind = "step"

    def __init__(self, label: str, of: Control, by: int) -> None:
        super().__init__(label)
        self._of = of
        self._by = by

    def looks(self) -> dict[str, Any]:
        """Return all that the browser has to know of it."""
        return super().looks() | {"of": self._of.key, "by": self._by}


class Button(Item):
    """A button that has something done here.

    Parameters
    ----------
    label : str
    click : callable
        Does it.
    is_enabled : bool
        Whether it can be pressed.
    """

    kind = "press"

    def __init__(self, label: str, click: Callable[[], object], *, is_enabled: bool = True) -> None:
        super().__init__(label)
        self._click = click
        self._is_enabled = is_enabled

    @property
    def sent(self) -> bool:
        """Whether it can be pressed."""
        return self._is_enabled

    def press(self) -> None:
        """Do it; nothing if a click was on its way when the button was disabled."""
        if self._is_enabled:
            self._click()

    def enable(self, is_enabled: bool) -> None:
        """Let it be pressed from now on, or not."""
        self._is_enabled = is_enabled
        self.changed()


class TextField(Item):
    """A line of text to type into, in which Enter presses a button."""

    kind = "text"

    def __init__(self, label: str, value: str, *, enter: Button) -> None:
        super().__init__(label)
        self.value = value
        self._enter = enter

    def looks(self) -> dict[str, Any]:
        """Return all that the browser has to know of it."""
        return super().looks() | {"enter": self._enter.key}

    @property
    def sent(self) -> str:
        """The text."""
        return self.value

    def receive(self, sent: str) -> None:
        """Take what was typed."""
        self.value = str(sent)


class Line(Item):
    """A line of words beside the controls."""

    kind = "line"

    def __init__(self) -> None:
        super().__init__("")
        self.words = ""

    @property
    def sent(self) -> str:
        """The words."""
        return self.words

    def say(self, words: str) -> None:
        """Say something else."""
        self.words = words
        self.changed()


def number(label: str, value: int, *, lowest: int, highest: int) -> Control:
    """Make a slider over whole numbers."""
    return Control(label, range(lowest, highest + 1), value)


def choice(label: str, options: Iterable[Any], value: Any = None) -> Control:
    """Make a control over a few options; it begins at the first, unless another is given.

    Raises
    ------
    ValueError
        If the value is none of the options.
    """
    choices = list(options)
    return Control(label, choices, choices[0] if value is None else value)


class LiveView(anywidget.AnyWidget):
    """The widget: rows of controls, a picture below them, and its words.

    A view in the browser sends the newest values and waits for an answer, its own or another view's. What
    was set meanwhile goes with the next message: nothing piles up, and an answer always comes.

    Parameters
    ----------
    rows : sequence of sequence of Item
        The controls.
    take : callable
        Called with what a reader has set, by item: sets it, draws, and calls `show`. What it draws should
        fit ``is_narrow``: whether the page leaves less than `NARROW_PX` to the picture.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    rows: Any = traitlets.List().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    number = traitlets.Int().tag(sync=True)  # of pictures so far
    png = traitlets.Bytes().tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    num_shown = traitlets.Int().tag(sync=True)  # characters of the words that are not folded
    narrow_px = traitlets.Int(NARROW_PX).tag(sync=True)
    is_narrow = traitlets.Bool().tag(sync=True)
    width_px = traitlets.Int().tag(sync=True)
    height_px = traitlets.Int().tag(sync=True)
    is_whole = traitlets.Bool(True).tag(sync=True)

    def __init__(self, rows: Sequence[Sequence[Item]], *, take: Callable[[dict[Item, Any]], object]) -> None:
        self._rows = rows
        self._items = {str(index): item for index, item in enumerate(item for row in rows for item in row)}
        for key, item in self._items.items():
            item.key, item.changed = key, self.renew
        self._take = take
        self._sending = threading.RLock()  # an answer that grows may tell of itself while a slider is moved
        super().__init__()
        self.on_msg(self._hear)
        self.renew()

    def renew(self) -> None:
        """Send what the controls are set to now."""
        with self.sending():
            self.rows = [[item.looks() for item in row] for row in self._rows]
            self.values = {key: item.sent for key, item in self._items.items()}

    def show(self, png: bytes, words: str, size_px: tuple[int, int], *, is_whole: bool = True) -> None:
        """Show a picture and its words, and what the controls are set to, in one message.

        One that is not whole is followed by another.
        """
        with self.sending():
            self.renew()
            self.width_px, self.height_px = size_px
            self.is_whole = is_whole
            self.words, self.num_shown = words, len(takeaway(words)[0])
            self.png = png
            self.number += 1

    def tell(self, error: str) -> None:
        """Answer a reader, with what went wrong if anything did; then no more of the picture follows."""
        self.renew()  # The picture may not follow what was set, and so not have told of it.
        if error:
            self.is_whole = True
        with self.sending():
            self.send({"error": error})

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send what changes as one message."""
        with self._sending, self.hold_sync():
            yield
        # ipykernel 7.4.0 has a widget's next message seen to where its last one came from. After a cell that
        # would be the main shell, in which a reader's first move waits behind all cells that run.
        if self.comm is not None:
            self.comm.__dict__.pop("_reply_subshell_id", None)

    def _hear(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        error = "Interrupted."
        try:
            were_set = {self._items[key]: sent for key, sent in content["values"].items()}
            self.is_narrow = content["is_narrow"]
            self._take(were_set)
            if content["press"] is not None:
                self._items[content["press"]].press()
            error = ""
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        finally:
            self.tell(error)
