"""The pictures of what sequences share."""

import itertools
import re

import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from paged_demo.allocators.studies import sample_in_parallel
from paged_demo.course import nb05_plots
from paged_demo.views import plots, style
from paged_demo.views.picture import new_figure
from paged_demo.views.story import SAMPLES, tell_two_samples


def new_axes():
    return new_figure(3).subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_story_of_two_samples_is_the_one_of_the_paper():
    moments = tell_two_samples()
    assert [moment.page_tables for moment in moments[:4]] == [
        {"A": [7, 1]},
        {"A": [7, 1], "B": [7, 1]},
        {"A": [7, 3], "B": [7, 1]},
        {"A": [7, 3], "B": [7, 1]},
    ]
    assert [moment.copies for moment in moments] == [(), (), ((1, 3),), (), (), ()]


STORIES = [
    tuple(SAMPLES.values()),
    ("Once upon a time a king slept", "Once upon a time a queen slept well"),
    ("Once upon a time kings slept", "Once upon a time queens woke up"),
]


@pytest.mark.parametrize("sentences", STORIES)
def test_each_sample_reads_its_own_sentence_at_every_moment(sentences):
    for moment in tell_two_samples(sentences):
        for seq_id, table in moment.page_tables.items():
            slots = [page_id * 4 + offset for page_id in table for offset in range(4)]
            sentence = sentences["AB".index(seq_id)].split()
            num_words = len(sentence) - moment.future_tokens[seq_id]
            assert [moment.words.get(slot) for slot in slots[:num_words]] == sentence[:num_words]


@pytest.mark.parametrize("sentences", STORIES)
def test_a_story_names_the_pages_that_change_hands(sentences):
    moments = tell_two_samples(sentences)
    for before, moment in itertools.pairwise(moments):
        for seq_id, table in moment.page_tables.items():
            for page_id in set(table) - set(before.page_tables.get(seq_id, table)):
                assert f"page {page_id}" in moment.told
        for src_page, dst_page in moment.copies:
            assert f"Page {src_page} is copied to page {dst_page}" in moment.told
    assert moments[2].copies if len(moments[0].words) % 4 else not moments[2].copies


@pytest.mark.parametrize(
    "sentences", [("a b c", "d e f"), ("a b c", "a b c d e"), ("a b",), ("a b c d",) * 3]
)
def test_sentences_that_do_not_part_are_no_story_of_two_samples(sentences):
    with pytest.raises(ValueError, match="sentences must be two that begin alike and go on with two words"):
        tell_two_samples(sentences)


def test_a_common_beginning_of_22_words_fits_into_the_small_pool_and_a_longer_one_is_refused():
    def told(num_common):
        return tell_two_samples(["so " * num_common + own for own in ("it goes", "they say")])

    for num_common in range(1, 23):
        assert len(told(num_common)) == 6
    for num_common in (23, 27, 28, 60):
        with pytest.raises(ValueError, match=f"sentences must fit into 8 pages of 4, .* {num_common} words"):
            told(num_common)


def test_words_in_a_shared_page_are_shared_and_counted():
    moment = tell_two_samples()[1]
    ax = plots.words_in_pages(
        moment.memory_map, moment.future_tokens, moment.words, counts_references=True, ax=new_axes()
    )
    assert texts(ax).count("2: A, B") == 2
    assert texts(ax).count("0") == 6
    fills = {to_hex(colour) for item in ax.collections for colour in item.get_facecolor()}
    assert style.FATES["shared"].colour.lower() in fills


def test_the_copy_has_an_arrow():
    moment = tell_two_samples()[2]
    ax = plots.words_in_pages(
        moment.memory_map, moment.future_tokens, moment.words, copies=moment.copies, ax=new_axes()
    )
    assert "copy" in texts(ax)


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


def test_an_eviction_without_moments_is_refused():
    with pytest.raises(ValueError, match="queues must hold at least one moment, got none"):
        nb05_plots.eviction_queues({})


def test_hits_are_drawn_in_percent_by_pages():
    ax = nb05_plots.hits_against_pages({"in turn": {4: 0.0, 8: 0.5}}, asked_pages=8, ax=new_axes())
    assert ax.lines[0].get_xydata().tolist() == [[4, 0], [8, 50]]
    assert re.search("all prompts fit", " ".join(texts(ax)))
    assert list(ax.lines[1].get_xdata()) == [8, 8]


def test_the_letters_of_many_holders_fit_into_their_page():
    few, many = ({name: list(range(num_pages)) for name in "ABCD"} for num_pages in (2, 5))
    sizes = []
    for tables in (few, many):
        ax = nb05_plots.reference_counts(tables, num_pages=8, ax=new_axes())
        sizes += {text.get_fontsize() for text in ax.texts if text.get_text() == "ABCD"}
    assert sizes == [11, 7]
