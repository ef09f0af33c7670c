"""The command line as a person meets it: real processes, and the exact words of its errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.targets import applications
from tests.loads import ROOT


def thresher(*words: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", *words], cwd=cwd, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ})


def _config(folder: Path, text: str) -> Path:
    path = folder / "bad.toml"
    path.write_text(text)
    return path


def test_lint_of_a_misspelt_key_says_file_line_key_and_what_is_valid(tmp_path: Path) -> None:
    path = _config(tmp_path, 'app = "appsinstalled"\n\n[parser]\nwrokers = 4\n')
    done = thresher("lint", str(path))
    assert done.returncode == 78
    assert done.stderr == (
        f"{path}:4: unknown key 'parser.wrokers'\n"
        "  valid keys in [parser]: fused, max_age_s, max_rss_bytes, workers\n"
        "  did you mean 'workers'?\n")


@pytest.mark.parametrize(("text", "message"), [
    ("[parser]\nworkers = 0", ":3: parser.workers: expected int >= 1, got 0"),
    ("[parser]\nworkers = \"two\"", ":3: parser.workers: expected int, got 'two'"),
    ("[parsers]\nworkers = 2",
     ":3: unknown key 'parsers'\n  valid sections: aggregator, app, budget, checker, "
     "dead_letters, flow, links, monitor, options, parser, restart, run, sinks, source, state, tracing, watch, window\n"
     "  did you mean 'parser'?"),
    ("[sinks.iphone]\ntype = \"lmdb\"",
     ":3: unknown key 'sinks.iphone'\n  sinks of appsinstalled: adid, dvid, gaid, idfa"),
    ("[sinks.idfa]\ntype = \"memcache\"", ":3: sinks.idfa.type: expected csv, discard, jsonl, kafka, lines, lmdb, "
     "memcached, parquet, rabbitmq, redis, sql, stdout, topic or module:class, got 'memcache'"),
    ("[sinks.idfa]\ntype = \"memcached\"", ":3: sinks.idfa.server: expected a value, got nothing"),
    ("[source]\npatern = \"x\"", ":3: unknown key 'source.patern'\n  valid keys in [source]: again, damaged, "
     "delimiter, framing, header, length, length_counts, max_line_bytes, max_record_bytes, paths, pattern, quote, "
     "record_start, rename\n  did you mean 'pattern'?"),
    ("[options]\ngeo_check = 1", ":3: options.geo_check: expected bool, got 1"),
    ("[budget]\nmax_error_rate = 2", ":3: budget.max_error_rate: expected float <= 1.0, got 2"),
    ("x = ", "not TOML: Invalid value (at line 2, column 5)"),
])
def test_each_mistake_in_a_file_is_named_with_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    path = _config(tmp_path, f'app = "appsinstalled"\n{text}\n')
    done = thresher("run", str(path))
    assert done.returncode == 78
    assert message in done.stderr
    assert done.stderr.startswith(str(path))
    assert "Traceback" not in done.stderr


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    path = _config(tmp_path, 'app = "appsinstalled"\n[parser]\nworkers = 0\n[flow]\nbatch_byte = 1\n')
    done = thresher("lint", str(path), "--set", "run.drain_s=-1")
    assert done.returncode == 78
    for part in ("parser.workers", "flow.batch_byte'", "--set run.drain_s: run.drain_s"):
        assert part in done.stderr


def test_mistakes_in_the_environment_and_in_set_say_where_they_were_made() -> None:
    assert "environment THRESHER_PARSER__WORKERS: parser.workers: expected int >= 1, got 0" in thresher(
        "lint", "appsinstalled", THRESHER_PARSER__WORKERS="0").stderr
    assert "--set parser.worker: unknown key 'parser.worker'" in thresher(
        "lint", "appsinstalled", "--set", "parser.worker=3").stderr
    assert "--set nonsense: expected KEY=VALUE" in thresher("lint", "appsinstalled", "--set", "nonsense").stderr


def test_set_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    path = _config(tmp_path, 'app = "appsinstalled"\n[parser]\nworkers = 3\n[flow]\ncredit = 7\n')
    done = thresher("echo", str(path), "--set", "parser.workers=5", "--json",
                    THRESHER_PARSER__WORKERS="4", THRESHER_FLOW__WINDOW_BATCHES="9")
    shown = json.loads(done.stdout)
    assert (shown["parser"]["workers"], shown["parser"]["fused"]) == (5, True)
    assert (shown["flow"]["window_batches"], shown["flow"]["credit"]) == (9, 7)
    assert shown["sinks"]["idfa"]["type"] == "lmdb"


def test_secrets_are_shown_as_references_and_a_missing_one_is_named() -> None:
    word = "sinks.idfa.path=${env:STORE}"
    echoed = thresher("echo", "appsinstalled", "--set", word, "--json", STORE="secret").stdout
    assert '"path": "${env:STORE}"' in echoed
    assert "sinks.idfa.path: ${env:STORE}: STORE is not set" in thresher("lint", "appsinstalled", "--set", word).stderr


def test_what_is_no_target_lists_the_applications() -> None:
    done = thresher("run", "appinstalled")
    assert done.returncode == 78
    assert ("no application and no module is called 'appinstalled'\n"
            f"  applications: {', '.join(applications())}\n") in done.stderr


def test_usage_errors_end_with_two() -> None:
    assert thresher("fly").returncode == 2
    assert thresher("run").returncode == 2


def test_lint_of_what_ships_is_clean() -> None:
    shipped = [*applications(), *map(str, sorted((ROOT / "config").glob("*.toml")))]
    done = thresher("lint", *shipped)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": ok\n") == len(shipped)


def test_explain_says_what_each_path_promises() -> None:
    text = thresher("explain", "config/appsinstalled-memcached.toml").stdout
    assert "writes  idfa: memcached 127.0.0.1:33013, in source order\n        idempotent by key: effectively" in text
    assert "keyed by position: exactly once" in text
    assert "writer.dead_letters, writer.idfa" in text


def test_status_of_nothing_says_so(tmp_path: Path) -> None:
    done = thresher("status", "appsinstalled", "--state", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"nothing is running in {tmp_path}, and nothing has run there yet\n")


@pytest.mark.parametrize("verb", ["lint", "explain", "echo", "run"])
def test_what_would_die_later_is_refused_by_every_verb_that_reads_the_configuration(tmp_path: Path, verb: str) -> None:
    path = _config(tmp_path, 'app = "appsinstalled"\n[sinks.idfa]\ntype = "memcached"\nserver = "nonsense"\n')
    done = thresher(verb, str(path))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (f"{path}:4: sinks.idfa.server: expected host:port, [ipv6]:port or unix:/path, "
                           "got 'nonsense'\n")


def test_report_says_with_its_exit_code_how_the_last_run_ended(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    assert thresher("report", "appsinstalled", "--state", state).returncode == 1
    (tmp_path / "in.tsv").write_text("idfa\tabc\t1.0\t2.0\t1,2\nbad\n")
    ran = thresher("run", "appsinstalled", str(tmp_path / "in.tsv"), "--state", state)
    again = thresher("report", "appsinstalled", "--state", state, "--json")
    assert (ran.returncode, again.returncode) == (4, 4)
    assert json.loads(again.stdout) == json.loads(ran.stdout.splitlines()[-1])
    ended, report = map(json.loads, ran.stdout.splitlines()[-2:])
    assert (ended["event"], ended["code"], ended["reason"]) == ("ended", 4, report["reason"])
    shown = thresher("status", "appsinstalled", "--state", state).stdout.splitlines()
    assert shown[0] == f"nothing is running in {state}"
    assert "ended with exit code 4" in shown[1]


def test_the_supervisor_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "supervisor.py", "--version"], cwd=ROOT, capture_output=True, text=True,
                          timeout=240, check=False)
    assert done.stdout == thresher("--version").stdout


def test_a_pipeline_of_ones_own_in_the_current_folder_runs(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(
        "from actors.runtime.errors import Reject\n"
        "from actors.runtime.pipeline import Pipeline\n"
        "from actors.sinks.dead_letters import DeadLetters\n"
        "from actors.sinks.lmdb import Lmdb, read_lmdb\n"
        "from actors.sources.files import Files\n\n"
        "def parse(line):\n"
        "    word, _, number = line.partition(b' ')\n"
        "    if not number.isdigit():\n"
        "        raise Reject('number', repr(number))\n"
        "    if number == b'13':\n"
        "        raise RuntimeError('a bug')\n"
        "    return word, number\n\n"
        "PIPELINE = Pipeline(name='words', source=Files(rename='none'), parse=parse, route=lambda word: 'words',\n"
        "                    encode=lambda word: word, sinks={'words': Lmdb()}, dead_letters=DeadLetters())\n")
    (tmp_path / "in.txt").write_text("one 1\ntwo 2\nthree x\nfour 13\none 11\n")
    done = thresher("run", "words", "in.txt", "--set", "budget.max_error_rate=1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["units"][0]["rejected"] == {"number": 1, "parse_error": 1}
    shown = subprocess.run(
        [sys.executable, "-c", "from words import *; from pathlib import Path; "
         "print(sorted(read_lmdb(Path('var/words/words.lmdb'))))"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert shown.stdout == "[(b'one', b'11'), (b'two', b'2')]\n", shown.stderr


@pytest.mark.parametrize(("words", "said"), [
    (["runn", "appsinstalled"], "unknown verb 'runn'\n  did you mean 'run'?\n  verbs: init, "),
    (["run", "appsinstalled", "--monitr"], "unknown flag --monitr\n  flags of appsinstalled: "),
    (["run", "appsinstalled", "--monitr"], "\n  did you mean '--monitor'?\n")])
def test_a_slip_in_a_word_is_told_with_what_may_have_been_meant(words: list[str], said: str) -> None:
    done = thresher(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_one_value_where_a_list_is_expected_shows_how_a_list_is_written() -> None:
    done = thresher("lint", "appsinstalled", "--set", "source.type=directory", "--set", "source.paths=logs")
    assert (done.returncode, done.stderr) == (
        78, "--set source.paths: source.paths: expected a list, e.g. [\"a\", \"b\"], got 'logs'\n")


def test_sigterm_while_an_application_is_imported_ends_its_run_as_one_that_has_work_left(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "imported")
    (tmp_path / "slow_to_import.py").write_text(
        f"import signal\nopen({str(tmp_path / 'imported')!r}, 'w').close()\nsignal.pause()\n")
    with subprocess.Popen(
            [sys.executable, "-m", "actors.cli", "run", "slow_to_import", "--state", str(tmp_path / "state")],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True) as started:
        (tmp_path / "imported").read_text()  # ends when it is there
        started.terminate()
        out, err = started.communicate(timeout=120)
    assert (started.returncode, out) == (3, "")
    assert json.loads(err)["reason"] == "stopped by SIGTERM before the run had begun"


@pytest.mark.parametrize(("kind", "topics", "problem"), [
    ("topic", "[]", "topics is empty"), ("kafka", "[]", "topics is empty"), ("rabbitmq", "[]", "topics is empty"),
    ("topic", '["topic://host/words"]', "a topic lies on this machine's disk"),
    ("kafka", '["kafka://127.0.0.1:9092/"]', "source.topics"),
    ("rabbitmq", '["amqp://127.0.0.1:5672/"]', "source.topics")])
@pytest.mark.parametrize("verb", ["lint", "run"])
def test_addresses_that_are_none_are_found_before_anything_starts(
    tmp_path: Path, verb: str, kind: str, topics: str, problem: str,
) -> None:
    state = ["--state", str(tmp_path / "state")] if verb == "run" else []
    done = thresher(verb, "appsinstalled", *state, "--set", f"source.type={kind}", "--set", f"source.topics={topics}")
    assert done.returncode == 78, done.stdout + done.stderr
    assert problem in done.stderr and "STARTING" not in done.stderr and not (tmp_path / "state").exists()


TOO_LARGE = "99999999999999999999999"


@pytest.mark.parametrize("words", [
    ("show", "appsinstalled", TOO_LARGE), ("ls", "appsinstalled", "--limit", "9223372036854775808"),
    ("ls", "appsinstalled", "--id", TOO_LARGE), ("export", "appsinstalled", "--up-to", TOO_LARGE),
    ("purge", "appsinstalled", "--limit", "9" * 5000),
])
def test_a_number_that_no_database_has_is_refused_in_the_words_of_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = thresher("dlq", *words, "--state", str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "expected a number of 9223372036854775807 or less" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("setting", [
    "flow.rate_hz=1e-300", "flow.rate_hz=1e300", f"flow.max_records={TOO_LARGE}", f"flow.batch_bytes={TOO_LARGE}",
    f"dead_letters.max_bytes={TOO_LARGE}",
])
def test_a_setting_that_no_machine_can_count_is_refused(setting: str) -> None:
    done = thresher("lint", "appsinstalled", "--set", setting)
    assert done.returncode == 78, done.stdout + done.stderr
    assert setting.partition("=")[0].rpartition(".")[2] in done.stderr
