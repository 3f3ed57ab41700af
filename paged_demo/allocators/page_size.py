"""What the size of a page costs and brings, from the lengths of sequences alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paged_demo.checks import check_count

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSizeEffect:
    """What pages of one size mean for many sequences.

    Attributes
    ----------
    mean_wasted : float
        Slots of a sequence's last page that hold no token in the end, on average.
    wasted_share : float
        All of them, as a share of the slots that the sequences hold.
    mean_pages : float
        Pages of a sequence in the end, on average: the entries of its page table.
    shareable_share : float
        Share of the prompts that fill a page before their last token, so that another prompt with the
        same beginning could share it.
    """

    mean_wasted: float
    wasted_share: float
    mean_pages: float
    shareable_share: float


def measure_page_size(
    prompt_tokens: Sequence[int], final_tokens: Sequence[int], *, page_size: int
) -> PageSizeEffect:
    """Measure what pages of one size mean for sequences of these lengths.

    Parameters
    ----------
    prompt_tokens, final_tokens : sequence of int
        The lengths of each sequence's prompt, and of the sequence in the end, in tokens.
    page_size : int
        Slots in a page.

    Raises
    ------
    ValueError, TypeError
        If a length or the page size is not a whole number from 1, or there are no sequences, or not as
        many prompts as sequences.

    Examples
    --------
    >>> measure_page_size([20, 5], [30, 9], page_size=16)
    PageSizeEffect(mean_wasted=4.5, wasted_share=0.1875, mean_pages=1.5, shareable_share=0.5)
    """
    prompts, finals = _lengths("prompt_tokens", prompt_tokens), _lengths("final_tokens", final_tokens)
    if len(prompts) != len(finals):
        raise ValueError(
            f"final_tokens must have {len(prompts)} lengths like prompt_tokens, got {len(finals)}"
        )
    size = check_count("page_size", page_size)
    pages = -(-finals // size)
    wasted = pages * size - finals
    return PageSizeEffect(
        mean_wasted=float(wasted.mean()),
        wasted_share=float(wasted.sum() / (pages.sum() * size)),
        mean_pages=float(pages.mean()),
        # A prompt's last token is computed even when all of it is known, so its page is not shared.
        shareable_share=float((prompts > size).mean()),
    )


def _lengths(name: str, lengths: Sequence[int]) -> Ints:
    if not len(lengths):
        raise ValueError(f"{name} must hold at least one length, got none")
    return np.array([check_count(f"each of {name}", length) for length in lengths], dtype=np.int64)
