"""A pool of pages for a model with several kinds of layers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from paged_demo.allocators.group_kinds import (
    FULL_ALONE,
    FullGroup,
    PageGroup,
    SlidingGroup,
    StateGroup,
    check_groups,
    most_pages,
)
from paged_demo.allocators.groups import GroupedAllocator
from paged_demo.serving.rules import PAPER_RULES, PageAllocator, PagedPool, Rules
from paged_demo.serving.sequence_group import PagingAllocator
from paged_demo.serving.workload import Request, plain_requests


class PlannedGroup(Protocol):
    """What is needed of a group of a plan: the kind of its layers, the tokens of its pages, and a window."""

    @property
    def kind(self) -> str:
        """The kind: full, latent, sliding or state."""

    @property
    def block_size(self) -> int:
        """Tokens in a page."""

    @property
    def pages(self) -> Sequence[Any]:
        """The pages of each layer."""


class PlannedPool(Protocol):
    """What is needed of a plan; `paged_demo.plan` makes one from a config, flags and memory."""

    @property
    def blocks(self) -> int:
        """Pages, one of which is never given out."""

    @property
    def groups(self) -> Sequence[PlannedGroup]:
        """Layers that take their pages together."""

    @property
    def server(self) -> Any:
        """The flags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedPool(PagedPool):
    """A pool of pages that several groups of layers take from, as in `GroupedAllocator`.

    A full group holds every page of a sequence, a sliding group those of its window and of the tokens that
    are computed, a state group one. Room is what differs: the time of an iteration is that of `Rules`, which
    has every layer read every token.

    A token to come counts as one slot in each group. So, where a group's page holds fewer tokens than
    ``page_size``, some of what is told as internal is written later; where more, some of what is told as
    reserved never is.

    A request starts when there is room for the most pages that its prompt comes to hold. Without
    ``chunked_prefill`` a window has pages for the whole prompt at first; in pieces it has them for one piece
    of ``max_batched_tokens`` and what is read before it. A request has one sample, and what was preempted
    is computed again, not swapped, as in vLLM 0.33.0.

    Attributes
    ----------
    num_pages, page_size : int
        Pages, and tokens in a page of each group that has no ``page_size`` of its own.
    groups : tuple of FullGroup, SlidingGroup or StateGroup
        Any iterable of them is taken. Every ``page_size`` must divide the largest.
    watermark_share : float
        Share of the pages that an admission leaves free, so that running requests can grow.

    Examples
    --------
    Forty requests of 1,000 tokens and 500 more; one layer in six reads all of them, and the others the last
    64. How many run at once, on average, and if all layers are counted as full:

    >>> from paged_demo import FullGroup, Rules, SlidingGroup, simulate
    >>> requests = [Request(request_id, 1000, 500) for request_id in range(40)]
    >>> rules = Rules(chunked_prefill=True, max_batched_tokens=256)
    >>> kinds = [FullGroup(), *[SlidingGroup(window=64)] * 5]
    >>> pools = [GroupedPool(num_pages=2000, groups=groups) for groups in (kinds, [FullGroup()] * 6)]
    >>> [round(simulate(requests, pool, rules=rules).mean_running) for pool in pools]
    [13, 4]
    """

    groups: tuple[PageGroup, ...]

    def __post_init__(self) -> None:
        PagedPool.__post_init__(self)  # with slots=True super() knows another class
        object.__setattr__(self, "groups", check_groups(self.groups, self.page_size))

    @classmethod
    def of_plan(cls, planned: PlannedPool, *, watermark_share: float = 0.0) -> Self:
        """Make the pool that a server plans at start; its first page is never given out.

        Parameters
        ----------
        planned : Plan
            What `paged_demo.plan` returned, with the memory of the pool.
        watermark_share : float
            As above. vLLM 0.33.0 keeps none unless it is asked to.

        Raises
        ------
        ValueError
            If the plan has no page to give out, or holds pages in a way that no page table is made for here.
        """
        if planned.blocks < 2:
            raise ValueError(
                "planned must have memory for two blocks or more, one of which is never given out,"
                f" got {planned.blocks}"
            )
        server, has_states = planned.server, any(group.kind == "state" for group in planned.groups)
        if server.decode_context_parallel > 1:
            raise ValueError(
                "planned must keep all tokens of a page on one GPU (decode_context_parallel=1),"
                f" got {server.decode_context_parallel}"
            )
        if has_states and (server.speculative_tokens or server.state_cache == "all"):
            raise ValueError(
                "planned must keep one state of a sequence (no speculative_tokens, state_cache not 'all'),"
                f" got {server.speculative_tokens} and {server.state_cache!r}"
            )
        token_groups = [group.block_size for group in planned.groups if group.kind != "state"]
        return cls(
            num_pages=planned.blocks - 1,
            page_size=max(token_groups, default=1),
            groups=tuple(map(_group_of, planned.groups)),
            watermark_share=watermark_share,
        )

    def allocator(self) -> PageAllocator:
        """Make an empty allocator of this pool."""
        return GroupedAllocator(self.num_pages, self.page_size, self.groups)

    def most_pages(self, request: Request, rules: Rules) -> int:
        """Count the pages that a request holds at most; by the end it may have to be computed once more."""
        return most_pages(self.groups, self.page_size, request.final_tokens, rules.chunk)

    def require_room(self, requests: Iterable[Request], rules: Rules = PAPER_RULES) -> None:
        """Raise an error if a request can never be served, or has samples, or would be swapped."""
        checked = plain_requests(requests)
        for request in checked:
            if request.num_samples > 1:
                raise ValueError(
                    f"num_samples of request {request.request_id} must be 1 in a pool with groups"
                    f" (send a request for each sample instead), got {request.num_samples}"
                )
            if rules.is_swapped(request):
                raise ValueError(
                    "swaps must return False in a pool with groups, where what was preempted is computed"
                    f" again, got True for request {request.request_id}"
                )
        PagedPool.require_room(self, checked, rules)


def pool_of(allocator: PagingAllocator) -> PagedPool:
    """Return the pool that an allocator was made of, without a watermark."""
    num_pages, page_size = allocator.num_pages, allocator.page_size
    if allocator.groups == FULL_ALONE:
        return PagedPool(num_pages=num_pages, page_size=page_size)
    return GroupedPool(num_pages=num_pages, page_size=page_size, groups=allocator.groups)


def _group_of(group: PlannedGroup) -> PageGroup:
    if group.kind == "state":
        return StateGroup()  # Its page lasts for a sequence of any length: nothing is found here.
    if group.kind == "sliding":
        return SlidingGroup(window=group.pages[0].layer.window, page_size=group.block_size)
    if group.kind in {"full", "latent"}:
        return FullGroup(page_size=group.block_size)
    raise ValueError(f"planned must have full, latent, sliding and state groups only, got {group.kind!r}")
