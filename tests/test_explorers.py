"""What holds for every explorer: set the controls, read the words and the pixels."""

import asyncio
import io
import itertools
from base64 import b64decode
from typing import NamedTuple

import numpy as np
import pytest
from amounts import amount
from drawn import written
from explorers import EXPLORERS, ends_and_middle, hear, move, names, pixels, share_that_differs
from matplotlib.text import Text
from PIL import Image

from paged_demo.course import nb06
from paged_demo.views import screen
from paged_demo.views.controls import number
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.live import Explorer
from paged_demo.views.picture import DPI, PX_PER_INCH

MOST_COMBINATIONS = 60


class Seen(NamedTuple):
    """What an explorer shows while its controls have some values."""

    values: dict
    words: str
    sent_words: str
    pixels: int
    shape: tuple
    share_that_differs: float
    left: float
    right: float
    bottom: float
    top: float


def see(explorer, *, is_compared):
    quick = pixels(explorer)
    renderer = explorer.screen.figure.canvas.get_renderer()
    boxes = [artist.get_window_extent(renderer) for artist in explorer.screen.moving()]
    return Seen(
        explorer.values,
        explorer.words,
        explorer.view.words,
        hash(quick.tobytes()),
        quick.shape,
        share_that_differs(explorer) if is_compared else 0.0,
        min(box.x0 for box in boxes),
        max(box.x1 for box in boxes),
        min(box.y0 for box in boxes),
        max(box.y1 for box in boxes),
    )


@pytest.fixture(scope="module", params=EXPLORERS)
def explorer(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nb06, "NUM_REQUESTS", amount(short=100, long=nb06.NUM_REQUESTS))
        yield EXPLORERS[request.param]()


def ends(control):
    first, *_, last = ends_and_middle(control)
    return first, last


def stops(control):
    """Where to look at what a control does: at the value that it begins with, too."""
    values = {*amount(short=ends, long=ends_and_middle)(control), control.value}
    return sorted(values, key=control.options.index)


@pytest.fixture(scope="module")
def sweep(explorer):
    """Every control through its whole range, one after the other, and several together; by their values."""
    before, seen = explorer.values, {}
    of_each = [
        before | {name: value} for name, control in explorer.controls.items() for value in stops(control)
    ]
    compared = [before | {name: ends(control)[1]} for name, control in explorer.controls.items()]
    others = [values for values in of_each + combinations(explorer) if values != before]
    for values in [*others, before]:
        if key_of(values) not in seen:
            move(explorer, **values)
            is_compared = values in amount(short=compared, long=of_each)
            seen[key_of(values)] = see(explorer, is_compared=is_compared)
    return seen


def key_of(values):
    return tuple(values.values())


def test_every_value_of_every_control_is_seen_and_told(explorer, sweep):
    assert len({seen.shape for seen in sweep.values()}) == 1
    for name, control in explorer.controls.items():
        of_control = [sweep[key_of(explorer.values | {name: value})] for value in stops(control)]
        assert [seen.values[name] for seen in of_control] == stops(control)
        assert len({seen.words for seen in of_control}) == len(of_control), name
        # Two models may take as much for a token.
        assert len({seen.pixels for seen in of_control}) == len(of_control) or name == "model", name
        assert of_control[0].pixels != of_control[-1].pixels


def test_the_words_name_the_value_of_every_control(sweep):
    for seen in sweep.values():
        assert all(names(seen.words, value) for value in seen.values.values()), seen


def test_the_words_go_with_the_picture(sweep):
    for seen in sweep.values():
        assert seen.sent_words == seen.words


def test_the_picture_that_follows_a_control_is_the_one_a_full_drawing_gives(sweep):
    for seen in sweep.values():
        assert seen.share_that_differs < 0.002, seen.values


def test_no_label_leaves_the_picture(sweep):
    for seen in sweep.values():
        height, width, _ = seen.shape
        assert seen.left >= 0, seen.values
        assert seen.right <= width, seen.values
        assert seen.bottom >= 0, seen.values
        assert seen.top <= height, seen.values


def combinations(explorer):
    """Values that are driven through together: of all the values, or, where these are many, of the ends."""
    ranges = [ends_and_middle(control) for control in explorer.controls.values()]
    if np.prod([len(values) for values in ranges]) > MOST_COMBINATIONS:
        ranges = [ends(control) for control in explorer.controls.values()]
    together = list(itertools.product(*ranges))
    chosen = amount(short=[together[0], together[-1]], long=together)
    return [dict(zip(explorer.controls, values, strict=True)) for values in chosen]


def test_all_controls_at_their_ends_at_once_raise_nothing_and_are_told(explorer, sweep):
    for values in combinations(explorer):
        told = sweep[key_of(values)].words
        assert all(names(told, value) for value in values.values()), values


@pytest.mark.long
def test_a_picture_does_not_depend_on_the_ones_before_it(request, explorer):
    """The explorer has been through all its range when this is asked."""
    fresh = EXPLORERS[request.node.callspec.params["explorer"]]()
    last = {name: ends(control)[1] for name, control in fresh.controls.items()}
    for values in (fresh.values, last):
        move(explorer, **values)
        move(fresh, **values)
        assert np.array_equal(pixels(explorer), pixels(fresh)), values


def test_what_is_drawn_ahead_is_what_would_be_drawn_when_it_is_asked_for(explorer):
    async def back_and_on(name, options):
        hear(explorer, {name: options[0]})
        hear(explorer, {name: options[1]})
        await explorer._task
        drawn = [setting[1 + list(explorer.controls).index(name)] for setting in explorer._kept]
        assert sorted(drawn)[:3] == [0, 1, 2]
        hear(explorer, {name: options[-1]})
        while not explorer.view.is_whole:
            await asyncio.sleep(0)
        return explorer.words, pixels(explorer)

    before = explorer.values
    several = [name for name, control in explorer.controls.items() if len(control.options) > 2]
    for name in amount(short=several[:1], long=several):
        options = explorer.controls[name].options[:3]
        words, picture = asyncio.run(back_and_on(name, options))
        move(explorer, **before)
        move(explorer, **{name: options[-1]})
        assert explorer.words == words
        assert np.array_equal(pixels(explorer), picture), name
        move(explorer, **before)


def test_in_a_narrow_page_the_panels_lie_below_each_other_and_say_the_same(explorer):
    before = explorer.values
    wide, words = pixels(explorer), explorer.words
    settings = [*amount(short=[], long=[before]), combinations(explorer)[-1]]
    try:
        for values in settings:
            hear(explorer, values, is_narrow=True)
            seen = see(explorer, is_compared=True)
            assert seen.shape[1] == round(DPI * explorer.view.width_px / PX_PER_INCH)
            assert seen.shape[1] < wide.shape[1]
            boxes = [ax.get_position() for ax in explorer.panels.values()]
            assert all(one.y0 >= other.y1 or other.y0 >= one.y1 for one, other in pairs(boxes))
            assert not misplaced(explorer)
            _, metadata = explorer._repr_mimebundle_()
            assert metadata["image/png"]["width"] == explorer.view.width_px
            test_the_picture_that_follows_a_control_is_the_one_a_full_drawing_gives({key_of(values): seen})
            test_no_label_leaves_the_picture({key_of(values): seen})
    finally:
        hear(explorer, before)
    assert explorer.words == words
    assert np.array_equal(pixels(explorer), wide)


def misplaced(explorer):
    """List texts that stand on each other, and texts in the middle of something that leave their panel."""
    renderer = explorer.screen.figure.canvas.get_renderer()
    texts = [
        (ax, text, Text.get_window_extent(text, renderer))
        for ax in explorer.panels.values()
        for text in (ax.title, *written(ax))
        if text.get_text()
    ]
    on_others = [
        (one.get_text(), other.get_text())
        for (_, one, first), (_, other, second) in pairs(texts)
        if min(first.x1, second.x1) > max(first.x0, second.x0) + 1
        and min(first.y1, second.y1) > max(first.y0, second.y0) + 3
    ]
    outside = [
        text.get_text()
        for ax, text, extent in texts
        if text.get_ha() == "center"
        and text is not ax.title
        and not ax.bbox.x0 - 2 <= extent.x0 < extent.x1 <= ax.bbox.x1 + 2
    ]
    return on_others + outside


def pairs(items):
    return itertools.combinations(items, 2)


def test_panels_that_lie_side_by_side_have_a_narrow_form(explorer):
    boxes = [ax.get_position() for ax in explorer.screen.panels.values()]
    is_wide = any(one.x0 >= other.x1 for one, other in itertools.permutations(boxes, 2))
    assert set(explorer._screens.narrow) == (set(explorer.panels) if is_wide else set())


def test_a_notebook_output_has_the_live_view_the_picture_and_the_words(explorer):
    bundle, metadata = explorer._repr_mimebundle_()
    assert b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"] == explorer.words
    assert bundle[WIDGET_VIEW]["model_id"]
    assert metadata["image/png"]["width"] == 900


def test_a_contact_sheet_shows_and_tells_every_setting(explorer, sweep):
    before = explorer.values, explorer.words
    settings = [{name: value} for name, control in explorer.controls.items() for value in ends(control)]
    settings = amount(short=[settings[0], settings[-1]], long=settings)
    for key in amount(short=[bool(explorer._key)], long=[False, True]):
        sheet = explorer.contact_sheet(settings, num_columns=2, height=2, key=key)
        assert (explorer.values, explorer.words) == before
        num_rows = -(-(len(settings) + key) // 2)
        assert Image.open(io.BytesIO(sheet.png)).size == (9 * DPI, 2 * num_rows * DPI)
    told = [sweep[key_of(before[0] | setting)].words for setting in settings]
    assert sheet.words == "\n".join(told)


def test_the_dial_stays_as_it_is_whatever_was_shown_before():
    explorer = EXPLORERS["page_size"]()
    move(explorer, page_size=2048)
    for page_size in amount(short=[16], long=[16, 2048, 64, 1, 256, 16, 2048, 64]):
        fresh = EXPLORERS["page_size"]()
        for each in (explorer, fresh):
            move(each, page_size=page_size)
        assert np.array_equal(pixels(explorer), pixels(fresh)), page_size


def with_one_slider(fill, name, **options):
    slider = number(name, 1, lowest=1, highest=100)
    return Explorer(fill, {name: slider}, panels={"line": (0.1, 0.4, 0.8, 0.5)}, height=1, **options)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], r"settings must hold at least one setting, got none"),
        ([{"pages": 16}], r"settings must name controls \(number\), got 'pages'"),
        ([{"number": 1}, {"number": 101}], r"number must be one that its control offers, .* 101\), got 101"),
    ],
)
def test_a_contact_sheet_refuses_what_no_control_offers(settings, said):
    explorer = with_one_slider(lambda panels, *, number: str(number), "number")
    with pytest.raises(ValueError, match=said):
        explorer.contact_sheet(settings, num_columns=1, height=2)


def test_a_picture_follows_the_width_of_the_page_alone():
    explorer = with_one_slider(lambda panels, *, number: str(number), "number", narrow={"line": 1})
    wide = pixels(explorer)
    hear(explorer, is_narrow=True)
    assert pixels(explorer).shape[1] < wide.shape[1]
    hear(explorer)
    assert np.array_equal(pixels(explorer), wide)


def test_a_label_that_alone_changes_is_drawn_anew():
    def fill(panels, *, number):
        panels["line"].set(xlim=(0, 1), ylim=(0, 1), xlabel=f"number {number}")
        return f"number {number}"

    explorer = with_one_slider(fill, "number")
    seen = set()
    for value in (2, 8, 2):
        move(explorer, number=value)
        seen.add(pixels(explorer).tobytes())
        assert share_that_differs(explorer) == 0, value
    assert len(seen) == 2


def test_no_more_backgrounds_are_kept_than_fit(monkeypatch):
    most = amount(short=3, long=screen.MOST_BACKGROUNDS)
    monkeypatch.setattr(screen, "MOST_BACKGROUNDS", most)

    def fill(panels, *, reach):
        panels["line"].plot([0, reach], [0, 1])
        panels["line"].set(xlim=(0, reach), ylim=(0, 1))
        return f"reach {reach}"

    explorer = with_one_slider(fill, "reach")
    for reach in (*range(1, 2 * most), 1, 2 * most - 2):
        explorer.controls["reach"].value = reach
        assert len(explorer.screen.backgrounds) <= most
        assert share_that_differs(explorer) < 0.002, reach
    kept = list(explorer.screen.backgrounds)
    move(explorer, reach=2 * most - 1)
    assert list(explorer.screen.backgrounds) == kept, "those that were drawn first are given up first"
