"""Where a sink of Parquet files has its journal and its files; read and removed without pyarrow."""

from __future__ import annotations

import os
from pathlib import Path

from actors.runtime.errors import ConfigError, plain_reason
from actors.sinks.lines_manifest import lock, manifest_path, read_manifest, unfinished_path


def journal_of(folder: Path, name: str) -> Path:
    """The journal of the sink of this name."""
    return folder / f".{name}.journal"


def file_of(folder: Path, number: int, sink_id: str) -> Path:
    """A file that is made: its place tells the order, and whose it is."""
    return folder / f"part-{number:06d}-{sink_id}.parquet"


def unfinished_of(path: Path) -> Path:
    """Where a file is written before it has its name; who looks for Parquet files passes it over."""
    return path.with_name(f".{path.name}.new")


def clear_files(folder: Path, name: str) -> None:
    """Remove the files that were made of a journal, and then the journal. Others in the folder stay.

    Raises:
        ConfigError: somebody writes to it; or one of them cannot be removed.
    """
    journal = journal_of(folder, name)
    try:
        descriptor = os.open(journal, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(f"{journal}: {plain_reason(error)}: expected the journal of the files to remove") from error
    try:
        lock(journal, descriptor)
        for path in _made(folder, journal):
            path.unlink(missing_ok=True)
        for path in (unfinished_path(journal), manifest_path(journal), journal):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: {plain_reason(error)}: expected to remove what was written there") from error
    finally:
        os.close(descriptor)


def _made(folder: Path, journal: Path) -> list[Path]:
    """The files of a journal that are in the folder, those that are not finished, too."""
    try:
        made = read_manifest(journal).made
    except FileNotFoundError:
        return []
    return [*folder.glob(f"part-*-{made.id}.parquet"), *folder.glob(f".part-*-{made.id}.parquet.new")] if made else []
