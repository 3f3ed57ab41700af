"""A Llama-type model of a few numbers: written as a GGUF file, and computed in float64 without the package.

The forward pass here shares nothing with the one it checks: one token at a time, one head at a time, plain
loops over the pairs of a rotation, and separate matrices.
"""

import math
import os
from dataclasses import dataclass, field, fields, replace
from functools import cache

import gguf
import numpy as np
import pytest

from paged_demo.llm.llama import Llama
from paged_demo.llm.load import load
from paged_demo.llm.weights import what_is_missing

needs_weights = pytest.mark.skipif(
    bool(what_is_missing()) and "CI" not in os.environ, reason=what_is_missing() or "weights are there"
)


@cache
def load_real():
    """Load the real model and its tokenizer, once for all tests."""
    return load()


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """Its shape. No two sizes are equal, so that none can stand in for another."""

    num_layers: int = 3
    num_query_heads: int = 6
    num_kv_heads: int = 2
    head_dim: int = 8
    hidden_size: int = 32
    feed_forward: int = 96
    vocabulary: int = 71
    max_tokens: int = 9000
    rope_base: float = 300.0
    norm_epsilon: float = 0.05
    tied: bool = False
    quantised: bool = False
    rope_factors: tuple = ()
    tensors: dict = field(default_factory=dict)


def make_tiny(rng, **shape):
    """Draw the weights of a tiny model, large enough for attention to prefer some tokens to others."""
    tiny = Tiny(**shape)
    query, kv = (heads * tiny.head_dim for heads in (tiny.num_query_heads, tiny.num_kv_heads))
    shapes = {
        "attn_q": (query, tiny.hidden_size),
        "attn_k": (kv, tiny.hidden_size),
        "attn_v": (kv, tiny.hidden_size),
        "attn_output": (tiny.hidden_size, query),
        "ffn_gate": (tiny.feed_forward, tiny.hidden_size),
        "ffn_up": (tiny.feed_forward, tiny.hidden_size),
        "ffn_down": (tiny.hidden_size, tiny.feed_forward),
        "attn_norm": (tiny.hidden_size,),
        "ffn_norm": (tiny.hidden_size,),
    }
    names = {
        f"blk.{layer}.{name}.weight": size
        for layer in range(tiny.num_layers)
        for name, size in shapes.items()
    }
    names |= {
        "token_embd.weight": (tiny.vocabulary, tiny.hidden_size),
        "output_norm.weight": (tiny.hidden_size,),
    }
    if not tiny.tied:
        names["output.weight"] = (tiny.vocabulary, tiny.hidden_size)
    tensors = {}
    for name, size in names.items():
        scale = 1 if len(size) == 1 else 1.5 / math.sqrt(size[1])
        tensors[name] = (scale * rng.standard_normal(size)).astype(np.float32)
    if tiny.rope_factors:
        tensors["rope_freqs.weight"] = np.array(tiny.rope_factors, np.float32)
    return replace(tiny, tensors=tensors)


def as_q8_0(matrix):
    """Quantise a matrix as GGUF's Q8_0 does, and return what it then stands for too."""
    data = gguf.quants.quantize(matrix, gguf.GGMLQuantizationType.Q8_0)
    blocks = data.reshape(-1, 34)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float64)
    return data, (scales * blocks[:, 2:].view(np.int8)).reshape(matrix.shape)


def write_gguf(tiny, path, **extra):
    """Write a tiny model as a GGUF file, and return it with the weights that the file stands for."""
    writer = gguf.GGUFWriter(path, extra.get("architecture", "llama"))
    writer.add_block_count(tiny.num_layers)
    writer.add_context_length(tiny.max_tokens)
    writer.add_embedding_length(tiny.hidden_size)
    writer.add_feed_forward_length(tiny.feed_forward)
    writer.add_head_count(tiny.num_query_heads)
    if not extra.get("by_default"):
        writer.add_head_count_kv(tiny.num_kv_heads)
        writer.add_key_length(extra.get("key_length", tiny.head_dim))
        writer.add_rope_freq_base(tiny.rope_base)
    writer.add_layer_norm_rms_eps(tiny.norm_epsilon)
    if "rope_scaling" in extra:
        writer.add_rope_scaling_type(extra["rope_scaling"])
    if "rope_dimensions" in extra:
        writer.add_rope_dimension_count(extra["rope_dimensions"])
    if "rope_scale_linear" in extra:
        writer.add_float32("llama.rope.scale_linear", extra["rope_scale_linear"])
    if "tokens" in extra:
        writer.add_tokenizer_model(extra.get("tokenizer_model", "gpt2"))
        if extra.get("splitting", "smollm"):
            writer.add_tokenizer_pre(extra.get("splitting", "smollm"))
        writer.add_token_list(extra["tokens"])
        writer.add_token_types(extra["token_types"])
        writer.add_token_merges(extra["merges"])
        writer.add_eos_token_id(extra["eos"])
        if "unknown" in extra:
            writer.add_unk_token_id(extra["unknown"])
        if "begin" in extra:
            writer.add_bos_token_id(extra["begin"])
            writer.add_add_bos_token(extra["is_begun"])
    stand_for = {}
    for name, array in tiny.tensors.items():
        if name in extra.get("leaving_out", ()):
            continue
        stand_for[name] = array
        if tiny.quantised and array.ndim == 2 and array.shape[1] % 32 == 0:
            data, stand_for[name] = as_q8_0(array)
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return replace(tiny, tensors=stand_for)


PARTS = [
    *("attn_q", "attn_k", "attn_v", "attn_output", "attn_norm"),
    *("ffn_gate", "ffn_up", "ffn_down", "ffn_norm"),
]


def reference_logits(tiny, token_ids, first_position=0):
    """Compute the logits after every token of a sequence, in float64."""
    w = {name: array.astype(np.float64) for name, array in tiny.tensors.items()}
    keys = [[] for _ in range(tiny.num_layers)]
    values = [[] for _ in range(tiny.num_layers)]
    logits = []
    for step, token_id in enumerate(token_ids):
        hidden = w["token_embd.weight"][token_id].copy()
        for layer in range(tiny.num_layers):
            part = {name: w[f"blk.{layer}.{name}.weight"] for name in PARTS}
            normed = _norm(tiny, hidden, part["attn_norm"])
            position = first_position + step
            query = _rotated(tiny, part["attn_q"] @ normed, position)
            keys[layer].append(_rotated(tiny, part["attn_k"] @ normed, position))
            values[layer].append((part["attn_v"] @ normed).reshape(-1, tiny.head_dim))
            hidden += part["attn_output"] @ _attended(tiny, query, keys[layer], values[layer])
            normed = _norm(tiny, hidden, part["ffn_norm"])
            gate = part["ffn_gate"] @ normed
            hidden += part["ffn_down"] @ (gate / (1 + np.exp(-gate)) * (part["ffn_up"] @ normed))
        output = w["token_embd.weight" if tiny.tied else "output.weight"]
        logits.append(output @ _norm(tiny, hidden, w["output_norm.weight"]))
    return np.array(logits)


def _norm(tiny, numbers, scale):
    return numbers / math.sqrt(sum(numbers**2) / len(numbers) + tiny.norm_epsilon) * scale


def _rotated(tiny, numbers, position):
    heads = numbers.reshape(-1, tiny.head_dim).copy()
    for head in heads:
        for pair in range(tiny.head_dim // 2):
            angle = position / tiny.rope_base ** (2 * pair / tiny.head_dim)
            if tiny.rope_factors:
                angle /= tiny.rope_factors[pair]
            x, y = head[2 * pair], head[2 * pair + 1]
            head[2 * pair] = x * math.cos(angle) - y * math.sin(angle)
            head[2 * pair + 1] = x * math.sin(angle) + y * math.cos(angle)
    return heads


def _attended(tiny, query, keys, values):
    outputs = []
    for head in range(tiny.num_query_heads):
        shared = head // (tiny.num_query_heads // tiny.num_kv_heads)
        scores = np.array([query[head] @ key[shared] for key in keys]) / math.sqrt(tiny.head_dim)
        weights = np.exp(scores - scores.max())
        weighted = [weight * value[shared] for weight, value in zip(weights, values, strict=True)]
        outputs.append(sum(weighted) / weights.sum())
    return np.concatenate(outputs)


def in_float64(model):
    """Return a model with the same weights in float64: two ways to compute it agree to 15 digits.

    In float32 two tokens whose logits are as good as equal would now and then change places.
    """

    def widened(weights):
        arrays = {each.name: getattr(weights, each.name) for each in fields(weights)}
        return replace(
            weights, **{name: a.astype(np.float64) for name, a in arrays.items() if isinstance(a, np.ndarray)}
        )

    layers = [widened(layer) for layer in model.weights.layers]
    return Llama(model.spec, replace(widened(model.weights), layers=layers))


class Recorder:
    """A model that keeps the logits it gave, so that two runs can be compared to the last bit."""

    def __init__(self, model):
        self.spec, self.weights = model.spec, model.weights
        self.logits = []
        self.positions = []
        self._model = model

    def forward(self, token_ids, positions, attend, **options):
        logits = self._model.forward(token_ids, positions, attend, **options)
        self.positions.append(list(positions))
        self.logits.append(logits.copy())
        return logits

    def is_equal_to(self, other):
        """Say whether all logits are those of the other, bit for bit."""
        pairs = zip(self.logits, other.logits, strict=True)
        return all(np.array_equal(mine, its) for mine, its in pairs)


class Fuse:
    """Raises what Ctrl-C raises before the n-th call of all that it is put around, and never again."""

    def __init__(self, num_calls):
        self.is_blown = False
        self._num_left = num_calls

    def burn(self, *_):
        """Count a call."""
        self._num_left -= 1
        if self._num_left < 0 and not self.is_blown:
            self.is_blown = True
            raise KeyboardInterrupt

    def around(self, thing):
        """Return what stands in for a model, a cache or a function, and counts the calls of it."""
        return _Fused(thing, self)


class _Fused:
    def __init__(self, thing, fuse):
        self._thing, self._fuse = thing, fuse

    def __getattr__(self, name):
        found = getattr(self._thing, name)
        # To let go of a sequence is what is left to do when the fuse has blown.
        return _Fused(found, self._fuse) if callable(found) and name != "free" else found

    def __call__(self, *args, **kwargs):
        self._fuse.burn()
        answer = self._thing(*args, **kwargs)
        return _Fused(answer, self._fuse) if callable(answer) else answer
