"""Every explorer by name, and what can be seen of one without a kernel and without a browser."""

import io
import re
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from amounts import amount
from PIL import Image
from test_llm_tokenizer import make_tokenizer, vocabulary
from tiny_llama import make_tiny, write_gguf

from paged_demo import (
    PRESETS,
    PagedPool,
    Request,
    TraditionalPool,
    alpaca,
    fill_by_page_size,
    reserve_max,
    sharegpt,
)
from paged_demo.course.nb00 import explore_one_sequence, explore_page_size
from paged_demo.course.nb01 import explore_memory
from paged_demo.course.nb02 import explore_reservations
from paged_demo.course.nb03 import explore_page_choice, play_two_requests
from paged_demo.course.nb04 import explore_page_order, explore_roofline
from paged_demo.course.nb05 import explore_prefixes, explore_samples, play_two_samples
from paged_demo.course.nb06 import explore_film, explore_serving
from paged_demo.course.nb07 import PromptBox, explore_run
from paged_demo.course.nb07_texts import record
from paged_demo.course.nb08 import explore_chain
from paged_demo.course.nb09 import explore_context, play_growth
from paged_demo.llm.cache import PagedCache
from paged_demo.llm.generate import Engine
from paged_demo.llm.load import load_model
from paged_demo.serving.scheduler import scheduler_of
from paged_demo.views import live
from paged_demo.views.picture import draw
from paged_demo.views.screen import Screen


@pytest.fixture(autouse=True)
def unseen(monkeypatch):
    """Draw nothing in a module that imports this: its tests read words and panels, which need no pixels."""
    monkeypatch.setattr(Screen, "redraw", lambda screen: None)
    monkeypatch.setattr(live, "draw", lambda figure: None)
    monkeypatch.setattr(live, "encode_png", lambda figure, *, moving=False: b"")
    monkeypatch.setattr(live, "with_few_colours", lambda png: png)


@cache
def small_pools():
    requests = [Request(request_id, 200 + request_id, 40) for request_id in range(60)]
    return fill_by_page_size(requests, [2**power for power in range(12)], num_slots=2 * 2048 + 100)


@cache
def small_workloads():
    rng = np.random.default_rng(0)
    return {"chat": sharegpt.sample(200, rng=rng), "short": alpaca.sample(200, rng=rng)}


@cache
def small_films():
    return {
        "traditional": film(TraditionalPool(num_slots=64, reserve=reserve_max(32))),
        "paged": film(PagedPool(num_pages=16, page_size=4)),
    }


def film(pool):
    requests = [Request(number, 4, 6 + number, arrival_s=0.03 * number) for number in range(6)]
    scheduler = scheduler_of(requests, pool)
    snapshots = []
    while scheduler.num_waiting or scheduler.num_running:
        scheduler.step()
        snapshots.append(scheduler.snapshot())
    return snapshots


@cache
def tiny_model():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        write_gguf(make_tiny(np.random.default_rng(3), vocabulary=len(vocabulary())), path)
        return load_model(path)


def as_text(token_ids):
    return " ".join(map(str, token_ids))


@cache
def small_run():
    """Three texts in a pool in which the newest has to be preempted."""
    engine = Engine(tiny_model(), PagedCache(tiny_model().spec, num_pages=9, page_size=4))
    texts = [engine.submit(range(size), max_new_tokens=12)[0] for size in (7, 6, 5)]
    return record(engine, texts, as_text)


EXPLORERS = {
    "page_size": lambda: explore_page_size(small_pools()),
    "one_sequence": explore_one_sequence,
    "memory": explore_memory,
    "reservations": explore_reservations,
    "two_requests": play_two_requests,
    "page_choice": lambda: explore_page_choice(small_workloads(), [1, 4, 16, 64, 512]),
    "page_order": explore_page_order,
    "roofline": explore_roofline,
    "two_samples": play_two_samples,
    "samples": explore_samples,
    "prefixes": explore_prefixes,
    "serving": lambda: explore_serving(seed=1),  # where requests are fewer, no other test sees them
    "film": lambda: explore_film(small_films()),
    "run": lambda: explore_run(small_run(), step=3),
    "chain": explore_chain,
    "growth": play_growth,
    "context": explore_context,
    "prompt_box": lambda: PromptBox(tiny_model(), make_tokenizer(), "hello, what is 12?", num_tokens=9),
}


FAR_APART = sorted(PRESETS, key=lambda name: PRESETS[name].kv_bytes_per_token)[:: len(PRESETS) - 1]
FAR_APART.append(max(PRESETS, key=len))
"""The models whose tokens are the smallest and the largest, and the one with the longest name."""


def ends_and_middle(control):
    """Values to drive a control through: all of a few options."""
    options = control.options
    last = len(options) - 1
    few = {0, last // 2, last}
    if not isinstance(options, range):
        few = amount(short=few, long=range(len(options)))
    elif last > 0:
        few |= amount(short=set(), long={1, last - 1})
    return [options[position] for position in sorted(few)]


def positions(explorer, values):
    controls = explorer.controls
    return {controls[name]: controls[name].options.index(value) for name, value in dict(values).items()}


def move(explorer, **values):
    """Set controls, all at once, as a browser may: there is one picture of them all."""
    explorer._take(positions(explorer, values))


def hear(explorer, values=(), *, is_narrow=False):
    """Do as a browser does that sends values by name, and the width of its page."""
    sent = {control.key: position for control, position in positions(explorer, values).items()}
    explorer.view._hear(None, {"values": sent, "press": None, "is_narrow": is_narrow}, [])


def pixels(explorer):
    return np.asarray(Image.open(io.BytesIO(explorer.view.png)).convert("RGB"))


def share_that_differs(explorer):
    """The share of the pixels that are not as they would be if the picture were drawn as a whole."""
    quick = pixels(explorer).astype(np.int16)
    draw(explorer.screen.figure)
    whole = np.asarray(explorer.screen.figure.canvas.buffer_rgba())[..., :3]
    return (np.abs(quick - whole) > 40).any(axis=-1).mean()


def names(words, value):
    """Whether words name a value, as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", words.replace(",", "")) is not None
