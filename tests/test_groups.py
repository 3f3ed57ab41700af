"""Several groups of layers in one pool: random histories of random groups, and what is refused."""

from copy import deepcopy

import numpy as np
import pytest
from amounts import amount
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from walk import walk

from paged_demo import (
    CacheFullError,
    FullGroup,
    GroupedAllocator,
    PagedAllocator,
    SlidingGroup,
    StateGroup,
    account,
)

TOKENS = st.integers(0, 1)  # few tokens, so that prefixes often agree
SIZES = st.sampled_from([1, 2, 4])


@st.composite
def any_group(draw):
    size, kind = draw(SIZES), draw(st.sampled_from(["full", "sliding", "sliding", "state"]))
    if kind == "sliding":
        return SlidingGroup(window=draw(st.integers(1, 5 * size)), page_size=size)
    return (FullGroup if kind == "full" else StateGroup)(page_size=size)


class GroupedHistory(RuleBasedStateMachine):
    """A page remembers whose tokens were written to it: the group, and at each offset the whole prefix."""

    seq_ids = Bundle("seq_ids")

    @initialize(
        num_pages=st.integers(1, 24),
        groups=st.lists(any_group(), min_size=1, max_size=4),
        prefix_caching=st.booleans(),
    )
    def start(self, num_pages, groups, prefix_caching):
        self.allocator = GroupedAllocator(num_pages, 4, groups, prefix_caching=prefix_caching)
        self.prefix_caching = prefix_caching
        self.largest = max(group.page_size for group in groups)
        self.in_page = {}
        self.tokens_of, self.rest_of = {}, {}
        self.num_started = 0

    def new_id(self):
        self.num_started += 1
        return f"s{self.num_started}"

    def visible_state(self):
        return (
            self.allocator.memory_map(),
            self.allocator.num_free_pages,
            {seq_id: self.allocator.page_tables(seq_id) for seq_id in self.tokens_of},
            list(self.allocator._pool._free),
            self.allocator.cached_pages,
        )

    def copy(self, copies):
        for src, dst in copies:
            self.in_page[dst] = self.in_page[src]

    def write(self, seq_id, first):
        """Write what is stored from a position on, as the layers of each group do."""
        tokens = self.tokens_of[seq_id]
        for number, group in enumerate(self.allocator.groups):
            slots = self.allocator.slots(seq_id, number)
            assert len(slots) == len(tokens)
            if isinstance(group, StateGroup):
                page_id = slots[-1] // group.page_size
                assert first == 0 or self.in_page[page_id] == (number, {0: tuple(tokens[:first])})
                self.in_page[page_id] = (number, {0: tuple(tokens)})
                continue
            for position in range(first, len(tokens)):
                page_id, offset = divmod(slots[position], group.page_size)
                owner, held = self.in_page.get(page_id, (None, {}))
                held = dict(held) if owner == number and offset else {}
                self.in_page[page_id] = (number, held | {offset: tuple(tokens[: position + 1])})

    @rule(
        target=seq_ids,
        tokens=st.lists(TOKENS, min_size=1, max_size=20),
        budget=st.none() | st.integers(1, 7),
    )
    def allocate(self, tokens, budget):
        seq_id, before = self.new_id(), self.visible_state()
        could_find = self.allocator.find(tokens)
        assert self.visible_state() == before
        try:
            num_found = self.allocator.allocate(seq_id, tokens, budget=budget)
        except CacheFullError:
            assert self.visible_state() == before
            return multiple()
        assert num_found == could_find < len(tokens)
        assert num_found % self.largest == 0
        assert num_found == 0 or self.prefix_caching
        num_stored = min(len(tokens), num_found + (budget or len(tokens)))
        self.tokens_of[seq_id], self.rest_of[seq_id] = tokens[:num_stored], tokens[num_stored:]
        self.copy(self.allocator.copies(seq_id))
        self.write(seq_id, num_found)
        return seq_id

    @rule(seq_id=seq_ids, budget=st.integers(1, 7))
    def extend(self, seq_id, budget):
        before, rest = self.visible_state(), self.rest_of[seq_id]
        refusal = CacheFullError if rest else ValueError
        try:
            num_stored = self.allocator.extend(seq_id, budget)
        except refusal:
            assert self.visible_state() == before
            return
        first = len(self.tokens_of[seq_id])
        self.tokens_of[seq_id] += rest[:budget]
        del rest[:budget]
        assert num_stored == len(self.tokens_of[seq_id]) > first
        self.copy(self.allocator.copies(seq_id))
        self.write(seq_id, first)

    @rule(seq_id=seq_ids, token_id=TOKENS)
    def append(self, seq_id, token_id):
        before = self.visible_state()
        refusal = ValueError if self.rest_of[seq_id] else CacheFullError
        try:
            came = self.allocator.append(seq_id, token_id)
        except refusal:
            assert self.visible_state() == before
            return
        self.copy(copy for _, copy in came if copy)
        self.tokens_of[seq_id].append(token_id)
        groups = range(len(self.allocator.groups))
        assert [slot for slot, _ in came] == [self.allocator.slots(seq_id, group)[-1] for group in groups]
        self.write(seq_id, len(self.tokens_of[seq_id]) - 1)

    @rule(seq_id=seq_ids)
    def give_back(self, seq_id):
        tables = self.allocator.page_tables(seq_id)
        gone = self.allocator.give_back(seq_id)
        rest = [[None if page_id in gone else page_id for page_id in table] for table in tables]
        assert self.allocator.page_tables(seq_id) == rest

    @rule(target=seq_ids, parent_id=seq_ids)
    def fork(self, parent_id):
        child_id, before = self.new_id(), self.visible_state()
        if self.rest_of[parent_id]:
            with pytest.raises(ValueError, match="needs its whole prompt first"):
                self.allocator.fork(parent_id, child_id)
            assert self.visible_state() == before
            return multiple()
        self.allocator.fork(parent_id, child_id)
        self.tokens_of[child_id], self.rest_of[child_id] = self.tokens_of[parent_id].copy(), []
        assert self.allocator.page_tables(child_id) == self.allocator.page_tables(parent_id)
        return child_id

    @rule(seq_id=consumes(seq_ids))
    def free(self, seq_id):
        self.allocator.free(seq_id)
        del self.tokens_of[seq_id], self.rest_of[seq_id]

    @invariant()
    def every_token_that_a_layer_may_still_read_is_where_its_table_says(self):
        for seq_id, tokens in self.tokens_of.items():
            for number, group in enumerate(self.allocator.groups):
                slots = self.allocator.slots(seq_id, number)
                if isinstance(group, StateGroup):
                    assert self.in_page[slots[-1] // group.page_size] == (number, {0: tuple(tokens)})
                    continue
                window = group.window if isinstance(group, SlidingGroup) else len(tokens) + 1
                for position in range(max(0, len(tokens) + 1 - window), len(tokens)):
                    page_id, offset = divmod(slots[position], group.page_size)
                    owner, held = self.in_page[page_id]
                    assert (owner, held[offset]) == (number, tuple(tokens[: position + 1]))

    @invariant()
    def pages_are_held_or_free_and_the_allocator_is_sound(self):
        self.allocator.check()
        tables = [table for seq_id in self.tokens_of for table in self.allocator.page_tables(seq_id)]
        held = {page_id for table in tables for page_id in table if page_id is not None}
        assert len(held) + self.allocator.num_free_pages == self.allocator.num_pages
        usage = account(self.allocator.memory_map(), dict.fromkeys(self.tokens_of, 0))
        assert usage.allocated == 4 * len(held)


class TestGroupedHistory(GroupedHistory.TestCase):
    settings = settings(max_examples=amount(short=12, long=200), stateful_step_count=40)


def test_random_histories_of_several_groups_get_the_answers_of_a_model_of_the_rules():
    num_steps = amount(short=4000, long=200_000)
    kinds, many = walk("groups", num_steps), num_steps / 200
    assert all(kinds[kind] > many for kind in ("allocate", "append", "extend", "fork", "free", "give_back"))
    assert all(kinds[f"{kind}, refused"] > many for kind in ("allocate", "append", "extend"))


def test_a_full_group_alone_is_the_paged_allocator():
    paged = PagedAllocator(40, 4, prefix_caching=True)
    grouped = GroupedAllocator(40, 4, [FullGroup()], prefix_caching=True)
    for seq_id, tokens in enumerate([range(9), range(13), [1, 2, 3]]):
        assert paged.allocate(seq_id, tokens) == grouped.allocate(seq_id, tokens)
        assert grouped.page_tables(seq_id) == [paged.page_table(seq_id)]
    for token_id in range(10):
        assert grouped.append(1, token_id) == (paged.append(1, token_id),)
    for allocator in (paged, grouped):
        allocator.free(0)
    assert paged.memory_map() == grouped.memory_map()
    before, copied = grouped.memory_map(), deepcopy(grouped)
    for token_id in range(4):
        copied.append(1, token_id)
    assert grouped.memory_map() == before != copied.memory_map()


def test_a_window_holds_at_most_its_pages_however_long_the_sequence():
    allocator = GroupedAllocator(500, 4, [FullGroup(), SlidingGroup(window=10), StateGroup()])
    allocator.allocate("a", range(3))
    most = 0
    for token_id in range(400):
        allocator.append("a", token_id)
        full, sliding, state = (
            sum(page is not None for page in table) for table in allocator.page_tables("a")
        )
        most = max(most, sliding)
        assert (full, state) == (-(-(token_id + 4) // 4), 1)
    assert most == -(-9 // 4) + 1


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda: SlidingGroup(window=0), ValueError, "window must be at least 1, got 0"),
        (lambda: SlidingGroup(window=2.5), TypeError, "window must be a whole number, got 2.5"),
        (lambda: FullGroup(page_size=0), ValueError, "page_size must be at least 1, got 0"),
        (lambda: GroupedAllocator(4, 16, []), ValueError, "groups must hold at least one group, got none"),
        (
            lambda: GroupedAllocator(4, 16, [FullGroup(), SlidingGroup(window=9, page_size=24)]),
            ValueError,
            r"page_size of groups\[0\] must divide the largest, 24, got 16",
        ),
        (
            lambda: GroupedAllocator(4, 16, ["full"]),
            TypeError,
            r"groups\[0\] must be a FullGroup, SlidingGroup or StateGroup, got 'full'",
        ),
    ],
)
def test_groups_that_cannot_be_are_refused_by_name(make, error, told):
    with pytest.raises(error, match=told):
        make()


@pytest.mark.parametrize("group", [2, -1, True, 0.0, np.array(0), None])
def test_a_group_that_is_none_has_no_slots_and_is_named(group):
    allocator = GroupedAllocator(8, 2, [FullGroup(), StateGroup()])
    allocator.allocate("a", [1, 2, 3])
    with pytest.raises((TypeError, ValueError), match=r"^group must be"):
        allocator.slots("a", group)
    assert allocator.slots("a", np.int8(1)) == allocator.slots("a", 1)
