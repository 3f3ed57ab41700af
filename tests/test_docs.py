"""What a reader follows: links, pictures, and the two commands."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / ".github" / "CONTRIBUTING.md",
    ROOT / "notebooks" / "README.md",
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
TOP_LEVEL = {"notebooks", "paged_demo", "assets", "tests", "pyproject.toml", "README.md", "LICENSE"}
MOST_WORDS = 1_500
"""In the README, with all that is in its tables, its code and the words of its pictures."""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)


def markdown(path):
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def anchors(text):
    """Name the headings as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_local_links_lead_somewhere(path):
    text = markdown(path)
    for target in re.findall(r"\]\(([^)\s]+)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(markdown(linked)), target


@each_document
def test_every_picture_has_an_alternative_text(path):
    text = markdown(path)
    alternatives = re.findall(r"!\[([^\]]*)\]\(", text)
    alternatives += re.findall(r'<img[^>]*?alt="([^"]*)"', text)
    assert len(alternatives) == len(re.findall(r"!\[|<img", text))
    assert all(len(alternative.split()) > 4 for alternative in alternatives)


def test_the_readme_is_read_in_a_few_minutes():
    assert len(markdown(ROOT / "README.md").split()) <= MOST_WORDS


def test_the_readme_lists_every_notebook():
    text = markdown(ROOT / "README.md")
    listed = re.findall(r"\]\(notebooks/([^)\s]+\.ipynb)\) \|", text)
    numbered = [path.name for path in DOCUMENTS if re.match(r"\d\d_", path.name)]
    assert listed == numbered
    assert "ten notebooks" in text
    assert len(numbered) == 10


def test_the_readme_begins_with_the_two_commands():
    text = markdown(ROOT / "README.md")
    commands = re.findall(r"^python3 -m paged_demo.*$", text, re.MULTILINE)
    assert [command.split("#")[0].strip() for command in commands[:2]] == [
        "python3 -m paged_demo",
        "python3 -m paged_demo test",
    ]


def test_the_numbers_of_the_readme_are_those_of_the_notebook():
    notebook = nbformat.read(ROOT / "notebooks" / "00_one_slider.ipynb", as_version=4)
    sheet = next(cell for cell in notebook.cells if cell.id == "sheet")
    words = "".join(output.get("data", {}).get("text/plain", "") for output in sheet.outputs)
    batches = dict(re.findall(r"Page size (\d+): on average ([\d.]+) requests", words))
    text = markdown(ROOT / "README.md")
    few, many = batches["2048"], batches["16"]
    assert text.index(f"{many} requests run") < text.index(
        f"{few} requests run"
    )  # in the words of the picture
    assert text.index(f"{float(few):.0f} requests fit") < text.index(f"{float(many):.0f} requests fit")


def test_the_visible_top_level_is_what_the_readme_shows():
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git checkout")
    top_level = {name.split("/")[0] for name in run.stdout.splitlines()}
    assert {name for name in top_level if not name.startswith(".")} <= TOP_LEVEL


def test_the_readmes_examples_print_what_it_says(capsys):
    blocks = re.findall(r"```python\n(.*?)```", markdown(ROOT / "README.md"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})
        said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
        assert capsys.readouterr().out.split("\n")[:-1] == said
