"""Whether requests can be served at all, from this pool by these rules: asked before a run begins."""

from collections.abc import Iterable

from paged_demo.serving.rules import PagedPool, Rules, TraditionalPool
from paged_demo.serving.workload import Request


def check_served(requests: Iterable[Request], *, can_fork: bool, rules: Rules) -> None:
    """Raise a ValueError if rules and pool do not go together, or a request's samples can never run so.

    ``can_fork`` says whether the allocator has pages, which sequences may share.
    """
    if rules.chunked_prefill and not can_fork:
        raise ValueError("chunked_prefill must be False without pages, for a run is reserved whole, got True")
    for request in requests:
        if request.num_samples > rules.max_running:
            most = f"max_running ({rules.max_running})"
        elif request.num_samples > 1 and not can_fork:
            most = "1, since this allocator cannot fork (send a request for each sample instead)"
        elif request.num_samples > 1 and rules.chunked_prefill:
            most = "1 with chunked_prefill, since samples fork from a whole prompt"
        else:
            continue
        raise ValueError(
            f"num_samples of request {request.request_id} must be at most {most}, got {request.num_samples}"
        )


def check_pool(pool: object) -> None:
    """Raise a TypeError unless this is a pool to serve requests from."""
    if not isinstance(pool, (PagedPool, TraditionalPool)):
        raise TypeError(f"pool must be a PagedPool, GroupedPool or TraditionalPool, got {pool!r}")
