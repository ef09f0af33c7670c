"""``thresher status``: the actors of a run that is going on, or how the last one ended."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.board import read_views
from actors.runtime.ledger import read_units
from actors.runtime.rundir import BOARD, find


def status(state: Path) -> dict[str, Any]:
    """What is known of this state directory, as a map."""
    run_dir = find(state)
    if run_dir is not None:
        return {"running": True, "state": str(state), "actors": msgspec.to_builtins(read_views(run_dir / BOARD))}
    try:
        units = read_units(state / "positions.db")
    except sqlite3.Error:
        units = []
    return {"running": False, "state": str(state),
            "units": [{"name": unit.name, "status": unit.status, "counts": unit.counts} for unit in units]}


def render(data: dict[str, Any]) -> str:
    """The same as text."""
    if not data["running"]:
        lines = [f"nothing is running in {data['state']}"]
        if data["units"]:
            lines.append("last run:")
            lines += [f"  {unit['name']}: {unit['status']}" for unit in data["units"]]
        return "\n".join(lines)
    lines = [f"{'actor':<22}{'gen':>4} {'pid':>8}  {'state':<9}{'phase':<12}{'batches':>9}{'records':>12}{'open':>6}"
             f"{'rss MB':>8}  waits for"]
    for view in data["actors"]:
        lines.append((
            f"{view['actor']:<22}{view['generation']:>4} {view['pid']:>8}  {view['state']:<9}{view['phase']:<12}"
            f"{view['batches']:>9,}{view['records']:>12,}{view['open']:>6}{view['rss_bytes'] / 1e6:>8.1f}  "
            f"{view['note']}").rstrip())
    return "\n".join(lines)
