"""The explorers of notebook 06, without a kernel and without a browser."""

import asyncio
import re
from collections import Counter

import numpy as np
import pytest
from amounts import amount
from explorers import hear, move, names, small_films, unseen  # noqa: F401 - a fixture
from solutions import source_of

from paged_demo.course import nb06
from paged_demo.course.nb06 import explore_film, explore_serving
from paged_demo.course.nb06_exercises import served_at_two_per_second
from paged_demo.serving.simulator import simulate


def test_the_notebook_says_how_long_preemptions_stop_a_text():
    run = served_at_two_per_second("vLLM")
    paused_s = dict.fromkeys(range(len(run.requests)), 0.0)
    left_s = {}
    for stay in sorted(run.stays, key=lambda stay: stay.start_s):
        paused_s[stay.request_id] += stay.start_s - left_s.get(stay.request_id, stay.start_s)
        left_s[stay.request_id] = stay.end_s
    pauses_s = np.array(list(paused_s.values()))
    told = source_of("06_serving", "serving-read")
    share = f"{100 * (pauses_s > 0).mean():.0f} %"
    assert f"preempts {share} of the {len(pauses_s)}, some more than once" in told
    times = Counter(stay.request_id for stay in run.stays if stay.is_preempted)
    assert (len(times), max(times.values()) > 1) == ((pauses_s > 0).sum(), True)
    assert f"{pauses_s.mean():.1f} s on average, and to {np.percentile(pauses_s, 99):.1f} s at" in told


@pytest.fixture(scope="module")
def serving():
    return explore_serving()


def test_the_two_ways_can_be_compared_iteration_by_iteration():
    explorer = explore_film(small_films())
    explorer.controls["iteration"].value = 5
    explorer.controls["scheme"].value = "traditional"
    assert "traditional, iteration 5: 2 requests running" in explorer.words
    explorer.controls["scheme"].value = "paged"
    assert "paged, iteration 5: 5 requests running, waiting: F" in explorer.words


def test_a_film_that_is_over_stays_at_its_end():
    films = small_films()
    explorer = explore_film(films)
    assert len(films["paged"]) < len(films["traditional"])
    explorer.controls["scheme"].value = "paged"
    explorer.controls["iteration"].value = explorer.controls["iteration"].options[-1]
    assert "0 requests running" in explorer.words
    assert "0 hold a token" in explorer.words
    assert explorer.panels["strip"].get_title().endswith(": all have ended")


def test_a_live_film_explains_its_fates():
    legend = explore_film(small_films()).panels["key"].get_legend()
    assert [text.get_text().partition(":")[0] for text in legend.get_texts()] == ["reserved", "internal"]


@pytest.mark.parametrize("bad", [{}, {"paged": []}])
def test_a_film_needs_a_snapshot(bad):
    with pytest.raises(ValueError, match="films must hold at least one film"):
        explore_film(bad)


def test_every_scheme_and_workload_is_served_at_both_ends_of_every_slider(monkeypatch):
    monkeypatch.setattr(nb06, "NUM_REQUESTS", amount(short=50, long=nb06.NUM_REQUESTS))
    serving = explore_serving(seed=4)  # No other test may meet so few requests in the caches.
    workloads = serving.controls["workload"].options
    for workload in amount(short=workloads[::3], long=workloads):
        for scheme in ("Orca (Max)", "vLLM"):
            for rate in (0.25, 30):
                for page_size, watermark in [(1, 0), (1024, 20)]:
                    values = {"workload": workload, "scheme": scheme, "rate": rate}
                    values |= {"page_size": page_size, "watermark": watermark}
                    words = serving.contact_sheet([values], num_columns=1, height=4).words
                    assert all(names(words, value) for value in values.values()), (values, words)


def test_orca_max_holds_7_at_most_whatever_the_page_size(serving):
    settings = [{"scheme": "Orca (Max)", "rate": 3, "page_size": size} for size in (1, 1024)]
    first, second = serving.contact_sheet(settings, num_columns=1, height=4).words.split("\n")
    batch = re.compile(r"While requests arrive, ([\d.]+) run")
    assert batch.search(first)[1] == batch.search(second)[1]
    assert 6 < float(batch.search(first)[1]) <= 7
    assert "have no effect here" in first


def test_a_rate_that_vllm_sustains_is_too_high_for_orca(serving):
    settings = [{"scheme": scheme, "rate": 1.5} for scheme in ("Orca (Max)", "vLLM")]
    first, second = serving.contact_sheet(settings, num_columns=1, height=4).words.split("\n")
    assert "the rate is too high" in first
    assert "the rate is sustained" in second


def test_the_mark_lies_on_the_curve(serving):
    for rate in (0.5, 5):
        move(serving, rate=rate)
        mark, curve = serving.panels["latency"].lines[-2:]
        assert mark.get_data()[1][0] == pytest.approx(dict(zip(*curve.get_data(), strict=True))[rate])


def test_the_curve_is_of_the_same_seed_as_the_mark(monkeypatch):
    monkeypatch.setattr(nb06, "NUM_REQUESTS", 50)
    explorer = explore_serving(seed=2)  # No other test may meet so few requests in the caches.
    mark, curve = explorer.panels["latency"].lines[-2:]
    assert mark.get_data()[1][0] == pytest.approx(dict(zip(*curve.get_data(), strict=True))[2])


@pytest.fixture
def served(monkeypatch):
    """The runs that were simulated."""
    runs = []
    monkeypatch.setattr(
        nb06, "simulate", lambda *args, **options: runs.append(args) or simulate(*args, **options)
    )
    return runs


def test_moving_the_rate_does_not_serve_at_all_other_rates_again(serving, served):
    curve = serving.panels["latency"].lines[-1].get_data()[1]
    for rate in (0.25, 3, 30):
        serving.controls["rate"].value = rate
    assert len(served) <= 3
    assert list(serving.panels["latency"].lines[-1].get_data()[1]) == list(curve)


def test_a_search_that_was_left_goes_on_where_it_was(monkeypatch, served):
    monkeypatch.setattr(nb06, "NUM_REQUESTS", 40)
    explorer = explore_serving(seed=3)  # No other test may meet so few requests in the caches.

    async def move():
        hear(explorer, {"page_size": 64})
        first = len(served)
        while len(served) < first + 4:
            await asyncio.sleep(0)
        hear(explorer, {"page_size": 32})
        before = len(served)
        hear(explorer, {"page_size": 64})
        while not explorer.view.is_whole:
            await asyncio.sleep(0)
        return len(served) - before

    assert 0 < asyncio.run(move()) < len(nb06.RATES_RPS)
    curve = explorer.panels["latency"].lines[-1]
    assert list(curve.get_xdata()) == list(nb06.RATES_RPS)


def test_an_unknown_beginning_is_named():
    with pytest.raises(ValueError, match=r"workload must be one of .* got 'GPT'"):
        explore_serving(workload="GPT")
    with pytest.raises(ValueError, match=r"scheme must be one of .* got 'vllm'"):
        explore_serving(scheme="vllm")


def test_what_has_no_effect_serves_nothing_again(served):
    explorer = explore_serving(scheme="Orca (Max)")
    explorer.controls["page_size"].value = 64
    served.clear()
    words = explorer.words
    explorer.controls["page_size"].value = 128
    explorer.controls["watermark"].value = 7
    assert not served
    assert explorer.words == words.replace(
        "pages of 64 and a watermark of 1", "pages of 128 and a watermark of 7"
    )
