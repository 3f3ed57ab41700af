"""A sequence in pages: its table, the tokens of its last page, and what is still to come of its prompt."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from paged_demo.allocators.page_pool import PagePool


@dataclass(slots=True, kw_only=True)
class PagedSequence:
    """What `PagedAllocator` keeps of a sequence. Its methods say which pages of the pool they change.

    Attributes
    ----------
    page_size : int
        Slots in a page.
    page_table : list of int
        The physical page of each logical page.
    key : bytes
        Of the last full page: it stands for the whole prefix up to there.
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
    page_table: list[int]
    key: bytes
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
    def num_tokens(self) -> int:
        """Tokens that have a slot."""
        return len(self.page_table) * self.page_size - self.num_unfilled

    def slots(self) -> list[int]:
        """List the physical slot of each token, in order."""
        size, (*others, last) = self.page_size, self.page_table
        slots = [page_id * size + offset for page_id in others for offset in range(size)]
        return [*slots, *range(last * size, (last + 1) * size - self.num_unfilled)]

    def pages_for(self, budget: int) -> int:
        """Count the pages that the next piece of the prompt needs, of so many tokens at most."""
        num_after = self.num_tokens + min(budget, len(self.rest))
        return -(-num_after // self.page_size) - len(self.page_table)

    def store(self, budget: int, pool: PagePool) -> None:
        """Take pages for the next piece of the prompt. There is room for them."""
        first = len(self.page_table) - bool(self.tail)  # of the pages that are written now
        written = self.tail + self.rest[:budget]
        self.page_table.extend([pool.take() for _ in range(self.pages_for(budget))])
        del self.rest[:budget]
        num_full, num_over = divmod(len(written), self.page_size)
        self.tail = written[len(written) - num_over :]
        self.next_slot = self.page_table[-1] * self.page_size + num_over
        self.is_guarded = bool(self.rest)
        if keys := self.rest_keys[:num_full]:
            del self.rest_keys[:num_full]
            self.key = keys[-1]
            self.unsealed.extend(zip(self.page_table[first:], keys, strict=False))

    def seal(self, pool: PagePool) -> None:
        """Let the full pages be found from now on."""
        for page_id, key in self.unsealed:
            pool.seal(page_id, key)
        self.unsealed.clear()

    def fork(self, pool: PagePool) -> "PagedSequence":
        """Return a sequence that equals this one, and shares every page."""
        for page_id in self.page_table:
            pool.share(page_id)
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

    def check(self) -> None:
        """Assert every invariant of a sequence by itself."""
        assert self.page_table, "a sequence without a page"
        assert len(set(self.page_table)) == len(self.page_table), "a page twice in a table"
        assert len(self.tail) < self.page_size, "a full page that was not finished"
        place = divmod(self.next_slot, self.page_size)
        assert not self.tail or place == (self.page_table[-1], len(self.tail)), "the next slot is another"
        for page_id, _ in self.unsealed:
            assert page_id in self.page_table, f"page {page_id} waits for another's seal"
