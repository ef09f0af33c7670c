"""Dead letters that were records: kept as they came, shown safely, exported whole, sent again as what they were."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.console import letters as verbs
from actors.console.letters import Filters
from actors.runtime.database import open_database
from actors.runtime.errors import ConfigError
from actors.runtime.framing import RECORDS, Record, envelope_of, records_in
from actors.runtime.values import Chunk, DeadLetter
from actors.sinks.dead_letters import STEPS, DeadLetters, StoredLetter, open_letters
from actors.telemetry.letters import newest
from tests.contract.test_dead_letters import NAME, again, chunks, old_store, plan, rejection, store, stored
from tests.fakes import MemoryLedger

RECORD = Record(71, b"\nfirst\nsecond\n\xff\0", time=1_700_000_000_123, key=b"B00A",
                headers=(("trace", b"1\x1b[2J"), ("none", None)))
GONE = Record(72, None, key=b"B00B")


def letter_of(record: Record, **changes: object) -> DeadLetter:
    """What the checker makes of a record that it rejects."""
    letter = DeadLetter("checker", "stars", "6 of 5", "live/0", "reader.1", 4000 + record.offset, record.offset,
                        record.line, record.value or b"", envelope=envelope_of(record))
    return msgspec.structs.replace(letter, **changes)


LINE = DeadLetter("checker", "stars", "6 of 5", "a.tsv", "reader.1", 9000, 10, 2, b"a line")


def rejected_again(chunk: Chunk, **changes: object) -> DeadLetter:
    """What the checker makes of the record in a chunk of a retry."""
    (record,) = records_in(chunk.data)
    letter = rejection(chunk, raw=record.value or b"")
    return msgspec.structs.replace(letter, envelope=envelope_of(record), **changes)


def test_a_record_is_kept_with_all_that_it_came_with(tmp_path: Path) -> None:
    store(tmp_path, [letter_of(RECORD), letter_of(GONE)])
    assert [row.record for row in stored(tmp_path)] == [RECORD, GONE]
    assert [row.raw for row in stored(tmp_path)] == [RECORD.value, b""]


def test_a_line_is_no_record(tmp_path: Path) -> None:
    store(tmp_path, [LINE])
    assert stored(tmp_path)[0].record is None


def test_several_outputs_of_one_record_are_letters_of_their_own_each_once(tmp_path: Path) -> None:
    outputs = [letter_of(RECORD, output=output) for output in ("", "0", "1", "1")]
    store(tmp_path, outputs, outputs)
    assert [(row.id, row.output, row.record) for row in stored(tmp_path)] == [
        (1, "", RECORD), (2, "0", RECORD), (3, "1", RECORD)]


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_of_an_older_version_keeps_its_letters_and_their_numbers(tmp_path: Path, version: int) -> None:
    old_store(tmp_path / NAME, 3)
    if version == 2:
        _bring_to_version_2(tmp_path / NAME)
    store(tmp_path, [letter_of(RECORD), letter_of(RECORD, output="1")])
    rows = {row.id: row for row in stored(tmp_path)}
    assert [(rows[number].position, rows[number].raw, rows[number].envelope, rows[number].output)
            for number in (1, 3)] == [(4096, b"a\0\xff\n0", b"", ""), (4098, b"a\0\xff\n2", b"", "")]
    first = 8 if version == 2 else 4  # numbers of letters that were purged are not used again
    assert {number: row.record for number, row in rows.items() if number > 3} == {first: RECORD, first + 1: RECORD}


@pytest.mark.parametrize("version", [1, 2])
def test_a_run_that_rejects_nothing_brings_a_store_forward_for_those_who_only_look(
    tmp_path: Path, version: int
) -> None:
    old_store(tmp_path / NAME, 3)
    if version == 2:
        _bring_to_version_2(tmp_path / NAME)
    assert "made by an older version" in newest(tmp_path / NAME)["problem"]
    DeadLetters().open("dead_letters", tmp_path).close()
    assert [letter["id"] for letter in newest(tmp_path / NAME)["letters"]] == [3, 2, 1]


def _bring_to_version_2(path: Path) -> None:
    """As version 2 had it, with a retry that was interrupted, and letters that were purged."""
    with closing(open_database(path, STEPS[:2])) as connection:
        connection.execute("INSERT INTO letters SELECT 7, partition, 1, origin, item, stage, time, reason, detail, "
                           'source, "offset", line, attempts, status, tried, retry, raw FROM letters WHERE id = 3')
        connection.execute("DELETE FROM letters WHERE id = 7")
        connection.execute("INSERT INTO retries VALUES (1, 'key', 0)")
        connection.execute("INSERT INTO planned VALUES (1, 0, 6, 2, 0, NULL)")


def test_a_retry_that_was_planned_by_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    old_store(tmp_path / NAME, 3)
    _bring_to_version_2(tmp_path / NAME)
    with closing(open_letters(tmp_path / NAME)) as connection:
        assert connection.execute("SELECT start, letter, envelope, output, taken FROM planned").fetchall() == [
            (0, 2, b"", "", "")]


# In a retry -------------------------------------------------------------------------------------------------------


def test_a_record_is_sent_again_as_it_came(tmp_path: Path) -> None:
    store(tmp_path, [letter_of(RECORD), letter_of(GONE), letter_of(RECORD, output="1"), LINE])
    sent = chunks(tmp_path, plan(tmp_path, 1, 2, 3, 4), MemoryLedger())
    assert [(chunk.framing, chunk.only, chunk.lines) for chunk in sent] == [
        (RECORDS, "", 0), (RECORDS, "1", 0), (RECORDS, "", 0), ("", "", -1)]
    assert [records_in(chunk.data) for chunk in sent[:3]] == [[RECORD], [RECORD], [GONE]]
    assert [chunk.start - chunk.offset + record.offset for chunk in sent[:3] for record in records_in(chunk.data)] == [
        chunk.start for chunk in sent[:3]], "a letter of the retry begins where its range does"
    assert sent[3].data == b"a line\n"


def test_a_line_that_is_one_output_of_several_is_sent_for_that_alone(tmp_path: Path) -> None:
    store(tmp_path, [msgspec.structs.replace(LINE, output="2")])
    (chunk,) = chunks(tmp_path, plan(tmp_path, 1), MemoryLedger())
    assert (chunk.data, chunk.only, chunk.framing) == (b"a line\n", "2", "")


def test_a_record_that_is_rejected_again_keeps_its_row_however_many_newlines_it_has(tmp_path: Path) -> None:
    store(tmp_path, [letter_of(RECORD)])
    (before,) = stored(tmp_path)
    for attempt in (1, 2):
        made = plan(tmp_path, 1)
        (chunk,) = chunks(tmp_path, made, MemoryLedger())
        for _ in range(2):  # delivered twice, because somebody died
            again(tmp_path, made.retry, rejected_again(chunk))
        (row,) = stored(tmp_path)
        assert row == msgspec.structs.replace(
            before, reason="latitude", detail="still", attempts=attempt, tried=row.tried)
        assert row.record == RECORD


def test_a_record_whose_item_a_sink_refuses_is_an_item_from_then_on_and_sent_as_it_was_by_that_retry(
    tmp_path: Path
) -> None:
    store(tmp_path, [letter_of(RECORD)])
    made = plan(tmp_path, 1)
    (chunk,) = chunks(tmp_path, made, MemoryLedger())
    again(tmp_path, made.retry, rejection(chunk, "writer.store", b"packed\n\n"))
    (row,) = stored(tmp_path)
    assert (row.stage, row.raw, row.record) == ("writer.store", b"packed\n\n", None)
    assert chunks(tmp_path, made, MemoryLedger()) == [chunk]
    again(tmp_path, made.retry, rejection(chunk, "writer.store", b"packed\n\n"))
    assert stored(tmp_path) == [msgspec.structs.replace(row, tried=stored(tmp_path)[0].tried)]


def refused(chunk: Chunk, sink: str, item: int) -> DeadLetter:
    """An item of a chunk's record that a sink refuses."""
    return msgspec.structs.replace(rejection(chunk, f"writer.{sink}", b"%b %d" % (sink.encode(), item)), index=item,
                                   offset=-1, line=-1)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 1, 0, 2, 0, 1)])
def test_of_several_items_that_sinks_refuse_of_one_record_none_takes_the_place_of_another(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    other = msgspec.structs.replace(LINE, stage="writer.b", position=4071, raw=b"another", line=-1, offset=-1)
    store(tmp_path, [letter_of(RECORD), other])  # that one has the place of what is refused of the record
    made = plan(tmp_path, 1)
    (chunk,) = chunks(tmp_path, made, MemoryLedger())
    rejects = [refused(chunk, "a", 0), refused(chunk, "b", 0), refused(chunk, "b", 1)]
    for index in order:
        again(tmp_path, made.retry, rejects[index])
    rows = stored(tmp_path)
    assert sorted((row.stage, row.raw, row.status) for row in rows) == sorted([
        ("writer.a", b"a 0", "open"), ("writer.b", b"b 0", "open"), ("writer.b", b"b 1", "open"),
        ("writer.b", b"another", "open")])
    assert {(row.source, row.offset) for row in rows if row.raw != b"another"} == {("live/0", 71)}
    assert [row.attempts for row in rows if row.id == 1] == [1]


def test_outputs_that_are_rejected_of_a_letter_of_the_whole_record_are_letters_of_their_own(tmp_path: Path) -> None:
    store(tmp_path, [letter_of(RECORD)])
    made = plan(tmp_path, 1)
    (chunk,) = chunks(tmp_path, made, MemoryLedger())
    for output in ("0", "2", "0"):
        again(tmp_path, made.retry, rejected_again(chunk, output=output))
    assert [(row.id, row.output, row.source, row.record) for row in stored(tmp_path)] == [
        (1, "", "live/0", RECORD), (2, "0", "live/0", RECORD), (3, "2", "live/0", RECORD)]
    sent = chunks(tmp_path, plan(tmp_path, 2, 3), MemoryLedger())
    assert [(each.only, records_in(each.data)) for each in sent] == [("0", [RECORD]), ("2", [RECORD])]


def test_one_output_that_is_rejected_again_keeps_its_row_also_when_the_whole_record_is(tmp_path: Path) -> None:
    store(tmp_path, [letter_of(RECORD, output="1")])
    for output in ("1", ""):
        made = plan(tmp_path, 1)
        (chunk,) = chunks(tmp_path, made, MemoryLedger())
        again(tmp_path, made.retry, rejected_again(chunk, output=output))
    (row,) = stored(tmp_path)
    assert (row.id, row.output, row.attempts) == (1, "1", 2), "the other outputs of it are done"


# For people and machines ------------------------------------------------------------------------------------------


def row_of(tmp_path: Path, letter: DeadLetter) -> StoredLetter:
    store(tmp_path, [letter])
    return stored(tmp_path)[-1]


def test_a_machine_is_told_all_of_a_record(tmp_path: Path) -> None:
    fields = msgspec.json.decode(verbs.line(row_of(tmp_path, letter_of(RECORD, output="1")), "jsonl"))
    assert (fields["offset"], fields["line"], fields["output"], fields["encoding"]) == (71, None, "1", "base64")
    assert fields["record"] == {
        "time": 1_700_000_000_123, "key": {"encoding": "utf-8", "value": "B00A"},
        "headers": [{"name": "trace", "encoding": "utf-8", "value": "1\x1b[2J"},
                    {"name": "none", "encoding": None, "value": None}]}


def test_no_value_is_null_and_an_empty_one_is_empty(tmp_path: Path) -> None:
    for folder, record, raw in (("gone", GONE, None), ("empty", Record(1, b""), "")):
        assert verbs.fields(row_of(tmp_path / folder, letter_of(record)))["raw"] == raw


def test_a_line_has_no_record_in_an_export(tmp_path: Path) -> None:
    fields = verbs.fields(row_of(tmp_path, LINE))
    assert (fields["record"], fields["encoding"], fields["raw"], fields["line"]) == (None, "utf-8", "a line", 2)


@pytest.mark.parametrize(("record", "problem"), [
    (RECORD, "a key, headers, a time, a newline, bytes that are no text"), (GONE, "no value"),
    (Record(1, b"x", key=b""), "a key"), (Record(1, b"x", headers=(("a", None),)), "headers"),
    (Record(1, b"x", time=0), "a time"), (Record(1, b"x\ny", 1), "a newline"),
    (Record(1, b"\xff", 1), "bytes that are no text")])
def test_what_a_line_cannot_hold_is_not_exported_as_lines(tmp_path: Path, record: Record, problem: str) -> None:
    store(tmp_path, [LINE, letter_of(record), letter_of(Record(99, b"fits", 1))])
    with closing(open_letters(tmp_path / NAME)) as connection:
        with pytest.raises(ConfigError) as refusal:
            verbs.require_lines(verbs.no_lines(connection, Filters()))
        assert str(refusal.value) == (f"--format raw: letter 2 is more than a line can hold ({problem}): "
                                      "--format jsonl keeps all of it")
        verbs.require_lines(verbs.no_lines(connection, Filters(ids=[1, 3])))


def test_one_output_of_a_line_is_not_exported_as_that_line(tmp_path: Path) -> None:
    store(tmp_path, [msgspec.structs.replace(LINE, output="1")])
    with closing(open_letters(tmp_path / NAME)) as connection, pytest.raises(
            ConfigError, match=r"letter 1 is more than a line can hold \(one output of its record\)"):
        verbs.require_lines(verbs.no_lines(connection, Filters()))
