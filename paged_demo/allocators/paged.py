"""The paged way: every sequence takes one page when it needs one, anywhere in the pool."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

from paged_demo.allocators.memory_map import CacheFullError, MemoryMap, Region, holes_between
from paged_demo.allocators.page_pool import PageKeys, PagePool
from paged_demo.allocators.sequences import (
    MAX_TOKEN_ID,
    Append,
    SequenceTable,
    check_final_tokens,
    check_prompt,
    check_token,
    new_append,
)
from paged_demo.checks import check_counts


@dataclass(slots=True)
class _Sequence:
    page_table: list[int]
    tail: list[int]  # the tokens of the last page while it is not full
    key: bytes  # of the last full page: it names the whole prefix up to there
    next_slot: int  # where the next token goes, if the last page has room for it
    # Whether a fork may share the last page. It spares every append a look at the reference count.
    forked_tail: bool = False
    # Full pages that cannot be found yet, with their keys. A fork leaves them to its parent.
    unsealed: list[tuple[int, bytes]] = field(default_factory=list)


class PagedAllocator:
    """Keep sequences in pages of a pool, with sharing, copy-on-write and prefix caching.

    An allocator only decides where tokens go. It holds no keys and values: the caller writes them
    to the slots it is given, and copies the pages it is told to copy. A method that is asked for a sequence
    it does not hold raises a KeyError that names it.

    Parameters
    ----------
    num_pages : int
        Pages in the pool.
    page_size : int
        Slots in a page.
    prefix_caching : bool
        Whether to remember full pages by their contents, so that later prompts with an equal
        beginning find them.
    seal_late : bool
        Whether a full page can be found only from `seal` on, and not as soon as it is full. A caller whose
        computing can fail needs that: nobody may find a page that was never written.

    Examples
    --------
    A page is taken when the token that starts it is appended:

    >>> allocator = PagedAllocator(num_pages=8, page_size=4)
    >>> allocator.allocate("a", [4, 8, 15, 16])
    0
    >>> allocator.page_table("a")
    [0]
    >>> allocator.append("a", 23)
    Append(slot=4, copy=None)
    >>> allocator.page_table("a")
    [0, 1]

    A fork shares every page, and the first write to a shared page copies it:

    >>> allocator.fork("a", "b")
    >>> allocator.append("b", 42)
    Append(slot=9, copy=(1, 2))

    References
    ----------
    Kwon et al. (2023), sections 4.2 to 4.4. Prefix caching follows vLLM V1: only full pages are
    shared between strangers, and a prompt never finds its last token.
    """

    def __init__(
        self, num_pages: int, page_size: int, *, prefix_caching: bool = False, seal_late: bool = False
    ) -> None:
        self.num_pages, self.page_size = check_counts(num_pages=num_pages, page_size=page_size)
        self._keys = PageKeys(self.page_size)
        for name, choice in {"prefix_caching": prefix_caching, "seal_late": seal_late}.items():
            if not isinstance(choice, bool):
                raise TypeError(f"{name} must be True or False, got {choice!r}")
        self._prefix_caching = prefix_caching
        self._seal_late = seal_late
        self._pool = PagePool(self.num_pages)
        self._sequences: SequenceTable[_Sequence] = SequenceTable()

    def __repr__(self) -> str:
        return f"PagedAllocator({self.num_pages} pages of {self.page_size} slots, {self.num_free_pages} free)"

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return self.num_pages * self.page_size

    @property
    def num_free_pages(self) -> int:
        """Pages that no sequence holds, remembered or not."""
        return self._pool.num_free

    @property
    def cached_pages(self) -> list[int]:
        """Free pages that still remember their contents, next to be evicted first."""
        return self._pool.cached_pages

    def allocate(
        self,
        seq_id: Hashable,
        token_ids: Iterable[int],
        *,
        final_tokens: int | None = None,
        cache_salt: str = "",
    ) -> int:
        """Give a new sequence pages for its prompt, and return how many of its tokens were found.

        With prefix caching the pages of the longest remembered prefix are shared instead of taken.
        At least one token is left to compute, since its output is wanted. The full pages of the
        prompt are sealed now, unless late, so the caller must write them before anyone reads them.

        Parameters
        ----------
        seq_id : hashable
            A name for the sequence.
        token_ids : iterable of int
            The prompt, at least one token.
        final_tokens : int, optional
            Checked and ignored: pages need no knowledge of the future.
        cache_salt : str
            Prompts share pages only with prompts of the same salt. Give each tenant its own: whoever is
            answered sooner because of pages that a stranger left learns what the stranger asked.

        Returns
        -------
        int
            Tokens whose keys and values are in the cache already, a multiple of the page size.

        Raises
        ------
        CacheFullError
            If the pool has too few free pages. Nothing has changed then.
        ValueError, TypeError
            If ``seq_id`` is held already, ``token_ids`` is empty or holds something else, or
            ``cache_salt`` is not a string.
        """
        tokens = check_prompt(token_ids)
        self._sequences.require_new("seq_id", seq_id)
        if final_tokens is not None:
            check_final_tokens(final_tokens, len(tokens))

        root_key = self._keys.root(cache_salt)
        keys = self._keys.of_prefix(tokens, cache_salt=cache_salt) if self._prefix_caching else []
        found = self._pool.find(keys[: (len(tokens) - 1) // self.page_size])
        num_new = -(-len(tokens) // self.page_size) - len(found)
        num_revived = sum(self._pool.ref_count(page_id) == 0 for page_id in found)
        if num_new + num_revived > self._pool.num_free:
            raise CacheFullError(needed=num_new + num_revived, free=self._pool.num_free, unit="pages")

        for page_id in found:
            self._pool.share(page_id)
        taken = [self._pool.take() for _ in range(num_new)]
        page_table = found + taken
        tail = tokens[len(tokens) // self.page_size * self.page_size :]
        self._sequences[seq_id] = _Sequence(
            page_table=page_table,
            tail=tail,
            key=keys[-1] if keys else root_key,
            next_slot=page_table[-1] * self.page_size + len(tail),
            unsealed=list(zip(taken, keys[len(found) :], strict=False)),
        )
        if not self._seal_late:
            self.seal(seq_id)
        return len(found) * self.page_size

    def append(self, seq_id: Hashable, token_id: int) -> Append:
        """Find a slot for a sequence's next token.

        Raises
        ------
        CacheFullError
            If a page is needed and none is free. Nothing has changed then.
        ValueError, TypeError
            If ``token_id`` is not a token id.
        """
        sequence = self._sequences[seq_id]
        if type(token_id) is not int or not 0 <= token_id <= MAX_TOKEN_ID:
            token_id = check_token(token_id)
        tail = sequence.tail
        copy = None
        if not tail:
            page_id = self._pool.take()
            sequence.page_table.append(page_id)
            sequence.next_slot = page_id * self.page_size
        elif sequence.forked_tail:
            copy = self._unshare_last_page(sequence)
        slot = sequence.next_slot
        sequence.next_slot = slot + 1
        tail.append(token_id)
        if len(tail) == self.page_size:
            self._finish_last_page(sequence)
        return new_append((slot, copy))

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far. It shares every page and takes none.

        Raises
        ------
        ValueError
            If ``child_id`` is held already.
        """
        parent = self._sequences[parent_id]
        self._sequences.require_new("child_id", child_id)
        for page_id in parent.page_table:
            self._pool.share(page_id)
        parent.forked_tail = bool(parent.tail)
        self._sequences[child_id] = replace(
            parent, page_table=parent.page_table.copy(), tail=parent.tail.copy(), unsealed=[]
        )

    def seal(self, seq_id: Hashable) -> None:
        """Let the full pages of a sequence be found from now on: their keys and values are written.

        Without ``seal_late`` and without prefix caching there is nothing left to do.
        """
        unsealed = self._sequences[seq_id].unsealed
        for page_id, key in unsealed:
            self._pool.seal(page_id, key)
        unsealed.clear()

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence. Its last page is the first to be taken again."""
        # A prefix is of use without its tail, and a tail is of none without its prefix.
        for page_id in reversed(self._sequences.remove(seq_id).page_table):
            self._pool.release(page_id)

    def reset_cache(self) -> None:
        """Forget all pages that are free and remembered, as when the model's weights have changed.

        Raises
        ------
        RuntimeError
            If a sequence is held: its pages go on being remembered, and would be found.
        """
        if self._sequences:
            held = ", ".join(repr(seq_id) for seq_id in self._sequences)
            raise RuntimeError(f"reset_cache needs an allocator without sequences, got {held}")
        self._pool.forget_free_pages()

    def page_table(self, seq_id: Hashable) -> list[int]:
        """List the physical page of each logical page of a sequence, in order."""
        return self._sequences[seq_id].page_table.copy()

    def slots(self, seq_id: Hashable) -> list[int]:
        """List the physical slot of each token of a sequence, in order."""
        sequence = self._sequences[seq_id]
        size = self.page_size
        slots = [page_id * size + offset for page_id in sequence.page_table for offset in range(size)]
        return slots[: len(slots) - self._num_unfilled(sequence)]

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool: a region for each page that is held or remembered."""
        holders: dict[int, list[Hashable]] = {page_id: [] for page_id in self._pool.cached_pages}
        unfilled: dict[int, int] = {}
        for seq_id, sequence in self._sequences.items():
            for page_id in sequence.page_table:
                holders.setdefault(page_id, []).append(seq_id)
            unfilled[sequence.page_table[-1]] = self._num_unfilled(sequence)
        size = self.page_size
        regions = tuple(
            Region(page_id * size, size, size, size - unfilled.get(page_id, 0), tuple(holders[page_id]))
            for page_id in sorted(holders)
        )
        holes = holes_between(regions, self.num_slots)
        return MemoryMap(num_slots=self.num_slots, regions=regions, holes=holes, page_size=size)

    def check(self) -> None:
        """Assert every invariant of the allocator. Takes time proportional to the pool."""
        self._pool.check()
        references = [0] * self.num_pages
        for sequence in self._sequences.values():
            assert sequence.page_table, "a sequence without a page"
            assert len(set(sequence.page_table)) == len(sequence.page_table), "a page twice in a table"
            assert len(sequence.tail) < self.page_size, "a full page that was not finished"
            page_id, offset = divmod(sequence.next_slot, self.page_size)
            assert not sequence.tail or (page_id, offset) == (sequence.page_table[-1], len(sequence.tail))
            for page_id, _ in sequence.unsealed:
                assert page_id in sequence.page_table, f"page {page_id} waits for another's seal"
            for page_id in sequence.page_table:
                references[page_id] += 1
        for page_id, num_references in enumerate(references):
            assert self._pool.ref_count(page_id) == num_references, f"page {page_id} is miscounted"

    def _finish_last_page(self, sequence: _Sequence) -> None:
        if self._prefix_caching:
            sequence.key = self._keys.chain(sequence.key, sequence.tail)
            if self._seal_late:
                sequence.unsealed.append((sequence.page_table[-1], sequence.key))
            else:
                self._pool.seal(sequence.page_table[-1], sequence.key)
        sequence.tail.clear()

    def _unshare_last_page(self, sequence: _Sequence) -> tuple[int, int] | None:
        """Copy the last page on write, unless all other owners have left it."""
        src_page = sequence.page_table[-1]
        copy = None
        if self._pool.ref_count(src_page) > 1:
            dst_page = self._pool.take()
            self._pool.release(src_page)
            sequence.page_table[-1] = dst_page
            sequence.next_slot = dst_page * self.page_size + len(sequence.tail)
            copy = (src_page, dst_page)
        sequence.forked_tail = False
        return copy

    def _num_unfilled(self, sequence: _Sequence) -> int:
        return -len(sequence.tail) % self.page_size
