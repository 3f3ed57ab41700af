"""A notebook in JupyterLab in a browser, as the tests handle it."""

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from paged_demo.__main__ import LAB_SETTINGS, lab_arguments

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

DOCUMENTS = "@jupyterlab/docmanager-extension:plugin"

LAB, NOTEBOOK_7 = "lab/tree", "notebooks"
"""The front ends, by the beginning of their addresses."""

INTERACT = "interact"
"""The name of a notebook made for comparison, and of its one cell."""

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Generous, since a machine may have other work to do: nothing is wrong with a test that takes long.
START_S = 120
AUTOSAVE_S = 1
"""How often JupyterLab would save by itself, if that was not turned off."""
RUN_ALL_S = 600
MOVE_S = 60


def find_chromium():
    """Return the path of a Chromium or Chrome, or None; the variable CHROMIUM comes first."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@contextlib.contextmanager
def served(folder):
    """Serve a folder of notebooks with JupyterLab, and yield the address that opens one by its name.

    The same server has Jupyter Notebook 7, at other addresses.

    The server gets the arguments that the reader's command gives it. It reads and writes no settings but
    its own, in a folder beside the notebooks.
    """
    own = folder / ".jupyter"
    settings_of = LAB_SETTINGS | {DOCUMENTS: LAB_SETTINGS[DOCUMENTS] | {"autosaveInterval": AUTOSAVE_S}}
    for plugin, settings in settings_of.items():
        path = own / f"JUPYTERLAB_SETTINGS_DIR/{plugin.replace(':', '/')}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings), encoding="utf-8")
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    variables = [*(f"JUPYTER_{name}" for name in names), "IPYTHONDIR"]
    variables += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex()
    arguments = lab_arguments(
        [
            "--no-browser",
            f"--port={port}",
            f"--ServerApp.root_dir={folder}",
            f"--IdentityProvider.token={token}",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ]
    )
    log_path = own / "log.txt"
    with log_path.open("w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *arguments],
            env=os.environ | {variable: str(own / variable) for variable in variables},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until_it_answers(server, f"http://127.0.0.1:{port}/api/status?token={token}", log_path)
            yield lambda name, app=LAB: f"http://127.0.0.1:{port}/{app}/{name}.ipynb?reset&token={token}"
        finally:
            server.terminate()
            server.wait()


def wait_until_it_answers(server, address, log_path):
    """Return when the server answers; raise with the end of its log if it does not start."""
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(address):
            return
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log_path.read_text(encoding='utf-8')[-3000:]}")


class Notebook:
    """A notebook that is open in a page of its own."""

    def __init__(self, browser, name, address):
        self.name = name
        self.page = browser.new_page(viewport={"width": 1280, "height": 1000})
        self.page.set_default_timeout(1000 * MOVE_S)
        self.page_errors = []
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        self.page.add_init_script(path=HERE / "in_lab.js")
        self.page.goto(address, timeout=1000 * START_S)
        self.wait("inLab.isIdle()", START_S)
        self.page.evaluate("inLab.listen()")

    def wait(self, condition, seconds):
        """Wait until some JavaScript is true."""
        self.page.wait_for_function(condition, timeout=1000 * seconds)

    def run_whole(self):
        """Run all cells."""
        self.page.evaluate("inLab.runAll()")
        self.wait("inLab.ran && inLab.isIdle()", RUN_ALL_S)

    def run_cell(self, index):
        """Run one cell, and do not wait for it."""
        self.page.evaluate("index => { inLab.runCell(index); }", index)

    @property
    def errors(self):
        """What cells, callbacks and the page raised so far."""
        return self.page.evaluate("[...inLab.problems(), ...inLab.messages]") + self.page_errors

    def wait_until_idle(self):
        """Wait until the kernel has done what it was asked for."""
        self.wait("inLab.isIdle()", RUN_ALL_S)

    def explorers(self):
        """Yield the explorers from top to bottom, each when it is in view."""
        for cell_id in self.page.evaluate("inLab.cellsWithExplorers()"):
            yield self.explorer(cell_id, ".paged-demo-explorer")

    def explorer(self, cell_id, selector):
        """Bring a cell into view, and return the explorer in it."""
        self.page.evaluate("id => inLab.bringIntoView(id)", cell_id)
        return Explorer(
            self.page, cell_id, self.page.locator(f'.jp-Cell[data-id="{cell_id}"] {selector}').first
        )

    def look(self, *, width, theme):
        """Set the window's width, without the file browser, and the theme."""
        self.page.set_viewport_size({"width": width, "height": 1000})
        if self.page.evaluate("!jupyterapp.shell.leftCollapsed"):
            self.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        # JupyterLab covers itself while it loads a theme.
        self.page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)
        self.wait("document.getElementById('jupyterlab-splash') === null", START_S)

    def close(self):
        """End the kernel and close the page."""
        self.page.evaluate("inLab.notebook().sessionContext.shutdown()")
        self.page.close()


class Explorer:
    """Controls, a picture and words in the output of a cell."""

    def __init__(self, page, cell_id, box):
        self.page = page
        self.cell_id = cell_id
        self.box = box
        box.scroll_into_view_if_needed()
        self.picture.wait_for()
        self.wait_until_settled()

    @property
    def picture(self):
        return self.box.locator("img").first

    @property
    def looks(self):
        """The picture and its alternative text."""
        return self.evaluate("box => inLab.looks(inLab.picture(box))")

    @property
    def words(self):
        return self.evaluate("box => inLab.words(box)").removeprefix("In words: ")

    @property
    def sliders(self):
        """The controls that the picture follows: not those of a form above a button."""
        handles = self.box.locator("input[type=range], select, .noUi-handle").all()
        return [Slider(self, handle) for handle in handles[self.has_form :]]

    @property
    def buttons(self):
        """The buttons, from left to right."""
        return self.box.get_by_role("button").all()

    def button(self, name):
        return self.box.get_by_role("button", name=name, exact=True)

    @property
    def has_form(self):
        """Whether there is a prompt to fill in, with one slider, and buttons to generate and to stop."""
        return self.prompt.count() > 0

    @property
    def prompt(self):
        return self.box.locator("input[type=text]")

    @property
    def status(self):
        """What is said beside the buttons of a form."""
        return self.box.locator("span[role=status]:not(summary > *)").inner_text()

    def wait_until_answered(self):
        """Wait until no answer grows: the kernel is idle between two tokens too."""
        self.button("Generate").and_(self.box.locator("[aria-disabled=false]")).wait_for()

    def fill_in(self, prompt, *, most_tokens):
        """Type a prompt into the box for it, and say how long its answer may be."""
        self.prompt.fill(prompt)
        slider = Slider(self, self.box.locator("input[type=range]").first)
        slider.go_back_to(slider.position_of(most_tokens))
        self.page.wait_for_timeout(1000)  # until what was set has come back from the kernel
        assert (self.prompt.input_value(), slider.readout) == (prompt, str(most_tokens))

    @property
    def png(self):
        """The picture's bytes."""
        return base64.b64decode(self.picture.get_attribute("src").partition(",")[2])

    def evaluate(self, function, argument=None):
        return self.box.evaluate(function, argument)

    def wait_for_looks(self, looks):
        self.page.wait_for_function(
            "([box, looks]) => inLab.looks(inLab.picture(box)) === looks",
            arg=[self.box.element_handle(), looks],
        )

    def wait_for_other_looks(self, looks):
        self.page.wait_for_function(
            "([box, looks]) => inLab.looks(inLab.picture(box)) !== looks",
            arg=[self.box.element_handle(), looks],
        )

    def wait_for_alt(self, words):
        self.page.wait_for_function(
            "([box, words]) => inLab.picture(box).alt === words", arg=[self.box.element_handle(), words]
        )

    def wait_until_settled(self):
        """Wait until the picture is whole, and as wide as the page asks for."""
        self.evaluate("box => inLab.settled(box)")

    def wait_for_words_to_follow(self):
        """Wait until the picture is whole, and the words below it are its own."""
        self.wait_until_settled()
        self.page.wait_for_function(
            "box => inLab.words(box) === 'In words: ' + inLab.picture(box).alt",
            arg=self.box.element_handle(),
        )


class Slider:
    """One slider of an explorer, moved by keys."""

    def __init__(self, explorer, handle):
        self.explorer = explorer
        self.handle = handle
        self.name = self.tell()["name"]

    def tell(self):
        return self.handle.evaluate("handle => inLab.tell(handle)")

    @property
    def value(self):
        """The position of its value."""
        return self.tell()["value"]

    @property
    def ends(self):
        return self.tell()["ends"]

    @property
    def readout(self):
        return self.tell()["readout"]

    def position_of(self, number):
        """The position of a number, for a slider over whole numbers."""
        return self.value + number - int(self.readout)

    def press(self, key):
        """Press a key; return the milliseconds until the new picture is there, or None at an end."""
        before = self.value
        self.handle.focus()
        self.explorer.evaluate("box => inLab.watch(box)")
        self.explorer.page.keyboard.press(key)
        if self.value == before:
            return None
        return self.explorer.page.evaluate("seconds => inLab.newPicture(seconds)", MOVE_S)

    def go_back_to(self, value):
        """Press keys as quickly as if one was held, without waiting for the pictures between."""
        if self.value == value:
            return  # Else the picture there was would be taken for the one that comes back.
        self.handle.focus()
        keyboard = self.explorer.page.keyboard
        keyboard.press("Home")
        page_steps = max(1, int(self.ends[1] / 10 + 0.5))
        # In a list these keys do something else.
        while self.handle.get_attribute("type") == "range" and value - self.value >= page_steps:
            keyboard.press("PageUp")
        while self.value < value:
            keyboard.press("ArrowRight")


def is_named(shown, words):
    """Say whether some words name a value as its slider shows it, apart from the commas of thousands."""
    shown, words = (text.replace(",", "") for text in (shown, words))
    return re.search(rf"(?<![\w.]){re.escape(shown)}(?!\w)", words) is not None
