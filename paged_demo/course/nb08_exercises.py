"""Predictions and exercises of notebook 08: public misreadings of a server's log, with other numbers.

8.4 is in ``nb08_need.py``, 8.5 to 8.8 are in ``nb08_running.py``.
"""

from paged_demo.course.exercises.kinds import mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.sizing.batch import GPUS, batch, cache_bytes, step_seconds
from paged_demo.sizing.plan import plan
from paged_demo.sizing.presets import model_of
from paged_demo.sizing.server import Server

LLAMA = model_of("meta-llama/Llama-3.1-8B").layers
GEMMA_4 = model_of("google/gemma-4-26B-A4B-it").layers


@ask_number(
    "8.1",
    numbers={"layers": 40, "heads": 40, "kv_heads": 8, "head_dim": 128},
    draw_numbers=lambda rng: dict(
        zip(("heads", "kv_heads"), rng.choice(((28, 4), (24, 8), (48, 8), (56, 8))), strict=True),
        layers=rng.choice((28, 36, 48, 62)),
        head_dim=rng.choice((64, 128)),
    ),
    ask_with=(
        "A model has {layers} layers, {heads} heads, {kv_heads} KV heads and a head_dim of {head_dim}. Its"
        " weights are 4-bit (AWQ). How many bytes does a token take in the KV cache?"
    ),
    hints=(
        "K and V, layers, heads, elements, bytes. Which heads, and bytes of what?",
        "2 x {layers} x {kv_heads} x {head_dim} x 2: the cache has its own type, not that of weights.",
    ),
    insight="{expected:,.0f}: KV heads count, and only `kv_cache_dtype` makes the cache smaller.",
)
def bytes_of_a_token(layers: int, heads: int, kv_heads: int, head_dim: int) -> float:
    """Count K and V of the KV heads, in 16 bits."""
    return 2 * layers * kv_heads * head_dim * 2


@mistake("8.1")
def the_hidden_size(layers: int, heads: int, kv_heads: int, head_dim: int) -> float:
    """This is the hidden size, the heads of the queries. K and V have {kv_heads} heads here."""
    return 2 * layers * heads * head_dim * 2


@mistake("8.1", "The type of the weights")
def the_type_of_the_weights(layers: int, heads: int, kv_heads: int, head_dim: int) -> float:
    """Quantised weights say nothing of the cache, which stays at 16 bits without `kv_cache_dtype`."""
    return bytes_of_a_token(layers, heads, kv_heads, head_dim) / 4


@mistake("8.1", "Bits, not bytes")
def bits_not_bytes(layers: int, heads: int, kv_heads: int, head_dim: int) -> float:
    """This counts bits. A byte has eight."""
    return 8 * bytes_of_a_token(layers, heads, kv_heads, head_dim)


@mistake("8.1")
def k_without_v(layers: int, heads: int, kv_heads: int, head_dim: int) -> float:
    """A token leaves a key and a value in each layer."""
    return bytes_of_a_token(layers, heads, kv_heads, head_dim) / 2


@ask_number(
    "8.2",
    numbers={"first": 12, "second": 11},
    draw_numbers=lambda rng: {"first": rng.randint(14, 20), "second": rng.randint(7, 12)},
    ask_with=(
        "Llama-3.1-8B with `--tensor-parallel-size 2`: one GPU prints {first} GiB of available KV cache"
        " memory, the other {second}. How many blocks of 16 tokens does the server have?"
    ),
    hints=(
        "Each GPU holds half of the heads, of the same tokens. What is a block on one GPU?",
        "16 x 32 x 2 x 4 heads x 128 x 2 bytes are 1 MiB. Which GPU decides?",
    ),
    insight="{expected:,.0f}: both hold the same tokens, half of the heads each; the smaller pool counts.",
)
def blocks_of_two_gpus(first: int, second: int) -> float:
    """Plan the smaller of two pools."""
    return plan(LLAMA, Server(tensor_parallel=2), f"{min(first, second)}GiB").blocks


@mistake("8.2")
def the_pools_are_added(first: int, second: int) -> float:
    """The line is for each GPU, and both hold the same tokens: a pool is no half of anything."""
    return blocks_of_two_gpus(first + second, first + second)


@mistake("8.2")
def the_larger_pool_counts(first: int, second: int) -> float:
    """A block has a half on each GPU. Where the other has no room for its half there is no block."""
    return blocks_of_two_gpus(first, first)


@mistake("8.2")
def whole_heads_on_each(first: int, second: int) -> float:
    """With two GPUs each keeps 4 of the 8 KV heads, so a block takes 1 MiB of each, not 2."""
    return plan(LLAMA, Server(), f"{min(first, second)}GiB").blocks


@mistake("8.2")
def the_mean_counts(first: int, second: int) -> float:
    """Nothing is shared out between GPUs: all have as many blocks as the one with the fewest."""
    return (blocks_of_two_gpus(first, first) + blocks_of_two_gpus(second, second)) / 2


@ask_number(
    "8.3",
    numbers={"blocks": 1600},
    draw_numbers=lambda rng: {"blocks": rng.randint(900, 3000)},
    ask_with=(
        "All layers of a model are full, and its pool has {blocks:,} blocks of 16 tokens. What is the longest"
        " `max_model_len` with which vLLM 0.33.0 starts?"
    ),
    hints=(
        "How many blocks can one request have?",
        "One block is never given out, and the check at start holds it back.",
    ),
    insight=(
        "{expected:,.0f}: with a block more K is 1.00, and refused. (In version 0.6 a longer maximum also"
        " made the trial run longer and the pool smaller, so that 29,000 failed where 35,000 started: there"
        " prompts came in pieces.)"
    ),
)
def longest_that_starts(blocks: int) -> float:
    """Let the package look for it."""
    return plan(LLAMA, Server(max_model_len=131_072, num_gpu_blocks_override=blocks)).longest_that_fits


@mistake("8.3")
def the_null_block_is_forgotten(blocks: int) -> float:
    """One block is no request's; 0.33.0 holds it back when it checks. So K = 1.00 is refused."""
    return 16 * blocks


@mistake("8.3", "Blocks, not tokens")
def blocks_not_tokens(blocks: int) -> float:
    """This counts blocks. Each has room for 16 tokens."""
    return blocks - 1


@mistake("8.3")
def the_models_own_length(blocks: int) -> float:
    """This is what the model was made for. The pool has to hold a request of it, and does not."""
    return 131_072


@ask_before(
    "8.1",
    unit="tokens",
    because="one token more needs a block more than the pool has to give",
)
def longest_in_the_log() -> int:
    """Ask the package for the longest that starts."""
    # Matplotlib is slow to load, and the notebook has loaded it.
    from paged_demo.course.nb08 import longest_of  # noqa: PLC0415

    return longest_of(0.9, 1, "bfloat16")


@ask_before(
    "8.2", unit="requests", because="each holds 41 blocks on average, and nothing is kept for the rest"
)
def requests_of_650_tokens() -> int:
    """Count the requests that the pool holds."""
    return batch(plan(LLAMA, Server(num_gpu_blocks_override=1952)), 500, 300).requests


@ask_before(
    "8.3", because="the line is K times the length, and the windows of a request weigh less in a longer one"
)
def what_the_line_says_of_a_longer_maximum() -> str:
    """Plan the pool of 4,563,402,752 bytes for both lengths."""
    short, long = (
        plan(GEMMA_4, Server(max_model_len=length, max_num_batched_tokens=2496), 4_563_402_752).tokens
        for length in (32_768, 131_072)
    )
    return "a" if long < short else "b" if long == short else "c"


@ask_before(
    "8.4",
    unit="of them",
    because="B has seats and C a budget for fewer requests than the pool holds, and few come to D",
)
def servers_that_preempt() -> int:
    """Run the four servers, and count those that preempt."""
    from paged_demo.course.nb08_server import four_runs  # noqa: PLC0415

    return sum(readings[-1].preemptions > 0 for readings in four_runs().values())


@ask_before("8.5", unit="requests/s", because="a step takes 21.4 ms, and a request takes 300 of them")
def rate_of_the_roof() -> float:
    """Compute the rate of a full pool to first order, to two digits."""
    step = step_seconds(
        GPUS["RTX 3090"],
        requests_of_650_tokens(),
        weights_bytes=16_060_522_496,
        cache_bytes_each=cache_bytes(LLAMA, 650),
    )
    return round(step.requests_per_s(300), 1)
