"""Dead letters for tests: stores of them, runs that make them, and the verbs that handle them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from actors.runtime.state import read_state
from actors.runtime.values import DeadLetter
from actors.sinks.dead_letters import DeadLetters, StoredLetter, read_letters
from tests.contract.test_sinks import payload
from tests.loads import ROOT, load

NORTH = b"idfa\tnorth%d\t95.5\t2.5\t1,2"
STRICT = ("options.geo_check=true", "budget.max_error_rate=1")


def write(path: Path, *lines: bytes) -> Path:
    """Write a log of these lines, gzipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines)))
    return path


def dlq(verb: str, state: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a verb to its end."""
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "dlq", verb, "appsinstalled", *words, "--state", str(state)], cwd=ROOT,
        capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL)


def letters(state: Path) -> dict[int, StoredLetter]:
    """All letters of a state directory, by number."""
    return {letter.id: letter for letter in read_letters(state / "dead-letters.db")}


def put(state: Path, *found: DeadLetter) -> None:
    """Put letters into a store, as a run does."""
    options = DeadLetters()
    state.mkdir(parents=True, exist_ok=True)
    with closing(options.open("dead_letters", state)) as sink:
        sink.write([payload(options, list(found))])


def line_letter(raw: bytes, position: int) -> DeadLetter:
    """A line that the checker has rejected."""
    return DeadLetter("checker", "latitude_range", "why", "a.tsv", "some run", position, position, position + 1, raw)


def folded(state: Path) -> int:
    """How many records all aggregates of all runs hold together."""
    return int(sum(numbers[0] for numbers in read_state(state / "aggregator.1.db").values()))


def reject(tmp_path: Path) -> Path:
    """Make a run that rejects five lines of a file, two that are too long, and the rest of another file."""
    write(tmp_path / "logs/01.tsv.gz", b"gaid\tgood\t1.5\t-2.5\t1,2", NORTH % 1, b"idfa\tshort", NORTH % 2,
          b"\0\xff\x1b[31m\tred", *[b"dvid\tlong\t1.5\t2.5\t" + b"1," * 60] * 2, b"adid\tid\t\xffnorth\t2.0\t5")
    whole = gzip.compress(b"".join(b"gaid\tid%d\t1.5\t-2.5\t1,2\n" % number for number in range(50)))
    (tmp_path / "logs/02.tsv.gz").write_bytes(whole[:-40])
    done = load(f"{tmp_path}/logs/*", tmp_path / "state", *STRICT, "source.max_line_bytes=100", "source.damaged=accept")
    assert done.process.returncode == 0, done.output()
    return tmp_path / "state"
