"""What is said to Redis and what it answers: RESP2, in bytes.

A command is an array of strings, a reply is one line, a string with its length, or an array of replies:

    *3 $3 SET $1 a $1 1   ──▶   +OK    -OOM …    :1    $-1 (nothing)    *2 :1 :0        each with a line break behind it

Pure: no socket.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from actors.runtime.errors import Reject

#: Longest text of a server that is shown.
_SHOWN = 200


class Fault(NamedTuple):
    """An error that the server answers with: ``OOM command not allowed when used memory > 'maxmemory'.``"""

    text: str

    @property
    def kind(self) -> str:
        """Its first word, which programs go by."""
        return self.text.partition(" ")[0]


#: What a reply is: text as bytes, a number, nothing, an error, or several of these.
Reply = bytes | int | None | Fault | list[Any]


class Unclear(ValueError):
    """What is answered is no RESP."""


def command(*words: bytes) -> bytes:
    """Return a command as it travels.

    Example::

        command(b"SET", b"a", b"1")
    """
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def parse(data: bytes | bytearray, at: int) -> tuple[Reply, int] | None:
    """Return the reply that begins here, and where the next one does; None: it has not come whole.

    Raises:
        Unclear: it is no reply.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, line, after = data[at:at + 1], bytes(data[at + 1:end]), end + 2
    if kind == b"+":
        return line, after
    if kind == b"-":
        return Fault(line[:_SHOWN].decode(errors="replace")), after
    try:
        number = int(line)
    except ValueError:
        raise Unclear(f"{bytes(data[at:at + 60])!r}") from None
    if kind == b":":
        return number, after
    if kind == b"$":
        return _text(data, after, number)
    if kind == b"*":
        return _several(data, after, number)
    raise Unclear(f"{bytes(data[at:at + 60])!r}")


def _text(data: bytes | bytearray, at: int, size: int) -> tuple[Reply, int] | None:
    if size < 0:
        return None, at
    if len(data) < at + size + 2:
        return None
    return bytes(data[at:at + size]), at + size + 2


def _several(data: bytes | bytearray, at: int, number: int) -> tuple[Reply, int] | None:
    if number < 0:
        return None, at
    found: list[Reply] = []
    for _ in range(number):
        one = parse(data, at)
        if one is None:
            return None
        found.append(one[0])
        at = one[1]
    return found, at


def commands_in(data: bytes | memoryview) -> Iterator[tuple[bytes, list[bytes]]]:
    """Take commands apart: each as it travels, and its words.

    Raises:
        Reject: these are none.
    """
    data, at = bytes(data), 0
    while at < len(data):
        try:
            found = parse(data, at)
        except Unclear:
            found = None
        if found is None or not isinstance(found[0], list) or not all(isinstance(word, bytes) for word in found[0]):
            raise Reject("format", f"expected commands of Redis, got {data[at:at + 60]!r}")
        yield data[at:found[1]], found[0]
        at = found[1]
