"""Exercises of notebook 04: fetch through a table, walk with an online softmax, tell Flash from Paged."""

from functools import partial

import numpy as np

from paged_demo.course import nb04_trials as trials
from paged_demo.course.exercises.functions import FunctionExercise
from paged_demo.course.exercises.kinds import ChoiceExercise, Misconception, NumberExercise, Remark
from paged_demo.model import OPT_13B
from paged_demo.paper.numbers import PAGE_SIZE

TABLE_ENTRY_BYTES = 4


def table_share(page_size: int, kv_bytes_per_token: float) -> float:
    """Return the bytes of page table for each byte of KV cache."""
    return TABLE_ENTRY_BYTES / (page_size * kv_bytes_per_token)


EXERCISES = (
    FunctionExercise(
        exercise_id="4.1",
        reference=trials.gather,
        cases=trials.gather_cases,
        tell=trials.tell_gather_case,
        call=trials.call_gather,
        read=trials.read_pair,
        insight="The table is looked up for each token, and the numbers come as they were written.",
        hints=(
            "Make an array of the positions first. Where does each lie: which logical page, which offset?",
            "`np.divmod(np.arange(first, last), store.page_size)` gives both, and the table the pages.",
        ),
        mistakes=(
            Misconception(
                lambda store, table, first, last: trials.fetch(
                    store, table, np.arange(first // store.page_size * store.page_size, last)
                ),
                "From the start of the page",
                "The first position may lie in the middle of a page: begin at its offset.",
            ),
            Misconception(
                lambda store, table, first, last: trials.fetch(
                    store, table, first // store.page_size * store.page_size + np.arange(last - first)
                ),
                "From offset 0 of the page",
                "These are as many tokens as asked for, from the start of the page that holds the first.",
            ),
            Misconception(
                lambda store, table, first, last: trials.fetch(store, table, np.arange(first, last + 1)),
                "One token too many",
                "`last` is not included, as in a slice.",
            ),
            Misconception(
                lambda store, table, first, last: trials.fetch(store, [0, 1, 2, 3], np.arange(first, last)),
                "The table is not read",
                "Logical page 0 lies where the table says, not in physical page 0.",
            ),
            Misconception(
                lambda store, table, first, last: trials.fetch(store, table, np.arange(last - first)),
                "From the first token",
                "These are as many tokens as asked for, counted from the start of the sequence.",
            ),
        ),
    ),
    FunctionExercise(
        exercise_id="4.2",
        reference=trials.make_step(),
        cases=lambda: trials.PAGES_OF_SCORES,
        tell=trials.tell_step_case,
        call=trials.call_step,
        read=trials.read_output,
        insight=(
            "Whatever came before is known only relative to the highest score, so one factor mends it all."
            " `exp(-inf)` is 0: the first page is no special case."
        ),
        hints=(
            "Take the highest of all scores so far, this page included. What were the sums relative to?",
            "Multiply both sums by `np.exp(highest - higher)` before this page is added.",
        ),
        mistakes=(
            Misconception(
                trials.make_step(lambda highest, of_page: 0.0, rescales_weights=False, rescales_values=False),
                "The highest score is not subtracted",
                "`exp(1000)` is infinite in floating point, and infinity divided by infinity is NaN.",
            ),
            Misconception(
                trials.make_step(rescales_weights=False, rescales_values=False),
                "Nothing is rescaled",
                "The earlier pages now count as if their best score were as high as the best of all.",
            ),
            Misconception(
                trials.make_step(rescales_values=False),
                "One sum of two",
                "Both sums are relative to the highest score, so both are to be multiplied.",
            ),
            Misconception(
                trials.make_step(lambda highest, of_page: of_page),
                "The highest of this page only",
                "A later page may have lower scores: the highest so far must not fall.",
            ),
        ),
    ),
    ChoiceExercise(
        exercise_id="4.3",
        right_letters="ac",
        num_statements=4,
        insight=(
            "A sum over tokens has no order, so full pages may come in any. How many slots of a page hold a"
            " token is told by its place alone: only the last may be part empty."
        ),
        hints=("The output is a sum over tokens. What does the kernel know of their order?", "Two are true."),
        remarks={
            "a": Remark("A sum has no order", "Positions matter to a model, and went into the keys before."),
            "b": Remark("Not the order", "The same tokens are added up: only the rounding may differ."),
            "c": Remark(
                "Unwritten slots",
                "The kernel reads all of the page that now comes first: three NaN.",
            ),
            "d": Remark("The last page is special", "Only its first five slots were ever written."),
        },
    ),
    ChoiceExercise(
        exercise_id="4.4",
        right_letters="ad",
        num_statements=5,
        insight=(
            "Flash is about how the scores are computed, Paged about where keys and values lie. Engines use"
            " FlashAttention kernels that read page tables."
        ),
        hints=("One of the two methods is about memory traffic in the kernel.", "Two of the five are Paged."),
        remarks={
            "a": Remark("Anywhere in memory", "That is what the table is for."),
            "b": Remark("That is Flash", "Not to write the scores down is about the kernel."),
            "c": Remark("Neither", "Both compute the exact softmax, up to rounding."),
            "d": Remark("The batch", "Pages taken when needed leave room for other requests."),
            "e": Remark("Not instead", "They answer different questions, and work together."),
        },
    ),
    NumberExercise(
        exercise_id="4.5",
        compute=partial(table_share, PAGE_SIZE, OPT_13B.kv_bytes_per_token),
        tolerance=0.02,
        insight="{expected:.1e}: tables cost no memory to speak of. What small pages cost is time.",
        hints=(
            "How many bytes of keys and values lie behind one entry of the table?",
            "A page is 16 tokens of 819,200 bytes.",
        ),
        mistakes=(
            Misconception(
                partial(table_share, 1, OPT_13B.kv_bytes_per_token),
                "An entry for each token",
                "One entry serves a whole page: 16 tokens.",
            ),
            Misconception(
                partial(table_share, PAGE_SIZE, OPT_13B.kv_bytes_per_token / OPT_13B.num_layers),
                "A table for each layer",
                "A token has the same slot in all layers, so one table serves them all.",
            ),
            Misconception(
                lambda: 1 / table_share(PAGE_SIZE, OPT_13B.kv_bytes_per_token),
                "Upside down",
                "This is cache per byte of table. The question is about table per byte of cache.",
            ),
        ),
    ),
)
