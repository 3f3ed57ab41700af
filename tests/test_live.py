"""Explorers in a kernel that sees to messages in several threads."""

import asyncio
import subprocess
import sys
import threading

import matplotlib as mpl
import pytest
from explorers import hear, pixels

from paged_demo.views import live
from paged_demo.views.controls import number
from paged_demo.views.live import Explorer

LONG_ENOUGH_TO_GET_IN_S = 0.3


def explore_line(got_in, draw_another):
    """A line as high as the slider says; while it is set to 1, it gives others the time to get in."""

    def fill(panels, *, height):
        panels["line"].plot([0, 1], [height, height])
        if height == 1:
            draw_another()
            assert not got_in.wait(LONG_ENOUGH_TO_GET_IN_S), "two threads draw at a time"
        if height == 2:
            got_in.set()
        return f"height {height}"

    controls = {"height": number("height", 0, lowest=0, highest=2)}
    return Explorer(fill, controls, panels={"line": (0, 0, 1, 1)}, height=1)


@pytest.mark.parametrize("is_same", [True, False])
def test_a_slider_moved_while_something_is_drawn_waits_for_its_turn(is_same):
    settings = dict(mpl.rcParams)
    got_in = threading.Event()
    threads = []

    def draw_another():
        other = explorers[0 if is_same else 1]
        threads.append(threading.Thread(target=setattr, args=(other.controls["height"], "value", 2)))
        threads[0].start()

    explorers = [explore_line(got_in, draw_another) for _ in range(2)]
    explorers[0].controls["height"].value = 1
    threads[0].join()
    assert got_in.is_set()
    assert [explorer.words for explorer in explorers] == (
        ["height 2", "height 0"] if is_same else ["height 1", "height 2"]
    )
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize(
    "draw",
    [
        Explorer.picture,
        lambda explorer: explorer.contact_sheet([{"height": 2}], num_columns=1, height=1),
    ],
    ids=["picture", "contact_sheet"],
)
def test_whoever_takes_a_picture_meanwhile_waits_too(draw):
    done, threads = threading.Event(), []

    def take():
        draw(explorer)
        done.set()

    def take_one():
        threads.append(threading.Thread(target=take))
        threads[0].start()

    explorer = explore_line(done, take_one)
    explorer.controls["height"].value = 1
    threads[0].join()
    assert done.is_set()


def test_with_ipywidgets_7_the_first_cell_says_in_one_sentence_what_to_do():
    first_cells = """\
import ipywidgets
ipywidgets.__version__ = "7.8.1"
try:
    from paged_demo.course import check, hint, nb00
except ImportError as error:
    print(error)
from paged_demo.course import check, hint, nb06
"""
    run = subprocess.run([sys.executable, "-c", first_cells], capture_output=True, text=True, check=False)
    told = (
        "the sliders need ipywidgets 8, got 7.8.1: pip install 'ipywidgets>=8.1,<9', then restart the kernel"
    )
    assert run.stdout.splitlines() == [told]
    assert run.stderr.splitlines()[-1] == f"ImportError: {told}"


def explore_in_bits(num_bits=3):
    """A picture that is there bit by bit."""
    done = []

    def fill(panels, *, height):
        panels["line"].set(xlim=(0, 1), ylim=(0, 20))
        for bit in range(num_bits):
            panels["line"].plot([0, 1], [height, height + bit], color="black")
            yield f"height {height}, so far"
            done.append((height, bit))
        return f"height {height}"

    controls = {"height": number("height", 0, lowest=0, highest=9)}
    explorer = Explorer(fill, controls, panels={"line": (0, 0, 1, 1)}, height=1)
    explorer.done = done
    return explorer


def sent_by(explorer):
    """Note what is sent from now on: words of pictures, whole or not, and answers."""
    sent = []

    def note(message, buffers=None):
        state = message.get("state", {})
        if "png" in str(message.get("buffer_paths")):
            sent.append((explorer.view.words, explorer.view.is_whole))
        elif not state:
            sent.append(message["content"]["error"])

    explorer.view._send = note
    return sent


async def until_whole(explorer):
    while explorer._filling:
        await asyncio.sleep(0)


def test_what_is_quick_is_shown_and_answered_before_the_rest():
    explorer = explore_in_bits()
    sent = sent_by(explorer)

    async def move():
        hear(explorer, {"height": 5})
        assert sent == [("height 5, so far", False), ""]
        await until_whole(explorer)

    asyncio.run(move())
    assert sent[2:] == [("height 5", True)]
    late = pixels(explorer)
    explorer.controls["height"].value = 4
    explorer.controls["height"].value = 5
    assert (pixels(explorer) == late).all()


def test_the_rest_is_left_when_a_reader_has_chosen_something_else():
    explorer = explore_in_bits()
    explorer.done.clear()
    sent = sent_by(explorer)

    async def move():
        hear(explorer, {"height": 5})
        while (5, 0) not in explorer.done:
            await asyncio.sleep(0)
        hear(explorer, {"height": 6})
        await until_whole(explorer)
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(move())
    assert [words for words, is_whole in filter(None, sent) if is_whole] == ["height 6"]
    assert (5, 2) not in explorer.done
    assert explorer.words == "height 6"


def test_while_a_slider_is_moved_the_rest_is_not_begun():
    explorer = explore_in_bits()
    explorer.done.clear()

    async def move():
        for height in (5, 6, 7):
            hear(explorer, {"height": height})
            await asyncio.sleep(live.REST_AFTER_S / 10)
        await until_whole(explorer)

    asyncio.run(move())
    assert {height for height, _ in explorer.done} == {7}


def test_what_a_program_sets_is_there_at_once_in_a_kernel_too():
    explorer = explore_in_bits()

    async def move():
        explorer.controls["height"].value = 7
        return explorer.words, explorer.view.is_whole

    assert asyncio.run(move()) == ("height 7", True)


@pytest.mark.parametrize(
    ("raised", "told"),
    [(RuntimeError("no rest"), "RuntimeError: no rest"), (KeyboardInterrupt(), "Interrupted.")],
)
def test_a_picture_whose_rest_fails_is_not_waited_for(raised, told):
    def fill(panels, *, height):
        yield "so far"
        if height:
            raise raised
        return "all"

    controls = {"height": number("height", 0, lowest=0, highest=9)}
    explorer = Explorer(fill, controls, panels={"line": (0, 0, 1, 1)}, height=1)
    sent = sent_by(explorer)

    async def move():
        hear(explorer, {"height": 5})
        assert not explorer.view.is_whole
        await explorer._task

    with pytest.raises(type(raised)):
        asyncio.run(move())
    assert explorer.view.is_whole
    assert sent[-1] == told


def test_a_picture_that_could_not_be_drawn_takes_nothing_from_the_next():
    def fill(panels, *, height):
        panels["line"].set(xlabel=r"$\frac{$" if height == 3 else "", title=f"height {height}")
        return f"height {height}"

    controls = {"height": number("height", 0, lowest=0, highest=9)}
    explorer = Explorer(fill, controls, panels={"line": (0, 0, 1, 0.5)}, height=1)
    before = pixels(explorer)
    with pytest.raises(ValueError, match="frac"):
        explorer.controls["height"].value = 3
    explorer.controls["height"].value = 0
    assert (pixels(explorer) == before).all()
