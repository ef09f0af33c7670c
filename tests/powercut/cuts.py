"""Runs whose power is cut: recorded once, cut at many moments, each resumed by the same command and looked at.

    a run ──record──▶ [change, change, flush, change, …]
                              │cut, by a seed
                              ▼
                      what the disk has left ──the same command──▶ the contents: as if nothing had been
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from actors.runtime.state import read_state
from actors.runtime.units import LEDGER
from actors.sinks.dead_letters import read_letters
from actors.sinks.lmdb import read_lmdb
from tests.loads import ROOT, WATCHDOG_S
from tests.powercut import in_redis, topics
from tests.powercut.disk import Disk, read_record
from tests.powercut.recording import recorded
from tests.tcp import address_of


class Job(NamedTuple):
    """What is run.

    Attributes:
        words: the command line, to be executed in the folder that is cut.
        prepare: makes its input in that folder.
        drive: is there while it runs, and has it end.
        look: what is in its stores, in a form that can be compared; raises for what must never be.
        beside: what is there while it runs, on the same disk; it may add to the environment.
    """

    words: tuple[str, ...]
    prepare: Callable[[Path], None]
    look: Callable[[Path], Any]
    drive: Callable[[Path, subprocess.Popen[str]], None] = lambda root, process: None
    beside: Callable[[Path, dict[str, str]], contextlib.AbstractContextManager[object]] = (
        lambda root, environment: contextlib.nullcontext())


def start(job: Job, root: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the job to its end."""
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)
    words = [sys.executable, "-m", "actors.cli", "run", *job.words, "--state", "state", "--format", "json"]
    with job.beside(root, environment), subprocess.Popen(
            words, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL) as process:
        try:
            job.drive(root, process)
            output, _ = process.communicate(timeout=WATCHDOG_S)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(words, process.returncode, output)


class Cut(NamedTuple):
    """One power cut.

    Attributes:
        seed: of the moment and of what is left.
        code: exit code of the run that resumed it.
        output: what that one printed.
        found: what was in the stores then, or what was wrong with them.
    """

    seed: int
    code: int
    output: str
    found: Any


def cuts(job: Job, folder: Path, library: Path, seeds: range, flush_ms: int = 0) -> Generator[Any, None, None]:
    """Run a job in peace, and yield what its stores hold; cut its power for each seed, resume, and yield a ``Cut``."""
    root, log = folder / "root", folder / "record"
    root.mkdir(parents=True)
    job.prepare(root)
    disk = Disk(root)
    peace = start(job, root, recorded(library, root, log, flush_ms))
    assert peace.returncode == 0, peace.stdout
    yield job.look(root)
    ops = list(read_record(log))
    moments = sorted((random.Random(seed).randrange(len(ops)), seed) for seed in seeds)
    done = 0
    for moment, seed in moments:
        for op in ops[done:moment]:
            disk.do(op)
        done = moment
        left = folder / f"cut-{seed}"
        disk.leave(left, seed)
        again = start(job, left, dict(os.environ))
        try:
            found = job.look(left)
        except (AssertionError, sqlite3.Error) as error:
            found = f"{type(error).__name__}: {error}"
        yield Cut(seed, again.returncode, again.stdout, found)


FILES, LINES, BAD_EVERY = 3, 300, 15


def write_numbers(root: Path, files: int = FILES, each: int = LINES) -> None:
    """Make files of numbers, of which some are none."""
    (root / "data").mkdir(parents=True)
    for number in range(files):
        write_numbers_of(root / "data" / f"{number}.txt", number, each)


def write_numbers_of(path: Path, number: int, each: int) -> None:
    """Make the file of this number."""
    lines = [f"bad{at}" if at % BAD_EVERY == 0 else str(at) for at in range(number * each, (number + 1) * each)]
    path.write_text("\n".join(lines) + "\n")


def look_everywhere(state: Path, data: Path, **elsewhere: Path) -> dict[str, Any]:
    """What is in each store; some of them may be elsewhere."""
    places = {"keyed": state / "keyed.lmdb", "lined": state / "lined.log", "listed": state / "listed.jsonl",
              "rowed": state / "rowed.sqlite", "tabled": state / "tabled.csv", "filed": state / "filed",
              "gathered": state / "gathered", "letters": state / "dead-letters.db", **elsewhere}
    with closing(sqlite3.connect(places["rowed"])) as rows:
        rowed = sorted(number for (number,) in rows.execute("SELECT number FROM numbers"))
    return {
        "keyed": dict(read_lmdb(places["keyed"])),
        "lined": places["lined"].read_bytes().splitlines(),
        "listed": [json.loads(line)["number"] for line in places["listed"].read_text().splitlines()],
        "rowed": rowed,
        "tabled": _rows(places["tabled"]),
        "filed": {path.name: _rows(path) for path in places["filed"].glob("*.csv")},
        "gathered": _gathered(places["gathered"]),
        "letters": Counter(letter.raw for letter in read_letters(places["letters"])),
        "folded": {key[0]: numbers for key, numbers in read_state(state / "aggregator.1.db").items()},
        "files": sorted(path.name for path in data.iterdir()),
    }


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def _gathered(folder: Path) -> list[int]:
    """What is in files of Parquet: more than one, of which none is half there, and nothing waits to become one."""
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert len(files) > 1
    assert list(folder.glob(".*.new")) == []
    rows = [number for name in files for number in pq.read_table(folder / name).column("number").to_pylist()]
    assert pa.ipc.open_stream((folder / ".gathered.journal").read_bytes()).read_all().num_rows == 0
    return rows


EVERYWHERE = Job(
    ("tests.pipelines.everywhere", "--set", "budget.max_error_rate=0.5", "--set", "flow.batch_bytes=200",
     "--set", "flow.window_batches=4"), write_numbers, lambda root: look_everywhere(root / "state", root / "data"))


def _write_visits(root: Path) -> None:
    """A visit every 40 s, in six files of an hour's end and the next one's beginning."""
    (root / "data").mkdir()
    for number in range(FILES):
        visits = [f"{1_565_647_200_000 + at * 40_000} h{at % 7} t{at % 3}" for at in
                  range(number * LINES, (number + 1) * LINES)]
        (root / "data" / f"{number}.log").write_text("\n".join(visits) + "\n")


def _look_at_hours(root: Path) -> Any:
    found = [json.loads(line) for line in (root / "state" / "hours.jsonl").read_text().splitlines()]
    assert not (root / "state" / "dead-letters.db").exists() or not list(read_letters(root / "state/dead-letters.db"))
    return sorted(found, key=lambda report: int(report["start"]))


HOURS = Job(
    ("connections", "data/0.log", "data/1.log", "data/2.log", "--once", "--set", "window.start=0",
     "--set", "flow.batch_bytes=200", "--set", "flow.window_batches=4"), _write_visits, _look_at_hours)

SENT = 600


def _send_numbers(root: Path, process: subprocess.Popen[str]) -> None:
    """Send all of them, which is for the first time or again, and have the run end."""
    address = root / "state" / "journal" / "tcp.address"
    address.unlink(missing_ok=True)
    deadline = time.monotonic() + WATCHDOG_S
    while not address.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            return
        time.sleep(0.002)
    numbers = list(range(SENT)) * 2
    random.Random(1).shuffle(numbers)
    with contextlib.suppress(ConnectionError), \
            socket.create_connection(address_of(root / "state"), timeout=WATCHDOG_S) as client:
        for start_at in range(0, len(numbers), 20):
            client.sendall(b"".join(b"%09d\n" % number for number in numbers[start_at:start_at + 20]))
            time.sleep(0.002)  # not to wait for anything: so that they come in many batches
        client.sendall(b"terminate\n")


def _look_at_numbers(root: Path) -> Any:
    lines = (root / "state" / "numbers.log").read_bytes().splitlines()
    assert len(lines) == len(set(lines)), "a number is in the log twice"
    return sorted(lines)


NUMBERS = Job(("numbers", "--resume", "--set", "source.port=0", "--set", "flow.batch_bytes=200"),
              lambda root: None, _look_at_numbers, _send_numbers)


def _load_and_give_again(root: Path) -> None:
    """Load three files, of which the second has too many errors; give the first again as it was, and the second with
    some of it mended."""
    write_numbers(root)
    second = root / "data" / "1.txt"
    lines = second.read_text().splitlines()
    second.write_text("\n".join(f"bad{line}" if at % 3 else line for at, line in enumerate(lines)) + "\n")
    first = start(GIVEN_AGAIN, root, dict(os.environ))
    assert first.returncode == 4, first.stdout
    (root / "data" / ".0.txt").rename(root / "data" / "0.txt")
    second.write_text("\n".join(lines) + "\n")
    write_numbers_of(root / "data" / "3.txt", FILES, LINES)


def _look_at_given(root: Path) -> Any:
    state = root / "state"
    with closing(sqlite3.connect(state / LEDGER)) as ledger:
        names = dict(ledger.execute("SELECT id, name FROM units"))
        units = sorted(ledger.execute("SELECT name, status, low-base FROM units").fetchall())
    return {
        "keyed": dict(read_lmdb(state / "keyed.lmdb")),
        "letters": Counter((letter.raw, letter.status) for letter in read_letters(state / "dead-letters.db")),
        "folded": sorted((names[unit], numbers) for (unit,), numbers in read_state(state / "aggregator.1.db").items()),
        "units": units,
        "files": sorted(path.name for path in (root / "data").iterdir()),
    }


GIVEN_AGAIN = Job(
    ("tests.pipelines.given", "--set", "budget.max_error_rate=0.2", "--set", "flow.batch_bytes=200",
     "--set", "flow.window_batches=4"), _load_and_give_again, _look_at_given)

TOPIC = Job(topics.FOLLOW, lambda root: write_numbers(root, FILES, 150), topics.look, topics.publish)



def _keep_numbers(root: Path) -> None:
    write_numbers(root)
    in_redis.prepare(root)


REDIS = Job(in_redis.WORDS, _keep_numbers, in_redis.look, beside=in_redis.beside)

JOBS = {"everywhere": EVERYWHERE, "hours": HOURS, "numbers": NUMBERS, "given": GIVEN_AGAIN, "topic": TOPIC,
        "redis": REDIS}
