"""The report and the status of a state directory whose run ended in any way, or has not ended; progress figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.console import report, report_text, status
from actors.console.history import FILE, Recorder, read_record
from actors.console.progress import QuietObserver, Rates
from actors.runtime import deaths
from actors.runtime.board import create_board
from actors.runtime.events import (
    DONE,
    FAILED,
    OVER_BUDGET,
    RESUMABLE,
    ActorDied,
    ActorView,
    RunResult,
    RunStarted,
)
from actors.runtime.ledger import Ledger
from actors.runtime.rundir import BOARD, RunDirectory
from actors.runtime.settling import settle
from actors.runtime.values import HANDED_OVER, SOURCE_LOST, Chunk, Unit
from actors.settings import Settings, load
from actors.telemetry.readiness import not_ready

RUN = "run-1"
COUNTS = {"read": 10, "written": 9, "dead_lettered": 1, "rejected.columns": 1}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load("appsinstalled", environ={}, state=str(tmp_path))


def _ledger(state: Path, *units: str) -> None:
    """Leave a ledger with one unit of each status."""
    ledger = Ledger(state / "positions.db", RUN)
    for index, how in enumerate(units):
        name, (wanted, _, problem) = f"logs/{index}", how.partition(":")
        if wanted == "broken":
            ledger.broken(name, problem)
            continue
        unit = ledger.begin(name, str(index))
        end = unit.base + 100
        ledger.close(_chunk(unit, end, problem), COUNTS)
        if wanted != "reading":
            ledger.end(unit, end)
        ledger.settle(unit, wanted)
    ledger.close_file()


def _chunk(unit: Unit, end: int, problem: str) -> Chunk:
    return Chunk(unit.id, unit.name, unit.base, end, 0, 1, b"x\n", "fault" if problem else "", problem)


def _started(state: Path) -> Recorder:
    recorder = Recorder(state, QuietObserver())
    recorder.event(RunStarted(RUN, "appsinstalled", str(state), 9))
    return recorder


def _ended(state: Path, code: int, reason: str) -> None:
    _started(state).ended(RunResult(code, reason, 2.0, 0.1, {"writer.idfa": "refused"} if code == RESUMABLE else {}))


def _report(settings: Settings) -> report.Report:
    return report.build(settings.manifest, settings.pipeline, None, None)


def test_what_was_read_and_is_not_finished_is_told_beside_what_is_counted(tmp_path: Path, settings: Settings) -> None:
    _ledger(tmp_path, "reading", "done")
    ledger = Ledger(tmp_path / "positions.db", RUN)
    unit = ledger.begin("logs/0", "0")
    for start in (unit.low, unit.low + 10):
        ledger.issue(Chunk(unit.id, unit.name, start, start + 10, 0, 1, b"x\n"))
    ledger.flush()
    ledger.close_file()
    _ended(tmp_path, RESUMABLE, "writer.idfa: refused, for more than 1 s")
    found = _report(settings)
    assert [unit.under_way for unit in found.units] == [2, 0]
    told = report_text.render(found)
    assert "  under way: 2 batches more, read and not finished\n" in told
    assert "finished 20 records in 2.0 s (10 records/s): 18 written, 2 dead-lettered; 2 batches more were read" in told


# The report -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("units", "code", "reason"), [
    (["done", "done"], DONE, "all input is loaded"),
    (["done", "reading"], RESUMABLE, "1 of 2 files are not finished, the first is logs/1"),
    (["loaded", "reading"], RESUMABLE, "2 of 2 files are not finished, the first is logs/0"),
    (["done", "failed"], OVER_BUDGET, "1 of 2 files had too many errors, the first is logs/1"),
    (["failed", "reading"], RESUMABLE, "1 of 2 files are not finished, the first is logs/1"),
    (["reading", "broken:no such file"], FAILED,
     "1 of 2 files could not be read or put away, the first is logs/1"),
])
def test_without_a_record_the_report_goes_by_the_files(
    tmp_path: Path, settings: Settings, units: list[str], code: int, reason: str
) -> None:
    _ledger(tmp_path, *units)
    built = _report(settings)
    assert (built.code, built.reason) == (code, reason)


@pytest.mark.parametrize(("unit", "verdict"), [
    ("done", "acceptable error rate, successful load"),
    ("loaded", "acceptable error rate, successful load; not put away yet: run again to finish"),
    ("reading", "not finished: kept its name, run again to resume"),
    ("failed", "high error rate, failed load"),
    ("broken:no such file", "could not be read: no such file"),
])
def test_each_file_gets_its_verdict(tmp_path: Path, settings: Settings, unit: str, verdict: str) -> None:
    _ledger(tmp_path, unit)
    built = _report(settings)
    assert built.units[0].verdict == verdict
    assert f"\n  {verdict}\n" in report_text.render(built)


@pytest.mark.parametrize(("address", "noun"), [
    ("topic:///t/words", "partitions"), ("kafka://127.0.0.1:9092/words", "partitions"),
    ("amqp://127.0.0.1:5672/?queue=words", "parts")])
def test_what_is_read_on_is_not_called_a_file_and_not_said_to_be_loaded_again(
    tmp_path: Path, address: str, noun: str,
) -> None:
    _ledger(tmp_path, "failed")
    scheme = address.partition(":")[0].replace("amqp", "rabbitmq")
    built = _report(load("appsinstalled", environ={}, state=str(tmp_path), sets=[
        f"source.type={scheme}", f'source.topics=["{address}"]']))
    assert (built.code, built.reason) == (4, f"1 of 1 {noun} had too many errors, the first is logs/0")
    assert "a run reads on behind them" in report.meaning(built) and "beginning" not in report.meaning(built)


def test_a_run_that_was_killed_between_two_files_is_not_called_done(tmp_path: Path, settings: Settings) -> None:
    _ledger(tmp_path, "done")
    _started(tmp_path)
    built = _report(settings)
    assert (built.code, built.reason) == (RESUMABLE, "the run was killed before its end")


def test_the_report_of_a_run_that_ended_is_printed_again_as_it_was(tmp_path: Path, settings: Settings) -> None:
    _ledger(tmp_path, "done", "reading")
    _ended(tmp_path, RESUMABLE, "stopped by SIGTERM")
    built = _report(settings)
    assert (built.code, built.reason, built.seconds) == (RESUMABLE, "stopped by SIGTERM", 2.0)
    assert "read 20 records in 2.0 s (10 records/s)" in report_text.render(built)
    assert "still down: writer.idfa: refused" in report_text.render(built)


def test_units_that_have_no_end_are_no_work_that_is_left_when_the_run_has_ended_well(
    tmp_path: Path, settings: Settings
) -> None:
    _ledger(tmp_path, "done", "reading")
    _ended(tmp_path, DONE, "stopped by SIGTERM")
    built = _report(settings)
    assert (built.code, built.reason) == (DONE, "stopped by SIGTERM")
    assert built.units[1].verdict == "loaded so far; a later run goes on from here"


def test_the_report_of_a_run_that_goes_on_says_so(tmp_path: Path, settings: Settings) -> None:
    _ledger(tmp_path, "done")
    directory = RunDirectory(tmp_path)
    try:
        create_board(directory.path / BOARD, ["reader.1"])
        _started(tmp_path)
        built = _report(settings)
        assert (built.code, built.reason) == (RESUMABLE, "the run is going on: thresher status shows it")
    finally:
        directory.close()


def test_the_report_of_nothing_says_so(tmp_path: Path, settings: Settings) -> None:
    assert (_report(settings).code, _report(settings).reason) == (
        FAILED, f"nothing has run with the state directory {tmp_path}")
    Ledger(tmp_path / "positions.db", RUN).close_file()
    _ended(tmp_path, DONE, "all input is loaded")
    assert (_report(settings).code, _report(settings).reason) == (
        DONE, "nothing to do: no new input in files data/appsinstalled/*.tsv.gz")


def test_a_run_that_was_stopped_before_anything_came_was_stopped(tmp_path: Path, settings: Settings) -> None:
    Ledger(tmp_path / "positions.db", RUN).close_file()
    _ended(tmp_path, DONE, "stopped by SIGINT")
    assert (_report(settings).code, _report(settings).reason) == (DONE, "stopped by SIGINT")


def test_the_report_says_where_everything_is(tmp_path: Path) -> None:
    sets = ["sinks.hours.path=deep/hours.jsonl", "sinks.rows.type=lmdb"]
    for target, expected in (
            ("connections", {"report": "standard output", "hours": f"{tmp_path}/hours.jsonl", "rows": "nowhere",
                             "dead letters": f"{tmp_path}/dead-letters.db"}),
            ("appsinstalled", {"dead letters": f"{tmp_path}/dead-letters.db",
                               **{name: f"{tmp_path}/{name}.lmdb" for name in ("idfa", "gaid", "adid", "dvid")}})):
        assert _report(load(target, environ={}, state=str(tmp_path))).places == expected
    assert _report(load("connections", environ={}, state=str(tmp_path), sets=sets[:1])).places["hours"] == (
        f"{tmp_path}/deep/hours.jsonl")


def test_the_segments_of_a_journal_are_shown_together_and_those_with_a_problem_alone(tmp_path: Path) -> None:
    settings = load("numbers", environ={}, state=str(tmp_path))
    ledger = Ledger(tmp_path / "positions.db", RUN)
    for index in range(50):
        unit = ledger.begin(f"journal/{index:06}.log", str(index))
        ledger.close(_chunk(unit, unit.base + 100, "half a line" if index == 7 else ""), {"read": 1000, "folded": 1000})
        ledger.end(unit, unit.base + 100)
        ledger.settle(unit, "done")
    ledger.close_file()
    _ended(tmp_path, DONE, "stopped by SIGINT")
    built = _report(settings)
    assert len(built.units) == 50
    text = report_text.render(built)
    assert len(text.splitlines()) < 20
    assert "\njournal, 49 segments\n  processed 49,000, errors 0, error rate 0.0000\n  acceptable" in text
    assert "\njournal/000007.log\n" in text


# The status -------------------------------------------------------------------------------------------------------


def test_the_status_of_a_state_directory_that_does_not_exist_says_so(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert status.render(status.status(gone)) == f"nothing is running: there is no state directory {gone}"


def test_the_status_after_a_crash_says_what_to_do_and_who_died(tmp_path: Path) -> None:
    _ledger(tmp_path, "done", "reading")
    _started(tmp_path)
    died = ActorDied("parser.1", 1, "signal SIGSEGV", "WORK", 0.0, hand=("p", 10, 99), rss_bytes=27_000_000,
                     uptime_s=4.0, stack="Fatal Python error: Segmentation fault\n\n  File x.py, line 3 in parse\n")
    deaths.record(tmp_path, deaths.Death("2026-01-01T00:00:00Z", "run", died))
    record = read_record(tmp_path)
    assert record is not None
    assert status.render(status.status(tmp_path)).splitlines() == [
        f"nothing is running in {tmp_path}",
        f"the last run (process {record.pid}, started {record.started}) was killed before its end: "
        "run the same command again to resume",
        "  logs/0: done, read 10, errors 1",
        "  logs/1: reading, read 10, errors 1",
        "",
        "last deaths:",
        "  2026-01-01T00:00:00Z parser.1 died (signal SIGSEGV) while work with bytes 10-99 in hand: restarting now "
        "(27 MB, 4.0 s old)",
        "last stack of the last one:",
        "  Fatal Python error: Segmentation fault",
        "  ",
        "    File x.py, line 3 in parse"]


def test_a_run_is_ready_when_everybody_is_up_and_nobody_waits_for_the_outside() -> None:
    up = [_view(state="READY"), _view(actor="parser.1", state="BUSY")]
    assert not_ready(up) == []
    down = [*up, _view(actor="writer.idfa", state="READY", note="memcached 127.0.0.1:1: connection refused"),
            _view(actor="parser.2", state="SUSPECT")]
    assert not_ready(down) == [
        "writer.idfa waits: memcached 127.0.0.1:1: connection refused", "parser.2 is SUSPECT"]


def test_a_death_record_cut_short_is_passed_over_and_a_long_file_is_halved(tmp_path: Path) -> None:
    died = ActorDied("parser.1", 1, "exit code 1", "WORK", 0.0, stack="x" * 8000)
    for number in range(200):
        deaths.record(tmp_path, deaths.Death(str(number), "run", died))
    assert (tmp_path / deaths.FILE).stat().st_size < 1_100_000
    with (tmp_path / deaths.FILE).open("ab") as file:
        file.write(b'{"time": "200", "ru')
    assert [death.time for death in deaths.last(tmp_path, 3)] == ["198", "199"]
    assert deaths.last(tmp_path / "nowhere", 3) == []


def test_the_status_after_an_end_says_how_it_was(tmp_path: Path) -> None:
    _ledger(tmp_path, "failed")
    _ended(tmp_path, FAILED, "parser.1 died too often")
    text = status.render(status.status(tmp_path))
    assert "ended with exit code 1 after 2.0 s: parser.1 died too often" in text


def test_an_unreadable_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("has_units", [False, True])
def test_a_record_that_is_damaged_is_called_so_and_not_a_directory_where_nothing_has_run(
    tmp_path: Path, settings: Settings, has_units: bool
) -> None:
    if has_units:
        _ledger(tmp_path, "loaded")
    (tmp_path / FILE).write_text("{")
    built = _report(settings)
    assert built.code == FAILED
    assert built.reason.startswith(f"{tmp_path / FILE} is damaged (")
    assert f"{tmp_path / FILE} is damaged (" in status.render(status.status(tmp_path))


def test_the_end_of_a_run_does_not_overwrite_the_record_of_the_next(tmp_path: Path) -> None:
    first = _started(tmp_path)
    second = Recorder(tmp_path, QuietObserver())
    second.event(RunStarted("run-2", "appsinstalled", str(tmp_path), 9))
    first.ended(RunResult(DONE, "", 1.0, 0.1, {}))
    record = read_record(tmp_path)
    assert record is not None
    assert (record.run, record.result) == ("run-2", None)


# Progress ---------------------------------------------------------------------------------------------------------


def _view(**values: Any) -> ActorView:
    empty = {"actor": "reader.1", "generation": 1, "pid": 7, "state": "", "phase": "", "note": ""}
    numbers = {name: 0 for name in ActorView.__struct_fields__ if name not in (*empty, "hand", "batch_times")}
    return msgspec.convert({**numbers, **empty, **values}, ActorView)


def test_records_are_those_of_all_generations_of_the_readers() -> None:
    rates = Rates()
    rates.update([_view(records=100, bytes_done=5, bytes_total=10), _view(actor="parser.1", records=999)])
    assert (rates.records, rates.bytes_done, rates.bytes_total) == (100, 5, 10)
    rates.update([_view(records=100, generation=2, pid=0)])  # not there yet: the slot is that of the dead one
    assert rates.records == 100
    rates.update([_view(records=30, generation=2)])
    assert rates.records == 130
    rates.update([_view(records=40, generation=2)])
    assert rates.records == 140


def test_what_is_written_and_too_late_for_its_window_is_told(settings: Settings, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "positions.db", RUN)
    unit = ledger.begin("logs/late", "late")
    counts = {"read": 10, "written": 10, "written.out": 10, "late": 7, "partly_late": 2}
    ledger.close(_chunk(unit, unit.base + 100, ""), counts)
    ledger.end(unit, unit.base + 100)
    ledger.settle(unit, "done")
    ledger.close_file()
    result = RunResult(DONE, report.ALL_LOADED, 1.0, 0.5, {})
    built = report.build(settings.manifest, settings.pipeline, result, RUN)
    assert (built.units[0].late, built.units[0].partly_late) == (7, 2)
    assert "late: 2 of these are in some of their windows: the others were closed" in report_text.render(built)
    assert "late: 7 of these are written, and in no window: theirs were closed" in report_text.render(built)


@pytest.mark.parametrize(("reason", "says"), [
    ("file_lost", "give a copy of each whole file, if there is one, under the same name and run again"),
    ("truncated_gzip", "give each whole file under the same name and run again")])
def test_what_is_safe_for_a_file_that_is_not_whole_is_said_by_its_cause(
        settings: Settings, tmp_path: Path, reason: str, says: str) -> None:
    ledger = Ledger(tmp_path / "positions.db", RUN)
    unit = ledger.begin("logs/0", "0")
    counts = {"read": 10, "written": 9, "dead_lettered": 1, f"rejected.{reason}": 1}
    ledger.close(_chunk(unit, unit.base + 100, ""), counts)
    ledger.end(unit, unit.base + 100)
    ledger.damaged(unit, "it is not whole", "")
    ledger.settle(unit, "failed")
    ledger.close_file()
    built = report.build(settings.manifest, settings.pipeline, RunResult(DONE, report.ALL_LOADED, 1.0, 0.5, {}), RUN)
    assert built.code == OVER_BUDGET
    assert says in built.fields()["meaning"]


def _shared(tmp_path: Path, status: str, counts: dict[str, int], damage: str = "") -> None:
    ledger = Ledger(tmp_path / "positions.db", RUN)
    unit = ledger.begin("topic/0", "topic", alone=True)
    ledger.issue(_chunk(unit, 100, ""))
    fault = SOURCE_LOST if damage else ""
    ledger.close(msgspec.structs.replace(_chunk(unit, 100, ""), fault=fault, detail=damage), counts)
    if status == HANDED_OVER:
        ledger.hand_over(unit, 120, 3, is_lost=False)
    ledger.close_file()


def test_what_was_handed_over_is_in_the_sum_and_told(settings: Settings, tmp_path: Path) -> None:
    _shared(tmp_path, HANDED_OVER, {"read": 10, "written": 9, "dead_lettered": 1})
    built = report.build(settings.manifest, settings.pipeline, RunResult(DONE, report.ALL_LOADED, 1.0, 0.5, {}), RUN)
    (unit,) = built.units
    assert (built.code, unit.balanced, unit.verdict) == (DONE, True, report.HANDED)
    assert (unit.read, unit.processed, unit.errors, unit.handed_over) == (13, 9, 1, 3)
    text = report_text.render(built)
    assert "handed over: 3 that were read and not finished" in text
    assert "read 13 records in 1.0 s (13 records/s): 9 written, 1 dead-lettered, 3 handed-over" in text


@pytest.mark.parametrize("status", ["reading", HANDED_OVER])
def test_what_its_source_has_lost_makes_a_run_without_end_fail_until_somebody_takes_note(
        settings: Settings, tmp_path: Path, status: str) -> None:
    _shared(tmp_path, status, {"read": 10, "written": 9, "dead_lettered": 1, "rejected.source_lost": 1}, "40 records")
    result = RunResult(DONE, report.ALL_LOADED, 1.0, 0.5, {})
    built = report.build(settings.manifest, settings.pipeline, result, RUN)
    assert (built.code, built.units[0].verdict, built.units[0].damage) == (OVER_BUDGET, report.TAKEN, "40 records")
    assert "gone before they were read: read sooner" in built.fields()["meaning"]
    settle(settings.manifest)  # no letter of it is open: there is none
    assert report.build(settings.manifest, settings.pipeline, result, RUN).code == DONE
