"""Published models, by those fields of their ``config.json`` that decide the cache."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from paged_demo.sizing.config import ModelConfig, read_config

_GPT_OSS = {
    "model_type": "gpt_oss",
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "max_position_embeddings": 131_072,
}
_DELTA_NET = {
    "linear_num_key_heads": 16,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4,
    "head_dim": 256,
    "max_position_embeddings": 262_144,
}

CONFIGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "meta-llama/Llama-3.1-8B": {
            "model_type": "llama",
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "hidden_size": 4096,
            "intermediate_size": 14_336,
            "vocab_size": 128_256,
            "max_position_embeddings": 131_072,
        },
        "Qwen/Qwen3-30B-A3B": {
            "model_type": "qwen3_moe",
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "hidden_size": 2048,
            "num_experts": 128,
            "moe_intermediate_size": 768,
            "vocab_size": 151_936,
            "max_position_embeddings": 40_960,
        },
        "google/gemma-3-27b-it": {
            "model_type": "gemma3_text",
            "num_hidden_layers": 62,
            "num_attention_heads": 32,
            "num_key_value_heads": 16,
            "head_dim": 128,
            "sliding_window": 1024,
        },
        "google/gemma-4-26B-A4B-it": {
            "model_type": "gemma4_text",
            "num_hidden_layers": 30,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "num_global_key_value_heads": 2,
            "global_head_dim": 512,
            "sliding_window": 1024,
            "layer_types": [*["sliding_attention"] * 5, "full_attention"] * 5,
        },
        "openai/gpt-oss-20b": {
            **_GPT_OSS,
            "num_hidden_layers": 24,
            "layer_types": ["sliding_attention", "full_attention"] * 12,
        },
        "openai/gpt-oss-120b": {
            **_GPT_OSS,
            "num_hidden_layers": 36,
            "layer_types": ["sliding_attention", "full_attention"] * 18,
        },
        "deepseek-ai/DeepSeek-V3": {
            "model_type": "deepseek_v3",
            "num_hidden_layers": 61,
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "max_position_embeddings": 163_840,
        },
        "Qwen/Qwen3-Next-80B-A3B-Instruct": {
            **_DELTA_NET,
            "model_type": "qwen3_next",
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "linear_num_value_heads": 32,
        },
        "Qwen/Qwen3.5-27B": {
            **_DELTA_NET,
            "model_type": "qwen3_5_text",
            "num_hidden_layers": 64,
            "num_key_value_heads": 4,
            "linear_num_value_heads": 48,
            "mamba_ssm_dtype": "float32",
        },
        "ai21labs/Jamba-v0.1": {
            "model_type": "jamba",
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "hidden_size": 4096,
            "attn_layer_period": 8,
            "attn_layer_offset": 4,
            "mamba_expand": 2,
            "mamba_d_state": 16,
            "mamba_d_conv": 4,
            "max_position_embeddings": 262_144,
        },
    }
)
"""By repository on the Hugging Face hub, whose ``config.json`` (or ``text_config``) has these fields."""


def model_of(repository: str) -> ModelConfig:
    """Return what the layers of a published model keep.

    Raises
    ------
    KeyError
        If it is not among ``CONFIGS``.

    Examples
    --------
    >>> model = model_of("deepseek-ai/DeepSeek-V3")
    >>> sum(int(layer.bytes_per_token()) for layer in model.layers)
    70272
    """
    if repository not in CONFIGS:
        raise KeyError(f"no config of {repository!r}; there are {', '.join(CONFIGS)}")
    return read_config(CONFIGS[repository])
