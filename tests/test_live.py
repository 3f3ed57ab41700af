"""Explorers in a kernel that sees to messages in several threads."""

import subprocess
import sys
import threading

import matplotlib as mpl
import pytest

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


@pytest.mark.parametrize("notebook", ["nb00", "nb06"])
def test_with_ipywidgets_7_the_first_cell_says_in_one_sentence_what_to_do(notebook):
    first_cell = f"""\
import ipywidgets
ipywidgets.__version__ = "7.8.1"
from paged_demo.course import check, hint, {notebook}
"""
    run = subprocess.run([sys.executable, "-c", first_cell], capture_output=True, text=True, check=False)
    *_, last = run.stderr.splitlines()
    assert last == (
        "ImportError: the sliders need ipywidgets 8, got 7.8.1: "
        "pip install 'ipywidgets>=8.1,<9', then restart the kernel"
    )
