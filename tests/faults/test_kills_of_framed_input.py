"""SIGKILL while framed input is read: the results are those of the run without it. Real processes, real stores."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from scripts.make_logs import write_logs
from tests.loads import Load, assert_counts_add_up, expected_stores, lmdb_stores

RECORDS = 20_000
#: Rows of tabs, in packed files: a reader that dies resumes inside one.
ROWS = ("flow.batch_bytes=16384", "source.framing=csv", 'source.delimiter="\\t"')


@pytest.mark.parametrize("name", ["reader.1", "parser.1"])
def test_an_actor_that_is_killed_leaves_all_rows_once(tmp_path: Path, name: str) -> None:
    paths = write_logs(tmp_path / "logs", records=RECORDS, bad_rate=0.005)
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).split(b"\n")[:-1]]
    with Load(f"{tmp_path}/logs/*.tsv.gz", tmp_path / "state", *ROWS) as running:
        running.kill(name, after_batches=5)
        assert running.wait() == 0, running.output()
    assert [death["actor"] for death in running.of("died")] == [name]
    assert lmdb_stores(running.state) == expected_stores(lines)
    assert assert_counts_add_up(running.state)["read"] == RECORDS
