"""Exercises of notebook 03: slots, pages, and where the analogy to an operating system stops."""

from functools import partial
from statistics import fmean

from paged_demo.course import nb03_trials as trials
from paged_demo.course.exercises.functions import FunctionExercise, read_finding
from paged_demo.course.exercises.kinds import ChoiceExercise, Misconception, NumberExercise, Remark
from paged_demo.paper.numbers import PAGE_SIZE

EXERCISES = (
    FunctionExercise(
        exercise_id="3.1",
        reference=trials.slot,
        cases=trials.slot_cases,
        tell=trials.tell_slot_case,
        draw=trials.draw_slot_case,
        insight="One division, one look-up, one multiplication: all that paging adds to finding a token.",
        hints=(
            "Which logical page is the token in, and which place does it have there? `divmod` gives both.",
            "The table gives the physical page. It begins at slot `page * page_size`.",
        ),
        mistakes=(
            Misconception(
                lambda page_table, position, page_size: position,
                "The table is not read",
                "This is the slot in a pool that begins with this sequence, all in one piece.",
            ),
            Misconception(
                lambda page_table, position, page_size: (
                    page_table[position // page_size] + position % page_size
                ),
                "A page is not a slot",
                "The number of a page counts pages. Its first slot is that number times the page size.",
            ),
            Misconception(
                lambda page_table, position, page_size: page_table[position // page_size] * page_size,
                "The place in the page is missing",
                "This is the first slot of the right page.",
            ),
            Misconception(
                lambda page_table, position, page_size: (
                    page_table[position % page_size] * page_size + position // page_size
                ),
                "Page and place are swapped",
                "`//` gives the page, and `%` the place in it.",
            ),
            Misconception(
                lambda page_table, position, page_size: page_table[0] * page_size + position,
                "Only the first page",
                "This goes on behind the first page, where another sequence's page may lie.",
            ),
        ),
    ),
    FunctionExercise(
        exercise_id="3.2",
        reference=trials.append,
        cases=trials.append_cases,
        tell=trials.tell_append_case,
        call=trials.call_append,
        read=trials.read_append,
        draw=trials.draw_append_case,
        insight=(
            "A page is taken when the token that starts it comes, so no page is ever held without a token in"
            " it, and the waste stays below one page."
        ),
        hints=(
            "Of which lengths does the next token start a page? Try 0, P - 1, P and P + 1.",
            "`num_tokens % page_size == 0` is true at 0, at P and at 2 P: then take the first of"
            " `free_pages`.",
        ),
        mistakes=(
            Misconception(
                trials.append_eagerly,
                "One page too early",
                "A page that becomes full does not need another yet: perhaps this was the last token.",
            ),
            Misconception(
                trials.append_beyond_the_page,
                "Into the neighbour's page",
                "Behind the last slot of a page lies a page of somebody else, whose keys and values would be"
                " lost.",
            ),
            Misconception(
                trials.append_without_taking,
                "No page is taken",
                "When all pages are full, there is no entry of the table to look up: a page has to be taken"
                " first.",
            ),
            Misconception(
                trials.append_but_not_the_first,
                "The first token",
                "An empty sequence has no page either: 0 is a multiple of the page size, too.",
            ),
            Misconception(
                trials.append_a_page_a_token,
                "A page for every token",
                "The last page has room until it is full. Only the token that finds it full starts a new"
                " one.",
            ),
        ),
    ),
    FunctionExercise(
        exercise_id="3.3",
        reference=trials.provoke,
        cases=lambda: (trials.NUM_POOL_PAGES,),
        tell=lambda num_pages: f"a pool of {num_pages} pages",
        call=trials.call_provoke,
        read=partial(read_finding, expected="the pages of two sequences were"),
        insight=(
            "Two sequences now write to one page, and each reads the other's tokens. The mistake shows only"
            f" two takes later. The package's `PagePool` stops at the second release: `{trials.refusal()}`."
        ),
        hints=(
            "Release a page twice. How often does it stand in the queue of free pages then?",
            "The queue gives out the page that has been free longest. Another page stands before the two.",
        ),
        mistakes=(
            Misconception(
                trials.release_once,
                "Freed once only",
                "Freed once, a page stands in the queue once, and one sequence gets it.",
            ),
            Misconception(
                trials.share_by_hand,
                "Shared by hand",
                "Here the pool did nothing wrong: the function used one page twice. That is sharing, and a"
                " later notebook does it with a count of the holders.",
            ),
            Misconception(
                trials.use_after_free,
                "Used after it was freed",
                "Also a bug, and a relative: the first sequence goes on with a page that it gave back. The"
                " question is how the pool itself comes to give one page to two.",
            ),
            Misconception(
                trials.release_twice_and_stop,
                "One take too few",
                "The page stands in the queue twice, but behind the other page: take on.",
            ),
        ),
    ),
    NumberExercise(
        exercise_id="3.4",
        compute=lambda: fmean(-length % PAGE_SIZE for length in range(1, 64 * PAGE_SIZE + 1)),
        insight="{expected} slots: each of 0 to 15 equally often. It does not grow with the sequence.",
        hints=(
            "How many slots of the last page are empty at lengths 1, 2, 15, 16 and 17?",
            "0 to 15 slots, all equally likely if lengths are.",
        ),
        mistakes=(
            Misconception(
                PAGE_SIZE / 2,
                "Half a page",
                "Nearly. The last page is never empty: it has 0 to 15 empty slots, not 0 to 16.",
            ),
            Misconception(
                PAGE_SIZE,
                "A whole page",
                "A page without a token is not held. The waste is always less than a page.",
            ),
            Misconception(
                PAGE_SIZE - 1,
                "The worst case",
                "So much is lost just after a page was started. The mean is asked for.",
            ),
            Misconception(
                0,
                "Paging removes all waste",
                "The last page remains: a sequence of 17 tokens holds 32 slots.",
            ),
        ),
    ),
    ChoiceExercise(
        exercise_id="3.5",
        right_letters="bde",
        num_statements=6,
        insight="The idea is the table. Who fills it, when, and who reads it are different.",
        hints=(
            "Three of the six are false. Who translates an address in a processor, and who does it here?",
            "What happens in an operating system when a page is not there? When does the scheduler take"
            " pages?",
        ),
        remarks={
            "a": Remark(
                "This one holds",
                "A sequence counts its tokens from 0 in one run, wherever its pages lie. So does a process"
                " with its addresses.",
            ),
            "b": Remark(
                "There are no page faults",
                "The scheduler takes a page before the token is computed. The attention kernel never meets a"
                " page that is not there.",
            ),
            "c": Remark(
                "This one holds",
                "One entry for each page, and the same division into page and offset.",
            ),
            "d": Remark(
                "A page is not 4 KiB",
                "16 tokens of OPT-13B are 12.5 MiB. A page is counted in tokens, not in bytes.",
            ),
            "e": Remark(
                "No hardware translates",
                "A processor has a unit for it. Here the attention kernel itself reads the table, and that"
                " costs some time.",
            ),
            "f": Remark(
                "This one holds",
                "Two tables may name one page, until one of them writes to it. That is `fork` in both"
                " worlds.",
            ),
        },
    ),
)
