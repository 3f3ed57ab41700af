"""Exercises of notebook 02: three wastes, and why an oracle does not help much.

2.2 is in ``nb02_fragment.py``; the predictions are in ``nb02_predictions.py``.
"""

from collections.abc import Iterator
from functools import cache
from random import Random
from statistics import fmean
from typing import Any

import numpy as np

from paged_demo.allocators.placement import buddy
from paged_demo.course.exercises.functions import ask_function
from paged_demo.course.exercises.kinds import mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.course.exercises.reading import read_text, unexpected
from paged_demo.paper.numbers import MAX_TOKENS, NUM_SLOTS_13B
from paged_demo.serving.workload import sharegpt

WORDS = ("used", "reserved", "internal", "rounding")
BUDDY_TOKENS = 530


def slots_of_runs() -> Iterator[tuple[int, int, int, int]]:
    """Make slots on both sides of every boundary, and some at random."""
    for run in ((3, 5, 10), (1, 1, 4), (4, 4, 4), (100, 438, 2048)):
        for boundary in run:
            yield boundary - 1, *run
            yield boundary, *run
    rng = Random(0)
    for _ in range(30):
        num_tokens, final_tokens, num_reserved = sorted(rng.sample(range(1, 60), 3))
        yield rng.randrange(70), num_tokens, final_tokens, num_reserved


def read_word(value: Any) -> str:
    """Read one of the four words, or say what came."""
    expected = f"one of {', '.join(WORDS)} was"
    word = read_text(value, expected=expected)
    if word not in WORDS:
        raise unexpected(expected, value)
    return word


@ask_function(
    "2.1",
    cases=slots_of_runs,
    tell="slot {0} of a request that has {1} tokens now, {2} in the end, and asked for {3}",
    read=read_word,
    hints=(
        "The slots of a run come in this order: those with a token, those that will get one, those that were"
        " asked for in vain, those that were never asked for.",
        "Compare `slot` with `num_tokens`, then with `final_tokens`, then with `num_reserved`.",
    ),
    insight=(
        "Three wastes, known at three times: rounding at once, reserved slots while the request runs,"
        " internal ones only when it has ended."
    ),
)
def classify(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Name the fate of a slot."""
    if slot < num_tokens:
        return "used"
    if slot < final_tokens:
        return "reserved"
    return "internal" if slot < num_reserved else "rounding"


@mistake("2.1")
def one_word_for_all_waste(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """An empty slot may still be needed by this very request: then it is reserved. And what was never asked
    for is rounding.
    """
    return "used" if slot < num_tokens else "internal"


@mistake("2.1")
def asked_for_is_not_needed(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Only the slots up to the final length will ever be written. Those behind it were asked for in vain:
    they are internal.
    """
    return classify(slot, num_tokens, num_reserved, num_reserved)


@mistake("2.1")
def rounding_is_forgotten(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Slots beyond what was asked for came from the allocator, which rounds up. Another allocator would not
    waste them, so they have a word of their own.
    """
    word = classify(slot, num_tokens, final_tokens, num_reserved)
    return "internal" if word == "rounding" else word


@mistake("2.1")
def counted_from_one(slot: int, num_tokens: int, final_tokens: int, num_reserved: int) -> str:
    """Slots count from 0: with 3 tokens the slots 0, 1 and 2 are used, and slot 3 is not."""
    return classify(slot - 1, num_tokens, final_tokens, num_reserved)


def draw_pool(rng: Random) -> dict[str, int]:
    """Draw the size of a pool that is no multiple of the greatest length, or nearly one."""
    max_tokens = rng.choice((1024, 2048, 4096))
    rest = 16 * rng.randint(max_tokens // 64, max_tokens // 20)
    return {"num_slots": max_tokens * rng.randint(3, 9) + rest, "max_tokens": max_tokens}


@ask_number(
    "2.3",
    numbers={"num_slots": NUM_SLOTS_13B, "max_tokens": MAX_TOKENS},
    draw_numbers=draw_pool,
    ask_with=(
        "A pool has {num_slots:,} slots, and the greatest length is {max_tokens:,} tokens. If everybody"
        " reserves that, how much of the pool is external waste, in percent? A tenth of a percent is exact"
        " enough."
    ),
    tolerance=0.007,
    hints=(
        "How many reservations of {max_tokens:,} fit into {num_slots:,} slots, and what is left?",
        "`100 * ({num_slots} % {max_tokens}) / {num_slots}`",
    ),
    insight=(
        "{expected:.3f} %: the remnant of a division, whatever the workload. That Fig. 2 draws the remnant of"
        f" {NUM_SLOTS_13B:,} slots for Orca (Max) proves nothing: the pool's number of pages was inferred"
        " from it."
    ),
)
def remnant_percent(num_slots: int, max_tokens: int) -> float:
    """Divide a pool into reservations, and return what is left."""
    return 100 * (num_slots % max_tokens) / num_slots


@mistake("2.3", "A share, not percent")
def a_share_not_percent(num_slots: int, max_tokens: int) -> float:
    """Right as a share of 1. In percent it is a hundred times that."""
    return (num_slots % max_tokens) / num_slots


@mistake("2.3", "Slots, not percent")
def slots_not_percent(num_slots: int, max_tokens: int) -> float:
    """So many slots are left over. The question is their share of the pool."""
    return num_slots % max_tokens


@mistake("2.3")
def no_holes(num_slots: int, max_tokens: int) -> float:
    """Equal reservations leave no holes between them. But the pool is no multiple of them: at its end is a
    remnant, too short for one more.
    """
    return 0


@mistake("2.3")
def a_share_of_the_wrong_whole(num_slots: int, max_tokens: int) -> float:
    """This compares the remnant with all reservations. The question is its share of the pool."""
    return 100 * (num_slots % max_tokens) / (num_slots // max_tokens * max_tokens)


@mistake("2.3")
def one_reservation(num_slots: int, max_tokens: int) -> float:
    """This is the share of one reservation. The remnant is what is left after the last."""
    return 100 * max_tokens / num_slots


def draw_num_tokens(rng: Random) -> dict[str, int]:
    """Draw tokens that are no multiple of 16, and in units of 16 no power of two."""
    power = 2 ** rng.randint(6, 9)
    return {"num_tokens": power + 16 * rng.randrange(power // 32) + rng.randint(1, 15)}


@ask_number(
    "2.4",
    numbers={"num_tokens": BUDDY_TOKENS},
    draw_numbers=draw_num_tokens,
    ask_with=(
        "An oracle reserves {num_tokens} slots for a request. How many does a buddy allocator take for it, if"
        " the smallest chunk has 16 slots and each is twice the one before?"
    ),
    hints=(
        "Which chunks can a buddy allocator give out, if each is half of the next?",
        "16, 32, 64 and so on. Which is the smallest that holds {num_tokens}?",
    ),
    insight=(
        "{expected:,.0f}: a chunk can only be halved. With first fit it would be {num_tokens}. In our run"
        " rounding, and not holes, is most of what the paper draws as external waste of Orca (Oracle)."
    ),
)
def slots_of_a_chunk(num_tokens: int) -> float:
    """Ask a buddy allocator."""
    return buddy(2 * MAX_TOKENS).place(num_tokens).num_slots


@mistake("2.4")
def that_is_first_fit(num_tokens: int) -> float:
    """First fit gives exactly what is asked for. A buddy allocator has chunks of fixed sizes."""
    return num_tokens


@mistake("2.4")
def units_only(num_tokens: int) -> float:
    """Rounding up to units of 16 is the first step. Then the number of units becomes a power of two."""
    return -(-num_tokens // 16) * 16


@mistake("2.4")
def rounded_down(num_tokens: int) -> float:
    """A chunk of this size does not hold {num_tokens} tokens."""
    return slots_of_a_chunk(num_tokens) // 2


@mistake("2.4")
def the_largest_chunk(num_tokens: int) -> float:
    """That is what Orca (Max) reserves. Half of it holds {num_tokens} tokens."""
    return MAX_TOKENS


@cache
def lengths(prompt: int, outputs: tuple[int, ...]) -> list[tuple[int, int]]:
    """List the tokens of prompts and of outputs; those of ShareGPT if there are no outputs."""
    if outputs:
        return [(prompt, output) for output in outputs]
    requests = sharegpt.sample(20_000, rng=np.random.default_rng(0))
    return [(request.num_prompt_tokens, request.num_output_tokens) for request in requests]


def draw_lengths(rng: Random) -> dict[str, Any]:
    """Draw the length of prompts, and three lengths of outputs that are far apart."""
    outputs = 10 * rng.randint(1, 3), 10 * rng.randint(8, 20), 10 * rng.randint(50, 90)
    return {"prompt": 10 * rng.randint(1, 20), "outputs": outputs}


@ask_number(
    "2.5",
    numbers={"prompt": 0, "outputs": ()},
    draw_numbers=draw_lengths,
    ask_with=(
        "Requests have prompts of {prompt} tokens, and outputs of {outputs[0]}, {outputs[1]} or {outputs[2]},"
        " which arrive equally often. Look into the pool at a random moment: how many tokens will a request"
        " that you find there have in the end, on average? 5 % off is near enough."
    ),
    tolerance=0.05,
    hints=(
        "Look into the pool at a random moment. Are you more likely to meet a request with a short output, or"
        " one with a long one?",
        "Weight each request by its output tokens: so many iterations does it stay.",
    ),
    insight=(
        "About {expected:.0f}: who stays longer is met more often, which is called the inspection paradox. So"
        " even who reserves exactly the final length holds fewer requests than slots divided by the mean."
    ),
)
def mean_of_the_running(prompt: int, outputs: tuple[int, ...]) -> float:
    """Return the final tokens of a running request: each is met as often as it has output tokens."""
    pairs = lengths(prompt, outputs)
    return fmean((prompt + output for prompt, output in pairs), [output for _, output in pairs])


@mistake("2.5")
def the_mean_at_the_door(prompt: int, outputs: tuple[int, ...]) -> float:
    """That is the mean over requests as they arrive. In the pool, those with long outputs are met more often,
    because they stay longer.
    """
    return fmean(prompt + output for prompt, output in lengths(prompt, outputs))


@mistake("2.5")
def what_they_hold_now(prompt: int, outputs: tuple[int, ...]) -> float:
    """So many tokens does a running request hold on average at that moment. The question is what it will
    have in the end.
    """
    pairs = lengths(prompt, outputs)
    # On average half of the output.
    return fmean((prompt + (output + 1) / 2 for prompt, output in pairs), [output for _, output in pairs])


@mistake("2.5", "Half-way")
def half_way(prompt: int, outputs: tuple[int, ...]) -> float:
    """Halving the mean gives neither what they hold nor what they will have."""
    return the_mean_at_the_door(prompt, outputs) / 2
