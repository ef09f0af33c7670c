"""SIGKILL of anyone at any time: the results are those of the run without it. Real processes, real stores."""

from __future__ import annotations

import gzip
import os
import random
import signal
import time
from pathlib import Path

import pytest

from scripts.make_logs import make_lines, write_logs
from tests.loads import (
    DEVICE_TYPES,
    Load,
    assert_counts_add_up,
    expected_stores,
    living,
    lmdb_stores,
    load,
)
from tests.servers import Memcached

RECORDS = 60_000
#: Small batches, so that a death always finds many of them under way.
SMALL = ("flow.batch_bytes=32768",)
ACTORS = ("reader.1", "parser.1", "parser.2", "writer.idfa", "writer.gaid", "writer.adid", "writer.dvid",
          "writer.dead_letters", "aggregator.1")


def _logs(folder: Path, **options: float) -> tuple[str, list[bytes]]:
    paths = write_logs(folder, records=RECORDS, bad_rate=0.005, **options)  # type: ignore[arg-type]
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).split(b"\n")[:-1]]
    return f"{folder}/*.tsv.gz", lines


def _assert_all_there(load: Load, lines: list[bytes]) -> None:
    assert lmdb_stores(load.state) == expected_stores(lines)
    counts = assert_counts_add_up(load.state)
    assert counts["read"] == RECORDS
    report = load.of("report")[0]
    assert sum(group["numbers"]["records"] for group in report["groups"]) == counts["written"]


@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_that_is_killed_is_restarted_and_the_load_completes_as_without(tmp_path: Path, name: str) -> None:
    pattern, lines = _logs(tmp_path / "logs")
    batches = 1 if name == "writer.dead_letters" else 20
    with Load(pattern, tmp_path / "state", *SMALL) as running:
        running.kill(name, after_batches=batches)
        assert running.wait() == 0, running.output()
    deaths = running.of("died")
    assert [(death["actor"], death["how"]) for death in deaths] == [(name, "signal SIGKILL")]
    _assert_all_there(running, lines)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        f".2017092900000{index}.tsv.gz" for index in range(3)]


@pytest.mark.parametrize("name", ["parser.1", "parser.2", "checker.1", "checker.2", "reader.1", "writer.idfa"])
def test_with_checkers_of_their_own_it_is_the_same(tmp_path: Path, name: str) -> None:
    pattern, lines = _logs(tmp_path / "logs")
    with Load(pattern, tmp_path / "state", *SMALL, "parser.fused=false") as running:
        running.kill(name, after_batches=20)
        assert running.wait() == 0, running.output()
    assert len(running.of("died")) == 1
    _assert_all_there(running, lines)


def test_memcached_holds_the_same_whoever_was_killed(tmp_path: Path) -> None:
    pattern, lines = _logs(tmp_path / "logs")
    servers = {name: Memcached() for name in DEVICE_TYPES}
    try:
        for server in servers.values():
            server.start()
        sets = [word for name, server in servers.items()
                for word in (f"sinks.{name}.type=memcached", f"sinks.{name}.server={server.address}")]
        with Load(pattern, tmp_path / "state", *SMALL, *sets) as running:
            for number, name in enumerate(("writer.gaid", "parser.1", "reader.1", "writer.idfa"), 1):
                running.kill(name, after_batches=5 * number)
            assert running.wait() == 0, running.output()
        for name, expected in expected_stores(lines).items():
            assert servers[name].items() == len(expected)
            assert servers[name].get_many(list(expected)) == expected
    finally:
        for server in servers.values():
            server.stop()


def test_when_the_supervisor_is_killed_nobody_is_left_and_the_next_run_completes(tmp_path: Path) -> None:
    pattern, lines = _logs(tmp_path / "logs")
    state = tmp_path / "state"
    with Load(pattern, state, *SMALL) as running:
        views = running.until(lambda views: views["reader.1"].batches >= 40, "40 batches")
        pids = [view.pid for view in views.values()]
        assert len(living(pids)) == len(ACTORS)
        running.process.kill()
        running.process.wait()
    deadline = time.monotonic() + 1.0
    while living(pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert living(pids) == []
    again = load(pattern, state, "flow.batch_bytes=50000")  # other batches: what was issued is not cut anew
    assert again.process.returncode == 0, again.output()
    assert lmdb_stores(state) == expected_stores(lines)
    report = again.of("report")[0]
    first = report["units"][0]
    assert first["balanced"]
    assert sum(group["numbers"]["records"] for group in first["groups"]) == first["processed"]


def test_the_last_of_many_values_stands_within_files_and_across_them(tmp_path: Path) -> None:
    pattern, lines = _logs(tmp_path / "logs", keys=40)
    expected = expected_stores(lines)
    assert 100 < sum(map(len, expected.values())) <= 160
    with Load(pattern, tmp_path / "state", *SMALL, "parser.workers=4") as running:
        for number, name in enumerate(("parser.3", "writer.adid", "parser.1", "reader.1", "writer.adid"), 1):
            running.kill(name, after_batches=4 * number)
        assert running.wait() == 0, running.output()
    assert len(running.of("died")) == 5
    assert lmdb_stores(tmp_path / "state") == expected


def test_sigterm_drains_and_the_next_run_takes_up_where_it_stopped(tmp_path: Path) -> None:
    pattern, lines = _logs(tmp_path / "logs")
    state = tmp_path / "state"
    with Load(pattern, state, *SMALL) as running:
        running.until(lambda views: views["reader.1"].batches >= 40, "40 batches")
        running.process.terminate()
        assert running.wait() == 3, running.output()
    report = running.of("report")[0]
    assert report["reason"] == "stopped by SIGTERM"
    assert 0 < report["read"] < RECORDS
    assert report["units"][-1]["verdict"] == "not finished: kept its name, run again to resume"
    again = load(pattern, state, *SMALL)
    assert again.process.returncode == 0, again.output()
    assert lmdb_stores(state) == expected_stores(lines)
    first = again.of("report")[0]["units"][0]
    assert sum(group["numbers"]["records"] for group in first["groups"]) == first["processed"]


def test_ctrl_c_twice_ends_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    pattern, lines = _logs(tmp_path / "logs")
    state = tmp_path / "state"
    with Load(pattern, state, *SMALL) as running:
        views = running.until(lambda views: views["reader.1"].batches >= 20, "20 batches")
        for name in ("writer.idfa", "writer.gaid"):  # so that the drain cannot be over before the second signal
            os.kill(views[name].pid, signal.SIGSTOP)
        running.process.send_signal(signal.SIGINT)
        running.until(lambda views: bool(running.output().count('"draining"')), "a drain")
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 3, running.output()
    assert living([view.pid for view in views.values()]) == []
    again = load(pattern, state, *SMALL)
    assert again.process.returncode == 0
    assert lmdb_stores(state) == expected_stores(lines)


@pytest.mark.parametrize("seed", [1, 2])
def test_many_kills_of_anyone_change_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    pattern, lines = _logs(tmp_path / "logs", keys=2000)
    with Load(pattern, tmp_path / "state", *SMALL, "restart.intensity=100", "restart.max_backoff_s=0.05") as running:
        for _ in range(12):
            running.kill(rng.choice(ACTORS[:7]), after_batches=rng.randint(1, 6))
        assert running.wait() == 0, running.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores(lines)
    assert_counts_add_up(tmp_path / "state")


def test_the_generator_of_logs_is_seeded() -> None:
    assert list(make_lines(50, 7, 0.1)) == list(make_lines(50, 7, 0.1))
    assert list(make_lines(50, 7)) != list(make_lines(50, 8))
