"""The names of full pages: a hash of their tokens and of all tokens before them."""

from hashlib import sha256
from struct import Struct, error

MAX_PAGE_SIZE = 2**31 - 1


class PageKeys:
    """Names full pages, each by a hash of the page before it and of its own tokens.

    Keys and values depend on all tokens before them, so the same tokens after another prefix are another
    page. The hash is SHA-256: nobody can make two prefixes with one name.

    Parameters
    ----------
    page_size : int
        Tokens in a full page.

    Examples
    --------
    >>> keys = PageKeys(2)
    >>> keys.of_prefix([1, 2, 3, 4, 5])[0] == keys.of_prefix([1, 2, 9, 9])[0]
    True
    >>> keys.of_prefix([1, 2, 3, 4])[1] == keys.of_prefix([7, 7, 3, 4])[1]
    False
    """

    def __init__(self, page_size: int) -> None:
        if page_size > MAX_PAGE_SIZE:
            raise ValueError(f"page_size must be at most {MAX_PAGE_SIZE}, got {page_size!r}")
        self._page_size = page_size
        self._pack_page = Struct(f"<{page_size}q").pack

    def root(self, cache_salt: str = "") -> bytes:
        """Return what stands in for the parent of a first page. Another salt makes other names."""
        if not isinstance(cache_salt, str):
            raise TypeError(f"cache_salt must be a string, got {cache_salt!r}")
        return sha256(cache_salt.encode("utf-8", "surrogatepass")).digest()

    def chain(self, parent_key: bytes, tokens: list[int]) -> bytes:
        """Name a full page of these tokens, after the page of ``parent_key``.

        Raises
        ------
        ValueError, TypeError
            If they are too few or too many, or one is no token id.
        """
        try:
            page = self._pack_page(*tokens)
        except error:
            kind = TypeError if len(tokens) == self._page_size else ValueError
            raise kind(f"tokens must be {self._page_size} token ids, got {tokens!r}") from None
        return sha256(parent_key + page).digest()

    def of_prefix(self, tokens: list[int], *, cache_salt: str = "") -> list[bytes]:
        """Name the full pages of a prompt, in order."""
        names = []
        key = self.root(cache_salt)
        for start in range(0, len(tokens) - self._page_size + 1, self._page_size):
            key = self.chain(key, tokens[start : start + self._page_size])
            names.append(key)
        return names
