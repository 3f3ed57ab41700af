"""Random histories over the traditional allocator, for every reservation and placement."""

from functools import partial

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
    rule,
)

from paged_demo import (
    CacheFullError,
    TraditionalAllocator,
    account,
    best_fit,
    buddy,
    first_fit,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
)

MAX_TOKENS = 32
RESERVATIONS = [reserve_max(MAX_TOKENS), reserve_pow2(MAX_TOKENS), reserve_oracle]
PLACEMENTS = [first_fit, best_fit, partial(buddy, unit_slots=2, max_tokens=MAX_TOKENS)]


class TraditionalHistory(RuleBasedStateMachine):
    seq_ids = Bundle("seq_ids")

    @initialize(
        num_slots=st.integers(1, 150),
        reserve=st.sampled_from(RESERVATIONS),
        placement=st.sampled_from(PLACEMENTS),
    )
    def start(self, num_slots, reserve, placement):
        self.allocator = TraditionalAllocator(num_slots, reserve=reserve, placement=placement)
        self.empty_map = self.allocator.memory_map()
        self.lengths = {}
        self.final_tokens = {}
        self.num_started = 0

    @rule(target=seq_ids, num_tokens=st.integers(1, 12), num_more=st.integers(0, 12))
    def allocate(self, num_tokens, num_more):
        self.num_started += 1
        seq_id = f"s{self.num_started}"
        before = self.allocator.memory_map()
        try:
            self.allocator.allocate(seq_id, range(num_tokens), final_tokens=num_tokens + num_more)
        except CacheFullError:
            assert self.allocator.memory_map() == before
            return multiple()
        self.lengths[seq_id] = num_tokens
        self.final_tokens[seq_id] = num_tokens + num_more
        return seq_id

    @rule(seq_id=seq_ids)
    def append(self, seq_id):
        """No sequence is refused a token before its announced end."""
        if self.lengths[seq_id] < self.final_tokens[seq_id]:
            slots = self.allocator.slots(seq_id)
            slot, copy = self.allocator.append(seq_id, 0)
            assert (slot, copy) == (slots[-1] + 1, None)
            self.lengths[seq_id] += 1

    @rule(seq_id=consumes(seq_ids))
    def free(self, seq_id):
        self.allocator.free(seq_id)
        del self.lengths[seq_id]

    @invariant()
    def no_two_regions_overlap_and_with_the_holes_they_cover_the_pool(self):
        memory_map = self.allocator.memory_map()
        end = 0
        for start, num_slots in sorted([*(region[:2] for region in memory_map.regions), *memory_map.holes]):
            assert start == end
            assert num_slots > 0
            end = start + num_slots
        assert end == memory_map.num_slots

    @invariant()
    def every_region_holds_what_its_sequence_wrote_and_may_yet_write(self):
        regions = {region.seq_ids[0]: region for region in self.allocator.memory_map().regions}
        assert regions.keys() == self.lengths.keys()
        for seq_id, region in regions.items():
            assert region.num_tokens == self.lengths[seq_id]
            assert self.final_tokens[seq_id] <= region.num_reserved <= region.num_slots
            assert self.allocator.slots(seq_id) == list(
                range(region.start_slot, region.start_slot + region.num_tokens)
            )

    @invariant()
    def every_slot_has_one_fate(self):
        future = {seq_id: self.final_tokens[seq_id] - length for seq_id, length in self.lengths.items()}
        usage = account(self.allocator.memory_map(), future, request_slots=MAX_TOKENS)
        assert usage.num_slots == self.allocator.num_slots
        assert usage.used == sum(self.lengths.values())
        assert usage.reserved == sum(future.values())

    def teardown(self):
        """Freeing everything merges the pool back to how it began."""
        if not hasattr(self, "allocator"):
            return
        for seq_id in list(self.lengths):
            self.allocator.free(seq_id)
        assert self.allocator.memory_map() == self.empty_map


class TestTraditionalHistory(TraditionalHistory.TestCase):
    settings = settings(max_examples=amount(short=20, long=150), stateful_step_count=40)
