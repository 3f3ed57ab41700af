"""The explorers of notebook 00."""

import pytest
from amounts import amount
from explorers import FAR_APART, move, small_pools, unseen  # noqa: F401 - a fixture

from paged_demo import PRESETS
from paged_demo.course.nb00 import explore_one_sequence, explore_page_size


@pytest.fixture
def pools():
    return small_pools()


def test_all_models_at_the_ends_of_the_other_controls_stay_in_the_picture():
    explorer = explore_one_sequence()
    width = explorer.screen.figure.bbox.x1
    corners = [(1, 1), (2048, 255), (2048, 256)]
    for num_tokens, page_size in corners + amount(
        short=[], long=[(1, 255), (1, 256), (2048, 1), (2048, 250)]
    ):
        for model in amount(short=FAR_APART, long=PRESETS):
            move(explorer, num_tokens=num_tokens, page_size=page_size, model=model)
            assert model in explorer.words
            for artist in explorer.screen.moving():
                box = artist.get_window_extent(explorer.screen.figure.canvas.get_renderer())
                assert box.x0 >= 0, artist
                assert box.x1 <= width, artist


def test_the_marks_on_the_curves_follow_the_sliders(pools):
    dial, one = explore_page_size(pools), explore_one_sequence()
    move(dial, page_size=256)
    mark = dial.panels["curve"].lines[-1]
    assert [list(data) for data in mark.get_data()] == [[256], [pools[256].mean_running]]
    move(one, num_tokens=1234)
    assert list(one.panels["curves"].lines[-1].get_xdata()) == [1234, 1234]


def test_500_tokens_of_a_7b_are_told_as_the_original_demonstration_told_them():
    words = explore_one_sequence().words
    traditional = "2,048 slots (1,024 MiB) allocated, 500 slots (250 MiB) used, 1,548 slots (774 MiB)"
    paged = "512 slots (256 MiB) allocated, 500 slots (250 MiB) used, 12 slots (6 MiB)"
    assert f"Traditional: {traditional} wasted, 75.6 %." in words
    assert f"Paged: 32 pages, {paged} wasted, 2.3 %." in words
    assert ": paging holds 75.0 % less." in words


def test_paging_can_hold_as_much_and_more():
    explorer = explore_one_sequence()
    explorer.controls["num_tokens"].value = 2048
    assert ": paging holds as much." in explorer.words
    explorer.controls["page_size"].value = 255
    assert ": paging holds 12.1 % more." in explorer.words


def test_the_dial_tells_the_batch_of_its_page_size(pools):
    explorer = explore_page_size(pools)
    for page_size, pool in pools.items():
        explorer.controls["page_size"].value = page_size
        assert explorer.words.startswith(
            f"Page size {page_size}: on average {pool.mean_running:.1f} requests"
        )


def test_an_explorer_begins_with_the_model_it_is_given():
    assert explore_one_sequence("OPT-13B").words.startswith("OPT-13B, 500 tokens")
    with pytest.raises(KeyError, match="no preset 'GPT-5'; there are OPT-13B"):
        explore_one_sequence("GPT-5")


def test_the_dial_starts_at_16_if_it_can(pools):
    assert explore_page_size(pools).values == {"page_size": 16}
    without_16 = {page_size: pool for page_size, pool in pools.items() if page_size > 16}
    assert explore_page_size(without_16).values == {"page_size": 32}
