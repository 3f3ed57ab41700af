"""What a reader's keyboard, screen reader and patience ask of the controls, in JupyterLab."""

import pytest

from browser.conftest import LIVE
from browser.in_lab import Notebook


@pytest.fixture
def live(chromium, address_of):
    """A notebook with an explorer, whose cell has run, and one cell more that keeps the kernel busy."""
    notebook = Notebook(chromium, LIVE, address_of(LIVE))
    notebook.run_cell(0)
    notebook.page.locator(".paged-demo-explorer").wait_for()
    notebook.wait_until_idle()
    yield notebook
    notebook.close()


@pytest.fixture
def explorer(live):
    return live.explorer(LIVE, ".paged-demo-explorer")


def slider_of(explorer, name):
    return next(slider for slider in explorer.sliders if slider.name == name)


def test_a_screen_reader_is_told_the_name_and_the_value_of_every_control(explorer):
    told = explorer.box.aria_snapshot()
    print(told)
    assert '- slider "height (m)": "50"' in told
    assert '- slider "width (points)": "1"' in told
    assert '- combobox "colour":' in told
    assert '- option "black" [selected]' in told
    assert slider_of(explorer, "width (points)").readout == "1"
    slider_of(explorer, "width (points)").press("End")
    assert slider_of(explorer, "width (points)").readout == "4"


def test_keys_work_after_a_click_anywhere_on_the_track(explorer):
    height = slider_of(explorer, "height (m)")
    box = height.handle.bounding_box()
    height.handle.click(position={"x": 0.8 * box["width"], "y": box["height"] / 2})
    clicked = height.value
    assert 70 < clicked < 90
    keyboard = explorer.page.keyboard
    for key, value in [
        ("ArrowRight", clicked + 1), ("ArrowUp", clicked + 2), ("ArrowLeft", clicked + 1), ("PageDown", clicked - 9),
        ("Home", 0), ("ArrowLeft", 0), ("PageUp", 10), ("End", 100), ("PageUp", 100), ("ArrowDown", 99),
    ]:  # fmt: skip
        keyboard.press(key)
        assert height.value == value
    explorer.wait_for_words_to_follow()
    explorer.page.get_by_text("A black line at 99, 1 wide.").wait_for()


def test_letters_do_not_reach_the_notebook_and_shift_enter_does(live, explorer):
    for handle in [slider.handle for slider in explorer.sliders]:
        handle.focus()
        for key in "abxdd":
            explorer.page.keyboard.press(key)
    assert live.page.evaluate("inLab.notebook().content.widgets.length") == 3
    count = "inLab.codeCells()[0].model.executionCount"
    before = live.page.evaluate(count)
    slider_of(explorer, "height (m)").handle.focus()
    explorer.page.keyboard.press("Shift+Enter")
    live.wait(f"{count} > {before}", 30)


def test_the_first_and_the_second_move_are_answered_while_a_cell_runs(live, explorer):
    live.run_cell(1)
    live.wait("!inLab.isIdle()", 10)
    height = slider_of(explorer, "height (m)")
    waited_ms = [height.press("ArrowRight"), height.press("ArrowRight")]
    assert live.page.evaluate("inLab.codeCells()[1].model.executionCount") is None, waited_ms
    explorer.page.get_by_text("A black line at 52, 1 wide.").wait_for()
    print("while a cell runs (ms):", waited_ms)
    assert live.page.evaluate("inLab.messages") == live.page_errors == []


def test_a_restart_and_an_error_are_told_beside_the_picture(live, explorer):
    height = slider_of(explorer, "height (m)")
    height.go_back_to(13)
    explorer.page.get_by_text("RuntimeError: 13 is not drawn").wait_for()
    height.handle.press("ArrowRight")
    explorer.page.get_by_text("A black line at 14, 1 wide.").wait_for()
    assert explorer.box.locator(".paged-demo-state").inner_text() == ""
    live.page.evaluate("inLab.notebook().sessionContext.session.kernel.restart()")
    explorer.page.get_by_text("Run the cell again.").wait_for()


def test_a_kernel_that_keeps_a_reader_waiting_is_told(live, explorer):
    live.run_cell(2)
    live.wait("!inLab.isIdle()", 10)
    slider_of(explorer, "height (m)").handle.press("ArrowRight")
    explorer.page.get_by_text("Waiting for the kernel.").wait_for()
    explorer.page.get_by_text("A black line at 51, 1 wide.").wait_for()
    assert explorer.box.locator(".paged-demo-state").inner_text() == ""
