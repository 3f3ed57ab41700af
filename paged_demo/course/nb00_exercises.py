"""Predictions and exercises of notebook 00: page sizes between the two ends of the dial."""

from functools import cache

import numpy as np

from paged_demo.allocators.studies import keep_one_sequence
from paged_demo.course.exercises.kinds import ask_letters, mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.model import LLAMA_2_7B, MIB
from paged_demo.paper.numbers import MAX_TOKENS, NUM_SLOTS_13B, PAGE_SIZE
from paged_demo.serving.saturation import fill_by_page_size
from paged_demo.serving.workload import sharegpt

ASKED_PAGE_SIZE = 512


@cache
def running_requests(page_size: int, num_slots: int) -> float:
    """Measure the batch at one page size, as notebook 00 does."""
    requests = sharegpt.sample(400, rng=np.random.default_rng(9))
    return fill_by_page_size(requests, [page_size], num_slots=num_slots)[page_size].mean_running


@ask_before(
    "0.1",
    unit="requests",
    because="a request holds no more pages than its tokens need, so nearly every slot holds a token",
)
def running_requests_of_the_papers_pages() -> float:
    """Measure the batch at pages of 16."""
    return round(running_requests(PAGE_SIZE, NUM_SLOTS_13B), 1)


@ask_before("0.2", unit="MiB", because="500 tokens take 32 pages of 16, and each token takes 512 KiB")
def held_by_500_tokens() -> float:
    """Compute what 500 tokens of Llama-2-7B hold in pages of 16."""
    return LLAMA_2_7B.bytes_of(keep_one_sequence(500, page_size=PAGE_SIZE)["paged"].allocated) / MIB


@ask_number(
    "0.1",
    numbers={"num_slots": NUM_SLOTS_13B},
    draw_numbers=lambda rng: {"num_slots": ASKED_PAGE_SIZE * rng.randint(12, 40) * 2},
    ask_with=(
        f"About how many requests run at once with pages of {ASKED_PAGE_SIZE} slots, in a pool of"
        " {num_slots:,} slots?"
    ),
    tolerance=0.15,
    hints=(
        f"How many pages of {ASKED_PAGE_SIZE} slots does the pool of {{num_slots:,}} have?",
        "The words under the dial give the tokens that the requests hold at page size 16: about 475 each."
        " Some hold more than 512, and then they hold a second page, or a third.",
    ),
    insight=(
        "It is {expected:.1f}. What decides is not how many tokens a request holds, but how many"
        " pages it began."
    ),
)
def running_requests_at_the_asked_page_size(num_slots: int) -> float:
    """Read the dial at 512."""
    return running_requests(ASKED_PAGE_SIZE, num_slots)


@mistake("0.1")
def the_other_end_of_the_dial(num_slots: int) -> float:
    """So many requests run when each holds 2,048 slots. With pages of 512, a request that has 400 tokens so
    far holds one page, a quarter of that.
    """
    return num_slots // MAX_TOKENS


@mistake("0.1")
def as_with_small_pages(num_slots: int) -> float:
    """So many run with pages of 16, where a request's last page wastes 15 slots at most. With pages of 512
    the last page is half empty on average, and that is hundreds of slots for everybody.
    """
    return running_requests(PAGE_SIZE, num_slots)


@mistake("0.1")
def one_page_for_everybody(num_slots: int) -> float:
    """So many pages does the pool have. But a request that grows beyond 512 tokens takes a second page, and
    one beyond 1,024 a third: there are fewer requests than pages.
    """
    return num_slots // ASKED_PAGE_SIZE


@mistake("0.1")
def two_pages_for_everybody(num_slots: int) -> float:
    """Half of the pages: that is two for each request. But most running requests still have fewer than 512
    tokens, and hold one.
    """
    return num_slots // ASKED_PAGE_SIZE // 2


@ask_number(
    "0.2",
    numbers={"max_tokens": MAX_TOKENS},
    draw_numbers=lambda rng: {"max_tokens": 1024 * rng.choice((1, 3, 4, 6, 8, 16, 32))},
    ask_with=(
        "The longest possible sequence of a model has {max_tokens:,} tokens. At which page size is its pool"
        " the system that the paper calls Orca (Max)?"
    ),
    hints=(
        "Orca (Max) reserves room for the longest possible sequence as soon as a request starts.",
        "At which page size does one page hold the longest possible sequence?",
    ),
    insight="Reserving the greatest length for everybody is paging with one page of that size per request.",
)
def page_size_of_orca_max(max_tokens: int) -> float:
    """Hold as many slots in a page as the longest sequence has tokens."""
    return max_tokens


@mistake("0.2")
def the_wrong_end(max_tokens: int) -> float:
    """Pages of one slot are the finest there are: a request holds exactly its tokens. Orca (Max) holds as
    much as a request could ever need.
    """
    return 1


@mistake("0.2", "That is vLLM")
def that_is_vllm(max_tokens: int) -> float:
    """Pages of 16 are the default of the paper's vLLM. Orca (Max) is one of those it is compared with."""
    return PAGE_SIZE


ask_letters(
    "0.3",
    "c",
    hints=("When does a server take the memory of its pool, and when does it give it back?",),
    insight="Paging never shrinks the pool. It raises how many requests the pool holds.",
    remarks="""
        a: The pool is not the sequence. The sequence holds less; the pool has as many slots as before. The
           768 MiB lie in the same pool, free for other requests.
        b: Nothing goes back to the GPU. A server takes the pool at start-up and keeps it. Pages that are
           freed go back to the pool, not to the GPU.
        d: The tokens are not smaller. A token's keys and values take the same bytes wherever they lie. Paging
           compresses nothing.
    """,
)
