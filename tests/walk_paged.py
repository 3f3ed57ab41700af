"""Random histories over the allocators of pages, beside a model of the rules of vLLM 0.33.0 in plain lists.

`walk.py` walks them: of one group, and of several. The model was written from the rules in
``data/vllm-0.33.0/README.md``, shares no code with the package, and is slow: it remembers what each page
holds, in full, and searches through lists.
Fork and copy-on-write, which vLLM has no longer, follow Kwon et al. (2023), section 4.4, in each group.
"""

import contextlib
from random import Random
from typing import NamedTuple

from paged_demo import (
    CacheFullError,
    FullGroup,
    GroupedAllocator,
    PagedAllocator,
    SlidingGroup,
    StateGroup,
)


class FullError(Exception):
    """The model refuses: there are too few pages."""


class Layers(NamedTuple):
    """A group: "full", "sliding" or "state", its window if it has one, and the tokens in a page."""

    kind: str
    window: int
    size: int

    def reads(self, number, num_tokens):
        """Say whether the token after so many reads anything in a logical page before it."""
        if self.kind == "state":
            return number == (num_tokens - 1) // self.size
        last_token = (number + 1) * self.size - 1
        return self.kind == "full" or last_token > num_tokens - self.window


class Model:
    """The rules, without a thought for speed."""

    def __init__(self, num_pages, groups, *, caching):
        self.groups, self.caching = groups, caching
        self.line = list(range(num_pages))
        self.users = [0] * num_pages
        self.content = [None] * num_pages
        self.sealed = []  # pages that can be found, in the order of their sealing
        self.tables, self.tokens, self.prompts, self.names = {}, {}, {}, {}

    def find(self, tokens, name):
        """Count the tokens that a prompt finds, and list its hits in each group, None where it needs none."""
        unit = max(group.size for group in self.groups)
        num_found = (len(tokens) - 1) // unit * unit if self.caching else 0
        while True:
            hits = [self.hits(index, tokens[:num_found], name) for index in range(len(self.groups))]
            if None not in hits:
                return num_found, hits
            num_found -= unit

    def hits(self, index, tokens, name):
        """List the pages that a group needs to begin after these tokens, or return None if one is missing."""
        hits, group = [], self.groups[index]
        for number in range(len(tokens) // group.size):
            if not group.reads(number, len(tokens)):
                hits.append(None)
                continue
            wanted = (index, name, bytes(tokens[: (number + 1) * group.size]))
            copies = [page for page in self.sealed if self.content[page] == wanted]
            if not copies:
                return None
            hits.append(copies[0])
        return hits

    def take(self):
        page = self.line.pop(0)
        self.users[page] = 1
        self.content[page] = None
        if page in self.sealed:
            self.sealed.remove(page)
        return page

    def release(self, pages):
        """Let go of pages of a table, which are in its order."""
        gone = []
        for page in reversed(pages):
            self.users[page] -= 1
            if self.users[page] == 0:
                gone.append(page)
        unsealed = [page for page in gone if page not in self.sealed]
        self.line = unsealed + self.line + [page for page in gone if page in self.sealed]

    def require(self, num_pages):
        if num_pages > len(self.line):
            raise FullError

    def allocate(self, seq_id, tokens, name, budget):
        num_found, hits = self.find(tokens, name)
        num_stored = min(len(tokens), num_found + budget)
        found = [[page for page in pages if page is not None] for pages in hits]
        self.require(
            sum(
                1
                if group.kind == "state"
                else -(-num_stored // group.size) - len(pages) + sum(page in self.line for page in kept)
                for group, pages, kept in zip(self.groups, hits, found, strict=True)
            )
        )
        for page in (page for pages in found for page in pages):
            self.users[page] += 1
            if page in self.line:
                self.line.remove(page)
        self.tables[seq_id], self.names[seq_id], self.prompts[seq_id] = hits, name, tokens
        copies = self.store(seq_id, tokens[:num_stored])
        return num_found, [copy for copy in copies if copy]

    def extend(self, seq_id, budget):
        tokens = self.prompts[seq_id][: len(self.tokens[seq_id]) + budget]
        self.make_room(seq_id, len(tokens))
        copies = self.store(seq_id, tokens)
        return len(tokens), [copy for copy in copies if copy]

    def append(self, seq_id, token):
        tokens = [*self.tokens[seq_id], token]
        self.make_room(seq_id, len(tokens))
        copies = self.store(seq_id, tokens)
        slots = []
        for group, table in zip(self.groups, self.tables[seq_id], strict=True):
            offset = 0 if group.kind == "state" else (len(tokens) - 1) % group.size
            slots.append(table[-1] * group.size + offset)
        return tuple(zip(slots, copies, strict=True))

    def make_room(self, seq_id, num_after):
        needed, num_before = 0, len(self.tokens[seq_id])
        for group, table in zip(self.groups, self.tables[seq_id], strict=True):
            is_shared = table[-1] is not None and self.users[table[-1]] > 1
            if group.kind == "state":
                needed += is_shared
            else:
                needed += -(-num_after // group.size) - len(table)
                needed += is_shared and num_before % group.size > 0
                needed -= sum(self.users[page] == 1 for page in self.behind(group, table, num_before))
        self.require(needed)
        self.give_back(seq_id)

    def behind(self, group, table, num_tokens):
        return [
            page
            for number, page in enumerate(table)
            if page is not None and not group.reads(number, num_tokens)
        ]

    def give_back(self, seq_id):
        all_gone = []
        for group, table in zip(self.groups, self.tables[seq_id], strict=True):
            gone = self.behind(group, table, len(self.tokens[seq_id]))
            table[:] = [None if page in gone else page for page in table]
            self.release(gone)
            all_gone += gone
        return all_gone

    def store(self, seq_id, tokens):
        """Take the pages for these tokens, in all groups, and say what to copy in each."""
        copies = []
        num_before = len(self.tokens.get(seq_id, []))
        for group, table in zip(self.groups, self.tables[seq_id], strict=True):
            copy = None
            num_pages = -(-len(tokens) // group.size)
            if group.kind == "state":
                src = next((page for page in table if page is not None), None)
                dst = src
                if src is None or src in self.sealed or self.users[src] > 1:
                    self.release([] if src is None else [src])
                    dst = self.take()
                    copy = (src, dst) if src not in (None, dst) else None
                table[:] = [None] * (num_pages - 1) + [dst]
            else:
                if num_before % group.size and self.users[table[-1]] > 1:
                    copy = (table[-1], self.take())
                    self.users[copy[0]] -= 1
                    table[-1] = copy[1]
                table += [self.take() for _ in range(num_pages - len(table))]
            copies.append(copy)
        self.tokens[seq_id] = tokens
        self.seal(seq_id)
        return copies

    def seal(self, seq_id):
        tokens = self.tokens[seq_id]
        for index, (group, table) in enumerate(zip(self.groups, self.tables[seq_id], strict=True)):
            for number, page in enumerate(table):
                end = (number + 1) * group.size
                if self.caching and page is not None and end <= len(tokens) and page not in self.sealed:
                    self.content[page] = (index, self.names[seq_id], bytes(tokens[:end]))
                    self.sealed.append(page)

    def fork(self, parent, child):
        for kept in (self.tokens, self.prompts, self.names):
            kept[child] = kept[parent]
        self.tables[child] = [list(table) for table in self.tables[parent]]
        for page in (page for table in self.tables[child] for page in table if page is not None):
            self.users[page] += 1

    def free(self, seq_id):
        del self.tokens[seq_id], self.prompts[seq_id], self.names[seq_id]
        for table in self.tables.pop(seq_id):
            self.release([page for page in table if page is not None])


def same(model, allocator, tables_of):
    """Say whether an allocator is in the state of the model, down to the order of its free pages."""
    return (
        model.line == list(allocator._pool._free)
        and model.tables == {seq_id: tables_of(seq_id) for seq_id in model.tables}
        and all(len(allocator.slots(seq_id)) == len(kept) for seq_id, kept in model.tokens.items())
        and [page for page in model.line if page in model.sealed] == allocator.cached_pages
    )


class PagedWalk:
    """One random history, in both."""

    kinds = ("allocate", "allocate", "free", "append", "append", "append", "fork", "extend", "extend")

    def __init__(self, seed):
        self.rng = Random(seed)
        page_size, num_pages = self.rng.choice([1, 2, 3, 4, 5, 8]), self.rng.choice([3, 8, 20, 60])
        caching = self.rng.random() < 0.8
        self.make(num_pages, page_size, caching)
        self.num_started = self.num_steps = 0
        self.was_refused = False

    def make(self, num_pages, page_size, caching):
        self.model = Model(num_pages, [Layers("full", 0, page_size)], caching=caching)
        self.allocator = PagedAllocator(num_pages, page_size, prefix_caching=caching)

    def tables_of(self, seq_id):
        return [self.allocator.page_table(seq_id)]

    def do(self, kind, *asked, **named):
        """Ask the allocator, and return what the model returns."""
        came = getattr(self.allocator, kind)(*asked, **named)
        if kind == "append":
            return (came,)
        return (came, []) if kind in ("allocate", "extend") else came

    def step(self):
        """Do one operation in both, and return its kind; raise an AssertionError if they differ."""
        rng, held = self.rng, list(self.model.tables)
        in_pieces = [
            seq_id for seq_id in held if len(self.model.tokens[seq_id]) < len(self.model.prompts[seq_id])
        ]
        kind = rng.choice(self.kinds)
        if self.was_refused:
            kind, self.was_refused = "free", False
        if kind == "allocate" or not held:
            return self.allocate()
        if kind == "extend" and in_pieces:
            asked = (rng.choice(in_pieces), rng.randint(1, 12))
        elif kind in ("free", "give_back"):
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
        num_found, _ = self.model.find(tokens, (salt, *lora))
        assert self.allocator.find(tokens, cache_salt=salt, key_parts=lora) == num_found
        seq_id = self.new_id()
        given = {"cache_salt": salt, "key_parts": lora, "budget": budget}
        return self.compare(
            "allocate",
            lambda: self.model.allocate(seq_id, tokens, (salt, *lora), budget or len(tokens)),
            lambda: self.do("allocate", seq_id, tokens, **given),
        )

    def ask(self, kind, *asked):
        return self.compare(
            kind, lambda: getattr(self.model, kind)(*asked), lambda: self.do(kind, *asked), asked
        )

    def compare(self, kind, ask_model, ask_allocator, asked=()):
        expected, came = "refused", "refused"
        with contextlib.suppress(FullError):
            expected = ask_model()
        with contextlib.suppress(CacheFullError):
            came = ask_allocator()
        assert came == expected, (kind, asked, came, expected)
        assert same(self.model, self.allocator, self.tables_of), (kind, asked)
        self.num_steps += 1
        if self.num_steps % 20 == 0:
            self.allocator.check()
        self.was_refused = came == "refused"
        return f"{kind}, refused" if self.was_refused else kind


class GroupedWalk(PagedWalk):
    """The same with several groups: one to four of any kind, with windows of up to five pages."""

    kinds = (*PagedWalk.kinds, "append", "append", "give_back")

    def make(self, num_pages, page_size, caching):
        rng, made, layers = self.rng, [], []
        for _ in range(rng.randint(1, 4)):
            kind = rng.choice(["full", "sliding", "sliding", "state"])
            size = page_size * rng.choice([1, 1, 1, 2])
            window = rng.randint(1, 5 * size) if kind == "sliding" else 0
            layers.append(Layers(kind, window, size))
            given = {"window": window} if kind == "sliding" else {}
            make = {"full": FullGroup, "sliding": SlidingGroup, "state": StateGroup}[kind]
            made.append(make(page_size=size, **given))
        num_pages *= len(made)
        self.model = Model(num_pages, layers, caching=caching)
        self.allocator = GroupedAllocator(num_pages, page_size, made, prefix_caching=caching)

    def tables_of(self, seq_id):
        return self.allocator.page_tables(seq_id)

    def do(self, kind, *asked, **named):
        came = getattr(self.allocator, kind)(*asked, **named)
        return (came, self.allocator.copies(asked[0])) if kind in ("allocate", "extend") else came
