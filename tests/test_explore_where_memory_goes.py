"""What notebook 02's explorer shows."""

import itertools
from statistics import fmean

import pytest
from amounts import amount

from paged_demo.course.nb02_film import (
    MAX_TOKENS,
    MEAN_TOKENS,
    NUM_MOMENTS,
    NUM_SLOTS,
    PLACEMENTS,
    RESERVATIONS,
    SPREADS,
    _requests,
    film,
)

each_reservation = pytest.mark.parametrize("reservation", RESERVATIONS)
each_placement = pytest.mark.parametrize("placement", PLACEMENTS)


@each_reservation
@each_placement
@pytest.mark.parametrize(
    ("max_tokens", "spread"),
    # Of the short: where most requests are cut, and where none is.
    amount(
        short=[(MAX_TOKENS[0], SPREADS[-1]), (MAX_TOKENS[-1], SPREADS[0])],
        long=list(itertools.product(MAX_TOKENS, SPREADS)),
    ),
)
def test_every_setting_fills_the_pool_and_accounts_for_each_slot(reservation, placement, max_tokens, spread):
    shown = film(reservation, placement, max_tokens, spread)
    assert len(shown.stills) == NUM_MOMENTS
    for still in shown.stills:
        assert still.usage.num_slots == NUM_SLOTS
        assert still.usage.cached == 0
    assert shown.mean_used_share == pytest.approx(
        fmean(still.usage.used for still in shown.stills) / NUM_SLOTS
    )


@each_placement
def test_an_oracle_has_no_internal_waste_and_only_buddies_round(placement):
    for still in film("oracle", placement, 64, 0.5).stills:
        assert still.usage.internal == 0
        assert placement == "buddy" or still.usage.rounding == 0


@pytest.mark.parametrize("max_tokens", MAX_TOKENS)
def test_max_leaves_the_remnant_of_a_division(max_tokens):
    for still in film("max", "buddy", max_tokens, 0.5).stills:
        assert still.usage.external + still.usage.free == NUM_SLOTS % max_tokens


@pytest.mark.parametrize("spread", [spread for spread in SPREADS if spread <= 1])
def test_requests_have_one_mean_length_whatever_the_spread_but_for_what_is_cut(spread):
    requests = _requests(MAX_TOKENS[-1], spread)
    assert fmean(request.final_tokens for request in requests) == pytest.approx(MEAN_TOKENS, rel=0.08)


def test_what_the_notebook_says_of_the_oracle_is_so():
    shares = {placement: film("oracle", placement, 64, 0.5).mean_used_share for placement in PLACEMENTS}
    assert shares["buddy"] < shares["first fit"] < 0.6
    assert shares["best fit"] == pytest.approx(shares["first fit"], rel=0.02)
    assert film("max", "buddy", 64, 0.5).mean_used_share < film("pow2", "buddy", 64, 0.5).mean_used_share
    assert film("pow2", "buddy", 64, 0.5).mean_used_share < shares["buddy"]
