"""Taps: somebody at a terminal sees some of the records that pass, and nobody waits for him.

    thresher tap ──Command──▶ supervisor ──Tap(path, seconds)──▶ every parser
         ▲                                                          │ after a batch: a few of its records
         └────────── datagrams, one for each record ────────────────┘ go through the functions once more

A parser has the raw records and the application, so it can show what every stage makes of one, whether parsers check
or not. A line is cut out of the payload at a random place (of a batch of records any is taken) and goes through the
same pure functions, lifted as always: an exception is the reject that it would be. What was rejected for good is taken
from the dead letters of the batch, each, when parsers check; a record that is one in a million would hardly be among
the samples. Of a record that several things are made of one is shown, which is as random as the record.

Guarantees: nothing is sent that could wait, so a reader that has stopped loses records, not the run its time; a worker
shows at most ``_PER_S`` records a second; a tap that is not renewed ends; no exception gets out of here. A worker that
nobody taps has one attribute to look at for each batch.

What does not work: keeping what a batch has made until somebody asks (it costs everybody, always); asking the writers
and aggregators (they have packed bytes, and cannot say of which line); sending to each stage in turn (a fused worker
has no stages between which something could be sent).
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from actors.runtime.errors import Finish, Reject
from actors.runtime.framing import RECORDS, Record, record_of, records_in
from actors.runtime.lift import Lifted, OfRecords, bind, bind_partials, lift, lift_parse, of_batch
from actors.runtime.messages import Batch, Tap
from actors.runtime.outputs import NO_RESULT, Many, named, refusal
from actors.runtime.pipeline import Pipeline, route_of
from actors.runtime.ports import SinkOptions
from actors.runtime.rows import whole
from actors.runtime.values import DeadLetter
from actors.runtime.windows import Passage, Placer

#: Most records that a worker shows in a second, and at a time.
_PER_S, _AT_A_TIME = 100.0, 10
#: Most taps of a worker at a time.
_TAPS = 4
#: A reader that has not taken what is there is left alone for so long.
_PAUSE_S = 0.2
#: So much of a line, and of each value that is made of it, is shown.
_LINE_BYTES, _VALUE_BYTES = 4096, 8192
#: Most keys of a record that are shown. All of it has to fit into one datagram.
_FOLDED = 8
#: Most headers of a record that are shown, and bytes of each of them, and of its key.
_HEADERS, _HEADER_BYTES = 16, 256
#: A payload of dead letters that is larger is not taken apart again.
_LETTERS_BYTES = 1 << 20


class Shown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record, and what each stage makes of it; what is missing it has not come to.

    Attributes:
        actor: who shows it.
        source: the input unit; ``offset`` in it, in (uncompressed) bytes, or which record of it.
        raw: the line, or the value of the record, or its beginning: it has ``size`` bytes; None: it has no value.
        key: of a record that is no line; so are ``time``, in ms since 1970, and ``headers``.
        parsed: what ``parse`` makes of it.
        checked: what ``check`` makes of that.
        sink: where it goes; empty: to no sink.
        item: what ``encode`` makes of it for that sink.
        folded: (start and end of the window in ms, its key, key, numbers) of each; without windows (None, None, None,
            key, numbers).
        outcome: why it goes no further, when nothing is wrong with it: ``no record``, ``filtered``, ``finish``.
        reject: stage, reason and detail of a record that goes to the dead letters.
        is_letter: it is a dead letter of a batch, no sample.
        has_letters: the worker shows dead letters for themselves.
        output: which of the things that are made of the record is shown, as in a dead letter; empty: it is all.
    """

    actor: str
    source: str
    offset: int
    raw: bytes | None
    size: int
    key: bytes | None = None
    time: int | None = None
    headers: list[tuple[str, bytes | None]] = []
    parsed: Any = msgspec.UNSET
    checked: Any = msgspec.UNSET
    sink: str = ""
    item: Any = msgspec.UNSET
    folded: list[tuple[Any, Any, Any, Any, Any]] = []
    outcome: str = ""
    reject: tuple[str, str, str] | None = None
    is_letter: bool = False
    has_letters: bool = False
    output: str = ""


class _Ended(Exception):
    """The record goes no further."""

    def __init__(self, outcome: str, reject: tuple[str, str, str] | None = None) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.reject = reject


class Inspector:
    """Takes one record through all functions of an application.

    Args:
        pipeline: the functions.
        options: the application's options, or None.
        sinks: those that workers write to.
        placer: of its windows, or None.
        letters: options of the dead-letter store, if this worker makes any and they can be taken apart.
    """

    def __init__(
        self, pipeline: Pipeline, options: msgspec.Struct | None, sinks: Mapping[str, SinkOptions],
        placer: Placer | None = None, letters: SinkOptions | None = None,
    ) -> None:
        self._parse = lift_parse(pipeline.parse, options)
        self._check = None if pipeline.check is None else lift(bind(pipeline.check, options), "check")
        self._route = lift(bind(route_of(pipeline), options), "route")
        self._encode = lift(bind(pipeline.encode, options), "encode")
        self._partials = None if pipeline.fold is None else bind_partials(pipeline.fold.partials, options)
        self._sinks = sinks
        self._placer = placer
        self._letters = letters

    def samples(self, actor: str, batch: Batch, data: bytes, count: int) -> Iterator[Shown]:
        """Show so many records of a batch, at random; of a batch with a fault all of it, as one."""
        if batch.fault:
            for each in whole(batch, data):
                record = each if isinstance(each, Record) else Record(batch.offset, each)
                yield self._shown(actor, batch, record, {"reject": ("reader", batch.fault, batch.detail)})
            return
        for record in _chosen(batch, data, count):
            given = record if isinstance(of_batch(self._parse, batch), OfRecords) else record.value
            yield self._shown(actor, batch, record, self.through(batch, given))

    def letters(self, actor: str, payload: bytes, count: int) -> Iterator[Shown]:
        """Show so many of these dead letters."""
        if self._letters is None or len(payload) > _LETTERS_BYTES:
            return
        letters: list[DeadLetter] = self._letters.unpack(payload) or []
        for letter in random.sample(letters, min(count, len(letters))):
            record = record_of(letter) or Record(letter.offset, letter.raw)
            yield Shown(actor=actor, source=letter.source, **_beginning(record), reject=_told(letter.stage, letter),
                        is_letter=True, has_letters=True)

    def through(self, batch: Batch, given: bytes | Record | None) -> dict[str, Any]:
        """What becomes of what ``parse`` is given, as fields of ``Shown``."""
        fields: dict[str, Any] = {}
        try:
            (parsed,) = of_batch(self._parse, batch)([given])
            value, number = _one_of(parsed)
            value = _next(lambda _: [value], given, "parser", "no record", "parse")
            if number:
                fields["output"] = number
            fields["parsed"] = plain(value)
            if self._check is not None:
                value = _next(self._check, value, "checker", "filtered", "check")
            fields["checked"] = plain(value)
            places, late = self._places(batch, value)
            folded = self._folded(batch, value, places)
            fields["sink"], item, is_one_of = self._item(value, late)
            if fields["sink"]:
                fields["item"] = plain(item)
            if is_one_of:
                fields["output"] = named(number, fields["sink"])
            fields["folded"] = folded
        except _Ended as end:
            fields["outcome"], fields["reject"] = end.outcome, end.reject
            fields.pop("sink", None)
        return fields

    def _places(self, batch: Batch, value: Any) -> tuple[Any, Reject | None]:
        """The windows of a value; and that it is late, which is none of its sink's business."""
        if self._placer is None:
            return None, None
        (place,) = self._placer.place(Passage(batch), [value])
        if not isinstance(place, Reject):
            return place, None
        if place.reason == "late" and self._sinks:
            return (), place
        raise _Ended("", _told("checker", place))

    def _folded(self, batch: Batch, value: Any, places: Any) -> list[tuple[Any, Any, Any, Any, Any]]:
        if self._partials is None:
            return []
        partials = self._partials
        found = _next(lift(lambda each: partials([each], batch.unit), "fold"), value, "checker", "")
        windows = [(None, None, None)] if places is None else places
        return [(start, end, plain(whose), plain(key), plain(numbers))
                for start, end, whose in windows for key, numbers in found.items()][:_FOLDED]

    def _item(self, value: Any, late: Reject | None) -> tuple[str, Any, bool]:
        """One of the sinks that a value goes to, its item there, and whether there are others."""
        (names,) = self._route([value])
        if names in (None, ()) and late is None:
            return "", None, False
        names = _next(lambda _: [late if names in (None, ()) else names], value, "checker", "", "route")
        item = _next(self._encode, value, "checker", "")
        name = random.choice(names) if isinstance(names, tuple) else names
        if not isinstance(name, str) or name not in self._sinks:
            raise _Ended("", ("checker", "route", f"no sink is called {name!r}"))
        _next(lift(lambda each: self._sinks[name].pack([each]), "encode"), item, "checker", "")
        return name, item, name != names and len(names) > 1

    def _shown(self, actor: str, batch: Batch, record: Record, fields: dict[str, Any]) -> Shown:
        return Shown(actor=actor, source=batch.source, **_beginning(record), has_letters=self._letters is not None,
                     **fields)


class Taps:
    """The taps of one worker.

    Args:
        actor: its name.
        inspector: takes lines through the functions.
        letters: the destination whose parts are dead letters.
    """

    def __init__(self, actor: str, inspector: Inspector, letters: str) -> None:
        self._actor = actor
        self._inspector = inspector
        self._letters = letters
        self._until: dict[str, float] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._paused: dict[str, float] = {}
        self._left, self._counted = float(_AT_A_TIME), time.monotonic()

    def tap(self, tap: Tap) -> None:
        """Show records there, or go on; a tap of no seconds ends."""
        if tap.path not in self._sockets:
            if len(self._sockets) >= _TAPS:
                return
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sender.connect(tap.path)
            except OSError:  # it has gone already
                sender.close()
                return
            self._sockets[tap.path] = sender
        self._until[tap.path] = time.monotonic() + tap.seconds

    def show(self, batch: Batch, data: bytes, parts: Mapping[str, list[bytes]]) -> bool:
        """Show some of the records of a batch that was made; ``parts``: its frames by destination. False: nobody looks.

        Never raises.
        """
        now = time.monotonic()
        for path in [path for path in self._sockets if now >= self._until[path]]:
            self._end(path)
        self._left = min(float(_AT_A_TIME), self._left + (now - self._counted) * _PER_S)
        self._counted = now
        ready = [path for path in self._sockets if now >= self._paused.get(path, 0.0)]
        if ready and self._left >= 1.0:
            with contextlib.suppress(Exception):  # whatever it is, it is not worth a worker
                self._show(batch, data, parts.get(self._letters, []), ready)
        return bool(self._sockets)

    def close(self) -> None:
        """Show nothing any more."""
        for path in list(self._sockets):
            self._end(path)

    def _show(self, batch: Batch, data: bytes, letters: list[bytes], ready: list[str]) -> None:
        count = int(self._left)
        rejects = list(self._inspector.letters(self._actor, letters[0], (count + 1) // 2)) if letters else []
        for shown in (*rejects, *self._inspector.samples(self._actor, batch, data, count - len(rejects))):
            self._left -= 1.0
            datagram = msgspec.msgpack.encode(shown)
            ready = [path for path in ready if self._send(path, datagram)]
            if not ready:
                return

    def _send(self, path: str, datagram: bytes) -> bool:
        try:
            self._sockets[path].send(datagram)
            return True
        except BlockingIOError:  # it is not read fast enough
            self._paused[path] = time.monotonic() + _PAUSE_S
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                return True  # this one is too large; another may not be
            self._end(path)  # nobody is there
        return False

    def _end(self, path: str) -> None:
        self._sockets.pop(path).close()
        self._until.pop(path, None)
        self._paused.pop(path, None)


def _chosen(batch: Batch, data: bytes, count: int) -> Iterator[Record]:
    """Yield so many records of a batch, at random; of lines a long one is taken more often."""
    if batch.framing == RECORDS:
        records = records_in(data)
        yield from random.choices(records, k=count if records else 0)
        return
    for _ in range(count if data else 0):
        at = random.randrange(len(data))
        start = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        line = batch.line + data.count(b"\n", 0, start)
        yield Record(batch.offset + start, data[start:end if end >= 0 else len(data)], line)


def _beginning(record: Record) -> dict[str, Any]:
    """A record, as far as it is shown, as fields of ``Shown``."""
    raw, key = record.value, record.key
    return {
        "offset": record.offset, "raw": None if raw is None else raw[:_LINE_BYTES], "size": len(raw or b""),
        "key": None if key is None else key[:_HEADER_BYTES], "time": record.time,
        "headers": [(name[:_HEADER_BYTES], None if value is None else value[:_HEADER_BYTES])
                    for name, value in record.headers[:_HEADERS]]}


def plain(value: Any) -> Any:
    """A value as plain data, as far as it can be; what is too large, or nothing of the kind, as a text."""
    try:
        packed = msgspec.msgpack.encode(value, enc_hook=repr)
        if len(packed) <= _VALUE_BYTES:
            return msgspec.msgpack.decode(packed)
    except Exception:  # no key of a map, an integer of more than 64 bits, anything
        packed = b""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _VALUE_BYTES else f"{text[:_VALUE_BYTES]}..."


def _one_of(parsed: Any) -> tuple[Any, str]:
    """One of several values, any, and its number; of one value that, and no number."""
    if not isinstance(parsed, Many):
        return parsed, ""
    if not parsed.values:
        raise _Ended("filtered")
    number = random.randrange(len(parsed.values))
    return parsed.values[number], str(number)


def _next(function: Lifted, value: Any, stage: str, nothing: str, name: str = "") -> Any:
    """What a function makes of one value, unless the record ends here; ``nothing``: what it means to be None.

    ``name``: of a function that may return something that is no value.
    """
    (result,) = function([value])
    if name and isinstance(result, NO_RESULT):
        result = refusal(name, result)
    if isinstance(result, Reject):
        raise _Ended("", _told(stage, result))
    if isinstance(result, Finish):
        raise _Ended("finish")
    if result is None and nothing:
        raise _Ended(nothing)
    return result


def _told(stage: str, reject: Reject | DeadLetter) -> tuple[str, str, str]:
    return stage, reject.reason[:_LINE_BYTES], reject.detail[:_LINE_BYTES]
