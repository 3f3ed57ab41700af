"""Kinds of layers, by what they read of a sequence: all of it, a window, or one state.

Layers of one kind make a group. Pages of all groups have the same size in bytes, so that any group can take
any page; how many tokens fit into one may differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from paged_demo.checks import came, check_count, check_iterable, keep_checked


@dataclass(frozen=True, slots=True, kw_only=True)
class PageGroup:
    """Layers that read the same tokens. Use one of the three kinds.

    Attributes
    ----------
    page_size : int or None
        Tokens in a page of this group; None for the allocator's own.
    """

    page_size: int | None = None

    def __post_init__(self) -> None:
        if self.page_size is not None:
            keep_checked(self, check_count, "page_size")

    def first_kept(self, num_tokens: int, page_size: int) -> int:
        """Return the first logical page that is read again, with so many tokens stored."""
        raise NotImplementedError

    def pages_after(self, num_tokens: int, num_before: int, page_size: int) -> int:
        """Count the pages that are held with so many tokens stored, if the last call found fewer.

        What that call had given back lay behind the window with ``num_before`` tokens stored.

        Examples
        --------
        A prompt of 22 tokens at once, the token after it, and one more:

        >>> [SlidingGroup(window=8).pages_after(n, before, 4) for n, before in ((22, 0), (23, 22), (24, 23))]
        [6, 3, 2]
        """
        return -(-num_tokens // page_size) - self.first_kept(num_before, page_size)

    def most_pages(self, num_tokens: int, page_size: int, chunk: int | None = None) -> int:
        """Count the pages that a sequence holds at most while it grows to so many tokens.

        Parameters
        ----------
        num_tokens : int
            Tokens of the sequence.
        page_size : int
            Tokens in a page.
        chunk : int, optional
            Tokens that are stored at once, at most; left out, all of them.

        Examples
        --------
        >>> [group.most_pages(131_072, 16, chunk=2048) for group in (FullGroup(), SlidingGroup(window=1024))]
        [8192, 193]
        """
        return -(-num_tokens // page_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class FullGroup(PageGroup):
    """Layers that read all tokens. A latent (MLA) group is one: its tokens are smaller, and no fewer.

    Examples
    --------
    >>> FullGroup().first_kept(100, page_size=16)
    0
    """

    def first_kept(self, num_tokens: int, page_size: int) -> int:
        """Return 0: every page is read again."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingGroup(PageGroup):
    """Layers in which a token reads itself and the ``window - 1`` tokens before it.

    Attributes
    ----------
    window : int
        Tokens that are read, at least 1.

    Raises
    ------
    ValueError, TypeError
        If ``window`` or ``page_size`` is no whole number from 1 on.

    Examples
    --------
    With 22 tokens stored the next one, at position 22, reads those from position 15 on: the first three pages
    of four are behind the window.

    >>> SlidingGroup(window=8).first_kept(22, page_size=4)
    3
    """

    window: int

    def __post_init__(self) -> None:
        PageGroup.__post_init__(self)  # With slots=True the class is another, which super() does not know.
        keep_checked(self, check_count, "window")

    def first_kept(self, num_tokens: int, page_size: int) -> int:
        """Return the page of the first token that the next one reads."""
        return max(0, num_tokens - self.window + 1) // page_size

    def most_pages(self, num_tokens: int, page_size: int, chunk: int | None = None) -> int:
        """Count the pages of the window and of the chunk after it, wherever they begin in a page."""
        all_pages = -(-num_tokens // page_size)
        if chunk is None:
            return all_pages
        return min(all_pages, (self.window - 1 + chunk + page_size - 2) // page_size + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateGroup(PageGroup):
    """Layers that keep one state of a fixed size for a sequence, and write it anew with each token.

    The state fills a page. Its ``page_size`` says after how many tokens a state is kept to be found.

    Examples
    --------
    >>> StateGroup().first_kept(22, page_size=4)
    5
    """

    def first_kept(self, num_tokens: int, page_size: int) -> int:
        """Return the page of the last token, whose state is all that is read."""
        return max(0, num_tokens - 1) // page_size

    def pages_after(self, num_tokens: int, num_before: int, page_size: int) -> int:
        """Return 1: each state takes the place of the one before."""
        return 1

    def most_pages(self, num_tokens: int, page_size: int, chunk: int | None = None) -> int:
        """Return 1, however long the sequence is."""
        return 1


FULL_ALONE = (FullGroup(),)
"""The groups of a model whose layers all read every token: those of `PagedAllocator`."""


def most_pages(groups: Iterable[PageGroup], page_size: int, num_tokens: int, chunk: int | None = None) -> int:
    """Count the pages that a sequence holds at most in all groups together, as `PageGroup.most_pages`.

    Groups without a ``page_size`` of their own have the given one.

    Examples
    --------
    A full group and five with a window of 1,024, at 131,072 tokens: at once, and in chunks.

    >>> groups = [FullGroup(), *[SlidingGroup(window=1024)] * 5]
    >>> most_pages(groups, 16, 131_072), most_pages(groups, 16, 131_072, chunk=2048)
    (49152, 9157)
    """
    return sum(group.most_pages(num_tokens, group.page_size or page_size, chunk) for group in groups)


def check_groups(groups: Iterable[PageGroup], page_size: int) -> tuple[PageGroup, ...]:
    """Return groups as a tuple, or say what is wrong with one of them.

    Examples
    --------
    >>> check_groups([FullGroup(page_size=24), FullGroup()], 16)
    Traceback (most recent call last):
    ValueError: page_size of groups[1] must divide the largest, 24, got 16
    """
    checked = tuple(check_iterable("groups", groups, "groups"))
    if not checked:
        raise ValueError("groups must hold at least one group, got none")
    for number, group in enumerate(checked):
        if not isinstance(group, PageGroup) or type(group) is PageGroup:
            wanted = "a FullGroup, SlidingGroup or StateGroup"
            raise TypeError(f"groups[{number}] must be {wanted}, got {came(group)}")
    sizes = [group.page_size or page_size for group in checked]
    for number, size in enumerate(sizes):
        if max(sizes) % size:
            raise ValueError(
                f"page_size of groups[{number}] must divide the largest, {max(sizes)}, got {size}"
            )
    return checked
