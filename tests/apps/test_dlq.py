"""The dead-letter tools as people use them: real runs that reject; then look, export, purge."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from actors.runtime.ledger import Ledger
from actors.runtime.values import DeadLetter
from tests.apps.test_cli import thresher
from tests.letters import NORTH, STRICT, dlq, letters, put, reject, write
from tests.loads import ROOT, Load, expected_stores, lmdb_stores, load

FULL = "dead letters are full (dead_letters.max_bytes = 1048576)"


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    """The state of a run that rejected five lines of a file, two that are too long, and the rest of another file."""
    return reject(tmp_path)


# Looking ----------------------------------------------------------------------------------------------------------


def test_ls_counts_by_reason_and_stage_and_lists_the_newest_safely(rejected: Path) -> None:
    done = dlq("ls", rejected)
    text = done.stdout.decode()
    assert done.returncode == 0
    assert text.startswith(f"8 open letters in {rejected}/dead-letters.db (")
    rows = [line.split() for line in text.splitlines()]
    assert ["columns", "parser", "open", "2"] in [[*row[:3], row[-1]] for row in rows if row]
    assert ["line_too_long", "reader", "open", "2"] in [[*row[:3], row[-1]] for row in rows if row]
    assert re.search(r"01\.tsv\.gz:5 +0 +open +\\x00\\xff\\x1b\[31m\\tred\n", text)
    assert "\x1b" not in text
    assert "\0" not in text


@pytest.mark.parametrize(("words", "reasons"), [
    (["--reason", "columns"], {"columns": 2}),
    (["--reason", "col*", "--reason", "latitude"], {"columns": 2, "latitude": 1}),
    (["--stage", "checker"], {"latitude": 1, "latitude_range": 2}),
    (["--source", "*02*"], {"truncated_gzip": 1}),
    (["--stage", "parser", "--up-to", "8"], {"columns": 2}), (["--stage", "parser", "--up-to", "0"], {"columns": 2}),
    (["--source", "nowhere"], {}), (["--status", "retried"], {}), (["--id", "1", "--id", "999"], None)])
def test_filters_choose_letters_in_every_verb(
    rejected: Path, words: list[str], reasons: dict[str, int] | None
) -> None:
    listed = json.loads(dlq("ls", rejected, "--json", *words).stdout)
    exported = [json.loads(line) for line in dlq("export", rejected, *words).stdout.splitlines()]
    assert sorted(letter["id"] for letter in listed["letters"]) == [letter["id"] for letter in exported]
    if reasons is None:
        assert len(exported) == 1
        return
    assert Counter(letter["reason"] for letter in exported) == reasons
    assert {count["reason"]: count["letters"] for count in listed["counts"]} == reasons


def test_ls_says_what_the_limit_leaves_out(rejected: Path) -> None:
    text = dlq("ls", rejected, "--limit", "3").stdout.decode()
    assert text.endswith("  and 5 older ones (--limit 0 lists them all)\n")
    assert len(json.loads(dlq("ls", rejected, "--limit", "3", "--json").stdout)["letters"]) == 3
    assert len(json.loads(dlq("ls", rejected, "--limit", "0", "--json").stdout)["letters"]) == 8


def test_show_says_all_of_a_letter_and_raw_gives_its_bytes(rejected: Path) -> None:
    (letter,) = [each for each in letters(rejected).values() if each.raw.startswith(b"\0")]
    text = dlq("show", rejected, str(letter.id)).stdout.decode()
    for part in (f"letter {letter.id}: open, retried 0 times", "by parser\nreason    columns\ndetail    expected 5 col",
                 f"source    {letter.source}:5, byte {letter.offset}\n", "raw       11 bytes\n",
                 "          \\x00\\xff\\x1b[31m\\tred\n"):
        assert part in text
    assert dlq("show", rejected, str(letter.id), "--raw").stdout == b"\0\xff\x1b[31m\tred"
    shown = json.loads(dlq("show", rejected, str(letter.id), "--json").stdout)
    assert (shown["encoding"], base64.b64decode(shown["raw"])) == ("base64", b"\0\xff\x1b[31m\tred")


def test_a_letter_that_is_not_there_is_said_in_one_line(rejected: Path) -> None:
    done = dlq("show", rejected, "999")
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"{rejected}/dead-letters.db: there is no letter 999: `thresher dlq ls` lists what is there\n")


@pytest.mark.parametrize(("verb", "code"), [("ls", 0), ("export", 0), ("purge", 0), ("retry", 0), ("show", 78)])
def test_without_a_store_every_verb_says_so_and_makes_none(tmp_path: Path, verb: str, code: int) -> None:
    Ledger(tmp_path / "state/positions.db", "run").close_file()
    done = dlq(verb, tmp_path / "state", *(["1"] if verb == "show" else []))
    assert done.returncode == code, done.stderr
    assert b"dead-letters.db" in done.stdout + done.stderr
    assert not (tmp_path / "state/dead-letters.db").exists()


@pytest.mark.parametrize("words", [
    ["ls"], ["ls", "--json"], ["show", "1"], ["export"], ["purge", "--yes"], ["retry"], ["retry", "--json"]])
def test_a_directory_in_which_nothing_has_run_is_no_empty_store(tmp_path: Path, words: list[str]) -> None:
    verb, *more = words
    done = dlq(verb, tmp_path / "nowhere", *more)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (
        1, b"", f"nothing has run with the state directory {tmp_path}/nowhere\n")
    for flag in ("--json", "--groups"):
        assert thresher("report", "appsinstalled", "--state", str(tmp_path / "nowhere"), flag).returncode == 1
    assert not (tmp_path / "nowhere").exists()


def test_letters_that_go_elsewhere_have_no_tools(tmp_path: Path) -> None:
    done = dlq("ls", tmp_path, "--set", "dead_letters.type=discard")
    assert done.returncode == 78
    assert done.stderr.startswith(b"dead_letters.type: expected dead_letters, got nowhere: ")


def test_what_is_no_store_is_named_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.db").write_bytes(b"something else entirely, and long enough to be read" * 100)
    done = dlq("ls", tmp_path)
    assert done.returncode == 78
    assert done.stderr.decode() == (
        f"{tmp_path}/dead-letters.db: file is not a database: expected a dead-letter store\n")


def test_a_store_of_a_newer_version_stops_a_run_before_it_reads_anything(rejected: Path) -> None:
    subprocess.run([sys.executable, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("
                    "'PRAGMA user_version=4')", str(rejected / "dead-letters.db")], check=True)
    done = load(write(rejected.parent / "new.tsv.gz", NORTH % 1), rejected)
    assert done.process.returncode == 78
    message = "dead-letters.db: made by a newer version of Thresher (schema 4, expected at most 3): upgrade Thresher"
    assert message in done.output()
    assert done.of("report")[0]["read"] == 0
    assert message in dlq("ls", rejected).stderr.decode()


# Taking out and letting go ----------------------------------------------------------------------------------------


def test_an_export_has_every_byte(tmp_path: Path) -> None:
    raws = [b"\0nul\0", b"\xff\xfenot utf-8", b"two\nlines", b"ends\n", b"", "größe".encode(), bytes(range(256))]
    put(tmp_path, *(DeadLetter("reader", "fault", "", "a.tsv", "p", number, 0, 1, raw)
                    for number, raw in enumerate(raws)))
    done = dlq("export", tmp_path, "--out", str(tmp_path / "out.jsonl"))
    assert done.stderr.decode() == (
        f"7 open letters exported to {tmp_path}/out.jsonl (with `purge --up-to 7` none goes that came later)\n")
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600
    read = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [base64.b64decode(letter["raw"]) if letter["encoding"] == "base64" else letter["raw"].encode()
            for letter in read] == raws
    assert {letter["encoding"] for letter in read} == {"utf-8", "base64"}
    raw = dlq("export", tmp_path, "--format", "raw").stdout
    assert raw == b"".join(each if each.endswith(b"\n") else each + b"\n" for each in raws)


def test_an_export_never_writes_over_a_file(rejected: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    done = dlq("export", rejected, "--out", str(tmp_path / "out"))
    assert done.returncode == 78
    assert done.stderr.decode() == f"{tmp_path}/out: exists already: give another name, or remove it first\n"
    assert (tmp_path / "out").read_text() == "precious"
    assert b"no such file or directory" in dlq("export", rejected, "--out", f"{tmp_path}/no/where").stderr
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_purge_asks_and_deletes_only_what_the_filters_choose(rejected: Path) -> None:
    done = dlq("purge", rejected, "--reason", "columns")
    assert done.returncode == 2
    assert done.stderr.decode() == (
        f"2 open letters in {rejected}/dead-letters.db would be deleted for good: say --yes if you mean it\n")
    assert len(letters(rejected)) == 8
    done = dlq("purge", rejected, "--reason", "columns", "--yes")
    assert done.returncode == 0
    assert done.stdout.startswith(b"2 open letters deleted, ")
    assert len(letters(rejected)) == 6
    last = max(letters(rejected))
    assert json.loads(dlq("purge", rejected, "--up-to", str(last - 1), "--yes", "--json").stdout)["purged"] == 5
    assert list(letters(rejected)) == [last]
    assert json.loads(dlq("purge", rejected, "--limit", "1", "--yes", "--json").stdout)["purged"] == 1
    assert letters(rejected) == {}


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"n\n", 8), (b"\n", 8)])
def test_at_a_terminal_purge_takes_an_answer(rejected: Path, answer: bytes, left: int) -> None:
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer)
        done = subprocess.run(
            [sys.executable, "-m", "actors.cli", "dlq", "purge", "appsinstalled", "--state", str(rejected)],
            cwd=ROOT, stdin=theirs, capture_output=True, timeout=240, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0
    assert f"8 open letters in {rejected}/dead-letters.db would be deleted for good: go on? [y/N]" in (
        done.stdout.decode())
    assert len(letters(rejected)) == left


def test_a_limit_that_is_none_is_a_usage_error() -> None:
    done = thresher("dlq", "ls", "appsinstalled", "--limit", "-1")
    assert (done.returncode, "argument --limit: expected a number, 0 for all, got '-1'" in done.stderr) == (2, True)


def test_a_full_store_stops_the_pipeline_and_a_purge_lets_it_go_on(tmp_path: Path) -> None:
    bad = [b"idfa\tnorth%d\t95.5\t2.5\t" % number + b"1," * 5000 for number in range(300)]
    good = [b"idfa\tgood%d\t5.5\t2.5\t1" % number for number in range(300)]
    log = write(tmp_path / "logs/a.tsv.gz", *(line for pair in zip(bad, good, strict=True) for line in pair))
    state = tmp_path / "state"
    with Load(log, state, *STRICT, "flow.batch_bytes=32768", "dead_letters.max_bytes=1048576") as running:
        purged = 0
        while running.process.poll() is None:
            views = running.views()
            if views and f"{FULL}: export and purge them (`thresher dlq`)" in views["writer.dead_letters"].note:
                assert (state / "dead-letters.db").stat().st_size < 2_500_000  # limit, a group, what the log holds
                done = dlq("purge", state, "--yes", "--json")
                assert done.returncode == 0, done.stderr
                purged += json.loads(done.stdout)["purged"]
        assert running.wait() == 0, running.output()
    assert len(running.of("outage")) >= 2
    assert len(running.of("recovered")) == len(running.of("outage"))
    assert purged + len(letters(state)) == 300
    assert lmdb_stores(state) == expected_stores(good)


def test_a_full_store_that_nobody_empties_ends_the_run_resumable_with_nothing_lost(tmp_path: Path) -> None:
    bad = [b"idfa\tnorth%d\t95.5\t2.5\t" % number + b"1," * 5000 for number in range(300)]
    log = write(tmp_path / "logs/a.tsv.gz", *bad)
    sets = (*STRICT, "flow.batch_bytes=32768", "dead_letters.max_bytes=1048576", "run.max_outage_s=0.5")
    full = load(log, tmp_path / "state", *sets)
    assert full.process.returncode == 3, full.output()
    reason = full.of("report")[0]["reason"]
    assert f"{FULL}: export and purge them (`thresher dlq`), or stop and raise dead_letters.max_bytes" in reason
    assert 80 <= len(letters(tmp_path / "state")) < 300
    again = load(log, tmp_path / "state", *sets, "dead_letters.max_bytes=0")
    assert again.process.returncode == 0
    assert sorted(letter.raw for letter in letters(tmp_path / "state").values()) == sorted(bad)


@pytest.mark.parametrize("verb", ["ls", "purge", "retry"])
def test_json_has_the_same_fields_where_nothing_was_rejected(rejected: Path, tmp_path: Path, verb: str) -> None:
    words = ["--json", "--id", "999"]
    some = json.loads(dlq(verb, rejected, *words).stdout)
    Ledger(tmp_path / "nothing/positions.db", "run").close_file()
    none = json.loads(dlq(verb, tmp_path / "nothing", *words).stdout)
    assert list(none) == list(some)


def test_a_retry_that_means_no_letter_says_so(rejected: Path) -> None:
    done = dlq("retry", rejected, "--reason", "colums")
    assert done.returncode == 0
    assert done.stdout.decode().startswith("no letters go in: `thresher dlq ls` lists those that are open\n")
