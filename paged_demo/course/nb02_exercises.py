"""Exercises of notebook 02: three wastes, and why an oracle does not help much."""

from functools import cache, partial
from statistics import fmean

import numpy as np

from paged_demo.allocators.placement import buddy
from paged_demo.course import nb02_trials as trials
from paged_demo.course.exercises.functions import FunctionExercise, read_finding
from paged_demo.course.exercises.kinds import Misconception, NumberExercise
from paged_demo.paper.numbers import MAX_TOKENS, NUM_SLOTS_13B
from paged_demo.serving.lengths import sharegpt
from paged_demo.serving.workload import Request

BUDDY_TOKENS = 530
UNIT_SLOTS = 16


@cache
def _requests() -> list[Request]:
    return sharegpt.sample(20_000, rng=np.random.default_rng(0))


def mean_at_the_door() -> float:
    """Return the tokens that a request has in the end, the mean over all that arrive."""
    return fmean(request.num_prompt_tokens + request.num_output_tokens for request in _requests())


def mean_in_flight() -> float:
    """Return the same, the mean over those in flight: each is met as often as it has output tokens."""
    weights = [request.num_output_tokens for request in _requests()]
    return fmean(
        (request.num_prompt_tokens + request.num_output_tokens for request in _requests()), weights=weights
    )


def mean_held_in_flight() -> float:
    """Return the tokens that a request in flight has so far: on average half of its output."""
    weights = [request.num_output_tokens for request in _requests()]
    return fmean(
        (request.num_prompt_tokens + (request.num_output_tokens + 1) / 2 for request in _requests()),
        weights=weights,
    )


EXERCISES = (
    FunctionExercise(
        exercise_id="2.1",
        reference=trials.classify,
        cases=trials.classify_cases,
        tell=trials.tell_slot_of_a_run,
        read=trials.read_word,
        insight=(
            "Three wastes, known at three times: rounding at once, reserved slots while the request runs,"
            " internal ones only when it has ended."
        ),
        hints=(
            "The slots of a run come in this order: those with a token, those that will get one, those that"
            " were asked for in vain, those that were never asked for.",
            "Compare `slot` with `num_tokens`, then with `final_tokens`, then with `num_reserved`.",
        ),
        mistakes=(
            Misconception(
                trials.call_all_waste_internal,
                "One word for all waste",
                "An empty slot may still be needed by this very request: then it is reserved. And what was"
                " never asked for is rounding.",
            ),
            Misconception(
                trials.call_all_waste_reserved,
                "Asked for is not needed",
                "Only the slots up to the final length will ever be written. Those behind it were asked for"
                " in vain: they are internal.",
            ),
            Misconception(
                trials.forget_rounding,
                "Rounding is forgotten",
                "Slots beyond what was asked for came from the allocator, which rounds up. Another allocator"
                " would not waste them, so they have a word of their own.",
            ),
            Misconception(
                trials.count_from_one,
                "Counted from one",
                "Slots count from 0: with 3 tokens the slots 0, 1 and 2 are used, and slot 3 is not.",
            ),
        ),
    ),
    FunctionExercise(
        exercise_id="2.2",
        reference=trials.fragment,
        cases=lambda: (trials.NUM_POOL_SLOTS,),
        tell=lambda num_slots: f"a pool of {num_slots} slots",
        call=trials.call_fragment,
        read=partial(read_finding, expected="a number of slots from 1 was"),
        insight=(
            "Enough is free, and none of the holes is long enough: external waste. Pages of one size cannot"
            " have it."
        ),
        hints=(
            "You need two holes, with something between them that stays.",
            "Place three runs, and release the first and the last. How much is free, and in how long a hole?",
        ),
        mistakes=(
            Misconception(
                trials.ask_a_full_pool,
                "Simply full",
                "A pool without free slots refuses everybody. The question is how one with enough free slots"
                " can.",
            ),
            Misconception(
                trials.ask_for_too_much,
                "More than is free",
                "Every pool refuses that, in however few pieces its free slots lie. Ask for what is free.",
            ),
            Misconception(
                trials.free_neighbours,
                "Neighbours merge",
                "Two holes side by side become one. Something has to stay between them.",
            ),
            Misconception(
                trials.release_nothing,
                "One hole only",
                "All that is free lies in one piece here, at the end. Holes come from runs that are"
                " released.",
            ),
        ),
    ),
    NumberExercise(
        exercise_id="2.3",
        compute=lambda: 100 * (NUM_SLOTS_13B % MAX_TOKENS) / NUM_SLOTS_13B,
        tolerance=0.007,
        insight=(
            "{expected:.3f} %, to the third decimal what Fig. 2 draws as Orca (Max)'s external"
            " fragmentation: the remnant of a division, whatever the workload."
        ),
        hints=(
            f"How many reservations of {MAX_TOKENS:,} fit into {NUM_SLOTS_13B:,} slots, and what is left?",
            f"`100 * ({NUM_SLOTS_13B} % {MAX_TOKENS}) / {NUM_SLOTS_13B}`",
        ),
        mistakes=(
            Misconception(
                (NUM_SLOTS_13B % MAX_TOKENS) / NUM_SLOTS_13B,
                "A share, not percent",
                "Right as a share of 1. In percent it is a hundred times that.",
            ),
            Misconception(
                NUM_SLOTS_13B % MAX_TOKENS,
                "Slots, not percent",
                "So many slots are left over. The question is their share of the pool.",
            ),
            Misconception(
                0,
                "No holes",
                "Equal reservations leave no holes between them. But the pool is no multiple of them: at its"
                " end is a remnant, too short for one more.",
            ),
            Misconception(
                100 * (NUM_SLOTS_13B % MAX_TOKENS) / (NUM_SLOTS_13B // MAX_TOKENS * MAX_TOKENS),
                "A share of the wrong whole",
                "This compares the remnant with the seven reservations. The question is its share of the"
                " pool.",
            ),
            Misconception(
                100 * MAX_TOKENS / NUM_SLOTS_13B,
                "One reservation",
                "This is the share of one reservation. The remnant is what is left after the last.",
            ),
        ),
    ),
    NumberExercise(
        exercise_id="2.4",
        compute=lambda: buddy(2 * MAX_TOKENS).place(BUDDY_TOKENS).num_slots,
        insight=(
            "{expected:,.0f}: a chunk can only be halved. With first fit it would be 530. Rounding, and not"
            " holes, is most of what the paper draws as external waste of Orca (Oracle)."
        ),
        hints=(
            "Which chunks can a buddy allocator give out, if each is half of the next?",
            "16, 32, 64 and so on. Which is the smallest that holds 530?",
        ),
        mistakes=(
            Misconception(
                BUDDY_TOKENS,
                "That is first fit",
                "First fit gives exactly what is asked for. A buddy allocator has chunks of fixed sizes.",
            ),
            Misconception(
                -(-BUDDY_TOKENS // UNIT_SLOTS) * UNIT_SLOTS,
                "Units only",
                "Rounding up to units of 16 is the first step. Then the number of units becomes a power of"
                " two.",
            ),
            Misconception(512, "Rounded down", "512 slots do not hold 530 tokens."),
            Misconception(
                MAX_TOKENS,
                "The largest chunk",
                "That is what Orca (Max) reserves. Half of it holds 530 tokens.",
            ),
        ),
    ),
    NumberExercise(
        exercise_id="2.5",
        compute=mean_in_flight,
        tolerance=0.05,
        insight=(
            "About {expected:.0f}: who stays longer is met more often, which is called the inspection"
            " paradox. So even who reserves exactly the final length holds fewer requests than slots divided"
            " by the mean."
        ),
        hints=(
            "Look into the pool at a random moment. Are you more likely to meet a request with a short"
            " output, or one with a long one?",
            "Weight each request by its output tokens: so many iterations does it stay.",
        ),
        mistakes=(
            Misconception(
                mean_at_the_door,
                "The mean at the door",
                "That is the mean over requests as they arrive. In the pool, those with long outputs are met"
                " more often, because they stay longer.",
            ),
            Misconception(
                mean_held_in_flight,
                "What they hold now",
                "So many tokens does a request in flight hold on average at that moment. The question is"
                " what it will have in the end.",
            ),
            Misconception(
                lambda: mean_at_the_door() / 2,
                "Half-way",
                "Halving the mean gives neither what they hold nor what they will have.",
            ),
        ),
    ),
)
