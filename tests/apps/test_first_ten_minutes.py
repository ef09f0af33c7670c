"""A newcomer's first ten minutes: a fresh copy, the demo, a pipeline, a mistake, the dashboard, a death."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import chromium, visit
from tests.loads import ROOT
from tests.servers import free_port

#: The environment is made anew, from packages that may have to be fetched.
DEMO_S = 600.0
WATCHDOG_S = 60.0
LINE = '203.0.113.9 - - [12/Mar/2026:07:00:00 +0000] "GET /new HTTP/1.1" 404 12\n'


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy in which the demo has run, as the README says first; its path has a blank."""
    root = _clone(tmp_path_factory.mktemp("a laptop") / "thresher")
    shown = _script(root, "demo")
    if shown.returncode and "pip" in shown.stderr and not os.environ.get("CI"):
        pytest.skip("the environment cannot be made here")  # without the packages' registry there is nothing to try
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "exit code 0 (done)" in shown.stdout
    assert shown.stdout.splitlines()[0].startswith("demo: ") and shown.stdout.splitlines()[0].endswith(f"; in {root}")
    assert re.findall(r"^(\d) of 4: ", shown.stdout, re.MULTILINE) == ["1", "2", "3", "4"]
    assert "making the environment" in shown.stderr
    return root


def test_the_demo_and_the_tests_share_one_environment(checkout: Path) -> None:
    tests = _script(checkout, "test", "-q", "tests/unit/test_budget.py")
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert " passed" in tests.stdout
    shown = _script(checkout, "demo")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "are given again" in shown.stdout
    assert "exit code 0 (done)" in shown.stdout
    assert "making the environment" not in tests.stderr + shown.stderr


def test_the_first_ten_minutes_of_a_newcomer(checkout: Path, tmp_path: Path) -> None:
    thresher = Thresher(checkout / ".venv/bin/thresher")

    assert "thresher run access.toml" in thresher("init", "access", cwd=tmp_path).stdout
    access = tmp_path / "access"
    first = thresher("run", "access.toml", "--format", "text", cwd=access)
    assert "read 200 records" in first.stdout
    assert "exit code 0 (done)" in first.stdout

    _edit(access / "access.py", 'if request["status"] >= 500', 'if request["status"] >= 400')
    before = _lines(access / "var/access/errors.jsonl")
    thresher("run", "access.toml", "--fresh", cwd=access)
    errors = _lines(access / "var/access/errors.jsonl")
    assert errors > before

    _edit(access / "access.toml", "workers = 2", "worker = 2")
    mistake = thresher("run", "access.toml", cwd=access, code=78)
    assert re.match(r"access\.toml:\d+: unknown key 'parser\.worker'\n", mistake.stderr), mistake.stderr
    assert "did you mean 'workers'?" in mistake.stderr
    assert "Traceback" not in mistake.stderr
    _edit(access / "access.toml", "worker = 2", "workers = 2")
    assert "nothing to do" in thresher("run", "access.toml", "--format", "text", cwd=access).stdout

    port = free_port()
    shown = rf"dashboard: http://127\.0\.0\.1:{port}/ with the token in (.+)\n"
    with thresher.going_on("run", "access.toml", "--follow", "--monitor", "--set", f"monitor.port={port}",
                           "--format", "text", cwd=access) as (run, said):
        _until(lambda: re.search(shown, said.read_text()) is not None, said)
        found = re.search(shown, said.read_text())
        assert found is not None
        token = Path(found[1]).read_text()
        with chromium() as browser, visit(browser, f"http://127.0.0.1:{port}/?token={token}") as page:
            expect(page.locator("#ready")).to_have_text("ready")
            expect(page.locator("#read")).to_have_text("200")
            with (access / "data/access.log").open("a") as log:
                log.write(LINE)
            expect(page.locator("#read")).to_have_text("201")
            status = json.loads(thresher("status", "access.toml", "--json", cwd=access).stdout)
            pid = next(actor["pid"] for actor in status["actors"] if actor["actor"] == "parser.1")
            os.kill(pid, signal.SIGKILL)
            expect(page.locator("#happenings li", has_text="died")).to_contain_text("parser.1")
            with (access / "data/access.log").open("a") as log:
                log.write(LINE)
            expect(page.locator("#read")).to_have_text("202")
            expect(page.locator("#ready")).to_have_text("ready")
        run.send_signal(signal.SIGINT)
        assert run.wait(WATCHDOG_S) in (0, 3), said.read_text()
    assert "Traceback" not in said.read_text()
    assert _lines(access / "var/access/errors.jsonl") == errors + 2


class Thresher:
    """The command that the demo has installed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def __call__(self, *words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        done = subprocess.run([self._path, *words], cwd=cwd, env=self._environment, capture_output=True, text=True,
                              timeout=WATCHDOG_S, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    @contextmanager
    def going_on(self, *words: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """Start it; with what it says, in a file."""
        said = cwd / "said.txt"
        with said.open("w") as file:
            run = subprocess.Popen([self._path, *words], cwd=cwd, env=self._environment, stdout=file, stderr=file,
                                   text=True)
        try:
            yield run, said
        finally:
            if run.poll() is None:
                run.kill()
            run.wait()


def _clone(to: Path) -> Path:
    """A copy of what a checkout of this tree has."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True,
                            check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def _script(root: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a copy to its end, from another folder, as from a shell that knows of no test."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHONPATH", "PYTEST"))}
    return subprocess.run([root / "scripts" / name, *words], cwd=root.parent, env=environment, capture_output=True,
                          text=True, timeout=DEMO_S, check=False)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, text
    path.write_text(text.replace(old, new))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _until(condition: Callable[[], bool], said: Path) -> None:
    deadline = time.monotonic() + WATCHDOG_S
    while not condition():
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.02)
