"""The end of a run whose aggregators emit: they bring what they have to its end before anybody stops."""

from __future__ import annotations

from actors.runtime.child import Mode
from actors.runtime.events import DONE, RESUMABLE, LastWords
from actors.runtime.messages import Drain, Stop
from actors.runtime.topology import ChildSpec
from tests.supervision.test_tree_histories import KILLED, History, mail, sent

SPECS = (
    ChildSpec("writer.rows", "writer", "writer.rows", 1, ordered=True),
    ChildSpec("aggregator.1", "aggregator", "aggregator.1", 2, ordered=True, emits=True),
    ChildSpec("aggregator.2", "aggregator", "aggregator.2", 2, ordered=True, emits=True),
    ChildSpec("parser.1", "parser", "parser", 4),
    ChildSpec("reader.1", "reader", "reader", 5, restart="transient"),
)


#: The same, with a writer whose sink gathers.
GATHERING = (ChildSpec("writer.files", "writer", "writer.files", 1, ordered=True, emits=True), *SPECS)


def up(specs: tuple[ChildSpec, ...] = SPECS) -> History:
    """A tree whose actors are all up."""
    return History(specs=specs).up()


def test_when_the_input_has_ended_the_shards_are_told_and_all_stop_when_each_has_answered() -> None:
    history = up()
    actions = history.take(history.tree.input_done("reader.1#1", False, 1.0))
    assert mail(actions, Drain) == [("aggregator.1#1", Drain(True)), ("aggregator.2#1", Drain(True))]
    assert sent(actions, Stop) == []
    assert sent(history.take(history.tree.drained("aggregator.2#1", 1.1)), Stop) == []
    assert len(sent(history.take(history.tree.drained("aggregator.1#1", 1.2)), Stop)) == len(SPECS)
    assert history.tree.code == DONE


def test_a_shard_that_dies_while_it_ends_is_told_again_when_it_is_back() -> None:
    history = up()
    history.take(history.tree.input_done("reader.1#1", False, 1.0))
    history.take(history.tree.drained("aggregator.2#1", 1.1))
    history.take(history.tree.exited("aggregator.1", KILLED, LastWords("WORK"), 1.2))
    history.take(history.tree.tick(1.2))
    history.take(history.tree.booted("aggregator.1#2", 1.3))
    actions = history.take(history.tree.ready("aggregator.1#2", "ipc://x", 1.4))
    assert mail(actions, Drain) == [("aggregator.1#2", Drain(True))]
    assert history.tree.mode is Mode.RUNNING
    assert len(sent(history.take(history.tree.drained("aggregator.1#2", 1.5)), Stop)) == len(SPECS)


def test_with_input_left_nothing_is_closed_that_the_watermark_has_not() -> None:
    history = up()
    history.take(history.tree.signalled("SIGTERM", 1.0))
    actions = history.take(history.tree.input_done("reader.1#1", True, 1.1))
    assert mail(actions, Drain) == [("aggregator.1#1", Drain(False)), ("aggregator.2#1", Drain(False))]
    history.take(history.tree.drained("aggregator.1#1", 1.2))
    history.take(history.tree.drained("aggregator.2#1", 1.2))
    assert history.tree.code == RESUMABLE


def test_a_reader_that_gives_up_waits_for_nobody() -> None:
    history = up()
    actions = history.take(history.tree.input_done("reader.1#1", True, 1.0, 4, "too many errors"))
    assert sent(actions, Drain) == []
    assert sent(actions, Stop) == ["reader.1"]


def test_what_a_drained_shard_says_at_another_time_is_nothing() -> None:
    history = up()
    assert history.take(history.tree.drained("aggregator.1#1", 1.0)) == []


def test_a_writer_that_gathers_is_told_behind_the_shards_and_again_when_it_dies() -> None:
    history = up(GATHERING)
    history.take(history.tree.input_done("reader.1#1", False, 1.0))
    assert mail(history.take(history.tree.drained("aggregator.1#1", 1.1)), Drain) == [("aggregator.2#1", Drain(True))]
    actions = history.take(history.tree.drained("aggregator.2#1", 1.2))
    assert (mail(actions, Drain), sent(actions, Stop)) == ([("writer.files#1", Drain(True))], [])
    history.take(history.tree.exited("writer.files", KILLED, LastWords("WRITE"), 1.3))
    history.take(history.tree.tick(1.3))
    history.take(history.tree.booted("writer.files#2", 1.4))
    assert mail(history.take(history.tree.ready("writer.files#2", "ipc://x", 1.5)), Drain) == [
        ("writer.files#2", Drain(True))]
    assert len(sent(history.take(history.tree.drained("writer.files#2", 1.6)), Stop)) == len(GATHERING)
    assert history.tree.code == DONE


def test_a_writer_that_gathers_is_told_that_it_is_not_the_end_when_there_is_input_left() -> None:
    history = up((GATHERING[0], *SPECS[3:]))
    history.take(history.tree.signalled("SIGTERM", 1.0))
    assert mail(history.take(history.tree.input_done("reader.1#1", True, 1.1)), Drain) == [
        ("writer.files#1", Drain(False))]
