"""Questions to answer before one looks: what a reader says is kept, and set beside what is so.

A prediction is no exercise. Nothing is wrong with a guess that was off, so nothing is marked.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from paged_demo.checks import came
from paged_demo.course.exercises.fence import Returned, attempt
from paged_demo.course.exercises.kinds import Function
from paged_demo.course.exercises.reading import read_letters, read_written_number
from paged_demo.course.exercises.verdict import Told, describe


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a notebook asks before it shows a picture.

    Attributes
    ----------
    question_id : str
        The number of the notebook and of the question, such as ``"2.1"``.
    find : callable
        Computes what is so: a number, or the letter of a choice.
    unit : str
        What the number counts, such as ``"tokens"``; nothing for a letter.
    because : str
        Why it is so, as the end of a sentence without its stop.
    """

    question_id: str
    find: Callable[[], float | str]
    unit: str
    because: str

    def read(self, answer: Any, found: float | str) -> float | str | None:
        """Return the number or the letter that was said, of the kind of what is so; None if it is neither."""
        if isinstance(found, str):
            outcome = attempt(read_letters, answer)
            letters = outcome.value if isinstance(outcome, Returned) else set()
            return letters.pop() if len(letters) == 1 else None
        outcome = attempt(read_written_number, answer)
        number = outcome.value if isinstance(outcome, Returned) else math.nan
        return number if math.isfinite(number) else None

    def tell(self, value: float | str) -> str:
        """Write a number with its unit, or a letter as it stands in the notebook."""
        if isinstance(value, str):
            return f"`{value}`"
        number = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
        return f"{number} {self.unit}".rstrip()


QUESTIONS: dict[str, Question] = {}
"""All questions by their number. The notebooks' modules fill it."""

_first_said: dict[str, float | str] = {}


def ask_before(question_id: str, *, because: str, unit: str = "") -> Callable[[Function], Function]:
    """Ask for what the function below finds. `Question` lists what to tell."""

    def ask(find: Function) -> Function:
        found = cache(find)  # who guesses again need not wait again
        QUESTIONS[question_id] = Question(question_id=question_id, find=found, unit=unit, because=because)
        return find

    return ask


def compare(question_id: str | float, answer: Any) -> Told:
    """Keep what a reader expects, and set it beside what is so.

    Parameters
    ----------
    question_id : str or float
        The number of the prediction, such as ``"5.1"``.
    answer : object
        A number or a letter, as the question asks. An answer of another kind raises nothing.

    Raises
    ------
    KeyError
        If there is no such question.

    Examples
    --------
    >>> print(compare("5.1", 100))
    Prediction 5.1. You said 100 tokens; it is 96 tokens, because only whole pages are found.
    """
    name = str(question_id) if isinstance(question_id, float) else question_id
    if not isinstance(name, str) or name not in QUESTIONS:
        raise KeyError(f"no prediction {came(question_id)}; there are {', '.join(QUESTIONS)}")
    question, heading = QUESTIONS[name], f"Prediction {name}."
    found = question.find()
    said = question.read(answer, found)
    if said is None:
        kind = "A letter" if isinstance(found, str) else "A number"
        return Told(heading=heading, words=f"{kind} is asked for, and {describe(answer)} came.")
    first = _first_said.setdefault(name, said)
    before = "" if first == said else f" (at first {question.tell(first)})"
    told, truth = question.tell(said), question.tell(found)
    verdict = "and so it is" if told == truth else f"it is {truth}"
    words = f"You said {told}{before}; {verdict}, because {question.because}."
    return Told(heading=heading, words=words)


def predict(question_id: str | float, answer: Any) -> None:
    """Show what a reader expected beside what is so. ``...`` means that nothing was said, and shows nothing.

    Parameters
    ----------
    question_id, answer
        As for `compare`.
    """
    if answer is not ...:
        from IPython.display import display  # noqa: PLC0415 - only a notebook needs it

        display(compare(question_id, answer))
