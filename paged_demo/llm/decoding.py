"""What every way to decode shares: a text that grows, what is refused before it does, and its next token."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.sequences import check_prompt
from paged_demo.attention.shapes import Floats, check_float_array, check_floats, check_ints
from paged_demo.checks import check_number, check_whole
from paged_demo.llm.cache import KVCache
from paged_demo.llm.llama import Llama

T = TypeVar("T")


@dataclass(slots=True, kw_only=True, eq=False)
class Text:
    """A text that grows: a prompt, and what was generated so far.

    Attributes
    ----------
    seq_id : int
        Its name in the cache; texts are numbered from 0 as they are submitted.
    prompt, output : list of int
        Token ids. The output's last token has no keys and values yet: it is the next iteration's input.
    max_new_tokens : int
        When to stop at the latest.
    is_finished : bool
        Whether the output is complete; a stop token is its last one then.
    num_preemptions : int
        How often it was preempted.
    cache_salt : str
        Only texts of the same salt share its pages.
    """

    seq_id: int
    prompt: list[int]
    max_new_tokens: int
    temperature: float
    rng: np.random.Generator | None
    output: list[int] = field(default_factory=list)
    is_finished: bool = False
    num_preemptions: int = 0
    cache_salt: str = ""

    @property
    def tokens(self) -> list[int]:
        """The prompt and the output."""
        return self.prompt + self.output


def check_text(
    model: Llama, prompt: Sequence[int], max_new_tokens: int, num_slots: int
) -> tuple[list[int], int]:
    """Return a prompt's tokens and the most to add, or say why it cannot be gone on from in so many slots.

    With its output it may need more slots: a stop token can end it in time.
    """
    tokens = check_prompt(prompt)
    max_new_tokens = check_whole("max_new_tokens", max_new_tokens)
    _check_known("prompt", tokens, model)
    if len(tokens) + max_new_tokens > model.spec.max_tokens:
        raise ValueError(
            f"the prompt's {len(tokens)} tokens and max_new_tokens must be at most"
            f" {model.spec.max_tokens} together, got {max_new_tokens} for the latter"
        )
    if len(tokens) > num_slots:
        raise ValueError(f"prompt must fit into the cache's {num_slots} slots, got {len(tokens)} tokens")
    return tokens, max_new_tokens


def check_stop_ids(model: Llama, stop_ids: Sequence[int]) -> frozenset[int]:
    """Return the tokens that end a text, or say which of them the model does not know."""
    ids: list[int] = check_ints("stop_ids", stop_ids, 1).tolist()
    _check_known("stop_ids", ids, model)
    return frozenset(ids)


def _check_known(name: str, token_ids: Collection[int], model: Llama) -> None:
    num_known = len(model.weights.embedding)
    unknown = [token_id for token_id in token_ids if not 0 <= token_id < num_known]
    if unknown:
        raise ValueError(f"{name} must hold token ids from 0 to {num_known - 1}, got {unknown[0]}")


def log_probabilities(logits: Floats) -> Floats:
    """Return the natural logarithm of each token's probability, in float64.

    Parameters
    ----------
    logits : numpy.ndarray, shape (..., vocabulary)

    Raises
    ------
    ValueError, TypeError
        If they are no such array of floats, or the largest of a row is not finite, as with a NaN among them.

    Examples
    --------
    >>> np.exp(log_probabilities(np.array([0.0, 0.0]))).tolist()
    [0.5, 0.5]
    """
    largest = _largest(logits)
    shifted = logits.astype(np.float64) - largest
    probabilities: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return probabilities


def _largest(logits: Floats) -> Floats:
    """Return the largest of each row of logits, or raise the error of `log_probabilities`."""
    check_float_array("logits", logits)
    if logits.size == 0 or logits.ndim == 0:
        raise ValueError(f"logits must have the shape (..., vocabulary), got {logits.shape}")
    largest: Floats = logits.max(axis=-1, keepdims=True)
    # A NaN is the largest of its row, and argmax would take it for the likeliest token.
    if not np.isfinite(largest).all():
        raise ValueError(f"logits must be finite where they are largest, got {largest.ravel()}")
    return largest


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
        If the temperature is negative or not finite, or above 0 without ``rng``, the logits have other axes,
        or their largest is not finite, as with a NaN among them.
    TypeError
        If the temperature is not a number, ``rng`` not a generator, or the logits no array of floats.

    Examples
    --------
    >>> choose(np.array([0.0, 2.0, 1.0]))
    1
    """
    temperature = check_sampling(temperature, rng)
    check_floats("logits", logits, "vocabulary")
    largest = _largest(logits)
    if rng is None or temperature == 0:
        return int(logits.argmax())
    # The largest becomes 0 before anything is divided: a small divisor sends the others to minus infinity,
    # which is a probability of 0.
    lags = logits.astype(np.float64) - largest
    with np.errstate(over="ignore"):
        ends = np.exp(log_probabilities(lags / temperature)).cumsum()
    # The sum of rounded shares may miss 1: the last end stands for all that is left.
    return int(np.searchsorted(ends[:-1], rng.random(), side="right"))


def check_sampling(temperature: float, rng: np.random.Generator | None) -> float:
    """Return the temperature as a float, or raise the error that `choose` would raise."""
    temperature = check_number("temperature", temperature)
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be a finite number of at least 0, got {temperature!r}")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {rng!r}")
    if temperature > 0 and rng is None:
        raise ValueError("rng must be given to draw tokens at a temperature above 0, got None")
    return temperature


@contextmanager
def noted(held: dict[int, T], seq_id: int, what: T) -> Iterator[None]:
    """Note a sequence while the cache takes room for it: if that is interrupted, it may be there."""
    held[seq_id] = what
    try:
        yield
    except (CacheFullError, ValueError):  # Nothing was taken; the name may be that of a stranger.
        del held[seq_id]
        raise


def free_noted(cache: KVCache, held: Mapping[int, object]) -> None:
    """Free all sequences that were noted, the newest first."""
    for seq_id in reversed(list(held)):
        with suppress(KeyError):  # Not yet started when it was interrupted, or just freed.
            cache.free(seq_id)


def outgrown(text: Text, num_slots: int, error: CacheFullError) -> CacheFullError:
    """Return the error of a cache with no room for a text when no other can be preempted, naming both."""
    who = (
        f": text {text.seq_id} has {len(text.tokens)} tokens, the cache {num_slots} slots,"
        " and no other text is left to preempt"
    )
    return CacheFullError(needed=error.needed, free=error.free, unit=error.unit, where=who)
