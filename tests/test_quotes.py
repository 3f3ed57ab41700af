"""The numbers of the paper that prose quotes: each is written out here from `paper/numbers.py`."""

import re
from pathlib import Path

import nbformat
import pytest

from paged_demo.model import KIB, MIB, OPT_13B
from paged_demo.paper import numbers as paper

ROOT = Path(__file__).resolve().parent.parent

SLOWER = "{:.0f} to {:.0f} %".format(*(100 * share for share in paper.KERNEL_SLOWDOWN))
GAIN = "{} to {} times the throughput".format(*paper.THROUGHPUT_GAIN)
POOL = f"{paper.NUM_SLOTS_13B:,}"
USED = {scheme: shares["used"] for scheme, shares in paper.FIG_2.items()}
PROMPT, OUTPUT = paper.MEAN_LENGTHS["ShareGPT"]
CHAT, SHORT = paper.GOOD_PAGE_SIZES["ShareGPT"], paper.GOOD_PAGE_SIZES["Alpaca"]
BATCH = paper.FIG_13["ShareGPT"]
RATE, SHORT_RATES = (paper.SUSTAINED_RATES[f"OPT-13B, {name}"] for name in ("ShareGPT", "Alpaca"))

WASTE = "02_where_memory_goes"

QUOTES = [
    ("README.md", f"The kernel of the paper is {SLOWER} slower"),
    (
        "README.md",
        f"sizes from {CHAT[0]} to {CHAT[1]} did well in the paper, and from {SHORT[0]} to {SHORT[1]}",
    ),
    (
        "README.md",
        f"has {POOL} slots, each with room for the keys and values of one token. It holds"
        f" {BATCH['Orca (Max)']:.0f} requests if each reserves {paper.MAX_TOKENS:,} tokens, and about"
        f" {BATCH['vLLM']:.0f} if it hands out pages of {paper.PAGE_SIZE} (Fig. 13)",
    ),
    (
        "README.md",
        f"the paper, with its slower kernel, measured {RATE['vLLM'] / RATE['Orca (Max)']:.1f} times",
    ),
    (
        "README.md",
        "of the maximum, {:.1f} times the rate by the paper's drawing; less against those of an oracle,"
        " {:.1f} times (Fig. 12d)".format(
            *(SHORT_RATES["vLLM"] / SHORT_RATES[f"Orca ({way})"] for way in ("Max", "Oracle"))
        ),
    ),
    ("README.md", f"16 tokens of OPT-13B are {16 * OPT_13B.kv_bytes_per_token / MIB:.1f} MiB"),
    ("00_one_slider", f"For OPT-13B one slot is {OPT_13B.kv_bytes_per_token // KIB} KiB"),
    ("00_one_slider", f"The paper reports {GAIN}"),
    ("00_one_slider", f"the longest sequence the model allows: {paper.MAX_TOKENS:,} tokens"),
    ("00_one_slider", f"leaves {paper.TABLE_1['OPT-13B'].kv_cache_gb} GB for the KV cache"),
    ("00_one_slider", f"{paper.TABLE_1['OPT-13B'].thousand_slots}K slots (Table 1); {POOL} to be exact"),
    ("00_one_slider", f"{PROMPT:.0f} tokens of prompt and {OUTPUT:.0f} of output on average (Fig. 11)"),
    ("00_one_slider", f"the paper finds {CHAT[0]} to {CHAT[1]} good for this workload"),
    (
        "02_where_memory_goes",
        f"{USED['Orca (Max)']:.0f} to {USED['Orca (Oracle)']:.0f} % of their slots held a token",
    ),
    (
        "02_where_memory_goes",
        f"the paper's own pool: {POOL} slots, and a greatest length of {paper.MAX_TOKENS:,}",
    ),
    (WASTE, f"and {USED['Orca (Oracle)']:.0f} % in the paper"),
    ("04_same_attention", f"The paper's own words are {SLOWER} longer"),
    ("04_same_attention", f"by {SLOWER} in the paper"),
    ("04_same_attention", f"{BATCH['Orca (Max)']:.2f} requests with reservations of {paper.MAX_TOKENS:,}"),
    ("04_same_attention", f"and {BATCH['vLLM']:.2f} with pages (Fig. 13)"),
    ("06_serving", f"the paper's {GAIN} (abstract)"),
    ("06_serving", f"OPT-13B on one A100, a pool of {POOL} slots"),
    ("06_serving", f"fills only {USED['Orca (Oracle)']:.0f} % of the pool"),
    ("06_serving", f"Reading {paper.TABLE_1['OPT-13B'].weights_gb} GB of weights"),
]


def prose(document):
    if document.endswith(".md"):
        return (ROOT / document).read_text(encoding="utf-8")
    cells = nbformat.read(ROOT / "notebooks" / f"{document}.ipynb", as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_the_readme_quotes_the_gain_that_notebook_06_computes():
    notebook = nbformat.read(ROOT / "notebooks" / "06_serving.ipynb", as_version=4)
    shown = "\n".join(
        output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/plain" in output.get("data", {})
    )
    gain = float(
        re.search(r"Fig. 12: .*OPT-13B, ShareGPT.*?Orca \(Max\) [^\n]* / ([\d.]+)", shown, re.DOTALL)[1]
    )
    assert f"keeps up with {gain:.1f} times as many requests" in prose("README.md")


@pytest.mark.parametrize(("document", "quote"), QUOTES)
def test_prose_quotes_the_number_that_the_paper_module_has(document, quote):
    assert re.sub(r"\s+", " ", quote) in re.sub(r"\s+", " ", prose(document))
