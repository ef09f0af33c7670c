"""A run is looked at from outside while it goes on, loses actors and ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from actors.runtime.rundir import path_for
from actors.telemetry.model import Status
from actors.telemetry.watcher import Watcher
from tests.loads import WATCHDOG_S, Load, assert_counts_add_up
from tests.servers import free_port

RECORDS = 300_000


def start(tmp_path: Path, *sets: str) -> Load:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"".join(b"k%d value\n" % number for number in range(RECORDS)))
    return Load(folder / "*.txt", tmp_path / "state", "flow.batch_bytes=4000", *sets,
                target="tests.pipelines.treacherous")


def until(watcher: Watcher, condition: Callable[[Status], bool]) -> Status:
    """Look until something is so."""
    deadline = time.monotonic() + WATCHDOG_S
    while time.monotonic() < deadline:
        status = watcher.status()
        if condition(status):
            return status
        time.sleep(0.01)
    raise AssertionError(f"it was never so; last: {status}")


def test_a_look_says_who_works_what_became_of_the_records_and_who_died(tmp_path: Path) -> None:
    with start(tmp_path) as running:
        running.until(lambda views: views["reader.1"].batches > 5, "5 batches")
        watcher = Watcher(path_for(tmp_path / "state"))
        first = watcher.status()
        assert (first.flow.seconds, first.flow.records_per_s) == (0.0, 0.0)
        assert (first.snapshot.name, first.snapshot.mode) == ("treacherous", "running")
        assert {"started", "ready"} <= {happening.kind for happening in first.snapshot.happenings}

        running.kill("parser.1", 10)
        status = until(watcher, lambda status: bool(status.snapshot.deaths) and status.flow.seconds > 0.3)
        assert status.snapshot.deaths == {"signal SIGKILL": 1}
        assert {each.view.actor: each.restarts for each in status.snapshot.actors if each.restarts} == {"parser.1": 1}
        assert "parser.1 died (signal SIGKILL)" in status.snapshot.happenings[-1].text

        status = until(watcher, lambda status: status.snapshot.outcomes.get("read", 0) > first.snapshot.outcomes.get(
            "read", 0) and status.flow.records_per_s > 0)
        assert status.flow.outcomes_per_s["written"] > 0.0
        stages = {stage.stage: stage for stage in status.flow.stages}
        assert list(stages) == ["reader", "parser", "aggregator.1", "writer.store", "writer.dead_letters"]
        assert 0.0 < stages["parser"].busy <= 1.0
        assert 0.0 < stages["parser"].cpu < 3.0
        assert status.flow.progress is not None
        assert 0.0 < status.flow.progress <= 1.0
        sent = msgspec.json.encode(status)
        assert msgspec.json.encode(msgspec.json.decode(sent, type=Status)) == sent

        assert running.wait() == 0
        with pytest.raises(OSError, match="has ended"):
            watcher.status()
        watcher.close()
    assert assert_counts_add_up(tmp_path / "state")["read"] == RECORDS


def test_a_run_whose_supervisor_is_killed_has_ended_for_who_looks_at_it(tmp_path: Path) -> None:
    with start(tmp_path) as running:
        running.until(lambda views: views["reader.1"].batches > 5, "5 batches")
        watcher = Watcher(path_for(tmp_path / "state"))
        watcher.status()
        running.process.kill()
        running.process.wait()
        with pytest.raises(OSError, match="has ended"):
            until(watcher, lambda status: False)
        watcher.close()


def test_where_no_run_goes_on_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Watcher(path_for(tmp_path / "state"))


def test_to_look_is_cheap(tmp_path: Path) -> None:
    with start(tmp_path) as running:
        running.until(lambda views: views["reader.1"].batches > 5, "5 batches")
        watcher = Watcher(path_for(tmp_path / "state"))
        before = time.process_time()
        for _ in range(50):
            watcher.status()
        assert (time.process_time() - before) / 50 < 0.02  # about 1 ms
        watcher.close()
        running.process.kill()


def test_a_server_that_is_down_is_what_holds_the_run_up(tmp_path: Path) -> None:
    server = f"127.0.0.1:{free_port()}"
    with start(tmp_path, "sinks.store.type=memcached", f"sinks.store.server={server}") as running:
        running.until(lambda views: bool(views["writer.store"].note), "an outage")
        watcher = Watcher(path_for(tmp_path / "state"))
        status = until(watcher, lambda status: bool(status.flow.bottleneck.stage))
        assert (status.flow.bottleneck.stage, status.flow.bottleneck.text) == (
            "writer.store", f"writer.store waits: memcached {server}: connection refused (retrying)")
        (reason,) = status.snapshot.not_ready
        assert reason.startswith(f"writer.store waits: memcached {server}: connection refused")
        until(watcher, lambda status: status.snapshot.happenings[-1].kind == "outage")
        watcher.close()
        running.process.kill()
