"""The public names, in reading order. Type checkers read them here, and so does ``__init__.py``."""

# isort: off
from paged_demo.model import ModelSpec as ModelSpec, PRESETS as PRESETS
from paged_demo.sizing.config import read_config as read_config
from paged_demo.sizing.server import Server as Server
from paged_demo.sizing.plan import plan as plan
from paged_demo.allocators.memory_map import (
    MemoryMap as MemoryMap,
    Region as Region,
    Hole as Hole,
    MemoryUsage as MemoryUsage,
    FateRun as FateRun,
    fates as fates,
    account as account,
    CacheFullError as CacheFullError,
)
from paged_demo.allocators.sequences import Append as Append
from paged_demo.allocators.traditional import (
    TraditionalAllocator as TraditionalAllocator,
    reserve_max as reserve_max,
    reserve_pow2 as reserve_pow2,
    reserve_oracle as reserve_oracle,
)
from paged_demo.allocators.placement import first_fit as first_fit, best_fit as best_fit, buddy as buddy
from paged_demo.allocators.page_pool import PageKeys as PageKeys, PagePool as PagePool
from paged_demo.allocators.paged import PagedAllocator as PagedAllocator
from paged_demo.allocators.group_kinds import (
    FullGroup as FullGroup,
    SlidingGroup as SlidingGroup,
    StateGroup as StateGroup,
)
from paged_demo.allocators.groups import GroupedAllocator as GroupedAllocator
from paged_demo.allocators.studies import hit_share as hit_share, keep_one_sequence as keep_one_sequence
from paged_demo.attention.store import KVStore as KVStore
from paged_demo.attention.kernels import (
    dense_attention as dense_attention,
    paged_attention_pagewise as paged_attention_pagewise,
)
from paged_demo.attention.quick_kernel import (
    paged_attention as paged_attention,
    paged_attention_prefill as paged_attention_prefill,
)
from paged_demo.attention.latent import (
    latent_attention as latent_attention,
    latent_attention_naive as latent_attention_naive,
)
from paged_demo.serving.workload import Request as Request, poisson_arrivals as poisson_arrivals
from paged_demo.serving.traces import (
    read_trace as read_trace,
    iter_trace as iter_trace,
    prompt_tokens as prompt_tokens,
)
from paged_demo.serving.workload import (
    LengthDistribution as LengthDistribution,
    sharegpt as sharegpt,
    alpaca as alpaca,
    azure_conv as azure_conv,
    azure_code as azure_code,
)
from paged_demo.serving.rules import (
    PagedPool as PagedPool,
    TraditionalPool as TraditionalPool,
    Rules as Rules,
    swap_several as swap_several,
    swap_always as swap_always,
    swap_never as swap_never,
    keep_pages_free as keep_pages_free,
)
from paged_demo.serving.grouped_pool import GroupedPool as GroupedPool
from paged_demo.serving.scheduler import (
    Scheduler as Scheduler,
    Snapshot as Snapshot,
    scheduler_of as scheduler_of,
)
from paged_demo.serving.sequence_group import Stay as Stay
from paged_demo.serving.simulator import simulate as simulate
from paged_demo.serving.run import Run as Run, Moment as Moment, serve as serve
from paged_demo.serving.saturation import (
    FullPool as FullPool,
    keep_full as keep_full,
    fill_by_page_size as fill_by_page_size,
)

__version__: str
