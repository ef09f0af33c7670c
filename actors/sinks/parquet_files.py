"""The opened ``parquet`` sink: a journal that rows are acknowledged in, and whole files that are made of it.

    batches ─▶ .NAME.journal ─(long, old, or the end)─▶ .part-000007-ID.parquet.new ─rename─▶ part-000007-ID.parquet
                manifest: length, positions, files: so many were made of it; what is in the journal is in none of them

A file is made in four steps: (1) the rows of the journal are written beside its place, and flushed with their name; (2)
the manifest is replaced by a rename: one file more, and an empty journal; (3) the file is renamed, and the folder
flushed; (4) the journal is cut. The rows change from the journal into the file in step 2, all at one moment:

    killed before (2)    the journal has them; what was written beside the place of file ``files + 1`` is removed
    killed behind (2)    the file has them; if file ``files`` has not got its name yet, it gets it when this is opened

So each row is in one file, once, whoever dies when; a file that was taken away never comes back; and a name is never
that of half a file. The positions of batches are in the manifest, as those of a file of lines are (``growing_file``).

One row group is in memory while a file is made. When that fails (a full disk) nothing has happened: it is made when it
works again, and what comes meanwhile waits. A journal that is of other columns becomes a file of those first.

What does not work: to write Parquet as rows come (a file cannot be read before its end is there, and not be gone on
with after a kill); the rename first, and then the manifest (killed in between the file would be made again, also when
it was taken away since); a file for each batch (thousands of small ones).
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow.parquet as pq

from actors.runtime.disk import sync_folder, write_all
from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.ports import GatheringSink
from actors.runtime.progress import progress
from actors.runtime.values import Payload, Refusal
from actors.sinks.growing_file import GrowingFile
from actors.sinks.lines_manifest import Made, Manifest, manifest_path, write_manifest
from actors.sinks.parquet_places import file_of, journal_of, unfinished_of
from actors.sinks.parquet_rows import batch_of, row_groups, schema_of


class FolderOptions(Protocol):
    """What is used of the sink's options."""

    @property
    def columns(self) -> dict[str, str]:
        """Types by name."""

    @property
    def compression(self) -> str:
        """Of the files."""

    @property
    def roll_bytes(self) -> int:
        """So long a journal becomes a file."""

    @property
    def roll_s(self) -> float:
        """So old a journal becomes a file; 0: none does for its age."""

    @property
    def row_group_bytes(self) -> int:
        """So much is in memory."""

    @property
    def sync(self) -> bool:
        """Wait for the disk."""


class ParquetFolder(GrowingFile, GatheringSink):
    """The opened folder.

    Args:
        folder: where the files are.
        name: of the sink.
        options: of the sink.
        clock: seconds since 1970.

    Raises:
        ConfigError: somebody else writes there under this name, or the journal is not what was written.
    """

    def __init__(
        self, folder: Path, name: str, options: FolderOptions, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._options = options
        self._clock = clock
        self._schema = schema_of(options.columns)
        self._head: bytes = self._schema.serialize().to_pybytes()
        super().__init__(journal_of(folder, name), options.sync)

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Append the rows of all batches that are not in the journal yet; before, make a file when one is due.

        Raises:
            ValueError: a payload is none of these columns; nothing is written.
        """
        for payload in payloads:
            if batch_of(payload.data, self._schema).num_rows != payload.count:
                raise ValueError(f"expected {payload.count} rows")
        self.tick()
        return super().write(payloads)

    def tick(self) -> float | None:
        """Make a file of a journal that is long or old enough."""
        descriptor = self._opened()
        made, roll_s = self._made(), self._options.roll_s
        if not made.rows:
            return None
        left_s = min(roll_s, made.since + roll_s - self._clock())  # the clock may have gone back
        if self._manifest.length >= self._options.roll_bytes or (roll_s and left_s <= 0):
            self._try(descriptor, self._make)
            return None
        return left_s if roll_s else None

    def end(self) -> None:
        """Make a file of what is in the journal."""
        descriptor = self._opened()
        if self._made().rows:
            self._try(descriptor, self._make)

    def _first_manifest(self, size: int) -> Manifest:
        if size:
            raise ConfigError(f"{self._path}: expected {manifest_path(self._path).name} beside it, got none: put it "
                              "back, or move the journal away (its rows are in no file)")
        return Manifest(made=Made(secrets.token_hex(8)))

    def _begin(self, descriptor: int) -> None:
        """Bring to its end what a kill has left; then have the journal begin with the schema."""
        made = self._made()
        self._name(made)
        unfinished_of(file_of(self._folder, made.files + 1, made.id)).unlink(missing_ok=True)
        if self._manifest.length and os.pread(descriptor, len(self._head), 0) != self._head:
            if made.rows:
                self._write_file(file_of(self._folder, made.files + 1, made.id))
            self._empty(descriptor, 0, made.files + bool(made.rows))
        if not self._manifest.length:
            self._append(descriptor, [self._head], msgspec.structs.replace(self._manifest, length=len(self._head)))

    def _longer(self, news: Sequence[Payload], applied: dict[str, int]) -> Manifest:
        manifest, made = super()._longer(news, applied), self._made()
        manifest.made = msgspec.structs.replace(
            made, rows=made.rows + sum(payload.count for payload in news),
            since=made.since if made.rows else self._clock())
        return manifest

    def _made(self) -> Made:
        made = self._manifest.made
        if not made:
            raise ConfigError(f"{manifest_path(self._path)}: not the manifest of a journal of Parquet files: give "
                              "another folder, or put it back")
        return made

    def _make(self, descriptor: int) -> None:
        """Make a file of the journal, which has rows."""
        made = self._made()
        self._require_whole(descriptor)
        self._require_in_place(descriptor)
        self._write_file(file_of(self._folder, made.files + 1, made.id))
        self._empty(descriptor, len(self._head), made.files + 1)

    def _empty(self, descriptor: int, length: int, files: int) -> None:
        """So many files have all rows, the last of them under no name yet: let it have that, and cut the journal."""
        manifest = msgspec.structs.replace(
            self._manifest, length=length, made=msgspec.structs.replace(self._made(), files=files, rows=0))
        write_manifest(self._path, manifest, self._sync)
        self._manifest = manifest
        self._name(self._made())
        os.ftruncate(descriptor, length)

    def _name(self, made: Made) -> None:
        """Let the last file have its name, if it has not got it."""
        path = file_of(self._folder, made.files, made.id)
        with contextlib.suppress(FileNotFoundError):
            unfinished_of(path).rename(path)
            if self._sync:
                sync_folder(self._folder)

    def _write_file(self, path: Path) -> None:
        """Write the rows of the journal beside the place of a file."""
        unfinished = unfinished_of(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(unfinished, flags, 0o644)
        try:
            with _output(descriptor) as output:
                self._write_groups(output)
            if self._sync:
                progress()
                os.fsync(descriptor)
                sync_folder(self._folder)
        except (OSError, ConfigError):
            with contextlib.suppress(OSError):
                unfinished.unlink()  # what it has taken of a full disk is given back
            raise
        finally:
            os.close(descriptor)

    def _write_groups(self, output: _Output) -> None:
        groups, rows = row_groups(self._path, self._options.row_group_bytes), self._made().rows
        try:
            with contextlib.closing(groups), _writer(output, next(groups).schema, self._options.compression) as writer:
                for group in groups:
                    progress()
                    writer.write_table(group, row_group_size=group.num_rows)
                    rows -= group.num_rows
            if rows:
                raise ValueError(f"{abs(rows)} rows {'more' if rows < 0 else 'less'} than were written")
        except ValueError as error:
            raise ConfigError(f"{self._path}: not what was written ({error}): put it back, or move it and its manifest "
                              "away: its rows are in no file") from error

    def _unusable(self, error: OSError) -> Retryable:
        return Retryable(f"{self._folder}: {plain_reason(error)}")

    def _try(self, descriptor: int, do: Callable[[int], None]) -> None:
        try:
            do(descriptor)
        except OSError as error:
            self.close()
            raise self._unusable(error) from error


class _Output(io.RawIOBase):
    """A file for a library that takes every write for a whole one, and would write on behind a failure."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._at = 0
        self.is_over = False

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """Write all of it."""
        if not self.is_over:
            write_all(self._descriptor, [memoryview(data)], self._at)
            self._at += len(memoryview(data))
        return len(memoryview(data))

    def tell(self) -> int:
        """How much was written."""
        return self._at


@contextlib.contextmanager
def _output(descriptor: int) -> Iterator[_Output]:
    output = _Output(descriptor)
    try:
        yield output
    finally:
        output.is_over = True  # the descriptor may be another file's by the time that the library lets go


@contextlib.contextmanager
def _writer(output: _Output, schema: Any, compression: str) -> Iterator[Any]:
    writer = pq.ParquetWriter(output, schema, compression=compression)
    try:
        yield writer
        writer.close()
    except BaseException:
        output.is_over = True
        with contextlib.suppress(Exception):  # it failed before
            writer.close()
        raise
