from dataclasses import replace

import numpy as np
import pytest
from amounts import amount
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import Request, alpaca, azure_code, azure_conv, poisson_arrivals, sharegpt
from paged_demo.serving.workload import check_requests, lognormal_mixture, weibull


def test_poisson_arrivals_have_the_mean_and_the_spread_of_an_exponential():
    requests = poisson_arrivals(
        [Request(request_id, 1, 1) for request_id in range(20_000)], rate_rps=4, rng=np.random.default_rng(0)
    )
    gaps = np.diff([0.0] + [request.arrival_s for request in requests])
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(1 / 4, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 4, rel=0.03)


@pytest.mark.parametrize("rate_rps", [0, -1, float("nan"), float("inf"), "4", True, None])
def test_a_rate_is_a_finite_number_above_zero(rate_rps):
    with pytest.raises((TypeError, ValueError), match="rate_rps must be a"):
        poisson_arrivals([Request(0, 1, 1)], rate_rps=rate_rps, rng=np.random.default_rng(0))


GOOD = Request(0, 3, 4, 1.0, 1)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (GOOD._replace(request_id=-1), ValueError, "request_id must be at least 0, got -1"),
        (GOOD._replace(request_id=True), TypeError, "request_id must be a whole number, got True"),
        (GOOD._replace(num_prompt_tokens=0), ValueError, "num_prompt_tokens of request 0 must be at least 1"),
        (GOOD._replace(num_prompt_tokens=2.0), TypeError, "num_prompt_tokens of request 0 must be a whole"),
        (GOOD._replace(num_output_tokens=0), ValueError, "num_output_tokens of request 0 must be at least 1"),
        (GOOD._replace(num_output_tokens="4"), TypeError, "num_output_tokens of request 0 must be a whole"),
        (GOOD._replace(num_samples=0), ValueError, "num_samples of request 0 must be at least 1, got 0"),
        (
            GOOD._replace(arrival_s=-1.0),
            ValueError,
            "arrival_s of request 0 must be from 0.0, got -1.0",
        ),
        (
            GOOD._replace(arrival_s=float("nan")),
            ValueError,
            "arrival_s of request 0 must be a finite number from 0 on, got nan",
        ),
        (
            GOOD._replace(arrival_s=float("inf")),
            ValueError,
            "arrival_s of request 0 must be a finite number from 0 on, got inf",
        ),
        (GOOD._replace(arrival_s="now"), TypeError, "arrival_s of request 0 must be a number, got 'now'"),
        ((0, 3, 4, 1.0, 1), TypeError, r"requests must hold Request records, got \(0, 3"),
    ],
)
def test_a_bad_request_is_named(bad, error, message):
    later = Request(9, 1, 1, 5.0)
    with pytest.raises(error, match=message):
        check_requests([bad, later])


def test_requests_are_in_the_order_of_their_arrival():
    early, nan = Request(1, 1, 1, 0.5), Request(2, 1, 1, float("nan"))
    with pytest.raises(ValueError, match=r"arrival_s of request 1 must be from 1\.0, got 0\.5"):
        check_requests([GOOD, early])
    with pytest.raises(ValueError, match="arrival_s of request 2 must be a finite"):
        check_requests([GOOD, nan, Request(3, 1, 1, 2.0)])


def test_whole_numbers_of_numpy_are_as_good_as_any():
    odd = [Request(np.int64(0), np.int32(3), np.uint64(4), np.float64(1.0)), Request(1, 3, 4, 1)]
    plain = check_requests(odd)
    assert plain == [Request(0, 3, 4, 1.0), Request(1, 3, 4, 1.0)]
    assert {type(number) for number in plain[0]} == {int, float}


def test_requests_need_ids_of_their_own_and_there_must_be_one():
    with pytest.raises(ValueError, match="requests must have ids of their own, got one twice"):
        check_requests([GOOD, GOOD])
    with pytest.raises(ValueError, match="requests must hold at least one request, got none"):
        check_requests([])
    with pytest.raises(TypeError, match="requests must be an iterable of Request records, got 5"):
        check_requests(5)


def test_arrivals_need_a_generator():
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator, got 0"):
        poisson_arrivals([GOOD], rate_rps=1, rng=0)


# Quantiles of 79,725 pairs of lengths from ShareGPT, whose means are those of Kwon et al. (2023), Fig. 11.
SHARES = [0.12, 0.24, 0.36, 0.48, 0.6, 0.72, 0.84, 0.92, 0.96]
SAMPLED_PROMPTS = [10, 15, 22, 33, 55, 107, 294, 619, 985]
SAMPLED_OUTPUTS = [57, 122, 194, 260, 330, 424, 598, 786, 961]


@pytest.fixture(scope="module")
def requests():
    return sharegpt.sample(amount(short=20_000, long=100_000), rng=np.random.default_rng(7))


def test_the_mean_lengths_are_those_of_the_paper_to_3_percent(requests):
    """Fig. 11 prints 161.31 and 337.99; the standard error here is about 1 token."""
    _, prompts, outputs, *_ = zip(*requests, strict=True)
    assert np.mean(prompts) == pytest.approx(161.31, rel=0.03)
    assert np.mean(outputs) == pytest.approx(337.99, rel=0.03)


@pytest.mark.parametrize(("side", "sampled"), [(1, SAMPLED_PROMPTS), (2, SAMPLED_OUTPUTS)])
def test_the_fits_stay_within_4_points_of_the_sampled_distribution(requests, side, sampled):
    """The fits are within 0.022 and 0.026 of it; whole tokens and this sample add up to 0.014."""
    lengths = np.array(requests)[:, side]
    shares_below = [(lengths <= length).mean() for length in sampled]
    assert np.abs(np.subtract(shares_below, SHARES)).max() < 0.04


def test_prompt_and_output_have_the_rank_correlation_of_their_copula():
    num_requests = amount(short=20_000, long=50_000)
    requests = sharegpt.sample(num_requests, rng=np.random.default_rng(3), context_limit=10**6)
    ranks = np.argsort(np.argsort(np.array(requests)[:, 1:3], axis=0), axis=0)
    expected = 6 / np.pi * np.arcsin(sharegpt.correlation / 2)
    assert np.corrcoef(ranks.T)[0, 1] == pytest.approx(expected, abs=0.015)


@given(seed=st.integers(0, 10**6), context_limit=st.integers(3, 3000))
def test_every_request_has_a_prompt_and_an_output_and_stays_below_the_context_limit(seed, context_limit):
    requests = sharegpt.sample(20, rng=np.random.default_rng(seed), context_limit=context_limit)
    assert [request.request_id for request in requests] == list(range(20))
    for request in requests:
        assert request.num_prompt_tokens >= 1
        assert request.num_output_tokens >= 1
        assert request.final_tokens < context_limit


def test_equal_seeds_give_equal_requests():
    first, second, other = (sharegpt.sample(50, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == second != other


def test_a_weibull_of_shape_1_is_exponential():
    shares = np.array([0.0, 0.5, 0.9])
    np.testing.assert_allclose(weibull(shape=1, scale=10)(shares), -10 * np.log(1 - shares))


def test_the_median_of_a_lognormal_is_exp_mu():
    quantile = lognormal_mixture((0.5, 3.0, 0.7), (0.5, 3.0, 0.7))
    assert quantile(np.array([0.5]))[0] == pytest.approx(np.exp(3.0), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_requests": 0}, ValueError, "num_requests must be at least 1, got 0"),
        ({"num_requests": 2.5}, TypeError, "num_requests must be a whole number, got 2.5"),
        ({"num_requests": 1, "context_limit": 2}, ValueError, "context_limit must be at least 3, got 2"),
    ],
)
def test_bad_counts_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        sharegpt.sample(**arguments, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("distribution", "mean_prompt", "mean_output"),
    [(alpaca, 19.31, 58.45), (azure_code, 2047.8, 27.88), (azure_conv, 1154.7, 211.13)],
)
def test_the_other_samples_have_their_mean_lengths_to_5_percent(distribution, mean_prompt, mean_output):
    """Fig. 11 for Alpaca, the means of the two Azure traces for the others."""
    num_requests = amount(short=15_000, long=60_000)
    requests = distribution.sample(num_requests, rng=np.random.default_rng(5), context_limit=16_384)
    assert np.mean([request.num_prompt_tokens for request in requests]) == pytest.approx(
        mean_prompt, rel=0.05
    )
    assert np.mean([request.num_output_tokens for request in requests]) == pytest.approx(
        mean_output, rel=0.05
    )


def test_a_sum_of_numpys_small_integers_does_not_overflow():
    final_tokens = Request(0, np.int8(100), np.int8(100)).final_tokens
    assert final_tokens == 200
    assert type(final_tokens) is int


def test_a_rate_at_which_nobody_ever_arrives_is_named():
    with pytest.raises(ValueError, match="rate_rps must be large enough for finite times, got 5e-324"):
        poisson_arrivals([GOOD], rate_rps=5e-324, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"prompt_quantile": lambda shares: shares * np.nan},
            ValueError,
            "prompt_quantile must return lengths",
        ),
        (
            {"output_quantile": lambda shares: shares * np.nan},
            ValueError,
            "output_quantile must return lengths",
        ),
        ({"prompt_quantile": 5}, TypeError, "prompt_quantile must be a function"),
        ({"correlation": 1.1}, ValueError, r"correlation must be from -1 to 1, got 1\.1"),
        ({"correlation": np.nan}, ValueError, "correlation must be from -1 to 1, got nan"),
        ({"correlation": "0"}, TypeError, "correlation must be a number, got '0'"),
    ],
)
def test_a_distribution_that_gives_no_lengths_is_named(change, error, message):
    with pytest.raises(error, match=message):
        replace(alpaca, **change).sample(5, rng=np.random.default_rng(0))


@pytest.mark.parametrize("length", [1e6, 1e30, np.inf])
def test_lengths_beyond_every_limit_are_cut_however_long(length):
    endless = replace(alpaca, output_quantile=lambda shares: np.full_like(shares, length))
    requests = endless.sample(5, rng=np.random.default_rng(0), context_limit=100)
    assert {request.final_tokens for request in requests} == {99}
