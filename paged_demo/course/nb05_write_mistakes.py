"""Wrong answers to exercise 5.2 that people have reasons to give. All are called as the right one is."""

from paged_demo.course.nb05_writes import Copy, copy_last_page, start_page, write


def write_in_place(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Write without a look at the count."""
    if num_tokens % page_size == 0:
        start_page(table, counts, free_pages)
    return table[-1] * page_size + num_tokens % page_size, None


def write_to_a_copy_always(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Copy the last page though nobody else holds it."""
    copy = None
    if num_tokens % page_size == 0:
        start_page(table, counts, free_pages)
    else:
        copy = copy_last_page(table, counts, free_pages)
    return table[-1] * page_size + num_tokens % page_size, copy


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


def write_and_swap_the_pair(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Name the copy before the page it was made from."""
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    return slot, (copy[1], copy[0]) if copy else None


def write_and_free_the_old_page(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Copy, and give the old page back though others hold it."""
    slot, copy = write(table, num_tokens, counts, free_pages, page_size)
    if copy:
        free_pages.append(copy[0])
    return slot, copy


def write_to_the_last_free_page(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Take free pages from the wrong end of the queue."""
    free_pages.reverse()
    answer = write(table, num_tokens, counts, free_pages, page_size)
    free_pages.reverse()
    return answer


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
    copy = copy_last_page(table, counts, free_pages) if counts[table[-1]] > 1 else None
    slot, _ = write(table, num_tokens, counts, free_pages, page_size)
    return slot, copy


def write_over_a_copy(
    table: list[int], num_tokens: int, counts: list[int], free_pages: list[int], page_size: int
) -> tuple[int, Copy]:
    """Copy a shared last page where it is full, and start none."""
    if counts[table[-1]] == 1:
        return write(table, num_tokens, counts, free_pages, page_size)
    copy = copy_last_page(table, counts, free_pages)
    return table[-1] * page_size + num_tokens % page_size, copy
