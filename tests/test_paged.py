from struct import pack

import pytest

from paged_demo import Append, CacheFullError, PagedAllocator, account
from paged_demo.allocators.page_pool import PageKeys
from paged_demo.checks import MAX_COUNT

PAGE = 16


def tokens(num_tokens, first=0):
    return list(range(first, first + num_tokens))


def full_state(allocator, *seq_ids):
    """Everything a caller can see, to compare before and after a refused call."""
    tables = {seq_id: allocator.page_table(seq_id) for seq_id in seq_ids}
    return allocator.memory_map(), allocator.num_free_pages, tables, allocator._pool._free.copy()


@pytest.mark.parametrize(("num_tokens", "num_pages"), [(1, 1), (15, 1), (16, 1), (17, 2), (32, 2), (33, 3)])
def test_a_prompt_takes_just_the_pages_its_tokens_start(num_tokens, num_pages):
    allocator = PagedAllocator(4, PAGE)
    allocator.allocate("a", tokens(num_tokens))
    assert len(allocator.page_table("a")) == num_pages
    assert allocator.num_free_pages == 4 - num_pages


def test_the_17th_token_takes_the_second_page():
    allocator = PagedAllocator(4, PAGE)
    allocator.allocate("a", tokens(15))
    assert allocator.append("a", 15) == Append(slot=15, copy=None)
    assert allocator.page_table("a") == [0]
    assert allocator.append("a", 16) == Append(slot=16, copy=None)
    assert allocator.page_table("a") == [0, 1]


def test_a_sequence_reads_its_slots_through_its_page_table():
    allocator = PagedAllocator(8, 4)
    allocator.allocate("a", tokens(4))
    allocator.allocate("b", tokens(2))
    allocator.append("a", 4)
    assert allocator.page_table("a") == [0, 2]
    assert allocator.slots("a") == [0, 1, 2, 3, 8]
    assert allocator.slots("b") == [4, 5]


@pytest.mark.parametrize("page_size", [1, 2048])
def test_the_extreme_page_sizes_work(page_size):
    allocator = PagedAllocator(2048 // page_size, page_size, prefix_caching=True)
    allocator.allocate("a", tokens(2047))
    allocator.append("a", 2047)
    assert len(allocator.slots("a")) == 2048
    with pytest.raises(CacheFullError):
        allocator.append("a", 2048)
    allocator.check()


def test_a_full_pool_refuses_a_prompt_and_changes_nothing():
    allocator = PagedAllocator(4, PAGE, prefix_caching=True)
    allocator.allocate("a", tokens(40))
    before = full_state(allocator, "a")
    with pytest.raises(CacheFullError, match="need 2 pages, 1 free"):
        allocator.allocate("b", tokens(17, first=100))
    assert full_state(allocator, "a") == before
    with pytest.raises(KeyError):
        allocator.page_table("b")


def test_a_full_pool_refuses_a_token_and_changes_nothing():
    allocator = PagedAllocator(1, PAGE)
    allocator.allocate("a", tokens(16))
    before = full_state(allocator, "a")
    for _ in range(2):
        with pytest.raises(CacheFullError, match="need 1 page, 0 free"):
            allocator.append("a", 16)
    assert full_state(allocator, "a") == before


def test_a_full_pool_refuses_a_copy_and_changes_nothing():
    allocator = PagedAllocator(1, PAGE)
    allocator.allocate("a", tokens(5))
    allocator.fork("a", "b")
    before = full_state(allocator, "a", "b")
    for _ in range(2):
        with pytest.raises(CacheFullError, match="need 1 page, 0 free"):
            allocator.append("b", 5)
    assert full_state(allocator, "a", "b") == before
    allocator.free("b")
    assert allocator.append("a", 5) == Append(slot=5, copy=None)


def test_an_allocator_says_how_much_of_it_is_free():
    allocator = PagedAllocator(4, PAGE)
    allocator.allocate("a", tokens(17))
    assert repr(allocator) == "PagedAllocator(4 pages of 16 slots, 2 free)"


# Fork and copy-on-write


def test_a_fork_shares_every_page_and_takes_none():
    allocator = PagedAllocator(8, 4)
    allocator.allocate("a", tokens(6))
    allocator.fork("a", "b")
    assert allocator.page_table("b") == allocator.page_table("a") == [0, 1]
    assert allocator.num_free_pages == 6
    assert [region.seq_ids for region in allocator.memory_map().regions] == [("a", "b"), ("a", "b")]


def test_append_to_a_shared_partial_page_copies_it_once():
    allocator = PagedAllocator(8, 4)
    allocator.allocate("a", tokens(6))
    allocator.fork("a", "b")
    assert allocator.append("b", 60) == Append(slot=10, copy=(1, 2))
    assert allocator.append("b", 70) == Append(slot=11, copy=None)
    assert allocator.append("a", 6) == Append(slot=6, copy=None)
    assert (allocator.page_table("a"), allocator.page_table("b")) == ([0, 1], [0, 2])
    allocator.check()


def test_of_three_owners_two_copy_and_the_last_writes_in_place():
    allocator = PagedAllocator(8, 4)
    allocator.allocate("a", tokens(6))
    allocator.fork("a", "b")
    allocator.fork("b", "c")
    copies = [allocator.append(seq_id, 6).copy for seq_id in ("b", "a", "c")]
    assert copies == [(1, 2), (1, 3), None]
    allocator.check()


def test_an_owner_whose_sharers_are_freed_writes_in_place():
    allocator = PagedAllocator(8, 4)
    allocator.allocate("a", tokens(6))
    allocator.fork("a", "b")
    allocator.free("a")
    assert allocator.append("b", 6) == Append(slot=6, copy=None)


def test_a_fork_on_a_page_boundary_copies_nothing():
    allocator = PagedAllocator(8, 4)
    allocator.allocate("a", tokens(8))
    allocator.fork("a", "b")
    assert [allocator.append(seq_id, 8).copy for seq_id in ("a", "b")] == [None, None]
    assert (allocator.page_table("a"), allocator.page_table("b")) == ([0, 1, 2], [0, 1, 3])
    assert allocator.num_free_pages == 4


def test_freeing_a_fork_leaves_the_parent_its_pages():
    allocator = PagedAllocator(4, 4)
    allocator.allocate("a", tokens(8))
    allocator.fork("a", "b")
    allocator.free("b")
    assert allocator.num_free_pages == 2
    assert allocator.slots("a") == tokens(8)
    allocator.check()


# Prefix caching


@pytest.mark.parametrize(
    ("num_tokens", "num_found"), [(15, 0), (16, 0), (17, 16), (48, 32), (49, 48), (50, 48)]
)
def test_a_prompt_asked_twice_finds_all_full_pages_but_never_its_last_token(num_tokens, num_found):
    allocator = PagedAllocator(16, PAGE, prefix_caching=True)
    assert allocator.allocate("a", tokens(num_tokens)) == 0
    assert allocator.allocate("b", tokens(num_tokens)) == num_found
    allocator.check()


def test_nothing_is_found_when_prefix_caching_is_off():
    allocator = PagedAllocator(16, PAGE)
    allocator.allocate("a", tokens(48))
    assert allocator.allocate("b", tokens(48)) == 0


def test_found_pages_are_shared_and_not_taken():
    allocator = PagedAllocator(16, PAGE, prefix_caching=True)
    allocator.allocate("a", tokens(40))
    allocator.allocate("b", tokens(40))
    assert allocator.page_table("b")[:2] == allocator.page_table("a")[:2]
    assert allocator.page_table("b")[2] != allocator.page_table("a")[2]
    assert allocator.num_free_pages == 16 - 4


def test_generated_tokens_seal_pages_too():
    allocator = PagedAllocator(16, 4, prefix_caching=True)
    allocator.allocate("a", tokens(2))
    for token_id in range(2, 8):
        allocator.append("a", token_id)
    assert allocator.allocate("b", tokens(9)) == 8


@pytest.mark.parametrize("budget", [None, 4, 7])
@pytest.mark.parametrize("num_found", [0, 4, 8, 12])
def test_a_page_that_is_filled_later_is_found_after_all_pages_before_it_and_after_no_other(num_found, budget):
    allocator = PagedAllocator(32, 4, prefix_caching=True)
    allocator.allocate("came before", tokens(num_found + 1))
    assert allocator.allocate("a", tokens(14), budget=budget) == num_found
    while len(allocator.slots("a")) < 14:
        allocator.extend("a", budget)
    for token_id in (14, 15):
        allocator.append("a", token_id)
    assert allocator.find(tokens(17)) == 16
    last_page = tokens(16)[12:]
    for num_before in (0, 4, 8):
        assert allocator.find([*tokens(num_before), *last_page, 16]) == num_before


def test_with_late_seals_nothing_is_found_that_was_not_written():
    allocator = PagedAllocator(8, PAGE, prefix_caching=True, seal_late=True)
    allocator.allocate("a", tokens(32))
    assert allocator.allocate("b", tokens(33)) == 0, "nobody said that it was written"
    allocator.seal("a")
    assert allocator.allocate("c", tokens(33)) == 32
    for number in range(100, 114):
        allocator.append("c", number)
    allocator.seal("c")
    allocator.append("c", 114)
    for seq_id in ("a", "b", "c"):
        allocator.free(seq_id)
    allocator.check()
    question = [*tokens(33), *range(100, 120)]
    assert allocator.allocate("d", question) == 32, "the page of the last token was not written"


def test_late_seals_go_to_the_parent_of_a_fork():
    allocator = PagedAllocator(8, PAGE, prefix_caching=True, seal_late=True)
    allocator.allocate("a", tokens(32))
    allocator.fork("a", "b")
    allocator.seal("b")
    assert allocator.allocate("c", tokens(33)) == 0
    allocator.seal("a")
    allocator.seal("a")
    assert allocator.allocate("d", tokens(33)) == 32
    allocator.check()


def test_the_same_page_after_another_prefix_is_another_page():
    allocator = PagedAllocator(16, 4, prefix_caching=True)
    allocator.allocate("a", [1, 2, 3, 4, 5, 6, 7, 8])
    assert allocator.allocate("b", [9, 9, 9, 9, 5, 6, 7, 8, 0]) == 0
    assert allocator.allocate("c", [5, 6, 7, 8, 0]) == 0


def test_a_page_that_is_not_full_is_never_found():
    allocator = PagedAllocator(16, 4, prefix_caching=True)
    allocator.allocate("a", tokens(7))
    assert allocator.allocate("b", tokens(9)) == 4


def test_free_cached_pages_count_as_free_and_are_revived_by_a_hit():
    allocator = PagedAllocator(8, 4, prefix_caching=True)
    allocator.allocate("a", tokens(8))
    table = allocator.page_table("a")
    allocator.free("a")
    assert allocator.num_free_pages == 8
    assert account(allocator.memory_map(), {}).cached == 8
    assert allocator.allocate("b", tokens(9)) == 8
    assert allocator.page_table("b")[:2] == table
    assert allocator.num_free_pages == 5


def test_a_sequence_loses_its_tail_before_its_head():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("a", tokens(16))
    allocator.free("a")
    allocator.allocate("b", tokens(4, first=100))
    allocator.free("b")
    assert allocator.allocate("c", tokens(13)) == 12


def test_the_least_recently_used_prefix_is_evicted_first():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    for seq_id, first in (("old", 0), ("new", 100)):
        allocator.allocate(seq_id, tokens(8, first))
        allocator.free(seq_id)
    assert allocator.allocate("old again", tokens(5)) == 4
    allocator.free("old again")
    allocator.allocate("other", tokens(12, first=200))
    allocator.free("other")
    assert allocator.allocate("new", tokens(9, first=100)) == 0


def test_a_refused_prompt_with_hits_on_free_pages_leaves_everything_as_it_was():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("a", tokens(8))
    allocator.free("a")
    allocator.allocate("b", tokens(8, first=100))
    before = full_state(allocator, "b")
    with pytest.raises(CacheFullError, match="need 3 pages, 2 free"):
        allocator.allocate("c", tokens(9))
    assert full_state(allocator, "b") == before
    allocator.free("b")
    assert allocator.allocate("c", tokens(9)) == 8


def test_a_hit_on_a_page_in_use_needs_no_free_page():
    allocator = PagedAllocator(3, 4, prefix_caching=True)
    allocator.allocate("a", tokens(8))
    assert allocator.allocate("b", tokens(9)) == 8
    assert allocator.num_free_pages == 0


def test_duplicate_pages_serve_until_both_are_gone():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("a", tokens(4))
    allocator.allocate("b", tokens(4))
    assert allocator.page_table("a") != allocator.page_table("b")
    allocator.free("a")
    allocator.allocate("evicts a's page", tokens(12, first=100))
    assert allocator.num_free_pages == 0
    allocator.free("evicts a's page")
    assert allocator.allocate("c", tokens(5)) == 4
    assert allocator.page_table("c")[0] == allocator.page_table("b")[0]


def test_a_fork_that_diverges_is_found_under_its_own_tokens():
    allocator = PagedAllocator(16, 4, prefix_caching=True)
    allocator.allocate("a", tokens(6))
    allocator.fork("a", "b")
    for seq_id, token_ids in (("a", (6, 7)), ("b", (60, 70))):
        for token_id in token_ids:
            allocator.append(seq_id, token_id)
    assert allocator.allocate("like a", [*range(8), 8]) == 8
    assert allocator.allocate("like b", [*range(6), 60, 70, 8]) == 8
    assert allocator.page_table("like b")[:2] == allocator.page_table("b")


# Snapshots


def test_the_memory_map_shows_each_page_its_owners_and_its_tokens():
    allocator = PagedAllocator(6, 4, prefix_caching=True)
    allocator.allocate("gone", tokens(4, first=50))
    allocator.allocate("a", tokens(6))
    allocator.fork("a", "b")
    allocator.append("b", 6)
    allocator.free("gone")
    memory_map = allocator.memory_map()
    assert [(region.start_slot, region.num_tokens, region.seq_ids) for region in memory_map.regions] == [
        (0, 4, ()),
        (4, 4, ("a", "b")),
        (8, 2, ("a",)),
        (12, 3, ("b",)),
    ]
    assert memory_map.holes == ((16, 8),)
    assert account(memory_map, {"a": 1, "b": 0}).num_slots == allocator.num_slots


# Misuse


def test_unknown_sequences_are_named():
    allocator = PagedAllocator(2, 4)
    for call in (allocator.free, allocator.seal, allocator.page_table, allocator.slots):
        with pytest.raises(KeyError, match="no sequence 'ghost'"):
            call("ghost")
    with pytest.raises(KeyError, match="no sequence 'ghost'"):
        allocator.append("ghost", 1)
    with pytest.raises(KeyError, match="no sequence 'ghost'"):
        allocator.fork("ghost", "b")


def test_freeing_twice_is_an_error():
    allocator = PagedAllocator(2, 4)
    allocator.allocate("a", tokens(3))
    allocator.free("a")
    with pytest.raises(KeyError, match="no sequence 'a'"):
        allocator.free("a")
    allocator.check()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: a.allocate("a", [1]), ValueError, "seq_id 'a' is already allocated"),
        (lambda a: a.fork("a", "a"), ValueError, "child_id 'a' is already allocated"),
        (lambda a: a.allocate([], [1]), TypeError, r"seq_id must be hashable, got \[\]"),
        (lambda a: a.allocate("b", []), ValueError, "token_ids must hold at least one token, got none"),
        (lambda a: a.allocate("b", 5), TypeError, "token_ids must be an iterable of token ids, got 5"),
        (lambda a: a.allocate("b", "hello"), TypeError, "token_id must be a whole number, got 'h'"),
        (lambda a: a.allocate("b", [1, 2.0]), TypeError, "token_id must be a whole number, got 2.0"),
        (lambda a: a.allocate("b", [True]), TypeError, "token_id must be a whole number, got True"),
        (lambda a: a.allocate("b", [3, -1]), ValueError, "token_id must be at least 0, got -1"),
        (lambda a: a.allocate("b", [2**63]), ValueError, "token_id must be at most 9223372036854775807"),
        (lambda a: a.allocate("b", [1, 2], final_tokens=1), ValueError, "final_tokens must be at least"),
        (lambda a: a.append("a", 1.0), TypeError, "token_id must be a whole number, got 1.0"),
        (lambda a: a.append("a", -1), ValueError, "token_id must be at least 0, got -1"),
        (lambda a: a.append("a", 2**63), ValueError, "token_id must be at most"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call, error, message):
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("a", tokens(3))
    before = full_state(allocator, "a")
    with pytest.raises(error, match=message):
        call(allocator)
    assert full_state(allocator, "a") == before
    allocator.check()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 4), ValueError, "num_pages must be at least 1, got 0"),
        ((4, 0), ValueError, "page_size must be at least 1, got 0"),
        ((4, 16.0), TypeError, "page_size must be a whole number, got 16.0"),
        ((True, 16), TypeError, "num_pages must be a whole number, got True"),
        ((4, 2**60), ValueError, "page_size must be at most 33554432, got"),
        ((4, "16"), TypeError, "page_size must be a whole number, got '16'"),
    ],
)
def test_bad_sizes_are_named(arguments, error, message):
    for name in ("prefix_caching", "seal_late"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 'yes'"):
            PagedAllocator(4, 16, **{name: "yes"})
    with pytest.raises(error, match=message):
        PagedAllocator(*arguments)


def test_an_error_of_the_callers_own_generator_is_passed_on():
    def tokens_then_trouble():
        yield 1
        raise TypeError("my own trouble")

    allocator = PagedAllocator(4, 4)
    with pytest.raises(TypeError, match="my own trouble"):
        allocator.allocate("a", tokens_then_trouble())
    allocator.check()
    assert allocator.num_free_pages == 4


def test_a_generator_that_takes_the_same_id_meanwhile_is_refused():
    allocator = PagedAllocator(8, 4)

    def meddle():
        yield 1
        allocator.allocate("a", [7])

    with pytest.raises(ValueError, match="seq_id 'a' is already allocated"):
        allocator.allocate("a", meddle())
    allocator.check()
    assert allocator.num_free_pages == 7


def test_numpy_tokens_name_the_same_prefix_as_plain_ones():
    np = pytest.importorskip("numpy")
    allocator = PagedAllocator(8, 4, prefix_caching=True)
    allocator.allocate("a", np.arange(8, dtype=np.int32))
    allocator.append("a", np.int64(8))
    assert allocator.allocate("b", range(9)) == 8


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a._sequences["a"].page_table.append(3),
        lambda a: a._sequences["a"].page_table.append(a._sequences["a"].page_table[0]),
        lambda a: a._sequences["a"].tail.extend(range(4)),
        lambda a: a._sequences["a"].page_table.clear(),
        lambda a: a._sequences["a"].tail.append(3),
        lambda a: setattr(a._sequences["a"], "next_slot", 7),
        lambda a: a._sequences["a"].unsealed.append((3, b"key")),
        lambda a: a._pool.share(0),
    ],
)
def test_check_notices_a_spoilt_allocator(spoil):
    allocator = PagedAllocator(4, 4)
    allocator.allocate("a", tokens(3))
    allocator.check()
    spoil(allocator)
    with pytest.raises(AssertionError):
        allocator.check()


def test_two_tenants_with_the_same_prompt_and_different_salts_share_nothing():
    allocator = PagedAllocator(16, 4, prefix_caching=True)
    prompt = list(range(13))
    allocator.allocate("ours", prompt, cache_salt="us")
    assert allocator.allocate("theirs", prompt, cache_salt="them") == 0
    assert not set(allocator.page_table("ours")) & set(allocator.page_table("theirs"))
    assert allocator.allocate("again", prompt, cache_salt="us") == 12
    assert allocator.allocate("unsalted", prompt) == 0


def test_pages_that_a_salted_sequence_generates_are_salted_too():
    allocator = PagedAllocator(16, 4, prefix_caching=True)
    allocator.allocate("ours", [1, 2], cache_salt="us")
    for token_id in (3, 4, 5, 6, 7):
        allocator.append("ours", token_id)
    prompt = [1, 2, 3, 4, 5]
    assert allocator.allocate("theirs", prompt, cache_salt="them") == 0
    assert allocator.allocate("again", prompt, cache_salt="us") == 4


@pytest.mark.parametrize("prefix_caching", [True, False])
@pytest.mark.parametrize("cache_salt", [None, 7, b"us"])
def test_a_salt_is_a_string_and_nothing_changes_if_it_is_not(cache_salt, prefix_caching):
    allocator = PagedAllocator(4, 4, prefix_caching=prefix_caching)
    before = allocator.memory_map()
    with pytest.raises(TypeError, match="cache_salt must be a string, got"):
        allocator.allocate("a", [1, 2], cache_salt=cache_salt)
    assert allocator.memory_map() == before
    allocator.allocate("a", [1, 2])


def test_a_cache_that_was_reset_finds_nothing_and_keeps_all_pages():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("a", range(9))
    allocator.free("a")
    assert account(allocator.memory_map(), {}).cached == 8
    order = list(allocator._pool._free)
    allocator.reset_cache()
    assert account(allocator.memory_map(), {}).free == 16
    assert list(allocator._pool._free) == order
    allocator.check()
    assert allocator.allocate("a", range(9)) == 0


def test_a_cache_is_not_reset_while_a_sequence_is_held():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("a", range(9))
    with pytest.raises(RuntimeError, match="reset_cache needs an allocator without sequences, got 'a'"):
        allocator.reset_cache()
    allocator.free("a")
    assert allocator.allocate("b", range(9)) == 8


def test_the_cached_pages_are_listed_in_the_order_of_their_eviction():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("A", range(8))
    allocator.allocate("B", range(20, 28))
    allocator.free("A")
    allocator.free("B")
    assert allocator.cached_pages == [1, 0, 3, 2]
    allocator.allocate("A", range(8))
    assert allocator.page_table("A") == [0, 1]
    assert allocator.cached_pages == [3, 2]
    allocator.free("A")
    assert allocator.cached_pages == [3, 2, 1, 0]
    for page_id in [3, 2, 1, 0]:
        assert allocator.cached_pages[0] == page_id
        allocator.allocate(page_id, [page_id])
    assert allocator.cached_pages == []


def test_a_page_that_never_was_full_is_free_and_not_cached():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("A", range(7))
    allocator.free("A")
    assert allocator.cached_pages == [0]


# Prompts in pieces


def pieces(num_tokens, budget, **options):
    """An allocator that was given the first piece of a prompt "a"."""
    allocator = PagedAllocator(8, 4, prefix_caching=True, **options)
    allocator.allocate("a", tokens(num_tokens), budget=budget)
    return allocator


def test_a_piece_takes_only_the_pages_of_its_own_tokens():
    allocator = pieces(14, budget=5)
    assert (allocator.page_table("a"), allocator.num_free_pages) == ([0, 1], 6)
    assert allocator.slots("a") == tokens(5)
    assert allocator.extend("a", 3) == 8
    assert allocator.page_table("a") == [0, 1]
    assert allocator.extend("a", 100) == 14
    assert allocator.page_table("a") == [0, 1, 2, 3]
    assert allocator.append("a", 14) == Append(slot=14, copy=None)
    allocator.check()


def test_a_prompt_in_pieces_ends_as_a_whole_one_does():
    for budget in range(1, 15):
        whole, allocator = pieces(14, budget=None), pieces(14, budget=budget)
        while len(allocator.slots("a")) < 14:
            allocator.extend("a", budget)
        assert full_state(allocator, "a") == full_state(whole, "a")
        assert allocator.find(tokens(13)) == whole.find(tokens(13)) == 12


def test_only_what_is_stored_of_a_prompt_can_be_found():
    allocator = pieces(14, budget=9)
    assert allocator.allocate("b", tokens(14)) == 8


def test_a_budget_counts_only_tokens_that_were_not_found():
    allocator = pieces(14, budget=9)
    assert allocator.allocate("b", tokens(14), budget=3) == 8
    assert len(allocator.slots("b")) == 11


def test_no_room_is_kept_for_later_pieces_and_a_refused_piece_changes_nothing():
    allocator = pieces(32, budget=4)
    allocator.allocate("b", tokens(20, first=100))
    before = full_state(allocator, "a", "b")
    for _ in range(2):
        with pytest.raises(CacheFullError, match="need 3 pages, 2 free"):
            allocator.extend("a", 9)
    assert full_state(allocator, "a", "b") == before
    assert allocator.extend("a", 8) == 12


def test_a_sequence_may_end_before_its_prompt_does():
    allocator = pieces(14, budget=6)
    allocator.free("a")
    assert (allocator.num_free_pages, allocator.cached_pages) == (8, [0])


@pytest.mark.parametrize("budget", [4, 5])
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: a.extend("a", 0), ValueError, "budget must be at least 1, got 0"),
        (lambda a: a.extend("a", 2.0), TypeError, "budget must be a whole number, got 2.0"),
        (lambda a: a.extend("b", 1), KeyError, "no sequence 'b'"),
        (lambda a: a.extend("whole", 1), ValueError, "seq_id 'whole' has its whole prompt"),
        (lambda a: a.allocate("b", [1], budget=0), ValueError, "budget must be at least 1, got 0"),
        (lambda a: a.allocate("b", [1], budget=True), TypeError, "budget must be a whole number, got True"),
        (lambda a: a.append("a", 1), ValueError, "seq_id 'a' needs its whole prompt first, [56] tokens"),
        (lambda a: a.fork("a", "b"), ValueError, "parent_id 'a' needs its whole prompt first, [56] tokens"),
    ],
)
def test_misuse_of_pieces_is_named_and_changes_nothing(budget, call, error, message):
    allocator = pieces(10, budget=budget)
    allocator.allocate("whole", [7])
    before = full_state(allocator, "a", "whole")
    with pytest.raises(error, match=message):
        call(allocator)
    assert full_state(allocator, "a", "whole") == before
    allocator.check()


def test_with_late_seals_a_piece_is_found_when_it_is_written():
    allocator = pieces(14, budget=9, seal_late=True)
    assert allocator.find(tokens(14)) == 0
    allocator.seal("a")
    assert allocator.find(tokens(14)) == 8
    allocator.extend("a", 9)
    assert allocator.find(tokens(14)) == 8
    allocator.seal("a")
    assert allocator.find(tokens(14)) == 12


# What a page is named after


def test_a_salt_that_spells_the_name_of_a_page_is_not_taken_for_it():
    keys = PageKeys(16)
    first, second = tokens(16), tokens(16, first=100)
    for name in (b"", b"page", b"root"):
        spelled = name + keys.root("tenant") + pack("<16q", *first)
        allocator = PagedAllocator(64, 16, prefix_caching=True)
        allocator.allocate("a", [*first, *second, 7], cache_salt="tenant")
        for salt in (spelled.decode("latin-1"), spelled.decode("utf-8", "surrogateescape")):
            assert allocator.find([*second, 7], cache_salt=salt) == 0


def test_prompts_are_shared_only_if_all_parts_of_their_keys_are_equal():
    allocator = PagedAllocator(64, 4, prefix_caching=True)
    parts = [
        {},
        {"cache_salt": "us"},
        {"key_parts": {"lora": "us"}},
        {"key_parts": {"lora": "us", "image": "3f"}},
        {"key_parts": {"lora": "us', 'image': '3f"}},
        {"key_parts": {"lora": "us"}, "cache_salt": "us"},
        {"key_parts": {"us": "lora"}},
        {"key_parts": {"lora": ""}},
    ]
    for number, each in enumerate(parts):
        assert allocator.allocate(number, tokens(9), **each) == 0
    for each in parts:
        assert allocator.find(tokens(9), **each) == 8
    assert allocator.find(tokens(9), key_parts={"image": "3f", "lora": "us"}) == 8


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ("lora", TypeError, "key_parts must be texts by name, got 'lora'"),
        ({"lora": 7}, TypeError, "key_parts must be texts by name, got 'lora': 7"),
        ({7: "lora"}, TypeError, "key_parts must be texts by name, got 7: 'lora'"),
        ({"cache_salt": "us"}, ValueError, "key_parts must leave cache_salt out"),
    ],
)
@pytest.mark.parametrize("prefix_caching", [True, False])
def test_parts_of_a_key_are_texts_and_nothing_changes_if_they_are_not(parts, error, message, prefix_caching):
    allocator = PagedAllocator(4, 4, prefix_caching=prefix_caching)
    before = allocator.memory_map()
    with pytest.raises(error, match=message):
        allocator.allocate("a", [1, 2], key_parts=parts)
    with pytest.raises(error, match=message):
        allocator.find([1, 2], key_parts=parts)
    assert allocator.memory_map() == before


class Masked(str):
    """A text that compares and prints itself as all its like do."""

    __slots__ = ()

    def __repr__(self):
        return "'***'"


def test_a_text_that_prints_itself_as_another_is_told_apart_by_what_is_in_it():
    np = pytest.importorskip("numpy")
    allocator = PagedAllocator(64, 4, prefix_caching=True)
    allocator.allocate("a", tokens(9), cache_salt=Masked("a"))
    allocator.allocate("b", tokens(9), key_parts={Masked("lora"): Masked("b")})
    assert allocator.find(tokens(9), cache_salt=Masked("b")) == 0
    assert allocator.find(tokens(9), cache_salt="***") == 0
    assert allocator.find(tokens(9), cache_salt=np.str_("a")) == 8
    assert allocator.find(tokens(9), key_parts={"lora": "b"}) == 8


def test_few_tokens_on_a_huge_page_are_listed_at_once():
    allocator = PagedAllocator(1, MAX_COUNT)
    allocator.allocate("a", tokens(3))
    assert allocator.slots("a") == [0, 1, 2]


# What a refusal counts


def test_a_copy_that_is_free_is_found_before_one_that_is_held_so_a_prompt_can_be_refused():
    allocator = PagedAllocator(4, 4, prefix_caching=True)
    allocator.allocate("a", tokens(4))
    allocator.allocate("b", tokens(4))  # the same page again, since a prompt's last token is never found
    allocator.allocate("c", [90])
    allocator.free("a")
    assert allocator.cached_pages == [0]
    allocator.allocate("d", [91])
    # The one free page is the copy that is found: taken for the hit, it is missing for the fifth token.
    with pytest.raises(CacheFullError, match="need 2 pages, 1 free"):
        allocator.allocate("e", tokens(5))
    allocator.free("c")
    assert allocator.allocate("e", tokens(5)) == 4
    assert allocator.page_table("e")[0] == 0
