"""From lines to parts: slices, rows between processes, and one destination for every record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from actors.checker import Check, Destinations, checking
from actors.parser import SLICE_BYTES, forwarding, fused, slices_of
from actors.runtime.counts import merged
from actors.runtime.errors import ConfigError, DecodeError, Finish, Reject
from actors.runtime.lift import lift
from actors.runtime.messages import Batch
from actors.runtime.pipeline import Fold, Pipeline, per_chunk
from actors.runtime.ports import Sink, SinkOptions
from actors.runtime.rows import Rows, traveller, unpack_rows
from actors.runtime.values import DeadLetter
from actors.runtime.worker import Made, Output
from actors.spread import shard_of


class Texts(SinkOptions, frozen=True):
    """A sink that takes text."""

    ordered: ClassVar[bool] = True
    guarantee: ClassVar[str] = ""

    def pack(self, items: Sequence[Any]) -> bytes:
        return "|".join(items).encode()

    def open(self, name: str, state: Path) -> Sink:
        raise NotImplementedError

    def describe(self) -> str:
        return ""


class Logs(Texts, frozen=True):
    """A sink that takes text in any order."""

    ordered: ClassVar[bool] = False


class Letters(Logs, frozen=True):
    """A sink that takes dead letters."""

    def pack(self, items: Sequence[Any]) -> bytes:
        return msgspec.msgpack.encode(items)


class Point(msgspec.Struct, frozen=True):
    """What an application may make of a line."""

    name: str
    pair: tuple[int, int]


def parse(line: bytes) -> Any:
    if not line:
        return None
    if line == b"?":
        raise Reject("form", "a question")
    return line.decode()


def check(value: str) -> str | None:
    if value.startswith("bad"):
        raise Reject("bad")
    return None if value.startswith("drop") else value


def route(value: str) -> Any:
    return {"n": None, "x": "nowhere", "l": ["a"], "g": "log"}.get(value[0], "a")


def encode(value: str) -> Any:
    return 7 if value.startswith("int") else value.upper()


def count(values: list[str], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    if any("!" in value for value in values):
        raise ValueError("!")
    return {(unit, letter): [records] for letter, records in Counter(value[0] for value in values).items()}


FOLD = Fold(partials=count, keys=("unit", "letter"), fields=("records",))
PLAIN: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()
BATCH = Batch("p", 1000, 2000, 1, 0, 0, 9, "in.tsv", 100, 11)


def make_check(shards: Sequence[str] = (), checks: Callable[..., Any] | None = check) -> Check:
    pipeline = Pipeline(
        name="t", source=None, parse=parse, check=checks, route=route, encode=encode,  # type: ignore[arg-type]
        sinks={"a": Texts(), "log": Logs()}, dead_letters=Letters(), fold=FOLD if shards else None)
    return Check(pipeline, None, Destinations(
        {"a": "writer.a", "log": "writer.log"}, pipeline.sinks, "writer.dead_letters", Letters(), shards))


def make(data: bytes, shards: Sequence[str] = (), batch: Batch = BATCH) -> Made:
    return fused(lift(parse, "parse"), make_check(shards))(batch, [data])


def part(made: Made, destination: str) -> Output:
    (found,) = [each for each in made.parts if each.destination == destination]
    return found


def letters(made: Made) -> list[DeadLetter]:
    return msgspec.msgpack.decode(part(made, "writer.dead_letters").frames[0], type=list[DeadLetter])


def outcomes(made: Made) -> dict[str, int]:
    return merged([made.counts, *(each.claims for each in made.parts)])


def test_every_record_gets_one_destination_and_the_outcomes_add_up() -> None:
    made = make(b"one\n\n?\ndrop\nbad\ntwo\n")
    assert part(made, "writer.a") == Output("writer.a", 2, {"written": 2, "written.a": 2}, [b"ONE|TWO"])
    assert outcomes(made) == {
        "read": 5, "filtered": 1, "written": 2, "written.a": 2, "dead_lettered": 2, "rejected.form": 1,
        "rejected.bad": 1}
    assert [(letter.stage, letter.reason, letter.raw) for letter in letters(made)] == [
        ("parser", "form", b"?"), ("checker", "bad", b"bad")]


def test_a_dead_letter_says_where_its_line_is_to_the_byte() -> None:
    data = b"one\n\n?\ntwo\nbad 1\nbad 2"
    found = letters(make(data))
    assert [(letter.offset, letter.line) for letter in found] == [(105, 13), (111, 15), (117, 16)]
    for letter in found:
        at = letter.offset - BATCH.offset
        assert data[at:at + len(letter.raw)] == letter.raw
        assert letter.position == BATCH.start + at


def test_positions_are_right_in_every_slice_of_a_long_batch() -> None:
    lines = [b"bad" if number % 1000 == 999 else b"row %d" % number for number in range(30_000)]
    data = b"\n".join(lines) + b"\n"
    assert len(data) > 3 * SLICE_BYTES
    found = letters(make(data))
    assert [letter.line - BATCH.line for letter in found] == list(range(999, 30_000, 1000))
    assert all(data[letter.offset - BATCH.offset:].startswith(b"bad\n") for letter in found)


def test_slices_are_the_lines_of_the_batch_cut_at_newlines() -> None:
    data = b"\n".join(b"%d" % number for number in range(50_000))
    slices = list(slices_of(lambda lines: lines, BATCH, data))
    assert len(slices) > 1
    assert [line for rows in slices for line in rows.lines] == data.split(b"\n")
    assert list(slices_of(lambda lines: lines, BATCH, b"")) == []


def test_an_ordered_sink_gets_an_empty_part_and_an_unordered_one_gets_none() -> None:
    made = make(b"drop\n")
    assert made.parts == [Output("writer.a", 0, {}, [])]
    assert [each.destination for each in make(b"go\n").parts] == ["writer.a", "writer.log"]


def test_a_faulty_batch_is_one_dead_letter_of_the_reader_byte_for_byte() -> None:
    batch = msgspec.structs.replace(BATCH, fault="truncated_gzip", detail="ends early")
    made = make(b"one\ntwo\n", batch=batch)
    (letter,) = letters(made)
    assert (letter.stage, letter.reason, letter.detail, letter.raw, letter.offset, letter.line) == (
        "reader", "truncated_gzip", "ends early", b"one\ntwo\n", 100, 11)
    assert outcomes(made) == {"read": 1, "dead_lettered": 1, "rejected.truncated_gzip": 1}


def test_a_sink_that_nobody_knows_rejects_the_record() -> None:
    made = make(b"one\nxyz\n")
    assert [(letter.reason, letter.detail) for letter in letters(made)] == [("route", "no sink is called 'nowhere'")]
    assert part(made, "writer.a").frames == [b"ONE"]


def test_a_route_that_is_not_a_name_rejects_the_record_and_not_the_worker() -> None:
    made = make(b"one\nlist\n")
    assert [letter.raw for letter in letters(made)] == [b"list"]
    assert part(made, "writer.a").frames == [b"ONE"]


def test_an_item_that_its_sink_cannot_pack_is_rejected_alone() -> None:
    made = make(b"one\nint\ntwo\n")
    assert [(letter.reason, letter.raw) for letter in letters(made)] == [("encode_error", b"int")]
    assert part(made, "writer.a").frames == [b"ONE|TWO"]
    assert outcomes(made)["read"] == 3


def test_a_reject_with_text_that_is_not_unicode_is_a_dead_letter_like_another() -> None:
    def picky(value: str) -> str:
        raise Reject("bad", b"\xff".decode(errors="surrogateescape"))

    made = fused(lift(parse, "parse"), make_check(checks=picky))(BATCH, [b"one\n"])
    assert [letter.raw for letter in letters(made)] == [b"one"]


def test_a_pipeline_without_a_check_writes_what_it_parsed() -> None:
    made = fused(lift(parse, "parse"), make_check(checks=None))(BATCH, [b"bad\ndrop\n"])
    assert part(made, "writer.a").frames == [b"BAD|DROP"]


def test_records_without_a_route_are_folded_when_there_is_a_fold_and_filtered_when_there_is_none() -> None:
    assert outcomes(make(b"none\none\n"))["filtered"] == 1
    made = make(b"none\none\n", shards=["aggregator.1"])
    assert outcomes(made)["folded"] == 1
    assert "filtered" not in outcomes(made)


def test_partials_are_merged_over_slices_and_spread_over_shards_by_key() -> None:
    shards = ["aggregator.1", "aggregator.2", "aggregator.3"]
    lines = [b"%c %d" % (97 + number % 5, number) for number in range(20_000)]
    made = make(b"\n".join(lines), shards)
    total: dict[tuple[int, str], int] = {}
    for number, shard in enumerate(shards):
        output = part(made, shard)
        entries = msgspec.msgpack.decode(output.frames[0]) if output.frames else []
        assert output.count == len(entries)
        for (unit, letter), (records,) in entries:
            assert shard_of((unit, letter), len(shards)) == number
            total[unit, letter] = records
    assert total == dict.fromkeys([(9, letter) for letter in "abcde"], 4_000)


def test_every_shard_gets_a_part_be_it_empty() -> None:
    made = make(b"drop\n", shards=["aggregator.1", "aggregator.2"])
    assert {each.destination for each in made.parts} == {"writer.a", "aggregator.1", "aggregator.2"}


def test_a_record_that_cannot_be_folded_is_rejected_alone() -> None:
    made = make(b"one\no!\n", shards=["aggregator.1"])
    assert [(letter.reason, letter.raw) for letter in letters(made)] == [("fold_error", b"o!")]
    assert msgspec.msgpack.decode(part(made, "aggregator.1").frames[0]) == [[[9, "o"], [1]]]


def test_a_record_that_is_rejected_is_in_no_aggregate() -> None:
    made = make(b"one\nint\n", shards=["aggregator.1"])
    assert [letter.raw for letter in letters(made)] == [b"int"]
    assert msgspec.msgpack.decode(part(made, "aggregator.1").frames[0]) == [[[9, "o"], [1]]]


@pytest.mark.parametrize("data", [
    b"one\n\n?\ndrop\nbad\ntwo\nint\nxyz\n", b"one", b"\n", b"", b"?\n?", b"\n\nbad",
    b"\n".join(b"bad" if n % 500 == 0 else b"row %d" % n for n in range(20_000)),
], ids=["mixed", "no-newline", "blank", "empty", "rejects", "late", "slices"])
def test_two_processes_make_what_one_makes(data: bytes) -> None:
    parser, checker = forwarding(lift(parse, "parse")), checking(make_check(["aggregator.1"]), PLAIN)
    parsed = parser(BATCH, [data])
    assert parsed.forward is not None
    made = make(data, ["aggregator.1"])
    assert checker(BATCH, parsed.forward) == made
    assert (parsed.counts, parsed.records) == ({}, made.counts["read"])  # seen here, counted there


def test_two_processes_make_what_one_makes_of_a_faulty_batch() -> None:
    batch = msgspec.structs.replace(BATCH, fault="line_too_long")
    forward = forwarding(lift(parse, "parse"))(batch, [b"a\nb"]).forward
    assert forward is not None
    assert checking(make_check(), PLAIN)(batch, forward) == make(b"a\nb", batch=batch)


@pytest.mark.parametrize(("value", "kind"), [
    (Point("a", (1, 2)), Point), (("a", 1), tuple[str, int]), ({1: "a"}, dict[int, str]), ([b"x"], list[bytes]),
    (Point("a", (1, 2)), Point | Reject | None), (("a", 1), tuple[str, int] | None), (None, int | None),
], ids=str)
@pytest.mark.parametrize("chunk", [False, True])
def test_a_value_of_the_annotated_type_is_the_same_to_check_whether_it_travelled_or_not(
    value: Any, kind: Any, chunk: bool
) -> None:
    def each(line: bytes) -> Any:
        return value

    def many(lines: list[bytes]) -> Any:
        return [value for _ in lines]

    function = per_chunk(many) if chunk else each
    function.__annotations__["return"] = list[kind] if chunk else kind
    forward = forwarding(lift(function, "parse"))(BATCH, [b"x\n"]).forward
    assert forward is not None
    assert unpack_rows(BATCH, forward, traveller(function)).values == [value]


def test_values_that_cannot_travel_or_are_of_another_type_are_rejected_alone() -> None:
    def parse(line: bytes) -> int:
        return {b"x": object(), b"y": "text"}.get(line, 7)  # type: ignore[return-value]

    forward = forwarding(lift(parse, "parse"))(BATCH, [b"x\n1\ny\n2\n"]).forward
    assert forward is not None
    first, *others = unpack_rows(BATCH, forward, traveller(parse)).values
    assert (others[0], others[2]) == (7, 7)
    assert [each.reason for each in (first, others[1])] == ["parse_error", "parse_error"]
    assert "cannot travel" in first.detail
    assert "expected `int`" in str(others[1].detail).lower()


def test_a_type_that_cannot_travel_is_an_error_of_the_configuration() -> None:
    def parse(line: bytes) -> Point | dict[str, int]:
        return {}

    with pytest.raises(ConfigError, match=r"set parser.fused = true"):
        traveller(parse)


@pytest.mark.parametrize("frames", [[], [b"x"], [b"x", b"\xc1"], [b"x", b"\x91\x01"], [b"x", b"\x93", b""]])
def test_frames_that_are_no_rows_are_one_kind_of_error(frames: list[bytes]) -> None:
    with pytest.raises(DecodeError, match="not a batch of rows"):
        unpack_rows(BATCH, frames, PLAIN)


def test_dead_letters_of_no_rejects_are_none() -> None:
    assert Rows(BATCH, [b"a"], [1]).dead_letters([]) == []


def ending_parse(line: bytes) -> Any:
    if line == b"end":
        raise Finish
    return parse(line)


def ending_check(value: str) -> str | None:
    if value == "end in check":
        raise Finish
    return check(value)


@pytest.mark.parametrize("shards", [(), ("aggregator.1",)])
@pytest.mark.parametrize("is_fused", [True, False])
@pytest.mark.parametrize("end", [b"end", b"end in check"])
def test_a_record_that_ends_all_input_is_read_and_filtered_and_said_apart(
    end: bytes, is_fused: bool, shards: Sequence[str]
) -> None:
    data = b"one\n?\n" + end + b"\ntwo\n" + end + b"\ndrop\nbad\n"
    checks = make_check(shards, ending_check)
    parses = lift(ending_parse, "parse")
    if is_fused:
        made = fused(parses, checks)(BATCH, [data])
    else:
        made = checking(checks, PLAIN)(BATCH, forwarding(parses)(BATCH, [data]).forward or [])
    assert made.counts == {"read": 7, "filtered": 3, "finish": 2}
    assert part(made, "writer.a").frames == [b"ONE|TWO"]
    assert [(letter.reason, letter.raw) for letter in letters(made)] == [("form", b"?"), ("bad", b"bad")]


def test_an_end_that_route_or_encode_asks_for_is_in_no_aggregate() -> None:
    def ends(value: str) -> Any:
        if value == "end":
            raise Finish
        return value

    for names in ({"route": ends, "encode": encode}, {"route": lambda value: "a", "encode": ends}):
        pipeline = Pipeline(
            name="t", source=None, parse=parse, sinks={"a": Texts(), "one": Texts()},  # type: ignore[arg-type]
            dead_letters=Letters(), fold=FOLD, **names)
        checks = Check(pipeline, None, Destinations(
            {"a": "writer.a", "one": "writer.one"}, pipeline.sinks, "writer.dead_letters", Letters(), ["aggregator.1"]))
        made = fused(lift(parse, "parse"), checks)(BATCH, [b"one\nend\n"])
        assert made.counts == {"read": 2, "filtered": 1, "finish": 1}
        (entries,) = [each.frames for each in made.parts if each.destination == "aggregator.1"]
        assert msgspec.msgpack.decode(entries[0]) == [[[9, "o"], [1]]]


def test_an_annotation_may_say_that_there_is_an_end() -> None:
    def made_points(line: bytes) -> Point | Reject | Finish | None: ...

    assert traveller(made_points).type == Point | None
