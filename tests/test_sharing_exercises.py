"""The exercises of notebook 05 are held against the package, and tell the smallest counter-example."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from amounts import amount

from paged_demo import PagedAllocator
from paged_demo.allocators.studies import ask_with_prefix, sample_in_parallel
from paged_demo.course import check
from paged_demo.course import nb05_exercises as sharing
from paged_demo.course import nb05_writes as writes
from paged_demo.course.exercises.kinds import EXERCISES

SOON = replace(EXERCISES["5.3"], cases=lambda: islice(writes.write_cases(), amount(short=80, long=None)))
"""5.3 for what is told of the first case that fails: to tell the mistakes apart, it needs all cases."""


def play(case):
    """Let the package's allocator live through a case of 5.3; return its tables and the last append."""
    allocator = PagedAllocator(writes.NUM_POOL_PAGES, case.page_size)
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


def test_the_write_that_is_asked_for_is_the_one_of_the_package():
    for case in writes.write_cases():
        written = writes.call_write(writes.write, case)
        tables, appended = play(case)
        assert written.tables == tables, str(case)
        assert (written.slot, written.copy) == appended, str(case)


def test_the_cases_of_the_write_fork_end_copy_and_write_in_place():
    cases = list(writes.write_cases())
    assert {step.name for case in cases for step in case.steps} == {"write", "fork", "free"}
    copies = [writes.call_write(writes.write, case).copy for case in cases]
    assert 10 < sum(copy is not None for copy in copies) < len(cases) - 10
    assert sum(len(case.steps) > 5 and "C" in str(case) for case in cases) > 5
    lengths = [len(case.steps) for case in cases]
    assert lengths == sorted(lengths)


def test_the_smallest_trace_that_fails_is_told_and_drawn():
    verdict = SOON.judge(writes.written_into_a_shared_page)
    case = "A prompt of 1 token in pages of 2; then B is forked from A, then A writes."
    assert f"{case} Expected: slot 3; copy (0, 1); tables {{'A': [1], 'B': [0]}};" in verdict.words
    assert "Yours: slot 1; copy None; tables {'A': [0], 'B': [0]};" in verdict.words
    picture = verdict.draw()
    assert picture.words == "A pool of 8 pages of 2. The expected slot is 3, yours 1."
    assert picture.png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (writes.the_old_page_is_not_counted_less, "counts [1, 1, 0, 0, 0, 0, 0, 0]. Yours: counts [2,"),
        (writes.the_table_names_the_old_page, "tables {'A': [1], 'B': [0]}. Yours: tables {'A': [0],"),
        (writes.the_old_page_is_given_back, "free pages [2, 3, 4, 5, 6, 7]. Yours: free pages [2,"),
    ],
)
def test_of_a_wrong_write_only_what_is_wrong_is_told(mistake, told):
    difference = SOON.judge(mistake).words.partition("then A writes. ")[2]
    assert difference.startswith(f"Expected: {told}")
    assert "slot" not in difference


def test_the_first_write_that_goes_wrong_is_the_last_one_told():
    def forget_the_others(table, num_tokens, counts, free_pages, page_size):
        slot, copy = writes.write(table, num_tokens, counts, free_pages, page_size)
        if copy:
            counts[copy[0]] = 1
        return slot, copy

    assert check("5.3", forget_the_others).words == (
        "A prompt of 1 token in pages of 2; then B is forked from A, then C is forked from A, then A writes."
        " Expected: counts [2, 1, 0, 0, 0, 0, 0, 0]. Yours: counts [1, 1, 0, 0, 0, 0, 0, 0]."
    )


@pytest.mark.parametrize("wrong_after", range(1, 7))
def test_a_write_that_goes_wrong_only_at_one_length_is_found_in_the_first_write(wrong_after):
    def write(table, num_tokens, counts, free_pages, page_size):
        slot, copy = writes.write(table, num_tokens, counts, free_pages, page_size)
        return slot + (num_tokens == wrong_after), copy

    case = f"A prompt of {wrong_after} token{'s' * (wrong_after > 1)} in pages of 2; then A writes."
    assert check("5.3", write).words.startswith(f"{case} Expected: slot ")


def test_what_differs_is_told_in_full():
    def forget_a_page(table, num_tokens, counts, free_pages, page_size):
        slot, copy = writes.write(table, num_tokens, counts, free_pages, page_size)
        if len(table) > 3:
            counts.extend(range(20))
        return slot, copy

    assert check("5.3", forget_a_page).words.endswith(f"{str(list(range(20)))[1:]}.")


@pytest.mark.parametrize("junk", [np.zeros(2), "x", None, object()])
def test_whatever_an_answer_puts_into_the_lists_is_told(junk):
    def write(table, num_tokens, counts, free_pages, page_size):
        counts[0] = junk
        return writes.write(table, num_tokens, counts.copy(), free_pages, page_size)

    def free(table, counts, free_pages):
        free_pages[0] = junk
        return free_pages

    for exercise_id, answer in (("5.3", write), ("5.4", free)):
        verdict = check(exercise_id, answer)
        assert verdict.mark == "wrong"
        if junk is not None:  # the picture is of the pool before it, the same for all
            verdict = replace(verdict, draw=amount(short=None, long=verdict.draw))
        assert len(verdict._repr_html_()) > 100


def test_a_list_that_was_made_anew_is_not_the_one_that_was_to_be_changed():
    def free(table, counts, free_pages):
        return free_pages + sharing.free(table, counts, [])

    words = check("5.4", free).words
    assert "it returned another list, [1, 0]. Change the list `free_pages` in place, and return it." in words


@pytest.mark.parametrize(("free", "num_free"), [(sharing.free, 13), (sharing.freed_while_others_hold_it, 19)])
def test_two_of_five_samples_leave_three_pages_held_and_the_mistake_of_notebook_05_frees_six(free, num_free):
    counts, free_pages = [5] * 3 + [0] * 13, list(range(3, 16))
    for _ in range(2):
        free([0, 1, 2], counts, free_pages)
    assert counts[:3] == [3, 3, 3]
    assert len(free_pages) == num_free


def test_the_hit_that_is_asked_for_is_the_one_of_the_package():
    for num_tokens, page_size in sharing.hit_cases():
        allocator = PagedAllocator(2 * num_tokens, page_size, prefix_caching=True)
        allocator.allocate("first", range(num_tokens))
        found = allocator.allocate("second", range(num_tokens))
        assert found == sharing.hit(num_tokens, page_size), (num_tokens, page_size)


def test_the_prompts_of_7_and_8_hold_what_the_right_letter_says():
    held = [sample_in_parallel(num_tokens, 2, page_size=4) for num_tokens in (7, 8)]
    assert [(pool.num_pages, len(pool.copies)) for pool in held] == [(3, 1), (4, 0)]
    assert [pool.num_pages_unshared for pool in held] == [4, 6]


def test_what_the_exercise_on_page_sizes_says_of_100_tokens_is_so():
    remark = EXERCISES["5.2"].remarks["a"].diagnosis
    of_16, of_128 = (ask_with_prefix(100, 2, page_size=size).num_found for size in (16, 128))
    assert f"six pages of 16, which are {of_16}" in remark
    assert of_16 == 6 * 16
    assert "no page of 128" in remark
    assert of_128 == 0
