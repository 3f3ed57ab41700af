"""What an allocator of several groups keeps of each: a paged allocator over a pool that all of them use."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Self, cast

from paged_demo.allocators.group_kinds import PageGroup, StateGroup
from paged_demo.allocators.page_pool import NO_PARTS, PageKeys, PagePool
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.paged_sequence import PagedSequence
from paged_demo.allocators.sequences import Append, new_append


class Lane(PagedAllocator):
    """The pages of one group. Whoever calls sees to it that there is room, in all lanes."""

    def __init__(
        self, pool: PagePool, group: PageGroup, number: int, page_size: int, *, prefix_caching: bool
    ) -> None:
        super().__init__(1, group.page_size or page_size, prefix_caching=prefix_caching)
        self.num_pages, self._pool = pool.num_pages, pool  # in place of one of its own
        self._keys = LaneKeys(self.page_size, number)
        self.groups = (group,)

    @property
    def sequences(self) -> Mapping[Hashable, PagedSequence]:
        """The sequences by id. Asked for another one, it raises a KeyError that names it."""
        return self._sequences

    def require_new(self, name: str, seq_id: Hashable) -> None:
        """Raise a ValueError that names the argument if the sequence is there already."""
        self._sequences.require_new(name, seq_id)

    def draft(self, tokens: list[int], cache_salt: str, key_parts: Mapping[str, str]) -> PagedSequence:
        """Make a sequence of a prompt, with nothing stored yet."""
        return self._draft(tokens.copy(), cache_salt, key_parts)

    def runs(self, draft: PagedSequence) -> list[int]:
        """Count for each full page of a prompt how many in a row can be found, up to this one."""
        runs, run = [], 0
        for key in draft.rest_keys:
            run = run + 1 if self._pool.find([key]) else 0
            runs.append(run)
        return runs

    def has(self, num_tokens: int, runs: list[int]) -> bool:
        """Say whether all pages are found that a prompt needs to begin after so many tokens."""
        num_pages = num_tokens // self.page_size
        num_needed = num_pages - self._first_kept(num_tokens)
        return num_needed == 0 or runs[num_pages - 1] >= num_needed

    def begin(self, draft: PagedSequence, num_tokens: int) -> None:
        """Begin a prompt after so many tokens, whose pages can be found."""
        first = self._first_kept(num_tokens)
        draft.begin(self._pool.find(draft.rest_keys[first : num_tokens // self.page_size]), first)

    def start(self, seq_id: Hashable, draft: PagedSequence, budget: int) -> None:
        """Keep a sequence, and store the first piece of its prompt."""
        self._store(draft, budget)
        self._sequences[seq_id] = draft

    def store(self, seq_id: Hashable, budget: int) -> None:
        """Store the next piece of a prompt."""
        self._store(self._sequences[seq_id], budget)

    def append_alone(self, seq_id: Hashable, token_id: int) -> tuple[Append, ...]:
        """Find a slot for the next token, and answer as for several groups of which this is the only one."""
        return (self.append(seq_id, token_id),)

    def num_behind(self, seq_id: Hashable) -> int:
        """Count the pages that would come free if the sequence gave back what it does not read again."""
        sequence = self._sequences[seq_id]
        behind = sequence.behind(self._first_kept(sequence.num_tokens))
        return sum(self._pool.ref_count(page_id) == 1 for page_id in behind)

    def give_back(self, seq_id: Hashable) -> list[int]:
        """Let go of the pages that the sequence does not read again, and return them."""
        sequence = self._sequences[seq_id]
        return sequence.give_back(self._first_kept(sequence.num_tokens), self._pool)

    def _first_kept(self, num_tokens: int) -> int:
        return self.groups[0].first_kept(num_tokens, self.page_size)


class LaneKeys(PageKeys):
    """Keys that no other group has: the same tokens have other keys and values in its layers."""

    def __init__(self, page_size: int, number: int) -> None:
        super().__init__(page_size)
        self._number = number

    def root(self, cache_salt: str = "", key_parts: Mapping[str, str] = NO_PARTS) -> bytes:
        """Return what stands in for the parent of a first page in this group."""
        root = super().root(cache_salt, key_parts)
        return sha256(b"group %d" % self._number + root).digest() if self._number else root


@dataclass(slots=True, kw_only=True)
class StateSequence(PagedSequence):
    """A sequence whose state fills one page, which stands for the last logical page.

    Attributes
    ----------
    is_sealed : bool
        Whether the page can be found. Then it must not be written to any more.
    copy : (int, int) or None
        What to copy before the last piece of the prompt is computed.
    """

    is_sealed: bool = False
    copy: tuple[int, int] | None = None

    @property
    def num_idle(self) -> int:
        """Return 0: a state fills its page."""
        return 0

    def slots(self) -> list[int]:
        """List the first slot of the page, which the last token wrote."""
        return [self.page_table[0] * self.page_size]

    def begin(self, found: list[int], num_gone: int = 0) -> None:
        """Begin the prompt with a state that was found."""
        PagedSequence.begin(self, found, num_gone)  # with slots=True super() knows another class
        self.is_sealed = bool(found)

    def pages_to_begin(self, budget: int, pool: PagePool) -> int:
        """Return 1: a state that was found free leaves its page for that of this sequence."""
        return 1

    def pages_to_append(self, pool: PagePool) -> int:
        """Count the pages that the next state needs. A sealed page that nobody shares comes free for it."""
        return int(pool.ref_count(self.page_table[0]) > 1)

    def pages_to_extend(self, budget: int, pool: PagePool) -> int:
        """Count the pages that the next state needs, however many tokens lead to it."""
        return self.pages_to_append(pool)

    def store(self, budget: int, pool: PagePool) -> None:
        """Find a page for the state after the next piece of the prompt."""
        num_after = self.num_tokens + min(budget, len(self.rest))
        self.copy = self.turn_page(pool)
        keys = self.move_on(budget)
        self.num_gone = -(-num_after // self.page_size) - 1
        if keys and not self.tail:
            self.unsealed.append((self.page_table[0], keys[-1]))

    def turn_page(self, pool: PagePool) -> tuple[int, int] | None:
        """Go on in another page if this one must not be written to, and say what to copy."""
        if not self.page_table:
            self.page_table.append(pool.take())
            return None
        src_page = self.page_table[0]
        if not self.is_sealed and pool.ref_count(src_page) == 1:
            return None
        pool.release(src_page)
        self.page_table[0] = dst_page = pool.take()
        self.is_sealed = False
        return None if dst_page == src_page else (src_page, dst_page)

    def seal(self, pool: PagePool) -> None:
        """Let the state be found from now on, if it is one at the end of a page."""
        self.is_sealed |= bool(self.unsealed)
        PagedSequence.seal(self, pool)

    def fork(self, pool: PagePool) -> Self:
        """Return a sequence that equals this one, and shares its page until one of them goes on."""
        child = PagedSequence.fork(self, pool)
        child.copy = None
        return child

    def check(self) -> None:
        """Assert every invariant of a sequence by itself."""
        assert len(self.page_table) == 1, "a state that is not in one page"
        assert len(self.tail) < self.page_size, "a full page that was not finished"
        assert not self.unsealed, "a state that waits for its seal"
        assert not (self.is_sealed and self.tail), "a sealed state that was written"


class StateLane(Lane):
    """The pages of states."""

    _sequence_type = StateSequence

    def append(self, seq_id: Hashable, token_id: int) -> Append:
        """Find a page for the state after one token more; the slot is the page's first."""
        sequence = cast(StateSequence, self._sequences[seq_id])
        copy = sequence.turn_page(self._pool)
        sequence.num_gone += not sequence.tail
        sequence.tail.append(token_id)
        if len(sequence.tail) == self.page_size:
            self._finish_last_page(sequence)
        return new_append((sequence.page_table[0] * self.page_size, copy))


def make_lane(pool: PagePool, group: PageGroup, number: int, page_size: int, *, prefix_caching: bool) -> Lane:
    """Make the lane for a kind of group."""
    lane_type = StateLane if isinstance(group, StateGroup) else Lane
    return lane_type(pool, group, number, page_size, prefix_caching=prefix_caching)
