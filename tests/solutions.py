"""The exercises of the notebooks, each with the solution that is folded below it."""

import itertools
import re
from pathlib import Path

import nbformat

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
SOLUTION = re.compile(r"<details><summary>Solution</summary>\s*```python\n(.*?)```", re.DOTALL)
CHECK = re.compile(r'^check\("([\d.]+)", (\w+)\)$', re.MULTILINE)


def exercise_cells(notebook):
    """Pair each cell that checks an answer with the solution folded in the next Markdown cell."""
    for cell, following in itertools.pairwise(notebook.cells):
        if cell.cell_type == "code" and (found := CHECK.search(cell.source)):
            solution = SOLUTION.search(following.source) if following.cell_type == "markdown" else None
            yield cell, found[1], found[2], solution[1] if solution else None


def all_solutions():
    """Return the name and the source of each solution, by the number of its exercise."""
    return {
        exercise_id: (name, solution)
        for path in NOTEBOOKS
        for _, exercise_id, name, solution in exercise_cells(nbformat.read(path, as_version=4))
    }
