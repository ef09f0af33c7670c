"""Up to where a state directory has acknowledged each partition, from the files of its reader and of its shards."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from actors.runtime.agreement import acknowledged_in
from actors.runtime.outbox import SCHEMA
from actors.runtime.units import LEDGER, STEPS

_UNIT = ("INSERT INTO units (run, partition, name, fingerprint, base, low, lines, status, counts, problem) "
         "VALUES (?, ?, 'a', '', ?, ?, 0, ?, ?, '')")
READ = '{"read":1}'


def test_of_what_was_read_it_is_what_this_state_has_counted(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / LEDGER)) as ledger, ledger:
        for step in STEPS:
            ledger.executescript(step)
        ledger.executemany(_UNIT, [
            ("run", "run", 0, 10, "done", READ), ("run", "run", 10, 25, "reading", READ),
            ("run", "run/7", 0, 500, "reading", "{}"),  # it begins behind what somebody else has done
            ("run", "run/8", 0, 600, "handed_over", READ), ("run", "run/9", 0, 0, "reading", "{}"),
            ("retry-1", "retry-1", 0, 9, "reading", READ), ("run", "run/10", 0, 9, "broken", READ)])
    assert acknowledged_in(tmp_path) == {"run": 25, "run/8": 600}


def test_of_what_is_emitted_it_is_what_lies_below_the_first_that_is_kept(tmp_path: Path) -> None:
    assert acknowledged_in(tmp_path) == {}
    for number, kept in ((1, [7, 8]), (2, [])):
        with closing(sqlite3.connect(tmp_path / f"windows.{number}.db")) as shard, shard:
            shard.executescript(SCHEMA)
            shard.execute("INSERT INTO outbox_meta VALUES ('abc', 9)")
            shard.executemany("INSERT INTO outbox VALUES (?, x'')", [(seq,) for seq in kept])
    assert acknowledged_in(tmp_path) == {"aggregator.1@abc": 7, "aggregator.2@abc": 9}
