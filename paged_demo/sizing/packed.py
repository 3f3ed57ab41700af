"""The block-outermost layout: a block holds the pages of its layers side by side, each of its own size.

Rules: vLLM 0.33.0, ``_get_packed_kv_cache_groups`` of ``vllm/v1/core/kv_cache_planning.py``. They hold where
pages differ in size; where all are equal this layout makes the groups of the other.
"""

from collections.abc import Sequence
from math import gcd, lcm

from paged_demo.sizing.layers import Sliding, State
from paged_demo.sizing.pages import Pages, per
from paged_demo.sizing.server import Server

Bucket = dict[int, list[tuple[int, Pages]]]
"""Layers that need the same blocks, with their pages, by the size of these."""


def pack(buckets: Sequence[Sequence[tuple[int, Pages]]]) -> list[list[tuple[int, Pages]]]:
    """Divide buckets of layers that need the same blocks into groups.

    Raises
    ------
    ValueError
        If a bucket has to be split that has unequal numbers of pages of several sizes.
    """
    by_size = [_by_size(bucket) for bucket in buckets]
    length = _group_length([sizes for sizes in by_size if _is_balanced(sizes)])
    parts = [per(_most(sizes), length) if length and _is_balanced(sizes) else 1 for sizes in by_size]
    narrow = [_can_be_narrow(bucket, length) for bucket in buckets]
    widest = max(
        _widest(sizes, len(bucket) if thin else part)
        for bucket, sizes, part, thin in zip(buckets, by_size, parts, narrow, strict=True)
    )
    groups = []
    for bucket, sizes, part, thin in zip(buckets, by_size, parts, narrow, strict=True):
        # No wider than what other layers need anyway.
        most = max(widest // bucket[0][1].page_bytes, 1)
        groups += _split(bucket, sizes, max(part, per(len(bucket), most)) if thin else part)
    return groups


def _by_size(bucket: Sequence[tuple[int, Pages]]) -> Bucket:
    sizes: Bucket = {}
    for layer, pages in bucket:
        sizes.setdefault(pages.page_bytes, []).append((layer, pages))
    return sizes


def _most(sizes: Bucket) -> int:
    return max(len(members) for members in sizes.values())


def _is_balanced(sizes: Bucket) -> bool:
    return len({len(members) for members in sizes.values()}) == 1


def _widest(sizes: Bucket, parts: int) -> int:
    """Return the bytes of a block in the largest of so many groups."""
    return sum(per(len(members), parts) * page for page, members in sizes.items())


def _can_be_narrow(bucket: Sequence[tuple[int, Pages]], length: int) -> bool:
    first = bucket[0][1].layer
    return isinstance(first, State) or (not length and isinstance(first, Sliding))


def _group_length(balanced: Sequence[Bucket]) -> int:
    """Return the length to cut to beside buckets of several sizes, which stay whole; 0 if there is none."""
    least = max((_most(sizes) for sizes in balanced if len(sizes) > 1), default=0)
    if not least:
        return 0
    counts = [_most(sizes) for sizes in balanced]
    return min(range(least, max(counts) + 1), key=lambda length: (sum(-n % length for n in counts), -length))


def _split(bucket: Sequence[tuple[int, Pages]], sizes: Bucket, parts: int) -> list[list[tuple[int, Pages]]]:
    if parts == 1:
        return [list(bucket)]
    if not _is_balanced(sizes):
        counts = {page: len(members) for page, members in sizes.items()}
        raise ValueError(
            f"layers cannot be grouped: a bucket of unequal numbers has to be split, {counts} by page"
        )
    repeats = list(zip(*sizes.values(), strict=True))
    return [[member for repeat in repeats[first::parts] for member in repeat] for first in range(parts)]


def aligned(num_bytes: int, pages: Sequence[Pages], server: Server) -> int:
    """Return the bytes of a block, up to whole kernel blocks where kernels take only some sizes."""
    if isinstance(server.kernel_blocks, int):
        return num_bytes
    steps = {
        each.page_bytes * gcd(max(server.kernel_blocks), each.block_size) // each.block_size
        for each in pages
        if not isinstance(each.layer, State)
        and each.block_size != gcd(max(server.kernel_blocks), each.block_size)
    }
    step = lcm(*steps)
    return per(num_bytes, step) * step
