"""Exercises of notebook 09: the pages of a window, the bytes of a latent, and what several groups find."""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random

from paged_demo.allocators.group_kinds import FullGroup, SlidingGroup, StateGroup
from paged_demo.allocators.groups import GroupedAllocator
from paged_demo.course.exercises.functions import ask_function
from paged_demo.course.exercises.kinds import ask_letters, mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.course.nb09_layers import QWEN, requests_of, tell_growth
from paged_demo.sizing.layers import Latent
from paged_demo.sizing.pages import raise_block
from paged_demo.sizing.presets import model_of
from paged_demo.sizing.server import Server


def window_cases() -> Iterator[tuple[int, int, int]]:
    """Make windows, pages and chunks, the smallest first."""
    return product((1, 2, 6, 7, 17, 1024), (4, 1, 3, 16), (1, 2, 5, 512))


@ask_function(
    "9.1",
    cases=window_cases,
    tell="a window of {0}, pages of {1}, and {2} tokens computed at once",
    hints=(
        "How many tokens in a row have to be in pages at once, those that are being computed included?",
        "The first of the new tokens reads window - 1 before it: window - 1 + chunk tokens in a row.",
        "They may begin with the last slot of a page. How many pages do the others need then?",
    ),
    insight=(
        "It does not depend on the length of the sequence. vLLM 0.33.0 reserves the pages of these tokens,"
        " rounded up, and one more: as many, or one above. Its chunk is every token that may be in flight."
    ),
)
def most_pages(window: int, page_size: int, chunk: int) -> int:
    """Return the most pages that a sliding group holds, with so many tokens computed at once."""
    tokens = window - 1 + chunk
    return (tokens + page_size - 2) // page_size + 1


@mistake("9.1")
def a_window_that_begins_with_a_page(window: int, page_size: int, chunk: int) -> int:
    """The tokens in a row need not begin where a page does. In the worst case the first one lies in the last
    slot of a page.
    """
    return -(-(window - 1 + chunk) // page_size)


@mistake("9.1")
def the_new_tokens_are_left_out(window: int, page_size: int, chunk: int) -> int:
    """While the new tokens are computed they lie in pages too, beside the window of the first of them."""
    return (window - 1 + page_size - 1) // page_size + 1


@mistake("9.1")
def one_token_too_many(window: int, page_size: int, chunk: int) -> int:
    """The first of the new tokens is part of its own window: window - 1 + chunk tokens are in a row. (vLLM
    0.33.0 reserves so many pages, to be safe.)
    """
    return (window + chunk + page_size - 2) // page_size + 1


@mistake("9.1")
def two_runs_of_pages(window: int, page_size: int, chunk: int) -> int:
    """The new tokens follow the window without a gap, and may share a page with its end: it is one run."""
    return (window + page_size - 3) // page_size + (chunk + page_size - 2) // page_size + 2


@mistake("9.1", "Tokens, not pages")
def tokens_not_pages(window: int, page_size: int, chunk: int) -> int:
    """So many tokens have to be in pages at once. How many pages can that be?"""
    return window - 1 + chunk


def draw_latents(rng: Random) -> dict[str, int]:
    """Draw the shape of another model with latent vectors."""
    return {
        "layers": rng.choice([27, 40, 48, 60]),
        "heads": rng.choice([16, 64, 96]),
        "latent": rng.choice([256, 384, 512]),
        "rope": rng.choice([32, 64]),
    }


@ask_number(
    "9.2",
    numbers={"layers": 61, "heads": 128, "latent": 512, "rope": 64},
    draw_numbers=draw_latents,
    ask_with=(
        "A model has {layers} layers, {heads} heads, a latent vector of {latent} numbers and {rope} for the"
        " position. How many bytes does a token take, with numbers of 2 bytes?"
    ),
    hints=(
        "A token keeps two parts in each layer: the latent vector and that of the position.",
        "Numbers have 2 bytes. K and V are both made of the same ones, so nothing is doubled.",
    ),
    insight=(
        "{expected:,} bytes, however many heads there are. And every GPU of a tensor-parallel group keeps the"
        " whole vector, since all heads read it."
    ),
)
def bytes_of_a_latent_token(layers: int, heads: int, latent: int, rope: int) -> int:
    """Compute the bytes of a token of a model with latent vectors, in bfloat16."""
    return layers * int(Latent(latent=latent, rope=rope).bytes_per_token())


@mistake("9.2")
def keys_and_values_of_all_heads(layers: int, heads: int, latent: int, rope: int) -> int:
    """This counts K and V of {heads} heads. The model keeps the one vector that they are made of."""
    return layers * 2 * heads * 128 * 2


@mistake("9.2")
def the_vector_twice(layers: int, heads: int, latent: int, rope: int) -> int:
    """There is no second vector for V: keys and values are made of the same one."""
    return layers * 2 * (latent + rope) * 2


@mistake("9.2")
def the_position_is_left_out(layers: int, heads: int, latent: int, rope: int) -> int:
    """The part of the key that carries the position cannot be made of the latent vector, and is kept beside
    it.
    """
    return layers * latent * 2


@mistake("9.2")
def one_layer(layers: int, heads: int, latent: int, rope: int) -> int:
    """That is a token in one layer. Every layer keeps a vector of its own."""
    return (latent + rope) * 2


@mistake("9.2")
def numbers_not_bytes(layers: int, heads: int, latent: int, rope: int) -> int:
    """Those are numbers. Each of them has 2 bytes."""
    return layers * (latent + rope)


ask_letters(
    "9.3",
    "bce",
    hints=(
        "Three of the five fit. `nb09.bytes_of_request` counts the bytes of one request.",
        "12 GiB are `12 * 2**30` bytes. Only layers that keep every token grow with the context.",
    ),
    insight=(
        "How long the context is decides less than how many layers keep all of it. Of the 36 layers of"
        " gpt-oss-120b half have a window of 128."
    ),
    remarks="""
        a: All 32 layers keep everything. 131,072 bytes a token, times 131,072 tokens, are 16 GiB.
        b: This one fits. 10 of its 62 layers keep all tokens, the others 1,024 each.
        c: This one fits. 163,840 tokens of 70,272 bytes are 10.72 GiB.
        d: A quarter of the layers is still 16. They keep 65,536 bytes a token, 16 GiB in all; the states
           hardly count.
        e: This one fits. 18 of its layers keep all tokens, of 2,048 bytes each.
    """,
)


@ask_number(
    "9.4",
    numbers={"page_size": 528},
    draw_numbers=lambda rng: {"page_size": rng.choice([272, 544, 784, 1056, 1568])},
    ask_with="A page holds {page_size} tokens. Which is the shortest prompt that can find something?",
    hints=(
        "At most whole pages of n - 1 tokens are found. When is that one page?",
        "A prompt of as many tokens as a page is one too short: its last token is always computed.",
    ),
    insight=(
        "{expected:,} tokens find {page_size:,}. Below that the hit rate is 0 %, and nothing is broken: what"
        " helps is a smaller state or a longer common beginning, not a larger pool."
    ),
)
def shortest_hit(page_size: int) -> int:
    """Return the length of the shortest prompt that can find something, with pages of so many tokens."""
    return page_size + 1


@mistake("9.4")
def the_last_token_was_forgotten(page_size: int) -> int:
    """The last token is always computed, since its output is wanted. So of {page_size} tokens no whole page
    can be found.
    """
    return page_size


@mistake("9.4")
def two_pages(page_size: int) -> int:
    """One page that is found is a hit already."""
    return 2 * page_size


@mistake("9.4")
def a_page_of_16(page_size: int) -> int:
    """The page was raised, so that it is as large as a state. No smaller part of it can be found."""
    return 17


HitCase = tuple[int, list[int], int, int]
"""Pages in a row that the full group finds, those that the sliding group finds, the window, the page size."""


def hit_cases() -> Iterator[HitCase]:
    """Make what two groups find, the simplest first."""
    yield 1, [0], 4, 4
    yield 2, [0], 4, 4
    yield 3, [2], 5, 4
    yield 3, [1, 2], 6, 4
    yield 0, [0, 1], 4, 4
    yield 1, [0, 1], 1, 4
    yield 2, [], 1, 4
    rng = Random(0)
    for _ in range(400):
        num_pages, page_size = rng.randint(1, 7), rng.choice([1, 2, 4, 16])
        found = [page for page in range(num_pages) if rng.random() < 0.7]
        yield rng.randint(0, num_pages), found, rng.randint(1, 4 * page_size), page_size


@ask_function(
    "9.5",
    cases=hit_cases,
    tell="the full group finds {0} in a row, the sliding one pages {1}; a window of {2}, pages of {3}",
    hints=(
        "Try the longest beginning that the full group finds; if the other has it not, one page less.",
        "The token after k pages reads window - 1 tokens before it. In which page is the first of them?",
        "`first = max(0, k * page_size - window + 1) // page_size`; needed are `first` to `k - 1`.",
    ),
    insight=(
        "A longer beginning may be a hit where a shorter one is none: what is needed of the sliding group"
        " moves along with it. vLLM 0.33.0 answers the same, on recorded histories."
    ),
)
def found_by_both(full_run: int, sliding: Sequence[int], window: int, page_size: int) -> int:
    """Return how many tokens of a prompt both groups find."""
    for pages in range(full_run, 0, -1):
        first = max(0, pages * page_size - window + 1) // page_size
        if all(page in sliding for page in range(first, pages)):
            return pages * page_size
    return 0


@mistake("9.5")
def every_page_is_asked_for(full_run: int, sliding: Sequence[int], window: int, page_size: int) -> int:
    """The sliding group needs the pages of the window alone. Those before may be long gone."""
    return next(page for page in range(full_run + 1) if page == full_run or page not in sliding) * page_size


@mistake("9.5")
def the_full_group_decides_alone(full_run: int, sliding: Sequence[int], window: int, page_size: int) -> int:
    """What the layers with a window would read may have been evicted. Both groups have to find it."""
    return full_run * page_size


@mistake("9.5")
def only_the_last_page(full_run: int, sliding: Sequence[int], window: int, page_size: int) -> int:
    """A window may reach over several pages; all of them are needed."""
    return next((pages for pages in range(full_run, 0, -1) if pages - 1 in sliding), 0) * page_size


@mistake("9.5")
def the_longest_or_nothing(full_run: int, sliding: Sequence[int], window: int, page_size: int) -> int:
    """If the longest beginning is none for the sliding group, a shorter one still may be."""
    first = max(0, full_run * page_size - window + 1) // page_size
    return full_run * page_size if {*range(first, full_run)} <= {*sliding} else 0


@mistake("9.5")
def a_window_one_token_longer(full_run: int, sliding: Sequence[int], window: int, page_size: int) -> int:
    """The next token sees itself and window - 1 before it, not window before it."""
    return found_by_both(full_run, sliding, window + 1, page_size)


@mistake("9.5", "Pages, not tokens")
def pages_not_tokens(full_run: int, sliding: Sequence[int], window: int, page_size: int) -> int:
    """This counts pages. Tokens are asked for."""
    return found_by_both(full_run, sliding, window, page_size) // page_size


@ask_before(
    "9.1",
    unit="pages",
    because="the last token reads 5 tokens before it, and the six lie in two pages; what is behind went back",
)
def held_by_the_window() -> int:
    """Count the pages of the sliding group at the end of the story."""
    return sum(page_id is not None for page_id in tell_growth()[-1].tables["sliding"])


@ask_before("9.2", unit="times", because="only 10 of its 62 layers keep all tokens")
def times_too_much() -> float:
    """Compute how many times too much a calculator says that does not know windows."""
    wrong, right, *_ = requests_of(131_072).values()
    return wrong / right


@ask_before(
    "9.3", unit="tokens", because="its 700 tokens do not fill the one page of 784 that could be found"
)
def found_of_700() -> int:
    """Ask a prompt of 700 tokens twice, with the pages of Qwen3.5-27B."""
    layers = [layer for layer in model_of(QWEN).layers if layer]
    raised = raise_block(layers, Server(state_bytes=4))
    size = raised.block_size if raised else 16
    pool = GroupedAllocator(8, size, [FullGroup(), StateGroup()], prefix_caching=True)
    pool.allocate("first", range(700))
    return pool.allocate("second", range(700))


@ask_before("9.4", because="the next token reads 11 tokens before it, and they lie in the last three pages")
def what_may_be_forgotten() -> str:
    """Say which pages a sliding group does not need after 8 pages of 4, with a window of 12."""
    return {8: "a", 5: "b", 0: "c"}[SlidingGroup(window=12).first_kept(32, page_size=4)]
