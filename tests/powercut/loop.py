"""A real file system whose power can be cut: ext4 in a file, on a loop device that is this test's own.

    mkfs, mount ──a run──▶ cut: from this moment on nothing reaches the device ──▶ killed, unmounted, mounted again

A cut is the file system's own (``EXT4_IOC_SHUTDOWN`` without its log, which is what its developers test it with): what
is on the device at that moment stays, all else is gone, and the next mount replays the journal. So what is left is what
ext4 leaves, with its order of names and bytes; ``disk.py`` leaves what any disk might.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Self

from tests.powercut.cuts import Cut, Job, start

_SHUTDOWN, _WITHOUT_THE_LOG = 0x8004587D, 2
_MENDED = (0, 1)  # what e2fsck says when it found nothing, or mended what it found
_SIZE = 256 * 1024 * 1024  # of a file with holes
#: Who uses a file system that is unmounted is being killed.
_GONE_S = 20.0
#: How it is mounted: what is not flushed reaches the disk sooner or later, and in another order.
MOUNTS = ("", "data=writeback", "commit=1", "nodelalloc,commit=1")


def what_is_missing(folder: Path) -> str:
    """Why there can be no such disk here, in a sentence; empty when there can."""
    needs = "cuts on a loop device need root, mkfs.ext4 and loop mounts"
    if os.geteuid():
        return f"{needs}: this is user {os.geteuid()}"
    if shutil.which("mkfs.ext4") is None:
        return f"{needs}: there is no mkfs.ext4 (apt-get install e2fsprogs)"
    try:
        with LoopDisk(folder / "trial") as disk:
            disk.cut()
    except (subprocess.CalledProcessError, OSError) as error:
        said = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else str(error)
        return f"{needs}: {' '.join(said.split())}"
    return ""


def _do(*words: str | Path) -> None:
    # A session of its own: Ctrl-C is for those who unmount, not for what is half way through a mount.
    subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL, start_new_session=True)


class LoopDisk:
    """A disk in a folder of its own, which is gone with it; a context manager.

    Attributes:
        path: where it is mounted.

    Raises:
        subprocess.CalledProcessError: it cannot be made or mounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._image = folder / "image"
        self.path = folder / "mounted"

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        try:
            self.renew()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # a second Ctrl-C waits
        try:
            self.unmount()
            shutil.rmtree(self._folder)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def renew(self, options: str = "") -> None:
        """Make it empty, and mount it."""
        self.unmount()
        self._image.unlink(missing_ok=True)
        with self._image.open("wb") as image:
            image.truncate(_SIZE)
        _do("mkfs.ext4", "-q", "-F", self._image)
        self.mount(options)

    def mount(self, options: str = "") -> None:
        """Mount what is there."""
        _do("mount", "-o", ",".join(filter(None, ("loop", options))), self._image, self.path)

    def unmount(self) -> None:
        """Unmount it, when it is mounted, as soon as nobody uses it; its loop device goes with it."""
        deadline = time.monotonic() + _GONE_S
        while self.path.is_mount():
            try:
                _do("umount", *(["-l"] if time.monotonic() > deadline else []), self.path)
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline + _GONE_S:
                    raise
                time.sleep(0.01)

    def turn_read_only(self) -> None:
        """It is read-only from now on, as ext4 makes it after an error: also for files that are open."""
        _do("mount", "-o", "remount,abort", self.path)

    def mend(self) -> None:
        """Do what an operator does then: unmount it, have it checked, mount it again."""
        self.unmount()
        done = subprocess.run(["e2fsck", "-fy", self._image], capture_output=True, check=False, start_new_session=True)
        assert done.returncode in _MENDED, done.stdout
        self.mount()

    def sync(self) -> None:
        """All that was done so far is on the disk."""
        _do("sync", "-f", self.path)

    def cut(self) -> None:
        """The power goes."""
        root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(root, _SHUTDOWN, struct.pack("I", _WITHOUT_THE_LOG))
        finally:
            os.close(root)


def cuts_on_loop(job: Job, folder: Path, seeds: range) -> Generator[Any, None, None]:
    """Like ``cuts``, on a real file system: run the job in peace, and yield what its stores hold; then for each seed
    run it once more, cut the power in the middle, resume, and yield a ``Cut``."""
    run_dir = folder / "run"
    run_dir.mkdir(parents=True, mode=0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(run_dir)}
    with LoopDisk(folder / "disk") as disk:
        root = _prepared(job, disk)
        began = time.monotonic()
        peace = start(job, root, environment)
        took = time.monotonic() - began
        assert peace.returncode == 0, peace.stdout
        yield job.look(root)
        for seed in seeds:
            chance = random.Random(seed)
            disk.renew(chance.choice(MOUNTS))
            root = _prepared(job, disk)
            start(_cut_after(job, disk, chance.uniform(0, took)), root, environment)
            disk.unmount()
            disk.mount()
            again = start(job, root, environment)
            try:
                found = job.look(root)
            except (AssertionError, sqlite3.Error, OSError) as error:
                found = f"{type(error).__name__}: {error}"
            yield Cut(seed, again.returncode, again.stdout, found)


def _prepared(job: Job, disk: LoopDisk) -> Path:
    root = disk.path / "root"
    root.mkdir()
    job.prepare(root)
    disk.sync()
    return root


def _cut_after(job: Job, disk: LoopDisk, seconds: float) -> Job:
    """The same job, whose power goes after so many seconds, or at its end, whatever comes first."""

    def drive(root: Path, process: subprocess.Popen[str]) -> None:
        is_cut = threading.Event()

        def cut() -> None:
            is_cut.set()  # before the disk is: who meets that looks here
            disk.cut()
            process.kill()

        timer = threading.Timer(seconds, cut)
        timer.start()
        try:
            job.drive(root, process)
        except OSError:
            if not is_cut.is_set():
                raise
        finally:
            timer.join()

    return job._replace(drive=drive)
