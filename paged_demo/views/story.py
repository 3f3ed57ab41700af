"""Stories for a player: requests in a small pool, scene by scene."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from paged_demo.allocators.memory_map import MemoryMap
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.views.style import count_of

SMALL_POOL_PAGES = 8
SMALL_PAGE_SIZE = 4
"""The small pool of the paper's Fig. 6 (section 4.3): pages of four slots."""

# So that the first request lies in pages 7, 1 and 3, as in Fig. 6.
FREE_PAGES = (7, 1, 3, 5, 2, 0, 4, 6)

COUNTS = ("no", "one", "two", "three", "four")

SENTENCES: Mapping[Hashable, str] = {
    "A": "Four score and seven years ago our fathers brought forth",
    "B": "It was the best of times it",
    "C": "It is a far far better thing that I do than I have",
}
"""A and B as in Figs. 6 and 7 (section 4.3); C is ours, from the book that begins as B does."""

SAMPLES: Mapping[Hashable, str] = {
    "A": "Four score and seven years ago our fathers brought forth on this",
    "B": "Four score and seven years ago our mothers brought forth on this",
}
"""Two samples of one prompt, as in Fig. 8 (section 4.4), which ends with "fathers" and "mothers"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A small pool after one step of a story.

    Attributes
    ----------
    title, told : str
        The step in a few words, and what happened in it.
    memory_map : MemoryMap
        The pool.
    page_tables : mapping of sequence id to list of int
        The page table of each sequence.
    future_tokens : mapping of sequence id to int
        Tokens that each has yet to write.
    words : mapping of int to str
        The word in each slot.
    new_slots : frozenset of int
        Slots that were written in this step.
    copies : tuple of (int, int)
        Pages that were copied in this step: from, to.
    """

    title: str
    told: str
    memory_map: MemoryMap
    page_tables: Mapping[Hashable, Sequence[int]]
    future_tokens: Mapping[Hashable, int]
    words: Mapping[int, str]
    new_slots: frozenset[int]
    copies: tuple[tuple[int, int], ...] = ()


class Storyteller:
    """Plays requests through an allocator of the package, and notes each scene.

    Parameters
    ----------
    sentences : mapping of sequence id to str
        What each sequence will say in the end, word for word.
    free_pages : sequence of int
        All pages of the pool, in the order in which they are to be taken.
    """

    def __init__(
        self,
        sentences: Mapping[Hashable, str],
        free_pages: Sequence[int] = FREE_PAGES,
    ) -> None:
        self.scenes: list[Scene] = []
        self._sentences = {seq_id: sentence.split() for seq_id, sentence in sentences.items()}
        self._copies: list[tuple[int, int]] = []
        self._allocator = PagedAllocator(SMALL_POOL_PAGES, SMALL_PAGE_SIZE)
        self._words: dict[int, str] = {}
        self._future: dict[Hashable, int] = {}
        # Earlier requests came and went, and left the free pages in an order of their own.
        for page_id in range(SMALL_POOL_PAGES):
            self._allocator.allocate(page_id, [0])
        for page_id in reversed(free_pages):  # the one that is freed last is taken next
            self._allocator.free(page_id)

    def prompt(self, seq_id: str, num_tokens: int) -> list[int]:
        """Let a request arrive with the first words of its sentence, and return its pages, in order."""
        self._allocator.allocate(seq_id, range(num_tokens))
        self._future[seq_id] = len(self._sentences[seq_id]) - num_tokens
        return self.page_table(seq_id)

    def fork(self, parent_id: str, child_id: str) -> None:
        """Let a second sample continue where the first one is."""
        self._allocator.fork(parent_id, child_id)
        num_said = len(self._sentences[parent_id]) - self._future[parent_id]
        self._future[child_id] = len(self._sentences[child_id]) - num_said

    def append(self, seq_id: str) -> tuple[int, int] | None:
        """Let a request generate its next word, and return the pages that were copied for it: from, to."""
        copy = self._allocator.append(seq_id, 0).copy
        if copy:
            self._copies.append(copy)
        self._future[seq_id] -= 1
        return copy

    def page_table(self, seq_id: str) -> list[int]:
        """Return the pages of a request, in order."""
        return self._allocator.page_table(seq_id)

    def free(self, seq_id: str) -> None:
        """Let a request end."""
        self._allocator.free(seq_id)
        del self._future[seq_id]

    def note(self, title: str, told: str) -> None:
        """Note the scene, and what is to be said about it."""
        before = self._words
        self._words = {
            slot: word
            for seq_id in self._future
            for slot, word in zip(self._allocator.slots(seq_id), self._sentences[seq_id], strict=False)
        }
        self.scenes.append(
            Scene(
                title=title,
                told=told,
                memory_map=self._allocator.memory_map(),
                page_tables={seq_id: self._allocator.page_table(seq_id) for seq_id in self._future},
                future_tokens=dict(self._future),
                words=self._words,
                new_slots=frozenset(slot for slot, word in self._words.items() if before.get(slot) != word),
                copies=tuple(self._copies),
            )
        )
        self._copies.clear()


def tell_two_requests(free_pages: Sequence[int] = FREE_PAGES) -> list[Scene]:
    """Tell the story of the paper's Figs. 6 and 7, with an end of our own.

    Parameters
    ----------
    free_pages : sequence of int
        All pages of the small pool, in the order in which they are to be taken.

    Examples
    --------
    >>> tell_two_requests()[3].page_tables
    {'A': [7, 1, 3]}
    """
    teller = Storyteller(SENTENCES, free_pages)
    first, *others = free_pages
    told = f"The first in the queue is page {first}, then {_listed(others)}."
    teller.note("empty", f"All pages are free. {told}")
    held = teller.prompt("A", 7)
    told = f"They need {COUNTS[len(held)]} pages, and take {_listed(held)}."
    teller.note("prompt of A", f"A's prompt has seven tokens. {told}")
    teller.append("A")
    full = held[-1]
    teller.note("A: fathers", f"The new token of A fills the last slot of page {full}. No page is taken.")
    teller.append("A")
    held = teller.page_table("A")
    told = f"Page {full} is full, so the new token of A starts another page: page {held[-1]}."
    teller.note("A: brought", told)
    beside = teller.prompt("B", 6)
    are_between = all(min(held) < page_id < max(held) for page_id in beside)
    where = ", between those of A" if are_between else ""
    told = f"B arrives with six tokens, and takes pages {_listed(beside)}{where}."
    teller.note("prompt of B", told)
    teller.append("A")
    teller.append("B")
    teller.note("one more each", "Both grow by a token, side by side, and neither is in the other's way.")
    teller.free("A")
    told = f"its {COUNTS[len(held)]} pages go to the front of the queue, the last one foremost."
    teller.note("A ends", f"A is finished, and {told} B stays where it is.")
    largest = max(hole.num_slots for hole in teller.scenes[-1].memory_map.holes) // SMALL_PAGE_SIZE
    held = teller.prompt("C", 13)
    needed = COUNTS[len(held)]
    why = f"no {needed} free pages are neighbours, and " if largest < len(held) else ""
    told = f"C needs {needed} pages, and takes {_listed(held)}: {why}any will do."
    teller.note("prompt of C", told)
    return teller.scenes


def tell_two_samples(sentences: Sequence[str] = tuple(SAMPLES.values())) -> list[Scene]:
    """Tell the story of the paper's Fig. 8: two samples of one prompt, and where they part.

    Parameters
    ----------
    sentences : sequence of two str
        What the samples say in the end. The words that both begin with are the prompt: up to 22 always
        fit into the pool. Then each has two words or more of its own, and the first of them differs.

    Raises
    ------
    ValueError
        If the sentences are not like that, or do not fit.

    Examples
    --------
    >>> [scene.copies for scene in tell_two_samples()]
    [(), (), ((1, 3),), (), (), ()]
    """
    said = [sentence.split() for sentence in sentences]
    num_common = sum(1 for _ in takewhile(lambda pair: len(set(pair)) == 1, zip(*said, strict=False)))
    if len(said) != 2 or not num_common or min(map(len, said)) < num_common + 2:
        raise ValueError(
            f"sentences must be two that begin alike and go on with two words or more each, got {sentences!r}"
        )
    num_pages = 2 * -(-(num_common + 2) // SMALL_PAGE_SIZE) - num_common // SMALL_PAGE_SIZE
    if num_pages > SMALL_POOL_PAGES:
        raise ValueError(
            f"sentences must fit into {SMALL_POOL_PAGES} pages of {SMALL_PAGE_SIZE}, but to begin with"
            f" {num_common} words in common takes {num_pages}, got {sentences!r}"
        )
    teller = Storyteller({"A": sentences[0], "B": sentences[1]})
    prompt = teller.prompt("A", num_common)
    teller.note(
        "prompt", f"The prompt has {count_of(num_common, 'token')}, in {_pages(prompt)}. Only A refers to it."
    )
    teller.fork("A", "B")
    teller.note(
        "fork", "B is to be a second sample. It gets a table of its own, and no page: what A holds counts 2."
    )
    copy = teller.append("A")
    if copy:
        src_page, dst_page = copy
        told = (
            f"A has to write into page {src_page}, which B reads too. Page {src_page} is copied to page"
            f" {dst_page}, and A writes there."
        )
    else:
        last = _pages(teller.page_table("A")[-1:])
        told = f"The prompt ends with its page, so nothing is copied: A starts {last}."
    teller.note(f"A: {said[0][num_common]}", told)
    teller.append("B")
    last = _pages(teller.page_table("B")[-1:])
    told = f"B has to write into {last}. Nobody else refers to it any more: no copy."
    teller.note(f"B: {said[1][num_common]}", told if copy else f"B starts a page of its own, too: {last}.")
    teller.append("A")
    teller.append("B")
    words = [sentence[num_common + 1] for sentence in said]
    verb = "starts" if (num_common + 1) % SMALL_PAGE_SIZE == 0 else "writes into"
    told = ", ".join(f"{seq_id} {verb} {_pages(teller.page_table(seq_id)[-1:])}" for seq_id in "AB")
    if words[0] == words[1]:
        words[1] = "twice"
        told += ". The word is the same, what came before it is not: it is kept twice"
    teller.note(", ".join(words), f"{told}.")
    freed = [page_id for page_id in teller.page_table("A") if page_id not in teller.page_table("B")]
    kept = [page_id for page_id in teller.page_table("A") if page_id not in freed]
    teller.free("A")
    stays = f" In {_pages(kept)} one reference less is counted; B goes on reading there." if kept else ""
    teller.note("A ends", f"A is finished, and gives back {_pages(freed)}.{stays}")
    return teller.scenes


def _pages(page_ids: Sequence[int]) -> str:
    return f"{'the pages' if len(page_ids) > 1 else 'page'} {_listed(page_ids)}"


def _listed(page_ids: Sequence[int]) -> str:
    *others, last = map(str, page_ids)
    return f"{', '.join(others)} and {last}" if others else last
