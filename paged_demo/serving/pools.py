"""The pools that an experiment compares: how one server hands out its slots."""

from dataclasses import dataclass

from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.placement import PlacementPolicy, first_fit
from paged_demo.allocators.traditional import ReservationPolicy, TraditionalAllocator
from paged_demo.checks import check_count, check_share


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

    def allocator(self) -> PagedAllocator:
        """Make an empty allocator of this pool."""
        return PagedAllocator(self.num_pages, self.page_size)


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

    def allocator(self) -> TraditionalAllocator:
        """Make an empty allocator of this pool."""
        return TraditionalAllocator(self.num_slots, reserve=self.reserve, placement=self.placement)


Pool = PagedPool | TraditionalPool
