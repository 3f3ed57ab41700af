"""Exercises of notebook 01: what a token costs."""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from paged_demo.course.exercises.functions import FunctionExercise
from paged_demo.course.exercises.kinds import (
    ChoiceExercise,
    Misconception,
    NumberExercise,
    Remark,
    read_number,
)
from paged_demo.model import GIB, LLAMA_2_7B, LLAMA_2_70B, OPT_13B
from paged_demo.paper.numbers import NUM_SLOTS_13B

POOL_BYTES = 12 * GIB
NUM_QUERY_HEADS_70B = 64
"""Query heads of Llama-2-70B (``num_attention_heads`` of its config)."""


class Config(NamedTuple):
    """What a model's config says about its attention."""

    num_layers: int
    num_query_heads: int
    num_kv_heads: int
    head_dim: int
    bits: int


def kv_bytes_per_token(
    num_layers: int, num_query_heads: int, num_kv_heads: int, head_dim: int, bits: int
) -> int:
    """Return the bytes of one token's keys and values: the reference of exercise 1.1."""
    return 2 * num_layers * num_kv_heads * head_dim * bits // 8


def configs() -> Iterator[Config]:
    """Make models to try, the smallest first: no two of their numbers are equal."""
    yield Config(num_layers=3, num_query_heads=4, num_kv_heads=1, head_dim=8, bits=16)
    yield Config(num_layers=5, num_query_heads=6, num_kv_heads=3, head_dim=16, bits=8)
    rng = Random(0)
    for _ in range(20):
        num_kv_heads = rng.randint(1, 16)
        yield Config(
            num_layers=rng.randint(2, 100),
            num_query_heads=num_kv_heads * rng.randint(2, 8),
            num_kv_heads=num_kv_heads,
            head_dim=8 * rng.randint(4, 32),
            bits=rng.choice((8, 16, 32)),
        )


def tell_config(config: Config) -> str:
    """Write a model in words."""
    layers, query_heads, kv_heads, head_dim, bits = config
    return (
        f"{layers} layers, {query_heads} query heads, {kv_heads} KV {'head' if kv_heads == 1 else 'heads'}"
        f" of {head_dim} elements, {bits} bits"
    )


EXERCISES = (
    FunctionExercise(
        exercise_id="1.1",
        reference=kv_bytes_per_token,
        cases=configs,
        tell=tell_config,
        read=read_number,
        insight=(
            "Five factors, and no other number of the model matters. The cost of a token is fixed in advance."
        ),
        hints=(
            "Which vectors does one layer keep for one token, and how many elements do they have?",
            "Two vectors, a key and a value, for each KV head, in each layer. The queries are not kept.",
            "2 * layers * KV heads * elements of a head * bytes of an element.",
        ),
        mistakes=(
            Misconception(
                lambda layers, query_heads, kv_heads, head_dim, bits: (
                    layers * kv_heads * head_dim * bits // 8
                ),
                "Keys without values",
                "This is half: a token keeps a key and a value.",
            ),
            Misconception(
                lambda layers, query_heads, kv_heads, head_dim, bits: 2 * kv_heads * head_dim * bits // 8,
                "One layer only",
                "Every layer computes its own keys and values from its own input, and keeps them.",
            ),
            Misconception(
                lambda layers, query_heads, kv_heads, head_dim, bits: (
                    2 * layers * query_heads * head_dim * bits // 8
                ),
                "Query heads",
                "Queries are used once and not kept. With grouped-query attention several query heads share"
                " one KV head, and only the KV heads count.",
            ),
            Misconception(
                lambda layers, query_heads, kv_heads, head_dim, bits: 2 * layers * kv_heads * head_dim * bits,
                "Bits for bytes",
                "This counts bits. A byte has eight.",
            ),
            Misconception(
                lambda layers, query_heads, kv_heads, head_dim, bits: 2 * layers * head_dim * bits // 8,
                "One head only",
                "Every KV head keeps its own key and its own value.",
            ),
        ),
    ),
    NumberExercise(
        exercise_id="1.2",
        compute=lambda: OPT_13B.slots_in(POOL_BYTES),
        insight=(
            "{expected:,.0f} slots: room for seven sequences of 2,048 tokens, and a rest. The paper's own"
            f" pool has {NUM_SLOTS_13B:,} (Table 1)."
        ),
        hints=(
            "12 GiB are 12 * 2**30 bytes. What does a token of OPT-13B cost?",
            "`12 * GIB // OPT_13B.kv_bytes_per_token`",
        ),
        mistakes=(
            Misconception(
                POOL_BYTES / OPT_13B.kv_bytes_per_token,
                "Whole slots only",
                "A part of a slot holds no token: round down.",
            ),
            Misconception(
                12 * 10**9 // OPT_13B.kv_bytes_per_token,
                "GB for GiB",
                "This is 12 GB, of 10**9 bytes. A GiB has 2**30, 7 % more.",
            ),
            Misconception(
                2 * POOL_BYTES // OPT_13B.kv_bytes_per_token,
                "Keys without values",
                "A slot holds the key and the value of a token: twice the bytes, half the slots.",
            ),
            Misconception(
                POOL_BYTES // LLAMA_2_7B.kv_bytes_per_token,
                "Another model",
                "This is right for Llama-2-7B, at 512 KiB a token. OPT-13B has more layers and more heads.",
            ),
            Misconception(
                POOL_BYTES * OPT_13B.num_layers // OPT_13B.kv_bytes_per_token,
                "One layer only",
                "A slot holds a token's keys and values of all 40 layers.",
            ),
        ),
    ),
    ChoiceExercise(
        exercise_id="1.3",
        right_letters="b",
        num_statements=4,
        insight=(
            "16 KiB is one layer: 2 x 32 heads x 128 elements x 2 bytes. With its 32 layers a 7B needs 512"
            " KiB a token."
        ),
        hints=(
            "Llama-2-7B has 32 layers, and in each 32 KV heads of 128 elements, of 2 bytes.",
            "Multiply until you meet 16,384. Which factor has not been used?",
        ),
        remarks={
            "a": Remark(
                "Keys and values are in it",
                "Without the factor 2 it would say 8 KB: 32 heads x 128 elements x 2 bytes.",
            ),
            "c": Remark("The heads are in it", "One head would be 2 x 128 elements x 2 bytes, or 512 bytes."),
            "d": Remark("The bytes are in it", "In elements it would say 8 K: 2 x 32 heads x 128 elements."),
        },
    ),
    NumberExercise(
        exercise_id="1.4",
        compute=lambda: NUM_QUERY_HEADS_70B / LLAMA_2_70B.num_kv_heads,
        insight=(
            "{expected:.0f} times: 8 KV heads in the place of 64. Grouped-query attention makes a slot"
            " smaller; paging makes the slots full. The two multiply."
        ),
        hints=(
            "Compare 2,560 KiB with 320 KiB a token.",
            "A token costs an eighth. The pool stays as large as it is.",
        ),
        mistakes=(
            Misconception(
                1,
                "Only speed",
                "Grouped-query attention also keeps fewer keys and values: 8 heads in the place of 64. A"
                " smaller slot means more slots in the same pool.",
            ),
            Misconception(
                NUM_QUERY_HEADS_70B,
                "One KV head",
                "So much would a single KV head give (multi-query attention). This model keeps 8.",
            ),
            Misconception(
                LLAMA_2_70B.num_kv_heads / NUM_QUERY_HEADS_70B,
                "Upside down",
                "That is what a token costs, as a share of before. The question is how many more requests"
                " fit.",
            ),
            Misconception(
                2,
                "Only the keys and values of a pair",
                "All heads shrink: 64 pairs of key and value become 8 pairs.",
            ),
        ),
    ),
    ChoiceExercise(
        exercise_id="1.5",
        right_letters="c",
        num_statements=4,
        insight=(
            "The driver sees what the process took, not what it does with it. How full the pool is, only the"
            " server's own metrics can say."
        ),
        hints=(
            "The number is the same at night, without a single request.",
            "When does the server take the memory of its pool?",
        ),
        remarks={
            "a": Remark(
                "Not a leak", "A leak grows. This was taken in one piece at start-up, and stays as it is."
            ),
            "b": Remark(
                "Taken is not used",
                "The pool is counted as taken from the start, empty or full: `nvidia-smi` cannot see inside"
                " it.",
            ),
            "d": Remark(
                "Not the weights alone",
                f"Those of a 13B take {OPT_13B.weight_bytes / 10**9:.0f} GB. Most of the rest is the pool of"
                " keys and values.",
            ),
        },
    ),
)
