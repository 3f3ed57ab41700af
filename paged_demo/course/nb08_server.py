"""Notebook 08: a small server in the words of an engine: four runs, their metrics and the ten-second line."""

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from paged_demo.allocators.paged import PagedAllocator
from paged_demo.serving.iteration_time import IterationTime
from paged_demo.serving.rules import Rules, keep_pages_free
from paged_demo.serving.scheduler import Scheduler
from paged_demo.serving.workload import Request, poisson_arrivals
from paged_demo.sizing.batch import GPUS, cache_bytes
from paged_demo.sizing.presets import model_of

CARD = GPUS["RTX 3090"]
PARAMETERS = 8_030_261_248
"""Of Llama-3.1-8B."""
TOKEN_BYTES = cache_bytes(model_of("meta-llama/Llama-3.1-8B").layers, 1)
NUM_BLOCKS = 1952
"""Of the pool in a public log (vllm-project/vllm#10517); one of them is never given out."""
DURATION_S = 40.0
INTERVAL_S = 10.0

LLAMA_ON_3090 = IterationTime(
    fixed_s=0,
    weights_s=2 * PARAMETERS / CARD.bytes_per_s,
    compute_s=2 * PARAMETERS / CARD.flops,
    request_s=0,
    sequence_s=0,
    kv_read_s=TOKEN_BYTES / CARD.bytes_per_s,
)
"""To first order, from data sheets alone: nothing is counted but reading and arithmetic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A server and what comes to it.

    Attributes
    ----------
    max_num_seqs, max_num_batched_tokens, block_size : int
        Flags, by their names in vLLM. The pool has the same bytes whatever the block.
    rate_rps : float
        Requests that arrive in a second, each of 500 tokens with 300 of output.
    num_common : int
        Tokens with which all prompts begin.
    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    block_size: int = 16
    rate_rps: float = 6.0
    num_common: int = 0

    @property
    def num_blocks(self) -> int:
        """Blocks of the pool."""
        return NUM_BLOCKS * 16 // self.block_size


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "A": Setting(),
        "B": Setting(max_num_seqs=16),
        "C": Setting(max_num_batched_tokens=32),
        "D": Setting(block_size=784, rate_rps=1.5, num_common=370),
    }
)
"""Four small servers, each of which has a question for its owner."""


class Reading(NamedTuple):
    """What the metrics of a server say after a step.

    Attributes
    ----------
    time_s : float
        When.
    running, waiting : int
        Requests (``vllm:num_requests_running``, ``vllm:num_requests_waiting``).
    usage : float
        Share of the blocks that requests hold (``vllm:kv_cache_usage_perc``).
    preemptions : int
        Since the start (``vllm:num_preemptions_total``).
    asked, found : int
        Tokens (``vllm:prefix_cache_queries_total``, ``..._hits_total``).
    prompt_tokens, generated_tokens : int
        Computed since the start.
    """

    time_s: float
    running: int
    waiting: int
    usage: float
    preemptions: int
    asked: int
    found: int
    prompt_tokens: int
    generated_tokens: int


@dataclass(slots=True)
class _Counts:
    asked: int = 0
    found: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    seen: set[Hashable] = field(default_factory=set)


class CountingPool(PagedAllocator):
    """A pool with prefix caching to which all prompts come with one beginning, and that counts.

    Parameters
    ----------
    num_pages, page_size : int
        As in `PagedAllocator`.
    num_common : int
        Tokens with which all prompts begin.
    """

    def __init__(self, num_pages: int, page_size: int, *, num_common: int = 0) -> None:
        super().__init__(num_pages, page_size, prefix_caching=True)
        self._num_common = num_common
        self.counts = _Counts()

    def allocate(self, seq_id: Hashable, token_ids: Iterable[int], **options: Any) -> int:
        """Give a prompt its pages, and count what it asks for and finds the first time it comes."""
        own, *rest = token_ids
        common = min(self._num_common, len(rest))
        # Token 0 stands for whatever is equal in all prompts, and the request's id sets the rest apart.
        found = super().allocate(seq_id, [*rest[:common], own + 1, *rest[common:]], **options)
        num_tokens = 1 + len(rest)
        if seq_id not in self.counts.seen:
            self.counts.seen.add(seq_id)
            self.counts.asked += num_tokens
            self.counts.found += found
        budget = options.get("budget")
        left = num_tokens - found
        self.counts.prompt_tokens += left if budget is None else min(left, budget)
        return found

    def extend(self, seq_id: Hashable, budget: int) -> int:
        """Go on with a prompt, and count its piece."""
        num_given = super().extend(seq_id, budget)
        self.counts.prompt_tokens += budget
        return num_given

    def append(self, seq_id: Hashable, token_id: int, **options: Any) -> Any:
        """Append a token, and count it."""
        appended = super().append(seq_id, token_id, **options)
        self.counts.generated_tokens += 1
        return appended


@lru_cache(maxsize=8)
def run_of(setting: Setting, *, duration_s: float = DURATION_S) -> tuple[Reading, ...]:
    """Serve what comes to a server for a while, and read its metrics after each step.

    Parameters
    ----------
    setting : Setting
        The server, and what comes.
    duration_s : float
        Seconds to serve.
    """
    alike = [Request(number, 500, 300) for number in range(int(2 * duration_s * setting.rate_rps))]
    requests = poisson_arrivals(alike, rate_rps=setting.rate_rps, rng=np.random.default_rng(8))
    arrivals_s = [request.arrival_s for request in requests]
    num_blocks = setting.num_blocks - 1
    pool = CountingPool(num_blocks, setting.block_size, num_common=setting.num_common)
    rules = Rules(
        iteration_time=LLAMA_ON_3090,
        max_batched_tokens=setting.max_num_batched_tokens,
        max_running=setting.max_num_seqs,
        chunked_prefill=True,
    )
    scheduler = Scheduler(pool, requests, may_admit=keep_pages_free(pool, share=0.0), rules=rules)
    readings, preemptions, counts = [], 0, pool.counts
    while scheduler.now_s < duration_s and scheduler.num_waiting + scheduler.num_running:
        preemptions += scheduler.step().num_preempted
        to_arrive = len(requests) - bisect_right(arrivals_s, scheduler.now_s)
        readings.append(
            Reading(
                scheduler.now_s,
                scheduler.num_running,
                max(0, scheduler.num_waiting - to_arrive),
                1 - pool.num_free_pages / num_blocks,
                preemptions,
                counts.asked,
                counts.found,
                counts.prompt_tokens,
                counts.generated_tokens,
            )
        )
    return tuple(readings)


def four_runs() -> dict[str, tuple[Reading, ...]]:
    """Run the four small servers."""
    return {name: run_of(setting) for name, setting in SETTINGS.items()}


def ten_second_line(readings: tuple[Reading, ...]) -> str:
    """Write what vLLM logs every ten seconds, for the last ten of some readings.

    Throughputs are means over the interval, the hit rate here is that of all requests so far, and the rest is
    of the last step (``vllm/v1/metrics/loggers.py``, version 0.33.0; there the rate is of the last 1,000).

    Raises
    ------
    ValueError
        If there are no readings.
    """
    if not readings:
        raise ValueError("readings must hold at least one reading, got none")
    last = readings[-1]
    before = next(
        (each for each in reversed(readings) if each.time_s <= last.time_s - INTERVAL_S), readings[0]
    )
    interval_s = last.time_s - before.time_s or INTERVAL_S
    prompt = (last.prompt_tokens - before.prompt_tokens) / interval_s
    generated = (last.generated_tokens - before.generated_tokens) / interval_s
    hit_rate = 100 * last.found / last.asked if last.asked else 0.0
    told = (
        f"Engine 000: Avg prompt throughput: {prompt:.1f} tokens/s, "
        f"Avg generation throughput: {generated:.1f} tokens/s, "
        f"Running: {last.running} reqs, Waiting: {last.waiting} reqs, "
    )
    if last.preemptions:
        told += f"Preemptions: {last.preemptions}, "
    return f"{told}GPU KV cache usage: {100 * last.usage:.1f}%, Prefix cache hit rate: {hit_rate:.1f}%"
