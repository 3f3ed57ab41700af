"""Exercises that ask for a function: it is tried on cases beside a reference."""

import inspect
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from random import Random
from typing import Any, TypeVar

from paged_demo.course.exercises.fence import (
    MOST_SECONDS,
    Blank,
    BlankError,
    Endless,
    Guard,
    NoAnswerError,
    Outcome,
    Printed,
    Raised,
    Returned,
    Unreadable,
    attempt,
    computing_s,
)
from paged_demo.course.exercises.kinds import Exercise, Function, Misconception, add
from paged_demo.course.exercises.numbers import NumberExercise
from paged_demo.course.exercises.reading import plain, read_number, read_whole_number, same
from paged_demo.course.exercises.verdict import DrawnPool, Verdict, describe, describe_both, pool_with_marks

Call = TypeVar("Call")

MOST_CALLS = 1_000
"""Of something that an answer deals with: our own solutions need some."""


class Finding(str):
    """What came of an answer that deals with something, such as a pool; it is told without quotes.

    An exercise makes it of a record of calls, which it plays again itself: an answer can change the pool that
    it got, and return a finding of its own, and neither is looked at.
    """

    def __repr__(self) -> str:
        return str(self)


class Record(list[Call]):
    """The calls that an answer makes of something it was given, to be played again; not more than some."""

    def append(self, call: Call) -> None:
        """Write a call down."""
        if len(self) == MOST_CALLS:
            raise NoAnswerError(f"it was stopped after {MOST_CALLS:,} calls of what it was given")
        super().append(call)


def alike(expected: Outcome, came: Outcome) -> bool:
    """Say whether two calls ended alike: with the same value, or in the same way without one."""
    if isinstance(expected, Returned) and isinstance(came, Returned):
        return same(expected.value, came.value)
    return type(expected) is type(came) and expected == came


def keep_as_given(given: Iterable[Any], now: Iterable[Any], names: Iterable[str]) -> None:
    """Raise a `NoAnswerError` if a function changed an argument that was only to be read."""
    for name, before, after in zip(names, given, now, strict=True):
        try:
            is_kept = same(plain(before), plain(after))
        except NoAnswerError:
            is_kept = False
        if not is_kept:
            words = f"it changed `{name}`, which is only to be read, from {describe(before)}"
            raise NoAnswerError(f"{words} to {describe(after)}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
    read : callable
        Reads what a call gave back, as plain values, or raises a `NoAnswerError` that says what was expected.
    call : callable, optional
        Calls a function on a case, and gives back plain values to compare. If left out, a case is the
        arguments, which a function only reads, and what it gives back is read by ``read``.
    pool : callable, optional
        Makes of a case the pool to draw, for exercises that ask for a slot, alone or as a ``slot``.
    mistakes : list of Misconception
        Known wrong functions. One is meant if the answer does the same on every case.
    """

    reference: Callable[..., Any]
    cases: Callable[[], Iterable[Any]]
    tell: str | Callable[[Any], str]
    read: Callable[[Any], Any] = read_whole_number
    call: Callable[[Callable[..., Any], Any], Any] | None = None
    pool: Callable[[Any], DrawnPool] | None = None

    def vary(self, rng: Random) -> "CaseExercise | None":
        """Ask for the number that a right function gives for a case, one that tells many mistakes apart."""
        if self.call or self.read not in (read_number, read_whole_number):
            return None
        case, wrong = rng.choice(_telling_cases(self))
        return CaseExercise(
            exercise_id=self.exercise_id,
            insight=self.insight,
            hints=self.hints,
            mistakes=[each._replace(answer=lambda value=value: value) for value, each in wrong.items()],
            question=f"What does a right function return for {self._tell(case)}?",
            compute=partial(self._play, self.reference, case),
            function=self,
        )

    def judge(self, answer: Any) -> Verdict:
        """Try the answer on every case, and name the mistake or show the first case that fails.

        What the answer prints is kept, and shown for the case that is told, or of a right one for the first
        case for which it prints.
        """
        if not callable(answer):
            words = f"A function is asked for, by its name and without brackets; {describe(answer)} came."
            return self.wrong("Not a function.", words)
        # Before the answer is called: it may change anything.
        cases, expected = _cases_and_expected(self)
        guard = Guard()
        try:
            verdict = self._compare(answer, cases, expected)
        finally:
            changed = guard.put_back()
        if changed:
            words = f"It replaced `{changed}`, which was put back. Use what is given as it is."
            return self.wrong("The package was changed.", words)
        return verdict

    def _compare(self, answer: Callable[..., Any], cases: list[Any], expected: list[Returned]) -> Verdict:
        outcomes: list[Outcome] = []
        first, printed, printed_for = None, Printed(), None
        mistakes = self.mistakes
        until = computing_s() + MOST_SECONDS
        for case, right in zip(cases, expected, strict=True):
            with redirect_stdout(Printed()) as output, redirect_stderr(output):
                outcome = self._try(answer, case, until)
            outcomes.append(outcome)
            if isinstance(outcome, Blank | Endless):
                verdict = self.open() if isinstance(outcome, Blank) else self._stopped(case, outcome)
                return self._with_printed(verdict, case, output)
            is_first = first is None and not alike(right, outcome)
            if is_first or (first is None and not printed.num_characters):
                printed, printed_for = output, case
            if is_first:
                first = len(outcomes) - 1
                mistakes = [each for each in mistakes if self._is_alike(each, cases, outcomes)]
            elif first is not None:
                mistakes = [each for each in mistakes if self._is_alike(each, [case], [outcome])]
            if first is not None and not mistakes:
                break
        if first is None:
            verdict = self.right()
        else:
            named = mistakes[0] if mistakes else None
            verdict = self._explain(cases[first], expected[first], outcomes[first], named)
        return self._with_printed(verdict, printed_for, printed)

    def _with_printed(self, verdict: Verdict, case: Any, output: Printed) -> Verdict:
        if not output.num_characters:
            return verdict
        return replace(verdict, printed=(f"What it printed for {self._tell(case)}", output.first_lines()))

    def _try(self, function: Callable[..., Any], case: Any, until: float | None = None) -> Outcome:
        def answer(*arguments: Any) -> Any:
            value = function(*arguments)
            if value is ...:
                raise BlankError
            if value is None:
                raise NoAnswerError("it returned None; perhaps a `return` is missing")
            return value

        return attempt(self._play, answer, case, until=until, written=function)

    def _play(self, answer: Callable[..., Any], case: Any) -> Any:
        if self.call:
            return self.call(answer, case)
        arguments = deepcopy(tuple(case))
        value = self.read(answer(*arguments))
        keep_as_given(case, arguments, _parameters_of(self.reference))
        return value

    def _tell(self, case: Any) -> str:
        return self.tell.format(*case) if isinstance(self.tell, str) else self.tell(case)

    def _is_alike(self, mistake: Misconception, cases: list[Any], outcomes: list[Outcome]) -> bool:
        # The last first: there they differ sooner.
        pairs = zip(reversed(cases[: len(outcomes)]), reversed(outcomes), strict=True)
        return all(alike(self._try(mistake.answer, case), came) for case, came in pairs)

    def _stopped(self, case: Any, outcome: Endless) -> Verdict:
        words = (
            f"For {self._tell(case)}, it had given no result after {outcome.limit}, and was stopped."
            " What ends its loop?"
        )
        return self.wrong("Still running.", words)

    def _explain(self, case: Any, expected: Any, came: Outcome, mistake: Misconception | None) -> Verdict:
        told = self._tell(case)
        if isinstance(came, Returned) and hasattr(expected.value, "_fields"):
            wanted, given = describe_both(expected.value, came.value, same)
            words = f"{told[0].upper()}{told[1:]}. Expected: {wanted}. Yours: {given}."
        elif isinstance(came, Returned):
            wanted, given = describe(expected.value), describe(came.value)
            words = f"For {told}, {wanted} was expected, and it returned {given}."
        elif isinstance(came, Raised):
            raised = f"{came.name}: {came.text}" if came.text else came.name
            words = f"For {told}, it raised {raised}"
            words = f"{words}, in {came.line}" if came.line else f"{words}."
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


@cache
def _cases_and_expected(exercise: FunctionExercise) -> tuple[list[Any], list[Returned]]:
    cases = list(exercise.cases())
    return cases, [Returned(exercise._play(exercise.reference, case)) for case in cases]


@cache
def _parameters_of(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@cache
def _telling_cases(exercise: FunctionExercise) -> list[tuple[Any, dict[float, Misconception]]]:
    """Return the cases on which most mistakes go wrong differently, each with the mistake by its number."""
    telling: list[tuple[Any, dict[float, Misconception]]] = []
    for case, right in zip(*_cases_and_expected(exercise), strict=True):
        outcomes = [(each, exercise._try(each.answer, case)) for each in exercise.mistakes]
        wrong = {came.value: each for each, came in outcomes if isinstance(came, Returned)}
        wrong.pop(right.value, None)
        if telling and len(wrong) > len(telling[0][1]):
            telling.clear()
        if not telling or len(wrong) == len(telling[0][1]):
            telling.append((case, wrong))
    return telling


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseExercise(NumberExercise):
    """A question for what a right function returns for one case.

    Attributes
    ----------
    function : FunctionExercise
        Judges a function that comes as the answer, as if nothing else had been asked.
    """

    function: FunctionExercise

    def judge(self, answer: Any) -> Verdict:
        """Compare a number with the right one; try a function on all cases."""
        return self.function.judge(answer) if callable(answer) else NumberExercise.judge(self, answer)


def ask_function(exercise_id: str, **about: Any) -> Callable[[Function], Function]:
    """Ask for a function that does as the one below. `FunctionExercise` lists what else to tell."""

    def ask(reference: Function) -> Function:
        add(FunctionExercise(exercise_id=exercise_id, reference=reference, **about))
        return reference

    return ask
