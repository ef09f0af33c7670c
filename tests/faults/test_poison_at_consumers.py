"""Records that kill who writes or folds them: each ends alone in the dead-letter store, and all else is right."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from actors.runtime.state import read_state
from actors.sinks.dead_letters import StoredLetter, read_letters
from tests.loads import Load, assert_counts_add_up
from tests.pipelines.brittle import merge

RECORDS = 2000
TARGET = "tests.pipelines.brittle"


def _logs(tmp_path: Path, trouble: dict[int, str]) -> list[str]:
    lines = [f"k{number} {trouble.get(number, f'value {number}')}" for number in range(RECORDS)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    return lines


def _run(tmp_path: Path, *sets: str, target: str = TARGET) -> Load:
    with Load(tmp_path / "a.txt", tmp_path / "state", "flow.batch_bytes=4000", *sets, target=target) as running:
        running.wait()
    assert running.process.returncode == 0, running.output()
    return running


def _letters(tmp_path: Path) -> list[StoredLetter]:
    if not (tmp_path / "state" / "dead-letters.db").exists():
        return []  # it is made with the first one
    return sorted(read_letters(tmp_path / "state" / "dead-letters.db"), key=lambda letter: letter.line)


def _stored(tmp_path: Path) -> list[str]:
    with closing(sqlite3.connect(tmp_path / "state" / "store.db")) as stored:
        return [f"{key} {value}" for key, value in stored.execute("SELECT key, value FROM stored")]


def _assert_all_but(tmp_path: Path, lines: list[str], bad: list[int]) -> None:
    good = [line for number, line in enumerate(lines) if number not in bad]
    assert sorted(_stored(tmp_path)) == sorted(good)
    assert [letter.raw.decode() for letter in _letters(tmp_path)] == [lines[number] for number in bad]
    counts = assert_counts_add_up(tmp_path / "state")
    assert (counts["read"], counts["written"], counts["dead_lettered"]) == (RECORDS, len(good), len(bad))


def test_records_that_kill_a_writer_are_found_among_all_others(tmp_path: Path) -> None:
    lines = _logs(tmp_path, {700: "write-exit", 1500: "write-raise"})
    running = _run(tmp_path)
    _assert_all_but(tmp_path, lines, [700, 1500])
    killed, raised = _letters(tmp_path)
    assert (killed.reason, raised.reason) == ("worker_died", "worker_died")
    assert "writer.store: exit code 7" in killed.detail
    assert "no room for this one" in raised.detail
    assert "in write" in raised.detail
    assert len(running.of("died")) <= 16


def test_a_record_that_hangs_a_writer_that_keeps_no_order_is_found(tmp_path: Path) -> None:
    lines = _logs(tmp_path, {700: "write-deadlock"})
    running = _run(tmp_path, "watch.suspect_s=0.3", "watch.hard_block_s=0.7", "watch.term_s=0.2",
                   target=f"{TARGET}:UNORDERED")
    _assert_all_but(tmp_path, lines, [700])
    assert _letters(tmp_path)[0].reason == "timeout"
    assert len(running.of("hung")) <= 9


def test_a_writer_that_dies_late_of_a_record_does_not_have_its_neighbour_given_up(tmp_path: Path) -> None:
    lines = _logs(tmp_path, {700: "write-late"})
    _run(tmp_path)
    letters = [letter.raw.decode() for letter in _letters(tmp_path)]
    assert letters in ([], [lines[700]])
    stored = set(_stored(tmp_path))
    assert stored | {lines[700]} == set(lines), "what it made may have been stored before the death came"
    assert lines[700] in stored or letters


def test_a_record_that_kills_its_shard_is_found_and_all_others_are_folded(tmp_path: Path) -> None:
    lines = _logs(tmp_path, {700: "merge-exit"})
    running = _run(tmp_path, target=f"{TARGET}:FOLDED")
    (letter,) = _letters(tmp_path)
    assert (letter.raw.decode(), letter.reason) == (lines[700], "worker_died")
    assert "aggregator" in letter.detail
    assert "exit code 7" in letter.detail
    folded = [read_state(path, merge) for path in sorted((tmp_path / "state").glob("aggregator.*.db"))]
    assert sum(numbers[0] for state in folded for numbers in state.values()) == RECORDS - 1
    counts = assert_counts_add_up(tmp_path / "state")
    assert (counts["read"], counts["folded"], counts["dead_lettered"]) == (RECORDS, RECORDS - 1, 1)
    assert len(running.of("died")) <= 9


def test_in_windows_a_record_that_kills_its_shard_is_found_and_so_is_a_window_whose_rows_do(tmp_path: Path) -> None:
    lines = _logs(tmp_path, {900: "merge-exit", 1405: "emit-exit"})
    running = _run(tmp_path, target=f"{TARGET}:WINDOWS")
    window, record = _letters(tmp_path)
    assert (record.raw.decode(), record.reason) == (lines[900], "worker_died")
    assert (window.stage, window.reason) == ("aggregator.1", "worker_died")
    assert json.loads(window.raw)[0][:2] == [100_000, 150_000]
    rows = dict(line.split(" ", 1) for line in _stored(tmp_path))
    assert rows == {"0": "500", "50000": "499", "150000": "500"}
    counts = assert_counts_add_up(tmp_path / "state")
    assert (counts["read"], counts["folded"], counts["dead_lettered"]) == (RECORDS, RECORDS - 1, 1)
    assert len(running.of("died")) <= 12


def test_what_is_folded_already_and_kills_has_no_later_record_given_up(tmp_path: Path) -> None:
    _logs(tmp_path, {0: "merge-exit"})  # the first of its key is merged with nothing
    with Load(tmp_path / "a.txt", tmp_path / "state", "flow.batch_bytes=4000", target=f"{TARGET}:FOLDED") as running:
        assert running.wait() == 1, running.output()
    assert "or what is folded already" in running.output()
    assert not (tmp_path / "state" / "dead-letters.db").exists() or _letters(tmp_path) == []
