"""The form in which a notebook is kept: pictures and words, and no live widgets.

A widget lives as long as its kernel. On a page without one, such as GitHub, or in a notebook that is opened
again, it shows as an error, in the place of the picture that was kept with it. So the picture is kept, as it
was last seen, and its words as text below.
"""

import re
import textwrap
from html import escape
from typing import Any

LONGEST_LINE = 110
"""Characters of text that a page such as GitHub's shows without a scroll bar."""

FEWEST_WORDS = 10
"""Words of a takeaway, if there are as many."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def drop_widgets(notebook: dict[str, Any]) -> None:
    """Remove the widgets of a notebook, as nbformat reads it, in place; keep what they show in words."""
    widgets = notebook["metadata"].pop("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for cell in notebook["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [
                kept for output in cell["outputs"] for kept in _without_widget(output, widgets)
            ]


def _without_widget(output: dict[str, Any], widgets: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is left of an output: nothing of a progress bar; of an explorer its picture and words.

    An output holds what its cell has shown. A widget whose state was saved too holds what was last seen.
    """
    data = output.get("data", {})
    view = data.pop(WIDGET_VIEW, None)
    if view is None:
        return [output]
    widget = widgets.get(view["model_id"], {})
    for buffer in widget.get("buffers", []):
        if buffer["path"] == ["png"]:
            data |= {"image/png": buffer["data"], "text/plain": widget["state"]["words"]}
            output["metadata"] = {"image/png": {"width": widget["state"]["width_px"]}}
    if "image/png" not in data:
        return []
    # A page shows only the richest of an output's forms, so the words need an output of their own.
    told = told_below("".join(data["text/plain"]))
    return [output, {"output_type": "display_data", "metadata": {}, "data": told}]


def takeaway(words: str) -> tuple[str, str]:
    """Part what a picture shows into its first sentence, or two where that is short, and all others.

    Examples
    --------
    >>> takeaway("Step 1. Nobody holds a page of the pool, so all of them are free. Next comes A.")
    ('Step 1. Nobody holds a page of the pool, so all of them are free.', 'Next comes A.')
    """
    end = 0
    for stop in re.finditer(r"\.(?:\s|$)", words):
        end = stop.end()
        if len(words[:end].split()) >= FEWEST_WORDS:
            break
    return words[: end or None].rstrip(), words[end:] if end else ""


def told_below(words: str) -> dict[str, str]:
    """Return what a picture shows by media type: its takeaway, with the rest folded, and plain text.

    Examples
    --------
    >>> told_below("A holds three pages with 40 tokens of a text. 8 are free.")["text/html"]
    '<details><summary>In words: A holds three pages with 40 tokens of a text.</summary>8 are free.</details>'
    """
    shown, folded = takeaway(words)
    told = f"<p>In words: {escape(shown)}</p>"
    if folded:
        rest = escape(folded).replace("\n", "<br>")
        told = f"<details><summary>In words: {escape(shown)}</summary>{rest}</details>"
    return {"text/html": told, "text/plain": words_below(words)}


def words_below(words: str) -> str:
    """Return what a picture shows as the text below it, in lines that need no scroll bar.

    Examples
    --------
    >>> words_below("three bars")
    'In words: three bars'
    """
    lines = f"In words: {words}".split("\n")
    return "\n".join(
        textwrap.fill(line, LONGEST_LINE, break_on_hyphens=False) if len(line) > LONGEST_LINE else line
        for line in lines
    )


def drop_widgets_when_saved(*, model: dict[str, Any], **_: Any) -> None:
    """Drop the widgets of a notebook that JupyterLab saves (a ``pre_save_hook`` of its contents manager)."""
    if model["type"] == "notebook" and model["content"] is not None:
        drop_widgets(model["content"])
