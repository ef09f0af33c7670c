#!/usr/bin/env python3
"""Soak: the main job under random SIGKILLs of any process, compared with the same job in peace.

    scripts/soak [--records 1000000] [--kills 200] [--seed 1] [--state DIR]

Makes seeded logs (bad lines, keys that come several times), loads them once undisturbed, and then again while any
process, the supervisor included, is killed at random moments and actors are stopped and continued. A killed supervisor
is started again with the same command. When a load has ended and kills are left, the logs are loaded anew. After each:
stores byte for byte those of the undisturbed load, dead letters and aggregates the same, outcome counts add up for
each file, every file put away, no process left, no run directory, no lock. Exit code 0 when all that holds.

The seed decides the data, the victims and the waits; what a victim was just doing is up to the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from actors.runtime.rundir import find, path_for  # noqa: E402
from actors.runtime.state import read_state  # noqa: E402
from actors.runtime.units import ANY_RUN, LEDGER, read_units  # noqa: E402
from actors.sinks.dead_letters import read_letters  # noqa: E402
from actors.sinks.lmdb import read_lmdb  # noqa: E402
from scripts.make_logs import write_logs  # noqa: E402
from tests.loads import DEVICE_TYPES, Load, Running, Views, members  # noqa: E402

FILES = 5
#: 200 deaths in minutes are what the restart budget exists to stop: at its defaults (5 in 30 s) the run would give up,
#: as it should. Here every death is ours, so the budget is raised, and the delays, which double, are cut short.
RESTARTS = ("restart.intensity=100000", "restart.boot_failures=100000", "restart.max_backoff_s=0.05")
#: So many pauses for each kill, and how long they last.
PAUSES, MAX_PAUSE_S = 0.25, 0.4
#: Share of the moments that are so long after the last one, whatever the load has done: also while it recovers.
TIMED, MAX_TIMED_S = 0.3, 0.4
ORPHANS_S = 1.0
WATCHDOG_S = 600.0
_POLL_S = 0.003


class Plan(NamedTuple):
    """What to do.

    Attributes:
        records: records in the logs.
        kills: SIGKILLs in all.
        seed: of data, victims and waits.
        batch_bytes: small enough that a death finds many batches under way.
        window_batches: so many of those at most: the shorter the window, the longer deaths can find the reader at it.
    """

    records: int
    kills: int
    seed: int
    batch_bytes: int = 128 * 1024
    window_batches: int = 32

    @property
    def sets(self) -> tuple[str, ...]:
        """The options of both loads."""
        return (*RESTARTS, f"flow.batch_bytes={self.batch_bytes}", f"flow.window_batches={self.window_batches}")


class Outcome(NamedTuple):
    """What happened: kills by victim, pauses, loads of the logs, seconds, what was wrong."""

    kills: Counter[str]
    pauses: int
    rounds: int
    quiet_s: float
    soak_s: float
    orphans_gone_s: float
    problems: list[str]


def soak(plan: Plan, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Run it all in a folder of its own; return what happened."""
    logs = folder / "logs"
    write_logs(logs, FILES, plan.records, plan.seed, bad_rate=0.005, keys=max(1, plan.records // 10))
    pattern, quiet = f"{logs}/*.tsv.gz", folder / "quiet"
    began = time.monotonic()
    with Load(pattern, quiet, *plan.sets) as load:
        if code := load.process.wait(WATCHDOG_S):
            raise SystemExit(f"the load in peace ended with exit code {code}:\n{load.output()}")
    quiet_s = time.monotonic() - began
    say(f"in peace: {plan.records:,} records in {quiet_s:.1f} s")
    faults, problems, rounds = Faults(plan), list[str](), 0
    began = time.monotonic()
    while faults.left and not problems:
        rounds += 1
        _give_again(logs)
        state = folder / f"soak-{rounds}"
        problems = faults.until_loaded(pattern, state) or differences(quiet, state, logs, plan.records)
        say(f"load {rounds}: {sum(faults.kills.values())} kills, {faults.pauses} pauses, {len(problems)} problems")
    return Outcome(faults.kills, faults.pauses, rounds, quiet_s, time.monotonic() - began, faults.orphans_gone_s,
                   problems)


def _give_again(logs: Path) -> None:
    for path in logs.glob(".*.tsv.gz"):
        path.rename(path.with_name(path.name[1:]))


class Faults:
    """Kills and pauses, spread over a load by what it has done and by the clock."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self.kills: Counter[str] = Counter()
        self.pauses = 0
        self.orphans_gone_s = 0.0

    @property
    def left(self) -> int:
        """Kills still to come."""
        return self._plan.kills - sum(self.kills.values())

    def until_loaded(self, pattern: str, state: Path) -> list[str]:
        """Load with faults, and start again whenever the supervisor was the victim; return what is wrong."""
        deadline = time.monotonic() + WATCHDOG_S
        while time.monotonic() < deadline:
            with Load(pattern, state, *self._plan.sets) as load:
                while self.left and self._next_moment(load, deadline):
                    self._strike(load)
                code = load.process.wait(max(1.0, deadline - time.monotonic()))
                gone_s = seconds_until_empty(load.process.pid)
                self.orphans_gone_s = max(self.orphans_gone_s, gone_s)
                if gone_s > ORPHANS_S:
                    return [f"processes were left {ORPHANS_S:g} s after the supervisor: {members(load.process.pid)}"]
                if code != -signal.SIGKILL:
                    return [] if code == 0 else [f"the load ended with exit code {code}:\n{load.output()[-4000:]}"]
        return [f"the load was not over in {WATCHDOG_S:g} s"]

    def _next_moment(self, load: Load, deadline: float) -> bool:
        """Wait for the next moment; return False when the load has ended before it."""
        share = 1.0 if self.left <= 2 else 2.0
        wait_s, ahead = self._random.uniform(0.0, 0.03), self._random.uniform(0.0, share) / self.left
        if self._random.random() < TIMED:
            wait_s, ahead = self._random.uniform(0.0, MAX_TIMED_S), 0.0
        target: float | None = None
        while load.process.poll() is None and time.monotonic() < deadline:
            done = _share_done(load.views()) if ahead else 1.0
            if done is not None:
                target = min(0.98, done + ahead * (1.0 - done)) if target is None else target
                if done >= target:
                    time.sleep(wait_s)
                    return load.process.poll() is None
            time.sleep(_POLL_S)
        return False

    def _strike(self, load: Load) -> None:
        """Kill somebody, or let somebody pause."""
        pids = {view.actor: view.pid for view in load.views().values() if view.pid}
        if pids and self._random.random() < PAUSES / (1.0 + PAUSES):
            self._pause(load, self._random.choice(sorted(pids)))
            return
        victim = self._random.choice(["supervisor", *sorted(pids)])
        if victim == "supervisor":
            load.process.kill()
            load.process.wait()
        elif not signal_actor(load, victim, signal.SIGKILL):
            return  # it died or ended between two looks
        self.kills[victim] += 1

    def _pause(self, load: Load, name: str) -> None:
        seconds = self._random.uniform(0.01, MAX_PAUSE_S)
        if signal_actor(load, name, signal.SIGSTOP):
            time.sleep(seconds)
            signal_actor(load, name, signal.SIGCONT)
            self.pauses += 1


def signal_actor(load: Running, name: str, number: int) -> bool:
    """Signal an actor, and nobody who has its number after it."""
    view = load.views().get(name)
    if view is None or not view.pid:
        return False
    try:
        fd = os.pidfd_open(view.pid)
    except OSError:
        return False
    try:
        if view.pid not in members(load.process.pid):
            return False
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _share_done(views: Views) -> float | None:
    """How much of its input the reader has read, None while nobody knows."""
    reader = views.get("reader.1")
    return reader.bytes_done / reader.bytes_total if reader is not None and reader.pid and reader.bytes_total else None


def seconds_until_empty(session: int, within_s: float = ORPHANS_S) -> float:
    """How long it takes until no process of a session lives; a little more than ``within_s`` when some go on."""
    began = time.monotonic()
    while members(session) and time.monotonic() - began <= within_s:
        time.sleep(_POLL_S)
    return time.monotonic() - began


# Comparing --------------------------------------------------------------------------------------------------------


def differences(quiet: Path, state: Path, logs: Path, records: int) -> list[str]:
    """Return what is not as after the load in peace, and what was left behind."""
    problems = [f"store {name}: {problem}" for name in DEVICE_TYPES
                for problem in _first_difference(read_lmdb(quiet / f"{name}.lmdb"), read_lmdb(state / f"{name}.lmdb"))]
    problems += [f"dead letters: {problem}" for problem in _first_difference(_letters(quiet), _letters(state))]
    units, expected = _units(state), _units(quiet)
    if units != expected:
        problems.append(f"outcome counts: expected {expected}, got {units}")
    outcomes = ("written", "folded", "filtered", "dead_lettered")
    problems += [f"{name}: read {counts['read']}, outcomes {counts}" for name, counts in units.items()
                 if counts["read"] != sum(counts.get(outcome, 0) for outcome in outcomes)]
    if (read := sum(counts["read"] for counts in units.values())) != records:
        problems.append(f"read {read} records of {records}")
    if (groups := _groups(state)) != (wanted := _groups(quiet)):
        problems.append(f"aggregates: expected {wanted}, got {groups}")
    problems += [f"{path} was not put away" for path in logs.glob("[!.]*")]
    if path_for(state).exists():
        problems.append(f"the run directory {path_for(state)} was left")
    if find(state) is not None:
        problems.append(f"{state}/lock is still held")
    return problems


def _first_difference(expected: Iterable[Any], got: Iterable[Any]) -> list[str]:
    for one, other in zip_longest(expected, got):
        if one != other:
            return [f"expected {str(one)[:200]}, got {str(other)[:200]}"]
    return []


def _letters(state: Path) -> list[tuple[Any, ...]]:
    """Dead letters by where they came from; partitions are named after runs, so they differ."""
    return sorted((x.source, x.offset, x.item, x.line, x.stage, x.reason, x.detail, x.raw, x.status)
                  for x in read_letters(state / "dead-letters.db"))


def _names(state: Path) -> dict[int, tuple[str, dict[str, int]]]:
    """Every unit of the ledger: name and outcome counts."""
    return {unit.id: (unit.name, unit.counts) for unit in read_units(state / LEDGER, ANY_RUN)}


def _units(state: Path) -> dict[str, dict[str, int]]:
    """Outcome counts by file, over all runs."""
    units: dict[str, dict[str, int]] = {}
    for name, counts in _names(state).values():
        total = units.setdefault(name, {})
        for outcome, number in counts.items():
            total[outcome] = total.get(outcome, 0) + number
    return dict(sorted(units.items()))


def _groups(state: Path) -> dict[tuple[Any, ...], list[Any]]:
    """Folded numbers by file and device type."""
    names = _names(state)
    return {(names[key[0]][0], *key[1:]): numbers
            for key, numbers in sorted(read_state(state / "aggregator.1.db").items())}


# The command ------------------------------------------------------------------------------------------------------


def report(plan: Plan, outcome: Outcome) -> str:
    """Figures and verdict, as text."""
    kills = ", ".join(f"{name} {number}" for name, number in outcome.kills.most_common())
    lines = [
        f"seed {plan.seed}, {plan.records:,} records in {FILES} files, batches of {plan.batch_bytes // 1024} KiB, "
        f"window {plan.window_batches}; Python {platform.python_version()}, {os.cpu_count()} cores",
        f"{sum(outcome.kills.values())} kills: {kills}",
        f"{outcome.pauses} pauses of up to {MAX_PAUSE_S:g} s; {outcome.rounds} loads under faults "
        f"in {outcome.soak_s:.1f} s; in peace one takes {outcome.quiet_s:.1f} s",
        f"after a supervisor's end its last process was gone in at most {outcome.orphans_gone_s * 1000:.0f} ms",
        *outcome.problems,
        "FAILED" if outcome.problems else "the same: stores, dead letters, outcome counts, aggregates; nothing left",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--kills", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--state", type=Path, metavar="DIR", help=(
        "keep logs and states in this folder, which must be empty or new; default: a temporary one"))
    options = parser.parse_args()
    plan = Plan(options.records, options.kills, options.seed)
    if options.state is not None:
        options.state.mkdir(parents=True, exist_ok=True)
        if any(options.state.iterdir()):
            parser.error(f"--state {options.state}: expected an empty or new folder")
        return _main(plan, options.state.resolve())
    with tempfile.TemporaryDirectory(prefix="thresher-soak-") as folder:
        return _main(plan, Path(folder))


def _main(plan: Plan, folder: Path) -> int:
    outcome = soak(plan, folder, lambda text: print(text, flush=True))
    print(report(plan, outcome))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
