"""thresher doctor: a report of what this machine has, with nothing of a user's in it, and a run that is tried."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from actors.console import doctor, surroundings
from actors.console.doctor import Report
from tests.loads import ROOT


def cli(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", "doctor", *words], cwd=ROOT, capture_output=True,
                          text=True, timeout=120, check=False, env={**os.environ, **environment})


def test_a_machine_that_can_run_pipelines_passes_and_no_value_of_the_environment_is_told() -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "thresher" / "leftover").mkdir(parents=True)
        done = cli("--json", XDG_RUNTIME_DIR=place, THRESHER_PARSER__WORKERS="no number", SECRET="verysecret")
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert [path.name for path in (Path(place) / "thresher").iterdir()] == ["leftover"]
    assert report["problems"] == []
    assert report["self test"]["a run"].startswith("1000 records in ")
    assert report["runs"]["left by killed runs"] == "leftover: they can be removed"
    assert report["runs"]["going on"] == "none"
    assert report["kernel and sockets"]["pidfd"] == "yes"
    assert report["packages"]["msgspec"] != "missing"
    assert "verysecret" not in done.stdout
    assert "no number" not in done.stdout


def test_what_would_keep_runs_from_working_is_said_with_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20, 20))
    monkeypatch.setattr(doctor, "_version_of", lambda name: "" if name in ("msgspec", "numpy") else "1.0")
    report = Report()
    doctor._limits(report)
    doctor._packages(report)
    files, processes, package = report.problems
    assert re.search(r"20 open files here, .* needs up to \d+: raise the limit \(`ulimit -n \d+`\)", files)
    assert processes == "a user may have 20 processes and threads: `ulimit -u 200` or more"
    assert package == "msgspec is not installed: pip install msgspec"
    assert report.sections["extras"]["numbers"] == "numpy missing"
    assert "problem: msgspec is not installed" in doctor.render(report)


def test_a_self_test_that_cannot_work_says_what_the_run_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        (Path(place) / "thresher").touch()  # where a directory should be
        problem = doctor.run_selftest()
        assert problem.startswith(f"a run ended with exit code 78: {place}/thresher: expected a directory")
        assert surroundings.run_directory_problem().startswith(f"{place}/thresher: expected a directory: remove it")


def test_the_limits_of_all_cgroups_above_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path("/proc/self/cgroup").read_text().splitlines()
    if not any(line.startswith("0::") for line in own):
        pytest.skip("no cgroups of version 2")
    monkeypatch.setattr(surroundings, "_CGROUPS", tmp_path)
    assert (surroundings.cgroup_cores(), surroundings.cgroup_memory()) == (0.0, 0)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    assert (surroundings.cgroup_cores(), surroundings.cgroup_memory()) == (1.5, 1_000_000)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert surroundings.cgroup_cores() == 0.0


@pytest.mark.parametrize(("count", "text"), [(5, "5 bytes"), (1500, "1.5 KB"), (25_000_000, "25 MB"), (3e12, "3.0 TB")])
def test_sizes_are_told_in_units_of_people(count: float, text: str) -> None:
    assert surroundings.size(count) == text
