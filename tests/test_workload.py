import numpy as np
import pytest

from paged_demo import Request, poisson_arrivals
from paged_demo.serving.workload import check_requests


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
