"""What explorers draw, and when: in turns with other threads, in turns with messages, and ahead."""

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress

import matplotlib as mpl
import pytest
from explorers import hear, pixels

from paged_demo.views import live, style
from paged_demo.views.ahead import likely_after
from paged_demo.views.controls import number
from paged_demo.views.live import Explorer
from paged_demo.views.picture import with_few_colours

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


def explore_height(fill, *, begin=0):
    """One panel, and a slider for a height from 0 to 9."""
    controls = {"height": number("height", begin, lowest=0, highest=9)}
    return Explorer(fill, controls, panels={"line": (0, 0, 1, 0.8)}, height=1)


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

    explorer = explore_height(fill)
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
    while not explorer.view.is_whole:
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

    explorer = explore_height(fill)
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

    explorer = explore_height(fill)
    before = pixels(explorer)
    with pytest.raises(ValueError, match="frac"):
        explorer.controls["height"].value = 3
    explorer.controls["height"].value = 1
    explorer.controls["height"].value = 0
    assert (pixels(explorer) == before).all()


def explore_noting(*, drawn, raises_at=None):
    """A line whose heights are noted as they are drawn."""

    def fill(panels, *, height, width):
        drawn.append(height)
        if height == raises_at:
            raise RuntimeError(f"no line at {height}")
        panels["line"].set(xlim=(0, 1), ylim=(0, 10), title=f"height {height}")
        panels["line"].plot([0, 1], [height, height], color="black", linewidth=width)
        return f"height {height}, width {width}"

    controls = {
        "height": number("height", 4, lowest=0, highest=9),
        "width": number("width", 1, lowest=1, highest=3),
    }
    return Explorer(fill, controls, panels={"line": (0, 0, 1, 0.8)}, height=1)


def test_the_next_steps_are_drawn_before_they_are_asked_for():
    drawn = []
    explorer = explore_noting(drawn=drawn)

    async def move():
        shown = []
        hear(explorer, {"height": 5})
        await explorer._task
        assert drawn == [4, 5, 6, 7, 3, 9, 0], "nearest first, onward before back, and none that is there"
        for height in (6, 7, 6):
            hear(explorer, {"height": height})
            shown.append((explorer.words, explorer.view.is_whole, pixels(explorer)))
            await explorer._task
        assert drawn[7:] == [8]
        hear(explorer, {"height": 1, "width": 2})
        await explorer._task
        assert drawn[8:] == [1], "who sets two at once is not expected to go on"
        return shown

    shown = asyncio.run(move())
    for height, (words, is_whole, picture) in zip((6, 7, 6), shown, strict=True):
        hear(explorer, {"height": height, "width": 1})
        assert (words, is_whole) == (explorer.words, True) == (f"height {height}, width 1", True)
        assert (picture == pixels(explorer)).all()


def test_while_a_slider_is_moved_nothing_is_drawn_ahead(monkeypatch):
    monkeypatch.setattr(live, "AHEAD_AFTER_S", 0.5)
    drawn = []
    explorer = explore_noting(drawn=drawn)

    async def move():
        for height in (5, 7, 5, 3):
            hear(explorer, {"height": height})
            await asyncio.sleep(live.AHEAD_AFTER_S / 10)
        await explorer._task

    asyncio.run(move())
    assert drawn == [4, 5, 7, 3, 2, 1, 0, 9], "and then what is not there yet"


def test_a_move_that_failed_leaves_no_empty_panels():
    explorer = explore_noting(drawn=[], raises_at=9)

    async def move():
        hear(explorer, {"height": 5})
        hear(explorer, {"height": 9})
        assert explorer.panels["line"].get_title() == "height 5"

    asyncio.run(move())


def test_what_cannot_be_drawn_is_said_again_at_another_width():
    explorer = explore_noting(drawn=[], raises_at=9)
    sent = sent_by(explorer)
    hear(explorer, {"height": 9})
    for is_narrow in (True, False):
        hear(explorer, {}, is_narrow=is_narrow)
    assert sent == 3 * ["RuntimeError: no line at 9"]
    hear(explorer, {"height": 4})
    assert sent[3:] == [""], "the picture of 4 stands there"


def test_values_that_cannot_be_shown_are_not_offered():
    explorer = explore_noting(drawn=[], raises_at=1)
    height = explorer.controls["height"]
    with pytest.raises(RuntimeError, match="no line at 1"):
        height.offer(range(2), 1)
    assert (height.options, height.value) == (range(10), 4)
    with pytest.raises(RuntimeError, match="no line at 1"):
        height.value = 1
    assert height.value == 4
    assert explorer.panels["line"].get_title() == "height 4"


def test_what_was_drawn_ahead_is_not_what_is_there():
    explorer = explore_noting(drawn=[])

    async def move():
        hear(explorer, {"height": 5})
        before = pixels(explorer)
        await explorer._task
        assert explorer._on_screen != explorer._setting
        assert explorer.words == "height 5, width 1"
        assert explorer.panels["line"].get_title() == "height 5"
        assert (pixels(explorer) == before).all()
        hear(explorer, {"height": 6})
        await explorer._task
        return explorer.picture()

    taken = asyncio.run(move())
    assert taken == explorer.picture()
    assert taken.words == "height 6, width 1"
    hear(explorer, {"height": 6})
    assert taken == explorer.picture()


@pytest.mark.parametrize("raised", [RuntimeError("no line"), KeyboardInterrupt()])
def test_what_cannot_be_drawn_is_told_to_who_asks_for_it(raised):
    def fill(panels, *, height):
        if height == 6:
            raise raised
        panels["line"].set_title(f"height {height}")
        return f"height {height}"

    explorer = explore_height(fill, begin=4)
    sent = sent_by(explorer)

    async def move():
        hear(explorer, {"height": 5})
        await explorer._task
        assert sent[1:] == [""]
        if isinstance(raised, Exception):
            hear(explorer, {"height": 6})
            assert sent[2:] == ["RuntimeError: no line"]
        hear(explorer, {"height": 4})
        assert sent[-2:] == [("height 4", True), ""]

    asyncio.run(move())


def test_what_a_program_changes_is_drawn_anew():
    looks = {"colour": "black"}

    def fill(panels, *, height):
        return f"{looks['colour']} at {height}"

    explorer = explore_height(fill, begin=4)

    async def move():
        hear(explorer, {"height": 5})
        await explorer._task
        looks["colour"] = "grey"
        explorer.controls["height"].offer(range(10), 4)
        assert explorer.words == "grey at 4"
        hear(explorer, {"height": 5})
        assert explorer.words == "grey at 5"
        await explorer._task

    asyncio.run(move())


def test_no_more_pictures_are_kept_than_fit(monkeypatch):
    monkeypatch.setattr(live, "MOST_PICTURES", 3)
    monkeypatch.setattr(live, "likely_after", lambda *moved: likely_after(*moved)[:1])
    drawn = []
    explorer = explore_noting(drawn=drawn)

    async def move():
        for height in range(5, 10):
            hear(explorer, {"height": height})
            await explorer._task
            assert len(explorer._kept) <= 3
        hear(explorer, {"height": 5})
        assert explorer.words == "height 5, width 1"

    asyncio.run(move())
    assert drawn == [4, 5, 6, 7, 8, 9, 5]


def test_of_a_picture_that_takes_long_the_beginning_is_drawn_ahead_and_the_rest_follows():
    explorer = explore_in_bits()
    sent = sent_by(explorer)

    async def move():
        hear(explorer, {"height": 5})
        await explorer._task
        explorer.done.clear()
        del sent[:]
        hear(explorer, {"height": 6})
        assert explorer.panels["line"].lines[0].get_ydata()[0] == 6
        assert sent == [("height 6, so far", False), ""]
        await until_whole(explorer)

    asyncio.run(move())
    assert sent[2:] == [("height 6", True)]
    assert explorer.done == [(6, 0), (6, 1), (6, 2)]
    late = pixels(explorer)
    hear(explorer, {"height": 6})
    assert (pixels(explorer) == late).all()


def test_the_next_values_to_either_side_are_drawn_ahead_before_the_rest():
    begun = []

    def fill(panels, *, height):
        begun.append(height)
        yield f"height {height}, so far"
        begun.append("rest")
        return f"height {height}"

    explorer = explore_height(fill, begin=3)
    begun.clear()

    async def move():
        hear(explorer, {"height": 4})
        await explorer._task

    asyncio.run(move())
    assert begun == [4, 5, 4, "rest", 6, 2, 9, 0], "3 is there"


def explore_in_steps(*, fails=()):
    """A line that is there before the rest of its picture; it raises what `fails` has for a height, once."""

    def fill(panels, *, height):
        panels["line"].set(xlim=(0, 1), ylim=(0, 10), title=f"height {height}")
        panels["line"].plot([0, 1], [height, height], color="black")
        for _ in range(5):
            yield f"height {height}, so far"
        if height in fails:
            raise fails[height]
        return f"height {height}"

    return explore_height(fill)


@pytest.mark.parametrize("raised", [RuntimeError("no rest"), KeyboardInterrupt()])
@pytest.mark.parametrize("on_the_way", [[], [4]], ids=["again", "away and back"])
def test_a_rest_that_failed_is_drawn_from_the_beginning_when_it_is_asked_for_again(raised, on_the_way):
    fails = {5: raised}
    explorer = explore_in_steps(fails=fails)

    async def move():
        for height in (4, 5):
            hear(explorer, {"height": height})
            explorer._task.cancel()  # An interrupt in it would end the test.
            with suppress(RuntimeError, KeyboardInterrupt):
                await explorer._go_on_meanwhile(explorer._num_moves, [])
        assert explorer.words == "height 5, so far"
        fails.clear()
        for height in (*on_the_way, 5):
            hear(explorer, {"height": height})
        await until_whole(explorer)

    asyncio.run(move())
    assert explorer.words == "height 5"
    picture = pixels(explorer)
    explorer.controls["height"].value = 4
    explorer.controls["height"].value = 5
    assert (pixels(explorer) == picture).all()


def test_after_a_move_that_failed_a_picture_is_the_one_that_its_words_tell_of():
    explorer = explore_noting(drawn=[], raises_at=9)

    async def move():
        hear(explorer, {"height": 5})
        before = explorer.picture()
        await explorer._task
        hear(explorer, {"height": 9})
        assert explorer.picture() == before

    asyncio.run(move())


def test_a_picture_taken_while_its_rest_is_drawn_is_the_one_that_its_words_tell_of():
    explorer = explore_in_steps()

    async def move():
        hear(explorer, {"height": 3})
        await explorer._task
        hear(explorer, {"height": 4})
        while explorer._on_screen != explorer._setting:
            await asyncio.sleep(0)
        assert not explorer.view.is_whole
        assert explorer.words == "height 4, so far"
        assert explorer.picture().png == with_few_colours(explorer.view.png)

    asyncio.run(move())


def test_panels_whose_drawing_was_interrupted_are_drawn_when_they_are_asked_for_again():
    explorer = explore_noting(drawn=[])

    async def move():
        hear(explorer, {"height": 5})
        await explorer._task
        fill, explorer._fill = explorer._fill, interrupted
        with pytest.raises(KeyboardInterrupt):
            explorer.panels  # noqa: B018 - to ask for them draws them
        explorer._fill = fill
        assert explorer.panels["line"].get_title() == "height 5"

    def interrupted(panels, **values):
        raise KeyboardInterrupt

    asyncio.run(move())


def test_when_a_program_sets_what_cannot_be_drawn_nobody_waits_for_the_rest_of_the_picture_before():
    explorer = explore_in_steps(fails={3: RuntimeError("no 3")})

    async def move():
        hear(explorer, {"height": 5})
        with pytest.raises(RuntimeError, match="no 3"):
            explorer.controls["height"].value = 3
        await explorer._task

    asyncio.run(move())
    assert explorer.view.is_whole


def test_a_plot_drawn_beside_a_slider_leaves_the_settings_of_the_reader():
    settings = dict(mpl.rcParams)
    is_inside, is_over = threading.Event(), threading.Event()

    def fill(panels, *, height):
        if height:
            is_inside.set()
            is_over.wait(LONG_ENOUGH_TO_GET_IN_S)
        return f"height {height}"

    def draw():
        is_inside.wait()
        with style.applied({"axes.titlepad": 3.0}):
            is_over.set()
            moving.join(LONG_ENOUGH_TO_GET_IN_S)

    explorer = explore_height(fill)
    moving = threading.Thread(target=setattr, args=(explorer.controls["height"], "value", 1))
    plotting = threading.Thread(target=draw)
    plotting.start()
    moving.start()
    moving.join()
    plotting.join()
    assert dict(mpl.rcParams) == settings
