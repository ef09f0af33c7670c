#!/usr/bin/env python3
"""What it costs to find the records of each framing: our source beside what a plain script would use, in one run.

    python benchmarks/framings.py [--records 200000] [--bytes 200] [--gzip] [--rounds 3] [--json]

For each framing a file is made of the same records, and read in turn by the source (``sources.Files``, in chunks of
1 MiB, as the reader does, with its ledger) and plainly: lines by iteration, CSV by the module ``csv``, records of
several lines by a regular expression for each line, a JSON array by the module ``json``, lengths by ``struct``. All
that the source has found is compared with what was written; exit code 1 when anything differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import csv  # noqa: E402
import gzip  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import re  # noqa: E402
import statistics  # noqa: E402
import struct  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from typing import Any, BinaryIO, NamedTuple, cast  # noqa: E402

from actors.runtime.framing import RECORDS, records_in  # noqa: E402
from actors.runtime.ledger import Ledger  # noqa: E402
from actors.runtime.values import Chunk  # noqa: E402
from actors.sources.files import Files  # noqa: E402

CHUNK_BYTES = 1024 * 1024


class Kind(NamedTuple):
    """A framing: its options, what a record is, how records make a file, and how a plain script counts them."""

    options: dict[str, Any]
    record: Callable[[int, bytes], bytes]
    joined: Callable[[Sequence[bytes]], bytes]
    plain: Callable[[BinaryIO], int]


def _plain_lines(file: BinaryIO) -> int:
    return sum(1 for _ in file)


def _plain_csv(file: BinaryIO) -> int:
    return sum(1 for _ in csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline="")))


def _plain_multiline(file: BinaryIO) -> int:
    begins = re.compile(rb"\d{4}-\d\d-\d\d").match
    return sum(begins(line) is not None for line in file)


def _plain_json(file: BinaryIO) -> int:
    return len(json.load(file))


def _plain_lengths(file: BinaryIO) -> int:
    count = 0
    while head := file.read(4):
        file.read(struct.unpack(">I", head)[0])
        count += 1
    return count


KINDS = {
    "lines": Kind({}, lambda number, filler: b"%012d %b" % (number, filler),
                  lambda records: b"".join(b"%b\n" % record for record in records), _plain_lines),
    "csv": Kind({"framing": "csv"}, lambda number, filler: b'%012d,"said: ""%b""\nand went",1' % (number, filler),
                lambda records: b"".join(b"%b\n" % record for record in records), _plain_csv),
    "multiline": Kind({"framing": "multiline", "record_start": r"\d{4}-\d\d-\d\d"},
                      lambda number, filler: b"2026-01-01 %012d\n  at %b\n  at main" % (number, filler),
                      lambda records: b"".join(b"%b\n" % record for record in records), _plain_multiline),
    "json_array": Kind({"framing": "json_array"},
                       lambda number, filler: b'{"number": %d, "text": "%b", "list": [1, 2]}' % (number, filler),
                       lambda records: b"[" + b",\n".join(records) + b"]\n", _plain_json),
    "length_prefixed": Kind({"framing": "length_prefixed"},
                            lambda number, filler: struct.pack(">Q", number) + b"\n" + filler,
                            lambda records: b"".join(struct.pack(">I", len(record)) + record for record in records),
                            _plain_lengths),
}


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--bytes", type=int, default=200, help="of a record, about")
    parser.add_argument("--gzip", action="store_true", help="the files are compressed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {name: [_measured(kind, options) for _ in range(options.rounds)] for name, kind in KINDS.items()}
    return _print(found, options)


def _measured(kind: Kind, options: argparse.Namespace) -> dict[str, float]:
    filler = b"x" * max(0, options.bytes - 40)
    records = [kind.record(number, filler) for number in range(options.records)]
    content = kind.joined(records)
    with tempfile.TemporaryDirectory(prefix="thresher-framings-") as name:
        folder = Path(name)
        path = folder / ("in.gz" if options.gzip else "in")
        path.write_bytes(gzip.compress(content, 1) if options.gzip else content)
        began = time.perf_counter()
        with cast(BinaryIO, gzip.open(path) if options.gzip else path.open("rb")) as file:
            count = kind.plain(file)
        plain_s = time.perf_counter() - began
        ours_s, chunks = _read(folder, path, kind.options)
    is_right = count == len(records) and [one for chunk in chunks for one in _values(chunk)] == records
    return {"plain_s": plain_s, "ours_s": ours_s, "bytes": len(content), "wrong": 0 if is_right else 1}


def _read(folder: Path, path: Path, options: dict[str, Any]) -> tuple[float, list[Chunk]]:
    (folder / "state").mkdir()
    ledger = Ledger(folder / "state" / "positions.db", "run")
    began = time.perf_counter()
    source = Files(pattern=str(path), rename="none", **options).open(ledger, CHUNK_BYTES, folder / "state")
    chunks = []
    while not source.exhausted:
        chunk = source.read()
        chunks += [chunk] if chunk is not None else []
    seconds = time.perf_counter() - began
    source.close()
    ledger.close_file()
    return seconds, chunks


def _values(chunk: Chunk) -> list[bytes]:
    assert not chunk.fault, chunk.detail
    if chunk.framing == RECORDS:
        return [record.value or b"" for record in records_in(chunk.data)]
    return chunk.data.removesuffix(b"\n").split(b"\n")


def _print(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> int:
    wrong = sum(int(one["wrong"]) for rounds in found.values() for one in rounds)
    if options.json:
        print(json.dumps({"machine": platform.platform(), "options": vars(options), "rounds": found, "wrong": wrong}))
        return 1 if wrong else 0
    packed = ", gzip" if options.gzip else ""
    print(f"{options.records:,} records of about {options.bytes} bytes{packed}; MB/s, and what a record costs; median "
          f"of {options.rounds} (ratio: min to max)\n")
    print(f"{'':18}{'plain':>12}{'ours':>12}{'us a record':>14}{'ratio':>9}")
    for name, rounds in found.items():
        plain_s, ours_s, size = (
            statistics.median(one[key] for one in rounds) for key in ("plain_s", "ours_s", "bytes"))
        ratios = sorted(one["plain_s"] / one["ours_s"] for one in rounds)
        print(f"{name:18}{size / plain_s / 1e6:12.0f}{size / ours_s / 1e6:12.0f}{ours_s / options.records * 1e6:14.2f}"
              f"{statistics.median(ratios):9.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print("\n" + ("every record is found, once, and in order" if not wrong else "WRONG: other records were found"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
