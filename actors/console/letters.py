"""Letters for the ``dlq`` verbs: which ones, how many, in what form they leave, and how they go."""

from __future__ import annotations

import base64
import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from actors.console.packed_items import item_in
from actors.runtime.database import named
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.framing import Record
from actors.runtime.manifest import Component
from actors.runtime.ports import SinkOptions
from actors.runtime.printable import one_line
from actors.settings import Settings
from actors.sinks.dead_letters import DeadLetters, StoredLetter, open_letters, select_letters

#: Letters deleted in one transaction; a run that writes meanwhile waits no longer than for one.
_PURGE_LETTERS = 1000


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters. Texts may be patterns (``writer.*``); several of one kind mean any of them.

    Attributes:
        status: ``open``, ``retried``, ``replaced`` or ``all``.
        limit: at most so many, 0 for all.
        up_to: none with a higher number, 0 for all: what an export has not seen, a purge need not delete.
    """

    ids: Sequence[int] = ()
    reasons: Sequence[str] = ()
    stages: Sequence[str] = ()
    sources: Sequence[str] = ()
    status: str = "open"
    limit: int = 0
    up_to: int = 0

    def where(self) -> tuple[str, list[str | int]]:
        """Return the SQL condition, without the limit, and the values of its placeholders."""
        terms: list[str] = []
        values: list[str | int] = []
        for column, texts in (("reason", self.reasons), ("stage", self.stages), ("source", self.sources)):
            if texts:
                terms.append("(" + " OR ".join([f"{column} = ? OR {column} GLOB ?"] * len(texts)) + ")")
                values += [text for text in texts for _ in range(2)]
        if self.ids:
            terms.append(f"id IN ({', '.join(map(str, self.ids))})")
        if self.up_to:
            terms.append(f"id <= {self.up_to}")
        if self.status != "all":
            terms.append("status = ?")
            values.append(self.status)
        return " AND ".join(terms) or "true", values


class Store(msgspec.Struct, frozen=True):
    """A dead-letter store, and what a run writes to it; the sinks of the run, by name."""

    path: Path
    options: DeadLetters
    sinks: Mapping[str, Component[SinkOptions]] = {}

    def item_in(self, letter: StoredLetter) -> Record | None:
        """What the item of a letter of a writer is about; None: that cannot be seen, or it is no such letter."""
        return item_in(letter, self.sinks)

    def connect(self) -> sqlite3.Connection:
        """Open it.

        Raises:
            ConfigError: there is none, it was made by a newer version, or it cannot be opened.
        """
        if not self.path.exists():
            raise ConfigError(f"{self.path}: no such file: nothing was rejected here, or --state is another")
        try:
            return open_letters(self.path)
        except sqlite3.Error as error:
            raise ConfigError(f"{named(self.path, error)}: expected a dead-letter store") from error


def store_of(settings: Settings) -> Store:
    """Return the store of a configuration.

    Raises:
        ConfigError: dead letters go to something else.
    """
    options = settings.manifest.dead_letters.load()
    if not isinstance(options, DeadLetters):
        raise ConfigError(f"dead_letters.type: expected dead_letters, got {options.describe()}: "
                          "there are no tools for another store")
    return Store(Path(settings.manifest.state) / options.path, options, settings.manifest.sinks)


class Count(msgspec.Struct, frozen=True):
    """How many letters have a reason at a stage, and when the last of them was rejected."""

    reason: str
    stage: str
    status: str
    letters: int
    last: str


def counts(connection: sqlite3.Connection, filters: Filters) -> list[Count]:
    """Count letters by reason and stage, most first."""
    where, values = filters.where()
    return [Count(*row) for row in connection.execute(
        f"SELECT reason, stage, status, count(*), max(time) FROM letters WHERE {where} "
        "GROUP BY reason, stage, status ORDER BY 4 DESC, 1, 2, 3", values)]


def newest(connection: sqlite3.Connection, filters: Filters) -> list[StoredLetter]:
    """The letters that came last, newest first."""
    where, values = filters.where()
    return list(select_letters(connection, f"{where} ORDER BY id DESC LIMIT ?", [*values, filters.limit or -1]))


def oldest(connection: sqlite3.Connection, filters: Filters) -> Iterator[StoredLetter]:
    """Yield the letters that came first, in that order."""
    where, values = filters.where()
    return select_letters(connection, f"{where} ORDER BY id LIMIT ?", [*values, filters.limit or -1])


def no_lines(connection: sqlite3.Connection, filters: Filters) -> Iterator[StoredLetter]:
    """Yield those of ``oldest`` that were records, or are one output of one."""
    where, values = filters.where()
    return select_letters(
        connection, f"id IN (SELECT id FROM letters WHERE {where} ORDER BY id LIMIT ?) "
        "AND (envelope != x'' OR output != '') ORDER BY id", [*values, filters.limit or -1])


def letter_of(connection: sqlite3.Connection, number: int) -> StoredLetter | None:
    """The letter of this number."""
    return next(select_letters(connection, "id = ?", [number]), None)


# How they are shown -----------------------------------------------------------------------------------------------


def escaped(data: bytes | str) -> str:
    """Return text that is safe on any terminal: what cannot be printed, or was no UTF-8, as ``\\x1b``.

    A backslash in bytes is doubled, so that they can be told from what stands for others.
    """
    return one_line(
        data.replace(b"\\", b"\\\\").decode(errors="backslashreplace") if isinstance(data, bytes) else data)


def fields(letter: StoredLetter, item: Record | None = None) -> dict[str, Any]:
    """A letter as a map for machines. ``encoding`` says what ``raw`` is: ``utf-8`` text, or ``base64``.

    ``record``: of one that was a record and no line its ``time``, ``key`` and ``headers``; None of any other. A record
    without a value has the ``raw`` None. ``packed``: the same of what a writer's sink has refused (``Store.item_in``).
    """
    data: dict[str, Any] = {
        name: getattr(letter, name) for name in letter.__struct_fields__ if name not in ("raw", "envelope")}
    for name in ("offset", "line"):
        if data[name] < 0:
            data[name] = None
    record = letter.record
    data["record"], data["packed"] = _came_with(record), _came_with(item)
    raw = letter.raw if record is None else record.value
    return {**data, **(_bytes(raw, "raw") or {"encoding": None, "raw": None})}


def _came_with(record: Record | None) -> dict[str, Any] | None:
    return None if record is None else {
        "time": record.time, "key": _bytes(record.key, "value"),
        "headers": [{"name": name, **(_bytes(value, "value") or {"encoding": None, "value": None})}
                    for name, value in record.headers]}


def _bytes(data: bytes | None, name: str) -> dict[str, str] | None:
    """Bytes under this name as JSON can hold them, and how; None is None."""
    if data is None:
        return None
    if _is_text(data):
        return {"encoding": "utf-8", name: data.decode()}
    return {"encoding": "base64", name: base64.b64encode(data).decode()}


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def line(letter: StoredLetter, form: str, item: Record | None = None) -> bytes:
    """A letter as it is exported: a JSON line, or its bytes, with a newline unless they end with one."""
    if form == "jsonl":
        return msgspec.json.encode(fields(letter, item)) + b"\n"
    return letter.raw if letter.raw.endswith(b"\n") else letter.raw + b"\n"


def require_lines(chosen: Iterator[StoredLetter]) -> None:
    """Refuse to export these letters as lines when one of them would not come back as what it is.

    Raises:
        ConfigError: which one, and why.
    """
    for letter in chosen:
        problem = _more_than_a_line(letter)
        if problem:
            raise ConfigError(f"--format raw: letter {letter.id} is more than a line can hold ({problem}): "
                              "--format jsonl keeps all of it")


def _more_than_a_line(letter: StoredLetter) -> str:
    """What a line has no room for; empty: there is nothing of the kind."""
    if letter.output and not letter.stage.startswith("writer."):
        return "one output of its record"
    record = letter.record
    if record is None:
        return ""
    if record.value is None:
        return "no value"
    found = {"a key": record.key is not None, "headers": bool(record.headers), "a time": record.time is not None,
             "a newline": b"\n" in record.value, "bytes that are no text": not _is_text(record.value)}
    return ", ".join(name for name, is_so in found.items() if is_so)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that is there when all of it is, on disk, and readable by this user alone.

    Raises:
        ConfigError: there is one of that name already, or it cannot be made.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(name, path)  # unlike a rename it never replaces what is there
        finally:
            os.unlink(name)
    except FileExistsError as error:
        raise ConfigError(f"{path}: exists already: give another name, or remove it first") from error
    except OSError as error:
        raise ConfigError(f"{path}: {plain_reason(error)}") from error


# How they go ------------------------------------------------------------------------------------------------------


def matching(connection: sqlite3.Connection, filters: Filters) -> list[int]:
    """The numbers of the letters, oldest first."""
    where, values = filters.where()
    return [number for (number,) in connection.execute(
        f"SELECT id FROM letters WHERE {where} ORDER BY id LIMIT ?", [*values, filters.limit or -1])]


def purge(connection: sqlite3.Connection, filters: Filters, numbers: Sequence[int]) -> int:
    """Delete these letters, but none that has another reason, stage or status by now; return how many went."""
    where, values = filters.where()
    before = connection.total_changes
    for start in range(0, len(numbers), _PURGE_LETTERS):
        some = ", ".join(map(str, numbers[start:start + _PURGE_LETTERS]))
        connection.execute(f"DELETE FROM letters WHERE id IN ({some}) AND {where}", values)
    return connection.total_changes - before


def shrink(path: Path, connection: sqlite3.Connection) -> tuple[int, str]:
    """Give the space of deleted letters back; return the bytes by which the file shrank, and what prevented it.

    What cannot be given back (the disk is full, somebody reads) is used again for the letters to come.
    """
    before, problem = _size(path), ""
    try:
        connection.execute("VACUUM")
        (busy, *_), = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        problem = "another process is reading it" if busy else ""
    except sqlite3.Error as error:
        problem = str(error)
    return before - _size(path), problem


def _size(path: Path) -> int:
    total = 0
    for suffix in ("", "-wal"):
        with contextlib.suppress(OSError):
            total += os.stat(f"{path}{suffix}").st_size
    return total
