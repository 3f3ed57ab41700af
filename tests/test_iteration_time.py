from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_pools import ONE_SECOND

from paged_demo.serving.iteration_time import OPT_13B_ITERATION, OPT_13B_SWAP, Stretch


@given(
    num_requests=st.integers(1, 50),
    num_samples=st.integers(1, 4),
    num_tokens=st.integers(1, 15_000),
    now_s=st.floats(0, 100),
    wait_s=st.floats(0.001, 20),
)
def test_a_stretch_takes_the_time_of_its_iterations(num_requests, num_samples, num_tokens, now_s, wait_s):
    num_sequences = num_requests * num_samples
    stretch = Stretch(OPT_13B_ITERATION, now_s, num_requests, num_sequences, num_tokens)
    count = stretch.iterations_until(now_s + wait_s, 10**6)
    ends = [now_s]
    for iteration in range(1, count + 1):
        ends.append(
            ends[-1]
            + OPT_13B_ITERATION(
                num_batched=num_sequences,
                num_requests=num_requests,
                num_sequences=num_sequences,
                num_kv_tokens=num_tokens + iteration * num_sequences,
            )
        )
    assert now_s + stretch.elapsed_s(count) == pytest.approx(ends[-1])
    assert ends[-2] < now_s + wait_s + 1e-9
    assert ends[-1] > now_s + wait_s - 1e-9


def test_a_stretch_of_whole_seconds_ends_on_the_second_that_is_asked_for():
    stretch = Stretch(ONE_SECOND, 2.0, 1, 1, 10)
    assert [stretch.iterations_until(time_s, 99) for time_s in (2.0, 2.5, 3.0, 3.5, 9.0)] == [1, 1, 1, 2, 7]


@pytest.mark.parametrize("time_s", [8.5, 1e15, 1e300, 1.7e308])
def test_a_stretch_stops_at_the_most_iterations_however_far_the_time_is(time_s):
    assert Stretch(OPT_13B_ITERATION, 2.0, 1, 1, 10).iterations_until(time_s, 6) == 6


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        ({"fixed_s": -1.0}, ValueError, "fixed_s must be a finite number of seconds from 0 on, got -1.0"),
        ({"kv_read_s": float("nan")}, ValueError, "kv_read_s must be a finite number of seconds from 0 on"),
        ({"request_s": float("inf")}, ValueError, "request_s must be a finite number of seconds from 0 on"),
        ({"compute_s": "1"}, TypeError, "compute_s must be a number, got '1'"),
        ({"fixed_s": 0}, ValueError, "fixed_s and weights_s must not both be 0"),
    ],
)
def test_a_step_takes_a_finite_time_above_zero(times, error, message):
    with pytest.raises(error, match=message):
        replace(ONE_SECOND, **times)


def test_a_swap_takes_a_finite_time():
    with pytest.raises(ValueError, match="page_in_s must be a finite number of seconds from 0 on, got -2"):
        replace(OPT_13B_SWAP, page_in_s=-2)
