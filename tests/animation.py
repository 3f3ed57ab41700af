"""The README's animation: two pools that serve the same requests, step by step."""

import io
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from two_pools import Side, SideBySide

from paged_demo import PagedPool, TraditionalPool
from paged_demo.views import style
from paged_demo.views.screen import clear_contents
from paged_demo.views.strip import MOST_SLOTS_WITH_LETTERS, Box, collect, letter, slot_strip, tint
from paged_demo.views.style import count_of

WIDTH_PX, HEIGHT_PX = 1800, 900
DPI = 200

NUM_COLOURS = 32

STEP_MS = 500
OUTCOME_MS = 2800
"""How long a step is shown, and how long the last one: the outcome."""

COLUMNS = 16
POOL = Box(50, 162, 800, 384)
NEXT_POOL_PX = 900
"""Slots in a row of a pool, where the first pool lies in pixels, and how far the second lies to its right.

The file is smaller where slots are whole pixels wide."""

CHIPS_PX = 270
"""Where the letters of those who wait or have finished begin, to the right of the pool's edge."""

NAME, NUMBER, TEXT, NOTE, CHIP = 17, 14, 12.5, 11, 9
"""Sizes in points: 9 are 12 pixels where the animation is shown 900 pixels wide."""

KEY = ("internal", "reserved", "free")


def tell(served: SideBySide) -> str:
    """Say in words what the animation shows, and how it ends."""
    told = [f"{_setting(served)} After {count_of(len(served.steps) - 1, 'step')}:"]
    for name, side in served.steps[-1].items():
        counts = ", ".join(f"{count} {state}" for state, count in _counts(side).items())
        told.append(f"{name} ({_how(served, name)}) has {counts}; {_used(side)}.")
    return " ".join(told)


def draw_steps(served: SideBySide) -> list[Image.Image]:
    """Draw each step as a frame of 1800 x 900 pixels, which is to be shown half as large.

    Parameters
    ----------
    served : SideBySide
        Two pools of as many slots, at most 256, and what each did with the requests.

    Raises
    ------
    ValueError
        If there are not two such pools.
    """
    sizes = [pool.num_slots for pool in served.pools.values()]
    if len(sizes) != 2 or sizes[0] != sizes[1] or sizes[0] > MOST_SLOTS_WITH_LETTERS:
        raise ValueError(
            f"pools must be two of one size, of at most {MOST_SLOTS_WITH_LETTERS} slots, got {sizes} slots"
        )
    rows = [row for step in served.steps for side in step.values() for row in _rows(side).values()]
    chip_px = (POOL.width - CHIPS_PX) / max(map(len, rows))
    with style.applied():
        figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        page = figure.add_axes((0, 0, 1, 1))
        pools = [_pool_axes(figure, index) for index in range(2)]
        frames = []
        for step in served.steps:
            for ax in (page, *pools):
                clear_contents(ax)
            _draw_page(page, served, step, chip_px)
            for ax, side in zip(pools, step.values(), strict=True):
                future_tokens = side.snapshot.future_tokens
                slot_strip(
                    side.snapshot.memory_map, future_tokens, num_columns=COLUMNS, letters_stay=True, ax=ax
                )
                ax.yaxis.set_visible(False)
            canvas.draw()
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return frames


def encode_gif(frames: Sequence[Image.Image], words: str) -> bytes:
    """Join frames to a GIF that goes round for ever, and holds the last frame longest.

    The last frame comes first in the file: it is all that is seen where animations are switched off.

    Parameters
    ----------
    frames : sequence of Image
        In the order of the steps; at least two.
    words : str
        What they show, kept as the file's comment.
    """
    if len(frames) < 2:
        raise ValueError(f"frames must hold at least two frames, got {len(frames)}")
    *others, first = _reduce_colours(frames)
    stream = io.BytesIO()
    first.save(
        stream,
        "GIF",
        save_all=True,
        append_images=others,
        duration=[OUTCOME_MS, *[STEP_MS] * len(others)],
        loop=0,
        optimize=True,
        comment=words,
    )
    return stream.getvalue()


def _reduce_colours(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Give frames one palette of 32 colours: those that cover most of the first, middle and last frame.

    Every fill keeps its colour, and no pixel changes from frame to frame unless the picture does.
    """
    # Pixels by colour. NumPy would sort them all.
    counted = [frame.getcolors(frame.width * frame.height) for frame in frames]
    samples = [counted[index] for index in (0, len(frames) // 2, -1)]
    counts, colours = zip(*chain(*samples), strict=True)
    codes, where = np.unique(_codes(colours), return_inverse=True)
    palette = _channels(codes[np.argsort(-np.bincount(where, counts), kind="stable")[:NUM_COLOURS]])
    return [
        _with_palette(frame, [colour for _, colour in each], palette)
        for frame, each in zip(frames, counted, strict=True)
    ]


def _pool_axes(figure: Figure, index: int) -> Axes:
    left, bottom = POOL.x + index * NEXT_POOL_PX, HEIGHT_PX - POOL.y - POOL.height
    return figure.add_axes(
        (left / WIDTH_PX, bottom / HEIGHT_PX, POOL.width / WIDTH_PX, POOL.height / HEIGHT_PX)
    )


def _draw_page(page: Axes, served: SideBySide, step: Mapping[str, Side], chip_px: float) -> None:
    """Draw all but the slots, in pixels from the upper left corner."""
    page.set(xlim=(0, WIDTH_PX), ylim=(HEIGHT_PX, 0))
    page.set_axis_off()
    for index, (name, side) in enumerate(step.items()):
        left = POOL.x + index * NEXT_POOL_PX
        right = left + POOL.width
        colour = style.PAGED if isinstance(served.pools[name], PagedPool) else style.TRADITIONAL
        page.text(left, 72, name, size=NAME, weight="bold", color=colour)
        page.text(right, 72, _how(served, name), size=NOTE, ha="right")
        page.text(right, 142, _used(side), size=TEXT, ha="right")
        for base, (state, count) in zip((142, 608, 688), _counts(side).items(), strict=True):
            page.text(left, base, f"{count} {state}", size=NUMBER, weight="bold")
            _draw_chips(page, _rows(side).get(state, ()), Box(left + CHIPS_PX, base - 38, chip_px, 50))
    looks = [style.FATES[name] for name in KEY]
    patches = [Patch(**look.patch_style(), label=look.meaning) for look in looks]
    page.legend(handles=patches, loc="center", bbox_to_anchor=(0.5, 0.145), ncols=len(KEY), fontsize=TEXT)
    page.text(WIDTH_PX / 2, 862, _setting(served), size=TEXT, ha="center")


def _draw_chips(page: Axes, row: Sequence[Hashable], first: Box) -> None:
    boxes = [first._replace(x=first.x + index * first.width) for index in range(len(row))]
    tints = [tint(seq_id) for seq_id in row]
    page.add_collection(collect(boxes, facecolor=tints, edgecolor="white", linewidth=1))
    for seq_id, box in zip(row, boxes, strict=True):
        middle = (box.x + box.width / 2, box.y + box.height / 2)
        page.text(*middle, letter(seq_id), size=CHIP, ha="center", va="center", color="black")


def _rows(side: Side) -> dict[str, tuple[int, ...]]:
    return {"waiting": side.snapshot.waiting, "finished": side.finished}


def _counts(side: Side) -> dict[str, int]:
    return {"running": side.num_running} | {state: len(row) for state, row in _rows(side).items()}


def _used(side: Side) -> str:
    return f"{100 * side.used_share:.0f} % of its slots hold a token"


def _setting(served: SideBySide) -> str:
    num_slots = next(iter(served.pools.values())).num_slots
    requests = count_of(len(served.requests), "request")
    return f"The same {requests} come to two pools of {num_slots} slots. A slot is room for one token."


def _how(served: SideBySide, name: str) -> str:
    pool = served.pools[name]
    if isinstance(pool, TraditionalPool):
        most = max(map(pool.reserved_slots, served.requests))
        return f"reserves the maximum: {count_of(most, 'slot')}"
    return f"takes a page of {count_of(pool.page_size, 'slot')} when needed"


def _with_palette(frame: Image.Image, colours: ArrayLike, palette: NDArray[np.int32]) -> Image.Image:
    """Set each pixel to the nearest colour. Pillow's own search is quicker, and makes white grey."""
    codes = np.sort(_codes(colours))
    where = np.searchsorted(codes, _codes(frame))
    distances = ((_channels(codes)[:, np.newaxis] - palette) ** 2).sum(axis=-1)
    nearest = distances.argmin(axis=-1).astype(np.uint8)
    indexed = Image.fromarray(nearest[where].reshape(frame.height, frame.width)).convert("P")
    indexed.putpalette(palette.astype(np.uint8).tobytes())
    return indexed


def _codes(colours: ArrayLike) -> NDArray[np.int32]:
    pixels: NDArray[np.int32] = np.asarray(colours, dtype=np.int32).reshape(-1, 3)
    return pixels[:, 0] << 16 | pixels[:, 1] << 8 | pixels[:, 2]


def _channels(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1, dtype=np.int32)
