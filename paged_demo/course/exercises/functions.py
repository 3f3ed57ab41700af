"""Exercises that ask for a function: it is tried on cases beside a reference."""

import operator
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from io import StringIO
from types import FrameType
from typing import Any, NamedTuple

from paged_demo.course.exercises.registry import Exercise, Function, Misconception, add
from paged_demo.course.exercises.verdict import DrawnPool, Verdict, describe, describe_both, pool_with_marks

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


class Unreadable(NamedTuple):
    """What a call gave back is no answer; the words say what was expected."""

    words: str


Outcome = Returned | Raised | Endless | Unreadable


class _OutOfStepsError(BaseException):
    """Not an Exception, so that an ``except Exception`` in the reader's loop does not catch it."""


def attempt(function: Callable[..., Any], *arguments: Any, most_steps: int = MOST_STEPS) -> Outcome:
    """Call a function that a reader wrote, and say how it ended: it may raise, or never return.

    Steps are counted by a trace function, which Python calls for the lines and instructions that run in this
    thread. Unlike a signal, that works on every system and in every thread; unlike a clock, it gives the same
    verdict on a slow machine; and unlike a process or a thread of its own, it lets the function see what the
    reader's notebook defines. What it cannot count is one call into C that never returns, such as
    ``sum(count())``, or a loop that catches every exception, ours too: those have to be interrupted by hand.

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


MOST_LINES_PRINTED = 20
MOST_CHARACTERS_PRINTED = 2_000


class Printed(StringIO):
    """The beginning of what an answer prints, and its whole length: an endless loop may print very much."""

    num_characters = 0

    def write(self, text: str) -> int:
        """Keep the text as far as there is room."""
        super().write(text[: max(0, MOST_CHARACTERS_PRINTED - self.num_characters)])
        self.num_characters += len(text)
        return len(text)

    def print_again(self) -> None:
        """Print the first lines, and how much more there was."""
        kept = "".join(self.getvalue().splitlines(keepends=True)[:MOST_LINES_PRINTED])
        sys.stdout.write(kept)
        if self.num_characters > len(kept):
            begin = "" if kept.endswith("\n") else "\n"
            sys.stdout.write(f"{begin}... and {self.num_characters - len(kept):,} more characters\n")


def unexpected(expected: str, value: Any) -> TypeError:
    """Make the error that says what was expected, such as "a name was", and what a call gave back."""
    return TypeError(f"{expected} expected, and it returned {describe(value)}")


def read_whole_number(value: Any) -> int:
    """Read a whole number, or raise a TypeError that says what came."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise unexpected("a whole number was", value)


def read_whole_numbers(values: Iterable[Any]) -> list[int]:
    """Read a list that an answer has changed; so whatever it put there can be compared."""
    return [read_whole_number(value) for value in values]


class Finding(str):
    """What came of an answer that deals with something, such as a pool; it is told without quotes."""

    def __repr__(self) -> str:
        return str(self)


def read_finding(finding: Any, *, expected: str) -> Finding:
    """Pass a finding on; anything else is what the answer returned in the place of what was expected."""
    if not isinstance(finding, Finding):
        raise unexpected(expected, finding)
    return finding


def pass_on(function: Callable[..., Any], case: Any) -> Any:
    """Call a function with copies of a case's values as its arguments."""
    return function(*deepcopy(tuple(case)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionExercise(Exercise):
    """A question for a function, which is tried on cases beside a reference.

    Attributes
    ----------
    reference : callable
        A right answer.
    cases : callable
        Makes the cases, the smallest first: so the first that fails is the smallest counter-example.
    tell : str or callable
        Words for a case, with its values in the places of ``{0}``, ``{1}`` and so on; or writes them.
    call : callable
        Calls a function on a case, and gives back what is compared. If left out, a case is the arguments.
    read : callable
        Reads what a call gave back, or raises a TypeError that says what was expected.
    pool : callable, optional
        Makes of a case the pool to draw, for exercises that ask for a slot, alone or as a ``slot``.
    mistakes : list of Misconception
        Known wrong functions. One is meant if the answer does the same on every case.
    """

    reference: Callable[..., Any]
    cases: Callable[[], Iterable[Any]]
    tell: str | Callable[[Any], str]
    call: Callable[[Callable[..., Any], Any], Any] = pass_on
    read: Callable[[Any], Any] = read_whole_number
    pool: Callable[[Any], DrawnPool] | None = None

    def judge(self, answer: Any) -> Verdict:
        """Try the answer on every case, and name the mistake or show the first case that fails.

        What the answer prints is kept back, and shown for the case that is told.
        """
        if not callable(answer):
            words = f"A function is asked for, by its name and without brackets; {describe(answer)} came."
            return self.wrong("Not a function.", words)
        cases = list(self.cases())
        outcomes: list[Outcome] = []
        printed: list[Printed] = []
        for case in cases:
            with redirect_stdout(Printed()) as output:
                outcome = self._try(answer, case)
            printed.append(output)
            if isinstance(outcome, Returned) and outcome.value is ...:
                output.print_again()
                return self.open()
            if isinstance(outcome, Endless):
                words = (
                    f"For {self._tell(case)}, it had not returned after {outcome.num_steps:,} steps, and was"
                    " stopped. What ends its loop?"
                )
                output.print_again()
                return self.wrong("Still running.", words)
            outcomes.append(outcome)
        expected = [self._try(self.reference, case) for case in cases]
        failing = [index for index in range(len(cases)) if outcomes[index] != expected[index]]
        if not failing:
            return self.right()
        first = failing[0]
        printed[first].print_again()
        return self._explain(cases[first], expected[first], outcomes[first], self._recognise(cases, outcomes))

    def _try(self, function: Callable[..., Any], case: Any) -> Outcome:
        outcome = attempt(self.call, function, case)
        if isinstance(outcome, Returned) and outcome.value is not ...:
            if outcome.value is None:
                return Unreadable("it returned None; perhaps a `return` is missing")
            try:
                return Returned(self.read(outcome.value))
            except TypeError as error:
                return Unreadable(str(error))
        return outcome

    def _tell(self, case: Any) -> str:
        return self.tell.format(*case) if isinstance(self.tell, str) else self.tell(case)

    def _recognise(self, cases: list[Any], outcomes: list[Outcome]) -> Misconception | None:
        for mistake in self.mistakes:
            if all(
                self._try(mistake.answer, case) == came for case, came in zip(cases, outcomes, strict=True)
            ):
                return mistake
        return None

    def _explain(self, case: Any, expected: Any, came: Outcome, mistake: Misconception | None) -> Verdict:
        told = self._tell(case)
        if isinstance(came, Returned) and hasattr(expected.value, "_fields"):
            wanted, given = describe_both(expected.value, came.value)
            words = f"{told[0].upper()}{told[1:]}. Expected: {wanted}. Yours: {given}."
        elif isinstance(came, Returned):
            wanted, given = describe(expected.value), describe(came.value)
            words = f"For {told}, {wanted} was expected, and it returned {given}."
        elif isinstance(came, Raised):
            words = f"For {told}, it raised {came.name}: {came.text}."
        else:
            assert isinstance(came, Unreadable)
            words = f"For {told}, {came.words}."
        if mistake:
            words = f"{mistake.diagnosis} {words}"
        title = f"{mistake.name}." if mistake else "Not yet."
        draw = None
        if self.pool:
            value = came.value if isinstance(came, Returned) else None
            slots: list[Any] = [getattr(value, "slot", value) for value in (expected.value, value)]
            draw = partial(pool_with_marks, *self.pool(case), *slots)
        return self.wrong(title, words, draw)


def ask_function(exercise_id: str, **about: Any) -> Callable[[Function], Function]:
    """Ask for a function that does as the one below. `FunctionExercise` lists what else to tell."""

    def ask(reference: Function) -> Function:
        add(FunctionExercise(exercise_id=exercise_id, reference=reference, **about))
        return reference

    return ask
