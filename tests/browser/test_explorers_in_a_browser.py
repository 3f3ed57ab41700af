"""Each notebook in JupyterLab: run whole, and every slider and button of it used, by keyboard."""

import re

import pytest

from browser.in_lab import INTERACT, ROOT, is_named

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
WIDE_PX, NARROW_PX = 1280, 480
A_FEW = 4
READABLE = 4.5  # WCAG 2, level AA

each_notebook = pytest.mark.parametrize("opened", NOTEBOOKS, indirect=True)


def check_words(explorer):
    """The words below are the picture's alternative text, and name what every slider is set to."""
    explorer.wait_for_words_to_follow()
    for slider in explorer.sliders:
        assert is_named(slider.readout, explorer.words), (slider.name, slider.readout, explorer.words)


@each_notebook
def test_a_notebook_runs_whole_without_an_error(opened):
    assert opened.errors == []
    assert len(list(opened.explorers())) > 0


@each_notebook
def test_pictures_and_words_follow_every_slider_to_both_ends_and_back(opened, latencies):
    opened.look(width=WIDE_PX, theme=LIGHT)
    for explorer in opened.explorers():
        check_words(explorer)
        for slider in explorer.sliders:
            start, looks = slider.value, explorer.looks
            shown = {}
            explorer.evaluate("box => inLab.followPlace(box)")
            for key in ["Home", *A_FEW * ["ArrowRight"], "End", *A_FEW * ["ArrowLeft"], "Home"]:
                waited_ms = slider.press(key)
                if waited_ms is not None:
                    where = f"{opened.name} {explorer.cell_id}"
                    latencies.setdefault((where, slider.name), []).append(waited_ms)
                check_words(explorer)
                # The same value shows the same, whatever came before; another one something else.
                assert shown.setdefault(slider.value, explorer.looks) == explorer.looks
            places = explorer.evaluate("() => inLab.placesSeen()")
            assert len(places) == 1, f"{slider.name}: the picture jumps between {places}"
            assert set(slider.ends) <= set(shown)
            assert len(set(shown.values())) == len(shown) > 1
            assert len({looks.split("|")[1] for looks in shown.values()}) > 1
            slider.go_back_to(start)
            explorer.wait_for_looks(looks)
    assert opened.errors == []


@each_notebook
def test_every_button_does_something(opened):
    opened.look(width=WIDE_PX, theme=LIGHT)
    for explorer in opened.explorers():
        if explorer.has_form:
            explorer.fill_in("Say hi.", most_tokens=3)
        pressed = []
        for button in 2 * explorer.buttons:  # one may be disabled until another has been pressed
            if button.is_disabled() or button.inner_text() in pressed:
                continue
            pressed.append(button.inner_text())
            looks = explorer.looks
            button.focus()
            button.press("Enter")
            explorer.wait_for_other_looks(looks)
            if explorer.has_form:
                explorer.wait_until_answered()
            opened.wait_until_idle()
            check_words(explorer)
    assert opened.errors == []


@pytest.mark.parametrize("stop", ["button", "interrupt"])
@pytest.mark.parametrize("opened", ["07_real_model"], indirect=True)
def test_an_answer_stops_when_it_is_told_to(opened, stop):
    opened.look(width=WIDE_PX, theme=LIGHT)
    explorer = next(explorer for explorer in opened.explorers() if explorer.has_form)
    most_tokens = 200
    explorer.fill_in("Tell me the numbers from one to one hundred.", most_tokens=most_tokens)
    for _ in range(3):
        looks = explorer.looks
        explorer.prompt.press("Enter")
        explorer.wait_for_other_looks(looks)
        if stop == "button":
            explorer.button("Stop").press("Enter")
        else:
            opened.page.evaluate("jupyterapp.commands.execute('notebook:interrupt-kernel')")
        explorer.wait_until_answered()
        opened.wait_until_idle()
        check_words(explorer)
        stopped = re.fullmatch(r"Stopped after (\d+) tokens?\.", explorer.status)
        assert stopped, explorer.status
        [slider] = explorer.sliders
        assert 1 <= int(stopped[1]) == slider.value + 1 == slider.ends[1] + 1 < most_tokens
    assert opened.errors == []


@pytest.mark.parametrize("opened", ["07_real_model"], indirect=True)
def test_a_prompt_that_is_empty_or_too_long_is_told_before_anything_runs(opened):
    explorer = next(explorer for explorer in opened.explorers() if explorer.has_form)
    looks = explorer.looks
    for prompt, told in [("  ", "Type a prompt first."), (300 * "one ", "at most 255 tokens leave room")]:
        explorer.fill_in(prompt, most_tokens=5)
        explorer.prompt.press("Enter")
        explorer.page.get_by_text(told).wait_for()
        explorer.wait_until_answered()
        assert explorer.looks == looks
    assert opened.errors == []


@each_notebook
@pytest.mark.parametrize("width", [WIDE_PX, NARROW_PX], ids=["wide", "narrow"])
def test_no_picture_jumps_or_is_wider_than_the_page_whatever_is_set(opened, width):
    opened.look(width=width, theme=LIGHT)
    for explorer in opened.explorers():
        for slider in explorer.sliders:
            start, looks = slider.value, explorer.looks
            explorer.evaluate("box => inLab.followPlace(box)")
            for key in ("Home", "End"):
                slider.press(key)
                check_words(explorer)
                assert explorer.evaluate("box => inLab.tooWide(box)") == []
            slider.go_back_to(start)
            explorer.wait_for_looks(looks)
            assert len(explorer.evaluate("() => inLab.placesSeen()")) == 1
    assert opened.errors == []


@each_notebook
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE_PX, NARROW_PX], ids=["wide", "narrow"])
def test_an_explorer_can_be_read_in_both_themes(opened, width, theme):
    opened.look(width=width, theme=theme)
    for explorer in opened.explorers():
        assert explorer.evaluate("box => inLab.corners(inLab.picture(box))") == 4 * [[255, 255, 255, 255]]
        assert explorer.evaluate("box => inLab.tooWide(box)") == []
        contrasts = explorer.evaluate("box => inLab.contrasts(box)")
        assert len(contrasts) > len(explorer.sliders)
        assert [(text, ratio) for text, ratio in contrasts if ratio < READABLE] == []
    assert opened.errors == []


@pytest.mark.parametrize("opened", [INTERACT], indirect=True)
def test_interact_is_timed_for_comparison(opened, latencies):
    opened.look(width=WIDE_PX, theme=LIGHT)
    explorer = opened.explorer(INTERACT, ".widget-interact")
    [slider] = explorer.sliders
    keys = [*2 * ["Home", *8 * ["ArrowRight"], "End", *8 * ["ArrowLeft"]]]
    waited_ms = [slider.press(key) for key in keys]
    latencies[INTERACT, slider.name] = [ms for ms in waited_ms if ms is not None]
    assert latencies[INTERACT, slider.name]
    assert opened.errors == []
