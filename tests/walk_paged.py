"""Random histories over the paged allocator, beside a model of the rules of vLLM 0.33.0 in plain lists.

`walk.py` walks them. The model was written from the rules in ``data/vllm-0.33.0/README.md``, shares
no code with the package, and is slow: it remembers what each page holds, in full, and searches through lists.
Fork and copy-on-write, which vLLM has no longer, follow Kwon et al. (2023), section 4.4.
"""

import contextlib
from random import Random

from paged_demo import CacheFullError, PagedAllocator


class FullError(Exception):
    """The model refuses: there are too few pages."""


class Model:
    """The rules, without a thought for speed."""

    def __init__(self, num_pages, page_size, *, caching):
        self.page_size, self.caching = page_size, caching
        self.line = list(range(num_pages))
        self.users = [0] * num_pages
        self.content = [None] * num_pages
        self.sealed = []  # pages that can be found, in the order of their sealing
        self.tables, self.tokens, self.prompts, self.names = {}, {}, {}, {}

    def find(self, tokens, name):
        """List the pages that a prompt hits."""
        hits = []
        while self.caching and (len(hits) + 1) * self.page_size < len(tokens):
            wanted = (name, *tokens[: (len(hits) + 1) * self.page_size])
            copies = [page for page in self.sealed if self.content[page] == wanted]
            if not copies:
                break
            hits.append(copies[0])
        return hits

    def take(self):
        if not self.line:
            raise FullError
        page = self.line.pop(0)
        self.users[page] = 1
        self.content[page] = None
        if page in self.sealed:
            self.sealed.remove(page)
        return page

    def allocate(self, seq_id, tokens, name, budget):
        hits = self.find(tokens, name)
        num_stored = min(len(tokens), len(hits) * self.page_size + budget)
        num_new = -(-num_stored // self.page_size) - len(hits)
        if num_new + sum(page in self.line for page in hits) > len(self.line):
            raise FullError
        for page in hits:
            self.users[page] += 1
            if page in self.line:
                self.line.remove(page)
        self.tables[seq_id] = hits + [self.take() for _ in range(num_new)]
        self.tokens[seq_id], self.prompts[seq_id] = tokens[:num_stored], tokens
        self.names[seq_id] = name
        self.seal(seq_id)
        return len(hits) * self.page_size

    def extend(self, seq_id, budget):
        num_stored = min(len(self.prompts[seq_id]), len(self.tokens[seq_id]) + budget)
        num_new = -(-num_stored // self.page_size) - len(self.tables[seq_id])
        if num_new > len(self.line):
            raise FullError
        self.tables[seq_id] += [self.take() for _ in range(num_new)]
        self.tokens[seq_id] = self.prompts[seq_id][:num_stored]
        self.seal(seq_id)

    def append(self, seq_id, token):
        table, offset = self.tables[seq_id], len(self.tokens[seq_id]) % self.page_size
        copy = None
        if offset == 0:
            table.append(self.take())
        elif self.users[table[-1]] > 1:
            copy = (table[-1], self.take())
            self.users[copy[0]] -= 1
            table[-1] = copy[1]
        self.tokens[seq_id] = [*self.tokens[seq_id], token]
        self.seal(seq_id)
        return table[-1] * self.page_size + offset, copy

    def seal(self, seq_id):
        for number, page in enumerate(self.tables[seq_id], start=1):
            is_full = number * self.page_size <= len(self.tokens[seq_id])
            if self.caching and is_full and page not in self.sealed:
                self.content[page] = (self.names[seq_id], *self.tokens[seq_id][: number * self.page_size])
                self.sealed.append(page)

    def fork(self, parent, child):
        for kept in (self.tables, self.tokens, self.prompts, self.names):
            kept[child] = kept[parent]
        self.tables[child] = list(self.tables[parent])
        for page in self.tables[child]:
            self.users[page] += 1

    def free(self, seq_id):
        table = self.tables.pop(seq_id)
        del self.tokens[seq_id], self.prompts[seq_id], self.names[seq_id]
        gone = []
        for page in reversed(table):
            self.users[page] -= 1
            if self.users[page] == 0:
                gone.append(page)
        unsealed = [page for page in gone if page not in self.sealed]
        self.line = unsealed + self.line + [page for page in gone if page in self.sealed]


def same(model, allocator):
    """Say whether an allocator is in the state of the model, down to the order of its free pages."""
    return (
        model.line == list(allocator._pool._free)
        and model.tables == {seq_id: allocator.page_table(seq_id) for seq_id in model.tables}
        and all(len(allocator.slots(seq_id)) == len(kept) for seq_id, kept in model.tokens.items())
        and [page for page in model.line if page in model.sealed] == allocator.cached_pages
    )


class PagedWalk:
    """One random history, in both."""

    def __init__(self, seed):
        self.rng = Random(seed)
        page_size, num_pages = self.rng.choice([1, 2, 3, 4, 5, 8]), self.rng.choice([3, 8, 20, 60])
        caching = self.rng.random() < 0.8
        self.model = Model(num_pages, page_size, caching=caching)
        self.allocator = PagedAllocator(num_pages, page_size, prefix_caching=caching)
        self.num_started = self.num_steps = 0
        self.was_refused = False

    def step(self):
        """Do one operation in both, and return its kind; raise an AssertionError if they differ."""
        rng, held = self.rng, list(self.model.tables)
        in_pieces = [
            seq_id for seq_id in held if len(self.model.tokens[seq_id]) < len(self.model.prompts[seq_id])
        ]
        kind = rng.choice(
            ["allocate", "allocate", "free", "append", "append", "append", "fork", "extend", "extend"]
        )
        if self.was_refused:
            kind, self.was_refused = "free", False
        if kind == "allocate" or not held:
            return self.allocate()
        if kind == "extend" and in_pieces:
            asked = (rng.choice(in_pieces), rng.randint(1, 12))
        elif kind == "free":
            asked = (rng.choice(held),)
        elif whole := [seq_id for seq_id in held if seq_id not in in_pieces]:
            kind = "fork" if kind == "fork" else "append"
            asked = (rng.choice(whole), self.new_id() if kind == "fork" else rng.randrange(2))
        else:
            return self.allocate()
        return self.ask(kind, *asked)

    def new_id(self):
        self.num_started += 1
        return self.num_started

    def allocate(self):
        rng = self.rng
        tokens = [rng.randrange(2) for _ in range(rng.randint(1, 40))]
        if self.model.tokens and rng.random() < 0.5:  # begin as somebody else does
            other = rng.choice(list(self.model.tokens.values()))
            tokens = other[: rng.randint(1, len(other))] + tokens
        salt, lora = rng.choice(["", "", "a"]), rng.choice([{}, {}, {}, {"lora": "a"}])
        budget = rng.choice([None, None, rng.randint(1, 12)])
        hits = self.model.find(tokens, (salt, *lora))
        assert (
            self.allocator.find(tokens, cache_salt=salt, key_parts=lora) == len(hits) * self.model.page_size
        )
        seq_id = self.new_id()
        expected, came = "refused", "refused"
        with contextlib.suppress(FullError):
            expected = self.model.allocate(seq_id, tokens, (salt, *lora), budget or len(tokens))
        with contextlib.suppress(CacheFullError):
            came = self.allocator.allocate(seq_id, tokens, cache_salt=salt, key_parts=lora, budget=budget)
        assert came == expected, (seq_id, tokens, came, expected)
        assert same(self.model, self.allocator), ("allocate", seq_id, tokens)
        return self.told("allocate", came)

    def ask(self, kind, *asked):
        expected, came = "refused", "refused"
        with contextlib.suppress(FullError):
            expected = getattr(self.model, kind)(*asked)
        with contextlib.suppress(CacheFullError):
            came = getattr(self.allocator, kind)(*asked)
        if kind == "append" or "refused" in (came, expected):
            assert came == expected, (kind, asked, came, expected)
        assert same(self.model, self.allocator), (kind, asked)
        return self.told(kind, came)

    def told(self, kind, came):
        self.num_steps += 1
        if self.num_steps % 20 == 0:
            self.allocator.check()
        self.was_refused = came == "refused"
        return f"{kind}, refused" if self.was_refused else kind
