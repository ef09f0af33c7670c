"""``thresher topic tail``: messages of a topic as lines, the newest or from a moment on, and those that come."""

from __future__ import annotations

import argparse
import base64
import heapq
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.console.commandline import at_least
from actors.console.letters import escaped
from actors.runtime.errors import ConfigError
from actors.runtime.events import DONE, OVER_BUDGET
from actors.runtime.framing import Record
from actors.runtime.windows import iso
from actors.sources.topic import moment_of
from actors.sources.topic_partitions import begin_at
from actors.topics.manifest import Stamp, View, read_view, stamp_of
from actors.topics.places import partition_folder
from actors.topics.reading import Found, Gap, PartitionReader, first_offset

#: Messages that are printed when nothing else is said.
_LAST = 10
#: Seconds between two looks at a topic that is followed.
_LOOK_S = 0.1
#: A message, and the number of its partition.
_Message = tuple[int, Record]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said to the verb."""
    parser.add_argument("topic", metavar="TOPIC", help="topic:///path/name, or a path")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those that come, until Ctrl-C")
    parser.add_argument("-n", "--limit", type=at_least(0), metavar="N",
                        help="the newest N (default: 10); with --start, the first N from there")
    parser.add_argument("--start", metavar="WHEN", help="from there on: earliest, latest, a time like "
                        "2026-11-28T12:00:00, or ms since 1970")
    parser.add_argument("--partition", type=at_least(0), metavar="P", help="of this partition alone")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--raw", action="store_true", help="the bytes of the values alone, each with a newline")


def tail(topic: Path, view: View, options: argparse.Namespace) -> int:
    """Print messages; return the exit code: 4 when something could not be read.

    Raises:
        ConfigError: there is no such partition, or no such moment.
    """
    if options.partition is not None and options.partition >= len(view.partitions):
        raise ConfigError(f"{topic}: there is no partition {options.partition}: it has {len(view.partitions)}, "
                          f"0 to {len(view.partitions) - 1}")
    reading = _Reading(topic, view, options)
    limit: int | None = options.limit if options.start is not None else None
    printed = 0
    try:
        for number, record in reading.messages():
            if printed == limit:
                break
            _print(number, record, options)
            printed += 1
            if printed == limit:
                break
    except KeyboardInterrupt:
        pass
    finally:
        reading.close()
        sys.stdout.flush()
    return OVER_BUDGET if reading.has_gaps else DONE


class _Reading:
    """The partitions that are asked for, from where on that is asked for.

    Attributes:
        has_gaps: something could not be read; it was said.
    """

    def __init__(self, topic: Path, view: View, options: argparse.Namespace) -> None:
        self.has_gaps = False
        self._topic = topic
        self._only: int | None = options.partition
        self._follow: bool = options.follow
        self._start: str | None = options.start
        self._last: int = _LAST if options.limit is None else options.limit
        self._id = view.id
        self._readers: dict[int, PartitionReader] = {}
        self._stamp: Stamp | None = None
        self._see(view)

    def messages(self) -> Iterator[_Message]:
        """Yield what is there, the oldest first, then what comes."""
        there = heapq.merge(*(self._of(number) for number in self._readers), key=_by_time)
        yield from there if self._start is not None else heapq.nlargest(self._last, there, key=_by_time)[::-1]
        while self._follow:
            sys.stdout.flush()
            if not self._has_grown():
                time.sleep(_LOOK_S)
                continue
            for number in self._readers:
                yield from self._of(number)

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers.values():
            reader.close()

    def _has_grown(self) -> bool:
        stamp = stamp_of(self._topic)
        if stamp is None or stamp == self._stamp:
            return False
        try:
            view, self._stamp = read_view(self._topic)
        except FileNotFoundError:
            return False
        if view.id != self._id:
            raise ConfigError(f"{self._topic}: another topic has been made in its place: begin again")
        self._see(view, is_new=True)
        return True

    def _see(self, view: View, is_new: bool = False) -> None:
        """Partitions go so far; those that have come since are read from their beginning."""
        for number, extent in enumerate(view.partitions):
            if number in self._readers:
                self._readers[number].extent = extent
            elif self._only in (None, number):
                folder = partition_folder(self._topic, number)
                first = first_offset(folder, extent)
                if self._start is not None and not is_new:
                    first = begin_at(folder, extent, self._start, moment_of(self._start))
                elif not is_new:
                    first = max(first, extent.next - self._last)
                self._readers[number] = PartitionReader(folder, first, extent)

    def _of(self, number: int) -> Iterator[_Message]:
        reader = self._readers[number]
        while (found := reader.next()) is not None:
            if isinstance(found, Gap):
                self.has_gaps = True
                print(found.why, file=sys.stderr, flush=True)
            elif isinstance(found, Found):
                yield from ((number, record) for record in found.records)


def _by_time(message: _Message) -> tuple[int, int, int]:
    number, record = message
    return record.time or 0, number, record.offset


def _print(number: int, record: Record, options: argparse.Namespace) -> None:
    if options.raw:
        sys.stdout.buffer.write((record.value or b"") + b"\n")
        return
    print(_as_json(number, record) if options.json else _as_text(number, record))


def _as_json(number: int, record: Record) -> str:
    fields: dict[str, Any] = {
        "partition": number, "offset": record.offset, "time": record.time, "key": _jsonable(record.key),
        "value": _jsonable(record.value)}
    if record.headers:
        fields["headers"] = [[name, _jsonable(value)] for name, value in record.headers]
    return json.dumps(fields, ensure_ascii=False)


def _jsonable(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _as_text(number: int, record: Record) -> str:
    key = "" if record.key is None else f"  {escaped(record.key)}"
    headers = "".join(f"  {escaped(name)}={'' if value is None else escaped(value)}" for name, value in record.headers)
    value = "(none)" if record.value is None else escaped(record.value)
    return f"{number}:{record.offset}  {iso(record.time or 0)}{key}{headers}  {value}"
