"""``scripts/kafka`` starts a node for a person: Ctrl-C ends it, and the next start has what was written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.kafka import JARS, NotThere, answers, find_jars, new_cluster, version
from tests.kafka import WATCHDOG_S, Topics, require_kafka
from tests.loads import ROOT
from tests.monitors import eventually
from tests.servers import free_port

SCRIPT = (sys.executable, str(ROOT / "scripts/kafka.py"))


@contextmanager
def _started(folder: Path, port: int) -> Iterator[None]:
    words = [*SCRIPT, "start", "--folder", str(folder), "--port", str(port), "--controller-port", str(free_port()),
             "--set", "num.partitions=3"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        eventually(lambda: answers(port) or process.poll() is not None, "an answer")
        yield
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=WATCHDOG_S)
        assert process.returncode == 130, said
        assert f"Apache Kafka {version()} on 127.0.0.1:{port}" in said
    finally:
        process.kill()
        process.communicate()


def test_a_node_is_started_by_hand_asked_with_its_tools_and_ended_by_ctrl_c(tmp_path: Path) -> None:
    require_kafka()
    port = free_port()
    with _started(tmp_path / "node", port):
        made = subprocess.run(
            [*SCRIPT, "tool", "TopicCommand", "--bootstrap-server", f"127.0.0.1:{port}", "--create", "--topic", "mine"],
            capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
        assert (made.returncode, made.stdout) == (0, "Created topic mine.\n"), made.stderr
        Topics(f"127.0.0.1:{port}").send("mine", [{"value": b"1", "partition": 2}])
    with _started(tmp_path / "node", port):
        assert [message.value() for message in Topics(f"127.0.0.1:{port}").read("mine")] == [b"1"]


def test_jars_that_are_missing_are_named_with_what_brings_them(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JARS, str(tmp_path / "jars"))
    with pytest.raises(NotThere, match=r"is not in .*/jars \(scripts/kafka fetch\)"):
        find_jars()
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        require_kafka()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        require_kafka()


def test_without_maven_the_script_says_so_and_makes_no_folder(tmp_path: Path) -> None:
    done = subprocess.run([*SCRIPT, "fetch"], env={**os.environ, "PATH": "", JARS: str(tmp_path / "jars")},
                          capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Maven is not installed (apt-get install maven)\n"
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(f'#!{sys.executable}\nimport sys, pathlib\n'
                     'pathlib.Path(next(w for w in sys.argv if "outputDirectory" in w).split("=")[1]).mkdir()\n')
    maven.chmod(0o755)
    precious = tmp_path / "jars" / "precious"
    precious.parent.mkdir()
    precious.write_text("mine")
    done = subprocess.run([*SCRIPT, "fetch"], env={**os.environ, "PATH": str(maven.parent), JARS: str(precious.parent)},
                          capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 1
    assert f"{precious.parent} is not empty, and has not Apache Kafka" in done.stderr
    assert precious.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "jars"]


def test_a_java_that_is_too_old_is_named(tmp_path: Path) -> None:
    require_kafka()
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'java.lang.UnsupportedClassVersionError: kafka' >&2\nexit 1\n")
    java.chmod(0o755)
    done = subprocess.run([*SCRIPT, "start", "--folder", str(tmp_path / "node")], text=True, capture_output=True,
                          env={**os.environ, "JAVA_HOME": str(tmp_path)}, timeout=WATCHDOG_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Java 17 or newer is needed, {java} is older (JAVA_HOME names another)\n"


def test_no_name_of_a_cluster_looks_like_an_option() -> None:
    assert not [name for name in (new_cluster() for _ in range(2000)) if name.startswith("-") or len(name) != 22]
