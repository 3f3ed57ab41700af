"""Small programs that share pages: samples of one prompt, prompts with one beginning, prompts that return."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from paged_demo.allocators.memory_map import MemoryMap
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.checks import check_count


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
    num_prompt_tokens = check_count("num_prompt_tokens", num_prompt_tokens)
    prompt = range(num_prompt_tokens)
    num_samples = check_count("num_samples", num_samples)
    num_generated = check_count("num_generated", num_generated, minimum=0)
    page_size = check_count("page_size", page_size)
    num_tokens = num_prompt_tokens + num_generated
    allocator = PagedAllocator(num_samples * -(-num_tokens // page_size), page_size)
    allocator.allocate(0, prompt)
    for sample in range(1, num_samples):
        allocator.fork(0, sample)
    copies = [
        copy
        for _ in range(num_generated)
        for sample in range(num_samples)
        if (copy := allocator.append(sample, 0).copy)
    ]
    lengths: dict[Hashable, int] = dict.fromkeys(range(num_samples), num_tokens)
    return _snapshot(allocator, lengths, num_common=num_prompt_tokens, copies=tuple(copies))


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
    Kwon et al. (2023), section 4.4, "Shared prefix".
    """
    num_common = check_count("num_common", num_common, minimum=0)
    common = list(range(num_common))
    num_requests = check_count("num_requests", num_requests)
    num_own = check_count("num_own", num_own)
    page_size = check_count("page_size", page_size)
    num_tokens = num_common + num_own
    allocator = PagedAllocator(num_requests * -(-num_tokens // page_size), page_size, prefix_caching=True)
    num_found = sum(
        allocator.allocate(request, common + [num_common + request] * num_own)
        for request in range(num_requests)
    )
    lengths: dict[Hashable, int] = dict.fromkeys(range(num_requests), num_tokens)
    return _snapshot(allocator, lengths, num_common=num_common, num_found=num_found)


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


def _snapshot(
    allocator: PagedAllocator,
    num_tokens: dict[Hashable, int],
    *,
    num_common: int,
    copies: tuple[tuple[int, int], ...] = (),
    num_found: int = 0,
) -> SharedPool:
    return SharedPool(
        memory_map=allocator.memory_map(),
        page_tables={seq_id: tuple(allocator.page_table(seq_id)) for seq_id in num_tokens},
        num_tokens=num_tokens,
        num_common=num_common,
        copies=copies,
        num_found=num_found,
    )
