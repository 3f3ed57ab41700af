"""Random histories over the paged allocator, beside a model that remembers what every slot holds."""

from amounts import amount
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from paged_demo import CacheFullError, PagedAllocator, account

TOKENS = st.integers(0, 1)  # few tokens, so that prefixes often agree
SALTS = st.sampled_from(["", "tenant"])


class PagedHistory(RuleBasedStateMachine):
    """Keys and values depend on the whole prefix, so that is what a slot remembers here, after the salt.

    With late seals tokens are written by a rule of its own, or never. Until then their slots hold None.
    """

    seq_ids = Bundle("seq_ids")

    @initialize(
        num_pages=st.integers(1, 9),
        page_size=st.integers(1, 5),
        prefix_caching=st.booleans(),
        seal_late=st.booleans(),
    )
    def start(self, num_pages, page_size, prefix_caching, seal_late):
        self.allocator = PagedAllocator(
            num_pages, page_size, prefix_caching=prefix_caching, seal_late=seal_late
        )
        self.seal_late = seal_late
        self.page_size = page_size
        self.prefix_caching = prefix_caching
        self.prefix_in_slot = {}
        self.tokens_of = {}
        self.rest_of = {}  # of prompts in pieces
        self.unwritten = set()
        self.num_started = 0

    def new_id(self):
        self.num_started += 1
        return f"s{self.num_started}"

    def visible_state(self):
        tables = {seq_id: self.allocator.page_table(seq_id) for seq_id in self.tokens_of}
        return (
            self.allocator.memory_map(),
            self.allocator.num_free_pages,
            tables,
            list(self.allocator._pool._free),
        )

    @rule(
        target=seq_ids,
        tokens=st.lists(TOKENS, min_size=1, max_size=14),
        cache_salt=SALTS,
        budget=st.none() | st.integers(1, 6),
    )
    def allocate(self, tokens, cache_salt, budget):
        seq_id = self.new_id()
        before = self.visible_state()
        could_find = self.allocator.find(tokens, cache_salt=cache_salt)
        assert self.visible_state() == before
        try:
            num_found = self.allocator.allocate(seq_id, tokens, cache_salt=cache_salt, budget=budget)
        except CacheFullError:
            assert self.visible_state() == before
            return multiple()
        assert num_found == could_find
        assert num_found % self.page_size == 0
        assert num_found < len(tokens)
        assert num_found == 0 or self.prefix_caching
        slots = self.allocator.slots(seq_id)
        for position in range(num_found):
            assert self.prefix_in_slot[slots[position]] == (cache_salt, *tokens[: position + 1])
        assert len(slots) == min(len(tokens), num_found + (budget or len(tokens)))
        self.tokens_of[seq_id] = [cache_salt, *tokens[: len(slots)]]
        self.rest_of[seq_id] = tokens[len(slots) :]
        self.prefix_in_slot |= dict.fromkeys(slots[num_found:])
        self.unwritten.add(seq_id)
        if not self.seal_late:
            self.write(seq_id)
        return seq_id

    @rule(seq_id=seq_ids, budget=st.integers(1, 6))
    def extend(self, seq_id, budget):
        before = self.visible_state()
        rest = self.rest_of[seq_id]
        refusal = CacheFullError if rest else ValueError
        try:
            num_stored = self.allocator.extend(seq_id, budget)
        except refusal:
            assert self.visible_state() == before
            return
        assert rest
        tokens = self.tokens_of[seq_id]
        self.prefix_in_slot |= dict.fromkeys(self.allocator.slots(seq_id)[len(tokens) - 1 :])
        tokens += rest[:budget]
        del rest[:budget]
        assert num_stored == len(tokens) - 1
        self.unwritten.add(seq_id)
        if not self.seal_late:
            self.write(seq_id)

    def write(self, seq_id):
        for position, slot in enumerate(self.allocator.slots(seq_id), start=1):
            self.prefix_in_slot[slot] = tuple(self.tokens_of[seq_id][: position + 1])
        self.unwritten.remove(seq_id)

    @precondition(lambda self: self.unwritten)
    @rule(data=st.data())
    def write_and_seal(self, data):
        seq_id = data.draw(st.sampled_from(sorted(self.unwritten)))
        self.write(seq_id)
        before = self.visible_state()
        self.allocator.seal(seq_id)
        assert self.visible_state() == before

    @rule(seq_id=seq_ids, token_id=TOKENS)
    def append(self, seq_id, token_id):
        before = self.visible_state()
        try:
            slot, copy = self.allocator.append(seq_id, token_id)
        except CacheFullError:
            assert self.visible_state() == before
            assert self.allocator.num_free_pages == 0
            return
        except ValueError:
            assert self.visible_state() == before
            assert self.rest_of[seq_id]
            return
        assert not self.rest_of[seq_id]
        if copy is not None:
            src_page, dst_page = copy
            for offset in range(self.page_size):
                source = self.prefix_in_slot.get(src_page * self.page_size + offset)
                self.prefix_in_slot[dst_page * self.page_size + offset] = source
        self.tokens_of[seq_id].append(token_id)
        self.prefix_in_slot[slot] = None
        self.unwritten.add(seq_id)
        if not self.seal_late:
            self.write(seq_id)

    @precondition(lambda self: not self.tokens_of)
    @rule()
    def reset_cache(self):
        self.allocator.reset_cache()
        assert self.allocator.num_free_pages == self.allocator.num_pages
        self.prefix_in_slot.clear()  # Whatever is found from now on must have been written from now on.

    @rule(target=seq_ids, parent_id=seq_ids)
    def fork(self, parent_id):
        if self.rest_of[parent_id]:
            return multiple()
        child_id = self.new_id()
        num_free = self.allocator.num_free_pages
        self.allocator.fork(parent_id, child_id)
        assert self.allocator.num_free_pages == num_free
        self.tokens_of[child_id] = self.tokens_of[parent_id].copy()
        self.rest_of[child_id] = []
        if parent_id in self.unwritten:
            self.unwritten.add(child_id)
        return child_id

    @rule(seq_id=consumes(seq_ids))
    def free(self, seq_id):
        self.allocator.free(seq_id)
        del self.tokens_of[seq_id], self.rest_of[seq_id]
        self.unwritten.discard(seq_id)

    @invariant()
    def every_sequence_reads_back_the_prefix_it_wrote(self):
        for seq_id in self.tokens_of.keys() - self.unwritten:
            tokens = self.tokens_of[seq_id]
            read = [self.prefix_in_slot[slot] for slot in self.allocator.slots(seq_id)]
            assert read == [tuple(tokens[: position + 1]) for position in range(1, len(tokens))]

    @invariant()
    def the_allocator_is_sound(self):
        self.allocator.check()

    @invariant()
    def regions_and_holes_cover_the_pool_and_every_slot_has_one_fate(self):
        memory_map = self.allocator.memory_map()
        runs = sorted([*(region[:2] for region in memory_map.regions), *memory_map.holes])
        end = 0
        for start, num_slots in runs:
            assert start == end
            end = start + num_slots
        assert end == memory_map.num_slots
        usage = account(memory_map, dict.fromkeys(self.tokens_of, 2))
        assert usage.num_slots == memory_map.num_slots
        held = {page_id for seq_id in self.tokens_of for page_id in self.allocator.page_table(seq_id)}
        assert usage.allocated == len(held) * self.page_size
        written = {slot for seq_id in self.tokens_of for slot in self.allocator.slots(seq_id)}
        assert usage.used == len(written)


class TestPagedHistory(PagedHistory.TestCase):
    settings = settings(max_examples=amount(short=12, long=150), stateful_step_count=40)
