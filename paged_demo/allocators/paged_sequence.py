"""A sequence in pages: its table, the tokens of its last page, and what is still to come of its prompt."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Self

from paged_demo.allocators.memory_map import MemoryMap, Region, holes_between
from paged_demo.allocators.page_pool import PagePool


@dataclass(slots=True, kw_only=True)
class PagedSequence:
    """What `PagedAllocator` keeps of a sequence. Its methods say which pages of the pool they change.

    Attributes
    ----------
    page_size : int
        Slots in a page.
    key : bytes
        Of the last full page: it stands for the whole prefix up to there.
    page_table : list of int
        The physical page of each logical page, but for the first ``num_gone``.
    num_gone : int
        Logical pages in front that are held no more, since no layer of a group reads them.
    tail : list of int
        The tokens of the last page while it is not full.
    next_slot : int
        Where the next token goes, if the last page has room for it.
    is_guarded : bool
        Whether the last page needs a look before it is written to: a fork may share it, or the prompt goes
        on. It spares most appends that look.
    unsealed : list of (int, bytes)
        Full pages that cannot be found yet, with their keys. A fork leaves them to its parent.
    rest, rest_keys : list of int, list of bytes
        What is left of a prompt that is computed in pieces, and the keys of the full pages to come.
    """

    page_size: int
    key: bytes
    page_table: list[int] = field(default_factory=list)
    num_gone: int = 0
    tail: list[int] = field(default_factory=list)
    next_slot: int = 0
    is_guarded: bool = False
    unsealed: list[tuple[int, bytes]] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)
    rest_keys: list[bytes] = field(default_factory=list)

    @property
    def num_unfilled(self) -> int:
        """Slots of the last page that hold no token."""
        return -len(self.tail) % self.page_size

    @property
    def num_idle(self) -> int:
        """Slots of the last page that hold nothing."""
        return self.num_unfilled

    @property
    def num_tokens(self) -> int:
        """Tokens that have a slot."""
        return (self.num_gone + len(self.page_table)) * self.page_size - self.num_unfilled

    def slots(self) -> list[int]:
        """List the physical slot of each token whose page is held, in order."""
        size = self.page_size
        pages = [range(page_id * size, (page_id + 1) * size) for page_id in self.page_table]
        if pages:
            pages[-1] = pages[-1][: size - self.num_unfilled]
        return list(chain.from_iterable(pages))

    def begin(self, found: list[int], num_gone: int = 0) -> None:
        """Begin the prompt with pages that were found, after so many that nobody needs."""
        self.page_table, self.num_gone = found, num_gone
        num_pages = num_gone + len(found)
        if num_pages:
            self.key = self.rest_keys[num_pages - 1]
            del self.rest_keys[:num_pages], self.rest[: num_pages * self.page_size]

    def pages_for(self, budget: int) -> int:
        """Count the pages that the next piece of the prompt needs, of so many tokens at most."""
        num_after = self.num_tokens + min(budget, len(self.rest))
        return -(-num_after // self.page_size) - self.num_gone - len(self.page_table)

    def pages_to_begin(self, budget: int, pool: PagePool) -> int:
        """Count the free pages that the first piece needs: new ones, and those that were found free."""
        return self.pages_for(budget) + sum(pool.ref_count(page_id) == 0 for page_id in self.page_table)

    def pages_to_append(self, pool: PagePool) -> int:
        """Count the pages that the next token needs: it starts one, or writes to one that is shared."""
        return int(not self.tail or (self.is_guarded and pool.ref_count(self.page_table[-1]) > 1))

    def pages_to_extend(self, budget: int, pool: PagePool) -> int:
        """Count the pages that the next piece needs, beside those that it gives back first."""
        return self.pages_for(budget)

    def behind(self, first_kept: int) -> list[int]:
        """List the pages that lie before a logical page, and are still held."""
        return self.page_table[: max(0, first_kept - self.num_gone)]

    def give_back(self, first_kept: int, pool: PagePool) -> list[int]:
        """Let go of the pages before a logical page, and return them."""
        pages = self.behind(first_kept)
        pool.release_table(pages)
        del self.page_table[: len(pages)]
        self.num_gone += len(pages)
        return pages

    def share(self, pool: PagePool) -> None:
        """Add a reference to every page of the table."""
        for page_id in self.page_table:
            pool.share(page_id)

    def store(self, budget: int, pool: PagePool) -> None:
        """Take pages for the next piece of the prompt. There is room for them."""
        first = len(self.page_table) - bool(self.tail)  # of the pages that are written now
        self.page_table.extend([pool.take() for _ in range(self.pages_for(budget))])
        keys = self.move_on(budget)
        self.next_slot = self.page_table[-1] * self.page_size + len(self.tail)
        self.unsealed.extend(zip(self.page_table[first:], keys, strict=False))

    def move_on(self, budget: int) -> list[bytes]:
        """Count the next piece of the prompt as stored, and return the keys of the pages that it fills."""
        written = self.tail + self.rest[:budget]
        del self.rest[:budget]
        num_full, num_over = divmod(len(written), self.page_size)
        self.tail = written[len(written) - num_over :]
        self.is_guarded = bool(self.rest)
        keys = self.rest_keys[:num_full]
        if keys:
            del self.rest_keys[:num_full]
            self.key = keys[-1]
        return keys

    def seal(self, pool: PagePool) -> None:
        """Let the full pages be found from now on."""
        for page_id, key in self.unsealed:
            pool.seal(page_id, key)
        self.unsealed.clear()

    def fork(self, pool: PagePool) -> Self:
        """Return a sequence that equals this one, and shares every page."""
        self.share(pool)
        self.is_guarded = bool(self.tail)
        return replace(self, page_table=self.page_table.copy(), tail=self.tail.copy(), unsealed=[])

    def unshare_last_page(self, pool: PagePool) -> tuple[int, int] | None:
        """Copy the last page on write, unless all other owners have left it."""
        src_page = self.page_table[-1]
        copy = None
        if pool.ref_count(src_page) > 1:
            dst_page = pool.take()
            pool.release(src_page)
            self.page_table[-1] = dst_page
            self.next_slot = dst_page * self.page_size + len(self.tail)
            copy = (src_page, dst_page)
        self.is_guarded = False
        return copy

    def require_whole_prompt(self, name: str, seq_id: Hashable) -> None:
        """Raise a ValueError that names the sequence if some of its prompt is still to come."""
        if self.rest:
            missing = f"{len(self.rest)} tokens are missing"
            raise ValueError(f"{name} {seq_id!r} needs its whole prompt first, {missing}")

    def require_rest(self, name: str, seq_id: Hashable) -> None:
        """Raise a ValueError that names the sequence if nothing of its prompt is still to come."""
        if not self.rest:
            raise ValueError(f"{name} {seq_id!r} has its whole prompt; append is for what comes after it")

    def check(self) -> None:
        """Assert every invariant of a sequence by itself."""
        assert self.page_table or self.num_gone, "a sequence without a page"
        assert len(set(self.page_table)) == len(self.page_table), "a page twice in a table"
        assert len(self.tail) < self.page_size, "a full page that was not finished"
        place = divmod(self.next_slot, self.page_size)
        assert not self.tail or place == (self.page_table[-1], len(self.tail)), "the next slot is another"
        for page_id, _ in self.unsealed:
            assert page_id in self.page_table, f"page {page_id} waits for another's seal"


def map_pages(
    pool: PagePool, page_size: int, sequences: Iterable[tuple[Hashable, PagedSequence]]
) -> MemoryMap:
    """Take a snapshot of a pool: a region for each page that is held, by these sequences, or cached."""
    holders: dict[int, tuple[Hashable, ...]] = dict.fromkeys(pool.cached_pages, ())
    unfilled: dict[int, int] = {}
    for seq_id, sequence in sequences:
        alone = (seq_id,)  # Most pages have one holder, and share this.
        for page_id in sequence.page_table:
            holders[page_id] = holders[page_id] + alone if page_id in holders else alone
        if sequence.num_idle:  # of a group with other pages: the same share of a page
            unfilled[sequence.page_table[-1]] = sequence.num_idle * page_size // sequence.page_size
    regions = tuple(
        Region(
            page_id * page_size,
            page_size,
            page_size,
            page_size - unfilled.get(page_id, 0),
            holders[page_id],
        )
        for page_id in sorted(holders)
    )
    num_slots = pool.num_pages * page_size
    holes = holes_between(regions, num_slots)
    return MemoryMap(num_slots=num_slots, regions=regions, holes=holes, page_size=page_size)


def check_pages_of(pool: PagePool, sequences: Iterable[PagedSequence]) -> None:
    """Assert every invariant of a pool and of these sequences, which are all that hold its pages."""
    pool.check()
    references = [0] * pool.num_pages
    for sequence in sequences:
        sequence.check()
        for page_id in sequence.page_table:
            references[page_id] += 1
    for page_id, num_references in enumerate(references):
        assert pool.ref_count(page_id) == num_references, f"page {page_id} is miscounted"
