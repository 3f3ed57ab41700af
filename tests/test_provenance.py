"""Where the constants come from: the table and the notebook of results agree; and what hangs on each one."""

from dataclasses import replace

import numpy as np
import pytest
from amounts import amount
from test_quotes import shown

from paged_demo.paper import move_each, predictions, provenance, sensitivity
from paged_demo.paper import numbers as paper
from paged_demo.paper.knee import QUEUE_LENGTH
from paged_demo.paper.sensitivity import MOVED, Setup
from paged_demo.serving.iteration_time import OPT_13B_ITERATION


@pytest.mark.parametrize("table", [provenance.constants, predictions.figures])
def test_the_results_show_the_table_with_all_that_explains_it(table):
    assert str(table()) in shown("results")


def test_the_tables_explain_what_is_used_and_what_is_left_out():
    assert {constant.origin for constant in provenance.CONSTANTS} == set(provenance.ORIGINS)
    assert all(
        f"{origin}: {meaning}" in str(provenance.constants())
        for origin, meaning in provenance.ORIGINS.items()
    )
    told = str(predictions.figures())
    assert all(f"Fig. {figure}, {why}." in told for figure, why in predictions.NOT_ATTEMPTED.items())


def test_what_is_computed_follows_from_what_is_printed():
    assert OPT_13B_ITERATION.weights_s == pytest.approx(26e9 / 1.555e12, rel=0.002)
    assert OPT_13B_ITERATION.kv_read_s == pytest.approx(819_200 / 1.555e12, rel=0.001)


def test_the_time_to_compute_a_token_lies_between_the_two_readings_of_fig_19a():
    whole, rest = provenance.recompute_shares()
    assert whole < provenance.compute_share(OPT_13B_ITERATION.compute_s) < rest


def test_the_free_part_of_orca_max_chooses_one_pool_of_whole_pages():
    """So that bar of Fig. 2 cannot test it."""
    drawn = paper.FIG_2["Orca (Max)"]["other"]
    held = 7 * paper.MAX_TOKENS
    fits = [
        num_pages
        for num_pages in range(-(-15_650 // 16), 15_750 // 16 + 1)
        if round(100 * (16 * num_pages - held) / (16 * num_pages), 3) == drawn
    ]
    assert fits == [paper.NUM_PAGES_13B]


TIMES = ("fixed time of an iteration", "time to read the weights", "time per request")


@pytest.fixture(scope="module")
def moved():
    some = {name: MOVED[name] for name in ("slots in the pool", *TIMES)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivity, "MOVED", amount(short=some, long=MOVED))
        patch.setattr(sensitivity, "QUEUE_LENGTH", amount(short=400, long=QUEUE_LENGTH))
        return move_each(duration_s=amount(short=500, long=900))


def test_each_constant_moves_alone_and_by_a_fifth():
    for name, change in MOVED.items():
        changed = [change(Setup(), factor) for factor in (0.8, 1.2)]
        assert Setup() not in changed, name
    assert MOVED["slots in the pool"](Setup(), 0.8).num_slots == round(0.8 * paper.NUM_SLOTS_13B)
    assert MOVED["tokens an iteration computes at most"](Setup(), 0.8).rules.max_batched_tokens == 2048
    time = MOVED["time per request"](Setup(), 1.2).rules.iteration_time
    assert time.request_s + time.sequence_s == pytest.approx(
        1.2 * (OPT_13B_ITERATION.request_s + OPT_13B_ITERATION.sequence_s)
    )


def test_no_constant_takes_the_gain_out_of_what_notebook_06_says(moved):
    for name in moved.moved:
        low, high = moved.span(name, "gain")
        assert 2.7 < low <= moved.base.gain <= high < 3.4, name


def test_a_larger_pool_has_room_for_more_reservations_and_so_gains_less_from_pages(moved):
    down, up = moved.moved["slots in the pool"]
    assert up.gain < moved.base.gain
    assert down.batch < moved.base.batch


def test_iterations_that_take_longer_have_more_requests_running_at_one_rate(moved):
    for name in TIMES:
        down, up = moved.moved[name]
        assert down.batch < moved.base.batch < up.batch, name


def test_bad_moves_are_named():
    with pytest.raises(ValueError, match=r"move must be below 1, got 1\.5"):
        move_each(move=1.5)
    with pytest.raises(ValueError, match="move must be a finite number above 0, got 0"):
        move_each(move=0)


@pytest.mark.parametrize(
    ("field", "narrow"),
    [("num_slots", np.int8(9)), ("page_size", np.int8(9)), ("watermark_share", np.float32(0.5))],
)
def test_a_setup_keeps_pythons_numbers_and_no_array_that_could_change(field, narrow):
    assert type(getattr(replace(Setup(), **{field: narrow}), field)) in (int, float)
    with pytest.raises(TypeError, match=f"{field} must be"):
        replace(Setup(), **{field: np.array(9)})
