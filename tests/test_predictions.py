"""What the notebooks ask before they show it, and what is said to an answer."""

import re
from functools import cache

import nbformat
import pytest
from solutions import NOTEBOOKS

from paged_demo.course import predict
from paged_demo.course.exercises.predictions import QUESTIONS, ask_before, compare

ASKED = re.compile(r'^predict\("([\d.]+)", \.\.\.\)$', re.MULTILINE)
FOLDED = re.compile(r"<details><summary>Answer to ([\d.]+)</summary>\n\n(.*?)\n\n</details>", re.DOTALL)
each_question = pytest.mark.parametrize("question_id", QUESTIONS)


@pytest.fixture(autouse=True)
def first_said(monkeypatch):
    """What was said so far: nothing."""
    said = {}
    monkeypatch.setattr("paged_demo.course.exercises.predictions._first_said", said)
    return said


@pytest.fixture
def asks_for_seven(monkeypatch):
    monkeypatch.setitem(QUESTIONS, "0.0", None)
    ask_before("0.0", unit="pages", because="a week has so many days")(lambda: 7)


@cache
def found_in_notebooks(pattern, cell_type):
    cells = ((path.stem, cell) for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells)
    return [
        (stem, *match.groups())
        for stem, cell in cells
        if cell.cell_type == cell_type
        for match in pattern.finditer(cell.source)
    ]


def test_every_question_is_asked_once_in_its_notebook_and_answered_below_a_fold():
    for found, cell_type in ((ASKED, "code"), (FOLDED, "markdown")):
        asked = found_in_notebooks(found, cell_type)
        assert [question_id for _, question_id, *_ in asked] == sorted(QUESTIONS)
        assert all(int(stem[:2]) == int(question_id.split(".")[0]) for stem, question_id, *_ in asked)


@each_question
def test_the_folded_answer_begins_with_what_is_so(question_id):
    question = QUESTIONS[question_id]
    folded = {name: answer for _, name, answer in found_in_notebooks(FOLDED, "markdown")}
    truth = question.tell(question.find()).removesuffix(question.unit).strip()
    assert re.match(rf"{re.escape(truth)}(?![\d,])", folded[question_id])


@each_question
def test_a_right_guess_is_told_so_and_another_gets_the_truth_and_the_reason(question_id):
    question = QUESTIONS[question_id]
    truth = question.find()
    assert "; and so it is, because " in str(compare(question_id, truth))
    if not isinstance(truth, str):
        shown = float(question.tell(truth).removesuffix(question.unit).strip().replace(",", ""))
        assert "; and so it is, because " in str(compare(question_id, shown))
    wrong = {"a": "b", "b": "c", "c": "a"}[truth] if isinstance(truth, str) else truth + 1
    said = str(compare(question_id, wrong))
    assert f"You said {question.tell(wrong)} (at first {question.tell(truth)}); " in said
    assert said.endswith(f"it is {question.tell(truth)}, because {question.because}.")


def test_the_first_guess_is_kept(asks_for_seven):
    assert str(compare("0.0", 5)) == (
        "Prediction 0.0. You said 5 pages; it is 7 pages, because a week has so many days."
    )
    assert "You said 7 pages (at first 5 pages); and so it is" in str(compare("0.0", "7"))
    assert "You said 5 pages; it is" in str(compare("0.0", 5.0))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("many", "A number is asked for, and 'many' came."),
        (None, "A number is asked for, and None came."),
        (float("nan"), "A number is asked for, and nan came."),
        ([1, 2], "A number is asked for, and [1, 2] came."),
    ],
)
def test_what_is_no_answer_is_told_and_not_kept(asks_for_seven, answer, told):
    assert str(compare("0.0", answer)) == f"Prediction 0.0. {told}"
    assert "at first" not in str(compare("0.0", 7))


def test_a_letter_is_asked_for_where_one_has_to_be_chosen():
    letter = next(name for name, question in QUESTIONS.items() if isinstance(question.find(), str))
    assert "A letter is asked for, and 7 came." in str(compare(letter, 7))
    assert "A letter is asked for, and 'ab' came." in str(compare(letter, "ab"))


def test_nothing_is_shown_where_nothing_was_said(capsys):
    assert predict("5.1", ...) is None
    assert capsys.readouterr().out == ""
    assert predict("5.1", 96) is None
    assert capsys.readouterr().out == (
        "Prediction 5.1. You said 96 tokens; and so it is, because only whole pages are found.\n"
    )


def test_a_question_that_does_not_exist_is_named(first_said):
    with pytest.raises(KeyError, match=r"no prediction '9\.9'; there are "):
        compare("9.9", 7)
    assert not first_said


def test_large_numbers_have_their_thousands_apart_and_others_four_digits(asks_for_seven):
    tell = QUESTIONS["0.0"].tell
    assert [tell(15744), tell(3.0968814), tell(0)] == ["15,744 pages", "3.097 pages", "0 pages"]
