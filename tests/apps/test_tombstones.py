"""Tombstones on their way: from a topic through a real run to a store and a table, whoever is killed meanwhile."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actors.sinks.dead_letters import read_letters
from actors.sinks.lmdb import read_lmdb
from tests.loads import Running, assert_counts_add_up
from tests.topics import Feed

pytest.importorskip("sqlalchemy")

KEYS, WORDS = 40, 6000
SMALL = ("flow.batch_bytes=400", "flow.window_batches=8", "restart.max_backoff_s=0.2", "restart.intensity=50")


def run(folder: Path, *sets: str, target: str = "tests.pipelines.erased") -> Running:
    words = (word for each in (*SMALL, *sets) for word in ("--set", each))
    return Running(folder / "state", "run", target, "--format", "json", *words)


def table(state: Path) -> dict[bytes, bytes]:
    with closing(sqlite3.connect(state / "table.sqlite")) as connection:
        return {key.encode(): value.encode() for key, value in connection.execute('SELECT key, value FROM "table"')}


def words_of(seed: int) -> Iterator[tuple[bytes, bytes | None]]:
    chosen = random.Random(seed)
    for number in range(WORDS):
        yield b"key %d" % chosen.randrange(KEYS), None if chosen.random() < 0.4 else b"%d" % number


def test_what_was_deleted_is_gone_and_what_came_after_it_is_there_whoever_is_killed(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "topic", partitions=3)
    spoken = list(words_of(1))
    for start in range(0, WORDS, 50):
        feed.append(*spoken[start:start + 50])
    with run(tmp_path) as running:
        for name in ("writer.store", "writer.table", "reader.1", "parser.1", "writer.table", "writer.store"):
            running.kill(name, 3)
        assert running.wait() == 0, running.output()
    expected = {key: value for key, value in dict(spoken).items() if value is not None}
    assert 0 < len(expected) < KEYS
    assert dict(read_lmdb(tmp_path / "state" / "store.lmdb")) == expected
    assert table(tmp_path / "state") == expected
    counts = assert_counts_add_up(tmp_path / "state")
    assert (counts["written.store"], counts["written.table"]) == (WORDS, WORDS)


def test_a_parse_that_expects_a_value_makes_a_letter_of_a_tombstone_and_goes_on(tmp_path: Path) -> None:
    Feed(tmp_path / "topic").append((b"a", b"x"), (b"a", None), (b"b", b""), (b"\xff", None))
    with run(tmp_path, "budget.max_error_rate=1", target="tests.pipelines.erased:VALUES") as running:
        assert running.wait() == 0, running.output()
    assert dict(read_lmdb(tmp_path / "state" / "store.lmdb")) == {b"a": b"X", b"b": b""}
    letters = list(read_letters(tmp_path / "state" / "dead-letters.db"))
    assert [(one.stage, one.reason, one.offset) for one in letters] == [
        ("parser", "parse_error", 1), ("parser", "parse_error", 3)]
    assert [one.record and (one.record.key, one.record.value) for one in letters] == [(b"a", None), (b"\xff", None)]
    assert "'NoneType' object has no attribute 'upper'" in letters[0].detail
    assert running.of("died") == []
