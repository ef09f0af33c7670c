"""Pools that shrink and grow, replayed as histories of the tree."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from actors.runtime.actions import Action, Kill, Send, Spawn
from actors.runtime.desk import Desk
from actors.runtime.health import Sample
from actors.runtime.membership import Membership
from actors.runtime.messages import Command, Reply, Roster, Start
from actors.runtime.policy import Policy
from actors.runtime.restart import Exit
from actors.runtime.sections import MAX_WORKERS, RestartOptions, WatchOptions
from actors.settings import load
from tests.supervision.test_tree_histories import SPECS, History, sent


def _met(history: History, reader: Membership) -> Membership:
    for action in history.actions:
        if isinstance(action, Send) and isinstance(action.message, Roster) and action.address.startswith("reader"):
            reader.meet(action.message)
    return reader


def _come_up(history: History, name: str) -> None:
    history.boot(name)
    history.ready(name)


def _spawned(actions: Iterable[Action]) -> list[str]:
    return [action.name for action in actions if isinstance(action, Spawn)]


def test_a_worker_that_comes_back_after_its_pool_had_shrunk_has_an_address_that_nobody_takes_for_dead() -> None:
    history = History().up()
    history.take(history.tree.scale("parser", 3, 1.0))
    _come_up(history, "parser.3")
    history.take(history.tree.scale("parser", 2, 2.0))
    history.take(history.tree.drained("parser.3#1", 2.1))
    history.exit("parser.3", Exit(0))
    history.take(history.tree.scale("parser", 3, 3.0))
    _come_up(history, "parser.3")
    assert history.address("parser.3") == "parser.3#2"
    reader = _met(history, Membership())
    assert reader.is_dead("parser.3#1")
    assert not reader.is_dead("parser.3#2")


def test_a_pool_that_grows_while_others_still_leave_has_no_names_beyond_the_boards() -> None:
    history = History().up()
    for name in _spawned(history.take(history.tree.scale("parser", MAX_WORKERS, 1.0))):
        _come_up(history, name)
    history.take(history.tree.scale("parser", 1, 2.0))
    assert _spawned(history.take(history.tree.scale("parser", MAX_WORKERS, 2.1))) == []


def test_nobody_waits_for_a_worker_that_was_removed_before_it_was_ready() -> None:
    history = History()
    for spec in SPECS:
        history.boot(spec.name)
    for name in ("writer.dead_letters", "writer.a", "parser.1"):
        history.ready(name)
    history.take(history.tree.scale("parser", 1, 1.0))
    assert sent(history.exit("parser.2"), Start) == ["reader.1"]


def test_a_policy_that_is_adopted_holds_for_those_who_live_already() -> None:
    history = History().up()
    history.tree.adopt(Policy(RestartOptions(intensity=1), watch=WatchOptions(hard_cpu_s=2.0, suspect_s=1.0)))
    for now, cpu_s in ((1.0, 0.0), (4.0, 3.0)):
        history.take(history.tree.observed("parser.1", 1, Sample("WORK", (1,), cpu_s, "R"), 0, now))
    assert Kill("parser.1", signal.SIGUSR1) in history.actions
    history.now = 5.0
    history.exit("parser.1")
    assert Kill("parser.2", signal.SIGKILL) not in history.actions
    history.tick(5.0)
    history.exit("parser.1")
    history.tick(6.0)
    _come_up(history, "parser.1")
    history.exit("parser.1")
    assert Kill("parser.2", signal.SIGKILL) in history.actions, "the second restart of the pool is one too many"


def test_a_run_that_is_ending_says_that_it_cannot_be_scaled(tmp_path: Path) -> None:
    history = History().up()
    history.take(history.tree.signalled("SIGTERM", 1.0))
    desk = Desk(history.tree, load("tests.pipelines.treacherous", state=str(tmp_path)).manifest, None)
    (answer,) = desk.command("command.1#1", Command("scale", ("parser", "4")), 2.0)
    assert answer == Send("command.1#1", Reply(False, "parser: the run is ending, so its workers stay as they are"))


@pytest.mark.parametrize("number", ["²", "9" * 5000, "٣x", "-1", ""])
@pytest.mark.parametrize(("verb", "first"), [("scale", "parser"), ("tap", "/nowhere")])
def test_a_number_that_is_none_is_refused_and_ends_no_run(tmp_path: Path, verb: str, first: str, number: str) -> None:
    history = History().up()
    desk = Desk(history.tree, load("tests.pipelines.treacherous", state=str(tmp_path)).manifest, None)
    (answer,) = desk.command("command.1#1", Command(verb, (first, number)), 1.0)
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Reply)
    assert not answer.message.ok
