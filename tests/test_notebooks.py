"""The notebooks as they are committed: fresh, clean, and readable without a kernel."""

import ast
import os
import random
import re
import subprocess
from functools import cache
from html import unescape
from itertools import takewhile
from pathlib import Path

import amounts
import freeze
import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notebook_runs import run
from solutions import NOTEBOOKS, RESULTS, source_of

from paged_demo import PagedAllocator, Request, Scheduler, dense_attention, paged_attention_pagewise
from paged_demo.allocators.page_pool import PageKeys
from paged_demo.course.exercises.kinds import EXERCISES
from paged_demo.views.frozen import (
    LONGEST_LINE,
    WIDGET_STATE,
    WIDGET_VIEW,
    drop_widgets_when_saved,
    told_below,
)

ROOT = Path(__file__).resolve().parent.parent
LONGEST_RUN_S = {"06_serving": 90, "07_real_model": 120}
"""Seconds of work, on a slow machine; 45 where nothing else is said.

Notebook 06 searches for four knees; notebook 07 runs a language model."""
MOST_WORDS_PER_LINE = {
    "00_one_slider": 39,
    "02_where_memory_goes": 19,
    "06_serving": 18,
    "08_your_server": 18,
}
"""The first notebook shows what there is to see before it shows code; 17 is the most in those not named."""
MOST_IMPORT_LINES = 6
MOST_WORDS_SHOWN = 60
MOST_BYTES = 250_000
MOST_CELLS = 45
MOST_WORDS = 2_000

WITH_EXERCISES = [
    path for path in NOTEBOOKS if any(name.startswith(f"{int(path.stem[:2])}.") for name in EXERCISES)
]
# All tests of a notebook one after the other: a process that shares the work with others runs few of them.
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem, scope="module")


def cells_of(path, cell_type):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == cell_type]


def test_there_are_notebooks():
    assert NOTEBOOKS[0].stem == "00_one_slider"


@pytest.fixture(autouse=True)
def only_what_is_committed(request):
    """Leave a reader's own edits alone; whoever commits them freezes them first, and CI checks that."""
    path = request.node.callspec.params.get("path") if hasattr(request.node, "callspec") else None
    if path is None or "CI" in os.environ:
        return
    command = ["git", "diff", "--quiet", "HEAD", "--", str(path)]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 1:
        pytest.skip(f"{path.name} was edited; before a commit run: python tests/freeze.py {path.stem}")


@pytest.fixture(scope="module")
def kernel():
    """Start a kernel for one notebook after the other; with ``--long``, each gets one of its own."""
    if amounts.IS_LONG:
        yield None
    else:
        client = freeze.client_of(nbformat.v4.new_notebook())
        with client.setup_kernel():
            yield client


@each_notebook
def test_a_notebook_shows_what_a_fresh_run_shows(path, kernel):
    if reason := freeze.why_not_run(path):
        pytest.skip(reason)
    if path.stem in freeze.NEEDS_WEIGHTS and not amounts.IS_LONG:
        pytest.skip("the language model takes long: add --long")
    ran = run(path, kernel)
    assert list(freeze.differences(ran.committed, ran.fresh)) == []
    assert ran.spent_s < LONGEST_RUN_S.get(path.stem, 45)


@pytest.mark.long
def test_the_results_are_those_of_a_fresh_run():
    ran = run(RESULTS)
    assert list(freeze.differences(ran.committed, ran.fresh)) == []


def test_the_scheduler_of_notebook_06_does_what_the_package_does():
    made = run_cells("06_serving", "imports", "grow", "admit")
    source = source_of("06_serving", "loop").rpartition("\n\n\n")[0]
    exec(compile(source, "loop", "exec"), made)
    for seed in range(20):
        lengths = np.random.default_rng(seed).integers((4, 8), (16, 40), (16, 2)).tolist()
        requests = [Request(number, *pair) for number, pair in enumerate(lengths)]
        scheduler = Scheduler(PagedAllocator(num_pages=32, page_size=8), requests)
        packaged = []
        while scheduler.num_waiting or scheduler.num_running:
            packaged.append(scheduler.step().num_running)
        assert made["serve_all"](requests, PagedAllocator(num_pages=32, page_size=8)) == packaged


def test_the_allocator_of_notebook_03_gives_the_slots_that_the_package_gives():
    made, rng = run_cells("03_pages", "imports", "pool", "core"), random.Random(0)
    ours = made["Pages"](made["Pool"](200), page_size=4)
    package = PagedAllocator(num_pages=200, page_size=4)
    for _ in range(2000):
        seq_id = rng.choice("ABCDEFGH")
        if seq_id not in ours.tables:
            package.allocate(seq_id, [0])
            assert [ours.append(seq_id)] == package.slots(seq_id)
        elif rng.random() < 0.05:
            ours.free(seq_id)
            package.free(seq_id)
        else:
            assert ours.append(seq_id) == package.append(seq_id, 0).slot
    assert ours.tables == {seq_id: package.page_table(seq_id) for seq_id in ours.tables}


def test_the_attention_of_notebook_04_is_that_of_the_package(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # The first cell sets it.
    made = run_cells(
        "04_same_attention", "imports", "tables", "write", "attend", "plain", "walk", "walk-check"
    )
    query, store = made["query"], made["store"]
    dense = dense_attention(query[np.newaxis, np.newaxis], *made["contexts"]["A"])[0, 0]
    assert made["plain"] == pytest.approx(dense, rel=1e-5, abs=1e-6)
    table = made["tables"]["A"]
    pagewise = paged_attention_pagewise(query[np.newaxis], store.keys, store.values, table, 29)[0]
    assert made["walked"] == pytest.approx(pagewise, rel=1e-5, abs=1e-6)


def num_found(known, asked):
    return sum(1 for _ in takewhile(known.__contains__, asked))


prompts = st.tuples(st.lists(st.integers(0, 1), max_size=30), st.sampled_from(["", "a", "b"]))


@given(known=prompts, asked=prompts)
def test_the_keys_of_notebook_05_find_what_the_packages_find(known, asked):
    made, keys = run_cells("05_sharing", "imports", "hash"), PageKeys(4)
    ours = [made["page_keys"](tokens, 4, salt) for tokens, salt in (known, asked)]
    theirs = [keys.of_prefix(tokens, keys.root(salt)) for tokens, salt in (known, asked)]
    assert num_found(*ours) == num_found(*theirs)


@cache
def run_cells(notebook, *cell_ids):
    """Run some cells of a notebook, and return what they make."""
    made = {}
    for cell_id in cell_ids:
        exec(compile(source_of(notebook, cell_id), cell_id, "exec"), made)
    return made


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem, scope="module")
def test_a_notebook_runs_with_all_solutions_and_every_check_passes(path, kernel):
    for exercise_id, said in run(path, kernel).said.items():
        assert said.startswith(f"✓ {exercise_id} Right."), said


def test_the_check_names_a_stale_cell(tmp_path, monkeypatch, capsys, kernel):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell("1 + 1", id="sum"),
        nbformat.v4.new_code_cell("print('hi')", id="hi"),
    ]
    frozen = freeze.run(notebook, kernel)
    assert list(freeze.differences(frozen, frozen)) == []
    stale = nbformat.from_dict(frozen)
    stale.cells[0].outputs[0]["data"]["text/plain"] = "3"
    stale.cells[1].metadata = nbformat.from_dict({"execution": {}})
    nbformat.write(stale, tmp_path / "made.ipynb")
    monkeypatch.setattr(freeze, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(freeze, "run", lambda notebook: frozen)
    assert freeze.main(["--check"]) == 1
    *named, advice = capsys.readouterr().out.splitlines()
    assert [name.split(" shows ")[0] for name in named] == [
        "made.ipynb: cell 'sum'",
        "made.ipynb: cell 'hi' has metadata {'execution': {}}",
    ]
    assert advice == "Run: python tests/freeze.py"
    assert freeze.main([]) == 0
    assert nbformat.read(tmp_path / "made.ipynb", as_version=4) == frozen
    assert freeze.main(["--check", "made"]) == 0


def test_the_pieces_in_which_a_text_was_printed_are_joined():
    pieces = [("stdout", "1"), ("stdout", " 2"), ("stderr", "!"), ("stdout", " 3")]
    outputs = [{"output_type": "stream", "name": name, "text": text} for name, text in pieces]
    picture = {"output_type": "display_data", "data": {}}
    joined = freeze.join_streams([*outputs[:2], picture, *outputs[2:]])
    assert [output.get("text") for output in joined] == ["1 2", None, "!", " 3"]


@each_notebook
def test_a_frozen_notebook_has_outputs_without_errors_and_without_widgets(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    outputs = [output for cell in cells_of(path, "code") for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output.output_type != "error"
        assert not any("widget" in kind for kind in output.get("data", {}))


def test_a_notebook_that_is_saved_loses_its_widgets_and_keeps_what_they_show():
    data = {WIDGET_VIEW: {"model_id": "x"}, "image/png": "...", "text/plain": "words"}
    words = {"output_type": "display_data", "metadata": {}, "data": told_below("words")}
    bar = {"data": {WIDGET_VIEW: {"model_id": "y"}, "text/plain": "  0%|          | 0/8"}}
    cell = {"metadata": {"tags": ["mine"]}, "outputs": [{"data": data}, bar, {"text": "printed"}]}
    content = {"metadata": {"widgets": {}, "kernelspec": {}}, "cells": [cell, {"metadata": {}}]}
    drop_widgets_when_saved(model={"type": "notebook", "content": content}, path="x", contents_manager=None)
    assert content["metadata"] == {"kernelspec": {}}
    assert data == {"image/png": "...", "text/plain": "words"}
    assert cell == {"metadata": {"tags": ["mine"]}, "outputs": [{"data": data}, words, {"text": "printed"}]}
    drop_widgets_when_saved(model={"type": "file", "content": "text"})


def test_a_picture_that_was_last_seen_in_a_narrow_window_is_saved_with_its_width():
    data = {WIDGET_VIEW: {"model_id": "x"}, "image/png": "first", "text/plain": "first"}
    output = {"data": data, "metadata": {"image/png": {"width": 900}}, "output_type": "display_data"}
    state = {"words": "last", "width_px": 500}
    widget = {"state": state, "buffers": [{"path": ["png"], "data": "last"}]}
    content = {
        "metadata": {"widgets": {WIDGET_STATE: {"state": {"x": widget}}}},
        "cells": [{"outputs": [output]}],
    }
    drop_widgets_when_saved(model={"type": "notebook", "content": content})
    assert data == {"image/png": "last", "text/plain": "last"}
    assert output["metadata"] == {"image/png": {"width": 500}}


@each_notebook
def test_a_picture_is_told_in_words_below_it(path):
    for cell in cells_of(path, "code"):
        told = [output.get("data", {}).get("text/plain") for output in cell.outputs]
        for place, output in enumerate(cell.outputs):
            if "image/png" in output.get("data", {}):
                assert len(told[place].split()) > 8
                assert not told[place].startswith("<")
                assert told[place + 1].split() == ["In", "words:", *told[place].split()]
                assert max(map(len, told[place + 1].split("\n"))) <= LONGEST_LINE
                folded = cell.outputs[place + 1]["data"]["text/html"]
                seen = unescape(re.sub(r"<.*?>", " ", folded)).split()
                assert seen == told[place + 1].split()
                assert len(re.sub(r"</summary>.*", "", folded).split()) < MOST_WORDS_SHOWN


@each_notebook
def test_a_notebook_begins_with_six_lines_of_imports_at_most(path):
    source = cells_of(path, "code")[0].source
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert sum(node.end_lineno - node.lineno + 1 for node in imports) <= MOST_IMPORT_LINES
    assert "*" not in [alias.name for node in imports for alias in node.names]


@each_notebook
def test_a_notebook_keeps_to_the_house_style(path):
    assert path.stat().st_size < MOST_BYTES
    code = [cell.source for cell in cells_of(path, "code")]
    lengths = sorted(len(source.splitlines()) for source in code)
    assert lengths[-1] <= 25
    assert lengths[len(lengths) // 2] <= 5
    assert code[0].startswith(("import", "from"))
    assert not any(re.search(r"^\s*[!%]", source, re.MULTILINE) for source in code)
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert all(re.fullmatch(r"[a-z0-9-]+", cell_id) for cell_id in ids)


def prose(source):
    """Return the words that stand open to the reader: no tables, and nothing folded."""
    unfolded = re.sub(r"<details>.*?</details>", "", source, flags=re.DOTALL)
    return [word for line in unfolded.splitlines() if not line.startswith("|") for word in line.split()]


@each_notebook
def test_a_notebook_has_8_to_17_words_of_prose_for_a_line_of_code(path):
    num_words = sum(len(prose(cell.source)) for cell in cells_of(path, "markdown"))
    lines = [line for cell in cells_of(path, "code") for line in cell.source.splitlines() if line.strip()]
    assert 8 <= num_words / len(lines) <= MOST_WORDS_PER_LINE.get(path.stem, 17)


def minutes_to_read(path):
    """Estimate, by 240 words a minute, a minute for an exercise, and half of one for a prediction."""
    told = "\n".join(cell.source for cell in cells_of(path, "markdown"))
    asked, guessed = (set(re.findall(rf"{kind} (\d\.\d)", told)) for kind in ("Exercise", r"\*\*Prediction"))
    return round(len(told.split()) / 240 + len(asked) + len(guessed) / 2)


@each_notebook
def test_a_notebook_is_short_and_tells_the_minutes_that_it_takes(path):
    told = cells_of(path, "markdown")
    assert len(told) + len(cells_of(path, "code")) <= MOST_CELLS
    assert sum(len(cell.source.split()) for cell in told) <= MOST_WORDS
    minutes = minutes_to_read(path)
    assert f"*{minutes} minutes, " in told[0].source
    assert re.search(
        rf"\| \[{path.stem}\].* {minutes} \|\n", (ROOT / "README.md").read_text(encoding="utf-8")
    )


def test_the_first_eight_notebooks_take_less_than_two_hours():
    assert sum(map(minutes_to_read, NOTEBOOKS[:8])) <= 110


@each_notebook
def test_a_picture_comes_within_the_first_three_cells_of_code(path):
    outputs = [output for cell in cells_of(path, "code")[:3] for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@each_notebook
def test_a_notebook_ends_as_all_do(path):
    end = cells_of(path, "markdown")[-1].source
    headings = [
        r"## In three sentences",
        r"\*\*What (I simplified|is simplified)",
        r"\*\*In real (vLLM / SGLang today|engines)\W+[A-Z][a-z]+ 20\d\d",
        r"\*\*Read on",
        *([] if path == NOTEBOOKS[-1] else [r"\*\*Next"]),
    ]
    found = [re.search(heading, end) for heading in headings]
    assert all(found), headings
    places = [match.start() for match in found]
    assert places == sorted(places)
    summary = end[: places[1]].split("\n\n")[-2]
    assert len(re.findall(r"[.?!](?:\s|$)", summary)) == 3
