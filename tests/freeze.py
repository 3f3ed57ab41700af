"""Run the notebooks and freeze what they show, so that readers without a kernel see it too.

``python tests/freeze.py`` runs every notebook and writes its outputs into it. Pictures and words stay;
live widgets go, since a page without a kernel shows an error in their place. ``--check`` writes nothing:
it compares each notebook with a fresh run and names what is stale.

The pixels of pictures are not compared, since they differ between versions of Matplotlib. A notebook that
needs the language model is left alone where its weights are missing, but not in CI.
"""

import argparse
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from paged_demo.llm.weights import what_is_missing
from paged_demo.views.frozen import drop_widgets

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

NEEDS_WEIGHTS = {"07_real_model"}

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def client_of(notebook):
    """Return what starts a kernel for a notebook and runs it."""
    return NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )


def run(notebook, running=None):
    """Run a copy of a notebook and return it in the form that is committed.

    It runs in a kernel of its own, or in the one of a client that is running.
    """
    fresh = nbformat.from_dict(notebook)
    client = running or client_of(fresh)
    client.nb = fresh
    client.execute(cleanup_kc=running is None)
    freeze(fresh)
    return nbformat.from_dict(fresh)


def why_not_run(path):
    """Say what a notebook needs and this machine lacks. In CI that is a failure of the run."""
    return what_is_missing() if path.stem in NEEDS_WEIGHTS and "CI" not in os.environ else ""


def freeze(notebook):
    """Remove what a commit should not hold, in place: widgets, and what one machine or editor noted."""
    drop_widgets(notebook)
    notebook["metadata"] = METADATA
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        if "outputs" in cell:
            cell["outputs"] = join_streams(cell["outputs"])


def join_streams(outputs):
    """Join neighbouring pieces of one stream: how many there are depends on how busy the machine is."""
    joined = []
    for output in outputs:
        if joined and "text" in output and joined[-1].get("name") == output["name"]:
            joined[-1]["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def differences(committed, fresh):
    """Name every difference between a committed notebook and a fresh run of it."""
    if committed.metadata != fresh.metadata:
        yield f"its metadata should be {dict(fresh.metadata)}"
    for old, new in zip(committed.cells, fresh.cells, strict=True):
        if old.metadata:
            yield f"cell {old.id!r} has metadata {dict(old.metadata)}"
        if old.cell_type == "code" and shown(old) != shown(new):
            yield f"cell {old.id!r} shows {shown(old)}, a fresh run shows {shown(new)}"


def shown(cell):
    """Return what a code cell shows: its texts, and the kinds of its pictures."""
    parts = [cell.execution_count]
    for output in cell.outputs:
        parts.extend((output.output_type, output[key]) for key in ("name", "text", "ename") if key in output)
        for kind, content in sorted(output.get("data", {}).items()):
            parts.append((kind, content if kind.startswith("text/") else "..."))
    return parts


def main(arguments):
    """Freeze or check the notebooks, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    parser.add_argument("names", nargs="*", help="such as 00_one_slider; all if left out")
    options = parser.parse_args(arguments)
    stale = 0
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if options.names and path.stem not in options.names:
            continue
        if reason := why_not_run(path):
            print(f"{path.name} was not run. {reason}")
            continue
        committed = nbformat.read(path, as_version=4)
        fresh = run(committed)
        found = list(differences(committed, fresh))
        if not options.check:
            nbformat.write(fresh, path)
        for difference in found:
            print(f"{path.name}: {difference}")
        stale += bool(found)
    if options.check and stale:
        print("Run: python tests/freeze.py")
    return int(options.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
