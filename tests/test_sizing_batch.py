"""Batches of a pool, seconds of a step, the chain of memory, and published models."""

from collections import Counter
from fractions import Fraction

import pytest
from amounts import amount
from hypothesis import given
from hypothesis import strategies as st

from paged_demo.sizing.batch import GPUS, Gpu, batch, cache_bytes, step_seconds
from paged_demo.sizing.layers import Full, StateLayer, TokenLayer
from paged_demo.sizing.memory import Memory
from paged_demo.sizing.plan import plan
from paged_demo.sizing.presets import CONFIGS, model_of
from paged_demo.sizing.server import Server
from paged_demo.sizing.units import GIB, bytes_of, in_gib, printed_as

LLAMA = [Full(kv_heads=8, head_dim=128)] * 32


@given(st.integers(1, 2000), st.integers(0, 2000), st.integers(2, 5000))
def test_a_batch_is_as_many_requests_as_a_pool_gives_blocks_to(prompt, output, blocks):
    held = batch(plan(LLAMA, Server(num_gpu_blocks_override=blocks)), prompt, output)
    each = len(range(0, prompt + (output + 1) // 2, 16))
    free, requests = blocks - 1, 0
    while free >= each:
        free -= each
        requests += 1
    assert (held.blocks_each, held.requests) == (each, requests)


def test_a_window_makes_long_requests_cheap():
    gemma = model_of("google/gemma-3-27b-it").layers
    server = Server(num_gpu_blocks_override=20_000, max_num_batched_tokens=512)
    stored = Server(num_gpu_blocks_override=20_000, max_num_batched_tokens=512, hybrid_manager=False)
    short, long = (batch(plan(gemma, server), length, 0).blocks_each for length in (1024, 131_072))
    assert long - short == (131_072 - 1024) // 16 + 6 * (len(range(0, 1023 + 1024, 16)) - 1024 // 16)
    assert batch(plan(gemma, stored), 131_072, 0).blocks_each == 131_072 // 16


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_the_parts_of_a_step_are_its_seconds_and_computing_counts_in_large_batches(gpu):
    weights = 16 * 10**9
    most = gpu.compute_bound_batch()
    for requests in (1, int(most), int(most) + 2, 1000):
        step = step_seconds(gpu, requests, weights_bytes=weights, cache_bytes_each=10**8, fixed_s=0.002)
        assert step.weights_s == weights / gpu.bytes_per_s
        assert (step.compute_s > 0) == (requests > most)
        whole = max(step.weights_s, 2 * (weights // 2) * requests / gpu.flops)
        assert step.total_s == pytest.approx(0.002 + whole + requests * 10**8 / gpu.bytes_per_s)
        assert step.requests_per_s(100) == pytest.approx(requests / 100 / step.total_s)


def test_the_example_of_a_3090_is_bound_by_its_pool():
    # Llama-3.1-8B, 1,952 blocks (vllm-project/vllm#10517), prompts of 500 and outputs of 300 tokens.
    held = batch(plan(LLAMA, Server(num_gpu_blocks_override=1952)), 500, 300)
    gpu = GPUS["RTX 3090"]
    each = cache_bytes(LLAMA, held.tokens_each)
    step = step_seconds(gpu, held.requests, weights_bytes=16_060_522_496, cache_bytes_each=each)
    assert (held.requests, f"{step.requests_per_s(300):.1f}") == (47, "7.3")
    assert held.requests < gpu.compute_bound_batch()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_gpu_reads_what_its_layers_may_still_see(name):
    model = model_of(name)
    for tokens in (1, 100, amount(short=1200, long=5000)):
        walked = Fraction(0)
        for layer, number in Counter(model.layers).items():
            if isinstance(layer, TokenLayer):
                seen = min(tokens, getattr(layer, "window", tokens))
                walked += number * sum(layer.bytes_per_token() for _ in range(seen))
            else:
                walked += number * layer.state_bytes()
        assert cache_bytes(model.layers, tokens) == walked


@given(st.integers(1, 10**12), st.floats(0.01, 1), st.lists(st.integers(0, 10**12), min_size=4, max_size=4))
def test_what_is_available_and_all_that_is_taken_are_what_was_requested(total, share, parts):
    names = ("weights_bytes", "activation_bytes", "non_torch_bytes", "graph_bytes")
    memory = Memory(total_bytes=total, utilization=share, **dict(zip(names, parts, strict=True)))
    assert memory.available_bytes + sum(size for _, size in memory.parts) == memory.requested_bytes
    assert 0 <= memory.requested_bytes - total * share < 1.001
    assert [size for _, size in memory.parts] == parts


@given(st.integers(0, 10**13))
def test_bytes_lie_among_those_that_are_printed_as_they_are(num_bytes):
    assert num_bytes in printed_as(in_gib(num_bytes))
    assert num_bytes == bytes_of("size", f"{num_bytes}B") == bytes_of("size", num_bytes)


# Bytes of a token in all layers that keep growing, and of all states; from the models' configs.
PUBLISHED = {
    "meta-llama/Llama-3.1-8B": (131_072, 0),
    "Qwen/Qwen3-30B-A3B": (98_304, 0),
    "google/gemma-3-27b-it": (81_920, 0),
    "google/gemma-4-26B-A4B-it": (20_480, 0),
    "openai/gpt-oss-20b": (24_576, 0),
    "openai/gpt-oss-120b": (36_864, 0),
    "deepseek-ai/DeepSeek-V3": (70_272, 0),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": (24_576, 36 * 1_097_728),
    "Qwen/Qwen3.5-27B": (65_536, 48 * 3_207_168),
    "ai21labs/Jamba-v0.1": (16_384, 28 * 311_296),
}


def test_every_config_has_its_published_bytes():
    assert set(PUBLISHED) == set(CONFIGS)
    for name, (growing, fixed) in PUBLISHED.items():
        model = model_of(name)
        tokens = [layer for layer in model.layers if isinstance(layer, TokenLayer)]
        states = [layer for layer in model.layers if isinstance(layer, StateLayer)]
        assert sum(layer.bytes_for(10**6) - layer.bytes_for(10**6 - 1) for layer in tokens) == growing
        assert sum(layer.state_bytes(model.state_bytes) for layer in states) == fixed
    with pytest.raises(KeyError, match=r"no config of 'GPT-5'; there are meta-llama/Llama-3\.1-8B"):
        model_of("GPT-5")


def test_deepseek_v3_would_keep_57_times_as_much_in_heads():
    model = model_of("deepseek-ai/DeepSeek-V3")
    heads = len(model.layers) * int(Full(kv_heads=128, head_dim=128).bytes_per_token())
    assert heads == 3_997_696
    assert heads // cache_bytes(model.layers, 1) == 56


PARTS = {"weights_bytes": 0, "activation_bytes": 0, "non_torch_bytes": 0, "graph_bytes": 0}
POOL = plan(LLAMA, Server(num_gpu_blocks_override=100))
STEP = {"weights_bytes": 1, "cache_bytes_each": 1}
BAD = {
    "prompt_tokens must be at least 1": lambda: batch(POOL, 0, 5),
    "output_tokens must be a whole number": lambda: batch(POOL, 5, 0.5),
    "available must be given": lambda: batch(plan(LLAMA, Server()), 5, 5),
    "bytes_per_s must be a finite number above 0": lambda: Gpu(name="none", bytes_per_s=0, flops=1),
    "requests must be at least 1": lambda: step_seconds(GPUS["H100"], 0, **STEP),
    "weights_bytes must be a whole number": lambda: step_seconds(
        GPUS["H100"], 1, **STEP | {"weights_bytes": 0.5}
    ),
    "fixed_s must be finite and at least 0": lambda: step_seconds(GPUS["H100"], 1, **STEP, fixed_s=-1),
    "num_tokens must be at least 0": lambda: cache_bytes(LLAMA, -1),
    "utilization must be at most 1, got 2": lambda: Memory(total_bytes=GIB, utilization=2, **PARTS),
    "utilization must be a finite number above 0": lambda: Memory(total_bytes=GIB, utilization=0, **PARTS),
    "graph_bytes must be at least 0": lambda: Memory(
        total_bytes=GIB, utilization=1, **PARTS | {"graph_bytes": -1}
    ),
    "weights_bytes must be a whole number, got None": lambda: Memory(
        total_bytes=GIB, utilization=1, **PARTS | {"weights_bytes": None}
    ),
    "size must be a number with a unit": lambda: bytes_of("size", "a lot"),
    "size must be a number with a unit, .*3,81GiB": lambda: bytes_of("size", "3,81GiB"),
    "size must be a number with a unit, .*1,0,0GiB": lambda: bytes_of("size", "1,0,0GiB"),
    "size must be a whole number": lambda: bytes_of("size", 1.5),
    "size must be at least 0": lambda: bytes_of("size", -1),
    "size must be at most": lambda: bytes_of("size", f"{10**12} TB"),
    "printed must be GiB with at most two digits": lambda: printed_as("3.8123 GiB"),
}


@pytest.mark.parametrize(("told", "ask"), BAD.items(), ids=BAD)
def test_a_number_that_is_none_is_refused_by_name(told, ask):
    with pytest.raises((TypeError, ValueError), match=told):
        ask()
