"""Programs that share pages, and the pictures of what they share."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from paged_demo import CacheFullError, PagedAllocator, Request
from paged_demo.allocators.sharing import ask_with_prefix, hit_share, sample_in_parallel
from paged_demo.course import nb05_plots
from paged_demo.serving.rules import pages_held, pages_without_sharing
from paged_demo.views import style
from paged_demo.views.picture import new_figure


def new_axes():
    return new_figure(3).subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 20), st.integers(0, 30))
def test_samples_hold_what_the_rules_of_serving_count(num_prompt, num_samples, page_size, num_generated):
    pool = sample_in_parallel(num_prompt, num_samples, page_size=page_size, num_generated=num_generated)
    request = Request(0, num_prompt, 30, num_samples=num_samples)
    assert pool.num_pages == pages_held(request, num_generated, page_size)
    assert pool.num_pages_unshared == pages_without_sharing(request, num_generated, page_size)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 20))
def test_all_samples_but_one_copy_a_page_unless_the_prompt_ends_with_one(num_prompt, num_samples, page_size):
    pool = sample_in_parallel(num_prompt, num_samples, page_size=page_size)
    assert len(pool.copies) == (num_samples - 1 if num_prompt % page_size else 0)


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 20), st.integers(1, 20))
def test_later_prompts_find_the_full_pages_of_the_common_beginning(common, num_requests, page_size, num_own):
    pool = ask_with_prefix(common, num_requests, page_size=page_size, num_own=num_own)
    num_full = common // page_size
    assert pool.num_found == (num_requests - 1) * num_full * page_size
    assert pool.num_pages_unshared - pool.num_pages == (num_requests - 1) * num_full


def test_nothing_is_saved_by_a_single_sequence():
    assert sample_in_parallel(20, 1, page_size=16).saved_share == 0
    assert ask_with_prefix(40, 1, page_size=16).saved_share == 0


@pytest.mark.parametrize("num_tokens", range(1, 70))
def test_a_prompt_that_returns_finds_all_whole_pages_before_its_last_token(num_tokens):
    share = hit_share([range(num_tokens)] * 2, num_pages=10, page_size=16)
    assert share == (num_tokens - 1) // 16 * 16 / (2 * num_tokens)


def test_prompts_in_turn_find_nothing_until_all_of_them_fit():
    prompts = [[number] * 17 for number in range(4)] * 10
    shares = [hit_share(prompts, num_pages=num_pages, page_size=16) for num_pages in (3, 4, 5, 6, 8)]
    assert shares[:2] == [0, 0]
    assert shares[-1] == 36 * 16 / (40 * 17)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample_in_parallel(0, 2, page_size=4), ValueError, "num_prompt_tokens must be at least 1"),
        (lambda: sample_in_parallel(7, 0, page_size=4), ValueError, "num_samples must be at least 1, got 0"),
        (lambda: sample_in_parallel(7, 2, page_size=0), ValueError, "page_size must be at least 1, got 0"),
        (
            lambda: sample_in_parallel(7, 2, page_size=4, num_generated=-1),
            ValueError,
            "num_generated must be at least 0, got -1",
        ),
        (lambda: ask_with_prefix(-1, 2, page_size=4), ValueError, "num_common must be at least 0, got -1"),
        (lambda: ask_with_prefix(4, 2.0, page_size=4), TypeError, "num_requests must be a whole number"),
        (lambda: ask_with_prefix(4, 2, page_size=4, num_own=0), ValueError, "num_own must be at least 1"),
        (lambda: hit_share([], num_pages=4, page_size=4), ValueError, "prompts must hold at least one"),
        (lambda: hit_share([1, 2], num_pages=4, page_size=4), TypeError, r"prompts must be .*got \[1, 2\]"),
        (
            lambda: nb05_plots.eviction_queues({}),
            ValueError,
            "queues must hold at least one moment, got none",
        ),
        (lambda: hit_share(7, num_pages=4, page_size=4), TypeError, "prompts must be .*, got 7"),
        (lambda: hit_share([range(9)], num_pages=2, page_size=4), CacheFullError, "need 3 pages, 2 free"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_error_in_a_generator_of_prompts_is_told_as_it_is():
    prompts = (range("9") for _ in range(3))
    with pytest.raises(TypeError, match="'str' object cannot be interpreted as an integer"):
        hit_share(prompts, num_pages=4, page_size=4)


def test_the_cached_pages_are_listed_in_the_order_of_their_eviction():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("A", range(8))
    allocator.allocate("B", range(20, 28))
    allocator.free("A")
    allocator.free("B")
    assert allocator.cached_pages == [1, 0, 3, 2]
    allocator.allocate("A", range(8))
    assert allocator.page_table("A") == [0, 1]
    assert allocator.cached_pages == [3, 2]
    allocator.free("A")
    assert allocator.cached_pages == [3, 2, 1, 0]
    for page_id in [3, 2, 1, 0]:
        assert allocator.cached_pages[0] == page_id
        allocator.allocate(page_id, [page_id])
    assert allocator.cached_pages == []


def test_a_page_that_never_was_full_is_free_and_not_cached():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("A", range(7))
    allocator.free("A")
    assert allocator.cached_pages == [0]


def test_reference_counts_stand_below_their_pages():
    tables = {"A": [7, 3], "B": [7, 1], "C": [7]}
    ax = nb05_plots.reference_counts(tables, num_pages=8, copies=[(1, 3)], ax=new_axes())
    counts = {text.get_position(): text.get_text() for text in ax.texts if text.get_position()[1] == -0.75}
    assert [count for _, count in sorted(counts.items())] == ["0", "1", "0", "1", "0", "0", "0", "3"]
    assert texts(ax).count("copy") == 1


def test_the_counts_of_shared_pages_stand_out():
    ax = nb05_plots.reference_counts({"A": [0, 1], "B": [0, 2]}, num_pages=4, ax=new_axes())
    weights = {text.get_text(): text.get_weight() for text in ax.texts if text.get_position()[1] == -0.75}
    assert weights == {"0": "normal", "1": "normal", "2": "bold"}


@pytest.mark.parametrize("copy", [(1, 3), (3, 1)])
def test_the_arrow_of_a_copy_passes_below_the_counts(copy):
    ax = nb05_plots.reference_counts({"A": [0, 3], "B": [0, 1]}, num_pages=4, copies=[copy], ax=new_axes())
    ax.figure.canvas.draw()
    arrow = next(text.arrow_patch for text in ax.texts if getattr(text, "arrow_patch", None))
    heights = ax.transData.inverted().transform(arrow.get_path().vertices)[:, 1]
    assert heights.max() < -0.75
    assert heights.min() < -1.0


def drawn_slots(ax, colour):
    """Add up the slots that are drawn in a colour."""
    return sum(
        path.vertices[:, 0].max() - path.vertices[:, 0].min()
        for item in ax.collections
        if len(item.get_facecolor()) and to_hex(item.get_facecolor()[0]) == colour.lower()
        for path in item.get_paths()
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
    edges = [item for item in ax.collections if isinstance(item, LineCollection)]
    assert sum(len(item.get_segments()) for item in edges) == num_edges


def test_the_queue_of_eviction_is_drawn_from_the_left():
    ax = nb05_plots.eviction_queues({"A ends": {1: "A1", 0: "A0"}, "A again": {}}, ax=new_axes())
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places["A1\npage 1"][0] < places["A0\npage 0"][0]
    assert places["none"][1] == 1
    fills = [to_hex(box.get_facecolor()) for box in ax.patches]
    assert fills == [style.sequence_tint(0).lower()] * 2


def test_hits_are_drawn_in_percent_by_pages():
    ax = nb05_plots.hits_against_pages({"in turn": {4: 0.0, 8: 0.5}}, asked_pages=8, ax=new_axes())
    assert ax.lines[0].get_xydata().tolist() == [[4, 0], [8, 50]]
    assert re.search("all prompts fit", " ".join(texts(ax)))
    assert list(ax.lines[1].get_xdata()) == [8, 8]


def test_what_notebook_05_says_of_prompts_in_turn_is_so():
    prompts = [[number] * 65 for number in range(40)] * 10
    lacks_one, fits = (hit_share(prompts, num_pages=num_pages, page_size=16) for num_pages in (195, 200))
    assert lacks_one == 0
    assert fits == 0.9 * 64 / 65


def test_a_page_that_remembers_nothing_waits_in_the_queue_like_the_others():
    # Prompt 0 alone comes again and again; its fifth page is new each time, and evicts somebody.
    prompts = [[number] * 65 for number in range(4)]
    returning = [*prompts, *[prompts[0]] * 20, *prompts[1:]]
    just_fits, with_room = (hit_share(returning, num_pages=num, page_size=16) for num in (20, 40))
    assert just_fits == 20 * 64 / (27 * 65)
    assert with_room == 23 * 64 / (27 * 65)


def test_the_letters_of_many_holders_fit_into_their_page():
    few, many = ({name: list(range(num_pages)) for name in "ABCD"} for num_pages in (2, 5))
    sizes = []
    for tables in (few, many):
        ax = nb05_plots.reference_counts(tables, num_pages=8, ax=new_axes())
        sizes += {text.get_fontsize() for text in ax.texts if text.get_text() == "ABCD"}
    assert sizes == [11, 7]


def test_counts_of_numpy_are_counts():
    asked = ask_with_prefix(np.uint8(250), 2, page_size=4, num_own=np.uint8(20))
    assert set(asked.num_tokens.values()) == {270}
