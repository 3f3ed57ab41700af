"""Exercises that ask for a number: it is compared with the right one, then with known wrong ones."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from paged_demo.course.exercises.fence import Returned, attempt
from paged_demo.course.exercises.kinds import Exercise, Function, add
from paged_demo.course.exercises.reading import read_written_number
from paged_demo.course.exercises.verdict import Verdict, describe

EXACT = 0.001
"""The tolerance of an exercise that asks for an exact number: a fraction may be rounded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberExercise(Exercise):
    """A question for a number.

    Attributes
    ----------
    compute : callable
        Computes the number. An ``{expected}`` in the insight is replaced by it.
    numbers : mapping of str to object
        What the question, the insight, the hints and the diagnoses name in braces, as the notebook asks. They
        are handed to ``compute`` and to the mistakes by their names.
    draw_numbers : callable, optional
        Draws others, all or some, for who asks with a seed.
    ask_with : str
        The question for those that are drawn.
    tolerance : float
        How far off a right answer may be, as a share of the number. If left out, a whole number has to be
        met exactly.
    mistakes : list of Misconception
        Known wrong numbers. The nearest of them is meant if it is within 2 %, and the right number is
        farther from it.
    """

    compute: Callable[..., float]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    draw_numbers: Callable[[Random], Mapping[str, Any]] | None = None
    ask_with: str = ""
    tolerance: float = EXACT

    def vary(self, rng: Random) -> "NumberExercise | None":
        """Ask the same with numbers that are drawn."""
        if self.draw_numbers is None:
            return None
        numbers = {**self.numbers, **self.draw_numbers(rng)}
        return replace(self, numbers=numbers, question=self.ask_with.format(**numbers))

    def fill(self, words: str, **values: Any) -> str:
        """Put the numbers that are asked with, and others, into the places of their names in braces."""
        return words.format(**self.numbers, **values)

    def right_number(self) -> float:
        """Compute the answer for the numbers that are asked with."""
        return self.compute(**self.numbers)

    def judge(self, answer: Any) -> Verdict:
        """Compare the answer with the number, then with the known wrong ones."""
        outcome = attempt(read_written_number, answer)
        number = outcome.value if isinstance(outcome, Returned) else math.nan
        if not math.isfinite(number):
            return self.wrong("Not a number.", f"A number is asked for, and {describe(answer)} came.")
        expected = self.right_number()
        # A whole number that was asked for exactly is right or wrong.
        tolerance = 0.0 if self.tolerance == EXACT and float(expected).is_integer() else self.tolerance
        if math.isclose(number, expected, rel_tol=tolerance, abs_tol=1e-12):
            return self.right(expected=expected)
        values = {mistake: float(mistake.answer(**self.numbers)) for mistake in self.mistakes}
        nearest = min(values, key=lambda mistake: abs(values[mistake] - number), default=None)
        if (
            nearest
            and math.isclose(number, values[nearest], rel_tol=0.02, abs_tol=1e-9)
            and abs(number - values[nearest]) < abs(expected - values[nearest])
        ):
            return self.wrong(f"{nearest.name}.", self.fill(nearest.diagnosis))
        direction = "small" if number < expected else "large"
        return self.wrong(f"Too {direction}.", f'For the next step: `hint("{self.exercise_id}")`')


def ask_number(exercise_id: str, **about: Any) -> Callable[[Function], Function]:
    """Ask for the number that the function below computes. `NumberExercise` lists what else to tell."""

    def ask(compute: Function) -> Function:
        add(NumberExercise(exercise_id=exercise_id, compute=compute, **about))
        return compute

    return ask
