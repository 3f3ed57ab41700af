"""Two kinds of exercises: one asks for a number, one for the letters of true statements."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from paged_demo.course.exercises.registry import Exercise, Function, Misconception, add
from paged_demo.course.exercises.verdict import Verdict, describe

EXACT = 0.001
"""The tolerance of an exercise that asks for an exact number: a fraction may be rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberExercise(Exercise):
    """A question for a number.

    Attributes
    ----------
    compute : callable
        Computes the number. An ``{expected}`` in the insight is replaced by it.
    tolerance : float
        How far off a right answer may be, as a share of the number. If left out, a whole number has to be
        met exactly.
    mistakes : list of Misconception
        Known wrong numbers. The nearest of them is meant if it is within 2 %, and the right number is
        farther from it.
    """

    compute: Callable[[], float]
    tolerance: float = EXACT

    def judge(self, answer: Any) -> Verdict:
        """Compare the answer with the number, then with the known wrong ones."""
        try:
            number = float(read_number(answer))
        except (TypeError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            return self.wrong("Not a number.", f"A number is asked for, and {describe(answer)} came.")
        expected = self.compute()
        # A whole number that was asked for exactly is right or wrong.
        tolerance = 0.0 if self.tolerance == EXACT and float(expected).is_integer() else self.tolerance
        if math.isclose(number, expected, rel_tol=tolerance, abs_tol=1e-12):
            return self.right(expected=expected)
        values = {mistake: float(mistake.answer()) for mistake in self.mistakes}
        nearest = min(values, key=lambda mistake: abs(values[mistake] - number), default=None)
        if (
            nearest
            and math.isclose(number, values[nearest], rel_tol=0.02, abs_tol=1e-9)
            and abs(number - values[nearest]) < abs(expected - values[nearest])
        ):
            return self.wrong(f"{nearest.name}.", nearest.diagnosis)
        direction = "small" if number < expected else "large"
        return self.wrong(f"Too {direction}.", f'For the next step: `hint("{self.exercise_id}")`')


def ask_number(exercise_id: str, **about: Any) -> Callable[[Function], Function]:
    """Ask for the number that the function below computes. `NumberExercise` lists what else to tell."""

    def ask(compute: Function) -> Function:
        add(NumberExercise(exercise_id=exercise_id, compute=compute, **about))
        return compute

    return ask


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceExercise(Exercise):
    """A question for the letters of true statements, in any order; often there is only one.

    Attributes
    ----------
    right_letters : str
        The letters of the answer.
    remarks : mapping of str to Misconception
        For each letter that is chosen wrongly, or missed.
    """

    right_letters: str
    remarks: Mapping[str, Misconception]

    def judge(self, answer: Any) -> Verdict:
        """Find the first letter that is chosen wrongly, or else missed."""
        letters = set(self.right_letters).union(self.remarks)
        chosen = (
            {letter for letter in answer.lower() if letter.isalnum()} if isinstance(answer, str) else set()
        )
        if not chosen or not chosen <= letters:
            example = '"b"' if len(self.right_letters) == 1 else '"ab"'
            words = (
                f"Letters from a to {max(letters)} are asked for, such as {example}; {describe(answer)} came."
            )
            return self.wrong("Not letters of the statements.", words)
        if len(self.right_letters) == 1 and len(chosen) > 1:
            return self.wrong("More than one letter.", f"One is asked for, and {describe(answer)} came.")
        too_many, too_few = chosen - set(self.right_letters), set(self.right_letters) - chosen
        if not too_many | too_few:
            return self.right()
        letter = min(too_many or too_few)
        fault = "is not one of them" if letter in too_many else "belongs to them too"
        remark = self.remarks[letter]
        words = remark.diagnosis
        if len(self.right_letters) > 1:
            words = f"`{letter}` {fault}. {words}"
        return self.wrong(f"{remark.name}.", words)


def ask_letters(exercise_id: str, right_letters: str, *, remarks: str, **about: Any) -> None:
    """Ask for the letters of true statements.

    Parameters
    ----------
    exercise_id, right_letters
        As in `ChoiceExercise`.
    remarks : str
        ``"a: The name of the mistake. Why it is one."`` and so on, for each letter that is chosen wrongly or
        missed. Each begins a line.
    **about
        The hints and the insight.
    """
    _, *parts = re.split(r"^ *([a-z]): ", remarks, flags=re.MULTILINE)
    told = {}
    for letter, words in zip(parts[::2], parts[1::2], strict=True):
        name, _, diagnosis = " ".join(words.split()).partition(". ")
        # One letter too many, or one too few; where one is right, another one.
        wrong = {letter} if len(right_letters) == 1 else {letter}.symmetric_difference(right_letters)
        told[letter] = Misconception("".join(sorted(wrong)), name, diagnosis)
    add(
        ChoiceExercise(
            exercise_id=exercise_id,
            right_letters=right_letters,
            remarks=told,
            mistakes=list(told.values()),
            **about,
        )
    )


def read_number(value: Any) -> float:
    """Read a number, or raise a TypeError that says what came."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"a number was expected, and it returned {describe(value)}")
    return value  # type: ignore[return-value]  # a Real compares with floats as a float does
