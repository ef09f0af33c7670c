"""Records of any bytes, and payloads that are none: nothing crashes, and every record has one outcome.

They go through the functions that run in a worker, in one process and in two, and their dead letters into a store. What
should come of a record is said by its checksum.

``THRESHER_FUZZ_BYTES=100000000`` fuzzes more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import msgspec
import pytest

from actors.checker import Check, Destinations, checking
from actors.parser import forwarding, fused
from actors.runtime import framing
from actors.runtime.errors import DecodeError, Reject
from actors.runtime.framing import NOT_RECORDS, RECORDS, Record, pack_records, records_in, unwrap
from actors.runtime.lift import lift_parse
from actors.runtime.messages import Batch
from actors.runtime.pieces import Pieces
from actors.runtime.pipeline import Pipeline
from actors.runtime.rows import traveller
from actors.runtime.values import Chunk, DeadLetter, Payload
from actors.runtime.worker import Made
from actors.sinks.dead_letters import DeadLetters, read_letters
from actors.testing import MemorySink, MemorySource

BYTES = int(os.environ.get("THRESHER_FUZZ_BYTES", "1000000"))
START, OFFSET = 1000, 500
#: What values are made of: what ends a line, what is no text, what msgpack and JSON begin with.
PIECES = (b"", b"\n", b"\n\n", b"\r\n", b"\0", b"\xff", b"\xc0", b"\x90", b"\xdc\xff\xff", b"\xdf", b"null", b"[]",
          b'"', b"\x1b[2J", b"\xe2\x80\xa8", b"x" * 200)


def kind_of(record: Record) -> str:
    """The outcome that a record has, by its bytes and its key."""
    if record.value is None:
        return "none"
    return ("rejected", "broken", "dull", "odd", "unpacked", "written", "written")[
        crc32(record.value + (record.key or b"")) % 7]


def parse(value: bytes | None, record: Record) -> list[Any] | None:
    kind = kind_of(record)
    if value != record.value or kind == "none":
        return None
    if kind == "rejected":
        raise Reject("rejected", "by its checksum")
    if kind == "broken":
        raise ValueError("by its checksum")
    return [kind, value]


def check(row: list[Any]) -> list[Any] | None:
    return None if row[0] == "dull" else row


class Picky(MemorySink, frozen=True, kw_only=True):
    """Takes what it can pack."""

    def pack(self, items: Any) -> bytes:
        if any(item[0] == "unpacked" for item in items):
            raise ValueError("by its checksum")
        return msgspec.msgpack.encode(items)


PIPELINE = Pipeline(name="fuzzed", source=MemorySource(), parse=parse, check=check, encode=lambda row: row,
                    route=lambda row: "nowhere" if row[0] == "odd" else "store", sinks={"store": Picky()},
                    dead_letters=DeadLetters())
REASONS = {"rejected": "rejected", "broken": "parse_error", "odd": "route", "unpacked": "encode_error"}


def check_of() -> Check:
    return Check(PIPELINE, None, Destinations({"store": "writer.store"}, PIPELINE.sinks, "writer.dead_letters",
                                              DeadLetters(), []))


def made_in_one(batch: Batch, data: bytes) -> Made:
    return fused(lift_parse(parse, None), check_of())(batch, [data])


def made_in_two(batch: Batch, data: bytes) -> Made:
    forward = forwarding(lift_parse(parse, None))(batch, [data]).forward
    assert forward is not None
    return checking(check_of(), traveller(parse))(batch, [bytes(frame) for frame in forward])


BOTH = pytest.mark.parametrize("make", [made_in_one, made_in_two], ids=["fused", "parser and checker"])
Make = Callable[[Batch, bytes], Made]


def batch_of(data: bytes, positions: int) -> Batch:
    return Batch("p", START, START + positions, 1, 0, 0, 1, "topic/0", OFFSET, 0, framing=RECORDS)


def letters_of(made: Made) -> list[DeadLetter]:
    frames = [part.frames[0] for part in made.parts if part.destination == "writer.dead_letters"]
    return [letter for frame in frames for letter in msgspec.msgpack.decode(frame, type=list[DeadLetter])]


def items_of(made: Made) -> list[list[Any]]:
    frames = [frame for part in made.parts if part.destination == "writer.store" for frame in part.frames]
    return [item for frame in frames for item in msgspec.msgpack.decode(frame)]


def fuzzed(count: int, chance: Random) -> list[Record]:
    """Records of any bytes, with gaps, keys, headers and times, or without."""
    records: list[Record] = []
    offset = OFFSET
    for _ in range(count):
        offset += chance.choice((1, 1, 1, 2, 50))
        value = b"".join(chance.choice(PIECES) if chance.random() < 0.5 else chance.randbytes(chance.randrange(60))
                         for _ in range(chance.randrange(5)))
        records.append(Record(
            offset, None if chance.random() < 0.05 else value, chance.choice((-1, offset)),
            chance.choice((None, 0, -5, 1 << 61)), chance.choice((None, b"", b"key\n", b"\xff")),
            tuple((chance.choice(("", "n", "größe\n")), chance.choice((None, b"", b"\0")))
                  for _ in range(chance.randrange(3)))))
    return records


@BOTH
def test_every_fuzzed_record_has_the_one_outcome_that_its_bytes_say(make: Make, tmp_path: Path) -> None:
    chance, size, seen = Random(1), 0, Counter[str]()
    with closing(DeadLetters().open("dead_letters", tmp_path)) as store:
        while size < BYTES:
            records = fuzzed(500, chance)
            data = pack_records(records)
            size += len(data)
            made = make(batch_of(data, records[-1].offset + 1 - OFFSET), data)
            kinds = [(kind_of(record), record) for record in records]
            seen += Counter(kind for kind, _ in kinds)
            assert items_of(made) == [[kind, record.value] for kind, record in kinds if kind == "written"]
            rejected = [(REASONS[kind], record) for kind, record in kinds if kind in REASONS]
            letters = letters_of(made)
            assert [(x.reason, unwrap(x.envelope, x.raw, x.offset, x.line)) for x in letters] == rejected
            assert [x.position for x in letters] == [START - OFFSET + record.offset for _, record in rejected]
            claims = sum((Counter(part.claims) for part in made.parts), Counter())
            dull = sum(kind == "dull" for kind, _ in kinds)
            none = sum(kind == "none" for kind, _ in kinds)
            assert made.counts["read"] == len(records) - none == claims["written"] + claims["dead_lettered"] + dull
            assert made.counts["filtered"] == dull
            assert store.write([Payload("p", size, size + 1, len(letters), DeadLetters().pack(letters))]) == []
    assert seen.keys() == {*REASONS, "written", "dull", "none"}, "the generator finds every outcome"


def payloads(chance: Random) -> Iterator[bytes]:
    """Payloads that are none, or that say other things than they did."""
    while True:
        data = bytearray(pack_records(fuzzed(chance.randrange(30), chance)))
        match chance.randrange(5):
            case 0:
                data = bytearray(chance.randbytes(chance.randrange(400)))
            case 1:
                data = data[:chance.randrange(len(data) + 1)]
            case 2:
                data += chance.randbytes(3)
            case 3:
                data = bytearray(b"line\n" * chance.randrange(10))
            case _:
                for _ in range(chance.randrange(1, 8)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
        yield bytes(data)


@BOTH
def test_what_is_no_payload_of_records_is_one_dead_letter_and_nothing_dies_of_any(make: Make, tmp_path: Path) -> None:
    size, kinds = 0, Counter[bool]()
    with closing(DeadLetters().open("dead_letters", tmp_path)) as store:
        for number, data in enumerate(payloads(Random(2))):
            try:
                records = records_in(data)
            except DecodeError:
                records = []
            is_one = records != [] or data == pack_records([])
            kinds[is_one] += 1
            made = make(batch_of(data, 5000), data)
            letters = letters_of(made)
            claims = sum((Counter(part.claims) for part in made.parts), Counter())
            assert made.counts["read"] == (
                claims["written"] + claims["dead_lettered"] + made.counts.get("filtered", 0)) <= max(1, len(records))
            if not is_one:
                assert [(x.stage, x.reason, x.raw, x.position) for x in letters] == [
                    ("reader", NOT_RECORDS, data, START)]
            assert_cut_whole(data, max(1, len(records)) if data != pack_records([]) else 0)
            if letters:
                assert store.write([Payload("p", number, number + 1, len(letters), DeadLetters().pack(letters))]) == []
            size += len(data)
            if size > BYTES:
                break
    assert min(kinds[True], kinds[False]) > 100, "the generator makes both"
    assert all(letter.record is not None for letter in read_letters(tmp_path / "dead-letters.db"))


def assert_cut_whole(data: bytes, records: int) -> None:
    """Cut in two, a payload has all that it had; what is none is left whole."""
    chunk = Chunk(1, "topic/0", START, START + 5000, OFFSET, 0, data, lines=0, framing=RECORDS)
    assert framing.is_alone(chunk) == (records < 2)
    rest = Pieces(chunk)
    first = rest.take(1)
    for pieces in (framing.split(chunk), [first, rest.take(rest.left)] if rest.left else [first]):
        assert (pieces[0].start, pieces[-1].end) == (chunk.start, chunk.end)
        if records < 2:
            assert pieces == [chunk]
        else:
            assert [record for piece in pieces for record in records_in(piece.data)] == records_in(data)
