"""The job of two runs at a time: one publishes to a topic, the other follows it; the power goes for both."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from actors.runtime.ledger import read_units
from actors.runtime.state import read_state
from actors.runtime.units import LEDGER
from actors.topics.reading import read_topic
from tests.loads import ROOT, WATCHDOG_S
from tests.pipelines.published import KEYS

_PUBLISH = ("tests.pipelines.published", "--state", "feed", "--format", "json", "--set", "budget.max_error_rate=0.5",
            "--set", "flow.batch_bytes=200", "--set", "flow.window_batches=4")
FOLLOW = ("tests.pipelines.subscribed", "--set", "flow.batch_bytes=200", "--set", "flow.window_batches=4")


def _run(root: Path, words: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", "run", *words], cwd=root, env=environment, check=False,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WATCHDOG_S)


def _environment_of(process: subprocess.Popen[str]) -> dict[str, str]:
    """What it was started with: by this, changes are recorded or not. Its title is written over that, later."""
    found = b""
    while not found and process.poll() is None:  # there is nothing as long as it is being executed
        found = Path(f"/proc/{process.pid}/environ").read_bytes()
    return dict(os.fsdecode(pair).split("=", 1) for pair in found.split(b"\0") if b"=" in pair)


def _takes_a_signal(pid: int) -> bool:
    """Whether it would end in order: the board does not say so, for one of an earlier run may be there.

    SIGHUP is what the supervisor takes, and the command before it does not; SIGTERM is taken by both.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> signal.SIGHUP - 1 & 1)


def _committed(root: Path) -> int:
    """Records that the one that follows has in its ledger; its lines may be some that it is about to cut off."""
    ledger = root / "state" / LEDGER
    return sum(unit.counts.get("written", 0) for unit in read_units(ledger)) if ledger.exists() else 0


def publish(root: Path, process: subprocess.Popen[str]) -> None:
    """Publish while the other one follows; then have that one end. What has failed is missed by ``look``."""
    _run(root, _PUBLISH, _environment_of(process))
    published = sum(1 for _ in read_topic(root / "topic"))
    deadline = time.monotonic() + WATCHDOG_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if _takes_a_signal(process.pid) and _committed(root) >= published:
                break
        except (OSError, sqlite3.Error):  # the power of the disk is gone
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)


def follow_to_the_end(root: Path) -> None:
    """Read what is left."""
    done = _run(root, (*FOLLOW, "--once", "--state", "state"), {**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr


def look(root: Path) -> Any:
    """What is in the topic, and what the one that follows has made of it."""
    lines = (root / "state" / "lined.log").read_text().splitlines()
    found: dict[int, list[int]] = {key: [] for key in range(KEYS)}
    for _, record in read_topic(root / "topic"):
        found[int(record.key or b"")].append(int(record.value or b""))
    assert sum(map(len, found.values())) == len(lines)
    return {
        "topic": found,
        "lines": {key: [int(line.split()[1]) for line in lines if line.split()[0] == str(key)] for key in found},
        "folded": {key[0]: numbers for key, numbers in read_state(root / "state" / "aggregator.1.db").items()}}
