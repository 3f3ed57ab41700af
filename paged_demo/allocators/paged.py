"""The paged way: every sequence takes one page when it needs one, anywhere in the pool."""

from collections.abc import Hashable, Iterable, Mapping

from paged_demo.allocators.group_kinds import FULL_ALONE, PageGroup
from paged_demo.allocators.memory_map import CacheFullError, MemoryMap
from paged_demo.allocators.page_pool import NO_PARTS, PageKeys, PagePool
from paged_demo.allocators.paged_sequence import PagedSequence, check_pages_of, map_pages
from paged_demo.allocators.sequences import (
    MAX_TOKEN_ID,
    Append,
    SequenceTable,
    check_final_tokens,
    check_prompt,
    check_token,
    new_append,
)
from paged_demo.checks import check_bool, check_counts, check_whole


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
        Whether full pages are kept by their contents, so that later prompts with an equal
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
    Kwon et al. (2023), sections 4.2 to 4.4. Prefix caching and pieces are those of vLLM 0.33.0, page by page
    (``tests/test_conformance.py``); it has no fork and no copy-on-write any more, and takes misuse silently.
    """

    groups: tuple[PageGroup, ...] = FULL_ALONE
    _sequence_type: type[PagedSequence] = PagedSequence

    def __init__(
        self, num_pages: int, page_size: int, *, prefix_caching: bool = False, seal_late: bool = False
    ) -> None:
        self.num_pages, self.page_size = check_counts(num_pages=num_pages, page_size=page_size)
        self._keys = PageKeys(self.page_size)
        self._prefix_caching = check_bool("prefix_caching", prefix_caching)
        self._seal_late = check_bool("seal_late", seal_late)
        self._pool = PagePool(self.num_pages)
        self._sequences: SequenceTable[PagedSequence] = SequenceTable()

    def __repr__(self) -> str:
        return f"PagedAllocator({self.num_pages} pages of {self.page_size} slots, {self.num_free_pages} free)"

    @property
    def num_slots(self) -> int:
        """Slots in the pool."""
        return self.num_pages * self.page_size

    @property
    def num_free_pages(self) -> int:
        """Pages that no sequence holds, cached or not."""
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

        With prefix caching the pages of the longest cached prefix are shared instead of taken.
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
        key_parts : mapping of str to str
            What else keys and values depend on, by name, such as the LoRA adapter or an image in the prompt.
        budget : int, optional
            At most so many tokens that were not found get slots now; the others with `extend`. No room is
            kept for them.

        Raises
        ------
        CacheFullError
            If there are too few free pages: one for each to be taken, and one for each that is found free. Of
            two equal pages the one sealed first is found, even if it is free and the other held, so a prompt
            can be refused that would fit beside the other. Nothing has changed then.
        ValueError, TypeError
            If ``seq_id`` is held already, or an argument is not as above.
        """
        tokens = check_prompt(token_ids)
        if final_tokens is not None:
            check_final_tokens(final_tokens, len(tokens))
        most = len(tokens) if budget is None else check_whole("budget", budget)
        self._sequences.require_new("seq_id", seq_id)

        sequence = self._draft(tokens, cache_salt, key_parts)
        sequence.begin(self._look_up(sequence))
        num_found = sequence.num_tokens
        self._require_free(sequence.pages_to_begin(most, self._pool))
        sequence.share(self._pool)
        self._store(sequence, most)
        self._sequences[seq_id] = sequence
        return num_found

    def find(
        self, token_ids: Iterable[int], *, cache_salt: str = "", key_parts: Mapping[str, str] = NO_PARTS
    ) -> int:
        """Count the tokens of a prompt that `allocate` would find now. Looking up moves nothing."""
        draft = self._draft(check_prompt(token_ids), cache_salt, key_parts)
        return len(self._look_up(draft)) * self.page_size

    def extend(self, seq_id: Hashable, budget: int) -> int:
        """Give the next piece of a prompt slots, and return how many of its tokens are stored now.

        Parameters
        ----------
        seq_id : hashable
            A sequence whose prompt `allocate` began.
        budget : int
            At most so many tokens; the last piece ends with the prompt.

        Raises
        ------
        CacheFullError
            If there are too few free pages. Nothing has changed then.
        ValueError, TypeError
            If the prompt is complete, or ``budget`` is no whole number from 1 on.
        """
        sequence = self._sequences[seq_id]
        most = check_whole("budget", budget)
        sequence.require_rest("seq_id", seq_id)
        self._require_free(sequence.pages_for(most))
        self._store(sequence, most)
        return sequence.num_tokens

    def append(self, seq_id: Hashable, token_id: int) -> Append:
        """Find a slot for a sequence's next token.

        Raises
        ------
        CacheFullError
            If a page is needed and none is free. Nothing has changed then.
        ValueError, TypeError
            If ``token_id`` is not a token id, or the sequence's prompt is not complete.
        """
        sequence = self._sequences[seq_id]
        if type(token_id) is not int or not 0 <= token_id <= MAX_TOKEN_ID:
            token_id = check_token(token_id)
        tail = sequence.tail
        copy = None
        if not tail:
            sequence.require_whole_prompt("seq_id", seq_id)
            page_id = self._pool.take()
            sequence.page_table.append(page_id)
            sequence.next_slot = page_id * self.page_size
        elif sequence.is_guarded:
            sequence.require_whole_prompt("seq_id", seq_id)
            copy = sequence.unshare_last_page(self._pool)
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
            If ``child_id`` is held already, or the parent's prompt is not complete.
        """
        parent = self._sequences[parent_id]
        self._sequences.require_new("child_id", child_id)
        parent.require_whole_prompt("parent_id", parent_id)
        self._sequences[child_id] = parent.fork(self._pool)

    def seal(self, seq_id: Hashable) -> None:
        """Let the full pages of a sequence be found from now on: their keys and values are written."""
        self._sequences[seq_id].seal(self._pool)

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence. Its pages that were never sealed are the next to be taken, the last first."""
        self._pool.release_table(self._sequences[seq_id].page_table)
        del self._sequences[seq_id]

    def reset_cache(self) -> None:
        """Evict all cached pages, as when the model's weights have changed.

        Raises
        ------
        RuntimeError
            If a sequence is held: its pages can still be found, and would be found.
        """
        if self._sequences:
            held = ", ".join(repr(seq_id) for seq_id in self._sequences)
            raise RuntimeError(f"reset_cache needs an allocator without sequences, got {held}")
        self._pool.evict_all()

    def page_table(self, seq_id: Hashable) -> list[int]:
        """List the physical page of each logical page of a sequence, in order."""
        return self._sequences[seq_id].page_table.copy()

    def slots(self, seq_id: Hashable) -> list[int]:
        """List the physical slot of each token of a sequence, in order."""
        return self._sequences[seq_id].slots()

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool: a region for each page that is held or cached."""
        return map_pages(self._pool, self.page_size, self._sequences.items())

    def check(self) -> None:
        """Assert every invariant of the allocator. Takes time proportional to the pool."""
        check_pages_of(self._pool, self._sequences.values())

    def _draft(self, tokens: list[int], cache_salt: str, key_parts: Mapping[str, str]) -> PagedSequence:
        """Make a sequence of a prompt, with nothing stored yet."""
        root_key = self._keys.root(cache_salt, key_parts)
        keys = self._keys.of_prefix(tokens, root_key) if self._prefix_caching else []
        return self._sequence_type(page_size=self.page_size, key=root_key, rest=tokens, rest_keys=keys)

    def _look_up(self, draft: PagedSequence) -> list[int]:
        """Find the pages of a prompt's longest cached prefix."""
        # The last token is always computed, since its output is wanted.
        return self._pool.find(draft.rest_keys[: (len(draft.rest) - 1) // self.page_size])

    def _require_free(self, needed: int) -> None:
        if needed > self._pool.num_free:
            raise CacheFullError(needed=needed, free=self._pool.num_free, unit="pages")

    def _store(self, sequence: PagedSequence, budget: int) -> None:
        sequence.store(budget, self._pool)
        if not self._seal_late:
            sequence.seal(self._pool)

    def _finish_last_page(self, sequence: PagedSequence) -> None:
        if self._prefix_caching:
            sequence.key = self._keys.chain(sequence.key, sequence.tail)
            sequence.unsealed.append((sequence.page_table[-1], sequence.key))
            if not self._seal_late:
                sequence.seal(self._pool)
        sequence.tail.clear()
