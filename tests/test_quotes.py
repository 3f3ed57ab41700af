"""The numbers of the paper that prose quotes: each is written out here from `paper/numbers.py`."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from amounts import amount
from sizing_cases import PUBLISHED, STARTUPS
from test_conformance import HISTORIES

from paged_demo import (
    PagedAllocator,
    Request,
    Rules,
    TraditionalAllocator,
    keep_full,
    reserve_oracle,
    sharegpt,
    simulate,
)
from paged_demo.course.nb02_exercises import mean_of_the_running, the_mean_at_the_door
from paged_demo.model import KIB, MIB, OPT_13B
from paged_demo.paper import draw_trace
from paged_demo.paper import numbers as paper
from paged_demo.paper.experiment import SERVERS
from paged_demo.paper.sensitivity import MOVED
from paged_demo.serving.iteration_time import OPT_13B_ITERATION, IterationTime
from paged_demo.serving.rules import keep_pages_free

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

GAINS = {
    name: [batches["vLLM"] / batches[f"Orca ({way})"] for way in ("Max", "Oracle")]
    for name, batches in paper.FIG_13.items()
}
SLOWER_AT_8 = "{:.0f} to {:.0f} %".format(*(100 * (times - 1) for times in paper.kernel_slowdowns(8)))

ASIDE, WASTE = "notebooks/README.md", "02_where_memory_goes"

QUOTES = [
    (
        "README.md",
        f"pages hold about {BATCH['vLLM']:.0f} requests where reservations of the maximum hold"
        f" {BATCH['Orca (Max)']:.0f} (Fig. 13 of the paper)",
    ),
    (ASIDE, f"The kernel of the paper is {SLOWER} slower than the one it is compared with"),
    (ASIDE, f"sizes from {CHAT[0]} to {CHAT[1]} did well in the paper, and from {SHORT[0]} to {SHORT[1]}"),
    (
        ASIDE,
        f"has {POOL} slots, each with room for the keys and values of one token. It holds"
        f" {BATCH['Orca (Max)']:.0f} requests if each reserves {paper.MAX_TOKENS:,} tokens, and about"
        f" {BATCH['vLLM']:.0f} if it hands out pages of {paper.PAGE_SIZE} (Fig. 13)",
    ),
    (ASIDE, f"at a batch of 8 its points are {SLOWER_AT_8} higher"),
    (
        ASIDE,
        "{:.1f} times as many requests in the same memory as reservations of the maximum, and {:.1f} times as"
        " many as those of an oracle (Fig. 13)".format(*GAINS["ShareGPT"]),
    ),
    (
        ASIDE,
        "reservations of the maximum, {:.1f} times as many (Fig. 13), and less against those of an oracle,"
        " {:.1f} times. By the paper's drawing that is {:.1f} and {:.1f} times the rate (Fig. 12d)".format(
            *GAINS["Alpaca"],
            *(SHORT_RATES["vLLM"] / SHORT_RATES[f"Orca ({way})"] for way in ("Max", "Oracle")),
        ),
    ),
    (ASIDE, f"{(paper.PAGE_SIZE - 1) / 2} slots of {paper.PAGE_SIZE}"),
    (ASIDE, f"16 tokens of OPT-13B are {16 * OPT_13B.kv_bytes_per_token / MIB:.1f} MiB"),
    ("00_one_slider", f"For OPT-13B one slot is {OPT_13B.kv_bytes_per_token // KIB} KiB"),
    ("00_one_slider", f"The paper reports {GAIN}"),
    ("00_one_slider", f"the longest sequence the model allows: {paper.MAX_TOKENS:,} tokens"),
    ("00_one_slider", f"and the paper {BATCH['vLLM']:.2f}"),
    ("00_one_slider", f"leaves {paper.TABLE_1['OPT-13B'].kv_cache_gb} GiB for the KV cache"),
    (
        "00_one_slider",
        f"{paper.TABLE_1['OPT-13B'].thousand_slots}K slots (Table 1, which writes GB). We take {POOL} slots",
    ),
    ("00_one_slider", f"{PROMPT:.0f} tokens of prompt and {OUTPUT:.0f} of output on average (Fig. 11)"),
    ("00_one_slider", f"the paper finds {CHAT[0]} to {CHAT[1]} good for this workload"),
    (
        "02_where_memory_goes",
        f"{USED['Orca (Max)']:.0f} to {USED['Orca (Oracle)']:.0f} % of their slots held a token",
    ),
    (
        "02_where_memory_goes",
        f"as we take the paper's to be: {POOL} slots (Table 1 prints"
        f" {paper.TABLE_1['OPT-13B'].thousand_slots}K), and a greatest length of {paper.MAX_TOKENS:,}",
    ),
    (WASTE, f"Fig. 2 draws {paper.FIG_2['Orca (Max)']['other']:.3f} %"),
    (WASTE, f"the paper's oracle fills {USED['Orca (Oracle)']:.0f} %"),
    (WASTE, f"About {mean_of_the_running(0, ()):.0f} tokens, against"),
    (WASTE, f"against {the_mean_at_the_door(0, ()):.0f} of all that arrive"),
    ("04_same_attention", f"The paper's own words are {SLOWER} longer"),
    ("04_same_attention", f"by {SLOWER} in the paper at a batch of 32"),
    ("04_same_attention", f"{BATCH['Orca (Max)']:.2f} requests with reservations of {paper.MAX_TOKENS:,}"),
    ("04_same_attention", f"and {BATCH['vLLM']:.2f} with pages (Fig. 13)"),
    ("06_serving", f"the paper's {GAIN} (abstract)"),
    ("06_serving", f"OPT-13B on one A100, a pool of {POOL} slots"),
    ("06_serving", f"{BATCH['vLLM']:.2f} requests run instead of {BATCH['Orca (Max)']:.2f}"),
    ("06_serving", f"The batch is {BATCH['vLLM'] / BATCH['Orca (Max)']:.1f} times as large"),
    ("results", f"In the paper the kernel over pages is {SLOWER} slower"),
    ("06_serving", f"Reading {paper.TABLE_1['OPT-13B'].weights_gb} GB of weights"),
]


def prose(document):
    if document.endswith(".md"):
        return (ROOT / document).read_text(encoding="utf-8")
    cells = nbformat.read(ROOT / "notebooks" / f"{document}.ipynb", as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def shown(document):
    """Return what the cells of a frozen notebook show, as text."""
    cells = nbformat.read(ROOT / "notebooks" / f"{document}.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output["data"].get("text/plain", "") for output in outputs)


def test_prose_quotes_the_gains_that_the_results_compute():
    cells = re.search(
        r"OPT-13B, ShareGPT +(\S+) \((\S+) to (\S+)\) +\S+ +(\S+) \((\S+) to (\S+)\)", shown("results")
    )
    oracle, *of_oracle, most, low, high = cells.groups()
    over_oracle, over_max = f"{float(oracle):.1f}", f"{float(most):.1f}"
    assert f"sustains {over_max} times the requests per second ({low} to {high})" in prose("README.md")
    for scheme, batch, ours, theirs in (
        ("Max", GAINS["ShareGPT"][0], f"{over_max} ({low} to {high})", OVER_MAX),
        ("Oracle", GAINS["ShareGPT"][1], "{} ({} to {})".format(over_oracle, *of_oracle), OVER_ORACLE),
    ):
        told = "{:g} to {:g}".format(*theirs)
        assert f"Orca ({scheme}) | {batch:.1f} | {ours} | {told} |" in prose(ASIDE)
    slower = re.search(r"kernel \d+ % slower: .*requests/s, (\S+) \(", shown("results"))[1]
    assert f"a kernel as much slower as the paper's, {over_max} becomes {float(slower):.1f}" in prose(ASIDE)
    notebook = prose("06_serving")
    assert f"reserves the maximum, Orca (Max) | {over_max} times the rate |" in notebook
    assert f"knows each length, Orca (Oracle) | {over_oracle} times |" in notebook
    assert f"our {over_max} lies inside" in prose("results")


def test_the_readme_counts_what_was_recorded_published_and_moved():
    for quote in (
        f"page tables on {len(HISTORIES)} histories",
        f"the plan of {len(STARTUPS)} of its starts",
        f"what {len(PUBLISHED)} published logs print",
        f"notebook 06 moves {len(MOVED)} of them",
    ):
        assert quote in prose("README.md")


def test_the_results_quote_the_other_reading_that_they_compute():
    rate, gain = re.search(r"Orca \(Max\) +0\.525 / (\S+) ± \S+ +\S+ / (\S+) ±", shown("results")).groups()
    ours, theirs = f"{float(gain):.1f}", f"{RATE['vLLM'] / RATE['Orca (Max)']:.1f}"
    notebook = prose("results")
    assert f"the gain is {ours}, and the paper's drawing gives {theirs}" in notebook
    assert f"It reaches 0.5 s per token at {float(rate):.2f}" in notebook


def test_the_results_say_why_notebook_04_has_another_rate_and_notebook_06_how_it_follows():
    line = (
        r"^(?:Orca|vLLM).* reading (\S+) ms, (\S+)/s; whole iteration (\S+) ms, (\S+)/s; sustained (\S+)/s$"
    )
    first, *_, last = rows = [
        tuple(map(float, row)) for row in re.findall(line, shown("results"), re.MULTILINE)
    ]
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
        assert quote in prose("results")
    for quote in (
        f"leaves after {OUTPUT:.0f}. So `batch / seconds / {OUTPUT:.0f}` requests leave",
        f"batch of {BATCH['vLLM']} needs {iteration_ms} ms: {reading_ms} ms to read",
        f"and {iteration_ms - reading_ms:.0f} ms of fixed time",
        f"That is {last[3]:.2f}.",
        f"runs {BATCH['Orca (Max)']:.0f} requests, in iterations of {first[2]} ms",
        f"of Orca (Max) takes {100 * (1 - first[2] / iteration_ms):.0f} % less time than one of vLLM",
    ):
        assert quote in prose("06_serving")


@pytest.mark.parametrize(("document", "quote"), QUOTES)
def test_prose_quotes_the_number_that_the_paper_module_has(document, quote):
    assert re.sub(r"\s+", " ", quote) in re.sub(r"\s+", " ", prose(document))


def test_prose_tells_how_many_requests_of_one_known_length_the_pool_holds():
    requests = [Request(number, 100, 400) for number in range(600)]
    exact = TraditionalAllocator(paper.NUM_SLOTS_13B, reserve=reserve_oracle)
    pages = PagedAllocator(paper.NUM_PAGES_13B, paper.PAGE_SIZE)
    # Runs of one length hold as many from the first moment on; pages need a long queue.
    few = requests[: amount(short=150, long=None)]
    held = keep_full(exact, few), keep_full(pages, requests, may_admit=keep_pages_free(pages))
    reserved, paged = (f"{pool.mean_running:.0f}" for pool in held)
    said = f"exact reservations hold {reserved} requests in the paper's pool, and pages about {paged}"
    assert said in prose(ASIDE)


def test_what_an_oracle_fills_without_a_hole_is_what_notebook_02_says():
    requests = sharegpt.sample(20_000, rng=np.random.default_rng(0))
    stays = [request.num_output_tokens for request in requests]
    held = [request.final_tokens for request in requests]
    filled = [request.num_prompt_tokens + request.num_output_tokens / 2 for request in requests]
    share = np.average(filled, weights=stays) / np.average(held, weights=stays)
    assert f"fills {100 * share:.0f} % of a pool of chats" in prose(WASTE)


def test_notebook_00_says_what_the_pool_holds_and_what_it_holds_where_requests_arrive():
    words = shown("00_one_slider")
    batch = re.search(r"Page size 16: on average ([\d.]+) requests", words)[1]
    arriving = re.search(r"vLLM +[\d.]+ / ([\d.]+)", shown("results").split("Fig. 13")[1])[1]
    assert f"At 16 we hold {batch} requests" in prose("00_one_slider")
    assert f"holds about {float(arriving):.0f}" in prose("00_one_slider")
    assert f"about {float(arriving):.0f} run here, and {BATCH['vLLM']:.0f} in the paper" in prose(ASIDE)


def test_notebook_04_says_how_far_a_roof_is_from_a_rate():
    words = shown("04_same_attention")
    roof_ms, roof, requests, whole_ms, rate = re.search(
        r"reading +([\d.]+) ms: +([\d,]+) tokens/s, ([\d.]+) requests/s\n"
        r"an iteration +([\d.]+) ms: +[\d,]+ tokens/s, ([\d.]+) requests/s",
        words,
    ).groups()
    said = prose("04_same_attention")
    assert f"Those {roof} tokens a second are {float(requests):.1f} requests" in said
    assert f"keeps up with about {float(rate):.0f} requests a second" in said
    assert f"They are {float(whole_ms) - float(roof_ms):.0f} of its {float(whole_ms):.0f} ms" in said


def test_one_time_for_every_iteration_moves_no_share_of_used_slots_by_half_a_point():
    said = "with 40 ms for every iteration no share of used slots moves by half a percentage point"
    assert said in prose(WASTE)
    constant = IterationTime(fixed_s=0.04, weights_s=0, compute_s=0, request_s=0, sequence_s=0, kv_read_s=0)
    rules = [Rules(), Rules(iteration_time=constant)]
    rngs = map(np.random.default_rng, range(amount(short=1, long=4)))
    traces = [draw_trace(sharegpt, rate_rps=4, duration_s=900, rng=rng) for rng in rngs]
    pools = SERVERS["OPT-13B"].pools()
    for scheme in amount(short=["Orca (Max)", "vLLM"], long=pools):
        pool = pools[scheme]
        used = [
            np.mean(
                [simulate(trace, pool, window=(300, 900), rules=each).mean_usage.used for trace in traces]
            )
            for each in rules
        ]
        assert abs(used[0] - used[1]) < amount(short=0.01, long=0.005) * pool.num_slots
