"""The lines of published traces, told apart by the first of a file, and checked field by field."""

import csv
import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from reprlib import Repr
from typing import Any, NamedTuple

from paged_demo.checks import MAX_COUNT

HASH_TOKENS = 512
"""Tokens of a prompt that one hash id names."""

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURST_GPT = ("Timestamp", "Request tokens", "Response tokens")
MOONCAKE = ("timestamp", "input_length", "output_length", "hash_ids")
READABLE = (
    f"Can be read: Azure (CSV: {', '.join(AZURE)}), BurstGPT (CSV: {', '.join(BURST_GPT)}), "
    f"Mooncake (JSON lines: {', '.join(MOONCAKE)})"
)
MAX_LINE = 131_072
MAX_DIGITS = 20
MAX_HASH_ID = 2**62 - 1

PARTS_OF_A_SECOND = 10**18
"""Times are whole numbers of such parts, so that their order and their differences are exact."""

STAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d+))?"
    r"(Z|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?",
    re.ASCII,
)
NUMBER = re.compile(r"(\d{1,15})(?:\.(\d*))?(e(?:-\d{1,3}|\+?\d{1,2}))?", re.ASCII | re.IGNORECASE)

MAX_SHOWN = 56
_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = MAX_SHOWN


class Row(NamedTuple):
    """What a line of a trace says of one request.

    Attributes
    ----------
    column : str
        What its time is called.
    when : object
        The time as it came.
    time : int
        The time, in parts of a second.
    has_zone : bool
        Whether the time has a time zone.
    num_prompt_tokens, num_output_tokens : int
        Tokens of the request and of the answer; 0 without one.
    hash_ids : tuple of int
        Names of the prompt's tokens, 512 at a time; empty where only their number is known.
    """

    column: str
    when: object
    time: int
    has_zone: bool
    num_prompt_tokens: int
    num_output_tokens: int
    hash_ids: tuple[int, ...]


Parse = Callable[[str], Row]


def choose(first_line: str) -> tuple[Parse, bool]:
    """Return what parses a line of the file that begins so, and whether this line is a header.

    Raises
    ------
    ValueError
        If it is the first line of no format that is known. What parses a line raises one, too.
    """
    is_json = first_line.lstrip().startswith(("{", "["))
    names: list[str] = []
    with suppress(ValueError):
        if len(first_line) <= MAX_LINE:
            names = [*_read_object(first_line)] if is_json else [*map(str.strip, _fields(first_line))]
    formats = [MOONCAKE] if is_json else [AZURE, BURST_GPT]
    columns = max(formats, key=lambda columns: len({*columns} & {*names}))
    missing = [column for column in columns if column not in names]
    if len(missing) == len(columns):
        raise ValueError(f"not a trace that can be read, got {shown(first_line.strip())}\n{READABLE}")
    if missing:
        raise ValueError(f"no column {', '.join(missing)}, found {shown(', '.join(names))}\n{READABLE}")
    twice = [column for column in columns if names.count(column) > 1]
    if twice:
        raise ValueError(f"columns must have names of their own, got {', '.join(twice)} more than once")
    return (_parse_mooncake, False) if is_json else (_csv_parser(names, columns), True)


def _csv_parser(names: list[str], columns: tuple[str, ...]) -> Parse:
    pick = itemgetter(*map(names.index, columns))
    time, prompt, output = columns
    read_time = _read_stamp if columns == AZURE else _read_seconds
    # Lengths repeat. Equal ones are kept as one object, which saves a quarter of the memory.
    read_count = lru_cache(maxsize=2**16)(_read_count)

    def parse(line: str) -> Row:
        fields = _fields(line)
        if len(fields) != len(names):
            given = f"{len(fields)} in {shown(line.strip())}"
            raise ValueError(f"must have {len(names)} fields, as line 1 has, got {given}")
        when, num_prompt, num_output = pick(fields)
        moment, has_zone = read_time(time, when)
        num_output_tokens = read_count(output, num_output, 0)
        num_prompt_tokens = read_count(prompt, num_prompt, min(1, num_output_tokens))
        return Row(time, when, moment, has_zone, num_prompt_tokens, num_output_tokens, ())

    return parse


def _parse_mooncake(line: str) -> Row:
    record = _read_object(line)
    missing = [key for key in MOONCAKE if key not in record]
    if missing:
        raise ValueError(f"no {', '.join(missing)}, got {shown(line.strip())}")
    when, num_prompt, num_output, hash_ids = (record[key] for key in MOONCAKE)
    time, prompt, output, hashes = MOONCAKE
    is_number = type(when) in {int, float}
    moment, has_zone = _read_seconds(time, repr(when) if is_number else shown(when))
    num_output_tokens = _check_count(output, num_output, 0)
    num_prompt_tokens = _check_count(prompt, num_prompt, min(1, num_output_tokens))
    if type(hash_ids) is not list or not all(
        type(each) is int and 0 <= each <= MAX_HASH_ID for each in hash_ids
    ):
        raise ValueError(f"{hashes} must be whole numbers from 0 to {MAX_HASH_ID}, got {shown(hash_ids)}")
    num_wanted = -(-num_prompt_tokens // HASH_TOKENS)
    if len(hash_ids) != num_wanted:
        given = f"{len(hash_ids):,} for {num_prompt_tokens:,}"
        raise ValueError(f"{hashes} must be one for each {HASH_TOKENS} tokens of {prompt}, got {given}")
    return Row(time, when, moment // 1000, has_zone, num_prompt_tokens, num_output_tokens, (*hash_ids,))


def _fields(line: str) -> list[str]:
    if '"' not in line:
        return line.rstrip("\n").split(",")
    try:
        # Alone, so that a quote which does not end takes no further line with it.
        (fields,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise ValueError(f"quotes must end on their line, got {shown(line.strip())} ({error})") from None
    return fields


class _Pairs(list[tuple[str, Any]]):
    """The names and values of a JSON object, so that a name which comes twice is seen."""


def _read_object(line: str) -> dict[str, Any]:
    try:
        pairs = json.loads(line, object_pairs_hook=_Pairs, parse_int=_read_int)
    except (ValueError, RecursionError):
        pairs = None
    record = dict(pairs) if isinstance(pairs, _Pairs) else {}
    if not record or len(record) < len(pairs):
        raise ValueError(f"must be a JSON object with each name once, got {shown(line.strip())}")
    return record


def _read_stamp(column: str, text: str) -> tuple[int, bool]:
    """Return a moment in parts of a second, and whether it has a time zone."""
    found = STAMP.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        day, hours, minutes, seconds, fraction, zone, sign, east_hours, east_minutes = found.groups()
        moment = _days(day) * 86_400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    except ValueError:
        wanted = "a time like 2023-11-16 18:15:46.6805900"
        raise ValueError(f"{column} must be {wanted}, got {shown(text)}") from None
    if sign:
        east = int(east_hours) * 3600 + int(east_minutes or 0) * 60
        moment += east if sign == "-" else -east
    return moment * PARTS_OF_A_SECOND + _parts(fraction), zone is not None


@lru_cache(maxsize=64)
def _days(day: str) -> int:
    return date.fromisoformat(day).toordinal()


def _read_seconds(column: str, text: str) -> tuple[int, bool]:
    """Return a moment in parts of a second, and that it has no time zone."""
    found = NUMBER.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{column} must be a number from 0 on, got {shown(text)}")
    whole, fraction, exponent = found.groups()
    if exponent:
        numerator, denominator = Decimal(text.strip()).as_integer_ratio()
        return numerator * PARTS_OF_A_SECOND // denominator, False
    return int(whole) * PARTS_OF_A_SECOND + _parts(fraction), False


def _parts(fraction: str | None) -> int:
    return int(fraction[:18].ljust(18, "0")) if fraction else 0


def _read_count(column: str, text: str, minimum: int) -> int:
    digits = text.strip()
    is_count = digits.isascii() and digits.isdecimal()
    return _check_count(column, _read_int(digits) if is_count else text, minimum)


def _read_int(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _check_count(column: str, came: object, minimum: int) -> int:
    if type(came) is not int or not minimum <= came <= MAX_COUNT:
        raise ValueError(
            f"{column} must be a whole number from {minimum} to {MAX_COUNT:,}, got {shown(came)}"
        )
    return came


def shown(came: object) -> str:
    """Return what came on one line, shortened."""
    text = _repr.repr(came)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
