"""Start-ups of vLLM as arguments of the sizing: those of `data/sizing/`, whose README tells the fields."""

import json
import re
from dataclasses import replace
from pathlib import Path

from paged_demo.sizing.layers import Chunked, DeltaNet, Full, Latent, Mamba1, Mamba2, Sliding
from paged_demo.sizing.server import RULES_NOW, Server, rules_of

DATA = Path(__file__).parent / "data" / "sizing"
KINDS = {
    "full": Full,
    "sliding": Sliding,
    "chunked": Chunked,
    "mla": Latent,
    "state": DeltaNet,
    "mamba1": Mamba1,
    "mamba2": Mamba2,
}
FLAGS = {
    "kv_bytes": "kv_cache_dtype",
    "kernel_step": "kernel_blocks",
    "dcp": "decode_context_parallel",
    "mamba_cache_mode": "state_cache",
    "conv_bytes": "convolution_bytes",
}


def read(name, key):
    return {case["id"]: case for case in json.loads((DATA / name).read_text(encoding="utf-8"))[key]}


STARTUPS = read("startups.json", "startups")
ODD = read("odd.json", "startups")
PUBLISHED = read("published.json", "cases")


def layers_of(case):
    """Return the layers in the model's order."""
    kinds = [
        KINDS[each["kind"]](**{name: n for name, n in each.items() if name not in ("kind", "count")})
        for each in case["layers"]
    ]
    left = [each["count"] for each in case["layers"]]
    if "order" not in case:
        return [kind for kind, count in zip(kinds, left, strict=True) for _ in range(count)]
    layers, turn = [], 0
    while any(left):
        kind = int(case["order"][turn % len(case["order"])])
        turn += 1
        if left[kind]:
            left[kind] -= 1
            layers.append(kinds[kind])
    return layers


def server_of(case, **changed):
    """Return the server of a start-up, by the rules of 0.33.0."""
    flags = {}
    for name, value in case["flags"].items():
        if name == "one_type":
            flags["hybrid_manager"] = not value
        elif name == "layout":
            flags["layout"] = {"BLHNC": "blocks"}[value]
        elif name == "kernel_blocks":
            flags[name] = tuple(value)
        elif name != "token_rule":
            flags[FLAGS.get(name, name)] = value
    stages = tuple(case["pp"]) if "pp" in case else 1
    return Server(**{"tensor_parallel": case["tp"], "stages": stages} | flags | changed)


def published_server(case, flags):
    """Return the server of a published case, by the rules of the version that it names."""
    version = re.search(r"\d+\.\d+", case["version"])
    rules = rules_of(version[0]) if version else RULES_NOW
    if "token_rule" in flags:
        rules = replace(rules, tokens="concurrency" if flags["token_rule"] == "concurrency" else "groups")
    return server_of(case | {"flags": {"state_bytes": 4} | flags}, rules=rules)
