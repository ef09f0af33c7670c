"""thresher bench on real processes: figures for each number of workers, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.cli import main
from tests.loads import ROOT, WATCHDOG_S, members

LINE = b"idfa\te7e1a50c%d\t67.5\t-22.5\t7,8\n"


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where scratch and run directories of this test are."""
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        monkeypatch.setenv("TMPDIR", place)
        yield Path(place)


def left(place: Path) -> list[str]:
    """What is there but the folder of run directories, and what is in that."""
    return [path.name for folder in (place, place / "thresher") if folder.is_dir() for path in folder.iterdir()
            if path.name != "thresher"]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", "bench", *words], cwd=ROOT, capture_output=True,
                          text=True, timeout=WATCHDOG_S, check=False)


def figures(*words: str) -> dict[str, Any]:
    done = bench(*words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_short_input_is_repeated_and_nothing_is_renamed_or_left(tmp_path: Path, places: Path) -> None:
    log = tmp_path / "a.tsv"
    log.write_bytes(b"".join(LINE % number for number in range(20_000)))
    found = figures("appsinstalled", str(log), "--workers", "1,2", "--seconds", "2", "--set", "flow.batch_bytes=65536")
    assert [result["workers"] for result in found["results"]] == [1, 2]
    for result in found["results"]:
        assert result["doubt"] == ""
        assert result["seconds"] >= 1.0
        assert result["records_per_s"] > 0
        assert abs(result["bytes_per_s"] / result["records_per_s"] - len(LINE % 10_000)) < 2
        assert [stage["stage"] for stage in result["stages"]] == ["reader", "parser", "aggregator", "writer"]
        assert all(0 <= stage["busy"] <= 1 for stage in result["stages"])
    assert found["suggestion"]["workers"] in (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tsv"]
    assert left(places) == []


def test_the_sample_of_a_new_pipeline_is_put_together_until_it_is_enough(tmp_path: Path, places: Path) -> None:
    assert main(["init", "sampled", "--dir", str(tmp_path)]) == 0
    found = figures(str(tmp_path / "sampled" / "sampled.toml"), "--workers", "1", "--seconds", "1")
    assert found["results"][0]["records"] > 1000  # it has 200 lines
    assert left(places) == []
    assert not (tmp_path / "sampled" / "var").exists()


def test_what_is_too_short_and_cannot_be_repeated_is_said_to_be_so(tmp_path: Path, places: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"1565647204351 a b\n" * 1000)
    done = bench("connections", str(log), "--workers", "1", "--seconds", "1", "--set", "window.start=clock")
    assert done.returncode == 0, done.stderr
    assert "no suggestion: " in done.stdout
    assert left(places) == []


def test_separate_checkers_are_measured_and_text_says_what_to_set(tmp_path: Path, places: Path) -> None:
    log = tmp_path / "a.tsv"
    log.write_bytes(b"".join(LINE % number for number in range(20_000)))
    done = bench("appsinstalled", str(log), "--workers", "1", "--seconds", "2", "--set", "parser.fused=false",
                 "--set", "flow.batch_bytes=65536")
    assert done.returncode == 0, done.stderr
    assert "1 worker: " in done.stdout
    assert "\n  checker " in done.stdout
    assert "parser.workers and checker.workers = 1: " in done.stdout


def test_a_source_of_clients_is_measured_with_files_in_its_place(tmp_path: Path, places: Path) -> None:
    done = bench("numbers")
    assert done.returncode == 78
    assert done.stderr == ("bench: numbers reads from tcp 127.0.0.1:4000, which cannot be read again and again: give "
                           "files with the same lines, e.g. thresher bench numbers FILE\n")
    pytest.importorskip("numpy")
    log = tmp_path / "numbers.txt"
    log.write_bytes(b"".join(b"%09d\n" % number for number in range(50_000)))
    found = figures("numbers", str(log), "--workers", "1", "--seconds", "1", "--set", "flow.batch_bytes=65536")
    assert found["source"].startswith("files ")
    assert found["results"][0]["records"] > 0


@pytest.mark.parametrize(("words", "text"), [
    (["appsinstalled", "-"], "standard input can be read only once"),
    (["appsinstalled", "nowhere.gz"], "nowhere.gz: no such file or directory"),
    (["connections"], "the directory source has nothing to read"),
])
def test_without_an_input_there_is_a_plain_error(words: list[str], text: str, places: Path) -> None:
    done = bench(*words)
    assert (done.returncode, done.stdout) == (78, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert left(places) == []


def test_a_bench_that_is_told_to_end_leaves_no_process_and_no_file(tmp_path: Path, places: Path) -> None:
    log = tmp_path / "a.tsv"
    log.write_bytes(b"".join(LINE % number for number in range(20_000)))
    with subprocess.Popen([sys.executable, "-m", "actors.cli", "bench", "appsinstalled", str(log), "--seconds", "60"],
                          cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + WATCHDOG_S
        while not list(places.glob("thresher-bench-*/run-*/state/positions.db")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        children = _children(process.pid)
        assert children
        process.send_signal(signal.SIGTERM)
        assert process.wait(WATCHDOG_S) == 3
    while any(members(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert left(places) == []


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] if os.path.exists(
        f"/proc/{pid}") else []
