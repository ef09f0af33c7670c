"""What an application forks and does not end is a copy of its actor, and must not go on as the actor.

    if not os.fork():          the actor ──▶ goes on
        work()                 the copy  ──▶ comes back into the actor's own code: it would make the rest of the batch
    return value                             once more, and answer for it on the same sockets, at the same place on
                                             the board

So it is ended where it comes back, as Python ends a process: with its traceback if it raised, with its code if it has
called ``sys.exit``. One that returned is told how to be ended. Children of ``multiprocessing`` never come back.

What does not work: asking for the process id (a system call for each record, where this costs nothing); ending what has
called ``progress()`` (children may, and what they say is true).
"""

from __future__ import annotations

import os
import sys
import traceback

_RETURNED = ("a process that the application has forked came back out of its function, and is ended: it has to end by "
             "os._exit(), or be one of multiprocessing or subprocess")
_is_copy = False


def watch() -> None:
    """From here on this process is an actor: what is forked of it is a copy."""
    os.register_at_fork(after_in_child=_noted)


def end_copy() -> None:
    """In a copy: end it. Called where an application's function has come back, or has raised what is being handled."""
    if not _is_copy:
        return
    error, code = sys.exc_info()[1], 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exc()
    else:
        print(_RETURNED, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def _noted() -> None:
    global _is_copy
    _is_copy = True
