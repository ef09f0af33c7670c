"""Make state directories of runs that were killed half way, with the inputs that they belong to.

``python tests/data/make_states.py FOLDER``, with the version whose states are wanted. Nothing in them depends on where
they were made: the runs are started in their own folder, and name their input relative to it. A writer that is stopped
(SIGSTOP) sees to it that the run is not done before it is killed.
"""

from __future__ import annotations

import gzip
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scripts.make_logs import make_lines  # noqa: E402
from tests.apps.test_connections_runs import made_lines  # noqa: E402
from tests.loads import views_of  # noqa: E402

#: Options of each run; whoever resumes it gives the same.
LOAD = ("run", "appsinstalled", "--set", "source.pattern=logs/*.tsv.gz", "--set", "flow.batch_bytes=2048",
        "--set", "flow.window_bytes=8192", "--set", "budget.max_error_rate=1")
HOURS = ("run", "connections", "log.txt", "--set", "options.into_host=Aaliayh", "--set", "options.from_host=Dristen",
         "--set", "flow.batch_bytes=4096", "--set", "source.poll_s=0.05", "--set", "budget.max_error_rate=1",
         "--set", "sinks.rows.type=sql", "--set", "sinks.rows.table=connections",
         "--set", 'sinks.rows.key=["start"]',
         "--set", 'sinks.rows.columns={start="timestamp", end="timestamp", into_host="text", into="json", '
         'from_host="text", received="json", top="json", top_connections="integer"}')
NUMBERS = ("run", "numbers", "--set", "source.port=0")


def main() -> None:
    """Make all of them in the folder that is given."""
    folder = Path(sys.argv[1])
    for make in (make_load, make_hours, make_numbers):
        with tempfile.TemporaryDirectory() as made:
            make(Path(made))
            checkpoint(Path(made))
            name = make.__name__.removeprefix("make_")
            folder.mkdir(parents=True, exist_ok=True)
            with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as packed:
                packed.add(made, name, filter=_wanted)


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what the next run makes anew, and who made it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return None if Path(member.name).name in ("lock", "lock.mdb", "tcp.address", "out.txt") else member


def make_load(folder: Path) -> None:
    """``appsinstalled``, two files, some records of which are bad; killed in the first of them."""
    (folder / "logs").mkdir()
    for index in range(2):
        content = b"".join(line + b"\n" for line in make_lines(90, index, bad_rate=0.05))
        (folder / f"logs/2017092900000{index}.tsv.gz").write_bytes(gzip.compress(content, mtime=0))
    with running(folder, LOAD) as state:
        stop(state, "writer.gaid", 1)
        until(lambda: sum_of(state / "positions.db", "SELECT coalesce(max(low), 0) FROM units"), "a position")


def make_hours(folder: Path) -> None:
    """``connections``: an hour that is open, others that were closed and cannot get away."""
    log = folder / "log.txt"
    log.write_text("")
    with running(folder, HOURS) as state:
        stop(state, "writer.hours", 0)
        log.write_text("".join([*made_lines(700), "no record\n"]))
        shard = state / "windows.1.db"
        until(lambda: sum_of(shard, "SELECT count(*) FROM outbox") > 1, "an outbox")
        until(lambda: sum_of(shard, "SELECT count(*) FROM panes"), "an open window")


def make_numbers(folder: Path) -> None:
    """``numbers``: some were sent, and nobody has said that these are all."""
    with running(folder, NUMBERS) as state:
        address = state / "journal" / "tcp.address"
        until(address.exists, "an address")
        host, _, port = address.read_text().strip().rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"314159265\n007007009\n314159265\n")
        log = state / "numbers.log"
        until(lambda: log.exists() and log.read_bytes().count(b"\n") == 2, "two numbers")


@contextmanager
def running(folder: Path, words: tuple[str, ...]) -> Iterator[Path]:
    """Start a run in a folder; kill it, all its actors with it, after the block."""
    state = folder / "state"
    with (folder / "out.txt").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors.cli", *words, "--state", "state"], cwd=folder, stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            yield state
            pids = [view.pid for view in views_of(state).values() if view.pid]
        except BaseException:
            print((folder / "out.txt").read_text(), file=sys.stderr)
            raise
        finally:
            process.kill()
            process.wait()
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()
                       and Path(f"/proc/{pid}/cmdline").read_bytes()], "nobody left")


def stop(state: Path, actor: str, after_batches: int) -> None:
    """Stop an actor for good."""
    found: list[int] = []

    def lives() -> bool:
        view = views_of(state).get(actor)
        found[:] = [view.pid] if view and view.phase != "BOOT" and view.pid and view.batches >= after_batches else []
        return bool(found)

    until(lives, f"{after_batches} batches of {actor}")
    os.kill(found[0], signal.SIGSTOP)


def checkpoint(folder: Path) -> None:
    """Bring what is in the logs of SQLite into the files: the last to close a file removes its log."""
    for path in [*folder.rglob("*.db"), *folder.rglob("*.sqlite")]:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def sum_of(path: Path, query: str) -> int:
    """The number that a query finds; 0 while there is no such file or table."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"no {what}")
        time.sleep(0.001)


if __name__ == "__main__":
    main()
