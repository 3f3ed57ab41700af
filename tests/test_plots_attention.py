import numpy as np
import pytest
from matplotlib.colors import to_hex

from paged_demo.course import nb04_plots
from paged_demo.paper.numbers import FIG_13, FIG_18A_US, kernel_slowdowns
from paged_demo.serving.step_time import OPT_13B_STEP
from paged_demo.views import style
from paged_demo.views.picture import Picture, new_figure, show


def new_axes():
    return new_figure(3).subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_output_bars_show_the_output_within_the_outlines_of_what_it_should_be():
    ax = nb04_plots.output_bars([1.0, -2.0], expected=[1.5, -2.0], ax=new_axes())
    heights = [patch.get_height() for patch in ax.patches]
    assert heights == [1.0, -2.0, 1.5, -2.0]
    assert to_hex(ax.patches[0].get_facecolor()) == style.PAGED.lower()
    assert ax.patches[2].get_facecolor()[3] == 0


def test_an_output_of_nan_can_be_drawn():
    show(nb04_plots.output_bars([np.nan, np.nan], expected=[1.0, 2.0]), "nothing")


def test_the_highest_score_rises_page_by_page_and_rescales_what_came_before():
    scores = [1.0, 0.0, 3.0, 2.0, 2.5]
    ax = nb04_plots.scores_by_page(scores, page_size=2, ax=new_axes())
    levels = [lines.get_segments()[0][0][1] for lines in ax.collections]
    assert levels == [1.0, 3.0, 3.0]
    assert texts(ax) == ["page 0\nstart", f"page 1\nx {np.exp(-2):.2f}", "page 2\nx 1.00"]
    assert list(ax.lines[-1].get_ydata()) == scores


@pytest.mark.parametrize(("scores", "page_size"), [([5.0], 1), ([0.0] * 7, 16), ([-1e4, 1e4], 1)])
def test_extreme_scores_can_be_drawn(scores, page_size):
    show(nb04_plots.scores_by_page(scores, page_size=page_size), "scores")


def test_a_page_size_of_zero_is_named():
    with pytest.raises(ValueError, match="page_size must be at least 1, got 0"):
        nb04_plots.scores_by_page([1.0], page_size=0)


def test_the_slowdowns_of_the_papers_kernel_are_those_of_its_figure():
    low, high = kernel_slowdowns(32)
    assert (round(low, 2), round(high, 2)) == (1.19, 1.26)
    low, high = kernel_slowdowns(8)
    assert (round(low, 2), round(high, 2)) == (1.25, 1.44)
    assert set(FIG_18A_US) == {8, 32}


def test_the_cost_has_a_point_per_page_size_beside_the_papers_band():
    ax = nb04_plots.cost_by_page_size({4: 2.0, 16: 1.2}, ax=new_axes())
    line = ax.lines[-1]
    assert list(line.get_xdata()) == [4, 16]
    assert list(line.get_ydata()) == [2.0, 1.2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "16"]
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx(kernel_slowdowns(32))
    assert ax.get_ylim()[0] == 0


def test_reading_bars_are_as_long_as_the_milliseconds_they_stand_for():
    ax = nb04_plots.reading_bars(OPT_13B_STEP, num_kv_tokens=10_000, slowdown=1.5, axis_ms=40, ax=new_axes())
    assert [patch.get_width() for patch in ax.patches] == pytest.approx([16.7, 5.27, 16.7, 7.905])
    assert {"KV 5.3", "KV 7.9", "weights 16.7"} == set(texts(ax))


def test_the_rates_at_the_papers_batches_are_about_380_518_685_and_1232_tokens_per_second():
    ax = nb04_plots.rate_against_batch(OPT_13B_STEP, tokens_per_sequence=500, slowdown=1.0, ax=new_axes())
    points = {line.get_xdata()[0]: line.get_ydata()[0] for line in ax.lines if line.get_marker() == "D"}
    assert list(points) == list(FIG_13["ShareGPT"].values())
    assert [round(rate) for rate in points.values()] == [381, 518, 685, 1232]


def test_only_the_paged_curve_and_vllm_follow_the_slowdown():
    slow = nb04_plots.rate_against_batch(OPT_13B_STEP, tokens_per_sequence=500, slowdown=2.0, ax=new_axes())
    even = nb04_plots.rate_against_batch(OPT_13B_STEP, tokens_per_sequence=500, slowdown=1.0, ax=new_axes())
    moved = [
        not np.array_equal(one.get_ydata(), other.get_ydata())
        for one, other in zip(slow.lines, even.lines, strict=True)
    ]
    assert moved == [False, True, False, False, False, True]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: nb04_plots.output_bars([1.0], expected=[1.0]),
        lambda: nb04_plots.scores_by_page([1.0, 2.0], page_size=1),
        lambda: nb04_plots.cost_by_page_size({16: 1.1}),
        lambda: nb04_plots.reading_bars(OPT_13B_STEP, num_kv_tokens=10, slowdown=1.0, axis_ms=40),
        lambda: nb04_plots.rate_against_batch(OPT_13B_STEP, tokens_per_sequence=500, slowdown=1.2),
    ],
)
def test_a_plot_without_axes_makes_its_own_picture(draw):
    assert isinstance(show(draw(), "what it shows"), Picture)
