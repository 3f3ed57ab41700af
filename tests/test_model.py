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
