"""The forward pass and the reading of GGUF files, against a float64 pass that is written in `tiny_llama`."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from gguf import RopeScalingType
from tiny_llama import make_tiny, reference_logits, write_gguf

from paged_demo import dense_attention
from paged_demo.llm.cache import ContiguousCache, PagedCache
from paged_demo.llm.llama import _silu
from paged_demo.llm.load import _open, load, load_model, read_spec, read_weights
from paged_demo.llm.weights import BadWeightsError

SHAPES = {
    "grouped heads, untied": {},
    "tied": {"tied": True},
    "quantised": {"quantised": True},
    "quantised and tied": {"quantised": True, "tied": True},
    "one head of keys": {"num_kv_heads": 1},
    "as many heads of keys as of queries": {"num_kv_heads": 6, "num_layers": 2},
    "stretched": {"rope_factors": (1.0, 2.0, 3.5, 8.0)},
}


@pytest.fixture
def rng():
    """Random numbers that differ in every run. Pytest shows the seed of a test that fails."""
    seed = np.random.SeedSequence().entropy
    sys.stdout.write(f"rng = np.random.default_rng({seed})\n")
    return np.random.default_rng(seed)


@pytest.fixture
def written(rng, tmp_path):
    """Write a tiny model, load it, and return both."""

    def write(**shape):
        tiny = write_gguf(make_tiny(rng, **shape), tmp_path / "tiny.gguf")
        return tiny, load_model(tmp_path / "tiny.gguf")

    return write


def assert_close(logits, expected):
    assert logits.dtype == np.float32
    assert logits.shape == expected.shape
    error = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert error < 2e-5, error


def caches(model):
    return [
        PagedCache(model.spec, num_pages=9, page_size=4),
        ContiguousCache(model.spec, num_sequences=2, max_tokens=32),
        ContiguousCache(model.spec, num_sequences=2, max_tokens=32, tile_size=4),
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_a_whole_prompt_agrees_with_float64(name, written, rng):
    tiny, model = written(**SHAPES[name])
    token_ids = rng.integers(tiny.vocabulary, size=18).tolist()
    expected = reference_logits(tiny, token_ids)
    for cache in caches(model):
        cache.start("a", token_ids)
        logits = model.forward(token_ids, range(18), cache.attend_to({"a": 18}))
        assert_close(logits, expected)


@pytest.mark.parametrize("name", SHAPES)
def test_a_prompt_and_then_token_by_token_agrees_with_float64(name, written, rng):
    tiny, model = written(**SHAPES[name])
    token_ids = rng.integers(tiny.vocabulary, size=18).tolist()
    expected = reference_logits(tiny, token_ids)
    for cache in caches(model):
        cache.start("a", token_ids[:7])
        logits = [model.forward(token_ids[:7], range(7), cache.attend_to({"a": 7}))]
        for position in range(7, 18):
            cache.append("a", token_ids[position])
            logits.append(model.forward([token_ids[position]], [position], cache.attend_to({"a": 1})))
        assert_close(np.concatenate(logits), expected)


def test_a_ragged_step_of_several_sequences_agrees_with_float64(written, rng):
    tiny, model = written()
    texts = {name: rng.integers(tiny.vocabulary, size=size).tolist() for name, size in [("a", 5), ("b", 9)]}
    for cache in caches(model):
        for name, token_ids in texts.items():
            cache.start(name, token_ids)
        flat = texts["a"] + texts["b"]
        places = [*range(5), *range(9)]
        logits = model.forward(flat, places, cache.attend_to({"a": 5, "b": 9}))
        assert_close(logits, np.concatenate([reference_logits(tiny, each) for each in texts.values()]))


def test_only_the_rows_that_are_asked_for_become_logits(written):
    _, model = written()
    cache = PagedCache(model.spec, num_pages=9, page_size=4)
    cache.start("a", range(6))
    every = model.forward(range(6), range(6), cache.attend_to({"a": 6}))
    some = model.forward(range(6), range(6), cache.attend_to({"a": 6}), rows=[5, -2, 2])
    assert some.shape == (3, every.shape[1])
    assert np.allclose(some, every[[5, 4, 2]], rtol=1e-4, atol=1e-5)


def test_far_positions_turn_by_the_right_angles(written, rng):
    tiny, model = written(rope_base=10_000.0)
    token_ids = rng.integers(tiny.vocabulary, size=6).tolist()
    first = tiny.max_tokens - 6

    def attend(layer, queries, keys, values):
        return dense_attention(queries, keys, values)

    logits = model.forward(token_ids, range(first, first + 6), attend)
    assert_close(logits, reference_logits(tiny, token_ids, first_position=first))


def test_the_smooth_gate_cannot_overflow():
    x = np.array([-1e30, -100, -1, 0, 1, 100, 1e30], np.float32)
    assert np.allclose(_silu(x), [0, 0, -0.26894142, 0, 0.73105858, 100, 1e30], rtol=1e-6)


@pytest.mark.parametrize(
    ("token_ids", "positions", "error"),
    [
        ([71], [0], r"token_ids must be from 0 to 70, got 71 to 71"),
        ([-1], [0], r"token_ids must be from 0 to 70, got -1 to -1"),
        ([1], [9000], r"positions must be from 0 to 8999, got 9000 to 9000"),
        ([1, 2], [0], r"positions must be of the 2 tokens, got 1"),
        ([], [], r"token_ids must hold at least one number, got none"),
    ],
)
def test_bad_tokens_and_positions_are_named(written, token_ids, positions, error):
    _, model = written()
    with pytest.raises(ValueError, match=error):
        model.forward(token_ids, positions, None)


def test_a_token_that_is_no_whole_number_is_named(written):
    _, model = written()
    with pytest.raises(TypeError, match="token_ids must hold whole numbers, got float64"):
        model.forward([0.5], [0], None)


def test_the_spec_is_the_files_and_knows_what_a_token_takes(written):
    tiny, model = written()
    assert (model.spec.num_layers, model.spec.head_dim, model.spec.rope_base) == (3, 8, tiny.rope_base)
    assert model.spec.kv_bytes_per_token == 2 * 3 * 2 * 8 * 4
    assert repr(model) == "Llama(3 layers, 6 heads over 2)"


def test_a_spec_keeps_numbers_of_numpy_as_pythons_own(written):
    _, model = written()
    spec = replace(model.spec, num_layers=np.int8(100), head_dim=np.int8(100), rope_base=np.float32(1e4))
    assert spec.kv_bytes_per_token == 2 * 100 * 2 * 100 * 4
    assert {type(spec.kv_bytes_per_token), type(spec.rope_base)} == {int, float}


@pytest.mark.parametrize(
    ("field", "bad"),
    [("num_layers", 0), ("head_dim", 8.0), ("max_tokens", np.array(9)), ("num_kv_heads", [2, 2])]
    + [
        (name, bad) for name in ("rope_base", "norm_epsilon") for bad in (float("nan"), float("inf"), -1, "1")
    ],
)
def test_a_spec_of_numbers_that_are_none_is_refused_by_name(written, field, bad):
    _, model = written()
    with pytest.raises((TypeError, ValueError), match=f"{field} must be"):
        replace(model.spec, **{field: bad})


def test_what_a_file_need_not_say_is_what_the_format_takes_it_for(rng, tmp_path):
    """As many heads of keys as of queries, which share the hidden size; and the base of the first Llama."""
    tiny = make_tiny(rng, num_query_heads=4, num_kv_heads=4, hidden_size=32, rope_base=10_000.0)
    write_gguf(tiny, tmp_path / "tiny.gguf", by_default=True)
    spec = load_model(tmp_path / "tiny.gguf").spec
    assert (spec.num_kv_heads, spec.head_dim, spec.rope_base) == (4, 8, tiny.rope_base)


def test_tied_weights_are_kept_once(written):
    _, model = written(tied=True)
    assert model.weights.output is model.weights.embedding
    _, model = written(tied=False)
    assert model.weights.output is not model.weights.embedding


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"architecture": "qwen2"}, "must hold a model of the type llama, got 'qwen2'"),
        ({"rope_scaling": RopeScalingType.YARN}, "rotary positions must be unscaled, got 'yarn'"),
        ({"rope_scale_linear": 4.0}, r"rotary positions must be unscaled, got a scale of 4\.0"),
        ({"rope_dimensions": 4}, r"must turn all \d+ numbers of a head, got 4"),
        ({"leaving_out": ["blk.1.attn_k.weight"]}, "must hold a tensor 'blk.1.attn_k.weight', got none"),
        ({"key_length": 6}, r"query_key_value of layer 0 must have the shape \(60, 32\), got \(80, 32\)"),
    ],
)
def test_a_file_that_is_no_llama_says_so_and_is_named(rng, tmp_path, fields, error):
    write_gguf(make_tiny(rng), tmp_path / "other.gguf", **fields)
    with pytest.raises(BadWeightsError, match=rf"other\.gguf cannot be used: .*{error}"):
        load_model(tmp_path / "other.gguf")


@pytest.mark.parametrize(
    "name", ["blk.0.attn_q.bias", "blk.2.ffn_gate_exps.weight", "blk.0.attn_q_norm.weight"]
)
def test_a_tensor_that_no_plain_llama_has_is_not_left_unread(rng, tmp_path, name):
    tiny = make_tiny(rng)
    tiny.tensors[name] = np.ones(tiny.head_dim, np.float32)
    write_gguf(tiny, tmp_path / "other.gguf")
    with pytest.raises(
        BadWeightsError, match=rf"other\.gguf cannot be used: .* plain Llama, got {name!r} too"
    ):
        load_model(tmp_path / "other.gguf")


def test_positions_that_say_that_they_are_plain_are_read(rng, tmp_path):
    tiny = make_tiny(rng)
    write_gguf(tiny, tmp_path / "plain.gguf", rope_dimensions=tiny.head_dim, rope_scale_linear=1.0)
    assert load_model(tmp_path / "plain.gguf").spec.head_dim == tiny.head_dim


def test_matrices_that_do_not_fit_side_by_side_are_refused(rng, tmp_path):
    tiny = make_tiny(rng)
    tiny.tensors["blk.2.attn_k.weight"] = tiny.tensors["blk.2.attn_k.weight"][:, :-1]
    write_gguf(tiny, tmp_path / "other.gguf")
    with pytest.raises(BadWeightsError, match=r"other\.gguf cannot be used: .* dimension"):
        load_model(tmp_path / "other.gguf")


@pytest.mark.parametrize("kind", ["empty", "random", "random after the mark", "cut"])
def test_a_file_that_is_damaged_is_named(rng, tmp_path, kind):
    path = tmp_path / "other.gguf"
    write_gguf(make_tiny(rng), path)
    whole = path.read_bytes()
    load_model(path)
    sizes = [len(whole) // 2, *rng.integers(len(whole) - 64, size=20), *rng.integers(2000, size=20)]
    contents = {
        "empty": [b""],
        "random": [rng.bytes(5000)],
        "random after the mark": [whole[:8] + rng.bytes(5000) for _ in range(20)],
        "cut": [whole[:size] for size in sizes],
    }
    for content in contents[kind]:
        path.write_bytes(content)
        with pytest.raises(
            BadWeightsError, match=rf"other\.gguf must be a whole GGUF file, got {len(content):,}"
        ):
            load_model(path)


def test_how_far_loading_has_come_is_told_layer_by_layer(rng, tmp_path):
    write_gguf(make_tiny(rng), tmp_path / "tiny.gguf")
    told = []
    with _open(tmp_path / "tiny.gguf") as reader:
        spec = read_spec(reader)
        read_weights(reader, spec, progress=lambda layers: told.append(layers) or layers)
    assert told == [range(spec.num_layers)]


def test_a_file_without_a_tokenizer_gives_a_model_alone(rng, tmp_path):
    write_gguf(make_tiny(rng), tmp_path / "tiny.gguf")
    with pytest.raises(ValueError, match=r"the tokenizer must be a byte-level one \(gpt2\), got 'none'"):
        load(tmp_path / "tiny.gguf")
