"""The plan of a server beside vLLM's: recorded start-ups, published logs, and a count by hand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from amounts import amount
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_by_hand import ByHand
from sizing_cases import ODD, PUBLISHED, STARTUPS, layers_of, published_server, server_of

from paged_demo.sizing.cache_types import cache_type
from paged_demo.sizing.layers import Chunked, DeltaNet, Full, Latent, Mamba1, Mamba2, Sliding
from paged_demo.sizing.plan import blocks_printed_as, plan
from paged_demo.sizing.server import Server, rules_of
from paged_demo.sizing.units import GIB, bytes_of, in_gib, printed_as

UNGROUPED = "cannot be grouped"
PLANNED = {name: case for name, case in STARTUPS.items() if case["recorded"].get("refused") != UNGROUPED}
each_startup = pytest.mark.parametrize("case", (PLANNED | ODD).values(), ids=PLANNED | ODD)


def one_or_list(values):
    return values[0] if len(values) == 1 else list(values)


def recorded_fields(planned):
    """Return of a plan what a start-up records."""
    blocks = planned.blocks_for(planned.max_model_len)
    fields = {
        "layout": {"layers": "LBNHC", "blocks": "BLHNC"}[planned.server.layout],
        "block_bytes": one_or_list(planned.block_bytes),
        "groups": [
            {
                "kind": {"latent": "mla"}.get(group.kind, group.kind),
                "layers": one_or_list(list(group.by_page().values())),
                "block_size": group.block_size,
                "page_bytes": one_or_list(group.page_bytes),
                "blocks_per_request": held,
            }
            for group, held in zip(planned.groups, blocks, strict=True)
        ],
        "needed_bytes": one_or_list(planned.needed_bytes),
    }
    if planned.raised is not None:
        fields["cache_mode"] = planned.server.cache_mode
        fields["state_bytes"] = planned.raised.state_bytes
        fields["attention_block"] = planned.raised.block_size
        fields["padding_percent"] = planned.raised.padding_percent
    if planned.server.auto_fit:
        fields["fitted_max_model_len"] = planned.max_model_len
    refusal = planned.refusal
    if refusal is None:
        names = ("blocks", "tokens", "concurrency", "line")
        return fields | {name: getattr(planned, name) for name in names}
    sizes = {"needed_gib": in_gib(refusal.needed_bytes), "available_gib": in_gib(refusal.checked_bytes)}
    fields |= {
        "refused": "one request does not fit",
        "checked_bytes": refusal.checked_bytes,
        "printed": sizes,
    }
    if len(planned.block_bytes) > 1:
        fields["stage"] = refusal.stage
    return fields | {"estimated_max_len": refusal.estimated_max_len}


def answers(case):
    planned = plan(layers_of(case), server_of(case), case["given"]["available_bytes"])
    return recorded_fields(planned)


@pytest.mark.parametrize(
    "case", [case for case in STARTUPS.values() if case["recorded"].get("refused") == UNGROUPED]
)
def test_layers_that_the_engine_cannot_group_are_refused(case):
    with pytest.raises(ValueError, match=UNGROUPED):
        answers(case)


@each_startup
def test_every_recorded_field_of_a_start_up_is_planned(case):
    assert answers(case) == case["recorded"]


@each_startup
def test_what_is_printed_is_the_recorded_line_or_names_the_numbers_of_the_refusal(case):
    recorded = case["recorded"]
    told = str(plan(layers_of(case), server_of(case), case["given"]["available_bytes"]))
    if "line" in recorded:
        assert told == recorded["line"]
    else:
        wanted = [f"({each} GiB" for each in recorded["printed"].values()]
        assert all(each in told for each in [*wanted, f"length is {recorded['estimated_max_len']}."])


CHECKS = [
    (name, case, check)
    for name, case in PUBLISHED.items()
    for check in [case, *case.get("also", [])]
    if "bytes" not in case["expected"]
]


def printed_values(planned, names):
    told = {
        "blocks": lambda: planned.blocks,
        "tokens": lambda: planned.tokens,
        "concurrency": lambda: float(f"{planned.concurrency:.2f}"),
        "needed_gib": lambda: float(in_gib(planned.needed_bytes[0])),
        "estimated_max_len": lambda: planned.longest_that_fits,
        "block_size": lambda: planned.raised.block_size,
    }
    return {name: told[name]() for name in names}


def published_plans(case, check):
    """Return the plans of all pools that the case allows."""
    layers, server = layers_of(case), published_server(case, case["flags"] | check.get("flags", {}))
    pool = check.get("given", {})
    if "available_gib" in pool:
        printed = pool["available_gib"]
        told = [f"{each:.2f}" for each in printed] if isinstance(printed, list) else f"{printed:.2f}"
        allowed = blocks_printed_as(told, plan(layers, server))
    elif "blocks" in pool:
        allowed = [pool["blocks"]]
    else:
        return [plan(layers, server, pool.get("available_bytes"))]
    return [plan(layers, replace(server, num_gpu_blocks_override=blocks)) for blocks in allowed]


@pytest.mark.parametrize(("name", "case", "check"), CHECKS, ids=[name for name, _, _ in CHECKS])
def test_a_published_log_follows_from_one_of_the_pools_that_it_allows(name, case, check):
    plans = published_plans(case, check)
    assert len(plans) == 1 or not case["exact"]
    expected = check["expected"]
    assert any(printed_values(planned, expected) == expected for planned in plans)


# But for one that was computed without the block that its version, 0.29, holds back.
AT_PRINTED_POOL = {
    name: case
    for name, case in PUBLISHED.items()
    if "computed_at_printed_pool" in case and name != "spark-396-m2.7"
}


@pytest.mark.parametrize("name", AT_PRINTED_POOL)
def test_the_pool_as_it_is_printed_gives_the_computed_values(name):
    case = PUBLISHED[name]
    printed, server = case["given"]["available_gib"], published_server(case, case["flags"])
    each = printed if isinstance(printed, list) else [printed]
    pools = [int(Fraction(str(gib)) * GIB) for gib in each]
    planned = plan(layers_of(case), server, pools)
    expected = case["computed_at_printed_pool"]
    assert printed_values(planned, expected) == expected


def test_llama_cpp_counts_a_whole_context_in_its_own_types():
    case = PUBLISHED["llamacpp-11200-q8"]
    for named in ("q8_0", case["flags"]["kv_bytes"]):
        size = sum(layer.bytes_for(case["tokens"], cache_type(named)) for layer in layers_of(case))
        assert size == case["expected"]["bytes"]


def mutants(case):
    """Return the case with one thing changed at a time, under the name of what was changed."""
    flags, kinds = case["flags"], {layer["kind"] for layer in case["layers"]}
    # Where a batch is as long as any request, or windows are stored as full, neither they nor it matter.
    in_flight = flags["max_num_batched_tokens"] * flags["in_flight_batches"]
    has_windows = "one_type" not in flags and "mla" not in kinds and in_flight < flags["max_model_len"]
    # So many that a GPU has more of them, and that no padding hides it.
    times = {"kv_heads": 8 * case["tp"], "latent": 8, "conv": 8, "v_heads": 2, "count": 3}
    times |= {"window": 2, "chunk": 2} if has_windows else {}
    for index, layer in enumerate(case["layers"]):
        for field in sorted(set(layer) & set(times)):
            layers = [*case["layers"]]
            layers[index] = layer | {field: layer[field] * times[field]}
            yield f"{field} of {layer['kind']}", case | {"layers": layers}
    yield "dtype", case | {"flags": flags | {"kv_bytes": flags.get("kv_bytes", 2) * 2}}
    if has_windows and kinds & {"sliding", "chunked"}:
        more = flags["max_num_batched_tokens"] + 512
        yield "batch", case | {"flags": flags | {"max_num_batched_tokens": more}}
    if all(layer.get("kv_heads", 1) % (2 * case["tp"]) == 0 for layer in case["layers"]):
        yield "tensor parallel", case | {"tp": 2 * case["tp"]}


@pytest.mark.parametrize(
    ("case", "changed"),
    [
        pytest.param(case, changed, id=f"{name}: {field}")
        for name, case in PLANNED.items()
        if "pp" not in case
        for field, changed in mutants(case)
    ],
)
def test_changing_one_field_breaks_a_start_up(case, changed):
    assert answers(changed) != case["recorded"]


@st.composite
def asked(draw):
    """Draw layers, flags and a pool in the default layout."""
    gpus = draw(st.sampled_from([1, 2, 3, 4]))

    def heads():
        many = draw(st.sampled_from([1, 2, 4, 6, 8, 12]))
        return many if many % gpus == 0 or gpus % many == 0 else gpus

    window, chunk = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    small = {"head_dim": draw(st.sampled_from([8, 16, 24]))}
    kinds = [
        Full(kv_heads=heads(), **small),
        Sliding(kv_heads=heads(), **small, window=window),
        Sliding(kv_heads=heads(), **small, window=window + 7),
        Chunked(kv_heads=heads(), **small, chunk=chunk),
        DeltaNet(k_heads=gpus, v_heads=2 * gpus, k_dim=8, v_dim=16, conv=4),
        Mamba1(d_inner=12 * gpus, d_state=16, conv=4),
        Mamba2(heads=2 * gpus, head_dim=8, d_state=16, groups=draw(st.integers(1, 4)), conv=4),
    ]
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=3, unique_by=lambda kind: kind.kind))
    layers = [kind for kind in chosen for _ in range(draw(st.integers(1, 9)))]
    layers = draw(st.permutations(layers))
    first = draw(st.integers(1, len(layers) - 1))
    server = Server(
        max_model_len=draw(st.integers(1, 160)),
        tensor_parallel=gpus,
        stages=draw(st.sampled_from([1, (first, len(layers) - first)])),
        block_size=draw(st.sampled_from([4, 8, 12])),
        kernel_blocks=4,
        kv_cache_dtype=draw(st.sampled_from(["bfloat16", "fp8", "float32"])),
        max_num_batched_tokens=draw(st.integers(1, 30)),
        prefix_caching=draw(st.booleans()),
        state_bytes=draw(st.sampled_from([2, 4])),
        speculative_tokens=draw(st.integers(0, 3)),
        mtp_modules=draw(st.integers(1, 3)),
        prefill_checkpoints=draw(st.booleans()),
    )
    return layers, server, draw(st.floats(0.2, 40))


@settings(max_examples=amount(short=60, long=1000), deadline=None)
@given(asked())
def test_a_plan_is_what_walking_over_tokens_and_layers_counts(ask):
    layers, server, times = ask
    kinds = {layer.kind for layer in layers}
    if len(kinds) < 2:
        return  # One kind is counted below.
    pools = [10**9] * server.num_stages
    by_hand = ByHand(layers, server, pools)
    need = by_hand.need(server.max_model_len)
    pools = [int(times * need * block) for block in by_hand.block_bytes]
    by_hand = ByHand(layers, server, pools)
    if 0 in by_hand.block_bytes:
        return
    planned = plan(layers, server, pools)
    assert list(planned.block_bytes) == by_hand.block_bytes
    assert [len(group.layers) for group in planned.groups] == [len(members) for _, members in by_hand.groups]
    assert (planned.need, planned.blocks) == (need, by_hand.blocks)
    assert planned.longest_that_fits == by_hand.longest(pools)
    assert planned.concurrency == by_hand.blocks / need
    fits = all(need * block <= pool - block for pool, block in zip(pools, planned.block_bytes, strict=True))
    assert (planned.refusal is None) == fits


@pytest.mark.parametrize("kv_heads", [1, 2, 4, 8])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 100])
def test_one_kind_of_layers_is_one_group_whose_blocks_hold_all_tokens(kv_heads, length):
    layers = [Full(kv_heads=kv_heads, head_dim=64)] * 3 + [Full(kv_heads=kv_heads, head_dim=32)] * 2
    planned = plan(layers, Server(max_model_len=length), 10**6)
    token = sum(2 * layer.kv_heads * layer.head_dim * 2 for layer in layers)
    assert planned.block_bytes == (16 * token,)
    assert planned.blocks == 10**6 // (16 * token)
    assert planned.need == len(range(0, length, 16))


def test_a_printed_pool_allows_every_number_of_blocks_that_prints_so():
    llama = plan([Full(kv_heads=8, head_dim=128)] * 32, Server())
    prints = [in_gib(num_bytes) for num_bytes in range(3 * GIB, 4 * GIB, 2**15)]
    blocks = {(3 * GIB + index * 2**15) // 2**21 for index, told in enumerate(prints) if told == "3.81"}
    assert set(blocks_printed_as("3.81 GiB", llama)) == blocks
    for text in ("3.8", "0.0", "79.1", "12.13 GiB"):
        pool = printed_as(text)
        inside = {in_gib(pool[0]), in_gib(pool[-1])}
        assert inside == {str(float(text.split()[0]))}
        assert not inside & {in_gib(pool[0] - 1), in_gib(pool[-1] + 1)}


def test_older_rules_hold_back_no_block_and_settle_one_batch():
    layers = [Full(kv_heads=8, head_dim=128)] * 32
    exactly = Server(max_model_len=20_000, num_gpu_blocks_override=1250)
    assert plan(layers, exactly).refusal is not None
    assert plan(layers, replace(exactly, rules=rules_of("0.28.0"))).refusal is None
    window = [Sliding(kv_heads=1, head_dim=64, window=17)]
    for version, settled in {"0.25.1": 1, "0.26.0": 2}.items():
        server = Server(max_num_batched_tokens=160, rules=rules_of(version))
        assert plan(window, server).blocks_for(10_000) == (1 + 10 * settled + 1,)


def test_the_tokens_line_of_older_versions_shares_blocks_out_over_groups():
    layers = [Sliding(kv_heads=8, head_dim=64, window=128), Full(kv_heads=8, head_dim=64)] * 12
    server = Server(max_model_len=4096, max_num_batched_tokens=1024, num_gpu_blocks_override=1001)
    assert plan(layers, replace(server, rules=rules_of("0.20.2"))).tokens == 1001 // 2 * 16
    now = plan(layers, server)
    assert now.tokens == int(1001 / now.need * 4096)


def test_a_state_for_each_block_grows_with_the_request():
    layers = [DeltaNet(k_heads=16, v_heads=48, k_dim=128, v_dim=128, conv=4)] * 3 + [
        Full(kv_heads=4, head_dim=256)
    ]
    planned = plan(layers, Server(state_cache="all", state_bytes=4, speculative_tokens=1))
    assert planned.blocks_for(7840) == (11, 11, 11, 10)


def test_what_is_left_of_a_gpu_may_be_nothing_and_then_the_server_refuses():
    planned = plan([Full(kv_heads=8, head_dim=128)], Server(max_model_len=16), -5)
    assert planned.refusal is not None
    assert str(planned) == "No available memory for the cache blocks."
    assert (planned.blocks, planned.longest_that_fits) == (0, 0)


FULL, WINDOW = Full(kv_heads=6, head_dim=64), Sliding(kv_heads=6, head_dim=64, window=128)
LATENT = Latent(latent=512, rope=64)
STATE = DeltaNet(k_heads=16, v_heads=48, k_dim=128, v_dim=128, conv=4)
BAD = {
    "num_key_value_heads .* 6 by 4": lambda: plan([FULL], Server(tensor_parallel=4)),
    "linear_num_value_heads .* 48 by 5": lambda: plan([STATE, FULL], Server(tensor_parallel=5)),
    "layers must be at least one": lambda: plan([None], Server()),
    "max_num_batched_tokens must be given": lambda: plan([WINDOW], Server(max_model_len=9)).need,
    "available must be given": lambda: plan([FULL], Server(max_model_len=9)).blocks,
    "max_model_len must be given": lambda: plan([FULL], Server(), 10**9).tokens,
    "available must be a number with a unit.*got '24'": lambda: plan([FULL], Server(), "24"),
    "available must be a number with a unit.*got '24 Gib'": lambda: plan([FULL], Server(), "24 Gib"),
    "available must be one, or one for each of the 1 stages": lambda: plan([FULL], Server(), [1, 2]),
    "stages must sum to the 3 layers": lambda: plan([FULL] * 3, Server(stages=(1, 1))),
    "stages must be at most the 3 layers": lambda: plan([FULL] * 3, Server(stages=4)),
    "decode_context_parallel must be 1 where layers have a window, got 2": lambda: plan(
        [WINDOW], Server(decode_context_parallel=2)
    ),
    "nvfp4 stores heads of K and V": lambda: plan([LATENT], Server(kv_cache_dtype="nvfp4")),
    "fp8_ds_mla stores latent vectors": lambda: plan([FULL], Server(kv_cache_dtype="fp8_ds_mla")),
    "nvfp4 stores 16 elements together; a head has 72": lambda: plan(
        [Full(kv_heads=1, head_dim=72)], Server(kv_cache_dtype="nvfp4")
    ),
    "pages of .* bytes, which is not whole": lambda: plan(
        [Full(kv_heads=1, head_dim=1)], Server(kv_cache_dtype=0.3, block_size=1)
    ),
    "auto_fit finds no max_model_len": lambda: plan([FULL], Server(max_model_len=99, auto_fit=True), 5),
    "cannot be grouped as one kind: latent, state": lambda: plan(
        [LATENT, STATE], Server(hybrid_manager=False)
    ),
    "cannot be grouped: pages of latent layers": lambda: plan(
        [LATENT, Chunked(kv_heads=8, head_dim=96, chunk=64)], Server()
    ),
    "a bucket of unequal numbers has to be split": lambda: plan(
        [Full(kv_heads=1, head_dim=64), *[replace(WINDOW, head_dim=size) for size in [64] * 4 + [128] * 2]],
        Server(layout="blocks"),
    ),
    "layout must be one of layers, blocks, got 'columns'": lambda: Server(layout="columns"),
}


@pytest.mark.parametrize(("told", "ask"), BAD.items(), ids=BAD)
def test_what_cannot_be_planned_is_refused_by_name(ask, told):
    with pytest.raises(ValueError, match=told):
        ask()


@pytest.mark.parametrize(
    ("name", "bad"),
    [(name, bad) for name in ("max_model_len", "tensor_parallel", "block_size", "max_num_batched_tokens",
      "in_flight_batches", "state_bytes", "mtp_modules", "stages", "kernel_blocks", "num_gpu_blocks_override",
      "decode_context_parallel") for bad in (0, -1, 1.5, "16", True)]
    + [("speculative_tokens", -1), ("prefix_caching", 1), ("hybrid_manager", None), ("auto_fit", "yes"),
       ("kv_cache_dtype", "fp7"), ("kv_cache_dtype", 0), ("state_cache", "some"), ("rules", "0.19")],
)  # fmt: skip
def test_a_flag_that_is_none_is_refused_by_name(name, bad):
    with pytest.raises((TypeError, ValueError), match=name):
        Server(**{name: bad})


@pytest.mark.parametrize("version", ["", "new", None, 33])
def test_a_version_is_two_numbers_and_more(version):
    with pytest.raises(ValueError, match=r"version must be one such as 0\.33\.0"):
        rules_of(version)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16])
def test_a_length_of_numpy_needs_the_blocks_of_pythons(kind):
    layers = [Sliding(kv_heads=8, head_dim=64, window=128), Full(kv_heads=8, head_dim=64)]
    planned = plan(layers, Server(max_num_batched_tokens=512))
    for num_tokens in (1, 100, np.iinfo(kind).max):
        blocks = planned.blocks_for(kind(num_tokens))
        assert blocks == planned.blocks_for(int(num_tokens))
        assert set(map(type, blocks)) == {int}


@pytest.mark.parametrize("digits", ["9" * 5000, "٩"], ids=["long", "Arabic"])
@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("gpu", lambda digits: bytes_of("gpu", f"{digits}GB")),
        ("gpu", lambda digits: bytes_of("gpu", f"1.{digits} GiB")),
        ("printed", lambda digits: printed_as(f"{digits} GiB")),
        ("version", lambda digits: rules_of(f"0.{digits}")),
        ("version", lambda digits: rules_of(f"{digits}.9")),
    ],
)
def test_digits_that_python_reads_as_no_number_are_refused_by_name(name, ask, digits):
    with pytest.raises(ValueError, match=f"^{name} must be") as error:
        ask(digits)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("size", [float("nan"), float("inf"), np.float32("nan"), Fraction(10) ** 400, 0, -1])
def test_a_size_of_elements_is_finite_and_above_0(size):
    with pytest.raises(ValueError, match="kv_cache_dtype must"):
        Server(kv_cache_dtype=size)
