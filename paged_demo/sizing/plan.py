"""The plan that a server makes at start: groups, blocks, and the line it prints, or its refusal.

Rules: vLLM 0.33.0, ``get_kv_cache_configs`` of ``vllm/v1/core/kv_cache_planning.py`` and
``get_kv_cache_capacity`` of ``kv_cache_utils.py``; those of older versions are named in `Rules`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from paged_demo.checks import MAX_WHOLE, came, check_count, check_iterable
from paged_demo.sizing.groups import Group, make_groups
from paged_demo.sizing.layers import Layer
from paged_demo.sizing.packed import aligned
from paged_demo.sizing.pages import Raised, raise_block
from paged_demo.sizing.server import Server
from paged_demo.sizing.units import bytes_of, in_gib, printed_as


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a server does not start.

    Parameters
    ----------
    stage : int
        The pipeline stage that lacks memory, from 0 on.
    needed_bytes : int
        What one request of the longest length needs there.
    checked_bytes : int
        What it is compared with: the pool, in 0.33.0 without the bytes of one block.
    estimated_max_len : int
        The longest length that fits there; 0 if none does.
    """

    stage: int
    needed_bytes: int
    checked_bytes: int
    estimated_max_len: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a server plans for its pool of KV cache. `plan` makes it; printed it is the engine's line.

    Parameters
    ----------
    server : Server
        The flags.
    max_model_len : int or None
        Tokens of the longest request; with ``auto_fit`` the length that was fitted.
    groups : tuple of Group
        Layers that take their blocks together.
    raised : Raised or None
        The block that holds a state, where the model has states beside attention.
    block_bytes : tuple of int
        What one block costs on a GPU of each pipeline stage.
    pool_bytes : tuple of int or None
        Memory of the pool on a GPU of each stage.
    """

    server: Server
    max_model_len: int | None
    groups: tuple[Group, ...]
    raised: Raised | None
    block_bytes: tuple[int, ...]
    pool_bytes: tuple[int, ...] | None

    @property
    def blocks(self) -> int:
        """Blocks of the pool: the smallest number over all stages. One of them is never given out.

        Raises
        ------
        ValueError
            If no pool is given.
        """
        if self.pool_bytes is None:
            raise ValueError(
                "available must be given, or num_gpu_blocks_override: without it there is no pool"
            )
        return min(
            max(pool, 0) // block
            for pool, block in zip(self.pool_bytes, self.block_bytes, strict=True)
            if block
        )

    def blocks_for(self, num_tokens: int) -> tuple[int, ...]:
        """Return the blocks that one request of so many tokens may hold, by group.

        Examples
        --------
        >>> from paged_demo.sizing.layers import Full, Sliding
        >>> heads = {"kv_heads": 8, "head_dim": 64}
        >>> gpt_oss = [Sliding(**heads, window=128), Full(**heads)] * 18
        >>> plan(gpt_oss, Server(max_num_batched_tokens=512)).blocks_for(131_072)
        (73, 8192)
        """
        tokens = check_count("num_tokens", num_tokens)
        return tuple(group.blocks_for(tokens, self.server) for group in self.groups)

    @property
    def need(self) -> int:
        """Blocks that one request of ``max_model_len`` tokens may hold.

        Raises
        ------
        ValueError
            If ``max_model_len`` is not given.
        """
        return sum(self.blocks_for(self._longest()))

    @property
    def needed_bytes(self) -> tuple[int, ...]:
        """Bytes of that request, with all padding, on a GPU of each stage."""
        return tuple(self.need * block for block in self.block_bytes)

    @property
    def concurrency(self) -> float:
        """K, the requests of ``max_model_len`` tokens that the pool holds."""
        if not self.server.rules.whole_blocks and len(self.groups) == 1:
            return self.blocks * self.groups[0].block_size / self._longest()
        return self.blocks / self.need

    @property
    def tokens(self) -> int:
        """What the line calls the size of the cache, in tokens.

        As in the engine K is a float, so where K times the length is whole it may be one less.
        """
        if self.server.rules.tokens == "groups":
            return self.blocks // len(self.groups) * min(group.block_size for group in self.groups)
        return int(self.concurrency * self._longest())

    @property
    def refusal(self) -> Refusal | None:
        """Why the server does not start, or None."""
        if self.pool_bytes is None or self.max_model_len is None:
            return None
        for stage, (needed, checked) in enumerate(zip(self.needed_bytes, self._checked(), strict=True)):
            if self.block_bytes[stage] and (needed > checked or checked <= 0):
                return Refusal(
                    stage=stage,
                    needed_bytes=needed,
                    checked_bytes=checked,
                    estimated_max_len=self._longest_that_fits(stage, checked),
                )
        return None

    @property
    def longest_that_fits(self) -> int:
        """The longest request, up to ``max_model_len``, that fits into the pool; 0 if none does."""
        return min(
            self._longest_that_fits(stage, checked)
            for stage, checked in enumerate(self._checked())
            if self.block_bytes[stage]
        )

    @property
    def line(self) -> str:
        """The line that the server prints."""
        return (
            f"GPU KV cache size: {self.tokens:,} tokens, Maximum concurrency for {self._longest():,} tokens"
            f" per request: {self.concurrency:.2f}x"
        )

    def __str__(self) -> str:
        refusal = self.refusal
        if refusal is None:
            return self.line
        if refusal.checked_bytes <= 0:
            return "No available memory for the cache blocks."
        told = (
            f"To serve at least one request with the model's max seq len ({self._longest()}), "
            f"({in_gib(refusal.needed_bytes)} GiB KV cache is needed, which is larger than the available KV "
            f"cache memory ({in_gib(refusal.checked_bytes)} GiB)."
        )
        if not refusal.estimated_max_len:
            return told
        length = refusal.estimated_max_len
        return f"{told} Based on the available memory, the estimated maximum model length is {length}."

    def _longest(self) -> int:
        if self.max_model_len is None:
            raise ValueError("max_model_len must be given: without it no request is the longest")
        return self.max_model_len

    def _checked(self) -> tuple[int, ...]:
        if self.pool_bytes is None:
            raise ValueError(
                "available must be given, or num_gpu_blocks_override: without it there is no pool"
            )
        held_back = self.block_bytes if self.server.rules.null_block else (0,) * len(self.block_bytes)
        return tuple(pool - block for pool, block in zip(self.pool_bytes, held_back, strict=True))

    def _longest_that_fits(self, stage: int, checked: int) -> int:
        """Return the longest length, up to ``max_model_len``, whose need fits into these bytes."""
        fits, too_long = 0, self._longest() + 1
        while too_long - fits > 1:
            length = (fits + too_long) // 2
            if sum(self.blocks_for(length)) * self.block_bytes[stage] <= checked:
                fits = length
            else:
                too_long = length
        return fits


def plan(layers: Sequence[Layer | None], server: Server, available: object = None) -> Plan:
    """Plan the pool of a server.

    Parameters
    ----------
    layers : sequence of layers
        Those of the whole model, in order, such as `read_config` gives them.
    server : Server
        The flags.
    available : int or str, or one for each stage, optional
        Memory for the KV cache on a GPU of each pipeline stage: bytes, or a text such as ``"3.81GiB"``.
        Without it, and without ``num_gpu_blocks_override``, only needs are planned.

    Raises
    ------
    TypeError
        If an argument is not what it should be.
    ValueError
        If layers cannot be divided over the GPUs or grouped, or ``auto_fit`` finds no length that fits.

    Examples
    --------
    >>> from paged_demo.sizing.layers import Full
    >>> llama = [Full(kv_heads=8, head_dim=128)] * 32
    >>> print(plan(llama, Server(max_model_len=20_000), "3.81GiB"))
    GPU KV cache size: 31,200 tokens, Maximum concurrency for 20,000 tokens per request: 1.56x
    >>> print(plan(llama, Server(max_model_len=32_768), "3.81GiB"))  # doctest: +ELLIPSIS
    To serve at least one request ... the estimated maximum model length is 31184.
    """
    layers = check_iterable("layers", layers, "layers")
    groups = tuple(make_groups(layers, server))
    stages = server.layers_by_stage(len(layers))
    block_bytes = tuple(_block_bytes(groups, stage, server) for stage in stages)
    made = Plan(
        server=server,
        max_model_len=server.max_model_len,
        groups=groups,
        raised=raise_block([layer for layer in layers if layer is not None], server),
        block_bytes=block_bytes,
        pool_bytes=_pool(available, block_bytes, server),
    )
    return _fitted(made) if server.auto_fit else made


def _block_bytes(groups: Sequence[Group], stage: range, server: Server) -> int:
    largest = max(group.bytes_on(stage) for group in groups)
    if server.layout == "layers":
        return largest
    return aligned(largest, [pages for group in groups for pages in group.on(stage)], server)


def _pool(available: object, block_bytes: Sequence[int], server: Server) -> tuple[int, ...] | None:
    if server.num_gpu_blocks_override is not None:
        return tuple(server.num_gpu_blocks_override * block for block in block_bytes)
    if available is None:
        return None
    given = _by_stage("available", available, block_bytes)
    # What is left of a GPU may be less than nothing: then the server refuses.
    return tuple(
        check_count("available", each, minimum=-MAX_WHOLE, maximum=MAX_WHOLE)
        if not isinstance(each, str)
        else bytes_of("available", each)
        for each in given
    )


def _by_stage(name: str, given: object, block_bytes: Sequence[int]) -> list[Any]:
    """Return what is given for all stages, or for each, as one for each."""
    each = list(given) if isinstance(given, (list, tuple)) else [given] * len(block_bytes)
    if len(each) != len(block_bytes):
        raise ValueError(
            f"{name} must be one, or one for each of the {len(block_bytes)} stages, got {came(given)}"
        )
    return each


def _fitted(made: Plan) -> Plan:
    length = made.longest_that_fits
    if length == 0:
        raise ValueError(
            "auto_fit finds no max_model_len: the pool does not hold a single token; "
            f"got {' and '.join(in_gib(pool) for pool in made.pool_bytes or ())} GiB available"
        )
    return replace(made, max_model_len=length)


def blocks_printed_as(printed: str | Sequence[str], planned: Plan) -> range:
    """Return the numbers of blocks of a pool that is printed as so many GiB.

    Parameters
    ----------
    printed : str, or one for each stage
        "Available KV cache memory" as the log has it, such as ``"3.81 GiB"``.
    planned : Plan
        The plan, whose own pool does not matter.

    Raises
    ------
    ValueError
        If a text is no such GiB, or there is not one for each stage.

    Examples
    --------
    >>> from paged_demo.sizing.layers import Full
    >>> blocks_printed_as("3.81 GiB", plan([Full(kv_heads=8, head_dim=128)] * 32, Server()))
    range(1948, 1954)
    """
    given = _by_stage("printed", printed, planned.block_bytes)
    pools = [printed_as(text) for text in given]
    stages = [(pool, block) for pool, block in zip(pools, planned.block_bytes, strict=True) if block]
    fewest = min(pool.start // block for pool, block in stages)
    most = min((pool.stop - 1) // block for pool, block in stages)
    return range(fewest, most + 1)
