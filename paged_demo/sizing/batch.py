"""How many requests of your lengths a pool holds, and what a step with so many takes, to first order.

The seconds are a bound: no overhead of launches, communication or scheduling is in them but the fixed time
that is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf

from paged_demo.checks import check_count, check_number, check_positive, check_whole, keep_checked
from paged_demo.sizing.cache_types import BFLOAT16, CacheType
from paged_demo.sizing.layers import Layer, TokenLayer
from paged_demo.sizing.plan import Plan


@dataclass(frozen=True, slots=True)
class Batch:
    """How many requests the pool holds.

    Parameters
    ----------
    tokens_each : int
        Mean tokens of a request: its prompt and half of its output, up to a whole token.
    blocks_each : int
        Blocks of such a request, over all groups.
    requests : int
        Requests that fit; the block that is never given out is left over.
    """

    tokens_each: int
    blocks_each: int
    requests: int


def batch(planned: Plan, prompt_tokens: int, output_tokens: int) -> Batch:
    """Return the batch that a pool holds for these lengths, which K does not say.

    Parameters
    ----------
    planned : Plan
        The plan, with its pool.
    prompt_tokens, output_tokens : int
        Means over the requests.

    Raises
    ------
    TypeError, ValueError
        If a length is no count, or the plan has no pool.

    Examples
    --------
    >>> from paged_demo.sizing.layers import Full
    >>> from paged_demo.sizing.plan import plan
    >>> from paged_demo.sizing.server import Server
    >>> llama = [Full(kv_heads=8, head_dim=128)] * 32
    >>> batch(plan(llama, Server(num_gpu_blocks_override=1952)), 500, 300)
    Batch(tokens_each=650, blocks_each=41, requests=47)
    """
    prompt = check_count("prompt_tokens", prompt_tokens)
    output = check_count("output_tokens", output_tokens, minimum=0)
    tokens = prompt + ceil(Fraction(output, 2))
    each = sum(planned.blocks_for(tokens))
    return Batch(tokens, each, max(0, planned.blocks - 1) // each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU by the numbers of its data sheet.

    Parameters
    ----------
    name : str
        Its name.
    bytes_per_s : float
        Bandwidth of its memory.
    flops : float
        Floating-point operations a second in 16 bits, dense.
    """

    name: str
    bytes_per_s: float
    flops: float

    def __post_init__(self) -> None:
        keep_checked(self, check_positive, "bytes_per_s", "flops")

    def compute_bound_batch(self, weight_bytes: float = 2) -> float:
        """Return the batch from which computing takes longer than reading the weights.

        Parameters
        ----------
        weight_bytes : float
            Bytes of a weight.

        Examples
        --------
        >>> [round(GPUS[name].compute_bound_batch()) for name in ("H100", "A100-80GB")]
        [295, 153]
        """
        return self.flops * check_positive("weight_bytes", weight_bytes) / (2 * self.bytes_per_s)


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu(name="RTX 3090", bytes_per_s=936e9, flops=71e12),
        Gpu(name="RTX 4090", bytes_per_s=1008e9, flops=165e12),
        Gpu(name="A100-80GB", bytes_per_s=2039e9, flops=312e12),
        Gpu(name="H100", bytes_per_s=3350e9, flops=989e12),
    )
}
"""From NVIDIA: the whitepapers of GA102 and AD102 (RTX 3090 and 4090: FP16, accumulated in FP32), and data
sheets of A100 80GB SXM and H100 SXM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The seconds of one step, in the parts that add up to it.

    Parameters
    ----------
    fixed_s : float
        What every step takes.
    weights_s : float
        Reading the weights.
    compute_s : float
        What computing takes longer than that.
    cache_s : float
        Reading the cache of all requests.
    requests : int
        The batch.
    """

    fixed_s: float
    weights_s: float
    compute_s: float
    cache_s: float
    requests: int

    @property
    def total_s(self) -> float:
        """Seconds of the step."""
        return self.fixed_s + self.weights_s + self.compute_s + self.cache_s

    def requests_per_s(self, output_tokens: int) -> float:
        """Return the requests of so many output tokens that end in a second, if prompts cost nothing."""
        return self.requests / (check_count("output_tokens", output_tokens) * self.total_s)


def cache_bytes(
    layers: Sequence[Layer | None], num_tokens: int, *, tensor_parallel: int = 1, cache: CacheType = BFLOAT16
) -> int:
    """Return the bytes that one GPU reads of one request in a step: what each layer may still see of it.

    States count with 2 bytes an element.

    Examples
    --------
    >>> from paged_demo.sizing.layers import Full
    >>> cache_bytes([Full(kv_heads=8, head_dim=128)] * 32, 650)
    85196800
    """
    size = Fraction(0)
    for layer in layers:
        if isinstance(layer, TokenLayer):
            size += layer.on_gpu(tensor_parallel).bytes_for(num_tokens, cache)
        elif layer is not None:
            size += layer.on_gpu(tensor_parallel).state_bytes()
    return ceil(size)


def step_seconds(
    gpu: Gpu,
    requests: int,
    *,
    weights_bytes: int,
    cache_bytes_each: int,
    active_parameters: int | None = None,
    fixed_s: float = 0,
) -> Step:
    """Return the seconds of a step that makes one token for each request of a batch.

    Parameters
    ----------
    gpu : Gpu
        Each GPU of the group.
    requests : int
        The batch.
    weights_bytes : int
        Bytes of the weights on one GPU, all of which are read.
    cache_bytes_each : int
        Bytes of the cache of one request on one GPU: see `cache_bytes`.
    active_parameters : int, optional
        Parameters that a token passes through on one GPU; by default those that the weights are in 16 bits.
    fixed_s : float
        Seconds of a step that depend on nothing.

    Raises
    ------
    TypeError, ValueError
        If a number is not what it says.

    Examples
    --------
    >>> step = step_seconds(GPUS["RTX 3090"], 47, weights_bytes=16_060_522_496, cache_bytes_each=85_196_800)
    >>> round(step.weights_s, 4), round(step.cache_s, 4), round(step.requests_per_s(300), 1)
    (0.0172, 0.0043, 7.3)
    """
    count, weights = check_count("requests", requests), check_whole("weights_bytes", weights_bytes)
    each = check_whole("cache_bytes_each", cache_bytes_each, minimum=0)
    active = (
        weights // 2 if active_parameters is None else check_whole("active_parameters", active_parameters)
    )
    fixed = check_number("fixed_s", fixed_s)
    if not 0 <= fixed < inf:
        raise ValueError(f"fixed_s must be finite and at least 0, got {fixed_s!r}")
    read = weights / gpu.bytes_per_s
    return Step(
        fixed_s=fixed,
        weights_s=read,
        compute_s=max(0.0, 2 * active * count / gpu.flops - read),
        cache_s=count * each / gpu.bytes_per_s,
        requests=count,
    )
