"""What an exercise is, and two kinds of it: a number, a choice. Each knows the mistakes that people make."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from paged_demo.course.exercises.verdict import OPEN, RIGHT, WRONG, Verdict, describe

if TYPE_CHECKING:
    from paged_demo.views.picture import Picture


EXACT = 0.001
"""The tolerance of an exercise that asks for an exact number: a fraction may be rounded."""


class Misconception(NamedTuple):
    """A wrong answer that somebody has a reason to give.

    Attributes
    ----------
    answer : object
        The answer, of the exercise's kind. For a number it may be a function that computes it.
    name : str
        What to call the mistake.
    diagnosis : str
        Why it is one.
    """

    answer: Any
    name: str
    diagnosis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise(ABC):
    """A question of a notebook.

    Attributes
    ----------
    exercise_id : str
        The number of the notebook and of the question, such as ``"3.1"``.
    insight : str
        One line for who got it right.
    hints : tuple of str
        From a nudge to nearly all.
    """

    exercise_id: str
    insight: str
    hints: tuple[str, ...]

    @abstractmethod
    def judge(self, answer: Any) -> Verdict:
        """Say what is to be said about an answer, whatever it is."""

    @property
    @abstractmethod
    def mistakes(self) -> tuple[Misconception, ...]:
        """The wrong answers that have a diagnosis."""

    def open(self) -> Verdict:
        """Say that there is no answer yet."""
        words = f'Put your answer in the place of `...`. To be helped: `hint("{self.exercise_id}")`'
        return Verdict(exercise_id=self.exercise_id, mark=OPEN, title="Not attempted.", words=words)

    def right(self) -> Verdict:
        """Say that the answer is right, and what follows from it."""
        return Verdict(exercise_id=self.exercise_id, mark=RIGHT, title="Right.", words=self.insight)

    def wrong(self, title: str, words: str, draw: "Callable[[], Picture | None] | None" = None) -> Verdict:
        """Say what is wrong with the answer."""
        return Verdict(exercise_id=self.exercise_id, mark=WRONG, title=title, words=words, draw=draw)


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
    mistakes : tuple of Misconception
        Known wrong numbers. The nearest of them is meant if it is within 2 %, and the right number is
        farther from it.
    """

    compute: Callable[[], float]
    tolerance: float = EXACT
    mistakes: tuple[Misconception, ...] = ()

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
            return self.right()
        values = {mistake: _value(mistake.answer) for mistake in self.mistakes}
        nearest = min(values, key=lambda mistake: abs(values[mistake] - number), default=None)
        if (
            nearest
            and math.isclose(number, values[nearest], rel_tol=0.02, abs_tol=1e-9)
            and abs(number - values[nearest]) < abs(expected - values[nearest])
        ):
            return self.wrong(f"{nearest.name}.", nearest.diagnosis)
        direction = "small" if number < expected else "large"
        return self.wrong(f"Too {direction}.", f'For the next step: `hint("{self.exercise_id}")`')

    def right(self) -> Verdict:
        """Say that the answer is right, with the exact number."""
        words = self.insight.format(expected=self.compute())
        return Verdict(exercise_id=self.exercise_id, mark=RIGHT, title="Right.", words=words)


class Remark(NamedTuple):
    """What to say to who misjudges a statement: a name for the mistake, and why it is one."""

    name: str
    diagnosis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceExercise(Exercise):
    """A question for the letters of true statements, in any order; often there is only one.

    Attributes
    ----------
    right_letters : str
        The letters of the answer.
    remarks : mapping of str to Remark
        For each letter that is chosen wrongly, or missed.
    num_statements : int
        Statements there are, from ``a``.
    """

    right_letters: str
    num_statements: int
    remarks: Mapping[str, Remark]

    @property
    def mistakes(self) -> tuple[Misconception, ...]:
        """One letter too many, or one too few; where one is right, each of the others."""
        if len(self.right_letters) == 1:
            return tuple(Misconception(letter, *remark) for letter, remark in self.remarks.items())
        return tuple(
            Misconception("".join(sorted(set(self.right_letters) ^ {letter})), *remark)
            for letter, remark in self.remarks.items()
        )

    def judge(self, answer: Any) -> Verdict:
        """Find the first letter that is chosen wrongly, or else missed."""
        letters = "".join(map(chr, range(ord("a"), ord("a") + self.num_statements)))
        chosen = (
            {letter for letter in answer.lower() if letter.isalnum()} if isinstance(answer, str) else set()
        )
        if not chosen or not chosen <= set(letters):
            example = '"b"' if len(self.right_letters) == 1 else '"ab"'
            words = (
                f"Letters from a to {letters[-1]} are asked for, such as {example}; {describe(answer)} came."
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


def read_number(value: Any) -> float:
    """Read a number, or raise a TypeError that says what came."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"a number was expected, and it returned {describe(value)}")
    return value  # type: ignore[return-value]  # a Real compares with floats as a float does


def _value(answer: Any) -> float:
    return float(answer() if callable(answer) else answer)
