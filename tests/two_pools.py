"""Serve the same requests from several pools at once, step by step: the story of the README's animation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from paged_demo import PagedPool, TraditionalPool, reserve_max
from paged_demo.allocators.memory_map import MemoryUsage, account
from paged_demo.checks import check_count
from paged_demo.serving.iteration_time import IterationTime
from paged_demo.serving.rules import Pool, Rules, swap_never
from paged_demo.serving.scheduler import Scheduler, Snapshot, scheduler_of
from paged_demo.serving.workload import Request, check_requests

ONE_SECOND = IterationTime(fixed_s=1, weights_s=0, compute_s=0, request_s=0, sequence_s=0, kv_read_s=0)
"""Every iteration takes as long as any other, so that the pools keep in step."""


class Side(NamedTuple):
    """One pool after one step.

    Attributes
    ----------
    snapshot : Snapshot
        The pool and the queue.
    finished : tuple of int
        Requests that have left with their last token, in that order.
    num_preempted : int
        How often a request has had to give its slots back before that.
    """

    snapshot: Snapshot
    finished: tuple[int, ...]
    num_preempted: int

    @property
    def num_running(self) -> int:
        """Running requests, those included that have just had their last token."""
        return len(self.snapshot.future_tokens)

    @property
    def usage(self) -> MemoryUsage:
        """The slots of the pool, sorted by their fate."""
        return account(self.snapshot.memory_map, self.snapshot.future_tokens)

    @property
    def used_share(self) -> float:
        """Share of the slots that hold a token."""
        return self.usage.used / self.snapshot.memory_map.num_slots


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SideBySide:
    """The record of several pools that served the same requests.

    Attributes
    ----------
    requests : sequence of Request
        What each pool was to serve.
    pools : mapping of str to Pool
        The pools, by name.
    steps : sequence of mapping of str to Side
        The pools by name: first as they are before anyone is served, then after each step.
    """

    requests: Sequence[Request]
    pools: Mapping[str, Pool]
    steps: Sequence[Mapping[str, Side]]


def serve_side_by_side(
    requests: Iterable[Request], pools: Mapping[str, Pool], *, num_steps: int
) -> SideBySide:
    """Serve the same requests from several pools. Each step is one iteration, and takes one second.

    Whoever is preempted is computed again and never swapped: a swap would take time of its own.

    Parameters
    ----------
    requests : iterable of Request
        In the order of their arrival.
    pools : mapping of str to PagedPool or TraditionalPool
        The pools, by name.
    num_steps : int
        How many steps to serve.

    Raises
    ------
    ValueError, TypeError
        If there are no pools, an argument is bad, or the requests leave a pool without work in some step.
    CacheFullError
        If a request can never be served from one of the pools.

    Examples
    --------
    >>> served = serve_side_by_side([Request(0, 5, 2)], {"paged": PagedPool(num_pages=1)}, num_steps=2)
    >>> [step["paged"].usage.used for step in served.steps]
    [0, 5, 6]
    """
    check_count("num_steps", num_steps)
    checked = check_requests(requests)
    if not pools:
        raise ValueError("pools must hold at least one pool, got none")
    rules = Rules(iteration_time=ONE_SECOND, swaps=swap_never)
    schedulers = {name: scheduler_of(checked, pool, rules=rules) for name, pool in pools.items()}
    steps = [{name: _side(scheduler) for name, scheduler in schedulers.items()}]
    for step in range(num_steps):
        for name, scheduler in schedulers.items():
            iteration = scheduler.step()
            # Without work a scheduler's clock jumps to the next arrival, or stands still.
            if (iteration.start_s, iteration.end_s) != (step, step + 1):
                raise ValueError(f"requests must keep {name!r} at work for {num_steps} steps, got {step}")
        steps.append({name: _side(scheduler) for name, scheduler in schedulers.items()})
    return SideBySide(requests=checked, pools=dict(pools), steps=steps)


def tell_two_pools(*, num_steps: int = 20, seed: int = 0) -> SideBySide:
    """Tell what becomes of the same requests in a traditional and in a paged pool.

    Six requests come at once, and then one in each step. On average a request reaches a good quarter of the
    longest sequence that is allowed, as ShareGPT's do of 2,048 tokens.

    Parameters
    ----------
    num_steps : int
        Steps of the story.
    seed : int
        Draws the lengths: prompts of 4 to 8 tokens, outputs of 8 to 16.

    Examples
    --------
    >>> {name: len(side.finished) for name, side in tell_two_pools().steps[-1].items()}
    {'Traditional': 3, 'Paged': 13}
    """
    rng = np.random.default_rng(seed)
    arrivals = [0] * 6 + list(range(1, num_steps + 1))
    prompts = rng.integers(4, 9, len(arrivals)).tolist()
    outputs = rng.integers(8, 17, len(arrivals)).tolist()
    requests = [
        Request(index, *each) for index, each in enumerate(zip(prompts, outputs, arrivals, strict=True))
    ]
    num_slots, max_tokens, page_size = 192, 64, 4
    pools: dict[str, Pool] = {
        "Traditional": TraditionalPool(num_slots=num_slots, reserve=reserve_max(max_tokens)),
        "Paged": PagedPool(num_pages=num_slots // page_size, page_size=page_size),
    }
    return serve_side_by_side(requests, pools, num_steps=num_steps)


def _side(scheduler: Scheduler) -> Side:
    stays = scheduler.stays
    return Side(
        snapshot=scheduler.snapshot(),
        finished=tuple(stay.request_id for stay in stays if not stay.is_preempted),
        num_preempted=sum(stay.is_preempted for stay in stays),
    )
