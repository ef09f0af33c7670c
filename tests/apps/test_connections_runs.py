"""connections as users run it: the public file, whole and growing, in any order within the disorder, with kills."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.values import DeadLetter
from tests.letters import put
from tests.loads import ROOT, SHARED, WATCHDOG_S, Running, Views, assert_counts_add_up, living

PUBLIC = SHARED / "data" / "connections-10000.txt"
HOUR_MS, DISORDER_MS = 3_600_000, 300_000
SETS = ("options.into_host=Aaliayh", "options.from_host=Dristen")
Report = dict[str, Any]

public_file = pytest.mark.skipif(not PUBLIC.exists(), reason="the public file is not here")


def run_once(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the reports over what is there, to the end."""
    sets = [word for one in SETS for word in ("--set", one)]
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "connections", "--once", "--state", str(state), *sets, *words],
        cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)


def following(state: Path, *words: str) -> Running:
    """Run the reports without end."""
    sets = [word for one in SETS for word in ("--set", one)]
    quick = ("--set", "source.poll_s=0.05", "--set", "source.idle_timeout_s=0.3")
    return Running(state, "run", "connections", *quick, *sets, *words)


def reports_of(state: Path) -> list[Report]:
    """The reports so far; each hour once."""
    path = state / "hours.jsonl"
    text = path.read_text() if path.exists() else ""
    found = [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]  # the last one is being written
    assert len({report["start"] for report in found}) == len(found)
    return sorted(found, key=lambda report: int(report["start"]))


def expected_reports(lines: Sequence[str], size: int = HOUR_MS, anchor: int | None = None) -> list[Report]:
    """What a plain program reports of these lines, none of which is late."""
    rows = [(int(stamp), left, right) for stamp, left, right in (line.split() for line in lines)]
    scale = 1000 if rows[0][0] < 10**11 else 1
    rows = [(at * scale, left, right) for at, left, right in rows]
    first = min(at for at, _, _ in rows) if anchor is None else anchor
    hours: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
    for row in rows:
        hours[(row[0] - first) // size].append(row)
    found = []
    for number, some in sorted(hours.items()):
        out = Counter(left for _, left, _ in some)
        most = max(out.values())
        found.append({
            "start": first + number * size, "end": first + (number + 1) * size, "into_host": "Aaliayh",
            "into": sorted({left for _, left, right in some if right == "Aaliayh"}), "from_host": "Dristen",
            "received": sorted({right for _, left, right in some if left == "Dristen"}),
            "top": sorted(host for host, number in out.items() if number == most), "top_connections": most})
    return found


def shuffled(lines: Sequence[str], seed: int, within_ms: int = DISORDER_MS - 1) -> list[str]:
    """The lines out of order, none by more than the disorder."""
    rng = random.Random(seed)
    return sorted(lines, key=lambda line: int(line.split()[0]) + rng.random() * within_ms)


def made_lines(count: int, seed: int = 1, scale: int = 1) -> list[str]:
    """Lines in order, over some hours."""
    rng = random.Random(seed)
    hosts = ["Aaliayh", "Dristen", *(f"host{n}" for n in range(30))]
    at, lines = 1_565_647_204_351, []
    for _ in range(count):
        at += rng.randrange(40_000)
        lines.append(f"{at // scale} {rng.choice(hosts)} {rng.choice(hosts)}\n")
    return lines


@public_file
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_public_file_has_its_24_reports_whatever_the_number_of_workers(tmp_path: Path, workers: int) -> None:
    done = run_once(tmp_path / "state", str(PUBLIC), "--set", f"parser.workers={workers}", "--set",
                    "flow.batch_bytes=10000")
    assert done.returncode == 0, done.stderr
    reports = reports_of(tmp_path / "state")
    assert reports == expected_reports(PUBLIC.read_text().splitlines())
    assert len(reports) == 24
    assert (reports[0]["end"], reports[0]["top_connections"]) == (1565650804351, 2)
    assert " ".join(reports[0]["top"]) == "Donnis Eveliz Keimy Kishauna Lachandra Santangelo Traysen"
    assert (reports[14]["end"], reports[14]["into"], reports[14]["top"]) == (1565701204351, ["Cliff"], ["Kamyree"])
    assert reports[14]["top_connections"] == 3
    assert " ".join(reports[23]["top"]) == (
        "Burnett Dashyra Gaetan Ishi Jaiceyon Kahleil Katrinna Kiaeem Kingsly Saphyra")
    text = done.stdout
    assert text.count(" to 2019-08-") == 24
    assert "connected to Aaliayh: Cliff" in text
    assert text.rstrip().endswith("Kingsly, Saphyra")


@public_file
@pytest.mark.parametrize("seed", range(3))
def test_the_public_file_shuffled_within_five_minutes_has_the_same_reports(tmp_path: Path, seed: int) -> None:
    lines = PUBLIC.read_text().splitlines(keepends=True)
    file = tmp_path / "shuffled.txt"
    file.write_text("".join(shuffled(lines, seed)))
    done = run_once(tmp_path / "state", str(file), "--set", "flow.batch_bytes=5000")
    assert done.returncode == 0, done.stderr
    assert reports_of(tmp_path / "state") == expected_reports(lines)


@public_file
@pytest.mark.parametrize("seed", range(2))
def test_the_public_file_appended_in_random_pieces_with_kills_has_the_same_reports(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole = "".join(shuffled(PUBLIC.read_text().splitlines(keepends=True), seed)).encode()
    state, file = tmp_path / "state", tmp_path / "growing.txt"
    file.write_bytes(b"")
    cuts = sorted(rng.randrange(len(whole)) for _ in range(30))
    with following(state, str(file)) as running, file.open("ab", buffering=0) as out:
        killed: set[int] = {0}
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(whole)], strict=True)):
            out.write(whole[start:end])
            wanted = whole.rfind(b"\n", 0, end)
            if number % 5 == 4:  # while it works on it, or right after
                views = running.until(bool, "a board")
                victims = [view.pid for view in views.values() if view.pid not in killed and living([view.pid])]
                if victims:
                    killed.add(rng.choice(victims))
                    os.kill(rng.choice(sorted(killed & set(victims))), 9)
            if number % 3 == 0:
                running.until(reader_has("bytes_done", wanted), "the piece read")
        running.until(lambda views: len(reports_of(state)) == 23, "23 reports")
        running.process.terminate()
        assert running.wait() == 0, running.output()
    done = run_once(state, str(file))
    assert done.returncode == 0, done.stderr
    assert reports_of(state) == expected_reports(PUBLIC.read_text().splitlines())


def test_after_the_supervisor_was_killed_the_next_run_goes_on_and_the_reports_are_the_same(tmp_path: Path) -> None:
    lines = made_lines(3000)
    file, state = tmp_path / "log", tmp_path / "state"
    file.write_text("".join(shuffled(lines, 1)))
    rng = random.Random(1)
    for _ in range(4):
        with following(state, str(file), "--set", "flow.batch_bytes=2000") as running:
            batches = rng.randrange(1, 8)
            running.until(reader_has("batches", batches), "some batches")
            running.process.kill()
            running.process.wait()
            wait_for(lambda: not [view for view in running.views().values() if living([view.pid])], "nobody left")
    done = run_once(state, str(file))
    assert done.returncode == 0, done.stderr
    assert reports_of(state) == expected_reports(lines)


def test_disorder_of_4_59_is_in_its_hour_and_of_5_01_is_a_dead_letter_late(tmp_path: Path) -> None:
    start = 1_565_647_200_000
    end = start + HOUR_MS
    file = tmp_path / "log"
    file.write_text(
        f"{start} a b\n"
        f"{end + 298_000} c d\n"
        f"{end - 1_000} early b\n"  # 4:59 behind the newest: its hour is open
        f"{end + 300_000} c d\n"
        f"{end - 1_000} late b\n")  # 5:01 behind it: closed
    for batch_bytes in (20, 1_000_000):
        state = tmp_path / f"state-{batch_bytes}"
        done = run_once(
            state, str(file), "--set", f"flow.batch_bytes={batch_bytes}", "--set", "budget.max_error_rate=1")
        assert done.returncode == 0, done.stderr
        first = reports_of(state)[0]
        assert (first["start"], first["end"], first["top"]) == (start, end, ["a", "early"])
        letters = subprocess.run(
            [sys.executable, "-m", "actors.cli", "dlq", "ls", "connections", "--state", str(state), "--json"],
            cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=True)
        (letter,) = json.loads(letters.stdout)["letters"]
        assert (letter["reason"], letter["line"]) == ("late", 5)
        assert "late b" in str(letter)
        assert_counts_add_up(state)
    again = dlq("retry", state)
    assert again.returncode == 4, "as it is it is late once more"
    assert "window.lateness_s" in again.stdout + again.stderr
    for says in ("1 retried", "0 retried"):
        again = dlq("retry", state, "--set", "window.lateness_s=86400")
        assert again.returncode == 0, again.stderr
        assert says in again.stdout + again.stderr
    hours = [json.loads(line) for line in (state / "hours.jsonl").read_text().splitlines()]
    assert [(hour["start"], hour["top"]) for hour in hours if hour["start"] == start] == [
        (start, ["a", "early"]), (start, ["a", "early", "late"])], "it came once more, with all that is in it, once"


def test_a_line_of_a_clock_that_is_a_year_fast_makes_nothing_late_wherever_it_stands(tmp_path: Path) -> None:
    """An old log, so nothing of it is ahead of this machine's clock; hours without a line are asked for."""
    lines = made_lines(600)
    year = 365 * 24 * HOUR_MS
    at, *hosts = lines[250].split()
    wrong = f"{int(at) + year} {' '.join(hosts)}\n"
    (tmp_path / "log").write_text("".join([*lines[:300], wrong, *lines[300:]]))
    done = run_once(tmp_path / "state", str(tmp_path / "log"), "--set", "window.empty=emit", "--set",
                    "flow.batch_bytes=1000")
    assert done.returncode == 0, done.stderr
    reports = reports_of(tmp_path / "state")
    full = [report for report in reports if report["top"]]
    assert full == expected_reports([*lines, wrong])
    starts = range(full[0]["start"], full[-1]["end"], HOUR_MS)
    assert [report["start"] for report in reports] == list(starts)
    assert {report["top_connections"] for report in reports if not report["top"]} == {0}
    assert_counts_add_up(tmp_path / "state")


def test_letters_that_go_in_again_close_no_window(tmp_path: Path) -> None:
    lines = made_lines(3000)
    file, state = tmp_path / "log", tmp_path / "state"
    begun = "".join(lines[:1000]) + "nonsense\n" + lines[2900]  # this one is in its hour long before the others
    file.write_text(begun)
    with following(state, str(file), "--set", "budget.max_error_rate=1") as running:
        running.until(reader_has("bytes_done", len(begun)), "all that is there")
        running.process.terminate()
        assert running.wait() == 0, running.output()
    before = reports_of(state)
    retried = dlq("retry", state)
    assert retried.returncode == 4, retried.stderr
    assert reports_of(state) == before
    file.write_text(begun + "".join(lines[2900:]))
    done = run_once(state, str(file), "--set", "budget.max_error_rate=1")
    assert done.returncode == 0, done.stderr
    assert reports_of(state) == expected_reports([*lines[:1000], lines[2900], *lines[2900:]])


def test_files_that_the_next_run_finds_silent_have_all_their_hours_but_the_last(tmp_path: Path) -> None:
    """The first run waits for both, and is stopped before they have been silent for long; nobody writes any more."""
    lines = made_lines(600)
    logs, state = tmp_path / "logs", tmp_path / "state"
    logs.mkdir()
    (logs / "a.log").write_text("".join(lines[:300]))
    (logs / "b.log").write_text("".join(lines[300:]))
    with following(state, str(logs), "--set", "source.idle_timeout_s=3600") as running:
        running.until(reader_has("records", len(lines)), "all lines")
        running.process.terminate()
        assert running.wait() == 0, running.output()
    expected = expected_reports(lines)
    assert 0 < len(reports_of(state)) < len(expected) - 1
    with following(state, str(logs)) as running:
        running.until(lambda views: len(reports_of(state)) == len(expected) - 1, "all reports but the last")
        running.process.terminate()
        assert running.wait() == 0, running.output()
    assert reports_of(state) == expected[:-1]


@pytest.mark.parametrize("verb", ["ls", "show", "retry"])
def test_a_window_that_could_not_be_emitted_is_a_letter_that_can_be_looked_at_and_is_no_input(
    tmp_path: Path, verb: str
) -> None:
    letter = DeadLetter("aggregator.1", "emit_error", "KeyError: 'x'", "aggregator.1", "aggregator.1@abc", 0, -1, -1,
                        b'[[0,3600000],[[["into"],[1]]]]')
    (tmp_path / "log").write_text("")
    put(tmp_path, letter)
    done = dlq(verb, tmp_path, *(["1"] if verb == "show" else []))
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr  # while the application writes to standard output, all else is said beside it
    assert ("1 are what aggregators could not emit, no input" if verb == "retry" else "emit_error") in said
    assert "Traceback" not in said


def dlq(verb: str, state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    sets = [word for one in SETS for word in ("--set", one)] if verb == "retry" else []
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "dlq", verb, "connections", *words, "--state", str(state), *sets],
        cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)


def test_seconds_and_milliseconds_give_the_same_hours(tmp_path: Path) -> None:
    lines = made_lines(1000, scale=1000)
    file = tmp_path / "log"
    file.write_text("".join(lines))
    done = run_once(tmp_path / "state", str(file))
    assert done.returncode == 0, done.stderr
    assert reports_of(tmp_path / "state") == expected_reports(lines)


def test_hours_can_be_those_of_the_clock_and_of_another_length(tmp_path: Path) -> None:
    lines = made_lines(1000)
    file = tmp_path / "log"
    file.write_text("".join(lines).replace("\n", "\r\n"))
    done = run_once(tmp_path / "state", str(file), "--set", "window.start=clock", "--set", "window.size_s=600")
    assert done.returncode == 0, done.stderr
    assert reports_of(tmp_path / "state") == expected_reports(lines, size=600_000, anchor=0)


def test_two_logs_of_the_same_day_are_one_stream_and_nothing_of_the_second_is_late(tmp_path: Path) -> None:
    lines = made_lines(2000)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.log").write_text("".join(lines[::2]))
    (logs / "b.log").write_text("".join(lines[1::2]))
    done = run_once(tmp_path / "state", str(logs), "--set", "flow.batch_bytes=4000")
    assert done.returncode == 0, done.stderr
    assert reports_of(tmp_path / "state") == expected_reports(lines)


@pytest.mark.parametrize("start", ["first", "clock"])
def test_logs_that_were_rotated_before_the_first_look_have_the_hours_of_one_file(tmp_path: Path, start: str) -> None:
    """The newest is first by its name, one is packed, and the oldest line of all is not the first of its file."""
    lines = made_lines(1500)
    arrived = shuffled(lines, 0)
    assert arrived[0] != lines[0]
    logs = tmp_path / "logs"
    logs.mkdir()
    for number, name in enumerate(("access.log.2.gz", "access.log.1", "access.log")):
        content = "".join(arrived[500 * number:500 * number + 500]).encode()
        (logs / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    done = run_once(tmp_path / "state", str(logs), "--set", f"window.start={start}")
    assert done.returncode == 0, done.stderr
    assert reports_of(tmp_path / "state") == expected_reports(lines, anchor=0 if start == "clock" else None)


@pytest.mark.parametrize("kind", ["rename", "copytruncate", "create"])
def test_a_rotation_loses_and_repeats_nothing(tmp_path: Path, kind: str) -> None:
    lines = made_lines(1500)
    logs, state = tmp_path / "logs", tmp_path / "state"
    logs.mkdir()
    file = logs / "current.log"
    file.write_text("")
    with following(state, str(logs)) as running:
        for number in range(5):
            with file.open("a") as out:
                out.write("".join(lines[300 * number:300 * number + 300]))
            done = 300 * (number + 1)
            running.until(reader_has("records", done), "these lines read")
            if kind == "copytruncate":
                (logs / f"current.log.{number}").write_bytes(file.read_bytes())
                os.truncate(file, 0)
            elif kind == "rename":
                file.rename(logs / f"current.log.{number}")
                file.write_text("")
            else:
                file = logs / f"{number}.log"
        expected = expected_reports(lines)
        running.until(lambda views: len(reports_of(state)) >= len(expected) - 1, "all reports but the last")
        running.process.terminate()
        assert running.wait() == 0, running.output()
    assert run_once(state, str(logs)).returncode == 0
    assert reports_of(state) == expected


def reader_has(what: str, number: int) -> Callable[[Views], bool]:
    return lambda views: getattr(views["reader.1"], what) >= number


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WATCHDOG_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.002)
