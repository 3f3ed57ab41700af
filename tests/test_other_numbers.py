"""Exercises that are asked with other numbers, checked as well as those of the notebooks."""

import re

import nbformat
import pytest
from amounts import amount
from solutions import NOTEBOOKS, all_solutions, exercise_cells

from paged_demo.course import ask, check, hint
from paged_demo.course import nb03_exercises as pages
from paged_demo.course.exercises import asking
from paged_demo.course.exercises.functions import FunctionExercise
from paged_demo.course.exercises.kinds import EXERCISES
from paged_demo.course.exercises.numbers import NumberExercise

NUMBERS = [name for name, exercise in EXERCISES.items() if isinstance(exercise, NumberExercise)]
CASES = ["1.1", "3.1", "5.1", "9.1", "9.5"]
WITHOUT = [name for name in EXERCISES if name not in (*NUMBERS, *CASES)]

CHEAP_SEED = 2
"""It asks 0.1 for a large pool and 6.4 for a low rate, which are soon simulated."""

each_asked = pytest.mark.parametrize("exercise_id", [*NUMBERS, *CASES])
each_case = pytest.mark.parametrize("exercise_id", CASES)


@pytest.fixture(autouse=True)
def _nothing_was_asked(monkeypatch):
    monkeypatch.setattr(asking, "_ASKED", {})
    monkeypatch.setattr(asking, "_HINTS_GIVEN", {})


def ask_for(exercise_id, seed):
    """Ask, and return what was asked: the exercise with its own numbers."""
    ask(exercise_id, seed=seed)
    return asking._ASKED[exercise_id]


@each_asked
def test_with_other_numbers_the_right_answer_is_right_and_each_mistake_gets_its_diagnosis(exercise_id):
    for seed in amount(short=[CHEAP_SEED], long=range(30)):
        asked = ask_for(exercise_id, seed)
        verdict = check(exercise_id, asked.right_number())
        assert verdict.mark == "right"
        assert verdict.words.endswith(f" Asked was: {asked.question}")
        for mistake in asked.mistakes:
            verdict = check(exercise_id, mistake.answer(**asked.numbers))
            assert (verdict.mark, verdict.title) == ("wrong", f"{mistake.name}."), seed
            assert asked.fill(mistake.diagnosis) in verdict.words
            assert verdict.words.endswith(f" Asked was: {asked.question}")


@each_asked
def test_with_other_numbers_a_number_near_the_right_one_is_wrong(exercise_id):
    right = (asked := ask_for(exercise_id, CHEAP_SEED)).right_number()
    for factor in (1 - 2 * asked.tolerance - 0.01, 1 + 2 * asked.tolerance + 0.01):
        verdict = check(exercise_id, right * factor)
        assert verdict.mark == "wrong"
        assert asked.question in str(verdict)


@pytest.mark.parametrize("exercise_id", NUMBERS)
def test_the_answer_to_the_notebooks_question_is_not_that_to_another(exercise_id):
    right = EXERCISES[exercise_id].right_number()
    assert check(exercise_id, right).mark == "right"
    asked = (ask_for(exercise_id, seed) for seed in (CHEAP_SEED, 0, 1))
    assert any(check(exercise_id, right).mark == "wrong" for _ in asked)


@each_asked
def test_the_same_seed_asks_the_same_and_others_ask_something_else(exercise_id):
    seeds, fewest = amount(short=range(6), long=range(20)), amount(short=2, long=3)
    asked = [ask(exercise_id, seed=seed).words for seed in seeds]
    assert asked[:3] == [ask(exercise_id, seed=seed).words for seed in seeds[:3]]
    assert len(set(asked)) >= fewest
    for words in asked:
        question, _, answer = words.rpartition(" Answer: ")
        assert "?" in question or "enough" in question
        assert answer == f'`check("{exercise_id}", ...)`'
        assert not set("{}") & set(words)


@each_asked
def test_what_is_asked_is_told_also_to_who_has_not_answered_or_answers_nonsense(exercise_id):
    question = ask_for(exercise_id, 2).question
    assert check(exercise_id, ...).mark == "open"
    for answer in (..., "?", None, float("nan")):
        assert check(exercise_id, answer).words.endswith(f" Asked was: {question}")


@each_asked
def test_without_a_seed_the_notebooks_question_is_asked_again(exercise_id):
    before = check(exercise_id, 1.5)
    ask(exercise_id, seed=CHEAP_SEED)
    assert "Asked was" in check(exercise_id, 1.5).words
    assert f"{exercise_id} As in the notebook." in str(ask(exercise_id))
    assert check(exercise_id, 1.5) == before


def test_only_the_exercise_that_was_asked_has_other_numbers():
    ask("2.4", seed=1)
    assert "Asked was" not in str(check("2.3", 9))
    assert "Asked was" in str(check(2.4, 9))


@each_case
def test_a_function_is_tried_on_all_cases_whatever_was_asked_last(exercise_id):
    ask(exercise_id, seed=1)
    function = EXERCISES[exercise_id]
    assert check(exercise_id, function.reference) == function.right()
    for mistake in function.mistakes[: amount(short=2, long=None)]:
        assert check(exercise_id, mistake.answer).title == f"{mistake.name}."


@each_case
def test_a_case_is_asked_that_tells_many_mistakes_apart(exercise_id):
    for seed in range(10):
        asked = ask_for(exercise_id, seed)
        wrong = {mistake.answer() for mistake in asked.mistakes}
        assert len(wrong) == len(asked.mistakes) >= 4
        assert asked.right_number() not in wrong


def test_a_question_for_a_case_names_it():
    words = ask("3.1", seed=2).words
    table, position, page_size = re.fullmatch(
        r"What does a right function return for position (?P<position>\d+) in the page table (\[.*\]), with"
        r" pages of (\d+)\? Answer: `check\(\"3.1\", ...\)`",
        words,
    ).group(2, 1, 3)
    right = pages.slot([int(number) for number in table[1:-1].split(",")], int(position), int(page_size))
    assert check("3.1", right).mark == "right"


def test_hints_are_about_the_numbers_that_were_asked_last_and_begin_again():
    hint("2.4", 2)
    asked = ask_for("2.4", 1)
    assert hint("2.4").number == 1
    assert f"Which is the smallest that holds {asked.numbers['num_tokens']}?" in hint("2.4").words
    ask("2.4")
    assert "holds 530?" in hint("2.4", 2).words


@pytest.mark.parametrize("exercise_id", WITHOUT)
def test_what_cannot_be_asked_with_other_numbers_says_what_can(exercise_id):
    with pytest.raises(KeyError) as raised:
        ask(exercise_id, seed=1)
    told, known = str(raised.value).split("; these have: ")
    assert told == f"exercise {exercise_id} has no other numbers"
    assert known.split(", ") == sorted([*NUMBERS, *CASES])
    assert not asking._ASKED
    assert isinstance(EXERCISES[exercise_id], FunctionExercise) or exercise_id in (
        "0.3 1.3 1.5 3.5 4.3 4.4 5.2 6.2 8.7 9.3"
    )


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_a_seed_that_is_none_is_an_error_and_changes_nothing(seed, error):
    asked = ask_for("2.4", 1)
    hint("2.4")
    with pytest.raises(error, match=r"^seed must be "):
        ask("2.4", seed=seed)
    assert {"2.4": asked} == asking._ASKED
    assert hint("2.4").number == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_numbers_of_the_notebooks_question_are_those_that_are_checked(path):
    notebook = nbformat.read(path, as_version=4)
    before = {cell.id: notebook.cells[index - 1].source for index, cell in enumerate(notebook.cells)}
    for cell, exercise_id, _, _ in exercise_cells(notebook):
        exercise = EXERCISES[exercise_id]
        if exercise_id in NUMBERS and exercise_id not in UNSAID:
            asked = exercise.ask_with.format(**exercise.numbers)
            for number in re.findall(r"\d[\d,]*\d|\d", asked):
                assert re.search(rf"(?<!\d){number}(?!\d)", before[cell.id]), (exercise_id, number)


UNSAID = {
    "0.1": "the pool that the sheet above the question is of",
    "0.2": "the greatest length at the right end of the dial",
    "2.5": "what the workload's requests are",
    "6.3": "how much slower than in the paper a GPU computes",
}


@pytest.mark.parametrize("exercise_id", NUMBERS)
def test_a_notebooks_solution_passes_after_other_numbers_were_asked_and_put_away(exercise_id):
    ask(exercise_id, seed=1)
    ask(exercise_id)
    assert exercise_id in all_solutions()
    assert check(exercise_id, EXERCISES[exercise_id].right_number()).mark == "right"


def test_in_a_notebook_a_question_is_framed_and_one_that_cannot_be_asked_gets_one_line(shell, capsys):
    shell.run_cell("from paged_demo.course import ask")
    asked = shell.run_cell('ask("2.4", seed=2)').result
    shown, _ = shell.display_formatter.format(asked)
    assert shown["text/html"].startswith('<div style="border-left')
    assert shown["text/plain"].startswith("2.4 With other numbers (seed 2). An oracle reserves ")
    capsys.readouterr()
    assert not shell.run_cell('ask("3.5", seed=2)').success
    printed = capsys.readouterr()
    (line,) = (printed.out + printed.err).splitlines()
    assert line.startswith("exercise 3.5 has no other numbers")
