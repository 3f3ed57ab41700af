"""Pictures and sliders: functions of snapshots.

The two names below are loaded when first used: what JupyterLab calls when it saves a notebook stands in
this room too, and needs no Matplotlib.
"""

from importlib import import_module
from typing import Any

_MODULE_OF = {"letter": "strip", "show": "picture"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
