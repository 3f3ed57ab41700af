"""The paged allocator beside vLLM 0.33.0: the same answers to the same histories, operation by operation.

The histories were recorded from vLLM's own `KVCacheManager`; ``data/vllm-0.33.0/README.md`` tells how, and
what its rules are in words.
"""

import json
from pathlib import Path

import pytest
from walk import walk

from paged_demo import CacheFullError, PagedAllocator

DATA = Path(__file__).parent / "data" / "vllm-0.33.0"
HISTORIES = {
    f"{path.stem}: {history['name']}": history
    for path in sorted(DATA.glob("*.json"))
    for history in json.loads(path.read_text(encoding="utf-8"))["histories"]
}
ANSWERS = ("ok", "cached", "stored", "table", "free_pages", "pages")


class Replay:
    """An allocator that is asked what vLLM was asked."""

    def __init__(self, history):
        self.allocator = PagedAllocator(
            history["pages"], history["page_size"], prefix_caching=history["caching"]
        )
        self.num_drained = 0

    def answer(self, asked):
        """Do one operation, and return what vLLM's answer to it should be."""
        came = {}
        if asked["op"] == "allocate":  # vLLM looks up before it asks for slots, and says so if refused, too
            came["cached"] = self.allocator.find(asked["tokens"], cache_salt=asked.get("salt") or "")
        try:
            came |= getattr(self, asked["op"])(asked)
        except CacheFullError:
            came["ok"] = False
            if asked["op"] != "allocate":
                came |= self.held(asked)
        return came | {"free_pages": self.allocator.num_free_pages}

    def allocate(self, asked):
        cached = self.allocator.allocate(
            asked["id"], asked["tokens"], cache_salt=asked.get("salt") or "", budget=asked.get("budget")
        )
        return {"ok": True, "cached": cached} | self.held(asked)

    def append(self, asked):
        self.allocator.append(asked["id"], asked["token"])
        return {"ok": True} | self.held(asked)

    def extend(self, asked):
        self.allocator.extend(asked["id"], asked["budget"])
        return {"ok": True} | self.held(asked)

    def free(self, asked):
        self.allocator.free(asked["id"])
        return {}

    def drain(self, asked):
        pages = []
        while self.allocator.num_free_pages:
            self.allocator.allocate(("drain", len(pages)), [10**9 + len(pages)])
            pages += self.allocator.page_table(("drain", len(pages)))
        return {"pages": pages}

    def held(self, asked):
        table = self.allocator.page_table(asked["id"])
        return {"table": table, "stored": len(self.allocator.slots(asked["id"]))}


def differences(history):
    """Yield what differs, operation by operation."""
    replay = Replay(history)
    for number, operation in enumerate(history["ops"]):
        came = replay.answer(operation)
        for name in ANSWERS:
            if name in operation and came.get(name) != operation[name]:
                told = f"{name} {came.get(name)}, vLLM answered {operation[name]}"
                yield f"operation {number}, {operation['op']}: {told}"
        replay.allocator.check()


def test_there_are_histories():
    assert len(HISTORIES) == 46
    assert sum(len(history["ops"]) for history in HISTORIES.values()) > 3000


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_history_gets_the_answers_of_vllm(history):
    assert next(differences(history), None) is None


def test_random_histories_get_the_answers_of_a_model_of_the_rules():
    kinds = walk("paged", 20_000)
    assert all(kinds[kind] > 100 for kind in ("allocate", "append", "extend", "fork", "free"))
    assert all(kinds[f"{kind}, refused"] > 100 for kind in ("allocate", "append", "extend"))
