"""All exercises by their number, and the two functions that the notebooks call."""

from typing import Any

from paged_demo.checks import check_count
from paged_demo.course import (
    nb00_exercises,
    nb01_exercises,
    nb02_exercises,
    nb03_exercises,
    nb04_exercises,
    nb05_exercises,
    nb06_exercises,
)
from paged_demo.course.exercises.kinds import Exercise
from paged_demo.course.exercises.verdict import Hint, Verdict

EXERCISES: dict[str, Exercise] = {
    exercise.exercise_id: exercise
    for module in (
        nb00_exercises,
        nb01_exercises,
        nb02_exercises,
        nb03_exercises,
        nb04_exercises,
        nb05_exercises,
        nb06_exercises,
    )
    for exercise in module.EXERCISES
}


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
