"""Where a sink of Parquet files has its journal and its files; read and removed without pyarrow."""

from __future__ import annotations

from pathlib import Path

from actors.sinks.lines_manifest import clear_made, read_manifest


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
    clear_made(folder, journal, "journal", lambda _: _made(folder, journal))


def _made(folder: Path, journal: Path) -> list[Path]:
    """The files of a journal that are in the folder, those that are not finished, too."""
    try:
        made = read_manifest(journal).made
    except FileNotFoundError:
        return []
    return [*folder.glob(f"part-*-{made.id}.parquet"), *folder.glob(f".part-*-{made.id}.parquet.new")] if made else []
