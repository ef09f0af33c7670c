"""A pipeline that reads the numbers of queues: those that are divided by nine are bad, the others become lines."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from thresher import Pipeline, Reject
from thresher.sinks import DeadLetters, Lines
from thresher.sources import RabbitMQ

BAD_EVERY = 9


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How long each record takes, and what is waited for.

    Attributes:
        pause_s: how long.
        gate: no record is done before there is this file; empty: none is waited for.
        bad_every: numbers that are divided by this are bad.
    """

    pause_s: float = 0.0
    gate: str = ""
    bad_every: int = BAD_EVERY


def parse(value: bytes, record: Any, options: Options) -> int:
    """The number."""
    if options.pause_s:
        time.sleep(options.pause_s)
    while options.gate and not os.path.exists(options.gate):
        time.sleep(0.01)
    number = int(value)
    if number % options.bad_every == 0:
        raise Reject("ninth", record.key.decode())
    return number


def encode(number: int) -> str:
    """As a line."""
    return str(number)


PIPELINE = Pipeline(name="queued", source=RabbitMQ(), parse=parse, encode=encode, sinks={"lined": Lines()},
                    dead_letters=DeadLetters(), options=Options())
