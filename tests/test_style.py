import subprocess
import sys
from dataclasses import fields
from itertools import combinations, pairwise
from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

import matplotlib as mpl
import numpy as np
import pytest
from colorspacious import cspace_convert
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from paged_demo.allocators.memory_map import MemoryUsage
from paged_demo.views import style

OKABE_ITO = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
FATE_COLOURS = tuple(fate.colour for fate in style.FATES.values())
SIGHTS = ("normal", "protanomaly", "deuteranomaly", "tritanomaly")


def seen(colour, sight):
    """CIELAB of `colour` as it looks in `sight` at severity 100."""
    rgb = to_rgb(colour)
    if sight != "normal":
        space = {"name": "sRGB1+CVD", "cvd_type": sight, "severity": 100}
        rgb = np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)
    return cspace_convert(rgb, "sRGB1", "CIELab")


def ciede2000(lab_1, lab_2):
    """The formula of Sharma, Wu and Dalal (2005)."""
    (light_1, a_1, b_1), (light_2, a_2, b_2) = lab_1, lab_2
    mean_chroma_7 = ((hypot(a_1, b_1) + hypot(a_2, b_2)) / 2) ** 7
    stretch = 1.5 - 0.5 * sqrt(mean_chroma_7 / (mean_chroma_7 + 25**7))
    chroma_1, chroma_2 = hypot(stretch * a_1, b_1), hypot(stretch * a_2, b_2)
    hue_1 = degrees(atan2(b_1, stretch * a_1)) % 360
    hue_2 = degrees(atan2(b_2, stretch * a_2)) % 360

    turn = (hue_2 - hue_1 + 180) % 360 - 180
    d_light, d_chroma = light_2 - light_1, chroma_2 - chroma_1
    d_hue = 2 * sqrt(chroma_1 * chroma_2) * sin(radians(turn / 2))
    light, chroma, hue = (light_1 + light_2) / 2, (chroma_1 + chroma_2) / 2, (hue_1 + turn / 2) % 360

    t = 1 - 0.17 * cos(radians(hue - 30)) + 0.24 * cos(radians(2 * hue))
    t += 0.32 * cos(radians(3 * hue + 6)) - 0.20 * cos(radians(4 * hue - 63))
    x = d_light / (1 + 0.015 * (light - 50) ** 2 / sqrt(20 + (light - 50) ** 2))
    y = d_chroma / (1 + 0.045 * chroma)
    z = d_hue / (1 + 0.015 * chroma * t)
    rotation = -2 * sqrt(chroma**7 / (chroma**7 + 25**7)) * sin(radians(60 * exp(-(((hue - 275) / 25) ** 2))))
    return sqrt(x * x + y * y + z * z + rotation * y * z)


def smallest_difference(colours, sight):
    return min(ciede2000(one, other) for one, other in combinations([seen(c, sight) for c in colours], 2))


def contrast(colour, other):
    """Contrast ratio of WCAG 2."""

    def luminance(c):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(c)]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    darker, lighter = sorted((luminance(colour), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def rendered(fate, pixels):
    figure = Figure(figsize=(pixels / 100, pixels / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    figure.add_artist(Rectangle((0, 0), 1, 1, **fate.patch_style()))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].reshape(-1, 3)


@pytest.mark.parametrize(
    ("lab_1", "lab_2", "difference"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_measure_agrees_with_its_published_test_data(lab_1, lab_2, difference):
    assert ciede2000(lab_1, lab_2) == pytest.approx(difference, abs=5e-5)


@pytest.mark.parametrize(("sight", "at_least"), list(zip(SIGHTS, (17.5, 16.3, 18.3, 18.6), strict=True)))
def test_any_two_fates_differ_in_colour_in_every_sight(sight, at_least):
    assert smallest_difference(FATE_COLOURS, sight) >= at_least


def test_the_worst_sight_tells_fates_apart_better_than_okabe_ito():
    worst_here = min(smallest_difference(FATE_COLOURS, sight) for sight in SIGHTS)
    worst_there = min(smallest_difference(OKABE_ITO, sight) for sight in SIGHTS)
    assert worst_there == pytest.approx(10.9, abs=0.05)
    assert worst_here > 1.5 * worst_there


def test_any_two_fates_are_8_lightness_steps_apart_in_grey():
    lightness = sorted(seen(colour, "normal")[0] for colour in FATE_COLOURS)
    assert min(lighter - darker for darker, lighter in pairwise(lightness)) >= 8.0


def test_fates_stand_in_the_order_of_memory_usage_then_shared():
    assert list(style.FATES) == [*(field.name for field in fields(MemoryUsage)), "shared"]
    assert all(name == fate.name for name, fate in style.FATES.items())
    assert all(fate.meaning for fate in style.FATES.values())


def test_the_palette_cannot_be_changed():
    with pytest.raises(TypeError):
        style.FATES["used"] = style.FATES["free"]
    with pytest.raises(AttributeError):
        style.FATES["used"].colour = "red"


def test_hatches_are_distinct_and_only_used_and_free_go_without():
    hatches = [fate.hatch for fate in style.FATES.values() if fate.hatch]
    assert len(set(hatches)) == len(hatches)
    assert [fate.name for fate in style.FATES.values() if not fate.hatch] == ["used", "free"]


@pytest.mark.parametrize("fate", style.FATES.values(), ids=list(style.FATES))
def test_ink_is_readable_on_its_fate(fate):
    assert contrast(fate.ink, fate.colour) >= 4.5


@pytest.mark.parametrize("fate", style.FATES.values(), ids=list(style.FATES))
def test_a_cell_of_16_pixels_shows_its_fill_and_its_marks_in_ink(fate):
    with style.applied():
        pixels = rendered(fate, 16)
    is_fill = (np.abs(pixels - np.array(to_rgb(fate.colour)) * 255) < 1.5).all(axis=1)
    assert is_fill.mean() > 0.25
    assert is_fill.all() == (fate.name == "used")
    marks, fill = pixels[~is_fill].astype(int).sum(axis=1), sum(to_rgb(fate.colour)) * 255
    assert (marks > fill - 4.5).all() if fate.ink == "white" else (marks < fill + 4.5).all()


def test_black_letters_are_readable_on_every_tint():
    assert min(contrast("black", tint) for tint in style.SEQUENCE_TINTS) >= 4.5


@pytest.mark.parametrize(("sight", "at_least"), list(zip(SIGHTS, (20.7, 12.8, 12.4, 12.6), strict=True)))
def test_any_two_tints_differ_in_colour_in_every_sight(sight, at_least):
    assert smallest_difference(style.SEQUENCE_TINTS, sight) >= at_least


@pytest.mark.parametrize("sight", SIGHTS)
def test_tints_differ_from_the_fates_that_are_plain_too(sight):
    plain = [fate.colour for fate in style.FATES.values() if not fate.hatch]
    differences = [ciede2000(seen(t, sight), seen(p, sight)) for t in style.SEQUENCE_TINTS for p in plain]
    assert min(differences) >= 12.4


@pytest.mark.parametrize("sight", SIGHTS)
def test_traditional_and_paged_differ_strongly_in_every_sight(sight):
    assert smallest_difference((style.TRADITIONAL, style.PAGED), sight) >= 47.9


LINES = tuple(look["color"] for look in style.SCHEMES.values())


def test_lines_are_seen_on_white_and_labels_in_their_colour_are_readable():
    assert min(contrast(colour, "white") for colour in LINES) >= 3
    assert min(contrast(colour, "white") for colour in (style.TRADITIONAL, style.PAGED)) >= 4.5


@pytest.mark.parametrize(("sight", "at_least"), list(zip(SIGHTS, (28.0, 23.6, 21.6, 27.2), strict=True)))
def test_the_lines_of_any_two_schemes_differ_in_colour_in_every_sight(sight, at_least):
    assert smallest_difference(LINES, sight) >= at_least


def test_the_lines_of_any_two_schemes_differ_in_grey():
    lightness = sorted(seen(colour, "normal")[0] for colour in LINES)
    assert min(lighter - darker for darker, lighter in pairwise(lightness)) >= 8.0


def test_every_scheme_has_a_colour_of_the_palette_and_a_marker_of_its_own():
    assert set(LINES) <= set(FATE_COLOURS)
    looks = style.SCHEMES.values()
    assert len({look["color"] for look in looks}) == len({look["marker"] for look in looks}) == 4


@pytest.mark.parametrize("fate", style.FATES.values(), ids=list(style.FATES))
def test_a_fate_stands_out_from_white_by_its_fill_its_hatch_or_its_outline(fate):
    edge = fate.patch_style()["edgecolor"]
    red_green_blue, alpha = to_rgb(edge), to_rgba(edge)[3]
    mark = [
        alpha * ink + (1 - alpha) * fill
        for ink, fill in zip(red_green_blue, to_rgb(fate.colour), strict=True)
    ]
    drawn = [fate.colour, *([mark] if fate.hatch or fate.outline else [])]
    assert max(contrast(colour, "white") for colour in drawn) >= 3


@pytest.mark.parametrize("sight", SIGHTS)
def test_who_runs_who_waits_and_the_white_around_them_differ_in_every_sight_and_in_grey(sight):
    colours = (style.RUNNING, style.WAITING, "white")
    assert smallest_difference(colours, sight) >= 14.8
    lightness = sorted(seen(colour, sight)[0] for colour in colours)
    assert min(lighter - darker for darker, lighter in pairwise(lightness)) >= 20


def test_letters_run_from_a_to_z_and_on_to_aa():
    letters = [style.sequence_letter(index) for index in range(26 + 26 * 26 + 1)]
    assert "".join(letters[:26]) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert letters[26:29] == ["AA", "AB", "AC"]
    assert letters[51:53] == ["AZ", "BA"]
    assert letters[-2:] == ["ZZ", "AAA"]
    assert len(set(letters)) == len(letters)


def test_tints_recur_after_the_last():
    num_tints = len(style.SEQUENCE_TINTS)
    tints = [style.sequence_tint(index) for index in range(2 * num_tints)]
    assert tints == 2 * list(style.SEQUENCE_TINTS)


@pytest.mark.parametrize("function", [style.sequence_letter, style.sequence_tint])
def test_a_negative_index_is_refused(function):
    with pytest.raises(ValueError, match="index must be at least 0, got -1"):
        function(-1)


def test_settings_hold_inside_the_block_and_the_readers_own_return_after_it():
    with mpl.rc_context({"figure.facecolor": "black", "text.color": "white", "axes.spines.top": True}):
        before = dict(mpl.rcParams)
        with style.applied():
            assert {name: mpl.rcParams[name] for name in style.RC} == style.RC
        assert dict(mpl.rcParams) == before


def test_settings_return_after_an_error_too():
    before = dict(mpl.rcParams)
    with pytest.raises(ZeroDivisionError), style.applied():
        raise ZeroDivisionError
    assert dict(mpl.rcParams) == before


def test_text_is_readable_on_every_background_of_the_settings():
    inks = [value for name, value in style.RC.items() if name.endswith("color") and "face" not in name]
    backgrounds = [value for name, value in style.RC.items() if name.endswith("facecolor")]
    assert set(backgrounds) == {"white"}
    assert min(contrast(ink, "white") for ink in inks) >= 4.5


def test_importing_the_style_loads_no_pyplot():
    code = "import sys, paged_demo.views.style; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
