"""What a layer keeps of a sequence, by its kind: every token, a window, one latent vector, or a state.

A kind has the numbers of the model's ``config.json``; ``on_gpu`` says what one GPU of a tensor-parallel group
keeps of it. Rules: vLLM 0.33.0, ``vllm/v1/kv_cache_interface.py`` and
``vllm/model_executor/layers/mamba/mamba_utils.py``.
"""

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import prod
from typing import ClassVar, Self

from paged_demo.checks import check_count, keep_checked
from paged_demo.sizing.cache_types import BFLOAT16, CacheType


def _share(name: str, count: int, gpus: int) -> int:
    """Return what each GPU has of something that is divided evenly."""
    if count % gpus:
        raise ValueError(f"{name} must divide by the GPUs of a tensor-parallel group: {count} by {gpus}")
    return count // gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        keep_checked(self, check_count, *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLayer(_Layer):
    """A layer that keeps something of each token. Use one of its kinds."""

    def on_gpu(self, tensor_parallel: int) -> Self:
        """Return what one GPU of a tensor-parallel group keeps."""
        raise NotImplementedError

    def bytes_per_token(self, cache: CacheType = BFLOAT16) -> Fraction:
        """Return the bytes of one token."""
        raise NotImplementedError

    def tokens_kept(self, num_tokens: int) -> int:
        """Return how many of so many tokens the model may still read."""
        return num_tokens

    def bytes_for(self, num_tokens: int, cache: CacheType = BFLOAT16) -> Fraction:
        """Return the bytes that the model needs of a sequence of so many tokens; an engine may reserve more.

        Examples
        --------
        >>> window = Sliding(kv_heads=8, head_dim=64, window=128)
        >>> int(window.bytes_for(100)), int(window.bytes_for(131072))
        (204800, 262144)
        """
        return self.tokens_kept(check_count("num_tokens", num_tokens, minimum=0)) * self.bytes_per_token(
            cache
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLayer(TokenLayer):
    """A layer that keeps K and V of several heads. Use `Full`, `Sliding` or `Chunked`.

    Parameters
    ----------
    kv_heads : int
        Heads of K and of V.
    head_dim : int
        Elements of K in a head.
    v_head_dim : int, optional
        Elements of V in a head, where they are others.
    """

    kv_heads: int
    head_dim: int
    v_head_dim: int | None = None

    def __post_init__(self) -> None:
        if self.v_head_dim == self.head_dim:
            object.__setattr__(self, "v_head_dim", None)  # so that equal layers are equal
        _Layer.__post_init__(self)

    def on_gpu(self, tensor_parallel: int) -> Self:
        """Return what one GPU keeps. Where GPUs are more than heads, each head is kept several times.

        Raises
        ------
        ValueError
            If neither number divides by the other.

        Examples
        --------
        >>> [Full(kv_heads=4, head_dim=128).on_gpu(gpus).kv_heads for gpus in (1, 2, 4, 8)]
        [4, 2, 1, 1]
        """
        gpus = check_count("tensor_parallel", tensor_parallel)
        if gpus > self.kv_heads and gpus % self.kv_heads == 0:
            return replace(self, kv_heads=1)
        return replace(self, kv_heads=_share("num_key_value_heads", self.kv_heads, gpus))

    def bytes_per_token(self, cache: CacheType = BFLOAT16) -> Fraction:
        """Return the bytes of K and V of one token.

        Examples
        --------
        >>> int(Full(kv_heads=8, head_dim=128).bytes_per_token())
        4096
        """
        of_v = self.head_dim if self.v_head_dim is None else self.v_head_dim
        return self.kv_heads * (cache.vector_bytes(self.head_dim) + cache.vector_bytes(of_v))


@dataclass(frozen=True, slots=True, kw_only=True)
class Full(HeadLayer):
    """A layer whose tokens see all tokens before them. Parameters: those of `HeadLayer`."""

    kind: ClassVar[str] = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliding(HeadLayer):
    """A layer whose tokens see themselves and ``window - 1`` tokens before them.

    Parameters
    ----------
    window : int
        Tokens of the window. The others are those of `HeadLayer`.
    """

    kind: ClassVar[str] = "sliding"
    window: int

    def tokens_kept(self, num_tokens: int) -> int:
        """Return how many of so many tokens the model may still read: a window, at most."""
        return min(num_tokens, self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunked(HeadLayer):
    """A layer whose tokens see those of their own chunk of the sequence (Llama 4).

    Parameters
    ----------
    chunk : int
        Tokens of a chunk. The others are those of `HeadLayer`.
    """

    kind: ClassVar[str] = "chunked"
    chunk: int

    def tokens_kept(self, num_tokens: int) -> int:
        """Return how many of so many tokens the model may still read: a chunk, at most."""
        return min(num_tokens, self.chunk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent(TokenLayer):
    """A layer that keeps one vector a token for all heads (multi-head latent attention, MLA).

    Parameters
    ----------
    latent : int
        Elements of the compressed K and V (``kv_lora_rank``).
    rope : int
        Elements of the part of K that carries the position (``qk_rope_head_dim``).
    """

    kind: ClassVar[str] = "latent"
    latent: int
    rope: int

    def on_gpu(self, tensor_parallel: int) -> Self:
        """Return what one GPU of a tensor-parallel group keeps: the whole vector, as every other."""
        check_count("tensor_parallel", tensor_parallel)
        return self

    def bytes_per_token(self, cache: CacheType = BFLOAT16) -> Fraction:
        """Return the bytes of the vector of one token.

        Examples
        --------
        >>> int(Latent(latent=512, rope=64).bytes_per_token())
        1152
        """
        return cache.latent_vector_bytes(self.latent + self.rope)


@dataclass(frozen=True, slots=True)
class State:
    """What one GPU keeps of a recurrent layer, whatever the length of the sequence.

    Parameters
    ----------
    name : str
        The layer's kind, which has to agree where layers share a group of pages.
    recurrent : tuple of int
        Shape of the recurrent part.
    convolution : tuple of int
        Shape of the inputs that the convolution remembers: channels, and tokens.
    """

    kind: ClassVar[str] = "state"
    name: str
    recurrent: tuple[int, ...]
    convolution: tuple[int, int]

    def state_bytes(self, recurrent_bytes: int = 2, convolution_bytes: int = 2) -> int:
        """Return the bytes of the state, given those of an element of its two parts."""
        return prod(self.recurrent) * recurrent_bytes + prod(self.convolution) * convolution_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLayer(_Layer):
    """A layer that keeps a state of fixed size. Use `DeltaNet`, `Mamba1` or `Mamba2`."""

    kind: ClassVar[str] = "state"

    def on_gpu(self, tensor_parallel: int, draft_tokens: int = 0) -> State:
        """Return what one GPU keeps; with draft tokens the convolution remembers as many inputs more.

        Raises
        ------
        ValueError
            If the heads or channels do not divide by the GPUs.
        """
        raise NotImplementedError

    def state_bytes(self, recurrent_bytes: int = 2, convolution_bytes: int = 2) -> int:
        """Return the bytes of the state on one GPU, given those of an element of its two parts.

        Examples
        --------
        >>> DeltaNet(k_heads=16, v_heads=48, k_dim=128, v_dim=128, conv=4).state_bytes(recurrent_bytes=4)
        3207168
        >>> Mamba1(d_inner=8192, d_state=16, conv=4).state_bytes()
        311296
        """
        return self.on_gpu(1).state_bytes(recurrent_bytes, convolution_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaNet(StateLayer):
    """A gated delta net (Qwen3-Next, Qwen3.5, Kimi-Linear).

    Parameters
    ----------
    k_heads, v_heads, k_dim, v_dim : int
        Heads of the keys and of the values, and elements of each.
    conv : int
        Tokens that its convolution spans.
    """

    k_heads: int
    v_heads: int
    k_dim: int
    v_dim: int
    conv: int

    def on_gpu(self, tensor_parallel: int, draft_tokens: int = 0) -> State:
        """Return what one GPU keeps."""
        gpus = check_count("tensor_parallel", tensor_parallel)
        heads = _share("linear_num_value_heads", self.v_heads, gpus)
        channels = 2 * self.k_heads * self.k_dim + self.v_heads * self.v_dim
        channels = _share("channels of the delta net's convolution", channels, gpus)
        return State("delta", (heads, self.v_dim, self.k_dim), (channels, self.conv - 1 + draft_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba1(StateLayer):
    """A Mamba layer of the first kind (Jamba). Draft tokens do not widen its convolution.

    Parameters
    ----------
    d_inner, d_state, conv : int
        Channels, elements of the state of each, and tokens that the convolution spans.
    """

    d_inner: int
    d_state: int
    conv: int

    def on_gpu(self, tensor_parallel: int, draft_tokens: int = 0) -> State:
        """Return what one GPU keeps."""
        channels = _share("mamba d_inner", self.d_inner, check_count("tensor_parallel", tensor_parallel))
        return State("mamba1", (channels, self.d_state), (channels, self.conv - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2(StateLayer):
    """A Mamba-2 layer (Nemotron-H, Granite 4, Falcon-H1, Bamba).

    Parameters
    ----------
    heads, head_dim, d_state, conv : int
        Heads, channels of a head, elements of the state of each, and tokens that the convolution spans.
    groups : int
        Groups of heads that share their inputs. Where they do not divide by the GPUs each GPU has one.
    """

    heads: int
    head_dim: int
    d_state: int
    groups: int
    conv: int

    def on_gpu(self, tensor_parallel: int, draft_tokens: int = 0) -> State:
        """Return what one GPU keeps."""
        gpus = check_count("tensor_parallel", tensor_parallel)
        heads = _share("mamba heads", self.heads, gpus)
        groups = self.groups if self.groups % gpus == 0 else gpus
        channels = self.heads * self.head_dim + 2 * groups * self.d_state
        channels = _share("channels of the Mamba-2 convolution", channels, gpus)
        return State("mamba2", (heads, self.head_dim, self.d_state), (channels, self.conv - 1 + draft_tokens))


Layer = TokenLayer | StateLayer
"""Any kind of layer."""
