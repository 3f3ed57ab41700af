"""Notebook 07: a run of the real model step by step, and a box to type a prompt into."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure

from paged_demo.llm.cache import PagedCache
from paged_demo.llm.generate import Engine
from paged_demo.llm.model import Llama
from paged_demo.llm.weights import what_is_missing
from paged_demo.views.explorers.controls import LOOKS
from paged_demo.views.generation import Frame, frame_of, texts_so_far
from paged_demo.views.live import Explorer, clear_contents, contents, set_title
from paged_demo.views.strip import slot_strip

if TYPE_CHECKING:  # It loads a package that a reader may not have.
    from paged_demo.llm.tokenizer import Tokenizer

NUM_PAGES = 16
PAGE_SIZE = 16
SECONDS_BETWEEN_PICTURES = 0.2


def model_is_here() -> bool:
    """Say whether the real model can be loaded; if not, print what is missing and how to get it."""
    missing = what_is_missing()
    if missing:
        sys.stdout.write(f"{missing}\n")
    return not missing


class _RunScene:
    """The pool and the texts at one step of a run."""

    frame = None

    def __init__(self, figure: Figure | SubFigure, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self._strip = figure.add_axes((0.08, 0.53, 0.9, 0.36))
        self._texts = figure.add_axes((0.08, 0.02, 0.9, 0.47))

    def update(self, *, step: int) -> str:
        self.show(self._frames[step - 1], f"step {step} of {len(self._frames)}")
        return f"Step {step} of {len(self._frames)}: {self._frames[step - 1].words()}"

    def show(self, frame: Frame, title: str) -> None:
        """Draw any frame of this pool."""
        clear_contents(self._strip)
        slot_strip(frame.memory_map, frame.future_tokens(), ax=self._strip)
        set_title(self._strip, title)
        clear_contents(self._texts)
        texts_so_far(frame, ax=self._texts)

    def moving(self) -> list[Artist]:
        return [*contents(self._strip), *contents(self._texts)]


def explore_run(frames: Sequence[Frame], *, step: int | None = None) -> Explorer:
    """Explore a run of the model step by step: the pool, and what each text says.

    Parameters
    ----------
    frames : sequence of Frame
        As `record` returns them.
    step : int, optional
        The step to begin with; the last one if left out.
    """
    return Explorer(
        lambda figure: _RunScene(figure, frames),
        {"step": widgets.IntSlider(step or len(frames), 1, len(frames), description="step", **LOOKS)},
        height=3.6,
    )


class PromptBox(Explorer):
    """A box to type a prompt into, and the answer as it grows: its text, and the pages that fill.

    The first answer is there when the box is made. The slider then goes back over the steps.

    Parameters
    ----------
    model : Llama
    tokenizer : Tokenizer
    question : str
        What to ask first.
    num_tokens : int
        Tokens to generate at most, to begin with.
    """

    def __init__(self, model: Llama, tokenizer: "Tokenizer", question: str, *, num_tokens: int = 40) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._frames = [frame_of(self._new_cache(), {0: ""})]
        steps = widgets.IntSlider(1, 1, 1, description="step", **LOOKS)
        super().__init__(lambda figure: _RunScene(figure, self._frames), {"step": steps}, height=3.6)
        wide = {"layout": {"width": "min(100%, 60em)"}, "style": LOOKS["style"]}
        self.question = widgets.Text(question, description="prompt", **wide)
        self.num_tokens = widgets.IntSlider(num_tokens, 1, 200, description="tokens at most", **LOOKS)
        self.button = widgets.Button(description="Generate", button_style="primary")
        self.button.on_click(self.generate)
        self.status = widgets.Label()
        row = widgets.HBox([self.button, self.status])
        self._widget.children = (self.question, self.num_tokens, row, *self._widget.children)
        self.generate()

    def generate(self, _: Any = None) -> None:
        """Answer the question that stands in the box, and say how quick it was, or what is wrong."""
        self.status.value = "..."
        try:
            self._generate()
        except ValueError as error:
            self.status.value = str(error)

    def _new_cache(self) -> PagedCache:
        return PagedCache(self._model.spec, num_pages=NUM_PAGES, page_size=PAGE_SIZE)

    def _generate(self) -> None:
        cache = self._new_cache()
        engine = Engine(self._model, cache, stop_ids=self._tokenizer.stop_ids)
        prompt = self._tokenizer.chat(self.question.value)
        num_places = cache.num_slots - len(prompt)
        if num_places < 1:
            raise ValueError(
                f"the prompt must leave room in {cache.num_slots} slots, got {len(prompt)} tokens"
            )
        [text] = engine.submit(prompt, max_new_tokens=min(self.num_tokens.value, num_places))
        self._frames.clear()
        computing_s, last_picture = 0.0, -SECONDS_BETWEEN_PICTURES
        while not text.is_finished:
            start = time.perf_counter()
            engine.step()
            computing_s += time.perf_counter() - start
            self._frames.append(self._frame(cache, self._tokenizer.decode(text.output)))
            if text.is_finished or start - last_picture >= SECONDS_BETWEEN_PICTURES:
                last_picture = start
                rate = f"{len(text.output) / computing_s:.0f} tokens per second"
                self.status.value = f"{len(prompt)} tokens of prompt, {len(text.output)} of answer, {rate}"
                self._go_to_last_step()

    def _frame(self, cache: PagedCache, output: str) -> Frame:
        """Take a frame; at the end, when the pages are given back, show them as they were."""
        frame = frame_of(cache, {0: output})
        return (
            frame if frame.page_tables or not self._frames else replace(self._frames[-1], outputs={0: output})
        )

    def _go_to_last_step(self) -> None:
        steps = self.controls["step"]
        with steps.hold_trait_notifications():
            steps.max = steps.value = len(self._frames)
        self._follow()
