"""The allocators of pages beside vLLM 0.33.0: the same answers to the same histories, operation by operation.

The histories were recorded from vLLM's own `KVCacheManager`; ``data/vllm-0.33.0/README.md`` tells how, and
what its rules are in words.
"""

import json
from pathlib import Path

import pytest
from amounts import amount
from walk import walk

from paged_demo import CacheFullError, FullGroup, GroupedAllocator, PagedAllocator, SlidingGroup

DATA = Path(__file__).parent / "data" / "vllm-0.33.0"
HISTORIES = {
    f"{path.stem}: {history['name']}": history
    for path in sorted(DATA.glob("*.json"))
    for history in json.loads(path.read_text(encoding="utf-8"))["histories"]
}
ANSWERS = ("ok", "cached", "stored", "table", "free_pages", "pages")


class Replay:
    """A `PagedAllocator` that is asked what vLLM was asked."""

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


class GroupedReplay(Replay):
    """A `GroupedAllocator` with the groups of the history.

    vLLM gives back what lies behind the window even if it then refuses (rule 14). Here that is a step by
    itself, before each operation on a sequence that is held.
    """

    def __init__(self, history):
        groups = [FullGroup()]
        if "window" in history:
            groups.append(SlidingGroup(window=history["window"]))
        self.allocator = GroupedAllocator(
            history["pages"], history["page_size"], groups, prefix_caching=history["caching"]
        )

    def append(self, asked):
        self.allocator.give_back(asked["id"])
        return super().append(asked)

    def extend(self, asked):
        self.allocator.give_back(asked["id"])
        return super().extend(asked)

    def drain(self, asked):
        pages, num_groups = [], len(self.allocator.groups)
        while self.allocator.num_free_pages >= num_groups:
            self.allocator.allocate(("drain", len(pages)), [10**9 + len(pages)])
            pages += [table[0] for table in self.allocator.page_tables(("drain", len(pages)))]
        return {"pages": pages + list(self.allocator._pool._free)}

    def held(self, asked):
        tables = self.allocator.page_tables(asked["id"])
        stored = len(self.allocator.slots(asked["id"]))
        return {"table": tables if len(tables) > 1 else tables[0], "stored": stored}


def differences(history, make_replay):
    """Yield what differs, operation by operation."""
    replay = make_replay(history)
    for number, operation in enumerate(history["ops"]):
        came = replay.answer(operation)
        for name in ANSWERS:
            if name in operation and came.get(name) != operation[name]:
                told = f"{name} {came.get(name)}, vLLM answered {operation[name]}"
                yield f"operation {number}, {operation['op']}: {told}"
        replay.allocator.check()


def test_there_are_histories():
    assert len(HISTORIES) == 40 + 12 + 20
    assert sum("window" in history for history in HISTORIES.values()) == 6 + 20
    assert sum(len(history["ops"]) for history in HISTORIES.values()) > 5000


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_history_gets_the_answers_of_vllm(history):
    assert next(differences(history, GroupedReplay), None) is None
    if "window" not in history:
        assert next(differences(history, Replay), None) is None


def test_random_histories_get_the_answers_of_a_model_of_the_rules():
    num_steps = amount(short=6000, long=20_000)
    kinds, many = walk("paged", num_steps), num_steps / 200
    assert all(kinds[kind] > many for kind in ("allocate", "append", "extend", "fork", "free"))
    assert all(kinds[f"{kind}, refused"] > many for kind in ("allocate", "append", "extend"))
