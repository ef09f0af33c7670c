"""Records that become several things, in real processes and real stores, of which one refuses some for good."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import lmdb
import pytest

from actors.sinks.dead_letters import read_letters
from tests.letters import folded, letters
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


@pytest.mark.parametrize("fused", ["fused=true", "fused=false"])
def test_a_retry_sends_the_output_that_was_rejected_and_nothing_else_of_its_record(tmp_path: Path, fused: str) -> None:
    state = tmp_path / "state"
    (tmp_path / "in.txt").write_text("a1 b2 toolong\nd3 a4\na5\nmuchtoolong d6 b7\n")
    with Load(tmp_path / "in.txt", state, target="tests.pipelines.words") as running:
        assert running.wait() == 0, running.output()
    counts = assert_counts_add_up(state)
    assert (counts["read"], counts["written"], counts["dead_lettered"], counts["made"]) == (4, 1, 3, 13)
    assert sorted((x.output, x.raw) for x in letters(state).values()) == [
        ("0", b"muchtoolong d6 b7"), ("0/log", b"d3 a4"), ("1/log", b"muchtoolong d6 b7"), ("2", b"a1 b2 toolong")]
    done = _retry(state, f"parser.{fused}", "options.longest=8", "options.text=true")
    assert b"3 retried, 1 rejected again: long 1" in done, done
    assert _lines(state / "log.log") == ["a1", "a4", "a5", "b2", "b7", "d3", "d6", "toolong"]
    assert _lines(state / "rows.jsonl") == ['"b2"', '"b7"', '{"word":"d3"}', '{"word":"d6"}']
    assert folded(state) == 8, "each word once, also where one of its sinks could not take it"
    assert [(x.output, x.status) for x in letters(state).values() if x.status == "open"] == [("0", "open")]
    assert b"1 retried" in _retry(state, f"parser.{fused}", "options.longest=20")
    assert _lines(state / "log.log") == ["a1", "a4", "a5", "b2", "b7", "d3", "d6", "muchtoolong", "toolong"]
    assert len(_lines(state / "rows.jsonl")) == 4
    assert folded(state) == 9


def test_an_output_that_is_not_made_any_more_stays_in_its_letter(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "in.txt").write_text("a1 toolong\n")
    with Load(tmp_path / "in.txt", state, target="tests.pipelines.words") as running:
        assert running.wait() == 0, running.output()
    assert b"0 retried, 1 rejected again: no_output 1" in _retry(state, "options.first=true", "options.longest=8")
    (letter,) = letters(state).values()
    assert (letter.output, letter.reason, letter.status, letter.raw) == ("1", "no_output", "open", b"a1 toolong")
    assert b"1 retried" in _retry(state, "options.longest=8")
    assert _lines(state / "log.log") == ["a1", "toolong"]


def _retry(state: Path, *sets: str) -> bytes:
    options = [word for each in sets for word in ("--set", each)]
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "dlq", "retry", "tests.pipelines.words", *options, "--state", str(state)],
        cwd=ROOT, capture_output=True, timeout=WATCHDOG_S, check=False, stdin=subprocess.DEVNULL).stdout


def _lines(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


def _keys(path: Path) -> set[str]:
    with lmdb.open(str(path), readonly=True, lock=False) as store, store.begin() as transaction:
        return {bytes(key).decode() for key, _ in transaction.cursor()}


def _assert_the_report_says_it(state: Path, made: int) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "actors.cli", "report", "tests.pipelines.orders", "--state", str(state)], cwd=ROOT,
        capture_output=True, text=True, timeout=WATCHDOG_S, check=True).stdout
    assert f"  made: {made:,} of {RECORDS:,} records\n" in told
    assert (f"made {made:,} items of them: a record counts as dead-lettered if any of its items is, else as written "
            "if any is") in told
