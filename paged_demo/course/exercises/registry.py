"""What an exercise is, all of them by their number, and the two functions that the notebooks call.

Exercises stand in the modules of their notebooks, such as ``course/nb03_exercises.py``, each with all that
belongs to it. Below the question with its right answer stand its mistakes, each a function: it computes a
wrong number, or it is a wrong function itself. Its name is the mistake's name, its docstring the diagnosis::

    @ask_number("3.4", hints=("...", "..."), insight="...")
    def mean_waste() -> float:
        return fmean(-length % PAGE_SIZE for length in range(1, 64 * PAGE_SIZE + 1))

    @mistake("3.4")
    def half_a_page() -> float:
        '''What to say to who answers so; the title is "Half a page".'''
        return PAGE_SIZE / 2
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from paged_demo.checks import check_count
from paged_demo.course.exercises.verdict import OPEN, RIGHT, WRONG, Hint, Verdict

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
    mistakes : list of Misconception
        The wrong answers that have a diagnosis.
    """

    exercise_id: str
    insight: str
    hints: tuple[str, ...]
    mistakes: list[Misconception] = field(default_factory=list)

    @abstractmethod
    def judge(self, answer: Any) -> Verdict:
        """Say what is to be said about an answer, whatever it is."""

    def open(self) -> Verdict:
        """Say that there is no answer yet."""
        words = f'Put your answer in the place of `...`. To be helped: `hint("{self.exercise_id}")`'
        return Verdict(exercise_id=self.exercise_id, mark=OPEN, title="Not attempted.", words=words)

    def right(self, **values: Any) -> Verdict:
        """Say that the answer is right, and what follows from it, with the values that it names."""
        words = self.insight.format(**values)
        return Verdict(exercise_id=self.exercise_id, mark=RIGHT, title="Right.", words=words)

    def wrong(self, title: str, words: str, draw: "Callable[[], Picture | None] | None" = None) -> Verdict:
        """Say what is wrong with the answer."""
        return Verdict(exercise_id=self.exercise_id, mark=WRONG, title=title, words=words, draw=draw)


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


def check(exercise_id: str | float, answer: Any) -> Verdict:
    """Check the answer to an exercise.

    Parameters
    ----------
    exercise_id : str or float
        The number of the exercise, such as ``"3.1"``.
    answer : object
        A number, a function or letters, as the exercise asks. ``...`` means not attempted.

    Returns
    -------
    Verdict
        What there is to say, as text; a notebook shows it with colour and, where it helps, a picture.

    Raises
    ------
    KeyError
        If there is no such exercise. A wrong answer raises nothing.

    Examples
    --------
    >>> check("3.4", ...).mark
    'open'
    >>> check("3.4", 16).mark
    'wrong'
    """
    exercise = _find(exercise_id)
    return exercise.open() if answer is ... else exercise.judge(answer)


def hint(exercise_id: str | float, number: int = 1) -> Hint:
    """Give a hint for an exercise.

    Parameters
    ----------
    exercise_id : str or float
        The number of the exercise, such as ``"3.1"``.
    number : int
        Which hint, from 1; each says more than the one before.

    Raises
    ------
    KeyError
        If there is no such exercise.
    ValueError, TypeError
        If there is no such hint.

    Examples
    --------
    >>> hint("3.4").number
    1
    """
    exercise = _find(exercise_id)
    exercise_id = exercise.exercise_id
    num_hints = len(exercise.hints)
    if check_count("number", number) > num_hints:
        raise ValueError(f"number must be at most {num_hints}, the hints of {exercise_id}, got {number}")
    words = exercise.hints[number - 1]
    if number < num_hints:
        words = f'{words} If that is not enough: `hint("{exercise_id}", {number + 1})`'
    return Hint(exercise_id=exercise_id, number=number, num_hints=num_hints, words=words)


def _find(exercise_id: str | float) -> Exercise:
    name = str(exercise_id) if isinstance(exercise_id, float) else exercise_id
    if not isinstance(name, str) or name not in EXERCISES:
        names = ", ".join(f'"{known}"' for known in EXERCISES)
        raise KeyError(f"no exercise {exercise_id!r}; there are {names}")
    return EXERCISES[name]
