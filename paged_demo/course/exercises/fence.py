"""Calls of what a reader wrote: it may raise, never return, print much, or replace what it is tried with."""

import linecache
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any, NamedTuple

UNCOUNTED = sys.stdlib_module_names | {"numpy", "paged_demo"}
"""Their own steps do not count: the first use of a function may import a module, which takes many."""

MOST_STEPS = 300_000
"""Steps that a call may take: our own solutions need some hundreds."""

MOST_SECONDS = 3
"""Of computing, for all calls of a check: a few steps may be long ones. What else keeps the machine busy does
not count. The longest check of a solution takes 0.3 s."""

MOST_SECONDS_OF_WAITING = 60
"""Of one call, whatever it does: one that sleeps computes nothing, and takes few steps."""

computing_s = getattr(time, "thread_time", time.process_time)
"""Seconds that this thread has computed. In WebAssembly a process has one thread, and no clock for it."""

STEPS_BETWEEN_LOOKS_AT_THE_CLOCK = 16
MOST_STEPS_OF_TEXT = 30_000
LONGEST_TEXT = 400
LONGEST_LINE = 100


class Returned(NamedTuple):
    """What a call gave back."""

    value: Any


class Raised(NamedTuple):
    """An exception that left a call: the name of its class, its text, and the reader's line it came from."""

    name: str
    text: str
    line: str = ""

    def __eq__(self, other: object) -> bool:
        """Compare by name: the text of an exception depends on how the code is written."""
        return isinstance(other, Raised) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class Endless(NamedTuple):
    """A call that was stopped, and after what, such as ``"300,000 steps"``."""

    limit: str


class Unreadable(NamedTuple):
    """What a call gave back is no answer; the words say what was expected."""

    words: str


class Blank(NamedTuple):
    """A call that gave back ``...``: its answer is still to be written."""


Outcome = Returned | Raised | Endless | Unreadable | Blank


class NoAnswerError(Exception):
    """What came is no answer; the text says why, and is told."""


class BlankError(Exception):
    """What came is ``...``."""


class _OutOfStepsError(BaseException):
    """Not an Exception, so that an ``except Exception`` in the reader's loop does not catch it."""


def attempt(
    function: Callable[..., Any],
    *arguments: Any,
    most_steps: int | None = None,
    until: float | None = None,
    written: Any = None,
) -> Outcome:
    """Call a function that a reader wrote, and say how it ended: it may raise, or never return.

    Steps are counted by a trace function, which Python calls for the lines and instructions that run in this
    thread. Unlike a signal, that works on every system and in every thread; unlike a clock, it gives the same
    verdict on a slow machine, so a clock decides only where steps are long; and unlike a process or a thread
    of its own, it lets the function see what the reader's notebook defines. What it cannot count is one call
    into C that never returns, such as ``sum(count())``, or a loop that catches every exception, ours too:
    those have to be interrupted by hand.

    Parameters
    ----------
    function : callable
        What the reader wrote.
    *arguments
        What to pass.
    most_steps : int, optional
        Steps that it may take before it is stopped; if left out, `MOST_STEPS`.
    until : float, optional
        The second of `computing_s` after which it is stopped; if left out, `MOST_SECONDS` from now.
    written : callable, optional
        What the reader wrote, where that is not ``function`` but called by it: its lines are told of errors.

    Examples
    --------
    >>> attempt(lambda number: number + 1, 2)
    Returned(value=3)
    >>> attempt(lambda number: number / 0, 2)[:2]
    ('ZeroDivisionError', 'division by zero')
    """
    most_steps = MOST_STEPS if most_steps is None else most_steps
    try:
        return Returned(_run(function, *arguments, most_steps=most_steps, until=until))
    except _OutOfStepsError as error:
        return Endless(str(error))
    except KeyboardInterrupt:
        raise
    except BlankError:
        return Blank()
    except NoAnswerError as error:
        return Unreadable(text_of(error, longest=2 * LONGEST_TEXT) or "what came is no answer")
    except BaseException as error:  # a reader's function may raise any, such as SystemExit
        line = _tell_line(sys.exc_info()[2], function if written is None else written)
        return Raised(name_of(type(error)), text_of(error) or "", line)


def _tell_line(trace: TracebackType | None, written: Any) -> str:
    """Name the last line of what a reader wrote that ran, and quote it; or nothing if none did."""
    # Whatever else can be called has no code to ask for: it is where the first frame outside the package is.
    code = written.__code__ if type(written) is FunctionType else None
    line: tuple[str, int] | None = None
    inside: set[CodeType] = set()
    while trace:
        frame = trace.tb_frame
        code = code or (frame.f_code if _is_readers(frame) else None)
        inside = inside or set(_codes_in(code))
        if frame.f_code in inside:
            line = frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    if line is None or code is None:
        return ""
    source = printable(linecache.getline(*line).strip())[:LONGEST_LINE]
    return f"line {line[1] - code.co_firstlineno + 1} of your function" + (f": `{source}`" if source else "")


def _codes_in(code: CodeType | None) -> Iterator[CodeType]:
    """Find the code of a function, and of the comprehensions and functions within it."""
    if code:
        yield code
        for value in code.co_consts:
            yield from _codes_in(value if isinstance(value, CodeType) else None)


def _is_readers(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] not in UNCOUNTED


def text_of(value: Any, write: Callable[[Any], str] = str, *, longest: int = LONGEST_TEXT) -> str | None:
    """Write a value as plain text of at most so many characters; None if that raises, or does not end."""
    try:
        text = printable(str.__str__(_run(write, value, most_steps=MOST_STEPS_OF_TEXT))[: longest + 1])
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def name_of(kind: type) -> str:
    """Return the name of a class, whatever a reader has made of it."""
    return text_of(kind, lambda kind: kind.__name__, longest=80) or "unknown"


def printable(text: str) -> str:
    """Escape what UTF-8 cannot write: half of a pair of surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _run(function: Callable[..., Any], *arguments: Any, most_steps: int, until: float | None = None) -> Any:
    num_steps = 0
    until = computing_s() + MOST_SECONDS if until is None else until
    waits_until = time.monotonic() + MOST_SECONDS_OF_WAITING

    def begin(frame: FrameType, event: str, argument: Any) -> Any:
        if not _is_readers(frame):
            return None
        # Python 3.11 begins no new line in ``while True: pass``; newer ones show some frames' lines only.
        frame.f_trace_opcodes = True
        return count(frame, event, argument)

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal num_steps
        num_steps += 1
        if num_steps > most_steps:
            raise _OutOfStepsError(f"{most_steps:,} steps")
        if num_steps % STEPS_BETWEEN_LOOKS_AT_THE_CLOCK == 0:
            if computing_s() > until:
                raise _OutOfStepsError(f"{MOST_SECONDS} seconds of computing")
            if time.monotonic() > waits_until:
                raise _OutOfStepsError(f"{MOST_SECONDS_OF_WAITING} seconds")
        return count

    earlier_trace = sys.gettrace()
    sys.settrace(begin)
    try:
        return function(*arguments)
    finally:
        sys.settrace(earlier_trace)


MOST_LINES_PRINTED = 20
MOST_CHARACTERS_PRINTED = 4_000


class Printed(StringIO):
    """The beginning of what an answer prints, and its whole length: an endless loop may print very much."""

    num_characters = num_line_ends = 0

    def write(self, text: str) -> int:
        """Keep the text as far as there is room."""
        super().write(text[: max(0, MOST_CHARACTERS_PRINTED - self.num_characters)])
        self.num_characters += len(text)
        self.num_line_ends += text.count("\n")
        return len(text)

    def close(self) -> None:
        """Stay open: an answer may close what it takes for the notebook's output."""

    def first_lines(self) -> str:
        """Return the first lines, and how much more there was."""
        lines = self.getvalue().split("\n")
        kept = "\n".join(lines[:MOST_LINES_PRINTED])
        num_more_characters = self.num_characters - len(kept)
        if num_more_characters <= len("\n"):
            return printable(kept.removesuffix("\n"))
        num_more_lines = self.num_line_ends - MOST_LINES_PRINTED
        is_whole = len(lines) > MOST_LINES_PRINTED and num_more_lines > 1
        more = f"{num_more_lines:,} more lines" if is_whole else f"{num_more_characters:,} more characters"
        return f"{printable(kept)}\n... and {more}"


_MISSING = object()


class Guard:
    """Remembers the package and Python's built-in names: with a method replaced, any answer could pass."""

    def __init__(self) -> None:
        self._before = [(owner, dict(vars(owner))) for owner in _owners()]
        self._codes = {
            value: (value.__code__, value.__defaults__, value.__kwdefaults__)
            for _, names in self._before
            for value in names.values()
            if isinstance(value, FunctionType)
        }

    def put_back(self) -> str | None:
        """Put back what was changed since then, and name the first of it; None if nothing was.

        What was added to a module is no change: a module is added to its package when it is imported.
        """
        changed = []
        for owner, names in self._before:
            now = dict(vars(owner))
            for name in [name for name, value in names.items() if now.get(name, _MISSING) is not value]:
                setattr(owner, name, names[name])
                changed.append(f"{owner.__name__}.{name}")
            if isinstance(owner, type):
                # Python itself adds annotations where they are asked for.
                for name in [name for name in now if name not in names and "__annot" not in name]:
                    delattr(owner, name)
                    changed.append(f"{owner.__name__}.{name}")
        for function, inside in self._codes.items():
            if (function.__code__, function.__defaults__, function.__kwdefaults__) != inside:
                function.__code__, function.__defaults__, function.__kwdefaults__ = inside
                changed.append(function.__qualname__)
        return changed[0] if changed else None


def _owners() -> Iterator[ModuleType | type]:
    for module_name, module in list(sys.modules.items()):
        if module_name == "builtins":
            yield module
        elif module_name.partition(".")[0] == "paged_demo":
            yield module
            for value in list(vars(module).values()):
                if isinstance(value, type) and value.__module__ == module_name:
                    yield value
