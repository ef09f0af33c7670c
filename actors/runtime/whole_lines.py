"""Whole lines on a stream that several processes write to: each line goes out in one write, with its newline.

The processes of a run share standard output and standard error, with one another and often with a file or a pipe for
both. Python's own streams write a line in pieces: with ``PYTHONUNBUFFERED``, as containers set it, a ``print`` is one
write for each argument and one for the newline, and a full buffer is cut anywhere. Between two pieces comes what
another process writes. So ``install`` gives a process streams that cut at newlines only, also for what libraries and
the functions of applications print.

A pipe takes up to ``PIPE_BUF`` bytes at once; into a longer write other processes may write. A process that writes to a
pipe or a socket therefore locks it. The kernel keeps this lock for the pipe itself, not for a descriptor, and releases
it when its owner dies. A process that is stopped while it holds the lock silences no other: after ``PATIENCE_S`` the
others write without the lock.

What does not work: ``flock`` (the processes share one open file description, so it is everybody's lock at once); the
line buffering of ``TextIOWrapper`` (it flushes the beginning of the next line with the end of this one, and is cut
after 8 KiB).
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from actors.runtime.printable import ESCAPED, in_lines

#: Longest time that a process waits for its turn, in seconds.
PATIENCE_S = 1.0
_LOOK_S = 0.001
#: So much is kept of a stream that is buffered before it is written.
_BUFFER_BYTES = 8192
#: The locks of this process, by what is written to: the kernel's are between processes only.
_threads: dict[tuple[int, int], threading.RLock] = {}


class Turns:
    """Turns at writing to a descriptor, among the threads of this process and, for a pipe or a socket, among processes.

    Regular files and terminals take a write of any size as one.

    Args:
        descriptor: what is written to.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._patience_s = PATIENCE_S

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the turn; other writers wait until it is given back."""
        about = os.fstat(self._descriptor)
        with _threads.setdefault((about.st_dev, about.st_ino), threading.RLock()):
            is_locked = (stat.S_ISFIFO(about.st_mode) or stat.S_ISSOCK(about.st_mode)) and self._lock()
            try:
                yield
            finally:
                if is_locked:
                    fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # another has it; the kernel's own wait has no end
                if time.monotonic() >= deadline:
                    self._patience_s = 0.0  # until it was free once
                    return False
                time.sleep(_LOOK_S)
            except OSError:  # nothing that can be locked
                return False
            else:
                self._patience_s = PATIENCE_S
                return True


def write_some(descriptor: int, data: memoryview) -> int:
    """Write what is taken, waiting for a stream that somebody has made non-blocking; return how many bytes.

    Raises:
        OSError: it cannot be written.
    """
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        select.select([], [descriptor], [])
        return 0


class LineWriter(io.BufferedIOBase):
    """Bytes to a descriptor, cut after newlines; the descriptor stays open, it is not ours.

    What cannot be written is lost, and whoever wrote it gets the error.

    Args:
        descriptor: where to write.
        name: as streams are named, e.g. ``<stdout>``.
        is_eager: whether a line is written when it is whole, or when there is enough of them.
    """

    mode = "wb"

    def __init__(self, descriptor: int, name: str, is_eager: bool) -> None:
        self.name = name
        self._descriptor = descriptor
        self._is_eager = is_eager
        self._turns = Turns(descriptor)
        self._kept = bytearray()
        self._lock = threading.RLock()

    def write(self, data: object) -> int:
        """Take bytes; write the lines that are whole, if it is time.

        A text of several lines that is printed stays together: what ends within a line is not complete.
        """
        added = memoryview(data).cast("B")  # type: ignore[arg-type]
        with self._lock:
            self._kept += added
            if (self._is_eager and self._kept.endswith(b"\n")) or len(self._kept) >= _BUFFER_BYTES:
                self._write(self._kept.rfind(b"\n") + 1)
        return len(added)

    def flush(self) -> None:
        """Write everything, also a line that has only begun."""
        with self._lock:
            self._write(len(self._kept))

    def close(self) -> None:
        """Write everything."""
        if not self.closed:
            super().close()

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def _write(self, size: int) -> None:
        if not size:
            return
        data = memoryview(bytes(self._kept[:size]))
        del self._kept[:size]
        with self._turns.turn():
            while data:
                data = data[write_some(self._descriptor, data):]

    def forked(self) -> None:
        """In the child of a fork: what was begun is said by the parent, whose threads are not here."""
        self._kept.clear()
        self._lock = threading.RLock()


class NamedLines(LineWriter):
    """The same, each line behind the name of who writes it.

    Args:
        descriptor: where to write.
        name: of the stream.
        who: e.g. ``parser.1``.
    """

    def __init__(self, descriptor: int, name: str, who: str) -> None:
        super().__init__(descriptor, name, is_eager=True)
        self._head = f"{who}: ".encode()
        self._is_begun = False

    def write(self, data: object) -> int:
        """Take bytes; write the lines that are whole."""
        added = bytes(memoryview(data).cast("B"))  # type: ignore[arg-type]
        for line in added.splitlines(keepends=True):
            super().write(line if self._is_begun else self._head + line)
            self._is_begun = not line.endswith(b"\n")
        return len(added)


class Printable(io.TextIOWrapper):
    """Text of which nothing but ends of lines and tabulators means something to a terminal.

    Attributes:
        as_is: the same stream for what draws on a screen, and for data.
    """

    as_is: TextIO

    def write(self, text: str) -> int:
        """Write text; what cannot be printed as what stands for it."""
        super().write(in_lines(text))
        return len(text)


def install(is_printable: bool = False) -> None:
    """Give this process streams that write whole lines; once, and only in place of Python's own.

    Args:
        is_printable: what is printed there is ours, and said with the words of others: see ``Printable``.
    """
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):  # None, when it was closed
        sys.stdout = _in_place_of(sys.stdout, is_printable)
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _in_place_of(sys.stderr, is_printable)


def name_output(who: str) -> None:
    """What this process prints from here on goes to standard error, each line behind its name: standard output is for
    what its run says, and for data."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        writer = NamedLines(2, "<stdout>", who)
        _writers.append(writer)
        sys.stdout = io.TextIOWrapper(writer, sys.stdout.encoding, sys.stdout.errors, newline="\n", write_through=True)


def as_is(stream: TextIO) -> TextIO:
    """The stream that takes text as it is, of one that this process was given."""
    return stream.as_is if isinstance(stream, Printable) else stream


def _in_place_of(stream: io.TextIOWrapper, is_printable: bool) -> TextIO:
    stream.flush()
    is_eager = stream.line_buffering or stream.write_through
    writer = LineWriter(stream.fileno(), stream.name, is_eager)
    _writers.append(writer)
    plain = io.TextIOWrapper(writer, stream.encoding, ESCAPED, newline="\n", write_through=is_eager)
    if not is_printable:
        return plain
    shown = Printable(writer, stream.encoding, ESCAPED, newline="\n", write_through=is_eager)
    shown.as_is = plain
    return shown


_writers: list[LineWriter] = []


def _forked() -> None:
    _threads.clear()
    for writer in _writers:
        writer.forked()


os.register_at_fork(after_in_child=_forked)
