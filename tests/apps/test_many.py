"""Records that become several things, in real processes and real stores, of which one refuses some for good."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import lmdb
import pytest

from actors.sinks.dead_letters import read_letters
from tests.loads import ROOT, WATCHDOG_S, Load, assert_counts_add_up

RECORDS = 30_000
#: Longer than any key of LMDB.
LONG = 600


def _line(number: int) -> str:
    """Two words and one for both stores; at times one that both refuse, one that is rejected, or nothing at all."""
    if number % 100 == 7:
        return f"l{number} b{number}{'x' * LONG}"
    if number % 100 == 13:
        return f"r{number} what?"
    return f"l{number} r{number} b{number}" if number % 10 else f"n{number}"


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("killed", ["writer.left", "parser.1", "reader.1", "writer.dead_letters"])
def test_each_output_is_there_and_each_record_counts_once_whoever_is_killed(
    tmp_path: Path, fused: bool, killed: str
) -> None:
    lines = [_line(number) for number in range(RECORDS)]
    (tmp_path / "in.txt").write_text("\n".join([*lines, ""]))
    with Load(tmp_path / "in.txt", tmp_path / "state", f"parser.fused={str(fused).lower()}",
              target="tests.pipelines.orders") as running:
        running.kill(killed, after_batches=1)
        assert running.wait() == 0, running.output()
    words = [word for line in lines for word in line.split() if not word.endswith("?") and len(word) < LONG]
    assert _keys(tmp_path / "state" / "left.lmdb") == {word for word in words if word[0] in "lb"}
    assert _keys(tmp_path / "state" / "right.lmdb") == {word for word in words if word[0] in "rb"}
    counts = assert_counts_add_up(tmp_path / "state")
    assert {name: counts[name] for name in ("read", "written", "folded", "dead_lettered", "many", "made")} == {
        "read": RECORDS, "written": RECORDS * 88 // 100, "folded": RECORDS // 10, "dead_lettered": RECORDS * 2 // 100,
        "many": RECORDS, "made": RECORDS * (88 * 4 + 10 + 3 + 2) // 100}
    assert Counter(letter.stage for letter in read_letters(tmp_path / "state" / "dead-letters.db")) == {
        "parser": RECORDS // 100, "writer.left": RECORDS // 100, "writer.right": RECORDS // 100}
    (report,) = running.of("report")
    assert (report["read"], report["made"]) == (RECORDS, counts["made"])
    (group,) = report["groups"]
    assert group["numbers"]["number"] == RECORDS * (88 * 3 + 10 + 2 + 1) // 100
    _assert_the_report_says_it(tmp_path / "state", counts["made"])


def _keys(path: Path) -> set[str]:
    with lmdb.open(str(path), readonly=True, lock=False) as store, store.begin() as transaction:
        return {bytes(key).decode() for key, _ in transaction.cursor()}


def _assert_the_report_says_it(state: Path, made: int) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "actors.cli", "report", "tests.pipelines.orders", "--state", str(state)], cwd=ROOT,
        capture_output=True, text=True, timeout=WATCHDOG_S, check=True).stdout
    assert f"  made: {made:,} of {RECORDS:,} records\n" in told
    assert f"made {made:,} of them: a record is dead-lettered if any of its is, else written if any is" in told
