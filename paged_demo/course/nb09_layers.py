"""What notebook 09 tells of layers that keep less, without a picture: a story, and bytes of requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from paged_demo.allocators.group_kinds import FullGroup, PageGroup, SlidingGroup, StateGroup
from paged_demo.allocators.groups import GroupedAllocator
from paged_demo.serving.grouped_pool import GroupedPool
from paged_demo.serving.rules import Rules
from paged_demo.serving.simulator import simulate
from paged_demo.serving.workload import Request
from paged_demo.sizing.config import ModelConfig
from paged_demo.sizing.layers import Full, HeadLayer, Layer, StateLayer
from paged_demo.sizing.plan import plan
from paged_demo.sizing.presets import model_of
from paged_demo.sizing.server import Server

GROUPS: Mapping[str, PageGroup] = {
    "full": FullGroup(),
    "sliding": SlidingGroup(window=6),
    "latent": FullGroup(page_size=8),
    "state": StateGroup(),
}
"""Four groups of the small pool. A latent vector is half as large here, so a page holds twice as many."""

SMALL_POOL, SMALL_PAGE = 22, 4
GEMMA, DEEPSEEK, QWEN = "google/gemma-3-27b-it", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3.5-27B"
CONTEXTS = (256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)
COUNTED_AS_FULL = "Gemma-3-27B, all layers counted as full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The small pool after one step: what happened, A's page tables, and who holds each page."""

    title: str
    num_tokens: int
    tables: Mapping[str, Sequence[int | None]]
    holders: Mapping[int, tuple[str, str]]
    given_back: Sequence[int] = field(default=())


def tell_growth() -> list[Moment]:
    """Let a sequence grow in four groups over one pool, and another one arrive.

    Examples
    --------
    >>> [len(moment.given_back) for moment in tell_growth()]
    [0, 1, 1, 1, 0, 1, 1]
    """
    pool = GroupedAllocator(SMALL_POOL, SMALL_PAGE, GROUPS.values())
    moments: list[Moment] = []

    def note(title: str, given_back: Sequence[int] = ()) -> None:
        held = {seq_id: dict(zip(GROUPS, pool.page_tables(seq_id), strict=True)) for seq_id in seq_ids}
        holders = {
            page_id: (seq_id, name)
            for seq_id, tables in held.items()
            for name, table in tables.items()
            for page_id in table
            if page_id is not None
        }
        num_tokens = len(pool.slots("A"))
        moments.append(
            Moment(
                title=title,
                num_tokens=num_tokens,
                tables=held["A"],
                holders=holders,
                given_back=[page_id for page_id in given_back if page_id not in holders],
            )
        )

    def grow(num_tokens: int) -> list[int]:
        gone = []
        for _ in range(num_tokens):
            gone += pool.give_back("A")
            pool.append("A", 0)
        return gone

    seq_ids = ["A"]
    pool.allocate("A", [0] * 10)
    note("A's prompt has 10 tokens")
    note("1 token more", grow(1))
    note("3 tokens more", grow(3))
    note("4 tokens more", grow(4))
    seq_ids.append("B")
    pool.allocate("B", [0] * 5)
    note("B arrives with 5 tokens")
    note("4 tokens more", grow(4))
    note("4 tokens more", grow(4))
    return moments


def bytes_of_request(model: ModelConfig, num_tokens: int) -> int:
    """Return the bytes that a model needs of one request of so many tokens, in bfloat16.

    Examples
    --------
    >>> bytes_of_request(model_of("deepseek-ai/DeepSeek-V3"), 1)
    70272
    """
    return sum(
        layer.state_bytes(model.state_bytes)
        if isinstance(layer, StateLayer)
        else int(layer.bytes_for(num_tokens))
        for layer in model.layers
        if layer is not None
    )


def counted_as_full(layer: Layer | None) -> Layer | None:
    """Return a layer as a calculator sees it that does not know windows."""
    if isinstance(layer, HeadLayer):
        return Full(kv_heads=layer.kv_heads, head_dim=layer.head_dim)
    return layer


@cache
def requests_of(num_tokens: int) -> Mapping[str, int]:
    """Return the bytes of one request, by model, and as a calculator has them that does not know windows."""
    gemma = model_of(GEMMA)
    wrong = ModelConfig(
        model_type=gemma.model_type,
        layers=tuple(map(counted_as_full, gemma.layers)),
        max_model_len=None,
        state_bytes=gemma.state_bytes,
    )
    models = {
        COUNTED_AS_FULL: wrong,
        "Gemma-3-27B: 5 sliding to 1 full": gemma,
        "DeepSeek-V3: latent": model_of(DEEPSEEK),
        "Qwen3.5-27B: 3 states to 1 full": model_of(QWEN),
    }
    return {name: bytes_of_request(model, num_tokens) for name, model in models.items()}


IN_PIECES = Rules(chunked_prefill=True, max_batched_tokens=2048)


def pool_of_gemma(available: str, *, by_kind: bool) -> GroupedPool:
    """Make the pool that a server of Gemma-3-27B plans, by kind or with all layers stored as full."""
    server = Server(hybrid_manager=by_kind, max_num_batched_tokens=IN_PIECES.max_batched_tokens)
    return GroupedPool.of_plan(plan(model_of(GEMMA).layers, server, available))


def most_running(pool: GroupedPool, context: int) -> int:
    """Serve requests of so many tokens, of which 512 are generated, and count the most that ran at once."""
    requests = [Request(number, context - 512, 512) for number in range(2**20 // context)]
    stays = simulate(requests, pool, rules=IN_PIECES).stays
    return max(sum(stay.start_s <= begun.start_s < stay.end_s for stay in stays) for begun in stays)
