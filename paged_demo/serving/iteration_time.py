"""How long one iteration takes on the paper's hardware: a model with six constants."""

from dataclasses import dataclass, fields
from math import ceil, inf, sqrt

from paged_demo.checks import check_number, keep_checked


def _check_seconds(name: str, value: float) -> float:
    seconds = check_number(name, value)
    if not 0 <= seconds < inf:
        raise ValueError(f"{name} must be a finite number of seconds from 0 on, got {seconds!r}")
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationTime:
    """The time of an iteration, from what it computes and what it reads.

    Attributes
    ----------
    fixed_s : float
        Spent in every iteration.
    weights_s : float
        To read the model's weights once, whatever the batch.
    compute_s : float
        To compute one token of the batch; reading the weights hides behind it, or it behind them.
    request_s, sequence_s : float
        For each request, and for each of its sequences (one per sample).
    kv_read_s : float
        To read one token's keys and values.

    Examples
    --------
    >>> round(OPT_13B_ITERATION(num_batched=30, num_requests=30, num_sequences=30, num_kv_tokens=15_000), 4)
    0.0446
    """

    fixed_s: float
    weights_s: float
    compute_s: float
    request_s: float
    sequence_s: float
    kv_read_s: float

    def __post_init__(self) -> None:
        keep_checked(self, _check_seconds, *(field.name for field in fields(self)))
        if self.fixed_s + self.weights_s == 0:
            raise ValueError("fixed_s and weights_s must not both be 0: an iteration takes time")

    def __call__(
        self, *, num_batched: int, num_requests: int, num_sequences: int, num_kv_tokens: int
    ) -> float:
        """Return the seconds of one iteration.

        Parameters
        ----------
        num_batched : int
            Tokens computed: the prompts that are new, and one per sequence that decodes.
        num_requests, num_sequences : int
            Running.
        num_kv_tokens : int
            Tokens whose keys and values are read.
        """
        return (
            self.fixed_s
            + max(self.weights_s, self.compute_s * num_batched)
            + self.request_s * num_requests
            + self.sequence_s * num_sequences
            + self.kv_read_s * num_kv_tokens
        )

    def reading_s(self, num_kv_tokens: float, *, slowdown: float = 1.0) -> float:
        """Return the seconds to read the weights once, and the keys and values of some tokens.

        No iteration is shorter: it is the roof that memory sets to decoding.

        Parameters
        ----------
        num_kv_tokens : float
            Tokens whose keys and values are read, of all sequences together; a mean may be a fraction.
        slowdown : float
            How many times as long the attention kernel takes to read them, compared with the bandwidth.

        Examples
        --------
        >>> round(OPT_13B_ITERATION.reading_s(15_000), 4)
        0.0246
        """
        return self.weights_s + slowdown * self.kv_read_s * num_kv_tokens


OPT_13B_ITERATION = IterationTime(
    fixed_s=11e-3,
    weights_s=16.7e-3,
    compute_s=0.12e-3,
    request_s=0.22e-3,
    sequence_s=0.08e-3,
    kv_read_s=0.527e-6,
)
"""OPT-13B on one A100 with 40 GB.

Computed: ``weights_s`` and ``kv_read_s``, 26 GB of weights and 819,200 B a token at 1.555 TB/s, the data
sheet's bandwidth, which no kernel quite reaches.

Chosen: ``compute_s``, between two readings of Kwon et al. (2023), Fig. 19a. It draws about 38 ms to compute a
request again, whose tokens it does not give; we take them to be 256. At 2 x 13e9 operations a token all of
that time is 56 % of 312 TFLOP/s, and what ``fixed_s`` leaves of it 79 %; 0.12 ms a token is 69 %.

Fitted: ``fixed_s``, and the sum of ``request_s`` and ``sequence_s``, to points of Fig. 12a without
congestion. How the sum is split has no source. At a batch of 30 these terms are 20 of the 44.6 ms.

`paged_demo.paper.provenance` says of every constant where it comes from and what it enters."""


class Stretch:
    """Iterations in which nobody comes or goes: each sequence gains a token, so their time has a closed form.

    Parameters
    ----------
    iteration_time : IterationTime
        How long an iteration takes.
    now_s : float
        When the first of them begins.
    num_requests, num_sequences : int
        Running.
    num_tokens : int
        Tokens of all sequences before the first of them.
    """

    __slots__ = ("_kv_read_s", "_now_s", "_num_sequences", "_num_tokens", "_step_s")

    def __init__(
        self,
        iteration_time: IterationTime,
        now_s: float,
        num_requests: int,
        num_sequences: int,
        num_tokens: int,
    ) -> None:
        self._now_s = now_s
        self._num_sequences = num_sequences
        self._num_tokens = num_tokens
        self._kv_read_s = iteration_time.kv_read_s
        self._step_s = iteration_time(
            num_batched=num_sequences,
            num_requests=num_requests,
            num_sequences=num_sequences,
            num_kv_tokens=0,
        )

    def elapsed_s(self, count: int) -> float:
        """Sum the time of the first so many iterations."""
        num_kv_tokens = count * self._num_tokens + self._num_sequences * count * (count + 1) // 2
        return count * self._step_s + self._kv_read_s * num_kv_tokens

    def last_s(self, count: int) -> float:
        """Return the time of the last of the first so many iterations: none of them takes longer."""
        return self._step_s + self._kv_read_s * (self._num_tokens + count * self._num_sequences)

    def iterations_until(self, time_s: float, most: int) -> int:
        """Count the iterations, one at least, after which it is ``time_s`` or later, or stop at the most."""
        wait_s = time_s - self._now_s
        growth = self._kv_read_s * self._num_sequences / 2
        slope = self._step_s + self._kv_read_s * self._num_tokens + growth
        # The root of growth * n**2 + slope * n = wait_s, in the form that stays exact for small growth.
        root = 2 * wait_s / (slope + sqrt(slope**2 + 4 * growth * wait_s))
        # Without an end, a time that lies far away would have too many iterations to count them exactly.
        count = ceil(root) if 1 < root < most else most if root >= most else 1
        while count > 1 and self._now_s + self.elapsed_s(count - 1) >= time_s:
            count -= 1
        while count < most and self._now_s + self.elapsed_s(count) < time_s:
            count += 1
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapTime:
    """The time to move pages between the GPU and the host.

    Attributes
    ----------
    slot_in_s, slot_out_s : float
        To move the keys and values of one slot, at the speed of the bus.
    page_in_s, page_out_s : float
        To start the copies of one page, in addition.

    Examples
    --------
    256 tokens in pages of 16, in milliseconds (Kwon et al. (2023), Fig. 19a: 18.5 out and 21.6 in):

    >>> round(1e3 * OPT_13B_SWAP(num_pages_out=16, num_pages_in=0, page_size=16), 1)
    18.6
    >>> round(1e3 * OPT_13B_SWAP(num_pages_out=0, num_pages_in=16, page_size=16), 1)
    21.4
    """

    slot_in_s: float
    page_in_s: float
    slot_out_s: float
    page_out_s: float

    def __post_init__(self) -> None:
        keep_checked(self, _check_seconds, *(field.name for field in fields(self)))

    def __call__(self, *, num_pages_out: int, num_pages_in: int, page_size: int) -> float:
        """Return the seconds to move so many pages out of the GPU's memory, and so many back."""
        return num_pages_out * (self.page_out_s + page_size * self.slot_out_s) + num_pages_in * (
            self.page_in_s + page_size * self.slot_in_s
        )


OPT_13B_SWAP = SwapTime(
    slot_in_s=819_200 / 12.1e9,
    page_in_s=80 * 3.16e-6,
    slot_out_s=819_200 / 13.0e9,
    page_out_s=80 * 1.93e-6,
)
"""OPT-13B: 819,200 B a slot, and 80 copies a page (K and V of 40 layers).

Fitted to the nine page sizes of Kwon et al. (2023), Fig. 19a: 12.1 GB/s and 3.16 us a copy in, 13.0 GB/s and
1.93 us out. All four hang on our reading that it moves 256 tokens: of twice as many, each token and each copy
would take half the time."""
