"""The run ends while an actor is between *booted* and *ready*: it must hear the stop, and be killed if it does not."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from actors.runtime.actions import Kill
from actors.runtime.actor import Actor
from actors.runtime.board import create_board
from actors.runtime.mailbox import ControlBox
from actors.runtime.messages import Start, Stop
from actors.runtime.rundir import BOARD, RunDirectory
from tests.contract.test_mailbox import WAIT_S, Recorder, happens
from tests.supervision.test_tree_histories import SPECS, History, sent


@pytest.mark.parametrize("left", [False, True])
def test_an_actor_that_gets_ready_after_it_was_told_to_stop_is_still_killed_in_time(left: bool) -> None:
    history = History().up()
    history.exit("parser.2")
    history.tick(history.now)
    assert sent(history.boot("parser.2"), Start) == ["parser.2"]
    history.take(history.tree.input_done("reader.1#1", left, history.now))
    history.exit("reader.1")
    assert "parser.2" in sent(history.actions, Stop)
    history.ready("parser.2")  # it was on its way when the stop was sent
    for spec in SPECS:
        if spec.name not in ("parser.2", "reader.1"):
            history.exit(spec.name)
    assert history.tree.next_deadline() is not None
    assert Kill("parser.2", signal.SIGKILL) in history.tick(history.now + 60.0)


def test_start_and_stop_that_come_together_are_both_heard(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    create_board(directory.path / BOARD, ["reader.1"])
    control, recorder = ControlBox(directory.path), Recorder()
    actor = Actor("reader.1", 1, directory.path, ("parser",), "run")
    thread = threading.Thread(target=actor.run, args=(1, lambda post: recorder), daemon=True)
    try:
        happens(lambda: bool(control.wait(0.01)) and control.send("reader.1#1", Start()))  # newcomers are let in there
        assert control.send("reader.1#1", Stop())
        thread.start()
        thread.join(WAIT_S / 2)
        heard_both = not thread.is_alive()
        control.send("reader.1#1", Stop())
        thread.join(WAIT_S)
    finally:
        control.close()
        directory.close()
    assert heard_both
