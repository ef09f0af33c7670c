"""What ``docs/tutorial.md`` tells a newcomer to do works as it is written. The page itself says how it is read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.loads import ROOT
from tests.servers import free_port

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
WATCHDOG_S = 240.0
#: How long a block marked ``retry`` may take to come out as it is shown.
RETRY_S = 15.0
#: The monitor and ``top``, which the blocks marked ``monitor`` need.
HAS_MONITOR = bool(find_spec("actors.telemetry.http")) and bool(find_spec("actors.console.top"))
#: Words behind ``console``; ``exit=N`` besides.
_WORDS = {"retry", "background", "end", "monitor", "by-hand"}


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        kind: ``console`` or ``diff``.
        words: what else is said behind the fence.
        lines: what is in it.
        number: the line of the page where it begins.
    """

    kind: str
    words: list[str]
    lines: list[str]
    number: int

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with the lines that it is to print; without a command, the lines alone."""
        found: list[tuple[str, list[str]]] = []
        for line in self.lines:
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line)
            else:
                return [("", self.lines)]
        return found

    @property
    def code(self) -> int:
        """The exit code that its commands end with."""
        return next((int(word[5:]) for word in self.words if word.startswith("exit=")), 0)


def blocks(text: str) -> list[Block]:
    """The blocks of a page that something is to be done with."""
    found = []
    for match in re.finditer(r"^```(console|diff)(?: ([^\n]*))?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        words, number = (match[2] or "").split(), text.count("\n", 0, match.start()) + 1
        found.append(Block(match[1], words, match[3].splitlines(), number))
    return found


def as_shown(shown: list[str], printed: str) -> bool:
    """Whether what was printed is what is shown, where … stands for anything."""
    if not shown:
        return True
    pattern = ""
    for line in shown:
        pattern += r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r" *\n"
    return re.fullmatch(pattern, printed.rstrip("\n") + "\n") is not None


def applied(text: str, lines: list[str]) -> str:
    """The text with a diff applied whose lines are in it exactly once."""
    old = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
    new = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
    assert text.count(old) == 1, f"expected these lines once:\n{old}"
    return text.replace(old, new)


_CURL = "import sys, urllib.request as u; print(u.urlopen(sys.argv[-1]).read().decode(), end='')"


class Terminal:
    """Somebody who does what the page says, in a folder; a context manager.

    Args:
        folder: where to begin.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = str(free_port())
        self._running: subprocess.Popen[bytes] | None = None
        self._printed = ""
        self._reader: threading.Thread | None = None
        programs = folder / "bin"
        programs.mkdir()
        for name, arguments in (("thresher", "-m actors.cli"), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            (programs / name).chmod(0o755)
        if shutil.which("curl") is None:
            (programs / "curl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{_CURL}" "$@"\n')
            (programs / "curl").chmod(0o755)
        self._environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{programs}:{os.environ['PATH']}",
                         "THRESHER_MONITOR__PORT": self._port, "NO_COLOR": "1", "COLUMNS": "120"}

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._running is not None and self._running.poll() is None:
            self._running.kill()  # its actors die with it
            self._running.wait()
        if self._running is not None and self._running.stdout is not None and self._reader is not None:
            self._reader.join(WATCHDOG_S)
            self._running.stdout.close()

    def do(self, block: Block) -> None:
        """Do what a block says, and compare."""
        if block.kind == "diff":
            path = self._folder / block.words[0]
            path.write_text(applied(path.read_text(), block.lines))
            return
        patience_s = RETRY_S if {"retry", "monitor"} & set(block.words) else 0.0
        for command, lines in block.commands:
            where = f"docs/tutorial.md:{block.number}: {command}"
            # The page shows what a terminal does, which a pipe is not.
            shown = [line.replace("8686", self._port).replace("/?token=…", "/ with the token in …") for line in lines]
            if "background" in block.words:
                self._start(command)
                self._wait_for(shown, where)
            elif "monitor" in block.words and not command:
                self._wait_for(shown, where)
            elif "end" in block.words:
                self._end(shown, block.code, where)
            elif command.startswith("cd "):
                self._folder /= command[3:]
            else:
                self._run(command, shown, block.code, patience_s, where)

    def _run(self, command: str, shown: list[str], code: int, patience_s: float, where: str) -> None:
        deadline = time.monotonic() + patience_s
        while True:
            process = self._started(command)
            try:
                printed = _text(process.communicate(timeout=WATCHDOG_S)[0])
            finally:
                process.kill()
            if process.returncode == code and as_shown(shown, printed):
                return
            if time.monotonic() >= deadline:
                expected = "\n".join(shown)
                raise AssertionError(f"{where}\nended with {process.returncode}, expected {code}\n"
                                     f"--- expected\n{expected}\n--- printed\n{printed}")

    def _started(self, command: str, how: str = "") -> subprocess.Popen[bytes]:
        command = re.sub(r"\b8686\b", self._port, command)
        if re.match(r"thresher (run|bench) ", command):
            command += " --format text"  # as on a terminal
        return subprocess.Popen(["sh", "-c", f"exec 2>&1; {how} {command}"], cwd=self._folder, env=self._environ,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def _start(self, command: str) -> None:
        self._running = self._started(command, "exec")  # no shell between us and it
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._running is not None and self._running.stdout is not None
        for line in self._running.stdout:
            self._printed += _text(line)

    def _wait_for(self, shown: list[str], where: str) -> None:
        deadline = time.monotonic() + RETRY_S
        while not as_shown(shown, self._printed):
            assert time.monotonic() < deadline, f"{where}: printed {self._printed}"
            time.sleep(0.02)

    def _end(self, shown: list[str], code: int, where: str) -> None:
        assert self._running is not None and self._reader is not None
        assert self._running.wait(WATCHDOG_S) == code, f"{where}: printed {self._printed}"
        self._reader.join(WATCHDOG_S)
        assert as_shown(shown, self._printed), f"{where}: printed {self._printed}"


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(tmp_path) as somebody:
        yield somebody


def test_the_tutorial_can_be_done_as_it_is_written(terminal: Terminal) -> None:
    for block in blocks(TUTORIAL):
        if not {"by-hand", "monitor"} & set(block.words):
            terminal.do(block)


@pytest.mark.skipif(not HAS_MONITOR, reason="the monitor is not there yet")
def test_what_the_tutorial_says_of_the_monitor_is_so(terminal: Terminal) -> None:
    made, *others = blocks(TUTORIAL)[1:]
    terminal.do(made)
    terminal.do(Block("console", [], ["$ cd access"], 0))
    for block in others:
        if block.kind == "diff" or {"background", "monitor"} & set(block.words):
            terminal.do(block)


def test_every_block_is_one_that_the_page_explains() -> None:
    found = blocks(TUTORIAL)
    assert TUTORIAL.count("\n```") == 2 * len(found), "a block is neither console nor diff"
    for block in found:
        if block.kind == "console":
            assert {word for word in block.words if not re.fullmatch(r"exit=\d+", word)} <= _WORDS, block
    by_hand = [command for block in found if "by-hand" in block.words for command, _ in block.commands]
    assert not [command for command in by_hand if command.startswith("thresher")]


@pytest.mark.parametrize(("shown", "printed", "same"), [
    (["a", "b"], "a\nb\n", True), (["a"], "a\nb\n", False), (["a …"], "a 3 c\n", True), (["…", "b"], "a\na\nb\n", True),
    (["…", "b"], "b\n", True), (["b", "…"], "b", True), (["a.c"], "abc\n", False), (["a", "", "b"], "a\n\nb\n", True),
    (["a", "…", "c"], "a\nb\nb\n", False), ([], "whatever", True),
])
def test_what_is_shown_stands_for_what_is_printed(shown: list[str], printed: str, same: bool) -> None:
    assert as_shown(shown, printed) == same


def test_a_diff_changes_the_lines_that_it_shows_and_no_others() -> None:
    assert applied("a\nb\nc\n", [" a", "-b", "+x", "+y"]) == "a\nx\ny\nc\n"
    with pytest.raises(AssertionError, match="expected these lines once"):
        applied("a\na\n", ["-a"])
