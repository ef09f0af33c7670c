"""``thresher init``: what it makes runs, passes its test and is verified at once; what is there is not replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.console import init
from tests.apps.test_cli import thresher
from tests.loads import ROOT

_MADE = ["README.md", "data/web.log", "test_web.py", "web.py", "web.toml"]


def _made(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=folder, capture_output=True, text=True,
        timeout=240, check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"})


def test_what_is_made_runs_passes_its_test_and_is_verified(tmp_path: Path) -> None:
    done = thresher("init", "web", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-4:] == ["next:", "  cd web", "  thresher run web.toml", "  python -m pytest"]
    folder = tmp_path / "web"
    assert _made(folder) == _MADE
    assert len((folder / "README.md").read_text().splitlines()) == 5

    ran = thresher("run", "web.toml", "--format", "text", cwd=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "read 200 records" in ran.stdout and "170 written, 25 filtered, 5 dead-lettered" in ran.stdout
    assert "rejected: bytes 3, form 1, status 1" in ran.stdout
    requests = [json.loads(line) for line in (folder / "var/web/requests.jsonl").read_text().splitlines()]
    assert len(requests) == 163 and requests[0]["page"] == "/cart"

    again = thresher("run", "web.toml", "--format", "text", cwd=folder)
    assert again.returncode == 0
    assert "nothing to do: no new input in paths data/*.log" in again.stdout

    tested = _pytest(folder)
    assert tested.returncode == 0 and "3 passed" in tested.stdout, tested.stdout
    verified = thresher("verify", "web.toml", "--runs", "3", cwd=folder)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "the same: 200 records" in verified.stdout


def test_what_is_made_is_clean_python(tmp_path: Path) -> None:
    assert thresher("init", "web", cwd=tmp_path).returncode == 0
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", str(ROOT / "ruff.toml"), "web"], cwd=tmp_path,
        capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_names_follow_the_name(tmp_path: Path) -> None:
    assert thresher("init", "sensor_lines", "--dir", "some where", cwd=tmp_path).returncode == 0
    folder = tmp_path / "some where" / "sensor_lines"
    assert _made(folder) == sorted(name.replace("web", "sensor_lines") for name in _MADE)
    for path in _made(folder):
        assert "{{" not in (folder / path).read_text()
    assert thresher("lint", "sensor_lines.toml", cwd=folder).returncode == 0


def test_an_existing_folder_is_replaced_only_when_forced_and_other_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    assert thresher("init", "web", cwd=tmp_path).returncode == 0  # it was empty
    (folder / "web.py").write_text("mine")
    (folder / "notes.txt").write_text("mine too")
    refused = thresher("init", "web", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "init web: web exists already: give another name, or --dir DIR, or --force, which replaces web.py, web.toml, "
        "data/web.log, test_web.py, README.md\n")
    assert (folder / "web.py").read_text() == "mine"
    forced = thresher("init", "web", "--force", cwd=tmp_path)
    assert forced.returncode == 0 and forced.stdout.count("(replaced)") == len(_MADE)
    assert _made(folder) == sorted([*_MADE, "notes.txt"])
    assert "PIPELINE" in (folder / "web.py").read_text()


def test_a_folder_with_other_files_is_not_touched_either(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "notes.txt").write_text("mine")
    refused = thresher("init", "web", cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (
        1, "init web: web exists already: give another name, or --dir DIR, or --force, which leaves what is in it\n")


@pytest.mark.parametrize(("name", "why", "instead"), [
    ("my-logs", "expected a name that Python can import: letters, digits and _, no digit in front", "my_logs"),
    ("2logs", "expected a name that Python can import: letters, digits and _, no digit in front", "my_2logs"),
    ("a/b", "expected a name that Python can import: letters, digits and _, no digit in front", "a_b"),
    ("", "expected a name that Python can import: letters, digits and _, no digit in front", "my_pipeline"),
    ("class", "expected a name that Python can import, got one of its keywords", "my_class"),
    ("json", "expected a new name, got that of a module of Python, its tools, or Thresher", "my_json"),
    ("actors", "expected a new name, got that of a module of Python, its tools, or Thresher", "my_actors"),
    ("connections", "expected a new name, got that of an application that ships with Thresher", "my_connections"),
    ("msgspec", "expected a new name, got that of a module that is installed here", "my_msgspec"),
])
def test_a_name_that_cannot_be_is_refused_with_one_that_can(tmp_path: Path, name: str, why: str, instead: str) -> None:
    done = thresher("init", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"init {name}: {why}\n  did you mean '{instead}'?\n"
    assert init.why_not(instead) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        done = thresher("init", "web", "--dir", place, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("init web: file") and "Traceback" not in done.stderr
    (tmp_path / "web").write_text("")
    assert thresher("init", "web", cwd=tmp_path).stderr == "init web: web is a file: expected a name that is free\n"


def test_from_the_folder_above_the_application_is_found_beside_its_configuration(tmp_path: Path) -> None:
    assert thresher("init", "web", cwd=tmp_path).returncode == 0
    sample, = (tmp_path / "web" / "data").iterdir()
    done = thresher("run", "web/web.toml", str(sample), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "web" / "var" / "web").is_dir()  # run.base, as init writes it
    done = thresher("run", "web", cwd=tmp_path)
    assert done.returncode == 78
    assert "module web has no PIPELINE: it is a folder; if web.py is in it: cd web" in done.stderr


def test_a_misspelt_target_names_the_one_that_may_be_meant(tmp_path: Path) -> None:
    assert thresher("init", "web", cwd=tmp_path).returncode == 0
    for word in ("wep.toml", "web.tml"):
        assert thresher("run", word, cwd=tmp_path / "web").stderr.endswith("did you mean 'web.toml'?\n")
    assert thresher("run", "appinstalled", cwd=tmp_path).stderr.endswith("did you mean 'appsinstalled'?\n")
