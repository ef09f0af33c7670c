"""Records from memory, with keys, headers and times, gaps, newlines and no values, kept whole. For tests of letters."""

from __future__ import annotations

import os
import signal
import time

import msgspec

from thresher import Pipeline, Record, Reject
from thresher.sinks import DeadLetters, Lmdb
from thresher.sources import pack_records
from thresher.testing import MemorySource

#: Every tenth has no value, every seventh says that it is bad; newlines are within, in front, and at the end.
RECORDS = [
    Record(offset=3 * n + n // 5, value=None if n % 10 == 4 else b"%bvalue %d\n\xff\0%b\n" % (
        b"\n" * (n % 3), n, b" bad" if n % 7 == 0 else b""),
        time=1_700_000_000_000 + n, key=b"key %d" % n, headers=(("n", b"%d" % n), ("n", None), ("größe", b"\n")))
    for n in range(100)]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is rejected, and what happens to who parses.

    Attributes:
        strict: what is bad, and what has no value, is rejected.
        deadly: offset of a record that kills its worker; -1: of none.
        pause_s: how long each takes.
    """

    strict: bool = True
    deadly: int = -1
    pause_s: float = 0.0


def parse(value: bytes | None, record: Record, options: Options) -> Record | None:
    """The record itself."""
    if record.offset == options.deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    if options.pause_s:
        time.sleep(options.pause_s)
    if options.strict and value is None:
        raise Reject("gone", "there is no value any more")
    if options.strict and b"bad" in (value or b""):
        raise Reject("bad", "it says so itself")
    return record


def encode(record: Record) -> tuple[bytes, bytes]:
    """All of a record under its key."""
    return record.key or b"no key", pack_records([record])


PIPELINE = Pipeline(
    name="recorded", source=MemorySource(units={"topic/0": RECORDS}), parse=parse, encode=encode,
    sinks={"store": Lmdb()}, dead_letters=DeadLetters(), options=Options())
