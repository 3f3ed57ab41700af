"""The numbers of the paper that prose quotes: each is written out here from `paper/numbers.py`."""

import re
from pathlib import Path

import nbformat
import pytest

from paged_demo.model import KIB, MIB, OPT_13B
from paged_demo.paper import numbers as paper
from paged_demo.serving.iteration_time import OPT_13B_ITERATION

ROOT = Path(__file__).resolve().parent.parent

SLOWER = "{:.0f} to {:.0f} %".format(*(100 * share for share in paper.KERNEL_SLOWDOWN))
GAIN = "{} to {} times the throughput".format(*paper.THROUGHPUT_GAIN)
POOL = f"{paper.NUM_SLOTS_13B:,}"
USED = {scheme: shares["used"] for scheme, shares in paper.FIG_2.items()}
PROMPT, OUTPUT = paper.MEAN_LENGTHS["ShareGPT"]
CHAT, SHORT = paper.GOOD_PAGE_SIZES["ShareGPT"], paper.GOOD_PAGE_SIZES["Alpaca"]
BATCH = paper.FIG_13["ShareGPT"]
OVER_MAX, OVER_ORACLE = (paper.PRINTED_GAINS[f"Orca ({way})"] for way in ("Max", "Oracle"))
RATE, SHORT_RATES = (paper.JOINED_RATES[f"OPT-13B, {name}"] for name in ("ShareGPT", "Alpaca"))

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
    ("README.md", "The paper, with its slower kernel, prints {:g} to {:g} times".format(*OVER_MAX)),
    ("README.md", "times and {:g} to {:g} times over its three models".format(*OVER_ORACLE)),
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
    ("06_serving", f"{BATCH['vLLM']:.2f} requests run instead of {BATCH['Orca (Max)']:.2f}"),
    ("06_serving", f"Does the server sustain {BATCH['vLLM'] / BATCH['Orca (Max)']:.1f} times the rate"),
    ("06_serving", f"In the paper the kernel over pages is {SLOWER} slower"),
    ("06_serving", f"Reading {paper.TABLE_1['OPT-13B'].weights_gb} GB of weights"),
]


def prose(document):
    if document.endswith(".md"):
        return (ROOT / document).read_text(encoding="utf-8")
    cells = nbformat.read(ROOT / "notebooks" / f"{document}.ipynb", as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@pytest.fixture(scope="module")
def shown():
    notebook = nbformat.read(ROOT / "notebooks" / "06_serving.ipynb", as_version=4)
    return "\n".join(
        "".join(output.get("data", {}).get("text/plain", output.get("text", "")))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def test_readme_and_notebook_06_quote_the_gains_that_it_computes(shown):
    cells = re.search(r"OPT-13B, ShareGPT +(\S+) \(.*?\) +\S+ +(\S+) \((\S+) to (\S+)\)", shown)
    over_oracle, over_max, low, high = (f"{float(cell):.1f}" for cell in cells.groups())
    readme, notebook = prose("README.md"), prose("06_serving")
    assert f"sustains {over_max} times the requests per second ({low} to {high})" in readme
    assert f"{over_oracle} times those of an oracle" in readme
    gains = f"about {over_max} times the rate of Orca (Max), and {over_oracle} times that of Orca (Oracle)"
    assert gains in notebook
    assert f"Our {over_max} lies inside" in notebook


def test_notebook_06_quotes_the_other_reading_that_it_computes(shown):
    rate, gain = re.search(r"Orca \(Max\) +0\.525 / (\S+) ± \S+ +\S+ / (\S+) ±", shown).groups()
    ours, theirs = f"{float(gain):.1f}", f"{RATE['vLLM'] / RATE['Orca (Max)']:.1f}"
    notebook = prose("06_serving")
    assert f"the gain is {ours}, and the paper's drawing gives {theirs}" in notebook
    assert f"It reaches 0.5 s per token at {float(rate):.2f}" in notebook


def test_notebook_06_says_why_notebook_04_has_another_rate(shown):
    line = (
        r"^(?:Orca|vLLM).* reading (\S+) ms, (\S+)/s; whole iteration (\S+) ms, (\S+)/s; sustained (\S+)/s$"
    )
    first, *_, last = rows = [tuple(map(float, row)) for row in re.findall(line, shown, re.MULTILINE)]
    assert len(rows) == 4
    assert all(whole == pytest.approx(knee, rel=0.05) for *_, whole, knee in rows)
    reading_ms, reading, iteration_ms, _, found = last
    more = BATCH["vLLM"] / BATCH["Orca (Max)"]
    tokens_per_s = BATCH["vLLM"] / OPT_13B_ITERATION.reading_s(paper.tokens_in_pool("vLLM"))
    for quote in (
        f"allows vLLM {tokens_per_s:,.0f} tokens",
        f"which are {reading:.1f} requests per second. Here it sustains {found:.1f}",
        f"in {reading_ms} ms the weights and the pool are read once",
        f"{iteration_ms - reading_ms:.0f} ms more at a batch of 30",
        f"By reading alone the gain is {more * first[0] / reading_ms:.1f}",
        f"by whole iterations {more * first[2] / iteration_ms:.1f}",
    ):
        assert quote in prose("06_serving")


@pytest.mark.parametrize(("document", "quote"), QUOTES)
def test_prose_quotes_the_number_that_the_paper_module_has(document, quote):
    assert re.sub(r"\s+", " ", quote) in re.sub(r"\s+", " ", prose(document))
