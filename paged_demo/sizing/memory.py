"""From the memory of a GPU to the memory of the pool: the chain that a server goes through at start.

Rules: vLLM 0.33.0, ``vllm/v1/worker/gpu_worker.py`` (``determine_available_memory``) and
``vllm/v1/worker/utils.py`` (``request_memory``).
"""

import math
from dataclasses import dataclass

from paged_demo.checks import came, check_positive, check_whole, keep_checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the memory of one GPU goes to. Only the first two terms can be computed; the others are measured.

    Parameters
    ----------
    total_bytes : int
        Memory of the GPU as its driver gives it: a "24 GB" RTX 3090 has 23.58 GiB.
    utilization : float
        ``gpu_memory_utilization``: the share of the total, not of what is free, that the server asks for.
    weights_bytes : int
        Bytes of the loaded parameters on this GPU: "Model loading took", or an estimate of `weights_bytes`.
    activation_bytes : int
        Peak of a trial run with ``max_num_batched_tokens`` tokens, beyond the weights. Only a log says.
    non_torch_bytes : int
        CUDA's context and libraries. Only a log says.
    graph_bytes : int
        Estimate of CUDA graphs: counted by default since 0.21, and not always subtracted. Only a log says.

    Examples
    --------
    >>> from paged_demo.sizing.units import bytes_of, in_gib
    >>> log = {"weights_bytes": "14.99GiB", "activation_bytes": "2.07GiB", "non_torch_bytes": "0.35GiB"}
    >>> parts = {name: bytes_of(name, text) for name, text in log.items()}
    >>> chain = Memory(total_bytes=bytes_of("gpu", "23.58GiB"), utilization=0.9, graph_bytes=0, **parts)
    >>> in_gib(chain.requested_bytes), in_gib(chain.available_bytes)
    ('21.22', '3.81')
    """

    total_bytes: int
    utilization: float
    weights_bytes: int
    activation_bytes: int
    non_torch_bytes: int
    graph_bytes: int

    def __post_init__(self) -> None:
        keep_checked(self, check_whole, "total_bytes")
        keep_checked(self, _check_part, "weights_bytes", "activation_bytes", "non_torch_bytes", "graph_bytes")
        keep_checked(self, check_utilization, "utilization")

    @property
    def requested_bytes(self) -> int:
        """What the server asks for: the share of the total, up to a whole byte."""
        return math.ceil(self.total_bytes * self.utilization)

    @property
    def available_bytes(self) -> int:
        """What is left for the pool; negative if nothing is."""
        return self.requested_bytes - sum(size for _, size in self.parts)

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """What is taken from the request, in order, each with its name."""
        return (
            ("weights", self.weights_bytes),
            ("peak of activations", self.activation_bytes),
            ("outside torch", self.non_torch_bytes),
            ("CUDA graphs", self.graph_bytes),
        )


def _check_part(name: str, value: object) -> int:
    return check_whole(name, value, minimum=0)


def check_utilization(name: str, value: object) -> float:
    """Return ``value`` as a float, or say why it is no share of a GPU's memory: above 0, and at most 1."""
    share = check_positive(name, value)
    if share > 1:
        raise ValueError(f"{name} must be at most 1, got {came(value)}")
    return share
