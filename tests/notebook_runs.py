"""One run of each notebook, for all that is asked of it."""

import ast
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

FORGET = """\
import sys
for name in [name for name in sys.modules if name.startswith("paged_demo")]:
    del sys.modules[name]
%reset_selective -f .
"""
"""Leaves nothing of the notebook that ran in a kernel before."""
CLOCK = "__import__('time').process_time()"
"""Tells the seconds of work: a machine may have other work to do."""

SOLVED = "-solved"


class Ran(NamedTuple):
    """What came of a run: the cells that ran, as committed and afresh, and what was said to each solution."""

    committed: nbformat.NotebookNode
    fresh: nbformat.NotebookNode
    said: dict
    spent_s: float


def cells_that_take_long(notebook):
    """Name the cells that take long, and those that need what such a cell has made."""
    ids, made = set(), set()
    for cell in code_of(notebook):
        names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
        if TAKES_LONG.search(cell.source) or made & {node.id for node in names}:
            ids.add(cell.id)
            made |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return ids


def with_solutions(notebook):
    """Return a notebook in which the solution of each exercise is run too, below its blank cell."""
    solved = {
        cell.id: nbformat.v4.new_code_cell(
            f"{solution}\n{CHECK.search(cell.source)[0]}", id=f"{exercise_id.replace('.', '-')}{SOLVED}"
        )
        for cell, exercise_id, _, solution in exercise_cells(notebook)
    }
    whole = nbformat.from_dict(notebook)
    whole.cells = [each for cell in whole.cells for each in (cell, solved.get(cell.id)) if each]
    return whole


def take_out_solutions(fresh):
    """Take out of a notebook that ran what `with_solutions` put in, and return what was said to each."""
    said = {
        cell.id.removesuffix(SOLVED).replace("-", "."): "".join(
            output.get("data", {}).get("text/plain", "") for output in cell.outputs
        )
        for cell in fresh.cells
        if cell.id.endswith(SOLVED)
    }
    fresh.cells = [cell for cell in fresh.cells if not cell.id.endswith(SOLVED)]
    return said


def code_of(notebook):
    """Return the cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def count_in_order(fresh, ids):
    """Count the cells that ran as if all with these identities had run, and no solutions."""
    for cell in code_of(fresh):
        assert cell.execution_count
        cell.execution_count = ids.index(cell.id) + 1


@cache
def run(path, kernel=None):
    """Run a notebook, and below the blank cell of each exercise its solution.

    It runs in a kernel of its own, or in the one of a client that is running.
    """
    committed = nbformat.read(path, as_version=4)
    ids = [cell.id for cell in code_of(committed)]
    left_out = amount(short=cells_that_take_long(committed), long=set())
    committed.cells = [cell for cell in committed.cells if cell.id not in left_out]
    whole = with_solutions(committed)
    begin, end = (nbformat.v4.new_code_cell(source) for source in (FORGET + CLOCK, CLOCK))
    whole.cells = [begin, *whole.cells, end]
    fresh = freeze.run(whole, kernel)
    begin, *fresh.cells, end = fresh.cells
    begin_s, end_s = (float(cell.outputs[0].data["text/plain"]) for cell in (begin, end))
    said = take_out_solutions(fresh)
    count_in_order(fresh, ids)
    return Ran(committed, fresh, said, end_s - begin_s)
