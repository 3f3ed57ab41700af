import numpy as np
import pytest

from paged_demo import Request, poisson_arrivals, read_trace
from paged_demo.serving.workload import check_requests

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.fixture
def trace(tmp_path):
    def write(text):
        path = tmp_path / "trace.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


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


def test_a_trace_gives_requests_with_times_from_its_first_line(trace):
    path = trace(HEADER + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n")
    first, second = read_trace(path)
    assert first == Request(0, 374, 44, 0.0)
    assert second[:3] == (1, 396, 109)
    assert second.arrival_s == pytest.approx(4.314579, abs=2e-6)


def test_a_trace_may_have_further_columns_and_another_order(trace):
    path = trace("user,GeneratedTokens,TIMESTAMP,ContextTokens\nx,44,2023-11-16 18:15:46,374\n")
    assert read_trace(path) == [Request(0, 374, 44, 0.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,3\n", "line 1: no column GeneratedTokens, found"),
        ("", "line 1: no column TIMESTAMP, ContextTokens, GeneratedTokens, the file is empty"),
        (HEADER + "2023-11-16 18:15:46+01:00,3,4\n", "line 2: TIMESTAMP must be a time without a zone"),
        (HEADER, "no requests after the header"),
        (HEADER + "yesterday,3,4\n", "line 2: TIMESTAMP must be a time without a zone, got 'yesterday'"),
        (HEADER + "2023-11-16 18:15:46,3,4\n2023-11-16 18:15:47,three,4\n", "line 3: ContextTokens must be"),
        (
            HEADER + "2023-11-16 18:15:46,3,0\n",
            "line 2: GeneratedTokens must be a whole number from 1, got '0'",
        ),
        (
            HEADER + "2023-11-16 18:15:46,3\n",
            "line 2: GeneratedTokens must be a whole number from 1, got None",
        ),
        (HEADER + "2023-11-16 18:15:46,3,4\n2023-11-16 18:15:45,3,4\n", "line 3: TIMESTAMP .* is before"),
    ],
)
def test_a_bad_trace_is_an_error_that_names_file_and_line(trace, text, message):
    path = trace(text)
    with pytest.raises(ValueError, match=rf"trace\.csv.*{message}"):
        read_trace(path)


def test_a_missing_trace_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no-such\.csv"):
        read_trace(tmp_path / "no-such.csv")


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


def test_a_trace_that_is_no_text_in_utf_8_is_named(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(HEADER, encoding="utf-16")
    with pytest.raises(ValueError, match=r"trace\.csv, line 1: the file must be text in UTF-8"):
        read_trace(path)


def test_arrivals_need_a_generator():
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator, got 0"):
        poisson_arrivals([GOOD], rate_rps=1, rng=0)
