"""Starts that take long, replayed as histories of the tree."""

from __future__ import annotations

import signal

from actors.runtime.actions import Kill
from actors.runtime.child import Mode
from actors.runtime.events import LastWords
from actors.runtime.messages import Suspect
from actors.runtime.sections import RestartOptions
from tests.supervision.test_tree_histories import SPECS, History, mail


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


def test_the_end_of_a_run_for_a_start_that_takes_too_long_says_so() -> None:
    history = History(RestartOptions(ready_s=30.0, boot_failures=1))
    history.tick(30.0)
    history.exit("writer.a")
    assert history.tree.reason == ("writer.a died 1 times before it was ready; the last: it was not ready in time "
                                   "(restart.ready_s); signal SIGKILL")


def test_deaths_before_an_actor_is_ready_count_in_a_row() -> None:
    history = History(RestartOptions(boot_failures=2)).up()
    for number in range(5):
        died = LastWords("WORK", ("run", 0, 100), near=(("run", 0, 100),))  # of a batch that is known: not charged
        history.exit("parser.1", last=died if number else LastWords("WORK", ("run", 0, 100)))
        history.tick(history.now)
        history.exit("parser.1", last=LastWords())
        history.tick(history.now + 1.0)
        history.boot("parser.1")
        history.ready("parser.1")
    assert history.tree.mode is Mode.RUNNING


def test_who_has_had_work_was_ready_though_its_word_for_that_is_still_on_its_way() -> None:
    history = History(RestartOptions(boot_failures=1)).up()
    history.exit("parser.1", last=LastWords("WORK", ("run", 0, 100)))
    history.tick(history.now)
    history.boot("parser.1")
    died = history.exit("parser.1", last=LastWords("WORK", ("run", 0, 100), batches=3))
    assert history.tree.mode is Mode.RUNNING
    assert [address for address, _ in mail(died, Suspect)] == [history.address("reader.1")]
