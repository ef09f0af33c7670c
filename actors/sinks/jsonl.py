"""JSON lines: one JSON value a line, in a file that is exact after a kill (see ``lines``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.runtime.following import Follower
from actors.runtime.stored import Reader
from actors.sinks.lines import Lines
from actors.sinks.lines_read import LinesFollower, LinesReader

_encoder = msgspec.json.Encoder()


class Jsonl(Lines, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of JSON lines.

    Attributes:
        path: the file, relative to the state directory; empty for ``NAME.jsonl``.
        sync: wait for the disk at each group of batches.

    Example::

        Jsonl(path="reports.jsonl")  # items are what JSON has: {"hour": 11, "host": "Tracy"}
    """

    suffix: ClassVar[str] = "jsonl"

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return each item as a line of JSON: plain data, or a ``msgspec`` struct; any other is rejected, alone."""
        return _encoder.encode_lines(items)

    def follow(self, name: str, state: Path, most: int) -> Follower:
        """Read back the values, as plain data."""
        return LinesFollower(self.place(name, state), most, lambda lines: [msgspec.json.decode(line) for line in lines])

    def reader(self, name: str, state: Path) -> Reader:
        """Open the file, to look at: a row is an object, as plain data."""
        return LinesReader(self.place(name, state), lambda lines: map(msgspec.json.decode, lines))


OPTIONS = Jsonl
