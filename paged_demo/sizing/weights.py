"""Bytes of a model's weights: an estimate, for kernels pad and repack, and what a log says is the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from os import PathLike
from typing import Any

from paged_demo.checks import came, check_count, check_whole
from paged_demo.sizing.config import ModelConfig, read_config
from paged_demo.sizing.fields import ConfigError, Fields, load_fields
from paged_demo.sizing.layers import HeadLayer
from paged_demo.sizing.units import in_gib

GROUPS: Mapping[str, int] = {"awq": 128, "gptq": 128, "mxfp4": 32, "nvfp4": 16}
"""Weights that share a scale, unless the config says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """An estimate of a model's weights on one GPU.

    Parameters
    ----------
    num_bytes : int
        Bytes.
    told : str
        How they were estimated.
    """

    num_bytes: int
    told: str

    def __str__(self) -> str:
        return f"{in_gib(self.num_bytes)} GiB, an estimate: {self.told}"


def bytes_per_weight(stored: str, group_size: int | None = None) -> Fraction:
    """Return the bytes of one weight with its share of the scales.

    Parameters
    ----------
    stored : str
        "bfloat16", "float32", "fp8" or "int8" (one scale a tensor or channel, not counted), "fp8_block"
        (a scale of 4 bytes for 128 x 128), "awq" or "gptq" (4 bits), "mxfp4", "nvfp4".
    group_size : int, optional
        Weights that share a scale and, in AWQ and GPTQ, a zero; by default 128 there.

    Raises
    ------
    ValueError
        If the name is none of these.

    Examples
    --------
    >>> [float(bytes_per_weight(*each)) for each in (("awq",), ("gptq", 32), ("mxfp4",), ("nvfp4",))]
    [0.51953125, 0.578125, 0.53125, 0.5625]
    """
    plain = {"bfloat16": Fraction(2), "float16": Fraction(2), "float32": Fraction(4), "fp8": Fraction(1)}
    plain |= {"int8": Fraction(1), "fp8_block": 1 + Fraction(4, 128 * 128)}
    if stored in plain:
        return plain[stored]
    if stored not in GROUPS:
        raise ValueError(f"stored must be one of {', '.join([*plain, *GROUPS])}, got {came(stored)}")
    group = check_count("group_size", GROUPS[stored] if group_size is None else group_size)
    # A scale of 16 bits and a zero of 4, or a scale of 8 bits.
    scale = Fraction(5, 2) if stored in ("awq", "gptq") else Fraction(1)
    return Fraction(1, 2) + scale / group


def weights_bytes(
    num_parameters: int,
    stored: str = "bfloat16",
    *,
    in_bfloat16: int = 0,
    group_size: int | None = None,
    tensor_parallel: int = 1,
) -> Weights:
    """Estimate the weights on one GPU.

    Parameters
    ----------
    num_parameters : int
        Parameters of the whole model.
    stored : str
        How they are stored: see `bytes_per_weight`.
    in_bfloat16 : int
        How many of them stay at 2 bytes, such as embeddings.
    group_size : int, optional
        Weights that share a scale.
    tensor_parallel : int
        GPUs that divide the model. Norms, routers and latent projections stay whole on each, which is not
        counted.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or out of range, or ``stored`` is not known.

    Examples
    --------
    >>> print(weights_bytes(8_030_261_248))
    14.96 GiB, an estimate: 8,030,261,248 parameters in bfloat16
    >>> round(weights_bytes(70_553_706_496, "int8", in_bfloat16=2_101_346_304).num_bytes / 2**30, 2)
    67.67
    """
    parameters = check_whole("num_parameters", num_parameters)
    whole = check_count("in_bfloat16", in_bfloat16, minimum=0, maximum=parameters)
    gpus = check_count("tensor_parallel", tensor_parallel)
    size = (parameters - whole) * bytes_per_weight(stored, group_size) + 2 * whole
    told = f"{parameters:,} parameters in {stored}"
    if whole:
        told += f", {whole:,} of them in bfloat16"
    return Weights(num_bytes=ceil(size / gpus), told=told + (f", over {gpus} GPUs" if gpus > 1 else ""))


# Types whose parameters follow from their shapes: a gated feed-forward net, and no biases but those named.
COUNTED = frozenset(("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe", "phi3"))


def estimate_weights(config: str | PathLike[str] | Mapping[str, Any], *, tensor_parallel: int = 1) -> Weights:
    """Estimate the weights from a ``config.json``: parameters from its shapes, bytes from its quantization.

    Raises
    ------
    ConfigError
        If parameters of this type of model are not counted here, or its quantization is not known. Then take
        "Model loading took" from a log, or give `weights_bytes` the number of parameters.

    Examples
    --------
    >>> llama_3_1_8b = {
    ...     "model_type": "llama", "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096,
    ...     "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    ... }
    >>> print(estimate_weights(llama_3_1_8b))
    14.96 GiB, an estimate: 8,030,261,248 parameters in bfloat16
    """
    whole, text = load_fields(config)
    model = read_config(config)
    stored, group_size = _stored(whole)
    total, embeddings = _parameters(model, text)
    return weights_bytes(
        total,
        stored,
        in_bfloat16=0 if stored in ("bfloat16", "float16", "float32") else embeddings,
        group_size=group_size,
        tensor_parallel=tensor_parallel,
    )


def _parameters(model: ModelConfig, text: Fields) -> tuple[int, int]:
    """Return the parameters of a model, and how many of them are embeddings and norms."""
    kind = model.model_type
    if kind not in COUNTED or not all(isinstance(layer, HeadLayer) for layer in model.layers):
        raise ConfigError(
            f"parameters of {kind} are not counted here; give the weights of a log (Model loading took), or "
            "the number of parameters"
        )
    hidden, heads = text.number("hidden_size"), text.number("num_attention_heads")
    per_layer = norms = 0
    for layer in model.layers:
        assert isinstance(layer, HeadLayer)
        of_heads = layer.head_dim * (heads + layer.kv_heads)
        biases = layer.head_dim * (heads + 2 * layer.kv_heads) if kind == "qwen2" else 0
        query_key_norms = 2 * layer.head_dim if kind.startswith("qwen3") else 0
        per_layer += 2 * hidden * of_heads + biases + _feed_forward(kind, text, hidden)
        norms += 2 * hidden + query_key_norms
    tied = text.flag("tie_word_embeddings", False)
    embeddings = text.number("vocab_size") * hidden * (1 if tied else 2)
    return per_layer + norms + hidden + embeddings, norms + hidden + embeddings


def _feed_forward(kind: str, text: Fields, hidden: int) -> int:
    if kind not in ("mixtral", "qwen3_moe"):
        return 3 * hidden * text.number("intermediate_size")
    if text.get("mlp_only_layers") or text.number_or(1, "decoder_sparse_step") != 1:
        raise ConfigError(
            "mlp_only_layers or decoder_sparse_step of config.json: such layers are not counted here"
        )
    experts = text.number("num_experts", "num_local_experts")
    inner = text.number("moe_intermediate_size" if kind == "qwen3_moe" else "intermediate_size")
    return experts * (3 * hidden * inner + hidden)


def _stored(whole: Fields) -> tuple[str, int | None]:
    """Return how the weights are stored, and in which groups."""
    if "quantization_config" not in whole:
        return "bfloat16", None
    quantized = whole.inner("quantization_config")
    method = quantized.get("quant_method")
    if method in ("awq", "gptq") and quantized.get("bits") == 4:
        return method, quantized.number_or(GROUPS[method], "group_size")
    if method == "fp8":
        return ("fp8_block" if "weight_block_size" in quantized else "fp8"), None
    raise ConfigError(
        f"quantization_config of config.json has quant_method {came(method)} with bits "
        f"{came(quantized.get('bits'))}: its bytes are not estimated here; give the weights of a log"
    )
