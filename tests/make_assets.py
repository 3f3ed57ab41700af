"""Make the pictures of the README, each with the words for readers who do not see it.

``python tests/make_assets.py`` writes ``assets/``. ``--check`` writes nothing: it compares each file with a
fresh one and names what is stale. Pixels are compared as means over small squares, since letters differ a
little between versions of Matplotlib; the words, which stand in the file too, must be the same.
"""

import argparse
import io
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from animation import draw_steps, encode_gif, tell
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from two_pools import tell_two_pools

from paged_demo import PRESETS, fill_by_page_size, keep_one_sequence, sharegpt
from paged_demo.course.nb00 import explore_page_size
from paged_demo.paper import fig_2
from paged_demo.paper.numbers import MAX_TOKENS, NUM_SLOTS_13B, PAGE_SIZE
from paged_demo.views import plots, style
from paged_demo.views.picture import draw, encode_png, new_figure
from paged_demo.views.style import amount_of, percent, scale_of

ASSETS = Path(__file__).resolve().parent.parent / "assets"

DPI = 200
"""Figures are 9 inches wide, so 1800 pixels: sharp where a page shows them 900 wide."""

SQUARE_PX = 40
LARGEST_DIFFERENCE = 30
"""How far the mean of a square may be off, of 255. Matplotlib 3.10.7 and 3.11.2 are 20 apart at most; another
step of the story is 160 and more, and a pool that lies 8 pixels lower is 40."""


class Asset(NamedTuple):
    """What a file holds, and what it shows in words: the alternative text of the README."""

    content: bytes
    words: str


@cache
def two_pools():
    """Make the animation: a traditional and a paged pool serve the same requests."""
    served = tell_two_pools()
    return Asset(encode_gif(draw_steps(served), tell(served)), tell(served))


def two_pools_at_the_end():
    """Make a picture of its end, which is its first frame, for readers who prefer no motion."""
    served = tell_two_pools()
    end = encode_gif(draw_steps(replace(served, steps=served.steps[-2:])), tell(served))
    return as_png(Image.open(io.BytesIO(end)), tell(served))


def page_sizes():
    """Make the sheet of notebook 00: one pool at five page sizes."""
    requests = sharegpt.sample(400, rng=np.random.default_rng(9))
    sizes = (1, 16, 64, 256, MAX_TOKENS)
    pools = fill_by_page_size(requests, sizes, num_slots=NUM_SLOTS_13B)
    sheet = explore_page_size(pools).contact_sheet(
        [{"page_size": size} for size in sizes], num_columns=3, height=2.2, key=True
    )
    *others, last = sizes
    words = (
        f"Five pools of {NUM_SLOTS_13B:,} slots at page sizes {', '.join(map(str, others))} and {last}."
        f" With pages of 16 nearly every slot holds a token and {pools[16].mean_running:.1f} requests run at"
        f" once. With pages of {last} most slots are held and never written, and"
        f" {pools[last].mean_running:.1f} requests run."
    )
    return as_png(Image.open(io.BytesIO(sheet.png)), words)


def memory_by_length():
    """Make the figure of what one sequence holds, by its length."""
    model, num_tokens = PRESETS["Llama-2-7B"], 500
    usages = keep_one_sequence(num_tokens, page_size=PAGE_SIZE, max_tokens=MAX_TOKENS)
    scale, unit = scale_of(MAX_TOKENS, model)
    held = {way: usage.allocated * scale for way, usage in usages.items()}
    traditional, paged = (amount_of(held[way], unit) for way in ("traditional", "paged"))
    figure = new_figure(3.4)
    with style.applied():
        ax = plots.memory_against_length(model, ax=figure.add_axes((0.09, 0.16, 0.88, 0.73)))
        ax.set_title(f"One sequence of {model.name}")
        ax.plot([num_tokens] * 2, list(held.values()), "o", color="black")
        label = f"{num_tokens} tokens: {paged}"
        ax.annotate(label, (num_tokens, held["paged"]), (8, -8), textcoords="offset points", va="top")
    saved = percent(1 - usages["paged"].allocated / usages["traditional"].allocated)
    words = (
        f"The memory that one sequence of {model.name} holds, by its length. The traditional way holds"
        f" {traditional} at every length, room for {MAX_TOKENS:,} tokens. In pages of {PAGE_SIZE} slots a"
        f" sequence of {num_tokens} tokens holds {paged}, {saved} less."
    )
    return as_png(pixels(figure), words)


def fig_2_beside_the_papers():
    """Make the figure of where the KV cache goes: the paper's Fig. 2, and ours."""
    experiment = fig_2()
    figure = new_figure(4.2)
    with style.applied():
        plots.usage_beside_paper(experiment, ax=figure.add_axes((0.195, 0.29, 0.775, 0.69)))
    shares = "; ".join(
        f"{scheme} {row['used'].paper:.1f} in the paper, {row['used'].mean:.1f} here"
        for scheme, row in experiment.rows.items()
    )
    words = f"Where the KV cache goes: Fig. 2 of the paper, and ours. % of slots that hold a token: {shares}."
    return as_png(pixels(figure), words)


MAKERS = {
    "two-pools.gif": two_pools,
    "two-pools.png": two_pools_at_the_end,
    "page-sizes.png": page_sizes,
    "memory-by-length.png": memory_by_length,
    "fig-2.png": fig_2_beside_the_papers,
}


def pixels(figure):
    """Draw a figure, finely."""
    figure.set_dpi(DPI)
    draw(figure)
    return Image.open(io.BytesIO(encode_png(figure)))


def as_png(image, words):
    """Write an image as a PNG that says what it shows."""
    info = PngInfo()
    info.add_text("Description", words)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True, pnginfo=info)
    return Asset(stream.getvalue(), words)


def differences(committed, fresh):
    """Name every difference between two files that a reader could notice."""
    old, new = (Image.open(io.BytesIO(content)) for content in (committed, fresh))
    for what, get in (
        ("is", lambda image: image.format),
        ("has the size", lambda image: image.size),
        ("has this many frames", lambda image: getattr(image, "n_frames", 1)),
        ("says", said),
    ):
        if get(old) != get(new):
            yield f"it {what}: {get(old)}; a fresh one: {get(new)}"
            return
    for index in range(getattr(old, "n_frames", 1)):
        old.seek(index)
        new.seek(index)
        if old.info.get("duration") != new.info.get("duration"):
            yield f"frame {index} is shown for {old.info['duration']} ms, a fresh one {new.info['duration']}"
        if (difference := largest_difference(old, new)) > LARGEST_DIFFERENCE:
            yield f"frame {index} looks different: some square by {difference:.0f} of 255"


def said(image):
    """Return what a file says about itself."""
    return image.info.get("Description") or image.info.get("comment", b"").decode()


def largest_difference(old, new):
    """Compare the means of small squares, and return how far the worst are apart."""
    old, new = (np.asarray(image.convert("RGB").reduce(SQUARE_PX), dtype=float) for image in (old, new))
    return np.abs(old - new).max()


def main(arguments):
    """Make or check the assets, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    options = parser.parse_args(arguments)
    stale = 0
    for name, make in MAKERS.items():
        path, fresh = ASSETS / name, make()
        if not options.check:
            path.write_bytes(fresh.content)
            print(f"{name}: {fresh.words}")
            continue
        found = list(differences(path.read_bytes(), fresh.content)) if path.exists() else ["it is missing"]
        for difference in found:
            print(f"{name}: {difference}")
        stale += bool(found)
    if stale:
        print("Run: python tests/make_assets.py")
    return int(stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
