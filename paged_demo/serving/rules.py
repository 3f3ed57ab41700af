"""What a server is: its rules, which both engines follow, and the pool whose slots it hands out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from paged_demo.allocators.group_kinds import PageGroup, most_pages
from paged_demo.allocators.groups import GroupedAllocator
from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.placement import PlacementPolicy, first_fit
from paged_demo.allocators.traditional import ReservationPolicy, TraditionalAllocator, reserved_slots
from paged_demo.checks import (
    check_bool,
    check_count,
    check_functions,
    check_share,
    check_whole,
    keep_checked,
)
from paged_demo.serving.iteration_time import OPT_13B_ITERATION, OPT_13B_SWAP, IterationTime, SwapTime
from paged_demo.serving.workload import Request, plain_requests

PageAllocator = PagedAllocator | GroupedAllocator
SwapPolicy = Callable[[Request], bool]
"""Whether a preempted request is swapped to the host's memory, instead of computed again."""


def swap_several(request: Request) -> bool:
    """Swap a request with several samples, and compute one with a single sample again, as vLLM V0 did.

    V0 could not compute several sequences of a request again. Kwon et al. (2023), section 4.5, describe both
    ways and give no rule.
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
    iteration_time : IterationTime
        How long an iteration takes.
    swap_time : SwapTime
        How long it takes to swap, in addition.
    max_batched_tokens : int
        Tokens that one iteration computes at most; left out, 2,560, the default of the vLLM
        of 2023. A prompt longer than that starts without others.
    max_running : int
        Running sequences at most.
    chunked_prefill : bool
        Whether prompts are computed in pieces. Each running request decodes a token, and
        what is left of ``max_batched_tokens`` goes to prompts in the order of admission, as much of each as
        fits. A prompt starts when the pool has room for the most pages that it comes to hold (all of them,
        but for windows), and takes those of its first piece. It needs a pool of pages (a run is reserved
        whole), and requests with one sample.
    """

    swaps: SwapPolicy = swap_several
    iteration_time: IterationTime = OPT_13B_ITERATION
    swap_time: SwapTime = OPT_13B_SWAP
    max_batched_tokens: int = 2560
    max_running: int = 2048
    chunked_prefill: bool = False

    def __post_init__(self) -> None:
        check_functions(swaps=self.swaps)
        # A function would not do for ``iteration_time``: `simulate` sums many iterations in closed form.
        for name, kind in {"iteration_time": IterationTime, "swap_time": SwapTime}.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        keep_checked(self, check_whole, "max_batched_tokens", "max_running")
        keep_checked(self, check_bool, "chunked_prefill")

    def is_swapped(self, request: Request) -> bool:
        """Ask the policy whether a preempted request is swapped out, and check its answer."""
        return check_bool("what swaps returns", self.swaps(request))

    def may_start(self, num_tokens: int, num_decoding: int, num_admitted: int) -> bool:
        """Say whether an iteration that decodes and admits so many tokens has budget for a prompt.

        In pieces a prompt starts with whatever is left.
        """
        least = 1 if self.chunked_prefill else num_tokens
        return fits_budget(least, num_decoding, num_admitted, self.max_batched_tokens)

    def piece_budget(self, num_batched: int) -> int | None:
        """Count the tokens that a prompt may compute beside so many others; None if prompts are whole."""
        return self.max_batched_tokens - num_batched if self.chunked_prefill else None

    @property
    def chunk(self) -> int | None:
        """The most tokens of a prompt that are computed at once; None if prompts are whole."""
        return self.piece_budget(0)


PAPER_RULES = Rules()
"""Those of our runs of the paper's experiments with OPT-13B. `paged_demo.paper.provenance` says of each
constant whether it was printed, fitted or chosen."""


def fits_budget(num_tokens: int, num_decoding: int, num_admitted: int, budget: int) -> bool:
    """Say whether a prompt may join an iteration that decodes and admits so many tokens already.

    A prompt beyond the whole budget may too, if it is the only one: else it would never start.
    """
    if num_tokens > budget:
        return num_admitted == 0
    return num_decoding + num_admitted + num_tokens <= budget


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


def pages_to_start(
    request: Request,
    num_generated: int,
    page_size: int,
    groups: Iterable[PageGroup],
    chunk: int | None = None,
) -> int:
    """Count the pages that have to be free for a request to start: the most that its prompt comes to hold.

    ``chunk`` is the most tokens of it that are computed at once, if not all. Samples have one full group.
    """
    if request.num_samples > 1:
        return pages_held(request, num_generated, page_size)
    return most_pages(groups, page_size, request.num_prompt_tokens + num_generated, chunk)


def pages_without_sharing(request: Request, num_generated: int, page_size: int) -> int:
    """Count the pages of a request if each sample had its own copy of the prompt."""
    return request.num_samples * -(-(request.num_prompt_tokens + num_generated) // page_size)


AdmissionPolicy = Callable[[Request, int], bool]
"""Whether a request, whose samples have so many tokens each, may start now if there is room."""


def admit_always(request: Request, num_generated: int) -> bool:
    """Admit whatever finds room."""
    return True


def pages_kept(watermark_share: float, num_pages: int) -> int:
    """Count the pages that an admission leaves free, so that running requests can grow.

    Examples
    --------
    >>> pages_kept(0.29, 100), pages_kept(0.299, 100)
    (29, 29)
    """
    # The product may miss a whole number by a rounding; the quotient is the share if the share was meant.
    nearest = round(watermark_share * num_pages)
    return nearest if nearest / num_pages <= watermark_share else nearest - 1


def keep_pages_free(
    allocator: PageAllocator, *, share: float = 0.01, chunk: int | None = None
) -> AdmissionPolicy:
    """Admit a request only if it leaves this share of the pages free, for the others to grow.

    The vLLM of 2023 leaves 1 % (its watermark); Kwon et al. (2023) do not mention one. ``chunk`` says how
    many tokens of a prompt are computed at once, if not all: with a window it needs fewer pages then.
    """
    num_kept = pages_kept(check_share("share", share), allocator.num_pages)
    if chunk is not None:
        chunk = check_whole("chunk", chunk)

    def may_admit(request: Request, num_generated: int) -> bool:
        (request,) = plain_requests([request])
        num_generated = check_whole("num_generated", num_generated, minimum=0)
        needed = pages_to_start(request, num_generated, allocator.page_size, allocator.groups, chunk)
        return needed + num_kept <= allocator.num_free_pages

    return may_admit


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedPool:
    """A pool of pages.

    Attributes
    ----------
    num_pages, page_size : int
        Pages, and slots in a page.
    watermark_share : float
        Share of the pages that an admission leaves free, so that running requests can grow.
    """

    num_pages: int
    page_size: int = 16
    watermark_share: float = 0.01

    def __post_init__(self) -> None:
        keep_checked(self, check_count, "num_pages", "page_size")
        keep_checked(self, check_share, "watermark_share")

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return self.num_pages * self.page_size

    def allocator(self) -> PageAllocator:
        """Make an empty allocator of this pool."""
        return PagedAllocator(self.num_pages, self.page_size)

    def most_pages(self, request: Request, rules: Rules) -> int:
        """Count the pages that a request holds at most, from its start to its end."""
        (request,) = plain_requests([request])
        return pages_held(request, request.num_output_tokens, self.page_size)

    def require_room(self, requests: Iterable[Request], rules: Rules = PAPER_RULES) -> None:
        """Raise a CacheFullError if a request can never be served, and say how much is missing."""
        for request in plain_requests(requests):
            needed = self.most_pages(request, rules)
            if needed > self.num_pages:
                raise never_fits(request, needed, self.num_pages, "pages")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraditionalPool:
    """A pool of runs that are reserved at admission.

    Attributes
    ----------
    num_slots : int
        Slots in the pool.
    reserve : ReservationPolicy
        How many slots to reserve.
    placement : PlacementPolicy
        Where to place them.
    """

    num_slots: int
    reserve: ReservationPolicy
    placement: PlacementPolicy = first_fit

    def __post_init__(self) -> None:
        keep_checked(self, check_count, "num_slots")
        check_functions(reserve=self.reserve, placement=self.placement)

    def allocator(self) -> TraditionalAllocator:
        """Make an empty allocator of this pool."""
        return TraditionalAllocator(self.num_slots, reserve=self.reserve, placement=self.placement)

    def require_room(self, requests: Iterable[Request], rules: Rules = PAPER_RULES) -> None:
        """Raise a CacheFullError if a request can never be served, and say how much is missing."""
        # Few lengths recur often, and a policy is asked once for each.
        distinct = {
            (request.num_prompt_tokens, request.num_output_tokens): request
            for request in plain_requests(requests)
        }
        largest = max(distinct.values(), key=self.reserved_slots)
        empty = self.placement(self.num_slots)
        try:
            empty.place(self.reserved_slots(largest))
        except CacheFullError as error:
            longest_run = max((hole.num_slots for hole in empty.holes()), default=0)
            raise never_fits(largest, error.needed, longest_run, "slots") from None

    def reserved_slots(self, request: Request) -> int:
        """Count the slots that are reserved for a request."""
        final_tokens = request.final_tokens
        try:
            num_reserved = reserved_slots(self.reserve, request.num_prompt_tokens, final_tokens)
            if num_reserved < final_tokens:
                raise ValueError(f"reserve returns {num_reserved} slots for its {final_tokens} tokens")
        except ValueError as error:
            raise ValueError(f"request {request.request_id} can never be served: {error}") from None
        return num_reserved


Pool = PagedPool | TraditionalPool


def never_fits(request: Request, needed: int, most: int, unit: str) -> CacheFullError:
    """Make the error that says of a request how much is missing for it in the empty pool."""
    where = " in one run of the empty pool" if unit == "slots" else " in the empty pool"
    who = f": request {request.request_id} can never be served, {needed - most} {unit} are missing"
    return CacheFullError(needed=needed, free=most, unit=unit, where=where + who)
