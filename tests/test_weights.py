"""Parameters of the preset models, counted anew from the shapes in their published configs."""

import pytest

from paged_demo import PRESETS, ModelSpec
from paged_demo.model import GIB, MemoryBudget

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


def test_a_bad_budget_is_named():
    for name in ("memory_bytes", "num_requests", "tokens_per_request"):
        counts = {"memory_bytes": GIB, "num_requests": 1, "tokens_per_request": 1} | {name: 0}
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            MemoryBudget(model=PRESETS["OPT-13B"], **counts)
