"""One sequence, kept the traditional and the paged way: the smallest comparison there is."""

from paged_demo.allocators.memory_map import MemoryUsage, account
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.traditional import TraditionalAllocator, reserve_max
from paged_demo.checks import check_count


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
    check_count("num_tokens", num_tokens)
    num_pages = -(-check_count("max_tokens", max_tokens) // check_count("page_size", page_size))
    if num_tokens > max_tokens:
        raise ValueError(f"num_tokens must be at most max_tokens ({max_tokens}), got {num_tokens}")
    ways: dict[str, TraditionalAllocator | PagedAllocator] = {
        "traditional": TraditionalAllocator(max_tokens, reserve=reserve_max(max_tokens)),
        "paged": PagedAllocator(num_pages, page_size),
    }
    usages = {}
    for name, allocator in ways.items():
        allocator.allocate("A", range(num_tokens), final_tokens=num_tokens)
        usages[name] = account(allocator.memory_map(), {"A": 0})
    return usages
