"""The pictures of the README: each is what the code makes today, and is told in words."""

import html
import io
import re
from dataclasses import replace
from pathlib import Path

import make_assets
import pytest
from amounts import amount
from animation import POOL, draw_steps, encode_gif
from make_assets import MAKERS, as_png, differences
from PIL import Image
from two_pools import tell_two_pools

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "assets"
MOST_KIB = {".gif": 400, ".png": 60}

each_asset = pytest.mark.parametrize("name", MAKERS)
made_here = amount(short=["memory-by-length.png", "two-pools.png"], long=list(MAKERS))


@pytest.fixture(scope="module")
def made():
    return {name: MAKERS[name]() for name in made_here}


def shown_by_the_readme():
    """List the assets that the README shows, with their alternative texts."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]*)\]\(assets/([^)\s]+)\)", text)
    for tag in re.findall(r"<img[^>]*>", text):
        source, alternative = (re.search(rf'\b{key}="([^"]*)"', tag) for key in ("src", "alt"))
        if source and source[1].startswith("assets/"):
            shown.append((html.unescape(alternative[1]), source[1].removeprefix("assets/")))
    return shown


@pytest.mark.parametrize("name", made_here)
def test_a_committed_asset_shows_what_the_code_makes(name, made):
    committed = (ASSETS / name).read_bytes()
    assert list(differences(committed, made[name].content)) == []


def test_every_asset_has_a_maker():
    assert {path.name for path in ASSETS.iterdir()} == set(MAKERS)


@each_asset
def test_an_asset_is_small_and_wide_enough_for_a_sharp_screen(name):
    path = ASSETS / name
    assert path.stat().st_size < 1024 * MOST_KIB[path.suffix]
    with Image.open(path) as image:
        assert image.width >= (1080 if name == "page-sizes.png" else 1800)


def test_the_readme_tells_every_asset_in_the_words_that_are_made_with_it(made):
    shown = shown_by_the_readme()
    assert shown
    for alternative, name in shown:
        if name in made:
            assert alternative == made[name].words


@pytest.mark.parametrize("name", made_here)
def test_the_words_are_fit_for_an_alternative_text(name, made):
    words = made[name].words
    assert len(words) < 500
    assert not set(words) & set('[]<>"\n')
    assert re.search(r"\d", words)


def story(**changes):
    """Draw the end of a story."""
    served = tell_two_pools(**changes)
    return draw_steps(replace(served, steps=served.steps[-2:]))


@pytest.fixture(scope="module")
def frames():
    return story()


@pytest.fixture(scope="module")
def committed(frames):
    return encode_gif(frames, "words")


# A step less differs less than a story of other requests.
@pytest.mark.parametrize("changes", [{"num_steps": 19}, *amount(short=[], long=[{"seed": 1}])])
def test_another_story_is_noticed(changes, committed):
    assert list(differences(committed, committed)) == []
    assert "looks different" in next(differences(committed, encode_gif(story(**changes), "words")))


def test_another_layout_is_noticed(committed, monkeypatch):
    monkeypatch.setattr("animation.POOL", POOL._replace(y=POOL.y + 8))
    assert "frame 0 looks different" in next(differences(committed, encode_gif(story(), "words")))


def test_other_words_another_pace_and_more_frames_are_noticed(committed, frames, monkeypatch):
    assert "it says" in next(differences(committed, encode_gif(frames, "other words")))
    more = [frames[0].transpose(Image.Transpose.ROTATE_180), *frames]
    assert "frames: 2; a fresh one: 3" in next(differences(committed, encode_gif(more, "words")))
    monkeypatch.setattr("animation.STEP_MS", 100)
    assert "frame 1 is shown for" in next(differences(committed, encode_gif(frames, "words")))


def test_a_picture_in_another_size_or_format_is_noticed(committed):
    white = Image.new("RGB", (90, 90), "white")
    small = as_png(white, "words").content
    assert list(differences(small, small)) == []
    assert "it has the size" in next(differences(small, as_png(white.resize((91, 90)), "words").content))
    assert "it is: GIF" in next(differences(committed, small))
    black = as_png(Image.new("RGB", (90, 90)), "words").content
    assert "by 255 of 255" in next(differences(small, black))


def test_the_check_fails_for_a_missing_file_and_writes_nothing(tmp_path, monkeypatch, capsys):
    dot = as_png(Image.new("RGB", (9, 9)), "a dot")
    monkeypatch.setattr(make_assets, "ASSETS", tmp_path)
    monkeypatch.setattr(make_assets, "MAKERS", {"dot.png": lambda: dot})
    assert make_assets.main(["--check"]) == 1
    assert "dot.png: it is missing" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert make_assets.main([]) == 0
    assert make_assets.main(["--check"]) == 0
    assert Image.open(io.BytesIO((tmp_path / "dot.png").read_bytes())).info["Description"] == "a dot"
