import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import alpaca, azure_code, azure_conv, sharegpt
from paged_demo.serving.workload import lognormal_mixture, weibull

# Quantiles of the 79,725 sampled ShareGPT conversations behind Kwon et al. (2023), Fig. 11.
SHARES = [0.12, 0.24, 0.36, 0.48, 0.6, 0.72, 0.84, 0.92, 0.96]
SAMPLED_PROMPTS = [10, 15, 22, 33, 55, 107, 294, 619, 985]
SAMPLED_OUTPUTS = [57, 122, 194, 260, 330, 424, 598, 786, 961]


@pytest.fixture(scope="module")
def requests():
    return sharegpt.sample(100_000, rng=np.random.default_rng(7))


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
    requests = np.array(sharegpt.sample(50_000, rng=np.random.default_rng(3), context_limit=10**6))
    ranks = np.argsort(np.argsort(requests[:, 1:3], axis=0), axis=0)
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
    requests = distribution.sample(60_000, rng=np.random.default_rng(5), context_limit=16_384)
    assert np.mean([request.num_prompt_tokens for request in requests]) == pytest.approx(
        mean_prompt, rel=0.05
    )
    assert np.mean([request.num_output_tokens for request in requests]) == pytest.approx(
        mean_output, rel=0.05
    )
