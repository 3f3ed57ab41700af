"""What our results hang on: the gain of paging and the batch of Fig. 13, as each constant is moved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from paged_demo.allocators.traditional import reserve_max
from paged_demo.checks import check_count, check_positive, check_share, follow, keep_checked
from paged_demo.paper.experiment import draw_trace, orca_pool
from paged_demo.paper.knee import QUEUE_LENGTH, capacity_rps
from paged_demo.paper.memory_figures import WARM_UP_S
from paged_demo.paper.numbers import MAX_TOKENS, NUM_SLOTS_13B, PAGE_SIZE
from paged_demo.serving.rules import PAPER_RULES, PagedPool, Pool, Rules
from paged_demo.serving.run import Progress
from paged_demo.serving.simulator import simulate
from paged_demo.serving.workload import LengthDistribution, Quantile, sharegpt

MOVE = 0.2
RATE_OF_FIG_13_RPS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The constants behind one result, as the paper's server for OPT-13B has them.

    Attributes
    ----------
    num_slots, page_size, watermark_share
        Of the pool.
    rules : Rules
        Of the server.
    lengths : LengthDistribution
        Of its requests.
    """

    num_slots: int = NUM_SLOTS_13B
    page_size: int = PAGE_SIZE
    watermark_share: float = 0.01
    rules: Rules = PAPER_RULES
    lengths: LengthDistribution = sharegpt

    def __post_init__(self) -> None:
        keep_checked(self, check_count, "num_slots", "page_size")
        keep_checked(self, check_share, "watermark_share")

    def paged(self) -> Pool:
        """Make the pool of vLLM."""
        return PagedPool(
            num_pages=self.num_slots // self.page_size,
            page_size=self.page_size,
            watermark_share=self.watermark_share,
        )

    def reserving(self) -> Pool:
        """Make the pool of Orca (Max)."""
        return orca_pool(self.num_slots, reserve_max(MAX_TOKENS))


class Outcome(NamedTuple):
    """What comes of a setup.

    Attributes
    ----------
    gain : float
        Requests that vLLM finishes in a second, over those of Orca (Max), while neither queue is ever empty.
    batch : float or None
        vLLM's running requests on ShareGPT at 2 requests/s, as in Fig. 13; None if it was not measured.
    """

    gain: float
    batch: float | None


def _iteration(setup: Setup, **factors: float) -> Setup:
    time = setup.rules.iteration_time
    moved = {name: factor * getattr(time, name) for name, factor in factors.items()}
    return replace(setup, rules=replace(setup.rules, iteration_time=replace(time, **moved)))


def _stretched(quantile: Quantile, factor: float) -> Quantile:
    return lambda shares: factor * quantile(shares)


def _prompts(setup: Setup, factor: float) -> Setup:
    longer = _stretched(setup.lengths.prompt_quantile, factor)
    return replace(setup, lengths=replace(setup.lengths, prompt_quantile=longer))


def _outputs(setup: Setup, factor: float) -> Setup:
    longer = _stretched(setup.lengths.output_quantile, factor)
    return replace(setup, lengths=replace(setup.lengths, output_quantile=longer))


def _correlation(setup: Setup, factor: float) -> Setup:
    return replace(setup, lengths=replace(setup.lengths, correlation=factor * setup.lengths.correlation))


def _token_limit(setup: Setup, factor: float) -> Setup:
    limit = round(factor * setup.rules.max_batched_tokens)
    return replace(setup, rules=replace(setup.rules, max_batched_tokens=limit))


MOVED: Mapping[str, Callable[[Setup, float], Setup]] = {
    "slots in the pool": lambda setup, factor: replace(setup, num_slots=round(factor * setup.num_slots)),
    "tokens an iteration computes at most": _token_limit,
    "fixed time of an iteration": lambda setup, factor: _iteration(setup, fixed_s=factor),
    "time to read the weights": lambda setup, factor: _iteration(setup, weights_s=factor),
    "time to compute a token": lambda setup, factor: _iteration(setup, compute_s=factor),
    "time per request": lambda setup, factor: _iteration(setup, request_s=factor, sequence_s=factor),
    "time to read a token's KV": lambda setup, factor: _iteration(setup, kv_read_s=factor),
    "length of prompts": _prompts,
    "length of outputs": _outputs,
    "correlation of the lengths": _correlation,
    "page size": lambda setup, factor: replace(setup, page_size=round(factor * setup.page_size)),
    "watermark": lambda setup, factor: replace(setup, watermark_share=factor * setup.watermark_share),
}
"""What can be moved, and how. The longest sequence is the model's own, and stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Outcomes with each constant as it is, lower and higher.

    Attributes
    ----------
    move : float
        How far each was moved, as a share of it.
    base : Outcome
        With no constant moved.
    moved : mapping of str to (Outcome, Outcome)
        By constant: moved down, and moved up.
    """

    move: float
    base: Outcome
    moved: Mapping[str, tuple[Outcome, Outcome]]

    def span(self, name: str, what: str) -> tuple[float, float]:
        """Return the lowest and the highest value of an attribute of the outcome, as one constant moves."""
        values = [getattr(outcome, what) for outcome in (self.base, *self.moved[name])]
        return min(values), max(values)

    def by_span(self, what: str) -> list[str]:
        """Return the constants, the one that moves an attribute of the outcome most first."""
        return sorted(self.moved, key=lambda name: np.subtract(*self.span(name, what)))


def measure(setup: Setup, *, duration_s: float | None, seed: int) -> Outcome:
    """Measure the gain and the batch of a setup. Of one seed all setups get the same draws."""
    queue = setup.lengths.sample(QUEUE_LENGTH, rng=np.random.default_rng(seed))
    rates = [capacity_rps(queue, pool, rules=setup.rules) for pool in (setup.paged(), setup.reserving())]
    gain = rates[0] / rates[1]
    if duration_s is None:
        return Outcome(gain, None)
    rng = np.random.default_rng(seed)
    trace = draw_trace(setup.lengths, rate_rps=RATE_OF_FIG_13_RPS, duration_s=duration_s, rng=rng)
    run = simulate(trace, setup.paged(), window=(WARM_UP_S, duration_s), rules=setup.rules)
    return Outcome(gain, run.mean_running)


def move_each(
    *, move: float = MOVE, duration_s: float | None = 1800, seed: int = 0, progress: Progress = iter
) -> Sensitivity:
    """Move each constant down and up by a share of it, and measure what becomes of the gain and the batch.

    All setups serve the same traces, so that chance hardly moves the differences.

    Parameters
    ----------
    move : float
        The share, above 0 and below 1.
    duration_s : float, optional
        How long the trace of Fig. 13 lasts, in seconds; None measures no batch.
    seed : int
        For the traces.
    progress : callable
        Wraps the constants, as ``tqdm`` does.
    """
    move = check_positive("move", move)
    if move >= 1:
        raise ValueError(f"move must be below 1, got {move!r}")
    if duration_s is not None:
        duration_s = check_positive("duration_s", duration_s)
    seed = check_count("seed", seed, minimum=0)
    run = partial(measure, duration_s=duration_s, seed=seed)
    moved = {
        name: (run(change(Setup(), 1 - move)), run(change(Setup(), 1 + move)))
        for name, change in follow(progress, list(MOVED.items()))
    }
    return Sensitivity(move=move, base=run(Setup()), moved=moved)
