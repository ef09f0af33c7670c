"""Two runs that share the files of a folder, as ``docs/own-source.md`` shows it: real processes, files that move."""

from __future__ import annotations

import fcntl
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from actors.runtime.counts import OUTCOMES, merged
from actors.runtime.ledger import ANY_RUN, read_units
from tests.apps.test_own_pages import shown
from tests.loads import WATCHDOG_S, Running

NAMES = ("a.log", "b.log", "c.log")
PIPELINE = """\
import time

from shared import Shared
from thresher import Pipeline
from thresher.sinks import Lines


def check(line):
    time.sleep(0.0002)
    return line if line != b"drop" else None


PIPELINE = Pipeline(name="sharing", source=Shared(folder={folder!r}), parse=bytes.strip, check=check,
                    sinks={{"out": Lines()}})
"""


def eventually(look: Callable[[], bool], *runs: Running) -> None:
    deadline = time.monotonic() + WATCHDOG_S
    while not look():
        assert time.monotonic() < deadline, [run.output() for run in runs]
        assert all(run.process.poll() is None for run in runs), [run.output() for run in runs]
        time.sleep(0.01)


def is_free(path: Path) -> bool:
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def is_begun(path: Path) -> bool:
    return bool(where(path)[1])


def where(path: Path) -> tuple[int, str]:
    """Up to where a file is committed, and by whose ledger."""
    position = path.with_name(f"{path.name}.position")
    low, _, state_id = json.loads(position.read_text()) if position.exists() else (0, 0, "")
    return low, state_id


def test_files_go_from_run_to_run_while_both_work_and_each_line_has_one_outcome(tmp_path: Path) -> None:
    rng = random.Random(1)
    folder, total = tmp_path / "in", 0
    folder.mkdir()
    paths = [folder / name for name in NAMES]
    (tmp_path / "shared.py").write_text(shown("own-source")[0]["shared.py"])
    (tmp_path / "sharing.py").write_text(PIPELINE.format(folder=str(folder)))

    def grow() -> None:
        nonlocal total
        for path in paths:
            with path.open("ab") as file:
                file.write(b"".join(b"%s %d\n" % (path.name.encode(), total + number) for number in range(300)))
                file.write(b"drop\n")
        total += 300

    def is_all_read() -> bool:
        return all(where(path)[0] == path.stat().st_size for path in paths)

    grow()
    words = ("run", f"{tmp_path}/sharing.py", "--format", "json", "--set", "flow.batch_bytes=512")
    with Running(tmp_path / "one", *words) as one, Running(tmp_path / "two", *words) as two:
        owners: Counter[str] = Counter()
        rounds = 0
        while len(owners) < 2 or rounds < 12:
            rounds += 1
            grow()
            path = rng.choice(paths)
            eventually(partial(is_begun, path), one, two)
            wanted = path.with_name(f"{path.name}.wanted")
            wanted.touch()
            eventually(partial(is_free, path), one, two)
            owners[where(path)[1]] += 1
            wanted.unlink()
        eventually(is_all_read, one, two)
        for run in (one, two):
            run.process.send_signal(signal.SIGTERM)
        assert [run.wait() for run in (one, two)] == [0, 0], one.output() + two.output()
    grow()
    with Running(tmp_path / "one", *words) as again:  # also what two had is gone on with by one, in its next run
        eventually(is_all_read, again)
        again.process.send_signal(signal.SIGTERM)
        assert again.wait() == 0, again.output()
    rounds += 1
    states = [tmp_path / "one", tmp_path / "two"]
    counts = merged(unit.counts for state in states for unit in read_units(state / "positions.db", ANY_RUN))
    assert counts["written"] == 3 * total
    assert counts["filtered"] == 3 * (rounds + 1)
    assert counts["read"] == sum(counts.get(name, 0) for name in OUTCOMES)
    assert {unit.status for state in states for unit in read_units(state / "positions.db", ANY_RUN)} >= {"handed_over"}
    stored = Counter(line for state in states for line in (state / "out.log").read_bytes().splitlines())
    assert len(stored) == 3 * total, "each line is there"
    assert sum(stored.values()) - len(stored) <= counts.get("handed_over", 0), "twice only what was open when it went"
    for run in (one, two):
        (report,) = run.of("report")
        assert report["outcomes"]["handed_over"] == sum(unit["handed_over"] for unit in report["units"])
        assert all(unit["balanced"] for unit in report["units"])
