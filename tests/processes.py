"""Servers of other people's as processes of a test: none outlives it, whatever becomes of it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

START_S = 120.0
#: How long an outage lasts at least, in seconds: 600 shows that ten minutes are not another thing than one.
OUTAGE_S = float(os.environ.get("THRESHER_OUTAGE_S", "0"))
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Served:
    """A server's process, which ends when the thread that has started it ends, by SIGKILL too.

    Args:
        command: the program and its words; it must not fork away.
        folder: its working folder; what it says goes to the file ``said`` there.
        environment: all that it gets.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        with (folder / "said").open("ab") as said:
            self._process = subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True, preexec_fn=_die_with_the_parent)  # noqa: PLW1509

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], log: Callable[[], str]) -> None:
        """Wait until it serves; fail with its log when it ends before, or takes two minutes."""
        deadline = time.monotonic() + START_S
        while not ready():
            code = self._process.poll()
            assert code is None, f"{self._process.args!r} ended with {code}:\n{log()}"
            assert time.monotonic() < deadline, f"{self._process.args!r} is not ready after {START_S} s:\n{log()}"
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it end in order; after two minutes, by force."""
        self._process.terminate()
        try:
            self._process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.kill()


class Broker:
    """A server in a folder of its own, which a test starts, kills and starts again; a context manager.

    Args:
        folder: all that it has; removed in the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._served: Served | None = None
        self._killed_at = -OUTAGE_S

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start, on the same folder and ports as before, and wait until it serves."""
        if self._served is None:
            time.sleep(max(0.0, self._killed_at + OUTAGE_S - time.monotonic()))
            self._served = self._begin()
            self._served.wait_until(self._serves, self.log)

    def log(self) -> str:
        """The last of what it has said."""
        return tail(self.folder / "said")

    def stop(self) -> None:
        """End it in order: its clients are told."""
        if self._served is not None:
            self._served.stop()
            self._served = None

    def kill(self) -> None:
        """SIGKILL: what was acknowledged is there when it is started again."""
        if self._served is not None:
            self._served.kill()
            self._served = None
            self._killed_at = time.monotonic()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Make it deaf: connections stay open and nothing is answered."""
        assert self._served is not None
        self._served.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._served is not None
        self._served.signal(signal.SIGCONT)

    def _begin(self) -> Served:
        """Start its process."""
        raise NotImplementedError

    def _serves(self) -> bool:
        """Whether it answers its clients."""
        raise NotImplementedError


def tail(path: Path, size: int = 20_000) -> str:
    """The last of what a file has, in bytes; empty when there is none."""
    if not path.exists():
        return ""
    return path.read_bytes()[-size:].decode(errors="replace")


def named_in_processes(*words: str) -> list[str]:
    """The command lines of the processes that have all these words in them; the caller's not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if process.name != str(os.getpid()) and all(word in line for word in words):
            found.append(line)
    return found


def with_all_it_starts(main: Callable[[], int]) -> int:
    """Run the main function of a program that starts others; told to end (SIGTERM, SIGINT), it ends them first.

    Runs lead sessions of their own, so Ctrl-C does not reach them; their actors, and servers' processes, go with them.
    """
    def end(_number: int, _frame: object) -> None:
        for task in Path("/proc/self/task").iterdir():
            for child in (task / "children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        return main()
    except KeyboardInterrupt:
        return 130


def _die_with_the_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
