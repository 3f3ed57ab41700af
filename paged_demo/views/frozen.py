"""The form in which a notebook is kept: pictures and words, and no live widgets.

A widget lives as long as its kernel. On a page without one, such as GitHub, or in a notebook that is opened
again, it shows as an error, in the place of the picture that was kept with it.
"""

from typing import Any

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def drop_widgets(notebook: dict[str, Any]) -> None:
    """Remove the widgets of a notebook, as nbformat reads it, in place."""
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if not _is_only_a_widget(output)]
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)


def _is_only_a_widget(output: dict[str, Any]) -> bool:
    """Say whether nothing but a stub is left without the widget, as of a progress bar."""
    data = output.get("data", {})
    return WIDGET_VIEW in data and "image/png" not in data


def freeze(notebook: dict[str, Any]) -> None:
    """Remove what a commit should not hold, in place: widgets, and what one machine or editor noted."""
    drop_widgets(notebook)
    notebook["metadata"] = METADATA
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def drop_widgets_when_saved(*, model: dict[str, Any], **_: Any) -> None:
    """Drop the widgets of a notebook that JupyterLab saves (a ``pre_save_hook`` of its contents manager)."""
    if model["type"] == "notebook" and model["content"] is not None:
        drop_widgets(model["content"])
