"""From logits to a token: the most likely one, or one drawn by its probability."""

import numpy as np

from paged_demo.attention.shapes import Floats
from paged_demo.checks import check_number


def log_probabilities(logits: Floats) -> Floats:
    """Return the natural logarithm of each token's probability, in float64.

    Parameters
    ----------
    logits : numpy.ndarray, shape (..., vocabulary)

    Examples
    --------
    >>> np.exp(log_probabilities(np.array([0.0, 0.0]))).tolist()
    [0.5, 0.5]
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    probabilities: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return probabilities


def choose(logits: Floats, *, temperature: float = 0.0, rng: np.random.Generator | None = None) -> int:
    """Choose the next token.

    Parameters
    ----------
    logits : numpy.ndarray, shape (vocabulary,)
    temperature : float
        Divides the logits before one is drawn: below 1 the likely tokens become likelier. At 0 the most
        likely one is taken, and nothing is drawn.
    rng : numpy.random.Generator, optional
        Draws; needed above temperature 0. One token takes one number from it.

    Raises
    ------
    ValueError
        If the temperature is negative or not finite, or above 0 without ``rng``.
    TypeError
        If it is not a number, or ``rng`` not a generator.

    Examples
    --------
    >>> choose(np.array([0.0, 2.0, 1.0]))
    1
    """
    check_sampling(temperature, rng)
    if rng is None or temperature == 0:
        return int(logits.argmax())
    # The largest becomes 0 before anything is divided: a small divisor sends the others to minus infinity,
    # which is a probability of 0.
    lags = logits.astype(np.float64) - logits.max()
    with np.errstate(over="ignore"):
        ends = np.exp(log_probabilities(lags / float(temperature))).cumsum()
    # The sum of rounded shares may miss 1: the last end stands for all that is left.
    return int(np.searchsorted(ends[:-1], rng.random(), side="right"))


def check_sampling(temperature: float, rng: np.random.Generator | None) -> None:
    """Raise the error that `choose` would raise."""
    if not 0 <= check_number("temperature", temperature) < np.inf:
        raise ValueError(f"temperature must be a finite number of at least 0, got {temperature!r}")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {rng!r}")
    if temperature > 0 and rng is None:
        raise ValueError("rng must be given to draw tokens at a temperature above 0, got None")
