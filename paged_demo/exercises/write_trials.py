"""The write of exercise 5.2: whole lives of sequences to try it on, the right one, and wrong ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from paged_demo.exercises.functions import read_whole_number
from paged_demo.exercises.sharing_trials import free
from paged_demo.exercises.verdict import describe

if TYPE_CHECKING:
    from paged_demo.views.picture import Picture

NUM_POOL_PAGES = 8
PAGE_SIZES = (2, 4)
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

    def __repr__(self) -> str:
        tables = ", ".join(f"{seq_id} in {table}" for seq_id, table in self.tables.items())
        return f"slot {self.slot}, copy {self.copy}; {tables}; counts {self.counts}"


def write(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Find a slot for the next token, copying a shared page first: the reference of exercise 5.2."""
    offset = num_tokens % page_size
    copy = None
    if offset == 0 or counts[table[-1]] > 1:
        page_id = free_pages.pop(0)
        counts[page_id] = 1
        if offset == 0:
            table.append(page_id)
        else:
            copy = (table[-1], page_id)
            counts[table[-1]] -= 1
            table[-1] = page_id
    return table[-1] * page_size + offset, copy


def write_cases() -> Iterator[WriteCase]:
    """Make all short traces, then long random ones; so the first that fails is a smallest one."""
    steps = [Step("write", "A"), Step("write", "B"), Step("fork", "A", "B"), Step("free", "A")]
    for length, num_prompt, page_size in product((1, 2, 3), (2, 3, 4), PAGE_SIZES):
        for trace in product(steps, repeat=length):
            if trace[-1].name == "write" and _is_possible(trace):
                yield WriteCase(num_prompt, page_size, trace)
    rng = Random(0)
    for _ in range(25):
        yield WriteCase(rng.randint(1, 6), rng.choice(PAGE_SIZES), _random_trace(rng))


def _is_possible(trace: tuple[Step, ...]) -> bool:
    held = {"A"}
    for step in trace:
        if step.seq_id not in held or step.child_id in held:
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
        raise TypeError(f"a slot, and a copy or None, were expected, and it returned {describe(written)}")
    return written


def tell_write_case(case: WriteCase) -> str:
    """Write a trace in words."""
    steps = ", ".join(map(str, case.steps))
    return f"a prompt of {case.num_prompt_tokens} in pages of {case.page_size}, then: {steps}"


def draw_write_case(case: WriteCase, expected: Written, came: Written | None) -> "Picture | None":
    """Draw the pool before the last write, if the writes before it were right: only then it is the last."""
    pool = Pool(case.page_size, write)
    pool.prompt(case.num_prompt_tokens)
    for step in case.steps[:-1]:
        pool.do(step)
    held = {seq_id: (table, pool.lengths[seq_id]) for seq_id, table in pool.tables.items()}
    # Loads Matplotlib, which nobody needs whose answer is right.
    from paged_demo.exercises import drawing  # noqa: PLC0415

    return drawing.pool_with_marks(
        held, NUM_POOL_PAGES, case.page_size, expected.slot, came.slot if came else None
    )


def write_in_place(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Write without a look at the count."""
    if num_tokens % page_size == 0:
        table.append(free_pages.pop(0))
        counts[table[-1]] = 1
    return table[-1] * page_size + num_tokens % page_size, None


def write_to_a_copy_always(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Copy the last page though nobody else holds it."""
    src_page = table[-1]
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    if copy is None and num_tokens % page_size:
        copy = (src_page, free_pages.pop(0))
        counts[copy[1]], counts[src_page] = 1, 0
        free_pages.append(src_page)
        table[-1] = copy[1]
        slot = copy[1] * page_size + num_tokens % page_size
    return slot, copy


def write_and_keep_the_count(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Copy, and leave the old page its count."""
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    if copy:
        counts[copy[0]] += 1
    return slot, copy


def write_and_keep_the_table(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Copy, and leave the old page in the table."""
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    if copy:
        table[-1] = copy[0]
    return slot, copy


def write_to_a_copy_of_all(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Copy every page of the prefix."""
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    for logical, page_id in enumerate(table):
        if copy and counts[page_id] > 1:
            counts[page_id] -= 1
            table[logical] = free_pages.pop(0)
            counts[table[logical]] = 1
    return slot, copy


def write_to_a_copy_of_a_full_page(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Copy a shared last page even where it is full."""
    copy = None
    if counts[table[-1]] > 1:
        copy = (table[-1], free_pages.pop(0))
        counts[copy[0]] -= 1
        counts[copy[1]] = 1
        table[-1] = copy[1]
    slot, _ = write(table, num_tokens, counts, free_pages, page_size)
    return slot, copy
