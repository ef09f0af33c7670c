"""The rows of a batch on their way from parse to check, in one process or between two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from actors.runtime.errors import DecodeError, Reject
from actors.runtime.messages import Batch
from actors.runtime.ports import DeadLetter


class Rows:
    """Lines of a batch and what ``parse`` made of each: a value, None (no record), or a ``Reject``.

    Args:
        batch: the header.
        lines: raw lines, without their newlines.
        values: one for each line.
        stage: the stage that made the rejects among them.
        at: (bytes, lines) of the batch before these.
    """

    __slots__ = ("at", "batch", "lines", "stage", "values")

    def __init__(
        self, batch: Batch, lines: list[bytes], values: list[Any], stage: str = "parser", at: tuple[int, int] = (0, 0)
    ) -> None:
        self.batch = batch
        self.lines = lines
        self.values = values
        self.stage = stage
        self.at = at

    def dead_letters(self, rejects: list[tuple[int, Reject, str]]) -> list[DeadLetter]:
        """Return the dead letters of rejected lines, given as (index, reject, stage) in ascending order."""
        batch = self.batch
        letters: list[DeadLetter] = []
        (offset, before), done = self.at, 0
        for index, reject, stage in rejects:
            offset += sum(map(len, self.lines[done:index])) + index - done
            done = index
            letters.append(DeadLetter(
                stage, reject.reason, reject.detail, batch.source, batch.partition, batch.start + offset,
                batch.offset + offset, batch.line + before + index, self.lines[index]))
        return letters


def pack_rows(slices: Iterable[Rows], encoder: msgspec.msgpack.Encoder) -> bytes:
    """Encode the values for the wire; plain data and ``msgspec`` structs can travel."""
    stage = "parser"
    values: list[Any] = []
    rejects: list[tuple[int, str, str]] = []
    for rows in slices:
        stage = rows.stage
        rejects += [(len(values) + i, v.reason, v.detail) for i, v in enumerate(rows.values) if type(v) is Reject]
        values += [None if type(v) is Reject else v for v in rows.values]
    return encoder.encode((stage, values, rejects))


def unpack_rows(batch: Batch, frames: list[bytes]) -> Rows:
    """Decode what ``pack_rows`` encoded, with the raw lines of the first frame.

    Raises:
        DecodeError: the frames are not a batch of rows.
    """
    try:
        data, packed = frames
        stage, values, rejects = msgspec.msgpack.decode(packed)
    except (ValueError, msgspec.MsgspecError) as error:
        raise DecodeError(f"not a batch of rows: {error}") from error
    lines = [data] if stage == "reader" else data.split(b"\n")
    if stage != "reader" and not lines[-1]:
        lines.pop()
    for index, reason, detail in rejects:
        values[index] = Reject(reason, detail)
    return Rows(batch, lines, values, stage)
