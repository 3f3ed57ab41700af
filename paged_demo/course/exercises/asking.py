"""What the notebooks call: `ask`, `check` and `hint`, and what they remember while a kernel runs."""

from itertools import groupby
from random import Random
from typing import Any

from paged_demo.checks import came, check_count, check_whole
from paged_demo.course.exercises.kinds import EXERCISES, Exercise
from paged_demo.course.exercises.verdict import Hint, Told, Verdict

_ASKED: dict[str, Exercise] = {}
"""What was asked last where that is not what the notebook asks, by the number of the exercise."""

_HINTS_GIVEN: dict[str, int] = {}
"""The hint that was given last, by the number of its exercise."""


class NoExerciseError(KeyError):
    """There is no such exercise, or none with other numbers. A notebook says so in one line."""

    def __str__(self) -> str:
        return str(self.args[0])

    def _render_traceback_(self) -> list[str]:
        # IPython asks for it.
        return [str(self)]


def ask(exercise_id: str | float, *, seed: int | None = None) -> Told:
    """Ask an exercise again, with other numbers: `check` and `hint` are about them from then on.

    Parameters
    ----------
    exercise_id : str or float
        The number of an exercise that asks for a number, or for a function that returns one. Of such a
        function the value for one case is asked for; `check` takes a function, too, and tries it as ever.
    seed : int, optional
        The same seed asks with the same numbers. If left out, the notebook's own question is asked again.

    Returns
    -------
    Told
        The question.

    Raises
    ------
    NoExerciseError
        A KeyError, if there is no such exercise, or none with other numbers.
    TypeError, ValueError
        If ``seed`` is not a whole number from 0.

    Examples
    --------
    >>> ask("3.4", seed=2).heading
    '3.4 With other numbers (seed 2).'
    >>> ask("3.4")
    3.4 As in the notebook. Answer its question: `check("3.4", ...)`
    """
    exercise = _find(exercise_id)
    exercise_id = exercise.exercise_id
    answer = f'`check("{exercise_id}", ...)`'
    if seed is None:
        _ASKED.pop(exercise_id, None)
        told = Told(heading=f"{exercise_id} As in the notebook.", words=f"Answer its question: {answer}")
    else:
        seed = check_whole("seed", seed, minimum=0)
        asked = exercise.vary(Random(seed))
        if asked is None:
            known = ", ".join(name for name, each in EXERCISES.items() if each.vary(Random(0)))
            raise NoExerciseError(f"exercise {exercise_id} has no other numbers; these have: {known}")
        _ASKED[exercise_id] = asked
        heading = f"{exercise_id} With other numbers (seed {seed})."
        told = Told(heading=heading, words=f"{asked.question} Answer: {answer}")
    _HINTS_GIVEN.pop(exercise_id, None)
    return told


def check(exercise_id: str | float, answer: Any) -> Verdict:
    """Check the answer to an exercise: to the notebook's question, or to what `ask` asked last.

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
    NoExerciseError
        A KeyError, if there is no such exercise. A wrong answer raises nothing.

    Examples
    --------
    >>> check("3.4", ...).mark
    'open'
    >>> check("3.4", 16).mark
    'wrong'
    """
    exercise = _find(exercise_id)
    exercise = _ASKED.get(exercise.exercise_id, exercise)
    return exercise.open() if answer is ... else exercise.judge(answer)


def hint(exercise_id: str | float, number: int | None = None) -> Hint:
    """Give a hint for an exercise; called again, the next.

    Parameters
    ----------
    exercise_id : str or float
        The number of the exercise, such as ``"3.1"``.
    number : int, optional
        Which hint, from 1; each says more than the one before. If left out, the one after that given last;
        after the last hint that one again.

    Raises
    ------
    NoExerciseError
        A KeyError, if there is no such exercise.
    ValueError, TypeError
        If there is no such hint.

    Examples
    --------
    >>> hint("3.4", 1).number, hint("3.4").number
    (1, 2)
    """
    exercise = _find(exercise_id)
    exercise_id = exercise.exercise_id
    num_hints = len(exercise.hints)
    given = _HINTS_GIVEN.get(exercise_id, 0)
    is_again = number is None and given == num_hints
    number = min(given + 1, num_hints) if number is None else check_count("number", number)
    if number > num_hints:
        raise ValueError(f"number must be at most {num_hints}, the hints of {exercise_id}, got {number}")
    _HINTS_GIVEN[exercise_id] = number
    asked = _ASKED.get(exercise_id, exercise)
    words = asked.fill(asked.hints[number - 1])
    if is_again:
        words = f'{words} That was the last hint. From the first: `hint("{exercise_id}", 1)`'
    elif number < num_hints:
        words = f'{words} If that is not enough, once more: `hint("{exercise_id}")`'
    return Hint(heading=f"{exercise_id} Hint {number} of {num_hints}.", number=number, words=words)


def _find(exercise_id: str | float) -> Exercise:
    name = str(exercise_id) if isinstance(exercise_id, float) else exercise_id
    if not isinstance(name, str) or name not in EXERCISES:
        notebooks = [list(ids) for _, ids in groupby(EXERCISES, lambda known: known.partition(".")[0])]
        known = ", ".join(f"{ids[0]} to {ids[-1]}" for ids in notebooks)
        raise NoExerciseError(f"no exercise {came(exercise_id)}; there are {known}")
    return EXERCISES[name]
