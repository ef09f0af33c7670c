"""An actor that is not vital: it holds nobody up, and its deaths harm nobody."""

from __future__ import annotations

from actors.runtime.actions import Emit, Say
from actors.runtime.child import Mode
from actors.runtime.events import BAD_CONFIG, DONE, ActorDied, RunReady
from actors.runtime.messages import Roster, Start, Stop
from actors.runtime.restart import Exit
from actors.runtime.sections import RestartOptions, RunOptions
from actors.runtime.topology import ChildSpec
from tests.supervision.test_tree_histories import SPECS as VITAL
from tests.supervision.test_tree_histories import History, ended, mail, sent, spawned

MONITOR = "monitor.1"
SPECS = (ChildSpec(MONITOR, "monitor", "monitor", -1, vital=False), *VITAL)


def up() -> History:
    """A tree whose actors are all up."""
    return History(specs=SPECS).up()


def test_it_is_started_as_soon_as_it_has_booted_and_nobody_waits_for_it() -> None:
    history = History(specs=SPECS)
    assert sent(history.boot(MONITOR), Start) == [MONITOR]
    history.exit(MONITOR)
    for spec in VITAL:
        history.boot(spec.name)
    actions = [action for spec in VITAL for action in history.ready(spec.name)]
    assert [action.event.actors for action in actions if isinstance(action, Emit) and isinstance(action.event, RunReady)
            ] == [len(VITAL)]
    assert history.tree.mode is Mode.RUNNING


def test_nobody_is_told_of_it() -> None:
    history = up()
    rosters = [roster for _, roster in mail(history.actions, Roster)]
    assert rosters
    assert all(member.name != MONITOR for roster in rosters for member in roster.members)
    before = len(rosters)
    history.die_and_return(MONITOR)
    assert len(mail(history.actions, Roster)) == before


def test_however_often_it_dies_the_run_goes_on_and_it_comes_back_ever_more_slowly() -> None:
    history = up()
    actions = [action for _ in range(50) for action in history.die_and_return(MONITOR)]
    assert history.tree.mode is Mode.RUNNING
    assert not any(spawned(actions, spec.name) for spec in VITAL)
    delays = [action.event.restart_s for action in actions
              if isinstance(action, Emit) and isinstance(action.event, ActorDied)]
    assert len(delays) == 50
    assert delays[0] == 0.0
    assert max(delay for delay in delays if delay is not None) == RestartOptions().max_backoff_s


def test_one_that_never_gets_ready_is_tried_again_and_again() -> None:
    history = History(specs=SPECS)
    for _ in range(10):
        history.exit(MONITOR)
        due = history.tree.next_deadline()
        assert due is not None
        assert spawned(history.tick(max(due, history.now + 30.0)), MONITOR)
    assert history.tree.mode is Mode.STARTING


def test_one_that_cannot_run_is_left_alone() -> None:
    history = up()
    actions = history.exit(MONITOR, Exit(BAD_CONFIG))
    assert [action.state for action in actions if isinstance(action, Say)] == ["FATAL"]
    assert not spawned(history.tick(history.now + 1000.0), MONITOR)
    assert history.tree.mode is Mode.RUNNING


def test_it_is_stopped_last_when_somebody_may_still_be_at_work() -> None:
    history = History(specs=SPECS, limits=RunOptions(stop_s=5.0)).up()
    history.take(history.tree.signalled("SIGTERM", 1.0))
    history.take(history.tree.input_done("reader.1#1", True, 1.1))
    for spec in reversed(VITAL):
        assert MONITOR not in sent(history.actions, Stop)
        history.exit(spec.name, Exit(0))
    assert sent(history.actions, Stop)[-1] == MONITOR
    assert ended(history.exit(MONITOR, Exit(0))) is not None


def test_when_all_is_done_it_is_stopped_with_everybody_else() -> None:
    history = up()
    actions = history.take(history.tree.input_done("reader.1#1", False, 1.0))
    assert MONITOR in sent(actions, Stop)
    for spec in SPECS:
        history.exit(spec.name, Exit(0))
    assert history.tree.mode is Mode.ENDED
    assert history.tree.code == DONE
