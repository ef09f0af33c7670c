"""No actor of one version takes part in a run of another: it says so, and the run can be resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors import __version__
from actors.console.command import state_of
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import load_manifest
from actors.runtime.rundir import BOARD, MANIFEST, RunDirectory, path_for
from scripts.make_logs import write_logs
from tests.loads import ROOT, WATCHDOG_S, Load
from tests.looks import manifest


def change_version(path: Path, version: str | None) -> None:
    """Make a manifest one of another version, or of one that did not say."""
    content = json.loads(path.read_bytes())
    assert content["version"] == __version__
    del content["version"]
    path.write_text(json.dumps(content if version is None else {**content, "version": version, "unheard_of": [1]}))


@pytest.mark.parametrize(("version", "shown"), [("9.9.9", "9.9.9"), (None, "of an unknown version")])
def test_a_manifest_of_another_version_is_refused_in_a_sentence(
    tmp_path: Path, version: str | None, shown: str
) -> None:
    path = tmp_path / MANIFEST
    manifest().save(path)
    assert load_manifest(path) == manifest()
    change_version(path, version)
    with pytest.raises(ConfigError) as caught:
        load_manifest(path)
    assert str(caught.value) == (f"{path}: the run was started by Thresher {shown}, expected {__version__}: "
                                 "stop the run and start it again: it goes on where it was")


def test_an_actor_of_another_version_ends_with_78_and_a_sentence(tmp_path: Path) -> None:
    manifest().save(tmp_path / MANIFEST)
    change_version(tmp_path / MANIFEST, "9.9.9")
    done = subprocess.run(
        [sys.executable, "-m", "actors", "parser.1", "--generation", "1", "--run", str(tmp_path), "--parent",
         str(os.getpid())], cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 78
    assert done.stderr.splitlines() == [
        f"parser.1: {tmp_path / MANIFEST}: the run was started by Thresher 9.9.9, expected {__version__}: "
        "stop the run and start it again: it goes on where it was"]


def test_a_run_whose_actor_comes_back_as_another_version_ends_with_78_and_can_be_resumed(tmp_path: Path) -> None:
    write_logs(tmp_path / "logs", records=60_000)
    pattern, state = f"{tmp_path}/logs/*.tsv.gz", tmp_path / "state"
    with Load(pattern, state, "flow.batch_bytes=32768") as running:
        running.until(lambda views: views["writer.idfa"].batches >= 3, "some batches")
        change_version(path_for(state) / MANIFEST, "9.9.9")
        os.kill(running.views()["parser.1"].pid, signal.SIGKILL)
        assert running.wait() == 78, running.output()
    assert f"the run was started by Thresher 9.9.9, expected {__version__}" in running.output()
    assert "Traceback" not in running.output()
    with Load(pattern, state) as resumed:
        assert resumed.wait() == 0, resumed.output()
    assert resumed.of("report")[0]["read"] == 60_000


def test_a_run_of_another_version_is_still_one_that_is_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "r"))
    directory = RunDirectory(tmp_path / "state")
    path = directory.path / MANIFEST
    path.write_text(json.dumps({"state": str(tmp_path / "state"), "version": "9.9.9", "unheard_of": 1}))
    (directory.path / BOARD).touch()
    assert state_of(directory.path) == tmp_path / "state"
    directory.close()
