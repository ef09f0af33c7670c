"""A pipeline whose parser forks. For tests of whoever meets what comes of that."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from typing import Any

from thresher import ParserOptions, Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Files

FORK = multiprocessing.get_context("fork")
_pools: list[Any] = []


def parse(line: bytes) -> int:
    """A line says what its child does, and a number, which is returned; of one that is left its process id is."""
    what, _, number = line.decode().partition(" ")
    if what == "pool":
        _pools[:] = _pools or [FORK.Pool(1)]
        return int(_pools[0].apply(abs, (-int(number),)))
    if what == "stopped":
        child = FORK.Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join(60)
        return int(number) if child.exitcode == -signal.SIGTERM else 0
    if what == "deaf":  # and to what else may come
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        return int(number)
    child_id = os.fork()
    if not child_id:
        return _in_the_child(what)
    if what == "left":
        return child_id
    os.waitpid(child_id, 0)
    return int(number)


def _in_the_child(what: str) -> int:
    if what == "ends":
        os._exit(0)
    if what == "exits":
        sys.exit(7)
    if what == "raises":
        raise ValueError("in the child")
    if what == "left":
        time.sleep(600)
    return 0  # as if it were the parent


def encode(number: int) -> bytes:
    """As text."""
    return str(number).encode()


PIPELINE = Pipeline(name="forks", source=Files(pattern="data/*.txt"), parse=parse, encode=encode,
                    sinks={"store": Lines()}, dead_letters=DeadLetters(), parser=ParserOptions(workers=1))
