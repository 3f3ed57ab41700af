"""What prose says of amounts and engines: notebooks, README, CONTRIBUTING, and all strings of the package."""

import ast
import re
from pathlib import Path

import pytest

from paged_demo.model import GIB, KIB, LLAMA_2_7B, LLAMA_2_70B, OPT_13B, UNITS
from paged_demo.paper import MAX_TOKENS, NUM_SLOTS_13B, TABLE_1
from paged_demo.views.style import memory_of
from test_docs import DOCUMENTS, ROOT, markdown

AMOUNT = r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?) ?([kKMGT]i?B)\b(?!/s)"


def strings_of(path):
    """Return the strings of a module, docstrings included; of a formatted one each piece."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


PROSE = {path.name: markdown(path) for path in DOCUMENTS} | {
    path.relative_to(ROOT).as_posix(): "\n\n".join(strings_of(path))
    for path in sorted((ROOT / "paged_demo").rglob("*.py"))
}
each_prose = pytest.mark.parametrize("name", PROSE)

TOKEN = OPT_13B.kv_bytes_per_token
TABLE = TABLE_1["OPT-13B"]
HEADS_7B = LLAMA_2_7B.num_kv_heads * LLAMA_2_7B.head_dim * 2
OF_70B = LLAMA_2_70B.kv_bytes_per_token
HELD_7B = LLAMA_2_7B.bytes_of(MAX_TOKENS)
COMPUTED = {
    "800 KiB": TOKEN,
    "12.5 MiB": 16 * TOKEN,
    "12.01 GiB": NUM_SLOTS_13B * TOKEN,
    "512 KiB": LLAMA_2_7B.kv_bytes_per_token,
    "16 KiB": 2 * HEADS_7B,
    "8 KiB": HEADS_7B,
    "320 KiB": OF_70B,
    "2,560 KiB": 8 * OF_70B,
    "1,024 MiB": HELD_7B,
    "256 MiB": LLAMA_2_7B.bytes_of(512),
    "768 MiB": HELD_7B - LLAMA_2_7B.bytes_of(512),
    "45 KiB": 2 * 30 * 3 * 64 * 4,
}
