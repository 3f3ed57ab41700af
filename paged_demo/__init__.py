"""PagedAttention, explained by a small library that runs.

The names below are loaded when first used, so that a Python without numpy can still run
``python -m paged_demo``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paged_demo.allocators.memory_map import CacheFullError as CacheFullError
    from paged_demo.allocators.memory_map import FateRun as FateRun
    from paged_demo.allocators.memory_map import Hole as Hole
    from paged_demo.allocators.memory_map import MemoryMap as MemoryMap
    from paged_demo.allocators.memory_map import MemoryUsage as MemoryUsage
    from paged_demo.allocators.memory_map import Region as Region
    from paged_demo.allocators.memory_map import account as account
    from paged_demo.allocators.memory_map import fates as fates
    from paged_demo.allocators.one_sequence import keep_one_sequence as keep_one_sequence
    from paged_demo.allocators.page_pool import PagePool as PagePool
    from paged_demo.allocators.paged import PagedAllocator as PagedAllocator
    from paged_demo.allocators.placement import best_fit as best_fit
    from paged_demo.allocators.placement import buddy as buddy
    from paged_demo.allocators.placement import first_fit as first_fit
    from paged_demo.allocators.sequences import Append as Append
    from paged_demo.allocators.traditional import TraditionalAllocator as TraditionalAllocator
    from paged_demo.allocators.traditional import reserve_max as reserve_max
    from paged_demo.allocators.traditional import reserve_oracle as reserve_oracle
    from paged_demo.allocators.traditional import reserve_pow2 as reserve_pow2
    from paged_demo.attention.kernels import dense_attention as dense_attention
    from paged_demo.attention.kernels import paged_attention_pagewise as paged_attention_pagewise
    from paged_demo.attention.quick_kernel import paged_attention as paged_attention
    from paged_demo.attention.quick_kernel import paged_attention_prefill as paged_attention_prefill
    from paged_demo.attention.store import KVStore as KVStore
    from paged_demo.model import PRESETS as PRESETS
    from paged_demo.model import ModelSpec as ModelSpec
    from paged_demo.serving.admission import keep_pages_free as keep_pages_free
    from paged_demo.serving.lengths import LengthDistribution as LengthDistribution
    from paged_demo.serving.lengths import alpaca as alpaca
    from paged_demo.serving.lengths import azure_code as azure_code
    from paged_demo.serving.lengths import azure_conv as azure_conv
    from paged_demo.serving.lengths import sharegpt as sharegpt
    from paged_demo.serving.pools import PagedPool as PagedPool
    from paged_demo.serving.pools import TraditionalPool as TraditionalPool
    from paged_demo.serving.rules import Rules as Rules
    from paged_demo.serving.rules import swap_always as swap_always
    from paged_demo.serving.rules import swap_never as swap_never
    from paged_demo.serving.rules import swap_several as swap_several
    from paged_demo.serving.run import Moment as Moment
    from paged_demo.serving.run import Run as Run
    from paged_demo.serving.run import Stay as Stay
    from paged_demo.serving.saturation import FullPool as FullPool
    from paged_demo.serving.saturation import fill_by_page_size as fill_by_page_size
    from paged_demo.serving.saturation import keep_full as keep_full
    from paged_demo.serving.scheduler import Scheduler as Scheduler
    from paged_demo.serving.scheduler import Snapshot as Snapshot
    from paged_demo.serving.scheduler import scheduler_of as scheduler_of
    from paged_demo.serving.serve import serve as serve
    from paged_demo.serving.simulator import simulate as simulate
    from paged_demo.serving.traces import iter_trace as iter_trace
    from paged_demo.serving.traces import prompt_tokens as prompt_tokens
    from paged_demo.serving.traces import read_trace as read_trace
    from paged_demo.serving.workload import Request as Request
    from paged_demo.serving.workload import poisson_arrivals as poisson_arrivals

__version__ = "0.1.0"

# The public names, in reading order, by the module that they come from.
_NAMES_IN = {
    "model": "ModelSpec PRESETS",
    "allocators.memory_map": "MemoryMap Region Hole MemoryUsage FateRun fates account CacheFullError",
    "allocators.sequences": "Append",
    "allocators.traditional": "TraditionalAllocator reserve_max reserve_pow2 reserve_oracle",
    "allocators.placement": "first_fit best_fit buddy",
    "allocators.page_pool": "PagePool",
    "allocators.paged": "PagedAllocator",
    "allocators.one_sequence": "keep_one_sequence",
    "attention.store": "KVStore",
    "attention.kernels": "dense_attention paged_attention_pagewise",
    "attention.quick_kernel": "paged_attention paged_attention_prefill",
    "serving.workload": "Request poisson_arrivals",
    "serving.traces": "read_trace iter_trace prompt_tokens",
    "serving.lengths": "LengthDistribution sharegpt alpaca azure_conv azure_code",
    "serving.pools": "PagedPool TraditionalPool",
    "serving.rules": "Rules swap_several swap_always swap_never",
    "serving.admission": "keep_pages_free",
    "serving.scheduler": "Scheduler Snapshot scheduler_of",
    "serving.serve": "serve",
    "serving.simulator": "simulate",
    "serving.run": "Run Stay Moment",
    "serving.saturation": "FullPool keep_full fill_by_page_size",
}
_MODULE_OF = {name: module for module, names in _NAMES_IN.items() for name in names.split()}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
