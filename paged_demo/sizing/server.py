"""The flags of a server that decide how its pool is cut, and the rules of the version that cuts it."""

import re
from dataclasses import dataclass

from paged_demo.checks import came, check_bool, check_count, check_whole, keep_checked
from paged_demo.sizing.cache_types import CacheType, cache_type

STATE_CACHES = ("align", "none", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What differs between versions of vLLM. ``RULES_NOW`` are those of 0.33.0.

    Parameters
    ----------
    null_block : bool
        The check at start holds one block back, which no request ever gets (since 0.29: changes 47272 and
        48724).
    tokens : str
        What the line calls tokens: "concurrency" is int(K x max_model_len) (since 0.21: change 38364);
        "groups" is blocks // groups x the smallest block, which for one group is blocks x block_size.
    whole_blocks : bool
        K counts a request in whole blocks (in 0.9.2, not yet in 0.8.5), not in tokens.
    settled_late : bool
        A window holds the tokens of all batches in flight (since 0.26: change 47728), not of one.
    utilization : str
        Default of ``gpu_memory_utilization``.
    """

    null_block: bool = True
    tokens: str = "concurrency"
    whole_blocks: bool = True
    settled_late: bool = True
    utilization: str = "0.92"


RULES_NOW = Rules()


def rules_of(version: str) -> Rules:
    """Return the rules of a version of vLLM, such as ``"0.19.0"``.

    Raises
    ------
    ValueError
        If it is no version.

    Examples
    --------
    >>> rules_of("0.33.0") == RULES_NOW, rules_of("0.19.0").tokens
    (True, 'groups')
    """
    pattern = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?!\d)", re.ASCII)
    match = pattern.match(version) if isinstance(version, str) else None
    if match is None:
        raise ValueError(f"version must be one such as 0.33.0, got {came(version)}")
    number = int(match[1]), int(match[2])
    return Rules(
        null_block=number >= (0, 29),
        tokens="concurrency" if number >= (0, 21) else "groups",
        whole_blocks=number >= (0, 9),
        settled_late=number >= (0, 26),
        utilization="0.92" if number >= (0, 21) else "0.90",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The flags of a server, by their meaning. What is not a default of vLLM 0.33.0 has none here.

    Parameters
    ----------
    max_model_len : int, optional
        Tokens of the longest request. Without it there is no need, no K, and no refusal.
    tensor_parallel : int
        GPUs of a stage.
    stages : int or tuple of int
        Pipeline stages, or how many layers each has.
    block_size : int
        Tokens of a block, before it is raised for states.
    kv_cache_dtype : str, number or CacheType
        What K and V are stored in: see `cache_type`.
    max_num_batched_tokens : int, optional
        Tokens of a step. Windows and chunks hold as many more, so with such layers it has to be given.
    in_flight_batches : int, optional
        Steps that may be in flight: by the rules, 2 with one stage and one more than the stages with
        several (asynchronous scheduling), or 1 in versions before 0.26.
    prefix_caching : bool
        Whether full blocks can be found again.
    state_cache : str, optional
        How states are cached: "align" with prefix caching, "none" without, unless it is given; "all", a
        state for each block, is gone in 0.33.0.
    state_bytes, convolution_bytes : int
        Bytes of an element of the recurrent part of a state, and of what its convolution remembers.
    speculative_tokens : int
        Draft tokens of a step.
    mtp_modules : int
        Modules that draft, if there are several (multi-token prediction).
    kernel_blocks : int or tuple of int
        Block sizes that the attention kernels take: multiples of a number, or the sizes themselves.
    prefill_checkpoints : bool
        Whether states are kept at ends of blocks within a prompt.
    decode_context_parallel : int
        GPUs over which the tokens of a sequence are spread.
    hybrid_manager : bool
        False stores windows and chunks as if they were full (``--disable-hybrid-kv-cache-manager``).
    auto_fit : bool
        Take the longest maximum that fits, up to ``max_model_len`` (the flag -1).
    num_gpu_blocks_override : int, optional
        Blocks, whatever memory there is.
    layout : str
        "layers": a layer's blocks lie together, the default. "blocks": a block's layers do (BLHNC).
    rules : Rules
        Those of a version: see `rules_of`.

    Raises
    ------
    TypeError, ValueError
        If a flag is not what it says; the error names it and what came.
    """

    max_model_len: int | None = None
    tensor_parallel: int = 1
    stages: int | tuple[int, ...] = 1
    block_size: int = 16
    kv_cache_dtype: object = "bfloat16"
    max_num_batched_tokens: int | None = None
    in_flight_batches: int | None = None
    prefix_caching: bool = True
    state_cache: str | None = None
    state_bytes: int = 2
    convolution_bytes: int = 2
    speculative_tokens: int = 0
    mtp_modules: int = 1
    kernel_blocks: int | tuple[int, ...] = 16
    prefill_checkpoints: bool = False
    decode_context_parallel: int = 1
    hybrid_manager: bool = True
    auto_fit: bool = False
    num_gpu_blocks_override: int | None = None
    layout: str = "layers"
    rules: Rules = RULES_NOW

    def __post_init__(self) -> None:
        counts = ["tensor_parallel", "block_size", "state_bytes", "convolution_bytes", "mtp_modules"]
        counts += ["decode_context_parallel"]
        for name in ("max_model_len", "max_num_batched_tokens", "in_flight_batches"):
            if getattr(self, name) is not None:
                counts.append(name)
        keep_checked(self, check_count, *counts)
        if self.num_gpu_blocks_override is not None:
            keep_checked(self, check_whole, "num_gpu_blocks_override")
        keep_checked(self, _check_drafts, "speculative_tokens")
        keep_checked(self, check_bool, "prefix_caching", "prefill_checkpoints", "hybrid_manager", "auto_fit")
        for name in ("stages", "kernel_blocks"):
            keep_checked(self, _check_several, name)
        object.__setattr__(self, "kv_cache_dtype", cache_type(self.kv_cache_dtype))
        _check_choice("layout", self.layout, ("layers", "blocks"))
        if self.state_cache is not None:
            _check_choice("state_cache", self.state_cache, STATE_CACHES)
        if self.auto_fit and self.max_model_len is None:
            raise ValueError("max_model_len must be given with auto_fit: the model's own length, got None")
        if not isinstance(self.rules, Rules):
            raise TypeError(f"rules must be Rules, such as rules_of('0.19.0'), got {came(self.rules)}")

    @property
    def cache(self) -> CacheType:
        """The type that K and V are stored in."""
        return cache_type(self.kv_cache_dtype)

    @property
    def num_stages(self) -> int:
        """How many pipeline stages there are."""
        return self.stages if isinstance(self.stages, int) else len(self.stages)

    @property
    def cache_mode(self) -> str:
        """How states are cached."""
        return self.state_cache or ("align" if self.prefix_caching else "none")

    @property
    def in_flight_tokens(self) -> int:
        """Tokens that may be scheduled and not yet settled.

        Raises
        ------
        ValueError
            If ``max_num_batched_tokens`` is not given.
        """
        if self.max_num_batched_tokens is None:
            raise ValueError(
                "max_num_batched_tokens must be given: layers with a window or chunk hold as many tokens more"
            )
        return self.max_num_batched_tokens * (self.in_flight_batches or self._batches())

    def _batches(self) -> int:
        if not self.rules.settled_late:
            return 1
        return 2 if self.num_stages == 1 else self.num_stages + 1

    def layers_by_stage(self, num_layers: int) -> list[range]:
        """Return which layers each stage has.

        What remains of an even split goes to the stages before the last, from behind, as in
        ``get_pp_indices`` of ``vllm/distributed/utils.py``.

        Raises
        ------
        ValueError
            If the stages name another number of layers, or there are more stages than layers.

        Examples
        --------
        >>> Server(stages=2).layers_by_stage(27)
        [range(0, 14), range(14, 27)]
        """
        if isinstance(self.stages, int):
            if self.stages > num_layers:
                raise ValueError(f"stages must be at most the {num_layers} layers, got {self.stages}")
            each, rest = divmod(num_layers, self.stages)
            counts = [
                each + (self.stages - 1 - rest <= stage < self.stages - 1) for stage in range(self.stages)
            ]
        else:
            counts = list(self.stages)
            if sum(counts) != num_layers:
                raise ValueError(
                    f"stages must sum to the {num_layers} layers of the model, got {self.stages}"
                )
        ends = [sum(counts[: stage + 1]) for stage in range(len(counts))]
        return [range(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _check_drafts(name: str, value: object) -> int:
    return check_count(name, value, minimum=0)


def _check_several(name: str, value: object) -> int | tuple[int, ...]:
    if isinstance(value, (tuple, list)) and value:
        return tuple(check_count(f"each of {name}", each) for each in value)
    return check_count(name, value)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {came(value)}")
