"""Parquet: rows in files of columns, each row in one file, once; through pyarrow (the extra ``parquet``).

An item is a row by typed columns (``columns``), as that of the sink ``sql``. Workers check it and lay the rows of a
batch out by column, so what is left for the one process that writes is the disk and the compression.

    text, json   string        integer   int64        real    double
    timestamp    µs, in UTC    boolean   boolean      bytes   binary         TYPE?   the same, or null

``parquet_files`` has the opened sink: the journal, and how a file is made of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from actors.runtime.errors import ConfigError
from actors.runtime.extras import how_to_install
from actors.runtime.ports import UNFLUSHED, GatheringSink, Repeated, SinkOptions
from actors.runtime.stored import Need, Reader
from actors.sinks.columns import columns_of, laid_out, require_columns
from actors.sinks.lines_manifest import read_manifest
from actors.sinks.parquet_places import clear_files, journal_of


class Parquet(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder of Parquet files.

    A row is acknowledged when it is in the journal of the folder (``.NAME.journal``, a stream of Arrow) and flushed. A
    file is made of the journal when that is ``roll_bytes`` long or its first row ``roll_s`` old, and when the input has
    ended; until then its rows are in no file. A file is whole as soon as it has its name, and does not change any more:
    whoever has read it may take it away.

    Attributes:
        columns: types by name: text, integer, real, timestamp, json, boolean, bytes; with a ``?`` behind it, it may be
            null.
        folder: where the files are, relative to the state directory; empty for ``NAME.parquet``.
        compression: of the files.
        roll_bytes: a file is made when the journal is so long. Rows are not compressed there: the file is smaller.
        roll_s: a file is made when the first row in the journal is so old; 0: only when it is long enough, and at the
            end of the input.
        row_group_bytes: rows of a group, as they are in the journal; so much is in memory while a file is made.
        sync: wait for the disk at each group of batches, and before a file has its name; without it what was written
            survives the death of any process, not that of the machine.

    Example::

        Parquet(folder="reviews", columns={"asin": "text", "rating": "real", "at": "timestamp", "text": "text?"})
    """

    ordered: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = ("rows and positions in a journal, of which whole files are made: each row in one file, "
                                "exactly once, in source order")
    imports: ClassVar[tuple[str, ...]] = ("pyarrow", "pyarrow.parquet")
    gathers: ClassVar[bool] = True

    columns: dict[str, str]
    folder: str = ""
    compression: Literal["none", "snappy", "gzip", "brotli", "lz4", "zstd"] = "zstd"
    roll_bytes: Annotated[int, Meta(ge=1)] = 128 * 1024 * 1024
    roll_s: Annotated[float, Meta(ge=0)] = 600.0
    row_group_bytes: Annotated[int, Meta(ge=1)] = 32 * 1024 * 1024
    sync: bool = True

    def __post_init__(self) -> None:
        """Refuse what no table can be made of."""
        require_columns(self.columns)

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return the rows of these items, by column.

        Raises:
            Reject: a column is missing, or its value is none of its type.
        """
        from actors.sinks.parquet_rows import packed

        return packed(laid_out(items, columns_of(self.columns)), self.columns)

    def unpack(self, data: bytes) -> list[Any]:
        """Return the rows that ``pack`` made this of, as tuples; times with a zone, JSON as plain data."""
        from actors.sinks.parquet_rows import unpacked

        return unpacked(data, self.columns)

    def libraries(self) -> tuple[str, ...]:
        """What writes the format."""
        return ("pyarrow",)

    def open(self, name: str, state: Path) -> GatheringSink:
        """Open the journal, made when it is missing, and bring to its end what a kill has left.

        Raises:
            ConfigError: the library is not installed; somebody else writes there under this name; or the journal is not
                what was written.
        """
        try:
            from actors.sinks.parquet_files import ParquetFolder
        except ImportError as error:
            raise _not_installed(name) from error
        return ParquetFolder(self.place(name, state), name, self)

    def check(self, name: str, state: Path) -> list[str]:
        """What lies where the files are to be, and cannot be written to."""
        folder = self.place(name, state)
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not nearest.is_dir():
            return [f"{nearest}: expected a folder, got a file: move it away"]
        if not os.access(nearest, os.W_OK | os.X_OK):
            return [f"{nearest}: this user may not write there: give another folder, or leave to write"]
        return []

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """What the manifest of the journal says; nothing when there is none."""
        try:
            return read_manifest(journal_of(self.place(name, state), name)).applied
        except (OSError, ConfigError):
            return {}

    def clear(self, name: str, state: Path) -> bool:
        """Remove the files that the sink of this name has made, those that are still in the folder, and its journal.

        Raises:
            ConfigError: somebody writes there; or one of them cannot be removed.
        """
        clear_files(self.place(name, state), name)
        return True

    def place(self, name: str, state: Path) -> Path:
        """Where the files are."""
        return state / (self.folder or f"{name}.parquet")

    def answers(self) -> tuple[Need, ...]:
        """The rows of its files, and those that wait for one."""
        return ("rows",)

    def reader(self, name: str, state: Path) -> Reader:
        """Look at the files, and at the journal.

        Raises:
            ConfigError: the library is not installed.
        """
        try:
            from actors.sinks.parquet_read import ParquetReader
        except ImportError as error:
            raise _not_installed(name) from error
        return ParquetReader(self.place(name, state), name, self.columns)

    def loses(self) -> str:
        """Nothing, unless it does not wait for the disk."""
        return "" if self.sync else UNFLUSHED

    def repeated(self) -> Repeated:
        """Its position is in the manifest of the journal."""
        return "skipped"

    def promises(self) -> str:
        """What is promised, and when a row is in a file."""
        after = f"after {self.roll_s:g} s, at {self.roll_bytes} bytes" if self.roll_s else f"at {self.roll_bytes} bytes"
        return f"{self.guarantee}; a file is made {after} of journal, or at the end of the input"

    def describe(self) -> str:
        """Say where this writes."""
        return f"parquet files in {self.folder}" if self.folder else "parquet files"


def _not_installed(name: str) -> ConfigError:
    return ConfigError(f"sinks.{name}: type parquet needs pyarrow: {how_to_install('parquet')}")


OPTIONS = Parquet
