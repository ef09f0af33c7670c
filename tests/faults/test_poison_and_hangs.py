"""Records that kill their workers or never let them go: found among thousands, alone in the dead-letter store."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from actors.sinks.dead_letters import StoredLetter, read_letters
from actors.sinks.lmdb import read_lmdb
from tests.loads import Load, assert_counts_add_up

TARGET = "tests.pipelines.treacherous"
RECORDS = 6000
#: So that a hang is noticed soon.
EAGER = ("watch.suspect_s=0.3", "watch.hard_cpu_s=0.7", "watch.hard_block_s=0.7", "watch.stopped_s=0.7",
         "watch.term_s=0.2")


def _logs(folder: Path, trouble: dict[int, str]) -> list[bytes]:
    folder.mkdir()
    lines = [f"k{number} {trouble.get(number, f'value {number}')}".encode() for number in range(RECORDS)]
    (folder / "a.txt").write_bytes(b"\n".join(lines) + b"\n")
    return lines


def _run(tmp_path: Path, *sets: str, target: str = TARGET) -> Load:
    logs, state = tmp_path / "logs", tmp_path / "state"
    with Load(logs / "*.txt", state, "budget.max_error_rate=0.5", f"options.marks={tmp_path}", *sets,
              target=target) as running:
        running.wait()
    return running


def _letters(tmp_path: Path) -> list[StoredLetter]:
    path = tmp_path / "state" / "dead-letters.db"
    return list(read_letters(path)) if path.exists() else []


def _assert_all_but(tmp_path: Path, lines: Iterable[bytes], bad: Iterable[bytes]) -> None:
    """Every line but the bad ones is stored and counted once; the bad ones are dead letters, byte for byte."""
    expected = dict(line.split(b" ", 1) for line in lines if line not in set(bad))
    assert dict(read_lmdb(tmp_path / "state" / "store.lmdb")) == expected
    assert sorted(letter.raw for letter in _letters(tmp_path)) == sorted(bad)
    counts = assert_counts_add_up(tmp_path / "state")
    assert counts["read"] == RECORDS
    assert counts["written"] == len(expected)


@pytest.mark.parametrize("fused", ["true", "false"])
@pytest.mark.parametrize("value", ["segfault", "exit", "kill", "check-segfault"])
def test_a_record_that_kills_its_worker_ends_alone_in_the_dead_letter_store(
    tmp_path: Path, value: str, fused: str
) -> None:
    lines = _logs(tmp_path / "logs", {3210: value})
    running = _run(tmp_path, f"parser.fused={fused}")
    assert running.process.returncode == 0, running.output()
    _assert_all_but(tmp_path, lines, [lines[3210]])
    (letter,) = _letters(tmp_path)
    assert (letter.reason, letter.line) == ("worker_died", 3211)
    how = {"segfault": "SIGSEGV", "exit": "exit code 7", "kill": "SIGKILL"}[value.removeprefix("check-")]
    assert how in letter.detail
    if "segfault" in value:
        assert "in trouble" in letter.detail, "the stack says where"
    assert len(running.of("died")) == 3


@pytest.mark.parametrize("value", ["loop", "deadlock", "stop"])
def test_a_record_that_hangs_its_worker_ends_alone_in_the_dead_letter_store(tmp_path: Path, value: str) -> None:
    lines = _logs(tmp_path / "logs", {3210: value})
    running = _run(tmp_path, *EAGER)
    assert running.process.returncode == 0, running.output()
    _assert_all_but(tmp_path, lines, [lines[3210]])
    (letter,) = _letters(tmp_path)
    assert letter.reason == "timeout"
    if value != "stop":  # a stopped process cannot write its stack down
        assert "in trouble" in letter.detail
    assert len(running.of("hung")) == len(running.of("died")) == 3


def test_several_records_of_all_kinds_are_each_found_also_in_one_batch(tmp_path: Path) -> None:
    kinds = ("segfault", "exit", "kill", "overflow", "closes")
    bad = {number: kinds[number % 5] for number in (5, 6, 7, 900, 901, 913, 2500, 2504, 5998, 5999)}
    bad[3001] = "deadlock"
    lines = _logs(tmp_path / "logs", bad)
    running = _run(tmp_path, *EAGER)
    assert running.process.returncode == 0, running.output()
    _assert_all_but(tmp_path, lines, [lines[number] for number in bad])
    assert len(running.of("died")) <= 3 * len(bad)
    assert "descriptors of its worker were closed" in "".join(letter.detail for letter in _letters(tmp_path))


def test_a_death_that_comes_late_does_not_give_up_a_neighbour(tmp_path: Path) -> None:
    lines = _logs(tmp_path / "logs", {3210: "late"})
    running = _run(tmp_path, "flow.batch_bytes=4000")
    assert running.process.returncode == 0, running.output()
    assert running.of("died")
    letters = [letter.raw for letter in _letters(tmp_path)]
    stored = dict(read_lmdb(tmp_path / "state" / "store.lmdb"))
    late = stored.pop(b"k3210", None)  # what was made of it may have been written before the death came
    assert stored == dict(line.split(b" ", 1) for line in lines if line != lines[3210])
    assert letters == [lines[3210]] or (late is not None and not letters)
    assert assert_counts_add_up(tmp_path / "state")["read"] == RECORDS


def test_a_record_that_takes_memory_without_end_is_given_up_when_its_worker_cannot_be_replaced_for_it(
    tmp_path: Path
) -> None:
    lines = _logs(tmp_path / "logs", {3210: "memory"})
    running = _run(tmp_path, "parser.max_rss_bytes=150000000", "run.drain_s=0.5")
    assert running.process.returncode == 0, running.output()
    _assert_all_but(tmp_path, lines, [lines[3210]])
    (letter,) = _letters(tmp_path)
    assert "resident memory" in letter.detail
    assert len(running.of("recycled")) == 3


def test_a_record_of_many_that_functions_take_at_a_time_is_found_by_eighths(tmp_path: Path) -> None:
    lines = _logs(tmp_path / "logs", {3210: "exit"})
    running = _run(tmp_path, target="tests.pipelines.treacherous:BY_CHUNKS")
    assert running.process.returncode == 0, running.output()
    _assert_all_but(tmp_path, lines, [lines[3210]])
    assert len(running.of("died")) <= 8


def test_a_record_that_hangs_only_once_is_written_like_another(tmp_path: Path) -> None:
    lines = _logs(tmp_path / "logs", {77: "once-deadlock", 4000: "once-exit", 5000: "once-loop"})
    running = _run(tmp_path, *EAGER)
    assert running.process.returncode == 0, running.output()
    _assert_all_but(tmp_path, lines, [])
    assert len(running.of("died")) == 3


@pytest.mark.parametrize("value", ["regex", "json", "integers", "signs", "patience"])
def test_work_that_holds_the_interpreter_or_takes_long_is_not_taken_for_a_hang(tmp_path: Path, value: str) -> None:
    lines = _logs(tmp_path / "logs", {3000: value})
    running = _run(tmp_path, "watch.suspect_s=0.5", "watch.hard_cpu_s=60", "watch.hard_block_s=1.0")
    assert running.process.returncode == 0, running.output()
    _assert_all_but(tmp_path, lines, [])
    assert running.of("died") == []


def test_a_suspect_is_given_nothing_new_and_gets_well_again(tmp_path: Path) -> None:
    _logs(tmp_path / "logs", {3000: "regex"})
    running = _run(tmp_path, "watch.suspect_s=0.5", "flow.batch_s=0")  # else it is given back, for it takes too long
    assert [event["actor"].partition(".")[0] for event in running.of("suspect")] == ["parser"]
    assert running.of("died") == []


def test_an_application_that_always_kills_its_workers_is_given_up_soon(tmp_path: Path) -> None:
    _logs(tmp_path / "logs", dict.fromkeys(range(RECORDS), "exit"))
    running = _run(tmp_path)
    assert running.process.returncode == 1
    reason = running.of("report")[0]["reason"]
    assert "killed their workers" in reason or "restarts of its pool" in reason
    assert len(running.of("died")) < 200


def test_too_many_bad_records_within_a_window_stop_the_run_and_the_next_one_resumes_it(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = [b"k%d value" % number if number < 4000 else b"nonsense" for number in range(RECORDS)]
    (folder / "a.txt").write_bytes(b"\n".join(lines) + b"\n")
    running = _run(tmp_path, "budget.window_s=60", "flow.batch_bytes=500", "budget.max_window_error_rate=0.2")
    assert running.process.returncode == 4, running.output()
    report = running.of("report")[0]
    assert "at most 20.0% (budget.max_window_error_rate)" in report["reason"]
    assert report["units"][0]["status"] == "reading"
    assert 4000 < report["read"] < RECORDS
    running = _run(tmp_path)
    assert running.process.returncode == 0, running.output()
    _assert_all_but(tmp_path, lines, [b"nonsense"] * 2000)


def test_what_was_learned_of_a_suspect_batch_outlives_the_reader_and_the_run(tmp_path: Path) -> None:
    bad = dict.fromkeys(range(3210, 3217), "exit")  # in one batch: fifteen deaths
    lines = _logs(tmp_path / "logs", bad)
    logs, state = tmp_path / "logs" / "*.txt", tmp_path / "state"
    sets = ("budget.max_error_rate=0.5", f"options.marks={tmp_path}")
    deaths = 0
    for is_reader in (False, True):
        with Load(logs, state, *sets, target=TARGET) as running:
            running.until(lambda views: running.output().count('"died"') >= 4, "four deaths")
            if is_reader:
                running.kill("reader.1", after_batches=0)
                running.until(lambda views: running.output().count('"died"') >= 7, "seven deaths")
            running.process.send_signal(signal.SIGKILL)
            running.wait()
            deaths += len(running.of("died"))
    running = _run(tmp_path)
    assert running.process.returncode == 0, running.output()
    deaths += len(running.of("died"))
    _assert_all_but(tmp_path, lines, [lines[number] for number in bad])
    assert deaths <= 15 + 1 + 2 * 3, "each went on where the one before it was killed, but for the death just then"
