"""Notebook 08: the lines that a server printed, and what its config and flags say to them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from os import PathLike
from typing import Any

from paged_demo.checks import came
from paged_demo.sizing.config import read_config
from paged_demo.sizing.plan import Plan, blocks_printed_as, plan
from paged_demo.sizing.server import Server

_NUMBER = r"(-?\d[\d,]*(?:\.\d+)?)"
_PATTERNS = {
    "weights": [
        rf"[Ll]oading (?:model weights )?took {_NUMBER} ?Gi?B",
        rf"model weights take {_NUMBER} ?GiB",
    ],
    "total": [rf"total_gpu_memory(?:=| \(){_NUMBER} ?GiB"],
    "utilization": [
        rf"gpu_memory_utilization(?:=| \(){_NUMBER}",
        rf"GPU memory utilization is \({_NUMBER}, ",
    ],
    "requested": [rf"GPU memory utilization is \([\d.]+, {_NUMBER} GiB"],
    "peak_with_weights": [rf"peak_torch_memory={_NUMBER} ?GiB"],
    "peak": [rf"activation peak memory takes {_NUMBER} ?GiB", rf"{_NUMBER} GiB for peak activation"],
    "non_torch": [rf"non_torch_memory(?:=| takes ){_NUMBER} ?GiB"],
    "available": [
        rf"Available KV cache memory: {_NUMBER} ?GiB",
        rf"kv_cache_size={_NUMBER} ?GiB",
        rf"reserved for KV Cache is {_NUMBER} ?GiB",
        rf"kv cache memory in use is {_NUMBER} ?GiB",
    ],
    "blocks": [rf"# (?:GPU|CUDA) blocks: {_NUMBER}"],
    "tokens": [rf"GPU KV cache size: {_NUMBER} tokens"],
    "max_model_len": [rf"Maximum concurrency for {_NUMBER} tokens"],
    "concurrency": [rf"tokens per request: {_NUMBER}x"],
}
"""Lines of vLLM from 0.6 to 0.33; what old ones call GB is GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What the lines of a start say, each as it was printed; None where no line says it.

    Attributes
    ----------
    weights, total, requested, peak, peak_with_weights, non_torch, available : str or None
        GiB.
    utilization, concurrency : str or None
        A share, and K.
    blocks, tokens, max_model_len : str or None
        Counts.
    """

    weights: str | None = None
    total: str | None = None
    utilization: str | None = None
    requested: str | None = None
    peak_with_weights: str | None = None
    peak: str | None = None
    non_torch: str | None = None
    available: str | None = None
    blocks: str | None = None
    tokens: str | None = None
    max_model_len: str | None = None
    concurrency: str | None = None


def read_log(text: str) -> Log:
    """Read what the lines of a start say: the last of each, as a server may try more than once.

    Raises
    ------
    ValueError
        If no line is one that is known here.

    Examples
    --------
    >>> read_log("Available KV cache memory: 3.81 GiB").available
    '3.81'
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be the lines of a log, got {came(text)}")
    found = {}
    for name, patterns in _PATTERNS.items():
        values = [match for pattern in patterns for match in re.findall(pattern, text)]
        if values:
            found[name] = values[-1].replace(",", "")
    if not found:
        raise ValueError(
            "text must have lines of a start, such as 'Available KV cache memory: 3.81 GiB', got none"
        )
    return Log(**found)


def explain(
    log: str, config: str | PathLike[str] | Mapping[str, Any], *, server: Server | None = None
) -> str:
    """Say what a log says, what follows from the config and the flags, and which measured term is between.

    Parameters
    ----------
    log : str
        The lines that the server printed at start, whole or in part.
    config : path or mapping
        The model's ``config.json``, or its fields.
    server : Server, optional
        The flags. What the log has of them need not be given, and ``state_bytes`` only where the config does
        not say it.

    Raises
    ------
    ConfigError, ValueError
        If the config is none that is known, no line of the log is, or the log names no longest length and
        the flags neither.
    """
    said, model, flags = read_log(log), read_config(config), server or Server()
    if flags.state_bytes == Server().state_bytes:
        flags = replace(flags, state_bytes=model.state_bytes)
    if flags.max_model_len is None:
        if said.max_model_len is None and model.max_model_len is None:
            raise ValueError("server must have max_model_len: neither the log nor the config has it")
        longest = int(said.max_model_len) if said.max_model_len else model.max_model_len
        flags = replace(flags, max_model_len=longest)
    told = [f"the log: {', '.join(_as_said(said))}"]
    told += _told_chain(said)
    told += _told_blocks(said, plan(model.layers, flags), model.layers)
    return "\n".join(told)


def _as_said(said: Log) -> Iterator[str]:
    for each in fields(said):
        value = getattr(said, each.name)
        if value is not None:
            yield f"{each.name} {value}"


def _told_chain(said: Log) -> Iterator[str]:
    """Say how far the terms of the log explain its pool."""
    requested = _requested(said)
    if requested is None or said.weights is None or said.available is None:
        yield "the chain: the log lacks what was asked for, the weights or the pool"
        return
    weights, pool = Fraction(said.weights), Fraction(said.available)
    rest = requested - weights - pool
    yield (
        f"the chain: {float(requested):.2f} asked for - {float(weights):.2f} weights = at most"
        f" {float(requested - weights):.2f} GiB; the pool has {float(pool):.2f}"
    )
    named = dict(_measured(said))
    if not named:
        yield f"between them: {float(rest):.2f} GiB of peak, outside torch and graphs; only a log says"
        return
    terms = " + ".join(f"{float(size):.2f} {name}" for name, size in named.items())
    open_gib = rest - sum(named.values())
    yield f"between them: {float(rest):.2f} GiB = {terms} + {float(open_gib):.2f} that no line names"


def _requested(said: Log) -> Fraction | None:
    if said.requested is not None:
        return Fraction(said.requested)
    if said.total is None or said.utilization is None:
        return None
    return Fraction(said.total) * Fraction(said.utilization)


def _measured(said: Log) -> Iterator[tuple[str, Fraction]]:
    if said.peak is not None:
        yield "peak of the trial run", Fraction(said.peak)
    elif said.peak_with_weights is not None and said.weights is not None:
        yield "peak of the trial run", Fraction(said.peak_with_weights) - Fraction(said.weights)
    if said.non_torch is not None:
        yield "outside torch", Fraction(said.non_torch)


def _told_blocks(said: Log, empty: Plan, layers: Any) -> Iterator[str]:
    """Say which numbers of blocks give what was printed."""
    yield f"the config: a block is {empty.block_bytes[0]:,} bytes, a request {empty.need:,} blocks"
    if said.blocks is not None:
        allowed = range(int(said.blocks), int(said.blocks) + 1)
        whence = "the log"
    elif said.available is not None:
        allowed = blocks_printed_as(f"{float(said.available):.2f}", empty)
        whence = f"{said.available} GiB"
    else:
        yield "no pool in the log"
        return
    plans = [plan(layers, empty.server, [number * size for size in empty.block_bytes]) for number in allowed]
    right = [each for each in plans if _is_as_said(each, said)]
    yield f"{whence}: {_span(plans)} blocks"
    if right:
        yield f"the printed line fits {_span(right)} blocks. {right[-1]}"
    else:
        yield f"none of them gives the printed line, but: {plans[-1]}"
        yield "look at the flags: GPUs, KV type, batched tokens, version; or another GPU had less"


def _span(plans: Sequence[Plan]) -> str:
    first, last = plans[0].blocks, plans[-1].blocks
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _is_as_said(planned: Plan, said: Log) -> bool:
    tokens_agree = said.tokens is None or planned.tokens == int(said.tokens)
    return tokens_agree and (
        said.concurrency is None or f"{planned.concurrency:.2f}" == f"{float(said.concurrency):.2f}"
    )
