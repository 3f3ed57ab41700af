"""How layers share one pool: pages of one size, and groups of layers that take their blocks together.

Rules: vLLM 0.33.0, ``get_kv_cache_groups`` of ``vllm/v1/core/kv_cache_planning.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paged_demo.sizing.layers import Chunked, Full, Latent, Layer, Sliding, State
from paged_demo.sizing.packed import pack
from paged_demo.sizing.pages import Pages, pages_of, per
from paged_demo.sizing.server import Server


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that take their blocks together: one page table serves them all.

    Parameters
    ----------
    layers : tuple of int
        Which layers of the model, from 0 on.
    pages : tuple of Pages
        Those of each.
    """

    layers: tuple[int, ...]
    pages: tuple[Pages, ...]

    @property
    def kind(self) -> str:
        """The kind of its layers, or "full" where latent layers and others are stored together."""
        kinds = {pages.layer.kind for pages in self.pages}
        return kinds.pop() if len(kinds) == 1 else "full"

    @property
    def block_size(self) -> int:
        """Tokens of a block."""
        return self.pages[0].block_size

    @property
    def page_bytes(self) -> tuple[int, ...]:
        """The sizes of its pages, one for each that differs."""
        return tuple(self.by_page())

    def by_page(self) -> Mapping[int, int]:
        """Return how many layers have pages of each size."""
        counts: dict[int, int] = {}
        for pages in self.pages:
            counts[pages.page_bytes] = counts.get(pages.page_bytes, 0) + 1
        return counts

    def on(self, stage: range) -> list[Pages]:
        """Return the pages of those of its layers that this stage has."""
        return [pages for layer, pages in zip(self.layers, self.pages, strict=True) if layer in stage]

    def bytes_on(self, stage: range) -> int:
        """Return the bytes of a block in those of its layers that this stage has."""
        return sum(pages.page_bytes for pages in self.on(stage))

    def blocks_for(self, num_tokens: int, server: Server) -> int:
        """Return the blocks that a request of so many tokens may hold in this group."""
        return max(pages.blocks_for(num_tokens, server) for pages in set(self.pages))


def _are_one_kind(pages: Sequence[Pages]) -> bool:
    """Say whether all layers need the same blocks of a request, so that they share one group."""
    if len({each.block_size for each in pages}) > 1:
        return False
    first = pages[0].layer
    layers = [each.layer for each in pages]
    if isinstance(first, Sliding):
        return all(isinstance(layer, Sliding) and layer.window == first.window for layer in layers)
    if isinstance(first, Chunked):
        return all(isinstance(layer, Chunked) and layer.chunk == first.chunk for layer in layers)
    if isinstance(first, State):
        return all(isinstance(layer, State) for layer in layers) and len({p.page_bytes for p in pages}) == 1
    return all(isinstance(layer, (Full, Latent)) for layer in layers)


def _stored_as_full(pages: Sequence[Pages]) -> list[Pages]:
    """Return the pages where windows and chunks are stored as full layers, if the model has full ones.

    Raises
    ------
    ValueError
        If the layers need different blocks even so.
    """
    if _are_one_kind(pages):
        return list(pages)
    full_blocks = {each.block_size for each in pages if isinstance(each.layer, (Full, Latent))}
    stored = [_as_full(each, full_blocks) if full_blocks else each for each in pages]
    if not _are_one_kind(stored):
        kinds = ", ".join(dict.fromkeys(each.layer.kind for each in pages))
        raise ValueError(f"hybrid_manager is off, and layers cannot be grouped as one kind: {kinds}")
    windows = {each.layer.window for each in pages if isinstance(each.layer, Sliding)}
    chunks = {each.layer.chunk for each in pages if isinstance(each.layer, Chunked)}
    if not any(isinstance(each.layer, Latent) for each in pages) and max(len(windows), len(chunks)) > 1:
        raise ValueError(
            f"hybrid_manager is off, and layers cannot be grouped: they have several windows, "
            f"{sorted(windows | chunks)}"
        )
    return stored


def _as_full(pages: Pages, full_blocks: set[int]) -> Pages:
    layer = pages.layer
    if not isinstance(layer, (Sliding, Chunked)):
        return pages
    block = min(full_blocks) if len(full_blocks) == 1 else pages.block_size
    full = Full(kv_heads=layer.kv_heads, head_dim=layer.head_dim, v_head_dim=layer.v_head_dim)
    return Pages(full, block, pages.page_bytes * block // pages.block_size)


def _of_one_size(pages: Sequence[Pages]) -> list[Pages] | None:
    """Return the pages made equal by longer blocks or padding; None if a latent page would be padded."""
    largest = max(each.page_bytes for each in pages)
    equal = []
    for each in pages:
        longer, rest = divmod(largest, each.page_bytes)
        block = each.block_size
        if not isinstance(each.layer, State):
            if rest and isinstance(each.layer, Latent):
                return None
            block *= 1 if rest else longer
        equal.append(Pages(each.layer, block, largest))
    return equal


def make_groups(layers: Sequence[Layer | None], server: Server) -> list[Group]:
    """Divide the layers of the whole model into groups.

    Parameters
    ----------
    layers : sequence of layers
        In the model's order; None for a layer that keeps nothing of its own.
    server : Server
        The flags.

    Raises
    ------
    ValueError
        If the layers cannot be grouped; the error says which.

    Examples
    --------
    >>> window = Sliding(kv_heads=16, head_dim=128, window=1024)
    >>> gemma_3 = ([window] * 5 + [Full(kv_heads=16, head_dim=128)]) * 10 + [window] * 2
    >>> [(group.kind, len(group.layers)) for group in make_groups(gemma_3, Server())][-2:]
    [('sliding', 8), ('full', 10)]
    """
    owners = tuple(index for index, layer in enumerate(layers) if layer is not None)
    kept = [layer for layer in layers if layer is not None]
    if not kept:
        raise ValueError("layers must be at least one that keeps something, got none")
    groups = _grouped(owners, pages_of(kept, server), server)
    # Windows that are stored as full are windows no more.
    windows = any(isinstance(pages.layer, Sliding) for group in groups for pages in group.pages)
    if server.decode_context_parallel > 1 and windows:
        raise ValueError(
            "decode_context_parallel must be 1 where layers have a window, "
            f"got {server.decode_context_parallel}"
        )
    return groups


def _grouped(owners: tuple[int, ...], pages: list[Pages], server: Server) -> list[Group]:
    if not server.hybrid_manager:
        pages = _stored_as_full(pages)
    if _are_one_kind(pages):
        return [Group(owners, tuple(pages))]
    if server.layout == "blocks" and len({each.page_bytes for each in pages}) > 1:
        packed = pack(_buckets(list(zip(owners, pages, strict=True))))
        return [Group(*zip(*members, strict=True)) for members in packed]
    equal = _of_one_size(pages)
    if equal is not None:
        return _split(equal, owners)
    try:
        return [Group(owners, tuple(_fall_back(pages)))]
    except ValueError:
        raise ValueError(
            "layers cannot be grouped: pages of latent layers do not divide the largest page, and are never "
            f"padded: {sorted({each.page_bytes for each in pages})} bytes"
        ) from None


def _buckets(layers: Sequence[tuple[int, Pages]]) -> list[list[tuple[int, Pages]]]:
    """Put each layer to the first others that need the same blocks."""
    buckets: list[list[tuple[int, Pages]]] = []
    for layer, pages in layers:
        for bucket in buckets:
            if _are_one_kind([*(each for _, each in bucket), pages]):
                bucket.append((layer, pages))
                break
        else:
            buckets.append([(layer, pages)])
    return buckets


def _fall_back(pages: Sequence[Pages]) -> list[Pages]:
    """Store windows as full beside latent layers, which the engine does for no other kind."""
    kinds = {each.layer.kind for each in pages}
    if "chunked" in kinds or "sliding" not in kinds:
        raise ValueError
    return _stored_as_full(pages)


def _split(pages: Sequence[Pages], owners: Sequence[int]) -> list[Group]:
    """Split the layers of each kind into groups of about one length."""
    kinds: dict[Pages, list[int]] = {}
    for layer, each in zip(owners, pages, strict=True):
        kinds.setdefault(each, []).append(layer)
    counts = [len(members) for members in kinds.values()]
    # Rather a few padded layers than twice the groups: 12 and 13 are one group each.
    length = max(counts) if 2 * max(counts) < 3 * min(counts) else min(counts)
    groups = []
    for each, members in kinds.items():
        num_groups = per(len(members), length)
        for first in range(num_groups):
            # In turn, so that each pipeline stage has some of every group.
            chosen = tuple(members[first::num_groups])
            groups.append(Group(chosen, (each,) * len(chosen)))
    return groups
