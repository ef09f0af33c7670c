"""The table of a worker: which input waits for which outputs, and who is told what."""

from __future__ import annotations

from actors.runtime.messages import Ack, Again, BatchId, Failed, Late, Span
from actors.runtime.relay import Relay

KEY: BatchId = ("p", 0, 10)
PRODUCER, A, B = "reader.1#1", "writer.a#1", "writer.b#1"


def ack(counts: dict[str, int] | None = None, epoch: int = 1, key: BatchId = KEY) -> Ack:
    return Ack(*key, epoch, counts or {})


def waiting(*destinations: str, epoch: int = 1) -> Relay:
    """A relay with one input whose outputs went to these."""
    relay = Relay()
    relay.sent(PRODUCER, KEY, epoch, destinations, {"read": 5})
    return relay


def test_an_input_is_acknowledged_when_all_its_outputs_are() -> None:
    relay = waiting(A, B)
    assert relay.ack(A, ack({"written": 2})) == []
    assert len(relay) == 1
    assert relay.ack(B, ack({"written": 1, "dead_lettered": 2})) == [
        (PRODUCER, ack({"read": 5, "written": 3, "dead_lettered": 2}))]
    assert len(relay) == 0


def test_an_output_is_acknowledged_once_however_often_it_is_said() -> None:
    relay = waiting(A, B)
    relay.ack(A, ack({"written": 2}))
    assert relay.ack(A, ack({"written": 2})) == []
    assert relay.ack(B, ack()) == [(PRODUCER, ack({"read": 5, "written": 2}))]


def test_answers_for_unknown_inputs_are_void() -> None:
    relay = waiting(A)
    assert relay.ack(A, ack(key=("p", 10, 20))) == []
    assert relay.given_back(A, Failed("p", 10, 20, 1, "gone")) == []
    assert relay.ack(B, ack()) == [], "nothing was sent there"
    assert len(relay) == 1


def test_answers_of_another_epoch_are_void() -> None:
    relay = waiting(A, epoch=2)
    assert relay.ack(A, ack(epoch=1)) == []
    assert relay.ack(A, ack(epoch=3)) == []
    assert relay.given_back(A, Failed(*KEY, 1, "gone")) == []
    assert relay.ack(A, ack(epoch=2)) == [(PRODUCER, ack({"read": 5}, epoch=2))]


def test_the_death_of_a_destination_fails_the_inputs_that_wait_for_it() -> None:
    relay = waiting(A, B)
    relay.ack(B, ack())
    assert relay.gone(A) == [(PRODUCER, Failed(*KEY, 1, "writer.a#1 died"))]
    assert len(relay) == 0
    assert relay.ack(A, ack()) == []


def test_the_death_of_a_destination_that_had_acknowledged_fails_nothing() -> None:
    relay = waiting(A, B)
    relay.ack(A, ack({"written": 1}))
    assert relay.gone(A) == []
    assert relay.ack(B, ack()) == [(PRODUCER, ack({"read": 5, "written": 1}))]


def test_the_death_of_a_producer_forgets_its_inputs_and_tells_nobody() -> None:
    relay = waiting(A)
    assert relay.gone(PRODUCER) == []
    assert len(relay) == 0
    assert relay.ack(A, ack()) == []


def test_the_death_of_a_stranger_changes_nothing() -> None:
    relay = waiting(A)
    assert relay.gone("writer.a#2") == []
    assert len(relay) == 1


def test_a_failure_further_down_is_passed_on_with_its_cause() -> None:
    relay = waiting("checker.1#1")
    failed = Failed(*KEY, 1, "writer.a#1 died")
    assert relay.given_back("checker.1#1", failed) == [(PRODUCER, failed)]
    assert len(relay) == 0


def test_what_a_destination_needs_is_passed_on_and_the_input_forgotten() -> None:
    for again in (Again(*KEY, 1, Span(1, 0, 9)), Again(*KEY, 1, late=(Late(2, 500),))):
        relay = waiting(A, B)
        assert relay.given_back(A, Again(*KEY, 0)) == [], "an old epoch"
        assert relay.given_back(A, again) == [(PRODUCER, again)]
        assert len(relay) == 0
        assert relay.ack(B, ack()) == []
        assert relay.given_back(B, again) == []


def test_a_failure_said_by_someone_who_does_not_have_it_is_void() -> None:
    relay = waiting("checker.1#1")
    assert relay.given_back("checker.2#1", Failed(*KEY, 1, "x")) == []
    assert len(relay) == 1


def test_two_producers_of_one_range_each_get_their_own_answer() -> None:
    relay = Relay()
    relay.sent("parser.1#1", KEY, 1, [A], {"read": 1})
    relay.sent("parser.2#1", KEY, 1, [A], {"read": 2})
    assert sorted(relay.ack(A, ack({"written": 1}))) == [
        ("parser.1#1", ack({"read": 1, "written": 1})), ("parser.2#1", ack({"read": 2, "written": 1}))]
    assert len(relay) == 0


def test_the_deliveries_of_two_epochs_by_two_producers_do_not_mix() -> None:
    relay = Relay()
    relay.sent("parser.1#1", KEY, 1, [A], {})
    relay.sent("parser.2#1", KEY, 2, [A], {})
    assert relay.ack(A, ack(epoch=2)) == [("parser.2#1", ack(epoch=2))]
    assert relay.ack(A, ack(epoch=1)) == [("parser.1#1", ack(epoch=1))]


def test_a_range_that_one_producer_delivers_again_takes_the_place_of_the_first() -> None:
    relay = waiting(A, B)
    relay.ack(A, ack({"written": 2}))
    relay.sent(PRODUCER, KEY, 2, [A, B], {"read": 5})
    assert relay.ack(B, ack(epoch=1)) == []
    assert relay.ack(B, ack(epoch=2)) == []
    assert relay.ack(A, ack({"written": 2}, epoch=2)) == [(PRODUCER, ack({"read": 5, "written": 2}, epoch=2))]


def test_one_producers_death_leaves_the_other_waiting() -> None:
    relay = Relay()
    relay.sent("parser.1#1", KEY, 1, [A], {})
    relay.sent("parser.2#1", KEY, 1, [A], {})
    relay.gone("parser.1#1")
    assert relay.ack(A, ack()) == [("parser.2#1", ack())]


def test_the_workers_own_counts_are_not_changed_by_later_answers() -> None:
    counts = {"read": 5}
    relay = Relay()
    relay.sent(PRODUCER, KEY, 1, [A], counts)
    relay.ack(A, ack({"read": 1}))
    assert counts == {"read": 5}
