import gzip
import json
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from copy import copy, deepcopy
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paged_demo import PagedAllocator, PagedPool, Request, iter_trace, prompt_tokens, read_trace, simulate
from paged_demo.serving.trace_formats import MAX_LINE, READABLE
from paged_demo.serving.traces import LeftOutWarning, TraceRequest
from paged_demo.serving.workload import check_requests, poisson_arrivals

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST_GPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
FIRST = "2023-11-16 18:15:46,3,4\n"


def mooncake(timestamp=0, input_length=915, output_length=355, hash_ids=(0, 462), **more):
    lengths = {"input_length": input_length, "output_length": output_length}
    return json.dumps({"timestamp": timestamp, **lengths, "hash_ids": hash_ids, **more}) + "\n"


@pytest.fixture
def trace(tmp_path):
    def write(content):
        path = tmp_path / "trace.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_trace_gives_requests_with_times_from_its_first_line(trace):
    path = trace(HEADER + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n")
    assert read_trace(path) == [Request(0, 374, 44, 0.0), Request(1, 396, 109, 4.314579)]
    assert list(iter_trace(str(path))) == read_trace(path)


def test_a_trace_may_have_further_columns_and_another_order(trace):
    path = trace("user,GeneratedTokens,TIMESTAMP,ContextTokens\nx,44,2023-11-16 18:15:46,374\n")
    assert read_trace(path) == [Request(0, 374, 44, 0.0)]


@pytest.mark.parametrize(
    ("rows", "gap_s"),
    [
        (["2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:07+00:00"], 6.99007),
        (["2024-10-15T12:00:00.269Z", "2024-10-15T12:00:05.819Z"], 5.55),
        (["2024-05-10 23:59:59.5+00:00", "2024-05-11 00:00:00+00:00"], 0.5),
        (["2024-05-10 01:00:00+01:00", "2024-05-09 23:00:07-01:00"], 7.0),
        (["2024-05-10 05:45:00+0545", "2024-05-10 00:00:01Z"], 1.0),
        (["2024-05-10 02:00:00+02", "2024-05-10T00:00:01-00:00"], 1.0),
        (["2024-02-28 23:59:59", "2024-03-01 00:00:00"], 86_401.0),
        (["2023-11-16 18:15:46.00000001", "2023-11-16 18:15:46.000000030000000000000000001"], 2e-8),
        (["2023-11-16 18:15:46", "2023-11-16 18:15:46"], 0.0),
    ],
)
def test_times_with_a_zone_and_without_differ_by_what_lies_between_them(trace, rows, gap_s):
    path = trace(HEADER + "".join(f"{row},10,5\n" for row in rows))
    assert [request.arrival_s for request in read_trace(path)] == [0.0, gap_s]


moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1))
fractions = st.integers(0, 10**9 - 1).map("{:09}".format) | st.text("0123456789", min_size=1, max_size=30)


def with_fraction(moment, fraction, *, separator=" ", zone=""):
    return moment.replace(microsecond=0).isoformat(separator) + (f".{fraction}" if fraction else "") + zone


@given(
    times=st.lists(st.tuples(moments, fractions | st.just("")), min_size=1, max_size=8),
    separator=st.sampled_from(" T"),
    hours=st.none() | st.lists(st.integers(-12, 14), min_size=8, max_size=8),
)
def test_random_times_read_back_to_their_differences(tmp_path_factory, times, separator, hours):
    exact = sorted(
        (
            (moment.replace(microsecond=0) - datetime(1970, 1, 1)) // timedelta(seconds=1)
            + (Fraction(int(fraction), 10 ** len(fraction)) if fraction else 0),
            moment,
            fraction,
        )
        for moment, fraction in times
    )
    texts = []
    for index, (_, moment, fraction) in enumerate(exact):
        zone = ""
        if hours is not None:
            moment = moment + timedelta(hours=hours[index])  # noqa: PLW2901
            zone = f"{hours[index]:+03}:00" if hours[index] else "Z"
        texts.append(with_fraction(moment, fraction, separator=separator, zone=zone))
    path = tmp_path_factory.mktemp("random") / "trace.csv"
    path.write_text(HEADER + "".join(f"{text},1,1\n" for text in texts))
    for request, (seconds, _, _) in zip(read_trace(path), exact, strict=True):
        assert request.arrival_s == pytest.approx(float(seconds - exact[0][0]), rel=1e-15, abs=1e-17)


@given(st.lists(st.floats(0, 1e9) | st.integers(0, 10**9), min_size=1, max_size=8).map(sorted))
def test_random_seconds_and_milliseconds_read_back_to_their_differences(tmp_path_factory, numbers):
    folder = tmp_path_factory.mktemp("random")
    (folder / "burst.csv").write_text(BURST_GPT + "".join(f"{number},x,1,1,2,y\n" for number in numbers))
    (folder / "mooncake.jsonl").write_text("".join(mooncake(number) for number in numbers))
    for name, per_second in (("burst.csv", 1), ("mooncake.jsonl", 1000)):
        for request, number in zip(read_trace(folder / name), numbers, strict=True):
            wanted = (Fraction(repr(number)) - Fraction(repr(numbers[0]))) / per_second
            assert request.arrival_s == pytest.approx(float(wanted), rel=1e-15, abs=2e-18)


def test_burst_gpt_counts_seconds(trace):
    path = trace(BURST_GPT + "5,ChatGPT,472,18,490,Conversation log\n45.5,GPT-4,1087,230,1317,API log\n")
    assert read_trace(path) == [Request(0, 472, 18, 0.0), Request(1, 1087, 230, 40.5)]


def test_burst_gpt_of_the_second_release_has_two_columns_more(trace):
    header = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    assert read_trace(trace(header + "1e1,,3.5,GPT-4,8,9,17,API log\n")) == [Request(0, 8, 9, 0.0)]


def test_mooncake_counts_milliseconds_and_names_the_prompt_by_hash_ids(trace):
    path = trace(mooncake(3000) + "\n" + mooncake(5999, 1053, 26, [0, 773, 774], extra={"a": [1]}))
    requests = read_trace(path)
    assert requests == [Request(0, 915, 355, 0.0), Request(1, 1053, 26, 2.999)]
    assert [request.hash_ids for request in requests] == [(0, 462), (0, 773, 774)]


@pytest.mark.parametrize(
    "content",
    [
        HEADER + "2023-11-16 18:15:45,9,0\n" + FIRST + "2023-11-16 18:15:47,9,0\n2023-11-16 18:15:48,5,6\n",
        BURST_GPT + "1,x,0,0,0,y\n2,x,3,4,7,y\n3,x,9,0,9,y\n4,x,5,6,11,y\n",
        mooncake(0, 3, 0, [1]) + mooncake(1000, 3, 4, []).replace("[]", "[1]")
        + mooncake(2000, 0, 0, []) + mooncake(3000, 5, 6, [1]),
    ],
    ids=["Azure", "BurstGPT", "Mooncake"],
)  # fmt: skip
def test_requests_without_an_answer_are_left_out_as_if_they_were_not_there_and_counted(trace, content):
    path = trace(content)
    with pytest.warns(LeftOutWarning, match=r"trace\.csv: .*without an answer.*: 2$") as notes:
        requests = read_trace(path)
    assert [request[:4] for request in requests] in ([(0, 3, 4, 0.0), (1, 5, 6, gap)] for gap in (2.0,))
    assert notes[0].filename == __file__
    with pytest.warns(LeftOutWarning) as notes:
        assert list(iter_trace(path)) == requests
    assert notes[0].filename == __file__


def test_of_the_first_requests_alone_the_note_counts_what_was_left_out_before_them(trace):
    nobody = "2023-11-16 18:15:{},9,0\n".format
    path = trace(HEADER + nobody(45) + FIRST + nobody(47) + FIRST.replace("46", "48", 1) + nobody(49))
    for limit, num_left_out in [(1, 1), (2, 2)]:
        with pytest.warns(LeftOutWarning, match=f": {num_left_out}$"):
            assert len(read_trace(path, limit=limit)) == limit


def test_the_note_is_seen_and_is_no_error_where_nobody_chose_how_warnings_are_shown(trace):
    path = trace(HEADER + FIRST + "2023-11-16 18:15:47,9,0\n")
    code = f"import paged_demo; print(len(paged_demo.read_trace({str(path)!r})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"
    assert "LeftOutWarning" in run.stderr
    assert "were left out: 1" in run.stderr


def test_no_note_comes_where_nothing_is_left_out_and_no_trace_is_empty(trace):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_trace(trace(HEADER + FIRST))) == 1
        with pytest.raises(ValueError, match=r"trace\.csv: no requests with an answer among 1$"):
            read_trace(trace(HEADER + "2023-11-16 18:15:46,3,0\n"))
        with pytest.raises(ValueError, match=r"trace\.csv: no requests after the header"):
            read_trace(trace(HEADER + "\n  \n"))


def row(when="2023-11-16 18:15:47", prompt="3", output="4"):
    return HEADER + FIRST + f"{when},{prompt},{output}\n"


BAD_TIMES = [
    "",
    "yesterday",
    "1700158546",
    "2023-11-16",
    "2023-11-16 18:15",
    "2023-11-16 18:15:47 PM",
    "2023-11-16 06:15:47.5 AM",
    "2023-11-16 06:15:47.123456 PM",
    "2023-11-16 06:15:47.123456789PM",
    "11/16/2023 06:15:47 PM",
    "2023-11-16 18:15:47.",
    "2023-11-16 18:15:47.12x",
    "2023-11-16 18:15:47.123456x",
    "2023-11-16 18:15:47 UTC",
    "2023-11-16 18:15:47.123456 Europe/Berlin",
    "2023-11-16 18:15:47+24:00",
    "2023-11-16 18:15:47+01:60",
    "2023-11-16 18:15:60",
    "2023-11-16 24:00:00",
    "2023-02-30 18:15:47",
    "2023-13-01 18:15:47",
    "0000-01-01 18:15:47",
    "-2023-11-16 18:15:47",
    "2023-W46-4 18:15:47",
    "20231116T181547",
    "٢٠٢٣-11-16 18:15:47",
    "2023-11-16  18:15:47",
    "nan",
]


@pytest.mark.parametrize("when", BAD_TIMES)
def test_the_whole_text_of_a_time_is_read(trace, when):
    with pytest.raises(ValueError, match=r"trace\.csv, line 3: TIMESTAMP must be a time like"):
        read_trace(trace(row(when)))


@pytest.mark.parametrize("first", ["2024-05-10 00:00:00.123456", "2024-05-10 00:00:00.123456+00:00"])
@pytest.mark.parametrize("zone", ["+02:00", "Z", ""])
def test_all_lines_have_a_time_zone_or_none_has(trace, first, zone):
    path = trace(HEADER + f"{first},1,1\n2024-05-11 00:00:00.1234567{zone},1,1\n")
    if bool(zone) == first.endswith("+00:00"):
        assert len(read_trace(path)) == 2
    else:
        with pytest.raises(ValueError, match="line 3: TIMESTAMP must have a zone in all lines or none, got"):
            read_trace(path)


BAD_COUNTS = [
    "",
    "three",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "1_0",
    "0x1",
    "٣",
    "nan",
    "9" * 5000,
    "9" * 10,
    "1 2",
    "²",
]


@pytest.mark.parametrize("count", BAD_COUNTS)
def test_a_bad_count_is_named(trace, count):
    with pytest.raises(ValueError, match="line 3: ContextTokens must be a whole number from 1 to 33,554,432"):
        read_trace(trace(row(prompt=count)))
    with pytest.raises(ValueError, match="line 3: GeneratedTokens must be a whole number from 0"):
        read_trace(trace(row(output=count)))
    with pytest.raises(ValueError, match="line 2: Request tokens must be a whole number from 1"):
        read_trace(trace(BURST_GPT + f"5,x,{count},4,7,y\n"))


@pytest.mark.parametrize("when", ["", "-1", "nan", "inf", "1e999", "1,", "soon", "5s", "0x5", "9" * 5000])
def test_bad_seconds_are_named(trace, when):
    with pytest.raises(
        ValueError, match=r"line 2: (Timestamp must be a number from 0 on|must have 6 fields)"
    ):
        read_trace(trace(BURST_GPT + f"{when},x,3,4,7,y\n"))


BAD_MOONCAKE = [
    (mooncake(timestamp="5"), "timestamp must be a number from 0 on"),
    (mooncake(timestamp=-5), "timestamp must be a number from 0 on, got '-5'"),
    (mooncake(timestamp=None), "timestamp must be a number"),
    (mooncake(timestamp=True), "timestamp must be a number"),
    (mooncake(timestamp=float("nan")), "timestamp must be a number"),
    (mooncake(timestamp=float("inf")), "timestamp must be a number"),
    (mooncake(timestamp=[[[[5]]]] * 99), "timestamp must be a number"),
    (mooncake().replace("915", "9" * 5000), "input_length must be a whole number from 1"),
    (mooncake(input_length=915.0), "input_length must be a whole number from 1 to 33,554,432, got 915.0"),
    (mooncake(input_length="915"), "input_length must be a whole number"),
    (mooncake(input_length=True), "input_length must be a whole number"),
    (mooncake(input_length=-915), "input_length must be a whole number"),
    (mooncake(input_length=0), "input_length must be a whole number"),
    (mooncake(output_length=None), "output_length must be a whole number"),
    (mooncake(output_length=-1), "output_length must be a whole number"),
    (mooncake(hash_ids=None), "hash_ids must be whole numbers"),
    (mooncake(hash_ids="ab"), "hash_ids must be whole numbers"),
    (mooncake(hash_ids={"0": 1, "1": 2}), "hash_ids must be whole numbers"),
    (mooncake(hash_ids=[0, True]), "hash_ids must be whole numbers"),
    (mooncake(hash_ids=[0, -1]), "hash_ids must be whole numbers"),
    (mooncake(hash_ids=[0, 2**64]), "hash_ids must be whole numbers"),
    (mooncake(hash_ids=[0, "x" * 9999]), "hash_ids must be whole numbers"),
    (mooncake(hash_ids=[]), "hash_ids must be one for each 512 tokens of input_length, got 0 for 915"),
    (mooncake(hash_ids=[1] * 58), "hash_ids must be one for each 512 tokens of input_length, got 58 for 915"),
    ('{"timestamp": 1, "input_length": 3, "output_length": 4}\n', "no hash_ids, got"),
    (mooncake().replace("{", '{"timestamp": 7, '), "must be a JSON object with each name once"),
    (mooncake()[:-9] + "\n", "must be a JSON object"),
    (mooncake().strip() * 2 + "\n", "must be a JSON object"),
    ("[" * 100_000 + "\n", "must be a JSON object"),
    ("{}\n", "must be a JSON object"),
    ("[1, 2]\n", "must be a JSON object"),
    ("null\n", "must be a JSON object"),
    ("5,6,7\n", "must be a JSON object"),
]


@pytest.mark.parametrize(("line", "message"), BAD_MOONCAKE)
def test_a_bad_line_of_json_is_named(trace, line, message):
    with pytest.raises(ValueError, match=rf"trace\.csv, line 2: {message}"):
        read_trace(trace(mooncake() + line))


@pytest.mark.parametrize(
    "content",
    [
        HEADER + FIRST + "2023-11-16 18:15:45.9999999,3,4\n",
        HEADER + FIRST + "2023-11-16 18:15:45,3,0\n" + FIRST,
        HEADER + "2024-05-10 00:00:00Z,3,4\n2024-05-10 00:30:00+01:00,3,4\n",
        BURST_GPT + "2,x,3,4,7,y\n1.9999999999999,x,3,4,7,y\n",
        mooncake(2000) + "\n" + mooncake(1999),
    ],
)
def test_times_never_go_backwards(trace, content):
    with pytest.raises(ValueError, match=r"trace\.csv, line [34]: [Tt]imestamp|TIMESTAMP") as error:
        read_trace(trace(content))
    assert "must not be before that above, got" in str(error.value)


@pytest.mark.parametrize(
    "rows",
    [
        '"2024-05-10 00:00:00.500000,10,5\n"2024-05-10 00:00:01.500000,20,5\n',
        '"2024-05-10 00:00:00.500000,10,5\n',
        '2024-05-10 00:00:00,"10,5\n2024-05-10 00:00:01,20,5\n2024-05-10 00:00:02,"20,5\n',
        '2024-05-10 00:00:00,10,"5\n2024-05-10 00:00:01,20,5"\n',
        '"2024-05-10 00:00:00"5,10,5\n',
        '2024-05-10 00:00:00,10"0,5\n',
        '"2024-05-10 00:00:00,10,5"\n',
        '2024-05-10 00:00:00,"10,5",5\n',
    ],
)
def test_a_stray_quote_swallows_no_request(trace, rows):
    with pytest.raises(ValueError, match=r"trace\.csv, line 2: "):
        read_trace(trace(HEADER + rows))


def test_a_stray_quote_in_another_column_swallows_no_request(trace):
    header = HEADER.replace("\n", ",user\n")
    with pytest.raises(ValueError, match=r"line 3: quotes must end on their line, got"):
        read_trace(trace(header + FIRST.replace("\n", ",x\n") + FIRST.replace("\n", ',"x\n') * 2))


def test_quotes_in_pairs_are_read(trace):
    header = '"TIMESTAMP", ContextTokens,"GeneratedTokens",user\n'
    rows = '"2023-11-16 18:15:46","3",4,"a, ""b"""\r\n2023-11-16 18:15:47, 3 ,4,5"\r\n'
    assert [request[:3] for request in read_trace(trace(header + rows))] == [(0, 3, 4), (1, 3, 4)]


@pytest.mark.parametrize("num_fields", [1, 2, 4, 9])
def test_a_line_has_as_many_fields_as_the_first(trace, num_fields):
    line = ",".join(["2023-11-16 18:15:47", *"3456789"][:num_fields] + ["5"] * max(0, num_fields - 8))
    with pytest.raises(ValueError, match=f"line 3: must have 3 fields, as line 1 has, got {num_fields} in "):
        read_trace(trace(HEADER + FIRST + line + "\n"))


@pytest.mark.parametrize("at", [0, 1, 3, 500])
def test_a_byte_that_is_not_utf_8_is_named_by_its_line(trace, at):
    lines = [HEADER.encode(), *[FIRST.encode()] * 800]
    lines[at] = lines[at].replace(b"\n", b"\xfc\n")
    with pytest.raises(ValueError, match=rf"trace\.csv, line {at + 1}: the file must be text in UTF-8, got"):
        read_trace(trace(b"".join(lines)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_trace_in_another_encoding_is_named(trace, encoding):
    with pytest.raises(ValueError, match=r"trace\.csv, line 1: (the file must be text|not a trace)"):
        read_trace(trace((HEADER + FIRST).encode(encoding)))


def test_other_letters_and_other_ends_of_lines_are_read(trace):
    header = HEADER.replace("\n", ",Nutzer\u2028\n")
    row = FIRST.replace("\n", ",Jürgen\n")
    for end in ("\n", "\r\n", "\r"):
        text = (header + row * 2).replace("\n", end)
        assert len(read_trace(trace(text.encode("utf-8-sig")))) == 2
        assert len(read_trace(trace(text.rstrip()))) == 2


@pytest.mark.parametrize("digit", ["x", "9", '"', " "])
def test_a_field_that_is_too_long_is_named(trace, digit):
    long = digit * 200_000
    for line in (row(prompt=long), row(when=long), row(output=f'"{long}"')):
        with pytest.raises(
            ValueError, match=r"trace\.csv, line 3: must have at most 131,072 characters, got"
        ):
            read_trace(trace(line))
    with pytest.raises(ValueError, match="line 1: not a trace that can be read"):
        read_trace(trace(HEADER.replace("\n", f",{long}\n") + FIRST.replace("\n", ",5\n")))
    header = HEADER.replace("\n", ",user\n")
    with pytest.raises(ValueError, match="line 2: must have at most"):
        read_trace(trace(header + FIRST.replace("\n", f',"{long}"\n')))
    with pytest.raises(ValueError, match="line 2: must have at most"):
        read_trace(trace(mooncake() + mooncake(note=long)))


def test_a_line_without_end_is_not_read_to_its_end(trace):
    path = trace(b"\0" * 30_000_000)
    tracemalloc.start()
    with pytest.raises(ValueError, match="line 1: not a trace that can be read"):
        read_trace(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * MAX_LINE


@pytest.mark.parametrize("column", ["TIMESTAMP", "ContextTokens", "GeneratedTokens", " ContextTokens "])
def test_a_column_that_is_named_twice_is_refused(trace, column):
    header = HEADER.replace("\n", f",{column}\n")
    with pytest.raises(ValueError, match=f"line 1: columns must have .* got {column.strip()} more than once"):
        read_trace(trace(header + FIRST.replace("\n", ",5\n")))


OTHERS = {
    "chats": json.dumps([{"conversations": [{"from": "human", "value": "one, two, "}] * 4000}]),
    "chats on lines": json.dumps([{"id": "x", "conversations": []}], indent=2),
    "a chat a line": '{"messages": [{"role": "user", "content": "hi"}]}\n' * 3,
    "a list a line": "[1, 2, 3]\n",
    "words": "Hello.\n",
    "a page": "<!DOCTYPE html>\n<html></html>\n",
    "a pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:4bb\nsize 52283111\n",
    "another table": "id,prompt,answer\n1,2,3\n",
    "no header": FIRST,
    "a blank line": "\n" + HEADER + FIRST,
    "semicolons": (HEADER + FIRST).replace(",", ";"),
    "tabs": (HEADER + FIRST).replace(",", "\t"),
    "zip": b"PK\x03\x04" + bytes(100),
    "parquet": b"PAR1" + bytes(100),
    "a quote": '"' + HEADER + FIRST,
    "nested": "[" * 100_000,
    "digits": "[" + "9" * 5000 + "]",
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_another_file_is_refused_with_a_list_of_what_can_be_read(trace, content):
    with pytest.raises(ValueError, match=r"trace\.csv, line 1: not a trace that can be read, got") as error:
        read_trace(trace(content))
    assert str(error.value).endswith(f"\n{READABLE}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,3\n",
            "no column GeneratedTokens, found 'TIMESTAMP, Con",
        ),
        (
            HEADER.lower().replace("timestamp", "Timestamp"),
            "no column Request tokens, Response tokens, found",
        ),
        (BURST_GPT.replace("Response", "Answer"), "no column Response tokens, found"),
        ('{"timestamp": 1, "input_length": 3}\n', "no column output_length, hash_ids, found 'timestamp, inp"),
        ("", "the file is empty"),
        ("\ufeff", "the file is empty"),
    ],
)
def test_a_first_line_that_lacks_something_is_told_what(trace, content, message):
    with pytest.raises(ValueError, match=rf"trace\.csv, line 1: {message}") as error:
        read_trace(trace(content))
    assert str(error.value).endswith(f"\n{READABLE}")


def test_a_packed_file_is_told_to_be_unpacked(trace):
    with pytest.raises(ValueError, match=r"trace\.csv, line 1: .* got one that gzip has packed: unpack it"):
        read_trace(trace(gzip.compress((HEADER + FIRST).encode())))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no-such\.csv"):
        read_trace(tmp_path / "no-such.csv")
    with pytest.raises(OSError, match=tmp_path.name):
        read_trace(tmp_path)
    for path in (None, 0, True):
        with pytest.raises(TypeError, match="expected str, bytes or"):
            read_trace(path)


names = st.sampled_from(
    ["TIMESTAMP", "ContextTokens", "Request tokens", "timestamp", "x" * 999, "\n", '"', ","]
)
pieces = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [HEADER, BURST_GPT, FIRST, mooncake(), '"', ",", "\r", "5,x,3,4,7,y\n", "\U000e0001" * 99]
    ),
    names,
).map(str.encode) | st.binary(max_size=40)


@given(st.sampled_from([HEADER, BURST_GPT, mooncake(), ""]), st.lists(pieces, max_size=6))
def test_no_content_makes_another_error_or_a_long_one(tmp_path_factory, start, content):
    folder = tmp_path_factory.mktemp("any") / ("long" * 50) / ("deep" * 50)
    folder.mkdir(parents=True)
    path = folder / "trace.csv"
    path.write_bytes(start.encode() + b"".join(content))
    problem = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)
        try:
            requests = read_trace(path)
            assert [request.request_id for request in requests] == list(range(len(requests)))
        except ValueError as error:
            problem = error
    if problem is not None:
        assert type(problem) is ValueError
        assert "trace.csv" in str(problem)
        assert len(str(problem).encode()) <= 600
        assert len(str(problem)) <= 400
        assert len(str(problem).splitlines()) <= 2


def test_an_error_is_short_and_can_be_printed_whatever_the_file_is_called(tmp_path):
    folder = tmp_path / ("ä\n" * 60) / ("\udcfc" * 60)
    folder.mkdir(parents=True)
    path = folder / "trace.csv"
    path.write_text('{"timestamp": 1, "' + "x" * 999 + '": 3}\n')
    with pytest.raises(ValueError, match=r"^\.\.\..*trace\.csv, line 1: no column") as error:
        read_trace(path)
    assert len(str(error.value)) <= 400
    assert len(str(error.value).splitlines()) == 2


def test_the_first_requests_of_a_trace_can_be_had_alone(trace):
    path = trace(HEADER + FIRST * 3 + "what comes later is not read\n")
    assert len(read_trace(path, limit=3)) == len(list(iter_trace(path, limit=3))) == 3
    requests = iter_trace(path)
    assert [next(requests) for _ in range(3)] == read_trace(path, limit=3)
    with pytest.raises(ValueError, match="line 5"):
        next(requests)
    for limit, error in ((0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="limit must be"):
            read_trace(path, limit=limit)


def test_a_row_takes_no_more_memory_than_the_docstring_says(trace):
    rows = (f"{1000 + index},x,{1000 + index % 97},{1000 + index % 89},0,y\n" for index in range(5_000))
    path = trace(BURST_GPT + "".join(rows))
    peaks = []
    for read in (read_trace, lambda path: sum(1 for _ in iter_trace(path))):
        tracemalloc.start()
        read(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[0] - peaks[1]) / 5_000 < 185
    assert peaks[1] < 400_000


def shared(first, second, *, page_size=16):
    allocator = PagedAllocator(num_pages=4096 // page_size, page_size=page_size, prefix_caching=True)
    assert allocator.allocate("first", prompt_tokens(first)) == 0
    return allocator.allocate("second", prompt_tokens(second))


@pytest.mark.parametrize("page_size", [1, 3, 16, 64])
def test_a_prefix_cache_sees_that_prompts_begin_with_equal_hash_ids(trace, page_size):
    path = trace(mooncake() + mooncake(1, 1053, 26, [0, 773, 774]) + mooncake(2, 915, 1, [0, 462]))
    first, second, third = read_trace(path)
    assert shared(first, second, page_size=page_size) == 512 // page_size * page_size
    assert shared(first, third, page_size=page_size) == 914 // page_size * page_size


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=3), st.lists(st.integers(0, 3), min_size=1, max_size=3)
)
def test_prompts_have_as_many_equal_tokens_as_their_hash_ids_say(first, second):
    long, short = (TraceRequest(0, len(ids) * 512, 1, hash_ids=(*ids,)) for ids in (first, second))
    common = sum(takewhile(bool, (a == b for a, b in zip(first, second, strict=False))))
    left, right = prompt_tokens(long), prompt_tokens(short)
    assert len(left) == long.num_prompt_tokens
    assert left[: common * 512] == right[: common * 512]
    assert left[common * 512 :] != right[common * 512 :] or first == second


@pytest.mark.parametrize("page_size", [1, 16])
def test_a_prompt_without_hash_ids_shares_its_beginning_with_no_other(page_size):
    named = [TraceRequest(0, 40, 1, hash_ids=(0,)), TraceRequest(1, 40, 1, hash_ids=(1,))]
    plain = [Request(0, 40, 1), Request(1, 40, 1)]
    for first, second in [(plain[0], plain[1]), *((a, b) for a in named for b in plain), (*named,)]:
        assert shared(first, second, page_size=page_size) == 0


def test_a_prompt_that_was_made_longer_or_shorter_keeps_its_beginning():
    request = TraceRequest(0, 600, 1, hash_ids=(4, 5))
    tokens = prompt_tokens(request)
    assert prompt_tokens(request._replace(num_prompt_tokens=700))[:600] == tokens
    assert prompt_tokens(request._replace(num_prompt_tokens=100)) == tokens[:100]
    (last,) = set(tokens[512:])
    assert prompt_tokens(request._replace(num_prompt_tokens=2000))[512:] == [last] * 1488
    assert prompt_tokens(Request(7, 3, 1)) == prompt_tokens(TraceRequest(7, 3, 1))


def test_what_is_made_of_a_request_keeps_the_names_of_its_prompt():
    request = TraceRequest(0, 600, 1, hash_ids=(4, 5))
    (later,) = poisson_arrivals([request], rate_rps=1, rng=np.random.default_rng(0))
    (checked,) = check_requests([later._replace(num_output_tokens=np.int64(3), arrival_s=2)])
    assert checked == Request(0, 600, 3, 2.0)
    assert {type(number) for number in checked} == {int, float}
    for made in (later, checked, copy(request), deepcopy(request), pickle.loads(pickle.dumps(request))):
        assert type(made) is TraceRequest
        assert made.hash_ids == (4, 5)
    assert request._replace(hash_ids=(6, 7)).hash_ids == (6, 7)
    assert TraceRequest._make(request).hash_ids == ()
    assert hash(request) == hash(Request(*request))


def test_requests_are_rows_of_numbers(trace):
    content = mooncake() + mooncake(1000)
    assert np.array(read_trace(trace(content))).tolist() == [[0, 915, 355, 0, 1], [1, 915, 355, 1, 1]]


def test_a_trace_is_served_as_it_was_read(trace):
    requests = read_trace(trace(mooncake() + mooncake(1500)))
    assert simulate(requests, PagedPool(num_pages=200)).requests == requests


def test_hash_ids_and_lengths_of_numpy_name_the_prompt_that_pythons_name():
    plain = TraceRequest(5, 600, 1, hash_ids=(127, 3))
    for hash_ids in (np.array([127, 3], np.int8), [np.int8(127), np.uint8(3)]):
        request = TraceRequest(np.int8(5), np.int16(600), 1, hash_ids=hash_ids)
        assert request.hash_ids == plain.hash_ids
        assert set(map(type, request.hash_ids)) == {int}
        assert prompt_tokens(request) == prompt_tokens(plain)
        assert plain._replace(hash_ids=hash_ids).hash_ids == plain.hash_ids
    assert prompt_tokens(Request(np.int8(5), 3, 1)) == prompt_tokens(Request(5, 3, 1))


@pytest.mark.parametrize("hash_ids", [(1.5,), (-1,), (True,), (2**62,), (None,), 5, ("a",)])
def test_what_names_no_prompt_is_named(hash_ids):
    with pytest.raises((TypeError, ValueError), match="hash_ids must be"):
        TraceRequest(0, 5, 1, hash_ids=hash_ids)
    with pytest.raises((TypeError, ValueError), match="hash_ids must be"):
        TraceRequest(0, 5, 1, hash_ids=(1,))._replace(hash_ids=hash_ids)


@pytest.mark.parametrize("num_tokens", [0, -4, 2.0, None])
def test_a_prompt_of_no_length_is_named(num_tokens):
    for request in (Request(5, num_tokens, 1), TraceRequest(5, num_tokens, 1, hash_ids=(1,))):
        with pytest.raises((TypeError, ValueError), match="num_prompt_tokens of request 5 must be"):
            prompt_tokens(request)
