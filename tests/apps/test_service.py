"""A run that a service manager has started: what it says to it, and when. The manager's socket is a real one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.loads import Load, Running, Views, living
from tests.services import Notice, ServiceManager
from tests.troubled_loads import Gate, start

WATCHDOG_S = 2.0


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    """A service manager, for runs that this test starts."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", f"{WATCHDOG_S * 1e6:.0f}")
    with ServiceManager(tmp_path / "notify") as manager:
        yield manager


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Loads of this test wait in their middle until it is opened."""
    gate = Gate(tmp_path / "gate")
    monkeypatch.setenv("TROUBLE", gate.trouble)
    return gate


def _following(tmp_path: Path, *words: str, lines: int = 1000) -> Running:
    """A run without end."""
    folder = tmp_path / "logs"
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_bytes(b"".join(b"line %d\n" % number for number in range(lines)))
    return Running(tmp_path / "state", "run", "tests.pipelines.liner", str(folder), "--follow", "--format", "text",
                   *words)


def _is_ready(notices: list[Notice]) -> bool:
    return any("READY" in notice.fields for notice in notices)


def _keys(notices: list[Notice]) -> list[str]:
    """The states that are changed, in their order."""
    return [key for notice in notices for key in notice.fields if key in ("READY", "RELOADING", "STOPPING")]


def _watchdog_gaps(notices: list[Notice]) -> list[float]:
    times = [notice.at for notice in notices if "WATCHDOG" in notice.fields]
    return [after - before for before, after in pairwise(times)]


def _extended(notices: list[Notice]) -> list[Notice]:
    """Where more time was asked for, since it has begun to stop."""
    stopping = next((at for at, notice in enumerate(notices) if "STOPPING" in notice.fields), len(notices))
    return [notice for notice in notices[stopping:] if "EXTEND_TIMEOUT_USEC" in notice.fields]


def _is_at_work(views: Views) -> bool:
    return views["writer.store"].batches > 0


def test_ready_then_status_then_stopping_before_the_end(tmp_path: Path, manager: ServiceManager) -> None:
    with _following(tmp_path) as running:
        notices = manager.until(_is_ready, "READY")
        (ready,) = manager.of("READY")
        assert ready.fields["MAINPID"] == str(running.process.pid)
        assert notices[0].fields["STATUS"].startswith("liner: starting 5 actors")
        manager.until(lambda notices: any(notice.fields.get("STATUS", "").startswith("running: ")
                                          for notice in notices), "STATUS of a run at work")
        running.process.send_signal(signal.SIGTERM)
        running.wait()
    assert _keys(manager.notices) == ["READY", "STOPPING"]
    assert manager.notices[-1].fields["STATUS"].startswith("ended with exit code ")


def test_a_load_that_comes_to_its_end_is_stopping_too(tmp_path: Path, manager: ServiceManager) -> None:
    (tmp_path / "a.txt").write_bytes(b"line\n")
    with Load(tmp_path / "a.txt", tmp_path / "state", target="tests.pipelines.liner") as running:
        assert running.wait() == 0
    assert _keys(manager.notices) == ["READY", "STOPPING"]
    assert running.of("progress")[-1]["records"] == 1


def test_the_watchdog_is_fed_while_an_actor_hangs(tmp_path: Path, manager: ServiceManager) -> None:
    with _following(tmp_path) as running:
        views = running.until(_is_at_work, "a batch")
        os.kill(views["parser.1"].pid, signal.SIGSTOP)
        begun = len(manager.of("WATCHDOG"))
        manager.until(lambda notices: len(_watchdog_gaps(notices)) >= begun + 4, "four more WATCHDOG")
        assert max(_watchdog_gaps(manager.notices)) < WATCHDOG_S
        assert min(_watchdog_gaps(manager.notices)) > WATCHDOG_S / 4


def test_the_watchdog_is_fed_under_load(tmp_path: Path, manager: ServiceManager) -> None:
    with _following(tmp_path, "--set", "flow.batch_bytes=4000", lines=2_000_000) as running:
        running.until(_is_at_work, "a batch")
        manager.until(lambda notices: len(_watchdog_gaps(notices)) >= 3, "four WATCHDOG")
        assert max(_watchdog_gaps(manager.notices)) < WATCHDOG_S


def test_a_supervisor_that_stands_still_says_nothing(tmp_path: Path, manager: ServiceManager) -> None:
    with _following(tmp_path) as running:
        manager.until(lambda notices: _is_ready(notices) and len(_watchdog_gaps(notices)) > 0, "READY and WATCHDOG")
        running.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, running.process.pid, os.WSTOPPED | os.WNOWAIT)
        manager.comes("WATCHDOG", len(manager.of("WATCHDOG")), 0.1)  # one may be on its way
        before = len(manager.of("WATCHDOG"))
        assert not manager.comes("WATCHDOG", before, 1.5 * WATCHDOG_S)
        running.process.send_signal(signal.SIGCONT)
        assert manager.comes("WATCHDOG", before, 60)


def test_more_time_is_asked_for_while_a_drain_is_slow(tmp_path: Path, manager: ServiceManager, gate: Gate) -> None:
    with start(tmp_path, "run.drain_s=60") as running:
        running.until(lambda _: (tmp_path / "gate").exists(), "the gate")
        running.process.send_signal(signal.SIGTERM)
        manager.until(lambda notices: len(_extended(notices)) >= 3, "three EXTEND_TIMEOUT_USEC")
        gate.open()
        assert running.wait() == 3
    assert all(float(notice.fields["EXTEND_TIMEOUT_USEC"]) / 1e6 > 2 * (after.at - notice.at)
               for notice, after in pairwise(_extended(manager.notices)))
    assert _keys(manager.notices) == ["READY", "STOPPING"]


@pytest.mark.parametrize(("text", "outcome"), [("workers = 2", "changed: parser.workers"),
                                               ("workers = 'many'", "nothing is changed: ")], ids=["good", "bad"])
def test_a_reload_is_told_from_its_beginning_to_its_end(
    tmp_path: Path, manager: ServiceManager, text: str, outcome: str
) -> None:
    (tmp_path / "logs").mkdir()
    config = tmp_path / "config.toml"
    config.write_text('app = "tests.pipelines.liner"\n[parser]\nworkers = 1\n')
    before = time.monotonic_ns() // 1000
    with Running(tmp_path / "state", "run", str(config), str(tmp_path / "logs"), "--follow") as running:
        manager.until(_is_ready, "READY")
        config.write_text(f'app = "tests.pipelines.liner"\n[parser]\n{text}\n')
        running.process.send_signal(signal.SIGHUP)
        manager.until(lambda notices: _keys(notices) == ["READY", "RELOADING", "READY"], "READY again")
        (reloading,), (_, ready) = manager.of("RELOADING"), manager.of("READY")
        assert before < int(reloading.fields["MONOTONIC_USEC"]) <= reloading.at * 1e6
        assert ready.fields["STATUS"].startswith(f"configuration read again (SIGHUP): {outcome}")


def test_an_abstract_socket_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", f"@thresher-test-{os.getpid()}")
    with ServiceManager(os.environ["NOTIFY_SOCKET"]) as manager, _following(tmp_path):
        manager.until(_is_ready, "READY")
        assert manager.of("WATCHDOG") == []  # nobody has asked for it


@pytest.mark.parametrize("where", ["nobody", "no/such/folder", "logs/a.txt"])
def test_a_socket_where_nobody_listens_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / where))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    (tmp_path / "a.txt").write_bytes(b"line\n")
    with Load(tmp_path / "a.txt", tmp_path / "state", target="tests.pipelines.liner") as running:
        assert running.wait() == 0
    assert running.of("progress")[-1]["records"] == 1


def test_actors_find_nothing_of_it_in_their_environment(tmp_path: Path, manager: ServiceManager) -> None:
    names = b"NOTIFY_SOCKET\nWATCHDOG_USEC\nWATCHDOG_PID\n"
    folder, log = tmp_path / "logs", tmp_path / "state" / "store.log"
    folder.mkdir()
    with Running(tmp_path / "state", "run", "tests.pipelines.nosy", str(folder), "--follow") as running:
        views = running.until(lambda views: views["parser.1"].state == "READY", "a parser")
        (folder / "a.txt").write_bytes(names)
        running.until(lambda _: log.exists() and log.read_bytes().count(b"unset") == 3, "three lines of a forked actor")
        os.kill(views["parser.1"].pid, signal.SIGKILL)
        running.until(lambda views: views["parser.1"].generation == 2 and views["parser.1"].state == "READY", "another")
        (folder / "b.txt").write_bytes(names)
        running.until(lambda _: log.read_bytes().count(b"unset") == 6, "three lines of an executed actor")
        pids = [view.pid for view in running.views().values()]
        running.process.send_signal(signal.SIGTERM)
        running.wait()
    assert living(pids) == []
