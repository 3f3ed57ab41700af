"""What clients send: requests, and when they arrive."""

import csv
import math
from collections.abc import Iterable
from datetime import datetime
from os import PathLike
from typing import NamedTuple

import numpy as np

from paged_demo.checks import check_count, check_number, check_positive

TRACE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


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
    return Request(
        check_count("request_id", request.request_id, minimum=0),
        check_count(f"num_prompt_tokens {where}", request.num_prompt_tokens),
        check_count(f"num_output_tokens {where}", request.num_output_tokens),
        arrival_s,
        check_count(f"num_samples {where}", request.num_samples),
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


def read_trace(path: str | PathLike[str]) -> list[Request]:
    """Read requests from a file in the format of the Azure LLM inference traces.

    Parameters
    ----------
    path : path
        A CSV file with the columns TIMESTAMP, ContextTokens and GeneratedTokens. Times are counted
        from the first one.

    Raises
    ------
    ValueError
        If a column is missing, there are no requests, a number or a time is bad, or times go
        backwards. The message names the file and the line.

    References
    ----------
    Azure LLM inference traces 2023, AzureLLMInferenceTrace_conv.csv and AzureLLMInferenceTrace_code.csv
    (Microsoft, CC-BY 4.0): https://github.com/Azure/AzurePublicDataset
    """
    requests: list[Request] = []
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        try:
            found = rows.fieldnames or []
        except UnicodeDecodeError:
            raise ValueError(f"{path}, line 1: the file must be text in UTF-8") from None
        missing = [column for column in TRACE_COLUMNS if column not in found]
        if missing:
            there = f"found {', '.join(found)}" if found else "the file is empty"
            raise ValueError(f"{path}, line 1: no column {', '.join(missing)}, {there}")
        start = None
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            time = _read_time(row["TIMESTAMP"], where)
            start = start or time
            arrival_s = (time - start).total_seconds()
            if requests and arrival_s < requests[-1].arrival_s:
                raise ValueError(f"{where}: TIMESTAMP {row['TIMESTAMP']} is before that of the line above")
            num_prompt_tokens, num_output_tokens = (
                _read_count(row, column, where) for column in TRACE_COLUMNS[1:]
            )
            requests.append(Request(len(requests), num_prompt_tokens, num_output_tokens, arrival_s))
    if not requests:
        raise ValueError(f"{path}: no requests after the header")
    return requests


def _read_time(text: str | None, where: str) -> datetime:
    try:
        # The traces give seven digits of a second; Python reads six.
        whole, _, fraction = (text or "").strip().partition(".")
        time = datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}")
        if time.tzinfo is not None:
            raise ValueError
        return time
    except ValueError:
        raise ValueError(f"{where}: TIMESTAMP must be a time without a zone, got {text!r}") from None


def _read_count(row: dict[str, str], column: str, where: str) -> int:
    text = row[column] or ""
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{where}: {column} must be a whole number from 1, got {row[column]!r}")
    return int(text)
