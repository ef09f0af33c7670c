"""What is special to the dead-letter store: letters known by where they came from, kept as they were."""

from __future__ import annotations

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.console.letters import Filters, purge, shrink
from actors.console.retry_plan import Plan, make_plan, settle, unfinished
from actors.runtime import framing, poison
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.ledger import Ledger
from actors.runtime.values import Chunk, DeadLetter
from actors.sinks.dead_letters import DeadLetters, StoredLetter, open_letters, read_letters, used_bytes
from actors.sinks.returned import Returned
from actors.sources.dead_letters import PlannedLetters
from tests.contract.test_sinks import payload
from tests.fakes import MemoryLedger

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
        1, "reader.1", 4096, "parser", 3, "parser", row.time, "columns", "expected 5, got 4", "logs/a.tsv", 1024, 17,
        0, "open", "", b"a\tb")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row.time)


@pytest.mark.parametrize("raw", [b"", b"\0", b"\xff\xfe\0\r\n", bytes(range(256)), b"\xf0\0" * 25_000_000],
                         ids=["empty", "nul", "not utf-8", "every byte", "50 MB"])
def test_the_raw_bytes_come_back_as_they_were(tmp_path: Path, raw: bytes) -> None:
    store(tmp_path, [msgspec.structs.replace(LETTER, raw=raw)])
    assert stored(tmp_path)[0].raw == raw


def test_a_letter_that_comes_again_makes_no_second_row(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    store(tmp_path, [LETTER, msgspec.structs.replace(LETTER, reason="latitude")])
    (row,) = stored(tmp_path)
    assert (row.id, row.attempts, row.status, row.reason) == (1, 0, "open", "latitude")


def test_a_letter_that_was_retried_keeps_its_history_when_it_comes_again(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE letters SET time = '2001-02-03T04:05:06Z', attempts = 2, status = 'retried'")
    (before,) = stored(tmp_path)
    store(tmp_path, [msgspec.structs.replace(LETTER, reason="latitude", raw=b"other")])
    assert stored(tmp_path) == [before]


def test_numbers_of_letters_are_not_used_again_after_a_purge(tmp_path: Path) -> None:
    store(tmp_path, [LETTER, msgspec.structs.replace(LETTER, position=1)])
    with closing(open_letters(tmp_path / NAME)) as connection:
        purge(connection, Filters(), [1, 2])
        shrink(tmp_path / NAME, connection)
    store(tmp_path, [LETTER])
    assert [row.id for row in stored(tmp_path)] == [3]


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


def test_a_store_of_a_newer_version_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("PRAGMA user_version = 1000")
    with pytest.raises(ConfigError, match=rf"{NAME}: made by a newer version of Thresher \(schema 1000, expected at "):
        DeadLetters().open("dead_letters", tmp_path)
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("PRAGMA user_version = 3")
    assert len(stored(tmp_path)) == 1


def old_store(path: Path, letters: int) -> None:
    """A store as version 1 made it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("""
            PRAGMA journal_mode=WAL;
            CREATE TABLE letters (
                partition TEXT NOT NULL, position INTEGER NOT NULL, stage TEXT NOT NULL, item INTEGER NOT NULL,
                time TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, source TEXT NOT NULL,
                "offset" INTEGER NOT NULL, line INTEGER NOT NULL, raw BLOB NOT NULL,
                attempts INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT 'open',
                PRIMARY KEY (partition, position, stage, item));
            CREATE INDEX letters_by_reason ON letters (reason, status);
            PRAGMA user_version=1;""")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO letters VALUES ('reader.1', ?, 'parser', 3, 'then', 'columns', 'why', 'logs/a.tsv', 1024, 17, "
            "?, 0, 'open')", [(4096 + number, b"a\0\xff\n%d" % number) for number in range(letters)])
        connection.execute("COMMIT")


def test_a_store_of_version_1_is_upgraded_in_place_by_the_first_letter(tmp_path: Path) -> None:
    old_store(tmp_path / NAME, 3)
    store(tmp_path, [LETTER, msgspec.structs.replace(LETTER, position=1)])
    rows = stored(tmp_path)
    assert [(row.id, row.position, row.reason, row.time == "then", row.raw) for row in rows] == [
        (rows[0].id, 1, "columns", False, b"a\tb"), (1, 4096, "columns", True, b"a\tb"),
        (2, 4097, "columns", True, b"a\0\xff\n1"), (3, 4098, "columns", True, b"a\0\xff\n2")]
    assert {(row.origin, row.stage, row.tried, row.attempts) for row in rows} == {("parser", "parser", "", 0)}


def test_a_store_of_version_1_is_upgraded_by_whoever_looks_at_it_also_by_several(tmp_path: Path) -> None:
    old_store(tmp_path / NAME, 2000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: len(stored(tmp_path)), range(8)))
    assert found == [2000] * 8


def test_an_upgrade_that_was_interrupted_begins_anew(tmp_path: Path) -> None:
    old_store(tmp_path / NAME, 2)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # as far as a process came that was killed
        connection.execute("ALTER TABLE letters RENAME TO old_letters")
    assert len(stored(tmp_path)) == 2


# A full store -----------------------------------------------------------------------------------------------------


def test_a_full_store_takes_nothing_says_what_to_do_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    options = DeadLetters(max_bytes=1 << 20)
    big = [msgspec.structs.replace(LETTER, position=position, raw=b"x" * 400_000) for position in range(4)]
    with closing(options.open("dead_letters", tmp_path)) as sink:
        assert sink.write([payload(options, big[:3])]) == []
        for _ in range(2):
            with pytest.raises(Retryable, match=(
                    r"^dead letters are full \(dead_letters\.max_bytes = 1048576\): export and purge them "
                    r"\(`thresher dlq`\), or stop and raise dead_letters\.max_bytes: /")):
                sink.write([payload(options, big[3:])])
        assert len(stored(tmp_path)) == 3
        with closing(open_letters(tmp_path / NAME)) as connection:
            assert used_bytes(connection) > 1_200_000
            assert purge(connection, Filters(ids=[1, 2]), [1, 2]) == 2
            assert used_bytes(connection) < 500_000
            freed, problem = shrink(tmp_path / NAME, connection)
        assert (problem, freed > 800_000) == ("", True)
        assert (tmp_path / NAME).stat().st_size < 500_000
        assert sink.write([payload(options, big[3:])]) == []
    assert [row.position for row in stored(tmp_path)] == [2, 3]


def test_without_a_limit_it_is_never_full(tmp_path: Path) -> None:
    options = DeadLetters(max_bytes=0)
    with closing(options.open("dead_letters", tmp_path)) as sink:
        for position in range(3):
            assert sink.write([payload(options, [
                msgspec.structs.replace(LETTER, position=position, raw=b"x" * 1_000_000)])]) == []


def test_a_limit_that_an_empty_store_would_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes: expected 0 or at least 1048576, got 4096"):
        DeadLetters(max_bytes=4096)


# In a retry -------------------------------------------------------------------------------------------------------


def again(state: Path, retry: int, *letters: DeadLetter) -> None:
    """Write letters as a retry rejects them."""
    options = Returned(retry=retry)
    with closing(options.open("dead_letters", state)) as sink:
        assert sink.write([payload(options, list(letters))]) == []


def plan(state: Path, *numbers: int) -> Plan:
    """Plan a retry of these letters."""
    with closing(open_letters(state / NAME)) as connection:
        made = make_plan(connection, numbers, only_missing=False)
    assert made is not None
    return made


def chunks(state: Path, made: Plan, ledger: MemoryLedger) -> list[Chunk]:
    """What the source of this retry reads, to its end."""
    options = PlannedLetters(path=str(state / NAME), retry=made.retry, key=made.key, total=made.total)
    source = options.open(ledger, 1, state)
    with closing(source):
        return list(iter(source.read, None))


def rejection(chunk: Chunk, stage: str = "checker", raw: bytes = b"a\tb") -> DeadLetter:
    """A letter that a stage makes of the first record of a chunk of a retry."""
    return DeadLetter(stage, "latitude", "still", chunk.source, "p", chunk.start, chunk.offset, chunk.line, raw)


def test_a_letter_that_is_rejected_again_keeps_its_row_its_place_and_counts_one_attempt_a_retry(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    (before,) = stored(tmp_path)
    for attempt in (1, 2):
        made = plan(tmp_path, 1)
        (chunk,) = chunks(tmp_path, made, MemoryLedger())
        for _ in range(2):  # delivered twice, because somebody died
            again(tmp_path, made.retry, rejection(chunk))
        (row,) = stored(tmp_path)
        assert row == msgspec.structs.replace(
            before, stage="checker", reason="latitude", detail="still", attempts=attempt, tried=row.tried)
        assert row.tried


def test_a_line_that_a_sink_refuses_in_a_retry_is_sent_again_as_a_line_when_that_retry_is_taken_up(
    tmp_path: Path
) -> None:
    store(tmp_path, [LETTER])
    made = plan(tmp_path, 1)
    (chunk,) = chunks(tmp_path, made, MemoryLedger())
    assert chunk.data == b"a\tb\n"
    again(tmp_path, made.retry, rejection(chunk, "writer.idfa", b"packed"))
    assert [(row.stage, row.raw) for row in stored(tmp_path)] == [("writer.idfa", b"packed")]
    assert chunks(tmp_path, made, MemoryLedger()) == [chunk]


def test_the_bad_records_of_a_piece_of_input_become_letters_of_their_own(tmp_path: Path) -> None:
    piece = msgspec.structs.replace(LETTER, stage="reader", raw=b"good\nbad 1\nbad\0\xff2", index=0)
    store(tmp_path, [piece])
    made = plan(tmp_path, 1)
    (chunk,) = chunks(tmp_path, made, MemoryLedger())
    assert (chunk.data, chunk.offset, chunk.line) == (piece.raw, 1024, 17)
    bad = [msgspec.structs.replace(rejection(chunk, "parser", raw), offset=1024 + offset, line=line)
           for raw, offset, line in ((b"bad 1", 5, 18), (b"bad\0\xff2", 11, 19))]
    for _ in range(2):
        again(tmp_path, made.retry, *bad)
    assert [(row.id, row.position, row.offset, row.line, row.source, row.raw) for row in stored(tmp_path)] == [
        (1, 4096, 1024, 17, "logs/a.tsv", piece.raw), (2, 4101, 1029, 18, "logs/a.tsv", b"bad 1"),
        (3, 4107, 1035, 19, "logs/a.tsv", b"bad\0\xff2")]


def test_letters_go_in_in_source_order_and_the_other_way_round_to_keep_what_is_there(tmp_path: Path) -> None:
    later = [msgspec.structs.replace(LETTER, partition="a later run", position=position) for position in (5, 3)]
    store(tmp_path, [LETTER, msgspec.structs.replace(LETTER, position=7)])
    store(tmp_path, later)
    assert [chunk.source for chunk in chunks(tmp_path, plan(tmp_path, 1, 2, 3, 4), MemoryLedger())] == [
        f"dead letter {number}" for number in (2, 1, 4, 3)]
    with closing(open_letters(tmp_path / NAME)) as connection:
        connection.execute("DELETE FROM planned")
        made = make_plan(connection, [1, 2, 3, 4], only_missing=True)
    assert made is not None
    assert [chunk.source for chunk in chunks(tmp_path, made, MemoryLedger())] == [
        f"dead letter {number}" for number in (3, 4, 1, 2)]


def test_a_source_that_is_opened_again_goes_on_where_the_ledger_says_with_the_same_ranges(tmp_path: Path) -> None:
    store(tmp_path, [msgspec.structs.replace(LETTER, position=position) for position in range(6)])
    made, ledger = plan(tmp_path, 1, 2, 3, 4, 5, 6), MemoryLedger()
    whole = chunks(tmp_path, made, ledger)
    assert [chunk.end for chunk in whole] == [chunk.start + 4 for chunk in whole]
    for chunk in whole[:2]:
        ledger.close(chunk, {})
    assert chunks(tmp_path, made, ledger.reopened()) == whole[2:]


def test_a_planned_letter_that_was_purged_leaves_an_empty_range(tmp_path: Path) -> None:
    store(tmp_path, [msgspec.structs.replace(LETTER, position=position) for position in range(3)])
    made = plan(tmp_path, 1, 2, 3)
    with closing(open_letters(tmp_path / NAME)) as connection:
        purge(connection, Filters(), [2])
    first, gone, last = chunks(tmp_path, made, MemoryLedger())
    assert gone.data == b""
    assert first.end == gone.start < gone.end == last.start
    again(tmp_path, made.retry, rejection(gone))
    assert [row.id for row in stored(tmp_path)] == [1, 3]


def test_a_letter_of_several_lines_that_was_split_goes_on_in_its_halves_after_a_restart(tmp_path: Path) -> None:
    store(tmp_path, [msgspec.structs.replace(LETTER, position=1, raw=b"a\nb\nc\nd"), LETTER])
    made = plan(tmp_path, 1, 2)
    options = PlannedLetters(path=str(tmp_path / NAME), retry=made.retry, key=made.key, total=made.total)
    ledger = Ledger(tmp_path / "positions.db", "run")
    with closing(options.open(ledger, 1, tmp_path)) as source:
        whole = source.read()
        assert whole is not None
        ledger.issue(whole)
        halves = framing.split(whole)
        ledger.issued.blamed([(half, poison.Blame(2)) for half in halves])
        ledger.close(halves[0], {})
    ledger.close_file()
    again = Ledger(tmp_path / "positions.db", "run")
    with closing(options.open(again, 1, tmp_path)) as source:
        half, last = iter(source.read, None)
    again.close_file()
    assert half == halves[1]
    assert (half.data, half.line) == (b"b\nc\nd", LETTER.line + 1)
    assert last.start == whole.end


def test_settling_marks_what_the_ledger_knows_to_be_done_and_nothing_else(tmp_path: Path) -> None:
    store(tmp_path, [msgspec.structs.replace(LETTER, position=position) for position in range(4)])
    made = plan(tmp_path, 1, 2, 3, 4)
    ledger = Ledger(tmp_path / "positions.db", "run")
    all_of_it = PlannedLetters(path=str(tmp_path / NAME), retry=made.retry, key=made.key, total=made.total)
    source = all_of_it.open(ledger, 1, tmp_path)
    with closing(source):
        first, second, third = (source.read() for _ in range(3))
    assert first and second and third
    again(tmp_path, made.retry, rejection(first), rejection(third))
    ledger.close(first, {})
    ledger.close(second, {})
    ledger.commit()
    with closing(open_letters(tmp_path / NAME)) as connection:
        for _ in range(2):
            settle(connection, tmp_path)
            left = unfinished(connection)
    assert left == msgspec.structs.replace(made, left=2)
    assert [(row.id, row.status, row.attempts) for row in stored(tmp_path)] == [
        (1, "open", 1), (2, "retried", 1), (3, "open", 1), (4, "open", 0)]
    ledger.close_file()


def test_a_ledger_that_knows_nothing_of_a_retry_settles_nothing(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    made = plan(tmp_path, 1)
    Ledger(tmp_path / "positions.db", "run").close_file()
    with closing(open_letters(tmp_path / NAME)) as connection:
        settle(connection, tmp_path)
        assert unfinished(connection) == made


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    store(tmp_path, [LETTER])
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_where_no_store_is_none_is_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        stored(tmp_path)
    assert list(tmp_path.iterdir()) == []
