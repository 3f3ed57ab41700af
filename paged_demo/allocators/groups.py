"""One pool of pages for layers of several kinds: full attention, sliding windows, states of a fixed size."""

from collections.abc import Hashable, Iterable, Mapping

from paged_demo.allocators.group_kinds import FullGroup, PageGroup, check_groups
from paged_demo.allocators.lanes import Lane, StateSequence, make_lane
from paged_demo.allocators.memory_map import CacheFullError, MemoryMap
from paged_demo.allocators.page_pool import NO_PARTS, PagePool
from paged_demo.allocators.paged_sequence import PagedSequence, check_pages_of, map_pages
from paged_demo.allocators.sequences import Append, check_final_tokens, check_prompt, check_token
from paged_demo.checks import check_bool, check_count, check_counts, check_whole


class GroupedAllocator:
    """Keep sequences in pages of one pool, with a page table for each group of layers.

    All groups take their pages from the same queue. Each keeps what its layers read again: a full group every
    page, a sliding group those in its window, a state group the one of the last token. In a page table None
    stands for a page that is not held. With a full group alone this is a `PagedAllocator`.

    A method that is asked for a sequence it does not hold raises a KeyError that names it.

    Parameters
    ----------
    num_pages : int
        Pages in the pool.
    page_size : int
        Tokens in a page of each group that has no ``page_size`` of its own.
    groups : iterable of FullGroup, SlidingGroup or StateGroup
        In the order in which they take and free their pages. Every ``page_size`` must divide the largest.
    prefix_caching : bool
        Whether full pages are kept by their contents, so that later prompts with an equal beginning find
        them. A state is found where a piece of a prompt, or an append, ended with its page.

    Examples
    --------
    A window of 4 tokens in pages of 2. The prompt gets pages for all its tokens; the first token after it
    gives back those that lie behind the window:

    >>> from paged_demo import FullGroup, SlidingGroup, StateGroup
    >>> allocator = GroupedAllocator(20, 2, [FullGroup(), SlidingGroup(window=4), StateGroup()])
    >>> allocator.allocate("a", [1, 2, 3, 4, 5, 6, 7])
    0
    >>> allocator.page_tables("a")
    [[0, 1, 2, 3], [4, 5, 6, 7], [None, None, None, 8]]
    >>> [slot for slot, _ in allocator.append("a", 8)]
    [7, 15, 16]
    >>> allocator.page_tables("a")
    [[0, 1, 2, 3], [None, None, 6, 7], [None, None, None, 8]]

    References
    ----------
    Kwon et al. (2023) has one kind of layers. Full and sliding groups are those of vLLM 0.33.0, page by page
    (``tests/test_conformance.py``). Forks are its older ones, and states are ours: it gives a state that can
    be found a second page.
    """

    def __init__(
        self,
        num_pages: int,
        page_size: int,
        groups: Iterable[PageGroup],
        *,
        prefix_caching: bool = False,
    ) -> None:
        self.num_pages, self.page_size = check_counts(num_pages=num_pages, page_size=page_size)
        self.groups = check_groups(groups, self.page_size)
        self._prefix_caching = check_bool("prefix_caching", prefix_caching)
        self._pool = PagePool(self.num_pages)
        self._lanes = [
            make_lane(self._pool, group, number, self.page_size, prefix_caching=self._prefix_caching)
            for number, group in enumerate(self.groups)
        ]
        self._largest_page = max(lane.page_size for lane in self._lanes)
        is_plain = len(self.groups) == 1 and isinstance(self.groups[0], FullGroup)
        self._alone: Lane | None = self._lanes[0] if is_plain else None
        if self._alone:
            # A call fewer for each token: what is the paged allocator should be as quick.
            vars(self)["append"] = self._alone.append_alone

    def __repr__(self) -> str:
        return (
            f"GroupedAllocator({self.num_pages} pages of {self.page_size} slots, {self.num_free_pages} free,"
            f" groups {list(self.groups)})"
        )

    @property
    def num_free_pages(self) -> int:
        """Pages that no sequence holds in any group, cached or not."""
        return self._pool.num_free

    @property
    def cached_pages(self) -> list[int]:
        """Free pages whose contents can still be found, next to be evicted first."""
        return self._pool.cached_pages

    def allocate(
        self,
        seq_id: Hashable,
        token_ids: Iterable[int],
        *,
        final_tokens: int | None = None,
        cache_salt: str = "",
        key_parts: Mapping[str, str] = NO_PARTS,
        budget: int | None = None,
    ) -> int:
        """Give a new sequence pages for its prompt, and return how many of its tokens were found.

        Found is the longest beginning, in whole pages, of which every group has what it needs: a full group
        all pages, a sliding group those that the next token reads, a state group the state at its end. At
        least one token is left to compute.

        Parameters
        ----------
        seq_id, token_ids, final_tokens, cache_salt, key_parts, budget
            As for `PagedAllocator.allocate`.

        Raises
        ------
        CacheFullError
            If there are too few free pages for all groups together. Nothing has changed then.
        ValueError, TypeError
            If ``seq_id`` is held already, or an argument is not as above.
        """
        if self._alone:
            return self._alone.allocate(
                seq_id,
                token_ids,
                final_tokens=final_tokens,
                cache_salt=cache_salt,
                key_parts=key_parts,
                budget=budget,
            )
        tokens = check_prompt(token_ids)
        if final_tokens is not None:
            check_final_tokens(final_tokens, len(tokens))
        most = len(tokens) if budget is None else check_whole("budget", budget)
        self._lanes[0].require_new("seq_id", seq_id)
        drafts, num_found = self._look_up(tokens, cache_salt, key_parts)
        self._require_free(sum(draft.pages_to_begin(most, self._pool) for draft in drafts))
        for draft in drafts:
            draft.share(self._pool)  # Nobody may take a page that was found, so all leave the queue first.
        for lane, draft in zip(self._lanes, drafts, strict=True):
            lane.start(seq_id, draft, most)
        return num_found

    def find(
        self, token_ids: Iterable[int], *, cache_salt: str = "", key_parts: Mapping[str, str] = NO_PARTS
    ) -> int:
        """Count the tokens of a prompt that `allocate` would find now. Looking up moves nothing."""
        _, num_found = self._look_up(check_prompt(token_ids), cache_salt, key_parts)
        return num_found

    def give_back(self, seq_id: Hashable) -> list[int]:
        """Let go of the pages that a sequence does not read again, and return them.

        A granted `append` or `extend` does this first. vLLM 0.33.0 does it even when it then refuses; whoever
        wants that calls this before each of them, so that a refused call still changes nothing.

        Examples
        --------
        A token more has no room, but the window has moved on, and another sequence is glad of the page:

        >>> from paged_demo import FullGroup, SlidingGroup
        >>> allocator = GroupedAllocator(5, 2, [FullGroup(), SlidingGroup(window=2)])
        >>> allocator.allocate("a", [1, 2, 3, 4]), allocator.num_free_pages
        (0, 1)
        >>> allocator.give_back("a"), allocator.num_free_pages
        ([2], 2)
        """
        return [page_id for lane in self._lanes for page_id in lane.give_back(seq_id)]

    def extend(self, seq_id: Hashable, budget: int) -> int:
        """Give the next piece of a prompt slots, and return how many of its tokens are stored now.

        Raises
        ------
        CacheFullError
            If there are too few pages, free or behind a window. Nothing has changed then.
        ValueError, TypeError
            If the prompt is complete, or ``budget`` is no whole number from 1 on.
        """
        parts = self._parts(seq_id)
        most = check_whole("budget", budget)
        parts[0].require_rest("seq_id", seq_id)
        self._make_room(seq_id, sum(part.pages_to_extend(most, self._pool) for part in parts))
        for lane in self._lanes:
            lane.store(seq_id, most)
        return parts[0].num_tokens

    def append(self, seq_id: Hashable, token_id: int) -> tuple[Append, ...]:
        """Find a slot for a sequence's next token in each group.

        Copies have to be made in the order of the groups, and before anything is written. The slot of a state
        is the first of its page, all of which is the state's.

        Raises
        ------
        CacheFullError
            If there are too few pages, free or behind a window. Nothing has changed then.
        ValueError, TypeError
            If ``token_id`` is not a token id, or the sequence's prompt is not complete.
        """
        parts = self._parts(seq_id)
        token = check_token(token_id)
        parts[0].require_whole_prompt("seq_id", seq_id)
        self._make_room(seq_id, sum(part.pages_to_append(self._pool) for part in parts))
        return tuple([lane.append(seq_id, token) for lane in self._lanes])

    def copies(self, seq_id: Hashable) -> list[tuple[int, int]]:
        """List the ``(src_page, dst_page)`` to copy, in order, before the last piece of a prompt is computed.

        A state that was found, or that ends with a page and can be found from now on, must not be written to:
        the sequence goes on in a copy.
        """
        parts = self._parts(seq_id)
        return [part.copy for part in parts if isinstance(part, StateSequence) and part.copy is not None]

    def fork(self, parent_id: Hashable, child_id: Hashable) -> None:
        """Start a sequence that equals another one so far. It shares every page and takes none.

        Raises
        ------
        ValueError
            If ``child_id`` is held already, or the parent's prompt is not complete.
        """
        for lane in self._lanes:
            lane.fork(parent_id, child_id)

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence, group by group."""
        for lane in self._lanes:
            lane.free(seq_id)

    def page_tables(self, seq_id: Hashable) -> list[list[int | None]]:
        """List the page table of each group: the physical page of each logical page, None if not held."""
        return [[*[None] * part.num_gone, *part.page_table] for part in self._parts(seq_id)]

    def slots(self, seq_id: Hashable, group: int = 0) -> list[int | None]:
        """List the physical slot of each token in a group, by its number; None if its page is not held.

        Of a state only the last token has one, the first of its page.
        """
        parts = self._parts(seq_id)
        part = parts[check_count("group", group, minimum=0, maximum=len(parts) - 1)]
        slots = part.slots()
        return [*[None] * (part.num_tokens - len(slots)), *slots]

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool: a region for each page that is held or cached.

        A page has as many slots as `page_size` says. Where a group's pages hold another number of tokens, the
        same share of slots is written.
        """
        sequences = (item for lane in self._lanes for item in lane.sequences.items())
        return map_pages(self._pool, self.page_size, sequences)

    def check(self) -> None:
        """Assert every invariant of the allocator. Takes time proportional to the pool."""
        check_pages_of(self._pool, (part for lane in self._lanes for part in lane.sequences.values()))
        for seq_id, part in self._lanes[0].sequences.items():
            lengths = {other.num_tokens for other in self._parts(seq_id)}
            assert lengths == {part.num_tokens}, f"{seq_id!r} has several lengths"
        assert len({len(lane.sequences) for lane in self._lanes}) == 1, "a sequence in some groups only"

    def _parts(self, seq_id: Hashable) -> list[PagedSequence]:
        return [lane.sequences[seq_id] for lane in self._lanes]

    def _look_up(
        self, tokens: list[int], cache_salt: str, key_parts: Mapping[str, str]
    ) -> tuple[list[PagedSequence], int]:
        """Begin a prompt with what all groups find, and return how many tokens that are."""
        drafts = [lane.draft(tokens, cache_salt, key_parts) for lane in self._lanes]
        num_found = 0
        if self._prefix_caching:
            runs = [lane.runs(draft) for lane, draft in zip(self._lanes, drafts, strict=True)]
            # The last token is always computed, since its output is wanted.
            num_found = (len(tokens) - 1) // self._largest_page * self._largest_page
            while not all(map(Lane.has, self._lanes, [num_found] * len(runs), runs)):
                num_found -= self._largest_page
        for lane, draft in zip(self._lanes, drafts, strict=True):
            lane.begin(draft, num_found)
        return drafts, num_found

    def _make_room(self, seq_id: Hashable, needed: int) -> None:
        """Give back what lies behind the windows, if that leaves enough free pages."""
        self._require_free(needed, sum(lane.num_behind(seq_id) for lane in self._lanes))
        self.give_back(seq_id)

    def _require_free(self, needed: int, num_behind: int = 0) -> None:
        free = self._pool.num_free + num_behind
        if needed > free:
            raise CacheFullError(needed=needed, free=free, unit="pages")
