"""The log that users try ``connections`` with: what it appends is in it, or in what was rotated away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT, WATCHDOG_S


@pytest.mark.parametrize("how", ["rename", "copytruncate"])
def test_all_lines_are_in_the_log_and_in_what_was_rotated_away(tmp_path: Path, how: str) -> None:
    log = tmp_path / "logs" / "access.log"
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/grow_log.py"), str(log), "--rate", "100000", "--lines", "2500",
         "--rotate-lines", "1000", "--rotate", how], capture_output=True, text=True, timeout=WATCHDOG_S, check=True)
    assert done.stdout == f"{log}: 2,500 lines appended\n"
    assert sorted(path.name for path in log.parent.iterdir()) == ["access.log", "access.log.1", "access.log.2"]
    rows = [line.split() for path in log.parent.iterdir() for line in path.read_text().splitlines()]
    assert len(rows) == 2500
    assert all(len(row) == 3 and row[0].isdigit() for row in rows)
