"""The rows of a batch on their way from parse to check, in one process or between two."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from actors.runtime.errors import NO_VALUE, ConfigError, DecodeError, Finish, Reject
from actors.runtime.framing import RECORDS, Record, envelope_of, records_in, records_or_one
from actors.runtime.messages import Batch
from actors.runtime.outputs import NO_RESULT, UNUSUAL, Many, has_any, refusal
from actors.runtime.values import DeadLetter


class Rows:
    """Records of a batch and what ``parse`` made of each: a value, ``Many``, None, a ``Reject`` or a ``Finish``.

    Args:
        batch: the header.
        lines: raw lines, without their newlines; of a batch that is framed so, records.
        values: one for each of them.
        stage: the stage that made the rejects among them.
        at: (bytes, lines) of the batch before these lines.
    """

    __slots__ = ("at", "batch", "lines", "stage", "values")

    def __init__(
        self, batch: Batch, lines: Sequence[bytes] | Sequence[Record], values: list[Any], stage: str = "parser",
        at: tuple[int, int] = (0, 0),
    ) -> None:
        self.batch = batch
        self.lines = lines
        self.values = values
        self.stage = stage
        self.at = at

    def dead_letters(self, rejects: Sequence[tuple[int, Reject, str]]) -> list[DeadLetter]:
        """Return the dead letters of rejected records, given as (index, reject, stage) in ascending order."""
        if self.batch.framing == RECORDS:
            return [self._letter_of(cast(Record, self.lines[index]), reject, stage) for index, reject, stage in rejects]
        return self._letters_of_lines(cast("Sequence[bytes]", self.lines), rejects)

    def positions(self) -> list[int]:
        """The position of each record in the partition."""
        batch = self.batch
        if batch.framing == RECORDS:
            records = cast("Sequence[Record]", self.lines)
            return [batch.start + record.offset - batch.offset for record in records]
        lines = cast("Sequence[bytes]", self.lines)
        return list(accumulate((len(line) + 1 for line in lines[:-1]), initial=batch.start + self.at[0]))

    def _letter_of(self, record: Record, reject: Reject, stage: str) -> DeadLetter:
        batch = self.batch
        return DeadLetter(
            stage, reject.reason, reject.detail, batch.source, batch.partition,
            batch.start + record.offset - batch.offset, record.offset, record.line, record.value or b"",
            envelope=envelope_of(record))

    def _letters_of_lines(
        self, lines: Sequence[bytes], rejects: Sequence[tuple[int, Reject, str]]
    ) -> list[DeadLetter]:
        batch = self.batch
        letters: list[DeadLetter] = []
        (offset, before), done = self.at, 0
        for index, reject, stage in rejects:
            offset += sum(map(len, lines[done:index])) + index - done
            done = index
            letters.append(DeadLetter(
                stage, reject.reason, reject.detail, batch.source, batch.partition, batch.start + offset,
                batch.offset + offset, batch.line + before + index, lines[index]))
        return letters


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a payload, without their newlines."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()  # what follows the last newline is no line
    return lines


def whole(batch: Batch, data: bytes) -> list[bytes] | list[Record]:
    """The payload of a faulty batch as one record: a single line is kept without its newline, as everywhere."""
    if batch.framing == RECORDS:
        return records_or_one(data, batch.offset, batch.line)[:1] or [Record(batch.offset, b"", batch.line)]
    return [data[:-1] if data.find(b"\n") == len(data) - 1 else data]


def traveller(parse: Callable[..., Any]) -> msgspec.msgpack.Decoder[Any]:
    """Return what decodes the values that ``parse`` makes, by its return annotation.

    ``T | None`` per record, ``list[T | Reject | None]`` per chunk; ``Many[T]`` wherever T may be. Tuples and structs
    are what they were only when the annotation says so; without one, or with ``Any``, values arrive as plain data:
    lists and dicts.

    Raises:
        ConfigError: the annotation names a type that cannot travel.
    """
    while isinstance(parse, functools.partial):
        parse = parse.func
    try:
        kind = get_type_hints(parse).get("return", Any)
    except (NameError, TypeError):  # an annotation that only a type checker sees
        kind = Any
    if getattr(parse, "__per_chunk__", False):
        (kind,) = get_args(kind) or (Any,)
    try:
        return msgspec.msgpack.Decoder(_without_reject(kind))
    except TypeError as error:
        raise ConfigError(
            f"parse: a value of type {kind} cannot travel from a parser to a checker ({error}): "
            "set parser.fused = true, or let parse return plain data or a msgspec.Struct") from error


def _without_reject(kind: Any) -> Any:
    """The type of single values."""
    if kind is Many or get_origin(kind) is Many:
        return _without_reject((get_args(kind) or (Any,))[0])
    if isinstance(kind, types.UnionType) or get_origin(kind) is Union:
        kept = tuple(_without_reject(part) for part in get_args(kind)
                     if not (isinstance(part, type) and issubclass(part, NO_VALUE)))
        return Union[kept]  # noqa: UP007 - made from a tuple
    return kind


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """Rows as they travel: values one behind the other, with None for what is none; which of them are of a ``Many``.

    ``rejects`` and ``finishes`` are by the index of the value; ``many``: where each ``Many`` begins, and how many it
    has. Where there is none the array ends before that.
    """

    stage: str
    values: msgspec.Raw
    rejects: list[tuple[int, str, str]]
    finishes: list[int]
    many: list[tuple[int, int]] = []


_NONE = msgspec.msgpack.encode(None)
_raw_values: msgspec.msgpack.Decoder[list[msgspec.Raw]] = msgspec.msgpack.Decoder(list[msgspec.Raw])
_envelope = msgspec.msgpack.Decoder(_Packed)


class _Packing:
    """The values of slices, made ready to travel."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.rejects: list[tuple[int, str, str]] = []
        self.finishes: list[int] = []
        self.many: list[tuple[int, int]] = []

    def add(self, values: Sequence[Any]) -> None:
        """Take the values of a slice."""
        if not has_any(set(map(type, values)), UNUSUAL):
            self.values += values
            return
        for value in values:
            if not isinstance(value, UNUSUAL):
                self.values.append(value)
            elif isinstance(value, Many):
                self.many.append((len(self.values), len(value.values)))
                self.add(value.values)
            else:
                self._note(refusal("parse", value) if isinstance(value, NO_RESULT) else value)

    def packed(self, stage: str, encoder: msgspec.msgpack.Encoder) -> bytes:
        """Return all of it; a value that cannot travel is rejected, alone."""
        many = (self.many,) if self.many else ()
        try:
            return encoder.encode((stage, self.values, self.rejects, self.finishes, *many))
        except Exception:
            values = [_encoded(value, index, encoder, self.rejects) for index, value in enumerate(self.values)]
            return encoder.encode((stage, values, self.rejects, self.finishes, *many))

    def _note(self, value: Reject | Finish) -> None:
        if isinstance(value, Reject):
            self.rejects.append((len(self.values), value.reason, value.detail))
        else:
            self.finishes.append(len(self.values))
        self.values.append(None)


def pack_rows(slices: Iterable[Rows], encoder: msgspec.msgpack.Encoder) -> bytes:
    """Encode the values for the wire; one that cannot travel is rejected, alone."""
    stage = "parser"
    packing = _Packing()
    for rows in slices:
        stage = rows.stage
        packing.add(rows.values)
    return packing.packed(stage, encoder)


def _encoded(
    value: Any, index: int, encoder: msgspec.msgpack.Encoder, rejects: list[tuple[int, str, str]]
) -> msgspec.Raw:
    try:
        return msgspec.Raw(encoder.encode(value))
    except Exception as error:
        reject = Reject("parse_error", f"a value that cannot travel to a checker: {error}")
        rejects.append((index, reject.reason, reject.detail))
        return msgspec.Raw(encoder.encode(None))


def unpack_rows(batch: Batch, frames: list[bytes], decoder: msgspec.msgpack.Decoder[Any]) -> Rows:
    """Decode what ``pack_rows`` encoded, with the raw records of the first frame.

    Args:
        batch: the header.
        frames: raw lines or records, packed values.
        decoder: of one value, see ``traveller``; a value that is of another type is rejected, alone.

    Raises:
        DecodeError: the frames are not a batch of rows.
    """
    try:
        data, packed = frames
        rows = _envelope.decode(packed)
        values = [_decoded(value, decoder) for value in _raw_values.decode(rows.values)]
        lines = whole(batch, data) if rows.stage == "reader" else (
            records_in(data) if batch.framing == RECORDS else lines_of(data))
        for index, reason, detail in rows.rejects:
            values[index] = Reject(reason, detail)
        for index in rows.finishes:
            values[index] = Finish()
        if rows.many:
            values = _gathered(values, rows.many)
    except (ValueError, IndexError, msgspec.MsgspecError) as error:
        raise DecodeError(f"not a batch of rows: {error}") from error
    if len(values) != len(lines):
        raise DecodeError(f"not a batch of rows: {len(values)} values of {len(lines)} records")
    return Rows(batch, lines, values, rows.stage)


def _gathered(values: list[Any], many: Sequence[tuple[int, int]]) -> list[Any]:
    """The same, with each ``Many`` in one piece."""
    result: list[Any] = []
    at = 0
    for first, count in many:
        result += values[at:first]
        result.append(Many(values[first:first + count]))
        at = first + count
    return result + values[at:]


def _decoded(value: msgspec.Raw, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    if value == _NONE:
        return None
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        return Reject("parse_error", f"not of the type that parse is annotated with: {error}")
