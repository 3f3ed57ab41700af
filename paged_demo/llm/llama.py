"""The model: from token ids to logits. It reads from top to bottom, and knows no cache.

An iteration computes some new tokens of some sequences, flat, one after the other. Only attention looks at
other tokens, so the model hands it out: ``attend(layer, queries, keys, values)`` keeps the new keys and
values wherever it likes, and returns the outputs. That one function is all that a cache has to offer.

References
----------
Touvron et al. (2023), arXiv 2302.13971, section 2.2 (Llama: the norm before each part, SwiGLU, rotary
positions). Zhang and Sennrich (2019), arXiv 1910.07467 (the norm). Su et al. (2021), arXiv 2104.09864 (rotary
positions). Shazeer (2020), arXiv 2002.05202 (SwiGLU). Ainslie et al. (2023), arXiv 2305.13245 (query heads
that share keys).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from paged_demo.attention.shapes import Floats, Ints, check_ints
from paged_demo.checks import check_count, check_positive, keep_checked

Complexes = npt.NDArray[np.complexfloating[Any]]

Attend = Callable[[int, Floats, Floats, Floats], Floats]
"""``attend(layer, queries, keys, values)``: queries (tokens, query heads, head_dim), keys and values (tokens,
KV heads, head_dim) of the new tokens; the outputs have the shape of the queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaSpec:
    """The shape of a Llama-type model, and the three numbers that its arithmetic needs.

    Attributes
    ----------
    num_layers, num_query_heads, num_kv_heads, head_dim : int
        ``num_query_heads`` is a multiple of ``num_kv_heads``; ``head_dim`` is even.
    hidden_size : int
        Numbers that stand for a token between layers.
    max_tokens : int
        The longest sequence that the model was trained for.
    rope_base : float
        The slowest of the rotary angles turns by about one radian in so many tokens.
    norm_epsilon : float
        Keeps the norm from dividing by zero.
    """

    num_layers: int
    num_query_heads: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    max_tokens: int
    rope_base: float
    norm_epsilon: float

    def __post_init__(self) -> None:
        keep_checked(self, check_count, "num_layers", "num_query_heads", "num_kv_heads", "head_dim")
        keep_checked(self, check_count, "hidden_size", "max_tokens")
        keep_checked(self, check_positive, "rope_base", "norm_epsilon")

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the keys and values of one token in all layers, in float32."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * np.dtype(np.float32).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """The weights of one layer. Matrices have the shape (outputs, inputs) and lie in one piece.

    Matrices that meet the same input are one below the other: one large product is quicker than three small.
    """

    attention_norm: Floats
    query_key_value: Floats
    attention_output: Floats
    feed_forward_norm: Floats
    gate_up: Floats
    down: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaWeights:
    """All weights: the embedding (vocabulary, hidden_size), the layers, and the matrix to logits.

    ``output`` is the very array of ``embedding`` if the model ties the two. ``rope_factors`` (head_dim / 2,)
    divide the rotary frequencies: ones, but for models that were stretched to longer contexts.
    """

    embedding: Floats
    layers: Sequence[LayerWeights]
    output_norm: Floats
    output: Floats
    rope_factors: Floats


class Llama:
    """A Llama-type language model in NumPy. It computes in the type of its weights, float32 as a rule.

    Parameters
    ----------
    spec : LlamaSpec
    weights : LlamaWeights
    """

    def __init__(self, spec: LlamaSpec, weights: LlamaWeights) -> None:
        self.spec = spec
        self.weights = weights
        pairs = np.arange(0, spec.head_dim, 2) / spec.head_dim
        self._frequencies = spec.rope_base**-pairs / weights.rope_factors

    def __repr__(self) -> str:
        spec = self.spec
        return f"Llama({spec.num_layers} layers, {spec.num_query_heads} heads over {spec.num_kv_heads})"

    def forward(
        self,
        token_ids: Sequence[int] | Ints,
        positions: Sequence[int] | Ints,
        attend: Attend,
        *,
        rows: Sequence[int] | Ints | None = None,
    ) -> Floats:
        """Compute the logits of what follows some tokens.

        Parameters
        ----------
        token_ids : sequence of int, shape (num_tokens,)
            The iteration's new tokens, of one sequence after the other.
        positions : sequence of int, shape (num_tokens,)
            The place of each in its own sequence, from 0.
        attend : callable
            Keeps the new keys and values, and attends to all of each sequence: `Attend`.
        rows : sequence of int, optional
            The tokens whose logits are wanted; all if left out. The largest matrix of a small model is the
            one to logits, and of a prompt only the last token's are of use.

        Returns
        -------
        numpy.ndarray, shape (len(rows), vocabulary)

        Raises
        ------
        ValueError, TypeError
            If an id is not in the vocabulary, a position is beyond ``max_tokens``, or their numbers differ.
        """
        spec, weights = self.spec, self.weights
        tokens = _check_below("token_ids", token_ids, len(weights.embedding))
        places = _check_below("positions", positions, spec.max_tokens)
        if tokens.shape != places.shape:
            raise ValueError(f"positions must be of the {len(tokens)} tokens, got {len(places)}")

        hidden = weights.embedding[tokens]
        turns = self._turns(places).astype(np.result_type(hidden, np.complex64))
        for number, layer in enumerate(weights.layers):
            normed = self._norm(hidden, layer.attention_norm)
            queries, keys, values = self._heads(normed @ layer.query_key_value.T)
            attended = attend(number, _rotate(queries, turns), _rotate(keys, turns), values)
            hidden += attended.reshape(len(tokens), -1) @ layer.attention_output.T

            normed = self._norm(hidden, layer.feed_forward_norm)
            gate_up = normed @ layer.gate_up.T
            half = gate_up.shape[1] // 2
            hidden += (_silu(gate_up[:, :half]) * gate_up[:, half:]) @ layer.down.T
        wanted = hidden if rows is None else hidden[np.asarray(rows)]
        logits: Floats = self._norm(wanted, weights.output_norm) @ weights.output.T
        return logits

    def _norm(self, hidden: Floats, scale: Floats) -> Floats:
        """Give each token's numbers a root mean square of 1, then scale each number by its weight."""
        mean_square = np.mean(hidden * hidden, axis=1, keepdims=True)
        normed: Floats = hidden / np.sqrt(mean_square + self.spec.norm_epsilon) * scale
        return normed

    def _heads(self, query_key_value: Floats) -> tuple[Floats, Floats, Floats]:
        """Split one product into queries, keys and values, each (tokens, heads, head_dim)."""
        heads = query_key_value.reshape(len(query_key_value), -1, self.spec.head_dim)
        first_key = self.spec.num_query_heads
        first_value = first_key + self.spec.num_kv_heads
        return heads[:, :first_key], heads[:, first_key:first_value], heads[:, first_value:]

    def _turns(self, positions: Ints) -> Complexes:
        """Return the turn of each pair of numbers at each position, as complex numbers of length 1."""
        # In float64: at position 8,000 float32 would miss the angle by up to half a thousandth.
        angles = positions[:, np.newaxis, np.newaxis] * self._frequencies
        turns: Complexes = np.exp(1j * angles)
        return turns


def _rotate(heads: Floats, turns: Complexes) -> Floats:
    """Turn each pair of neighbouring numbers as one complex number, so that scores depend on distance.

    GGUF stores the rows of queries and keys so that the numbers of a pair are neighbours.
    """
    pairs = np.ascontiguousarray(heads).view(turns.dtype)
    return (pairs * turns).view(heads.dtype)


def _silu(x: Floats) -> Floats:
    """Return x / (1 + exp(-x)), by way of tanh, which cannot overflow."""
    half = 0.5 * x
    smooth: Floats = half * np.tanh(half) + half
    return smooth


def _check_below(name: str, numbers: Sequence[int] | Ints, end: int) -> Ints:
    array = check_ints(name, numbers, 1)
    if not len(array):
        raise ValueError(f"{name} must hold at least one number, got none")
    if not 0 <= array.min() <= array.max() < end:
        raise ValueError(f"{name} must be from 0 to {end - 1}, got {array.min()} to {array.max()}")
    return array
