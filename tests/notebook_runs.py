"""One run of each notebook, for all that is asked of it."""

import ast
import os
import re
from functools import cache
from typing import NamedTuple

import freeze
import nbformat
from amounts import amount
from solutions import CHECK, exercise_cells

TAKES_LONG = re.compile(
    r"\b(fig_\d+\w*|fill_by_page_size|times_as_long|sustained_rates|rates_by_kernel|move_each)\("
)
"""What computes a figure of the paper, fills its pool at every page size, or measures time."""


class Ran(NamedTuple):
    """What came of a run: the cells that ran, as committed and afresh, and what was said to each solution."""

    committed: nbformat.NotebookNode
    fresh: nbformat.NotebookNode
    said: dict
    spent_s: float


def cells_that_take_long(notebook):
    """Name the cells that take long, and those that need what such a cell has made."""
    ids, made = set(), set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
            if TAKES_LONG.search(cell.source) or made & {node.id for node in names}:
                ids.add(cell.id)
                made |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return ids


@cache
def run(path):
    """Run a notebook, and below the blank cell of each exercise its solution."""
    committed = nbformat.read(path, as_version=4)
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    counts = {cell.id: count for count, cell in enumerate(code, start=1)}
    left_out = amount(short=cells_that_take_long(committed), long=set())
    solved = {
        cell.id: (exercise_id, f"{solution}\n{CHECK.search(cell.source)[0]}")
        for cell, exercise_id, _, solution in exercise_cells(committed)
    }
    committed.cells = [cell for cell in committed.cells if cell.id not in left_out]
    whole = nbformat.from_dict(committed)
    whole.cells = []
    for cell in committed.cells:
        whole.cells.append(cell)
        if cell.id in solved:
            whole.cells.append(nbformat.v4.new_code_cell(solved[cell.id][1], id=f"{cell.id}-solved"))
    before = os.times()
    fresh = freeze.run(whole)
    # Seconds of work, since a machine may have other work to do; Windows does not count them.
    after = os.times()
    spent_s = after.children_user + after.children_system - before.children_user - before.children_system

    cells = {cell.id: cell for cell in fresh.cells}
    said = {
        exercise_id: "".join(
            output.get("data", {}).get("text/plain", "") for output in cells[f"{cell_id}-solved"].outputs
        )
        for cell_id, (exercise_id, _) in solved.items()
    }
    fresh.cells = [cells[cell.id] for cell in committed.cells]
    for cell in fresh.cells:
        if cell.cell_type == "code":
            # As without the solutions and with what was left out.
            assert cell.execution_count
            cell.execution_count = counts[cell.id]
    return Ran(committed, fresh, said, spent_s)
