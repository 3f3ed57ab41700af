"""The pools that an experiment compares: how one server hands out its slots."""

from collections.abc import Iterable
from dataclasses import dataclass

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.placement import PlacementPolicy, first_fit
from paged_demo.allocators.traditional import ReservationPolicy, TraditionalAllocator, reserved_slots
from paged_demo.checks import check_count, check_functions, check_share
from paged_demo.serving.rules import pages_held, pages_kept
from paged_demo.serving.workload import Request


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
        check_count("num_pages", self.num_pages)
        check_count("page_size", self.page_size)
        check_share("watermark_share", self.watermark_share)

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return self.num_pages * self.page_size

    @property
    def num_kept_pages(self) -> int:
        """Pages that an admission leaves free."""
        return pages_kept(self.watermark_share, self.num_pages)

    def allocator(self) -> PagedAllocator:
        """Make an empty allocator of this pool."""
        return PagedAllocator(self.num_pages, self.page_size)

    def require_room(self, requests: Iterable[Request]) -> None:
        """Raise a CacheFullError if a request can never be served, and say how much is missing."""
        require_pages(requests, self.num_pages, self.page_size)


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
        check_count("num_slots", self.num_slots)
        check_functions(reserve=self.reserve, placement=self.placement)

    def allocator(self) -> TraditionalAllocator:
        """Make an empty allocator of this pool."""
        return TraditionalAllocator(self.num_slots, reserve=self.reserve, placement=self.placement)

    def require_room(self, requests: Iterable[Request]) -> None:
        """Raise a CacheFullError if a request can never be served, and say how much is missing."""
        # Few lengths recur often, and a policy is asked once for each.
        distinct = {(request.num_prompt_tokens, request.num_output_tokens): request for request in requests}
        largest = max(distinct.values(), key=self.reserved_slots)
        empty = self.placement(self.num_slots)
        try:
            empty.place(self.reserved_slots(largest))
        except CacheFullError as error:
            longest_run = max(hole.num_slots for hole in empty.holes())
            raise _never_fits(largest, error.needed, longest_run, "slots") from None

    def reserved_slots(self, request: Request) -> int:
        """Count the slots that are reserved for a request."""
        num_prompt_tokens = request.num_prompt_tokens
        final_tokens = num_prompt_tokens + request.num_output_tokens
        try:
            num_reserved = reserved_slots(self.reserve, num_prompt_tokens, final_tokens)
            if num_reserved < final_tokens:
                raise ValueError(f"reserve returns {num_reserved} slots for its {final_tokens} tokens")
        except ValueError as error:
            raise ValueError(f"request {request.request_id} can never be served: {error}") from None
        return num_reserved


Pool = PagedPool | TraditionalPool


def require_pages(requests: Iterable[Request], num_pages: int, page_size: int) -> None:
    """Raise a CacheFullError if a request needs more pages in the end than there are."""
    for request in requests:
        needed = pages_held(request, request.num_output_tokens, page_size)
        if needed > num_pages:
            raise _never_fits(request, needed, num_pages, "pages")


def check_pool(pool: object) -> None:
    """Raise a TypeError unless this is a pool to serve requests from."""
    if not isinstance(pool, (PagedPool, TraditionalPool)):
        raise TypeError(f"pool must be a PagedPool or a TraditionalPool, got {pool!r}")


def _never_fits(request: Request, needed: int, most: int, unit: str) -> CacheFullError:
    where = " in one run of the empty pool" if unit == "slots" else " in the empty pool"
    who = f": request {request.request_id} can never be served, {needed - most} {unit} are missing"
    return CacheFullError(needed=needed, free=most, unit=unit, where=where + who)
