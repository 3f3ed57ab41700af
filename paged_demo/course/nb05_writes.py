"""Exercise 5.3 of notebook 05: the write that parts a shared page, tried on whole lives of sequences."""

from collections.abc import Callable, Iterator
from itertools import product
from random import Random
from typing import Any, NamedTuple

from paged_demo.course.exercises.fence import NoAnswerError
from paged_demo.course.exercises.functions import ask_function
from paged_demo.course.exercises.kinds import mistake
from paged_demo.course.exercises.reading import read_items, read_whole_number, read_whole_numbers, unexpected
from paged_demo.course.exercises.verdict import DrawnPool
from paged_demo.course.nb05_exercises import free

NUM_POOL_PAGES = 8
PAGE_SIZES = (2, 3)
LONGEST_OF_ALL = 4
"""Steps of the longest traces of which all are tried."""

Copy = tuple[int, int] | None
Answer = tuple[int, Copy]


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

    def __str__(self) -> str:
        num_tokens = "1 token" if self.num_prompt_tokens == 1 else f"{self.num_prompt_tokens} tokens"
        steps = ", then ".join(map(str, self.steps))
        return f"a prompt of {num_tokens} in pages of {self.page_size}; then {steps}"


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
    lives = [
        WriteCase(rng.randint(1, 6), rng.choice((*PAGE_SIZES, 4)), _random_trace(rng)) for _ in range(25)
    ]
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


class Pool:
    """Sequences in a pool that counts references; a reader's function does its writes."""

    def __init__(self, case: WriteCase, write: Callable[..., Any]) -> None:
        self.page_size, self.write = case.page_size, write
        num_held = -(-case.num_prompt_tokens // case.page_size)
        self.tables = {"A": list(range(num_held))}
        self.lengths = {"A": case.num_prompt_tokens}
        self.counts = [1] * num_held + [0] * (NUM_POOL_PAGES - num_held)
        self.free_pages = list(range(num_held, NUM_POOL_PAGES))

    def do(self, step: Step) -> Any:
        """Take a step, and return what the function gave back if it was a write."""
        seq_id = step.seq_id
        if step.name == "write":
            num_tokens = self.lengths[seq_id]
            answer = self.write(self.tables[seq_id], num_tokens, self.counts, self.free_pages, self.page_size)
            self.lengths[seq_id] += 1
            # An answer may have put anything there, which would go on counting.
            for numbers in (self.counts, self.free_pages, *self.tables.values()):
                numbers[:] = read_whole_numbers(numbers)
            return read_write(answer)
        if step.name == "fork":
            self.tables[step.child_id] = self.tables[seq_id].copy()
            self.lengths[step.child_id] = self.lengths[seq_id]
            for page_id in self.tables[seq_id]:
                self.counts[page_id] += 1
        else:
            free(self.tables.pop(seq_id), self.counts, self.free_pages)
        return None


class Written(NamedTuple):
    """What the last write of a trace gave back, and what it left behind."""

    slot: int
    copy: Copy
    tables: dict[str, list[int]]
    counts: list[int]
    free_pages: list[int]


def call_write(function: Callable[..., Any], case: WriteCase) -> Written:
    """Play a trace with a function that writes, and keep what its last write did."""
    pool = Pool(case, function)
    for step in case.steps:
        answer = pool.do(step)
    slot, copy = answer
    return Written(slot, copy, pool.tables, pool.counts, pool.free_pages)


def read_write(answer: Any) -> Answer:
    """Read a slot and a copy, or None for it."""
    expected = "a slot and a copy, or None for it, were"
    try:
        first, second = read_items(answer, expected=expected)
        slot, copy = read_whole_number(first), second if second is None else read_whole_numbers(second)
        if min([slot, *(copy or ())]) >= 0 and (copy is None or len(copy) == 2):
            return slot, (copy[0], copy[1]) if copy else None
    except (NoAnswerError, ValueError):
        pass
    raise unexpected(expected, answer)


def pool_before(case: WriteCase) -> DrawnPool:
    """Make the pool before the last write; those before it were right, or a shorter trace would be told."""
    pool = Pool(case, write)
    for step in case.steps[:-1]:
        pool.do(step)
    held = {seq_id: (table, pool.lengths[seq_id]) for seq_id, table in pool.tables.items()}
    return held, NUM_POOL_PAGES, case.page_size


def copy_page(table: list[int], logical: int, counts: list[int], free_pages: list[int]) -> tuple[int, int]:
    """Put a copy in the place of a page of the table, and return both."""
    src_page, dst_page = table[logical], free_pages.pop(0)
    counts[src_page] -= 1
    counts[dst_page] = 1
    table[logical] = dst_page
    return src_page, dst_page


@ask_function(
    "5.3",
    cases=write_cases,
    tell=str,
    call=call_write,
    pool=pool_before,
    hints=(
        "There are three cases: the token starts a page; the last page is shared; it is not.",
        "A shared last page: take a page, count it 1, count the old one less, put the new one into the"
        " table.",
    ),
    insight=(
        "At most one page is copied, however long the prefix: only the last page of a sequence is ever"
        " written to."
    ),
)
def write(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """Find a slot for the next token, copying a shared page first."""
    offset = num_tokens % page_size
    copy = None
    if offset == 0:
        table.append(free_pages.pop(0))
        counts[table[-1]] = 1
    elif counts[table[-1]] > 1:
        copy = copy_page(table, -1, counts, free_pages)
    return table[-1] * page_size + offset, copy


@mistake("5.3")
def written_into_a_shared_page(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """Another sequence reads this page. Its next token comes to the same slot."""
    if num_tokens % page_size == 0:
        table.append(free_pages.pop(0))
        counts[table[-1]] = 1
    return table[-1] * page_size + num_tokens % page_size, None


@mistake("5.3")
def the_last_owner_copies_too(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """Whoever holds a page alone can write in place: look at its count."""
    if num_tokens % page_size == 0:
        return write(table, num_tokens, counts, free_pages, page_size)
    copy = copy_page(table, -1, counts, free_pages)
    return table[-1] * page_size + num_tokens % page_size, copy


@mistake("5.3")
def the_old_page_is_not_counted_less(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """It has one holder less now. Otherwise it will never be free."""
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    if copy:
        counts[copy[0]] += 1
    return slot, copy


@mistake("5.3")
def the_table_names_the_old_page(table: list[int], *rest: Any) -> Answer:
    """The token went to the copy, and the sequence goes on reading the page it was copied from."""
    slot, copy = write(table, *rest)
    if copy:
        table[-1] = copy[0]
    return slot, copy


@mistake("5.3")
def the_pair_is_turned_round(*given: Any) -> Answer:
    """The old page comes first, then its copy: that is the way in which the numbers are copied."""
    slot, copy = write(*given)
    return slot, (copy[1], copy[0]) if copy else None


@mistake("5.3")
def the_old_page_is_given_back(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """Others go on reading it. It is free when its count comes down to 0, and here it never does."""
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    if copy:
        free_pages.append(copy[0])
    return slot, copy


@mistake("5.3")
def the_wrong_end_of_the_queue(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """The page that is next to be taken stands first in `free_pages`: `pop(0)`."""
    free_pages.reverse()
    answer = write(table, num_tokens, counts, free_pages, page_size)
    free_pages.reverse()
    return answer


@mistake("5.3")
def the_prefix_is_copied(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """Full pages are only read. It is enough to copy the page that is written to."""
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    for logical, page_id in enumerate(table):
        if copy and counts[page_id] > 1:
            copy_page(table, logical, counts, free_pages)
    return slot, copy


@mistake("5.3")
def a_full_page_is_copied(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """The token starts a page of its own. The full one stays shared."""
    copy = copy_page(table, -1, counts, free_pages) if counts[table[-1]] > 1 else None
    slot, _ = write(table, num_tokens, counts, free_pages, page_size)
    return slot, copy


@mistake("5.3")
def the_copy_is_overwritten(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> Answer:
    """The last page is full, so the token starts a page. In a copy of the full one it takes the place of
    another token. Which of the three cases has to be asked for first?
    """
    if counts[table[-1]] == 1:
        return write(table, num_tokens, counts, free_pages, page_size)
    copy = copy_page(table, -1, counts, free_pages)
    return table[-1] * page_size + num_tokens % page_size, copy
