"""What a process is given by the one that starts it, put in order before anything else is imported.

A parent hands down more than words: signals that it ignores or holds back, standard streams that are closed, a folder
that has been removed. None of it is asked for, and each of it ends a run in its own way: who waits for a child whose
SIGCHLD is ignored is told that there is none, and what is opened first in the place of standard output is written to by
every ``print``.

    take_over()        the first line: SIGTERM and SIGINT are held back, SIGCHLD means what it does, 0, 1, 2 are open
    hear()             what was held back, and what comes, raises Stopped: no run is there to drain yet
    (a run)            has handlers of its own: it drains
    ends_with(code)    a run has ended; a signal that comes now ends the process at once, with this code

What does not work: handlers from the first line on (what is imported may be anywhere when they raise); the default
meaning until a run begins (process 1 of a container has none: the kernel drops the signal); the default meaning after
its end (a run that has done all of its work would exit with 143).
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import Literal, TextIO

#: Held back until it is known what they mean.
HELD = (signal.SIGTERM, signal.SIGINT)
_closed: set[int] = set()
_code: int | None = None
_is_taken_over = False


class Stopped(KeyboardInterrupt):
    """A signal came while no run was there to drain. Its text is the signal's name."""


def take_over() -> None:
    """Put this process in order; call it once, in the first line of a command."""
    global _is_taken_over
    _is_taken_over = True
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, HELD)  # the first to be registered is the last to be run
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor, access in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        _open_if_closed(descriptor, access)
    # Python has nothing in their place, and what is printed is an error.
    sys.stdin = sys.stdin or _stream(0, "r")
    sys.stdout = sys.stdout or _stream(1, "w")
    sys.stderr = sys.stderr or _stream(2, "w")


def is_taken_over() -> bool:
    """Whether this process is the command's own."""
    return _is_taken_over


def hear(*, in_order: bool) -> None:
    """Hold nothing back any more, neither what this process nor what its parent has held back.

    Args:
        in_order: from here on a signal that asks to stop raises ``Stopped``, until a run has handlers of its own; else
            they mean what they mean by default. For process 1 it is always so: it has no default.
    """
    if in_order or os.getpid() == 1:
        for number in HELD:
            signal.signal(number, _stop)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def ends_with(code: int) -> None:
    """Say with which code this process ends, whatever signal comes from here on."""
    global _code
    _code = code


def is_closed(descriptor: int) -> bool:
    """Whether one of the descriptors 0, 1 and 2 was closed when this process began; now it leads nowhere."""
    return descriptor in _closed


def require_folder() -> None:
    """See that there is a folder to start from.

    Raises:
        ConfigError: it has been removed.
    """
    from actors.runtime.errors import ConfigError  # the first line is no place for it

    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the current folder has been removed, so no path can be looked for: "
                          "go to one that is there (`cd`), and start again") from None


def _stop(number: int, frame: object) -> None:
    if _code is not None:
        os._exit(_code)
    raise Stopped(signal.Signals(number).name)


def _open_if_closed(descriptor: int, access: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        os.set_inheritable(os.open(os.devnull, access), True)  # the lowest that is free: those below are open
        _closed.add(descriptor)


def _stream(descriptor: int, mode: Literal["r", "w"]) -> TextIO:
    return open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False)
