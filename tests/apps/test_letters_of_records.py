"""Records that were rejected, in real runs: looked at, exported, sent in again as they came."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.runtime.framing import Record, records_in
from actors.sinks.lmdb import read_lmdb
from tests.letters import letters
from tests.loads import ROOT, WATCHDOG_S, Running, assert_counts_add_up
from tests.pipelines.recorded import RECORDS

TARGET = "tests.pipelines.recorded"
GONE = [record for record in RECORDS if record.value is None]
BAD = [record for record in RECORDS if b"bad" in (record.value or b"")]


def thresher(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a verb to its end."""
    return subprocess.run([sys.executable, "-m", "actors.cli", *words], cwd=ROOT, capture_output=True,
                          timeout=WATCHDOG_S, check=False, stdin=subprocess.DEVNULL)


def dlq(verb: str, state: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return thresher("dlq", verb, TARGET, *words, "--state", str(state))


def kept(state: Path) -> dict[bytes, Record]:
    """What is in the store, by key."""
    return {key: records_in(value)[0] for key, value in read_lmdb(state / "store.lmdb")}


def by_key(*records: Record) -> dict[bytes, Record]:
    return {record.key: record for record in records if record.key is not None}


@pytest.fixture(params=["true", "false"], ids=["fused", "unfused"])
def rejected(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The state of a run that has rejected every record that is bad, or has no value."""
    state = tmp_path / "state"
    done = thresher("run", TARGET, "--state", str(state), "--set", "budget.max_error_rate=1", "--set",
                    "flow.batch_bytes=200", "--set", f"parser.fused={request.param}")
    assert done.returncode == 0, done.stdout + done.stderr
    return state


def test_a_retry_sends_records_as_they_came_and_those_that_are_still_bad_keep_their_rows(rejected: Path) -> None:
    assert {each.record for each in letters(rejected).values()} == {*GONE, *BAD}
    assert kept(rejected) == by_key(*[record for record in RECORDS if record not in (*GONE, *BAD)])
    assert_counts_add_up(rejected)
    before = letters(rejected)
    again = dlq("retry", rejected)
    assert again.returncode == 4, again.stdout + again.stderr
    assert f"0 retried, {len(before)} rejected again: ".encode() in again.stdout
    after = letters(rejected)
    assert {number: (each.record, each.attempts, each.status) for number, each in after.items()} == {
        number: (each.record, 1, "open") for number, each in before.items()}
    done = dlq("retry", rejected, "--set", "options.strict=false")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(before)} retried, 0 rejected again".encode() in done.stdout
    assert {each.status for each in letters(rejected).values()} == {"retried"}
    assert kept(rejected) == by_key(*RECORDS)


@pytest.mark.parametrize("rejected", ["true"], indirect=True)
def test_people_and_machines_see_all_of_a_record_and_none_of_it_reaches_the_terminal(rejected: Path) -> None:
    text = dlq("ls", rejected, "--limit", "0").stdout.decode()
    assert "  key     raw\n" in text and "topic/0 offset 12" in text and "  (no value)\n" in text
    (number,) = [number for number, each in letters(rejected).items() if each.record == GONE[0]]
    text = dlq("show", rejected, str(number)).stdout.decode()
    for line in ("source    topic/0 offset 12\n", "key       key 4\n", "published 2023-11-14T22:13:20.004Z\n",
                 "header    n: 4\n", "header    n: (no value)\n", "header    größe: \\n\n", "raw       (no value)\n"):
        assert line in text, text
    raw = dlq("show", rejected, str(number), "--raw")
    assert (raw.returncode, raw.stdout) == (0, b"")
    assert raw.stderr.decode() == f"letter {number} is a record without a value: nothing is written\n"
    listed: list[dict[str, Any]] = [json.loads(line) for line in dlq("export", rejected).stdout.splitlines()]
    assert {_record_of(each) for each in listed} == {*GONE, *BAD}


@pytest.mark.parametrize("rejected", ["true"], indirect=True)
def test_records_are_not_exported_as_lines(rejected: Path, tmp_path: Path) -> None:
    done = dlq("export", rejected, "--format", "raw", "--out", str(tmp_path / "out"))
    assert done.returncode == 78
    assert done.stderr.startswith(b"--format raw: letter 1 is more than a line can hold (")
    assert (done.stdout, (tmp_path / "out").exists()) == (b"", False)


def test_a_record_without_a_value_that_kills_its_worker_is_a_letter_that_can_be_sent_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = thresher("run", TARGET, "--state", str(state), "--set", "budget.max_error_rate=1", "--set",
                    "options.strict=false", "--set", f"options.deadly={GONE[3].offset}")
    assert done.returncode == 0, done.stdout + done.stderr
    (letter,) = letters(state).values()
    assert (letter.stage, letter.reason, letter.record) == ("reader", "worker_died", GONE[3])
    assert kept(state) == by_key(*[record for record in RECORDS if record != GONE[3]])
    assert_counts_add_up(state)
    assert b"1 of the reader are left out" in dlq("retry", state).stdout
    again = dlq("retry", state, "--stage", "reader", "--set", "options.strict=false")
    assert again.returncode == 0, again.stdout + again.stderr
    assert kept(state) == by_key(*RECORDS)


def test_a_tap_of_a_real_run_shows_records_with_their_keys(tmp_path: Path) -> None:
    with Running(tmp_path / "state", "run", TARGET, "--set", "flow.batch_bytes=30", "--set", "options.pause_s=0.5",
                 "--set", "budget.max_error_rate=1") as running:
        running.until(lambda views: any(view.batches for view in views.values()), "a batch")
        done = thresher("tap", "reader", "--state", str(tmp_path / "state"), "--json", "--limit", "3")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(shown) == 3, done.stderr
    by_offset = {record.offset: record for record in RECORDS}
    for each in shown:
        record = by_offset[each["offset"]]
        assert each["key"].encode() == record.key
        assert len(each["headers"]) == 3
        assert (each["raw"] is None) == (record.value is None)


def test_the_configuration_of_a_source_of_records_is_shown_as_toml_and_whole_as_json() -> None:
    shown = thresher("echo", TARGET).stdout.decode()
    assert "\n# units: TOML has no word for null, which is within it: thresher echo --json shows it\n" in shown
    assert "units" not in tomllib.loads(shown)["source"]
    units = json.loads(thresher("echo", TARGET, "--json").stdout)["source"]["units"]
    assert msgspec.convert(units, dict[str, list[Record]]) == {"topic/0": RECORDS}


def test_a_verification_of_records_comes_to_the_same_however_it_is_run() -> None:
    done = thresher("verify", TARGET, "--runs", "5", "--kills", "2", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["same"], found["records"], found["units"]) == (True, len(RECORDS), ["topic/0"])
    assert sum(len(run["killed"]) for run in found["runs"]) > 0


def _record_of(letter: dict[str, Any]) -> Record:
    """The record that an exported letter was, by what docs/dead-letters.md says of it."""
    def data(encoding: str | None, value: str | None) -> bytes | None:
        return None if value is None else base64.b64decode(value) if encoding == "base64" else value.encode()

    came = letter["record"]
    return Record(letter["offset"], data(letter["encoding"], letter["raw"]), -1, came["time"], data(**came["key"]),
                  tuple((each["name"], data(each["encoding"], each["value"])) for each in came["headers"]))
