"""Exercises that ask for a function: it is tried on cases beside a reference."""

import operator
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

from paged_demo.course.exercises.kinds import Exercise, Misconception
from paged_demo.course.exercises.trial import Endless, Outcome, Raised, Returned, attempt
from paged_demo.course.exercises.verdict import Verdict, describe, describe_both

if TYPE_CHECKING:
    from paged_demo.views.picture import Picture


MOST_LINES_PRINTED = 20
MOST_CHARACTERS_PRINTED = 2_000


class Unreadable(NamedTuple):
    """What a call gave back is no answer; the words say what was expected."""

    words: str


def read_whole_number(value: Any) -> int:
    """Read a whole number, or raise a TypeError that says what came."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"a whole number was expected, and it returned {describe(value)}")


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
        raise TypeError(f"{expected} expected, and it returned {describe(finding)}")
    return finding


def pass_on(function: Callable[..., Any], case: Any) -> Any:
    """Call a function with copies of a case's values as its arguments."""
    return function(*deepcopy(tuple(case)))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionExercise(Exercise):
    """A question for a function, which is tried on cases beside a reference.

    Attributes
    ----------
    reference : callable
        A right answer.
    cases : callable
        Makes the cases, the smallest first: so the first that fails is the smallest counter-example.
    tell : callable
        Writes a case in words.
    call : callable
        Calls a function on a case, and gives back what is compared.
    read : callable
        Reads what a call gave back, or raises a TypeError that says what was expected.
    draw : callable, optional
        Draws a case, from the case, what was expected, and what came (None if nothing did).
    mistakes : tuple of Misconception
        Known wrong functions. One is meant if the answer does the same on every case.
    """

    reference: Callable[..., Any]
    cases: Callable[[], Iterable[Any]]
    tell: Callable[[Any], str]
    call: Callable[[Callable[..., Any], Any], Any] = pass_on
    read: Callable[[Any], Any] = read_whole_number
    draw: "Callable[[Any, Any, Any], Picture | None] | None" = None
    mistakes: tuple[Misconception, ...] = ()

    def judge(self, answer: Any) -> Verdict:
        """Try the answer on every case, and name the mistake or show the first case that fails.

        What the answer prints is kept back, and shown for the case that is told.
        """
        if not callable(answer):
            words = f"A function is asked for, by its name and without brackets; {describe(answer)} came."
            return self.wrong("Not a function.", words)
        cases = list(self.cases())
        outcomes: list[Outcome | Unreadable] = []
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
                    f"For {self.tell(case)}, it had not returned after {outcome.num_steps:,} steps, and was"
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

    def _try(self, function: Callable[..., Any], case: Any) -> Outcome | Unreadable:
        outcome = attempt(self.call, function, case)
        if isinstance(outcome, Returned) and outcome.value is not ...:
            if outcome.value is None:
                return Unreadable("it returned None; perhaps a `return` is missing")
            try:
                return Returned(self.read(outcome.value))
            except TypeError as error:
                return Unreadable(str(error))
        return outcome

    def _recognise(self, cases: list[Any], outcomes: list[Outcome | Unreadable]) -> Misconception | None:
        for mistake in self.mistakes:
            if all(
                self._try(mistake.answer, case) == came for case, came in zip(cases, outcomes, strict=True)
            ):
                return mistake
        return None

    def _explain(
        self, case: Any, expected: Any, came: Outcome | Unreadable, mistake: Misconception | None
    ) -> Verdict:
        told = self.tell(case)
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
        if self.draw:
            value = came.value if isinstance(came, Returned) else None
            draw = partial(self.draw, case, expected.value, value)
        return self.wrong(title, words, draw)
