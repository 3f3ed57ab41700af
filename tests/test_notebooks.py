"""The notebooks as they are committed: fresh, clean, and readable without a kernel."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

from paged_demo.views.frozen import WIDGET_VIEW, drop_widgets_when_saved

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FREEZE = ROOT / "tests" / "freeze.py"

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path, cell_type):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == cell_type]


def freeze(*arguments):
    return subprocess.run(
        [sys.executable, FREEZE, *arguments], capture_output=True, text=True, check=False, encoding="utf-8"
    )


@pytest.fixture
def tool():
    return import_module("freeze")


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


@each_notebook
def test_a_notebook_shows_what_a_fresh_run_shows(path):
    run = freeze("--check", path.stem)
    assert run.returncode == 0, run.stdout + run.stderr
    if "was not run" in run.stdout:
        pytest.skip(run.stdout)


@each_notebook
def test_assets_are_the_pictures_of_the_notebooks(path, tool):
    for name, png in tool.pictures(path).items():
        assert (ROOT / "assets" / name).read_bytes() == png


def test_every_asset_is_made_by_a_notebook(tool):
    assert {path.name for path in (ROOT / "assets").iterdir()} == set(tool.ASSETS)


def test_the_check_names_a_stale_cell(tmp_path, monkeypatch, tool):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell("1 + 1", id="sum"),
        nbformat.v4.new_code_cell("print('hi')", id="hi"),
    ]
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    nbformat.write(notebook, tmp_path / "made.ipynb")
    frozen = tool.run(notebook)
    assert list(tool.differences(frozen, frozen)) == []
    stale = nbformat.from_dict(frozen)
    stale.cells[0].outputs[0]["data"]["text/plain"] = "3"
    stale.cells[1].metadata = nbformat.from_dict({"execution": {}})
    named = list(tool.differences(stale, frozen))
    assert len(named) == 2
    assert "cell 'sum'" in named[0]
    assert "cell 'hi' has metadata" in named[1]


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


def test_a_notebook_that_is_saved_loses_its_widgets_and_nothing_else():
    data = {WIDGET_VIEW: {"model_id": "x"}, "image/png": "...", "text/plain": "words"}
    cell = {"metadata": {"tags": ["mine"]}, "outputs": [{"data": data}, {"text": "printed"}]}
    content = {"metadata": {"widgets": {}, "kernelspec": {}}, "cells": [cell, {"metadata": {}}]}
    drop_widgets_when_saved(model={"type": "notebook", "content": content}, path="x", contents_manager=None)
    assert content["metadata"] == {"kernelspec": {}}
    assert data == {"image/png": "...", "text/plain": "words"}
    assert cell["metadata"] == {"tags": ["mine"]}
    drop_widgets_when_saved(model={"type": "file", "content": "text"})


@each_notebook
def test_a_picture_is_told_in_words_too(path):
    for cell in cells_of(path, "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                assert len(data["text/plain"].split()) > 8
                assert not data["text/plain"].startswith("<")


@each_notebook
def test_a_notebook_keeps_to_the_house_style(path):
    assert path.stat().st_size < 250_000
    code = [cell.source for cell in cells_of(path, "code")]
    lengths = sorted(len(source.splitlines()) for source in code)
    assert lengths[-1] <= 25
    assert lengths[len(lengths) // 2] <= 5
    assert code[0].startswith("import")
    assert not any(re.search(r"^\s*[!%]", source, re.MULTILINE) for source in code)
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert all(re.fullmatch(r"[a-z0-9-]+", cell_id) for cell_id in ids)
