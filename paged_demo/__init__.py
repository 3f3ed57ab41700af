"""PagedAttention, explained by a small library that runs.

The names below are loaded when first used, so that a Python without numpy can still run
``python -m paged_demo``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paged_demo.allocators.memory_map import CacheFullError as CacheFullError
    from paged_demo.allocators.memory_map import Hole as Hole
    from paged_demo.allocators.memory_map import MemoryMap as MemoryMap
    from paged_demo.allocators.memory_map import MemoryUsage as MemoryUsage
    from paged_demo.allocators.memory_map import Region as Region
    from paged_demo.allocators.memory_map import Run as Run
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
    from paged_demo.model import PRESETS as PRESETS
    from paged_demo.model import ModelSpec as ModelSpec
    from paged_demo.serving.lengths import LengthDistribution as LengthDistribution
    from paged_demo.serving.lengths import alpaca as alpaca
    from paged_demo.serving.lengths import azure_code as azure_code
    from paged_demo.serving.lengths import azure_conv as azure_conv
    from paged_demo.serving.lengths import sharegpt as sharegpt
    from paged_demo.serving.saturation import FullPool as FullPool
    from paged_demo.serving.saturation import fill_by_page_size as fill_by_page_size
    from paged_demo.serving.saturation import keep_full as keep_full
    from paged_demo.serving.scheduler import Scheduler as Scheduler
    from paged_demo.serving.scheduler import keep_pages_free as keep_pages_free
    from paged_demo.serving.workload import Request as Request
    from paged_demo.serving.workload import poisson_arrivals as poisson_arrivals
    from paged_demo.serving.workload import read_trace as read_trace

__version__ = "0.1.0"

_MODULE_OF = {
    "ModelSpec": "model",
    "PRESETS": "model",
    "MemoryMap": "allocators.memory_map",
    "Region": "allocators.memory_map",
    "Hole": "allocators.memory_map",
    "MemoryUsage": "allocators.memory_map",
    "Run": "allocators.memory_map",
    "fates": "allocators.memory_map",
    "account": "allocators.memory_map",
    "CacheFullError": "allocators.memory_map",
    "Append": "allocators.sequences",
    "TraditionalAllocator": "allocators.traditional",
    "reserve_max": "allocators.traditional",
    "reserve_pow2": "allocators.traditional",
    "reserve_oracle": "allocators.traditional",
    "first_fit": "allocators.placement",
    "best_fit": "allocators.placement",
    "buddy": "allocators.placement",
    "PagePool": "allocators.page_pool",
    "PagedAllocator": "allocators.paged",
    "keep_one_sequence": "allocators.one_sequence",
    "Request": "serving.workload",
    "poisson_arrivals": "serving.workload",
    "read_trace": "serving.workload",
    "LengthDistribution": "serving.lengths",
    "sharegpt": "serving.lengths",
    "alpaca": "serving.lengths",
    "azure_conv": "serving.lengths",
    "azure_code": "serving.lengths",
    "Scheduler": "serving.scheduler",
    "keep_pages_free": "serving.scheduler",
    "FullPool": "serving.saturation",
    "keep_full": "serving.saturation",
    "fill_by_page_size": "serving.saturation",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
