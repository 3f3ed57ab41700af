"""How much memory is held, and what becomes of it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from paged_demo.checks import check_count
from paged_demo.model import ModelSpec
from paged_demo.paper.numbers import MAX_TOKENS, PAGE_SIZE
from paged_demo.views import style
from paged_demo.views.amounts import amount_of, scale_of
from paged_demo.views.picture import new_axes, with_words


@style.applied()
def fate_legend(ax: Axes, names: Iterable[str], *, num_columns: int = 2) -> Axes:
    """Fill some axes with the key to the fates: their looks and what they mean."""
    patches = [
        Patch(**style.FATES[name].patch_style(), label=f"{name}: {style.FATES[name].meaning}")
        for name in names
    ]
    ax.set_axis_off()
    ax.legend(
        handles=patches, loc="center", ncols=num_columns, fontsize=10, handlelength=2, columnspacing=1.2
    )
    return ax


@style.applied()
def memory_against_length(
    model: ModelSpec, *, page_size: int = PAGE_SIZE, max_tokens: int = MAX_TOKENS, ax: Axes | None = None
) -> Axes:
    """Draw the memory that a sequence holds against its length, for both ways.

    Parameters
    ----------
    model : ModelSpec
        Gives the bytes of a token.
    page_size : int
        Slots in a page.
    max_tokens : int
        The longest sequence, which the traditional way reserves.
    """
    check_count("page_size", page_size)
    ax = ax or new_axes()
    scale, unit = scale_of(max_tokens, model)
    lengths = np.arange(1, max_tokens + 1)
    paged = -(-lengths // page_size) * page_size * scale
    traditional = np.full(max_tokens, max_tokens * scale)
    saved = paged < traditional
    ax.fill_between(
        lengths, paged, traditional, where=saved, color=style.TRADITIONAL, alpha=0.12, linewidth=0
    )
    ax.plot(lengths, traditional, color=style.TRADITIONAL, linewidth=2.2, linestyle="--")
    ax.plot(lengths, paged, color=style.PAGED, linewidth=2.2)
    label = f"traditional: {amount_of(max_tokens * scale, unit)}, always"
    look: dict[str, Any] = {"va": "top", "bbox": style.PLATE}
    left = {"xycoords": ("axes fraction", "data"), "color": style.TRADITIONAL}
    style.note(ax, label, (0.03, max_tokens * scale), (0, -6), **look, **left)
    point = (0.62 * max_tokens, 0.62 * max_tokens * scale)
    style.note(ax, f"paged: whole pages of {page_size}", point, (8, -8), **look, color=style.PAGED)
    ax.set(xlim=(0, max_tokens), ylim=(0, max(1.15 * max_tokens * scale, 1.03 * paged.max())))
    ax.set(xlabel="length of the sequence (tokens)", ylabel=f"memory held ({unit})")
    words = f"Traditional: the same at every length; paged: the tokens, in whole pages of {page_size}."
    return with_words(ax, f"what a sequence holds. {words}")
