"""Runs with Parquet files: what does not fit and is sent again, files made by time, a run that is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.loads import ROOT, WATCHDOG_S, Running, Views
from tests.pipelines.everywhere import STORES

KEPT_BACK = ("--set", "sinks.gathered.roll_bytes=1000000000", "--set", "sinks.gathered.roll_s=0")


def write(folder: Path, numbers: range) -> list[int]:
    """A file of these numbers; return those that become rows."""
    path = folder / "data" / f"{numbers.start}.txt"
    path.parent.mkdir(exist_ok=True)
    (folder / "new").write_text("".join(f"{number}\n" for number in numbers))
    (folder / "new").rename(path)
    return [number for number in numbers if number % len(STORES) == STORES.index("gathered")]


def run(folder: Path, *words: str) -> Running:
    return Running(folder / "state", "run", "tests.pipelines.everywhere", str(folder / "data"), "--format", "json",
                   "--set", "source.type=directory", "--set", "budget.max_error_rate=1", *words)


def files(folder: Path) -> list[list[int]]:
    return [pq.read_table(path).column("number").to_pylist()
            for path in sorted((folder / "state" / "gathered").glob("part-*.parquet"))]


def waiting(folder: Path) -> list[int]:
    journal = folder / "state" / "gathered" / ".gathered.journal"
    numbers: list[int] = pa.ipc.open_stream(journal.read_bytes()).read_all().column("number").to_pylist()
    return numbers


def test_a_row_that_does_not_fit_is_a_dead_letter_and_is_there_once_when_it_is_sent_again(tmp_path: Path) -> None:
    numbers = write(tmp_path, range(70))
    with run(tmp_path, "--once", "--set", 'sinks.gathered.columns={number="text"}') as running:
        assert running.wait() == 0, running.output()
    assert running.of("report")[0]["outcomes"]["dead_lettered"] == len(numbers)
    assert files(tmp_path) == []
    done = subprocess.run([sys.executable, "-m", "actors.cli", "dlq", "retry", "tests.pipelines.everywhere", "--state",
                           str(tmp_path / "state")], cwd=ROOT, capture_output=True, text=True, check=False,
                          timeout=WATCHDOG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 retried, 0 rejected again" in done.stdout
    (rows,) = files(tmp_path)
    assert sorted(rows) == numbers
    assert waiting(tmp_path) == []
    with run(tmp_path, "--once", "--fresh") as running:
        assert running.wait() == 0, running.output()
    assert files(tmp_path) == [numbers], "what was there before is gone"


def test_files_are_made_by_time_and_what_a_stopped_run_has_gathered_is_gone_on_with(tmp_path: Path) -> None:
    first = write(tmp_path, range(70))
    made = tmp_path / "state" / "gathered"
    with run(tmp_path, "--follow", "--set", "sinks.gathered.roll_s=0.1") as running:
        running.until(lambda views: len(list(made.glob("part-*"))) == 1, "a file while the run goes on")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()
    second = write(tmp_path, range(70, 140))
    with run(tmp_path, "--follow", *KEPT_BACK) as running:
        def has_read(views: Views) -> bool:
            return views["reader.1"].records >= 70

        running.until(has_read, "all of it acknowledged")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()
    assert (files(tmp_path), waiting(tmp_path)) == ([first], second)
    third = write(tmp_path, range(140, 210))
    with run(tmp_path, "--once", *KEPT_BACK) as running:
        assert running.wait() == 0, running.output()
    assert (files(tmp_path), waiting(tmp_path)) == ([first, second + third], [])
