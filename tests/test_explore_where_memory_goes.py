"""Notebook 02's explorer."""

import re
from statistics import fmean

import numpy as np
import pytest
from test_explorers import alt, ends_and_middle, pixels

from paged_demo.course.nb02 import (
    FATES_OF_RESERVATIONS,
    MAX_TOKENS,
    NUM_MOMENTS,
    NUM_SLOTS,
    PLACEMENTS,
    RESERVATIONS,
    SPREADS,
    explore_reservations,
    film,
)

each_reservation = pytest.mark.parametrize("reservation", RESERVATIONS)
each_placement = pytest.mark.parametrize("placement", PLACEMENTS)


@each_reservation
@each_placement
@pytest.mark.parametrize("max_tokens", MAX_TOKENS)
@pytest.mark.parametrize("spread", SPREADS)
def test_every_setting_fills_the_pool_and_accounts_for_each_slot(reservation, placement, max_tokens, spread):
    shown = film(reservation, placement, max_tokens, spread)
    assert len(shown.moments) == NUM_MOMENTS
    for moment in shown.moments:
        assert moment.usage.num_slots == NUM_SLOTS
        assert moment.usage.cached == 0
    assert shown.mean_used_share == pytest.approx(
        fmean(moment.usage.used for moment in shown.moments) / NUM_SLOTS
    )


@each_placement
def test_an_oracle_has_no_internal_waste_and_only_buddies_round(placement):
    for moment in film("oracle", placement, 64, 0.5).moments:
        assert moment.usage.internal == 0
        assert placement == "buddy" or moment.usage.rounding == 0


@pytest.mark.parametrize("max_tokens", MAX_TOKENS)
def test_max_leaves_the_remnant_of_a_division(max_tokens):
    for moment in film("max", "buddy", max_tokens, 0.5).moments:
        assert moment.usage.external + moment.usage.free == NUM_SLOTS % max_tokens


def test_what_the_notebook_says_of_the_oracle_is_so():
    shares = {placement: film("oracle", placement, 64, 0.5).mean_used_share for placement in PLACEMENTS}
    assert shares["buddy"] < shares["first fit"] < 0.6
    assert film("max", "buddy", 64, 0.5).mean_used_share < film("pow2", "buddy", 64, 0.5).mean_used_share
    assert film("pow2", "buddy", 64, 0.5).mean_used_share < shares["buddy"]


def test_every_control_can_be_moved_through_its_whole_range():
    explorer = explore_reservations()
    size = pixels(explorer).shape
    for control in explorer.controls.values():
        seen = set()
        for value in ends_and_middle(control):
            control.value = value
            assert pixels(explorer).shape == size
            assert alt(explorer) == explorer.words
            for shown in explorer.values.values():
                assert re.search(rf"\b{re.escape(str(shown))}\b", explorer.words)
            seen.add(explorer.words)
        assert len(seen) == len(set(ends_and_middle(control)))


def test_the_picture_that_follows_a_control_is_the_one_a_full_drawing_gives():
    explorer = explore_reservations()
    for control in explorer.controls.values():
        for value in ends_and_middle(control):
            control.value = value
            quick = pixels(explorer).astype(int)
            explorer._figure.canvas.draw()
            full = np.asarray(explorer._figure.canvas.buffer_rgba())[..., :3].astype(int)
            assert (np.abs(quick - full).max(axis=-1) > 40).mean() < 0.002


def test_a_contact_sheet_tells_each_setting():
    settings = [{"reservation": reservation} for reservation in RESERVATIONS]
    sheet = explore_reservations().contact_sheet(
        settings, num_columns=1, height=1.3, key=FATES_OF_RESERVATIONS
    )
    assert re.findall(r"^Reservation (\w+)", sheet.words, re.MULTILINE) == list(RESERVATIONS)
