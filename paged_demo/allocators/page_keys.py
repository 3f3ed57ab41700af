"""The names of full pages: a hash of their tokens and of all tokens before them."""

from collections.abc import Mapping
from hashlib import sha256
from struct import Struct, error
from types import MappingProxyType

MAX_PAGE_SIZE = 2**31 - 1
NO_PARTS: Mapping[str, str] = MappingProxyType({})


class PageKeys:
    """Names full pages, each by a hash of the page before it and of its own tokens.

    Keys and values depend on all tokens before them, so the same tokens after another prefix are another
    page. The hash is SHA-256, over inputs that tell their parts and uses apart: nobody can make two prefixes
    with one name, whatever tokens, salts and parts they choose.

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

    def root(self, cache_salt: str = "", key_parts: Mapping[str, str] = NO_PARTS) -> bytes:
        """Return what stands in for the parent of a first page: another salt or part makes other names.

        Parameters
        ----------
        cache_salt : str
            Keeps the prompts of one tenant from those of another.
        key_parts : mapping of str to str
            What else keys and values depend on, by name, such as ``{"lora": "sql", "image": "3f2a"}``.
            Their order does not matter.

        Raises
        ------
        ValueError, TypeError
            If the salt or a part is no text, or a part is called ``cache_salt``.
        """
        if not isinstance(cache_salt, str):
            raise TypeError(f"cache_salt must be a string, got {cache_salt!r}")
        parts = check_key_parts(key_parts)
        if cache_salt:
            parts["cache_salt"] = cache_salt
        # A literal tells every name and text from its neighbours, whatever is in them.
        return sha256(b"root" + ascii(sorted(parts.items())).encode()).digest()

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
        return sha256(b"page" + parent_key + page).digest()

    def of_prefix(self, tokens: list[int], root_key: bytes | None = None) -> list[bytes]:
        """Name the full pages of a prompt, in order; without a root it is the one of no salt and no parts."""
        names = []
        key = self.root() if root_key is None else root_key
        for start in range(0, len(tokens) - self._page_size + 1, self._page_size):
            key = self.chain(key, tokens[start : start + self._page_size])
            names.append(key)
        return names


def check_key_parts(key_parts: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of a key as a dict of texts, or raise an error that names the one which is none."""
    if not isinstance(key_parts, Mapping):
        raise TypeError(f"key_parts must be texts by name, got {key_parts!r}")
    for name, text in key_parts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"key_parts must be texts by name, got {name!r}: {text!r}")
    if "cache_salt" in key_parts:
        raise ValueError("key_parts must leave the salt to cache_salt, got a part of that name")
    return dict(key_parts)
