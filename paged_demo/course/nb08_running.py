"""Exercises 8.5 to 8.8: models whose layers are of several kinds, and what a running server says."""

from random import Random

from paged_demo.course.exercises.kinds import ask_letters, mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.sizing.plan import Plan, plan
from paged_demo.sizing.presets import model_of
from paged_demo.sizing.server import Server

QWEN = model_of("Qwen/Qwen3.5-27B").layers


def _gpt_oss(model: str, short: int, long: int) -> dict[str, object]:
    layers = model_of(f"openai/{model}").layers
    planned = plan(layers, Server(max_num_batched_tokens=2048))
    few, many = (sum(planned.blocks_for(length)) for length in (short, long))
    told = {"model": model, "each": len(layers) // 2, "short": short, "long": long}
    return told | {"few": few, "many": many, "size": planned.block_bytes[0]}


@ask_number(
    "8.5",
    numbers=_gpt_oss("gpt-oss-120b", 32_768, 131_072),
    draw_numbers=lambda rng: _gpt_oss("gpt-oss-20b", 16_384 * rng.randint(1, 2), 16_384 * rng.randint(4, 8)),
    ask_with=(
        "{model}, {each} full layers, {each} windows: a request of {short:,} tokens needs {few:,} blocks,"
        " one of {long:,} needs {many:,}, and a block is {size:,} bytes. How many bytes does one more token"
        " of a long request cost?"
    ),
    hints=(
        "A request costs a fixed part and a slope. Two lengths give both.",
        "({many} - {few}) x {size} / ({long} - {short}).",
    ),
    insight=(
        "{expected:,.0f}, which is the {each} full layers alone. A pool divided by its tokens mixes the"
        " fixed part in, and says something else at each `max_model_len`."
    ),
)
def one_more_token(short: int, long: int, few: int, many: int, size: int, **others: object) -> float:
    """Take the slope between two needs."""
    return (many - few) * size / (long - short)


@mistake("8.5")
def the_long_request_shared_out(
    short: int, long: int, few: int, many: int, size: int, **others: object
) -> float:
    """What the windows hold is in it, and grows no more. Take the difference of two requests."""
    return many * size / long


@mistake("8.5")
def the_short_request_shared_out(
    short: int, long: int, few: int, many: int, size: int, **others: object
) -> float:
    """The shorter the request, the more the fixed part of the windows weighs. Take a difference."""
    return few * size / short


@mistake("8.5")
def all_layers_grow(short: int, long: int, few: int, many: int, size: int, **others: object) -> float:
    """This is a token in the windows too. Windows keep no more than 128 of them in the end."""
    return 2 * one_more_token(short, long, few, many, size)


def _qwen(blocks: int, length: int) -> Plan:
    server = Server(
        max_model_len=length,
        tensor_parallel=2,
        kv_cache_dtype="fp8",
        state_bytes=4,
        num_gpu_blocks_override=blocks,
    )
    return plan(QWEN, server)


def _qwen_if(blocks: int, length: int, states: int) -> float:
    planned = _qwen(blocks, length)
    full = next(group for group in planned.groups if group.kind == "full")
    return int(blocks / (full.blocks_for(length, planned.server) + 3 * states) * length)


@ask_number(
    "8.6",
    numbers={"blocks": 240, "short": 65_536, "long": 196_608},
    draw_numbers=lambda rng: {"blocks": rng.randint(200, 400), "long": rng.choice((131_072, 262_144))},
    ask_with=(
        "A model has one group of full layers and three of states, and blocks of 1,568 tokens. The pool has"
        " {blocks} blocks, and a request holds two in each group of states. How many tokens does the line say"
        " at `max_model_len` {long:,}?"
    ),
    hints=(
        "First the need of one request, then K, then K x max_model_len.",
        "The need is ceil({long} / 1568) + 3 x 2 blocks.",
    ),
    insight="{expected:,.0f}: the line is int(K x max_model_len), and moves with it while the pool stays.",
)
def next_line(blocks: int, short: int, long: int) -> float:
    """Plan the other length."""
    return _qwen(blocks, long).tokens


@mistake("8.6")
def the_line_stays(blocks: int, short: int, long: int) -> float:
    """This is what the line says at 65,536. The pool stays, and K times the length does not."""
    return _qwen(blocks, short).tokens


@mistake("8.6")
def blocks_times_block(blocks: int, short: int, long: int) -> float:
    """A part of every request's blocks holds states, and no token more. The line is K times the length."""
    return blocks * 1568


@mistake("8.6")
def states_are_forgotten(blocks: int, short: int, long: int) -> float:
    """Each of the three groups of states takes two blocks of a request besides."""
    return _qwen_if(blocks, long, 0)


@mistake("8.6")
def one_block_of_states(blocks: int, short: int, long: int) -> float:
    """With prefix caching a group of states holds two blocks of a request: that of now, and a cached one."""
    return _qwen_if(blocks, long, 1)


ask_letters(
    "8.7",
    "ac",
    hints=(
        "What is full in each: blocks, seats, or the tokens of a step?",
        "Two of the five are true. Look at usage and waiting together.",
    ),
    insight=(
        "Usage near 100 % and a queue: the pool. Usage low and a queue: seats or the token budget. Usage low,"
        " no queue and no hits: nothing is full, and no flag of size helps."
    ),
    remarks="""
        a: The pool is full in A. Usage is near 100 % and requests are preempted. More bytes, or fewer for a
           token, let more run.
        b: B does not lack blocks. Its usage is about 30 %. All 16 seats are taken: `max_num_seqs`.
        c: The token budget is used up in C. A step has 32 tokens. Whoever decodes takes one each, and little
           is left for prompts.
        d: Caching is on in D. Its common beginning of 370 tokens fills no block of 784, so nothing can be
           found.
        e: K is no limit. It counts requests of the longest length. Shorter ones hold fewer blocks, so more
           run.
    """,
)


def _blocks_and_prompts(rng: Random) -> dict[str, int]:
    block = rng.choice((544, 784, 1568, 2096))
    return {"block": block, "common": block + 16 * rng.randint(4, 20) + 7, "own": 100 * rng.randint(2, 6)}


@ask_number(
    "8.8",
    numbers={"block": 1568, "common": 2010, "own": 400},
    draw_numbers=_blocks_and_prompts,
    ask_with=(
        "Beside states a block has {block:,} tokens. All prompts begin with the same {common:,} tokens, and"
        " go on with {own} of their own. How many tokens does a later prompt find?"
    ),
    hints=(
        "What is the smallest thing that can be found?",
        "Whole blocks of {block} within {common} tokens.",
    ),
    insight=(
        "{expected:,.0f}. With a beginning of less than one block it would be 0, though caching is on and"
        " nothing is broken."
    ),
)
def found_in_large_blocks(block: int, common: int, own: int) -> float:
    """Count the whole blocks of the common beginning."""
    return common // block * block


@mistake("8.8", "Blocks of 16")
def blocks_of_16(block: int, common: int, own: int) -> float:
    """So it would be with blocks of 16. Beside states a block is as large as a state."""
    return common // 16 * 16


@mistake("8.8")
def parts_of_blocks(block: int, common: int, own: int) -> float:
    """A block is found whole, or not at all."""
    return common


@mistake("8.8")
def nothing_is_found(block: int, common: int, own: int) -> float:
    """The common beginning is longer than one block, so one is found."""
    return 0
