"""Run what Codespaces and Binder run, each in a clean copy of what is committed and with a fresh Python.

``python tests/check_doors.py``; it needs git, bash and a network. In the end JupyterLab has to answer a page
that comes by GitHub's address, and the first notebook to run without this project's Jupyter.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_S = 60

IMPORTS = """\
import nbformat
cells = nbformat.read("notebooks/00_one_slider.ipynb", as_version=4).cells
exec(next(cell.source for cell in cells if cell.cell_type == "code"))
"""


@contextlib.contextmanager
def clean_copy():
    """Yield the folder of a copy of what is committed, and variables that put a fresh Python first."""
    with tempfile.TemporaryDirectory() as temporary:
        copy, venv = Path(temporary, "copy"), Path(temporary, "python")
        subprocess.run(["git", "clone", "--quiet", "--depth=1", ROOT.as_uri(), copy], check=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        yield copy, os.environ | {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "PIP_QUIET": "1"}


def check_codespaces():
    """Set up as a container does, and find JupyterLab running."""
    with clean_copy() as (copy, variables):
        says = json.loads((copy / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
        run = {"cwd": copy, "env": variables}
        subprocess.run(["bash", "-c", says["postCreateCommand"]], check=True, **run)
        [port] = says["forwardPorts"]
        with subprocess.Popen(["bash", "-c", f"exec {says['postAttachCommand']}"], **run) as lab:
            try:
                # The page has GitHub's address; what it asks for reaches the server as if from this machine.
                theirs = f"https://any-name-{port}.app.github.dev"
                assert allowed_origin(lab, port, theirs) == theirs
                assert allowed_origin(lab, port, "https://example.com") is None
            finally:
                lab.terminate()


def allowed_origin(lab, port, origin):
    """Ask the server for something from a page at an address, and return the addresses it wants to serve."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api", headers={"Origin": origin})
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.headers["Access-Control-Allow-Origin"]
        except urllib.error.URLError:
            assert lab.poll() is None, "JupyterLab has ended"
            assert time.monotonic() < deadline, f"JupyterLab did not start within {START_S} s"
            time.sleep(0.2)


def check_binder():
    """Run what is run after Binder's own JupyterLab is there, and then the imports of a notebook."""
    with clean_copy() as (copy, variables):
        run = {"cwd": copy, "env": variables}
        # Binder has it.
        subprocess.run(["python3", "-m", "pip", "install", "nbformat"], check=True, **run)
        subprocess.run([copy / ".binder/postBuild"], check=True, **run)
        subprocess.run(["python3", "-c", IMPORTS], check=True, **run)


if __name__ == "__main__":
    check_codespaces()
    check_binder()
