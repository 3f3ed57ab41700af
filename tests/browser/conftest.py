"""A browser, a JupyterLab, and a table of how quickly pictures follow the keys."""

import importlib.util
import os
import shutil
from statistics import median, quantiles

import nbformat
import pytest
from freeze import METADATA

from browser.in_lab import CHROMIUM_FLAGS, INTERACT, ROOT, Notebook, find_chromium, served
from paged_demo.llm.weights import what_is_missing

NEEDS_WEIGHTS = {"07_real_model"}

WITH_INTERACT = """\
import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import SelectionSlider, interact

from paged_demo import fill_by_page_size, sharegpt
from paged_demo.paper.numbers import NUM_SLOTS_13B
from paged_demo.views import style
from paged_demo.course.nb00 import explore_page_size
from paged_demo.views.picture import DPI

requests = sharegpt.sample(1000, rng=np.random.default_rng(0))
pools = fill_by_page_size(requests, [2**power for power in range(12)], num_slots=NUM_SLOTS_13B)
dial = explore_page_size(pools)
boxes = {name: ax.get_position().bounds for name, ax in dial.panels.items()}


def draw(page_size):
    with style.applied():
        figure = plt.figure(figsize=(9, 4.3), dpi=DPI)
        dial._fill(dial._lay_out(figure, boxes), page_size=page_size)
        plt.show()


interact(draw, page_size=SelectionSlider(options=list(pools), value=16, description="page size (slots)"));
"""
"""The picture of notebook 00's dial, as `interact` draws it: each time from nothing."""

LIVE = "live"
"""The name of a notebook made for the controls, and of its first cell."""

WITH_CONTROLS = """\
from IPython.display import display

from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer


def fill(panels, *, height, colour, width):
    if height == 13:
        raise RuntimeError("13 is not drawn")
    panels["line"].plot([0, 1], [height, height], color=colour, linewidth=width)
    panels["line"].set_ylim(-1, 101)
    return f"A {colour} line at {height}, {width} wide."


explorer = Explorer(
    fill,
    {
        "height": number("height (m)", 50, lowest=0, highest=100),
        "colour": choice("colour", ["black", "blue", "grey"]),
        "width": choice("width (points)", [1, 2, 4]),
    },
    panels={"line": (0.1, 0.1, 0.8, 0.8)},
    narrow={"line": 1.5},
    height=2,
)
explorer"""

BUSY = """\
import time

end = time.monotonic() + 20
while time.monotonic() < end:
    sum(range(10_000))
print("done")"""

DEAF = """\
import re
import time

print("one second more", flush=True)
time.sleep(1)
re.match(r"(a+)+b", 27 * "a")  # some seconds, in which no other thread of the kernel has a turn"""

LATENCIES = pytest.StashKey[dict]()


# Not for the session: while playwright is open its event loop runs in this thread, and others cannot.
@pytest.fixture(scope="module")
def chromium():
    path = find_chromium()
    missing = [
        *([] if path else ["Chromium or Chrome (from your system; or set CHROMIUM to its path)"]),
        *([] if importlib.util.find_spec("playwright") else ["playwright (pip install -e '.[browser]')"]),
    ]
    if missing:
        # CI that has no browser leaves this folder out, rather than believe that its tests have passed.
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"there is no {' and no '.join(missing)}")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (a reader need not have it)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Copies of the notebooks, since JupyterLab may write into them."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "assets", folder / "assets")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    cell = nbformat.v4.new_code_cell(WITH_INTERACT, id=INTERACT)
    made = nbformat.v4.new_notebook(cells=[cell], metadata=METADATA)
    nbformat.write(made, folder / "notebooks" / f"{INTERACT}.ipynb")
    cells = [
        nbformat.v4.new_code_cell(source, id=cell_id)
        for source, cell_id in [(WITH_CONTROLS, LIVE), (BUSY, "busy"), (DEAF, "deaf")]
    ]
    made = nbformat.v4.new_notebook(cells=cells, metadata=METADATA)
    nbformat.write(made, folder / "notebooks" / f"{LIVE}.ipynb")
    return folder


@pytest.fixture(scope="module")
def address_of(chromium, folder):
    """JupyterLab: where a notebook is to be found by its name."""
    with served(folder) as address_of:
        yield lambda name, *app: address_of(f"notebooks/{name}", *app)


@pytest.fixture(scope="module")
def opened(request, chromium, address_of):
    """A notebook that has run whole."""
    name = request.param
    if name in NEEDS_WEIGHTS and what_is_missing() and "CI" not in os.environ:
        pytest.skip(what_is_missing())
    notebook = Notebook(chromium, name, address_of(name))
    notebook.run_whole()
    yield notebook
    notebook.close()


@pytest.fixture(scope="session")
def latencies(pytestconfig):
    """Milliseconds from key press to new pixels, by explorer and slider; printed when all is done."""
    return pytestconfig.stash.setdefault(LATENCIES, {})


def pytest_terminal_summary(terminalreporter, config):
    """Print how quickly the pictures followed. Nothing hangs on it: a machine may have other work to do."""
    measured = {names: ms for names, ms in config.stash.get(LATENCIES, {}).items() if len(ms) > 1}
    if not measured:
        return
    with_interact = [ms for (where, _), ms in measured.items() if where == INTERACT]
    reference = median(with_interact[0]) if with_interact else float("nan")
    terminalreporter.section("key press to new pixels (ms)")
    line = "{:34}{:22}{:>5}{:>8}{:>8}{:>13}"
    rows = [("explorer", "slider", "n", "median", "p90", "of interact")]
    for (where, slider), ms in measured.items():
        numbers = (
            f"{median(ms):.0f}",
            f"{quantiles(ms, n=10, method='inclusive')[-1]:.0f}",
            f"{median(ms) / reference:.2f}",
        )
        rows.append((where, slider, len(ms), *numbers))
    for row in rows:
        terminalreporter.write_line(line.format(*row))
