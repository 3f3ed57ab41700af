"""From a GGUF file to a model: its shape, its weights in float32, and its tokenizer."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType
from gguf.quants import dequantize
from numpy.typing import NDArray

from paged_demo.attention.shapes import Floats, check_heads, check_shape
from paged_demo.checks import follow
from paged_demo.llm.llama import LayerWeights, Llama, LlamaSpec, LlamaWeights
from paged_demo.llm.tokenizer import Tokenizer
from paged_demo.llm.weights import BadWeightsError, find_weights

# What reading bytes that mean something else can lead to, in gguf and in NumPy.
_SYMPTOMS = (ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError)


Progress = Callable[[Sequence[int]], Iterable[object]]


def load(path: str | os.PathLike[str] | None = None, *, progress: Progress = iter) -> tuple[Llama, Tokenizer]:
    """Load a model and its tokenizer.

    Parameters
    ----------
    path : path, optional
        As for `find_weights`.
    progress : callable
        Called with the numbers of the layers, such as ``tqdm``, to show how far it has come.

    Raises
    ------
    MissingWeightsError, BadWeightsError, TypeError
        As for `find_weights`.
    BadWeightsError
        If the file is damaged, or holds something else than a Llama-type model with a byte-level tokenizer.
    """
    with _open(path) as reader:
        spec, tokenizer = read_spec(reader), read_tokenizer(reader)
        # Its hundred thousand strings, an object each, take as much memory as the file itself.
        reader.fields.clear()
        return Llama(spec, read_weights(reader, spec, progress=progress)), tokenizer


def load_model(path: str | os.PathLike[str] | None = None) -> Llama:
    """Load a model alone, whatever its tokenizer is.

    Raises
    ------
    MissingWeightsError, BadWeightsError, TypeError
        As for `load`.
    """
    with _open(path) as reader:
        spec = read_spec(reader)
        return Llama(spec, read_weights(reader, spec))


class _Reader(GGUFReader):
    """A reader of plain arrays: a mapped one takes twice as long to cut into a vocabulary's strings."""

    @property
    def data(self) -> Any:
        return self._data

    @data.setter
    def data(self, mapped: NDArray[np.uint8]) -> None:
        self._data = np.asarray(mapped)


@contextmanager
def _open(path: str | os.PathLike[str] | None) -> Iterator[GGUFReader]:
    """Open a GGUF file, and let whatever is wrong with it be said with its name."""
    found: Path = find_weights(path)
    try:
        reader = _Reader(found)
    except _SYMPTOMS as error:
        size = f"{found.stat().st_size:,} bytes"
        raise BadWeightsError(
            f"{found} must be a whole GGUF file, got {size} that are none or end too early ({error})"
        ) from error
    try:
        yield reader
    except _SYMPTOMS as error:
        raise BadWeightsError(f"{found} cannot be used: {error}") from error


def read_spec(reader: GGUFReader) -> LlamaSpec:
    """Read the shape of a Llama-type model.

    Raises
    ------
    ValueError
        If the model is of another type, or lacks a field.

    References
    ----------
    The GGUF specification, github.com/ggml-org/ggml, docs/gguf.md: names of fields and tensors.
    """
    architecture = _field(reader, "general.architecture", "")
    if architecture != "llama":
        raise ValueError(f"the GGUF file must hold a model of the type llama, got {architecture!r}")
    scaling = _field(reader, "llama.rope.scaling.type", "none")
    if scaling != "none":
        raise ValueError(f"the rotary positions must be unscaled, got {scaling!r}")
    # The name of older files.
    divisor = _field(reader, "llama.rope.scale_linear", 1.0)
    if divisor != 1:
        raise ValueError(f"the rotary positions must be unscaled, got a scale of {divisor}")
    num_query_heads = _field(reader, "llama.attention.head_count")
    hidden_size = _field(reader, "llama.embedding_length")
    head_dim = _field(reader, "llama.attention.key_length", hidden_size // num_query_heads)
    num_rotated = _field(reader, "llama.rope.dimension_count", head_dim)
    if num_rotated != head_dim:
        raise ValueError(
            f"the rotary positions must turn all {head_dim} numbers of a head, got {num_rotated}"
        )
    return LlamaSpec(
        num_layers=_field(reader, "llama.block_count"),
        num_query_heads=num_query_heads,
        num_kv_heads=_field(reader, "llama.attention.head_count_kv", num_query_heads),
        head_dim=head_dim,
        hidden_size=hidden_size,
        max_tokens=_field(reader, "llama.context_length"),
        rope_base=_field(reader, "llama.rope.freq_base", 10_000.0),
        norm_epsilon=_field(reader, "llama.attention.layer_norm_rms_epsilon"),
    )


def read_weights(reader: GGUFReader, spec: LlamaSpec, *, progress: Progress = iter) -> LlamaWeights:
    """Bring the weights of a Llama-type model into float32.

    Quantised matrices are made whole once: NumPy multiplies nothing else quickly.

    Raises
    ------
    ValueError
        If a tensor is missing, has not the shape that the spec asks for, or is none of such a model, like a
        bias.
    """
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    unread = dict.fromkeys(tensors)

    def joined(*names: str) -> Floats:
        """Return tensors one below the other, as one array in one piece."""
        for name in names:
            if name not in tensors:
                raise ValueError(f"the GGUF file must hold a tensor {name!r}, got none")
            unread.pop(name, None)
        found = [tensors[name] for name in names]
        parts = [dequantize(tensor.data, tensor.tensor_type) for tensor in found]
        # To join one part would copy it, and the largest one stands alone.
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    embedding = joined("token_embd.weight")
    has_factors = "rope_freqs.weight" in tensors
    weights = LlamaWeights(
        embedding=embedding,
        layers=[_read_layer(joined, number) for number in follow(progress, range(spec.num_layers))],
        output_norm=joined("output_norm.weight"),
        output=joined("output.weight") if "output.weight" in tensors else embedding,
        rope_factors=joined("rope_freqs.weight") if has_factors else np.ones(spec.head_dim // 2),
    )
    if unread:
        raise ValueError(
            f"the GGUF file must hold the tensors of a plain Llama, got {next(iter(unread))!r} too"
        )
    _check_shapes(spec, weights)
    return weights


def _read_layer(joined: Callable[..., Floats], number: int) -> LayerWeights:
    def named(*names: str) -> Floats:
        return joined(*(f"blk.{number}.{name}.weight" for name in names))

    return LayerWeights(
        attention_norm=named("attn_norm"),
        query_key_value=named("attn_q", "attn_k", "attn_v"),
        attention_output=named("attn_output"),
        feed_forward_norm=named("ffn_norm"),
        gate_up=named("ffn_gate", "ffn_up"),
        down=named("ffn_down"),
    )


def _check_shapes(spec: LlamaSpec, weights: LlamaWeights) -> None:
    check_heads("the file", spec.num_query_heads, spec.num_kv_heads)
    hidden, vocabulary = spec.hidden_size, len(weights.embedding)
    of_queries, of_keys = spec.num_query_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    check_shape("embedding", weights.embedding, (vocabulary, hidden))
    check_shape("output_norm", weights.output_norm, (hidden,))
    check_shape("output", weights.output, (vocabulary, hidden))
    check_shape("rope_factors", weights.rope_factors, (spec.head_dim // 2,))
    for number, layer in enumerate(weights.layers):
        feed_forward = layer.down.shape[-1]
        shapes = {
            "attention_norm": (hidden,),
            "query_key_value": (of_queries + 2 * of_keys, hidden),
            "attention_output": (hidden, of_queries),
            "feed_forward_norm": (hidden,),
            "gate_up": (2 * feed_forward, hidden),
            "down": (hidden, feed_forward),
        }
        for name, shape in shapes.items():
            check_shape(f"{name} of layer {number}", getattr(layer, name), shape)


def read_tokenizer(reader: GGUFReader) -> Tokenizer:
    """Read the tokenizer that a GGUF file brings along.

    Raises
    ------
    ValueError
        If it is not a byte-level one, splits text in a way that we do not know or that is not named, or has
        user-defined tokens.
    """
    kind = _field(reader, "tokenizer.ggml.model", "none")
    if kind != "gpt2":
        raise ValueError(f"the tokenizer must be a byte-level one (gpt2), got {kind!r}")
    is_begun = _field(reader, "tokenizer.ggml.add_bos_token", False)
    unknown_id = _field(reader, "tokenizer.ggml.unknown_token_id", -1)
    return Tokenizer(
        tokens=_field(reader, "tokenizer.ggml.tokens"),
        merges=_field(reader, "tokenizer.ggml.merges"),
        token_types=_field(reader, "tokenizer.ggml.token_type"),
        splitting=_field(reader, "tokenizer.ggml.pre"),
        stop_ids=[_field(reader, "tokenizer.ggml.eos_token_id"), *([unknown_id] if unknown_id >= 0 else [])],
        begin_id=_field(reader, "tokenizer.ggml.bos_token_id") if is_begun else None,
    )


def _field(reader: GGUFReader, name: str, default: Any = None) -> Any:
    field = reader.get_field(name)
    if field is None:
        if default is None:
            raise ValueError(f"the GGUF file must hold a field {name!r}, got none")
        return default
    if field.types[:1] == [GGUFValueType.ARRAY] and field.types[-1] == GGUFValueType.STRING:
        return _strings(field.parts, field.data)
    return field.contents()


def _strings(parts: Sequence[Any], data: Sequence[int]) -> list[str]:
    # A third of the time of contents(): a vocabulary has many strings.
    return [bytes(parts[index]).decode() for index in data]
