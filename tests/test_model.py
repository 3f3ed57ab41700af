from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from paged_demo.model import (
    GIB,
    KIB,
    LLAMA_2_7B,
    LLAMA_2_70B,
    MIB,
    OPT_13B,
    PRESETS,
    MemoryBudget,
    ModelSpec,
)
from paged_demo.sizing.layers import Full

TINY = ModelSpec(name="tiny", num_layers=2, num_kv_heads=3, head_dim=4, source="made up")
COUNTS = ["num_layers", "num_kv_heads", "head_dim"]


def test_opt_13b_needs_800_kib_a_token() -> None:
    assert OPT_13B.kv_bytes_per_token == 819_200 == 800 * KIB


def test_llama_2_7b_needs_512_kib_a_token() -> None:
    assert LLAMA_2_7B.kv_bytes_per_token == 512 * KIB


def test_grouped_query_attention_saves_llama_2_70b_seven_eighths() -> None:
    assert LLAMA_2_70B.kv_bytes_per_token == 320 * KIB
    assert replace(LLAMA_2_70B, num_kv_heads=64).kv_bytes_per_token == 2560 * KIB


def test_llama_3_1_8b_needs_128_kib_a_token() -> None:
    assert PRESETS["Llama-3.1-8B"].kv_bytes_per_token == 128 * KIB


def test_arrays_for_one_token_have_as_many_bytes_as_the_formula_says() -> None:
    for model in PRESETS.values():
        layer = np.empty((2, 1, model.num_kv_heads, model.head_dim), dtype=np.float16)
        assert model.kv_bytes_per_token == model.num_layers * layer.nbytes


@pytest.mark.parametrize(
    ("name", "kv_memory_gib", "published_slots"),
    [("OPT-13B", 12, 15_700), ("OPT-66B", 21, 9_700), ("OPT-175B", 264, 60_100)],
)
def test_slots_agree_with_table_1_of_the_paper(name: str, kv_memory_gib: int, published_slots: int) -> None:
    spec = PRESETS[name]
    # The paper rounds memory to whole units, so its slots lie within half a unit on either side.
    fewest = spec.slots_in(kv_memory_gib * GIB - GIB // 2)
    most = spec.slots_in(kv_memory_gib * GIB + GIB // 2)
    assert fewest <= published_slots <= most


@pytest.mark.parametrize("field", [*COUNTS, "bytes_per_element"])
def test_bytes_a_token_are_proportional_to_every_count(field: str) -> None:
    doubled = replace(TINY, **{field: 2 * getattr(TINY, field)})
    assert doubled.kv_bytes_per_token == 2 * TINY.kv_bytes_per_token


def test_a_token_costs_one_k_and_one_v_element_a_layer_head_and_dimension() -> None:
    one = ModelSpec(
        name="one", num_layers=1, num_kv_heads=1, head_dim=1, bytes_per_element=1, source="made up"
    )
    assert one.kv_bytes_per_token == 2


def test_elements_take_two_bytes_unless_told() -> None:
    assert replace(TINY, bytes_per_element=2) == TINY


@pytest.mark.parametrize("num_slots", [0, 1, 2, 1000])
def test_a_token_that_lacks_one_byte_does_not_fit(num_slots: int) -> None:
    slot_bytes = TINY.kv_bytes_per_token
    assert TINY.slots_in(num_slots * slot_bytes) == num_slots
    assert TINY.slots_in((num_slots + 1) * slot_bytes - 1) == num_slots


@pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS)
def test_halving_bytes_per_element_doubles_the_slots(spec: ModelSpec) -> None:
    memory_bytes = 1000 * spec.kv_bytes_per_token
    assert replace(spec, bytes_per_element=1).slots_in(memory_bytes) == 2 * spec.slots_in(memory_bytes)


def test_units_are_powers_of_1024() -> None:
    assert (KIB, MIB, GIB) == (2**10, 2**20, 2**30)


def test_numpy_integers_do_not_overflow() -> None:
    small = ModelSpec(
        name="int8",
        num_layers=np.int8(96),
        num_kv_heads=np.int8(96),
        head_dim=np.int8(127),
        bytes_per_element=np.int8(2),
        source="made up",
    )
    assert small.kv_bytes_per_token == 2 * 96 * 96 * 127 * 2
    assert small.slots_in(np.int64(small.kv_bytes_per_token)) == 1


def test_a_budget_of_numpy_integers_does_not_overflow() -> None:
    counts = {"memory_bytes": 40 * GIB, "num_requests": 7, "tokens_per_request": 2048}
    budget = MemoryBudget(model=OPT_13B, **counts)
    small = MemoryBudget(
        model=OPT_13B, **counts | {"num_requests": np.int8(7), "tokens_per_request": np.int32(2048)}
    )
    assert small == budget
    assert small.kv_bytes == 7 * 2048 * 819_200
    assert type(small.num_requests) is int


@pytest.mark.parametrize("field", [*COUNTS, "bytes_per_element"])
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.True_, TypeError),
        (0, ValueError),
        (-1, ValueError),
        (True, TypeError),
        (2.0, TypeError),
        ("2", TypeError),
        (None, TypeError),
    ],
)
def test_a_bad_count_is_named_with_what_came(field: str, bad: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{field} must .* got {bad!r}$"):
        replace(TINY, **{field: bad})


@pytest.mark.parametrize("bad", [3, 8])
def test_an_element_size_no_cache_uses_is_refused(bad: int) -> None:
    with pytest.raises(ValueError, match=f"^bytes_per_element must be 1, 2 or 4, got {bad}$"):
        replace(TINY, bytes_per_element=bad)


@pytest.mark.parametrize("field", ["name", "source"])
@pytest.mark.parametrize(
    ("bad", "error"), [("", ValueError), (" ", ValueError), (None, TypeError), (7, TypeError)]
)
def test_a_bad_name_or_source_is_named_with_what_came(
    field: str, bad: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^{field} must .* got {bad!r}$"):
        replace(TINY, **{field: bad})


@pytest.mark.parametrize(
    ("bad", "error"), [(-1, ValueError), (True, TypeError), (1e9, TypeError), ("1", TypeError)]
)
def test_bad_memory_is_named_with_what_came(bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^memory_bytes must .* got {bad!r}$"):
        TINY.slots_in(bad)


def test_an_array_of_one_number_which_can_change_is_no_count() -> None:
    with pytest.raises(TypeError, match=r"^num_layers must be a whole number, got array\(2\)$"):
        replace(TINY, num_layers=np.array(2))
    with pytest.raises(TypeError, match=r"^num_requests must be a whole number, got array\(7\)$"):
        MemoryBudget(model=OPT_13B, memory_bytes=1, num_requests=np.array(7), tokens_per_request=1)


def test_a_spec_cannot_change() -> None:
    with pytest.raises(FrozenInstanceError):
        TINY.num_layers = 3


def test_presets_cannot_change() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        PRESETS["OPT-13B"] = TINY


def test_presets_are_keyed_by_name_and_start_with_the_papers_models() -> None:
    assert all(spec.name == name for name, spec in PRESETS.items())
    assert len(PRESETS) == 12
    assert list(PRESETS)[:3] == ["OPT-13B", "OPT-66B", "OPT-175B"]


@pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS)
def test_every_preset_cites_where_its_numbers_come_from(spec: ModelSpec) -> None:
    assert "https://huggingface.co/" in spec.source or "https://arxiv.org/" in spec.source


@pytest.mark.parametrize(
    ("name", "kib_per_token"),
    [
        ("OPT-13B", 800),
        ("OPT-66B", 2304),
        ("OPT-175B", 4608),
        ("Llama-2-7B", 512),
        ("Llama-2-13B", 800),
        ("Llama-2-70B", 320),
        ("Llama-3.1-8B", 128),
        ("Llama-3.1-70B", 320),
        ("Qwen3-8B", 144),
        ("Mistral-Small-24B", 160),
        ("Phi-4", 200),
        ("OLMo-2-7B", 512),
    ],
)
def test_every_preset_has_the_size_of_its_published_config(name, kib_per_token):
    assert PRESETS[name].kv_bytes_per_token == kib_per_token * KIB
    assert PRESETS[name].bytes_of(3) == 3 * kib_per_token * KIB


def test_an_unknown_preset_is_named_beside_the_known_ones():
    with pytest.raises(KeyError, match="no preset 'GPT-5'; there are OPT-13B, OPT-66B"):
        PRESETS["GPT-5"]


# Parameters of the preset models are counted anew from the shapes in their published configs.
HEAD_DIM = 128

# Vocabulary, hidden size, intermediate size, layers, query heads, KV heads.
LLAMA_LIKE = {
    "Llama-2-7B": (32000, 4096, 11008, 32, 32, 32),
    "Llama-2-13B": (32000, 5120, 13824, 40, 40, 40),
    "Llama-2-70B": (32000, 8192, 28672, 80, 64, 8),
    "Llama-3.1-8B": (128256, 4096, 14336, 32, 32, 8),
    "Llama-3.1-70B": (128256, 8192, 28672, 80, 64, 8),
    "Qwen3-8B": (151936, 4096, 12288, 36, 32, 8),
    "Mistral-Small-24B": (131072, 5120, 32768, 40, 32, 8),
    "Phi-4": (100352, 5120, 17920, 40, 40, 10),
    "OLMo-2-7B": (100352, 4096, 11008, 32, 32, 32),
}
# Elements of the norms of queries and keys in a layer.
QUERY_KEY_NORMS = {"Qwen3-8B": 2 * HEAD_DIM, "OLMo-2-7B": 2 * 32 * HEAD_DIM}

# Hidden size and layers; 50,272 tokens, 2,048 positions and 2 to pad, tied embeddings, biases.
OPT = {"OPT-13B": (5120, 40), "OPT-66B": (9216, 64), "OPT-175B": (12288, 96)}


@pytest.mark.parametrize("name", LLAMA_LIKE)
def test_the_parameters_of_a_gated_model_follow_from_its_shapes(name):
    vocabulary, hidden, intermediate, num_layers, num_query_heads, num_kv_heads = LLAMA_LIKE[name]
    attention = 2 * hidden * HEAD_DIM * (num_query_heads + num_kv_heads)
    layer = attention + 3 * hidden * intermediate + 2 * hidden + QUERY_KEY_NORMS.get(name, 0)
    model = PRESETS[name]
    assert (model.num_layers, model.num_kv_heads, model.head_dim) == (num_layers, num_kv_heads, HEAD_DIM)
    assert model.num_parameters == 2 * vocabulary * hidden + num_layers * layer + hidden


@pytest.mark.parametrize("name", OPT)
def test_the_parameters_of_opt_follow_from_its_shapes(name):
    hidden, num_layers = OPT[name]
    attention = 4 * (hidden * hidden + hidden)
    feed_forward = 8 * hidden * hidden + 5 * hidden
    embeddings = (50272 + 2050) * hidden
    layers = num_layers * (attention + feed_forward + 4 * hidden)
    assert PRESETS[name].num_parameters == embeddings + layers + 2 * hidden


def test_the_weights_of_opt_are_those_of_the_paper():
    # Kwon et al. (2023), Table 1, in GB.
    for name, weights_gb in {"OPT-13B": 26, "OPT-66B": 132, "OPT-175B": 346}.items():
        assert PRESETS[name].weight_bytes / 10**9 == pytest.approx(weights_gb, rel=0.02)


@pytest.mark.parametrize("bytes_per_element", [1, 2, 4])
def test_the_weights_take_two_bytes_a_parameter_whatever_type_the_cache_has(bytes_per_element):
    model = replace(PRESETS["OPT-13B"], bytes_per_element=bytes_per_element)
    assert model.weight_bytes == 2 * model.num_parameters


def test_a_model_without_a_number_of_parameters_has_no_known_weights():
    tiny = ModelSpec(name="tiny", num_layers=2, num_kv_heads=1, head_dim=4, source="made up")
    with pytest.raises(ValueError, match="num_parameters of tiny is not known"):
        _ = tiny.weight_bytes
    with pytest.raises(ValueError, match="num_parameters must be at least 1, got 0"):
        ModelSpec(name="tiny", num_layers=2, num_kv_heads=1, head_dim=4, num_parameters=0, source="made up")


@pytest.mark.parametrize("memory_gib", [1, 24, 40, 640])
@pytest.mark.parametrize("num_requests", [1, 7, 64])
def test_the_parts_of_a_memory_sum_to_it(memory_gib, num_requests):
    model = PRESETS["OPT-13B"]
    budget = MemoryBudget(
        model=model, memory_bytes=memory_gib * GIB, num_requests=num_requests, tokens_per_request=2048
    )
    assert model.weight_bytes + budget.kv_bytes + budget.free_bytes == budget.memory_bytes
    assert (budget.free_bytes >= 0) == (num_requests <= budget.most_requests)
    assert budget.most_requests >= 0, "of weights alone beyond the memory"


@pytest.mark.parametrize(("num_gpus", "requests"), [(1, 173), (2, 173), (4, 173), (8, 86), (16, 43)])
def test_gpus_beyond_the_kv_heads_keep_heads_again(num_gpus, requests):
    # Qwen3-30B-A3B has 4 KV heads: on 8 GPUs each of them is kept twice.
    model = ModelSpec(
        name="4 heads", num_layers=48, num_kv_heads=4, head_dim=128, num_parameters=1, source="made up"
    )
    memory = model.weight_bytes + 173 * model.bytes_of(4096)
    budget = MemoryBudget(
        model=model, memory_bytes=memory, num_requests=1, tokens_per_request=4096, num_gpus=num_gpus
    )
    assert budget.most_requests == requests
    assert budget.request_bytes == num_gpus * model.kv_bytes_on(num_gpus) * 4096


def test_a_model_is_so_many_layers_of_a_kind():
    assert TINY.layers == ((Full(kv_heads=3, head_dim=4), 2),)
    assert TINY.kv_bytes_per_token == sum(count * layer.bytes_per_token() for layer, count in TINY.layers)
    with pytest.raises(ValueError, match=r"num_key_value_heads must divide .* 3 by 2"):
        TINY.kv_bytes_on(2)


def test_a_bad_budget_is_named():
    for name in ("memory_bytes", "num_requests", "tokens_per_request"):
        counts = {"memory_bytes": GIB, "num_requests": 1, "tokens_per_request": 1} | {name: 0}
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            MemoryBudget(model=PRESETS["OPT-13B"], **counts)
