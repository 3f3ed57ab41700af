"""What clients send: requests, and when they arrive."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from paged_demo.checks import check_count, check_number, check_positive


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
        return self.num_prompt_tokens + self.num_output_tokens


def check_requests(requests: Iterable[Request]) -> list[Request]:
    """Return requests as a list, with plain numbers, or say which of them cannot be served.

    Raises
    ------
    ValueError, TypeError
        If there are none, two have the same id, a count is not a whole number from 1, a time is not a
        finite number from 0, or a request arrives before the one above it.
    """
    try:
        checked = list(requests)
    except TypeError:
        raise TypeError(f"requests must be an iterable of Request records, got {requests!r}") from None
    if not checked:
        raise ValueError("requests must hold at least one request, got none")
    for request in checked:
        if not isinstance(request, Request):
            raise TypeError(f"requests must hold Request records, got {request!r}")
    if not _are_plain(checked):
        checked = [_plain(request) for request in checked]
    if len({request.request_id for request in checked}) < len(checked):
        raise ValueError("requests must have ids of their own, got one twice")
    latest_s = 0.0
    for request in checked:
        if request.arrival_s < latest_s:
            where = f"of request {request.request_id}"
            raise ValueError(f"arrival_s {where} must be from {latest_s}, got {request.arrival_s!r}")
        latest_s = request.arrival_s
    return checked


def _are_plain(requests: list[Request]) -> bool:
    """Say at once that all is well, as it mostly is; otherwise somebody has to look at each request."""
    request_ids, prompts, outputs, arrivals, samples = zip(*requests, strict=True)
    return (
        {*map(type, request_ids), *map(type, prompts), *map(type, outputs), *map(type, samples)} == {int}
        and set(map(type, arrivals)) == {float}
        and min(request_ids) >= 0
        and all(min(counts) >= 1 for counts in (prompts, outputs, samples))
        and all(map(math.isfinite, arrivals))
    )


def _plain(request: Request) -> Request:
    """Return a request with Python's own numbers, which never overflow, or say what is wrong with it."""
    where = f"of request {request.request_id!r}"
    arrival_s = check_number(f"arrival_s {where}", request.arrival_s)
    if not math.isfinite(arrival_s) or arrival_s < 0:
        raise ValueError(f"arrival_s {where} must be a finite number from 0 on, got {request.arrival_s!r}")
    return request._replace(
        request_id=check_count("request_id", request.request_id, minimum=0),
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
        If ``rate_rps`` is not a finite number above 0, or ``rng`` is no generator.
    """
    check_positive("rate_rps", rate_rps)
    check_generator(rng)
    requests = list(requests)
    times = np.cumsum(rng.exponential(1 / rate_rps, len(requests)))
    return [request._replace(arrival_s=time) for request, time in zip(requests, times.tolist(), strict=True)]
