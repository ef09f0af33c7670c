"""Which windows a state is of: kept in each shard's file, for windows of two kinds or sizes do not mix.

Only what decides which windows there are is kept. The allowed disorder and lateness may change from run to run: they
say when a window is closed, and for how long it is kept.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.sections import WindowOptions

#: A file that an older version made takes those of the first run that goes on from it.
SHAPE_SCHEMA = "CREATE TABLE shape (options TEXT NOT NULL)"
#: The options that decide which windows there are, by kind.
_DECIDE = {"tumbling": ("size_s", "start"), "hopping": ("size_s", "every_s", "start"), "session": ("gap_s",),
           "global": ()}


def require_shape(connection: sqlite3.Connection, path: Path, options: WindowOptions, shards: int) -> None:
    """Make sure that a shard's file is of these windows; a file that does not say is from now on.

    Raises:
        ConfigError: it is of others.
    """
    said = msgspec.to_builtins(options)
    shape = {name: said[name] for name in ("kind", *_DECIDE[options.kind])}
    if shards > 1:
        shape["empty"] = said["empty"]  # it says which shard a window is of
    row = connection.execute("SELECT options FROM shape").fetchone()
    if row is None:
        connection.execute("INSERT INTO shape VALUES (?)", (msgspec.json.encode(shape).decode(),))
        return
    kept: dict[str, Any] = {"empty": "skip", **msgspec.json.decode(row[0])}
    other = [name for name in kept if name in shape and kept[name] != shape[name]]
    if other:
        was, now = (", ".join(f"window.{name} = {_shown(each[name])}" for name in other) for each in (kept, shape))
        raise ConfigError(f"{path}: state made with {was}, now {now}: set it back, or begin anew with --fresh or "
                          "another --state")


def _shown(value: Any) -> str:
    return msgspec.json.encode(int(value) if isinstance(value, float) and value.is_integer() else value).decode()
