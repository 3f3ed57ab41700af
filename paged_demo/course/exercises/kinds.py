"""What an exercise is, all of them by their number, and those that ask for letters.

Exercises stand in the modules of their notebooks, such as ``course/nb03_exercises.py``, each with all that
belongs to it: the question with its right answer, and below it each mistake as a function that computes a
wrong number, or is a wrong function itself. Its name is the mistake's name, its docstring the diagnosis.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from paged_demo.course.exercises.fence import Returned, attempt
from paged_demo.course.exercises.reading import read_letters
from paged_demo.course.exercises.verdict import OPEN, RIGHT, WRONG, Verdict, describe

if TYPE_CHECKING:
    from paged_demo.views.picture import Picture

Function = TypeVar("Function", bound=Callable[..., Any])


class Misconception(NamedTuple):
    """A wrong answer that somebody has a reason to give.

    Attributes
    ----------
    answer : object
        The letters, the function that computes the number, or the function itself.
    name : str
        What to call the mistake.
    diagnosis : str
        Why it is one.
    """

    answer: Any
    name: str
    diagnosis: str


# An exercise is equal to itself alone, so that what was found out about it can be kept.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
    mistakes : list of Misconception
        The wrong answers that have a diagnosis.
    question : str
        What is asked, where that is not what the notebook asks; `vary` makes such exercises.
    """

    exercise_id: str
    insight: str
    hints: tuple[str, ...]
    mistakes: list[Misconception] = field(default_factory=list)
    question: str = ""

    @abstractmethod
    def judge(self, answer: Any) -> Verdict:
        """Say what is to be said about an answer, whatever it is."""

    def vary(self, rng: Random) -> "Exercise | None":
        """Ask the same with other numbers, or return None where that makes no sense."""
        return None

    def fill(self, words: str, **values: Any) -> str:
        """Put the numbers that are asked with, and others, into the places of their names in braces."""
        return words.format(**values)

    def open(self) -> Verdict:
        """Say that there is no answer yet."""
        words = f'Put your answer in the place of `...`. To be helped: `hint("{self.exercise_id}")`'
        return self._say(OPEN, "Not attempted.", words)

    def right(self, **values: Any) -> Verdict:
        """Say that the answer is right, and what follows from it, with the values that it names."""
        return self._say(RIGHT, "Right.", self.fill(self.insight, **values))

    def wrong(self, title: str, words: str, draw: "Callable[[], Picture | None] | None" = None) -> Verdict:
        """Say what is wrong with the answer."""
        return self._say(WRONG, title, words, draw)

    def _say(
        self, mark: str, title: str, words: str, draw: "Callable[[], Picture | None] | None" = None
    ) -> Verdict:
        if self.question:
            words = f"{words} Asked was: {self.question}"
        return Verdict(exercise_id=self.exercise_id, mark=mark, title=title, words=words, draw=draw)


EXERCISES: dict[str, Exercise] = {}
"""All exercises by their number, in order. The notebooks' modules fill it."""


def add(exercise: Exercise) -> None:
    """Add an exercise where its number belongs, whichever module is loaded first."""
    in_order = sorted({**EXERCISES, exercise.exercise_id: exercise}.items())
    EXERCISES.clear()
    EXERCISES.update(in_order)


def mistake(exercise_id: str, name: str | None = None) -> Callable[[Function], Function]:
    """Note the function below as a wrong answer that somebody has a reason to give.

    Parameters
    ----------
    exercise_id : str
        An exercise that asks for a number or a function, and stands above.
    name : str, optional
        What to call the mistake, if not by the function's name.
    """

    def note(answer: Function) -> Function:
        title = name or answer.__name__.replace("_", " ").capitalize()
        diagnosis = " ".join((answer.__doc__ or "").split())
        EXERCISES[exercise_id].mistakes.append(Misconception(answer, title, diagnosis))
        return answer

    return note


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
        outcome = attempt(read_letters, answer)
        chosen = outcome.value if isinstance(outcome, Returned) else set()
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
