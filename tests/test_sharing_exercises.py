"""The exercises of notebook 05 are held against the package, and tell the smallest counter-example."""

import re

import pytest

from paged_demo import PagedAllocator
from paged_demo.allocators.sharing import ask_with_prefix, sample_in_parallel
from paged_demo.exercises import check, sharing_trials, write_trials
from paged_demo.exercises.course import EXERCISES


def play(case):
    """Let the package's allocator live through a case of 5.2; return its tables and the last append."""
    allocator = PagedAllocator(write_trials.NUM_POOL_PAGES, case.page_size)
    allocator.allocate("A", range(case.num_prompt_tokens))
    appended, held = None, {"A"}
    for step in case.steps:
        if step.name == "write":
            appended = allocator.append(step.seq_id, 0)
        elif step.name == "fork":
            allocator.fork(step.seq_id, step.child_id)
            held.add(step.child_id)
        else:
            allocator.free(step.seq_id)
            held.remove(step.seq_id)
    return {seq_id: allocator.page_table(seq_id) for seq_id in held}, appended


@pytest.mark.parametrize("case", list(write_trials.write_cases()), ids=write_trials.tell_write_case)
def test_the_write_that_is_asked_for_is_the_one_of_the_package(case):
    written = write_trials.call_write(write_trials.write, case)
    tables, appended = play(case)
    assert written.tables == tables
    assert (written.slot, written.copy) == appended


def test_the_cases_of_the_write_fork_end_copy_and_write_in_place():
    cases = list(write_trials.write_cases())
    assert {step.name for case in cases for step in case.steps} == {"write", "fork", "free"}
    copies = [write_trials.call_write(write_trials.write, case).copy for case in cases]
    assert 10 < sum(copy is not None for copy in copies) < len(cases) - 10


def test_the_smallest_trace_that_fails_is_told_and_drawn():
    verdict = check("5.2", write_trials.write_in_place)
    assert "For a prompt of 2 in pages of 4, then: B is forked from A, A writes," in verdict.words
    picture = verdict.draw()
    assert picture.words == "A pool of 8 pages of 4. The expected slot is 6, yours 2."
    assert picture.png.startswith(b"\x89PNG")


def test_a_pool_in_which_nobody_counts_reports_more_free_pages_than_it_has():
    tables = [[0, 1, 2] for _ in range(3)]
    counts, free_pages = [3] * 3 + [0] * 13, list(range(3, 16))
    for table in tables[:2]:
        sharing_trials.free_without_counting(table, counts, free_pages)
    assert sum(map(len, tables)) == 9
    assert len(free_pages) == 19


@pytest.mark.parametrize("case", list(sharing_trials.hit_cases()), ids=sharing_trials.tell_hit_case)
def test_the_hit_that_is_asked_for_is_the_one_of_the_package(case):
    allocator = PagedAllocator(2 * case.num_tokens, case.page_size, prefix_caching=True)
    allocator.allocate("first", range(case.num_tokens))
    assert allocator.allocate("second", range(case.num_tokens)) == sharing_trials.hit(*case)


def test_the_prompts_of_7_and_8_hold_what_the_right_letter_says():
    held = [sample_in_parallel(num_tokens, 2, page_size=4) for num_tokens in (7, 8)]
    assert [(pool.num_pages, len(pool.copies)) for pool in held] == [(3, 1), (4, 0)]
    assert [pool.num_pages_unshared for pool in held] == [4, 6]


def test_what_the_exercise_on_page_sizes_says_of_100_tokens_is_so():
    remark = EXERCISES["5.5"].remarks["a"].diagnosis
    assert re.search(r"100 tokens fill six pages of 16, which are 96 .* no page of 128", remark)
    assert [ask_with_prefix(100, 2, page_size=size).num_found for size in (16, 128)] == [96, 0]
