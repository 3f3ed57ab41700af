"""``python3 -m paged_demo size``: from a config, a GPU and flags to the line that the server prints.

Standard library only, so that it runs without any package.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from paged_demo.sizing.config import ModelConfig, read_config
from paged_demo.sizing.fields import ConfigError
from paged_demo.sizing.layers import Chunked, Sliding, StateLayer, TokenLayer
from paged_demo.sizing.memory import Memory, check_utilization
from paged_demo.sizing.plan import Plan, plan
from paged_demo.sizing.server import RULES_NOW, Server, rules_of
from paged_demo.sizing.units import GIB, bytes_of, in_gib
from paged_demo.sizing.weights import Weights, estimate_weights, weights_bytes

MEASURED = {"activation": "peak of activations", "non_torch": "outside torch", "graphs": "CUDA graphs"}
FLAGS = {
    "total_bytes": "--gpu",
    "num_parameters": "--parameters",
    "tensor_parallel": "--tensor-parallel-size",
    "stages": "--pipeline-parallel-size",
    "decode_context_parallel": "--decode-context-parallel-size",
}
"""The flags whose arguments have other names."""
WIDTH = 22


def main(arguments: Sequence[str]) -> int:
    """Print the chain, a line a step, with the server's own line last.

    Returns
    -------
    int
        0 if the server starts, 1 if it refuses, 2 if something that was given is wrong.
    """
    given = _parser().parse_args(arguments)
    try:
        lines, code = _told(given)
    except (ValueError, TypeError) as error:
        sys.stderr.write(f"{_by_flag(str(error), given, arguments)}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return code


def _by_flag(told: str, given: argparse.Namespace, arguments: Sequence[str]) -> str:
    """Say what is wrong with the flag in place of the argument that it sets."""
    name, _, rest = told.partition(" ")
    flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
    if name == "available" and any(each.startswith("--kv-cache-memory-bytes") for each in arguments):
        flag = "--kv-cache-memory-bytes"
    return f"{flag} {rest}" if name in FLAGS or name in vars(given) else told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m paged_demo size",
        description="From a config.json, a GPU and flags to the line that a vLLM 0.33.0 server prints.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG.json")
    add("--gpu", help="memory of one GPU, as its driver gives it: 24GB, 23.58GiB")
    pool = parser.add_mutually_exclusive_group()
    pool.add_argument(
        "--available", help="memory for the KV cache, from a log; one for each stage, with commas between"
    )
    pool.add_argument(
        "--kv-cache-memory-bytes",
        dest="available",
        metavar="BYTES",
        type=lambda told: f"{told}B" if told.isdecimal() else told,
        help="the same as a flag of vLLM, in bytes where no unit is given",
    )
    add("--max-model-len", type=int, help="tokens; -1: the longest that fits; default: the model's own")
    add("--gpu-memory-utilization", type=float, help="share of the GPU's memory (default 0.92)")
    add("--weights", help="'Model loading took', from a log")
    add("--parameters", type=int, help="number of parameters, where the config does not tell")
    for name, meaning in MEASURED.items():
        add(f"--{name.replace('_', '-')}", help=f"{meaning}, from a log")
    add("--tensor-parallel-size", type=int, default=1, help="GPUs of a stage")
    add("--pipeline-parallel-size", type=int, default=1, help="stages")
    add("--decode-context-parallel-size", type=int, default=1, help="GPUs that share a sequence's tokens")
    add("--kv-cache-dtype", default="bfloat16", help="such as fp8, nvfp4")
    add("--block-size", type=int, default=16, help="tokens of a block (default 16)")
    add(
        "--max-num-batched-tokens",
        type=int,
        help="tokens of a step; by default those of a server on this GPU",
    )
    add("--num-gpu-blocks-override", type=int, help="blocks, whatever memory there is")
    add("--speculative-tokens", type=int, default=0, help="draft tokens of a step")
    add("--no-enable-prefix-caching", action="store_true")
    add("--disable-hybrid-kv-cache-manager", action="store_true")
    add("--prefill-checkpoints", action="store_true", help="states are kept within prompts")
    add("--version", default="0.33.0", help="of vLLM, where its rules were others")
    return parser


def _told(given: argparse.Namespace) -> tuple[list[str], int]:
    """Return the lines, and the exit code."""
    model = read_config(given.config)
    total = None if given.gpu is None else bytes_of("--gpu", given.gpu)
    server = _server(given, model, total)
    lines = [_line("model", _kinds(model)), *_per_token(model, server)]
    available, chain, is_bound = _available(given, server, total)
    lines += chain
    planned = plan(model.layers, server, available)
    lines += [*_pool(planned), *_help(model, planned, available)]
    if planned.pool_bytes is None:
        lines.append("No pool: give --gpu, --available or --num-gpu-blocks-override.")
        return lines, 0
    if is_bound:
        lines.append("An upper bound, for what only a log can say is counted as 0:")
    return [*lines, str(planned)], 0 if planned.refusal is None else 1


def _line(name: str, told: str) -> str:
    return f"{name:<{WIDTH}}{told}"


def _server(given: argparse.Namespace, model: ModelConfig, total: int | None) -> Server:
    longest, fits = given.max_model_len, given.max_model_len == -1
    if longest is None or fits:
        if model.max_model_len is None:
            raise ConfigError("--max-model-len must be given: config.json has no max_position_embeddings")
        longest = model.max_model_len
    batched = given.max_num_batched_tokens
    if batched is None and total is not None:
        batched = default_batched_tokens(total)
    server = Server(
        max_model_len=longest,
        auto_fit=fits,
        tensor_parallel=given.tensor_parallel_size,
        stages=given.pipeline_parallel_size,
        decode_context_parallel=given.decode_context_parallel_size,
        kv_cache_dtype="bfloat16" if given.kv_cache_dtype == "auto" else given.kv_cache_dtype,
        block_size=given.block_size,
        max_num_batched_tokens=batched,
        num_gpu_blocks_override=given.num_gpu_blocks_override,
        speculative_tokens=given.speculative_tokens,
        prefix_caching=not given.no_enable_prefix_caching,
        hybrid_manager=not given.disable_hybrid_kv_cache_manager,
        prefill_checkpoints=given.prefill_checkpoints,
        state_bytes=model.state_bytes,
        rules=RULES_NOW if given.version == "0.33.0" else rules_of(given.version),
    )
    if server.tensor_parallel % server.decode_context_parallel:
        raise ValueError(
            f"decode_context_parallel must divide the {server.tensor_parallel} of --tensor-parallel-size, "
            f"got {server.decode_context_parallel}"
        )
    return server


def default_batched_tokens(total_bytes: int) -> int:
    """Return the tokens of a step that a server takes by default, on a GPU that is no A100.

    ``get_batch_defaults`` of ``vllm/engine/arg_utils.py``, version 0.33.0.

    Examples
    --------
    >>> [default_batched_tokens(gib * GIB) for gib in (24, 80, 180)]
    [2048, 8192, 16384]
    """
    if total_bytes >= 160 * GIB:
        return 16384
    return 8192 if total_bytes >= 70 * GIB else 2048


def _kinds(model: ModelConfig) -> str:
    kinds = ", ".join(f"{count} {layer.kind}" for layer, count in model.by_kind().items())
    nothing = model.layers.count(None)
    return f"{model.model_type}, layers: {kinds}" + (f", {nothing} that keep nothing" if nothing else "")


def _per_token(model: ModelConfig, server: Server) -> Iterator[str]:
    for layer, count in model.by_kind().items():
        if isinstance(layer, TokenLayer):
            each = layer.on_gpu(server.tensor_parallel).bytes_per_token(server.cache)
            limit = layer.tokens_kept(2**24)
            most = f", of {limit:,} tokens at most" if limit < 2**24 else ""
            yield _line(
                f"a token, {layer.kind}",
                f"{count} x {float(each):,g} = {float(count * each):,.10g} bytes{most}",
            )
        elif isinstance(layer, StateLayer):
            state = layer.on_gpu(server.tensor_parallel, server.speculative_tokens)
            size = state.state_bytes(server.state_bytes, server.convolution_bytes)
            yield _line("a sequence, state", f"{count} x {size:,} = {count * size:,} bytes")


def _available(
    given: argparse.Namespace, server: Server, total: int | None
) -> tuple[list[str] | int | None, list[str], bool]:
    """Return the memory of the pool, the lines that lead to it, and whether it is only a bound."""
    if given.available is not None:
        each = (
            given.available.split(",")
            if server.num_stages > 1 and "," in given.available
            else [given.available]
        )
        amounts = each * server.num_stages if len(each) == 1 else each
        return amounts, [_line("available", f"{given.available}, as given")], False
    if total is None or given.num_gpu_blocks_override is not None:
        return None, [], False
    share = (
        float(server.rules.utilization)
        if given.gpu_memory_utilization is None
        else given.gpu_memory_utilization
    )
    share = check_utilization("--gpu-memory-utilization", share)
    parts = {name: getattr(given, name) for name in MEASURED}
    bytes_each = {name: bytes_of(name, text) if text is not None else 0 for name, text in parts.items()}
    weights = _weights(given, server)
    memory = Memory(
        total_bytes=total,
        utilization=share,
        weights_bytes=weights.num_bytes,
        activation_bytes=bytes_each["activation"],
        non_torch_bytes=bytes_each["non_torch"],
        graph_bytes=bytes_each["graphs"],
    )
    lines = [
        _line("GPU", f"{in_gib(total)} GiB: what {given.gpu} says; the driver may say another number"),
        _line("requested", f"{share:g} of it = {in_gib(memory.requested_bytes)} GiB"),
        _line("- weights", str(weights)),
    ]
    for name, meaning in MEASURED.items():
        told = (
            "not given; only a log says"
            if parts[name] is None
            else f"{in_gib(bytes_each[name])} GiB, as given"
        )
        lines.append(_line(f"- {meaning}", told))
    is_bound = None in parts.values()
    most = ", at most" if is_bound else ""
    return (
        memory.available_bytes,
        [*lines, _line("= available", f"{in_gib(memory.available_bytes)} GiB{most}")],
        is_bound,
    )


def _weights(given: argparse.Namespace, server: Server) -> Weights:
    if given.weights is not None:
        return Weights(num_bytes=bytes_of("--weights", given.weights), told="as given")
    gpus = server.tensor_parallel * server.num_stages
    if given.parameters is not None:
        return weights_bytes(given.parameters, tensor_parallel=gpus)
    try:
        return estimate_weights(given.config, tensor_parallel=gpus)
    except ConfigError as error:
        raise ConfigError(f"--weights, --parameters or --available must be given: {error}") from None


def _pool(planned: Plan) -> Iterator[str]:
    if planned.raised is not None:
        raised = planned.raised
        yield _line(
            "block beside states",
            f"{raised.block_size} tokens, so that its page holds {raised.state_bytes:,} bytes of state",
        )
    needs = planned.blocks_for(planned.max_model_len or 1)
    for group, blocks in zip(planned.groups, needs, strict=True):
        pages = " and ".join(f"{page:,}" for page in group.page_bytes)
        yield _line(
            f"group, {group.kind}",
            f"{len(group.layers)} layers, blocks of {group.block_size:,} tokens, pages of {pages} bytes; "
            f"a request holds {blocks:,}",
        )
    yield _line("a block", " and ".join(f"{size:,}" for size in planned.block_bytes) + " bytes on a GPU")
    longest = f"{planned.max_model_len:,} tokens"
    needed = " and ".join(in_gib(size) for size in planned.needed_bytes)
    yield _line("need", f"{planned.need:,} blocks, {needed} GiB, for a request of {longest}")
    if planned.pool_bytes is not None:
        yield _line("blocks", f"{planned.blocks:,}, of which one is never given out")


def _help(model: ModelConfig, planned: Plan, available: object) -> Iterator[str]:
    """Say what some flags would make of K, with the pool of now."""
    if planned.pool_bytes is None or planned.server.num_gpu_blocks_override is not None:
        return
    server = planned.server
    changes = []
    refusal = planned.refusal
    if refusal is not None and refusal.estimated_max_len:
        length = refusal.estimated_max_len
        changes.append((f"--max-model-len {length}", replace(server, max_model_len=length)))
    if server.cache.element_bytes > 1:
        changes.append(("--kv-cache-dtype fp8", replace(server, kv_cache_dtype="fp8")))
    tokens = server.max_num_batched_tokens
    if (
        tokens is not None
        and tokens > 1
        and any(isinstance(each, (Sliding, Chunked)) for each in model.layers)
    ):
        half = tokens // 2
        changes.append((f"--max-num-batched-tokens {half}", replace(server, max_num_batched_tokens=half)))
    gpus = 2 * server.tensor_parallel
    changes.append((f"--tensor-parallel-size {gpus}", replace(server, tensor_parallel=gpus)))
    for flag, changed in changes:
        try:
            other = plan(model.layers, changed, available)
        except ValueError:
            continue  # Heads that do not divide by so many GPUs: no advice.
        if other.concurrency > planned.concurrency or flag.startswith("--max-model-len"):
            yield _line("would help", f"{flag}: {other.concurrency:.2f}x in the same pool")
