"""The commands of docs/deploy, given to real runs of the configurations that lie there, with other paths."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment import DEPLOY, INSTALLED, PROBES, configuration, one, unit
from tests.loads import DEVICE_TYPES, ROOT, Running
from tests.servers import Memcached, free_port
from tests.services import ServiceManager

LINE = b"%s\tx\t1.0\t2.0\t1,2\n"


def _command(words: list[str], places: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of ``thresher`` as it is written, with other places."""
    return subprocess.run([sys.executable, "-m", "actors.cli", *(places.get(word, word) for word in words[1:])],
                          cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def _logs(tmp_path: Path, suffix: str = ".tsv") -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / f"a{suffix}").write_bytes(b"".join(LINE % name.encode() for name in DEVICE_TYPES))
    return folder


def _all_there(servers: dict[str, Memcached]) -> bool:
    return all(server.items() == 1 for server in servers.values())


def test_the_probes_of_the_manifest_answer_for_the_run_of_the_manifest(
    tmp_path: Path, servers: dict[str, Memcached]
) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    config = configuration(tmp_path, one("configmap.yaml", "ConfigMap")["data"]["pipeline.toml"], {
        "/srv/logs": str(_logs(tmp_path)), "/run/secrets/thresher/token": str(tmp_path / "token"),
        **{f"memcached-{name}:11211": servers[name].address for name in DEVICE_TYPES}})
    (container,) = one("statefulset.yaml", "StatefulSet")["spec"]["template"]["spec"]["containers"]
    args = container["args"]
    places = {args[args.index("--state") + 1]: str(tmp_path / "state"), args[1]: str(config)}
    commands = {name: container[name]["exec"]["command"] for name in PROBES}
    assert {name: _command(words, places).returncode for name, words in commands.items()} == dict.fromkeys(commands, 1)
    words = [places.get(word, word) for word in args if word != "--state" and word != "/var/lib/thresher"]
    with Running(tmp_path / "state", *words, "--set", f"monitor.port={free_port()}") as running:
        running.until(lambda _: _all_there(servers), "an item in each server")
        done = _command([*commands["readinessProbe"], "--timeout", "60"], places)
        assert (done.returncode, done.stdout) == (0, "ready: yes\n")
        assert {name: _command(words, places).returncode for name, words in commands.items()} == dict.fromkeys(
            commands, 0)
        servers["idfa"].stop()
        (tmp_path / "logs" / "b.tsv").write_bytes(LINE % b"idfa")
        running.until(lambda views: bool(views["writer.idfa"].note), "an outage")
        assert {name: _command(words, places).returncode for name, words in commands.items()} == {
            "startupProbe": 0, "livenessProbe": 0, "readinessProbe": 1}
        servers["idfa"].start()
        assert _command([*commands["readinessProbe"], "--timeout", "60"], places).returncode == 0
        running.process.terminate()
        assert running.wait() == 0


def test_the_load_of_the_job_comes_to_its_end(tmp_path: Path, servers: dict[str, Memcached]) -> None:
    config = configuration(tmp_path, one("job.yaml", "ConfigMap")["data"]["pipeline.toml"], {
        "/srv/logs/*.tsv.gz": f"{_logs(tmp_path)}/*.tsv",
        **{f"memcached-{name}:11211": servers[name].address for name in DEVICE_TYPES}})
    with Running(tmp_path / "state", "run", str(config), "--format", "json") as running:
        assert running.wait() == 0, running.output()
    assert _all_there(servers)


def test_the_unit_starts_reloads_and_stops_a_run(
    tmp_path: Path, servers: dict[str, Memcached], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = unit("thresher.service")
    config = configuration(tmp_path, (DEPLOY / "pipeline.toml").read_text(), {
        "/srv/logs": str(_logs(tmp_path)),
        **{f"127.0.0.1:{port}": servers[name].address for port, name in enumerate(DEVICE_TYPES, 33013)}})
    (tmp_path / "monitor_token").write_text("0123456789abcdef")
    for said in options["Environment"]:
        name, _, value = said.partition("=")
        if name.startswith("THRESHER_"):
            monkeypatch.setenv(name, value.replace("%d", str(tmp_path)))
    monkeypatch.setenv("THRESHER_MONITOR__PORT", str(free_port()))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", f"{float(options['WatchdogSec'][0]) * 1e6:.0f}")
    places = {"${STATE_DIRECTORY}": str(tmp_path / "state"), "/etc/thresher/pipeline.toml": str(config)}
    start, reload = (shlex.split(options[name][0]) for name in ("ExecStart", "ExecReload"))
    assert start[0] == reload[0] == INSTALLED
    words = [places.get(word, word) for word in start[1:] if word not in ("--state", "${STATE_DIRECTORY}")]
    with ServiceManager(os.environ["NOTIFY_SOCKET"]) as manager, Running(tmp_path / "state", *words) as running:
        manager.until(lambda notices: any("READY" in notice.fields for notice in notices), "READY")
        assert _command(reload, places).stdout == "nothing has changed\n"
        config.write_text("app = 3\n")
        done = _command(reload, places)
        assert done.returncode == 1
        assert done.stderr.startswith("nothing is changed: ")
        running.until(lambda _: _all_there(servers), "an item in each server")
        running.process.terminate()
        assert running.wait() == 0
        assert [key for notice in manager.notices for key in notice.fields if key in ("READY", "RELOADING", "STOPPING")
                ] == ["READY", "RELOADING", "READY", "RELOADING", "READY", "STOPPING"]
