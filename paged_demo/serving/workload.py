"""What clients send: requests, and how long their prompts and outputs are."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paged_demo.checks import check_count

Floats = NDArray[np.float64]
Quantile = Callable[[Floats], Floats]
"""Lengths, from shares of requests that are shorter (0 to 1)."""


class Request(NamedTuple):
    """What one client sent.

    Attributes
    ----------
    request_id : int
        Names the request.
    num_prompt_tokens : int
        Tokens the client sends.
    num_output_tokens : int
        Tokens the model will generate. No allocator but an oracle knows it beforehand.
    """

    request_id: int
    num_prompt_tokens: int
    num_output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthDistribution:
    """The joint distribution of prompt and output lengths of a data set.

    Attributes
    ----------
    name : str
        The data set.
    prompt_quantile, output_quantile : callable
        Quantile functions of the two lengths, in tokens.
    correlation : float
        Correlation of the two normal scores (a Gaussian copula).
    """

    name: str
    prompt_quantile: Quantile
    output_quantile: Quantile
    correlation: float

    def sample(
        self, num_requests: int, *, rng: np.random.Generator, context_limit: int = 2048
    ) -> list[Request]:
        """Draw requests whose tokens stay below the model's context limit.

        Longer outputs are cut, as a server cuts them; rejecting the long requests instead would make
        the others shorter on average.

        Parameters
        ----------
        num_requests : int
            How many.
        rng : numpy.random.Generator
            Where the randomness comes from.
        context_limit : int
            Prompt and output together have fewer tokens than this; at least 3.

        Examples
        --------
        >>> requests = sharegpt.sample(1000, rng=np.random.default_rng(0))
        >>> max(request.num_prompt_tokens + request.num_output_tokens for request in requests) < 2048
        True
        """
        check_count("num_requests", num_requests)
        check_count("context_limit", context_limit, minimum=3)
        prompt_scores, other_scores = rng.standard_normal((2, num_requests))
        output_scores = self.correlation * prompt_scores + math.sqrt(1 - self.correlation**2) * other_scores
        prompts = _whole(self.prompt_quantile(_normal_cdf(prompt_scores)), np.int64(context_limit - 2))
        outputs = _whole(self.output_quantile(_normal_cdf(output_scores)), context_limit - 1 - prompts)
        pairs = zip(prompts.tolist(), outputs.tolist(), strict=True)
        return [Request(index, *pair) for index, pair in enumerate(pairs)]


def weibull(*, shape: float, scale: float) -> Quantile:
    """Return the quantile function of a Weibull distribution; ``scale`` in tokens."""
    return lambda shares: scale * (-np.log1p(-shares)) ** (1 / shape)


def lognormal_mixture(*parts: tuple[float, float, float]) -> Quantile:
    """Return the quantile function of a mixture of lognormal distributions.

    Parameters
    ----------
    *parts : (weight, mu, sigma)
        The weights sum to 1; ``mu`` and ``sigma`` are of the natural logarithm of the tokens.
    """
    lowest = min(mu - 6 * sigma for _, mu, sigma in parts)
    highest = max(mu + 6 * sigma for _, mu, sigma in parts)
    log_lengths = np.linspace(lowest, highest, 4000)
    shares_below = sum(
        (weight * _normal_cdf((log_lengths - mu) / sigma) for weight, mu, sigma in parts),
        start=np.zeros_like(log_lengths),
    )
    return lambda shares: np.exp(np.interp(shares, shares_below, log_lengths))


def _normal_cdf(scores: Floats) -> Floats:
    return np.array([math.erfc(-score / math.sqrt(2)) / 2 for score in scores.tolist()])


def _whole(lengths: Floats, longest: NDArray[np.int64] | np.int64) -> NDArray[np.int64]:
    return np.clip(np.rint(lengths).astype(np.int64), 1, longest)


sharegpt = LengthDistribution(
    name="ShareGPT",
    prompt_quantile=lognormal_mixture((0.754, 3.191, 0.991), (0.246, 5.972, 0.851)),
    output_quantile=weibull(shape=1.171, scale=358.8),
    correlation=0.224,
)
"""Conversations with a chat model, fitted to the sample behind Kwon et al. (2023), Fig. 11 (means of
161.31 and 337.99 tokens). The fitted and the sampled distribution functions differ by at most 0.022
(prompts) and 0.026 (outputs)."""
