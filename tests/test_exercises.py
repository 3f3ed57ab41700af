"""The exercises: what they say to right, wrong and impossible answers, and the solutions in the notebooks."""

import itertools
import re
import sys
import threading
from pathlib import Path

import nbformat
import numpy as np
import pytest
from amounts import amount
from solutions import NOTEBOOKS, exercise_cells

from paged_demo import PagedAllocator, PagedPool, sharegpt, simulate
from paged_demo.course import check, hint
from paged_demo.course import nb03_exercises as pages
from paged_demo.course.exercises import fence
from paged_demo.course.exercises.fence import Endless, Raised, Returned, attempt
from paged_demo.course.exercises.functions import FunctionExercise
from paged_demo.course.exercises.kinds import EXERCISES, ChoiceExercise
from paged_demo.course.exercises.numbers import NumberExercise
from paged_demo.course.exercises.verdict import Verdict, pool_with_marks
from paged_demo.paper.experiment import draw_trace
from paged_demo.paper.numbers import NUM_PAGES_13B
from paged_demo.views import strip, style
from paged_demo.views.strip import slot_strip

ROOT = Path(__file__).resolve().parent.parent

each_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.exercise_id} {mistake.name}")
    for exercise in EXERCISES.values()
    for mistake in exercise.mistakes
]
FUNCTIONS = [exercise for exercise in EXERCISES.values() if isinstance(exercise, FunctionExercise)]
each_function = pytest.mark.parametrize("exercise", FUNCTIONS, ids=lambda exercise: exercise.exercise_id)


def right_answer(exercise):
    if isinstance(exercise, NumberExercise):
        return exercise.right_number()
    return exercise.right_letters if isinstance(exercise, ChoiceExercise) else exercise.reference


@each_exercise
def test_a_blank_answer_is_open_and_raises_nothing(exercise):
    assert check(exercise.exercise_id, ...).mark == "open"
    if isinstance(exercise, FunctionExercise):
        assert check(exercise.exercise_id, lambda *given: ...).mark == "open"


@each_exercise
def test_the_right_answer_is_right_and_gives_an_insight(exercise):
    verdict = check(exercise.exercise_id, right_answer(exercise))
    assert verdict.mark == "right"
    assert len(verdict.words.split()) > 5
    assert "{" not in verdict.words


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_every_misconception_gets_its_own_diagnosis(exercise, mistake):
    answer = mistake.answer
    if callable(answer) and not isinstance(exercise, FunctionExercise):
        answer = answer(**exercise.numbers)
    verdict = check(exercise.exercise_id, answer)
    assert verdict.mark == "wrong"
    assert verdict.title == f"{mistake.name}."
    assert exercise.fill(mistake.diagnosis) in verdict.words


@each_exercise
def test_every_exercise_has_hints_and_mistakes_to_diagnose(exercise):
    assert exercise.mistakes
    assert all(len(mistake.diagnosis.split()) > 4 for mistake in exercise.mistakes)
    assert exercise.hints


@each_exercise
def test_an_exercise_stands_with_its_mistakes_in_one_module_of_its_notebook(exercise):
    answers = [right_answer(exercise), *(mistake.answer for mistake in exercise.mistakes)]
    if isinstance(exercise, NumberExercise):
        answers[0] = exercise.compute
    modules = {answer.__module__ for answer in answers if callable(answer)}
    assert len(modules) == (not isinstance(exercise, ChoiceExercise))
    assert all(f".nb{int(exercise.exercise_id[0]):02}_" in module for module in modules)


@each_exercise
def test_an_answer_of_the_wrong_kind_is_told_so(exercise):
    for answer in (None, True, "?", "", object(), [], float("nan"), 10**400, np.zeros(2), 1j):
        verdict = check(exercise.exercise_id, answer)
        assert verdict.mark == "wrong", answer
        assert len(verdict.words.split()) > 5, answer


@each_function
def test_a_function_that_returns_the_wrong_kind_is_told_so(exercise):
    for value in (None, True, "?", [], np.zeros(2), 1j, object()):
        verdict = check(exercise.exercise_id, lambda *given, value=value: value)
        assert verdict.mark == "wrong", value
        assert "it returned" in verdict.words, value


@each_function
def test_a_function_that_raises_is_told_what_and_where(exercise):
    def broken(*given):
        raise ValueError("I give up")

    verdict = check(exercise.exercise_id, broken)
    assert "it raised ValueError: I give up" in verdict.words
    assert check(exercise.exercise_id, lambda: 1).mark == "wrong"
    assert "SystemExit" in check(exercise.exercise_id, lambda *given: sys.exit()).words


@each_function
def test_a_function_that_never_returns_is_stopped(exercise, monkeypatch):
    if exercise is not FUNCTIONS[0]:
        monkeypatch.setattr(fence, "MOST_STEPS", amount(short=10_000, long=fence.MOST_STEPS))

    def endless(*given):
        while True:
            pass

    def on_one_line(*given):
        while True: pass  # fmt: skip  # noqa: E701

    def careful(*given):
        while True:
            try:
                next(iter(given))
            except Exception:
                continue

    generators = [
        lambda *given: sum(1 for _ in itertools.repeat(0)),
        lambda *given: [0 for _ in iter(int, 1)],
    ]
    every_way = [endless, on_one_line, careful, *generators]
    for function in amount(short=every_way if exercise is FUNCTIONS[0] else [careful], long=every_way):
        verdict = check(exercise.exercise_id, function)
        assert verdict.title == "Still running."


def test_a_call_is_told_as_it_ended():
    assert attempt(lambda: 3) == Returned(3)
    assert attempt(lambda: {}["key"]) == Raised("KeyError", "any text")
    assert isinstance(attempt(lambda: [0 for _ in range(1000)], most_steps=100), Endless)
    assert attempt(lambda: attempt(lambda: 1 / 0)) == Returned(Raised("ZeroDivisionError", "any text"))


def test_a_call_is_stopped_in_any_thread_and_leaves_the_trace_as_it_was():
    ended = []
    thread = threading.Thread(target=lambda: ended.append(attempt(lambda: list(iter(lambda: 0, 1)))))
    before = sys.gettrace()
    thread.start()
    thread.join(timeout=30)
    assert isinstance(ended[0], Endless)
    assert sys.gettrace() is before


def test_an_interruption_by_the_reader_is_not_an_answer():
    def interrupted(*given):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("3.1", interrupted)


def test_a_function_cannot_change_the_cases():
    def greedy(page_table, position, page_size):
        page_table.clear()
        return 0

    assert str(check("3.1", greedy)) == str(check("3.1", greedy))
    assert check("3.1", pages.slot).mark == "right"


def test_numpy_numbers_are_numbers():
    assert check("3.4", np.float32(7.5)).mark == "right"
    assert check("3.1", lambda *given: np.int64(pages.slot(*given))).mark == "right"


def test_letters_count_in_any_order_and_case():
    assert check("3.5", "E, d B").mark == "right"
    assert check("3.5", "bde").mark == "right"
    assert check("0.3", "ac").title == "More than one letter."


def test_the_smallest_counter_example_is_told_and_drawn():
    verdict = check("3.2", pages.into_the_neighbours_page)
    told = "A sequence of 4 tokens in the pages [2], free pages [0, 5, 1], pages of 4. Expected: slot 0;"
    assert told in verdict.words
    picture = verdict.draw()
    assert picture.words.startswith("A pool of 6 pages of 4. The expected slot is 0, yours 12")
    shown = verdict._repr_html_()
    assert re.search(r'<img alt="A pool of 6 pages', shown)
    assert len(shown) < 60_000


def test_a_pool_that_is_too_large_for_a_strip_is_told_only():
    wrong_at_16 = check("3.1", lambda *case: pages.slot(*case) + (case[2] == 16))
    assert "with pages of 16" in wrong_at_16.words
    assert wrong_at_16.draw() is None
    assert "<img" not in wrong_at_16._repr_html_()


@pytest.mark.parametrize("came", [-5, 10**9, None])
def test_a_slot_outside_the_pool_can_be_drawn(came):
    case = next(iter(pages.slot_cases()))
    assert pool_with_marks(*pages.slot_pool(case), 28, came).png.startswith(b"\x89PNG")


def test_a_pool_that_is_drawn_holds_what_its_sequences_hold(monkeypatch):
    allocator = PagedAllocator(6, 4)
    allocator.allocate("A", range(6))
    allocator.fork("A", "B")
    allocator.append("B", 6)
    allocator.allocate("C", range(4))
    held = {seq_id: (allocator.page_table(seq_id), len(allocator.slots(seq_id))) for seq_id in "ABC"}
    drawn = []

    def draw(memory_map, future_tokens, **options):
        drawn.append(memory_map)
        return slot_strip(memory_map, future_tokens, **options)

    monkeypatch.setattr(strip, "slot_strip", draw)
    pool_with_marks(held, 6, 4, 5, None)
    assert [memory_map.regions for memory_map in drawn] == [allocator.memory_map().regions]
    assert sum(hole.num_slots for hole in drawn[0].holes) == 4 * allocator.num_free_pages


def test_a_verdict_is_the_same_in_words_and_in_html():
    for answer in (..., 7.5, 16):
        verdict = check("3.4", answer)
        plain = re.sub(r"<[^>]+>", "", verdict._repr_html_()).replace("&quot;", '"')
        assert plain == str(verdict).replace("`", "") == repr(verdict).replace("`", "")


def test_a_verdict_has_a_sign_and_a_colour_that_stands_out_on_black_and_on_white():
    def luminance(colour):
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels
        ]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    signs = set()
    for answer in (..., 7.5, 16):
        verdict = check("3.4", answer)
        signs.add(str(verdict)[0])
        colour = re.search("border-left:6px solid (#[0-9A-F]{6})", verdict._repr_html_())[1]
        assert colour in {look for fate in style.FATES.values() for look in (fate.colour, fate.outline)}
        for background in (0.0056, 1.0):  # JupyterLab's dark grey #111111, and white
            lighter, darker = sorted((luminance(colour), background), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 3
        assert "color:" not in verdict._repr_html_().replace("border-left", "")
    assert len(signs) == 3


def test_words_are_escaped_and_code_is_marked_up():
    verdict = Verdict(exercise_id="0.0", mark="wrong", title="<b>", words="`a < b` & c")
    assert "&lt;b&gt;</strong> <code>a &lt; b</code> &amp; c" in verdict._repr_html_()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_of_a_notebook_is_there_blank_and_has_a_solution_folded_below(path):
    notebook = nbformat.read(path, as_version=4)
    found = list(exercise_cells(notebook))
    number = str(int(path.stem[:2]))
    assert [exercise_id for _, exercise_id, _, _ in found] == [
        exercise_id for exercise_id in EXERCISES if exercise_id.split(".")[0] == number
    ]
    for cell, exercise_id, name, solution in found:
        assert solution, exercise_id
        assert re.search(rf"^({name} = \.\.\.|    return \.\.\.)$", cell.source, re.MULTILINE), exercise_id
        assert "Not attempted." in "".join(output["data"]["text/plain"] for output in cell.outputs)


def test_what_the_watermark_exercise_calls_true_and_tells_is_so():
    trace = draw_trace(sharegpt, rate_rps=1.9, duration_s=1200, rng=np.random.default_rng(0))
    none, usual, much = (
        simulate(trace, PagedPool(num_pages=NUM_PAGES_13B, watermark_share=share))
        for share in (0.0, 0.01, 0.2)
    )
    true_statements = {
        "a": usual.num_preempted < none.num_preempted,
        "b": usual.mean_running > none.mean_running,
        "c": usual.normalised_latency_s < none.normalised_latency_s,
        "d": much.normalised_latency_s < usual.normalised_latency_s,
    }
    assert "".join(letter for letter, is_true in true_statements.items() if is_true) == right_answer(
        EXERCISES["6.2"]
    )
    notebook = nbformat.read(ROOT / "notebooks" / "06_serving.ipynb", as_version=4)
    solution = next(cell.source for cell in notebook.cells if cell.id == "solve-watermark")
    preempted = [f"{round(run.num_preempted, -2):,}" for run in (none, usual)]
    latencies = [f"{run.normalised_latency_s:.2f}" for run in (none, usual, much)]
    assert " to ".join(preempted) in solution
    assert f"{' to '.join(latencies[:2])} s per token" in solution
    assert f"At 20 % latency is {latencies[2]}" in solution


def test_a_module_that_a_call_imports_does_not_use_up_its_steps():
    for name in [name for name in sys.modules if name.partition(".")[0] == "tomllib"]:
        del sys.modules[name]

    def imports(number):
        import tomllib  # noqa: PLC0415

        return len(tomllib.loads("a = 1")) + number

    assert attempt(imports, 1, most_steps=3000) == Returned(2)


@pytest.mark.parametrize(("exercise_id", "answer"), [("0.2", 2047), ("1.2", 15_729), ("2.4", 1025)])
def test_a_whole_number_is_right_or_wrong(exercise_id, answer):
    assert check(exercise_id, answer).mark == "wrong"


@each_exercise
def test_the_number_of_an_exercise_may_come_without_quotes(exercise):
    assert hint(float(exercise.exercise_id), 1) == hint(exercise.exercise_id, 1)
    assert check(float(exercise.exercise_id), ...) == check(exercise.exercise_id, ...)


@pytest.mark.parametrize(("exercise_id", "answer"), [("2.3", 9), ("2.3", 8.9), ("2.3", 8.943), ("2.5", 750)])
def test_a_rounded_number_is_right_where_the_question_says_so(exercise_id, answer):
    assert check(exercise_id, answer).mark == "right"


def test_an_answer_near_the_right_one_is_not_taken_for_a_mistake_on_its_other_side():
    assert check("1.2", 12 * 2**30 / 819_200).title == "Whole slots only."
    assert check("1.2", 15_700).title == "Too small."
    assert check("1.2", 15_744).title == "Too large."


def test_a_pool_that_refuses_since_too_little_is_free_is_not_called_full():
    def half(pool):
        pool.place(6)
        return 7

    verdict = check("2.2", half)
    assert verdict.title == "More than is free."
    assert "a request for more slots than are free" in verdict.words
