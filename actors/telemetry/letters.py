"""The newest dead letters of a run, as the dashboard shows them: read from the store, never written to."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from actors.runtime.database import open_for_reading
from actors.runtime.manifest import Manifest
from actors.runtime.windows import iso
from actors.sinks.dead_letters import STEPS, DeadLetters, StoredLetter, select_letters

#: Most letters at a time, and bytes of each that are shown, of its detail as well.
MOST, SHOWN_BYTES = 500, 4096
#: Most headers of a record that are shown, and bytes of each.
HEADERS, HEADER_BYTES = 32, 256
_NEWEST = ("id IN (SELECT id FROM letters WHERE status IN ('open', 'retried') {} ORDER BY id DESC LIMIT ?) "
           "ORDER BY id DESC")


def store_of(manifest: Manifest) -> Path | None:
    """Where the dead letters of a run are; None when they are kept nowhere, or not by us."""
    options = manifest.dead_letters.load()
    if manifest.dry or not isinstance(options, DeadLetters):
        return None
    return Path(manifest.state) / options.path


def newest(path: Path | None, reason: str = "", limit: int = 50) -> dict[str, Any]:
    """Return ``{"letters": [{"id", "time", "reason", "stage", "source", "line", "offset", "detail", "status",
    "attempts", "output", "raw_bytes", "raw_text", "raw_base64", "record"}, …], "problem": ""}``, the newest first.

    Of the bytes and the detail the first 4 KiB are shown; ``raw_bytes`` says how many there are. ``record`` is null for
    a line; of a record ``{"has_value", "published", "key", "headers": [[name, value], …]}``, as text. Without a store
    there are no letters; one that cannot be read is a ``problem``.

    Args:
        path: the store.
        reason: only those with this reason; empty: all.
        limit: at most so many.
    """
    if path is None or not path.exists():
        return {"letters": [], "problem": ""}
    where = _NEWEST.format("AND reason = ?" if reason else "")
    values: list[str | int] = [*([reason] if reason else []), max(1, min(limit, MOST))]
    try:
        with closing(open_for_reading(path, STEPS)) as connection:
            return {"letters": [_shown(letter) for letter in select_letters(connection, where, values)], "problem": ""}
    except sqlite3.Error as error:
        return {"letters": [], "problem": _problem(path, error)}


def reasons(path: Path | None) -> dict[str, Any]:
    """Return ``{"reasons": {reason: number of open letters, …}, "problem": ""}``, the most frequent first."""
    if path is None or not path.exists():
        return {"reasons": {}, "problem": ""}
    try:
        with closing(open_for_reading(path, STEPS)) as connection:
            rows = connection.execute("SELECT reason, count(*) AS n FROM letters WHERE status = 'open' "
                                      "GROUP BY reason ORDER BY n DESC, reason")
            return {"reasons": dict(rows.fetchall()), "problem": ""}
    except sqlite3.Error as error:
        return {"reasons": {}, "problem": _problem(path, error)}


def _problem(path: Path, error: sqlite3.Error) -> str:
    return f"{path}: {error}: `thresher dlq ls` says more"


def _shown(letter: StoredLetter) -> dict[str, Any]:
    raw = letter.raw[:SHOWN_BYTES]
    return {
        "id": letter.id, "time": letter.time, "reason": letter.reason, "stage": letter.stage, "source": letter.source,
        "line": letter.line, "offset": letter.offset, "detail": letter.detail[:SHOWN_BYTES], "status": letter.status,
        "attempts": letter.attempts, "output": letter.output, "raw_bytes": len(letter.raw), "raw_text": _text(raw),
        "raw_base64": base64.b64encode(raw).decode(), "record": _record(letter)}


def _record(letter: StoredLetter) -> dict[str, Any] | None:
    record = letter.record
    if record is None:
        return None
    return {
        "has_value": record.value is not None, "published": None if record.time is None else iso(record.time),
        "key": None if record.key is None else _text(record.key),
        "headers": [[name[:HEADER_BYTES], None if value is None else _text(value[:HEADER_BYTES])]
                    for name, value in record.headers[:HEADERS]]}


def _text(data: bytes) -> str:
    return data[:SHOWN_BYTES].decode(errors="backslashreplace")
