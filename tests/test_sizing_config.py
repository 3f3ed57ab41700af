"""Configs of published models, and what is said of those that cannot be read."""

import json

import pytest

from paged_demo.sizing.cache_types import cache_type
from paged_demo.sizing.config import ConfigError, read_config
from paged_demo.sizing.layers import (
    Chunked,
    DeltaNet,
    Full,
    Latent,
    Mamba1,
    Mamba2,
    Sliding,
    StateLayer,
    TokenLayer,
)
from paged_demo.sizing.presets import CONFIGS
from paged_demo.sizing.weights import bytes_per_weight, estimate_weights, weights_bytes

LLAMA = dict(CONFIGS["meta-llama/Llama-3.1-8B"])
GEMMA_3 = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 62,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "hidden_size": 5376,
        "sliding_window": 1024,
    },
}
GEMMA_4 = {
    "model_type": "gemma4",
    "text_config": {
        "model_type": "gemma4_text",
        "num_hidden_layers": 30,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "num_global_key_value_heads": 2,
        "global_head_dim": 512,
        "attention_k_eq_v": True,
        "sliding_window": 1024,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5,
    },
}
QWEN_3_5 = {
    "model_type": "qwen3_5",
    "text_config": {
        "model_type": "qwen3_5_text",
        "num_hidden_layers": 64,
        "num_attention_heads": 24,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "full_attention_interval": 4,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 48,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "mamba_ssm_dtype": "float32",
    },
}
JAMBA = dict(CONFIGS["ai21labs/Jamba-v0.1"])
NEMOTRON = {
    "model_type": "nemotron_h",
    "num_hidden_layers": 8,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hybrid_override_pattern": "M-M-M*ME",
    "mamba_num_heads": 128,
    "mamba_head_dim": 64,
    "ssm_state_size": 128,
    "n_groups": 8,
    "conv_kernel": 4,
}
KIMI = {
    "model_type": "kimi_linear",
    "num_hidden_layers": 4,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "linear_attn_config": {
        "kda_layers": [1, 2, 3],
        "full_attn_layers": [4],
        "num_heads": 32,
        "head_dim": 128,
        "short_conv_kernel_size": 4,
    },
}
LATENT = Latent(latent=512, rope=64)


def alike(**changed):
    return {name: value for name, value in (LLAMA | changed).items() if value is not None}


HEADS_128 = {"kv_heads": 8, "head_dim": 128}
FULL = Full(**HEADS_128)
READ = {
    "Llama-3.1-8B": (LLAMA, {FULL: 32}),
    "head_dim that is not hidden_size / heads": (alike(head_dim=64), {Full(kv_heads=8, head_dim=64): 32}),
    "head_dim of null": (LLAMA | {"head_dim": None}, {FULL: 32}),
    "no KV heads: as many as heads": (alike(num_key_value_heads=None), {Full(kv_heads=32, head_dim=128): 32}),
    "narrower V": (alike(v_head_dim=64), {Full(**HEADS_128, v_head_dim=64): 32}),
    "one KV head (Falcon-7B)": (
        alike(model_type="falcon", multi_query=True, num_key_value_heads=None, num_kv_heads=71),
        {Full(kv_heads=1, head_dim=128): 32},
    ),
    "Falcon-40B": (
        alike(
            model_type="falcon", multi_query=True, new_decoder_architecture=True, num_key_value_heads=None,
            num_kv_heads=8,
        ),
        {FULL: 32},
    ),
    "a window that is not used (Qwen2.5)": (
        alike(model_type="qwen2", sliding_window=4096, use_sliding_window=False, max_window_layers=28),
        {FULL: 32},
    ),
    "a window from some layer on (Qwen2)": (
        alike(model_type="qwen2", sliding_window=4096, use_sliding_window=True, max_window_layers=28),
        {FULL: 28, Sliding(**HEADS_128, window=4096): 4},
    ),
    "a window of null (Mixtral)": (alike(model_type="mixtral") | {"sliding_window": None}, {FULL: 32}),
    "a window everywhere (Mistral-7B-v0.1)": (
        alike(model_type="mistral", sliding_window=4096),
        {Sliding(**HEADS_128, window=4096): 32},
    ),
    "Gemma-2, every second": (
        alike(model_type="gemma2", sliding_window=4096, num_hidden_layers=42),
        {Sliding(**HEADS_128, window=4096): 21, FULL: 21},
    ),
    "Gemma-3-27B": (
        GEMMA_3,
        {Sliding(kv_heads=16, head_dim=128, window=1024): 52, Full(kv_heads=16, head_dim=128): 10},
    ),
    "a pattern of its own, and a window that does not count the token itself (Command R7B)": (
        alike(model_type="cohere2", sliding_window=4096, sliding_window_pattern=4),
        {Sliding(**HEADS_128, window=4097): 24, FULL: 8},
    ),
    "Gemma-4-26B-A4B": (
        GEMMA_4,
        {Sliding(kv_heads=8, head_dim=256, window=1024): 25, Full(kv_heads=2, head_dim=512): 5},
    ),
    "layers that share KV (Gemma-3n)": (
        alike(
            model_type="gemma3n_text", num_hidden_layers=35, num_kv_shared_layers=15, sliding_window=512,
            layer_types=(["sliding_attention"] * 4 + ["full_attention"]) * 7,
        ),
        {Sliding(**HEADS_128, window=512): 16, FULL: 4},
    ),
    "an owner every second layer (Hunyuan)": (
        alike(model_type="hunyuan", use_cla=True, cla_share_factor=2),
        {FULL: 16},
    ),
    "Llama 4": (
        {"model_type": "llama4", "text_config": alike(model_type="llama4_text", attention_chunk_size=8192)},
        {Chunked(**HEADS_128, chunk=8192): 24, FULL: 8},
    ),
    "Llama 4, by its list": (
        alike(model_type="llama4_text", attention_chunk_size=8192, no_rope_layers=[1, 0] * 16),
        {Chunked(**HEADS_128, chunk=8192): 16, FULL: 16},
    ),
    "DeepSeek-V3": (
        {"model_type": "deepseek_v3", "num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64},
        {LATENT: 61},
    ),
    "Qwen3.5-27B": (
        QWEN_3_5,
        {
            DeltaNet(k_heads=16, v_heads=48, k_dim=128, v_dim=128, conv=4): 48,
            Full(kv_heads=4, head_dim=256): 16,
        },
    ),
    "Jamba": (JAMBA, {Mamba1(d_inner=8192, d_state=16, conv=4): 28, FULL: 4}),
    "Nemotron-H": (NEMOTRON, {Mamba2(heads=128, head_dim=64, d_state=128, groups=8, conv=4): 4, FULL: 1}),
    "Kimi-Linear": (
        KIMI,
        {DeltaNet(k_heads=32, v_heads=32, k_dim=128, v_dim=128, conv=4): 3, LATENT: 1},
    ),
    "Bamba": (
        alike(
            model_type="bamba", num_hidden_layers=4, attn_layer_indices=[2], mamba_n_heads=128,
            mamba_d_head=64, mamba_d_state=128, mamba_n_groups=1, mamba_d_conv=4,
        ),
        {Mamba2(heads=128, head_dim=64, d_state=128, groups=1, conv=4): 3, FULL: 1},
    ),
    "Granite 4": (
        alike(
            model_type="granitemoehybrid", num_hidden_layers=3, layer_types=["mamba", "attention", "mamba"],
            mamba_n_heads=128, mamba_d_head=64, mamba_d_state=128, mamba_n_groups=1, mamba_d_conv=4,
        ),
        {Mamba2(heads=128, head_dim=64, d_state=128, groups=1, conv=4): 2, FULL: 1},
    ),
    "Mamba": (
        {
            "model_type": "mamba", "num_hidden_layers": 2, "intermediate_size": 64, "state_size": 16,
            "conv_kernel": 4,
        },
        {Mamba1(d_inner=64, d_state=16, conv=4): 2},
    ),
    "GPT-2's names": (
        {"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768},
        {Full(kv_heads=12, head_dim=64): 12},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("config", "layers"), READ.values(), ids=READ)
def test_layers_are_read_by_their_kind(config, layers):
    assert read_config(config).by_kind() == layers


@pytest.mark.parametrize(
    ("named", "kind"),
    [("LlamaForCausalLM", "llama"), ("GptOssForCausalLM", "gpt_oss"), ("Qwen3MoeForCausalLM", "qwen3_moe")],
)
def test_a_class_stands_for_its_type_where_the_config_names_no_type(named, kind):
    config = alike(model_type=None, architectures=[named])
    assert read_config(config) == read_config(alike(model_type=kind))


def test_layers_come_in_the_models_order():
    kinds = [layer and layer.kind for layer in read_config(NEMOTRON).layers]
    assert kinds == ["state", None, "state", None, "state", "full", "state", None]
    jamba = [index for index, layer in enumerate(read_config(JAMBA).layers) if isinstance(layer, Full)]
    assert jamba == [4, 12, 20, 28]


def test_a_path_is_read_as_its_fields_are(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GEMMA_3))
    assert read_config(path) == read_config(str(path)) == read_config(GEMMA_3)


PER_TOKEN = [
    # Published configs, and the bytes that all layers together keep of a token, or of a sequence.
    (LLAMA, 131_072, 0),
    (GEMMA_3, 81_920, 0),
    (GEMMA_4, 20_480, 0),
    (READ["DeepSeek-V3"][0], 70_272, 0),
    (QWEN_3_5, 65_536, 48 * 3_207_168),
    (JAMBA, 16_384, 28 * 311_296),
]


@pytest.mark.parametrize(("config", "growing", "fixed"), PER_TOKEN)
def test_what_grows_with_a_token_and_what_does_not(config, growing, fixed):
    model, far = read_config(config), 10**6
    tokens = [layer for layer in model.layers if isinstance(layer, TokenLayer)]
    states = [layer for layer in model.layers if isinstance(layer, StateLayer)]
    assert sum(layer.bytes_for(far + 1) - layer.bytes_for(far) for layer in tokens) == growing
    assert sum(layer.state_bytes(model.state_bytes) for layer in states) == fixed


@pytest.mark.parametrize(
    ("config", "state_bytes"),
    [
        (QWEN_3_5, 4),
        (JAMBA, 2),
        (NEMOTRON, 4),
        (NEMOTRON | {"mamba_ssm_cache_dtype": "bfloat16"}, 2),
        (KIMI, 4),
    ],
)
def test_the_type_of_a_state_is_the_configs_or_the_models(config, state_bytes):
    assert read_config(config).state_bytes == state_bytes


def text(**changed):
    return {"model_type": "qwen3_5", "text_config": QWEN_3_5["text_config"] | changed}


BAD = [
    ({}, "model_type of config.json must be one that is known here, got None"),
    ({"model_type": "mammoth"}, "got 'mammoth'.*num_hidden_layers, num_attention_heads, num_key_value_heads"),
    ({"architectures": ["MammothForCausalLM"]}, "got 'MammothForCausalLM'"),
    ({"model_type": ["llama"]}, "model_type of config.json must be one that is known here"),
    ({"text_config": 7} | LLAMA, "text_config of config.json must be an object with fields, got 7"),
    (alike(num_hidden_layers=None), "config.json has no num_hidden_layers or n_layer .*which llama needs"),
    (alike(num_hidden_layers="32"), "num_hidden_layers of config.json must be a whole number, got '32'"),
    (alike(num_hidden_layers=0), "num_hidden_layers of config.json must be at least 1, got 0"),
    (
        alike(num_attention_heads=31),
        r"hidden_size of config.json \(4096\) must divide by num_attention_heads",
    ),
    (
        alike(num_key_value_heads=5),
        "num_key_value_heads of config.json must divide the 32 query heads, got 5",
    ),
    (
        alike(num_key_value_heads=64),
        "num_key_value_heads of config.json must divide the 32 query heads, got 64",
    ),
    (
        {"model_type": "falcon", "num_hidden_layers": 2, "hidden_size": 4544, "n_head": 71, "n_head_kv": 5},
        "n_head_kv of config.json must divide the 71 query heads, got 5",
    ),
    (
        {"model_type": "gemma3_text", "num_hidden_layers": 2, "sliding_window": 8, "num_key_value_heads": 3},
        "num_key_value_heads of config.json must divide the 8 query heads, got 3",
    ),
    (alike(num_attention_heads=None), "config.json has no num_attention_heads"),
    (alike(hidden_size=None), "config.json has no hidden_size"),
    (alike(num_key_value_heads=8.0), "num_key_value_heads of config.json must be a whole number, got 8.0"),
    (alike(head_dim=True), "head_dim of config.json must be a whole number, got True"),
    (alike(sliding_window=4096), "sliding_window of config.json is 4096, and no layer_types"),
    (
        alike(model_type="mistral", sliding_window="4096"),
        "sliding_window of config.json must be a whole number",
    ),
    (
        alike(model_type="qwen2", sliding_window=4, use_sliding_window="no"),
        "use_sliding_window of config.json",
    ),
    (
        alike(model_type="qwen2", sliding_window=4, use_sliding_window=True, max_window_layers="all"),
        "max_window_layers of config.json must be a whole number from 0, got 'all'",
    ),
    (alike(layer_types=["full_attention"] * 31), "layer_types of config.json must have 32 entries.*got 31"),
    (alike(layer_types=["full_attention"] * 31 + ["odd"]), "layer_types of config.json must be .*got 'odd'"),
    (alike(layer_types="full_attention"), "layer_types of config.json must be a list of texts"),
    (alike(layer_types=["linear_attention"] * 32), "linear_attention, which llama is not known"),
    (alike(is_encoder_decoder=True), "is_encoder_decoder of config.json"),
    (alike(model_type="deepseek_v3"), "config.json has no kv_lora_rank, which deepseek_v3 needs"),
    (
        READ["DeepSeek-V3"][0] | {"index_topk": 2048},
        "index_topk of config.json: deepseek_v3 keeps more than its attention layers",
    ),
    (text(full_attention_interval=None), "that names layers with a state, as qwen3_5_text has"),
    (text(linear_conv_kernel_dim=None), "config.json has no linear_conv_kernel_dim"),
    (text(mamba_ssm_dtype=[1]), "mamba_ssm_dtype of config.json must be one of float32, "),
    (text(mamba_ssm_dtype="float8"), "mamba_ssm_dtype of config.json must be one of float32, .*got 'float8'"),
    (JAMBA | {"attn_layer_offset": 8}, "attn_layer_offset of config.json must be from 0 to 7, got 8"),
    (
        NEMOTRON | {"hybrid_override_pattern": "M-M"},
        "hybrid_override_pattern of config.json must be 8 letters",
    ),
    (NEMOTRON | {"hybrid_override_pattern": "M-M-M*MX"}, "hybrid_override_pattern of config.json"),
    (READ["Bamba"][0] | {"attn_layer_indices": [4]}, "attn_layer_indices of config.json must be below 4"),
    (alike(num_kv_shared_layers=32), "num_kv_shared_layers of config.json must be below 32, got 32"),
    (alike(use_cla=True), "config.json has no cla_share_factor"),
    (
        alike(model_type="llama4_text", attention_chunk_size=8, no_rope_layers=[1]),
        "no_rope_layers of config.json",
    ),
    (
        KIMI | {"linear_attn_config": KIMI["linear_attn_config"] | {"kda_layers": [1, 2]}},
        "kda_layers and full_attn_layers of config.json must name layers 1 to 4, each once",
    ),
    (["llama"], "config must be the path of a config.json, or its fields"),
    (b"\x00", "config must be the path"),
]


@pytest.mark.parametrize(("config", "told"), BAD)
def test_a_config_that_cannot_be_read_is_refused_by_its_field(config, told):
    with pytest.raises(ConfigError, match=told):
        read_config(config)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no JSON"),
        ("", "is no JSON"),
        ("[1, 2]", r"config.json must be an object with fields, got \[1, 2\]"),
        ("[" * 100_000, "is no JSON"),
        (
            '{"hidden_size": 64, "hidden_size": 64}',
            "must name each field once, got 'hidden_size' more than once",
        ),
        ('{"text_config": {"a": 1, "a": 2}}', "must name each field once, got 'a' more than once"),
        (b"\xff\xfe", "cannot be read as a config.json"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content, told):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=told):
        read_config(path)


def test_a_mark_at_the_start_of_a_file_is_no_part_of_it(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA), encoding="utf-8-sig")
    assert read_config(path) == read_config(LLAMA)


def test_a_directory_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"is a directory; give the path of the config\.json in it"):
        read_config(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be read as a config\.json: .*No such file"):
        read_config(tmp_path / "config.json")


WEIGHTS = [
    # Parameters counted by hand from the shapes, as in `test_model.py`.
    (LLAMA, 8_030_261_248),
    (alike(model_type="qwen2", tie_word_embeddings=True), 8_030_261_248 - 128256 * 4096 + 32 * 48 * 128),
    (alike(model_type="qwen3", head_dim=128), 8_030_261_248 + 32 * 2 * 128),
    (
        alike(model_type="mixtral", num_local_experts=8),
        8_030_261_248 + 32 * (7 * 3 * 4096 * 14336 + 8 * 4096),
    ),
]


@pytest.mark.parametrize(("config", "parameters"), WEIGHTS)
def test_weights_are_estimated_from_the_shapes(config, parameters):
    estimate = estimate_weights(config)
    assert estimate.num_bytes == 2 * parameters
    assert "estimate" in str(estimate)
    assert estimate_weights(config, tensor_parallel=2).num_bytes == parameters


@pytest.mark.parametrize(
    ("quantized", "per_weight"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 0.5195),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, 0.578),
        ({"quant_method": "fp8"}, 1),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 1.000244),
    ],
)
def test_quantised_weights_keep_embeddings_and_norms_in_16_bits(quantized, per_weight):
    kept = 2 * 128256 * 4096 + 65 * 4096
    estimate = estimate_weights(LLAMA | {"quantization_config": quantized}).num_bytes
    assert estimate == pytest.approx((8_030_261_248 - kept) * per_weight + 2 * kept, rel=1e-3)


def test_logs_of_quantised_weights_are_near_the_estimate():
    # vllm-project/vllm PR 12569: Llama-3.1-70B w8a8, 67.7229 GiB; 2.10e9 parameters stay in bfloat16.
    estimate = weights_bytes(70_553_706_496, "int8", in_bfloat16=2 * 128256 * 8192).num_bytes
    assert estimate / 2**30 == pytest.approx(67.7229, rel=0.002)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: estimate_weights(GEMMA_3), "parameters of gemma3_text are not counted here"),
        (
            lambda: estimate_weights(LLAMA | {"quantization_config": {"quant_method": "gguf"}}),
            "quantization_config of config.json has quant_method 'gguf'",
        ),
        (lambda: weights_bytes(8, "fp3"), "stored must be one of bfloat16, .*got 'fp3'"),
        (lambda: weights_bytes(0), "num_parameters must be at least 1, got 0"),
        (lambda: weights_bytes(8, in_bfloat16=9), "in_bfloat16 must be at most 8, got 9"),
        (lambda: bytes_per_weight("awq", 0), "group_size must be at least 1, got 0"),
        (lambda: cache_type(None), "kv_cache_dtype must be a number, got None"),
    ],
)
def test_what_cannot_be_estimated_is_refused_by_name(ask, told):
    with pytest.raises((ValueError, TypeError), match=told):
        ask()
