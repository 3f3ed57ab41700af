"""Hints come one after the other; a number that no exercise has gets one line."""

import re

import numpy as np
import pytest

from paged_demo.course import check, hint
from paged_demo.course.exercises import asking
from paged_demo.course.exercises.kinds import EXERCISES

each_exercise = pytest.mark.parametrize("exercise_id", EXERCISES)
each_unknown = pytest.mark.parametrize("unknown", ["9.9", "31", 9.9, None, ["3.1"]])


@pytest.fixture(autouse=True)
def _no_hint_was_given(monkeypatch):
    monkeypatch.setattr(asking, "_HINTS_GIVEN", {})


@each_exercise
def test_who_asks_again_gets_the_next_hint_and_after_the_last_is_told_that_it_was(exercise_id):
    exercise = EXERCISES[exercise_id]
    hints = [exercise.fill(words) for words in exercise.hints]
    given = [hint(exercise_id) for _ in hints]
    assert [each.number for each in given] == list(range(1, len(hints) + 1))
    for each, words in zip(given, hints, strict=True):
        assert each.words.startswith(words)
        again = f'If that is not enough, once more: `hint("{exercise_id}")`'
        assert (again in each.words) == (each.number < len(hints))
    for _ in range(2):
        last = hint(exercise_id)
        assert last.number == len(hints)
        assert last.words == f'{hints[-1]} That was the last hint. From the first: `hint("{exercise_id}", 1)`'
    assert hint(exercise_id, 1) == given[0]
    assert hint(exercise_id).number == min(2, len(hints))


def test_hints_of_one_exercise_do_not_use_up_those_of_another():
    assert [hint("3.1").number, hint("3.2").number, hint(3.1).number] == [1, 1, 2]


def test_who_asks_for_a_hint_by_its_number_goes_on_from_there():
    assert [hint("3.3", 2).number, hint("3.3", 1).number, hint("3.3").number] == [2, 1, 2]


@pytest.mark.parametrize(
    ("number", "error", "told"),
    [
        (3, ValueError, "number must be at most 2, the hints of 3.1, got 3"),
        (0, ValueError, "number must be at least 1, got 0"),
        ("1", TypeError, "number must be a whole number, got '1'"),
    ],
)
def test_a_hint_that_is_not_there_is_an_error_and_changes_nothing(number, error, told):
    hint("3.1")
    with pytest.raises(error, match=f"^{told}$"):
        hint("3.1", number)
    assert hint("3.1").number == 2


@each_unknown
def test_an_unknown_number_is_named_with_the_known_ones(unknown):
    for ask in (hint, lambda unknown: check(unknown, 1)):
        with pytest.raises(KeyError) as raised:
            ask(unknown)
        told, ranges = str(raised.value).split("; there are ")
        assert told == f"no exercise {unknown!r}"
        known = []
        for of_notebook in ranges.split(", "):
            notebook, first, last = re.fullmatch(r"(\d)\.(\d) to \1\.(\d)", of_notebook).groups()
            known += [f"{notebook}.{number}" for number in range(int(first), int(last) + 1)]
        assert known == list(EXERCISES)


@pytest.mark.parametrize("call", ['hint("9.9")', 'check("31", 1)', "hint(None)"])
def test_in_a_notebook_an_unknown_number_gets_one_line_and_no_traceback(call, shell, capsys):
    assert not shell.run_cell(call).success
    printed = capsys.readouterr()
    (line,) = (printed.out + printed.err).splitlines()
    assert line.startswith("no exercise ")


def test_in_a_notebook_a_hint_that_is_asked_for_again_is_the_next(shell):
    numbers = [shell.run_cell('hint("3.1")').result.number for _ in range(3)]
    assert numbers == [1, 2, 2]


def test_the_number_of_a_hint_is_pythons_own():
    assert type(hint("3.1", np.int8(1)).number) is int
