"""``ascp-live``, measured: lines over TCP, how many a second reach the store, and how long one takes to be there.

    client ──flood──▶ ascp-live ──▶ LMDB ◀── how many keys are there?          lines/s
    client ──so many a second──▶ ascp-live ──▶ LMDB ◀── is this key there yet? seconds from its sending

The store is looked at as anybody may who asks it (``LmdbReader``), every few ms. What is in it in the end is compared.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from actors.apps.ascp.events import Event, encode
from actors.apps.ascp.lines import parse_lines
from actors.sinks.lmdb import Lmdb
from tests.tcp import address_of

ROOT = Path(__file__).resolve().parents[1]
REFERENCE, REFERENCE_MS = "2018-11-01T00:00:00Z", 1_541_030_400_000
_LONGEST_S = 600.0
_LOOK_S = 0.002
#: Lines that are sent at a time when they are paced; one of them is watched.
_AT_ONCE = 10


def measured(flood: Sequence[bytes], paced: Sequence[bytes], rate: float, workers: int) -> dict[str, Any]:
    """Run once; return what was seen.

    Args:
        flood: lines that are sent as fast as they are taken.
        paced: lines that are sent afterwards.
        rate: so many of them a second.
        workers: parsers of the run.
    """
    expected = dict(_items(chain(flood, paced)))
    first = len(dict(_items(flood)))
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        state = Path(folder, "state")
        with _running(state, workers) as process, socket.create_connection(address_of(state), _LONGEST_S) as client:
            began = time.perf_counter()
            client.sendall(b"".join(line + b"\n" for line in flood))
            _until(lambda: _count(state) >= first, process)
            took = time.perf_counter() - began
            waited = _waits(client, state, paced, rate, process)
            _until(lambda: _count(state) >= len(expected), process)
        with closing(Lmdb().reader("events", state)) as store:
            same = dict(store.range()) == expected
    return {"lines": len(flood), "bytes": sum(map(len, flood)) + len(flood), "seconds": took, "rate": rate,
            "waits": waited, "same": same}


def _items(lines: Sequence[bytes] | Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return (encode(event) for event in parse_lines(list(lines), "", REFERENCE_MS) if isinstance(event, Event))


@contextmanager
def _running(state: Path, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """The run, once it listens; told to end behind the block."""
    words = ["run", "ascp-live", "--set", "source.port=0", "--set", f"options.reference={REFERENCE}", "--set",
             f"parser.workers={workers}", "--state", str(state), "--quiet"]
    with subprocess.Popen([sys.executable, "-m", "actors.cli", *words], cwd=ROOT, stdout=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        _until((state / "journal" / "tcp.address").exists, process)
        yield process
        process.terminate()
        if process.wait(_LONGEST_S):
            raise SystemExit(f"the run has ended with {process.returncode}")


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the run has ended, or is stuck")
        time.sleep(_LOOK_S)


def _count(state: Path) -> int:
    import lmdb

    path = state / "events.lmdb"
    if not (path / "data.mdb").exists():
        return 0
    with lmdb.open(os.fspath(path), readonly=True, create=False) as environment:
        return int(environment.stat()["entries"])


def _waits(client: socket.socket, state: Path, lines: Sequence[bytes], rate: float, process: subprocess.Popen[bytes]
           ) -> list[float]:
    """How long each line that is watched took from its sending until the store had it, in seconds."""
    keys = [key for key, _ in _items(lines[_AT_ONCE - 1::_AT_ONCE])]
    sent: list[float] = []
    waits: list[float] = []
    began = time.perf_counter()
    with closing(Lmdb().reader("events", state)) as store:
        def look() -> bool:
            while len(waits) < len(sent) and store.get(keys[len(waits)]) is not None:
                waits.append(time.perf_counter() - sent[len(waits)])
            if len(sent) < len(keys) and time.perf_counter() >= began + len(sent) * _AT_ONCE / rate:
                sent.append(time.perf_counter())
                client.sendall(b"".join(line + b"\n" for line in lines[(len(sent) - 1) * _AT_ONCE:][:_AT_ONCE]))
            return len(waits) == len(keys)

        _until(look, process)
    return waits
