"""The layers of a model, from its ``config.json``.

Every type of model that is read is named here. Another one is refused by name: fields that look familiar may
mean something else there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from paged_demo.checks import came
from paged_demo.sizing.fields import ConfigError, Fields, load_fields
from paged_demo.sizing.layer_types import CHUNKED, FULL, LINEAR, MIXED_BY, NOTHING, types_of
from paged_demo.sizing.layers import Chunked, Full, HeadLayer, Latent, Layer, Sliding
from paged_demo.sizing.states import state_of


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Heads of K and V in every layer, with windows where fields say so.
HEADS = _names("""
    arcee baichuan bloom cohere cohere2 ernie4_5 ernie4_5_moe exaone exaone4 falcon gemma gemma2
    gemma3_text gemma3n_text gemma4_text glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neox gpt_oss gptj
    granite granitemoe hunyuan hunyuan_v1_dense hunyuan_v1_moe internlm2 internlm3 llama llama4_text
    minicpm minimax_m2 ministral ministral3 mistral mixtral nemotron olmo olmo2 olmo3 olmoe opt phi phi3
    phimoe qwen2 qwen2_5_vl qwen2_5_vl_text qwen2_moe qwen2_vl qwen2_vl_text qwen3 qwen3_moe
    qwen3_vl_moe_text qwen3_vl_text seed_oss smollm3 stablelm starcoder2
""")
# One latent vector a token; kimi_linear has states beside it.
LATENTS = _names("deepseek_v2 deepseek_v3 glm4_moe_lite kimi_k2 kimi_linear mistral4 pangu_ultra_moe")
# States in some layers, and heads in others.
STATES = _names("""
    bamba granitemoehybrid jamba nemotron_h qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next
""")
# States in all layers.
STATES_ALONE = _names("mamba mamba2")
KNOWN = HEADS | LATENTS | STATES | STATES_ALONE
# Names of the whole model, where its text_config has no type of its own.
WHOLE = {
    name: f"{name}_text" for name in ("gemma3", "gemma3n", "gemma4", "llama4", "qwen3_vl", "qwen3_vl_moe")
}
KEPT_BESIDE = ("index_topk", "index_head_dim", "compress_ratios", "sparse_attention_config")
"""Fields of models that keep more than their attention layers, whose bytes no rule here counts."""
QUERY_HEADS = ("num_attention_heads", "n_head", "n_heads")
GEMMA_3 = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
"""What its small models leave out of the config (transformers, configuration_gemma3.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What a model's ``config.json`` says of its cache.

    Parameters
    ----------
    model_type : str
        The type that the config names.
    layers : tuple of layers
        What each layer keeps, in order; None for one that keeps nothing of its own.
    max_model_len : int or None
        Tokens of the longest sequence that the model is made for, if the config says so.
    state_bytes : int
        Bytes of an element of the recurrent part of states.
    """

    model_type: str
    layers: tuple[Layer | None, ...]
    max_model_len: int | None
    state_bytes: int

    def by_kind(self) -> dict[Layer, int]:
        """Return how many layers there are of each kind.

        Examples
        --------
        >>> fields = {"model_type": "qwen3", "num_hidden_layers": 28, "num_attention_heads": 16}
        >>> read_config(fields | {"num_key_value_heads": 8, "head_dim": 128}).by_kind()
        {Full(kv_heads=8, head_dim=128, v_head_dim=None): 28}
        """
        counts: dict[Layer, int] = {}
        for layer in self.layers:
            if layer is not None:
                counts[layer] = counts.get(layer, 0) + 1
        return counts


def read_config(config: str | PathLike[str] | Mapping[str, Any]) -> ModelConfig:
    """Read what each layer of a model keeps.

    Parameters
    ----------
    config : path or mapping
        The path of a ``config.json``, or its fields. Configs of models with images are read at their
        ``text_config``.

    Raises
    ------
    ConfigError
        If it is no config, if the type of model is not known, or if a field is missing or wrong. It is a
        ValueError and names the field and what came.

    Examples
    --------
    >>> model = read_config(
    ...     {
    ...         "model_type": "gpt_oss", "num_hidden_layers": 36, "num_attention_heads": 64,
    ...         "num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128,
    ...         "layer_types": ["sliding_attention", "full_attention"] * 18,
    ...     }
    ... )
    >>> [(layer.kind, count) for layer, count in model.by_kind().items()]
    [('sliding', 18), ('full', 18)]
    """
    whole, text = load_fields(config)
    kind = _known_kind(whole, text)
    if whole.flag("is_encoder_decoder", False) or text.flag("is_encoder_decoder", False):
        raise ConfigError(
            f"is_encoder_decoder of config.json: {kind} keeps K and V of an encoder, which are not counted"
        )
    for name in KEPT_BESIDE:
        if name in text:
            raise ConfigError(f"{name} of config.json: {kind} keeps more than its attention layers")
    layers = _latent_layers(text) if kind in LATENTS else _layers(kind, text)
    longest = (
        "max_position_embeddings",
        "n_positions",
        "max_sequence_length",
        "seq_length",
        "model_max_length",
    )
    return ModelConfig(
        model_type=kind,
        layers=tuple(layers),
        max_model_len=text.number(*longest) if any(name in text for name in longest) else None,
        state_bytes=_state_bytes(kind, text),
    )


def _known_kind(whole: Fields, text: Fields) -> str:
    named = text.get("model_type") or whole.get("model_type") or _by_class(whole)
    kind = WHOLE.get(named, named) if isinstance(named, str) else ""
    if kind in KNOWN:
        return kind
    names = (
        "num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, layer_types and kv_lora_rank"
    )
    raise ConfigError(
        f"model_type of config.json must be one that is known here, got {came(named)} ({whole.kind}). "
        f"{names} were not read: what its layers keep is not known"
    )


def _by_class(whole: Fields) -> str | None:
    """Return the type whose class the config names, where it names no type: LlamaForCausalLM is llama."""
    named = whole.get("architectures")
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str):
        return None
    plain = named[0].split("For")[0].lower()
    return next((kind for kind in sorted(KNOWN) if kind.replace("_", "") == plain), named[0])


def _layers(kind: str, text: Fields) -> list[Layer | None]:
    types = _types(kind, text)
    made: dict[str, Layer | None] = {NOTHING: None}
    for each in dict.fromkeys(types):
        if each == LINEAR:
            made[each] = state_of(kind, text)
        elif each != NOTHING:
            made[each] = _attention(kind, text, each)
    return [made[each] for each in types]


def _types(kind: str, text: Fields) -> list[str]:
    if kind in STATES_ALONE:
        return [LINEAR] * text.number("num_hidden_layers", "n_layer")
    types = types_of(kind, text)
    if kind in STATES and LINEAR not in types:
        raise ConfigError(
            f"config.json has no {' or '.join(MIXED_BY)} that names layers with a state, as {kind} has"
        )
    if kind in HEADS and LINEAR in types:
        raise ConfigError(
            f"layer_types of config.json names linear_attention, which {kind} is not known to have"
        )
    return types


def _attention(kind: str, text: Fields, layer_type: str) -> HeadLayer:
    defaults = GEMMA_3 if kind == "gemma3_text" else {}
    head_dim, kv_heads = _head_dim(text, defaults), _kv_heads(text, defaults)
    narrow = text.number("v_head_dim") if "v_head_dim" in text else None
    if layer_type == FULL:
        kv_heads = text.number_or(kv_heads, "num_global_key_value_heads")
        head_dim = text.number_or(head_dim, "global_head_dim")
        return Full(kv_heads=kv_heads, head_dim=head_dim, v_head_dim=narrow)
    if layer_type == CHUNKED:
        chunk = text.number("attention_chunk_size")
        return Chunked(kv_heads=kv_heads, head_dim=head_dim, v_head_dim=narrow, chunk=chunk)
    # A token of Cohere's sees itself and as many before it (vllm/model_executor/models/commandr.py).
    window = text.number("sliding_window") + (kind == "cohere2")
    return Sliding(kv_heads=kv_heads, head_dim=head_dim, v_head_dim=narrow, window=window)


def _heads(text: Fields, defaults: Mapping[str, int]) -> int:
    default = defaults.get("num_attention_heads")
    return text.number(*QUERY_HEADS) if default is None else text.number_or(default, *QUERY_HEADS)


def _kv_heads(text: Fields, defaults: Mapping[str, int]) -> int:
    # Falcon's later models write both, and then the number counts.
    if text.flag("multi_query", False) and not text.flag("new_decoder_architecture", False):
        return 1
    names = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
    if not any(name in text for name in names):
        return defaults.get("num_key_value_heads") or _heads(text, defaults)
    kv_heads = text.number(*names)
    if defaults or any(name in text for name in QUERY_HEADS):
        heads = _heads(text, defaults)
        if heads % kv_heads:
            raise ConfigError(
                f"{text.found(*names)} of config.json must divide the {heads} query heads, got {kv_heads}"
            )
    return kv_heads


def _head_dim(text: Fields, defaults: Mapping[str, int]) -> int:
    if "head_dim" in text:
        return text.number("head_dim")
    if "head_dim" in defaults:
        return defaults["head_dim"]
    hidden, heads = text.number("hidden_size", "n_embd", "d_model", "n_embed"), _heads(text, defaults)
    if hidden % heads:
        raise ConfigError(
            f"hidden_size of config.json ({hidden}) must divide by num_attention_heads ({heads}), as "
            "there is no head_dim"
        )
    return hidden // heads


def _latent_layers(text: Fields) -> list[Layer | None]:
    num_layers = text.number("num_hidden_layers")
    latent = Latent(latent=text.number("kv_lora_rank"), rope=text.number("qk_rope_head_dim"))
    if "linear_attn_config" not in text:
        return [latent] * num_layers
    inner = text.inner("linear_attn_config")
    state = state_of("kimi_linear", inner)
    states, full = inner.sequence("kda_layers", int), inner.sequence("full_attn_layers", int)
    if sorted(states + full) != list(range(1, num_layers + 1)):
        raise ConfigError(
            f"kda_layers and full_attn_layers of config.json must name layers 1 to {num_layers}, each once, "
            f"got {came(sorted(states + full))}"
        )
    return [state if layer in states else latent for layer in range(1, num_layers + 1)]


def _state_bytes(kind: str, text: Fields) -> int:
    """Return the bytes of an element of the recurrent part, which some configs and some models set."""
    sizes = {"float32": 4, "bfloat16": 2, "float16": 2}
    name = next((each for each in ("mamba_ssm_dtype", "mamba_ssm_cache_dtype") if each in text), None)
    if name is not None:
        written = text.get(name)
        if written not in list(sizes):  # as a list, since what stands there may have no hash
            raise ConfigError(f"{name} of config.json must be one of {', '.join(sizes)}, got {came(written)}")
        return sizes[written]
    return 4 if kind in ("kimi_linear", "nemotron_h") else 2
