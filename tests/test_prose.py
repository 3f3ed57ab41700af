"""What prose says of amounts and engines: notebooks, README, CONTRIBUTING, and all strings of the package."""

import ast
import re
from functools import cache

import pytest
from test_docs import DOCUMENTS, ROOT, markdown, name_of

from paged_demo.course.nb09_layers import COUNTED_AS_FULL, bytes_of_request, requests_of
from paged_demo.model import GIB, LLAMA_2_7B, LLAMA_2_70B, OPT_13B
from paged_demo.paper.numbers import MAX_TOKENS, NUM_SLOTS_13B, TABLE_1
from paged_demo.sizing.presets import model_of
from paged_demo.views.style import memory_of

VLLM, SGLANG = "0.33.0", "0.5.23"
"""The versions of the engines that prose speaks of."""


def strings_of(path):
    """Return the strings of a module, docstrings included but no examples; of an f-string its parts."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return re.sub(r"^ *>>> .*\n(?: *\S.*\n?)*", "", "\n\n".join(filter(is_text, texts)), flags=re.MULTILINE)


def is_text(value):
    return isinstance(value, str)


PATHS = {name_of(path): path for path in [*DOCUMENTS, *sorted((ROOT / "paged_demo").rglob("*.py"))]}
each_prose = pytest.mark.parametrize("name", PATHS)


@cache
def prose(name):
    """Return what a document or a module says, read when a test first asks for it."""
    return (strings_of if name.endswith(".py") else markdown)(PATHS[name])


TOKEN = OPT_13B.kv_bytes_per_token
HEADS_7B = LLAMA_2_7B.num_kv_heads * LLAMA_2_7B.head_dim * 2
PAGES_7B = LLAMA_2_7B.bytes_of(512)
WEIGHTS = 134_515_008
"""Numbers in the language model of notebook 07."""

AMOUNTS = {
    "800 KiB": TOKEN,
    "12.5 MiB": 16 * TOKEN,
    "12.01 GiB": NUM_SLOTS_13B * TOKEN,
    "1.56 GiB": MAX_TOKENS * TOKEN,
    "512 KiB": LLAMA_2_7B.kv_bytes_per_token,
    "16 KiB": 2 * HEADS_7B,
    "8 KiB": HEADS_7B,
    "320 KiB": LLAMA_2_70B.kv_bytes_per_token,
    "2,560 KiB": 8 * LLAMA_2_70B.kv_bytes_per_token,
    "1,024 MiB": LLAMA_2_7B.bytes_of(MAX_TOKENS),
    "256 MiB": PAGES_7B,
    "6 MiB": LLAMA_2_7B.bytes_of(12),
    "768 MiB": LLAMA_2_7B.bytes_of(MAX_TOKENS) - PAGES_7B,
    "32 MiB": 2 * 4 * 8 * 1024 * 128 * 4,
    "45 KiB": 2 * 30 * 3 * 64 * 4,
    "538 MB": 4 * WEIGHTS,
    "3.4 GB": 170 * 20_000_000,
    "16 GiB": bytes_of_request(model_of("meta-llama/Llama-3.1-8B"), 131_072),
    "10.72 GiB": bytes_of_request(model_of("deepseek-ai/DeepSeek-V3"), 163_840),
    "62 GiB": requests_of(131_072)[COUNTED_AS_FULL],
    "10.41 GiB": bytes_of_request(model_of("google/gemma-3-27b-it"), 131_072),
}
"""Amounts that prose computes, in bytes."""

AS_PRINTED = {
    *(f"{amount} GB" for server in TABLE_1.values() for amount in server[1:4]),  # Table 1
    "80 GB",  # what NVIDIA calls a GPU
    "24 GB",
    "98 MB",  # the file of weights
    "500 MB",  # what the first run installs
    "2 MB",  # a background in memory, or so
}
"""Decimal amounts as somebody else writes them, or as they were measured."""

AS_CHOSEN = {"12 GiB", "80 GiB", "40 GiB", "21 GiB", "1 MiB", "4 KiB", "23.58 GiB", "3.81 GiB", "3.812 GiB"}
AS_CHOSEN |= {"14.9888 GiB", "17.06 GiB", "0.35 GiB"}
"""Binary amounts that are given: pools of an exercise or of Table 1, a processor's cache, a page of an OS,
the memory and the pool of an RTX 3090 in a log (vllm-project/vllm#10517), and what it measured."""


@each_prose
def test_every_amount_of_memory_is_computed_or_cited_in_its_own_unit(name):
    for number, unit in re.findall(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?) ?([kKMGT]i?B)\b(?!/s)", prose(name)):
        amount = f"{number} {unit}"
        if amount not in AS_PRINTED | AS_CHOSEN:
            assert amount in AMOUNTS, f"{name} says {amount}, which nothing here computes"
            assert memory_of(AMOUNTS[amount], unit) == amount


def test_what_a_wrong_unit_would_say_is_told_apart():
    assert memory_of(12 * GIB, "GB") == "12.88 GB"
    assert all("i" in amount.split()[1] for amount in AS_CHOSEN)
    assert not any("i" in amount.split()[1] for amount in AS_PRINTED)


@each_prose
def test_links_to_engines_lead_to_the_version_that_prose_speaks_of_or_to_a_pull_request(name):
    for link in re.findall(r"https://[^\s)\"'<>\]`]+", prose(name)):
        assert not re.search(r"/(main|master|develop|HEAD|latest|stable|nightly)(/|$)", link), link
        assert not re.match(r"https://docs\.(vllm|sglang)\.", link), (
            f"{link} moves; link to a tag of the source"
        )
        for repository, version in (("vllm-project/vllm", VLLM), ("sgl-project/sglang", SGLANG)):
            if repository in link:
                assert re.search(rf"{repository}/((blob|tree)/v{version}(/|$)|(pull|issues)/\d+$)", link), (
                    link
                )


@each_prose
def test_who_speaks_of_engines_now_names_a_version(name):
    for paragraph in re.split(r"\n\s*\n", prose(name)):
        if re.search(r"\b(today|today's|nowadays)\b", paragraph):
            assert VLLM in paragraph, paragraph
        if "SGLang" in paragraph and "arxiv.org" not in paragraph.lower():
            assert SGLANG in paragraph, paragraph
        if re.search(r"github\.com/(vllm-project|sgl-project)", paragraph) and "real engines" in paragraph:
            assert VLLM in paragraph, paragraph
