import io
from base64 import b64decode
from statistics import stdev

import numpy as np
import pytest
from amounts import amount
from drawn import new_axes, rectangles, texts, written
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from paged_demo import (
    PRESETS,
    PagedAllocator,
    TraditionalAllocator,
    buddy,
    fates,
    keep_one_sequence,
    reserve_max,
    reserve_pow2,
)
from paged_demo.paper.experiment import Comparison, Experiment
from paged_demo.views import picture as picture_module
from paged_demo.views import plots, show, style
from paged_demo.views.picture import Picture
from paged_demo.views.story import SENTENCES, tell_two_requests, tell_two_samples
from paged_demo.views.strip import slot_strip

LLAMA_7B = PRESETS["Llama-2-7B"]


def slots_of(collection, num_columns):
    """List the slots that the rectangles of a collection cover."""
    slots = []
    for corners in rectangles(collection):
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        slots += [
            int(row) * num_columns + int(column)
            for row in np.arange(top, bottom)
            for column in np.arange(left, right)
        ]
    return slots


def small_pool():
    allocator = PagedAllocator(8, 4, prefix_caching=True)
    allocator.allocate("A", range(9))
    allocator.allocate("B", range(20, 26))
    allocator.fork("B", "C")
    allocator.allocate("D", range(40, 44))
    allocator.free("D")
    return allocator


@given(
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), max_size=4),
    num_columns=st.integers(1, 70),
)
@settings(max_examples=amount(short=6, long=25))
def test_the_strip_of_a_large_pool_covers_every_slot_once_in_the_colour_of_its_fate(lengths, num_columns):
    allocator = TraditionalAllocator(600, reserve=reserve_pow2(120), placement=buddy)
    future = {}
    for seq_id, (num_prompt_tokens, num_more) in enumerate(lengths):
        allocator.allocate(seq_id, range(num_prompt_tokens), final_tokens=num_prompt_tokens + num_more)
        future[seq_id] = num_more
    memory_map = allocator.memory_map()
    ax = slot_strip(memory_map, future, request_slots=128, num_columns=num_columns, ax=new_axes())
    drawn = {}
    for collection in ax.collections:
        assert isinstance(collection, PolyCollection)
        colour = tuple(np.round(collection.get_facecolor()[0], 3))
        for slot in slots_of(collection, num_columns):
            assert slot not in drawn
            drawn[slot] = colour
    expected = {}
    for run in fates(memory_map, future, request_slots=128):
        patch = PolyCollection([], facecolor=style.FATES[run.fate].colour)
        colour = tuple(np.round(patch.get_facecolor()[0], 3))
        expected.update(dict.fromkeys(range(run.start_slot, run.start_slot + run.num_slots), colour))
    assert drawn == expected


def test_the_strip_of_a_small_pool_names_the_sequences_in_their_slots():
    ax = slot_strip(small_pool().memory_map(), {"A": 2, "B": 1, "C": 0}, ax=new_axes())
    assert texts(ax) == ["A", "A", "A", "BC", "BC"]


@pytest.mark.parametrize(("num_tokens", "places"), [(5, [2.0]), (6, [2.0, 1.0]), (1, [0.5])])
def test_letters_that_have_no_room_in_a_piece_of_a_run_stand_in_the_others(num_tokens, places):
    allocator = PagedAllocator(1, 8)
    allocator.allocate(26, range(num_tokens))
    ax = slot_strip(allocator.memory_map(), {26: 0}, num_columns=4, ax=new_axes())
    assert texts(ax) == ["AA"] * len(places)
    assert [text.get_position()[0] for text in written(ax)] == places


@pytest.mark.parametrize(("letters_stay", "places"), [(False, [1.0, 1.5]), (True, [0.5, 0.5])])
def test_a_letter_can_stay_where_it_is_while_its_sequence_grows(letters_stay, places):
    allocator = PagedAllocator(2, 4)
    allocator.allocate("A", range(2))
    for place in places:
        ax = slot_strip(allocator.memory_map(), {"A": 0}, letters_stay=letters_stay, ax=new_axes())
        assert written(ax)[0].get_position() == (place, 0.5)
        allocator.append("A", 0)


def test_every_used_run_has_the_tint_of_its_sequence():
    ax = slot_strip(small_pool().memory_map(), {"A": 2, "B": 1, "C": 0}, ax=new_axes())
    fills = [
        to_hex(collection.get_facecolor()[0])
        for collection in ax.collections
        if len(collection.get_facecolor())
    ]
    assert style.sequence_tint(0).lower() in fills
    assert style.FATES["shared"].colour.lower() in fills


@pytest.mark.parametrize("seq_id", [-1, True, 3, "a long name", ("a", "tuple"), None])
def test_any_sequence_id_can_be_drawn(seq_id):
    allocator = PagedAllocator(2, 4)
    allocator.allocate(seq_id, [1, 2])
    assert len(texts(slot_strip(allocator.memory_map(), {seq_id: 0}, ax=new_axes()))) == 1


def test_the_key_explains_every_fate_it_is_given():
    legend = plots.fate_legend(new_axes(), ["used", "free"]).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "used: holds a token",
        "free: free, and empty",
    ]


def test_a_page_size_of_zero_is_named():
    with pytest.raises(ValueError, match="page_size must be at least 1, got 0"):
        plots.memory_against_length(LLAMA_7B, page_size=0)


def test_a_pool_of_one_slot_can_be_drawn():
    allocator = PagedAllocator(1, 1)
    slot_strip(allocator.memory_map(), {}, ax=new_axes())
    allocator.allocate("A", [1])
    assert texts(slot_strip(allocator.memory_map(), {"A": 0}, ax=new_axes())) == ["A"]


@pytest.mark.parametrize("num_pages", [50, 400])
@pytest.mark.parametrize("page_size", [3, 10, 16])
def test_a_row_of_the_strip_holds_whole_pages(num_pages, page_size):
    ax = slot_strip(PagedAllocator(num_pages, page_size).memory_map(), {}, ax=new_axes())
    assert ax.get_xlim()[1] % page_size == 0


def test_page_tables_draw_a_line_from_every_logical_page_to_its_physical_one():
    allocator = small_pool()
    tables = {seq_id: allocator.page_table(seq_id) for seq_id in "ABC"}
    ax = plots.page_tables(tables, num_pages=8, ax=new_axes())
    number_at = {
        round(text.get_position()[0], 3): text.get_text()
        for text in written(ax)
        if text.get_position()[1] < 0
    }
    targets = [int(number_at[round(line.get_xdata()[1], 3)]) for line in ax.lines]
    assert targets == [page_id for table in tables.values() for page_id in table]
    assert texts(ax)[:7] == ["A0", "A1", "A2", "B0", "B1", "C0", "C1"]
    assert texts(ax).count("BC") == 2


def test_the_new_words_have_a_frame_and_are_written_once():
    moment = tell_two_requests()[3]
    ax = plots.words_in_pages(
        moment.memory_map, moment.future_tokens, moment.words, new_slots=moment.new_slots, ax=new_axes()
    )
    assert moment.new_slots == {12}
    bold = [text.get_text() for text in written(ax) if text.get_weight() == "bold"]
    assert bold == ["brought"]
    assert sorted(word for word in texts(ax) if word in SENTENCES["A"].split()) == sorted(
        moment.words.values()
    )


def test_words_need_a_pool_with_pages():
    memory_map = TraditionalAllocator(64, reserve=reserve_max(16)).memory_map()
    with pytest.raises(ValueError, match="memory_map must be of a pool with pages"):
        plots.words_in_pages(memory_map, {}, {})


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


@pytest.mark.parametrize("page_size", [1, 16, 255, 2048])
def test_the_memory_curve_is_what_the_allocators_hold(page_size):
    ax = plots.memory_against_length(LLAMA_7B, page_size=page_size, ax=new_axes())
    traditional, paged = (dict(zip(*line.get_data(), strict=True)) for line in ax.lines)
    for num_tokens in (1, 2, 255, 256, 257, 500, 2047, 2048):
        usages = keep_one_sequence(num_tokens, page_size=page_size)
        assert traditional[num_tokens] == usages["traditional"].allocated / 2
        assert paged[num_tokens] == usages["paged"].allocated / 2
    assert ax.get_ylim()[1] > max(paged.values())


def experiment(rows):
    return Experiment(title="", setup="", rows=rows, entered="", not_reproduced="")


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
    ax = plots.savings_beside_paper(experiment(groups), ax=new_axes())
    heights = sorted(bar.get_height() for bar in ax.patches)
    assert heights == [5.0, 10.0, 12.0]
    assert {"10", "12", "5", "A"} <= set(texts(ax))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y"]
    ((span,),) = (lines.get_segments() for lines in ax.collections)
    assert span[:, 1] == pytest.approx([12 - stdev([11, 13]), 12 + stdev([11, 13])])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: slot_strip(small_pool().memory_map(), {"A": 2, "B": 1, "C": 0}),
        lambda: plots.page_tables({"A": [3, 1]}, num_pages=4),
        lambda: plots.memory_against_length(LLAMA_7B),
        lambda: plots.fate_legend(new_axes(), list(style.FATES)),
    ],
)
def test_a_plot_without_axes_makes_its_own_picture(draw):
    picture = show(draw(), "what it shows")
    assert isinstance(picture, Picture)
    bundle, metadata = picture.bundle()
    assert b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"] == "what it shows"
    assert metadata["image/png"]["width"] == 900


def test_a_plot_puts_what_it_shows_in_words_and_a_reader_may_put_it_otherwise():
    ax = plots.page_tables({"A": [3, 1], "B": [0]}, num_pages=5)
    words = "in the order of their tokens, A in the pages 3, 1 and B in the pages 0; 2 of 5 pages are free."
    assert show(ax).words == words
    assert show(ax, "three pages are held").words == "three pages are held"
    shared = plots.page_tables({"A": [3, 1], "B": [3, 0]}, num_pages=5)
    assert shared.get_label().endswith("A in the pages 3, 1 and B in the pages 3, 0; 2 of 5 pages are free.")


def test_a_picture_without_words_is_refused():
    with pytest.raises(ValueError, match="words must say what the picture shows, got none"):
        show(new_axes())


def test_a_picture_is_displayed_with_its_words_below(monkeypatch):
    shown = []
    monkeypatch.setattr(picture_module, "display", lambda bundle, **_: shown.append(bundle))
    Picture(b"png", "three bars")._ipython_display_()
    assert [list(bundle) for bundle in shown] == [["image/png", "text/plain"], ["text/html", "text/plain"]]
    assert shown[1] == {"text/html": "<p>In words: three bars</p>", "text/plain": "In words: three bars"}
    assert repr(Picture(b"png", "three bars")) == "Picture(words='three bars')"


def test_a_still_picture_keeps_the_colours_of_the_fates_even_in_a_key():
    shares = {"used": 50.0, "reserved": 20.0, "internal": 0.0, "other": 30.0, "rounding": 0.0, "free": 30.0}
    row = {name: Comparison(share, (share,)) for name, share in shares.items()}
    axes = plots.usage_beside_paper(experiment(dict.fromkeys("ABCD", row)))
    picture = show(axes, "all fates of a slot, most of them as areas and two as keys only.")
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)
    for name in ("used", "reserved", "internal", "rounding", "external", "free"):
        colour = [round(255 * channel) for channel in to_rgb(style.FATES[name].colour)]
        assert (np.abs(pixels - colour).max(axis=-1) <= 10).sum() > 100, name
