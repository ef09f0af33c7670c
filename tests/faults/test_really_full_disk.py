"""A small disk that is full for everybody: at the start, in the middle, when somebody dies, when somebody asks to stop.

The disk is a tmpfs that the test mounts, so these tests need root.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loads import Load, Running, Views
from tests.tcp import address_of
from tests.troubled_loads import Gate, expected, found, start, until_status_shows

_PAGE = 4096
WAITING = r"reader\.1|aggregator\.1|writer\.store|writer\.dead_letters"
PROBLEM = r"(positions|aggregate state|lmdb \S+|dead letters \S+): .+"


class Disk:
    """A disk of 16 MiB, mounted on ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, but: int = 0) -> None:
        """Leave so many bytes free."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(_PAGE))
            except OSError:
                file.truncate(file.seek(0, os.SEEK_END) - but)

    def make_room(self) -> None:
        """Have it empty again, but for what others have written."""
        self._filler.unlink()


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk of this test's own."""
    with tempfile.TemporaryDirectory(prefix="disk-", dir="/tmp") as folder:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", folder],
                               capture_output=True, text=True, check=False)
        if mount.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {mount.stderr.strip()}")
        try:
            yield Disk(Path(folder))
        finally:
            subprocess.run(["umount", "-l", folder], check=True)  # those who are being killed may still use it


def _fill_in_the_middle(running: Load, disk: Disk, gate: Gate) -> None:
    running.until(lambda views: views["writer.store"].batches >= 20, "20 batches")
    disk.fill()
    gate.open()
    running.until(lambda views: any(view.phase == "RETRY" for view in views.values()), "somebody who waits")


@pytest.mark.parametrize("free", [0, _PAGE, 64 * _PAGE])
def test_a_state_directory_without_room_is_said_in_one_sentence(tmp_path: Path, disk: Disk, free: int) -> None:
    disk.fill(but=free)
    with start(tmp_path, state=disk.path / "a" / "state", output=tmp_path / "out") as running:
        assert running.wait() == 78, running.output()
    assert re.fullmatch(r"state directory \S+: No space left on device: expected room for .*--state DIR\n",
                        running.output())
    disk.make_room()
    with start(tmp_path, state=running.state, output=tmp_path / "out") as again:
        assert again.wait() == 0, again.output()
    assert found(again.state) == expected()


def test_a_run_directory_without_room_is_said_in_one_sentence(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(disk.path))
    disk.fill()
    with start(tmp_path) as running:
        assert running.wait() == 78, running.output()
    assert re.fullmatch(r"run directory \S+: No space left on device: make room, .*XDG_RUNTIME_DIR.*\n",
                        running.output())


@pytest.mark.parametrize("place", ["sinks.store.path", "dead_letters.path"])
def test_a_store_on_a_disk_that_is_full_from_the_start_is_waited_for(tmp_path: Path, disk: Disk, place: str) -> None:
    disk.fill()
    with start(tmp_path, f"{place}={disk.path / 'here'}") as running:
        views = running.until(lambda views: any(view.phase == "RETRY" for view in views.values()), "an outage")
        (waiting,) = [view for view in views.values() if view.phase == "RETRY"]
        assert re.fullmatch(r"(lmdb|dead letters) \S+/here: .+", waiting.note)
        disk.make_room()
        assert running.wait() == 0, running.output()
    assert running.of("died") == []
    store, letters = (disk.path / "here", None) if place.startswith("sinks") else (None, disk.path / "here")
    assert found(running.state, store=store, letters=letters) == expected()


def test_a_disk_that_fills_in_the_middle_is_waited_for(tmp_path: Path, disk: Disk, gate: Gate) -> None:
    with start(tmp_path, state=disk.path, output=tmp_path / "out") as running:
        _fill_in_the_middle(running, disk, gate)
        until_status_shows(running, rf"^({WAITING}) .* RETRY .*  {PROBLEM}")
        disk.make_room()
        assert running.wait() == 0, running.output()
    assert running.of("died") == []
    assert running.of("recovered") != []
    assert "Traceback" not in running.output()
    assert found(running.state) == expected()


def test_a_disk_that_is_full_for_too_long_ends_the_run_and_a_later_one_completes(
    tmp_path: Path, disk: Disk, gate: Gate
) -> None:
    with start(tmp_path, "run.max_outage_s=1", state=disk.path, output=tmp_path / "out") as running:
        _fill_in_the_middle(running, disk, gate)
        assert running.wait() == 3, running.output()
    report = running.of("report")[0]
    assert re.fullmatch(rf"({WAITING}): {PROBLEM}, for more than 1 s", report["reason"])
    assert [unit["status"] for unit in report["units"]] == ["reading"]
    assert "Traceback" not in running.output()
    with start(tmp_path, state=disk.path, output=tmp_path / "out") as refused:
        assert refused.wait() == 78, refused.output()
    disk.make_room()
    with start(tmp_path, state=disk.path, output=tmp_path / "out") as again:
        assert again.wait() == 0, again.output()
    assert found(disk.path) == expected()


@pytest.mark.parametrize("name", ["reader.1", "aggregator.1", "writer.store", "writer.dead_letters"])
def test_an_actor_that_dies_while_the_disk_is_full_comes_back_and_waits_on(
    tmp_path: Path, disk: Disk, gate: Gate, name: str
) -> None:
    with start(tmp_path, state=disk.path, output=tmp_path / "out") as running:
        _fill_in_the_middle(running, disk, gate)
        running.kill(name, after_batches=0)

        def is_back(views: Views) -> bool:
            return views[name].generation == 2 and views[name].phase not in ("", "BOOT")

        running.until(is_back, f"the next generation of {name}")
        disk.make_room()
        assert running.wait() == 0, running.output()
    assert [event["how"] for event in running.of("died")] == ["signal SIGKILL"]
    assert "Traceback" not in running.output()
    assert found(running.state) == expected()


def test_sigterm_while_the_disk_is_full_ends_resumable_within_the_drain_time(
    tmp_path: Path, disk: Disk, gate: Gate
) -> None:
    with start(tmp_path, "run.drain_s=0.5", state=disk.path, output=tmp_path / "out") as running:
        _fill_in_the_middle(running, disk, gate)
        running.process.terminate()
        assert running.wait() == 3, running.output()
    assert running.of("report")[0]["reason"] == "stopped by SIGTERM; not all was finished in 0.5 s"
    assert "Traceback" not in running.output()
    disk.make_room()
    with start(tmp_path, state=disk.path, output=tmp_path / "out") as again:
        assert again.wait() == 0, again.output()
    assert found(disk.path) == expected()


def _listening(tmp_path: Path, disk: Disk, *sets: str) -> Running:
    """A pipeline that takes lines from clients, with nothing but its journal on the disk; it listens, and waits."""
    words = (word for item in (f"source.journal={disk.path / 'journal'}", *sets) for word in ("--set", item))
    running = Running(tmp_path / "state", "run", "tests.pipelines.listener", "--format", "json", *words)
    running.until(lambda views: views["reader.1"].phase == "IDLE", "a reader that listens")
    return running


def test_a_journal_on_a_full_disk_holds_the_clients_back_until_there_is_room(tmp_path: Path, disk: Disk) -> None:
    data = b"".join(b"%09d\n" % number for number in range(1000))
    with _listening(tmp_path, disk) as running, socket.create_connection(address_of(disk.path), timeout=240) as client:
        disk.fill()
        client.sendall(data)
        views = running.until(lambda views: views["reader.1"].phase == "RETRY", "a reader that waits")
        assert re.fullmatch(rf"journal {disk.path}/journal: no space left on device", views["reader.1"].note)
        disk.make_room()
        running.until(lambda views: views["writer.store"].records >= 1000, "1,000 lines")
        running.process.terminate()
        running.wait()
    assert [event["actor"] for event in running.of("recovered")] == ["reader.1"]
    assert running.of("died") == []
    assert (running.state / "store.log").read_bytes() == data


def test_a_journal_that_cannot_be_written_for_too_long_ends_the_run(tmp_path: Path, disk: Disk) -> None:
    with (_listening(tmp_path, disk, "run.max_outage_s=1") as running,
          socket.create_connection(address_of(disk.path), timeout=240) as client):
        disk.fill()
        client.sendall(b"123456789\n")
        assert running.wait() == 3, running.output()
    assert running.of("report")[0]["reason"] == (
        f"reader.1: journal {disk.path}/journal: no space left on device, for more than 1 s")
