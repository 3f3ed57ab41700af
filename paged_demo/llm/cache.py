"""Where keys and values go: what a cache has to offer, and the one that keeps them in our pages.

Every cache starts, grows, forks and frees sequences, and `attend_to` gives the model the function that it
calls in each layer. What the model computes does not depend on which cache it is.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from paged_demo.allocators.memory_map import CacheFullError, MemoryMap
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.attention.quick_kernel import paged_attention, paged_attention_prefill
from paged_demo.attention.shapes import Floats
from paged_demo.attention.store import KVStore
from paged_demo.llm.transformer import Attend, LlamaSpec

SeqId = TypeVar("SeqId", bound=Hashable)
T = TypeVar("T")


class KVCache(Protocol):
    """What a run needs of a cache. Calls that raise `CacheFullError` have changed nothing."""

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""

    def start(self, seq_id: Hashable, token_ids: Sequence[int]) -> int:
        """Make room for a new sequence, and return how many of its tokens need no computing."""

    def append(self, seq_id: Hashable, token_id: int) -> None:
        """Make room for a sequence's next token."""

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far."""

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence."""

    def attend_to(self, num_new: Mapping[SeqId, int]) -> Attend:
        """Return the function by which the last so many tokens of each sequence attend."""

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool."""


class PagedCache:
    """Keep keys and values in pages: a store for each layer, and one page table for all of them.

    Parameters
    ----------
    spec : LlamaSpec
        The model's shape.
    num_pages, page_size : int
        Pages in the pool, and slots in a page.
    prefix_caching : bool
        Whether to remember full pages, so that later prompts with an equal beginning find them.
    dtype : dtype
        How keys and values are kept.

    Raises
    ------
    TypeError
        If ``spec`` is none, such as the model itself.

    Attributes
    ----------
    allocator : PagedAllocator
        Says where tokens go.
    num_copied_pages : int
        How many pages were copied on write so far, each in every layer.

    References
    ----------
    Kwon et al. (2023), sections 4.2 to 4.4.
    """

    def __init__(
        self,
        spec: LlamaSpec,
        *,
        num_pages: int,
        page_size: int = 16,
        prefix_caching: bool = False,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        check_spec(spec)
        self.allocator = PagedAllocator(num_pages, page_size, prefix_caching=prefix_caching, seal_late=True)
        self.num_copied_pages = 0
        self._stores = [
            KVStore(num_pages, page_size, spec.num_kv_heads, spec.head_dim, dtype)
            for _ in range(spec.num_layers)
        ]

    def __repr__(self) -> str:
        return f"PagedCache({self.allocator!r}, {len(self._stores)} layers)"

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return self.allocator.num_slots

    def start(self, seq_id: Hashable, token_ids: Sequence[int]) -> int:
        """Take pages for a new sequence, and return how many of its tokens were found in the cache.

        Its other pages hold nothing yet. They can be found when the last layer has written them, and not
        before: if the computing fails, nobody finds them.

        Raises
        ------
        CacheFullError, ValueError, TypeError
            As `PagedAllocator.allocate`.
        """
        return self.allocator.allocate(seq_id, token_ids)

    def append(self, seq_id: Hashable, token_id: int) -> None:
        """Find a slot for a sequence's next token, and copy a shared page if that is in the way.

        Raises
        ------
        CacheFullError, KeyError
            As `PagedAllocator.append`.
        """
        _, copy = self.allocator.append(seq_id, token_id)
        if copy is not None:
            for store in self._stores:
                store.copy_page(*copy)
            self.num_copied_pages += 1

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that shares every page of another one. Nothing is copied yet."""
        self.allocator.fork(parent_id, child_id)

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence."""
        self.allocator.free(seq_id)

    def attend_to(self, num_new: Mapping[SeqId, int]) -> Attend:
        """Return the function by which the last tokens of some sequences attend.

        Parameters
        ----------
        num_new : mapping of sequence id to int
            How many tokens of each sequence the step computes, in the order of the step. They have slots
            already: the last ones of the sequence.
        """
        slots = {seq_id: self.allocator.slots(seq_id) for seq_id in num_new}
        new_slots = np.array([slot for seq_id, num in num_new.items() for slot in slots[seq_id][-num:]])
        lengths = [len(each) for each in slots.values()]
        tables = [self.allocator.page_table(seq_id) for seq_id in num_new]
        padded = np.full((len(tables), max(map(len, tables))), -1)
        for row, table in zip(padded, tables, strict=True):
            row[: len(table)] = table
        rows = rows_of_each(num_new)

        def attend(layer: int, queries: Floats, keys: Floats, values: Floats) -> Floats:
            store = self._stores[layer]
            store.write(new_slots, keys, values)
            if store is self._stores[-1]:
                for seq_id in num_new:
                    self.allocator.seal(seq_id)
            if len(queries) == len(tables):
                return paged_attention(queries, store.keys, store.values, padded, lengths)
            outputs = np.empty_like(queries)
            for some, table, length in zip(rows, tables, lengths, strict=True):
                outputs[some] = paged_attention_prefill(
                    queries[some], store.keys, store.values, table, length
                )
            return outputs

        return attend

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool."""
        return self.allocator.memory_map()


@contextmanager
def noted(held: dict[int, T], seq_id: int, what: T) -> Iterator[None]:
    """Note a sequence while the cache takes room for it: if that is interrupted, it may be there."""
    held[seq_id] = what
    try:
        yield
    except (CacheFullError, ValueError):  # Nothing was taken; the name may be that of a stranger.
        del held[seq_id]
        raise


def free_noted(cache: KVCache, held: Mapping[int, object]) -> None:
    """Free all sequences that were noted, the newest first."""
    for seq_id in reversed(list(held)):
        with suppress(KeyError):  # Not yet started when it was interrupted, or just freed.
            cache.free(seq_id)


def check_spec(spec: object) -> None:
    """Raise a TypeError unless this is the shape of a model."""
    if not isinstance(spec, LlamaSpec):
        raise TypeError(f"spec must be a LlamaSpec, such as model.spec, got {spec!r}")


def rows_of_each(num_new: Mapping[SeqId, int]) -> list[slice]:
    """Return the rows of each sequence in a step's flat arrays."""
    ends = np.cumsum(list(num_new.values())).tolist()
    return [slice(end - num, end) for end, num in zip(ends, num_new.values(), strict=True)]
