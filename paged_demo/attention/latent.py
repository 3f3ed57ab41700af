"""Attention over latent vectors (multi-head latent attention, MLA): one vector a token, for all heads.

A token keeps a latent vector, from which the keys and values of every head can be made, and the part of the
key that carries the position, which is the same for all heads (``ropes``). Letters beside those of
``kernels``: C numbers in a latent vector, E in the position's part, D in the rest of a head's key and in its
value.

References
----------
DeepSeek-AI (2024), *DeepSeek-V2*, arXiv 2405.04434, section 2.1 and appendix C.
"""

import math

import numpy as np

from paged_demo.attention.shapes import Floats, check_floats, check_shape


def latent_attention_naive(
    query: Floats, rope_query: Floats, latents: Floats, ropes: Floats, *, to_keys: Floats, to_values: Floats
) -> Floats:
    """Attend as any other layer does, with the keys and values of every head made from the latent vectors.

    Parameters
    ----------
    query, rope_query : numpy.ndarray, shapes (H, D) and (H, E)
        Of the last token of the context.
    latents, ropes : numpy.ndarray, shapes (T, C) and (T, E)
        All that is kept of the context, in order.
    to_keys, to_values : numpy.ndarray, shape (H, D, C)
        The weights that make a head's key and value from a latent vector.

    Returns
    -------
    numpy.ndarray, shape (H, D)

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit each other, or a type is not a floating-point one.
    """
    _check(query, rope_query, latents, ropes, to_keys=to_keys, to_values=to_values)
    keys = np.einsum("hdc,tc->htd", to_keys, latents)
    values = np.einsum("hdc,tc->htd", to_values, latents)
    scores = np.einsum("hd,htd->ht", query, keys) + rope_query @ ropes.T
    outputs: Floats = np.einsum("ht,htd->hd", _softmax(scores, query.shape[1] + ropes.shape[1]), values)
    return outputs


def latent_attention(
    query: Floats, rope_query: Floats, latents: Floats, ropes: Floats, *, to_keys: Floats, to_values: Floats
) -> Floats:
    """Attend to the latent vectors themselves: no key and no value of the context is ever made.

    ``query . (to_keys @ latent)`` is ``(to_keys.T @ query) . latent``, and values are summed before they are
    made. So the weights go to the query and to the output, of which there is one, and not to the context.
    Parameters and errors: as for `latent_attention_naive`.

    Examples
    --------
    One head whose keys and values are the latent vectors themselves. Equal scores give the mean:

    >>> kept, zero, one = np.array([[1.0], [3.0]]), np.zeros((1, 1)), np.ones((1, 1, 1))
    >>> latent_attention(zero, zero, kept, kept, to_keys=one, to_values=one).tolist()
    [[2.0]]
    """
    _check(query, rope_query, latents, ropes, to_keys=to_keys, to_values=to_values)
    absorbed = np.einsum("hd,hdc->hc", query, to_keys)
    scores = absorbed @ latents.T + rope_query @ ropes.T
    sums = _softmax(scores, query.shape[1] + ropes.shape[1]) @ latents
    outputs: Floats = np.einsum("hc,hdc->hd", sums, to_values)
    return outputs


def _softmax(scores: Floats, head_dim: int) -> Floats:
    weights = np.exp((scores - scores.max(axis=-1, keepdims=True)) * (1 / math.sqrt(head_dim)))
    normalised: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return normalised


def _check(
    query: Floats, rope_query: Floats, latents: Floats, ropes: Floats, *, to_keys: Floats, to_values: Floats
) -> None:
    num_heads, head_dim = check_floats("query", query, "num_heads head_dim")
    num_tokens, latent_dim = check_floats("latents", latents, "num_tokens latent_dim")
    _, rope_dim = check_floats("ropes", ropes, "num_tokens rope_dim")
    check_shape("ropes", ropes, (num_tokens, rope_dim))
    check_shape("rope_query", rope_query, (num_heads, rope_dim))
    for name, weights in (("to_keys", to_keys), ("to_values", to_values)):
        check_shape(name, weights, (num_heads, head_dim, latent_dim))
