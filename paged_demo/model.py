"""Bytes of KV cache a model needs per token, what else a GPU holds, and twelve published models to try.

The rest of the package counts in slots: a slot is room for the K and V of one token in all layers. Bytes are
turned into slots here and nowhere else; how many a layer takes is said in ``sizing/layers.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from paged_demo.checks import check_count, check_whole, keep_checked
from paged_demo.sizing.cache_types import cache_type
from paged_demo.sizing.layers import Full
from paged_demo.sizing.units import GIB, KIB, MIB, UNITS

__all__ = [
    "GIB",
    "KIB",
    "LLAMA_2_7B",
    "LLAMA_2_70B",
    "MIB",
    "OPT_13B",
    "PRESETS",
    "UNITS",
    "MemoryBudget",
    "ModelSpec",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The numbers of a model that decide the size of its KV cache.

    They suffice where every layer attends to every earlier token. Other kinds of layers are in
    ``sizing/layers.py``, and `read_config` reads them.

    Parameters
    ----------
    name : str
        The model's name, as shown to readers.
    num_layers : int
        Transformer layers. Each keeps its own K and V.
    num_kv_heads : int
        Heads of K and of V in a layer. With grouped-query attention there are fewer of them than query heads.
    head_dim : int
        Elements of K, and of V, in one head.
    bytes_per_element : int
        1 for FP8 or INT8, 2 for FP16 or BF16, 4 for FP32.
    num_parameters : int, optional
        Weights of the model, if known.
    source : str
        Where the numbers come from, as shown to readers: the address of a config, or a paper and its table.

    Raises
    ------
    TypeError
        If ``name`` or ``source`` is not a string, or another argument not a whole number.
    ValueError
        If ``name`` or ``source`` is blank, a count is below 1, or ``bytes_per_element`` is not 1, 2 or 4.

    Examples
    --------
    >>> tiny = ModelSpec(name="tiny", num_layers=2, num_kv_heads=1, head_dim=4, source="made up")
    >>> tiny.kv_bytes_per_token
    32
    """

    name: str
    num_layers: int
    num_kv_heads: int
    head_dim: int
    bytes_per_element: int = 2
    num_parameters: int | None = None
    source: str

    def __post_init__(self) -> None:
        for field in ("name", "source"):
            text = getattr(self, field)
            if not isinstance(text, str):
                raise TypeError(f"{field} must be a string, got {text!r}")
            if not text.strip():
                raise ValueError(f"{field} must not be blank, got {text!r}")
        # Kept as Python's ints: a product of NumPy's can overflow.
        keep_checked(self, check_count, "num_layers", "num_kv_heads", "head_dim", "bytes_per_element")
        if self.num_parameters is not None:
            keep_checked(self, check_whole, "num_parameters")
        if self.bytes_per_element not in (1, 2, 4):
            raise ValueError(f"bytes_per_element must be 1, 2 or 4, got {self.bytes_per_element!r}")

    @property
    def layers(self) -> tuple[tuple[Full, int], ...]:
        """What layers keep, by their kind, and how many there are of each.

        Examples
        --------
        >>> OPT_13B.layers
        ((Full(kv_heads=40, head_dim=128, v_head_dim=None), 40),)
        """
        return ((Full(kv_heads=self.num_kv_heads, head_dim=self.head_dim), self.num_layers),)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one slot: K and V of one token in all layers (Kwon et al. (2023), section 3).

        Examples
        --------
        >>> OPT_13B.kv_bytes_per_token // KIB
        800
        """
        return self.kv_bytes_on(1)

    def kv_bytes_on(self, num_gpus: int) -> int:
        """Return the bytes of one token on each GPU of a tensor-parallel group.

        Raises
        ------
        TypeError, ValueError
            If ``num_gpus`` is no count, or neither it nor the KV heads divide by the other.

        Examples
        --------
        >>> [PRESETS["Llama-2-70B"].kv_bytes_on(num_gpus) // KIB for num_gpus in (1, 4, 8, 16)]
        [320, 80, 40, 40]
        """
        cache = cache_type(self.bytes_per_element)
        return sum(count * int(layer.on_gpu(num_gpus).bytes_per_token(cache)) for layer, count in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights, at two bytes a parameter (FP16 or BF16), whatever the cache has.

        Raises
        ------
        ValueError
            If the number of parameters is not known.

        Examples
        --------
        >>> round(LLAMA_2_7B.weight_bytes / 10**9, 1)
        13.5
        """
        if self.num_parameters is None:
            raise ValueError(f"num_parameters of {self.name} is not known")
        return 2 * self.num_parameters

    def bytes_of(self, num_slots: int) -> int:
        """Return the bytes that so many slots take.

        Examples
        --------
        >>> OPT_13B.bytes_of(2048) == 2048 * 819_200
        True
        """
        return check_whole("num_slots", num_slots, minimum=0) * self.kv_bytes_per_token

    def slots_in(self, memory_bytes: int) -> int:
        """Return how many whole tokens' K and V fit into ``memory_bytes``.

        Parameters
        ----------
        memory_bytes : int
            Memory set aside for the KV cache, in bytes. 0 is allowed.

        Raises
        ------
        TypeError
            If ``memory_bytes`` is not a whole number.
        ValueError
            If ``memory_bytes`` is negative.

        Examples
        --------
        >>> OPT_13B.slots_in(12 * GIB)
        15728
        """
        return check_whole("memory_bytes", memory_bytes, minimum=0) // self.kv_bytes_per_token


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """What a GPU's memory goes to: the weights, and the keys and values of requests of one length.

    Activations and the workspace of kernels also take some, which is not counted.

    Parameters
    ----------
    model : ModelSpec
        The model, with its number of parameters.
    memory_bytes : int
        Memory of all GPUs together.
    num_requests : int
        Running requests.
    tokens_per_request : int
        Length of each.
    num_gpus : int
        GPUs that divide the heads among them; where they are more than KV heads, each keeps one.

    Examples
    --------
    >>> budget = MemoryBudget(
    ...     model=OPT_13B, memory_bytes=40 * GIB, num_requests=7, tokens_per_request=2048
    ... )
    >>> round(budget.request_bytes / 10**9, 2), budget.most_requests
    (1.68, 10)
    """

    model: ModelSpec
    memory_bytes: int
    num_requests: int
    tokens_per_request: int
    num_gpus: int = 1

    def __post_init__(self) -> None:
        keep_checked(self, check_whole, "memory_bytes", "num_requests", "tokens_per_request")
        keep_checked(self, check_count, "num_gpus")

    @property
    def request_bytes(self) -> int:
        """Bytes of the keys and values of one request, on all GPUs."""
        return self.num_gpus * self.model.kv_bytes_on(self.num_gpus) * self.tokens_per_request

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values of all requests."""
        return self.num_requests * self.request_bytes

    @property
    def free_bytes(self) -> int:
        """Bytes that are left; negative if so much does not fit."""
        return self.memory_bytes - self.model.weight_bytes - self.kv_bytes

    @property
    def most_requests(self) -> int:
        """Requests of this length that fit beside the weights."""
        return max(0, self.memory_bytes - self.model.weight_bytes) // self.request_bytes


class _Presets(dict[str, ModelSpec]):
    def __missing__(self, name: str) -> ModelSpec:
        raise KeyError(f"no preset {name!r}; there are {', '.join(self)}")


OPT_PAPER = "Zhang et al. (2022), OPT, Table 1, https://arxiv.org/abs/2205.01068"

# Name, repository of the config on the Hugging Face hub, layers, KV heads, elements of a head, parameters,
# which are counted from the shapes that the config gives. OPT-175B has no config there. Mistral-Small's sets
# the elements of a head: hidden_size / num_attention_heads would be 160.
_PUBLISHED = (
    ("OPT-13B", "facebook/opt-13b", 40, 40, 128, 12_853_473_280),
    ("OPT-66B", "facebook/opt-66b", 64, 72, 128, 65_719_701_504),
    ("OPT-175B", None, 96, 96, 128, 174_604_468_224),
    ("Llama-2-7B", "meta-llama/Llama-2-7b-hf", 32, 32, 128, 6_738_415_616),
    ("Llama-2-13B", "meta-llama/Llama-2-13b-hf", 40, 40, 128, 13_015_864_320),
    ("Llama-2-70B", "meta-llama/Llama-2-70b-hf", 80, 8, 128, 68_976_648_192),
    ("Llama-3.1-8B", "meta-llama/Llama-3.1-8B", 32, 8, 128, 8_030_261_248),
    ("Llama-3.1-70B", "meta-llama/Llama-3.1-70B", 80, 8, 128, 70_553_706_496),
    ("Qwen3-8B", "Qwen/Qwen3-8B", 36, 8, 128, 8_190_735_360),
    ("Mistral-Small-24B", "mistralai/Mistral-Small-24B-Base-2501", 40, 8, 128, 23_572_403_200),
    ("Phi-4", "microsoft/phi-4", 40, 10, 128, 14_659_507_200),
    ("OLMo-2-7B", "allenai/OLMo-2-1124-7B", 32, 32, 128, 7_298_617_344),
)

PRESETS: Mapping[str, ModelSpec] = MappingProxyType(
    _Presets(
        (
            name,
            ModelSpec(
                name=name,
                num_layers=num_layers,
                num_kv_heads=num_kv_heads,
                head_dim=head_dim,
                num_parameters=num_parameters,
                source=f"config.json of https://huggingface.co/{repo}" if repo else OPT_PAPER,
            ),
        )
        for name, repo, num_layers, num_kv_heads, head_dim, num_parameters in _PUBLISHED
    )
)

OPT_13B, LLAMA_2_7B, LLAMA_2_70B = (PRESETS[name] for name in ("OPT-13B", "Llama-2-7B", "Llama-2-70B"))
