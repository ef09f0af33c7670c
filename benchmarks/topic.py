#!/usr/bin/env python3
"""A topic beside a file of lines and beside JSON lines: written and read in one run, in turn, and checked.

    python benchmarks/topic.py [--messages 1000000] [--bytes 100] [--partitions 1] [--batch 5000] [--rounds 3] [--json]

Each round writes the same messages, a key and a value each, in the same batches, and reads all of them again:

    raw      a file of lines (key, tab, value), written with one call a batch and flushed as often as the sink does
    lines    the sink `lines`: the same lines, exactly once
    json     the sink `jsonl`: an object with key and value
    topic    the sink `topic`, and its source

Items (lines, objects, pairs) are made before, and not timed. What a worker does (pack) and what a writer does (write)
is timed apart; reading is what a reader does: to open it, and to take every chunk of 1 MiB. All of them wait for the
disk once for eight batches, as a busy writer does; --no-sync leaves that out. What was read is compared with what was
written, all of it. Exit code 1 when anything differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from contextlib import closing  # noqa: E402

from actors.runtime.framing import RECORDS, records_in  # noqa: E402
from actors.runtime.ledger import Ledger  # noqa: E402
from actors.runtime.ports import SinkOptions, SourceOptions  # noqa: E402
from actors.runtime.values import Chunk, Payload  # noqa: E402
from actors.sinks.jsonl import Jsonl  # noqa: E402
from actors.sinks.lines import Lines  # noqa: E402
from actors.sinks.topic import Topic  # noqa: E402
from actors.sources.files import Files  # noqa: E402
from actors.sources.topic import Topic as TopicSource  # noqa: E402

#: Batches in a group, which is flushed once.
GROUP = 8
CHUNK_BYTES = 1024 * 1024
Message = tuple[bytes, bytes]
Result = dict[str, float]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=100, help="of a value")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--batch", type=int, default=5000, help="messages of a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-sync", dest="sync", action="store_false", help="do not wait for the disk")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds: dict[str, Callable[[Path, argparse.Namespace, Sequence[Sequence[Message]]], Result]] = {
        "raw": _raw, "lines": _lines, "json": _json, "topic": _topic}
    batches = list(_batches(options))
    found: dict[str, list[Result]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for kind, measure in kinds.items():
            folder = Path(tempfile.mkdtemp(prefix="thresher-topic-"))
            try:
                found[kind].append(measure(folder, options, batches))
            finally:
                shutil.rmtree(folder)
    return _print(found, options)


def _batches(options: argparse.Namespace) -> Iterator[list[Message]]:
    """The messages; their values are no two the same, and may be lines."""
    filler = b"x" * max(0, options.bytes - 12)
    for start in range(0, options.messages, options.batch):
        yield [(b"B%06d" % (number * 7919 % 100_003), b"%012d" % number + filler)
               for number in range(start, min(start + options.batch, options.messages))]


def _raw(folder: Path, options: argparse.Namespace, batches: Sequence[Sequence[Message]]) -> Result:
    path = folder / "raw"
    began = time.perf_counter()
    packed = [b"".join(b"%b\t%b\n" % message for message in batch) for batch in batches]
    pack_s = time.perf_counter() - began
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for at, data in enumerate(packed, 1):
            file.write(data)
            if options.sync and at % GROUP == 0:
                os.fdatasync(file.fileno())
    write_s = time.perf_counter() - began
    began = time.perf_counter()
    read = []
    with path.open("rb") as file:
        while block := file.readlines(CHUNK_BYTES):
            read += block
    read_s = time.perf_counter() - began
    wrong = _compare((line[:-1].split(b"\t", 1) for line in read), batches)
    return _result(pack_s, write_s, read_s, path.stat().st_size, wrong)


def _lines(folder: Path, options: argparse.Namespace, batches: Sequence[Sequence[Message]]) -> Result:
    items = [[b"%b\t%b" % message for message in batch] for batch in batches]
    source = Files(pattern=f"{folder}/out.log", rename="none")
    return _measured(folder, Lines(sync=options.sync), source, items, batches,
                     lambda chunk: [line.split(b"\t", 1) for line in chunk.data.splitlines()])


def _json(folder: Path, options: argparse.Namespace, batches: Sequence[Sequence[Message]]) -> Result:
    items = [[{"key": key.decode(), "value": value.decode()} for key, value in batch] for batch in batches]
    source = Files(pattern=f"{folder}/out.jsonl", rename="none")

    def unpacked(chunk: Chunk) -> list[list[bytes]]:
        found = map(json.loads, chunk.data.splitlines())
        return [[one["key"].encode(), one["value"].encode()] for one in found]

    return _measured(folder, Jsonl(sync=options.sync), source, items, batches, unpacked)


def _topic(folder: Path, options: argparse.Namespace, batches: Sequence[Sequence[Message]]) -> Result:
    source = TopicSource(topics=[str(folder / "out")], follow=False)

    def unpacked(chunk: Chunk) -> list[list[bytes]]:
        assert chunk.framing == RECORDS, chunk.detail
        return [[one.key or b"", one.value or b""] for one in records_in(chunk.data)]

    return _measured(folder, Topic(sync=options.sync, partitions=options.partitions), source, batches, batches,
                     unpacked)


def _measured(
    folder: Path, sink: SinkOptions, source: SourceOptions, items: Sequence[Sequence[object]],
    batches: Sequence[Sequence[Message]], unpacked: Callable[[Chunk], list[list[bytes]]],
) -> Result:
    began = time.perf_counter()
    packed = [sink.pack(some) for some in items]
    pack_s = time.perf_counter() - began
    began = time.perf_counter()
    with closing(sink.open("out", folder)) as opened:
        for start in range(0, len(packed), GROUP):
            opened.write([Payload("run", at, at + 1, len(items[at]), packed[at])
                          for at in range(start, min(start + GROUP, len(packed)))])
    write_s = time.perf_counter() - began
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    (folder / "state").mkdir()
    ledger = Ledger(folder / "state" / "positions.db", "run")
    began = time.perf_counter()
    opened_source = source.open(ledger, CHUNK_BYTES, folder / "state")
    chunks = list(iter(opened_source.read, None))
    read_s = time.perf_counter() - began
    opened_source.close()
    ledger.close_file()
    wrong = _compare((message for chunk in chunks for message in unpacked(chunk)), batches)
    return _result(pack_s, write_s, read_s, size, wrong)


def _compare(read: Iterator[list[bytes]], batches: Sequence[Sequence[Message]]) -> int:
    """How many messages are not what was written, each once and those of a key in order."""
    of: dict[bytes, list[bytes]] = {}
    for key, value in read:
        of.setdefault(key, []).append(value)
    wanted: dict[bytes, list[bytes]] = {}
    for batch in batches:
        for key, value in batch:
            wanted.setdefault(key, []).append(value)
    return sum(max(1, abs(len(of.get(key, [])) - len(wanted.get(key, [])))) for key in of.keys() | wanted.keys()
               if of.get(key) != wanted.get(key))


def _result(pack_s: float, write_s: float, read_s: float, size: int, wrong: int) -> Result:
    return {"pack_s": pack_s, "write_s": write_s, "read_s": read_s, "bytes": size, "wrong": wrong}


def _print(found: dict[str, list[Result]], options: argparse.Namespace) -> int:
    wrong = sum(int(one["wrong"]) for rounds in found.values() for one in rounds)
    rows = {kind: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            for kind, rounds in found.items()}
    if options.json:
        print(json.dumps({"machine": platform.platform(), "options": vars(options), "medians": rows, "wrong": wrong}))
        return 1 if wrong else 0
    print(f"{options.messages:,} messages of {options.bytes} bytes, {options.partitions} partitions, median of "
          f"{options.rounds}, {'with' if options.sync else 'without'} flushes; messages/s\n")
    print(f"{'':8}{'pack':>14}{'write':>14}{'read':>14}{'bytes each':>14}")
    for kind, row in rows.items():
        rates = (options.messages / max(1e-9, row[name]) for name in ("pack_s", "write_s", "read_s"))
        print(f"{kind:8}" + "".join(f"{rate:14,.0f}" for rate in rates) + f"{row['bytes'] / options.messages:14.1f}")
    print("\n" + ("every message is there, once, and in order" if not wrong else f"{wrong:,} messages are wrong"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
