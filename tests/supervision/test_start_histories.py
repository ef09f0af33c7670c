"""Starts that take long, replayed as histories of the tree."""

from __future__ import annotations

import signal

from actors.runtime.actions import Kill
from actors.runtime.sections import RestartOptions
from tests.supervision.test_tree_histories import SPECS, History


def test_who_waits_for_a_sink_that_opens_slowly_is_not_killed_for_it() -> None:
    history = History(RestartOptions(ready_s=30.0))
    for spec in SPECS:
        history.boot(spec.name)
    history.now = 29.0
    history.ready("writer.dead_letters")
    assert history.tick(30.0) == []
    history.now = 58.0
    history.ready("writer.a")
    history.now = 59.0
    assert history.tick(87.9) == []
    assert history.tick(88.0) == [Kill("parser.1", signal.SIGKILL), Kill("parser.2", signal.SIGKILL)]
    assert history.tree.next_deadline() is None, "the reader was not told to start"
