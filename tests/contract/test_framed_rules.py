"""The rules of each framing, one by one, as ``docs/inputs.md`` has them."""

from __future__ import annotations

import pytest

from actors.sources.streams import Fault
from tests.framings import FRAMINGS, Outcome, outcomes_of
from tests.properties.test_framings import cut

MOST = 60


def outcomes(name: str, content: bytes, most: int = MOST, fault: Fault | None = None) -> list[Outcome]:
    """What becomes of a content, which is the same in blocks of any size."""
    found = [outcomes_of(cut(FRAMINGS[name], content, [size], batch, fault=fault, most=most))
             for size, batch in ((1, 1), (7, 50), (100_000, 100_000))]
    assert found[0] == found[1] == found[2]
    return found[0]


def told(name: str, content: bytes, most: int = MOST, fault: Fault | None = None) -> list[bytes | str]:
    """The values of records, and the reasons of faults."""
    return [outcome.reason or outcome.value for outcome in outcomes(name, content, most, fault)]


@pytest.mark.parametrize(("content", "wanted"), [
    (b'1,"a\nb",2\n3,c\n', [b'1,"a\nb",2', b"3,c"]),
    (b'1,"a\r\nb"\r\n2\r\n', [b'1,"a\r\nb"', b"2"]),
    (b'"a ""quoted""\n"",""",b\n2\n', [b'"a ""quoted""\n"",""",b', b"2"]),
    (b'5" of rain\n6" more\n', [b'5" of rain', b'6" more']),
    (b'"a" b,"c"d\n2\n', [b'"a" b,"c"d', b"2"]),
    (b'1,"a\nb"c\n2\n', ["unbalanced_quote", b'b"c', b"2"]),
    (b'1,"never\n2,a\n3,b\n', ["unbalanced_quote", b"2,a", b"3,b"]),
    (b'1,"never\n' + b"2,a\n" * 30, ["unbalanced_quote", *[b"2,a"] * 30]),
    (b'1,"never', ["unbalanced_quote"]),
    (b"1\n\n2\n", [b"1", b"", b"2"]),
    (b"x" * 59 + b"\n2\n", [b"x" * 59, b"2"]),
    (b"x" * 60 + b"\n2\n", ["record_too_long", b"2"]),
    (b'"' + b"x" * 80 + b'"\n2\n', ["record_too_long", b"2"]),
    (b"\xef\xbb\xbf1\n2\n", [b"1", b"2"]),
    (b"\xef\xbb\xbf", []),
    (b"", []),
])
def test_rows(content: bytes, wanted: list[bytes | str]) -> None:
    assert told("csv", content) == wanted


def test_a_header_is_no_record_and_rows_have_their_own_lines() -> None:
    assert outcomes("csv with a header", b"id;'na\nme'\n1;a\n") == [Outcome(11, 3, "", b"1;a")]
    assert outcomes("csv with a header", b"id;name\n") == []


@pytest.mark.parametrize(("content", "wanted"), [
    (b"1 a\n at x\n2 b\n", [b"1 a\n at x", b"2 b"]),
    (b"before\n1 a\n", [b"before", b"1 a"]),
    (b"1 a\n\n\n2 b", [b"1 a\n\n", b"2 b"]),
    (b"1 a\r\n at x\r\n", [b"1 a\r\n at x\r"]),
    (b"1 a\n" + b" at x\n" * 20 + b"2 b\n", ["record_too_long", b"2 b"]),
    (b"1" + b"a" * 5000 + b"\n2 b\n", ["record_too_long", b"2 b"]),
])
def test_records_of_lines(content: bytes, wanted: list[bytes | str]) -> None:
    assert told("multiline", content) == wanted


@pytest.mark.parametrize(("content", "wanted"), [
    (b' [ {"a": 1} , "b,]" ,3, null,[[]] ]\n', [b'{"a": 1}', b'"b,]"', b"3", b"null", b"[[]]"]),
    (b'[1,, 2 3,{}"a",]', [b"1", b"2", b"3", b"{}", b'"a"']),
    (b'["\\"", "\\\\"]', [b'"\\""', b'"\\\\"']),
    (b'[nul, {"a" 1}]', [b"nul", b'{"a" 1}']),
    (b"[]", []),
    (b" \n", []),
    (b'[1, "' + b"x" * 80 + b'", 2]', [b"1", "record_too_long", b"2"]),
    (b'[{"a": ' + b"[[[[[[[[1]]]]]]]]" + b"}]", [b'{"a": [[[[[[[[1]]]]]]]]}']),
    (b"[1, 2", [b"1", "truncated_json"]),
    (b"[1, 2,", [b"1", b"2", "truncated_json"]),
    (b'[1, {"a": 1', [b"1", "truncated_json"]),
    (b"[1, {]}, 2]", [b"1", "corrupt_json"]),
    (b"[1] 2", [b"1", "corrupt_json"]),
    (b'{"a": 1}\n{"a": 2}\n', ["corrupt_json"]),
    (b"[1, }, 2]", [b"1", "corrupt_json"]),
    (b"[1, 'x', 2]", [b"1", "corrupt_json"]),
    (b"[1, " + b"[" * 10_001 + b"]" * 10_001 + b"]", [b"1", "corrupt_json"]),
])
def test_elements(content: bytes, wanted: list[bytes | str]) -> None:
    assert told("json_array", content) == wanted


@pytest.mark.parametrize(("name", "content", "wanted"), [
    ("u8", b"\2hi\0\3you", [b"hi", b"", b"you"]),
    ("u8", b"\x50" + b"x" * 80 + b"\2hi", ["record_too_long", b"hi"]),
    ("u8", b"\2hi\3yo", [b"hi", "truncated_record"]),
    ("u16le", b"\2\0hi\1", [b"hi", "truncated_record"]),
    ("u32be of all", b"\0\0\0\6hi\0\0\0\4", [b"hi", b""]),
    ("u32be of all", b"\0\0\0\6hi\0\0\0\3x", [b"hi", "corrupt_record"]),
    ("varint", b"\2hi\x82\0hi", [b"hi", b"hi"]),
    ("varint", b"\xac\2" + b"x" * 300 + b"\2hi", ["record_too_long", b"hi"]),
    ("varint", b"\2hi" + b"\xff" * 9, [b"hi", "corrupt_record"]),
    ("varint", b"\2hi" + b"\xff" * 8, [b"hi", "truncated_record"]),
    ("varint", b"\2hi" + b"\x83" + b"\x80" * 7 + b"\0you", [b"hi", b"you"]),
    ("varint", b"\2hi" + b"\x80" * 9 + b"\0", [b"hi", "corrupt_record"]),
])
def test_records_behind_their_lengths(name: str, content: bytes, wanted: list[bytes | str]) -> None:
    assert told(name, content) == wanted


HOLE = "nul_hole"


@pytest.mark.parametrize(("name", "content", "wanted"), [
    ("csv", bytes(63) + b"1\n", ["record_too_long"]),
    ("csv", bytes(64) + b"1\n2\n", [HOLE, b"1", b"2"]),
    ("csv", b"\xef\xbb\xbf" + bytes(64) + b"1\n", [HOLE, b"1"]),
    ("csv", bytes(64) + b"\n1\n", [HOLE, b"1"]),
    ("csv", bytes(100_000), [HOLE]),
    ("csv", b"1\n" + bytes(512) + b"2\n", [b"1", HOLE, b"2"]),
    ("csv", b"1\n" + bytes(511) + b"2\n3\n", [b"1", "record_too_long", b"3"]),
    ("csv", b"1\nhalf a r" + bytes(4096) + b"2\n", [b"1", HOLE, b"2"]),
    ("csv", b'1\n2,"a\nb' + bytes(4096) + b"3\n", [b"1", "unbalanced_quote", HOLE, b"3"]),
    ("multiline", bytes(64) + b" at x\n2\n", [HOLE, b" at x", b"2"]),
    ("multiline", b"1 a\n at x\n" + bytes(512) + b"2\n", [b"1 a\n at x", HOLE, b"2"]),
    ("multiline", b"1 a\n at" + bytes(4096) + b" at x\n2\n", [HOLE, b" at x", b"2"]),
    ("multiline", b"1 a\n" + bytes(511) + b"\n2\n", ["record_too_long", b"2"]),
])
def test_holes(name: str, content: bytes, wanted: list[bytes | str]) -> None:
    assert told(name, content) == wanted


@pytest.mark.parametrize(("name", "content", "wanted"), [
    ("csv", b'1\n2,"a', [b"1"]), ("multiline", b"1\n2\n", [b"1"]), ("json_array", b"[1, 2", [b"1"]),
    ("u8", b"\1a\2", [b"a"])])
def test_a_damaged_gzip_has_its_whole_records(name: str, content: bytes, wanted: list[bytes | str]) -> None:
    assert told(name, content, fault=Fault("truncated_gzip", "")) == [*wanted, "truncated_gzip"]


def test_a_range_that_was_cut_with_another_framing_is_one_fault() -> None:
    first, second, third = cut(FRAMINGS["csv"], b'1\n"a\nb"\n2\n', [64], 64, recorded=[(0, 5), (5, 8)])
    assert [(each.offset, each.fault) for each in (first, second, third)] == [(0, "framing_changed"), (5, ""), (8, "")]
    (chunk,) = cut(FRAMINGS["u8"], b"\2hi\3you", [64], 64, recorded=[(0, 7)])
    assert chunk.fault == ""
    first, _ = cut(FRAMINGS["u8"], b"\2hi\3you", [64], 64, recorded=[(0, 5)])
    assert (first.end - first.start, first.fault) == (5, "framing_changed")
