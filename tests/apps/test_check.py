"""thresher check: what a configuration needs of this machine and of its servers, found before anything runs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pymemcache.client.base import Client

from actors.console import check, surroundings
from actors.console.check import Finding
from actors.runtime import open_files
from actors.settings import load
from tests.loads import ROOT
from tests.postgres import Postgres
from tests.redis import Redis
from tests.servers import Memcached, free_port


def findings(target: str, *sets: str, state: Path, offline: bool = False) -> dict[str, Finding]:
    found = check.check(lambda: load(target, sets=sets, state=str(state)), offline)
    return {each.what: each for each in found}


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", "check", *words], cwd=ROOT, capture_output=True,
                          text=True, timeout=240, check=False)


def test_all_is_well_when_files_and_servers_are_there_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("idfa\t1\t1\t1\t1\n")
    with Memcached(megabytes=65, arguments=("-M", "-I", "2m")) as server:
        done = cli("appsinstalled", "--state", str(tmp_path / "state"), "--set", f"source.pattern={tmp_path}/*.tsv",
                   "--set", "sinks.idfa.type=memcached", "--set", f"sinks.idfa.server={server.address}")
    assert done.returncode == 0, done.stdout
    assert "problem" not in done.stdout
    assert f"sinks.idfa     memcached {server.address}\n" in done.stdout
    assert re.search(r"^ +holds 65 MiB, .*; once it is full it takes nothing more, and the run waits .*; an item over "
                     "2 MiB is a dead letter$", done.stdout, re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tsv"]


def test_what_a_server_keeps_of_what_it_answers_is_said_where_nothing_is_wrong(tmp_path: Path) -> None:
    with Redis({"appendfsync": "everysec"}) as server:
        sets = ("sinks.idfa.type=redis", f"sinks.idfa.url={server.url()}", f"source.pattern={__file__}")
        found = findings("appsinstalled", *sets, state=tmp_path)["sinks.idfa"]
        assert (found.verdict, found.code) == ("ok", 0)
        where, kept = found.text.splitlines()
        assert (where, kept.partition(":")[0]) == (f"redis 127.0.0.1:{server.port}/0", "appendfsync everysec")
        assert "the last second or two is lost in a power cut, which is noticed" in kept
        server.stop()
        assert "connection refused: start it, or set sinks.idfa.url" in findings(
            "appsinstalled", *sets, state=tmp_path)["sinks.idfa"].text
    assert list(tmp_path.iterdir()) == []


def test_a_memcached_that_forgets_says_that_it_does_and_how_much_it_has_forgotten(tmp_path: Path) -> None:
    with Memcached(megabytes=64) as server:
        sets = ("sinks.idfa.type=memcached", f"sinks.idfa.server={server.address}", f"source.pattern={__file__}")
        found = findings("appsinstalled", *sets, state=tmp_path)["sinks.idfa"]
        assert "without a word (it has forgotten 0 items since its start)" in found.text
        with closing(Client(server.address, timeout=60)) as client:
            client.set_many({f"{number}": bytes(900_000) for number in range(100)}, noreply=False)
        found = findings("appsinstalled", *sets, state=tmp_path)["sinks.idfa"]
        assert re.search(r"holds 64 MiB, .* \(it has forgotten [1-9]\d+ items since its start\)", found.text)
        assert found.verdict == "ok"


def test_a_server_that_is_down_is_named_with_how_to_mend_it_and_offline_asks_none(tmp_path: Path) -> None:
    sets = ("sinks.idfa.type=memcached", f"sinks.idfa.server=127.0.0.1:{free_port()}", f"source.pattern={__file__}")
    found = findings("appsinstalled", *sets, state=tmp_path)
    assert (found["sinks.idfa"].verdict, found["sinks.idfa"].code) == ("problem", 1)
    assert "connection refused: start it, or set sinks.idfa.server" in found["sinks.idfa"].text
    assert found["source"].verdict == "ok"
    assert findings("appsinstalled", *sets, state=tmp_path, offline=True)["sinks.idfa"].verdict == "skipped"


def test_a_server_that_is_none_of_its_kind_is_noticed(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = findings("appsinstalled", "sinks.idfa.type=memcached", "sinks.idfa.timeout_s=0.2",
                         f"sinks.idfa.server=127.0.0.1:{other.getsockname()[1]}", state=tmp_path)
    assert "timed out: start it" in found["sinks.idfa"].text


def test_a_database_that_is_down_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    where = f"postgresql+psycopg://me:topsecret@127.0.0.1:{free_port()}/none"
    found = findings("tests.pipelines.rower", f"sinks.store.url={where}", state=tmp_path)
    problem = found["sinks.store"]
    assert problem.verdict == "problem"
    assert "topsecret" not in problem.text
    assert "refused" in problem.text


def test_a_database_that_answers_is_well_and_one_that_lets_us_never_in_is_a_wrong_configuration(
    tmp_path: Path, postgres: Postgres
) -> None:
    found = findings("tests.pipelines.rower", f"sinks.store.url={postgres.url()}", state=tmp_path)
    assert found["sinks.store"].verdict == "ok"
    with postgres.connect() as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,), "nothing is made"
    found = findings("tests.pipelines.rower", f"sinks.store.url={postgres.url(password='wr0ng')}", state=tmp_path)
    assert found["sinks.store"].code == 78


def test_input_that_is_not_there_is_a_problem_and_none_at_all_a_wrong_configuration(tmp_path: Path) -> None:
    nothing = findings("appsinstalled", f"source.pattern={tmp_path}/*.gz", state=tmp_path)["source"]
    assert (nothing.verdict, nothing.code) == ("problem", 1)
    assert "no file matches" in nothing.text
    named = findings("appsinstalled", "source.pattern=", f'source.paths=["{tmp_path}/gone"]', state=tmp_path)["source"]
    assert "gone: no such file or directory" in named.text
    assert findings("connections", state=tmp_path)["source"].code == 78
    once = findings("connections", f'source.paths=["{tmp_path}"]', "source.follow=false", state=tmp_path / "s")
    assert "no file is in" in once["source"].text


def test_ports_that_are_taken_are_problems(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = findings("numbers", f"source.port={port}", "monitor.enabled=true", f"monitor.port={port}",
                         state=tmp_path)
    assert "another process listens there" in found["source"].text
    assert f"127.0.0.1:{port}: address already in use: stop who listens there" in found["monitor"].text


def test_what_is_not_installed_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "is_installed", lambda module: module not in ("numpy", "aiohttp"))
    found = findings("numbers", "source.port=0", "monitor.enabled=true", state=tmp_path)["installed"]
    assert found.code == 78  # as the run's
    assert found.text.splitlines() == ["numpy is not installed: pip install 'numpy>=1.26'",
                                       "aiohttp is not installed: "
                                       "pip install 'aiohttp>=3.14.4' 'prometheus-client>=0.20'"]


def test_a_state_directory_that_cannot_be_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = findings("numbers", "source.port=0", state=tmp_path / "file" / "state")["state"]
    assert (found.code, "is no directory: give another with --state DIR" in found.text) == (1, True)
    found = findings("numbers", "source.port=0", state=tmp_path / "not" / "yet")["state"]
    assert found.verdict == "ok"
    assert not (tmp_path / "not").exists()


def test_too_few_descriptors_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (20, 100))
    monkeypatch.setattr("os.listdir", lambda path: ["0", "1", "2", "3"])
    assert open_files.problem(32) == ""  # the soft limit is raised
    assert open_files.problem(33) == ("a process may have 100 open files here, and a run of 33 actors needs up to 102: "
                                      "raise the limit (`ulimit -n 102`), or set fewer workers")


def test_a_wrong_configuration_is_exit_code_78_also_as_json(tmp_path: Path) -> None:
    done = cli("appsinstalled", "--set", "parser.wrkers=2", "--json")
    assert done.returncode == 78
    (only,) = json.loads(done.stdout)
    assert (only["check"], only["result"]) == ("configuration", "problem")
    assert "wrkers" in only["text"]


def test_a_check_of_somebody_elses_sink_that_fails_is_a_finding(tmp_path: Path) -> None:
    def raises() -> list[str]:
        raise RuntimeError("broken")

    found = check._asked("sinks.x", raises, "mine")
    assert (found.verdict, found.text) == ("problem", "mine: its check failed: RuntimeError: broken")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_to_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "may not write" in surroundings.state_problem(tmp_path / "state")
