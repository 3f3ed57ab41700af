"""The rival of the pages: each sequence in one run of plain arrays, reserved to its full length."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from paged_demo.allocators.memory_map import MemoryMap
from paged_demo.allocators.traditional import TraditionalAllocator, reserve_max
from paged_demo.attention.kernels import dense_attention
from paged_demo.attention.quick_kernel import paged_attention_prefill
from paged_demo.attention.shapes import Floats, check_float_type
from paged_demo.checks import check_count
from paged_demo.llm.cache import SeqId, check_spec, rows_of_each
from paged_demo.llm.transformer import Attend, LlamaSpec


class ContiguousCache:
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

    def __init__(
        self,
        spec: LlamaSpec,
        *,
        num_sequences: int,
        max_tokens: int,
        tile_size: int | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        check_spec(spec)
        num_slots = check_count("num_sequences", num_sequences) * check_count("max_tokens", max_tokens)
        if tile_size is not None and max_tokens % check_count("tile_size", tile_size):
            raise ValueError(f"tile_size must divide max_tokens ({max_tokens}), got {tile_size}")
        self.allocator = TraditionalAllocator(num_slots, reserve=reserve_max(max_tokens))
        self._tile_size = tile_size
        self._max_tokens = max_tokens
        shape = (spec.num_layers, num_slots, spec.num_kv_heads, spec.head_dim)
        self._keys, self._values = (
            np.full(shape, np.nan, check_float_type("dtype", dtype)) for _ in range(2)
        )

    def __repr__(self) -> str:
        return f"ContiguousCache({self.allocator!r}, {len(self._keys)} layers)"

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return self.allocator.num_slots

    def start(self, seq_id: Hashable, token_ids: Sequence[int]) -> int:
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

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence and its run."""
        self.allocator.free(seq_id)

    def attend_to(self, num_new: Mapping[SeqId, int]) -> Attend:
        """Return the function by which the last tokens of some sequences attend: as `PagedCache`."""
        slots = [self.allocator.slots(seq_id) for seq_id in num_new]
        rows = rows_of_each(num_new)

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

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool."""
        return self.allocator.memory_map()
