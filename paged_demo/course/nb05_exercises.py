"""Exercises of notebook 05: what samples share, the write that parts them, and what prompts find."""

from paged_demo.course import nb05_trials as trials
from paged_demo.course import nb05_write_mistakes as write_mistakes
from paged_demo.course import nb05_writes as write_trials
from paged_demo.course.exercises.functions import FunctionExercise
from paged_demo.course.exercises.kinds import ChoiceExercise, Misconception, Remark

EXERCISES = (
    ChoiceExercise(
        exercise_id="5.1",
        right_letters="b",
        num_statements=4,
        insight=(
            "The prompt of 8 copies nothing, and holds one page more: with the first token of its own each"
            " sample starts a page."
        ),
        hints=(
            "Count the full pages of the prompt: they stay shared. Then one page for each sample.",
            "7 tokens fill one page, 8 fill two. After that, each sample has one page of its own.",
        ),
        remarks={
            "a": Remark(
                "Each its own",
                "Two sequences hold so many without sharing. The full pages of the prompt are held once.",
            ),
            "c": Remark(
                "The page that was started",
                "With 8 tokens both pages of the prompt are full. The ninth token starts another one, in each"
                " sample.",
            ),
            "d": Remark(
                "Copied though it is full",
                "A full page is never written to again, so nobody has to copy it.",
            ),
        },
    ),
    FunctionExercise(
        exercise_id="5.2",
        reference=write_trials.write,
        cases=write_trials.write_cases,
        tell=write_trials.tell_write_case,
        call=write_trials.call_write,
        read=write_trials.read_write,
        draw=write_trials.draw_write_case,
        insight=(
            "At most one page is copied, however long the prefix: only the last page of a sequence is ever"
            " written to."
        ),
        hints=(
            "There are three cases: the token starts a page; the last page is shared; it is not.",
            "A shared last page: take a page, count it 1, count the old one less, put the new one into the"
            " table.",
        ),
        mistakes=(
            Misconception(
                write_mistakes.write_in_place,
                "Written into a shared page",
                "Another sequence reads this page. Its next token comes to the same slot.",
            ),
            Misconception(
                write_mistakes.write_to_a_copy_always,
                "The last owner copies too",
                "Whoever holds a page alone can write in place: look at its count.",
            ),
            Misconception(
                write_mistakes.write_and_keep_the_count,
                "The old page is not counted less",
                "It has one holder less now. Otherwise it will never be free.",
            ),
            Misconception(
                write_mistakes.write_and_keep_the_table,
                "The table names the old page",
                "The token went to the copy, and the sequence goes on reading the page it was copied from.",
            ),
            Misconception(
                write_mistakes.write_and_swap_the_pair,
                "The pair is turned round",
                "The old page comes first, then its copy: that is the way in which the numbers are copied.",
            ),
            Misconception(
                write_mistakes.write_and_free_the_old_page,
                "The old page is given back",
                "Others go on reading it. It is free when its count comes down to 0, and here it never does.",
            ),
            Misconception(
                write_mistakes.write_to_the_last_free_page,
                "The wrong end of the queue",
                "The page that is next to be taken stands first in `free_pages`: `pop(0)`.",
            ),
            Misconception(
                write_mistakes.write_to_a_copy_of_all,
                "The prefix is copied",
                "Full pages are only read. It is enough to copy the page that is written to.",
            ),
            Misconception(
                write_mistakes.write_to_a_copy_of_a_full_page,
                "A full page is copied",
                "The token starts a page of its own. The full one stays shared.",
            ),
            Misconception(
                write_mistakes.write_over_a_copy,
                "The copy is overwritten",
                "The last page is full, so the token starts a page. In a copy of the full one it takes the"
                " place of another token. Which of the three cases has to be asked for first?",
            ),
        ),
    ),
    FunctionExercise(
        exercise_id="5.3",
        reference=trials.free,
        cases=trials.free_cases,
        tell=trials.tell_free_case,
        call=trials.call_free,
        read=trials.read_free,
        insight="A page goes back when its last holder leaves, and the count alone tells who that is.",
        hints=(
            "How often does a page stand in `free_pages` when two of its three holders have left?",
            "Append the page only when its count has come down to 0.",
        ),
        mistakes=(
            Misconception(
                trials.free_without_counting,
                "Freed while others hold it",
                "The count is lowered, and nobody looks at it: this is the mistake of `careless_free`.",
            ),
            Misconception(
                trials.free_only_what_is_alone,
                "The count stays",
                "A shared page keeps its count here, so it will never come down to 0.",
            ),
            Misconception(
                trials.free_the_head_first,
                "Head first",
                "The pages are right and their order is not. What is given back first is taken first, and a"
                " tail without its head is of use to nobody.",
            ),
            Misconception(
                trials.free_too_late,
                "One too late",
                "The count is looked at before it is lowered, so nothing is ever free.",
            ),
        ),
    ),
    FunctionExercise(
        exercise_id="5.4",
        reference=trials.hit,
        cases=trials.hit_cases,
        tell=trials.tell_hit_case,
        insight=(
            "At least one token is left to compute, since its output is the next token. Only whole pages are"
            " found; so where a prompt ends with a page, that one token costs the page."
        ),
        hints=(
            "The model has to run on at least one token of the prompt. How many can be found then, at most?",
            "Whole pages of n - 1 tokens.",
        ),
        mistakes=(
            Misconception(
                lambda num_tokens, page_size: num_tokens // page_size * page_size,
                "All whole pages",
                "If all tokens were found, nothing would be left to run the model on, and there would be no"
                " next token.",
            ),
            Misconception(
                lambda num_tokens, page_size: num_tokens - 1,
                "Parts of pages",
                "A page has a name only when it is full. What comes after the last full page is computed.",
            ),
            Misconception(
                lambda num_tokens, page_size: num_tokens,
                "Everything",
                "The last token is always computed, and only full pages are found.",
            ),
            Misconception(
                lambda num_tokens, page_size: (num_tokens - 1) // page_size,
                "Pages, not tokens",
                "This counts pages. Tokens are asked for.",
            ),
            Misconception(
                lambda num_tokens, page_size: max(num_tokens // page_size - 1, 0) * page_size,
                "A page too few",
                "If the last token lies in a page that is not full, all full pages are found.",
            ),
        ),
    ),
    ChoiceExercise(
        exercise_id="5.5",
        right_letters="acf",
        num_statements=6,
        insight="All three are one reason: a page is shared whole, or not at all.",
        hints=(
            "Three of the six are true. Try the two explorers at page sizes 4 and 64.",
            "What becomes of a common beginning that ends in the middle of a page?",
        ),
        remarks={
            "a": Remark(
                "This one holds",
                "100 tokens fill six pages of 16, which are 96 tokens. They fill no page of 128.",
            ),
            "b": Remark(
                "The hash is as good",
                "SHA-256 has 256 bits for a page of any size; two pages with one name are out of reach.",
            ),
            "c": Remark(
                "This one holds",
                "Up to a page less one token is copied: 15 tokens at 16, and 127 at 128.",
            ),
            "d": Remark(
                "A table entry is cheap",
                "An entry of a page table is a few bytes, and larger pages need fewer of them.",
            ),
            "e": Remark(
                "The beginning counts",
                "A page is named by all that comes before it. Where beginnings differ nothing is shared, at"
                " any size.",
            ),
            "f": Remark(
                "This one holds",
                "The page in which two prompts part is held by each of them, with all its common tokens.",
            ),
        },
    ),
)
