"""What a reader of a live picture is likely to ask for next."""

from paged_demo.views.ahead import likely_after


def positions(before, now, num_options):
    return [setting[1] for setting in likely_after((0, before), (0, now), [num_options])]


def test_the_nearest_come_first_and_then_the_ends():
    assert positions(49, 50, 100) == [51, 49, 52, 48, 99, 0]
    assert positions(50, 49, 100) == [48, 50, 47, 51, 0, 99]


def test_no_step_leads_beyond_an_end_or_to_what_is_there():
    assert positions(7, 8, 10) == [9, 7, 6, 5, 0]
    assert positions(2, 1, 10) == [0, 2, 3, 4, 9]
    assert positions(5, 9, 10) == [8, 7, 6, 5, 0]
    assert positions(0, 1, 2) == [0]


def test_other_controls_stay_as_they_are():
    likely = likely_after((1, 5, 0, 7), (1, 5, 1, 7), [10, 3, 10])
    assert likely == [(1, 5, 2, 7), (1, 5, 0, 7)]


def test_unless_one_control_was_moved_nothing_is_likely():
    assert likely_after((0, 4), (1, 4), [10]) == []
    assert likely_after((0, 4), (0, 4), [10]) == []
    assert likely_after((0, 4, 1), (0, 5, 2), [10, 10]) == []
    assert likely_after((0, 4), (1, 5), [10]) == []
