"""Predictions of notebook 02: who wastes what."""

from functools import cache

import numpy as np

from paged_demo.allocators.memory_map import account
from paged_demo.allocators.traditional import TraditionalAllocator
from paged_demo.course.exercises.predictions import ask_before
from paged_demo.course.nb02_film import RESERVATIONS, film
from paged_demo.paper.memory_figures import fig_2
from paged_demo.serving.workload import sharegpt


@ask_before(
    "2.1", unit="slots", because="the hole takes the request, and only a hole that is too short is waste"
)
def external_waste_for_a_shorter_request() -> int:
    """Ask for 16 slots from a pool that holds a run of 32, a run of 16, and a hole of 16."""
    longest = {7: 32, 3: 16}
    pool = TraditionalAllocator(64, reserve=lambda num_prompt_tokens, final: longest[num_prompt_tokens])
    pool.allocate("A", range(7), final_tokens=10)
    pool.allocate("B", range(3), final_tokens=5)
    return account(pool.memory_map(), {"A": 3, "B": 2}, request_slots=16).external


@ask_before(
    "2.2",
    unit="%",
    because="a run is held whole before its tokens come, and buddies round each run up",
)
def filled_by_an_oracle_with_buddies() -> float:
    """Measure the share of the small pool that holds a token, in percent."""
    return round(100 * film("oracle", "buddy", 64, 0.5).mean_used_share, 1)


@ask_before("2.3", because="only max reserves the greatest length; the others follow the request")
def fewer_requests_with_a_longer_maximum() -> str:
    """Double the greatest length, and see who loses more than a tenth of the requests that run."""
    fewer = [
        reservation
        for reservation in RESERVATIONS
        if film(reservation, "first fit", 128, 0.5).mean_running
        < 0.9 * film(reservation, "first fit", 64, 0.5).mean_running
    ]
    return {("max",): "a", ("max", "pow2"): "b", RESERVATIONS: "c"}[tuple(fewer)]


@ask_before("2.4", because="its guess is a power of two for the output, and the buddies round the sum again")
@cache
def largest_waste_of_pow2() -> str:
    """Compare the wastes of Orca (Pow2) in one run of Fig. 2."""
    parts = fig_2(seeds=[0]).rows["Orca (Pow2)"]
    wastes = {"a": parts["reserved"], "b": parts["internal"], "c": parts["rounding"]}
    return max(wastes, key=lambda letter: wastes[letter].mean)


@ask_before(
    "2.5",
    unit="%",
    because="a request holds a slot for each token of its output from the start, and half of them are empty"
    " on average",
)
def filled_without_a_hole() -> float:
    """Weight each chat by the iterations it stays, and compare what it fills with what it holds."""
    requests = sharegpt.sample(20_000, rng=np.random.default_rng(0))
    prompts = np.array([request.num_prompt_tokens for request in requests])
    outputs = np.array([request.num_output_tokens for request in requests])
    filled = np.average(prompts + outputs / 2, weights=outputs)
    held = np.average(prompts + outputs, weights=outputs)
    return round(100 * float(filled / held), 1)
