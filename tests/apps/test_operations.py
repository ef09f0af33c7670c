"""A run that goes on is scaled, recycled, told to read its configuration again, and stopped; nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.sinks.lmdb import read_lmdb
from tests.loads import ROOT, Load, Views, assert_counts_add_up

TARGET = "tests.pipelines.treacherous"
RECORDS = 120_000


def _log(tmp_path: Path, records: int = RECORDS) -> dict[bytes, bytes]:
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = [f"k{number} value {number}".encode() for number in range(records)]
    (folder / "a.txt").write_bytes(b"\n".join(lines) + b"\n")
    return dict(line.split(b" ", 1) for line in lines)


def _start(tmp_path: Path, *sets: str, target: str = TARGET) -> Load:
    return Load(tmp_path / "logs" / "*.txt", tmp_path / "state", "flow.batch_bytes=4000", *sets, target=target)


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=240, check=False)


def _workers(views: Views, pool: str = "parser") -> set[str]:
    return {name for name, view in views.items() if name.startswith(pool) and view.batches > 0 and view.pid}


def _assert_all_there(tmp_path: Path, expected: dict[bytes, bytes]) -> None:
    assert dict(read_lmdb(tmp_path / "state" / "store.lmdb")) == expected
    assert assert_counts_add_up(tmp_path / "state")["written"] == len(expected)


@pytest.mark.parametrize(("fused", "pool"), [("true", "parser"), ("false", "checker")])
def test_a_pool_gets_more_workers_and_fewer_while_it_works(tmp_path: Path, fused: str, pool: str) -> None:
    expected = _log(tmp_path, 3 * RECORDS)
    state = str(tmp_path / "state")
    with _start(tmp_path, f"parser.fused={fused}") as running:
        running.until(lambda views: len(_workers(views, pool)) == 2, "two workers at work")
        done = ask("scale", f"{pool}=4", "--state", state)
        assert (done.returncode, done.stdout) == (0, f"{pool}: 4 workers from now on\n"), done.stderr
        running.until(lambda views: len(_workers(views, pool)) == 4, "four workers at work")
        assert ask("scale", f"{pool}=1", "--state", state).returncode == 0
        running.until(lambda views: {name for name in views if name.startswith(pool)} == {f"{pool}.1"}, "one worker")
        assert running.wait() == 0, running.output()
    assert [(event["before"], event["workers"]) for event in running.of("scaled")] == [(2, 4), (4, 1)]
    assert running.of("died") == []
    _assert_all_there(tmp_path, expected)


def test_a_worker_that_was_removed_and_is_added_again_gets_work(tmp_path: Path) -> None:
    expected = _log(tmp_path, 3 * RECORDS)
    state = str(tmp_path / "state")
    with _start(tmp_path) as running:
        running.until(lambda views: len(_workers(views)) == 2, "two workers at work")
        assert ask("scale", "parser=1", "--state", state).returncode == 0
        running.until(lambda views: "parser.2" not in views, "one worker")
        assert ask("scale", "parser=2", "--state", state).returncode == 0
        views = running.until(lambda views: "parser.2" in _workers(views), "two workers at work again")
        assert views["parser.2"].generation == 2
        assert running.wait() == 0, running.output()
    _assert_all_there(tmp_path, expected)


def test_a_worker_that_is_killed_while_it_leaves_is_not_missed(tmp_path: Path) -> None:
    expected = _log(tmp_path)
    with _start(tmp_path) as running:
        views = running.until(lambda views: len(_workers(views)) == 2, "two workers at work")
        os.kill(views["parser.2"].pid, signal.SIGSTOP)
        assert ask("scale", "parser=1", "--state", str(tmp_path / "state")).returncode == 0
        os.kill(views["parser.2"].pid, signal.SIGKILL)
        running.until(lambda views: "parser.2" not in views, "one worker")
        assert running.wait() == 0, running.output()
    _assert_all_there(tmp_path, expected)


@pytest.mark.parametrize(("words", "text"), [
    (["scale", "parser"], "thresher scale parser: expected POOL=N, e.g. parser=4\n"),
    (["scale", "reader=2"], "expected one of the pools parser, got 'reader'\n"),
    (["scale", "parser=0"], "parser: expected 1 to 64 workers, got '0'\n"),
    (["scale", "parser=many"], "parser: expected 1 to 64 workers, got 'many'\n"),
])
def test_a_wrong_command_says_what_is_expected_and_changes_nothing(
    tmp_path: Path, words: list[str], text: str
) -> None:
    _log(tmp_path)
    with _start(tmp_path) as running:
        running.until(lambda views: len(_workers(views)) == 2, "two workers at work")
        done = ask(*words, "--state", str(tmp_path / "state"))
        assert done.returncode in (1, 2)
        assert done.stderr == text
        assert running.wait() == 0
    assert running.of("scaled") == []


def test_commands_to_a_run_that_is_not_going_on_say_so(tmp_path: Path) -> None:
    done = ask("stop", "--state", str(tmp_path))
    assert done.returncode == 78
    assert done.stderr.startswith(f"no run is going on with the state directory {tmp_path}: start it with")


LEAKING = """
from tests.pipelines import treacherous
from msgspec.structs import replace
KEPT = []
def parse(line, options):
    KEPT.append(line * 200)
    return treacherous.parse(line, options)
PIPELINE = replace(treacherous.PIPELINE, parse=parse)
"""


@pytest.mark.parametrize("option", ["parser.max_age_s=0.3", "parser.max_rss_bytes=200000000"], ids=["age", "rss"])
def test_workers_are_replaced_one_at_a_time_and_no_record_is_lost(tmp_path: Path, option: str) -> None:
    expected = _log(tmp_path, 3 * RECORDS)
    (tmp_path / "leaking.py").write_text(LEAKING)
    target = str(tmp_path / "leaking.py") if "rss" in option else TARGET
    with _start(tmp_path, option, target=target) as running:
        running.until(lambda views: min(views[f"parser.{n}"].generation for n in (1, 2)) >= 2, "fresh workers")
        assert running.wait() == 0, running.output()
    assert {event["actor"] for event in running.of("recycled")} == {"parser.1", "parser.2"}
    assert running.of("died") == []
    _assert_all_there(tmp_path, expected)


def test_a_limit_of_memory_below_that_of_a_worker_without_work_is_said_and_nothing_is_replaced(tmp_path: Path) -> None:
    _log(tmp_path, 100)
    with _start(tmp_path, "parser.max_rss_bytes=1000000") as running:
        assert running.wait() == 78, running.output()
    reason = running.of("report")[0]["reason"]
    assert re.fullmatch(r"parser.max_rss_bytes is 1,000,000, and parser.[12] has [0-9,]+ before its first batch: set "
                        r"more, well above that, or 0 \(never\)", reason)
    assert (running.of("recycled"), running.of("died")) == ([], [])


def test_a_configuration_read_again_changes_what_can_change_and_a_bad_one_nothing(tmp_path: Path) -> None:
    expected = _log(tmp_path, 3 * RECORDS)
    config = tmp_path / "config.toml"
    state = str(tmp_path / "state")
    config.write_text(f'app = "{TARGET}"\n[parser]\nworkers = 1\n')
    with _start(tmp_path, target=str(config)) as running:
        running.until(lambda views: len(_workers(views)) == 1, "one worker")
        config.write_text(f'app = "{TARGET}"\n[parser]\nworkers = "many"\n')
        done = ask("reload", "--state", state)
        assert done.returncode == 1
        assert done.stderr.startswith(f"nothing is changed: {config}:3: parser.workers: expected int")
        config.write_text(f'app = "{TARGET}"\n[parser]\nworkers = 3\n[watch]\nhard_cpu_s = 7\n[flow]\ncredit = 3\n')
        running.process.send_signal(signal.SIGHUP)
        running.until(lambda views: len(_workers(views)) == 3, "three workers")
        assert running.wait() == 0, running.output()
    assert [(event["ok"], event["outcome"]) for event in running.of("reloaded")][1:] == [
        (True, "changed: watch, parser.workers; for the next run: flow")]
    _assert_all_there(tmp_path, expected)


def test_a_run_that_is_stopped_by_command_is_resumed_by_the_next(tmp_path: Path) -> None:
    expected = _log(tmp_path)
    with _start(tmp_path) as running:
        running.until(lambda views: views["reader.1"].batches >= 20, "20 batches")
        done = ask("stop", "--state", str(tmp_path / "state"))
        assert done.returncode == 0
        assert done.stdout.startswith("draining:")
        assert running.wait() == 3
    with _start(tmp_path) as again:
        assert again.wait() == 0
    assert dict(read_lmdb(tmp_path / "state" / "store.lmdb")) == expected


@pytest.mark.parametrize("reader", ["head -c 10", "cat > /dev/full"], ids=["closed pipe", "full disk"])
def test_a_run_goes_on_when_nobody_can_be_told(tmp_path: Path, reader: str) -> None:
    expected = _log(tmp_path)
    command = [sys.executable, "-m", "actors.cli", "run", TARGET, "--state", str(tmp_path / "state"),
               "--format", "json", "--set", f"source.pattern={tmp_path}/logs/*.txt", "--set", "flow.batch_bytes=4000"]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {"> /dev/full" if "full" in reader else "| " + reader}; exit ${{PIPESTATUS[0]}}',
         "bash", *command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "the report cannot be printed" in done.stderr
    assert "Traceback" not in done.stderr
    _assert_all_there(tmp_path, expected)


NO_ROOM_ONCE = """
import errno, os, sys
spawn, failures = os.posix_spawn, [1]
def scarce(*arguments, **options):
    if failures:
        failures.pop()
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return spawn(*arguments, **options)
os.posix_spawn = scarce
from actors.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_actor_that_cannot_be_started_for_lack_of_room_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"k1 once-exit\nk2 value\n")
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM_ONCE, "run", TARGET, "--state", str(tmp_path / "state"), "--format", "json",
         "--set", f"source.pattern={folder}/*.txt", "--set", f"options.marks={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    deaths = [json.loads(line) for line in done.stdout.splitlines() if '"died"' in line]
    assert [(death["how"], death["stack"]) for death in deaths if death["how"] == "exit code 71"] == [
        ("exit code 71", "it could not be started: Resource temporarily unavailable")]
    assert dict(read_lmdb(tmp_path / "state" / "store.lmdb")) == {b"k1": b"once-exit", b"k2": b"value"}
