"""The kernels against a float64 reference that is written here, on fresh random inputs in every run.

Errors are relative to the norm of the reference's output. An output is a mean of values: where these cancel,
an error relative to each single number would measure the cancelling.
"""

import math
import re
import sys
import tracemalloc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from amounts import amount
from hypothesis import given, settings
from hypothesis import strategies as st

from paged_demo import (
    CacheFullError,
    KVStore,
    PagedAllocator,
    dense_attention,
    paged_attention,
    paged_attention_pagewise,
    paged_attention_prefill,
)
from paged_demo.attention import kernels, quick_kernel

HEADS = [(1, 1), (8, 8), (32, 8), (9, 3)]
MAX_ERROR = {np.float16: 1e-3, np.float32: 1e-6, np.float64: 1e-12}


@pytest.fixture
def rng():
    """Random numbers that differ in every run. Pytest shows the seed of a test that fails."""
    seed = np.random.SeedSequence().entropy
    sys.stdout.write(f"rng = np.random.default_rng({seed})\n")
    return np.random.default_rng(seed)


def normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def reference(queries, keys, values):
    """Attend in float64, one query and one head at a time."""
    num_queries, num_query_heads, head_dim = queries.shape
    num_tokens, num_kv_heads, _ = keys.shape
    queries, keys, values = (array.astype(np.float64) for array in (queries, keys, values))
    outputs = np.zeros(queries.shape)
    for query in range(num_queries):
        num_seen = num_tokens - num_queries + query + 1
        for head in range(num_query_heads):
            kv_head = head * num_kv_heads // num_query_heads
            logits = keys[:num_seen, kv_head] @ queries[query, head] / math.sqrt(head_dim)
            weights = np.exp(logits - logits.max())
            outputs[query, head] = weights @ values[:num_seen, kv_head] / weights.sum()
    return outputs


def assert_close(outputs, expected, dtype=np.float32, num_tokens=1024):
    """Compare with the reference. Beyond 1,024 tokens the roundings of a sum add up as the root of its terms.

    How many lanes sum side by side is the processor's business: with AVX-512, OpenBLAS is three times as far
    off at 4,096 tokens as with AVX2.
    """
    assert outputs.dtype == dtype
    assert outputs.shape == expected.shape
    error = np.linalg.norm(outputs - expected) / np.linalg.norm(expected)
    assert error < MAX_ERROR[dtype] * math.sqrt(max(1, num_tokens / 1024)), error


def make_batch(rng, lengths, *, page_size, heads=(8, 8), head_dim=16, dtype=np.float32):
    """Put contexts into shuffled pages of a store with some to spare, and pad the tables with nonsense."""
    num_query_heads, num_kv_heads = heads
    counts = [-(-length // page_size) for length in lengths]
    store = KVStore(sum(counts) + 3, page_size, num_kv_heads, head_dim, dtype)
    shuffled = rng.permutation(store.num_pages)
    tables = rng.choice([-1, 0, 10**9, -(2**62)], (len(lengths), max(counts) + 1))
    keys, values = [], []
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        tables[row, :count], shuffled = shuffled[:count], shuffled[count:]
        keys.append(normal(rng, length, num_kv_heads, head_dim, dtype=dtype))
        values.append(normal(rng, length, num_kv_heads, head_dim, dtype=dtype))
        pages, offsets = np.divmod(np.arange(length), page_size)
        store.keys[tables[row, pages], :, :, offsets] = keys[row]
        store.values[tables[row, pages], :, offsets] = values[row]
    queries = normal(rng, len(lengths), num_query_heads, head_dim, dtype=dtype)
    return SimpleNamespace(
        store=store,
        pools=(store.keys, store.values),
        tables=tables,
        lengths=list(lengths),
        keys=keys,
        values=values,
        queries=queries,
    )


def write_first(batch):
    """Write the first context of a batch to its pages again."""
    page_size = batch.store.page_size
    pages, offsets = np.divmod(np.arange(batch.lengths[0]), page_size)
    batch.store.write(batch.tables[0][pages] * page_size + offsets, batch.keys[0], batch.values[0])


def expected_of(batch):
    contexts = zip(batch.queries, batch.keys, batch.values, strict=True)
    return np.stack([reference(query[np.newaxis], keys, values)[0] for query, keys, values in contexts])


def all_pagewise(batch):
    rows = zip(batch.queries, batch.tables, batch.lengths, strict=True)
    return np.stack([paged_attention_pagewise(query, *batch.pools, *row) for query, *row in rows])


def all_dense(batch):
    contexts = zip(batch.queries, batch.keys, batch.values, strict=True)
    return np.stack([dense_attention(query[np.newaxis], *context)[0] for query, *context in contexts])


def all_at_once(batch):
    return paged_attention(batch.queries, *batch.pools, batch.tables, batch.lengths)


def all_as_prefill(batch):
    rows = zip(batch.queries, batch.tables, batch.lengths, strict=True)
    return np.stack(
        [paged_attention_prefill(query[np.newaxis], *batch.pools, *row)[0] for query, *row in rows]
    )


WAYS = {"dense": all_dense, "pagewise": all_pagewise, "paged": all_at_once, "prefill": all_as_prefill}
PAGED_WAYS = {name: way for name, way in WAYS.items() if name != "dense"}
each_way = pytest.mark.parametrize("attend", WAYS.values(), ids=WAYS)
each_paged_way = pytest.mark.parametrize("attend", PAGED_WAYS.values(), ids=PAGED_WAYS)


def around(page_size):
    """Lengths around the boundaries of pages."""
    lengths = {
        1,
        page_size - 1,
        page_size,
        page_size + 1,
        2 * page_size,
        2 * page_size + 1,
        3 * page_size - 1,
    }
    return sorted(length for length in lengths if length)


@each_way
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("page_size", [1, 2, 3, 16, 64, 256])
def test_every_kernel_gives_the_reference_around_page_boundaries(rng, attend, heads, page_size):
    batch = make_batch(rng, around(page_size), page_size=page_size, heads=heads)
    assert_close(attend(batch), expected_of(batch))


@each_way
@pytest.mark.parametrize("head_dim", [1, 2, 7, 64, 80, 128])
def test_every_kernel_gives_the_reference_for_every_head_size(rng, attend, head_dim):
    batch = make_batch(rng, [1, 15, 16, 17, 33, 100], page_size=16, heads=(4, 2), head_dim=head_dim)
    assert_close(attend(batch), expected_of(batch))


@each_way
@pytest.mark.parametrize("page_size", [1, 16, 256])
def test_every_kernel_gives_the_reference_for_long_contexts(rng, attend, page_size):
    batch = make_batch(rng, [4096, 4095, 1023], page_size=page_size, heads=(8, 2), head_dim=32)
    assert_close(attend(batch), expected_of(batch), num_tokens=4096)


@each_paged_way
def test_a_mean_of_ones_is_one_however_many_pages_it_is_summed_over(rng, attend, monkeypatch):
    """The sum of the weights is kept in float64: in float32 it would lose a little with every page."""
    monkeypatch.setattr(quick_kernel, "SCORES_AT_ONCE", 1)
    batch = make_batch(rng, [4096], page_size=1, heads=(2, 2), head_dim=4)
    batch.store.values[:] = 1
    np.testing.assert_array_max_ulp(attend(batch), np.ones((1, 2, 4), np.float32), maxulp=2)


@each_way
@pytest.mark.parametrize("dtype", MAX_ERROR)
def test_every_kernel_keeps_the_type_and_its_precision(rng, attend, dtype):
    batch = make_batch(rng, [1, 17, 40], page_size=16, heads=(6, 2), dtype=dtype)
    assert_close(attend(batch), expected_of(batch), dtype)


@each_way
def test_float16_is_computed_in_float32(rng, attend):
    batch = make_batch(rng, [40, 300], page_size=16, dtype=np.float16)
    batch.queries = batch.queries.astype(np.float32)
    assert_close(attend(batch), expected_of(batch), np.float32)


def test_no_scale_turns_float32_into_float64(rng):
    rows = kernels.group_heads(normal(rng, 1, 4, 8), 2, np.dtype(np.float32))
    assert rows.dtype == np.float32


@each_way
def test_float16_logits_may_exceed_what_float16_can_hold(attend):
    batch = make_batch(np.random.default_rng(0), [20], page_size=16, head_dim=64, dtype=np.float16)
    batch.queries[:] = 1000
    batch.keys[0][:] = 1000
    write_first(batch)
    assert_close(attend(batch), expected_of(batch), np.float16)


def adversarial_logits(kind, num_tokens):
    """Logits that overflow, underflow, or rise so that every page must rescale the ones before it.

    They are multiples of 4 below 2**14, so float32 holds them exactly, and the softmax has no excuse.
    """
    logits = {
        "rising": np.linspace(-10_000, 10_000, num_tokens),
        "falling": np.linspace(10_000, -10_000, num_tokens),
        "alternating": np.where(np.arange(num_tokens) % 2, 10_000, -10_000),
        "all high": np.full(num_tokens, 10_000),
        "all low": np.full(num_tokens, -10_000),
        "one high at the end": np.where(np.arange(num_tokens) == num_tokens - 1, 10_000, -10_000),
        "small steps up": 4 * (np.arange(num_tokens) // 8),
    }
    return 4 * np.round(logits[kind] / 4)


@each_way
@pytest.mark.parametrize("num_tokens", [1, 31, 700])
@pytest.mark.parametrize(
    "kind",
    ["rising", "falling", "alternating", "all high", "all low", "one high at the end", "small steps up"],
)
def test_huge_logits_neither_overflow_nor_lose_the_answer(rng, attend, kind, num_tokens, monkeypatch):
    monkeypatch.setattr(quick_kernel, "SCORES_AT_ONCE", 64)
    batch = make_batch(rng, [num_tokens], page_size=4, heads=(2, 1), head_dim=4)
    batch.queries[:] = 1
    batch.keys[0][:] = adversarial_logits(kind, num_tokens)[:, np.newaxis, np.newaxis] / 2
    batch.values[0][:] = rng.uniform(1, 2, (num_tokens, 1, 4))
    write_first(batch)
    assert_close(attend(batch), expected_of(batch))


@each_way
def test_random_logits_of_ten_thousand_that_float32_holds_exactly_lose_nothing(rng, attend):
    batch = make_batch(rng, [700], page_size=16, heads=(4, 2), head_dim=64)
    batch.queries[:] = rng.choice([-1, 1], batch.queries.shape)
    logits = 10_000 + 0.25 * rng.integers(0, 40, (700, 2))
    for key, high in zip(batch.keys[0].reshape(-1, 64), logits.ravel(), strict=True):
        # Pairs that cancel for most queries, and one number that takes the logit near to 10,000.
        key[:] = np.repeat(rng.integers(-4, 5, 32), 2)
        key[0] += 8 * high
    write_first(batch)
    assert_close(attend(batch), expected_of(batch))


@each_way
def test_random_logits_of_ten_thousand_err_no_more_than_their_float32_scores(rng, attend):
    batch = make_batch(rng, [700], page_size=16, heads=(4, 2), head_dim=64)
    batch.queries *= 3_000
    expected = expected_of(batch)
    sizes = np.abs(batch.queries[0].reshape(2, 2, 64)) @ np.abs(batch.keys[0]).transpose(1, 2, 0) / 8
    # A sum of 64 products is exact to 64 roundings at most; each weight errs by as much as its score and
    # the highest one, and the sum of the weights once more.
    bound = 4 * 66 * 2.0**-24 * sizes.max()
    error = np.linalg.norm(attend(batch) - expected) / np.linalg.norm(expected)
    assert error < bound


@each_way
@pytest.mark.parametrize("score", [1e32, -1e32])
def test_a_huge_finite_score_overflows_nowhere(rng, attend, score):
    batch = make_batch(rng, [20], page_size=4, heads=(2, 1), head_dim=4)
    batch.queries[:] = 1
    batch.keys[0][:] = score / 2
    write_first(batch)
    assert_close(attend(batch), expected_of(batch))


@each_way
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_that_overflow_to_minus_infinity_weigh_nothing(rng, attend, dtype, monkeypatch):
    monkeypatch.setattr(quick_kernel, "SCORES_AT_ONCE", 8)
    batch = make_batch(rng, [20], page_size=4, heads=(2, 1), head_dim=4, dtype=dtype)
    batch.queries[:] = 2
    batch.keys[0][:8] = np.finfo(dtype).min
    write_first(batch)
    with np.errstate(over="ignore"):
        outputs = attend(batch)
    only_finite = reference(batch.queries[:1], batch.keys[0][8:], batch.values[0][8:])
    assert_close(outputs, only_finite, dtype)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(
    ("num_tokens", "num_queries"),
    [(1, 1), (16, 16), (17, 17), (40, 7), (40, 24), (40, 25), (100, 33), (129, 64)],
)
def test_a_chunk_of_queries_sees_the_tokens_up_to_each_of_them(rng, heads, num_tokens, num_queries):
    batch = make_batch(rng, [num_tokens], page_size=8, heads=heads)
    queries = normal(rng, num_queries, heads[0], 16)
    expected = reference(queries, batch.keys[0], batch.values[0])
    assert_close(dense_attention(queries, batch.keys[0], batch.values[0]), expected)
    outputs = paged_attention_prefill(queries, *batch.pools, batch.tables[0], num_tokens)
    assert_close(outputs, expected)


@pytest.mark.parametrize("dtype", MAX_ERROR)
def test_a_chunk_of_queries_keeps_its_type(rng, dtype):
    batch = make_batch(rng, [50], page_size=16, dtype=dtype)
    queries = normal(rng, 40, 8, 16, dtype=dtype)
    expected = reference(queries, batch.keys[0], batch.values[0])
    outputs = paged_attention_prefill(queries, *batch.pools, batch.tables[0], 50)
    assert_close(outputs, expected, dtype)


@given(data=st.data())
@settings(max_examples=amount(short=10, long=60))
def test_the_quick_kernel_is_the_readable_one_however_it_is_cut(data):
    """The sizes of its pieces are a matter of speed alone."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    page_size = data.draw(st.integers(1, 9), label="page_size")
    lengths = data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=4), label="lengths")
    heads = data.draw(st.sampled_from([(1, 1), (4, 2), (9, 3)]), label="heads")
    batch = make_batch(rng, lengths, page_size=page_size, heads=heads, head_dim=3, dtype=np.float64)
    num_queries = data.draw(st.integers(1, lengths[0]), label="num_queries")
    queries = normal(rng, num_queries, heads[0], 3, dtype=np.float64)
    with pytest.MonkeyPatch.context() as patch:
        for name, largest in (("BYTES_AT_ONCE", 5000), ("SCORES_AT_ONCE", 2000), ("QUERIES_AT_ONCE", 9)):
            patch.setattr(quick_kernel, name, data.draw(st.integers(1, largest), label=name))
        decoded = all_at_once(batch)
        prefilled = paged_attention_prefill(queries, *batch.pools, batch.tables[0], lengths[0])
    assert_close(decoded, all_pagewise(batch), np.float64)
    assert_close(prefilled, reference(queries, batch.keys[0], batch.values[0]), np.float64)


@each_paged_way
def test_the_place_of_the_pages_does_not_move_a_single_bit(rng, attend):
    batch = make_batch(rng, [100, 47], page_size=8, heads=(4, 2))
    before = attend(batch)
    new_place = rng.permutation(batch.store.num_pages)
    moved = KVStore(batch.store.num_pages, 8, 2, 16)
    moved.keys[new_place], moved.values[new_place] = batch.pools
    batch.pools = moved.keys, moved.values
    for row, length in enumerate(batch.lengths):
        batch.tables[row, : -(-length // 8)] = new_place[batch.tables[row, : -(-length // 8)]]
    assert np.array_equal(attend(batch), before)


@each_paged_way
def test_the_size_of_the_pages_may_move_the_last_bits_and_no_more(rng, attend):
    large = make_batch(rng, [100, 47], page_size=8, heads=(4, 2))
    small = make_batch(rng, [100, 47], page_size=4, heads=(4, 2))
    small.queries = large.queries
    for row, length in enumerate(small.lengths):
        slots = small.tables[row][:, np.newaxis] * 4 + np.arange(4)
        small.store.write(slots.ravel()[:length], large.keys[row], large.values[row])
    outputs = attend(large), attend(small)
    assert not np.array_equal(*outputs)
    assert_close(*outputs, np.float32)


def test_gathered_keys_and_values_give_dense_attention_bit_for_bit(rng):
    store = KVStore(40, 16, 8, 64)
    slots = rng.permutation(store.num_slots)[:600]
    keys, values = normal(rng, 600, 8, 64), normal(rng, 600, 8, 64)
    store.write(slots, keys, values)
    for num_queries in (1, 50):
        queries = normal(rng, num_queries, 32, 64)
        gathered = dense_attention(queries, *store.gather(slots))
        assert np.array_equal(gathered, dense_attention(queries, keys, values))


@each_paged_way
def test_sequences_may_share_pages(rng, attend):
    batch = make_batch(rng, [40, 40, 33], page_size=8)
    for row in (1, 2):
        batch.tables[row, :3] = batch.tables[0, :3]
        batch.keys[row][:24] = batch.keys[0][:24]
        batch.values[row][:24] = batch.values[0][:24]
    assert_close(attend(batch), expected_of(batch))


def test_the_other_sequences_of_a_batch_do_not_move_a_single_bit(rng):
    batch = make_batch(rng, [1, 16, 200, 33], page_size=16)
    together = all_at_once(batch)
    for row in range(4):
        alone = paged_attention(
            batch.queries[[row]], *batch.pools, batch.tables[[row]], batch.lengths[row : row + 1]
        )
        assert np.array_equal(alone[0], together[row])


@each_paged_way
@pytest.mark.parametrize("pool", [0, 1], ids=["keys", "values"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30])
def test_slots_beyond_the_context_are_not_read(rng, attend, pool, poison):
    batch = make_batch(rng, [1, 15, 17, 33], page_size=16)
    expected = attend(batch)
    unwritten = np.isnan(batch.pools[pool])
    assert unwritten.any()
    batch.pools[pool][unwritten] = poison
    assert np.array_equal(attend(batch), expected)


@each_paged_way
@pytest.mark.parametrize("pool", [0, 1], ids=["keys", "values"])
@pytest.mark.parametrize("position", [0, 16, 32, 34])
def test_one_slot_that_was_never_written_makes_the_output_nan(rng, attend, pool, position):
    batch = make_batch(rng, [35, 20], page_size=16)
    page_id, offset = batch.tables[0, position // 16], position % 16
    slot = (page_id, slice(None), slice(None), offset) if pool == 0 else (page_id, slice(None), offset)
    batch.pools[pool][slot] = np.nan
    outputs = attend(batch)
    assert np.isnan(outputs[0]).all()
    assert not np.isnan(outputs[1]).any()


@each_paged_way
def test_a_length_that_is_one_too_large_gives_nan(rng, attend):
    batch = make_batch(rng, [35, 20], page_size=16)
    batch.lengths[0] += 1
    outputs = attend(batch)
    assert np.isnan(outputs[0]).all()
    assert not np.isnan(outputs[1]).any()


@each_paged_way
def test_a_kernel_changes_neither_the_pool_nor_what_it_is_given(rng, attend):
    batch = make_batch(rng, [35, 20], page_size=16)
    given = [*batch.pools, batch.queries, batch.tables]
    before = [array.copy() for array in given]
    attend(batch)
    for array, copy in zip(given, before, strict=True):
        assert np.array_equal(array, copy, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_tables_and_lengths_may_be_any_integers(rng, dtype):
    batch = make_batch(rng, [35, 20], page_size=16)
    expected = all_at_once(batch)
    batch.tables = np.where(batch.tables < 0, 127, batch.tables % 2**7).astype(dtype)
    batch.lengths = np.array(batch.lengths, dtype)
    assert np.array_equal(all_at_once(batch), expected)


def test_arrays_need_not_be_contiguous(rng):
    batch = make_batch(rng, [35, 20], page_size=16)
    batch.pools = [np.repeat(pool, 2, axis=0)[::2] for pool in batch.pools]
    batch.queries = np.asfortranarray(batch.queries)
    batch.tables = np.asfortranarray(batch.tables)
    assert_close(all_at_once(batch), expected_of(batch))


def peak_bytes(attend):
    attend()
    tracemalloc.start()
    attend()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("num_queries", [1, 64])
def test_the_memory_of_the_quick_kernel_does_not_grow_with_the_context(num_queries):
    """The shorter context fills what the kernel takes at once; of the longer one only the table is longer."""
    num_pages = amount(short=(4096, 8192), long=(8192, 32_768))
    pools = np.ones((num_pages[1], 1, 4, 16), np.float32), np.ones((num_pages[1], 1, 16, 4), np.float32)
    queries = np.ones((num_queries, 8, 4), np.float32)
    tables = [*map(np.arange, num_pages)]
    short, long = (
        peak_bytes(partial(paged_attention_prefill, queries, *pools, table, 16 * len(table)))
        for table in tables
    )
    assert long - short < 1.5 * tables[1].nbytes
    assert long < 4 * (quick_kernel.BYTES_AT_ONCE + 4 * quick_kernel.SCORES_AT_ONCE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_buffer_of_the_quick_kernel_takes_the_bytes_that_it_is_given(dtype):
    pools = np.ones((2, 3, 8, 16), dtype), np.ones((2, 3, 16, 8), dtype)
    buffer = quick_kernel._make_buffer(np.ones((1, 3, 8), dtype), *pools)
    assert quick_kernel.BYTES_AT_ONCE - buffer[0].nbytes < buffer.nbytes <= quick_kernel.BYTES_AT_ONCE


class TinyModel:
    """An allocator and a store, with keys and values that depend on the whole prefix, as in a model."""

    def __init__(self, num_pages, page_size, rng):
        self.allocator = PagedAllocator(num_pages, page_size, prefix_caching=True)
        self.store = KVStore(num_pages, page_size, num_kv_heads=2, head_dim=8, dtype=np.float64)
        self.tokens = {}
        self.rng = rng

    def kv(self, prefix):
        return np.random.default_rng([len(prefix), *prefix]).standard_normal((2, 1, 2, 8))

    def write(self, slot, prefix):
        keys, values = self.kv(prefix)
        self.store.write([slot], keys, values)

    def allocate(self, seq_id, tokens):
        num_found = self.allocator.allocate(seq_id, tokens)
        self.tokens[seq_id] = list(tokens)
        for position in range(num_found, len(tokens)):
            self.write(self.allocator.slots(seq_id)[position], tokens[: position + 1])
        return num_found

    def append(self, seq_id, token):
        slot, copy = self.allocator.append(seq_id, token)
        if copy is not None:
            self.store.copy_page(*copy)
        self.tokens[seq_id].append(token)
        self.write(slot, self.tokens[seq_id])
        return copy

    def fork(self, parent_id, child_id):
        self.allocator.fork(parent_id, child_id)
        self.tokens[child_id] = self.tokens[parent_id].copy()

    def free(self, seq_id):
        self.allocator.free(seq_id)
        del self.tokens[seq_id]

    def check(self):
        """Compare attention over the pages with attention over what the tokens say."""
        seq_ids = list(self.tokens)
        if not seq_ids:
            return
        lengths = [len(self.tokens[seq_id]) for seq_id in seq_ids]
        found = [self.allocator.page_table(seq_id) for seq_id in seq_ids]
        tables = [table + [-7] * (max(map(len, found)) - len(table)) for table in found]
        queries = self.rng.standard_normal((len(seq_ids), 4, 8))
        outputs = paged_attention(queries, self.store.keys, self.store.values, tables, lengths)
        for query, output, seq_id in zip(queries, outputs, seq_ids, strict=True):
            tokens = self.tokens[seq_id]
            kv = [self.kv(tokens[: position + 1]) for position in range(len(tokens))]
            keys, values = np.concatenate(kv, axis=1)
            assert_close(output[np.newaxis], reference(query[np.newaxis], keys, values), np.float64)


def test_a_fork_that_writes_leaves_its_parent_as_it_was(rng):
    model = TinyModel(8, 4, rng)
    model.allocate("a", [1, 2, 3, 4, 5])
    model.fork("a", "b")
    assert model.append("b", 6) == (1, 2)
    assert model.append("a", 7) is None
    model.check()
    assert model.allocator.page_table("a")[0] == model.allocator.page_table("b")[0]


def test_a_prompt_attends_to_the_pages_of_a_prefix_that_was_found(rng):
    model = TinyModel(8, 4, rng)
    model.allocate("a", range(11))
    model.free("a")
    assert model.allocate("b", range(11)) == 8
    model.check()
    queries = rng.standard_normal((3, 4, 8))
    kv = [model.kv(list(range(position + 1))) for position in range(11)]
    keys, values = np.concatenate(kv, axis=1)
    table = model.allocator.page_table("b")
    outputs = paged_attention_prefill(queries, model.store.keys, model.store.values, table, 11)
    assert_close(outputs, reference(queries, keys, values), np.float64)


@given(data=st.data())
@settings(max_examples=amount(short=8, long=25))
def test_an_allocator_and_a_store_give_dense_attention_in_any_history(data):
    model = TinyModel(8, 3, np.random.default_rng(0))
    for step in range(data.draw(st.integers(1, 25))):
        choices = ["allocate", *(["append", "append", "append", "fork", "free"] if model.tokens else [])]
        action = data.draw(st.sampled_from(choices))
        seq_id = data.draw(st.sampled_from(sorted(model.tokens))) if model.tokens else None
        try:
            if action == "allocate":
                model.allocate(step, data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=8)))
            elif action == "append":
                model.append(seq_id, data.draw(st.integers(0, 1)))
            elif action == "fork":
                model.fork(seq_id, step)
            else:
                model.free(seq_id)
        except CacheFullError:
            model.free(min(model.tokens))
    model.check()


GOOD = SimpleNamespace(
    queries=np.ones((2, 4, 8), np.float32),
    key_pages=np.ones((5, 2, 8, 16), np.float32),
    value_pages=np.ones((5, 2, 16, 8), np.float32),
    page_tables=[[0, 1], [2, 3]],
    context_lens=[32, 17],
)

BAD_ARGUMENTS = [
    ("queries", np.ones((2, 32), np.float32), ValueError, "queries must have the shape (num_seqs, num_qu"),
    (
        "queries",
        np.ones((2, 4, 8), np.int64),
        TypeError,
        "queries must be float16, float32 or float64, got int64",
    ),
    ("queries", [[[1.0]]], TypeError, "queries must be a numpy array, got list"),
    ("queries", np.ones((0, 4, 8)), ValueError, "queries must have no empty axis, got the shape (0, 4, 8)"),
    (
        "queries",
        np.ones((2, 5, 8)),
        ValueError,
        "queries must have a multiple of the 2 heads of the keys",
    ),
    (
        "queries",
        np.ones((2, 4, 7)),
        ValueError,
        "key_pages must have the shape (5, 2, 7, 16), got (5, 2",
    ),
    ("key_pages", np.ones((2, 8, 16)), ValueError, "key_pages must have the shape (num_pages, num_kv_heads"),
    (
        "key_pages",
        np.ones((5, 2, 16, 8)),
        ValueError,
        "key_pages must have the shape (5, 2, 8, 8), got (5, ",
    ),
    (
        "key_pages",
        np.ones((5, 2, 8, 16), bool),
        TypeError,
        "key_pages must be float16, float32 or float64",
    ),
    ("value_pages", np.ones((5, 2, 8, 16)), ValueError, "value_pages must have the shape (5, 2, 16, 8), got"),
    ("value_pages", np.ones((4, 2, 16, 8)), ValueError, "value_pages must have the shape (5, 2, 16, 8), got"),
    (
        "value_pages",
        np.ones((5, 2, 16, 8), complex),
        TypeError,
        "value_pages must be float16, float32 or fl",
    ),
    ("page_tables", [[0, 1], [5, 0]], ValueError, "page_tables[1] must name pages from 0 to 4, got 0 to 5"),
    ("page_tables", [[0, -1], [2, 3]], ValueError, "page_tables[0] must name pages from 0 to 4, got -1 to 0"),
    ("page_tables", [[0, 1], [2, 2]], ValueError, "page_tables[1] must name each page once, got 2 again"),
    (
        "page_tables",
        np.ma.masked_array([[0, 1], [2, 3]], mask=False),
        TypeError,
        "page_tables must have no masked numbers, got a MaskedArray",
    ),
    (
        "queries",
        np.ma.masked_array(np.ones((2, 4, 8)), mask=False),
        TypeError,
        "queries must be a numpy array, got MaskedArray",
    ),
    ("page_tables", [[0, 1]], ValueError, "page_tables must be of the 2 sequences of the queries, got 1"),
    (
        "page_tables",
        [[0, 1], [2]],
        ValueError,
        "page_tables must have rows of equal length, got [[0, 1]",
    ),
    ("page_tables", [0, 1], ValueError, "page_tables must have 2 axes, got the shape (2,)"),
    ("page_tables", [[0.0, 1.0], [2, 3]], TypeError, "page_tables must hold whole numbers, got float64"),
    ("page_tables", [[True, True]] * 2, TypeError, "page_tables must hold whole numbers, got bool"),
    ("page_tables", ((0, True), (2, 3)), TypeError, "page_tables must hold whole numbers, got True or False"),
    ("context_lens", [32, 0], ValueError, "context_lens[1] must be from 1 to 32 (2 pages of 16), got 0"),
    ("context_lens", [-1, 1], ValueError, "context_lens[0] must be from 1 to 32 (2 pages of 16), got -1"),
    ("context_lens", [33, 1], ValueError, "context_lens[0] must be from 1 to 32 (2 pages of 16), got 33"),
    ("context_lens", [32], ValueError, "context_lens must be of the 2 sequences of the queries, got 1"),
    ("context_lens", [1.5, 2.0], TypeError, "context_lens must hold whole numbers, got float64"),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), BAD_ARGUMENTS)
def test_a_bad_argument_of_the_batch_is_named(name, value, error, message):
    arguments = vars(GOOD) | {name: value}
    with pytest.raises(error, match=re.escape(message)):
        paged_attention(**arguments)


BAD_ARGUMENTS_OF_ONE = [
    ("page_table", [0, 5], ValueError, "page_table must name pages from 0 to 4, got 0 to 5"),
    ("page_table", [0, -1], ValueError, "page_table must name pages from 0 to 4, got -1 to 0"),
    ("page_table", [3, 3], ValueError, "page_table must name each page once, got 3 again"),
    ("page_table", [[0, 1]], ValueError, "page_table must have 1 axis, got the shape (1, 2)"),
    ("page_table", [], ValueError, "num_tokens must be from 1 to 0 (0 pages of 16), got 20"),
    ("page_table", "01", TypeError, "page_table must hold whole numbers, got <U2"),
    ("num_tokens", 33, ValueError, "num_tokens must be from 1 to 32 (2 pages of 16), got 33"),
    ("num_tokens", 0, ValueError, "num_tokens must be at least 1, got 0"),
    ("num_tokens", 20.0, TypeError, "num_tokens must be a whole number, got 20.0"),
    ("value_pages", np.ones((5, 1, 16, 8)), ValueError, "value_pages must have the shape (5, 2, 16, 8), got"),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), BAD_ARGUMENTS_OF_ONE)
@pytest.mark.parametrize("attend", [paged_attention_pagewise, paged_attention_prefill])
def test_a_bad_argument_of_one_sequence_is_named(attend, name, value, error, message):
    first = ("query", GOOD.queries[0]) if attend is paged_attention_pagewise else ("queries", GOOD.queries)
    good = {"key_pages": GOOD.key_pages, "value_pages": GOOD.value_pages, "page_table": [0, 1]}
    arguments = dict([first]) | good | {"num_tokens": 20, name: value}
    with pytest.raises(error, match=re.escape(message)):
        attend(**arguments)


def test_bad_queries_of_one_sequence_are_named():
    pools = GOOD.key_pages, GOOD.value_pages
    with pytest.raises(ValueError, match="query must have a multiple of the 2 heads of the keys, got 3"):
        paged_attention_pagewise(np.ones((3, 8)), *pools, [0, 1], 20)
    with pytest.raises(ValueError, match=r"query must have the shape \(num_query_heads, head_dim\), got"):
        paged_attention_pagewise(np.ones((1, 4, 8)), *pools, [0, 1], 20)
    with pytest.raises(ValueError, match="queries must be of at most the 20 tokens of the context, got 21"):
        paged_attention_prefill(np.ones((21, 4, 8)), *pools, [0, 1], 20)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4, 8), (5, 2, 8), (5, 2, 7)), "values must have the shape (5, 2, 8), got (5, 2, 7)"),
        (((1, 4, 8), (5, 2, 7), (5, 2, 7)), "keys must have the shape (5, 2, 8), got (5, 2, 7)"),
        (((1, 4, 8), (5, 16), (5, 16)), "keys must have the shape (num_tokens, num_kv_heads, head_dim), got"),
        (((1, 3, 8), (5, 2, 8), (5, 2, 8)), "queries must have a multiple of the 2 heads of the keys, got 3"),
        (((6, 4, 8), (5, 2, 8), (5, 2, 8)), "queries must be of at most the 5 tokens of the keys, got 6"),
        (((4, 8), (5, 2, 8), (5, 2, 8)), "queries must have the shape (num_queries, num_query_heads, head_d"),
    ],
)
def test_a_bad_argument_of_dense_attention_is_named(shapes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dense_attention(*(np.ones(shape) for shape in shapes))
