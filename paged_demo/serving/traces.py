"""Traces: requests that real servers had, read from the files in which they were published."""

import os
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice, repeat
from os import PathLike
from typing import Any, Self

from paged_demo.allocators.sequences import MAX_TOKEN_ID
from paged_demo.checks import check_count, check_iterable, check_whole
from paged_demo.serving.trace_formats import (
    HASH_TOKENS,
    MAX_HASH_ID,
    MAX_LINE,
    PARTS_OF_A_SECOND,
    READABLE,
    Parse,
    Row,
    choose,
    shown,
)
from paged_demo.serving.workload import Request, plain_requests

MAX_MESSAGE = 400


class LeftOutWarning(UserWarning):
    """Says how many requests of a trace were left out, since they have no answer."""


class TraceRequest(Request):
    """A request of a trace that tells which prompts begin alike.

    It is equal to any request of the same numbers.

    Attributes
    ----------
    hash_ids : tuple of int
        Names of the prompt's tokens, 512 at a time. Equal ones stand for equal tokens.
    """

    hash_ids: tuple[int, ...] = ()

    def __new__(cls, *fields: Any, hash_ids: Iterable[int] = (), **more: Any) -> Self:
        """Make a request of the fields of `Request`, and of hash ids."""
        request = super().__new__(cls, *fields, **more)
        request.hash_ids = _check_hash_ids(hash_ids)
        return request

    def _replace(self, *, hash_ids: Iterable[int] | None = None, **changes: Any) -> Self:
        replaced = super()._replace(**changes)
        replaced.hash_ids = self.hash_ids if hash_ids is None else _check_hash_ids(hash_ids)
        return replaced


def read_trace(path: str | PathLike[str], *, limit: int | None = None) -> list[Request]:
    """Read the requests of a published trace.

    The first line tells which format a file has:

    - Azure's LLM inference traces of 2023, 2024 and 2025: CSV with the columns TIMESTAMP, ContextTokens
      and GeneratedTokens. All times have a time zone or none has.
    - BurstGPT: CSV with the columns Timestamp (s), Request tokens and Response tokens.
    - Mooncake: a JSON object a line, with timestamp (ms), input_length, output_length and hash_ids.

    Further columns are ignored. Requests without an answer are left out, and a `LeftOutWarning` says how
    many. Times are counted from the first request that is returned.

    Parameters
    ----------
    path : path
        A text file in UTF-8. Packed files have to be unpacked first.
    limit : int, optional
        Read no more requests than this.

    Returns
    -------
    list of Request
        About 170 bytes each, so 3.4 GB for 20 million; `iter_trace` holds one at a time. Mooncake's are
        `TraceRequest` records, which take 140 bytes more, and 40 for each hash id.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If the file is of another format, a field is not what it should be, times go backwards, or no
        request is left. The message names the file and the line.

    References
    ----------
    Azure LLM inference traces (Microsoft, CC-BY 4.0): https://github.com/Azure/AzurePublicDataset.
    BurstGPT (CC-BY 4.0): https://github.com/HPMLL/BurstGPT.
    Mooncake (Apache 2.0): https://github.com/kvcache-ai/Mooncake, FAST25-release/traces.
    """
    return list(_requests(path, limit, stacklevel=3))


def iter_trace(path: str | PathLike[str], *, limit: int | None = None) -> Iterator[Request]:
    """Read a trace as `read_trace` does, one request at a time.

    An error, such as that of a missing file, comes when the request is asked for; the warning about
    requests that were left out comes after the last one.

    Parameters
    ----------
    path, limit
        As for `read_trace`.

    Raises
    ------
    OSError, ValueError
        As for `read_trace`.
    """
    return _requests(path, limit, stacklevel=2)


def prompt_tokens(request: Request) -> list[int]:
    """Return token ids that stand for a request's prompt.

    Prompts whose hash ids begin alike begin alike: each hash id gives 512 tokens, the last one all that
    are left. Without hash ids a prompt shares its beginning with no other.

    Parameters
    ----------
    request : Request
        A `TraceRequest` has hash ids.

    Examples
    --------
    >>> from paged_demo import PagedAllocator
    >>> allocator = PagedAllocator(num_pages=128, page_size=16, prefix_caching=True)
    >>> allocator.allocate("first", prompt_tokens(TraceRequest(0, 915, 355, hash_ids=(0, 462))))
    0
    >>> allocator.allocate("second", prompt_tokens(TraceRequest(1, 1053, 26, hash_ids=(0, 773, 774))))
    512
    """
    (request,) = plain_requests([request])
    num_tokens = request.num_prompt_tokens
    if not isinstance(request, TraceRequest) or not request.hash_ids:
        return [MAX_TOKEN_ID - request.request_id, *repeat(0, num_tokens - 1)]
    # Token 0 is for prompts without hash ids, and for tokens that are generated.
    named = chain.from_iterable(repeat(hash_id + 1, HASH_TOKENS) for hash_id in request.hash_ids)
    return list(islice(chain(named, repeat(request.hash_ids[-1] + 1)), num_tokens))


def _check_hash_ids(hash_ids: Iterable[int]) -> tuple[int, ...]:
    # The usual case, which is met once for each line of a trace.
    if isinstance(hash_ids, tuple):
        is_plain = {*map(type, hash_ids)} == {int}
        if is_plain and 0 <= min(hash_ids) <= max(hash_ids) <= MAX_HASH_ID:
            return tuple(hash_ids)
    listed = check_iterable("hash_ids", hash_ids, "whole numbers")
    return tuple(check_count("each of hash_ids", each, minimum=0, maximum=MAX_HASH_ID) for each in listed)


def _requests(path: str | PathLike[str], limit: int | None, *, stacklevel: int) -> Iterator[Request]:
    most = None if limit is None else check_whole("limit", limit)
    num_requests = num_left_out = start = 0
    for row in _rows(path):
        if row.num_output_tokens == 0:
            num_left_out += 1
            continue
        if num_requests == 0:
            start = row.time
        arrival_s = (row.time - start) / PARTS_OF_A_SECOND
        request = Request(num_requests, row.num_prompt_tokens, row.num_output_tokens, arrival_s)
        yield TraceRequest(*request, hash_ids=row.hash_ids) if row.hash_ids else request
        num_requests += 1
        if num_requests == most:
            break
    if num_requests == 0:
        having = f" with an answer among {num_left_out:,}" if num_left_out else " after the header"
        raise ValueError(_about(path, f": no requests{having}"))
    if num_left_out:
        message = f": requests without an answer, which were left out: {num_left_out:,}"
        warnings.warn(_about(path, message), LeftOutWarning, stacklevel=stacklevel)


def _rows(path: str | PathLike[str]) -> Iterator[Row]:
    """Parse a file line by line; an error names the file and the line."""
    parse: Parse | None = None
    first: Row | None = None
    latest = 0
    # Bytes that are not UTF-8 come as surrogates, so that the line with the first of them can be named.
    with open(os.fspath(path), encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(iter(partial(file.readline, MAX_LINE + 1), ""), start=1):
            try:
                _check_text(line)
                if parse is None:
                    parse, is_header = choose(line)
                    if is_header:
                        continue
                if len(line) > MAX_LINE:
                    raise ValueError(f"must have at most {MAX_LINE:,} characters, got {shown(line)}")
                if line.isspace():
                    continue
                row = parse(line)
                first = first or row
                if row.has_zone is not first.has_zone:
                    raise ValueError(
                        f"{row.column} must have a zone in all lines or none, got {shown(row.when)}"
                    )
                if row.time < latest:
                    raise ValueError(f"{row.column} must not be before that above, got {shown(row.when)}")
                latest = row.time
            except ValueError as error:
                raise ValueError(_about(path, f", line {number}: {error}")) from None
            yield row
    if parse is None:
        raise ValueError(_about(path, f", line 1: the file is empty\n{READABLE}"))


def _check_text(line: str) -> None:
    if line.isascii():
        return
    if line.startswith("\x1f\udc8b"):
        raise ValueError("the file must be text in UTF-8, got one that gzip has packed: unpack it first")
    if any("\ud800" <= character <= "\udfff" for character in line):
        raise ValueError(f"the file must be text in UTF-8, got {shown(line)}")


def _about(path: str | PathLike[str], message: str) -> str:
    """Put the path in front of a message, on one line, and no more of its end than there is room for."""
    name = os.fsdecode(path)
    name = name if name.isprintable() else repr(name)[1:-1]
    room = MAX_MESSAGE - len(message)
    return f"{name if len(name) <= room else '...' + name[3 - room :]}{message}"
