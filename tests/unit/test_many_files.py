"""What a file costs the directory source does not grow with the number of files, by count and not by the clock."""

from __future__ import annotations

import select
from pathlib import Path

from actors.runtime.ledger import Ledger
from actors.sources.directory import Directory, DirectorySource
from tests.growth import Work, watched

#: More than are open at a time.
FEW, MANY = 300, 1200
#: As long as what files are known by: all of them begin alike.
_HEADER = b"# the same header in every file\n" * 40


def make_files(folder: Path, files: int) -> None:
    (folder / "logs").mkdir(parents=True)
    for number in range(files):
        (folder / f"logs/{number:06d}.log").write_bytes(_HEADER + b"line\n")


def opened(folder: Path, run: str, follow: bool) -> tuple[Ledger, DirectorySource]:
    ledger = Ledger(folder / "positions.db", run)
    return ledger, Directory(paths=[str(folder / "logs")], follow=follow, poll_s=3600).open(ledger, 1024 * 1024)


def load_all(ledger: Ledger, source: DirectorySource) -> int:
    """Read what there is, as the reader does: everything is closed at once."""
    chunks = 0
    while (chunk := source.read()) is not None:
        ledger.issue(chunk)
        ledger.flush()
        ledger.close(chunk, {"read": chunk.data.count(b"\n")})
        source.progress()
        chunks += 1
    for unit in ledger.take_closed():
        ledger.settle(unit, "done")
    ledger.commit()
    return chunks


def read_once(folder: Path, files: int, runs: int = 1) -> Work:
    """So many runs over the same files; the last one is counted."""
    make_files(folder, files)
    for run in range(runs):
        with watched() as work:
            ledger, source = opened(folder, f"run-{run}", follow=False)
            with work.counted():
                assert load_all(ledger, source) == (0 if run else files)
            source.close()
            ledger.close_file()
    return work


def appended(folder: Path, files: int) -> Work:
    """So many files are followed, and one gets a line."""
    make_files(folder, files)
    with watched() as work:
        ledger, source = opened(folder, "run", follow=True)
        load_all(ledger, source)
        with (folder / "logs/000000.log").open("ab") as file:
            file.write(b"more\n")
        assert source.wake is not None and select.select([source.wake], [], [], 30)[0]
        with work.counted():
            chunk = source.read()
            source.progress()
        assert chunk is not None and chunk.data == b"more\n"
        source.close()
        ledger.close_file()
    return work


def test_reading_a_file_costs_the_same_among_many(tmp_path: Path) -> None:
    few, many = read_once(tmp_path / "few", FEW), read_once(tmp_path / "many", MANY)
    assert many.codes < 4.2 * few.codes
    assert many.steps < 6 * few.steps


def test_to_know_a_file_again_costs_the_same_among_many_that_begin_alike(tmp_path: Path) -> None:
    few, many = read_once(tmp_path / "few", FEW, runs=2), read_once(tmp_path / "many", MANY, runs=2)
    assert many.codes < 4.2 * few.codes
    assert many.steps < 6 * few.steps


def test_a_line_that_is_appended_costs_the_same_among_many_files_that_are_silent(tmp_path: Path) -> None:
    few, many = appended(tmp_path / "few", FEW), appended(tmp_path / "many", MANY)
    assert many.codes < 1.1 * few.codes
