"""The write of exercise 5.2, and whole lives of sequences to try it on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from paged_demo.course.exercises.functions import read_whole_number, read_whole_numbers
from paged_demo.course.exercises.verdict import describe
from paged_demo.course.nb05_trials import free

if TYPE_CHECKING:
    from paged_demo.views.picture import Picture

NUM_POOL_PAGES = 8
PAGE_SIZES = (2, 4)
LONGEST_OF_ALL = 4
"""Steps of the longest traces of which all are tried."""

Copy = tuple[int, int] | None
Write = Callable[[list[int], int, list[int], list[int], int], Any]


class Step(NamedTuple):
    """Something that happens to a sequence: it writes a token, it is forked, or it ends."""

    name: str
    seq_id: str
    child_id: str = ""

    def __str__(self) -> str:
        words = {"write": "{0} writes", "fork": "{1} is forked from {0}", "free": "{0} ends"}
        return words[self.name].format(self.seq_id, self.child_id)


class WriteCase(NamedTuple):
    """A sequence A with a prompt, and what happens then; the last step is a write."""

    num_prompt_tokens: int
    page_size: int
    steps: tuple[Step, ...]


@dataclass(slots=True)
class Pool:
    """Sequences in a pool that counts references; a reader's function does its writes."""

    page_size: int
    write: Write
    tables: dict[str, list[int]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0] * NUM_POOL_PAGES)
    free_pages: list[int] = field(default_factory=lambda: list(range(NUM_POOL_PAGES)))

    def prompt(self, num_tokens: int) -> None:
        """Let A arrive."""
        table = [self.free_pages.pop(0) for _ in range(-(-num_tokens // self.page_size))]
        for page_id in table:
            self.counts[page_id] = 1
        self.tables["A"], self.lengths["A"] = table, num_tokens

    def do(self, step: Step) -> Any:
        """Take a step, and return what the function gave back if it was a write."""
        seq_id = step.seq_id
        if step.name == "write":
            num_tokens = self.lengths[seq_id]
            answer = self.write(self.tables[seq_id], num_tokens, self.counts, self.free_pages, self.page_size)
            self.lengths[seq_id] += 1
            return answer
        if step.name == "fork":
            self.tables[step.child_id] = self.tables[seq_id].copy()
            self.lengths[step.child_id] = self.lengths[seq_id]
            for page_id in self.tables[seq_id]:
                self.counts[page_id] += 1
        else:
            del self.lengths[seq_id]
            free(self.tables.pop(seq_id), self.counts, self.free_pages)
        return None


class Written(NamedTuple):
    """What the last write of a trace gave back, and what it left behind."""

    slot: int
    copy: Copy
    tables: dict[str, list[int]]
    counts: list[int]
    free_pages: list[int]


def write(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Find a slot for the next token, copying a shared page first: the reference of exercise 5.2."""
    offset = num_tokens % page_size
    copy = None
    if offset == 0:
        start_page(table, counts, free_pages)
    elif counts[table[-1]] > 1:
        copy = copy_last_page(table, counts, free_pages)
    return table[-1] * page_size + offset, copy


def start_page(table: list[int], counts: list[int], free_pages: list[int]) -> None:
    """Let the table go on with a free page."""
    table.append(free_pages.pop(0))
    counts[table[-1]] = 1


def copy_last_page(table: list[int], counts: list[int], free_pages: list[int]) -> tuple[int, int]:
    """Put a copy in the place of the table's last page, and return both."""
    src_page, dst_page = table[-1], free_pages.pop(0)
    counts[src_page] -= 1
    counts[dst_page] = 1
    table[-1] = dst_page
    return src_page, dst_page


def write_cases() -> Iterator[WriteCase]:
    """Make all short traces, then long random ones up to each of their writes, the shortest first.

    So the first that fails is a shortest one, and its last write is the first that goes wrong.
    """
    steps = [Step("write", "A"), Step("write", "B"), Step("free", "A")]
    steps += [Step("fork", "A", "B"), Step("fork", "A", "C")]
    for length, num_prompt, page_size in product(range(1, LONGEST_OF_ALL + 1), range(1, 7), PAGE_SIZES):
        for trace in product(steps, repeat=length):
            if trace[-1].name == "write" and _is_possible(trace):
                yield WriteCase(num_prompt, page_size, trace)
    rng = Random(0)
    lives = [WriteCase(rng.randint(1, 6), rng.choice(PAGE_SIZES), _random_trace(rng)) for _ in range(25)]
    for length in range(LONGEST_OF_ALL + 1, max(len(life.steps) for life in lives) + 1):
        for life in lives:
            if length <= len(life.steps) and life.steps[length - 1].name == "write":
                yield life._replace(steps=life.steps[:length])


def _is_possible(trace: tuple[Step, ...]) -> bool:
    held = {"A"}
    for step in trace:
        # C comes after B: without B, it would do what B does.
        if step.seq_id not in held or step.child_id in held or (step.child_id == "C" and "B" not in held):
            return False
        if step.name == "fork":
            held.add(step.child_id)
        elif step.name == "free":
            held.remove(step.seq_id)
    return True


def _random_trace(rng: Random) -> tuple[Step, ...]:
    held = ["A"]
    trace = []
    for _ in range(rng.randint(4, 9)):
        seq_id = rng.choice(held)
        name = rng.choice(["write", "write", "fork", "free"])
        free_names = [letter for letter in "ABC" if letter not in held]
        if name == "fork" and free_names:
            held.append(free_names[0])
            trace.append(Step("fork", seq_id, free_names[0]))
        elif name == "free" and len(held) > 1:
            held.remove(seq_id)
            trace.append(Step("free", seq_id))
        else:
            trace.append(Step("write", seq_id))
    return (*trace, Step("write", held[0]))


def call_write(function: Write, case: WriteCase) -> Any:
    """Play a trace with a function that writes, and keep what its last write did."""
    pool = Pool(case.page_size, function)
    pool.prompt(case.num_prompt_tokens)
    answer: Any = None
    for step in case.steps:
        answer = pool.do(step)
        if step.name == "write" and not _is_slot_and_copy(answer):
            return answer
    slot, copy = answer
    return Written(
        int(slot), copy and (int(copy[0]), int(copy[1])), pool.tables, pool.counts, pool.free_pages
    )


def _is_slot_and_copy(answer: Any) -> bool:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return False
    slot, copy = answer
    if not (copy is None or (isinstance(copy, tuple | list) and len(copy) == 2)):
        return False
    try:
        return all(read_whole_number(number) >= 0 for number in (slot, *(copy or ())))
    except TypeError:
        return False


def read_write(written: Any) -> Written:
    """Pass on what a write did; anything else is what the function returned instead."""
    if not isinstance(written, Written):
        raise TypeError(f"a slot and a copy, or None for it, were expected; it returned {describe(written)}")
    tables = {seq_id: read_whole_numbers(table) for seq_id, table in written.tables.items()}
    counts, free_pages = read_whole_numbers(written.counts), read_whole_numbers(written.free_pages)
    return written._replace(tables=tables, counts=counts, free_pages=free_pages)


def tell_write_case(case: WriteCase) -> str:
    """Write a trace in words."""
    steps = ", then ".join(map(str, case.steps))
    num_tokens = "1 token" if case.num_prompt_tokens == 1 else f"{case.num_prompt_tokens} tokens"
    return f"a prompt of {num_tokens} in pages of {case.page_size}; then {steps}"


def draw_write_case(case: WriteCase, expected: Written, came: Written | None) -> "Picture | None":
    """Draw the pool before the last write; those before it were right, or a shorter trace would be told."""
    pool = Pool(case.page_size, write)
    pool.prompt(case.num_prompt_tokens)
    for step in case.steps[:-1]:
        pool.do(step)
    held = {seq_id: (table, pool.lengths[seq_id]) for seq_id, table in pool.tables.items()}
    # Loads Matplotlib, which nobody needs whose answer is right.
    from paged_demo.course.exercises import drawing  # noqa: PLC0415

    return drawing.pool_with_marks(
        held, NUM_POOL_PAGES, case.page_size, expected.slot, came.slot if came else None
    )
