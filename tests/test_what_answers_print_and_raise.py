"""What a reader's function prints is shown, folded; what it raises is told with its line."""

import functools
import sys
import tracemalloc

import pytest
from amounts import amount

from paged_demo.course import check
from paged_demo.course import nb03_exercises as pages
from paged_demo.course.exercises.fence import MOST_CHARACTERS_PRINTED, Printed


def chatty(function, *lines):
    """Make a function that prints these lines, and then does as the other."""

    def answer(*given):
        for line in lines:
            print(line)  # noqa: T201
        return function(*given)

    return answer


def test_of_what_a_function_prints_only_the_case_that_is_told_is_shown(capsys):
    def append(page_table, num_tokens, free_pages, page_size):
        print(num_tokens, "tokens in", page_table)  # noqa: T201
        return pages.into_the_neighbours_page(page_table, num_tokens, free_pages, page_size)

    verdict = check("3.2", append)
    told = "a sequence of 4 tokens in the pages [2], free pages [0, 5, 1], pages of 4"
    assert verdict.printed == (f"What it printed for {told}", "4 tokens in [2]")
    assert str(verdict).endswith(f"\nWhat it printed for {told}:\n    4 tokens in [2]")
    assert capsys.readouterr() == ("", "")


def test_a_notebook_folds_what_was_printed_and_shows_it_as_it_is():
    html = check("3.1", chatty(pages.only_the_first_page, "<b>`bold`</b>", "  two"))._repr_html_()
    summary = "What it printed for position 4 in the page table [7, 1, 3], with pages of 4"
    lines = "&lt;b&gt;`bold`&lt;/b&gt;\n  two"
    assert f"<details><summary>{summary}</summary><pre>{lines}</pre></details></div>" in html


def test_of_a_right_function_the_first_case_for_which_it_prints_is_shown():
    def slot(page_table, position, page_size):
        if position:
            print(position, page_size)  # noqa: T201
        return pages.slot(page_table, position, page_size)

    verdict = check("3.1", slot)
    told = "position 3 in the page table [7, 1, 3], with pages of 4"
    assert verdict.mark == "right"
    assert verdict.printed == (f"What it printed for {told}", "3 4")


@pytest.mark.parametrize(
    "function", [pages.slot, pages.only_the_first_page, lambda *given: ...], ids=["right", "wrong", "open"]
)
def test_of_a_function_that_prints_nothing_nothing_is_said(function):
    verdict = check("3.1", function)
    assert verdict.printed is None
    assert "printed" not in str(verdict)
    assert "<details>" not in verdict._repr_html_()


def test_an_open_answer_may_print_what_it_was_given():
    verdict = check("3.1", lambda *given: print(given) or ...)  # noqa: T201
    assert verdict.mark == "open"
    assert verdict.printed[1] == "([7, 1, 3], 0, 4)"


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (["again"] * 20, ["again"] * 20),
        (["again"] * 22, [*["again"] * 20, "... and 2 more lines"]),
        (["again"] * 5_000, [*["again"] * 20, "... and 4,980 more lines"]),
        (["x" * 3_000, "y" * 998], ["x" * 3_000, "y" * 998]),
        (["x" * 3_000, "y" * 3_000], ["x" * 3_000, "y" * 999, "... and 2,002 more characters"]),
        ([], [""]),
    ],
    ids=["20 lines", "22 lines", "5,000 lines", "in short", "two long lines", "nothing"],
)
def test_twenty_lines_are_shown_and_how_many_more_there_were(lines, shown):
    printed = Printed()
    for line in lines:
        print(line, file=printed)
    assert printed.first_lines().split("\n") == shown


def test_a_million_lines_take_no_room():
    num_lines = amount(short=20_000, long=1_000_000)
    printed = Printed()
    tracemalloc.start()
    try:
        for _ in range(num_lines):
            printed.write("a line\n")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert printed.first_lines().endswith(f"... and {num_lines - 20:,} more lines")
    assert peak_bytes < 20 * MOST_CHARACTERS_PRINTED


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_of_what_an_endless_function_prints_the_beginning_is_shown(stream, capsys):
    def endless(*given):
        while True:
            print("again", file=getattr(sys, stream))

    verdict = check("3.1", endless)
    first, *_, last = verdict.printed[1].splitlines()
    assert verdict.title == "Still running."
    assert (first, last[:8]) == ("again", "... and ")
    assert capsys.readouterr() == ("", "")


def test_an_answer_that_closes_the_output_is_told_as_any_other():
    def closes(*given):
        print("\ud800 before")  # noqa: T201
        sys.stdout.close()
        return -1

    verdict = check("3.1", closes)
    assert verdict.mark == "wrong"
    assert verdict.printed[1] == "\\ud800 before"


def test_an_error_is_told_with_the_line_of_the_function():
    def slot(page_table, position, page_size):
        page, offset = divmod(position, page_size)
        return page_table[page + 3] * page_size + offset

    words = check("3.1", slot).words
    line = "line 3 of your function: `return page_table[page + 3] * page_size + offset`"
    assert words.endswith(f"it raised IndexError: list index out of range, in {line}")


def look_up(page_table, page):
    return page_table[page + 3]


def test_of_an_error_in_what_the_function_calls_the_line_of_the_function_is_told():
    def slot(page_table, position, page_size):
        table = page_table
        return look_up(table, position)

    assert check("3.1", slot).words.endswith("in line 3 of your function: `return look_up(table, position)`")


def test_an_error_inside_a_comprehension_or_a_generator_is_in_the_line_that_it_stands_in():
    def slot(page_table, position, page_size):
        return [
            page
            for page in page_table
            if page // 0
        ]  # fmt: skip

    def crowd(pool):
        tokens = [1, 2, 3]
        return (token // 0 for token in tokens)

    assert check("3.1", slot).words.endswith("in line 5 of your function: `if page // 0`")
    line = "line 3 of your function: `return (token // 0 for token in tokens)`"
    assert check("3.3", crowd).words.endswith(f"in {line}")


def test_an_error_of_the_pool_that_a_function_deals_with_is_in_the_line_that_called_it():
    def fragment(pool):
        pool.place(12)
        pool.place(1)

    words = check("2.2", fragment).words
    assert "it raised CacheFullError: " in words
    assert words.endswith("in line 3 of your function: `pool.place(1)`")


def test_an_error_in_the_depths_of_a_recursion_is_told_in_short():
    def slot(*given):
        return slot(*given)

    words = check("3.1", slot).words
    assert "it raised RecursionError: " in words
    assert " of your function: `" in words
    assert len(words) < 400


class Callable:
    def __call__(self, *given):
        return {}[given[1]]


@pytest.mark.parametrize(
    "answer",
    [Callable(), Callable().__call__, functools.partial(Callable.__call__, None)],
    ids=["an object", "a method", "a partial"],
)
def test_of_whatever_can_be_called_the_line_is_told(answer):
    assert check("3.1", answer).words.endswith(
        "it raised KeyError: 0, in line 2 of your function: `return {}[given[1]]`"
    )


def test_what_takes_other_arguments_has_no_line():
    assert check("3.1", lambda: 0).words.endswith("takes 0 positional arguments but 3 were given.")


def test_an_error_without_words_is_told_by_its_name():
    def slot(*given):
        raise NotImplementedError

    assert "it raised NotImplementedError, in line 2 of" in check("3.1", slot).words


def test_in_a_notebook_the_line_is_counted_from_the_function_and_quoted_from_the_cell(shell):
    cell = """
        table = [1]

        def slot(page_table, position, page_size):
            print("position", position)
            return table[5]

        said = check("3.1", slot)
        """
    assert shell.run_cell(cell).success
    said = shell.user_ns["said"]
    assert "IndexError: list index out of range, in line 3 of your function: `return table[5]`" in str(said)
    assert said.printed[1] == "position 0"
    shown, _ = shell.display_formatter.format(said)
    assert "<pre>position 0</pre></details>" in shown["text/html"]
    assert shown["text/plain"].endswith("with pages of 4:\n    position 0")


def test_a_function_without_source_is_told_the_number_of_its_line():
    names = {}
    exec("def slot(*given):\n    return given[7]", names)
    assert check("3.1", names["slot"]).words.endswith("in line 2 of your function")
