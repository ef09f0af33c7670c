"""JSON lines: one JSON value a line, in a file that is exact after a kill (see ``lines``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from actors.sinks.lines import Lines

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


OPTIONS = Jsonl
