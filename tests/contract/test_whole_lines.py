"""What several processes write to one stream are whole lines, each in one write.

A socket that keeps the bounds of messages shows what was one write: a line in two writes is seen every time, not only
when another process comes between them.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.runtime.values import Payload
from actors.sinks.stdout import Stdout, _Console
from tests.loads import ROOT

WATCHDOG_S = 240.0
INSTALLED = "from actors.runtime import whole_lines; whole_lines.install(); import os, sys\n"


class Messages:
    """The writes that came, in order."""

    def __init__(self, out: socket.socket, descriptor: int) -> None:
        self.descriptor = descriptor
        self.writes: list[bytes] = []
        self._thread = threading.Thread(target=self._take, args=(out,))
        self._thread.start()

    def _take(self, out: socket.socket) -> None:
        while write := out.recv(1 << 20):
            self.writes.append(write)

    def wait(self) -> list[bytes]:
        """All writes, when nobody can write any more."""
        self._thread.join(WATCHDOG_S)
        assert not self._thread.is_alive(), "somebody still holds the stream"
        return self.writes


@contextmanager
def messages() -> Iterator[tuple[socket.socket, Messages]]:
    """A stream that keeps the bounds of writes; close the first end before ``wait``."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield theirs, Messages(ours, theirs.fileno())


def environment(unbuffered: str) -> dict[str, str]:
    """This one, with Python's buffers on (empty) or off."""
    return {**os.environ, "PYTHONUNBUFFERED": unbuffered}


def writes_of(unbuffered: str, *words: str, code: int = 0) -> list[bytes]:
    """The writes of a Python program whose two streams are one."""
    with messages() as (stream, received):
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream.fileno(),
            stderr=stream.fileno(), env=environment(unbuffered), timeout=WATCHDOG_S, check=False)
        stream.close()
        writes = received.wait()
    assert done.returncode == code, b"".join(writes).decode()
    return writes


def said(program: str, unbuffered: str = "1") -> list[bytes]:
    """The writes of a few lines of Python, with whole lines installed."""
    return writes_of(unbuffered, "-c", INSTALLED + program)


@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["unbuffered", "buffered"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_all_that_the_processes_of_a_run_say_comes_in_whole_lines(tmp_path: Path, form: str, unbuffered: str) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{number}\n" for number in range(200)) + "word\n")
    writes = writes_of(
        unbuffered, "-m", "actors.cli", "run", "tests.pipelines.talkative", "--state", str(tmp_path / "state"),
        "--set", f"source.pattern={tmp_path}/*.txt", "--format", form)
    assert [write for write in writes if not write.endswith(b"\n")] == []
    lines = b"".join(writes).decode().splitlines()
    assert sum(re.fullmatch(r"parsing \w+ next", line) is not None for line in lines) == 201  # as it was said
    assert sum(re.fullmatch(r"parser\.\d: parsing \w+ next", line) is not None for line in lines) == 201  # printed
    assert sum(line.isdigit() for line in lines) == 200
    assert "ValueError: invalid literal for int() with base 10: b'word'" in lines


@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["unbuffered", "buffered"])
def test_a_configuration_that_is_wrong_is_told_in_whole_lines(tmp_path: Path, unbuffered: str) -> None:
    writes = writes_of(unbuffered, "-m", "actors.cli", "run", "numbres", "--state", str(tmp_path), code=78)
    assert writes and all(write.endswith(b"\n") for write in writes)


def test_the_sink_of_standard_output_cuts_between_lines_and_keeps_a_long_one_whole() -> None:
    lines = [b"%06d" % number * 11 for number in range(5000)]
    lines[2500:2500] = [b"x" * 150_000]
    with messages() as (stream, received):
        _Console(stream.fileno()).write([Payload("p", 0, 1, len(lines), Stdout().pack(lines))])
        stream.close()
        writes = received.wait()
    assert b"".join(writes).splitlines() == lines
    assert len(writes) > 3
    assert [len(write) for write in writes if not write.endswith(b"\n")] == []


def test_a_line_is_one_write_however_it_is_printed_and_a_text_of_lines_too() -> None:
    writes = said("print('a', 'b', 3)\nsys.stderr.write('half')\nsys.stderr.write(' and whole\\nbegun')\n"
                  "print(file=sys.stderr)\nprint('x' * 9000)\nprint('two\\nlines', flush=True)\n"
                  "sys.stdout.buffer.write(b'bytes\\n')\n")
    assert writes == [b"a b 3\n", b"half and whole\nbegun\n", b"x" * 9000 + b"\n", b"two\nlines\n", b"bytes\n"]


def test_what_is_flushed_without_a_newline_is_written_and_what_is_left_at_the_end_too() -> None:
    assert said("print('sure?', end='', flush=True)\nprint('left', end='')\n") == [b"sure?", b"left"]


def test_what_is_buffered_is_written_in_large_pieces_of_whole_lines() -> None:
    writes = said("for number in range(20_000): print(number)\n", unbuffered="")
    assert b"".join(writes).decode().splitlines() == [str(number) for number in range(20_000)]
    assert all(write.endswith(b"\n") for write in writes)
    assert len(writes) < 100


def test_what_a_process_has_begun_to_say_is_not_said_by_its_fork_too() -> None:
    writes = said("print('begun', end=' ')\npid = os.fork()\n"
                  "print('child' if pid == 0 else 'parent')\nif pid: os.wait()\n")
    assert sorted(writes) == [b"begun parent\n", b"child\n"]


def test_an_error_that_nobody_catches_is_told_in_whole_lines() -> None:
    writes = said("import threading\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()\n")
    assert all(write.endswith(b"\n") for write in writes)
    assert writes[-1] == b"ZeroDivisionError: division by zero\n"


def talker(letter: str, length: int, count: int, out: int) -> subprocess.Popen[bytes]:
    """A process that prints long lines."""
    program = f"for number in range({count}): print('{letter}' * ({length} + number), flush=True)"
    return subprocess.Popen([sys.executable, "-c", INSTALLED + program], cwd=ROOT, stdout=out,
                            env=environment("1"))


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "nonblocking"])
def test_lines_longer_than_a_pipe_takes_at_once_are_whole(blocking: bool) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, blocking)
    talkers = [talker(letter, 9_000, 100, writing) for letter in "abc"]
    os.close(writing)
    with open(reading, "rb") as out:
        lines = out.read().splitlines()
    assert [process.wait(WATCHDOG_S) for process in talkers] == [0, 0, 0]
    assert [line[:20] for line in lines if len(set(line)) != 1] == []
    assert sorted(map(len, lines)) == sorted(3 * list(range(9_000, 9_100)))


def test_whoever_was_stopped_in_the_middle_of_a_line_silences_nobody() -> None:
    reading, writing = os.pipe()
    fcntl.lockf(writing, fcntl.LOCK_EX)  # as one does who was stopped
    process = talker("a", 10, 50, writing)
    assert process.wait(WATCHDOG_S) == 0
    os.close(writing)
    with open(reading, "rb") as out:
        assert len(out.read().splitlines()) == 50


def test_what_the_command_prints_means_nothing_to_a_terminal_and_what_draws_is_taken_as_it_is() -> None:
    code = INSTALLED.replace("install()", "install(is_printable=True)") + (
        "print('a\\x1b[2J\\udcff', 'b\\tc\\nd'); print('\\x1b[1m', file=whole_lines.as_is(sys.stdout))\n"
        "print('\\x9b', file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=WATCHDOG_S)
    assert done.stdout == b"a\\x1b[2J\\udcff b\tc\nd\n\x1b[1m\n"
    assert done.stderr == b"\\u009b\n"


@pytest.mark.parametrize("said_by", ["PYTHONIOENCODING", "LC_ALL"])
def test_what_a_stream_s_encoding_does_not_have_is_given_as_what_stands_for_it(said_by: str) -> None:
    code = INSTALLED.replace("install()", "install(is_printable=True)") + (
        "import json; print('\\xe9\\u2026\\udcff'); print(json.dumps('\\U0001f600', ensure_ascii=False), "
        "file=whole_lines.as_is(sys.stdout))\nprint('\\xe9', file=sys.stderr)")
    plain = {"PYTHONIOENCODING": "ascii"} if said_by == "PYTHONIOENCODING" else {
        "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

    def ran(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=False, timeout=WATCHDOG_S,
                              env={**os.environ, **plain})

    done = ran("-c", code)
    assert (done.stdout, done.stderr) == (b'\\u00e9\\u2026\\udcff\n"\\ud83d\\ude00"\n', b"\\u00e9\n")
    assert b"\\u2026" in ran("-m", "thresher", "docs", "windows").stdout
    wrong = ran("-m", "thresher", "lint", "\xe9")
    assert (wrong.returncode, b"Traceback" in wrong.stderr) == (78, False), wrong.stderr
