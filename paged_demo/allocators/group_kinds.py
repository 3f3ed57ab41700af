"""Kinds of layers, by what they read of a sequence: all of it, a window, or one state.

Layers of one kind make a group. Pages of all groups have the same size in bytes, so that any group can take
any page; how many tokens fit into one may differ.
"""

from dataclasses import dataclass

from paged_demo.checks import check_count, keep_checked


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
