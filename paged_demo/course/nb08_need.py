"""Exercise 8.4: what one request of the longest length needs, from a config."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from paged_demo.course.exercises.fence import NoAnswerError
from paged_demo.course.exercises.functions import ask_function
from paged_demo.course.exercises.kinds import mistake
from paged_demo.course.exercises.reading import read_whole_number
from paged_demo.sizing.config import read_config
from paged_demo.sizing.plan import plan
from paged_demo.sizing.server import Server

BATCHED = 2048
Config = dict[str, Any]
NeedCase = tuple[Config, int]


def config_of(
    full: int, sliding: int, *, heads: int, hidden: int, window: int = 128, **others: int
) -> Config:
    """Make the fields of a config, with as many windows after each full layer as there are for it."""
    turn = ["full_attention"] + ["sliding_attention"] * (sliding // full)
    fields = {"model_type": "gpt_oss", "num_hidden_layers": full + sliding, "layer_types": turn * full}
    fields |= {"num_attention_heads": heads, "hidden_size": hidden, "sliding_window": window}
    return fields | others


def need_cases() -> Iterator[NeedCase]:
    """Make configs and lengths, the simplest first."""
    yield config_of(1, 0, heads=2, hidden=128), 16
    yield config_of(2, 0, heads=4, hidden=192, num_key_value_heads=2), 100
    yield config_of(2, 0, heads=4, hidden=256, num_key_value_heads=2, head_dim=128), 1000
    yield config_of(1, 1, heads=4, hidden=256, num_key_value_heads=1), 8192
    yield config_of(1, 1, heads=4, hidden=256, num_key_value_heads=1), 64
    rng = Random(8)
    for _ in range(20):
        full, windows = rng.randint(1, 8), rng.choice((0, 1, 1, 3, 5))
        kv_heads, head_dim = rng.choice((1, 2, 4, 8)), rng.choice((64, 96, 128, 256))
        heads = kv_heads * rng.choice((2, 3, 5))
        others = {"num_key_value_heads": kv_heads} if rng.random() < 0.8 else {}
        if rng.random() < 0.6:
            others["head_dim"] = head_dim
        fields = config_of(
            full,
            full * windows,
            heads=heads,
            hidden=heads * rng.choice((48, 64, 80)),
            window=rng.choice((128, 129, 130, 1024)),
            **others,
        )
        yield fields, rng.randint(1, 200_000)


def call_need(function: Callable[..., Any], case: NeedCase) -> int:
    """Call a function on a copy of a config."""
    config, length = case
    copy = {name: list(value) if isinstance(value, list) else value for name, value in config.items()}
    answer = read_whole_number(function(copy, length))
    if copy != config:
        raise NoAnswerError("it changed `config`, which is only to be read")
    return answer


def tell_need(case: NeedCase) -> str:
    """Write a config in words."""
    config, length = case
    windows = config["layer_types"].count("sliding_attention")
    heads = f"{config['num_attention_heads']} heads, hidden_size {config['hidden_size']}"
    for name in ("num_key_value_heads", "head_dim"):
        heads += f", {name} {config.get(name, 'missing')}"
    layers = f"{config['num_hidden_layers']} layers"
    if windows:
        layers += f" ({windows} of them with a window of {config['sliding_window']})"
    return f"{layers}, {heads}, and {length:,} tokens"


@ask_function(
    "8.4",
    cases=need_cases,
    tell=tell_need,
    call=call_need,
    hints=(
        "A block of a layer is 16 tokens of 2 x KV heads x head_dim x 2 bytes. How many does each kind hold?",
        "A full layer holds ceil(L / 16). A window holds min(window - 1 + 2 * 2048, L) tokens, and one block"
        " more.",
        '`config.get("num_key_value_heads", heads)`, `config.get("head_dim", hidden_size // heads)`.',
    ),
    insight=(
        "So a window costs the same at 10,000 and at 200,000 tokens; what it costs hangs on"
        " `max_num_batched_tokens`."
    ),
)
def need(config: Config, max_model_len: int) -> int:
    """Return the bytes that one request needs, as the package plans them."""
    server = Server(max_model_len=max_model_len, max_num_batched_tokens=BATCHED)
    return plan(read_config(config).layers, server).needed_bytes[0]


def _by_hand(
    config: Config,
    length: int,
    *,
    in_flight: int = 2 * BATCHED,
    extra: int = 1,
    query_heads: bool = False,
    divided: bool = False,
    whole: bool = False,
    rounded: bool = True,
) -> int:
    heads: int = config["num_attention_heads"]
    kv_heads: int = heads if query_heads else config.get("num_key_value_heads", heads)
    head_dim: int = (
        config["hidden_size"] // heads if divided else config.get("head_dim", config["hidden_size"] // heads)
    )
    token, total = 4 * kv_heads * head_dim, 0
    for kind in config["layer_types"]:
        is_window = kind == "sliding_attention" and not whole
        held = min(config["sliding_window"] - 1 + in_flight, length) if is_window else length
        total += token * (16 * (-(-held // 16) + extra * is_window) if rounded else held)
    return total


@mistake("8.4")
def windows_cost_the_whole_length(config: Config, length: int) -> int:
    """A window gives back what lies behind it, however long the request: it holds ceil((window - 1 + tokens
    in flight) / 16) + 1 blocks.
    """
    return _by_hand(config, length, whole=True)


@mistake("8.4")
def the_window_alone(config: Config, length: int) -> int:
    """While a piece of the prompt is computed it lies beside the window: add the tokens in flight, two
    batches of 2,048.
    """
    return _by_hand(config, length, in_flight=0)


@mistake("8.4")
def one_batch_in_flight(config: Config, length: int) -> int:
    """While one step runs the next is scheduled already, so two are in flight (since version 0.26)."""
    return _by_hand(config, length, in_flight=BATCHED)


@mistake("8.4")
def a_block_too_few_for_a_window(config: Config, length: int) -> int:
    """A window need not begin where a block does, so it may touch one block more."""
    return _by_hand(config, length, extra=0)


@mistake("8.4", "Attention heads, not KV heads")
def attention_heads(config: Config, length: int) -> int:
    """Several heads of queries share one head of K and V: `num_key_value_heads` counts, where it is given."""
    return _by_hand(config, length, query_heads=True)


@mistake("8.4", "head_dim is not read")
def head_dim_is_not_read(config: Config, length: int) -> int:
    """Where the config has a `head_dim`, hidden_size / heads is another number and does not count."""
    return _by_hand(config, length, divided=True)


@mistake("8.4")
def tokens_instead_of_blocks(config: Config, length: int) -> int:
    """A request holds whole blocks of 16 tokens: round up."""
    return _by_hand(config, length, rounded=False)
