"""Exercise 4.2 of notebook 04: one step of a walk over pages with an online softmax."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from paged_demo.course.exercises.fence import NoAnswerError
from paged_demo.course.exercises.functions import ask_function, keep_as_given
from paged_demo.course.exercises.kinds import mistake
from paged_demo.course.exercises.reading import read_items, read_number, read_table, shown, unexpected

HEAD_DIM = 3

Sums = tuple[float, float, Any]

PAGES_OF_SCORES = (
    ((0.0, 0.0),),
    ((1000.0, 1001.0), (-1000.0, 1002.0)),
    ((0.0, 1.0), (2.0, 1.0)),
    ((2.0, 1.0), (0.0, 1.0)),
    ((-1000.0, -1001.0), (-1002.0, -1003.0)),
    ((900.0, 0.0), (-900.0, 0.0), (901.0, 0.0)),
    ((0.5, -1.5, 2.25, 1.0, 0.0), (3.0,), (-4.5, 2.5, 2.75, -0.5)),
)


def tell_pages(pages: tuple[tuple[float, ...], ...]) -> str:
    """Write the scores of a case, page by page."""
    told = ", then ".join(str(list(map(shown, page))) for page in pages)
    first, second = values_from(1, 2).astype(int).tolist()
    return f"the scores {told} with the values {first}, {second} and on"


def values_from(first: int, num_tokens: int) -> Any:
    """Make the values of so many tokens: in each row three numbers that are found nowhere else."""
    positions = np.arange(first, first + num_tokens, dtype=np.float64)
    return np.stack([positions, 7 * positions % 10, 100 + positions**2], axis=1)


class Walked(NamedTuple):
    """The three numbers after the last page, and the output, each to six digits."""

    highest: float
    sum_of_weights: float
    sum_of_values: list[float]
    output: list[float]


def walk(function: Callable[..., Any], pages: tuple[tuple[float, ...], ...]) -> Walked:
    """Walk over pages of scores with a function, and return what it has in the end."""
    highest, sum_of_weights, sum_of_values = -np.inf, 0.0, np.zeros(HEAD_DIM)
    expected = f"a highest score, a sum of weights and {HEAD_DIM} sums of values were"
    position = 1
    with np.errstate(all="ignore"):
        for page in pages:
            given = np.array(page), values_from(position, len(page))
            kept = [array.copy() for array in given]
            answer = function(highest, sum_of_weights, sum_of_values, *given)
            try:
                first, second, third = read_items(answer, expected=expected)
                highest, sum_of_weights = read_number(first), read_number(second)
                (row,) = read_table([np.ravel(third)], expected=expected)
            except (NoAnswerError, TypeError, ValueError):
                raise unexpected(expected, answer) from None
            if len(row) != HEAD_DIM:
                raise unexpected(expected, answer)
            keep_as_given(kept, given, ("scores", "values"))
            sum_of_values = np.array(row, dtype=np.float64)
            position += len(page)
        output = sum_of_values / np.float64(sum_of_weights)
    numbers = [highest, sum_of_weights, *sum_of_values, *output]
    highest, sum_of_weights, *rest = (shown(float(f"{number:.6g}")) for number in numbers)
    return Walked(highest, sum_of_weights, rest[:HEAD_DIM], rest[HEAD_DIM:])


@ask_function(
    "4.2",
    cases=lambda: PAGES_OF_SCORES,
    tell=tell_pages,
    call=walk,
    hints=(
        "Take the highest of all scores so far, this page included. What were the sums relative to?",
        "Multiply both sums by `np.exp(highest - higher)` before this page is added.",
    ),
    insight=(
        "Whatever came before is known only relative to the highest score, so one factor mends it all."
        " `exp(-inf)` is 0: the first page is no special case."
    ),
)
def step(
    highest: float,
    sum_of_weights: float,
    sum_of_values: Any,
    scores: Any,
    values: Any,
    *,
    choose: Callable[[float, float], float] = max,
    rescales_weights: bool = True,
    rescales_values: bool = True,
) -> Sums:
    """Take a page into the sums, right if only they are given.

    Parameters
    ----------
    highest, sum_of_weights, sum_of_values
        What came before.
    scores, values
        The page.
    choose : callable
        Chooses what the sums are relative to, from what they were relative to and the page's highest score.
    rescales_weights, rescales_values : bool
        Whether what came before is multiplied by the factor that the new choice demands.
    """
    higher = choose(highest, scores.max())
    factor = np.exp(highest - higher)
    weights = np.exp(scores - higher)
    return (
        higher,
        (factor if rescales_weights else 1.0) * sum_of_weights + weights.sum(),
        (factor if rescales_values else 1.0) * sum_of_values + weights @ values,
    )


@mistake("4.2")
def the_highest_score_is_not_subtracted(*given: Any) -> Sums:
    """`exp(1000)` is infinite in floating point, and infinity divided by infinity is NaN."""
    return step(*given, choose=lambda *scores: 0.0, rescales_weights=False, rescales_values=False)


@mistake("4.2")
def nothing_is_rescaled(*given: Any) -> Sums:
    """The earlier pages now count as if their best score were as high as the best of all."""
    return step(*given, rescales_weights=False, rescales_values=False)


@mistake("4.2")
def one_sum_of_two(*given: Any) -> Sums:
    """Both sums are relative to the highest score, so both are to be multiplied."""
    return step(*given, rescales_values=False)


@mistake("4.2")
def the_highest_of_this_page_only(*given: Any) -> Sums:
    """A later page may have lower scores: the highest so far must not fall."""
    return step(*given, choose=lambda highest, of_page: of_page)
