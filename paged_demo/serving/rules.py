"""The rules of serving that both engines follow, stated once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypedDict

from paged_demo.checks import check_count, check_functions
from paged_demo.serving.step_time import OPT_13B_STEP, OPT_13B_SWAP, StepTime, SwapTime
from paged_demo.serving.workload import Request

SwapPolicy = Callable[[Request], bool]
"""Whether a preempted request is swapped to the host's memory, instead of computed again."""


def swap_several(request: Request) -> bool:
    """Swap a request with several samples, and compute one with a single sample again, as vLLM V0 did.

    Several samples could be computed again only together, for they share their prompt's pages.
    """
    return request.num_samples > 1


def swap_always(request: Request) -> bool:
    """Swap every preempted request."""
    return True


def swap_never(request: Request) -> bool:
    """Compute every preempted request again."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a server runs, whatever its pool.

    Attributes
    ----------
    swaps : SwapPolicy
        Which preempted requests are swapped out, instead of computed again.
    step_time : StepTime
        How long an iteration takes.
    swap_time : SwapTime
        How long it takes to swap, in addition.
    max_batched_tokens : int
        Tokens that one iteration computes at most; left out, the limit that reproduces the paper's runs. A
        prompt longer than that starts without others.
    max_running : int
        Sequences in flight at most.
    """

    swaps: SwapPolicy = swap_several
    step_time: StepTime = OPT_13B_STEP
    swap_time: SwapTime = OPT_13B_SWAP
    max_batched_tokens: int = 2560
    max_running: int = 2048

    def __post_init__(self) -> None:
        check_functions(swaps=self.swaps)
        # A function would not do for ``step_time``: `simulate` sums it over many iterations in closed form.
        for name, kind in {"step_time": StepTime, "swap_time": SwapTime}.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        check_count("max_batched_tokens", self.max_batched_tokens)
        check_count("max_running", self.max_running)


class RuleChoices(TypedDict, total=False):
    """Some of the `Rules`, as keyword arguments; the others are left as they are."""

    swaps: SwapPolicy
    step_time: StepTime
    swap_time: SwapTime
    max_batched_tokens: int
    max_running: int


def choose_rules(choices: RuleChoices) -> Rules:
    """Make rules from keyword arguments, or raise a TypeError that names one which is no rule."""
    for name in choices:
        if name not in RuleChoices.__annotations__:
            known = ", ".join(RuleChoices.__annotations__)
            raise TypeError(f"rules must be among {known}, got {name!r}")
    return Rules(**choices)


def fits_budget(num_tokens: int, num_decoding: int, num_admitted: int, budget: int) -> bool:
    """Say whether a prompt may join an iteration that decodes and admits so many tokens already.

    A prompt beyond the whole budget may too, if it is the only one: else it would never start.
    """
    if num_tokens > budget:
        return num_admitted == 0
    return num_decoding + num_admitted + num_tokens <= budget


def tokens_to_compute(request: Request, num_generated: int, *, is_swapped: bool) -> int:
    """Count the tokens that a start computes: none if they come back from the host's memory.

    Parameters
    ----------
    request : Request
        Its prompt is computed once for all samples.
    num_generated : int
        Tokens that each of its samples had when it was preempted.
    is_swapped : bool
        Whether their keys and values were kept.
    """
    return 0 if is_swapped else request.num_prompt_tokens + request.num_samples * num_generated


def pages_held(request: Request, num_generated: int, page_size: int) -> int:
    """Count the pages of a request whose samples have generated so many tokens each.

    At first all samples share the prompt's pages. With its first token each sample parts from the
    others: the last page of the prompt, if it is not full, is copied for all but one of them.

    Examples
    --------
    >>> [pages_held(Request(0, 20, 40, num_samples=3), num_generated, 16) for num_generated in (0, 1, 13)]
    [2, 4, 7]

    References
    ----------
    Kwon et al. (2023), section 4.4 and Fig. 8.
    """
    num_prompt = request.num_prompt_tokens
    if num_generated == 0:
        return -(-num_prompt // page_size)
    num_shared = num_prompt // page_size
    num_own = -(-(num_prompt + num_generated) // page_size) - num_shared
    return num_shared + request.num_samples * num_own


def pages_kept(watermark_share: float, num_pages: int) -> int:
    """Count the pages that an admission leaves free, so that running requests can grow."""
    return int(watermark_share * num_pages)


def pages_without_sharing(request: Request, num_generated: int, page_size: int) -> int:
    """Count the pages of a request if each sample had its own copy of the prompt."""
    return request.num_samples * -(-(request.num_prompt_tokens + num_generated) // page_size)


def check_samples(requests: Iterable[Request], *, can_fork: bool, max_running: int) -> None:
    """Raise a ValueError that names a request whose samples can never run together.

    Parameters
    ----------
    requests : iterable of Request
        What is to be served.
    can_fork : bool
        Whether the allocator lets sequences share their pages.
    max_running : int
        Sequences in flight at most.
    """
    for request in requests:
        if request.num_samples > max_running:
            most = f"max_running ({max_running})"
        elif request.num_samples > 1 and not can_fork:
            most = "1, since this allocator cannot fork (send a request for each sample instead)"
        else:
            continue
        raise ValueError(
            f"num_samples of request {request.request_id} must be at most {most}, got {request.num_samples}"
        )
