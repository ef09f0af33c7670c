"""Lines of the real shape, mutated: nothing crashes, and every line has one outcome, the one that plain code gives it.

The lines go through the functions that run in a worker, with the real pipeline; what comes out is unpacked as the
writers unpack it. What should have come out is said twice by other means: by a check of the rules line by line, with
protobuf as the encoder, and for a file of such lines by a real run with all its processes.

``THRESHER_FUZZ_LINES=2000000`` fuzzes more.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from actors.apps.appsinstalled import PIPELINE
from actors.checker import Check, Destinations, checking
from actors.parser import forwarding, fused
from actors.runtime.lift import bind, lift
from actors.runtime.messages import Batch
from actors.runtime.rows import traveller
from actors.runtime.values import DeadLetter
from actors.runtime.worker import Made
from actors.sinks.dead_letters import DeadLetters, read_letters
from scripts.make_logs import BAD_LINES, make_lines
from tests.loads import DEVICE_TYPES, Stores, assert_counts_add_up, encode, lmdb_stores, load

COUNT = int(os.environ.get("THRESHER_FUZZ_LINES", "200000"))
LINES_A_BATCH = 2000
#: What a mutation puts in: separators, numbers at their limits, bytes that are no text, things that parsers like.
PIECES = (
    b"", b"\t", b"\t\t", b",", b",,", b" ", b"\r", b"\0", b"\xff", b"\xc3\xa9", b"\xef\xbb\xbf", b"-", b"+", b".", b"_",
    b"0", b"1_0", b"00", b"4294967295", b"4294967296", b"99999999999999999999", b"9" * 5000, b"-0", b"1e5", b"1e999",
    b"nan", b"inf", b"-Infinity", b"0x10", b"\xd9\xa1", b"\xc2\xb2", b'"', b"[", b"]", b"{}", b"null", b"true", b"\\",
    b"#", b"%s", b"%b", b"x" * 300, b"1," * 3000, b"idfa", b"gaid:", b"\x0b", b"\x0c", b"\x1c", b"\x85",
    b"\xe2\x80\xa8")


def fuzzed(count: int, seed: int) -> Iterator[bytes]:
    """Yield lines without newlines: good ones, bad ones, and ones with up to six mutations."""
    chance = Random(seed)
    for line in make_lines(count, seed, bad_rate=0.02, keys=count // 3):
        after = line
        for _ in range(chance.choice((0, 1, 1, 1, 2, 6))):
            after = mutated(after, chance)
        yield after.replace(b"\n", b"")


def mutated(line: bytes, chance: Random) -> bytes:
    """Change a line in one way."""
    at = chance.randint(0, len(line))
    match chance.randrange(8):
        case 0:
            return line[:at]
        case 1:
            return line[:at] + chance.choice(PIECES) + line[at:]
        case 2:
            return line[:at] + line[at + chance.randint(1, 5):]
        case 3:
            return line[:at] + bytes((chance.randrange(256),)) + line[at + 1:]
        case 4:  # a column becomes something else
            columns = line.split(b"\t")
            columns[chance.randrange(len(columns))] = chance.choice(PIECES)
            return b"\t".join(columns)
        case 5:  # columns change places, come twice, go
            columns = line.split(b"\t")
            return b"\t".join(chance.choices(columns, k=max(0, len(columns) + chance.choice((-1, 0, 0, 1)))))
        case 6:  # one app id becomes something else
            head, tab, apps = line.rpartition(b"\t")
            ids = apps.split(b",")
            ids[chance.randrange(len(ids))] = chance.choice(PIECES)
            return head + tab + b",".join(ids)
        case _:
            return chance.choice(BAD_LINES) if chance.random() < 0.5 else chance.randbytes(chance.randrange(40))


def ruled(line: bytes) -> tuple[str, bytes, bytes] | str | None:
    """The rules of the job, one line at a time: (store, key, value), the reason of its rejection, or None if blank."""
    if not line.strip():
        return None
    columns = line.strip(b" \r\n\v\f").split(b"\t")  # a tab at an end has an empty column beside it
    if len(columns) != 5:
        return "columns"
    kind, device, *place, apps = columns
    if not kind or not device:
        return "device_id_empty" if kind else "device_type_empty"
    if kind not in [name.encode() for name in DEVICE_TYPES]:
        return "device_type_unknown"
    numbers: list[float] = []
    for reason, text in zip(("latitude", "longitude"), place, strict=True):
        try:
            number = float(text)
        except ValueError:
            return reason
        if not math.isfinite(number) or b"_" in text:
            return reason
        numbers.append(number)
    key = kind + b":" + device
    if len(key) > 250 or any(byte <= 0x20 or byte == 0x7F for byte in key):
        return "key"
    ids = [app for app in apps.split(b",") if app and all(byte in b"0123456789" for byte in app)]
    numbers_of = [int(app[-400:]) if not app[:-400].strip(b"0") else 1 << 64 for app in ids]
    return kind.decode(), key, encode([n for n in numbers_of if n < 1 << 32], *numbers)


def check_of() -> Check:
    return Check(PIPELINE, PIPELINE.options, Destinations(
        writers={name: f"writer.{name}" for name in PIPELINE.sinks}, sinks=PIPELINE.sinks,
        dead_letters="writer.dead_letters", dead_letter_options=DeadLetters(), shards=["aggregator.1"]))


def made_in_one(batch: Batch, data: bytes) -> Made:
    parse = lift(bind(PIPELINE.parse, PIPELINE.options), "parse")
    return fused(parse, check_of())(batch, [data])


def made_in_two(batch: Batch, data: bytes) -> Made:
    parse = lift(bind(PIPELINE.parse, PIPELINE.options), "parse")
    forward = forwarding(parse)(batch, [data]).forward
    assert forward is not None
    return checking(check_of(), traveller(PIPELINE.parse))(batch, [bytes(frame) for frame in forward])


def assert_ruled(lines: list[bytes], batch: Batch, made: Made) -> Counter[str]:
    """Every line has the one outcome that the rules give it, in the order of input; return how many of each."""
    items: dict[str, list[tuple[bytes, bytes]]] = {name: [] for name in DEVICE_TYPES}
    letters: list[tuple[str, int, int, bytes]] = []
    outcomes: Counter[str] = Counter()
    offset = 0
    for number, line in enumerate(lines):
        rule = ruled(line)
        outcomes["blank" if rule is None else rule if isinstance(rule, str) else "written"] += 1
        if isinstance(rule, str):
            letters.append((rule, batch.line + number, batch.offset + offset, line))
        elif rule is not None:
            items[rule[0]].append(rule[1:])
        offset += len(line) + 1
    parts = {part.destination: part for part in made.parts}
    for name, expected in items.items():
        frames = parts[f"writer.{name}"].frames
        got = msgspec.msgpack.decode(frames[0], type=list[tuple[bytes, bytes]]) if frames else []
        assert got == expected
        assert parts[f"writer.{name}"].claims.get("written", 0) == len(expected)
    part = parts.get("writer.dead_letters")
    stored = msgspec.msgpack.decode(part.frames[0], type=list[DeadLetter]) if part is not None else []
    assert [(letter.reason, letter.line, letter.offset, letter.raw) for letter in stored] == letters
    claims = sum((Counter(part.claims) for part in made.parts), Counter())
    assert claims["written"] + claims["dead_lettered"] == made.counts["read"] == len(lines) - outcomes["blank"]
    return outcomes


@pytest.mark.parametrize("make", [made_in_one, made_in_two], ids=["fused", "parser and checker"])
def test_every_fuzzed_line_has_the_one_outcome_that_the_rules_give_it(make: object) -> None:
    assert callable(make)
    count = COUNT if make is made_in_one else COUNT // 10
    outcomes: Counter[str] = Counter()
    for seed in range(max(1, count // LINES_A_BATCH)):
        lines = list(fuzzed(LINES_A_BATCH, seed))
        data = b"".join(line + b"\n" for line in lines)
        batch = Batch("p", 1000, 1000 + len(data), 1, 0, 0, 1, "x.tsv", 500, 17)
        outcomes += assert_ruled(lines, batch, make(batch, data))
    assert outcomes.total() == LINES_A_BATCH * max(1, count // LINES_A_BATCH)
    assert outcomes["written"] > outcomes.total() // 3
    assert outcomes.keys() == {"written", "blank", "columns", "device_id_empty", "device_type_empty",
                               "device_type_unknown", "latitude", "longitude", "key"}, "the generator finds every rule"


@pytest.mark.parametrize("is_fused", ["true", "false"])
def test_a_real_run_over_a_fuzzed_file_stores_and_rejects_what_the_rules_say(tmp_path: Path, is_fused: str) -> None:
    lines = list(fuzzed(10_000, 77))
    (tmp_path / "1.tsv").write_bytes(b"".join(line + b"\n" for line in lines))
    done = load(tmp_path / "1.tsv", tmp_path / "state", "budget.max_error_rate=1", "flow.batch_bytes=100000",
                f"parser.fused={is_fused}")
    assert done.process.returncode == 0, done.output()
    stores: Stores = {name: {} for name in DEVICE_TYPES}
    rejected: list[tuple[int, str, bytes]] = []
    for number, line in enumerate(lines, 1):
        rule = ruled(line)
        if isinstance(rule, str):
            rejected.append((number, rule, line))
        elif rule is not None:
            stores[rule[0]][rule[1]] = rule[2]
    assert lmdb_stores(tmp_path / "state") == stores
    letters = [(letter.line, letter.reason, letter.raw) for letter in read_letters(tmp_path / "state/dead-letters.db")]
    assert letters == rejected
    counts = assert_counts_add_up(tmp_path / "state")
    assert counts["dead_lettered"] == len(rejected)
    assert counts["read"] == sum(ruled(line) is not None for line in lines)
    assert not done.of("died")
