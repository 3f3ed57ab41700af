"""PagedAttention, explained by a small library that runs.

The public names are those of ``__init__.pyi``. Each is loaded when first used, so that a Python without numpy
can still run ``python -m paged_demo``.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# Written once, where type checkers look for them (https://scientific-python.org/specs/spec-0001).
_PUBLIC = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_MODULE_OF = {
    alias.name: node.module
    for node in _PUBLIC.body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
