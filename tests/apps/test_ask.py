"""``thresher ask`` as users do: tables, CSV and JSON of what a run has stored, while it runs, and what else is said."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import StringIO
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from actors.apps.ascp.events import Event, encode
from actors.apps.ascp.lines import parse_lines
from actors.sinks.lmdb import read_lmdb
from scripts.make_ascp import make_lines
from tests.apps.test_ascp_runs import DATED, LINES, expected_rows, run
from tests.ascp import REFERENCE_MS, sessions
from tests.loads import ROOT, WATCHDOG_S, Running, Views

ELSEWHERE = ("--set", "sinks.events.type=memcached", "--set", "sinks.events.server=127.0.0.1:9")
SERIES = ("--set", "sinks.series.type=jsonl")


def ask(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "actors.cli", "ask", *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=WATCHDOG_S, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def answer(*words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ask(*words, "--json").stdout.splitlines()]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run over the lines has left."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "ascp.log").write_bytes(b"".join(LINES))
    done = run(folder / "state", "ascp", str(folder / "ascp.log"), *SERIES)
    assert done.returncode == 0, done.stderr
    return folder / "state"


def named(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["session"] for row in rows]


def best(rows: Sequence[dict[str, Any]], column: str, top: int) -> list[str]:
    return named(sorted(rows, key=itemgetter(column), reverse=True)[:top])


def test_the_answers_of_ascp_are_those_of_the_rows_that_the_run_has_summed_up(state: Path) -> None:
    rows = expected_rows()
    about = "ascp", "--state", str(state)
    asked = answer("ascp", "transfers", "--state", str(state))
    assert sorted(asked, key=itemgetter("session")) == [
        {"session": row["session"], "start": starts(row), "seconds": row["elapsed_s"],
         **{name: row[name] for name in ("bytes", "mbps", "target_bps", "rex_ratio", "status", "source", "dest")}}
        for row in rows]
    for question, column in (("longest", "elapsed_s"), ("largest", "bytes"), ("fastest", "mbps")):
        assert named(answer(*about, question, "--top", "4")) == best(rows, column, 4)
    middle = rows[len(rows) // 2]
    some = [row for row in rows if row["host"] == "host-1" and row["start"] >= middle["start"]]
    (counted,) = answer(*about, "count", "--host", "host-1", "--since", str(middle["start"]))
    assert (counted["sessions"], counted["bytes"]) == (len(some), sum(row["bytes"] for row in some))
    assert counted["open"] == sum(row["status"] == "open" for row in some)


def starts(row: dict[str, Any]) -> str:
    return datetime.fromtimestamp(row["start"] / 1000, UTC).isoformat().replace("+00:00", "Z")


def test_one_session_is_asked_for_by_its_name(state: Path) -> None:
    found = sessions([line[:-1] for line in LINES])[5]
    asked = answer("ascp", "series", found.id, "--state", str(state))
    assert asked == json.loads(json.dumps(list(found.series())))
    (one,) = answer("ascp", "session", found.id, "--state", str(state))
    assert one == json.loads(json.dumps(found.summary()))
    for name in ("host-0/1/2", "host-0", "///", found.id + "0"):
        done = ask("ascp", "session", name, "--state", str(state))
        assert (done.stdout, done.stderr) == ("", "ascp: session: nothing found\n")


def test_where_the_events_cannot_be_listed_the_rows_of_the_run_give_the_same_answers(state: Path) -> None:
    one = expected_rows()[3]["session"]
    for words in (["longest", "--top", "5"], ["transfers", "--host", "host-2"], ["session", one], ["series", one]):
        there, elsewhere = (sorted(answer("ascp", *words, "--state", str(state), *more), key=str)
                            for more in ((), (*ELSEWHERE, *SERIES)))
        assert there == elsewhere
        assert there


def test_an_answer_is_a_table_for_people_csv_for_others_and_json_lines(state: Path) -> None:
    asked = "ascp", "longest", "--top", "2", "--state", str(state)
    first, second = answer(*asked)
    for words in ((), ("--csv",)):
        rows = list(csv.DictReader(StringIO(ask(*asked, *words).stdout)))
        assert rows == [{name: str(value) for name, value in row.items()} for row in (first, second)]
    head, *lines = ask(*asked, "--table").stdout.splitlines()
    assert head.split() == list(first)
    assert [line.split()[0] for line in lines] == named([first, second])
    assert head.index("bytes") + len("bytes") == lines[0].index(str(first["bytes"])) + len(str(first["bytes"]))
    assert ask("ascp", "count", "--state", str(state), "--table").stdout.splitlines()[0].split() == [
        "sessions", str(len(expected_rows()))]


def test_a_target_alone_lists_its_questions_and_help_says_what_one_takes(state: Path) -> None:
    listed = ask("ascp").stdout
    assert listed.startswith("questions of ascp:\n  count ")
    assert "longest    The sessions that took longest.\n" in listed
    assert listed in ask("ascp", "--help").stdout.replace("\n\n", "\n")
    said = ask("ascp", "longest", "--help").stdout
    for part in ("ask [-h]", "TARGET longest", "--top TOP", "so many. (default: 10)", "--since SINCE"):
        assert part in said
    (count, *_) = json.loads(ask("ascp", "--json").stdout)
    assert count == {"question": "count", "about": "How many transfers there are, and what they have moved together.",
                     "why_not": "", "arguments": ["host", "since", "until"]}
    assert ask("numbers").stdout.startswith("numbers has no questions: ")


@pytest.mark.parametrize(("words", "says"), [
    (("ascp", "longst"), "ascp has no question 'longst'\n  did you mean 'longest'?\n  questions: count, "),
    (("ascp", "longest", "--tops", "3"), "ascp longest has no flag '--tops'\n  did you mean --top?"),
    (("ascp", "longest", "three"), "ascp longest has no further word 'three'"),
    (("ascp", "longest", "--top", "x"), "argument --top: expected a whole number, got 'x'"),
    (("ascp", "count", "--since", "2018-10-11T00:00"), "argument --since: expected seconds or ms since 1970, or a time "
     "with its zone as in 2018-10-11T00:00:00Z, got '2018-10-11T00:00'"),
    (("ascp", "series"), "required: SESSION"),
])
def test_what_cannot_be_asked_is_refused_in_a_sentence(words: tuple[str, ...], says: str) -> None:
    assert says in ask(*words, code=2).stderr


def test_sinks_that_cannot_answer_say_what_could(tmp_path: Path) -> None:
    for words in (("ascp", "count"), ("ascp", "--json")):
        sinks = ("--set", "sinks.sessions.type=discard", *ELSEWHERE)
        done = ask(*words, *sinks, "--state", str(tmp_path), code=0 if "--json" in words else 78)
        assert ("sink events (memcached 127.0.0.1:9) answers a key, and nothing else: no range, no list. It "
                "needs keys of events in their order (lmdb, redis with index), or rows of sessions "
                "(sql, jsonl, csv, parquet)"
                ) in (done.stderr or json.loads(done.stdout)[0]["why_not"])


def test_before_anything_is_written_that_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    state = tmp_path / "none"
    for more in ((), ELSEWHERE):
        done = ask("ascp", "count", "--state", str(state), *more, code=1)
        assert done.stderr.startswith("ascp: nothing has been written yet (")
        assert done.stderr.endswith(": thresher run ascp writes it\n")
    assert not state.exists()


def has(state: Path, lines: list[bytes]) -> Callable[[Views], bool]:
    """Whether these lines are stored."""
    keys = {encode(event) for event in parse_lines([line[:-1] for line in lines], "", REFERENCE_MS)
            if isinstance(event, Event)}
    store = state / "events.lmdb"
    return lambda _: (store / "data.mdb").exists() and len(dict(read_lmdb(store))) == len(keys)


def test_a_run_that_is_under_way_is_asked_and_goes_on(tmp_path: Path) -> None:
    log, state = tmp_path / "ascp.log", tmp_path / "state"
    log.write_bytes(b"".join(LINES[:800]))
    with Running(state, "run", "ascp", str(log), "--follow", *DATED, "--set", "source.poll_s=0.05") as running:
        running.until(has(state, LINES[:800]), "the first lines stored")
        first = sessions([line[:-1] for line in LINES[:800]])
        (counted,) = answer("ascp", "count", "--state", str(state))
        assert counted["sessions"] == len(first)
        assert counted["open"] == sum(each.summary()["status"] == "open" for each in first)
        with log.open("ab") as out:
            out.writelines(LINES[800:])
        running.until(has(state, LINES), "all lines stored")
        assert sorted(named(answer("ascp", "transfers", "--state", str(state)))) == named(expected_rows())
        running.process.terminate()
        assert running.wait() == 0, running.output()


def test_who_stops_reading_ends_the_answer(tmp_path: Path) -> None:
    log, state = tmp_path / "ascp.log", tmp_path / "state"
    log.write_bytes(b"".join(islice(make_lines(4, hosts=3, processes=2, longest_s=5), 8000)))
    assert run(state, "ascp", str(log)).returncode == 0
    words = [sys.executable, "-m", "actors.cli", "ask", "ascp", "transfers", "--json", "--state", str(state)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None and asking.stderr is not None
        asking.stdout.readline()
        asking.stdout.close()
        assert asking.stderr.read() == ""
        assert asking.wait(WATCHDOG_S) in (0, 1)


def thresher(*words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "actors.cli", *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=WATCHDOG_S, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_explain_says_which_questions_can_be_asked_and_which_cannot() -> None:
    assert "\nanswers count, transfers, longest, largest, fastest, session, series (thresher ask)\n" in thresher(
        "explain", "ascp")
    said = thresher("explain", "ascp", *ELSEWHERE)
    assert "\nanswers count, transfers, longest, largest, fastest, session (thresher ask)\n" in said
    assert "\n        not series: sink events (memcached 127.0.0.1:9) answers a key, and nothing else" in said
    assert "thresher ask" not in thresher("explain", "ratings-feed")


BROKEN = """
from thresher import Pipeline, Question
from thresher.sinks import Jsonl
from thresher.sources import Files

PIPELINE = Pipeline(source=Files(pattern="in.log"), parse=bytes.decode, sinks={"out": Jsonl()}, questions={
    "all": Question(answer=lambda store, names: store["out"].rows(), needs={"out": "rows"})})
"""
FAILING = BROKEN.replace("lambda store, names: store", "lambda store: 1 / 0 and store")


def test_a_question_that_nobody_could_ask_is_refused_by_lint_and_one_that_fails_says_where(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    assert "questions['all']: parameter names: expected a type that a command line can give" in thresher(
        "lint", str(tmp_path / "broken.py"), code=78)
    (tmp_path / "failing.py").write_text(FAILING)
    target = str(tmp_path / "failing.py")
    thresher("lint", target)
    said = ask(target, "all", "--state", str(tmp_path / "state"), code=1).stderr
    assert said.startswith(f"{target}: all: ") and "division by zero" in said


def test_what_the_page_shows_works_as_it_stands_there(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "questions.md").read_text()
    (found,) = re.findall(r"^<!-- test: (\S+) -->\n```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / found[0]).write_text(found[1])
    (tmp_path / "a.txt").write_text("b\na\nb\nc\nb\na\n")
    target = str(tmp_path / found[0])
    state = "--state", str(tmp_path / "state")
    thresher("run", target, str(tmp_path / "a.txt"), *state)
    assert ask(target, "most", "--top", "2", *state).stdout == "word,count\nb,3\na,2\n"
