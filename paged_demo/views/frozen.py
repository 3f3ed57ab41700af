"""The form in which a notebook is kept: pictures and words, and no live widgets.

A widget lives as long as its kernel. On a page without one, such as GitHub, or in a notebook that is opened
again, it shows as an error, in the place of the picture that was kept with it. So the picture is kept, as it
was last seen, and its words as text below.
"""

import textwrap
from typing import Any

LONGEST_LINE = 110
"""Characters of text that a page such as GitHub's shows without a scroll bar."""

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
    words = words_below("".join(data["text/plain"]))
    return [output, {"output_type": "display_data", "metadata": {}, "data": {"text/plain": words}}]


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
