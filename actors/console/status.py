"""``thresher status``: the actors of a run that is going on, or how the last one ended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from actors.console.frame import so_far, span, title
from actors.console.history import FILE, read_record, why_no_record
from actors.runtime import deaths
from actors.runtime.database import OtherVersion
from actors.runtime.ledger import read_units
from actors.runtime.printable import one_line
from actors.runtime.rundir import find
from actors.runtime.units import LEDGER
from actors.telemetry.model import Lag
from actors.telemetry.watcher import Watcher
from actors.telemetry.words import lag_line

#: How many deaths are shown, and how many lines of the last one's stack.
_DEATHS, _STACK_LINES = 10, 12


def status(state: Path) -> dict[str, Any]:
    """What is known of this state directory, as a map."""
    known: dict[str, Any] = {"running": False, "state": str(state), "exists": state.is_dir()}
    run_dir = find(state)
    record = read_record(state)
    known["last"] = msgspec.to_builtins(record)
    known["damage"] = why_no_record(state) if (state / FILE).exists() else ""
    known["deaths"] = [{"time": death.time, "text": death.died.text(), **msgspec.to_builtins(death.died)}
                       for death in deaths.last(state, _DEATHS)]
    if run_dir is not None:
        try:
            return known | {"running": True, **_running(run_dir)}
        except (OSError, ValueError):  # it ended just now
            known["last"] = msgspec.to_builtins(read_record(state))
    try:
        units = read_units(state / LEDGER)
    except OtherVersion:
        raise
    except sqlite3.Error:
        units = []
    return known | {"units": [{"name": unit.name, "status": unit.status, "counts": unit.counts} for unit in units]}


def _running(run_dir: Path) -> dict[str, Any]:
    """One look at a run that is going on. Raises OSError when it is not, ValueError when it has just begun."""
    with closing(Watcher(run_dir)) as watcher:
        seen = watcher.status().snapshot
    actors = [{**msgspec.to_builtins(each.view), "stage": each.stage, "cpu_s": each.cpu_s, "restarts": each.restarts}
              for each in seen.actors]
    return {"name": seen.name, "run": seen.run, "mode": seen.mode, "seconds": seen.at - seen.started,
            "not_ready": seen.not_ready, "lag": msgspec.to_builtins(seen.lag), "outcomes": seen.outcomes,
            "actors": actors}


def render(data: dict[str, Any]) -> str:
    """The same as text."""
    return "\n".join(map(one_line, _lines(data) if data["running"] else _idle_lines(data)))


def _lines(data: dict[str, Any]) -> list[str]:
    lines = [f"{'actor':<22}{'gen':>4} {'pid':>8}  {'state':<9}{'phase':<12}{'batches':>9}{'records':>12}{'open':>6}"
             f"{'backlog':>9}{'oldest':>9}{'restarts':>10}{'RSS':>9}  waits for"]
    for view in data["actors"]:
        lines.append((
            f"{view['actor']:<22}{view['generation']:>4} {view['pid']:>8}  {view['state']:<9}{view['phase']:<12}"
            f"{view['batches']:>9,}{view['records']:>12,}{view['open']:>6}{view['queued']:>9,}"
            f"{span(view['waiting_s']) if view['queued'] or view['waiting_s'] else '-':>9}{view['restarts']:>10,}"
            f"{view['rss_bytes'] / 1e6:>6.0f} MB  {view['note']}").rstrip())
    readiness = [f"not ready: {why}" for why in data["not_ready"]]
    heading = title(data["name"], data["mode"], data["seconds"], not readiness)
    behind = [] if data["lag"] is None else [lag_line(msgspec.convert(data["lag"], Lag))]
    return [heading, *readiness, *lines, *behind, so_far(data["outcomes"]), *_death_lines(data)]


def _idle_lines(data: dict[str, Any]) -> list[str]:
    last = data["last"]
    if not data["exists"]:
        return [f"nothing is running: there is no state directory {data['state']}"]
    if last is None and not data["units"] and not data["damage"]:
        return [f"nothing is running in {data['state']}, and nothing has run there yet"]
    lines = [f"nothing is running in {data['state']}", *[data["damage"]] * bool(data["damage"])]
    if last is not None and last["result"] is None:
        lines.append(f"the last run (process {last['pid']}, started {last['started']}) was killed before its end: "
                     "run the same command again to resume")
    elif last is not None:
        result = last["result"]
        lines.append(f"the last run (started {last['started']}) ended with exit code {result['code']} "
                     f"after {result['seconds']:.1f} s: {result['reason']}")
    for unit in data["units"]:
        counts = unit["counts"]
        lines.append(f"  {unit['name']}: {unit['status']}, read {counts.get('read', 0):,}, "
                     f"errors {counts.get('dead_lettered', 0):,}")
    return [*lines, *_death_lines(data)]


def _death_lines(data: dict[str, Any]) -> list[str]:
    died = data["deaths"]
    if not died:
        return []
    lines = ["", "last deaths:"]
    for death in died:
        lines.append(f"  {death['time']} {death['text']} ({death['rss_bytes'] / 1e6:.0f} MB, "
                     f"{death['uptime_s']:.1f} s old)")
    stack = died[-1]["stack"].strip().splitlines()
    return lines + (["last stack of the last one:", *(f"  {line}" for line in stack[:_STACK_LINES])] if stack else [])
