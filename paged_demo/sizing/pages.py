"""The pages of each layer: how many bytes a block is there, and how many blocks a request may hold.

Rules: vLLM 0.33.0, ``vllm/v1/kv_cache_interface.py`` and, for the block beside states,
``vllm/platforms/interface.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, lcm

from paged_demo.sizing.layers import Chunked, HeadLayer, Latent, Layer, Sliding, State, StateLayer, TokenLayer
from paged_demo.sizing.server import Server

PREFILL_CHECKPOINT_STEP = 64
"""Tokens: states kept within a prompt lie at multiples of it."""
BLOCK_BESIDE_LATENT = 128
"""The smallest block where states stand beside latent layers."""


def per(total: int, each: int) -> int:
    """Return how many it takes of ``each`` to cover ``total``."""
    return -(-total // each)


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one layer on one GPU: equal ones may share a group.

    Parameters
    ----------
    layer : TokenLayer or State
        What the GPU keeps of the layer.
    block_size : int
        Tokens of a block. Of a state without prefix caching: the longest request.
    page_bytes : int
        Bytes of a block in this layer, with its padding.
    """

    layer: TokenLayer | State
    block_size: int
    page_bytes: int

    def blocks_for(self, num_tokens: int, server: Server) -> int:
        """Return the blocks that a request of so many tokens may hold in a group of such layers."""
        layer = self.layer
        if isinstance(layer, State):
            return self._states(num_tokens, server)
        if isinstance(layer, Sliding):
            ahead = layer.window - 1 + server.mtp_modules - 1 + server.in_flight_tokens
            # One more, for a window need not begin where a block does.
            return per(min(ahead, num_tokens), self.block_size) + 1
        if isinstance(layer, Chunked):
            return per(min(layer.chunk + server.in_flight_tokens, num_tokens), self.block_size)
        return per(per(num_tokens, server.decode_context_parallel), self.block_size)

    def _states(self, num_tokens: int, server: Server) -> int:
        if server.cache_mode == "all":
            return per(num_tokens, self.block_size) + server.speculative_tokens
        if server.cache_mode == "none":
            return 1 + server.speculative_tokens
        return 2 + server.speculative_tokens + server.prefill_checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The block that was raised until a page holds a state.

    Parameters
    ----------
    block_size : int
        Tokens of a block.
    state_bytes, page_bytes : int
        Bytes of the largest state, and of the page that holds it.
    """

    block_size: int
    state_bytes: int
    page_bytes: int

    @property
    def padding_percent(self) -> float:
        """How much larger the page is than the state, in percent, as it is printed."""
        return round(100 * (self.page_bytes - self.state_bytes) / self.state_bytes, 2)


def raise_block(layers: Sequence[Layer], server: Server) -> Raised | None:
    """Return the block that holds the largest state, or None if the model has not both, states and tokens.

    Examples
    --------
    >>> from paged_demo.sizing.layers import DeltaNet, Full
    >>> state = DeltaNet(k_heads=16, v_heads=48, k_dim=128, v_dim=128, conv=4)
    >>> raise_block([state, Full(kv_heads=4, head_dim=256)], Server(state_bytes=4)).block_size
    784
    """
    states = [layer.on_gpu(server.tensor_parallel, server.speculative_tokens) for layer in layers
              if isinstance(layer, StateLayer)]  # fmt: skip
    others = [layer for layer in layers if isinstance(layer, TokenLayer)]
    if not states or not others:
        return None
    latent = [layer for layer in others if isinstance(layer, Latent)]
    measure = (latent or others)[0].on_gpu(server.tensor_parallel)
    if isinstance(measure, HeadLayer):
        measure = replace(measure, v_head_dim=None)  # The engine measures with heads of K alone.
    token_bytes = measure.bytes_per_token(server.cache)
    state_bytes = max(state.state_bytes(server.state_bytes, server.convolution_bytes) for state in states)
    step = max(smallest_kernel_block(server), server.block_size)
    if latent:
        step = max(step, BLOCK_BESIDE_LATENT)
    if server.prefill_checkpoints and server.cache_mode == "align":
        step = lcm(step, PREFILL_CHECKPOINT_STEP)
    block = step * ceil(state_bytes / (step * token_bytes))
    block = smallest_kernel_block(server) * per(block, smallest_kernel_block(server))
    return Raised(block_size=block, state_bytes=state_bytes, page_bytes=_whole(block * token_bytes))


def smallest_kernel_block(server: Server) -> int:
    """Return the smallest block that the attention kernels take."""
    return server.kernel_blocks if isinstance(server.kernel_blocks, int) else min(server.kernel_blocks)


def largest_kernel_block(server: Server, limit: int) -> int:
    """Return the largest block up to the limit that the attention kernels take, or else their smallest."""
    step = server.kernel_blocks
    if isinstance(step, int):
        return max(step, limit // step * step)
    return max((size for size in step if size <= limit), default=min(step))


def _whole(page_bytes: Fraction) -> int:
    if page_bytes.denominator != 1:
        raise ValueError(
            f"kv_cache_dtype and block_size make pages of {page_bytes} bytes, which is not whole"
        )
    return int(page_bytes)


def pages_of(layers: Sequence[Layer], server: Server) -> list[Pages]:
    """Return the pages of each layer on one GPU, before layers of several kinds are made to agree."""
    raised = raise_block(layers, server)
    block = raised.block_size if raised else server.block_size
    return [_pages(layer, block, raised, server) for layer in layers]


def _pages(layer: Layer, block: int, raised: Raised | None, server: Server) -> Pages:
    if isinstance(layer, StateLayer):
        state = layer.on_gpu(server.tensor_parallel, server.speculative_tokens)
        page = state.state_bytes(server.state_bytes, server.convolution_bytes)
        # Without prefix caching one block holds a sequence of any length.
        longest = server.max_model_len if server.cache_mode == "none" else None
        # States are padded if the largest is: where it fills the page, a smaller one keeps its own.
        if raised and raised.page_bytes > raised.state_bytes:
            page = raised.page_bytes
        return Pages(state, longest or block, page)
    kept = layer.on_gpu(server.tensor_parallel)
    if isinstance(kept, Sliding):
        block = largest_kernel_block(server, block)
    return Pages(kept, block, _whole(block * kept.bytes_per_token(server.cache)))
