import numpy as np
import pytest

from paged_demo import PagedPool, Request, simulate
from paged_demo.course import nb06_plots
from paged_demo.paper.experiment import Comparison, Experiment
from paged_demo.paper.latency_figures import LatencyCurves
from paged_demo.serving.run import Moment
from paged_demo.views import plots, style
from paged_demo.views.picture import new_figure

MOMENTS = [Moment(0.0, 1, 0, 10, 5, 0, 5), Moment(1.0, 2, 3, 20, 5, 10, 0), Moment(2.0, 0, 0, 0, 0, 0, 0)]


def new_axes():
    return new_figure(3).subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def span_at(area, x):
    """The whole numbers that a filled area reaches from and to, above x."""
    path = area.get_paths()[0]
    inside = [height for height in range(120) if path.contains_point((x, height + 0.5))]
    return inside[0], inside[-1] + 1


def experiment(rows):
    return Experiment(title="", setup="", rows=rows, fitted="", not_reproduced="")


def test_waiting_requests_are_stacked_on_the_running_ones():
    ax = nb06_plots.in_flight(MOMENTS, ax=new_axes())
    running, waiting = ax.collections
    assert span_at(running, 1.5) == (0, 2)
    assert span_at(waiting, 1.5) == (2, 5)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["running", "waiting"]


def test_the_key_of_requests_in_flight_stands_above_the_areas():
    ax = nb06_plots.in_flight(MOMENTS, ax=new_axes())
    ax.figure.canvas.draw()
    lowest = ax.get_legend().get_window_extent().y0
    assert lowest > ax.transData.transform((0, 5))[1]


def test_the_areas_of_the_slots_fill_the_pool():
    ax = nb06_plots.usage_over_time(MOMENTS, num_slots=50, ax=new_axes())
    used, reserved, internal, rounding, free = ax.collections
    assert span_at(rounding, 0.5) == (30, 40)
    assert [span_at(area, 1.5) for area in (used, reserved, internal, free)] == [
        (0, 40), (40, 50), (50, 70), (70, 100),
    ]  # fmt: skip
    assert ax.get_ylim() == (0, 100)


def test_a_fate_that_no_slot_has_is_not_drawn():
    ax = nb06_plots.usage_over_time([MOMENTS[2], MOMENTS[2]], num_slots=50, ax=new_axes())
    assert len(ax.collections) == 1


@pytest.fixture(scope="module")
def crowded():
    requests = [Request(number, 6, 20, arrival_s=0.01 * number) for number in range(12)]
    return simulate(requests, PagedPool(num_pages=8, page_size=8, watermark_share=0.0))


def test_the_timeline_has_a_bar_for_each_stay_and_a_cross_for_each_preemption(crowded):
    ax = nb06_plots.request_timeline(crowded, ax=new_axes())
    assert crowded.num_preempted > 0
    bars = sorted((bar.get_x(), bar.get_width(), bar.get_y() + 0.36) for bar in ax.patches)
    stays = sorted((stay.start_s, stay.end_s - stay.start_s, stay.request_id) for stay in crowded.stays)
    np.testing.assert_allclose(bars, stays)
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(crosses) == crowded.num_preempted


def test_the_timeline_has_a_line_from_arrival_to_end(crowded):
    ax = nb06_plots.request_timeline(crowded, first=2, count=5, ax=new_axes())
    lines = [line for line in ax.lines if line.get_marker() != "x"]
    spans = [tuple(line.get_xdata()) for line in lines]
    assert spans == [
        (request.arrival_s, finish_s)
        for request, finish_s in list(zip(crowded.requests, crowded.finish_s, strict=True))[2:7]
    ]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["C", "D", "E", "F", "G"]


def test_a_timeline_of_no_requests_is_an_error(crowded):
    with pytest.raises(ValueError, match=r"first must be below the number of requests \(12\), got 12"):
        nb06_plots.request_timeline(crowded, first=12)


def test_latency_lines_cross_where_the_rate_is_read():
    ours = {"vLLM": [{1.0: 0.1, 2.0: 0.3, 3.0: 2.3}]}
    rows = {"vLLM": {"rate (1/s)": Comparison(2.0, (2.1,))}}
    curves = LatencyCurves(paper={"vLLM": {1.0: 0.1, 2.0: 0.4}}, ours=ours, sustained=experiment(rows))
    ax = plots.latency_against_rate(curves, workload="OPT-13B, ShareGPT", ax=new_axes())
    line, points, beyond, _ = ax.lines
    assert np.interp(0.5, line.get_ydata(), line.get_xdata()) == pytest.approx(2.1, abs=0.005)
    assert list(points.get_xdata()) == [1.0, 2.0]
    assert (beyond.get_xdata()[0], beyond.get_ydata()[0]) == (2.0, 0.4)
    assert "vLLM" in texts(ax)


def test_latency_lines_show_the_rates_that_all_seeds_have():
    ours = {"vLLM": [{1.0: 0.1, 2.0: 0.9}, {1.0: 0.3, 2.0: 0.4, 3.0: 0.9}]}
    rows = {"vLLM": {"rate (1/s)": Comparison(2.0, (1.5, 2.2))}}
    curves = LatencyCurves(paper={"vLLM": {1.0: 0.1}}, ours=ours, sustained=experiment(rows))
    line = plots.latency_against_rate(curves, workload="none", ax=new_axes()).lines[0]
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (1.0, 2.0)
    assert line.get_ydata()[0] == pytest.approx(0.2)


def test_the_bars_of_fig_2_split_ours_and_not_the_papers():
    shares = {"used": 40.0, "reserved": 20.0, "internal": 10.0, "other": 30.0}
    ours = {name: Comparison(share, (share,)) for name, share in shares.items()}
    ours |= {"rounding": Comparison(None, (18.0,)), "free": Comparison(None, (12.0,))}
    ax = plots.usage_beside_paper(experiment({"Orca": ours}), ax=new_axes())
    assert texts(ax) == ["40.0", "20.0", "10.0", "30.0", "40.0", "20.0", "10.0", "18.0", "12.0"]
    rows = {}
    for bar in ax.patches:
        rows.setdefault(round(bar.get_y() + bar.get_height() / 2), []).append(bar.get_width())
    assert [sum(widths) for widths in rows.values()] == [100, 100]
    assert "external & others, ours splits into rounding and free" in ax.get_legend().get_title().get_text()


def test_pairs_of_bars_have_the_papers_number_and_ours():
    groups = {"A": {"x": Comparison(10.0, (11.0, 13.0)), "y": Comparison(None, (5.0,))}}
    ax = plots.bars_beside_paper(groups, ylabel="requests", ax=new_axes())
    heights = sorted(bar.get_height() for bar in ax.patches)
    assert heights == [5.0, 10.0, 12.0]
    assert {"10", "12", "5", "A"} <= set(texts(ax))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y"]


def test_every_scheme_has_a_colour_of_the_palette_and_a_marker_of_its_own():
    colours = {fate.colour for fate in style.FATES.values()}
    looks = list(style.SCHEMES.values())
    assert all(look["color"] in colours for look in looks)
    assert len({look["color"] for look in looks}) == len({look["marker"] for look in looks}) == 4


def test_swapping_gets_cheaper_with_the_page_size_and_computing_does_not():
    ax = plots.swap_or_recompute(ax=new_axes())
    swap, recompute, swap_points, recompute_points = (np.array(line.get_ydata()) for line in ax.lines)
    assert (np.diff(swap) < 0).all()
    assert (np.diff(recompute) == 0).all()
    np.testing.assert_allclose(swap, swap_points, rtol=0.05)
    np.testing.assert_allclose(recompute, recompute_points, rtol=0.2)


def test_the_papers_points_are_drawn_for_its_own_length_only():
    assert len(plots.swap_or_recompute(100, ax=new_axes()).lines) == 2
