#!/usr/bin/env python3
"""The sink `parquet` beside the sink `csv` and beside pyarrow called straight: the same rows, compared.

    python benchmarks/parquet.py [--rows 1000000] [--batch 5000] [--compression zstd] [--rounds 3] [--json]

Each round writes the same rows (a text of ten characters, a number, a time and a text of some forty) in the same
batches:

    csv       the sink `csv`: a table, exactly once
    parquet   the sink `parquet`: a journal that is acknowledged, and then files, exactly once
    pyarrow   its writer called straight: a table of each batch, one file; nothing is checked, nothing is there after
              a kill

Rows are made before, and not timed. What a worker does (pack; for pyarrow to make the tables) and what a writer does is
timed apart, of `parquet` also what the journal takes alone. Sinks wait for the disk once for eight batches, as a busy
writer does, pyarrow once at the end; --no-sync leaves that out. What is in the files is read again and compared with
what was written, all of it. Exit code 1 when anything differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import csv  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterable, Iterator, Sequence  # noqa: E402
from contextlib import closing  # noqa: E402
from typing import Any  # noqa: E402

from actors.runtime.ports import GatheringSink, Sink, SinkOptions  # noqa: E402
from actors.runtime.values import Payload  # noqa: E402
from actors.sinks.csv import Csv  # noqa: E402
from actors.sinks.parquet import Parquet  # noqa: E402

#: Batches in a group, which is flushed once.
GROUP = 8
COLUMNS = {"asin": "text", "rating": "real", "at": "timestamp", "text": "text?"}
_FIRST_MS = 1_500_000_000_000
Row = tuple[str, float, int, str | None]
Result = dict[str, float]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=5000, help="rows of a batch")
    parser.add_argument("--compression", default="zstd", help="of Parquet (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-sync", dest="sync", action="store_false", help="do not wait for the disk")
    parser.add_argument("--folder", type=Path, help="where the files are written, and removed again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds: dict[str, Callable[[Path, argparse.Namespace, Sequence[Sequence[Row]]], Result]] = {
        "csv": _csv, "parquet": _parquet, "pyarrow": _pyarrow}
    batches = list(_batches(options.rows, options.batch))
    found: dict[str, list[Result]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for kind, measure in kinds.items():
            folder = Path(tempfile.mkdtemp(prefix="thresher-parquet-", dir=options.folder))
            try:
                found[kind].append(measure(folder, options, batches))
            finally:
                shutil.rmtree(folder)
    return _print(found, options)


def _batches(rows: int, size: int) -> Iterator[list[Row]]:
    """The rows; the numbers look like ratings, every ninth has no text."""
    for start in range(0, rows, size):
        yield [(f"B{number * 7919 % 100_003:09d}", number % 5 + 0.5, _FIRST_MS + number * 137,
                None if number % 9 == 0 else f"review {number}, of so many words: it is {number % 977}")
               for number in range(start, min(start + size, rows))]


def _csv(folder: Path, options: argparse.Namespace, batches: Sequence[Sequence[Row]]) -> Result:
    def rows() -> Iterator[Row]:
        with (folder / "out.csv").open(newline="") as file:
            read = csv.reader(file)
            next(read)
            for asin, rating, at, text in read:
                yield asin, float(rating), int(at), text or None

    return _measured(folder, Csv(columns=list(COLUMNS), sync=options.sync), batches, rows)


def _parquet(folder: Path, options: argparse.Namespace, batches: Sequence[Sequence[Row]]) -> Result:
    sink = Parquet(columns=COLUMNS, compression=options.compression, roll_s=0, sync=options.sync)
    return _measured(folder, sink, batches, lambda: _read(sorted((folder / "out.parquet").glob("part-*"))))


def _pyarrow(folder: Path, options: argparse.Namespace, batches: Sequence[Sequence[Row]]) -> Result:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("asin", pa.string()), ("rating", pa.float64()), ("at", pa.timestamp("ms", tz="UTC")),
                        ("text", pa.string())])
    began = time.perf_counter()
    tables = [pa.table([list(column) for column in zip(*batch, strict=True)], schema=schema) for batch in batches]
    pack_s = time.perf_counter() - began
    began = time.perf_counter()
    # Groups as large as those of the sink: one a batch would be small, and the file large.
    whole = pa.concat_tables(tables)
    with (folder / "out").open("wb") as file:
        pq.write_table(whole, file, compression=options.compression, row_group_size=400_000)
        file.flush()
        if options.sync:
            os.fsync(file.fileno())
    write_s = time.perf_counter() - began
    return _result(folder, pack_s, write_s, 0.0, _compare(_read([folder / "out"]), batches))


def _read(paths: Sequence[Path]) -> Iterator[Row]:
    import pyarrow.parquet as pq

    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches():
            times = batch.column(2).cast("timestamp[ms]").cast("int64").to_pylist()
            yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), times,
                           batch.column(3).to_pylist(), strict=True)


def _measured(
    folder: Path, sink: SinkOptions, batches: Sequence[Sequence[Row]], rows: Callable[[], Iterable[Row]]
) -> Result:
    began = time.perf_counter()
    packed = [sink.pack(batch) for batch in batches]
    pack_s = time.perf_counter() - began
    began = time.perf_counter()
    with closing(sink.open("out", folder)) as opened:
        files_s = 0.0
        for start in range(0, len(packed), GROUP):
            files_s += _timed(opened, [Payload("run", at, at + 1, len(batches[at]), packed[at])
                                       for at in range(start, min(start + GROUP, len(packed)))])
        before = time.perf_counter()
        if isinstance(opened, GatheringSink):
            opened.end()
        files_s += time.perf_counter() - before
    write_s = time.perf_counter() - began
    return _result(folder, pack_s, write_s, files_s, _compare(rows(), batches))


def _timed(opened: Sink, payloads: list[Payload]) -> float:
    """Write a group; return how long the files took that were due before."""
    before = time.perf_counter()
    if isinstance(opened, GatheringSink):
        opened.tick()
    took = time.perf_counter() - before
    opened.write(payloads)
    return took


def _compare(found: Iterable[Any], batches: Sequence[Sequence[Row]]) -> int:
    """How many rows are not as they were written, in order."""
    expected = (row for batch in batches for row in batch)
    wrong, nothing = 0, object()
    rows = iter(found)
    for one in expected:
        wrong += next(rows, nothing) != one
    return wrong + sum(1 for _ in rows)


def _result(folder: Path, pack_s: float, write_s: float, files_s: float, wrong: int) -> Result:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {"pack_s": pack_s, "write_s": write_s, "files_s": files_s, "bytes": size, "wrong": wrong}


def _print(found: dict[str, list[Result]], options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps({"rows": options.rows, "python": platform.python_version(), "found": found}))
    else:
        print(f"{options.rows:,} rows in batches of {options.batch:,}, {options.compression}, "
              f"{'flushed' if options.sync else 'not flushed'}, {options.rounds} rounds: medians (least to most)\n")
        print(f"{'':8} {'pack, rows/s':>28} {'write, rows/s':>28} {'of it files, s':>20} {'MB':>8}")
        for kind, results in found.items():
            pack, write = (_rate(results, name, options.rows) for name in ("pack_s", "write_s"))
            print(f"{kind:8} {pack:>28} {write:>28} "
                  f"{statistics.median(one['files_s'] for one in results):>20.2f} {results[0]['bytes'] / 1e6:>8.1f}")
        for name, what in (("pack_s", "pack"), ("write_s", "write"), ("files_s", "of it files")):
            ratios = sorted(with_ours[name] / straight[name if name != "files_s" else "write_s"]
                            for with_ours, straight in zip(found["parquet"], found["pyarrow"], strict=True))
            print(f"parquet takes {statistics.median(ratios):.2f} times ({ratios[0]:.2f}-{ratios[-1]:.2f}) as long as "
                  f"pyarrow, round by round: {what}")
    wrong = sum(int(one["wrong"]) for results in found.values() for one in results)
    if wrong:
        print(f"{wrong} rows are not what was written", file=sys.stderr)
    return 1 if wrong else 0


def _rate(results: Sequence[Result], name: str, rows: int) -> str:
    rates = sorted(rows / one[name] for one in results)
    return f"{statistics.median(rates):,.0f} ({rates[0]:,.0f}-{rates[-1]:,.0f})"


if __name__ == "__main__":
    sys.exit(main())
