"""Where keys and values go: what a cache has to offer, the one that keeps them in our pages, and its rival.

Every cache starts, grows, forks and frees sequences, and `attend_to` gives the model the function that it
calls in each layer. What the model computes does not depend on which cache it is.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import zip_longest
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from paged_demo.allocators.memory_map import MemoryMap
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.traditional import TraditionalAllocator, reserve_max
from paged_demo.attention.kernels import dense_attention
from paged_demo.attention.quick_kernel import paged_attention, paged_attention_prefill
from paged_demo.attention.shapes import Floats, check_float_type
from paged_demo.attention.store import KVStore, unwritten
from paged_demo.checks import check_count, check_counts
from paged_demo.llm.llama import Attend, LlamaSpec

SeqId = TypeVar("SeqId", bound=Hashable)


class KVCache(Protocol):
    """What a run needs of a cache. Calls that raise `CacheFullError` have changed nothing.

    Attributes
    ----------
    allocator : PagedAllocator or TraditionalAllocator
        Says where tokens go.
    """

    allocator: PagedAllocator | TraditionalAllocator

    def start(self, seq_id: Hashable, token_ids: Sequence[int], *, cache_salt: str = "") -> int:
        """Make room for a new sequence, and return how many of its tokens need no computing."""

    def append(self, seq_id: Hashable, token_id: int) -> None:
        """Make room for a sequence's next token."""

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far."""

    def attend_to(self, num_new: Mapping[SeqId, int]) -> Attend:
        """Return the function by which the last so many tokens of each sequence attend."""

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return self.allocator.num_slots

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence."""
        self.allocator.free(seq_id)

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool."""
        return self.allocator.memory_map()


class PagedCache(KVCache):
    """Keep keys and values in pages: a store for each layer, and one page table for all of them.

    Parameters
    ----------
    spec : LlamaSpec
        The model's shape.
    num_pages, page_size : int
        Pages in the pool, and slots in a page.
    prefix_caching : bool
        Whether full pages can be found, so that later prompts with an equal beginning find them.
    dtype : dtype
        How keys and values are kept.

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

    allocator: PagedAllocator

    def __init__(
        self,
        spec: LlamaSpec,
        *,
        num_pages: int,
        page_size: int = 16,
        prefix_caching: bool = False,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.allocator = PagedAllocator(num_pages, page_size, prefix_caching=prefix_caching, seal_late=True)
        self.num_copied_pages = 0
        self._stores = [
            KVStore(num_pages, page_size, spec.num_kv_heads, spec.head_dim, dtype)
            for _ in range(spec.num_layers)
        ]

    def __repr__(self) -> str:
        return f"PagedCache({self.allocator!r}, {len(self._stores)} layers)"

    def start(self, seq_id: Hashable, token_ids: Sequence[int], *, cache_salt: str = "") -> int:
        """Take pages for a new sequence, and return how many of its tokens were found in the cache.

        Its other pages hold nothing yet. They can be found when the last layer has written them, and not
        before: if the computing fails, nobody finds them. Only sequences of the same salt find them.

        Raises
        ------
        CacheFullError, ValueError, TypeError
            As `PagedAllocator.allocate`.
        """
        return self.allocator.allocate(seq_id, token_ids, cache_salt=cache_salt)

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

    def attend_to(self, num_new: Mapping[SeqId, int]) -> Attend:
        """Return the function by which the last tokens of some sequences attend.

        Parameters
        ----------
        num_new : mapping of sequence id to int
            How many tokens of each sequence the iteration computes, in its order. They have slots
            already: the last ones of the sequence.
        """
        slots = {seq_id: self.allocator.slots(seq_id) for seq_id in num_new}
        new_slots = np.array([slot for seq_id, num in num_new.items() for slot in slots[seq_id][-num:]])
        lengths = [len(each) for each in slots.values()]
        tables = [self.allocator.page_table(seq_id) for seq_id in num_new]
        padded = np.array(list(zip_longest(*tables, fillvalue=-1))).T
        rows = _rows_of_each(num_new)

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


class ContiguousCache(KVCache):
    """Keep each sequence's keys and values in one run of plain arrays, reserved to its full length.

    Parameters
    ----------
    spec : LlamaSpec
        The model's shape.
    num_sequences : int
        Sequences that the pool has room for.
    max_tokens : int
        Slots that are reserved for each.
    tile_size : int, optional
        Attend in tiles of so many tokens, as over pages of that size: then not one rounding differs from
        theirs. It must divide ``max_tokens``. If left out, attend in one piece, which is quicker.
    dtype : dtype
        How keys and values are kept.

    References
    ----------
    Kwon et al. (2023), section 3.1: the existing systems.
    """

    allocator: TraditionalAllocator

    def __init__(
        self,
        spec: LlamaSpec,
        *,
        num_sequences: int,
        max_tokens: int,
        tile_size: int | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        num_sequences, max_tokens = check_counts(num_sequences=num_sequences, max_tokens=max_tokens)
        num_slots = num_sequences * max_tokens
        if tile_size is not None:
            tile_size = check_count("tile_size", tile_size)
            if max_tokens % tile_size:
                raise ValueError(f"tile_size must divide max_tokens ({max_tokens}), got {tile_size}")
        self.allocator = TraditionalAllocator(num_slots, reserve=reserve_max(max_tokens))
        self._tile_size = tile_size
        self._max_tokens = max_tokens
        shape = (spec.num_layers, num_slots, spec.num_kv_heads, spec.head_dim)
        self._keys, self._values = (unwritten(shape, check_float_type("dtype", dtype)) for _ in range(2))

    def __repr__(self) -> str:
        return f"ContiguousCache({self.allocator!r}, {len(self._keys)} layers)"

    def start(self, seq_id: Hashable, token_ids: Sequence[int], *, cache_salt: str = "") -> int:
        """Reserve a run for a new sequence. Nothing is ever found: the answer is 0.

        Raises
        ------
        CacheFullError, ValueError, TypeError
            As `TraditionalAllocator.allocate`.
        """
        return self.allocator.allocate(seq_id, token_ids, final_tokens=len(token_ids))

    def append(self, seq_id: Hashable, token_id: int) -> None:
        """Take the next slot of a sequence's run.

        Raises
        ------
        CacheFullError, KeyError
            As `TraditionalAllocator.append`.
        """
        self.allocator.append(seq_id, token_id)

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far: all of it is copied, now.

        Raises
        ------
        CacheFullError, KeyError, ValueError
            As `TraditionalAllocator`.
        """
        parent = self.allocator.slots(parent_id)
        # Which tokens they are plays no part here; that there are as many does.
        self.start(child_id, range(len(parent)))
        child = self.allocator.slots(child_id)
        self._keys[:, child] = self._keys[:, parent]
        self._values[:, child] = self._values[:, parent]

    def attend_to(self, num_new: Mapping[SeqId, int]) -> Attend:
        """Return the function by which the last tokens of some sequences attend: as `PagedCache`."""
        slots = [self.allocator.slots(seq_id) for seq_id in num_new]
        rows = _rows_of_each(num_new)

        def attend(layer: int, queries: Floats, keys: Floats, values: Floats) -> Floats:
            outputs = np.empty_like(queries)
            for some, run in zip(rows, slots, strict=True):
                start, end = run[0], run[-1] + 1
                new = slice(end - (some.stop - some.start), end)
                self._keys[layer, new], self._values[layer, new] = keys[some], values[some]
                outputs[some] = self._attend(layer, queries[some], start, end)
            return outputs

        return attend

    def _attend(self, layer: int, queries: Floats, start: int, end: int) -> Floats:
        """Attend to the slots of a run up to ``end``, in one piece or in tiles."""
        keys, values = self._keys[layer], self._values[layer]
        if self._tile_size is None:
            return dense_attention(queries, keys[start:end], values[start:end])
        run = slice(start, start + self._max_tokens)
        shape = (-1, self._tile_size, *keys.shape[1:])
        key_tiles = keys[run].reshape(shape).transpose(0, 2, 3, 1)
        value_tiles = values[run].reshape(shape).transpose(0, 2, 1, 3)
        num_tokens = end - start
        return paged_attention_prefill(queries, key_tiles, value_tiles, range(len(key_tiles)), num_tokens)


def _rows_of_each(num_new: Mapping[SeqId, int]) -> list[slice]:
    """Return the rows of each sequence in an iteration's flat arrays."""
    ends = np.cumsum(list(num_new.values())).tolist()
    return [slice(end - num, end) for end, num in zip(ends, num_new.values(), strict=True)]
