"""The rows of Parquet files and of their journal, looked at while files are made, after a kill, and without some."""

from __future__ import annotations

import datetime
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.stored import NothingStored
from actors.runtime.values import Payload
from actors.sinks.parquet import Parquet
from actors.sinks.parquet_places import unfinished_of
from tests.contract.test_csv import killed
from tests.contract.test_readers_of_rows import KINDS, MOMENT_MS

pytest.importorskip("pyarrow")
NUMBERS = Parquet(columns={"number": "integer"}, roll_s=0)


def batch(options: Parquet, items: list[Any], start: int) -> Payload:
    return Payload("p", start, start + 1, len(items), options.pack(items))


def numbered(first: int, count: int = 10) -> Payload:
    return batch(NUMBERS, [(number,) for number in range(first, first + count)], first)


def read(folder: Path, options: Parquet = NUMBERS) -> list[dict[str, Any]]:
    with closing(options.reader("out", folder)) as reader:
        return list(reader.rows())


def numbers(rows: Any) -> list[int]:
    return [row["number"] for row in rows]


def test_a_row_comes_back_as_it_was_given_with_times_in_ms_out_of_the_journal_and_out_of_a_file(tmp_path: Path) -> None:
    options = Parquet(columns={**KINDS, **{f"{name}_": f"{kind}?" for name, kind in KINDS.items()}}, roll_s=0)
    noon = datetime.datetime(2026, 5, 1, 12, 0, 0, 999, tzinfo=datetime.UTC)
    first = (2**63 - 1, "ä'\"%s:x", -1.5, noon, {"a": [1, None, "ü"]}, True, bytes(range(256)))
    second: tuple[Any, ...] = (-(2**63), "", 7.0, MOMENT_MS, [], False, b"")
    expected = [(*first[:3], int(noon.timestamp() * 1000), *first[4:], *second), (*second, *(None,) * 7)]
    with closing(options.open("out", tmp_path)) as sink:
        assert read(tmp_path, options) == []
        sink.write([batch(options, [(*first, *second), (*second, *(None,) * 7)], 0)])
        assert [tuple(row.values()) for row in read(tmp_path, options)] == expected
        sink.end()
        assert [tuple(row.values()) for row in read(tmp_path, options)] == expected
    assert list(read(tmp_path, options)[0]) == list(options.columns)


@pytest.mark.parametrize("given", [0, 1, 10, 15, 30])
def test_a_file_that_is_made_of_the_journal_while_that_is_read_has_each_row_once(tmp_path: Path, given: int) -> None:
    with closing(NUMBERS.open("out", tmp_path)) as sink, closing(NUMBERS.reader("out", tmp_path)) as reader:
        sink.write([numbered(0)])
        sink.end()
        sink.write([numbered(10), numbered(20)])
        rows = reader.rows()
        found = numbers(islice(rows, given))
        sink.end()
        sink.write([numbered(30)])  # it lies where those were that were read
        assert found + numbers(rows) == list(range(40))


def test_what_a_kill_leaves_at_any_step_and_what_was_taken_away_is_told_apart(tmp_path: Path) -> None:
    sink: Any = NUMBERS.open("out", tmp_path)
    for first in (0, 10, 20):
        sink.write([numbered(first)])
        sink.end()
    sink.write([numbered(30)])
    folder = tmp_path / "out.parquet"
    with (folder / ".out.journal").open("ab") as journal:
        journal.write(b"half of a message")
    killed(sink)
    assert numbers(read(tmp_path)) == list(range(40))
    *_, second, third = sorted(folder.glob("part-*"))
    third.rename(unfinished_of(third))  # the manifest counts it, and it has not got its name yet
    second.unlink()
    before = sorted(path.name for path in folder.iterdir())
    assert numbers(read(tmp_path)) == [*range(10), *range(20, 40)]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_other_columns_than_those_of_now_are_read_as_they_were(tmp_path: Path) -> None:
    with closing(NUMBERS.open("out", tmp_path)) as sink:
        sink.write([numbered(0, 2)])
    other = Parquet(columns={"text": "text"}, roll_s=0)
    assert read(tmp_path, other) == [{"number": 0}, {"number": 1}]
    with closing(other.open("out", tmp_path)) as sink:
        sink.write([batch(other, [("a",)], 9)])
    assert read(tmp_path, other) == [{"number": 0}, {"number": 1}, {"text": "a"}]


def test_where_nothing_was_written_that_is_said_and_what_is_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingStored, match=r"out\.parquet: nothing was written there"):
        read(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with closing(NUMBERS.open("out", tmp_path)) as sink:
        sink.write([numbered(0)])
        sink.end()
        sink.write([numbered(10)])
    folder = tmp_path / "out.parquet"
    rows = NUMBERS.reader("out", tmp_path).rows()
    next(rows)
    whole = {path: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("manifest")}
    for path, data in whole.items():
        path.write_bytes(b"\xff" * len(data))
        with pytest.raises(ConfigError, match=r"out\.parquet: expected what this sink writes, got something else"):
            read(tmp_path)
        path.write_bytes(data)
    NUMBERS.clear("out", tmp_path)
    with closing(NUMBERS.open("out", tmp_path)), pytest.raises(Retryable, match="it was begun anew while it was read"):
        list(rows)
