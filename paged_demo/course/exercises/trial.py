"""Call a function that a reader wrote: it may raise, or never return.

Steps are counted by a trace function, which Python calls for the lines and instructions that run in this
thread. Unlike a signal, that works on every system and in every thread; unlike a clock, it gives the same
verdict on a slow machine; and unlike a process or a thread of its own, it lets the function see what the
reader's notebook defines. What it cannot count is one call into C that never returns, such as
``sum(count())``, or a loop that catches every exception, ours too: those have to be interrupted by hand.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

UNCOUNTED = sys.stdlib_module_names | {"numpy"}
"""Their own steps do not count: the first use of a function may import a module, which takes many."""

MOST_STEPS = 300_000
"""Steps that a call may take: our own solutions need some hundreds."""


class Returned(NamedTuple):
    """What a call gave back."""

    value: Any


class Raised(NamedTuple):
    """An exception that left a call, by the name of its class and its text."""

    name: str
    text: str

    def __eq__(self, other: object) -> bool:
        """Compare by name: the text of an exception depends on how the code is written."""
        return isinstance(other, Raised) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class Endless(NamedTuple):
    """A call that was stopped after so many steps."""

    num_steps: int


Outcome = Returned | Raised | Endless


class _OutOfStepsError(BaseException):
    """Not an Exception, so that an ``except Exception`` in the reader's loop does not catch it."""


def attempt(function: Callable[..., Any], *arguments: Any, most_steps: int = MOST_STEPS) -> Outcome:
    """Call a function, and say how it ended.

    Parameters
    ----------
    function : callable
        What the reader wrote.
    *arguments
        What to pass.
    most_steps : int
        Steps that it may take before it is stopped.

    Examples
    --------
    >>> attempt(lambda number: number + 1, 2)
    Returned(value=3)
    >>> attempt(lambda number: number / 0, 2)
    Raised(name='ZeroDivisionError', text='division by zero')
    """
    num_steps = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal num_steps
        if frame.f_globals.get("__name__", "").partition(".")[0] in UNCOUNTED:
            return None
        # Python 3.11 begins no new line in ``while True: pass``; newer ones show some frames' lines only.
        frame.f_trace_opcodes = True
        num_steps += 1
        if num_steps > most_steps:
            raise _OutOfStepsError
        return count

    earlier_trace = sys.gettrace()
    sys.settrace(count)
    try:
        value = function(*arguments)
    except _OutOfStepsError:
        return Endless(most_steps)
    except (Exception, SystemExit) as error:
        return Raised(type(error).__name__, str(error))
    finally:
        sys.settrace(earlier_trace)
    return Returned(value)
