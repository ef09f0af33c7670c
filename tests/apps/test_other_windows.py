"""A state directory goes on with the windows that it was made with, and with no others beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.loads import ROOT, WATCHDOG_S

HOUR_MS = 3_600_000


def connections(folder: Path, *sets: str) -> subprocess.CompletedProcess[str]:
    """Run the application on what is in the folder."""
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "connections", "log.txt", "--once", "--state", "state", "--set",
         "options.into_host=b", "--set", "options.from_host=a", *(word for one in sets for word in ("--set", one))],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=WATCHDOG_S,
        check=False)


def lines(first: int, last: int) -> str:
    return "".join(f"{at} a b\n" for at in range(first * 3600, last * 3600, 360))


def test_a_run_with_other_windows_ends_with_78_and_the_next_with_the_old_ones_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(lines(1, 3))
    done = connections(tmp_path, "window.start=clock")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (tmp_path / "state/hours.jsonl").read_text()
    with log.open("a") as file:
        file.write(lines(10, 12))
    refused = connections(tmp_path, "window.start=clock", "window.size_s=1800")
    assert refused.returncode == 78, refused.stdout + refused.stderr
    assert ("state made with window.size_s = 3600, now window.size_s = 1800: set it back, or begin anew with --fresh "
            "or another --state") in refused.stdout + refused.stderr
    assert (tmp_path / "state/hours.jsonl").read_text() == rows
    again = connections(tmp_path, "window.start=clock", "window.disorder_s=1", "window.lateness_s=1")
    assert again.returncode == 0, again.stdout + again.stderr
    found = [json.loads(row) for row in (tmp_path / "state/hours.jsonl").read_text().splitlines()]
    assert [(row["start"] // HOUR_MS, row["end"] - row["start"]) for row in found] == [
        (hour, HOUR_MS) for hour in (1, 2, 10, 11)]
