"""The plots that one notebook alone needs, by notebook."""

import re

import matplotlib as mpl
import numpy as np
import pytest
from drawn import new_axes, rectangles, texts, written
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from paged_demo import (
    PRESETS,
    PagedAllocator,
    PagedPool,
    Request,
    TraditionalAllocator,
    account,
    fill_by_page_size,
    keep_one_sequence,
    reserve_max,
    simulate,
)
from paged_demo.allocators.placement import buddy
from paged_demo.allocators.studies import sample_in_parallel
from paged_demo.course import nb00, nb01, nb02, nb03, nb04, nb05_plots, nb06, nb06_knees, nb06_plots
from paged_demo.model import GIB, MemoryBudget
from paged_demo.paper.experiment import Comparison, Experiment
from paged_demo.paper.knee import Knee
from paged_demo.paper.latency_figures import LatencyCurves
from paged_demo.paper.numbers import FIG_13, FIG_18A_US, NUM_SLOTS_13B, kernel_slowdowns
from paged_demo.paper.provenance import ORIGINS
from paged_demo.paper.sensitivity import MOVED, Outcome, Sensitivity
from paged_demo.paper.sustained import SustainedRates
from paged_demo.serving.iteration_time import OPT_13B_ITERATION
from paged_demo.serving.run import Moment
from paged_demo.views import show, style
from paged_demo.views.picture import Picture

LLAMA_7B = PRESETS["Llama-2-7B"]
MOMENTS = [Moment(0.0, 1, 0, 10, 5, 0, 5), Moment(1.0, 2, 3, 20, 5, 10, 0), Moment(2.0, 0, 0, 0, 0, 0, 0)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: nb00.usage_bars(keep_one_sequence(500)),
        lambda: nb01.reading_times([7, 30], tokens_per_request=500),
        lambda: nb02.buddy_split(16, pool_slots=512),
        lambda: nb04.output_bars([1.0], expected=[1.0]),
        lambda: nb04.scores_by_page([1.0, 2.0], page_size=1),
        lambda: nb04.cost_by_page_size({16: 1.1}),
        lambda: nb04.reading_bars(OPT_13B_ITERATION, num_kv_tokens=10, slowdown=1.0, axis_ms=40),
        lambda: nb04.rate_against_batch(OPT_13B_ITERATION, tokens_per_sequence=500, slowdown=1.2),
    ],
)
def test_a_plot_without_axes_makes_its_own_picture(draw):
    assert isinstance(show(draw(), "what it shows"), Picture)


def experiment(rows):
    return Experiment(title="", setup="", rows=rows, entered="", not_reproduced="")


def test_plots_keep_their_look_inside_a_dark_style():
    with mpl.rc_context({"text.color": "white", "figure.facecolor": "black"}):
        ax = nb00.usage_bars(keep_one_sequence(500))
        assert {
            to_hex(text.get_color())
            for text in written(ax)
            if "wasted" in text.get_text() and "%" in text.get_text()
        } == {"#1a1a1a"}


def test_usage_bars_are_as_long_as_the_slots_they_stand_for():
    usages = keep_one_sequence(500)
    ax = nb00.usage_bars(usages, ax=new_axes())
    widths = sorted(patch.get_width() for patch in ax.patches)
    assert widths == sorted([500, 1548, 500, 12, 1536])
    assert "traditional\nholds 2,048 slots" in texts(ax)
    wasted = [f"{100 * number / held:.1f} % wasted" for number, held in ((1548, 2048), (12, 512))]
    assert [text for text in texts(ax) if "wasted" in text] == wasted


def test_usage_bars_of_a_model_are_in_mib():
    ax = nb00.usage_bars(keep_one_sequence(500), model=LLAMA_7B, words={"internal": "wasted"}, ax=new_axes())
    assert max(patch.get_width() for patch in ax.patches) == 774
    assert {"used 250 MiB", "wasted 774 MiB", "free 768 MiB", "paged\nholds 256 MiB"} <= set(texts(ax))


def test_large_amounts_are_in_gib():
    usages = {"pool": account(PagedAllocator(984, 16).memory_map(), {})}
    ax = nb00.usage_bars(usages, model=PRESETS["OPT-13B"], ax=new_axes())
    assert "free 12.01 GiB" in texts(ax)


@pytest.mark.parametrize(("num_slots", "paper"), [(NUM_SLOTS_13B, {(16, 30.42), (2048, 7.0)}), (8192, set())])
def test_the_batch_curve_has_a_point_per_page_size_and_the_papers_beside_its_own_pool(num_slots, paper):
    requests = [Request(request_id, 380, 20) for request_id in range(100)]
    pools = fill_by_page_size(requests, [16, 256, 2048], num_slots=num_slots)
    ax = nb00.batch_against_page_size(pools, ax=new_axes())
    assert list(ax.lines[0].get_xdata()) == [16, 256, 2048]
    assert list(ax.lines[0].get_ydata()) == [pool.mean_running for pool in pools.values()]
    assert {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines[1:]} == paper
    assert [label.get_text() for label in ax.get_xticklabels()] == ["16", "256", "2048"]


def test_the_triangle_has_a_cell_for_every_pair_that_is_computed():
    ax = nb01.recomputation(5, ax=new_axes())
    widths = [patch.get_width() for patch in ax.patches]
    assert sum(widths) == 2 * 5 * 6 / 2
    assert texts(ax) == ["without a cache: 15 computed", "with a cache: 5 computed"]


def test_the_factors_beside_a_bar_give_its_length():
    ax = nb01.bytes_per_token(PRESETS.values(), ax=new_axes())
    for label, bar, model in zip(texts(ax), ax.patches, PRESETS.values(), strict=True):
        size, product = label.replace(",", "").split(" KiB = ")
        factors = [int(number) for number in re.findall(r"\d+", product)]
        assert np.prod(factors) == int(size) * 1024 == model.kv_bytes_per_token
        assert bar.get_width() == int(size)
    with pytest.raises(ValueError, match="models must hold at least one model, got none"):
        nb01.bytes_per_token([])


def test_a_larger_batch_shares_the_reading_of_the_weights():
    ax = nb01.reading_times([7, 30], tokens_per_request=500, ax=new_axes())
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    assert ends[0] == ends[2] == pytest.approx(1000 * OPT_13B_ITERATION.weights_s)
    assert ends[3] == pytest.approx(1000 * OPT_13B_ITERATION.reading_s(15_000))
    assert texts(ax) == ["18.5 ms for 7 tokens: 2.6 ms each", "24.6 ms for 30 tokens: 0.8 ms each"]


def test_a_memory_bar_names_its_parts_where_there_is_room():
    budget = MemoryBudget(
        model=PRESETS["OPT-13B"], memory_bytes=40 * GIB, num_requests=7, tokens_per_request=2048
    )
    shown = texts(nb01.memory_bar(budget))
    assert shown == ["memory: 40 GiB", "weights\n23.94 GiB", "keys and values\n10.94 GiB", "free\n5.12 GiB"]


def test_each_fate_is_named_above_its_first_slots_and_told_with_its_count():
    allocator = TraditionalAllocator(64, reserve=reserve_max(24))
    for seq_id, num_tokens in {"A": 7, "B": 3}.items():
        allocator.allocate(seq_id, range(num_tokens), final_tokens=20)
    ax = nb02.fates_by_name(allocator.memory_map(), {"A": 2, "B": 0}, request_slots=24, ax=new_axes())
    places = {text.get_text(): text.get_position()[0] for text in written(ax) if len(text.get_text()) > 1}
    assert places == {"used": 3.5, "reserved": 8, "internal": 16.5, "external": 56}
    words = "A: 7 used, 2 reserved, 15 internal. B: 3 used, 21 internal. Then 16 external slots."
    assert show(ax).words == words


@pytest.mark.parametrize("num_reserved", [1, 16, 100, 128, 300, 512])
def test_buddies_halve_a_chunk_until_it_is_the_one_that_the_allocator_gives(num_reserved):
    ax = nb02.buddy_split(num_reserved, pool_slots=512, ax=new_axes())
    rows = {}
    for piece in ax.patches:
        rows.setdefault(piece.get_y(), []).append((piece.get_x(), piece.get_width()))
    assert all(sum(width for _, width in pieces) == 512 for pieces in rows.values())
    placement = buddy(512)
    run = placement.place(num_reserved)
    (_, asked), (_, rounding), *free = rows[max(rows)]
    assert (asked, asked + rounding) == (num_reserved, run.num_slots)
    assert free == list(placement.holes())
    assert f"gets one of {run.num_slots}: {rounding} of them are rounding" in ax.get_label()


@pytest.mark.parametrize("pool_slots", [0, 8, 500])
def test_a_pool_that_buddies_cannot_halve_is_named(pool_slots):
    with pytest.raises(ValueError, match=f"pool_slots must be a power of two from 16, got {pool_slots}"):
        nb02.buddy_split(8, pool_slots=pool_slots)


@pytest.mark.parametrize("position", range(12))
def test_the_translation_ends_at_the_slot_of_the_allocator(position):
    allocator = PagedAllocator(8, 4)
    allocator.allocate("other", range(9))
    allocator.allocate("A", range(12))
    table = allocator.page_table("A")
    ax = nb03.translation(table, position, page_size=4, num_pages=8, ax=new_axes())
    slot = allocator.slots("A")[position]
    assert ax.get_title().endswith(f" = {slot}")
    framed = next(item for item in ax.collections if item.get_linewidth() > 2)
    corners = [path.vertices.min(axis=0).tolist() for path in framed.get_paths()]
    assert corners[1] == [slot, 0]


@pytest.mark.parametrize("position", [-1, 12, 2.0, True])
def test_a_position_outside_the_table_is_named(position):
    with pytest.raises((ValueError, TypeError), match="position must be"):
        nb03.translation([7, 1, 3], position, page_size=4, num_pages=8)


@pytest.mark.parametrize("page_table", [[7, 1, 8], [7, -1, 3]])
def test_a_page_outside_the_pool_is_named(page_table):
    with pytest.raises(ValueError, match=r"page_table must name pages from 0 to 7, got \[7, "):
        nb03.translation(page_table, 9, page_size=4, num_pages=8)


def test_the_waste_is_a_saw_tooth_below_one_page():
    ax = nb03.waste_against_length(page_size=4, num_pages=3, ax=new_axes())
    assert [bar.get_height() for bar in ax.patches] == [3, 2, 1, 0] * 3
    assert texts(ax) == ["one page: 4", "mean: 1.5"]


def test_rows_of_pages_hold_the_tokens_and_the_waste():
    ax = nb03.rows_of_pages([5, 8, 1], page_size=4, ax=new_axes())
    widths = [np.ptp(corners[:, 0]) for bars in ax.collections[:2] for corners in rectangles(bars)]
    assert widths == [5, 8, 1, 3, 0, 3]
    assert ax.get_xlim() == (0, 8)
    (edges,) = (item for item in ax.collections if isinstance(item, PathCollection))
    assert ax.collections[2:] == [edges]


def test_output_bars_show_the_output_within_the_outlines_of_what_it_should_be():
    ax = nb04.output_bars([1.0, -2.0], expected=[1.5, -2.0], ax=new_axes())
    heights = [path.vertices[2, 1] for bars in ax.collections for path in bars.get_paths()]
    assert heights == [1.0, -2.0, 1.5, -2.0]
    assert to_hex(ax.collections[0].get_facecolor()[0]) == style.PAGED.lower()
    assert len(ax.collections[1].get_facecolor()) == 0


def test_an_output_of_nan_can_be_drawn():
    show(nb04.output_bars([np.nan, np.nan], expected=[1.0, 2.0]), "nothing")


def test_the_highest_score_rises_page_by_page_and_rescales_what_came_before():
    scores = [1.0, 0.0, 3.0, 2.0, 2.5]
    ax = nb04.scores_by_page(scores, page_size=2, ax=new_axes())
    levels = [lines.get_segments()[0][0][1] for lines in ax.collections]
    assert levels == [1.0, 3.0, 3.0]
    assert texts(ax) == ["page 0\nstart", f"page 1\nx {np.exp(-2):.2f}", "page 2\nx 1.00"]
    assert list(ax.lines[-1].get_ydata()) == scores


@pytest.mark.parametrize(("scores", "page_size"), [([5.0], 1), ([0.0] * 7, 16), ([-1e4, 1e4], 1)])
def test_extreme_scores_can_be_drawn(scores, page_size):
    show(nb04.scores_by_page(scores, page_size=page_size), "scores")


def test_the_slowdowns_of_the_papers_kernel_are_those_of_its_figure():
    low, high = kernel_slowdowns(32)
    assert (round(low, 2), round(high, 2)) == (1.19, 1.26)
    low, high = kernel_slowdowns(8)
    assert (round(low, 2), round(high, 2)) == (1.25, 1.44)
    assert set(FIG_18A_US) == {8, 32}


def test_the_cost_has_a_point_per_page_size_beside_the_papers_band():
    ax = nb04.cost_by_page_size({4: 2.0, 16: 1.2}, ax=new_axes())
    line = ax.lines[-1]
    assert list(line.get_xdata()) == [4, 16]
    assert list(line.get_ydata()) == [2.0, 1.2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "16"]
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx(kernel_slowdowns(32))
    assert ax.get_ylim()[0] == 0


def test_reading_bars_are_as_long_as_the_milliseconds_they_stand_for():
    ax = nb04.reading_bars(OPT_13B_ITERATION, num_kv_tokens=10_000, slowdown=1.5, axis_ms=40, ax=new_axes())
    assert [patch.get_width() for patch in ax.patches] == pytest.approx([16.7, 5.27, 16.7, 7.905])
    assert {"KV 5.3", "KV 7.9", "weights 16.7"} == set(texts(ax))


def test_the_rates_at_the_papers_batches_are_about_380_518_685_and_1232_tokens_per_second():
    ax = nb04.rate_against_batch(OPT_13B_ITERATION, tokens_per_sequence=500, slowdown=1.0, ax=new_axes())
    points = {line.get_xdata()[0]: line.get_ydata()[0] for line in ax.lines if line.get_marker() == "D"}
    assert list(points) == list(FIG_13["ShareGPT"].values())
    assert [round(rate) for rate in points.values()] == [381, 518, 685, 1232]


def test_only_the_paged_curve_and_vllm_follow_the_slowdown():
    slow = nb04.rate_against_batch(OPT_13B_ITERATION, tokens_per_sequence=500, slowdown=2.0, ax=new_axes())
    even = nb04.rate_against_batch(OPT_13B_ITERATION, tokens_per_sequence=500, slowdown=1.0, ax=new_axes())
    moved = [
        not np.array_equal(one.get_ydata(), other.get_ydata())
        for one, other in zip(slow.lines, even.lines, strict=True)
    ]
    assert moved == [False, True, False, False, False, True]


def test_a_page_size_of_zero_is_named():
    with pytest.raises(ValueError, match="page_size must be at least 1, got 0"):
        nb04.scores_by_page([1.0], page_size=0)


def test_ways_are_run_in_turn_and_compared_within_each_round(monkeypatch):
    ran = []
    ticks = iter(
        [0, 1, 1, 4, 0, 10, 10, 30, 0, 1, 1, 2]
    )  # Two ways in three rounds: 1 and 3, 10 and 20, 1 and 1.
    monkeypatch.setattr(nb04.time, "perf_counter", lambda: next(ticks))
    ways = {4: lambda: ran.append(4), 8: lambda: ran.append(8)}
    assert nb04.times_as_long(ways, reference=4, num_rounds=3) == {4: 1, 8: 2}
    assert ran == [4, 8] * 3


def drawn_slots(ax, colour):
    """Add up the slots that are drawn in a colour."""
    return sum(
        corners[:, 0].max() - corners[:, 0].min()
        for item in ax.collections
        if len(item.get_facecolor()) and to_hex(item.get_facecolor()[0]) == colour.lower()
        for corners in rectangles(item)
    )


@pytest.mark.parametrize("num_samples", [2, 3])
@pytest.mark.parametrize(("num_prompt", "page_size"), [(23, 16), (32, 16), (5, 16), (7, 1)])
def test_the_rows_show_every_slot_of_each_sequence_once(num_prompt, page_size, num_samples):
    pool = sample_in_parallel(num_prompt, num_samples, page_size=page_size)
    ax = nb05_plots.rows_of_shared_pages(pool, ax=new_axes())
    num_shared = num_prompt // page_size * page_size
    held = -(-(num_prompt + 1) // page_size) * page_size
    assert drawn_slots(ax, style.FATES["shared"].colour) == num_samples * num_shared
    assert drawn_slots(ax, style.FATES["reserved"].colour) == num_samples * (held - num_prompt - 1)
    own = [drawn_slots(ax, style.sequence_tint(sample)) for sample in range(num_samples)]
    assert own == [num_prompt + 1 - num_shared] * num_samples
    framed = [path for item in ax.collections if item.get_linewidth()[0] == 2 for path in item.get_paths()]
    assert len(framed) == len(pool.copies)
    assert {path.vertices[:, 0].max() for path in framed} <= {num_prompt}


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_the_curve_of_what_is_saved_is_what_the_allocator_saves(page_size):
    ax = nb05_plots.saved_against_prompt(num_samples=3, page_size=page_size, longest=40, ax=new_axes())
    for num_prompt, saved in zip(*ax.lines[0].get_data(), strict=True):
        pool = sample_in_parallel(int(num_prompt), 3, page_size=page_size)
        assert saved == pytest.approx(100 * pool.saved_share)


def test_what_is_copied_is_a_saw_tooth_below_one_page():
    ax = nb05_plots.copied_against_prompt(page_size=4, longest=8, ax=new_axes())
    assert ax.lines[0].get_ydata().tolist() == [25, 50, 75, 0] * 2


def test_what_is_found_is_a_staircase_of_whole_pages():
    ax = nb05_plots.found_against_prefix(page_size=4, longest=9, ax=new_axes())
    assert ax.lines[1].get_ydata().tolist() == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]
    # Each step begins at the length that fills the page, not at the one before it.
    assert ax.lines[1].get_drawstyle() == "steps-post"


@pytest.mark.parametrize(("page_size", "num_edges"), [(16, 3 * 3), (1, 0)])
def test_the_edges_of_pages_are_drawn_where_they_can_be_told_apart(page_size, num_edges):
    pool = sample_in_parallel(60, 3, page_size=page_size)
    ax = nb05_plots.rows_of_shared_pages(pool, axis_slots=128, ax=new_axes())
    edges = [item for item in ax.collections if isinstance(item, PathCollection)]
    assert sum(len(path.vertices) // 2 for item in edges for path in item.get_paths()) == num_edges


def test_the_queue_of_eviction_is_drawn_from_the_left():
    ax = nb05_plots.eviction_queues({"A ends": {1: "A1", 0: "A0"}, "A again": {}}, ax=new_axes())
    places = {text.get_text(): text.get_position() for text in written(ax)}
    assert places["A1\npage 1"][0] < places["A0\npage 0"][0]
    assert places["none"][1] == 1
    fills = [to_hex(box.get_facecolor()) for box in ax.patches]
    assert fills == [style.sequence_tint(0).lower()] * 2


def test_hits_are_drawn_in_percent_by_pages():
    ax = nb05_plots.hits_against_pages({"in turn": {4: 0.0, 8: 0.5}}, asked_pages=8, ax=new_axes())
    assert ax.lines[0].get_xydata().tolist() == [[4, 0], [8, 50]]
    assert "all prompts fit" in " ".join(texts(ax))
    assert list(ax.lines[1].get_xdata()) == [8, 8]


def test_a_queue_of_no_moment_is_named():
    with pytest.raises(ValueError, match="queues must hold at least one moment, got none"):
        nb05_plots.eviction_queues({})


def span_at(area, x):
    """The whole numbers that a filled area reaches from and to, above x."""
    path = area.get_paths()[0]
    inside = [height for height in range(120) if path.contains_point((x, height + 0.5))]
    return inside[0], inside[-1] + 1


def test_waiting_requests_are_stacked_on_the_running_ones():
    ax = nb06_plots.running_over_time(MOMENTS, ax=new_axes())
    running, waiting = ax.collections
    assert span_at(running, 1.5) == (0, 2)
    assert span_at(waiting, 1.5) == (2, 5)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["running", "waiting"]


def test_the_key_of_running_requests_stands_above_the_areas():
    ax = nb06_plots.running_over_time(MOMENTS, ax=new_axes())
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
    ax = nb06_plots.request_timeline({"paged": crowded}, "paged", ax=new_axes())
    assert crowded.num_preempted > 0
    bars = sorted((bar.get_x(), bar.get_width(), bar.get_y() + 0.36) for bar in ax.patches)
    stays = sorted((stay.start_s, stay.end_s - stay.start_s, stay.request_id) for stay in crowded.stays)
    np.testing.assert_allclose(bars, stays)
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(crosses) == crowded.num_preempted


def test_the_timeline_has_a_line_from_arrival_to_end(crowded):
    ax = nb06_plots.request_timeline({"paged": crowded}, "paged", first=2, count=5, ax=new_axes())
    lines = [line for line in ax.lines if line.get_marker() != "x"]
    spans = [tuple(line.get_xdata()) for line in lines]
    assert spans == [
        (request.arrival_s, finish_s)
        for request, finish_s in list(zip(crowded.requests, crowded.finish_s, strict=True))[2:7]
    ]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["C", "D", "E", "F", "G"]


def test_a_timeline_of_no_requests_is_an_error(crowded):
    with pytest.raises(ValueError, match=r"first must be below the number of requests \(12\), got 12"):
        nb06_plots.request_timeline({"paged": crowded}, "paged", first=12)


def knee(scheme_rate):
    """Make runs whose line reaches 0.5 s/token at a rate."""
    rates = [0.9 * scheme_rate, scheme_rate, 1.1 * scheme_rate]
    return Knee(rates_rps=tuple(rates), latencies_s=tuple(0.5 * (rate / scheme_rate) ** 20 for rate in rates))


def drawn_knees(ours, published):
    rows = {"vLLM": {"rate (1/s)": Comparison(2.0, (2.1,))}}
    curves = LatencyCurves(paper={"vLLM": published}, ours={"vLLM": ours}, joined=experiment(rows))
    rates = SustainedRates(workload="OPT-13B, ShareGPT", trace_s=3600, knees={"vLLM": knee(2.5)})
    return nb06_knees.knees(curves, rates, ax=new_axes())


def test_the_picture_of_the_knees_shows_both_readings():
    ax = drawn_knees([{1.0: 0.1, 2.0: 0.3, 3.0: 2.3}], {1.0: 0.1, 2.0: 0.4})
    line, runs, points, beyond, mark, *_ = ax.lines
    assert np.interp(0.5, line.get_ydata(), line.get_xdata()) == pytest.approx(2.1, abs=0.005)
    assert list(runs.get_xdata()) == [2.25, 2.5, 2.75]
    assert list(points.get_xdata()) == [1.0, 2.0]
    assert (beyond.get_xdata()[0], beyond.get_ydata()[0]) == (2.0, 0.4)
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (pytest.approx(2.5), 0.5)
    assert "vLLM" in texts(ax)


def test_the_lines_through_ours_show_the_rates_that_all_seeds_have():
    ax = drawn_knees([{1.0: 0.1, 2.0: 0.9}, {1.0: 0.3, 2.0: 0.4, 3.0: 0.9}], {1.0: 0.1})
    line = ax.lines[0]
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (1.0, 2.0)
    assert line.get_ydata()[0] == pytest.approx(0.2)


def test_the_constant_that_moves_the_gain_most_stands_on_top():
    outcome = Outcome(3.0, 30.0)
    moved = {
        "watermark": (Outcome(2.9, 25.0), outcome),
        "slots in the pool": (Outcome(3.5, 30.0), Outcome(2.8, 31.0)),
        "page size": (outcome, outcome),
    }
    ax = nb06_knees.what_moves_it(Sensitivity(move=0.2, base=outcome, moved=moved))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "slots in the pool · inferred",
        "watermark · chosen",
        "page size · printed",
    ]
    ends = {(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches if abs(bar.get_width()) > 1e-9}
    assert sorted({round(end, 6) for pair in ends for end in pair}) == [2.8, 2.9, 3.0, 3.5]
    words = show(ax).words
    assert "times the rate of Orca (Max): 3.00, moved most by slots in the pool (2.8 to 3.5)" in words
    assert "batch at 2/s: 30.00, moved most by watermark (25 to 30)" in words


def test_where_each_constant_that_is_moved_comes_from_is_known():
    outcome = Outcome(3.0, None)
    ax = nb06_knees.what_moves_it(
        Sensitivity(move=0.2, base=outcome, moved=dict.fromkeys(MOVED, (outcome, outcome)))
    )
    assert len(ax.figure.axes) == 1
    origins = [tick.get_text().split(" · ")[1] for tick in ax.get_yticklabels()]
    assert set(origins) <= set(ORIGINS)


def test_the_batches_stand_beside_the_papers():
    rows = {
        name: {"ShareGPT at 2/s": Comparison(paper, (paper + 1,))}
        for name, paper in FIG_13["ShareGPT"].items()
    }
    experiment = Experiment(title="", setup="", rows=rows, entered="", not_reproduced="")
    ax = nb06_knees.batches(experiment)
    heights = sorted(bar.get_height() for bar in ax.patches)
    assert heights == sorted(
        [*FIG_13["ShareGPT"].values(), *(batch + 1 for batch in FIG_13["ShareGPT"].values())]
    )
    assert "31.4" in texts(ax)


def test_swapping_gets_cheaper_with_the_page_size_and_computing_does_not():
    ax = nb06_plots.swap_or_recompute(ax=new_axes())
    swap, recompute, swap_points, recompute_points = (np.array(line.get_ydata()) for line in ax.lines)
    assert (np.diff(swap) < 0).all()
    assert (np.diff(recompute) == 0).all()
    np.testing.assert_allclose(swap, swap_points, rtol=0.05)
    np.testing.assert_allclose(recompute, recompute_points, rtol=0.2)


def test_the_papers_points_are_drawn_for_its_own_length_only():
    assert len(nb06_plots.swap_or_recompute(100, ax=new_axes()).lines) == 2


def test_small_budgets_keep_the_gap_short_and_delay_the_first_token():
    whole, pieces = nb06.served_by_budget(rate_rps=1)
    ax = nb06_plots.pieces_against_budget(whole, pieces, ax=new_axes())
    gaps_s, whole_gap_s, first_s, whole_first_s = (np.array(line.get_ydata()) for line in ax.lines)
    assert (np.diff(gaps_s) > 0).all()
    assert (np.diff(first_s) < 0).all()
    assert 10 * gaps_s[0] < whole_gap_s[0] == pytest.approx(gaps_s[-1], rel=0.01)
    assert first_s[0] < 2 * whole_first_s[0]
    assert first_s[-1] == pytest.approx(whole_first_s[0], rel=0.05)
    assert texts(ax).count("whole prompts") == 2
    with pytest.raises(ValueError, match="pieces must hold at least one run, got none"):
        nb06_plots.pieces_against_budget(whole, {})
