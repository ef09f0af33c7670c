"""The power goes under a real file system, ext4 on a loop device (root): nothing is lost, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka import Kafka
from tests.loads import ROOT, WATCHDOG_S
from tests.postgres import Postgres
from tests.powercut.cuts import JOBS, start
from tests.powercut.elsewhere import Elsewhere
from tests.powercut.loop import LoopDisk, cuts_on_loop, what_is_missing
from tests.rabbitmq import RabbitMQ
from tests.servers import Memcached

#: Cuts of each job, and the seed of the first.
CUTS = int(os.environ.get("THRESHER_POWER_CUTS_ON_LOOP", "2"))
FIRST = int(os.environ.get("THRESHER_POWER_CUTS_FROM", "0"))
_SCRIPT = [sys.executable, str(ROOT / "scripts" / "powercut.py"), "--loop"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a file system can be mounted, and in which none is when the test is over."""
    if missing := what_is_missing(tmp_path):
        pytest.skip(missing)
    yield tmp_path
    assert left_in(tmp_path) == []


def left_in(folder: Path) -> list[str]:
    """What is mounted in a folder, and the loop devices whose files are there."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    behind = [path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return [name for name in [*mounted, *behind] if name.startswith(f"{folder}/")]


@pytest.mark.parametrize("job", JOBS)
def test_after_the_power_of_a_real_disk_went_the_same_command_ends_with_all_of_it_and_each_once(
    folder: Path, job: str
) -> None:
    in_peace, *found = cuts_on_loop(JOBS[job], folder / "cuts", range(FIRST, FIRST + CUTS))
    assert len(found) == CUTS
    for cut in found:
        assert (cut.code, cut.found) == (0, in_peace), f"seed {cut.seed}: {cut.output}"


def test_servers_that_keep_their_power_have_all_of_it_and_each_once_when_that_of_this_machine_went(
    folder: Path, postgres: Postgres, kafka: Kafka, rabbitmq: RabbitMQ
) -> None:
    with Memcached() as memcached:
        job = Elsewhere(memcached, postgres, kafka, rabbitmq).job()
        in_peace, *found = cuts_on_loop(job, folder / "cuts", range(FIRST, FIRST + CUTS))
    assert len(in_peace["told"]) == len(in_peace["queued"]) == len(in_peace["kept"]) == len(in_peace["rowed"])
    assert len(found) == CUTS
    for cut in found:
        assert (cut.code, cut.found) == (0, in_peace), f"seed {cut.seed}: {cut.output}"


def test_what_was_not_flushed_is_gone_when_the_power_goes(folder: Path) -> None:
    with LoopDisk(folder / "disk") as disk:
        with (disk.path / "flushed").open("wb") as file:
            file.write(b"here")
            file.flush()
            os.fsync(file.fileno())
        (disk.path / "other").write_bytes(b"gone")
        disk.cut()
        disk.unmount()
        disk.mount()
        assert {path.name: path.read_bytes() for path in disk.path.iterdir() if path.is_file()} == {"flushed": b"here"}


def test_a_store_that_does_not_wait_for_the_disk_is_found_to_lack_what_the_positions_have(folder: Path) -> None:
    job = JOBS["everywhere"]
    hasty = job._replace(words=(*job.words, "--set", "sinks.keyed.sync=false"))
    with LoopDisk(folder / "disk") as disk:
        root = disk.path / "root"
        root.mkdir()
        job.prepare(root)
        assert start(hasty, root, dict(os.environ)).returncode == 0
        in_peace = job.look(root)
        disk.cut()
        disk.unmount()
        disk.mount()
        assert start(hasty, root, dict(os.environ)).returncode == 0
        assert {name for name, found in job.look(root).items() if found != in_peace[name]} == {"keyed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_who_is_stopped_in_the_middle_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    place = folder / "place"
    place.mkdir()
    with subprocess.Popen([*_SCRIPT, "--cuts", "1000", "--folder", str(place)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True) as script:
        deadline = time.monotonic() + WATCHDOG_S
        while not list(place.glob("*/everywhere/disk/mounted/root/state/positions.db")):
            assert script.poll() is None, script.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(script.pid, number)  # as a terminal does it, to all of them
        output, _ = script.communicate(timeout=WATCHDOG_S)
    assert (script.returncode, output) == (130, b"stopped; nothing is left behind\n")
    assert list(place.iterdir()) == []
    assert left_in(place) == []


def test_a_wrong_result_is_an_exception_and_leaves_nothing_behind(folder: Path) -> None:
    job = JOBS["everywhere"]._replace(words=("tests.pipelines.nowhere",))
    with pytest.raises(AssertionError, match="nowhere"):
        next(cuts_on_loop(job, folder / "cuts", range(1)))
    assert not (folder / "cuts" / "disk").exists()


def test_what_is_needed_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run([*_SCRIPT, "--folder", str(tmp_path)], env={**os.environ, "PATH": "/nowhere"}, timeout=240,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("cuts on a loop device need root, mkfs.ext4 and loop mounts: ")
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []
