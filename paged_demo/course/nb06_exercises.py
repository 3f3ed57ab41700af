"""Predictions and exercises of notebook 06: whom to preempt, what a watermark does, which page size."""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

from paged_demo.course.exercises.functions import ask_function
from paged_demo.course.exercises.kinds import ask_letters, mistake
from paged_demo.course.exercises.numbers import ask_number
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.course.exercises.reading import read_text
from paged_demo.paper.experiment import SERVERS, draw_trace
from paged_demo.paper.knee import QUEUE_LENGTH, capacity_rps
from paged_demo.paper.numbers import FIG_19A_MS, MAX_TOKENS, NUM_SLOTS_13B, SUSTAINED_LATENCY_S
from paged_demo.paper.sensitivity import Setup
from paged_demo.serving.rules import PagedPool, Rules
from paged_demo.serving.run import Run
from paged_demo.serving.simulator import simulate
from paged_demo.serving.workload import alpaca, poisson_arrivals, sharegpt

CAPSTONE_RATE_RPS = 27.0
CAPSTONE_PAGE_SIZES = (16, 32, 64, 128, 256, 512)


class Running(NamedTuple):
    """A running request.

    Attributes
    ----------
    name : str
        Who it is.
    num_tokens : int
        Tokens it holds.
    start_s : float
        When it was admitted, in seconds.
    """

    name: str
    num_tokens: int
    start_s: float


def victim_cases() -> Iterable[tuple[list[Running]]]:
    """Make lists of running requests, the shortest first, in which no two rules choose alike throughout."""
    rng = np.random.default_rng(6)
    yield ([Running("A", 30, 0.0), Running("B", 20, 1.0)],)
    yield ([Running("B", 10, 1.0), Running("A", 30, 0.0)],)
    yield ([Running("A", 30, 0.0), Running("C", 40, 2.5), Running("B", 10, 1.0)],)
    for num_running in (3, 3, 4, 4, 5, 6, 6, 6):
        names = rng.permutation(["A1", "B2", "C3", "D4", "E5", "F6"])[:num_running].tolist()
        lengths = rng.permutation(100)[:num_running].tolist()
        start_times = (8 + rng.permutation(2 * num_running)[:num_running] / 2).tolist()
        yield (list(map(Running, names, lengths, start_times)),)


def tell_victim_case(case: tuple[list[Running]]) -> str:
    """Write who runs, in words."""
    told = [f"{name} ({num_tokens} tokens, since {start_s:g} s)" for name, num_tokens, start_s in case[0]]
    return f"the running requests {', '.join(told)}"


@ask_function(
    "6.1",
    cases=victim_cases,
    tell=tell_victim_case,
    read=read_text,
    hints=(
        "Who would overtake somebody if they stayed?",
        "`max(running, key=...)` by the time of admission, and then its name.",
    ),
    insight=(
        "First come, first served holds even when somebody has to go: whoever came first is never overtaken,"
        " so every request ends."
    ),
)
def victim(running: list[Running]) -> str:
    """Choose the request that was admitted last."""
    return max(running, key=lambda request: request.start_s).name


@mistake("6.1")
def the_oldest_goes(running: list[Running]) -> str:
    """The oldest has the most work behind it, and it could be sent back again and again."""
    return min(running, key=lambda request: request.start_s).name


@mistake("6.1")
def the_longest_goes(running: list[Running]) -> str:
    """That frees the most pages and throws away the most work. A long request may never end."""
    return max(running, key=lambda request: request.num_tokens).name


@mistake("6.1")
def the_shortest_goes(running: list[Running]) -> str:
    """That throws away little, and frees little. A request that came first may be the shortest."""
    return min(running, key=lambda request: request.num_tokens).name


@mistake("6.1")
def the_last_of_the_list(running: list[Running]) -> str:
    """The list is in no order. Look at the time of admission."""
    return running[-1].name


@mistake("6.1")
def the_first_of_the_list(running: list[Running]) -> str:
    """The list is in no order. Look at the time of admission."""
    return running[0].name


ask_letters(
    "6.2",
    "ac",
    hints=(
        "Serve the trace again with `watermark_share=0.0`, `0.01` and `0.2`, and compare the records.",
        "Two of the four are true.",
    ),
    insight=(
        "A few pages kept free spare many preemptions. Kept in excess they are lost to everybody: the"
        " watermark trades the batch for calm. (5 % would serve this trace better; 1 % was the default of the"
        " vLLM of 2023. V1 had no watermark until pull request 44594; in vLLM 0.33.0 it is off by default.)"
    ),
    remarks="""
        a: Fewer preemptions. The pages kept free serve growth, and growth is what preempts.
        b: Not a larger batch. Keeping pages free admits somewhat fewer at a time.
        c: Less work twice. What is preempted is computed again. Fewer preemptions are less work.
        d: Too much of it. A fifth of the pool that nobody may start in makes the pool smaller.
    """,
)


def first_page_size_at_which_swapping_wins(*ways: str, slowness: float) -> int:
    """Find the smallest page size of Fig. 19a at which these copies take less time than to compute again.

    Computing takes so many times as long as there.
    """
    return next(
        page_size
        for page_size, recompute_ms in FIG_19A_MS["recompute"].items()
        if sum(FIG_19A_MS[way][page_size] for way in ways) < slowness * recompute_ms
    )


@ask_number(
    "6.3",
    numbers={"slowness": 1},
    # At these all mistakes differ.
    draw_numbers=lambda rng: {"slowness": rng.choice((1.1, 1.2, 1.3, 1.4, 1.8, 2))},
    ask_with=(
        "Another GPU takes {slowness} times as long to compute a request again as the paper draws, and as"
        " long to swap. From which page size on does swapping a request out and back in take less time than"
        " computing it again?"
    ),
    hints=(
        "A page that is swapped out has to come back: add the two.",
        '`FIG_19A_MS["swap in"][size] + FIG_19A_MS["swap out"][size]` against `"recompute"`.',
    ),
    insight=(
        "From pages of {expected:.0f} on. Small pages are many copies, and each has a cost of its own;"
        " computing does not care about pages."
    ),
)
def page_size_for_swapping(slowness: float) -> float:
    """Add the copies of both ways."""
    return first_page_size_at_which_swapping_wins("swap in", "swap out", slowness=slowness)


@mistake("6.3")
def out_is_forgotten(slowness: float) -> float:
    """This is where coming back alone takes less. The pages had to leave first."""
    return first_page_size_at_which_swapping_wins("swap in", slowness=slowness)


@mistake("6.3")
def in_is_forgotten(slowness: float) -> float:
    """This is where leaving alone takes less. The pages have to come back."""
    return first_page_size_at_which_swapping_wins("swap out", slowness=slowness)


@ask_number(
    "6.4",
    numbers={"rate_rps": CAPSTONE_RATE_RPS},
    draw_numbers=lambda rng: {"rate_rps": float(rng.choice((18, 20, 24, 25, 29)))},
    ask_with=(
        "You serve short instructions (Alpaca) at {rate_rps:g} requests per second with the same server. Of"
        " the page sizes 16, 32, 64, 128, 256 and 512, which is the largest that keeps latency at 0.5 s per"
        " token or less, over five minutes of trace, drawn with `np.random.default_rng(0)`?"
    ),
    hints=(
        "`simulate(trace, PagedPool(num_pages=NUM_SLOTS_13B // size, page_size=size))` for each size.",
        "Compare `normalised_latency_s` with 0.5 s per token; the largest size below it is asked for.",
    ),
    insight=(
        "{expected:.0f}: short texts leave most of a larger page empty. Which size up to it is best is for"
        " the kernel to say, which likes large pages, and for sharing, which likes small ones."
    ),
)
@cache
def largest_page_size_that_sustains(rate_rps: float) -> float:
    """Serve five minutes of Alpaca from ever smaller pages; return the first size that keeps the latency."""
    rng = np.random.default_rng(0)
    trace = draw_trace(alpaca, rate_rps=rate_rps, duration_s=300, rng=rng)
    rules = Rules(iteration_time=SERVERS["OPT-13B"].iteration_time)
    return next(
        size
        for size in reversed(CAPSTONE_PAGE_SIZES)
        if simulate(
            trace, PagedPool(num_pages=NUM_SLOTS_13B // size, page_size=size), rules=rules
        ).normalised_latency_s
        <= SUSTAINED_LATENCY_S
    )


@mistake("6.4")
def the_default(rate_rps: float) -> float:
    """16 sustains the rate, and larger pages do too. The largest one is asked for."""
    return 16


@mistake("6.4")
def one_step_too_far(rate_rps: float) -> float:
    """At this size so few requests fit that the queue grows without end."""
    return 2 * largest_page_size_that_sustains(rate_rps)


@mistake("6.4")
def one_step_too_few(rate_rps: float) -> float:
    """It sustains the rate with room to spare: try the next size."""
    return largest_page_size_that_sustains(rate_rps) / 2


@ask_before("6.1", unit="requests", because="four reservations of 64 slots fill the pool of 256")
def running_where_slots_are_reserved() -> int:
    """Serve the sixteen requests by reservations, and count those that run at once."""
    # Matplotlib is slow to load, and the notebook has loaded it.
    from paged_demo.course.nb06 import SMALL_SERVERS, film_of, small_requests  # noqa: PLC0415

    film = film_of(small_requests(), SMALL_SERVERS["traditional"])
    return max(len(snapshot.future_tokens) for snapshot in film)


@cache
def served_at_two_per_second(scheme: str) -> Run:
    """Serve 400 requests of ShareGPT at two per second."""
    rng = np.random.default_rng(0)
    requests = poisson_arrivals(sharegpt.sample(400, rng=rng, context_limit=MAX_TOKENS), rate_rps=2, rng=rng)
    return simulate(requests, SERVERS["OPT-13B"].pools()[scheme])


@ask_before("6.2", because="requests of all three kinds of Orca wait in an ever longer queue")
def who_keeps_up() -> str:
    """Say which of the schemes keep up with two requests per second."""
    keep_up = [
        scheme
        for scheme in SERVERS["OPT-13B"].pools()
        if served_at_two_per_second(scheme).normalised_latency_s <= SUSTAINED_LATENCY_S
    ]
    return {4: "a", 2: "b", 1: "c"}[len(keep_up)]


@cache
def gain_of_pages(pool_size: float = 1.0) -> float:
    """Measure vLLM's gain over Orca (Max) while neither queue is ever empty, in a pool of another size."""
    setup = Setup(num_slots=round(pool_size * NUM_SLOTS_13B))
    queue = sharegpt.sample(QUEUE_LENGTH, rng=np.random.default_rng(0))
    paged, reserving = (capacity_rps(queue, pool) for pool in (setup.paged(), setup.reserving()))
    return paged / reserving


@ask_before(
    "6.3",
    unit="times",
    because="4.3 times as many requests run, and an iteration with a larger batch takes longer",
)
def times_the_rate() -> float:
    """Measure vLLM's gain, to two digits."""
    return round(gain_of_pages(), 1)


@ask_before(
    "6.4",
    unit="requests",
    because="seven tokens come in each iteration, and a request leaves after 338 of them, on average",
)
def leaving_in_a_second() -> float:
    """Compute the rate at which requests leave Orca (Max), from its batch, an iteration, and the outputs."""
    from paged_demo.course.nb06_knees import knee_by_hand  # noqa: PLC0415

    _, _, leaving_rps = knee_by_hand("Orca (Max)")
    return round(leaving_rps, 2)


@ask_before("6.5", because="a larger pool has room for nine reservations instead of seven")
def gain_of_a_larger_pool() -> str:
    """Say whether vLLM gains more from a pool that is a fifth larger than Orca (Max) does."""
    return "a" if gain_of_pages(1.2) > gain_of_pages() else "b"


@ask_before("6.6", because="no iteration computes more than the budget, so the next token is never far")
def who_gains_from_pieces() -> str:
    """Serve with whole prompts and in pieces of 256, and say which time becomes shorter."""
    from paged_demo.course.nb06 import served_by_budget  # noqa: PLC0415

    whole, pieces = served_by_budget(rate_rps=1)
    first = pieces[256].mean_time_to_first_token_s < whole.mean_time_to_first_token_s
    gap = pieces[256].longest_gap_s < whole.longest_gap_s
    return {(True, False): "a", (False, True): "b"}[first, gap]
