"""Servers in odd shapes, beside the count by hand: each varies what the recorded start-ups have only once."""

import pytest
from sizing_by_hand import ByHand

from paged_demo.sizing.layers import Chunked, DeltaNet, Full, Latent, Mamba1, Mamba2, Sliding
from paged_demo.sizing.plan import plan
from paged_demo.sizing.server import Server

GROWING = {"kv_heads": 8, "head_dim": 128}
FULL, MLA = Full(**GROWING), Latent(latent=512, rope=64)
GEMMA_WINDOW, GEMMA_FULL = (
    Sliding(kv_heads=16, head_dim=256, window=1024),
    Full(kv_heads=4, head_dim=512),
)
NEXT = DeltaNet(k_heads=16, v_heads=32, k_dim=128, v_dim=128, conv=4)
QWEN = DeltaNet(k_heads=16, v_heads=48, k_dim=128, v_dim=128, conv=4)
NEXT_FULL, QWEN_FULL = Full(kv_heads=2, head_dim=256), Full(kv_heads=4, head_dim=256)
JAMBA = Mamba1(d_inner=8192, d_state=16, conv=4)
NEMOTRON = Mamba2(heads=128, head_dim=64, d_state=128, groups=8, conv=4)
GPT_OSS = [Sliding(kv_heads=8, head_dim=64, window=128), Full(kv_heads=8, head_dim=64)]

LONG, BATCH = {"max_model_len": 32_768}, {"max_num_batched_tokens": 2048}
VARIATIONS = {
    "three GPUs and six heads": ([Full(kv_heads=6, head_dim=128)] * 30, {**LONG, "tensor_parallel": 3}),
    "six GPUs and three heads": ([Full(kv_heads=3, head_dim=64)] * 12, {**LONG, "tensor_parallel": 6}),
    "sixteen GPUs and four heads": ([Full(kv_heads=4, head_dim=128)] * 48, {**LONG, "tensor_parallel": 16}),
    "one head on eight GPUs": ([Full(kv_heads=1, head_dim=64)] * 32, {**LONG, "tensor_parallel": 8}),
    "a length between blocks": ([FULL] * 32, {"max_model_len": 32_769}),
    "a length of one token": ([FULL] * 32, {"max_model_len": 1}),
    "a length below a block": ([FULL] * 32, {"max_model_len": 15, "block_size": 256}),
    "32 tokens in a block": ([FULL] * 32, {"max_model_len": 100_001, "block_size": 32}),
    "latent on odd GPUs": ([MLA] * 61, {**LONG, "tensor_parallel": 3, "block_size": 64}),
    "latent in fp8": ([MLA] * 27, {**LONG, "kv_cache_dtype": "fp8", "block_size": 32}),
    "latent over stages": ([MLA] * 61, {**LONG, "stages": (20, 21, 20), "block_size": 64}),
    "stages as published for V2-Lite": ([MLA] * 27, {"max_model_len": 1024, "stages": (14, 13)}),
    "fp8 over three stages": ([FULL] * 80, {**LONG, "stages": (27, 27, 26), "kv_cache_dtype": "fp8"}),
    "heads of 4.5 bits": ([FULL] * 32, {**LONG, "kv_cache_dtype": "nvfp4"}),
    "float32": ([FULL] * 32, {**LONG, "kv_cache_dtype": "float32"}),
    "a narrower V": ([Full(kv_heads=8, head_dim=192, v_head_dim=128)] * 16, LONG),
    "odd counts of a window": ([GEMMA_WINDOW] * 23 + [GEMMA_FULL] * 7, {**LONG, **BATCH}),
    "windows and full in nearly equal numbers": (GPT_OSS * 12 + [GPT_OSS[1]] * 5, {**LONG, **BATCH}),
    "half as many again": (GPT_OSS * 10 + [GPT_OSS[1]] * 5, {**LONG, **BATCH}),
    "just less than half as many again": (GPT_OSS * 11 + [GPT_OSS[1]] * 5, {**LONG, **BATCH}),
    "a window longer than the length": (GPT_OSS * 8, {"max_model_len": 100, **BATCH}),
    "a window of one token": (
        [Sliding(**GROWING, window=1)] * 4 + [FULL] * 4,
        {**LONG, "max_num_batched_tokens": 1, "in_flight_batches": 1},
    ),
    "a window over three stages": (
        ([GEMMA_WINDOW] * 5 + [GEMMA_FULL]) * 10,
        {**LONG, **BATCH, "stages": (21, 19, 20)},
    ),
    "windows of which one GPU has one head": (
        [Sliding(kv_heads=4, head_dim=256, window=512)] * 22 + [Full(kv_heads=1, head_dim=512)] * 4,
        {**LONG, **BATCH, "tensor_parallel": 4},
    ),
    "two windows and full": (
        [Sliding(**GROWING, window=512)] * 9 + [Sliding(**GROWING, window=4096)] * 6 + [FULL] * 5,
        {**LONG, **BATCH},
    ),
    "chunks in fp8": (
        ([Chunked(**GROWING, chunk=8192)] * 3 + [FULL]) * 12,
        {"max_model_len": 262_144, **BATCH, "kv_cache_dtype": "fp8", "tensor_parallel": 2},
    ),
    "chunks beside windows": (
        [Chunked(**GROWING, chunk=1000)] * 5 + [Sliding(**GROWING, window=1000)] * 5,
        {**LONG, **BATCH},
    ),
    "draft modules": (GPT_OSS * 12, {**LONG, **BATCH, "speculative_tokens": 3, "mtp_modules": 3}),
    "states of 4 bytes": ([QWEN] * 48 + [QWEN_FULL] * 16, {**LONG, "state_bytes": 4}),
    "states in fp8 attention on two GPUs": (
        [QWEN] * 48 + [QWEN_FULL] * 16,
        {**LONG, "state_bytes": 4, "kv_cache_dtype": "fp8", "tensor_parallel": 2},
    ),
    "states on eight GPUs": (
        [NEXT] * 36 + [NEXT_FULL] * 12,
        {**LONG, "tensor_parallel": 8, "prefix_caching": False},
    ),
    "states with drafts": (
        [NEXT] * 36 + [NEXT_FULL] * 13,
        {"max_model_len": 262_144, "speculative_tokens": 2, "tensor_parallel": 4},
    ),
    "checkpoints without prefix caching": (
        [NEXT] * 36 + [NEXT_FULL] * 12,
        {**LONG, "prefill_checkpoints": True, "prefix_caching": False},
    ),
    "checkpoints and a block of 48": (
        [NEXT] * 36 + [NEXT_FULL] * 12,
        {**LONG, "prefill_checkpoints": True, "block_size": 48},
    ),
    "states beside latent": (
        [DeltaNet(k_heads=32, v_heads=32, k_dim=128, v_dim=128, conv=4)] * 20 + [MLA] * 7,
        {"max_model_len": 1_048_576, "state_bytes": 4, "tensor_parallel": 4},
    ),
    "states over stages": (([NEXT] * 3 + [NEXT_FULL]) * 12, {**LONG, "stages": (25, 23)}),
    "Mamba with caching": ([JAMBA] * 28 + [FULL] * 4, {"max_model_len": 262_144}),
    "Mamba on four GPUs": ([JAMBA] * 28 + [FULL] * 4, {"max_model_len": 262_144, "tensor_parallel": 4}),
    "Mamba-2 whose groups are fewer than GPUs": (
        [Mamba2(heads=128, head_dim=64, d_state=128, groups=1, conv=4)] * 24 + [FULL] * 4,
        {**LONG, "tensor_parallel": 4, "state_bytes": 4},
    ),
    "Mamba-2 on two GPUs": (
        [NEMOTRON] * 27 + [Full(kv_heads=2, head_dim=128)] * 6,
        {**LONG, "tensor_parallel": 2},
    ),
    "states, a window and full": (
        [NEXT] * 12
        + [Full(kv_heads=4, head_dim=128)] * 6
        + [Sliding(kv_heads=4, head_dim=128, window=513)] * 6,
        {**LONG, **BATCH, "block_size": 64, "prefix_caching": False},
    ),
    "a state smaller than a page": (
        [Mamba1(d_inner=64, d_state=16, conv=4)] * 3 + [FULL] * 3,
        {**LONG, "block_size": 32},
    ),
}
TIMES = [0.999, 1.0, 1.001, 3.3]
"""How many requests of the longest length the pool has room for, beside the block that is never given out."""


@pytest.mark.parametrize(("layers", "flags"), VARIATIONS.values(), ids=VARIATIONS)
def test_an_odd_server_is_planned_as_counted_by_hand(layers, flags):
    server = Server(**flags)
    counted = ByHand(layers, server, [10**12] * server.num_stages)
    need = counted.need(server.max_model_len)
    for times in TIMES:
        pools = [int(times * need * block) + int(block) for block in counted.block_bytes]
        counted.blocks = min(pool // block for pool, block in zip(pools, counted.block_bytes, strict=True))
        planned = plan(layers, server, pools)
        assert list(planned.block_bytes) == counted.block_bytes
        assert [group.layers for group in planned.groups] == [tuple(members) for _, members in counted.groups]
        assert (planned.need, planned.blocks) == (need, counted.blocks)
        assert planned.tokens == int(counted.blocks / need * server.max_model_len)
        assert (planned.refusal is None) == (times >= 1)
        longest = planned.longest_that_fits
        spare = [pool - block for pool, block in zip(pools, counted.block_bytes, strict=True)]

        def fits(length, spare=spare):
            return all(
                counted.need(length) * block <= room
                for block, room in zip(counted.block_bytes, spare, strict=True)
            )

        assert longest == 0 or fits(longest)
        assert longest == server.max_model_len or not fits(longest + 1)


def test_a_context_spread_over_gpus_needs_its_share_of_tokens():
    server = {"max_model_len": 163_841, "block_size": 64, "tensor_parallel": 8}
    alone, spread = (plan([MLA] * 61, Server(**server, decode_context_parallel=gpus)) for gpus in (1, 8))
    assert alone.block_bytes == spread.block_bytes
    assert (alone.need, spread.need) == (
        len(range(0, 163_841, 64)),
        len(range(0, len(range(0, 163_841, 8)), 64)),
    )


def test_windows_that_are_stored_as_full_may_be_spread():
    layers = [Sliding(**GROWING, window=128), FULL] * 4
    spread = Server(max_model_len=4096, decode_context_parallel=2, tensor_parallel=16, hybrid_manager=False)
    assert plan(layers, spread).need == 4096 // 2 // 16


def test_a_fitted_length_is_the_shortest_of_all_stages():
    stages = {"max_model_len": 131_072, "auto_fit": True, "stages": (16, 16)}
    block = 16 * 16 * 4096
    planned = plan([FULL] * 32, Server(**stages), [101 * block, 51 * block + 1])
    assert (planned.max_model_len, planned.blocks) == (50 * 16, 51)
    assert planned.refusal is None
    whole = plan([FULL] * 32, Server(**stages | {"max_model_len": 160}), [101 * block, 51 * block])
    assert whole.max_model_len == 160


def test_the_first_stage_that_lacks_memory_refuses():
    block = 16 * 16 * 4096
    server = Server(max_model_len=1600, stages=(16, 16))
    for pools, stage in (([101 * block, 100 * block], 1), ([100 * block, 9 * block], 0)):
        refusal = plan([FULL] * 32, server, pools).refusal
        assert refusal is not None
        assert (refusal.stage, refusal.estimated_max_len) == (stage, 99 * 16)
    assert plan([FULL] * 32, server, 101 * block).refusal is None


def test_layers_that_keep_nothing_count_in_a_stage_and_nowhere_else():
    layers = [FULL, None, None, FULL, FULL, None]
    planned = plan(layers, Server(stages=2, max_model_len=16), 10**9)
    assert planned.block_bytes == (65_536, 131_072)
    assert planned.groups[0].layers == (0, 3, 4)
    empty = plan([FULL, FULL, None, None], Server(stages=2, max_model_len=16), 10**9)
    assert empty.block_bytes == (131_072, 0)
    assert empty.blocks == 10**9 // 131_072


@pytest.mark.parametrize(
    ("tokens_more", "layout", "groups"),
    [(0, "layers", [4, 4, 4, 4]), (0, "blocks", [4, 4, 8]), (16, "blocks", [4, 4, 4, 4])],
)
def test_a_smaller_state_is_padded_only_where_the_largest_is(tokens_more, layout, groups):
    large, small = (Mamba1(d_inner=size, d_state=16, conv=4) for size in (2048, 1024))
    full = Full(kv_heads=1, head_dim=64)
    # 2,048 channels fill 304 tokens of 256 bytes; a block of a larger step leaves room for padding.
    step = 16 if not tokens_more else large.state_bytes() // 256 + tokens_more
    server = Server(max_model_len=4096, block_size=step, layout=layout)
    planned = plan([full] * 4 + [large] * 4 + [small] * 8, server)
    assert planned.raised is not None
    assert (planned.raised.page_bytes == large.state_bytes()) == (not tokens_more)
    assert [len(group.layers) for group in planned.groups] == groups
    assert planned.block_bytes == (4 * planned.raised.page_bytes,)


def test_scales_of_a_head_are_kept_for_each_token():
    for name in ("fp8_per_token_head", "int8_per_token_head"):
        token = plan([FULL], Server(kv_cache_dtype=name, block_size=1)).block_bytes[0]
        assert token == 8 * (128 + 4) * 2


def test_a_latent_vector_of_several_types_is_656_bytes():
    assert plan([MLA], Server(kv_cache_dtype="fp8_ds_mla", block_size=64)).block_bytes == (64 * 656,)
