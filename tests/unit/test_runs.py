"""Sorted runs: what was folded is in them, each key once, however it came, and a key is written again but seldom."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime import runs
from actors.runtime import state as states
from actors.runtime.runs import FAN, SCHEMA, Block, Runs, merged, read_runs, runs_in
from actors.runtime.state import STEPS, FoldState, Key, Numbers, add_each, packed_blocks, packed_merge, read_state
from tests.growth import watched
from tests.states import OLDER, unpack

ADD = packed_merge(add_each)
_pack = msgspec.msgpack.encode


def as_blocks(rows: dict[bytes, int], size: int) -> list[Block]:
    keys = sorted(rows)
    return [(keys[at:at + size], [_pack([rows[key]]) for key in keys[at:at + size]])
            for at in range(0, len(keys), size)]


def numbers_of(blocks: list[Block]) -> list[tuple[bytes, int]]:
    return [(key, msgspec.msgpack.decode(numbers)[0])
            for keys, some in blocks for key, numbers in zip(keys, some, strict=True)]


def summed(many: list[dict[bytes, int]]) -> list[tuple[bytes, int]]:
    total: dict[bytes, int] = {}
    for rows in many:
        for key, number in rows.items():
            total[key] = total.get(key, 0) + number
    return sorted(total.items())


@pytest.fixture
def file() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    return connection


_rows = st.dictionaries(st.binary(min_size=1, max_size=2), st.integers(-5, 5), max_size=30)


@given(st.lists(_rows, max_size=5), st.integers(1, 7))
def test_streams_are_merged_in_order_and_each_key_is_there_once(many: list[dict[bytes, int]], size: int) -> None:
    found = merged([iter(as_blocks(rows, size)) for rows in many], ADD)
    assert numbers_of(list(found)) == summed(many)


def test_of_each_stream_one_block_is_in_memory_at_a_time() -> None:
    taken = []

    def stream(first: int) -> list[Block]:
        return as_blocks({b"%06d" % (10 * number + first): 1 for number in range(1000)}, 10)

    def counted(first: int) -> Iterator[Block]:
        for block in stream(first):
            taken.append(first)
            yield block

    found = merged([counted(first) for first in range(5)], ADD)
    for given_, _ in enumerate(found, 1):
        assert len(taken) <= 5 + given_, "a block is taken when the one before is used up"


def test_runs_of_a_level_become_one_of_the_next_and_nothing_is_lost(file: sqlite3.Connection) -> None:
    some, many = Runs(file, ADD), []
    for number in range(FAN * FAN + 3):
        rows = {b"%d" % (number * 31 % 700 + key): number for key in range(5)}
        many.append(rows)
        some.add(as_blocks(rows, 2))
    assert [len(runs_in(file, level)) for level in range(4)] == [3, 0, 1, 0]
    assert numbers_of(list(merged(read_runs(file), ADD))) == summed(many)
    (blocks,), (least,) = file.execute("SELECT count(*) FROM blocks").fetchone(), file.execute(
        'SELECT sum("last" - "first" + 1) FROM runs').fetchone()
    assert blocks == least, "what was merged is gone"


def test_a_large_block_is_written_in_pieces(file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BLOCK_BYTES", 2000)
    keys = [b"%04d" % number for number in range(64)]
    Runs(file, ADD).add([(keys, [_pack(["x" * (3000 if number == 7 else 100)]) for number in range(64)])])
    sizes = [size for (size,) in file.execute("SELECT length(entries) FROM blocks ORDER BY id")]
    assert len(sizes) > 4
    assert sorted(sizes)[-2] <= 2000 < sorted(sizes)[-1], "one key may be larger than a block"
    (found,) = read_runs(file)
    assert [key for block in found for key in block[0]] == keys


def partials(number: int, keys: int) -> list[tuple[Key, Numbers]]:
    return [((f"user-{(number * keys + at) * 7919 % 1_000_003:07d}",), [1, number]) for at in range(keys)]


def written(path: Path, rounds: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Keys written to blocks, and statements, when each round brings a run of new keys."""
    keys = 0
    write = runs.write_run

    def counted(connection: sqlite3.Connection, blocks: Iterable[Block], level: int = 0) -> None:
        def each() -> Iterator[Block]:
            nonlocal keys
            for block in blocks:
                keys += len(block[0])
                yield block

        write(connection, each(), level)

    with monkeypatch.context() as context, watched() as work:
        context.setattr(states, "MOST_KEYS", 100)
        context.setattr(runs, "write_run", counted)
        state = FoldState(path, 1, add_each)
        for number in range(rounds):
            state.fold(partials(number, 100))
            state.commit({"p": number + 1})
        state.close()
    return keys, work.statements


def test_a_key_is_written_once_for_each_level_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, few_statements = written(tmp_path / "few.db", FAN - 1, monkeypatch)
    many, many_statements = written(tmp_path / "many.db", FAN * FAN - 1, monkeypatch)
    assert few == 100 * (FAN - 1)
    assert many < 2 * 100 * (FAN * FAN - 1)
    assert many_statements / (FAN * FAN - 1) < 2 * few_statements / (FAN - 1)


def test_what_is_read_of_many_runs_is_what_was_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MOST_KEYS", 50)
    monkeypatch.setattr(runs, "FAN", 3)
    expected: dict[Key, Numbers] = {}
    state = FoldState(tmp_path / "a.db", 1, add_each)
    for number in range(40):
        some = partials(number % 11, 60)
        states.merge_into(expected, some, add_each)
        state.fold(some)
        state.commit({"p": number + 1})
        if number % 7 == 0:
            assert read_state(tmp_path / "a.db") == expected, "while its aggregator runs"
            state.close()
            state = FoldState(tmp_path / "a.db", 1, add_each)
    state.close()
    assert read_state(tmp_path / "a.db") == expected
    keys = [key for block in packed_blocks(tmp_path / "a.db") for key in block[0]]
    assert keys == sorted(set(keys))


@pytest.mark.parametrize("older", OLDER)
def test_a_state_with_a_row_for_each_key_can_be_read_and_is_brought_forward_whole(tmp_path: Path, older: str) -> None:
    path = unpack(older, "load", tmp_path) / "state/aggregator.1.db"
    before = read_state(path)
    assert before
    state = FoldState(path, 1, add_each)
    state.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert read_state(path) == before


def test_many_rows_of_an_older_state_become_blocks_of_one_run(tmp_path: Path) -> None:
    rows = {_pack((f"user-{number:05d}",)): _pack([number]) for number in range(5000)}
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.executescript(str(STEPS[0]) + str(STEPS[1]) + "PRAGMA user_version=2; INSERT INTO layout VALUES (1)")
        connection.executemany("INSERT INTO folded VALUES (?, ?)", rows.items())
        connection.execute("INSERT INTO increments VALUES (?)", (_pack([(("user-00000",), [7])]),))
    connection.close()
    before = read_state(tmp_path / "a.db")
    assert (len(before), before["user-00000",]) == (5000, [7])
    state = FoldState(tmp_path / "a.db", 1, add_each)
    state.close()
    assert read_state(tmp_path / "a.db") == before
