"""Values of headers that the client cannot read: one such message would end every reader that it is given to.

The client ends with an error at a time behind the year 9999, which the server lets pass, and makes whole numbers of all
that are real. So these are read here, in the client's place; it has no other way to be told.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

#: By the letter of its type, how a number is written.
_REAL = {b"f": ">f", b"d": ">d"}
_TIME = b"T"


def any_value(theirs: Callable[[bytes, int], tuple[Any, int]]) -> Callable[[bytes, int], tuple[Any, int]]:
    """Return what reads any value that a server lets pass, with its type in front of it.

    Args:
        theirs: reads most of them: of the bytes and a place in them the value, and the place behind it.
    """

    def read(encoded: bytes, offset: int) -> tuple[Any, int]:
        kind = encoded[offset:offset + 1]
        if kind in _REAL:
            (real,) = struct.unpack_from(_REAL[kind], encoded, offset + 1)
            return real, offset + 1 + struct.calcsize(_REAL[kind])
        if kind == _TIME:
            (seconds,) = struct.unpack_from(">Q", encoded, offset + 1)
            return _moment(seconds), offset + 9
        return theirs(encoded, offset)

    return read


@cache
def read_any_value() -> None:
    """Have the client read any value from here on, in this process."""
    from pika import data

    data.decode_value = any_value(data.decode_value)


def _moment(seconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return seconds
