"""What a scheduler asks of an allocator, and when it lets a request start."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol, runtime_checkable

from paged_demo.allocators.memory_map import MemoryMap
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.checks import check_share
from paged_demo.serving.rules import pages_held, pages_kept
from paged_demo.serving.workload import Request


class KVAllocator(Protocol):
    """What a scheduler needs of an allocator; both the traditional and the paged one have it."""

    def allocate(self, seq_id: Hashable, token_ids: Iterable[int], *, final_tokens: int) -> int:
        """Give a new sequence room for its prompt, or raise `CacheFullError`."""

    def append(self, seq_id: Hashable, token_id: int) -> Any:
        """Give a sequence room for one more token, or raise `CacheFullError`."""

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence."""

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool."""


@runtime_checkable
class ForkingAllocator(KVAllocator, Protocol):
    """What a scheduler needs besides, to let several samples share a prompt."""

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far."""


AdmissionPolicy = Callable[[Request, int], bool]
"""Whether a request, whose samples have so many tokens each, may start now if there is room."""


def admit_always(request: Request, num_generated: int) -> bool:
    """Admit whatever finds room."""
    return True


def keep_pages_free(allocator: PagedAllocator, *, share: float = 0.01) -> AdmissionPolicy:
    """Admit a request only if it leaves this share of the pages free, for the others to grow.

    Kwon et al. leave 1 % (their implementation's watermark).
    """
    num_kept = pages_kept(check_share("share", share), allocator.num_pages)

    def may_admit(request: Request, num_generated: int) -> bool:
        num_pages = pages_held(request, num_generated, allocator.page_size)
        return num_pages + num_kept <= allocator.num_free_pages

    return may_admit
