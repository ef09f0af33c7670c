"""The rows of a sink of Parquet files, looked at while it is written to: those of its files, then those of its journal.

    part-000001 ─▶ part-000002 ─▶ … ─▶ .NAME.journal ──it becomes a file meanwhile──▶ part-00000N, without k rows
                                        k rows are read

The rows of the journal become the next file all at once, in the same order, when the manifest says one file more; only
then is the journal cut (``parquet_files``). So a batch that was read of it counts if the manifest has as many files
afterwards as before, and else what is left is in that file. A file that somebody has taken away has no rows.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.stored import NothingStored, Reader
from actors.sinks.lines_manifest import Made, Manifest, manifest_path, read_manifest
from actors.sinks.parquet_places import file_of, journal_of, unfinished_of
from actors.sinks.parquet_rows import reading

#: So many rows of a file are made Python's at a time.
_ROWS = 1000
_US_OF_MS = 1000
_Rows = Iterator[dict[str, Any]]


class ParquetReader(Reader):
    """Reads a folder.

    Args:
        folder: where the files are.
        name: of the sink.
        columns: types by name: which texts are JSON.
    """

    def __init__(self, folder: Path, name: str, columns: Mapping[str, str]) -> None:
        self._folder = folder
        self._journal = journal_of(folder, name)
        self._json = frozenset(column for column, kind in columns.items() if kind.removesuffix("?") == "json")

    def rows(self) -> _Rows:
        """In the order in which they were written, each by the columns that there were then."""
        about = _About(self._journal)
        number, given = 1, 0
        try:
            while True:
                if number <= about.made.files:
                    yield from islice(self._of_file(about.made, number), given, None)
                    number, given = number + 1, 0
                else:
                    left = yield from self._of_journal(about, given)
                    if left is None:
                        return
                    given = left
        except ValueError as error:
            raise ConfigError(f"{self._folder}: expected what this sink writes, got something else: {error}") from error
        except OSError as error:
            raise Retryable(f"{self._folder}: {plain_reason(error)}") from error

    def _of_file(self, made: Made, number: int) -> _Rows:
        path = file_of(self._folder, number, made.id)
        for where in (path, unfinished_of(path), path):  # a kill may have left it without its name until it has it
            try:
                file = where.open("rb")
            except FileNotFoundError:
                continue
            with file, reading(), pq.ParquetFile(file) as opened:
                for batch in opened.iter_batches(batch_size=_ROWS, use_threads=False):
                    yield from self._rows_of(batch)
            return

    def _of_journal(self, about: _About, given: int) -> Generator[dict[str, Any], None, int | None]:
        """Its rows but the first; returns how many are given out once a file has them; None: that was all."""
        files, at = about.made.files, 0
        with self._journal.open("rb") as file:
            batches = _batches(_Limited(file, about.manifest.length))
            while True:
                try:
                    batch = next(batches, None)
                except ValueError:
                    if about.made.files == files:
                        raise
                    batch = None
                if about.made.files != files:
                    return given
                if batch is None:
                    return None
                rows = islice(self._rows_of(batch), max(0, given - at), None)
                at += batch.num_rows
                given = max(given, at)
                yield from rows

    def _rows_of(self, batch: Any) -> _Rows:
        names = batch.schema.names
        columns = [self._values(name, array) for name, array in zip(names, batch.columns, strict=True)]
        return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))

    def _values(self, name: str, array: Any) -> list[Any]:
        if pa.types.is_timestamp(array.type):
            return [None if us is None else us // _US_OF_MS for us in array.cast(pa.int64()).to_pylist()]
        values: list[Any] = array.to_pylist()
        if name in self._json:
            return [None if value is None else msgspec.json.decode(value) for value in values]
        return values


class _About:
    """The manifest of a journal, as it is now; read again when it has changed.

    Args:
        journal: the journal.

    Raises:
        NothingStored: there is none.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._seen: tuple[int, ...] = ()
        self._manifest = Manifest()
        self._id = ""
        self._id = self.made.id

    @property
    def manifest(self) -> Manifest:
        """What counts.

        Raises:
            NothingStored: nothing was ever written there.
            Retryable: the sink was begun anew since.
        """
        try:
            about = manifest_path(self._journal).stat()
            if (seen := (about.st_ino, about.st_mtime_ns, about.st_size)) != self._seen:
                self._manifest, self._seen = read_manifest(self._journal), seen
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NothingStored(f"{self._journal.parent}: nothing was written there") from error
        return self._manifest

    @property
    def made(self) -> Made:
        """What has been made of it; raises as ``manifest`` does."""
        made = self.manifest.made
        if not made:
            raise ConfigError(f"{manifest_path(self._journal)}: not the manifest of a journal of Parquet files")
        if made.id != (self._id or made.id):
            raise Retryable(f"{self._journal.parent}: it was begun anew while it was read: ask once more")
        return made


class _Limited(io.RawIOBase):
    """What counts of a file.

    Args:
        file: where it is read.
        left: so many bytes.
    """

    def __init__(self, file: BinaryIO, left: int) -> None:
        self._file = file
        self.left = left

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some."""
        data = self._file.read(min(len(buffer), self.left))
        buffer[:len(data)] = data
        self.left -= len(data)
        return len(data)


def _batches(file: _Limited) -> Iterator[Any]:
    with reading(), pa.PythonFile(file) as source:
        if file.left:
            yield from pa.ipc.open_stream(source)
