"""Every role, and everything that can befall a process, in the middle of a load: the results are those without it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.loads import Load
from tests.troubled_loads import Gate, expected, found, start

ROLES = ("reader.1", "parser.1", "checker.1", "aggregator.1", "writer.store", "writer.dead_letters")
#: What comes from outside, and what the role's own code does.
FAULTS = ("kill", "pause", "stop", "segfault", "deadlock", "loop", "regex")
#: Budgets that are used up soon; a regular expression and a pause stay far below theirs.
WATCH = ("watch.suspect_s=0.5", "watch.term_s=0.2", "watch.hard_block_s=0.8")
#: How the death of an actor with this fault is told.
HOW = {
    "kill": "signal SIGKILL", "segfault": "signal SIGSEGV", "stop": "stopped by a signal for",
    "deadlock": "blocked for", "loop": "no progress in",
}


def _kind(actor: str) -> str:
    """An actor without its number: which of a pool gets the line of trouble is not known."""
    return actor.rstrip(".12")


def _pause(running: Load, name: str) -> None:
    """Stop an actor, and let it go on when it is suspected."""
    running.kill(name, after_batches=10, number=signal.SIGSTOP)
    pid = running.views()[name].pid
    running.until(lambda views: any(
        '"suspect"' in line and f'"{name}"' in line for line in running.output().splitlines()), "a suspicion")
    os.kill(pid, signal.SIGCONT)


def test_without_a_fault_the_results_are_those_of_one_program(tmp_path: Path) -> None:
    with start(tmp_path) as running:
        assert running.wait() == 0, running.output()
    assert found(running.state) == expected()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ROLES)
def test_whatever_befalls_an_actor_the_results_are_those_of_the_run_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate, name: str, fault: str
) -> None:
    if fault not in ("kill", "pause", "stop"):
        monkeypatch.setenv("TROUBLE", f"{_kind(name)} {fault} {tmp_path / 'mark'}")
    budgets = (f"watch.hard_cpu_s={30 if fault == 'regex' else 0.8}",
               f"watch.stopped_s={1.0 if fault == 'stop' else 30}")
    with start(tmp_path, *WATCH, *budgets, f"parser.fused={str(name != 'checker.1').lower()}") as running:
        if fault == "pause":
            _pause(running, name)
        elif fault in ("kill", "stop"):
            running.kill(name, after_batches=10, number=signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
        gate.open()
        assert running.wait() == 0, running.output()
    assert found(running.state) == expected()
    died = [(_kind(event["actor"]), event["how"]) for event in running.of("died")]
    if fault in HOW:
        ((who, how),) = died
        assert who == _kind(name)
        assert how.startswith(HOW[fault])
    else:
        assert died == []
        assert _kind(name) in {_kind(event["actor"]) for event in running.of("suspect")}
