"""How much a pool holds while requests queue for it: the effect of the page size alone."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from paged_demo.allocators.memory_map import Hole, MemoryMap
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.checks import check_count, check_iterable, follow
from paged_demo.serving.rules import AdmissionPolicy, admit_always, keep_pages_free
from paged_demo.serving.run import Progress
from paged_demo.serving.scheduler import Iteration, Scheduler, Snapshot
from paged_demo.serving.sequence_group import KVAllocator
from paged_demo.serving.workload import Request, check_requests

WAITING_SHARE_WHEN_WARM = 0.8
WAITING_SHARE_AT_END = 0.1
NUM_SNAPSHOTS = 15
"""For the whole queue; about 10 of them fall between those two shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullPool:
    """What a pool holds while the queue for it is never empty.

    Attributes
    ----------
    mean_running : float
        Running requests, the mean over iterations.
    mean_tokens : float
        Tokens they hold, the mean over iterations.
    num_requests : int
        Requests in the queue at first.
    num_preempted : int
        How often a request was sent back to the queue, to compute its tokens again.
    memory_map : MemoryMap
        The pool in one iteration: of 10 or so, the one nearest to the means.
    future_tokens : mapping
        Tokens that the requests of that map had yet to generate.
    """

    mean_running: float
    mean_tokens: float
    num_requests: int
    num_preempted: int
    memory_map: MemoryMap
    future_tokens: Mapping[Hashable, int]

    @property
    def mean_used_share(self) -> float:
        """Share of the slots that hold a token, the mean over iterations."""
        return self.mean_tokens / self.memory_map.num_slots


def keep_full(
    allocator: KVAllocator, requests: Iterable[Request], *, may_admit: AdmissionPolicy = admit_always
) -> FullPool:
    """Serve a long queue, and measure what the pool holds meanwhile.

    The run ends when a tenth of the requests still wait, so that the pool is full throughout. The
    means leave out the iterations before a fifth had been admitted: at first all requests are young. In the
    end, even if an error comes, all slots that the queue took are free again.

    Raises
    ------
    ValueError
        If all requests find room before the run ends: then the pool was not full.

    Examples
    --------
    >>> requests = [Request(request_id, 6, 10) for request_id in range(40)]
    >>> round(keep_full(PagedAllocator(16, 4), requests).mean_running, 1)
    5.3
    """
    scheduler = Scheduler(allocator, requests, may_admit=may_admit)
    try:
        return _keep_full(scheduler)
    finally:
        scheduler.let_go()


def _keep_full(scheduler: Scheduler) -> FullPool:
    num_requests = scheduler.num_waiting
    iterations: list[Iteration] = []
    snapshots: list[tuple[Iteration, Snapshot]] = []
    next_snapshot = WAITING_SHARE_WHEN_WARM * num_requests
    while scheduler.num_waiting > WAITING_SHARE_AT_END * num_requests:
        iteration = scheduler.step()
        if scheduler.num_waiting <= WAITING_SHARE_WHEN_WARM * num_requests:
            iterations.append(iteration)
        if scheduler.num_waiting <= next_snapshot:
            snapshots.append((iteration, scheduler.snapshot()))
            next_snapshot -= num_requests / NUM_SNAPSHOTS
    if scheduler.num_waiting == 0:
        raise ValueError(f"requests are too few to keep the pool full, got {num_requests}")
    mean_running = fmean(iteration.num_running for iteration in iterations)
    mean_tokens = fmean(iteration.num_tokens for iteration in iterations)

    def distance(pair: tuple[Iteration, Snapshot]) -> float:
        return abs(pair[0].num_running / mean_running - 1) + abs(pair[0].num_tokens / mean_tokens - 1)

    _, nearest = min(snapshots, key=distance)
    return FullPool(
        mean_running=mean_running,
        mean_tokens=mean_tokens,
        num_requests=num_requests,
        num_preempted=sum(stay.is_preempted for stay in scheduler.stays),
        memory_map=nearest.memory_map,
        future_tokens=nearest.future_tokens,
    )


def fill_by_page_size(
    requests: Iterable[Request], page_sizes: Iterable[int], *, num_slots: int, progress: Progress = iter
) -> dict[int, FullPool]:
    """Keep one pool full with the same requests, cut into pages of one size after the other.

    Slots that are left over when the pool is cut stay in its map as a hole shorter than a page.

    Parameters
    ----------
    requests : iterable of Request
        The queue.
    page_sizes : iterable of int
        Slots in a page, each at most ``num_slots``.
    num_slots : int
        Slots in the pool; the longest request must fit.
    progress : callable
        Called with the page sizes, such as ``tqdm``, to show how far it has come.

    Raises
    ------
    ValueError, TypeError
        If a size is not a whole number from 1, the longest request does not fit, or the requests are
        too few to keep the pool full.
    """
    num_slots = check_count("num_slots", num_slots)
    checked = check_requests(requests)
    longest = max(request.final_tokens for request in checked)
    pools = {}
    for size in follow(progress, check_iterable("page_sizes", page_sizes, "whole numbers")):
        page_size = check_count("page_size", size)
        num_pages = num_slots // page_size
        if num_pages == 0:
            raise ValueError(f"page_size must be at most num_slots ({num_slots}), got {page_size}")
        allocator = PagedAllocator(num_pages, page_size)
        may_admit = keep_pages_free(allocator)
        if not may_admit(Request(0, longest, 1), 0):
            raise ValueError(
                f"num_slots must have room for the longest request ({longest} tokens) and 1 % of the pages"
                f" besides, got {num_slots} in pages of {page_size}"
            )
        pool = keep_full(allocator, checked, may_admit=may_admit)
        pools[page_size] = replace(pool, memory_map=_with_remnant(pool.memory_map, num_slots))
    return pools


def _with_remnant(memory_map: MemoryMap, num_slots: int) -> MemoryMap:
    num_left = num_slots - memory_map.num_slots
    if num_left == 0:
        return memory_map
    holes = (*memory_map.holes, Hole(memory_map.num_slots, num_left))
    return replace(memory_map, num_slots=num_slots, holes=holes)
