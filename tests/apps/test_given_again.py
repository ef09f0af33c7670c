"""Content that is given again when it was finished, or has failed: loaded, left alone, or refused; never in silence."""

from __future__ import annotations

import bz2
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.sinks.dead_letters import read_letters
from tests.loads import ROOT

WORDS = """
from collections import Counter
from thresher import Fold, Pipeline, Reject
from thresher.sources import Directory, Files
from thresher.sinks import Jsonl, Lines, Lmdb, Sql

def parse(line):
    word, number = line.split()
    if not number.isdigit():
        raise Reject("number")
    return word.decode(), int(number)

def totals(values):
    sums = Counter()
    for word, number in values:
        sums[word] += number
    return {(word,): [number] for word, number in sums.items()}

def by_unit(values, unit):
    return {(unit, word): numbers for (word,), numbers in totals(values).items()}

def pair(value):
    return value[0].encode(), b"%d" % value[1]

def row(value):
    return {"word": value[0], "number": value[1]}

def line(value):
    return value[0].encode()

FOLDED = Pipeline(name="folded", source=Files(rename="none"), parse=parse, sinks={},
                  fold=Fold(partials=totals, keys=("word",), fields=("total",)))
KEYED = Pipeline(name="keyed", source=Files(), parse=parse, encode=pair, sinks={"words": Lmdb()},
                 fold=Fold(partials=by_unit, keys=("unit", "word"), fields=("total",)))
ADDING = Pipeline(name="adding", source=Files(), parse=parse, encode=line, sinks={"words": Lines()})
TABLE = Pipeline(name="table", source=Files(rename="none"), parse=parse, encode=row,
                 sinks={"words": Sql(columns={"word": "text", "number": "integer"})})
FOLLOWED = Pipeline(name="followed", source=Directory(follow=False), parse=parse, sinks={},
                    fold=Fold(partials=totals, keys=("word",), fields=("total",)))
"""
GOOD = b"a 1\nb 2\nc 3\n"
BAD = b"a 1\nb x\nc y\n"


class Desk:
    """A folder with the pipelines above, and one state for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "words.py").write_text(WORDS)

    def give(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def run(self, pipeline: str, *words: str) -> tuple[int, dict[str, Any]]:
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        done = self.thresher("run", pipeline, *words, "--report", str(report), "--format", "none")
        return done.returncode, json.loads(report.read_text())

    def thresher(self, verb: str, pipeline: str, *words: str, what: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "actors.cli", verb, *([what] if what else []), f"words.py:{pipeline}", *words,
                   "--state", f"state-{pipeline}"]
        return subprocess.run(command, cwd=self.folder, env=_environment(), capture_output=True, text=True, timeout=120,
                              check=False)

    def letters(self, pipeline: str, status: str = "open") -> list[bytes]:
        path = self.folder / f"state-{pipeline}" / "dead-letters.db"
        return [letter.raw for letter in read_letters(path) if letter.status == status] if path.exists() else []

    def sums(self, pipeline: str) -> dict[str, float]:
        done = self.thresher("report", pipeline, "--groups")
        groups = [json.loads(line) for line in done.stdout.splitlines()]
        return {group["keys"]["word"]: group["numbers"]["total"] for group in groups}


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_second_run_over_the_same_folder_is_refused_where_it_would_count_twice(desk: Desk) -> None:
    desk.give("in.txt", GOOD)
    assert desk.run("FOLDED", "in.txt")[0] == 0
    code, said = desk.run("FOLDED", "in.txt")
    assert code == 78, said
    assert said["reason"].startswith("in.txt: loaded before, and to load the same again would count it twice")
    assert "source.again" in said["reason"]
    assert "\n" not in said["reason"]
    assert desk.sums("FOLDED") == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("spelling", ["./in.txt", "{}/in.txt", "logs/../in.txt"])
def test_a_file_is_the_same_however_its_path_is_spelled(desk: Desk, spelling: str) -> None:
    desk.give("in.txt", GOOD)
    (desk.folder / "logs").mkdir()
    assert desk.run("FOLDED", "in.txt")[0] == 0
    assert desk.run("FOLDED", spelling.format(desk.folder))[0] == 78


def test_new_files_are_loaded_beside_one_that_is_refused(desk: Desk) -> None:
    desk.give("1.txt", GOOD)
    assert desk.run("FOLDED", "1.txt")[0] == 0
    desk.give("2.txt", b"d 4\n")
    code, report = desk.run("FOLDED", "1.txt", "2.txt")
    assert (code, report["refused"]) == (4, {"count": 1, "names": ["1.txt"]}), report
    assert "count twice" in report["meaning"]
    assert [unit["name"] for unit in report["units"]] == ["2.txt"]
    assert desk.sums("FOLDED") == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert "1 file refused: loaded before" in desk.thresher("report", "FOLDED").stdout


@pytest.mark.parametrize(("again", "total"), [("load", 2), ("skip", 1)])
def test_who_asks_for_it_has_it_loaded_again_or_left_alone(desk: Desk, again: str, total: int) -> None:
    desk.give("in.txt", GOOD)
    assert desk.run("FOLDED", "in.txt")[0] == 0
    code, report = desk.run("FOLDED", "in.txt", "--set", f"source.again={again}")
    assert code == 0, report
    assert report["loaded_again" if again == "load" else "skipped"] == {"count": 1, "names": ["in.txt"]}
    assert desk.sums("FOLDED")["a"] == total


@pytest.mark.parametrize("pipeline", ["ADDING", "TABLE"])
def test_a_sink_without_a_key_refuses_a_file_that_has_its_name_back(desk: Desk, pipeline: str) -> None:
    path = desk.give("in.txt", GOOD)
    assert desk.run(pipeline, "in.txt")[0] == 0
    if not path.exists():
        path.with_name(".in.txt").rename(path)  # the dot taken away by hand
    code, said = desk.run(pipeline, "in.txt")
    assert code == 78, said
    assert "the sink words" in said["reason"]
    assert path.exists()


def test_a_table_with_a_key_takes_the_same_again(desk: Desk) -> None:
    desk.give("in.txt", GOOD)
    for _ in range(2):
        code, report = desk.run("TABLE", "in.txt", "--set", 'sinks.words.key=["word"]')
        assert code == 0, report
    assert report["loaded_again"]["count"] == 1
    with closing(sqlite3.connect(desk.folder / "state-TABLE" / "words.sqlite")) as table:
        assert table.execute("SELECT count(*) FROM words").fetchone() == (3,)


def test_the_same_content_under_another_name_is_another_file(desk: Desk) -> None:
    desk.give("1.txt", GOOD)
    assert desk.run("FOLDED", "1.txt")[0] == 0
    desk.give("2.txt", GOOD)
    code, report = desk.run("FOLDED", "2.txt")
    assert (code, report["refused"]["count"]) == (0, 0), report
    assert desk.sums("FOLDED")["a"] == 2


def test_a_file_that_was_changed_in_its_middle_is_not_taken_for_the_same(desk: Desk) -> None:
    lines = [b"k%06d 1\n" % number for number in range(40_000)]
    path = desk.give("in.txt", b"".join(lines))
    skip = ("--set", "source.again=skip", "--set", "source.rename=none")
    assert desk.run("KEYED", "in.txt", *skip)[0] == 0
    assert desk.run("KEYED", "in.txt", *skip)[1]["skipped"]["count"] == 1
    lines[20_000] = b"K020000 7\n"
    path.write_bytes(b"".join(lines))
    code, report = desk.run("KEYED", "in.txt", *skip)
    assert (code, report["read"], report["skipped"]["count"]) == (0, 40_000, 0), report


def test_a_load_that_failed_is_loaded_again_and_its_letters_are_not_doubled(desk: Desk) -> None:
    desk.give("in.txt", BAD)
    for _ in range(3):
        code, report = desk.run("KEYED", "in.txt")
        assert code == 4, report
        assert desk.letters("KEYED") == [b"b x", b"c y"]
    assert report["failed_before"]["count"] == 0
    assert report["loaded_again"]["names"] == ["in.txt"]


@pytest.mark.parametrize("rename", ["dot", "none"])
def test_a_large_file_within_its_budget_brings_its_letters_once(desk: Desk, rename: str) -> None:
    lines = [b"k%06d 1" % number for number in range(40_000)]
    lines[10::4000] = [b"k bad%d" % number for number in range(10)]
    path = desk.give("in.txt", b"\n".join(lines) + b"\n")
    for _ in range(2):
        code, report = desk.run("KEYED", "in.txt", "--set", f"source.rename={rename}")
        assert code == 0, report
        if not path.exists():
            path.with_name(".in.txt").rename(path)
    assert (len(desk.letters("KEYED")), desk.letters("KEYED", "replaced")) == (10, [])


def test_a_load_that_failed_is_over_when_the_mended_file_is_given_under_its_name(desk: Desk) -> None:
    path = desk.give("in.txt", BAD)
    assert desk.run("KEYED", "in.txt")[0] == 4
    path.write_bytes(GOOD)
    code, report = desk.run("KEYED", "in.txt")
    assert code == 0, report
    assert (desk.letters("KEYED"), desk.letters("KEYED", "replaced")) == ([], [b"b x", b"c y"])
    assert "marked as replaced" in report["units"][0]["note"]


def test_a_failed_load_keeps_the_exit_code_until_its_letters_are_purged(desk: Desk) -> None:
    path = desk.give("bad.txt", BAD)
    assert desk.run("KEYED", "bad.txt")[0] == 4
    path.unlink()
    for number in range(2):
        desk.give(f"{number}.txt", GOOD)
        code, report = desk.run("KEYED", f"{number}.txt")
        assert (code, report["failed_before"]) == (4, {"count": 1, "names": ["bad.txt"]}), report
        assert "thresher dlq purge words.py:KEYED --state state-KEYED" in report["meaning"]
    assert desk.thresher("dlq", "KEYED", "--yes", what="purge").returncode == 0
    desk.give("3.txt", GOOD)
    assert desk.run("KEYED", "3.txt")[0] == 0


def test_a_failed_load_keeps_the_exit_code_until_its_letters_are_retried(desk: Desk) -> None:
    path = desk.give("bad.txt", BAD)
    code, report = desk.run("KEYED", "bad.txt")
    assert code == 4
    assert "thresher dlq retry words.py:KEYED --state state-KEYED" in report["meaning"]
    path.unlink()
    assert desk.thresher("dlq", "KEYED", what="retry").returncode == 4  # the cause is not mended
    desk.give("1.txt", GOOD)
    assert desk.run("KEYED", "1.txt")[0] == 4
    program = desk.folder / "words.py"
    program.write_text(WORDS.replace("int(number)", "int(number, 36)").replace("if not number.isdigit()", "if False"))
    assert desk.thresher("dlq", "KEYED", what="retry").returncode == 0
    desk.give("2.txt", GOOD)
    assert desk.run("KEYED", "2.txt")[0] == 0


def test_where_it_would_count_twice_a_failed_load_is_neither_loaded_again_nor_forgotten(desk: Desk) -> None:
    path = desk.give("in.txt", BAD)
    assert desk.run("FOLDED", "in.txt")[0] == 4
    assert desk.run("FOLDED", "in.txt")[0] == 78
    path.write_bytes(GOOD)  # the good records of the first load would come a second time
    code, said = desk.run("FOLDED", "in.txt")
    assert code == 78, said
    assert "other content under the name of a load that failed" in said["reason"]
    assert desk.sums("FOLDED") == {"a": 1}


def test_a_cut_file_that_is_given_whole_goes_on_and_takes_its_fault_away(desk: Desk) -> None:
    lines = b"".join(b"w%d 1\n" % number for number in range(200_000))
    whole = bz2.compress(lines)
    path = desk.give("in.txt.bz2", whole[:len(whole) // 2])
    code, report = desk.run("FOLDED", "in.txt.bz2")
    assert (code, len(desk.letters("FOLDED"))) == (4, 1), report
    assert "give each whole file under the same name" in report["meaning"]
    path.write_bytes(whole)
    code, report = desk.run("FOLDED", "in.txt.bz2")
    assert (code, desk.letters("FOLDED")) == (0, []), report
    assert set(desk.sums("FOLDED").values()) == {1.0}


def test_a_directory_leaves_alone_what_was_read_and_says_so(desk: Desk) -> None:
    logs = desk.folder / "logs"
    logs.mkdir()
    (logs / "a.log").write_bytes(GOOD)
    assert desk.run("FOLLOWED", "logs")[0] == 0
    (logs / "a.log").rename(logs / "a.log.1")
    (logs / "a.log").write_bytes(b"d 4\n")
    code, report = desk.run("FOLLOWED", "logs")
    assert (code, report["skipped"], report["read"]) == (0, {"count": 1, "names": ["logs/a.log.1"]}, 1), report
    assert desk.sums("FOLLOWED") == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_a_directory_reads_again_what_it_is_asked_to(desk: Desk) -> None:
    logs = desk.folder / "logs"
    logs.mkdir()
    (logs / "a.log").write_bytes(BAD)
    assert desk.run("FOLLOWED", "logs")[0] == 4
    assert desk.run("FOLLOWED", "logs")[0] == 4  # left alone, and failed as ever
    for total in (2, 3):
        code, report = desk.run("FOLLOWED", "logs", "--set", "source.again=load")
        assert (code, report["loaded_again"]["count"], report["read"]) == (4, 1, 3), report
        assert desk.sums("FOLLOWED") == {"a": total}
        assert desk.letters("FOLLOWED") == [b"b x", b"c y"]


def test_a_log_that_has_grown_is_not_given_again(desk: Desk) -> None:
    logs = desk.folder / "logs"
    logs.mkdir()
    (logs / "a.log").write_bytes(GOOD)
    assert desk.run("FOLLOWED", "logs")[0] == 0
    with (logs / "a.log").open("ab") as log:
        log.write(b"d 4\n")
    assert desk.run("FOLLOWED", "logs", "--set", "source.again=load")[0] == 0
    assert desk.sums("FOLLOWED") == {"a": 1, "b": 2, "c": 3, "d": 4}
