"""Notebook 08: from the memory of a GPU to the line in a server's log, by its flags."""

from functools import lru_cache

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from paged_demo.course import nb08_plots
from paged_demo.sizing.memory import Memory
from paged_demo.sizing.plan import Plan, plan
from paged_demo.sizing.presets import model_of
from paged_demo.sizing.server import Server
from paged_demo.sizing.units import bytes_of, in_gib
from paged_demo.views import style
from paged_demo.views.controls import choice
from paged_demo.views.live import Explorer, Panels

MODEL = "meta-llama/Llama-3.1-8B"
TOTAL = "23.58GiB"
WEIGHTS, PEAK, NON_TORCH = "14.9888GiB", "17.06GiB", "0.35GiB"
"""An RTX 3090 with Llama-3.1-8B at ``max_model_len`` 20,000, as a public log has it
(vllm-project/vllm#10517); the peak has the weights in it. No CUDA graphs were counted there."""

LENGTHS = (2048, 4096, 8192, 16_384, 20_000, 24_576, 32_768, 65_536, 131_072)
SHARES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.95, 0.98)
GPUS_OF_A_GROUP = (1, 2, 4, 8)
KV_TYPES = ("bfloat16", "fp8", "nvfp4")
LOWEST_K = 0.01


def memory_of(gpu_memory_utilization: float, tensor_parallel: int = 1) -> Memory:
    """Return the chain of the card, with the terms of the log.

    Parameters
    ----------
    gpu_memory_utilization : float
        The share of the card that the server asks for.
    tensor_parallel : int
        GPUs that divide the weights. What else was measured is that of one GPU.
    """
    weights = bytes_of("weights", WEIGHTS)
    return Memory(
        total_bytes=bytes_of("total", TOTAL),
        utilization=gpu_memory_utilization,
        weights_bytes=-(-weights // tensor_parallel),
        activation_bytes=bytes_of("peak", PEAK) - weights,
        non_torch_bytes=bytes_of("non_torch", NON_TORCH),
        graph_bytes=0,
    )


@lru_cache(maxsize=64)
def plan_of(
    max_model_len: int, gpu_memory_utilization: float, tensor_parallel: int, kv_cache_dtype: str
) -> Plan:
    """Plan the pool of the card."""
    server = Server(
        max_model_len=max_model_len, tensor_parallel=tensor_parallel, kv_cache_dtype=kv_cache_dtype
    )
    available = memory_of(gpu_memory_utilization, tensor_parallel).available_bytes
    return plan(model_of(MODEL).layers, server, available)


@lru_cache(maxsize=256)
def longest_of(gpu_memory_utilization: float, tensor_parallel: int, kv_cache_dtype: str) -> int:
    """Return the longest ``max_model_len``, up to the model's own, with which the server starts."""
    return plan_of(LENGTHS[-1], gpu_memory_utilization, tensor_parallel, kv_cache_dtype).longest_that_fits


def _bytes_in(name: str, size: int) -> str:
    return f"{in_gib(size)} GiB {name}"


def _fill(
    panels: Panels, *, max_model_len: int, gpu_memory_utilization: float, tensor_parallel: int, kv_type: str
) -> str:
    memory = memory_of(gpu_memory_utilization, tensor_parallel)
    planned = plan_of(max_model_len, gpu_memory_utilization, tensor_parallel, kv_type)
    longest = longest_of(gpu_memory_utilization, tensor_parallel, kv_type)
    told = f"K = {planned.concurrency:.2f}" if planned.refusal is None else "refused"
    bars = nb08_plots.waterfall(memory, planned, ax=panels["bars"])
    setting = f"{max_model_len:,}, {gpu_memory_utilization:g}, TP {tensor_parallel}, {kv_type}"
    bars.set_title(told if "curve" in panels else f"{setting}: {told}")
    if "curve" in panels:
        _draw_curve(panels["curve"], planned, longest)
    terms = ", ".join(_bytes_in(name, size) for name, size in memory.parts if size)
    stop = "." if planned.refusal is None else ""
    return (
        f"max_model_len {max_model_len:,}, gpu_memory_utilization {gpu_memory_utilization:g},"
        f" tensor_parallel_size {tensor_parallel}, KV in {kv_type}: {told}. {_told_longest(longest)}"
        f" Llama-3.1-8B on cards of {in_gib(memory.total_bytes)} GiB:"
        f" {_bytes_in('asked for', memory.requested_bytes)}; {terms};"
        f" {in_gib(memory.available_bytes)} GiB left for the pool of each card. {planned}{stop}"
    )


def _told_longest(longest: int) -> str:
    if not longest:
        return "No length starts."
    if longest == LENGTHS[-1]:
        return f"All lengths start, up to the model's own, {longest:,}."
    return f"The longest that starts: {longest:,}."


def _draw_curve(ax: Axes, planned: Plan, longest: int) -> None:
    if planned.blocks:
        shown = [planned.blocks / sum(planned.blocks_for(length)) for length in LENGTHS]
        ax.plot(LENGTHS, shown, color=style.PAGED, linewidth=2)
        ax.plot([planned.max_model_len or 1], [planned.concurrency], **style.MARK, zorder=3)
    if 0 < longest < LENGTHS[-1]:
        ax.plot([longest, longest], [LOWEST_K, 1], color="black", linewidth=1, linestyle=":")
    ax.set_title(f"longest that starts: {longest:,}" if longest else "no length starts")


def _draw_curve_axes(ax: Axes) -> None:
    ax.set(xscale="log", yscale="log", xlim=(1700, 200_000), ylim=(LOWEST_K, 4000))
    ax.set(xlabel="max_model_len (tokens)", ylabel="K (requests of that length)")
    ax.set_xticks([2048, 8192, 32_768, 131_072], ["2,048", "8,192", "32,768", "131,072"])
    ax.set_yticks([0.1, 1, 10, 100, 1000], ["0.1", "1", "10", "100", "1,000"])
    ax.minorticks_off()
    ax.axhspan(LOWEST_K, 1, color="#F2E3DD", linewidth=0, zorder=0)
    ax.axhline(1, color="black", linewidth=0.8, linestyle="--", zorder=0.5)
    ax.text(1900, 0.85, "below 1: refuses to start", va="top", fontsize=9)


def _draw_key(ax: Axes) -> None:
    ax.set_axis_off()
    handles = [Rectangle((0, 0), 1, 1, label=label, **look) for label, look in nb08_plots.LOOKS.items()]
    ax.legend(handles=handles, loc="center", ncols=3, fontsize=10)


def explore_chain() -> Explorer:
    """Explore what a card of 24 GB leaves for the pool of Llama-3.1-8B, and where K crosses 1."""
    return Explorer(
        _fill,
        {
            "max_model_len": choice("max_model_len (tokens)", LENGTHS, 20_000),
            "gpu_memory_utilization": choice("gpu_memory_utilization", SHARES, 0.9),
            "tensor_parallel": choice("tensor_parallel_size (GPUs)", GPUS_OF_A_GROUP, 1),
            "kv_type": choice("kv_cache_dtype", KV_TYPES, "bfloat16"),
        },
        panels={
            "bars": (0.11, 0.32, 0.4, 0.6),
            "curve": (0.615, 0.32, 0.365, 0.6),
            "key": (0, 0, 1, 0.14),
        },
        sheet={"bars": (0.2, 0.2, 0.77, 0.66)},
        narrow={"bars": 2.4, "curve": 2.4, "key": 0.8},
        height=3.6,
        background={"curve": _draw_curve_axes, "key": _draw_key},
    )
