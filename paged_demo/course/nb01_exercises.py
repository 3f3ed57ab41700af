"""Predictions and exercises of notebook 01: what a token costs."""

from collections.abc import Iterator
from random import Random

from paged_demo.course.exercises.functions import ask_function
from paged_demo.course.exercises.kinds import ask_letters, mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.course.exercises.reading import read_number
from paged_demo.model import GIB, LLAMA_2_7B, LLAMA_2_70B, OPT_13B, MemoryBudget
from paged_demo.paper.numbers import MAX_TOKENS, NUM_SLOTS_13B
from paged_demo.serving.iteration_time import OPT_13B_ITERATION

NUM_QUERY_HEADS_70B = 64
"""Query heads of Llama-2-70B (``num_attention_heads`` of its config)."""

Config = tuple[int, int, int, int, int]
"""Layers, query heads, KV heads, elements of a head, and bits of an element."""


def configs() -> Iterator[Config]:
    """Make models to try, the smallest first: no two of their numbers are equal."""
    yield 3, 4, 1, 8, 16
    yield 5, 6, 3, 16, 8
    yield 7, 10, 5, 17, 4
    rng = Random(0)
    for _ in range(20):
        kv_heads = rng.randint(1, 16)
        layers, query_heads = rng.randint(2, 100), kv_heads * rng.randint(2, 8)
        yield layers, query_heads, kv_heads, 2 * rng.randint(10, 120), rng.choice((4, 8, 16, 32))


def tell_config(config: Config) -> str:
    """Write a model in words."""
    layers, query_heads, kv_heads, head_dim, bits = config
    return (
        f"{layers} layers, {query_heads} query heads, {kv_heads} KV {'head' if kv_heads == 1 else 'heads'}"
        f" of {head_dim} elements, {bits} bits"
    )


@ask_function(
    "1.1",
    cases=configs,
    tell=tell_config,
    read=read_number,
    hints=(
        "Which vectors does one layer keep for one token, and how many elements do they have?",
        "Two vectors, a key and a value, for each KV head, in each layer. The queries are not kept.",
        "2 * layers * KV heads * elements of a head * bytes of an element.",
    ),
    insight=(
        "Five factors, and no other number of the model matters. The cost of a token is fixed in advance."
    ),
)
def kv_bytes_per_token(layers: int, query_heads: int, kv_heads: int, head_dim: int, bits: int) -> int:
    """Return the bytes of one token's keys and values."""
    return 2 * layers * kv_heads * head_dim * bits // 8


@mistake("1.1")
def keys_without_values(layers: int, query_heads: int, kv_heads: int, head_dim: int, bits: int) -> int:
    """This is half: a token keeps a key and a value."""
    return layers * kv_heads * head_dim * bits // 8


@mistake("1.1")
def one_layer_only(layers: int, query_heads: int, kv_heads: int, head_dim: int, bits: int) -> int:
    """Every layer computes its own keys and values from its own input, and keeps them."""
    return 2 * kv_heads * head_dim * bits // 8


@mistake("1.1")
def query_heads(layers: int, query_heads: int, kv_heads: int, head_dim: int, bits: int) -> int:
    """Queries are used once and not kept. With grouped-query attention several query heads share one KV head,
    and only the KV heads count.
    """
    return 2 * layers * query_heads * head_dim * bits // 8


@mistake("1.1")
def bits_for_bytes(layers: int, query_heads: int, kv_heads: int, head_dim: int, bits: int) -> int:
    """This counts bits. A byte has eight."""
    return 2 * layers * kv_heads * head_dim * bits


@mistake("1.1")
def half_a_byte_is_lost(layers: int, query_heads: int, kv_heads: int, head_dim: int, bits: int) -> int:
    """`bits // 8` is 0 where an element has four bits: two of them share a byte. Multiply first, and divide
    in the end.
    """
    return 2 * layers * kv_heads * head_dim * (bits // 8)


@mistake("1.1")
def one_head_only(layers: int, query_heads: int, kv_heads: int, head_dim: int, bits: int) -> int:
    """Every KV head keeps its own key and its own value."""
    return 2 * layers * head_dim * bits // 8


@ask_before("1.1", because="each step computes all tokens of the sequence so far")
def computed_without_a_cache() -> int:
    """Count the tokens whose keys and values twelve steps compute without a cache."""
    return sum(range(1, 13))


@ask_before("1.2", unit="requests", because="what the weights leave is ten times 1.56 GiB, and a rest")
def requests_beside_the_weights() -> int:
    """Count the requests of the greatest length that fit beside the weights of OPT-13B."""
    return MemoryBudget(
        model=OPT_13B, memory_bytes=40 * GIB, num_requests=1, tokens_per_request=MAX_TOKENS
    ).most_requests


@ask_before(
    "1.3",
    unit="times",
    because="all share one reading of the weights, and only keys and values grow with them",
)
def times_as_long_to_read() -> float:
    """Compare what an iteration of 30 requests reads with what one of 7 reads, 500 tokens each."""
    return round(OPT_13B_ITERATION.reading_s(30 * 500) / OPT_13B_ITERATION.reading_s(7 * 500), 1)


@ask_number(
    "1.2",
    numbers={"num_gib": 12},
    # No pool that the tokens divide: then there is no part of a slot.
    draw_numbers=lambda rng: {"num_gib": rng.choice((6, 8, 10, 14, 16, 18, 20, 24, 30, 40, 48, 60))},
    ask_with="A server has {num_gib} GiB for the cache of OPT-13B. How many tokens does that hold?",
    hints=(
        "{num_gib} GiB are {num_gib} * 2**30 bytes. What does a token of OPT-13B cost?",
        "`{num_gib} * GIB // opt.kv_bytes_per_token`",
    ),
    insight=(
        "{expected:,.0f} slots. For the 12 GiB of its server Table 1 of the paper prints 15.7K; we take its"
        f" pool to have {NUM_SLOTS_13B:,}: room for seven sequences of 2,048 tokens, and a rest."
    ),
)
def slots_of_the_pool(num_gib: int) -> float:
    """Divide the pool among tokens."""
    return OPT_13B.slots_in(num_gib * GIB)


@mistake("1.2")
def whole_slots_only(num_gib: int) -> float:
    """A part of a slot holds no token: round down."""
    return num_gib * GIB / OPT_13B.kv_bytes_per_token


@mistake("1.2", "GB for GiB")
def gb_for_gib(num_gib: int) -> float:
    """This is {num_gib} GB, of 10**9 bytes. A GiB has 2**30, 7 % more."""
    return num_gib * 10**9 // OPT_13B.kv_bytes_per_token


@mistake("1.2", "Keys without values")
def slots_for_keys_alone(num_gib: int) -> float:
    """A slot holds the key and the value of a token: twice the bytes, half the slots."""
    return 2 * num_gib * GIB // OPT_13B.kv_bytes_per_token


@mistake("1.2")
def another_model(num_gib: int) -> float:
    """This is right for Llama-2-7B, at 512 KiB a token. OPT-13B has more layers and more heads."""
    return num_gib * GIB // LLAMA_2_7B.kv_bytes_per_token


@mistake("1.2", "One layer only")
def slots_of_one_layer(num_gib: int) -> float:
    """A slot holds a token's keys and values of all 40 layers."""
    return num_gib * GIB * OPT_13B.num_layers // OPT_13B.kv_bytes_per_token


ask_letters(
    "1.3",
    "b",
    hints=(
        "Llama-2-7B has 32 layers, and in each 32 KV heads of 128 elements, of 2 bytes.",
        "Multiply until you meet 16,384. Which factor has not been used?",
    ),
    insight=(
        "16 KiB is one layer: 2 x 32 heads x 128 elements x 2 bytes. With its 32 layers a 7B needs 512 KiB a"
        " token."
    ),
    remarks="""
        a: Keys and values are in it. Without the factor 2 it would say 8 KiB: 32 heads x 128 elements x 2
           bytes.
        c: The heads are in it. One head would be 2 x 128 elements x 2 bytes, or 512 bytes.
        d: The bytes are in it. In elements it would say 8,192: 2 x 32 heads x 128 elements.
    """,
)


def draw_heads(rng: Random) -> dict[str, int]:
    """Draw KV heads, and three times as many query heads or more: twice is a mistake that has a name."""
    kv_heads = rng.randint(2, 12)
    return {"kv_heads": kv_heads, "query_heads": kv_heads * rng.choice((3, 4, 5, 6, 7, 9, 10, 12, 16))}


@ask_number(
    "1.4",
    numbers={"kv_heads": LLAMA_2_70B.num_kv_heads, "query_heads": NUM_QUERY_HEADS_70B},
    draw_numbers=draw_heads,
    ask_with=(
        "A model keeps {kv_heads} KV heads in the place of {query_heads}. If nothing else changes, how many"
        " times more requests of the same length fit into the same pool?"
    ),
    hints=(
        "What does a token cost, as a share of what it cost with {query_heads} KV heads?",
        "A token costs {kv_heads} / {query_heads}. The pool stays as large as it is.",
    ),
    insight=(
        "{expected:.0f} times: {kv_heads} KV heads in the place of {query_heads}. Grouped-query attention"
        " makes a slot smaller; paging makes the slots full. The two multiply."
    ),
)
def times_as_many_requests(kv_heads: int, query_heads: int) -> float:
    """Compare a slot before grouped-query attention with one after it."""
    return query_heads / kv_heads


@mistake("1.4")
def only_speed(kv_heads: int, query_heads: int) -> float:
    """Grouped-query attention also keeps fewer keys and values: {kv_heads} heads, not {query_heads}. A
    smaller slot means more slots in the same pool.
    """
    return 1


@mistake("1.4", "One KV head")
def one_kv_head(kv_heads: int, query_heads: int) -> float:
    """So much would a single KV head give (multi-query attention). This model keeps {kv_heads}."""
    return query_heads


@mistake("1.4")
def upside_down(kv_heads: int, query_heads: int) -> float:
    """That is what a token costs, as a share of before. The question is how many more requests fit."""
    return kv_heads / query_heads


@mistake("1.4")
def only_the_keys_and_values_of_a_pair(kv_heads: int, query_heads: int) -> float:
    """All heads shrink: {query_heads} pairs of key and value become {kv_heads} pairs."""
    return 2


ask_letters(
    "1.5",
    "c",
    hints=(
        "The number is the same at night, without a single request.",
        "When does the server take the memory of its pool?",
    ),
    insight=(
        "The driver sees what the process took, not what it does with it. How full the pool is, only the"
        " server's own metrics can say."
    ),
    remarks=f"""
        a: Not a leak. A leak grows. This was taken in one piece at start-up, and stays as it is.
        b: Taken is not used. The pool is counted as taken from the start, empty or full: `nvidia-smi` cannot
           see inside it.
        d: Not the weights alone. Those of a 13B take {OPT_13B.weight_bytes / GIB:.0f} GiB. Most of the
           rest is the pool of keys and values.
    """,
)
