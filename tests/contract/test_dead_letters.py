"""What is special to the dead-letter store: letters known by where they came from, kept as they were."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.runtime.errors import ConfigError
from actors.runtime.ports import DeadLetter
from actors.sinks.dead_letters import DeadLetters, StoredLetter, read_letters
from tests.contract.test_sinks import payload

NAME = "dead-letters.db"
LETTER = DeadLetter("parser", "columns", "expected 5, got 4", "logs/a.tsv", "reader.1", 4096, 1024, 17, b"a\tb", 3)


def store(state: Path, *groups: list[DeadLetter]) -> None:
    """Write a payload for each list of letters, in one call."""
    options = DeadLetters()
    with closing(options.open("dead_letters", state)) as sink:
        assert sink.write([payload(options, group) for group in groups]) == []


def stored(state: Path) -> list[StoredLetter]:
    """All rows."""
    return list(read_letters(state / NAME))


def test_all_that_is_known_of_a_letter_is_kept(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    (row,) = stored(tmp_path)
    assert row == StoredLetter(
        "reader.1", 4096, "parser", 3, row.time, "columns", "expected 5, got 4", "logs/a.tsv", 1024, 17, b"a\tb",
        0, "open")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row.time)


@pytest.mark.parametrize("raw", [b"", b"\0", b"\xff\xfe\0\r\n", bytes(range(256)), b"\xf0\0" * 25_000_000],
                         ids=["empty", "nul", "not utf-8", "every byte", "50 MB"])
def test_the_raw_bytes_come_back_as_they_were(tmp_path: Path, raw: bytes) -> None:
    store(tmp_path, [msgspec.structs.replace(LETTER, raw=raw)])
    assert stored(tmp_path)[0].raw == raw


def test_a_letter_that_comes_again_makes_no_second_row_and_keeps_its_history(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE letters SET time = '2001-02-03T04:05:06Z', attempts = 2, status = 'retried'")
    store(tmp_path, [LETTER, msgspec.structs.replace(LETTER, reason="latitude")])
    (row,) = stored(tmp_path)
    assert (row.time, row.attempts, row.status, row.reason) == ("2001-02-03T04:05:06Z", 2, "retried", "latitude")


@pytest.mark.parametrize(
    "change", [{"partition": "reader.2"}, {"position": 4097}, {"stage": "writer.idfa"}, {"index": 4}])
def test_letters_from_different_places_are_different_letters(tmp_path: Path, change: dict[str, str | int]) -> None:
    store(tmp_path, [LETTER], [msgspec.structs.replace(LETTER, **change)])
    assert len(stored(tmp_path)) == 2


def test_letters_are_read_in_order_of_their_positions(tmp_path: Path) -> None:
    letters = [msgspec.structs.replace(LETTER, position=position) for position in (7, 300, 2, 41)]
    store(tmp_path, letters[:2], letters[2:])
    assert [row.position for row in stored(tmp_path)] == [2, 7, 41, 300]


def test_letters_are_read_while_others_are_written(tmp_path: Path) -> None:
    letters = [msgspec.structs.replace(LETTER, position=position) for position in range(2000)]
    options = DeadLetters()
    with closing(options.open("dead_letters", tmp_path)) as sink:
        sink.write([payload(options, letters[:1000])])
        reading = read_letters(tmp_path / NAME)
        seen = [next(reading).position]
        sink.write([payload(options, letters[1000:])])
        seen += [row.position for row in reading]
        assert seen == list(range(1000))
        assert len(stored(tmp_path)) == 2000


def test_a_store_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("PRAGMA user_version = 1000")
    with pytest.raises(ConfigError, match=rf"{NAME}: made by a newer version of Thresher \(schema 1000, "):
        store(tmp_path, [msgspec.structs.replace(LETTER, position=1)])
    assert len(stored(tmp_path)) == 1


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_where_no_store_is_none_is_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        stored(tmp_path)
    assert list(tmp_path.iterdir()) == []
