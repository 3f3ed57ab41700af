import io
from dataclasses import replace

import numpy as np
import pytest
from animation import OUTCOME_MS, STEP_MS, draw_steps, encode_gif, tell
from matplotlib.colors import to_rgb
from PIL import Image
from two_pools import serve_side_by_side, tell_two_pools

from paged_demo import PagedPool, TraditionalPool, reserve_max
from paged_demo.views import style


@pytest.fixture(scope="module")
def served():
    """Hold the story to its begin, its middle and its end, so that few frames have to be drawn."""
    story = tell_two_pools()
    return replace(story, steps=[story.steps[index] for index in (0, 10, -1)])


@pytest.fixture(scope="module")
def frames(served):
    return draw_steps(served)


def play(gif):
    animation = Image.open(io.BytesIO(gif))
    shown = []
    for index in range(animation.n_frames):
        animation.seek(index)
        shown.append((animation.info["duration"], np.asarray(animation.convert("RGB"))))
    return animation, shown


def share_of(colour, frame, half):
    """Return the share of half a frame that has a colour."""
    pixels = np.asarray(frame)[:, 900 * half : 900 * (half + 1)]
    wanted = np.round(255 * np.array(to_rgb(colour)))
    return (pixels == wanted).all(axis=-1).mean()


def test_both_pools_serve_the_same_requests_and_no_request_has_to_start_again():
    story = tell_two_pools()
    traditional, paged = story.steps[-1].values()
    assert traditional.num_running == 3
    assert paged.num_running > 3 * traditional.num_running
    assert len(paged.finished) > 3 * len(traditional.finished)
    assert len(traditional.snapshot.waiting) > 10 * len(paged.snapshot.waiting)
    assert traditional.num_preempted == paged.num_preempted == 0
    mean_tokens = np.mean(
        [request.num_prompt_tokens + request.num_output_tokens for request in story.requests]
    )
    assert mean_tokens / 64 == pytest.approx((161.31 + 337.99) / 2048, abs=0.04)


def test_the_words_tell_the_outcome(served):
    told = tell(served)
    for name, side in served.steps[-1].items():
        slots = served.pools[name].num_slots
        assert f"{name} (" in told
        assert f"{side.num_running} running, {len(side.snapshot.waiting)} waiting" in told
        assert f"{len(side.finished)} finished; {100 * side.usage.used / slots:.0f} % of its slots" in told
    assert "reserves the maximum: 64 slots" in told
    assert "takes a page of 4 slots when needed" in told


def test_a_frame_shows_more_that_is_held_in_vain_on_the_traditional_side(frames):
    internal = style.FATES["internal"].colour
    for frame in frames[1:]:
        assert frame.size == (1800, 900)
        assert share_of(internal, frame, 0) > 10 * share_of(internal, frame, 1)


def test_the_outcome_comes_first_and_stays_longest(frames):
    animation, shown = play(encode_gif(frames, "words"))
    assert [duration for duration, _ in shown] == [OUTCOME_MS, STEP_MS, STEP_MS]
    assert animation.info["loop"] == 0
    for (_, pixels), frame in zip(shown, (frames[-1], *frames[:-1]), strict=True):
        drawn = np.asarray(frame)
        assert np.abs(pixels.astype(int) - drawn).mean() < 1
        # What was white is white: a reader sees every shade beside the page's own white.
        assert (pixels[(drawn == 255).all(axis=-1)] == 255).all()


def test_the_same_story_makes_the_same_file(served, frames):
    again = draw_steps(replace(served, steps=served.steps[1:]))
    assert encode_gif(again, tell(served)) == encode_gif(frames[1:], tell(served))


def test_a_file_says_what_it_shows_however_long_that_is(frames):
    words = "word " * 300
    assert play(encode_gif(frames, words))[0].info["comment"].decode() == words


def test_bad_input_is_refused(served, frames):
    with pytest.raises(ValueError, match="frames must hold at least two frames, got 1"):
        encode_gif(frames[:1], "words")
    one = {"Paged": served.pools["Paged"]}
    with pytest.raises(ValueError, match=r"pools must be two of one size.*, got \[192\] slots"):
        draw_steps(replace(served, pools=one))
    large = {
        "Traditional": TraditionalPool(num_slots=320, reserve=reserve_max(64)),
        "Paged": PagedPool(num_pages=80, page_size=4),
    }
    with pytest.raises(ValueError, match=r"at most 256 slots, got \[320, 320\] slots"):
        draw_steps(serve_side_by_side(served.requests, large, num_steps=1))
