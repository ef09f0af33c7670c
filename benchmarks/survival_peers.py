#!/usr/bin/env python3
"""The same function over the same lines, as the first page of each library shows it: started by ``survival.py``.

    python benchmarks/survival_peers.py PEER IN OUT

Two processes; what ``row`` returns for a line goes to OUT as a line, or to files whose names begin like it. Nothing is
added that would make one of them more careful: what a library does when a worker dies is what is asked.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

WORKERS, CHUNK = 2, 1000
#: Of a record, in hashes: some 10 µs.
_WORK = 20


def row(line: bytes) -> bytes:
    """A line with what is computed of it, without its newline.

    With faults, which the environment says, the worker that is given one line is killed from outside, once, as the
    kernel does that is short of memory; and another line is one at which C code fails, each time.
    """
    number, _, text = line.rstrip(b"\n").partition(b" ")
    if number == _crash:
        ctypes.string_at(0)
    if number == _kill and _is_first():
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(_WORK):
        text = hashlib.sha256(text).digest()
    return number + b" " + text.hex().encode()


_kill, _crash = (os.environ.get(f"SURVIVAL_{name}", "").encode() for name in ("KILL", "CRASH"))


def _is_first() -> bool:
    try:
        os.close(os.open(os.environ["SURVIVAL_MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def rows(lines: list[bytes]) -> list[bytes]:
    """The rows of a chunk."""
    return [row(line) for line in lines]


def _chunks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    whole = iter(lines)
    while chunk := list(islice(whole, CHUNK)):
        yield chunk


def _write(out: Path, found: Iterable[bytes]) -> None:
    with out.open("wb") as file:
        file.writelines(line + b"\n" for line in found)


def loop(lines: Iterable[bytes], out: Path) -> None:
    """One process, no library."""
    _write(out, map(row, lines))


def pool(lines: Iterable[bytes], out: Path) -> None:
    """``multiprocessing.Pool``."""
    from multiprocessing import Pool

    with Pool(WORKERS) as workers:
        _write(out, workers.imap(row, lines, chunksize=CHUNK))


def executor(lines: Iterable[bytes], out: Path) -> None:
    """``concurrent.futures.ProcessPoolExecutor``."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as workers:
        _write(out, workers.map(row, lines, chunksize=CHUNK))


def joblib(lines: Iterable[bytes], out: Path) -> None:
    """joblib, with loky's processes."""
    import joblib as library

    found = library.Parallel(n_jobs=WORKERS, return_as="generator")(
        library.delayed(rows)(chunk) for chunk in _chunks(lines))
    _write(out, (each for chunk in found for each in chunk))


def mpire(lines: Iterable[bytes], out: Path) -> None:
    """mpire."""
    from mpire import WorkerPool

    with WorkerPool(n_jobs=WORKERS) as workers:
        _write(out, workers.imap(row, lines, chunk_size=CHUNK))


def pypeln(lines: Iterable[bytes], out: Path) -> None:
    """pypeln, whose records travel one by one unless they are gathered."""
    from pypeln import process

    _write(out, (each for chunk in process.map(rows, _chunks(lines), workers=WORKERS, maxsize=8) for each in chunk))


def ray(lines: Iterable[bytes], out: Path) -> None:
    """Ray, a task for each chunk; it starts one again whose worker has died, three times."""
    import ray as library

    library.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    task = library.remote(rows)
    _write(out, (each for reference in [task.remote(chunk) for chunk in _chunks(lines)]
                 for each in library.get(reference)))


def bytewax_flow(path: Path, out: Path) -> Any:
    """A dataflow of Bytewax, for ``python -m bytewax.testing``: each worker writes a file of its own."""
    import bytewax.operators as op
    from bytewax.connectors.files import FileSource
    from bytewax.dataflow import Dataflow
    from bytewax.outputs import DynamicSink, StatelessSinkPartition

    class Part(StatelessSinkPartition):  # type: ignore[misc,type-arg,unused-ignore]
        def __init__(self, worker: int) -> None:
            self._file = Path(f"{out}.{worker}").open("wb")  # noqa: SIM115

        def write_batch(self, items: list[bytes]) -> None:
            self._file.writelines(line + b"\n" for line in items)

        def close(self) -> None:
            self._file.close()

    class Sink(DynamicSink):  # type: ignore[misc,type-arg,unused-ignore]
        def build(self, step_id: str, worker_index: int, worker_count: int) -> Part:
            return Part(worker_index)

    flow = Dataflow("survival")
    lines = op.redistribute("spread", op.input("lines", flow, FileSource(path)))
    op.output("out", op.map("row", lines, lambda line: row(line.encode())), Sink())
    return flow


def dramatiq_actor() -> Any:
    """The actor of Dramatiq, for ``dramatiq benchmarks.survival_peers:broker``; a message for each chunk."""
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url=os.environ["SURVIVAL_REDIS"]))

    @dramatiq.actor(queue_name="survival", max_retries=3)  # type: ignore[untyped-decorator,unused-ignore]
    def load(out: str, number: int, chunk: list[str]) -> None:
        Path(f"{out}.{number}.part").write_bytes(b"".join(row(line.encode()) + b"\n" for line in chunk))
        Path(f"{out}.{number}.part").rename(f"{out}.{number}")

    return load


def dramatiq(lines: Iterable[bytes], out: Path) -> None:
    """Dramatiq, over Redis: this sends, and waits until there is a file for each message."""
    load = dramatiq_actor()
    sent = [load.send(str(out), number, [line.decode().rstrip("\n") for line in chunk])
            for number, chunk in enumerate(_chunks(lines))]
    while sum(not path.name.endswith(".part") for path in out.parent.glob(f"{out.name}.*")) < len(sent):
        time.sleep(0.05)


PEERS = {each.__name__: each for each in (loop, pool, executor, joblib, mpire, pypeln, ray, dramatiq)}


def main() -> int:
    """Run one of them to its end."""
    name, path, out = sys.argv[1:]
    with open(path, "rb") as lines:
        PEERS[name](lines, Path(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
