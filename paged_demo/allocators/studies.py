"""Small studies on real allocators: one sequence both ways, sizes of pages, and programs that share pages."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paged_demo.allocators.memory_map import MemoryMap, MemoryUsage, account
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.traditional import TraditionalAllocator, reserve_max
from paged_demo.checks import check_count, check_counts, check_iterable

Ints = NDArray[np.int64]


def keep_one_sequence(
    num_tokens: int, *, page_size: int = 16, max_tokens: int = 2048
) -> dict[str, MemoryUsage]:
    """Keep a finished sequence both ways, and account for the slots of both pools.

    Each pool has room for one sequence of the greatest length.

    Parameters
    ----------
    num_tokens : int
        Length of the sequence, at most ``max_tokens``.
    page_size : int
        Slots in a page.
    max_tokens : int
        The greatest length, which the traditional way reserves.

    Returns
    -------
    dict
        The usage by way: ``"traditional"`` and ``"paged"``.

    Raises
    ------
    ValueError, TypeError
        If a count is not a whole number from 1, or ``num_tokens`` is beyond ``max_tokens``.

    Examples
    --------
    >>> usages = keep_one_sequence(100)
    >>> usages["traditional"].allocated, usages["paged"].allocated
    (2048, 112)
    """
    num_tokens, page_size, max_tokens = check_counts(
        num_tokens=num_tokens, page_size=page_size, max_tokens=max_tokens
    )
    if num_tokens > max_tokens:
        raise ValueError(f"num_tokens must be at most max_tokens ({max_tokens}), got {num_tokens}")
    ways: dict[str, TraditionalAllocator | PagedAllocator] = {
        "traditional": TraditionalAllocator(max_tokens, reserve=reserve_max(max_tokens)),
        "paged": PagedAllocator(-(-max_tokens // page_size), page_size),
    }
    usages = {}
    for name, allocator in ways.items():
        allocator.allocate("A", range(num_tokens), final_tokens=num_tokens)
        usages[name] = account(allocator.memory_map(), {"A": 0})
    return usages


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
        many prompts as sequences, or a prompt is longer than its sequence.

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
    if (prompts > finals).any():
        first = np.argmax(prompts > finals)
        raise ValueError(
            f"final_tokens must be at least prompt_tokens, {prompts[first]}, got {finals[first]}"
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
    several = check_iterable(name, lengths, "lengths")
    if not several:
        raise ValueError(f"{name} must hold at least one length, got none")
    return np.array([check_count(f"each of {name}", length) for length in several], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPool:
    """Sequences that share a pool, at one moment.

    Attributes
    ----------
    memory_map : MemoryMap
        The pool.
    page_tables : mapping of sequence id to tuple of int
        The page table of each sequence.
    num_tokens : mapping of sequence id to int
        The length of each sequence.
    num_common : int
        Tokens that all of them begin with.
    copies : tuple of (int, int)
        Pages that were copied when somebody wrote to them: from, to.
    num_found : int
        Tokens that prompts found in the cache.
    """

    memory_map: MemoryMap
    page_tables: Mapping[Hashable, tuple[int, ...]]
    num_tokens: Mapping[Hashable, int]
    num_common: int
    copies: tuple[tuple[int, int], ...] = ()
    num_found: int = 0

    @property
    def num_pages(self) -> int:
        """Pages that are held."""
        return len({page_id for table in self.page_tables.values() for page_id in table})

    @property
    def num_pages_unshared(self) -> int:
        """Pages that would be held if every sequence had its own."""
        return sum(map(len, self.page_tables.values()))

    @property
    def saved_share(self) -> float:
        """The pages that sharing saves, as a share of those without sharing."""
        return 1 - self.num_pages / self.num_pages_unshared


def sample_in_parallel(
    num_prompt_tokens: int, num_samples: int, *, page_size: int, num_generated: int = 1
) -> SharedPool:
    """Fork one prompt into several samples, and let each generate some tokens.

    Parameters
    ----------
    num_prompt_tokens : int
        Tokens of the prompt.
    num_samples : int
        Sequences that continue it.
    page_size : int
        Slots in a page.
    num_generated : int
        Tokens that each sample generates.

    Examples
    --------
    A prompt of 7 in pages of 4 ends in the middle of a page, which is copied for one of two samples:

    >>> pool = sample_in_parallel(7, 2, page_size=4)
    >>> pool.page_tables
    {0: (0, 2), 1: (0, 1)}
    >>> pool.copies
    ((1, 2),)

    References
    ----------
    Kwon et al. (2023), section 4.4 and Fig. 8.
    """
    num_prompt_tokens, num_samples, page_size = check_counts(
        num_prompt_tokens=num_prompt_tokens, num_samples=num_samples, page_size=page_size
    )
    num_generated = check_count("num_generated", num_generated, minimum=0)
    num_tokens = num_prompt_tokens + num_generated
    allocator = PagedAllocator(num_samples * -(-num_tokens // page_size), page_size)
    allocator.allocate(0, range(num_prompt_tokens))
    for sample in range(1, num_samples):
        allocator.fork(0, sample)
    copies = [
        copy
        for _ in range(num_generated)
        for sample in range(num_samples)
        if (copy := allocator.append(sample, 0).copy)
    ]
    return SharedPool(
        memory_map=allocator.memory_map(),
        page_tables=_page_tables(allocator, num_samples),
        num_tokens=dict.fromkeys(range(num_samples), num_tokens),
        num_common=num_prompt_tokens,
        copies=tuple(copies),
    )


def ask_with_prefix(num_common: int, num_requests: int, *, page_size: int, num_own: int = 20) -> SharedPool:
    """Let requests arrive whose prompts begin alike and go on each in its own way.

    Parameters
    ----------
    num_common : int
        Tokens that all prompts begin with.
    num_requests : int
        Prompts, all of them held at once.
    page_size : int
        Slots in a page.
    num_own : int
        Tokens of each prompt that no other has in its place.

    Examples
    --------
    >>> ask_with_prefix(40, 3, page_size=16).num_found
    64

    References
    ----------
    Found by their contents, as in vLLM 0.33.0. Kwon et al. (2023), section 4.4, share prefixes that the
    provider declares in advance.
    """
    num_common = check_count("num_common", num_common, minimum=0)
    num_requests, page_size, num_own = check_counts(
        num_requests=num_requests, page_size=page_size, num_own=num_own
    )
    common = list(range(num_common))
    num_tokens = num_common + num_own
    allocator = PagedAllocator(num_requests * -(-num_tokens // page_size), page_size, prefix_caching=True)
    num_found = sum(
        allocator.allocate(request, common + [num_common + request] * num_own)
        for request in range(num_requests)
    )
    return SharedPool(
        memory_map=allocator.memory_map(),
        page_tables=_page_tables(allocator, num_requests),
        num_tokens=dict.fromkeys(range(num_requests), num_tokens),
        num_common=num_common,
        num_found=num_found,
    )


def hit_share(prompts: Iterable[Iterable[int]], *, num_pages: int, page_size: int) -> float:
    """Serve prompts one after the other from one pool; return the share of their tokens that were found.

    Parameters
    ----------
    prompts : iterable of iterable of int
        The token ids of each prompt. A prompt is freed before the next one comes.
    num_pages, page_size : int
        Pages in the pool, and slots in a page.

    Raises
    ------
    CacheFullError
        If a prompt alone does not fit.
    ValueError, TypeError
        If there are no prompts, or something else is in their place.

    Examples
    --------
    The second and the third time, four of five tokens are found:

    >>> round(hit_share([[1, 2, 3, 4, 5]] * 3, num_pages=2, page_size=4), 2)
    0.53
    """
    allocator = PagedAllocator(num_pages, page_size, prefix_caching=True)
    # To catch the TypeError of a loop over them would hide one from inside the caller's own generator.
    asked = list(prompts) if isinstance(prompts, Iterable) else [prompts]
    if not all(isinstance(prompt, Iterable) for prompt in asked):
        raise TypeError(f"prompts must be an iterable of lists of token ids, got {prompts!r}")
    num_found = num_asked = 0
    for tokens in map(list, asked):
        num_found += allocator.allocate(0, tokens)
        num_asked += len(tokens)
        allocator.free(0)
    if not num_asked:
        raise ValueError("prompts must hold at least one prompt, got none")
    return num_found / num_asked


def _page_tables(allocator: PagedAllocator, num_sequences: int) -> dict[Hashable, tuple[int, ...]]:
    return {seq_id: tuple(allocator.page_table(seq_id)) for seq_id in range(num_sequences)}
