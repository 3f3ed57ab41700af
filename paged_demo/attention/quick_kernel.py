"""Attention over pages, for ragged batches and long contexts: the quick kernel.

It computes what the readable kernels of ``kernels`` compute; the letters of the axes stand there. Some
pages at a time are copied side by side into a buffer that stays in the processor's cache, and one matrix
product per head and page reads them from there. Keys and values take turns in the same buffer. So the memory
beyond the output does not grow with the context.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from paged_demo.attention.kernels import (
    check_window,
    computing_dtype,
    group_heads,
    hide_unseen,
    lowest_scores,
    ungroup_heads,
    weight_of_before,
)
from paged_demo.attention.shapes import (
    Floats,
    Ints,
    check_floats,
    check_ints,
    check_pages,
    first_read,
    needed_pages,
)
from paged_demo.checks import check_count

BYTES_AT_ONCE = 768 * 1024
"""Room of the buffer: it should fit into the second-level cache of a processor core, often 1 MiB or more."""

SCORES_AT_ONCE = 2**18
"""Scores that are kept before they become weights and sums."""

QUERIES_AT_ONCE = 32
"""Queries of a prompt that walk through the pages together."""


def paged_attention(
    queries: Floats,
    key_pages: Floats,
    value_pages: Floats,
    page_tables: Sequence[Sequence[int]] | Ints,
    context_lens: Sequence[int] | Ints,
    *,
    window: int | None = None,
) -> Floats:
    """Attend from the last token of each sequence of a batch to its context: an iteration of decoding.

    Parameters
    ----------
    queries : numpy.ndarray, shape (S, H, D)
        Of the last token of each sequence.
    key_pages : numpy.ndarray, shape (N, K, D, P)
    value_pages : numpy.ndarray, shape (N, K, P, D)
        The pool: ``store.keys`` and ``store.values`` of a `KVStore`.
    page_tables : sequence of sequences of int, shape (S, L)
        The page table of each sequence, padded to equal lengths. The padding may be anything, and so may what
        lies before a window.
    context_lens : sequence of int, shape (S,)
        Tokens of each context, the query's own token included.
    window : int, optional
        Tokens that a query sees: itself, and ``window - 1`` before it. Others are not read.

    Returns
    -------
    numpy.ndarray, shape (S, H, D)
        NaN where a slot of the context was never written.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit each other, a needed page is outside the pool or named twice, or a context is
        empty or longer than its page table.

    Examples
    --------
    Two sequences that share a page of two slots; the second ends there:

    >>> key_pages = np.zeros((2, 1, 1, 2))
    >>> value_pages = np.array([3, np.nan, 1, 2]).reshape(2, 1, 2, 1)
    >>> tables = [[1, 0], [1, -1]]
    >>> paged_attention(np.ones((2, 1, 1)), key_pages, value_pages, tables, [3, 2]).tolist()
    [[[2.0]], [[1.5]]]

    References
    ----------
    Kwon et al. (2023), section 4.1; section 5.1 for doing all of it in one kernel.
    """
    num_seqs, _, _ = check_floats("queries", queries, "num_seqs num_query_heads head_dim")
    check_pages("queries", queries.shape, key_pages, value_pages)
    tables = check_ints("page_tables", page_tables, 2)
    lengths = check_ints("context_lens", context_lens, 1)
    for name, array in (("page_tables", tables), ("context_lens", lengths)):
        if len(array) != num_seqs:
            raise ValueError(f"{name} must be of the {num_seqs} sequences of the queries, got {len(array)}")
    reach = check_window(window)
    needed = [
        needed_pages(
            value_pages,
            table,
            length,
            f"page_tables[{index}]",
            f"context_lens[{index}]",
            first=first_read(length, 1, reach),
        )
        for index, (table, length) in enumerate(zip(tables, lengths.tolist(), strict=True))
    ]

    outputs = np.empty_like(queries)
    buffer = _make_buffer(queries, key_pages, value_pages)
    for index, page_ids in enumerate(needed):
        query = queries[index : index + 1]
        length = int(lengths[index])
        outputs[index] = _attend(
            query, key_pages, value_pages, page_ids, num_tokens=length, window=reach, buffer=buffer
        )[0]
    return outputs


def paged_attention_prefill(
    queries: Floats,
    key_pages: Floats,
    value_pages: Floats,
    page_table: Sequence[int] | Ints,
    num_tokens: int,
    *,
    window: int | None = None,
) -> Floats:
    """Attend from the last tokens of one sequence to its context: a prompt, or the rest of one.

    Where the beginning of a prompt was found in the cache, only the rest has queries; their keys and
    values must have been written already. With one query it is decoding.

    Parameters
    ----------
    queries : numpy.ndarray, shape (Q, H, D)
        Of the last Q tokens of the context. Each sees the tokens up to itself.
    key_pages, value_pages, page_table, num_tokens, window
        As for `paged_attention_pagewise`.

    Returns
    -------
    numpy.ndarray, shape (Q, H, D)

    Raises
    ------
    ValueError, TypeError
        As for `paged_attention_pagewise`, and if there are more queries than tokens.

    Examples
    --------
    Of three tokens the last two attend:

    >>> key_pages = np.zeros((2, 1, 1, 2))
    >>> value_pages = np.array([3, np.nan, 1, 2]).reshape(2, 1, 2, 1)
    >>> paged_attention_prefill(np.ones((2, 1, 1)), key_pages, value_pages, [1, 0], 3).tolist()
    [[[1.5]], [[2.0]]]

    References
    ----------
    Kwon et al. (2023), section 4.4 (shared prefix).
    """
    num_queries, _, _ = check_floats("queries", queries, "num_queries num_query_heads head_dim")
    check_pages("queries", queries.shape, key_pages, value_pages)
    page_size = value_pages.shape[2]
    table = check_ints("page_table", page_table, 1)
    length = check_count("num_tokens", num_tokens)
    reach = check_window(window)
    first = first_read(length, min(num_queries, length), reach)
    page_ids = needed_pages(value_pages, table, length, first=first)
    if num_queries > length:
        raise ValueError(f"queries must be of at most the {length} tokens of the context, got {num_queries}")

    outputs = np.empty_like(queries)
    buffer = _make_buffer(queries, key_pages, value_pages)
    for start in range(0, num_queries, QUERIES_AT_ONCE):
        some = queries[start : start + QUERIES_AT_ONCE]
        num_seen = length - num_queries + start + len(some)
        seen_ids = page_ids[: -(-num_seen // page_size)]
        outputs[start : start + len(some)] = _attend(
            some, key_pages, value_pages, seen_ids, num_tokens=num_seen, window=reach, buffer=buffer
        )
    return outputs


def _attend(
    queries: Floats,
    key_pages: Floats,
    value_pages: Floats,
    page_ids: Ints,
    *,
    num_tokens: int,
    window: int | None,
    buffer: Floats,
) -> Floats:
    """Attend from the last tokens of a context: as the pagewise kernel, with many pages for one."""
    num_kv_heads, page_size = value_pages.shape[1:3]
    num_gone, num_behind = divmod(first_read(num_tokens, len(queries), window), page_size)
    page_ids, num_tokens = page_ids[num_gone:], num_tokens - num_gone * page_size
    rows = group_heads(queries, num_kv_heads, buffer.dtype)
    highest = lowest_scores(rows)
    sum_of_weights = np.zeros(highest.shape)
    sum_of_values = np.zeros(rows.shape)
    pages_at_once = max(1, SCORES_AT_ONCE // (highest.size * page_size))
    for start in range(0, len(page_ids), pages_at_once):
        some_ids = page_ids[start : start + pages_at_once]
        num_left = num_tokens - start * page_size
        read = range(0 if start else num_behind, num_left)
        scores = _score(rows, key_pages, some_ids, read, buffer)
        hide_unseen(scores, len(queries), num_left, window)
        higher = np.maximum(highest, scores.max(axis=-1, keepdims=True))
        scores -= higher
        weights = np.exp(scores, out=scores)
        rescale = weight_of_before(highest, higher)
        sum_of_weights = rescale * sum_of_weights + weights.sum(axis=-1, keepdims=True)
        sum_of_values *= rescale
        sum_of_values += _weigh(weights, value_pages, some_ids, read, buffer)
        highest = higher
    return ungroup_heads(sum_of_values / sum_of_weights, queries)


def _score(rows: Floats, key_pages: Floats, page_ids: Ints, read: range, buffer: Floats) -> Floats:
    """Multiply rows (K, R, D) with the keys of some pages, of the tokens to read: scores (K, R, L x P)."""
    page_size = key_pages.shape[3]
    scores = np.empty((*rows.shape[:2], len(page_ids) * page_size), buffer.dtype)
    by_page = _split_into_pages(scores, page_size)
    for piece, keys in _gather(key_pages, page_ids, buffer):
        # What lies outside the context may be anything, and a product with infinity would warn.
        keys[0, :, :, : max(0, read.start - piece.start * page_size)] = 0
        keys[-1, :, :, read.stop - (piece.stop - 1) * page_size :] = 0
        np.matmul(rows, keys, out=by_page[piece])
    return scores


def _weigh(weights: Floats, value_pages: Floats, page_ids: Ints, read: range, buffer: Floats) -> Floats:
    """Add up the values of some pages by their weights (K, R, L x P): rows (K, R, D)."""
    page_size, head_dim = value_pages.shape[2:]
    num_kv_heads, num_rows, _ = weights.shape
    total = np.zeros((num_kv_heads, num_rows, head_dim))
    by_page = _split_into_pages(weights, page_size)
    sums = np.empty((len(buffer), *total.shape) if num_rows < page_size else 0, buffer.dtype)
    for piece, values in _gather(value_pages, page_ids, buffer):
        # The weight of what lies outside the context is zero, but zero times NaN is NaN.
        values[0, :, : max(0, read.start - piece.start * page_size)] = 0
        values[-1, :, read.stop - (piece.stop - 1) * page_size :] = 0
        if num_rows < page_size:
            np.matmul(by_page[piece], values, out=sums[: len(values)])
            total += sums[: len(values)].sum(axis=0)
        else:
            # A sum for each page would take as much room as its values: bring the pages together first.
            tokens = slice(piece.start * page_size, piece.stop * page_size)
            total += weights[:, :, tokens] @ values.transpose(1, 0, 2, 3).reshape(num_kv_heads, -1, head_dim)
    return total


def _split_into_pages(array: Floats, page_size: int) -> Floats:
    """View the last axis of scores or weights (K, R, L x P) by pages: (L, K, R, P)."""
    num_kv_heads, num_rows, _ = array.shape
    return array.reshape(num_kv_heads, num_rows, -1, page_size).transpose(2, 0, 1, 3)


def _make_buffer(queries: Floats, key_pages: Floats, value_pages: Floats) -> Floats:
    """Make room for the keys or values of some pages, in the type to compute in."""
    dtype = computing_dtype(queries, key_pages, value_pages)
    page_elements = value_pages[0].size
    return np.empty((max(1, BYTES_AT_ONCE // (page_elements * dtype.itemsize)), page_elements), dtype)


def _gather(pages: Floats, page_ids: Ints, buffer: Floats) -> Iterator[tuple[slice, Floats]]:
    """Copy the pages into the buffer, as many at once as it has room for, and say which they are."""
    room = buffer.reshape(len(buffer), *pages.shape[1:])
    for start in range(0, len(page_ids), len(buffer)):
        some_ids = page_ids[start : start + len(buffer)]
        gathered = room[: len(some_ids)]
        if pages.dtype == buffer.dtype:
            # All ids are good, so clipping clips none; to have them checked again would cost a copy.
            pages.take(some_ids, axis=0, out=gathered, mode="clip")
        else:
            gathered[...] = pages[some_ids]
        yield slice(start, start + len(some_ids)), gathered
