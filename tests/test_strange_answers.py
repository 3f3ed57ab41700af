"""Answers that only look right are told wrong, right ones of any type are right, and none breaks a check."""

import itertools
import time
from collections import deque
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from amounts import amount

import paged_demo.course.nb02_fragment as fragment
import paged_demo.course.nb03_double_free as double_free
from paged_demo.allocators.memory_map import Hole
from paged_demo.course import check
from paged_demo.course import nb01_exercises as costs
from paged_demo.course import nb03_exercises as pages
from paged_demo.course import nb04_exercises as attention
from paged_demo.course import nb04_walk as walking
from paged_demo.course import nb05_exercises as sharing
from paged_demo.course import nb05_writes as writes
from paged_demo.course import nb08_need as need
from paged_demo.course.exercises import fence, functions
from paged_demo.course.exercises.fence import Guard, NoAnswerError
from paged_demo.course.exercises.functions import Finding, FunctionExercise
from paged_demo.course.exercises.kinds import EXERCISES, ChoiceExercise
from paged_demo.course.exercises.numbers import NumberExercise
from paged_demo.course.exercises.reading import MOST_ENTRIES, plain, read_items, same
from paged_demo.course.exercises.verdict import describe

FUNCTIONS = [exercise for exercise in EXERCISES.values() if isinstance(exercise, FunctionExercise)]
NUMBERS = [exercise for exercise in EXERCISES.values() if isinstance(exercise, NumberExercise)]
CHOICES = [exercise for exercise in EXERCISES.values() if isinstance(exercise, ChoiceExercise)]


def number_of(exercise):
    return exercise.exercise_id


def equal_to_all(kind):
    """Make a subclass whose objects say that they are equal to whatever they are compared with."""
    return type(
        "Equal", (kind,), {"__eq__": lambda *_: True, "__ne__": lambda *_: False, "__hash__": lambda _: 0}
    )


class Looping:
    """Whatever is asked of it never ends."""

    def _loop(self, *_):
        while True:
            pass

    __index__ = __int__ = __float__ = __iter__ = __len__ = __repr__ = __str__ = __eq__ = __array__ = _loop
    __hash__ = None


class Breaking:
    """Whatever is asked of it raises."""

    def _raise(self, *_):
        raise ValueError(self)

    __index__ = __int__ = __float__ = __iter__ = __len__ = __repr__ = __str__ = __eq__ = __array__ = _raise
    __hash__ = None


class Liar:
    """Says that it is a whole number."""

    __class__ = int


class UnendingError(Exception):
    """An exception whose text never ends."""

    __str__ = __repr__ = Looping._loop


def never_yields():
    while True:
        pass
    yield


def always_yields():
    while True:
        yield 0


def objects_in_an_array():
    made = np.empty(2, dtype=object)
    made[0], made[1] = Looping(), Breaking()
    return made


def list_in_itself():
    made = []
    made.append(made)
    return made


WIDTH = amount(short=9, long=99)

STRANGE = {
    "equal to all": equal_to_all(object),
    "an equal int": lambda: equal_to_all(int)(-7),
    "an equal float": lambda: equal_to_all(float)(-7.5),
    "an equal text": lambda: equal_to_all(str)("zz"),
    "an equal tuple": lambda: equal_to_all(tuple)((-7, -8)),
    "an equal list": lambda: equal_to_all(list)([-7, -8]),
    "looping": Looping,
    "a pair of looping": lambda: (Looping(), Looping()),
    "breaking": Breaking,
    "a pair of breaking": lambda: [Breaking(), Breaking()],
    "a liar": Liar,
    "a generator that never yields": never_yields,
    "a generator that always yields": always_yields,
    "endless from C": lambda: itertools.repeat(0),
    "endless through map": lambda: map(abs, itertools.count()),
    "a list of three million": lambda: [0] * 3_000_000,
    "pairs in pairs in pairs": lambda: [[[[[[0] * 99] * 99] * 99] * 99] * WIDTH] * WIDTH,
    "a list in itself": list_in_itself,
    "a huge array": lambda: np.broadcast_to(0.0, (10**9, 3)),
    "two huge arrays": lambda: (np.broadcast_to(0.0, (10**9, 3)),) * 2,
    "an array of objects": objects_in_an_array,
    "a number of 5,001 digits": lambda: 10**5000,
    "a list of such": lambda: [10**5000, -(10**5000)],
    "a huge Decimal": lambda: Decimal("1e999999999"),
    "no Decimal": lambda: Decimal("sNaN"),
    "a huge Fraction": lambda: Fraction(10**400, 3),
    "half of a pair of surrogates": lambda: "\ud800",
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "a truth of numpy": lambda: np.True_,
    "a date": lambda: np.timedelta64(8),
    "bytes": lambda: b"ac",
    "a finding": lambda: Finding("a prompt that is refused, and would fit beside the held copy"),
    "another finding": lambda: Finding("one page for two sequences, since it was freed twice"),
    "a third finding": lambda: Finding("an allocation that fails although enough slots are free"),
}


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(fence, "MOST_STEPS", amount(short=10_000, long=fence.MOST_STEPS))


def told_in_a_few_words(exercise, answer):
    verdict = check(exercise.exercise_id, answer)
    return verdict.mark == "wrong" and 20 < len(str(verdict).encode()) < 2000


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
def test_a_strange_answer_is_told_wrong_in_a_few_words(make, few_steps):
    for exercise in (EXERCISES["1.2"], EXERCISES["3.1"], CHOICES[-1]):
        assert told_in_a_few_words(exercise, make()), exercise.exercise_id


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
def test_what_is_strange_and_was_returned_is_told_wrong_in_a_few_words(make, few_steps):
    # Each exercise meets some of what is strange, each of that several exercises.
    place = list(STRANGE.values()).index(make)
    for exercise in amount(short=FUNCTIONS[place % 4 :: 4], long=FUNCTIONS):
        assert told_in_a_few_words(exercise, lambda *given: make()), exercise.exercise_id


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
def test_a_notebook_can_show_what_is_told_of_a_strange_answer(make, few_steps):
    told = check("3.1", lambda *given: make())  # whose verdict draws the slot that came, if any did
    if told.draw and told.draw.args[-1] is None:
        told = replace(told, draw=amount(short=None, long=told.draw))  # all of them are one picture
    assert told._repr_html_().encode().startswith(b"<div")


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=number_of)
def test_whatever_is_raised_is_told(exercise):
    errors = [UnendingError(), NoAnswerError("x" * 10**6), Exception("\ud800" * 10**6)]
    errors += [GeneratorExit(), StopIteration()]
    # How an error is told does not depend on the exercise, whether it is caught on its way may.
    place = FUNCTIONS.index(exercise)
    for error in amount(short=errors[place % 3 :: 3], long=errors):

        def broken(*given, error=error):
            raise error

        assert told_in_a_few_words(exercise, broken)


def places_for_ever(pool):
    for _ in range(20_000):
        pool.release(pool.place(1))


def releases_for_ever(pool):
    for page_id in range(20_000):
        pool.release(page_id)


@pytest.mark.parametrize(
    ("exercise_id", "answer", "told"),
    [
        ("2.2", places_for_ever, "it was stopped after 1,000 calls"),
        ("3.3", releases_for_ever, "it was stopped after 1,000 calls"),
        ("2.2", lambda pool: pool.release(itertools.repeat(0)), "run must have at most 1,000 entries"),
    ],
    ids=["places", "releases", "endless run"],
)
def test_what_is_done_to_a_pool_without_end_is_told(exercise_id, answer, told):
    assert told in check(exercise_id, answer).words


def test_a_loop_that_only_waits_is_stopped_by_the_clock(monkeypatch):
    monkeypatch.setattr(fence, "MOST_SECONDS_OF_WAITING", 0.1)

    def waits(page_table, position, page_size):
        while True:
            time.sleep(0.002)

    told = str(check("3.1", waits))
    assert "Still running." in told
    assert "after 0.1 seconds, and was stopped" in told


def test_a_loop_of_long_steps_is_stopped_by_the_clock(monkeypatch):
    monkeypatch.setattr(fence, "MOST_SECONDS", 0.1)
    monkeypatch.setattr(functions, "MOST_SECONDS", 0.1)

    def endless(*given):
        while True:
            sum(range(10_000))

    assert "had given no result after 0.1 seconds of computing" in check("1.1", endless).words
    assert fence.attempt(endless) == fence.Endless("0.1 seconds of computing")


@pytest.mark.parametrize("exercise", NUMBERS, ids=number_of)
def test_a_right_number_is_right_in_every_type(exercise):
    number = float(exercise.right_number())
    kinds = [float, np.float64, np.array, Decimal, Fraction, np.longdouble, equal_to_all(float)]
    kinds += [lambda value: np.array(Decimal(value)), lambda value: np.array(f"{value:,}")]
    if number.is_integer():
        kinds += [int, np.int64, lambda value: np.array(int(value)), equal_to_all(int)]
    answers = [kind(number) for kind in kinds] + [f"{number:,}", f" {number:_} ", repr(number)]
    answers += [f"{number:,.0f}"] if number.is_integer() else []
    for answer in answers:
        assert check(exercise.exercise_id, answer).mark == "right", answer


@pytest.mark.parametrize(
    "text", ["15,728", "15728", "15 728", "15_728", "+15,728.0", "15\u00a0728", "15\u202f728", "15'728"]
)
def test_a_number_may_be_written_with_its_thousands_apart(text):
    assert check("1.2", text).mark == "right"


@pytest.mark.parametrize(
    "text",
    ["15,72", "1,5728", "15.728", "15,728 slots", "nan", "0x3d70", "", "1" * 4000],
    ids=lambda text: text[:20],
)
def test_what_is_not_written_as_a_number_is_none(text):
    assert check("1.2", text).mark == "wrong"


@pytest.mark.parametrize("exercise", CHOICES, ids=number_of)
def test_right_letters_are_right_in_every_collection(exercise):
    letters = exercise.right_letters
    together = [
        np.array(letters),
        np.array(letters, dtype=object),
        letters,
        letters.upper(),
        ", ".join(letters),
        np.str_(letters),
        equal_to_all(str)(letters),
    ]
    apart = [kind(letters) for kind in (list, tuple, set, frozenset, deque)]
    for answer in [*together, *apart, np.array(list(letters)), [letters]]:
        assert check(exercise.exercise_id, answer).mark == "right", answer


WHOLE = [np.int64, np.int16, np.float64, float, Decimal, Fraction, np.array, equal_to_all(int)]


@pytest.mark.parametrize("kind", WHOLE)
def test_a_function_may_return_a_right_number_of_any_type(kind):
    def append(*given):
        return kind(pages.append(*given))

    def write(*given):
        slot, copy = writes.write(*given)
        return [kind(slot), copy and np.array(copy)]

    def fragmented(pool):
        return kind(fragment.fragment(pool))

    def provoke(pool):
        return list(map(kind, double_free.provoke(pool)))

    answers = {"3.2": append, "2.2": fragmented, "3.3": provoke}
    if kind in amount(short=[np.int64], long=WHOLE):  # it is tried on hundreds of cases
        answers["5.3"] = write
    if kind is not np.int16:  # some models need more bytes a token
        answers["1.1"] = lambda *given: kind(costs.kv_bytes_per_token(*given))
    answers["5.1"] = lambda *given: kind(sharing.hit(*given))
    for exercise_id, answer in answers.items():
        assert check(exercise_id, answer).mark == "right", exercise_id


def test_right_arrays_are_right_in_every_form():
    forms = [
        lambda keys, values: [keys.tolist(), values.tolist()],
        lambda keys, values: (array for array in (keys, values)),
        lambda keys, values: np.stack([keys, values]),
        lambda keys, values: (keys.astype(np.float16), values.astype(np.int64)),
        lambda keys, values: (np.ma.array(keys), values.T.copy().T),
    ]
    for form in forms:
        assert check("4.1", lambda *given, form=form: form(*attention.gather(*given))).mark == "right"


def right_steps():
    def in_place(highest, sum_of_weights, sum_of_values, scores, values):
        higher = max(highest, scores.max())
        sum_of_values *= np.exp(highest - higher)
        weights = np.exp(scores - higher)
        sum_of_values += (weights[:, None] * values).sum(axis=0)
        return higher, sum_of_weights * np.exp(highest - higher) + weights.sum(), sum_of_values

    def token_by_token(highest, sum_of_weights, sum_of_values, scores, values):
        for score, value in zip(scores.tolist(), values, strict=True):
            higher = max(highest, score)
            factor, weight = np.exp(highest - higher), np.exp(score - higher)
            highest, sum_of_weights = higher, factor * sum_of_weights + weight
            sum_of_values = factor * np.array(sum_of_values) + weight * value
        return [highest, sum_of_weights, sum_of_values.tolist()]

    def in_float32(*given):
        higher, weights, values = walking.step(*given)
        return np.float32(higher), np.float32(weights), values.astype(np.float32)[np.newaxis]

    return [in_place, token_by_token, in_float32]


@pytest.mark.parametrize("step", right_steps(), ids=lambda step: step.__name__)
def test_a_right_step_is_right_however_it_is_written(step):
    assert check("4.2", step).mark == "right"


def wrong_attention():
    """Give cheats and slips of the exercises that deal with arrays."""

    def junk_in_second_column(*given):
        keys, values = attention.gather(*given)
        keys[:, 1] = 0
        return keys, values

    def junk_in_last_column(*given):
        keys, values = attention.gather(*given)
        return keys, np.concatenate([values[:, :2], values[:, :1]], axis=1)

    def computes_the_numbers(store, table, first, last):
        keys = 10 * np.arange(first, last)[:, np.newaxis] + np.arange(3)
        return keys, keys + 1000

    def computes_the_values(*given):
        keys, _ = attention.gather(*given)
        return keys, keys + 1000

    def computes_the_other_columns(*given):
        keys, values = attention.gather(*given)
        return keys[:, :1] + np.arange(3), values

    def spoils_the_store(store, table, first, last):
        keys, values = attention.gather(store, table, first, last)
        store.keys[:] = 0
        return keys, values

    def spoils_the_table(store, table, first, last):
        answer = attention.gather(store, table, first, last)
        table.reverse()
        return answer

    def without_axis(highest, sum_of_weights, sum_of_values, scores, values):
        higher, weights, _ = walking.step(highest, sum_of_weights, sum_of_values, scores, values)
        new = (np.exp(scores - higher)[:, None] * values).sum()
        return higher, weights, np.exp(highest - higher) * sum_of_values + new

    def computes_another_column(*given):
        higher, weights, (first, _, third) = walking.step(*given)
        return higher, weights, [first, 10 * first, third]

    def leaves_out_small_weights(highest, sum_of_weights, sum_of_values, scores, values):
        kept = scores > max(highest, scores.max()) - 7
        if not kept.any():
            return highest, sum_of_weights, sum_of_values
        return walking.step(highest, sum_of_weights, sum_of_values, scores[kept], values[kept])

    def both_sums_doubled(*given):
        higher, weights, values = walking.step(*given)
        return higher, weights + 1, values * ((weights + 1) / weights)

    def spoils_the_values(highest, sum_of_weights, sum_of_values, scores, values):
        answer = walking.step(highest, sum_of_weights, sum_of_values, scores, values)
        values[:] = 0
        return answer

    return {
        "4.1": [
            junk_in_second_column,
            junk_in_last_column,
            computes_the_numbers,
            computes_the_values,
            computes_the_other_columns,
            spoils_the_store,
            spoils_the_table,
        ],
        "4.2": [
            without_axis,
            computes_another_column,
            leaves_out_small_weights,
            both_sums_doubled,
            spoils_the_values,
        ],
    }


def wrong_functions():
    """Give cheats and slips by exercise."""

    def masks(num_tokens, page_size):
        return (num_tokens - 1) & -page_size

    def masks_a_slot(page_table, position, page_size):
        return page_table[position // page_size] * page_size + (position & (page_size - 1))

    def masks_an_append(page_table, num_tokens, free_pages, page_size):
        if num_tokens & (page_size - 1) == 0:
            page_table.append(free_pages.pop(0))
        return page_table[-1] * page_size + (num_tokens & (page_size - 1))

    def masks_a_write(table, num_tokens, counts, free_pages, page_size):
        num_masked = num_tokens - num_tokens % page_size + (num_tokens & (page_size - 1))
        return writes.write(table, num_masked, counts, free_pages, page_size)

    def empties_the_table(page_table, position, page_size):
        answer = pages.slot(page_table, position, page_size)
        page_table.clear()
        return answer

    def fills_the_table_with_equals(page_table, position, page_size):
        answer = pages.slot(page_table, position, page_size)
        page_table[:] = [equal_to_all(object)() for _ in page_table]
        return answer

    def frees_the_table(table, counts, free_pages):
        sharing.free(table, counts, free_pages)
        table.clear()
        return free_pages

    def counts_of_equals(table, counts, free_pages):
        sharing.free(table, counts, free_pages)
        counts[:] = [equal_to_all(int)(-1) for _ in counts]
        return free_pages

    def appends_equals(page_table, num_tokens, free_pages, page_size):
        slot = pages.append(page_table, num_tokens, free_pages, page_size)
        free_pages[:] = [equal_to_all(object)()]
        return slot

    def appends_a_million(page_table, num_tokens, free_pages, page_size):
        slot = pages.append(page_table, num_tokens, free_pages, page_size)
        free_pages.extend([0] * 3_000_000)
        return slot

    def sorts(running):
        running.sort(key=lambda request: request.start_s)
        return running[-1].name

    def lowers_the_counts_of_others(table, counts, free_pages):
        counts[:] = [max(count - 1, 0) for count in counts]
        for page_id in table:
            if counts[page_id] == 0:
                free_pages.insert(0, page_id)
        return free_pages

    def knows_one_head_dim(config, max_model_len):
        return need.need({"head_dim": 64, **config}, max_model_len)

    def compares_texts(running):
        return max(running, key=lambda request: str(request.start_s)).name

    def compares_whole_seconds(running):
        return max(running, key=lambda request: int(request.start_s)).name

    def knows_the_shown(num_tokens, page_size):
        return {(48, 16): 32, (49, 16): 48, (15, 16): 0}.get((num_tokens, page_size), 0)

    def whole_bytes(layers, query_heads, kv_heads, head_dim, bits):
        return 2 * layers * kv_heads * head_dim * (bits // 8)

    def two_bytes(layers, query_heads, kv_heads, head_dim, bits):
        return 4 * layers * kv_heads * head_dim

    return {
        "1.1": [whole_bytes, two_bytes],
        "3.1": [masks_a_slot, empties_the_table, fills_the_table_with_equals],
        "3.2": [masks_an_append, appends_equals, appends_a_million],
        "5.3": [masks_a_write],
        "5.4": [frees_the_table, counts_of_equals, lowers_the_counts_of_others],
        "5.1": [masks, knows_the_shown],
        "6.1": [sorts, compares_texts, compares_whole_seconds],
        "8.4": [knows_one_head_dim],
    }


def put_into_every_field(pool, calls):
    """Put calls that nobody made into whatever row a pool has."""
    for value in vars(pool).values():
        if isinstance(value, list | deque):
            value.extend(calls)


def wrong_to_pools():
    """Give cheats and slips of the exercises that hand out a pool."""

    def releases_twice(pool):
        run = pool.place(4)
        pool.release(run)
        pool.release(run)
        return 8

    def releases_twice_and_catches(pool):
        run = pool.place(4)
        for _ in range(3):
            try:
                pool.release(run)
            except ValueError:
                continue
        return 12

    def releases_what_it_never_had(pool):
        pool.place(12)
        for start in (0, 8):
            pool.release(Hole(start, 2))
        return 4

    def releases_a_pair_that_equals_all(pool):
        pool.place(4)
        pool.release(equal_to_all(tuple)((8, 2)))
        return 10

    def takes_holes_away(pool):
        pool.place(4)
        pool._placement._holes = [Hole(0, 3), Hole(6, 3)]
        return 6

    def replaces_the_placement(pool):
        pool._placement = pool.place = None
        return 12

    def writes_into_the_record(pool):
        pool._calls = [("place", 4), ("release", Hole(5, 1))]
        return 8

    def puts_calls_into_every_field(pool):
        calls = [("place", 4)] * 3 + [("release", Hole(start, 4)) for start in (0, 8)]
        put_into_every_field(pool, calls)
        return 8

    return {
        "2.2": [
            releases_twice,
            releases_twice_and_catches,
            releases_what_it_never_had,
            releases_a_pair_that_equals_all,
            takes_holes_away,
            replaces_the_placement,
            writes_into_the_record,
            puts_calls_into_every_field,
        ],
    }


def wrong_to_a_pool_that_trusts():
    """Give cheats and slips of the exercise that makes one page two sequences'."""

    def sets_the_row(pool):
        pool.free_pages = deque([0, 0])
        return pool.take(), pool.take()

    def puts_calls_into_every_field(pool):
        calls = [("take", 0), ("release", 0), ("release", 0), ("take", 0), ("take", 0)]
        put_into_every_field(pool, calls)
        return 0, 0

    def sets_what_was_given(pool):
        pool.given, pool.was_freed_twice = [0, 0], True
        return 0, 0

    def replaces_take(pool):
        pool.take = lambda: 0
        return pool.take(), pool.take()

    def releases_what_was_never_taken(pool):
        pool.release(0)
        return pool.take(), pool.take()

    def releases_a_page_of_another_pool(pool):
        for page_id in (7, 7, 7):
            pool.release(page_id)
        pages_taken = pool.take(), pool.take()
        pool.release(7)
        return pages_taken

    def releases_one_it_never_had_before_it_takes(pool):
        pool.release(1)
        page_id = pool.take()
        pool.release(page_id)
        page_id, _ = pool.take(), pool.take()
        return page_id, pool.take()

    def keeps_using_what_it_freed_twice(pool):
        page_id = pool.take()
        pool.release(page_id)
        pool.release(page_id)
        return page_id, pool.take()

    def truths(pool):
        double_free.provoke(pool)
        return False, False

    def equals(pool):
        pool.take()
        return equal_to_all(int)(0), equal_to_all(int)(1)

    return {
        "3.3": [
            sets_the_row,
            puts_calls_into_every_field,
            sets_what_was_given,
            replaces_take,
            releases_what_was_never_taken,
            releases_a_page_of_another_pool,
            releases_one_it_never_had_before_it_takes,
            keeps_using_what_it_freed_twice,
            truths,
            equals,
        ]
    }


WRONG = [
    pytest.param(exercise_id, function, id=f"{exercise_id} {function.__name__}")
    for by_exercise in (wrong_attention(), wrong_functions(), wrong_to_pools(), wrong_to_a_pool_that_trusts())
    for exercise_id, functions in by_exercise.items()
    for function in functions
]


@pytest.mark.parametrize(("exercise_id", "function"), WRONG)
def test_a_cheat_or_a_slip_is_told_wrong(exercise_id, function):
    assert check(exercise_id, function).mark == "wrong"
    assert check(exercise_id, EXERCISES[exercise_id].reference).mark == "right"


def replace_take(pool):
    type(pool).take = lambda pool: 0
    return 0, 0


def replace_what_came_of(pool):
    double_free.what_came_of = lambda *given: Finding("one page for two sequences, since it was freed twice")
    return 0, 0


def replace_the_code(pool):
    double_free.what_came_of.__code__ = (lambda *given: given).__code__
    return 0, 0


def replace_the_comparison(pool):
    Finding.__eq__ = lambda *_: True
    return 0, 1


def replace_a_constant(pool):
    double_free.NUM_POOL_PAGES = 1
    return double_free.provoke(pool)


def replace_a_built_in_name(pool):
    __builtins__["all"] = lambda *_: True
    return 0, 1


@pytest.mark.parametrize(
    "answer",
    [
        replace_take,
        replace_what_came_of,
        replace_the_code,
        replace_the_comparison,
        replace_a_constant,
        replace_a_built_in_name,
    ],
)
def test_who_replaces_a_part_of_the_package_is_told_so_and_it_is_put_back(answer):
    guard = Guard()
    verdict = check("3.3", answer)
    assert verdict.title == "The package was changed."
    assert guard.put_back() is None
    assert check("3.3", double_free.provoke).mark == "right"
    assert check("3.3", lambda pool: (0, 0)).mark == "wrong"


def test_an_answer_that_imports_more_of_the_package_changes_nothing():
    def slot(*given):
        import paged_demo.views.plots  # noqa: PLC0415

        assert paged_demo.views.plots
        return pages.slot(*given)

    assert check("3.1", slot).mark == "right"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (10**5000, "a whole number of about 5,000 digits"),
        (-(10**100), f"-1{'0' * 100}"[:77] + "..."),
        (Looping(), "something of type Looping"),
        ([1, Breaking()], "something of type list"),
        ("x" * 10**6, f"'{'x' * 76}..."),
        ({"b": [1]}, "{'b': [1]}"),
    ],
    ids=["huge", "long", "looping", "breaking", "text", "dict"],
)
def test_whatever_is_described_comes_to_an_end(value, told):
    assert describe(value) == told


def test_plain_values_are_of_pythons_own_types():
    strange = [equal_to_all(int)(1), (equal_to_all(str)("a"), np.array([[1.5]])), None, np.int8(3)]
    read = plain(strange)
    assert repr(read) == "[1, ('a', [[1.5]]), None, 3]"
    assert not same(read, plain([2, *strange[1:]]))
    assert same([float("nan"), 1.0], [float("nan"), 1])
    assert not same({"a": 1}, {"b": 1})


def test_a_list_of_as_many_entries_as_are_read_is_read_and_a_longer_one_refused():
    assert read_items(range(MOST_ENTRIES), expected="a list was") == list(range(MOST_ENTRIES))
    with pytest.raises(NoAnswerError, match="what it returned has more than 1,000 entries"):
        read_items(range(MOST_ENTRIES + 1), expected="a list was")
