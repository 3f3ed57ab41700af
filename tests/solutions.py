"""The exercises of the notebooks, each with the solution that is folded below it."""

import itertools
import re
from functools import cache
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
"""The course, in order."""

RESULTS = FOLDER / "results.ipynb"
"""The paper's figures, to look things up in."""
SOLUTION = re.compile(r"<details><summary>Solution</summary>\s*```python\n(.*?)```", re.DOTALL)
CHECK = re.compile(r'^check\("([\d.]+)", (\w+)\)$', re.MULTILINE)


def source_of(stem, cell_id):
    """Return what stands in a cell of a notebook."""
    return sources_of(stem)[cell_id]


@cache
def sources_of(stem):
    """Return what stands in each cell of a notebook."""
    cells = nbformat.read(FOLDER / f"{stem}.ipynb", as_version=4).cells
    return {cell.id: cell.source for cell in cells}


def exercise_cells(notebook):
    """Pair each cell that checks an answer with the solution folded in the next Markdown cell."""
    for cell, following in itertools.pairwise(notebook.cells):
        if cell.cell_type == "code" and (found := CHECK.search(cell.source)):
            solution = SOLUTION.search(following.source) if following.cell_type == "markdown" else None
            yield cell, found[1], found[2], solution[1] if solution else None


@cache
def all_solutions():
    """Return the name and the source of each solution, by the number of its exercise."""
    return {
        exercise_id: (name, solution)
        for path in NOTEBOOKS
        for _, exercise_id, name, solution in exercise_cells(nbformat.read(path, as_version=4))
    }
