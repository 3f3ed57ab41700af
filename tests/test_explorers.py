"""Every explorer, without a kernel and without a browser: set the controls, read the words and the pixels."""

import base64
import html
import io
import re

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

from paged_demo import PRESETS, PagedPool, Request, fill_by_page_size
from paged_demo.course.nb00 import FATES_OF_A_PAGED_POOL, explore_one_sequence, explore_page_size
from paged_demo.course.nb05 import explore_prefixes, explore_samples, play_two_samples
from paged_demo.course.nb06 import explore_film, explore_serving
from paged_demo.serving.scheduler import scheduler_of
from paged_demo.views.frozen import WIDGET_VIEW
from paged_demo.views.picture import DPI

PAGE_SIZES = [2**power for power in range(12)]


@pytest.fixture(scope="module")
def pools():
    requests = [Request(request_id, 40 + request_id, 300) for request_id in range(60)]
    return fill_by_page_size(requests, PAGE_SIZES, num_slots=2 * 2048 + 100)


def small_films():
    scheduler = scheduler_of([Request(0, 4, 3), Request(1, 3, 5)], PagedPool(num_pages=4, page_size=4))
    snapshots = []
    while scheduler.num_waiting or scheduler.num_running:
        scheduler.step()
        snapshots.append(scheduler.snapshot())
    return {"paged": snapshots, "twice": snapshots}


@pytest.fixture(params=["page_size", "one_sequence", "serving", "film", "two_samples", "samples", "prefixes"])
def explorer(request, pools):
    make = {
        "page_size": lambda: explore_page_size(pools),
        "one_sequence": explore_one_sequence,
        "serving": explore_serving,
        "film": lambda: explore_film(small_films()),
        "two_samples": play_two_samples,
        "samples": explore_samples,
        "prefixes": explore_prefixes,
    }
    return make[request.param]()


def ends_and_middle(control):
    """Values to drive a control through."""
    if isinstance(control, widgets.IntSlider):
        return [control.min, control.min + 1, (control.min + control.max) // 2, control.max - 1, control.max]
    labels_and_values = [
        option if isinstance(option, tuple) else (option, option) for option in control.options
    ]
    return [value for _, value in labels_and_values]


def pixels(explorer):
    source = re.search(r'src="data:image/png;base64,([^"]+)"', explorer._image.value)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))


def alt(explorer):
    return html.unescape(re.search(r'<img alt="([^"]*)"', explorer._image.value)[1])


def test_every_control_can_be_moved_through_its_whole_range(explorer):
    size = pixels(explorer).shape
    for control in explorer.controls.values():
        first = control.value
        seen = set()
        for value in ends_and_middle(control):
            control.value = value
            assert pixels(explorer).shape == size
            seen.add((explorer.words, explorer._image.value))
        assert len(seen) == len(ends_and_middle(control))
        control.value = first


def test_all_controls_at_their_ends_at_once_raise_nothing():
    explorer = explore_one_sequence()
    for num_tokens in (1, 2048):
        for page_size in (1, 255, 256):
            for model in PRESETS:
                explorer.controls["num_tokens"].value = num_tokens
                explorer.controls["page_size"].value = page_size
                explorer.controls["model"].value = model
                assert model in explorer.words


def test_the_words_name_the_value_of_every_control(explorer):
    for control in explorer.controls.values():
        for value in ends_and_middle(control):
            control.value = value
            words = explorer.words.replace(",", "")
            assert all(
                re.search(rf"(?<!\w){re.escape(str(shown))}(?!\w)", words)
                for shown in explorer.values.values()
            )


def test_the_words_are_the_alternative_text_and_are_announced(explorer):
    assert alt(explorer) == explorer.words
    assert 'role="status"' in explorer._caption.value
    assert html.escape(explorer.words) in explorer._caption.value


def test_the_picture_that_follows_a_slider_is_the_one_a_full_drawing_gives(explorer):
    for control in explorer.controls.values():
        for value in ends_and_middle(control):
            control.value = value
            quick = pixels(explorer).astype(int)
            explorer._figure.canvas.draw()
            full = np.asarray(explorer._figure.canvas.buffer_rgba())[..., :3].astype(int)
            differing = (np.abs(quick - full).max(axis=-1) > 40).mean()
            assert differing < 0.002, (control.description, value, differing)


def test_a_picture_does_not_depend_on_the_ones_before_it(pools):
    explorer = explore_page_size(pools)
    for page_size in [16, 2048, 64, 1, 256, 16, 2048, 64]:
        explorer.controls["page_size"].value = page_size
        fresh = explore_page_size(pools)
        fresh.controls["page_size"].value = page_size
        assert np.array_equal(pixels(explorer), pixels(fresh)), page_size


def test_the_marks_on_the_curves_follow_the_sliders(pools):
    dial, one = explore_page_size(pools), explore_one_sequence()
    dial.controls["page_size"].value = 256
    assert [list(data) for data in dial._scene._mark.get_data()] == [[256], [pools[256].mean_running]]
    one.controls["num_tokens"].value = 1234
    assert list(one._scene._ax.lines[-1].get_xdata()) == [1234, 1234]


def test_no_label_leaves_the_picture():
    explorer = explore_one_sequence()
    for num_tokens, page_size in [(2048, 255), (2048, 250), (1, 256), (1, 1)]:
        for model in ("Llama-2-7B", "OPT-175B"):
            for name, value in {"num_tokens": num_tokens, "page_size": page_size, "model": model}.items():
                explorer.controls[name].value = value
            figure = explorer._figure.bbox
            for artist in explorer._scene.moving():
                box = artist.get_window_extent(explorer._figure.canvas.get_renderer())
                assert figure.x0 <= box.x0, artist
                assert box.x1 <= figure.x1, artist


def test_a_notebook_output_has_the_live_view_the_picture_and_the_words(explorer):
    bundle, metadata = explorer._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"] == explorer.words
    assert bundle[WIDGET_VIEW]["model_id"]
    assert metadata["image/png"]["width"] == 900


def test_500_tokens_of_a_7b_are_told_as_the_original_demonstration_told_them():
    words = explore_one_sequence().words
    traditional = (
        "2,048 slots (1,024.00 MiB) allocated, 500 slots (250.00 MiB) used, 1,548 slots (774.00 MiB)"
    )
    paged = "512 slots (256.00 MiB) allocated, 500 slots (250.00 MiB) used, 12 slots (6.00 MiB)"
    assert f"Traditional: {traditional} wasted, 75.6 %." in words
    assert f"Paged: 32 pages, {paged} wasted, 2.3 %." in words
    assert "Paging holds 75.0 % less." in words


def test_paging_can_hold_as_much_and_more():
    explorer = explore_one_sequence()
    explorer.controls["num_tokens"].value = 2048
    assert "Paging holds as much." in explorer.words
    explorer.controls["page_size"].value = 255
    assert "Paging holds 12.1 % more." in explorer.words


def test_the_dial_tells_the_batch_of_its_page_size(pools):
    explorer = explore_page_size(pools)
    for page_size, pool in pools.items():
        explorer.controls["page_size"].value = page_size
        assert explorer.words.startswith(
            f"Page size {page_size}: on average {pool.mean_running:.1f} requests"
        )


def test_a_contact_sheet_shows_and_tells_every_setting(explorer):
    name, control = next(iter(explorer.controls.items()))
    values = ends_and_middle(control)[:3]
    settings = [{name: value} for value in values]
    before = explorer.words
    sheet = explorer.contact_sheet(settings, num_columns=2, height=2, key=FATES_OF_A_PAGED_POOL)
    assert explorer.words == before
    told = sheet.words.split("\n")
    for value, words in zip(values, told, strict=True):
        control.value = value
        assert words == explorer.words
    assert Image.open(io.BytesIO(sheet.png)).size == (9 * DPI, 4 * DPI)


def test_a_contact_sheet_of_no_settings_is_refused():
    with pytest.raises(ValueError, match="settings must hold at least one setting, got none"):
        explore_one_sequence().contact_sheet([], num_columns=1, height=2)


def test_a_contact_sheet_refuses_what_no_control_offers(pools):
    explorer = explore_page_size(pools)
    with pytest.raises(ValueError, match=r"settings must name controls \(page_size\), got 'pages'"):
        explorer.contact_sheet([{"pages": 16}], num_columns=1, height=2)
    with pytest.raises(ValueError, match=r"page_size must be one that its control offers, .* got 3"):
        explorer.contact_sheet([{"page_size": 3}], num_columns=1, height=2)
    with pytest.raises(ValueError, match=r"num_tokens must be one .* range\(1, 2049\), got 2049"):
        explore_one_sequence().contact_sheet([{"num_tokens": 2049}], num_columns=1, height=2)


def test_an_explorer_begins_with_the_model_it_is_given():
    assert explore_one_sequence("OPT-13B").words.startswith("OPT-13B, 500 tokens")
    with pytest.raises(KeyError, match="no preset 'GPT-5'; there are OPT-13B"):
        explore_one_sequence("GPT-5")


def test_the_dial_starts_at_16_if_it_can(pools):
    assert explore_page_size(pools).values == {"page_size": 16}
    without_16 = {page_size: pool for page_size, pool in pools.items() if page_size > 16}
    assert explore_page_size(without_16).values == {"page_size": 32}
