"""What clients send: requests, how long they are, and when they arrive."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paged_demo.checks import (
    MAX_COUNT,
    MAX_WHOLE,
    check_count,
    check_functions,
    check_iterable,
    check_number,
    check_positive,
    check_whole,
    keep_checked,
)


class Request(NamedTuple):
    """A request as its client sent it, whatever becomes of it.

    Attributes
    ----------
    request_id : int
        Names the request.
    num_prompt_tokens : int
        Tokens the client sends.
    num_output_tokens : int
        Tokens the model will generate. No allocator but an oracle knows it beforehand.
    arrival_s : float
        When it arrives, in seconds from the start.
    num_samples : int
        Outputs that are generated from the one prompt, each of that length.
    """

    request_id: int
    num_prompt_tokens: int
    num_output_tokens: int
    arrival_s: float = 0.0
    num_samples: int = 1

    @property
    def final_tokens(self) -> int:
        """Tokens of each sample in the end, the prompt included."""
        # As Python's ints: a sum of NumPy's can overflow.
        return operator.index(self.num_prompt_tokens) + operator.index(self.num_output_tokens)


def check_requests(requests: Iterable[Request]) -> list[Request]:
    """Return requests as a list, with plain numbers, or say which of them cannot be served.

    Raises
    ------
    ValueError, TypeError
        If there are none, two have the same id, a count is not a whole number from 1, a time is not a
        finite number from 0, or a request arrives before the one above it.
    """
    checked = plain_requests(requests)
    if len({request.request_id for request in checked}) < len(checked):
        raise ValueError("requests must have ids of their own, got one twice")
    latest_s = 0.0
    for request in checked:
        if request.arrival_s < latest_s:
            where = f"of request {request.request_id}"
            raise ValueError(f"arrival_s {where} must be from {latest_s}, got {request.arrival_s!r}")
        latest_s = request.arrival_s
    return checked


def plain_requests(requests: Iterable[Request]) -> list[Request]:
    """Return requests as a list, with plain numbers. Errors are those of `check_requests` for each alone."""
    listed = check_iterable("requests", requests, "Request records")
    if not listed:
        raise ValueError("requests must hold at least one request, got none")
    for request in listed:
        if not isinstance(request, Request):
            raise TypeError(f"requests must hold Request records, got {request!r}")
    return listed if _are_plain(listed) else [_plain(request) for request in listed]


def _are_plain(requests: list[Request]) -> bool:
    """Say at once that all is well, as it mostly is; otherwise somebody has to look at each request."""
    request_ids, prompts, outputs, arrivals, samples = zip(*requests, strict=True)
    return (
        {*map(type, request_ids), *map(type, prompts), *map(type, outputs), *map(type, samples)} == {int}
        and set(map(type, arrivals)) == {float}
        and 0 <= min(request_ids) <= max(request_ids) <= MAX_WHOLE
        and all(1 <= min(counts) <= max(counts) <= MAX_COUNT for counts in (prompts, outputs, samples))
        and all(map(math.isfinite, arrivals))
    )


def _plain(request: Request) -> Request:
    """Return a request with Python's own numbers, which never overflow, or say what is wrong with it."""
    request_id = check_whole("request_id", request.request_id, minimum=0)
    where = f"of request {request_id}"
    arrival_s = check_number(f"arrival_s {where}", request.arrival_s)
    if not math.isfinite(arrival_s) or arrival_s < 0:
        raise ValueError(f"arrival_s {where} must be a finite number from 0 on, got {request.arrival_s!r}")
    return request._replace(
        request_id=request_id,
        num_prompt_tokens=check_count(f"num_prompt_tokens {where}", request.num_prompt_tokens),
        num_output_tokens=check_count(f"num_output_tokens {where}", request.num_output_tokens),
        arrival_s=arrival_s,
        num_samples=check_count(f"num_samples {where}", request.num_samples),
    )


def check_generator(rng: object) -> None:
    """Raise a TypeError unless this is a generator of random numbers."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {rng!r}")


def poisson_arrivals(
    requests: Iterable[Request], *, rate_rps: float, rng: np.random.Generator
) -> list[Request]:
    """Let requests arrive independently of each other.

    Parameters
    ----------
    requests : iterable of Request
        In the order of their arrival.
    rate_rps : float
        Requests per second on average.
    rng : numpy.random.Generator
        Where the randomness comes from.

    Raises
    ------
    ValueError, TypeError
        If ``rate_rps`` is not a finite number above 0, or so small that a time is none, or ``rng`` is no
        generator.
    """
    rate_rps = check_positive("rate_rps", rate_rps)
    check_generator(rng)
    listed = check_iterable("requests", requests, "Request records")
    times = np.cumsum(rng.exponential(1 / rate_rps, len(listed)))
    if not np.isfinite(times).all():
        raise ValueError(f"rate_rps must be large enough for finite times, got {rate_rps}")
    return [request._replace(arrival_s=time) for request, time in zip(listed, times.tolist(), strict=True)]


Floats = NDArray[np.float64]
Quantile = Callable[[Floats], Floats]
"""Lengths, from shares of requests that are shorter (0 to 1)."""


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

    def __post_init__(self) -> None:
        check_functions(prompt_quantile=self.prompt_quantile, output_quantile=self.output_quantile)
        keep_checked(self, _check_correlation, "correlation")

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
        >>> max(request.final_tokens for request in requests) < 2048
        True
        """
        num_requests = check_count("num_requests", num_requests)
        context_limit = check_whole("context_limit", context_limit, minimum=3)
        check_generator(rng)
        prompt_scores, other_scores = rng.standard_normal((2, num_requests))
        output_scores = self.correlation * prompt_scores + math.sqrt(1 - self.correlation**2) * other_scores
        prompt_lengths = self.prompt_quantile(_normal_cdf(prompt_scores))
        output_lengths = self.output_quantile(_normal_cdf(output_scores))
        prompts = _whole("prompt_quantile", prompt_lengths, np.int64(context_limit - 2))
        outputs = _whole("output_quantile", output_lengths, context_limit - 1 - prompts)
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


def quantile_table(*points: tuple[float, float]) -> Quantile:
    """Return the quantile function that joins points of (share, length) by straight lines."""
    shares_below, lengths = zip(*points, strict=True)
    return lambda shares: np.interp(shares, shares_below, lengths)


def _normal_cdf(scores: Floats) -> Floats:
    return np.array([math.erfc(-score / math.sqrt(2)) / 2 for score in scores.tolist()])


def _whole(name: str, lengths: Floats, longest: NDArray[np.int64] | np.int64) -> NDArray[np.int64]:
    if np.isnan(lengths).any():
        raise ValueError(f"{name} must return lengths in tokens, got NaN among them")
    # Clipped as floats first: beyond 64 bits NumPy makes the smallest integer of a large float.
    return np.minimum(np.clip(np.rint(lengths), 1, 2.0**62).astype(np.int64), longest)


def _check_correlation(name: str, value: object) -> float:
    correlation = check_number(name, value)
    if not -1 <= correlation <= 1:
        raise ValueError(f"{name} must be from -1 to 1, got {correlation}")
    return correlation


sharegpt = LengthDistribution(
    name="ShareGPT",
    prompt_quantile=lognormal_mixture((0.754, 3.191, 0.991), (0.246, 5.972, 0.851)),
    output_quantile=weibull(shape=1.171, scale=358.8),
    correlation=0.224,
)
"""Conversations with a chat model, fitted to the quantiles of a sample of 79,725 pairs of lengths from
ShareGPT. Its means, 161.18 and 338.00 tokens, are those that Kwon et al. (2023) print in Fig. 11 (161.31 and
337.99). The fitted and the sampled distribution functions differ by at most 0.022 (prompts) and 0.026
(outputs). We measured the correlation on the same sample, which is not in this repository."""

alpaca = LengthDistribution(
    name="Alpaca",
    prompt_quantile=lognormal_mixture((0.92, 2.758, 0.405), (0.08, 3.614, 0.611)),
    output_quantile=weibull(shape=0.992, scale=58.1),
    correlation=0.0,
)
"""Instructions and answers, fitted to the quantiles of a sample of 400,000 pairs of lengths from Alpaca (with
repeats: the data set has 52,002). Its means are 19.29 and 58.47 tokens; Kwon et al. (2023) print 19.31 and
58.45 in Fig. 11. The fits are within 0.042 (prompts) and 0.047 (outputs). Prompt and output are assumed
independent."""

azure_code = LengthDistribution(
    name="Azure code",
    prompt_quantile=weibull(shape=0.969, scale=2020.8),
    output_quantile=lognormal_mixture((0.707, 2.407, 0.438), (0.293, 3.707, 0.933)),
    correlation=0.0,
)
"""Code completion, fitted to the 8,819 requests of AzureLLMInferenceTrace_code.csv (means of 2,048 and 27.9
tokens; Microsoft, CC-BY 4.0), within 0.036 (prompts) and 0.043 (outputs)."""

# fmt: off
AZURE_CONV_PROMPTS = (
    (0.0, 2), (0.04, 181), (0.08, 201), (0.12, 222), (0.16, 375), (0.2, 387), (0.24, 395), (0.28, 400),
    (0.32, 406), (0.36, 419), (0.4, 703), (0.44, 972), (0.48, 1009), (0.52, 1031), (0.56, 1050),
    (0.6, 1071), (0.64, 1092), (0.68, 1116), (0.72, 1147), (0.76, 1215), (0.8, 1315), (0.84, 1690),
    (0.88, 2402), (0.92, 4073), (0.94, 4079), (0.96, 4086), (0.97, 4090), (0.98, 4098), (0.985, 4110),
    (0.99, 4142), (0.995, 4831), (0.998, 5652), (1.0, 14050),
)
# fmt: on
"""Shares of the prompts that are shorter, and lengths in tokens."""

azure_conv = LengthDistribution(
    name="Azure conversation",
    prompt_quantile=quantile_table(*AZURE_CONV_PROMPTS),
    output_quantile=lognormal_mixture((0.701, 4.592, 0.684), (0.299, 6.020, 0.094)),
    correlation=0.076,
)
"""Conversations, fitted to the 19,366 requests of AzureLLMInferenceTrace_conv.csv (means of 1,155 and 211
tokens; Microsoft, CC-BY 4.0), within 0.028 (prompts, whose quantiles these are) and 0.054 (outputs)."""

DATA_SETS: Mapping[str, LengthDistribution] = MappingProxyType(
    {lengths.name: lengths for lengths in (sharegpt, alpaca, azure_conv, azure_code)}
)
