"""``thresher verify`` over pipelines that are sound and ones that are not. Real processes, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from actors.settings import load
from actors.verify.plan import manifest_of, reference_of
from tests.loads import ROOT, WATCHDOG_S, living

LINES = 3000
#: A sound pipeline; each test replaces what it wants to be unsound.
SOUND = {
    "imports": "",
    "parse": "def parse(line):\n    word, _, number = line.partition(b' ')\n    if not number.isdigit():\n"
             "        raise Reject('number')\n    return word, int(number)\n",
    "check": "def check(row):\n    return None if row[1] % 7 == 0 else row\n",
    "encode": "def encode(row):\n    return row[0], b'%d' % row[1]\n",
    "partials": "def partials(rows, unit):\n    sums = {}\n    for word, number in rows:\n"
                "        key = (unit, word.decode())\n        sums[key] = [sums.get(key, [0.0])[0] + number / 10]\n"
                "    return sums\n",
    "sink": "Lmdb()",
}
_TEMPLATE = """\
from actors.runtime.errors import Reject
from actors.runtime.pipeline import Fold, Pipeline, per_chunk
from actors.sinks.dead_letters import DeadLetters
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from actors.sources.files import Files
{imports}

{parse}

{check}

{encode}

{partials}

PIPELINE = Pipeline(name="sample", source=Files(pattern="*.txt"), parse=parse, check=check,
                    route=lambda row: "store", encode=encode, sinks={{"store": {sink}}}, dead_letters=DeadLetters(),
                    fold=Fold(partials=partials, keys=("unit", "word"), fields=("total",)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a sample: two files in which keys come again, with bad lines among them."""
    for name, start in (("a.txt", 0), ("b.txt", LINES // 2)):
        (tmp_path / name).write_text("".join(
            f"word{number * 31 % 97} {number if number % 50 else 'x'}\n"
            for number in range(start, start + LINES // 2)))
    return tmp_path


def write(folder: Path, **parts: str) -> None:
    """Write ``sample.py`` with these parts replaced."""
    (folder / "sample.py").write_text(_TEMPLATE.format(**{**SOUND, **parts}))


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "actors.cli", "verify", "sample", *words]


def verify(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=folder, capture_output=True, text=True, timeout=WATCHDOG_S, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


def verdict(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = verify(folder, "--json", *words)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def kinds(shown: dict[str, Any]) -> set[str]:
    """The runs that differ."""
    return {run["variant"]["kind"] for run in shown["runs"] if run["differences"]}


def test_a_sound_pipeline_comes_to_the_same_however_it_is_run_and_whoever_is_killed(folder: Path) -> None:
    write(folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*.txt")}
    code, shown = verdict(folder, "--runs", "6", "--kills", "2")
    assert (code, shown["same"], shown["records"]) == (0, True, LINES), shown
    assert [run["variant"]["kind"] for run in shown["runs"]] == [
        "reference", "killed", "batches", "repeated", "spread", "killed"]
    assert sum(len(run["killed"]) for run in shown["runs"]) >= 2
    reference, killed = shown["runs"][:2]
    assert (reference["variant"]["workers"], reference["variant"]["kills"]) == (1, 0)
    assert killed["variant"]["workers"] > 1 and killed["variant"]["batch_bytes"] < len(before["a.txt"]) / 4
    assert shown["allowed_disorder_s"] == 0
    assert {path.name: path.read_bytes() for path in folder.glob("*.txt")} == before
    assert {path.name for path in folder.iterdir()} <= {"a.txt", "b.txt", "sample.py", "__pycache__"}


def test_a_sound_pipeline_whose_records_become_several_comes_to_the_same(folder: Path) -> None:
    write(folder, imports="from actors.runtime.outputs import Many",
          parse="def parse(line):\n    word, _, number = line.partition(b' ')\n"
                "    return Many([(word + b'%d' % n, n) if n % 5 else Reject('five') for n in range(len(word))])\n",
          check="def check(row):\n    return None if row[1] % 7 == 6 else row\n")
    code, shown = verdict(folder, "--runs", "5", "--kills", "2")
    assert (code, shown["same"], shown["records"]) == (0, True, LINES), shown
    assert {run["variant"]["kind"] for run in shown["runs"]} >= {"killed", "batches", "spread"}


def test_the_table_names_every_run_and_the_verdict(folder: Path) -> None:
    write(folder)
    done = verify(folder, "a.txt", "--runs", "2", "--kills", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["sample: verifying with files a.txt, 2 runs, seed 0",
                         "order of lines: kept (without event time no disorder is allowed)"]
    assert [line.split()[0] for line in lines[3:6]] == ["run", "reference", "killed"]
    assert lines[5].endswith("the same")
    assert lines[-1] == (f"the same: {LINES // 2:,} records of 1 units, 2 runs, every one came to what one worker came "
                         "to without kills")


def test_random_numbers_are_caught_by_repeating_the_run(folder: Path) -> None:
    write(folder, imports="import random",
          encode="def encode(row):\n    return row[0], b'%d' % random.randint(0, 10**9)\n")
    code, shown = verdict(folder, "--runs", "4", "--kills", "0")
    assert (code, shown["same"]) == (1, False)
    assert kinds(shown) == {"killed", "batches", "repeated"}
    first = shown["runs"][3]["first"][0]
    assert first["where"] == "sink store"
    assert first["record"].startswith("b'word") and first["expected"] != first["got"]
    assert len(shown["hints"]) == 1 and "not deterministic" in shown["hints"][0]


def test_the_order_of_a_set_is_caught_because_each_run_has_its_own_hash_seed(folder: Path) -> None:
    write(folder, encode="def encode(row):\n    return row[0], ''.join({f'{n}' for n in range(20)}).encode()\n")
    code, shown = verdict(folder, "--runs", "4", "--kills", "0")
    assert (code, "repeated" in kinds(shown)) == (1, True)


def test_a_function_that_takes_its_list_for_the_whole_input_is_caught_and_named(folder: Path) -> None:
    write(folder, check="@per_chunk\ndef check(rows):\n    seen = set()\n"
                        "    return [None if row[0] in seen or seen.add(row[0]) else row for row in rows]\n")
    done = verify(folder, "--runs", "5", "--kills", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[3:9]}
    assert rows["repeated"].endswith("the same")
    assert rows["batches"].endswith("differences")
    assert "first differences of the run 'killed':" in done.stdout
    assert "likely: with other batches and nothing else changed the results are others: a per_chunk function" in (
        done.stdout)
    assert done.stdout.splitlines()[-1].startswith("DIFFERENT: ")


def test_what_partials_does_beyond_sums_is_caught_in_the_folded_state_by_the_name_of_the_unit(folder: Path) -> None:
    write(folder, partials="def partials(rows, unit):\n    return {(unit, 'batches'): [1]}\n")
    code, shown = verdict(folder, "--runs", "3", "--kills", "0")
    assert code == 1
    first = shown["runs"][2]["first"][0]
    assert (first["where"], first["record"]) == ("folded", "('a.txt', 'batches')")


def test_state_kept_between_calls_is_caught_on_more_workers(folder: Path) -> None:
    write(folder, imports="SEEN = set()",
          check="def check(row):\n    if row[0] in SEEN:\n        raise Reject('twice')\n    SEEN.add(row[0])\n"
                "    return row\n")
    code, shown = verdict(folder, "--runs", "5", "--kills", "0", "--set", "flow.batch_bytes=500")
    assert code == 1
    assert "spread" in kinds(shown) and "repeated" not in kinds(shown)
    assert {"dead letters", "counts", "sink store"} & {each["where"] for run in shown["runs"] for each in run["first"]}


def test_a_sink_that_is_no_key_value_store_is_compared_record_by_record(folder: Path) -> None:
    (folder / "rows.py").write_text(
        "from typing import ClassVar\nfrom thresher.sinks import SinkOptions\n\n"
        "class Rows(SinkOptions, frozen=True):\n    ordered: ClassVar[bool] = False\n"
        "    guarantee: ClassVar[str] = 'none'\n    def pack(self, items):\n        return b''.join(items)\n"
        "    def open(self, name, state):\n        raise RuntimeError('verify opened a real sink')\n"
        "    def describe(self):\n        return 'rows'\n")
    write(folder, imports="import random\nfrom rows import Rows", sink="Rows()",
          encode="def encode(row):\n    return b'%d' % (row[1] if row[1] != 1234 else random.randint(10**6, 10**9))\n")
    code, shown = verdict(folder, "--runs", "2", "--kills", "0")
    assert code == 1
    assert [(each["where"], each["expected"], each["got"]) for each in shown["runs"][1]["first"]] == [
        ("sink store", "1 time", "nothing"), ("sink store", "nothing", "1 time")]
    assert "not deterministic" in shown["hints"][0]


def test_a_sink_is_never_opened_and_still_says_what_it_cannot_pack(folder: Path) -> None:
    write(folder, sink="Memcached(server='127.0.0.1:1')",
          encode="def encode(row):\n    return row[0] if row[1] % 10 else b'two words', b'1'\n")
    code, shown = verdict(folder, "--runs", "2", "--kills", "1")
    assert (code, shown["same"]) == (0, True), shown


def test_a_run_that_cannot_come_to_its_end_gives_no_verdict_and_says_why(folder: Path) -> None:
    write(folder, imports="import os",  # a record that takes the supervisor along: nothing can isolate it
          check="def check(row):\n    if row[1] == 77:\n        os.kill(os.getppid(), 9)\n    return row\n")
    done = verify(folder, "--runs", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "run 1 (reference) did not finish: it ended by signal SIGKILL: it said nothing" in done.stdout
    assert done.stdout.splitlines()[-1] == "no verdict: without a reference there is nothing to compare with"


@pytest.mark.parametrize(("words", "code", "text"), [
    (("missing*.txt",), 78, "nothing to verify with: no input in files missing*.txt"),
    (("--set", "parser.wrokers=2"), 78, "unknown key 'parser.wrokers'"),
    (("--runs", "1"), 2, "expected a number of 2 or more, got '1'"),
    (("--kills", "-1"), 2, "expected a number of 0 or more, got '-1'"),
])
def test_mistakes_are_named_without_a_traceback(folder: Path, words: tuple[str, ...], code: int, text: str) -> None:
    write(folder)
    done = verify(folder, *words)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_that_may_not_give_its_input_twice_is_refused(folder: Path) -> None:
    (folder / "tap.py").write_text(
        "from typing import ClassVar\nfrom thresher.sources import SourceOptions\n\n"
        "class Tap(SourceOptions, frozen=True):\n    guarantee: ClassVar[str] = 'none'\n"
        "    def open(self, ledger, batch_bytes):\n        raise RuntimeError\n"
        "    def describe(self):\n        return 'a tap'\n")
    write(folder)
    done = verify(folder, "--set", "source.type=tap:Tap")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        "source: verify reads its sample again and again, and a tap may not have it twice: expected files; "
        "set source.type=files and give the sample as FILES\n")


def test_of_a_directory_the_files_that_are_there_are_the_sample(folder: Path) -> None:
    write(folder)
    (folder / "in").mkdir()
    words = ("--set", "source.type=directory", "--set", "source.paths=['in/*.txt']", "--runs", "2")
    done = verify(folder, *words)
    assert (done.returncode, done.stderr) == (78, "nothing to verify with: no input in paths in/*.txt, followed\n")
    (folder / "in" / "a.txt").write_bytes((folder / "a.txt").read_bytes())
    done = verify(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same: " in done.stdout


def test_when_verify_is_killed_no_process_of_its_runs_is_left(folder: Path) -> None:
    write(folder, imports="import time",
          check="def check(row):\n    time.sleep(0.05)\n    return row\n")
    (folder / "scratch").mkdir()
    process = subprocess.Popen(
        command("--runs", "2"), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "scratch")})
    try:
        pids = _pids_below(process.pid, at_least=4)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + WATCHDOG_S
    while living(pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert living(pids) == []


def test_ctrl_c_ends_the_run_that_is_going_on_and_leaves_no_files(folder: Path) -> None:
    write(folder, imports="import time", check="def check(row):\n    time.sleep(0.05)\n    return row\n")
    (folder / "scratch").mkdir()
    process = subprocess.Popen(
        command("--runs", "2"), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "scratch")})
    try:
        pids = _pids_below(process.pid, at_least=4)
        process.send_signal(signal.SIGINT)
        assert process.wait(WATCHDOG_S) == 3
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    deadline = time.monotonic() + WATCHDOG_S
    while living(pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert living(pids) == []
    assert list((folder / "scratch").iterdir()) == []


def _pids_below(root: int, at_least: int) -> list[int]:
    """Wait until a process has so many descendants; return them."""
    deadline = time.monotonic() + WATCHDOG_S
    while time.monotonic() < deadline:
        found, todo = [], [root]
        while todo:
            below = _children(todo.pop())
            found += below
            todo += below
        if len(found) >= at_least:
            return found
        time.sleep(0.01)
    raise AssertionError(f"fewer than {at_least} processes")


def _children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def test_the_runs_of_a_verification_have_no_monitor(folder: Path) -> None:
    manifest = load("tests.pipelines.treacherous", sets=["monitor.enabled=true"], state=str(folder)).manifest
    assert manifest.monitor.enabled
    assert not manifest_of(manifest, reference_of(manifest), folder).monitor.enabled
