"""The pool of pages, free, taken, shared, and cached; and the keys of full pages."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import takewhile
from struct import Struct, error
from types import MappingProxyType

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.checks import check_count

NO_PARTS: Mapping[str, str] = MappingProxyType({})
PLAIN_ROOT = sha256(b"root[]").digest()


class PagePool:
    """Physical pages with reference counts, and an index of the contents of full ones.

    A page is *taken* with one reference, *shared* by adding one, *released* by dropping one, and
    free at zero. A full page can be *sealed* under a key for its contents; it can then be
    *found* by that key, even while it is free, until it is taken for something else.

    Free pages wait in a queue and are taken from its front. A released page that was never sealed goes to
    the front, since nobody can find it again; a sealed one goes to the back, behind those released before.
    Every method takes constant time for each page it is given, whatever the pool's size.

    Parameters
    ----------
    num_pages : int
        Pages in the pool, at least 1.

    Examples
    --------
    >>> pool = PagePool(2)
    >>> page_id = pool.take()
    >>> pool.seal(page_id, "four score and seven")
    >>> pool.release(page_id)
    >>> pool.num_free, pool.find(["four score and seven"])
    (2, [0])

    References
    ----------
    Kwon et al. (2023), section 4.2 (allocation) and 4.4 (reference counts). Finding full pages, and the order
    of the queue, are those of vLLM 0.33.0's automatic prefix caching, which came after the paper.
    """

    def __init__(self, num_pages: int) -> None:
        self.num_pages = check_count("num_pages", num_pages)
        self._ref_counts = [0] * self.num_pages
        self._keys: list[Hashable | None] = [None] * self.num_pages
        # Next to be taken first; unlike a deque, a page is removed from its middle in constant time.
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(self.num_pages))
        self._page_by_key: dict[Hashable, int] = {}
        # Further pages with equal contents, the one sealed first first; apart, because there are few.
        self._duplicates: dict[Hashable, dict[int, None]] = {}

    @property
    def num_free(self) -> int:
        """Pages that nobody holds, cached or not."""
        return len(self._free)

    @property
    def cached_pages(self) -> list[int]:
        """Free pages whose contents can still be found, next to be taken first."""
        return [page_id for page_id in self._free if self._keys[page_id] is not None]

    def take(self) -> int:
        """Take the page at the front of the queue; if it was cached, it is evicted.

        Raises
        ------
        CacheFullError
            If no page is free.
        """
        if not self._free:
            raise CacheFullError(needed=1, free=0, unit="pages")
        page_id, _ = self._free.popitem(last=False)
        if self._keys[page_id] is not None:
            self._evict(page_id)
        self._ref_counts[page_id] = 1
        return page_id

    def share(self, page_id: int) -> None:
        """Add a reference to a page that is held, or revive a cached one.

        Raises
        ------
        ValueError
            If the page is free and not cached: it has nothing to share.
        """
        page_id = self._check_page(page_id)
        if self._ref_counts[page_id] == 0:
            if self._keys[page_id] is None:
                raise ValueError(f"page_id {page_id} is free and holds nothing to share")
            del self._free[page_id]
        self._ref_counts[page_id] += 1

    def release(self, page_id: int) -> None:
        """Drop a reference. At zero the page is free, and keeps its key.

        Raises
        ------
        ValueError
            If the page is free already.
        """
        page_id = self._require_held(page_id)
        self._ref_counts[page_id] -= 1
        if self._ref_counts[page_id] == 0:
            self._free[page_id] = None
            if self._keys[page_id] is None:
                self._free.move_to_end(page_id, last=False)

    def release_table(self, page_table: Sequence[int]) -> None:
        """Drop a reference to each page of a table, so that its last page is the first to be taken again.

        A prefix is of use without its tail, and a tail is of none without its prefix.

        Raises
        ------
        ValueError
            If a page is free already, or named twice. Nothing has changed then.
        """
        table = [self._require_held(page_id) for page_id in page_table]
        if len(set(table)) < len(table):
            raise ValueError(f"page_table must name each page once, got {table}")
        sealed = []
        for page_id in table:
            self._ref_counts[page_id] -= 1
            if self._ref_counts[page_id] > 0:
                continue
            if self._keys[page_id] is not None:
                sealed.append(page_id)
            else:  # in front of the one before it
                self._free[page_id] = None
                self._free.move_to_end(page_id, last=False)
        for page_id in reversed(sealed):
            self._free[page_id] = None

    def seal(self, page_id: int, key: Hashable) -> None:
        """Let a held page be found by the key for its contents.

        Raises
        ------
        ValueError
            If the page is free, or sealed already: its contents must not change. If ``key`` is None.
        TypeError
            If ``key`` cannot be hashed.
        """
        page_id = self._check_page(page_id)
        if self._ref_counts[page_id] == 0:
            raise ValueError(f"page_id {page_id} is free, it has no contents to seal")
        if self._keys[page_id] is not None:
            raise ValueError(f"page_id {page_id} is sealed already")
        if key is None:
            raise ValueError("key must name the contents, got None")
        first_page = self._page_by_key.setdefault(key, page_id)
        self._keys[page_id] = key
        if first_page != page_id:
            self._duplicates.setdefault(key, {})[page_id] = None

    def find(self, keys: Iterable[Hashable]) -> list[int]:
        """Find pages for the leading ``keys``, up to the first that no page has.

        Of pages with equal contents the one sealed first is found, held or free.
        Taking a reference is the caller's next step: a found page may be free.
        """
        return [self._page_by_key[key] for key in takewhile(self._page_by_key.__contains__, keys)]

    def evict_all(self) -> None:
        """Let no cached page be found any more. They stay free, in their order."""
        for page_id in self.cached_pages:
            self._evict(page_id)

    def ref_count(self, page_id: int) -> int:
        """Count the references to a page; 0 means free."""
        page_id = self._check_page(page_id)
        return self._ref_counts[page_id]

    def check(self) -> None:
        """Assert every invariant of the pool. Takes time proportional to its size."""
        findable: dict[int, Hashable] = {page_id: key for key, page_id in self._page_by_key.items()}
        for key, duplicates in self._duplicates.items():
            assert duplicates, f"no duplicates left under {key!r}"
            assert key in self._page_by_key, f"duplicates of {key!r}, which nobody serves"
            findable.update(dict.fromkeys(duplicates, key))
        num_entries = len(self._page_by_key) + sum(map(len, self._duplicates.values()))
        assert num_entries == len(findable), "a page is findable twice"
        for page_id, (ref_count, key) in enumerate(zip(self._ref_counts, self._keys, strict=True)):
            assert ref_count >= 0, f"page {page_id} has {ref_count} references"
            assert (ref_count == 0) == (page_id in self._free), f"page {page_id} is both free and held"
            assert findable.get(page_id) == key, f"page {page_id} is sealed and found under other keys"

    def _evict(self, page_id: int) -> None:
        key = self._keys[page_id]
        self._keys[page_id] = None
        if key not in self._duplicates:
            del self._page_by_key[key]
            return
        duplicates = self._duplicates[key]
        if self._page_by_key[key] == page_id:
            self._page_by_key[key] = next_sealed = next(iter(duplicates))
            del duplicates[next_sealed]
        else:
            del duplicates[page_id]
        if not duplicates:
            del self._duplicates[key]

    def _require_held(self, page_id: int) -> int:
        page_id = self._check_page(page_id)
        if self._ref_counts[page_id] == 0:
            raise ValueError(f"page_id {page_id} is free already")
        return page_id

    def _check_page(self, page_id: int) -> int:
        if type(page_id) is int and 0 <= page_id < self.num_pages:
            return page_id
        number = check_count("page_id", page_id, minimum=0)
        if number >= self.num_pages:
            raise ValueError(f"page_id must be below num_pages ({self.num_pages}), got {page_id!r}")
        return number


class PageKeys:
    """Makes the keys of full pages, each a hash of the key before it and of the page's tokens.

    Keys and values depend on all tokens before them, so the same tokens after another prefix are another
    page. The hash is SHA-256, over inputs that tell their parts and uses apart: two prefixes with one key
    would be a collision of SHA-256, whatever their tokens, salts and parts.

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
        self._page_size = check_count("page_size", page_size)
        self._pack_page = Struct(f"<{self._page_size}q").pack

    def root(self, cache_salt: str = "", key_parts: Mapping[str, str] = NO_PARTS) -> bytes:
        """Return what stands in for the parent of a first page: another salt or part makes other keys.

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
        if key_parts is NO_PARTS and cache_salt == "":
            return PLAIN_ROOT  # of most prompts
        parts = check_key_parts(key_parts)
        if salt := check_salt(cache_salt):
            parts["cache_salt"] = salt
        # A literal tells every name and text from its neighbours, whatever is in them.
        return sha256(b"root" + ascii(sorted(parts.items())).encode()).digest()

    def chain(self, parent_key: bytes, tokens: list[int]) -> bytes:
        """Make the key of a full page of these tokens, after the page of ``parent_key``.

        Raises
        ------
        ValueError, TypeError
            If they are too few or too many, or one is no whole number of 64 bits.
        """
        try:
            page = self._pack_page(*tokens)
        except error:
            kind = TypeError if len(tokens) == self._page_size else ValueError
            raise kind(f"tokens must be {self._page_size} token ids, got {tokens!r}") from None
        return sha256(b"page" + parent_key + page).digest()

    def of_prefix(self, tokens: list[int], root_key: bytes | None = None) -> list[bytes]:
        """Make the keys of a prompt's full pages, in order. Without a root there is no salt and no part."""
        keys = []
        key = self.root() if root_key is None else root_key
        for start in range(0, len(tokens) - self._page_size + 1, self._page_size):
            key = self.chain(key, tokens[start : start + self._page_size])
            keys.append(key)
        return keys


def check_salt(cache_salt: str) -> str:
    """Return a salt as a plain text, or raise a TypeError unless it is one."""
    if not isinstance(cache_salt, str):
        raise TypeError(f"cache_salt must be a string, got {cache_salt!r}")
    return str.__str__(cache_salt)


def check_key_parts(key_parts: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of a key as a dict of plain texts, or raise an error that names one which is none."""
    if not isinstance(key_parts, Mapping):
        raise TypeError(f"key_parts must be texts by name, got {key_parts!r}")
    parts: dict[str, str] = {}
    for name, text in key_parts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"key_parts must be texts by name, got {name!r}: {text!r}")
        plain = str.__str__(name)  # a subclass may compare and print itself as something else
        if plain in parts or plain == "cache_salt":
            raise ValueError(f"key_parts must leave cache_salt out, and name each once, got {plain!r}")
        parts[plain] = str.__str__(text)
    return parts
