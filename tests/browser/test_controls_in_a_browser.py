"""What a reader's keyboard, screen reader and patience ask of the controls, in JupyterLab."""

import base64

import nbformat
import pytest

from browser.conftest import LIVE
from browser.in_lab import AUTOSAVE_S, LAB, NOTEBOOK_7, Explorer, Notebook
from paged_demo.views.frozen import WIDGET_VIEW


@pytest.fixture(params=[LAB])
def live(request, chromium, address_of):
    """A notebook with an explorer, whose cell has run, and cells that keep the kernel busy."""
    notebook = Notebook(chromium, LIVE, address_of(LIVE, request.param))
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
    session = explorer.page.context.new_cdp_session(explorer.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    told = [tuple(node.get(part, {}).get("value") for part in ("role", "name")) for node in nodes]
    for control in (("slider", "height (m)"), ("combobox", "colour"), ("slider", "width (points)")):
        assert told.count(control) == 1
    # The tree above holds a slider's position. What a screen reader says is its text.
    width = slider_of(explorer, "width (points)")
    for key, value in [("Home", "1"), ("End", "4")]:
        width.press(key)
        assert width.readout == width.handle.locator("xpath=../output").inner_text() == value


in_both = pytest.mark.parametrize("live", [LAB, NOTEBOOK_7], indirect=True)


@in_both
def test_keys_work_after_a_click_anywhere_on_the_track(explorer):
    height = slider_of(explorer, "height (m)")
    box = height.handle.bounding_box()
    height.handle.click(position={"x": 0.8 * box["width"], "y": box["height"] / 2})
    clicked = height.value
    assert 70 < clicked < 90
    keyboard = explorer.page.keyboard
    for key, value in [
        ("ArrowRight", clicked + 1), ("ArrowUp", clicked + 2), ("PageDown", clicked - 8), ("Home", 0),
        ("ArrowLeft", 0), ("PageUp", 10), ("End", 100), ("PageUp", 100), ("ArrowDown", 99),
    ]:  # fmt: skip
        keyboard.press(key)
        assert height.value == value
    explorer.wait_for_words_to_follow()
    explorer.page.get_by_text("A black line at 99, 1 wide.").wait_for()


@in_both
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
    assert live.page.evaluate("inLab.messages") == live.page_errors == []


def test_a_restart_and_an_error_are_told_beside_the_picture(live, explorer):
    height = slider_of(explorer, "height (m)")
    height.go_back_to(13)
    explorer.page.get_by_text("RuntimeError: 13 is not drawn").wait_for()
    height.handle.press("ArrowRight")
    explorer.page.get_by_text("A black line at 14, 1 wide.").wait_for()
    assert explorer.box.locator(".paged-demo-state").inner_text() == ""
    live.page.evaluate("inLab.notebook().sessionContext.session.kernel.restart()")
    explorer.page.get_by_text("Run the cells again").wait_for()
    height.handle.press("ArrowRight")
    live.page.wait_for_timeout(500)
    assert (
        explorer.box.locator(".paged-demo-state")
        .inner_text()
        .endswith("Run the cells again, from the first.")
    )
    assert live.page_errors == []


def test_a_kernel_that_keeps_a_reader_waiting_is_told(live, explorer):
    live.run_cell(2)
    live.page.get_by_text("one second more", exact=True).wait_for()
    live.page.wait_for_timeout(1500)
    slider_of(explorer, "height (m)").handle.press("ArrowRight")
    explorer.page.get_by_text("Waiting for the kernel.").wait_for()
    explorer.page.get_by_text("A black line at 51, 1 wide.").wait_for()
    assert explorer.box.locator(".paged-demo-state").inner_text() == ""


def test_a_picture_has_a_form_for_a_window_of_480_pixels(live, explorer):
    words, picture = explorer.words, explorer.picture
    wide = picture.get_attribute("width")
    live.look(width=480, theme="JupyterLab Light")
    explorer.page.wait_for_function(
        "picture => picture.getAttribute('width') < 600", arg=picture.element_handle()
    )
    narrow, shown = int(picture.get_attribute("width")), picture.bounding_box()["width"]
    # Letters of 11 points are 15 px high in a picture that is not made smaller.
    assert 15 * shown / narrow > 10
    assert explorer.words == words
    slider_of(explorer, "height (m)").press("ArrowRight")
    explorer.page.get_by_text("A black line at 51, 1 wide.").wait_for()
    assert int(picture.get_attribute("width")) == narrow
    live.look(width=1280, theme="JupyterLab Light")
    explorer.page.wait_for_function(
        "([picture, wide]) => picture.getAttribute('width') === wide", arg=[picture.element_handle(), wide]
    )
    explorer.page.get_by_text("A black line at 51, 1 wide.").wait_for()


def test_two_views_of_one_output_show_the_same_and_come_to_rest(live, explorer):
    live.page.evaluate("inLab.notebook().content.activeCellIndex = 0")
    live.page.evaluate("jupyterapp.commands.execute('notebook:create-output-view')")
    second = Explorer(live.page, LIVE, live.page.locator(".jp-LinkedOutputView .paged-demo-explorer"))
    assert second.looks == explorer.looks
    for view, key, height in [
        (explorer, "ArrowRight", 51),
        (second, "ArrowRight", 52),
        (explorer, "Home", 0),
    ]:
        slider_of(view, "height (m)").handle.press(key)
        for either in (explorer, second):
            either.wait_for_alt(f"A black line at {height}, 1 wide.")
        assert second.looks == explorer.looks
        assert [slider_of(either, "height (m)").value for either in (explorer, second)] == [height, height]
    second.evaluate("box => { box.style.width = '500px'; }")
    # Moved at once, one wide and one narrow, with more keys than answers are waited for.
    for view in (explorer, second) * 3:
        slider_of(view, "height (m)").handle.press("ArrowRight")
    live.page.wait_for_timeout(1000)
    num_messages = live.page.evaluate("inLab.numMessages")
    live.page.wait_for_timeout(1000)
    assert live.page.evaluate("inLab.numMessages") == num_messages
    heights = {slider_of(either, "height (m)").value for either in (explorer, second)}
    assert len(heights) == 1
    explorer.wait_for_alt(f"A black line at {heights.pop()}, 1 wide.")
    assert second.looks == explorer.looks
    assert live.page.evaluate("inLab.messages") == live.page_errors == []
    live.page.evaluate("jupyterapp.shell.currentWidget.close()")


def test_what_was_on_the_screen_is_what_is_saved(live, explorer, folder):
    slider_of(explorer, "height (m)").press("End")
    explorer.page.get_by_text("A black line at 100, 1 wide.").wait_for()
    live.page.evaluate("inLab.save()")
    saved = nbformat.read(folder / "notebooks" / f"{LIVE}.ipynb", as_version=4)
    picture, words = saved.cells[0].outputs
    assert words.data["text/plain"] == "In words: A black line at 100, 1 wide."
    assert base64.b64decode(picture.data["image/png"]) == explorer.png
    assert "widgets" not in saved.metadata
    assert WIDGET_VIEW not in picture.data


@pytest.mark.parametrize("name", ["00_one_slider"])
def test_a_notebook_that_is_only_read_stays_as_it_is(chromium, address_of, folder, name):
    path = folder / "notebooks" / f"{name}.ipynb"
    before = path.read_bytes()
    notebook = Notebook(chromium, name, address_of(name))
    notebook.page.wait_for_timeout(5000 * AUTOSAVE_S)
    assert path.read_bytes() == before
    notebook.close()
