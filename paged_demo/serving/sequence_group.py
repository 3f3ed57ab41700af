"""What the readable engine keeps: each request with its sequences and stays, and how far an iteration is."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, NamedTuple, Protocol, TypeGuard

from paged_demo.allocators.group_kinds import PageGroup
from paged_demo.allocators.memory_map import CacheFullError, MemoryMap
from paged_demo.serving.rules import pages_held, pages_to_start
from paged_demo.serving.workload import Request


class KVAllocator(Protocol):
    """What a scheduler needs of an allocator; both the traditional and the paged one have it."""

    def allocate(self, seq_id: Hashable, token_ids: Iterable[int], *, final_tokens: int) -> int:
        """Give a new sequence room for its prompt, or raise `CacheFullError`."""

    def append(self, seq_id: Hashable, token_id: int) -> Any:
        """Give a sequence room for one more token, or raise `CacheFullError`."""

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence."""

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool."""


class PagingAllocator(KVAllocator, Protocol):
    """What a scheduler needs besides, to let several samples share a prompt, and to swap."""

    num_pages: int
    page_size: int
    groups: tuple[PageGroup, ...]

    @property
    def num_free_pages(self) -> int:
        """Pages that no sequence holds."""

    def allocate(
        self, seq_id: Hashable, token_ids: Iterable[int], *, final_tokens: int, budget: int | None = None
    ) -> int:
        """Give slots to so many tokens of a prompt that were not found; return how many were."""

    def extend(self, seq_id: Hashable, budget: int) -> int:
        """Give so many more tokens of a prompt slots, or raise `CacheFullError`."""

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far."""


def has_pages(allocator: KVAllocator) -> TypeGuard[PagingAllocator]:
    """Say whether an allocator hands out pages."""
    # To ask for every member of the protocol takes as long as to admit a request.
    return hasattr(allocator, "page_size")


class Stay(NamedTuple):
    """A request's time in the batch without a break; one that is preempted comes back for another.

    Attributes
    ----------
    request_id : int
        Whose stay it was.
    start_s, end_s : float
        When the iteration began that admitted it, and when its slots were given back.
    is_preempted : bool
        Whether it ended before the request had its last token.
    """

    request_id: int
    start_s: float
    end_s: float
    is_preempted: bool


@dataclass(slots=True, eq=False)
class SequenceGroup:
    """A request as a scheduler keeps it: its samples, which start, grow and leave together.

    Attributes
    ----------
    request : Request
        Whose samples these are.
    num_generated : int
        Tokens that each of them has generated.
    is_swapped : bool
        Whether their keys and values are in the host's memory.
    start_s : float
        When they were last admitted.
    num_missing : int
        Tokens that have no slots yet, while a prompt is computed in pieces. A request that comes back has its
        generated tokens computed with its prompt, as one.
    held : list
        The sequences that the allocator has.
    num_to_grow : int
        How many of them, the last ones, have yet to gain a token in this iteration.
    """

    request: Request
    num_generated: int = 0
    is_swapped: bool = False
    start_s: float = 0.0
    num_missing: int = 0
    held: list[Hashable] = field(default_factory=list)
    num_to_grow: int = 0

    @property
    def seq_ids(self) -> list[Hashable]:
        """The names of the sequences: that of the request, if there is only one."""
        request_id, num_samples = self.request.request_id, self.request.num_samples
        return [request_id] if num_samples == 1 else [(request_id, sample) for sample in range(num_samples)]

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences that have slots, once running; the prompt counts in each."""
        return (
            self.request.num_samples * (self.request.num_prompt_tokens + self.num_generated)
            - self.num_missing
        )

    @property
    def num_to_come(self) -> int:
        """Tokens that each sequence has yet to generate."""
        return self.request.num_output_tokens - self.num_generated

    @property
    def num_to_compute(self) -> int:
        """Tokens that a start computes: the prompt once for all samples; none if they were swapped out."""
        if self.is_swapped:
            return 0
        return self.request.num_prompt_tokens + self.request.num_samples * self.num_generated

    def num_swapped_pages(self, page_size: int) -> int:
        """Count the pages whose contents move between the GPU and the host."""
        return pages_held(self.request, self.num_generated, page_size) if self.is_swapped else 0

    def allocate(self, allocator: KVAllocator, budget: int | None = None, chunk: int | None = None) -> int:
        """Take the slots of all tokens that there are, or raise an error and leave all as it was.

        Parameters
        ----------
        allocator : KVAllocator
            Where the tokens go.
        budget : int, optional
            Take the slots of so many tokens only, and the others with `extend`; yet there must be room for
            the most pages that the prompt comes to hold. What was swapped out comes back whole.
        chunk : int, optional
            The most tokens of a later piece, which says how many pages these are.

        Returns
        -------
        int
            Tokens to compute now.
        """
        if has_pages(allocator):
            # Pages that were taken and given back would have lost what was cached in them.
            groups, page_size = allocator.groups, allocator.page_size
            needed = pages_to_start(self.request, self.num_generated, page_size, groups, chunk)
            if needed > allocator.num_free_pages:
                raise CacheFullError(needed=needed, free=allocator.num_free_pages, unit="pages")
            if budget is not None and not self.is_swapped:
                return self._begin(allocator, budget)
        first, *others = self.seq_ids
        allocator.allocate(first, self._prompt(), final_tokens=self.request.final_tokens)
        self.held.append(first)
        try:
            for child in others:
                assert has_pages(allocator)
                allocator.fork(first, child)
                self.held.append(child)
            for _ in range(self.num_generated):
                for seq_id in self.held:
                    allocator.append(seq_id, 0)
        except BaseException:
            self.free(allocator)
            raise
        return self.num_to_compute

    def grow(self, allocator: KVAllocator) -> int:
        """Take a slot for the next token of each sequence that has yet to gain one; return how many gained.

        If an error comes in between, a later call goes on with those that have none.
        """
        while self.num_to_grow:
            allocator.append(self.held[-self.num_to_grow], 0)
            self.num_to_grow -= 1
        self.num_generated += 1
        return self.request.num_samples

    def extend(self, allocator: KVAllocator, budget: int) -> int:
        """Take the slots of a prompt's next piece; return its tokens, or raise a CacheFullError."""
        assert has_pages(allocator)
        piece = min(budget, self.num_missing)
        allocator.extend(self.request.request_id, piece)
        self.num_missing -= piece
        return piece

    def free(self, allocator: KVAllocator) -> None:
        """Give all slots back. If an error comes in between, a later call gives back the others."""
        self.num_missing = 0
        self.num_to_grow = 0
        while self.held:
            allocator.free(self.held[0])
            del self.held[0]

    def _begin(self, allocator: PagingAllocator, budget: int) -> int:
        num_found = allocator.allocate(
            self.request.request_id,
            chain(self._prompt(), repeat(0, self.num_generated)),
            final_tokens=self.request.final_tokens,
            budget=budget,
        )
        self.held.append(self.request.request_id)
        num_left = self.request.num_prompt_tokens + self.num_generated - num_found
        piece = min(budget, num_left)
        self.num_missing = num_left - piece
        return piece

    def _prompt(self) -> Iterable[int]:
        # The first token sets a prompt apart from all others.
        return chain((self.request.request_id,), repeat(0, self.request.num_prompt_tokens - 1))


@dataclass(slots=True)
class IterationProgress:
    """How far an iteration of the readable engine has come, so that one that was interrupted can go on.

    Attributes
    ----------
    preempted, started : list of SequenceGroup
        Who had to yield, and who was admitted.
    num_decoding, num_in_pieces, num_admitted : int
        Tokens that are computed: one for each sequence that decodes, those of running prompts that go on, and
        those of requests that were admitted.
    """

    preempted: list[SequenceGroup] = field(default_factory=list)
    started: list[SequenceGroup] = field(default_factory=list)
    num_decoding: int = 0
    num_in_pieces: int = 0
    num_admitted: int = 0

    @property
    def num_batched(self) -> int:
        """All these tokens."""
        return self.num_decoding + self.num_in_pieces + self.num_admitted

    def num_swapped_pages(self, page_size: int) -> tuple[int, int]:
        """Count the pages that move out of the GPU's memory, and those that move back."""
        num_out, num_in = (
            sum(group.num_swapped_pages(page_size) for group in moved)
            for moved in (self.preempted, self.started)
        )
        return num_out, num_in
