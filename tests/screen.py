"""A command on a terminal of its own: what is drawn is read, keys are pressed. For tests of what draws."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from typing import Self

from tests.loads import ROOT, WATCHDOG_S

#: The command as the leader of its terminal: Ctrl-C is to come from there.
_MAIN = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from actors.cli import main
sys.exit(main(sys.argv[1:]))
"""
_HOME = b"\x1b[H"
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r")
ALTERNATE_ON, ALTERNATE_OFF, CURSOR_ON = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


class Screen:
    """``thresher`` on a pseudo-terminal.

    Args:
        words: the command line.
        columns: width of the terminal.
        lines: its height.
        environ: more of the environment.

    Attributes:
        raw: all that was written so far.
    """

    def __init__(
        self, *words: str, columns: int = 120, lines: int = 40, environ: Mapping[str, str] | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.raw = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, *words], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, env={**inherited, "TERM": "xterm-256color", **(environ or {})})
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    @property
    def text(self) -> str:
        """What the last drawing shows, without colours."""
        return _CONTROL.sub(b"", self.raw.rpartition(_HOME)[2]).decode()

    def until(self, condition: Callable[[str], bool], what: str) -> str:
        """Wait until the screen shows something."""
        deadline = time.monotonic() + WATCHDOG_S
        while time.monotonic() < deadline:
            self._take()
            if condition(self.text):
                return self.text
            assert self.process.poll() is None, f"it ended before {what}: {self.text}"
        raise AssertionError(f"no {what}: {self.text}")

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        deadline = time.monotonic() + WATCHDOG_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.text}"
            self._take()
        self._take()
        return self.process.returncode

    def _take(self) -> None:
        while select.select([self._ours], [], [], 0.05)[0]:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # all who wrote there have gone
                return
            if not data:
                return
            self.raw += data
