"""Notebook 07: a run of the real model step by step, and a box to type a prompt into."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from IPython import get_ipython

from paged_demo.course.nb07_texts import MOST_ROWS, Frame, frame_of, key_of_pool, pool_of_pages, texts_so_far
from paged_demo.llm.cache import PagedCache
from paged_demo.llm.generate import Engine
from paged_demo.llm.llama import Llama
from paged_demo.llm.weights import what_is_missing
from paged_demo.views.controls import Button, Line, TextField, number
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.picture import DPI
from paged_demo.views.progress import progress  # noqa: F401 - the notebook uses it
from paged_demo.views.screen import Box, is_narrow
from paged_demo.views.style import DRAWING, count_of

if TYPE_CHECKING:  # It loads a package that a reader may not have.
    from paged_demo.llm.tokenizer import Tokenizer

NUM_PAGES = 16
PAGE_SIZE = 16
SECONDS_BETWEEN_PICTURES = 0.2
ROWS_OF_ONE_TEXT = 5
ROWS_ON_PAPER = 3

TITLE_INCHES, KEY_INCHES, ROW_INCHES, MARGIN_INCHES = 0.32, 0.3, 0.188, 0.06
POOL_INCHES = 1.25


NOT_IN_A_BROWSER = (
    "The model runs in a clone of this repository and not in a browser alone: its tokenizer has no build for"
    " WebAssembly, and its weights are 98 MB."
)


def model_is_here() -> bool:
    """Say whether the real model can be loaded; if not, print what is missing and how to get it."""
    missing = NOT_IN_A_BROWSER if sys.platform == "emscripten" else what_is_missing()
    if missing:
        sys.stdout.write(f"{missing}\n")
    return not missing


def _fill_run(frames: Sequence[Frame], panels: Panels, *, step: int) -> str:
    """Draw the pool at one step of a run, and of the texts as many lines as there is room for."""
    frame, room = frames[step - 1], panels["texts"].bbox.height / DPI
    pool = pool_of_pages(frame, ax=panels["pool"])
    pool.set_title(f"step {step} of {len(frames)}")
    if is_narrow(pool):  # The key has two rows there, and needs air above them.
        pool.set_ylim(1.06 * pool.get_ylim()[0], 0)
    texts_so_far(frame, num_rows=round(room / ROW_INCHES), ax=panels["texts"])
    return f"Step {step} of {len(frames)}: {frame.words()}"


def _height(num_rows: int) -> float:
    """Return the height of a picture with so many lines of text, in inches."""
    return TITLE_INCHES + POOL_INCHES + KEY_INCHES + num_rows * ROW_INCHES + MARGIN_INCHES


def _panels(num_rows: int) -> dict[str, Box]:
    """Lay out the pool, its key, and so many lines of text."""
    whole = _height(num_rows)
    margin, key_height = MARGIN_INCHES / whole, KEY_INCHES / whole
    texts_top = margin + num_rows * ROW_INCHES / whole
    return {
        "pool": (0.08, texts_top + key_height, 0.9, POOL_INCHES / whole),
        "key": (0.08, texts_top, 0.9, key_height),
        "texts": (0.08, margin, 0.9, texts_top - margin),
    }


def explore_run(frames: Sequence[Frame], *, step: int | None = None) -> Explorer:
    """Explore a run of the model step by step: the pool, and what each text says.

    Parameters
    ----------
    frames : sequence of Frame
        As `nb07_texts.record` returns them.
    step : int, optional
        The step to begin with; the last one if left out.

    Raises
    ------
    ValueError
        If there is no frame, or no such step.
    """
    if not frames:
        raise ValueError("frames must hold at least one frame, got none")
    if step is not None and not 1 <= step <= len(frames):
        raise ValueError(f"step must be from 1 to {len(frames)}, got {step}")
    return Explorer(
        partial(_fill_run, frames),
        {"step": number("step", step or len(frames), lowest=1, highest=len(frames))},
        panels=_panels(MOST_ROWS),
        height=_height(MOST_ROWS),
        background={"key": lambda ax: key_of_pool(ax=ax)},
    )


class PromptBox(Explorer):
    """A box to type a prompt into, and the answer as it grows: its text, and the pages that fill.

    The first answer is there when the box is made. The slider then goes back over the steps. An answer that
    is stopped, by its button or by an error, keeps its words and pages so far.

    Parameters
    ----------
    model : Llama
    tokenizer : Tokenizer
    question : str
        What to ask first.
    num_tokens : int
        Tokens to generate at most, to begin with.
    follow : callable
        Called with the tokens of the first answer as they come, such as ``tqdm``, to show how far it is.
    """

    def __init__(
        self,
        model: Llama,
        tokenizer: "Tokenizer",
        question: str,
        *,
        num_tokens: int = 40,
        follow: Callable[[Iterator[None]], Iterable[object]] = iter,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._frames = [frame_of(self._new_cache(), {0: ""})]
        # JupyterLab may see to a click in another thread than the one in which the answer grows.
        self._growing = threading.Lock()
        self._must_stop = threading.Event()
        self.button = Button("Generate", self._begin)
        self.stop_button = Button("Stop", self._must_stop.set, is_enabled=False)
        self.question = TextField("prompt", question, enter=self.button)
        # The step that ends an answer gives its pages back: one step alone would show no page.
        self.num_tokens = number("tokens at most", num_tokens, lowest=2, highest=200)
        self.status = Line()
        super().__init__(
            partial(_fill_run, self._frames),
            {"step": number("step", 1, lowest=1, highest=1)},
            panels=_panels(ROWS_OF_ONE_TEXT),
            sheet=_panels(ROWS_ON_PAPER),
            height=_height(ROWS_OF_ONE_TEXT),
            background={"key": lambda ax: key_of_pool(ax=ax)},
            rows=[[self.question], [self.num_tokens], [self.button, self.stop_button, self.status]],
        )
        self.generate(follow)

    def generate(self, follow: Callable[[Iterator[None]], Iterable[object]] = iter) -> None:
        """Answer the question that stands in the box, and say how quick it was, or what is wrong.

        While an answer grows, this does nothing.
        """
        for _ in follow(self._answer()):
            pass

    def _begin(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # No kernel, and so nobody to wait for.
            with suppress(KeyboardInterrupt):
                self.generate()
        else:
            self.button.enable(False)
            self._task = loop.create_task(self._answer_in_turns())

    async def _answer_in_turns(self) -> None:
        """Generate, and let the kernel see to its messages after each token: one may say Stop."""
        with suppress(KeyboardInterrupt), interrupts_call(self._must_stop.set):
            for _ in self._answer():
                await asyncio.sleep(0)

    def _answer(self) -> Generator[None, None, None]:
        """Generate, and pause after each token. Whatever ends it leaves a box that works."""
        frames: list[Frame] = []
        if not self._growing.acquire(blocking=False):
            return
        try:
            self._must_stop.clear()
            self.button.enable(False)
            self.stop_button.enable(True)
            self.status.say("...")
            try:
                yield from self._generate(frames)
            finally:
                self._show(frames)
        except ValueError as error:
            self.status.say(str(error))
        except Exception as error:
            self.status.say(f"{_stopped(frames)} {type(error).__name__}: {error}")
            raise
        except BaseException:
            self.status.say(_stopped(frames))
            raise
        finally:
            self._growing.release()
            self.stop_button.enable(False)
            self.button.enable(True)

    def _new_cache(self) -> PagedCache:
        return PagedCache(self._model.spec, num_pages=NUM_PAGES, page_size=PAGE_SIZE)

    def _generate(self, frames: list[Frame]) -> Generator[None, None, None]:
        cache = self._new_cache()
        engine = Engine(self._model, cache, stop_ids=self._tokenizer.stop_ids)
        if not self.question.value.strip():
            raise ValueError("Type a prompt first.")
        prompt = self._tokenizer.chat(self.question.value)
        num_places = cache.num_slots - len(prompt)
        if num_places < 1:
            raise ValueError(
                f"The prompt has {len(prompt)} tokens, and the pool {cache.num_slots} slots: at most"
                f" {cache.num_slots - 1} tokens leave room for an answer."
            )
        [text] = engine.submit(prompt, max_new_tokens=min(self.num_tokens.value, num_places))
        computing_s, last_picture = 0.0, -SECONDS_BETWEEN_PICTURES
        while not text.is_finished:
            start = time.perf_counter()
            engine.step()
            computing_s += time.perf_counter() - start
            frame = frame_of(cache, {0: self._tokenizer.decode(text.output)})
            if text.is_finished and frames:
                # The pages were given back with the last token; they are shown as they were.
                frame = replace(frames[-1], outputs=frame.outputs)
            frames.append(frame)
            rate = f"{count_of(round(len(text.output) / computing_s), 'token')} per second"
            self.status.say(f"{len(prompt)} tokens of prompt, {len(text.output)} of answer, {rate}")
            if start - last_picture >= SECONDS_BETWEEN_PICTURES:
                last_picture = start
                self._show(frames)
            yield
            if self._must_stop.is_set() and not text.is_finished:
                self.status.say(_stopped(frames))
                return

    def _show(self, frames: list[Frame]) -> None:
        """Show the last of these frames, and let the slider go over all of them; keep the old if none."""
        if not frames:
            return
        with DRAWING:  # A slider moved meanwhile finds the frames and their number as one.
            self._frames[:] = frames
            self.controls["step"].offer(range(1, len(frames) + 1), len(frames))


@contextmanager
def interrupts_call(function: Callable[[], object]) -> Iterator[None]:
    """Have a kernel's Interrupt call a function meanwhile: while no cell runs, a kernel ignores it.

    Signals belong to the main thread, and JupyterLab may see to a click in another one.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        yield
        return
    earlier: list[Any] = []
    kernel.io_loop.add_callback(lambda: earlier.append(signal.signal(signal.SIGINT, lambda *_: function())))
    try:
        yield
    finally:
        kernel.io_loop.add_callback(lambda: signal.signal(signal.SIGINT, earlier.pop()))


def _stopped(frames: Sequence[Frame]) -> str:
    return f"Stopped after {count_of(len(frames), 'token')}."
