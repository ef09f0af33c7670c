"""A pipeline whose records can do to their worker what records do: kill it, or never let it go. For tests of faults.

A line is ``key value``; some values mean trouble, which is made in ``parse``, or in ``check`` when it begins with
``check-``. A value that begins with ``once-`` is trouble only the first time that any worker sees it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import threading
from pathlib import Path

import msgspec

from thresher import (
    CheckerOptions,
    FlowOptions,
    Fold,
    ParserOptions,
    Pipeline,
    Reject,
    extend,
    per_chunk,
    progress,
)
from thresher.sinks import DeadLetters, Lmdb
from thresher.sources import Files


class Options(msgspec.Struct, frozen=True):
    """``marks``: a directory where ``once-`` values are remembered. ``megabytes``: size of ``json`` work.
    ``rest_s``: how long each record takes, asleep."""

    marks: str = "."
    megabytes: int = 16
    rest_s: float = 0.0


def parse(line: bytes, options: Options) -> tuple[bytes, bytes] | None:
    """``key value``."""
    if not line:
        return None
    if options.rest_s:
        wait(options.rest_s)
    key, blank, value = line.partition(b" ")
    if not blank:
        raise Reject("form", "no blank")
    if not value.startswith(b"check-"):
        trouble(value.decode(), options)
    return key, value


def check(value: tuple[bytes, bytes], options: Options) -> tuple[bytes, bytes]:
    """Trouble, if it is to be here."""
    if value[1].startswith(b"check-"):
        trouble(value[1].decode().removeprefix("check-"), options)
    return value


def trouble(what: str, options: Options) -> None:
    """Do what the value says."""
    if what.startswith("once-"):
        what = what.removeprefix("once-")
        try:
            (Path(options.marks) / what).touch(exist_ok=False)
        except FileExistsError:
            return
    match what:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(7)
        case "kill":
            os.kill(os.getpid(), 9)
        case "raise":
            raise ValueError("no room for this one")
        case "stop":
            os.kill(os.getpid(), 19)
        case "loop":
            while True:
                pass
        case "late":  # its neighbour is in hand by then
            threading.Timer(0.0005, os._exit, (7,)).start()
        case "closes":
            os.closerange(3, 256)
        case "overflow":
            sys.setrecursionlimit(10**9)
            deeper()
        case "memory":
            held = []
            while True:
                held.append(b"x" * 1024 * 1024)
                wait(0.005 if len(held) < 200 else 0.1)
                progress()
        case "deadlock":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        case "regex":  # holds the GIL from its beginning to its end
            re.match(r"(a+)+$", "a" * 27 + "b")
        case "json":
            json.loads(json.dumps([1.5] * (options.megabytes * 200_000)))
        case "integers":
            (3 ** 3_000_000 % 7 ** 1_000_000).bit_length()
        case "signs":
            for _ in range(40):
                wait(0.1)
                progress()
        case "patience":
            extend(60.0)
            wait(4.0)


def _deeper() -> None:
    deeper()


#: Uses up the stack of C, which Python does not count.
deeper = ctypes.CFUNCTYPE(None)(_deeper)


def wait(seconds: float) -> None:
    """Block, using no CPU."""
    threading.Event().wait(seconds)


def route(value: tuple[bytes, bytes]) -> str:
    """One store."""
    return "store"


def encode(value: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """As it is."""
    return value


def partials(values: list[tuple[bytes, bytes]], unit: int) -> dict[tuple[object, ...], list[int]]:
    """Records of a unit."""
    return {(unit,): [len(values)]}


PIPELINE = Pipeline(
    name="treacherous",
    source=Files(pattern="data/*.txt"),
    parse=parse,
    check=check,
    route=route,
    encode=encode,
    sinks={"store": Lmdb()},
    dead_letters=DeadLetters(),
    fold=Fold(partials=partials, keys=("unit",), fields=("records",)),
    options=Options(),
    parser=ParserOptions(workers=2),
    checker=CheckerOptions(workers=2),
    flow=FlowOptions(batch_bytes=20_000, window_batches=16),
)


@per_chunk
def parse_many(lines: list[bytes], options: Options) -> list[tuple[bytes, bytes] | None]:
    """The same, of many at a time."""
    return [parse(line, options) for line in lines]


BY_CHUNKS = msgspec.structs.replace(PIPELINE, parse=parse_many)
