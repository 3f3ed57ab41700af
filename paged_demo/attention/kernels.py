"""Attention over plain arrays, and page by page as the paper tells it: the readable kernels.

All kernels compute the same, softmax(query . keys / sqrt(head_dim)) . values, for the last tokens of a
context; each of them sees the tokens up to itself, or with a window the last few of these. The letters of
the axes, here and in ``quick_kernel``:

    S  sequences of a batch
    Q  queries of one sequence: the last Q tokens of its context; one when decoding
    T  tokens of a context
    H  heads of the queries
    K  heads of the keys and values, each shared by H / K neighbouring heads of the queries
    D  numbers in a head
    N  pages of the pool
    L  logical pages of a context, in the order of its tokens
    P  slots in a page
    R  rows: all queries that meet the same keys, Q x H / K

float16 is computed in float32. The output has the type of the queries. For another scale than 1 / sqrt(D),
scale the queries. A score is rounded as its type rounds: near 10,000, float32 numbers lie 0.001 apart, so a
weight is known to about one part in a thousand there, with pages or without.

References
----------
Kwon et al. (2023), section 4.1. Ainslie et al. (2023), arXiv 2305.13245: query heads that share keys.
Milakov and Gimelshein (2018), arXiv 1805.02867: the softmax in one pass.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from paged_demo.attention.shapes import (
    Floats,
    Ints,
    check_floats,
    check_heads,
    check_ints,
    check_pages,
    check_shape,
    first_read,
    needed_pages,
)
from paged_demo.checks import check_count


def dense_attention(queries: Floats, keys: Floats, values: Floats, *, window: int | None = None) -> Floats:
    """Attend to keys and values that lie in plain arrays, as without paging.

    Parameters
    ----------
    queries : numpy.ndarray, shape (Q, H, D)
        Of the last Q tokens of the context. One is decoding, Q = T a whole prompt.
    keys, values : numpy.ndarray, shape (T, K, D)
        Of the context, in order.
    window : int, optional
        Tokens that a query sees: itself, and ``window - 1`` before it. All of them if left out.

    Returns
    -------
    numpy.ndarray, shape (Q, H, D)

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit each other, or a type is not a floating-point one.

    Examples
    --------
    Two tokens. The first sees only itself, the second weighs both alike:

    >>> queries = np.zeros((2, 1, 2), dtype=np.float32)
    >>> values = np.array([[[1, 2]], [[3, 4]]], dtype=np.float32)
    >>> dense_attention(queries, values, values).tolist()
    [[[1.0, 2.0]], [[2.0, 3.0]]]
    """
    num_queries, num_query_heads, head_dim = check_floats(
        "queries", queries, "num_queries num_query_heads head_dim"
    )
    num_tokens, num_kv_heads, _ = check_floats("keys", keys, "num_tokens num_kv_heads head_dim")
    check_shape("keys", keys, (num_tokens, num_kv_heads, head_dim))
    check_shape("values", values, keys.shape)
    check_heads("queries", num_query_heads, num_kv_heads)
    if num_queries > num_tokens:
        raise ValueError(f"queries must be of at most the {num_tokens} tokens of the keys, got {num_queries}")
    reach = check_window(window)

    dtype = computing_dtype(queries, keys, values)
    rows = group_heads(queries, num_kv_heads, dtype)
    scores = rows @ keys.transpose(1, 2, 0).astype(dtype, copy=False)
    hide_unseen(scores, num_queries, num_tokens, reach)
    scores -= scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores, out=scores)
    sum_of_values = weights @ values.transpose(1, 0, 2).astype(dtype, copy=False)
    return ungroup_heads(sum_of_values / weights.sum(axis=-1, keepdims=True), queries)


def paged_attention_pagewise(
    query: Floats,
    key_pages: Floats,
    value_pages: Floats,
    page_table: Sequence[int] | Ints,
    num_tokens: int,
    *,
    window: int | None = None,
) -> Floats:
    """Attend from one token to its context, one page after the other.

    No page has to know the others. Between pages three things are kept: the highest score so far, and
    relative to it the sum of the weights and the sum of the weighted values.

    Parameters
    ----------
    query : numpy.ndarray, shape (H, D)
        Of the last token of the context.
    key_pages : numpy.ndarray, shape (N, K, D, P)
    value_pages : numpy.ndarray, shape (N, K, P, D)
        The pool: ``store.keys`` and ``store.values`` of a `KVStore`.
    page_table : sequence of int, shape (L,)
        The physical page of each logical page. What follows the last one needed is ignored, and what lies
        before a window too.
    num_tokens : int
        Length of the context, the query's own token included.
    window : int, optional
        Tokens that the query sees: itself, and ``window - 1`` before it. Others are not read.

    Returns
    -------
    numpy.ndarray, shape (H, D)

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit each other, a needed page is outside the pool or named twice, or the context
        is empty or longer than its page table.

    Examples
    --------
    Three tokens in two pages of two slots. Equal scores give the mean of 1, 2 and 3; the fourth slot is
    not read:

    >>> key_pages = np.zeros((2, 1, 1, 2))
    >>> value_pages = np.array([3, np.nan, 1, 2]).reshape(2, 1, 2, 1)
    >>> paged_attention_pagewise(np.ones((1, 1)), key_pages, value_pages, [1, 0], 3).tolist()
    [[2.0]]

    With a window of two tokens the mean is that of 2 and 3:

    >>> paged_attention_pagewise(np.ones((1, 1)), key_pages, value_pages, [1, 0], 3, window=2).tolist()
    [[2.5]]

    References
    ----------
    Kwon et al. (2023), section 4.1, equation 4. Windows: Beltagy et al. (2020), arXiv 2004.05150.
    """
    check_floats("query", query, "num_query_heads head_dim")
    check_pages("query", query.shape, key_pages, value_pages)
    num_kv_heads, page_size = value_pages.shape[1:3]
    table = check_ints("page_table", page_table, 1)
    length = check_count("num_tokens", num_tokens)
    first = first_read(length, 1, check_window(window))
    page_ids = needed_pages(value_pages, table, length, first=first)

    dtype = computing_dtype(query, key_pages, value_pages)
    rows = group_heads(query[np.newaxis], num_kv_heads, dtype)
    highest = lowest_scores(rows)
    # In float64: each page adds little to what has been added before it.
    sum_of_weights = np.zeros(highest.shape)
    sum_of_values = np.zeros(rows.shape)
    for logical in range(first // page_size, len(page_ids)):
        start = logical * page_size
        seen = slice(max(0, first - start), min(page_size, length - start))
        keys = key_pages[page_ids[logical], :, :, seen].astype(dtype, copy=False)
        values = value_pages[page_ids[logical], :, seen].astype(dtype, copy=False)
        scores = rows @ keys
        higher = np.maximum(highest, scores.max(axis=-1, keepdims=True))
        weights = np.exp(scores - higher)
        rescale = weight_of_before(highest, higher)
        sum_of_weights = rescale * sum_of_weights + weights.sum(axis=-1, keepdims=True)
        sum_of_values = rescale * sum_of_values + weights @ values
        highest = higher
    output: Floats = ungroup_heads(sum_of_values / sum_of_weights, query[np.newaxis])[0]
    return output


def computing_dtype(*arrays: Floats) -> np.dtype[Any]:
    """Return the type to compute in: the widest of the arrays', and at least float32."""
    return np.result_type(np.float32, *(array.dtype for array in arrays))


def group_heads(queries: Floats, num_kv_heads: int, dtype: np.dtype[Any]) -> Floats:
    """Bring queries (Q, H, D) that meet the same keys together as scaled rows (K, R, D)."""
    num_queries, _, head_dim = queries.shape
    grouped = queries.astype(dtype).reshape(num_queries, num_kv_heads, -1, head_dim).transpose(1, 0, 2, 3)
    # With np.sqrt a Python float would become a float64, and so would every float32 array it meets.
    rows: Floats = grouped.reshape(num_kv_heads, -1, head_dim) * (1 / math.sqrt(head_dim))
    return rows


def ungroup_heads(rows: Floats, queries: Floats) -> Floats:
    """Bring rows (K, R, D) into the order and type of the queries (Q, H, D) that they came from."""
    num_queries, _, head_dim = queries.shape
    by_query = rows.reshape(len(rows), num_queries, -1, head_dim).transpose(1, 0, 2, 3)
    outputs: Floats = by_query.reshape(queries.shape).astype(queries.dtype)
    return outputs


def lowest_scores(rows: Floats) -> Floats:
    """Return the lowest finite number for each of the rows (K, R, D): the highest score before any page.

    From minus infinity, a first page whose scores have all overflowed to it could not be told apart, and
    would give NaN.
    """
    return np.full((*rows.shape[:2], 1), np.finfo(rows.dtype).min, rows.dtype)


def weight_of_before(highest: Floats, higher: Floats) -> Floats:
    """Return by how much what was summed up so far shrinks, now that the highest score is higher."""
    # The lowest finite number minus a huge score is minus infinity, which is as good: its weight is zero.
    with np.errstate(over="ignore"):
        return np.exp(highest - higher)


def check_window(window: int | None) -> int | None:
    """Return the tokens of a window as an int, or None if there is none."""
    return None if window is None else check_count("window", window)


def hide_unseen(scores: Floats, num_queries: int, num_tokens: int, window: int | None) -> None:
    """Set the scores (K, R, T) of tokens that a query may not see to minus infinity, in place.

    The queries belong to the last of ``num_tokens`` tokens. There may be more scores, or fewer.
    """
    scores[:, :, num_tokens:] = -np.inf
    if num_queries == 1 and window is None:
        return
    own = (num_tokens - num_queries + np.arange(num_queries))[:, np.newaxis, np.newaxis]
    first = 0 if window else max(0, num_tokens - num_queries)  # Without a window all see what comes before.
    tokens = np.arange(first, scores.shape[-1])
    is_hidden = tokens > own
    if window:
        is_hidden |= tokens <= own - window
    by_query = scores.reshape(len(scores), num_queries, -1, scores.shape[-1])
    np.copyto(by_query[..., first:], -np.inf, where=is_hidden)
