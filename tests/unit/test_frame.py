"""A run on screens of several sizes."""

from __future__ import annotations

from typing import Any

import pytest

from actors.console.frame import frame, learnt, number, plain, span
from actors.telemetry.flow import flow_between
from actors.telemetry.model import Happening, Lag, PartitionLag, Status
from tests.looks import actor, look, manifest

SINKS = ("idfa", "a-sink-with-a-rather-long-name")


def status(**facts: Any) -> Status:
    """A run in which a writer is the limit and a parser was restarted."""
    names = ["monitor.1", "writer.dead_letters", *(f"writer.{sink}" for sink in SINKS)]
    before = look(0.0, *map(actor, names), actor("parser.1"), actor("reader.1", bytes_done=1, bytes_total=100))
    values = {"outcomes": {"read": 1_234_567, "written": 1_234_000, "written.idfa": 1_000_000,
                           "written.a-sink-with-a-rather-long-name": 234_000, "dead_lettered": 567,
                           "rejected.columns": 500, "rejected.late": 67},
              "deaths": {"signal SIGKILL": 1, "timeout": 2},
              "happenings": [Happening(at=1000.0 + index, kind="died", fields={},
                                       text=f"happening {index} " + "x" * 100) for index in range(20)], **facts}
    writers = [actor(f"writer.{sink}", records=123_456, batches=50, busy_s=1.9 if sink == "idfa" else 0.2, queued=7,
                     waiting_s=3.25) for sink in SINKS]
    after = look(2.0, actor("monitor.1"), actor("writer.dead_letters"), *writers,
                 actor("parser.1", records=240_000, batches=100, restarts=2, cpu_s=1.0, rss_bytes=50_000_000),
                 actor("reader.1", records=240_000, bytes_done=41, bytes_total=100), **values)
    return Status(snapshot=after, flow=flow_between(before, after, manifest(sinks=SINKS), 4))


def row(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line[2:].startswith(name + " ")]
    return line


def test_a_wide_screen_has_every_column() -> None:
    text = plain(frame(status(), 130))
    assert text.splitlines()[:2] == ["test: running for 2.0 s, ready", "120,000 records/s, 41 % of the input read, "
                                     "3.0 s left"]
    assert row(text, "stage").split() == [
        "stage", "n", "records/s", "batches/s", "busy", "waits", "backlog", "oldest", "CPU", "RSS", "restarts"]
    assert row(text, "parser").split() == [
        "parser", "1", "120,000", "50", "0", "%", "0", "%", "0", "-", "50", "%", "50", "MB", "2"]
    assert "monitor" not in text


@pytest.mark.parametrize(("record_s", "records", "said"), [
    (0.02, 10, "a record takes 20 ms of work, 10 or fewer in a batch"),
    (1.5, 1, "a record takes 1.5 s of work, one in a batch"),
    (3.4567e-6, 57_000, "a record takes 3.46 µs of work, 57,000 or fewer in a batch"),
    (2e-9, 0, "a record takes 2 ns of work, any number in a batch"),
])
def test_what_was_learnt_of_the_work_in_a_record_is_shown(record_s: float, records: int, said: str) -> None:
    assert learnt(record_s, records) == said
    before = look(0.0, actor("reader.1"))
    after = look(2.0, actor("reader.1", record_s=record_s, batch_records=records))
    text = plain(frame(Status(snapshot=after, flow=flow_between(before, after, manifest(), 4)), 200))
    assert text.splitlines()[1] == f"0 records/s, {said}"


@pytest.mark.parametrize(("records", "partitions", "age_s", "worst", "said"), [
    (0, 1, 0.2, [("t/0", 0)], "lag: none in 1 partition"),
    (7, 2, 0.2, [("t/1", 7), ("t/0", 0)], "lag: 7 records in 2 partitions; worst t/1 7"),
    (1_000_010, 1000, 0.2, [("t/7", 1_000_000), ("t/8", 4), ("t/1", 3), ("t/2", 3)],
     "lag: 1,000,010 records in 1,000 partitions; worst t/7 1,000,000, t/8 4, t/1 3, …"),
    (0, 3, 90.0, [("t/0", 0)], "lag: unknown for 90 s; before, none in 3 partitions"),
])
def test_how_far_it_is_behind_its_source_is_shown_with_the_worst_partitions_and_its_age_when_it_is_old(
    records: int, partitions: int, age_s: float, worst: list[tuple[str, int]], said: str
) -> None:
    lag = Lag(records=records, partitions=partitions, age_s=age_s, worst=[PartitionLag(*each) for each in worst])
    assert said in plain(frame(status(lag=lag), 200)).splitlines()
    assert max(len(text) for text, _ in frame(status(lag=lag), 40)) <= 40


def test_without_a_lag_nothing_is_said_of_it() -> None:
    assert "lag" not in plain(frame(status(), 130))


def test_the_limit_is_marked_and_named() -> None:
    lines = frame(status(), 130)
    ((text, style),) = [line for line in lines if line[0].startswith(">")]
    assert text.split()[:2] == [">", "writer.idfa"]
    assert "yellow" in style
    assert "bottleneck: writer.idfa is busy 95 %: its server is the limit, or its disk" in plain(lines)


def test_what_became_of_the_records_is_shown_by_sink_and_by_reason() -> None:
    text = plain(frame(status(), 130))
    assert "so far: read 1,234,567, written 1,234,000, dead-lettered 567\n" in text
    assert "written: a-sink-with-a-rather-long-name 234,000, idfa 1,000,000\n" in text
    assert "rejected: columns 500, late 67\n" in text
    assert "deaths: signal SIGKILL 1, timeout 2\n" in text


@pytest.mark.parametrize("width", [130, 100, 80, 60, 40, 24, 5])
def test_no_line_is_wider_than_the_screen_and_the_stages_are_there(width: int) -> None:
    lines = frame(status(), width)
    assert max(len(text) for text, _ in lines) <= max(width, 24)
    if width >= 40:
        assert row(plain(lines), "parser")


def test_at_eighty_columns_the_sentence_is_whole_and_all_that_matters_is_there() -> None:
    text = plain(frame(status(), 80))
    assert "its server is the limit" in text.replace("\n  ", " ")
    assert {"records/s", "busy", "backlog"} <= set(row(text, "stage").split())


@pytest.mark.parametrize("height", [50, 24, 20, 12, 5])
def test_no_frame_is_higher_than_the_screen(height: int) -> None:
    assert len(frame(status(), 100, height)) <= max(10, height)


def test_of_the_happenings_there_are_as_many_as_fit_and_the_last_ones() -> None:
    lines = frame(status(), 100, 24)
    assert "happening 19" in lines[-1][0]
    assert lines[-1][0].endswith("..")


def test_a_run_that_is_not_ready_says_why() -> None:
    text = plain(frame(status(not_ready=["writer.idfa waits: memcached 127.0.0.1:1: connection refused"]), 100))
    assert text.startswith("test: running for 2.0 s\nnot ready: writer.idfa waits: memcached 127.0.0.1:1: connection")


def test_a_run_of_which_nothing_is_known_yet_is_shown_all_the_same() -> None:
    only = look(0.0, mode="", started=0.0)
    found = Status(snapshot=only, flow=flow_between(only, only, manifest(), 4))
    assert "bottleneck: the run is starting" in plain(frame(found, 80))


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0"), (0.25, "0.2"), (12.4, "12"), (9_999_999.0, "9,999,999"), (123_456_789_000.0, "123,457M"),
])
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0.04, "0.0 s"), (9.94, "9.9 s"), (59.0, "59 s"), (150.0, "2 min 30 s"), (7500.0, "2 h 05 min"),
])
def test_lengths_of_time_are_short(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_what_a_server_or_a_record_says_cannot_write_to_the_screen_by_itself() -> None:
    said = Happening(at=1000.0, kind="outage", fields={}, text="writer.idfa waits: \x1b[2J\x07no\r\nsecond line")
    lines = frame(status(happenings=[said], not_ready=["a waits: \x1b[31mred"], deaths={"\x9b1mhow": 1},
                         outcomes={"read": 1, "rejected.\x1b]0;title\x07": 1, "rejected.x": 1}), 130, 40)
    assert all(text.isprintable() for text, _ in lines)
    assert lines[-1][0].endswith(r"waits: \x1b[2J\x07no second line")
