"""Attention where layers keep less: kernels with a window, over the pages of a sliding group, and latents."""

import numpy as np
import pytest
from test_kernels import assert_close, make_batch, normal, rng  # noqa: F401 - a fixture

from paged_demo import (
    FullGroup,
    GroupedAllocator,
    KVStore,
    SlidingGroup,
    dense_attention,
    paged_attention,
    paged_attention_pagewise,
    paged_attention_prefill,
)
from paged_demo.attention import quick_kernel
from paged_demo.attention.latent import latent_attention, latent_attention_naive

WINDOWS = [1, 2, 7, 16, 17, 40, 1000]
LENGTHS = [1, 15, 16, 17, 33, 100]


def masked(queries, keys, values, window):
    """Attend in float64 to all tokens, with a mask over those that are not seen."""
    num_queries, num_heads, head_dim = queries.shape
    num_tokens, num_kv_heads, _ = keys.shape
    outputs = np.zeros(queries.shape)
    own = np.arange(num_tokens - num_queries, num_tokens)[:, np.newaxis]
    tokens = np.arange(num_tokens)
    is_seen = (tokens <= own) & (tokens > own - window)
    for head in range(num_heads):
        kv_head = head * num_kv_heads // num_heads
        logits = queries[:, head].astype(np.float64) @ keys[:, kv_head].T / np.sqrt(head_dim)
        logits = np.where(is_seen, logits, -np.inf)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        outputs[:, head] = weights @ values[:, kv_head] / weights.sum(axis=1, keepdims=True)
    return outputs


def poison_behind(batch, window, *, num_queries=1):
    """Forget all that no query sees: NaN in its slots, and no page where a whole one is behind."""
    page_size = batch.store.page_size
    for table, length in zip(batch.tables, batch.lengths, strict=True):
        first = max(0, length - num_queries + 1 - window)
        for position in range(first):
            page_id, offset = table[position // page_size], position % page_size
            batch.store.keys[page_id, :, :, offset] = np.nan
            batch.store.values[page_id, :, offset] = np.nan
        table[: first // page_size] = -1


def pagewise(batch, window):
    rows = zip(batch.queries, batch.tables, batch.lengths, strict=True)
    return np.stack(
        [paged_attention_pagewise(query, *batch.pools, *row, window=window) for query, *row in rows]
    )


def at_once(batch, window):
    return paged_attention(batch.queries, *batch.pools, batch.tables, batch.lengths, window=window)


@pytest.mark.parametrize("attend", [pagewise, at_once])
@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("window", WINDOWS)
def test_keys_behind_the_window_are_not_read(rng, attend, page_size, window):  # noqa: F811
    batch = make_batch(rng, LENGTHS, page_size=page_size, heads=(4, 2))
    contexts = zip(batch.queries, batch.keys, batch.values, strict=True)
    expected = np.stack([masked(query[np.newaxis], *context, window)[0] for query, *context in contexts])
    poison_behind(batch, window)
    assert_close(attend(batch, window), expected)


@pytest.mark.parametrize("scores_at_once", [1, quick_kernel.SCORES_AT_ONCE])
@pytest.mark.parametrize("window", WINDOWS)
def test_every_query_of_a_prompt_has_a_window_of_its_own(rng, monkeypatch, window, scores_at_once):  # noqa: F811
    monkeypatch.setattr(quick_kernel, "SCORES_AT_ONCE", scores_at_once)
    for num_queries, length in ((1, 90), (5, 90), (40, 90), (90, 90), (3, 3)):
        batch = make_batch(rng, [length], page_size=16, heads=(4, 2))
        queries = normal(rng, num_queries, 4, 16)
        expected = masked(queries, batch.keys[0], batch.values[0], window)
        assert_close(dense_attention(queries, batch.keys[0], batch.values[0], window=window), expected)
        poison_behind(batch, window, num_queries=num_queries)
        came = paged_attention_prefill(queries, *batch.pools, batch.tables[0], length, window=window)
        assert_close(came, expected)


def test_without_a_window_a_poisoned_key_is_read(rng):  # noqa: F811
    batch = make_batch(rng, [40], page_size=16)
    batch.store.values[batch.tables[0, 0]] = np.nan
    assert np.isnan(at_once(batch, None)).all()
    assert np.isnan(at_once(batch, 25)).any()
    assert not np.isnan(at_once(batch, 24)).any()


def test_attention_reads_what_a_sliding_group_still_holds(rng):  # noqa: F811
    """The pages that it gave back are written by somebody else meanwhile."""
    allocator = GroupedAllocator(24, 4, [FullGroup(), SlidingGroup(window=10)])
    store, keys, values = KVStore(24, 4, 2, 8), normal(rng, 60, 2, 8), normal(rng, 60, 2, 8)
    allocator.allocate("a", range(20))
    store.write(allocator.slots("a", 1), keys[:20], values[:20])
    for position in range(20, 45):
        slot, _ = allocator.append("a", position)[1]
        for page_id in set(range(24)) - {page for table in allocator.page_tables("a") for page in table}:
            store.keys[page_id] = store.values[page_id] = np.nan
        store.write([slot], keys[position : position + 1], values[position : position + 1])
        query = normal(rng, 1, 4, 8)
        table = [-1 if page is None else page for page in allocator.page_tables("a")[1]]
        came = paged_attention(query, store.keys, store.values, [table], [position + 1], window=10)
        assert_close(came, masked(query, keys[: position + 1], values[: position + 1], 10))


@pytest.mark.parametrize("window", [0, -1, 2.5, True, "16"])
def test_a_window_that_is_none_is_refused_by_name(rng, window):  # noqa: F811
    batch = make_batch(rng, [20], page_size=16)
    for attend in (pagewise, at_once):
        with pytest.raises((ValueError, TypeError), match=r"^window must be "):
            attend(batch, window)
    with pytest.raises((ValueError, TypeError), match=r"^window must be "):
        dense_attention(batch.queries, batch.keys[0], batch.values[0], window=window)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_tokens", [1, 7, 300])
def test_absorbed_projections_change_nothing_but_the_rounding(rng, dtype, num_tokens):  # noqa: F811
    num_heads, head_dim, latent_dim, rope_dim = 6, 16, 24, 8
    shapes = ((num_heads, head_dim), (num_heads, rope_dim), (num_tokens, latent_dim), (num_tokens, rope_dim))
    given = [normal(rng, *shape, dtype=dtype) for shape in shapes]
    to_keys, to_values = (normal(rng, num_heads, head_dim, latent_dim, dtype=dtype) / 5 for _ in range(2))
    exact = latent_attention_naive(
        *(array.astype(np.float64) for array in given),
        to_keys=to_keys.astype(np.float64),
        to_values=to_values.astype(np.float64),
    )
    for attend in (latent_attention_naive, latent_attention):
        came = attend(*given, to_keys=to_keys, to_values=to_values)
        assert came.dtype == dtype
        error = np.linalg.norm(came - exact) / np.linalg.norm(exact)
        assert error < (1e-5 if dtype == np.float32 else 1e-12)


def test_naive_latent_attention_is_dense_attention_with_the_position_appended_to_each_key(rng):  # noqa: F811
    query, rope_query = normal(rng, 3, 8, dtype=np.float64), normal(rng, 3, 4, dtype=np.float64)
    latents, ropes = normal(rng, 20, 10, dtype=np.float64), normal(rng, 20, 4, dtype=np.float64)
    to_keys, to_values = (normal(rng, 3, 8, 10, dtype=np.float64) for _ in range(2))
    keys = np.concatenate([latents @ to_keys.transpose(0, 2, 1), np.stack([ropes] * 3)], axis=2)
    values = np.pad(latents @ to_values.transpose(0, 2, 1), ((0, 0), (0, 0), (0, 4)))
    queries = np.concatenate([query, rope_query], axis=1)[np.newaxis]
    expected = dense_attention(queries, keys.transpose(1, 0, 2), values.transpose(1, 0, 2))[0, :, :8]
    came = latent_attention_naive(query, rope_query, latents, ropes, to_keys=to_keys, to_values=to_values)
    np.testing.assert_allclose(came, expected, rtol=1e-10, atol=1e-12)


def test_latents_that_do_not_fit_are_refused_by_name(rng):  # noqa: F811
    given = [normal(rng, *shape) for shape in ((3, 8), (3, 4), (20, 10), (20, 5))]
    weights = normal(rng, 3, 8, 10)
    with pytest.raises(ValueError, match=r"^rope_query must have the shape \(3, 5\), got \(3, 4\)"):
        latent_attention(*given, to_keys=weights, to_values=weights)
    given[3] = normal(rng, 20, 4)
    with pytest.raises(ValueError, match=r"^to_values must have the shape \(3, 8, 10\), got \(3, 8, 9\)"):
        latent_attention(*given, to_keys=weights, to_values=weights[..., :9])
