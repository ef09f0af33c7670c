"""The origin of batches: what is open, who has it, what is delivered again, what is closed."""

from __future__ import annotations

import pytest

from actors.runtime import poison
from actors.runtime.messages import Batch, BatchId, Suspect
from actors.runtime.origin import Origin
from actors.runtime.poison import Blame
from actors.runtime.values import Chunk


def chunk(start: int, end: int, unit: int = 1) -> Chunk:
    return Chunk(unit, "in.tsv", start, end, start, 1 + start, b"x" * (end - start))


def key(start: int, end: int) -> BatchId:
    return ("p", start, end)


def origin_with(batches: int, window_batches: int = 10, window_bytes: int = 1000, generation: int = 1) -> Origin:
    """An origin that has issued ranges of ten bytes."""
    origin = Origin(generation, window_batches, window_bytes)
    for number in range(batches):
        origin.issue("p", chunk(10 * number, 10 * number + 10))
    return origin


def assigned(origin: Origin) -> list[tuple[str, int]]:
    """Who was given which range now."""
    return [(worker, header.start) for worker, header, _ in origin.assign()]


def test_batches_go_out_in_source_order_one_for_each_credit() -> None:
    origin = origin_with(3)
    origin.grant("a#1", 2)
    assert assigned(origin) == [("a#1", 0), ("a#1", 10)]
    assert assigned(origin) == []
    assert origin.queued() == 1
    origin.grant("a#1", 1)
    assert assigned(origin) == [("a#1", 20)]
    assert origin.queued() == 0


def test_nothing_goes_to_a_worker_without_credit() -> None:
    origin = origin_with(1)
    assert assigned(origin) == []
    origin.grant("a#1", 0)
    assert assigned(origin) == []


def test_the_worker_with_most_free_credit_gets_the_next_batch() -> None:
    origin = origin_with(4)
    origin.grant("a#1", 1)
    origin.grant("b#1", 3)
    workers = [worker for worker, _ in assigned(origin)]
    assert workers[:2] == ["b#1", "b#1"]
    assert sorted(workers) == ["a#1", "b#1", "b#1", "b#1"]


def test_the_header_says_everything_about_the_chunk_and_the_payload_is_its_bytes() -> None:
    origin = Origin(3, 1, 1)
    origin.issue("p", Chunk(4, "in.tsv", 7, 9, 107, 12, b"ab", "truncated_gzip", "ends early"))
    origin.grant("a#1", 1)
    ((worker, header, data),) = origin.assign()
    assert (worker, data) == ("a#1", b"ab")
    assert header == Batch("p", 7, 9, origin.epoch, 7, 0, 4, "in.tsv", 107, 12, "truncated_gzip", "ends early",
                           roll=origin.roll)


def test_the_window_is_full_after_so_many_batches() -> None:
    origin = origin_with(1, window_batches=2)
    assert origin.has_room()
    origin.issue("p", chunk(10, 20))
    assert not origin.has_room()
    assert len(origin) == 2


def test_the_window_is_full_after_so_many_bytes() -> None:
    assert origin_with(1, window_bytes=11).has_room()
    assert not origin_with(2, window_bytes=20).has_room()


def test_one_batch_is_allowed_however_small_the_window() -> None:
    assert origin_with(0, window_batches=1, window_bytes=1).has_room()
    assert not origin_with(1, window_batches=1, window_bytes=1).has_room()


def test_nothing_is_issued_very_far_behind_the_oldest_that_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.runtime.origin._MOST_TURNS", 100)
    origin = Origin(1, 10, 1000)
    origin.grant("a#1", 1000)
    origin.issue("held", chunk(0, 10))
    passed = 0
    while origin.has_room():
        origin.issue(f"p{passed}", chunk(0, 10))
        assert assigned(origin)
        origin.ack((f"p{passed}", 0, 10), origin.epoch, {})
        origin.advance()
        origin.committed()
        passed += 1
    assert (passed, len(origin)) == (100, 1)
    origin.ack(("held", 0, 10), origin.epoch, {})
    origin.advance()
    assert origin.has_room()


def test_acknowledged_batches_are_closed_in_order_and_only_up_to_the_first_gap() -> None:
    origin = origin_with(3)
    origin.grant("a#1", 3)
    assigned(origin)
    assert origin.ack(key(10, 20), origin.epoch, {"read": 2})
    assert origin.advance() == []
    assert origin.low("p") == 0
    assert origin.ack(key(0, 10), origin.epoch, {"read": 1})
    assert [(c.start, counts) for c, counts in origin.advance()] == [(0, {"read": 1}), (10, {"read": 2})]
    assert (origin.low("p"), len(origin)) == (20, 1)
    assert origin.advance() == []


def test_closing_makes_room() -> None:
    origin = origin_with(1, window_batches=1)
    origin.ack(key(0, 10), origin.epoch, {})
    assert not origin.has_room()
    origin.advance()
    assert origin.has_room()


def test_an_acknowledgement_counts_once() -> None:
    origin = origin_with(2)
    assert origin.ack(key(10, 20), origin.epoch, {"read": 1})
    assert not origin.ack(key(10, 20), origin.epoch, {"read": 9})
    origin.ack(key(0, 10), origin.epoch, {})
    assert origin.advance()[1][1] == {"read": 1}
    assert not origin.ack(key(10, 20), origin.epoch, {"read": 9})


def test_an_acknowledgement_of_what_was_never_issued_is_no_news() -> None:
    origin = origin_with(1)
    assert not origin.ack(key(0, 9), origin.epoch, {})
    assert not origin.ack(("other", 0, 10), origin.epoch, {})
    assert origin.advance() == []


def test_what_a_dead_worker_had_in_hand_goes_to_another_before_anything_new() -> None:
    origin = origin_with(3)
    origin.grant("a#1", 2)
    assigned(origin)
    origin.lost("a#1")
    origin.grant("b#1", 3)
    assert assigned(origin) == [("b#1", 0), ("b#1", 10), ("b#1", 20)]


def test_a_dead_worker_takes_its_credit_with_it() -> None:
    origin = origin_with(1)
    origin.grant("a#1", 5)
    origin.lost("a#1")
    assert assigned(origin) == []


def test_what_a_dead_worker_had_finished_is_not_delivered_again() -> None:
    origin = origin_with(2)
    origin.grant("a#1", 2)
    assigned(origin)
    origin.ack(key(0, 10), origin.epoch, {})
    origin.lost("a#1")
    origin.grant("b#1", 2)
    assert assigned(origin) == [("b#1", 10)]


def test_the_death_of_a_stranger_changes_nothing() -> None:
    origin = origin_with(1)
    origin.grant("a#1", 1)
    assigned(origin)
    origin.lost("z#1")
    origin.grant("a#1", 1)
    assert assigned(origin) == []


def test_a_failed_batch_is_delivered_again() -> None:
    origin = origin_with(1)
    origin.grant("a#1", 2)
    assigned(origin)
    assert origin.failed(key(0, 10), origin.epoch, "a#1")
    assert assigned(origin) == [("a#1", 0)]


def test_only_the_worker_that_has_a_batch_can_say_that_it_failed() -> None:
    origin = origin_with(1)
    origin.grant("a#1", 1)
    assigned(origin)
    assert not origin.failed(key(0, 10), origin.epoch, "b#1")
    origin.lost("a#1")
    assert not origin.failed(key(0, 10), origin.epoch, "a#1"), "it is queued again already"
    origin.grant("b#1", 1)
    assert assigned(origin) == [("b#1", 0)]
    assert not origin.failed(key(0, 10), origin.epoch, "a#1"), "it is another's now"


def test_a_failure_after_the_acknowledgement_is_no_news() -> None:
    origin = origin_with(1)
    origin.grant("a#1", 1)
    assigned(origin)
    origin.ack(key(0, 10), origin.epoch, {})
    assert not origin.failed(key(0, 10), origin.epoch, "a#1")
    assert len(origin.advance()) == 1


def test_an_acknowledgement_of_an_earlier_delivery_counts_while_a_later_one_is_under_way() -> None:
    origin = origin_with(1)
    origin.grant("a#1", 1)
    assigned(origin)
    origin.lost("a#1")
    assert origin.ack(key(0, 10), origin.epoch, {"read": 1}), "what it wrote is written, alive or dead"
    origin.grant("b#1", 1)
    assert assigned(origin) == [], "it is not delivered again for nothing"


def test_a_new_epoch_delivers_every_open_batch_again_also_acknowledged_ones() -> None:
    origin = origin_with(3)
    origin.grant("a#1", 2)
    assigned(origin)
    origin.ack(key(10, 20), origin.epoch, {"read": 1})
    origin.new_epoch()
    origin.grant("a#1", 3)
    assert assigned(origin) == [("a#1", 0), ("a#1", 10), ("a#1", 20)]


def test_consumers_are_told_the_committed_position_for_what_lies_beyond_it_may_be_delivered_again() -> None:
    origin = origin_with(3)
    origin.grant("a#1", 3)
    assigned(origin)
    origin.ack(key(0, 10), origin.epoch, {})
    origin.advance()
    origin.lost("a#1")
    origin.grant("b#1", 1)
    assert [header.low for _, header, _ in origin.assign()] == [0]
    origin.committed()
    origin.grant("b#1", 1)
    assert [header.low for _, header, _ in origin.assign()] == [10]


def test_a_new_epoch_does_not_open_again_what_is_closed() -> None:
    origin = origin_with(2)
    origin.ack(key(0, 10), origin.epoch, {})
    origin.advance()
    origin.committed()
    origin.new_epoch()
    origin.grant("a#1", 2)
    assert assigned(origin) == [("a#1", 10)]
    assert origin.low("p") == 10


def test_answers_of_an_old_epoch_are_void() -> None:
    origin = origin_with(1)
    origin.grant("a#1", 2)
    old = origin.epoch
    assigned(origin)
    origin.new_epoch()
    assigned(origin)
    assert not origin.ack(key(0, 10), old, {})
    assert not origin.failed(key(0, 10), old, "a#1")
    assert origin.ack(key(0, 10), origin.epoch, {})


def test_the_epochs_of_two_generations_of_an_origin_are_never_the_same() -> None:
    first, second = origin_with(0, generation=1), origin_with(0, generation=2)
    epochs = set()
    for _ in range(100):
        first.new_epoch()
        epochs.add(first.epoch)
    assert second.epoch not in epochs
    assert second.epoch > max(epochs)


def test_a_fault_without_data_is_a_batch_like_another() -> None:
    origin = Origin(1, 1, 1)
    origin.issue("p", Chunk(1, "in.gz", 0, 1, 0, 1, b"", "truncated_gzip"))
    assert len(origin) == 1
    origin.ack(("p", 0, 1), origin.epoch, {"dead_lettered": 1})
    assert origin.advance()[0][0].fault == "truncated_gzip"
    assert origin.low("p") == 1


def test_another_partition_begins_at_its_own_position() -> None:
    origin = origin_with(1)
    origin.issue("q", chunk(500, 510))
    origin.grant("a#1", 2)
    headers = [header for _, header, _ in origin.assign()]
    assert [(header.partition, header.low, header.start) for header in headers] == [("p", 0, 0), ("q", 500, 500)]
    assert (origin.tip("p"), origin.tip("q"), origin.tip("r")) == (10, 510, None)


def test_each_partition_is_closed_in_its_own_order_and_none_waits_for_another() -> None:
    origin = origin_with(2)
    origin.issue("q", chunk(0, 10, unit=2))
    origin.issue("q", chunk(10, 20, unit=2))
    origin.ack(("q", 0, 10), origin.epoch, {"read": 5})
    origin.ack(key(10, 20), origin.epoch, {"read": 1})
    assert [(c.unit, c.start, counts) for c, counts in origin.advance()] == [(2, 0, {"read": 5})]
    assert (origin.low("p"), origin.low("q"), len(origin)) == (0, 10, 3)
    assert origin.is_open("p") and origin.is_open("q") and not origin.is_open("r")


def test_batches_of_all_partitions_go_out_in_the_order_of_issue() -> None:
    origin = Origin(1, 10, 1000)
    for start in (700, 710):
        origin.issue("p", chunk(start, start + 10))
        origin.issue("q", chunk(start - 700, start - 690))
    origin.grant("a#1", 4)
    assert assigned(origin) == [("a#1", 700), ("a#1", 0), ("a#1", 710), ("a#1", 10)]
    origin.lost("a#1")
    origin.new_epoch()
    origin.grant("b#1", 4)
    assert assigned(origin) == [("b#1", 700), ("b#1", 0), ("b#1", 710), ("b#1", 10)]


def test_one_window_bounds_the_batches_and_bytes_of_all_partitions() -> None:
    origin = Origin(1, 3, 25)
    origin.issue("p", chunk(0, 10))
    origin.issue("q", chunk(0, 10))
    assert origin.has_room()
    origin.issue("r", chunk(0, 10))
    assert not origin.has_room()
    origin.ack(("q", 0, 10), origin.epoch, {})
    origin.advance()
    assert origin.has_room()


def test_a_partition_that_is_closed_and_committed_is_forgotten_and_goes_on_where_it_ended() -> None:
    origin = origin_with(1)
    origin.issue("q", chunk(0, 10))
    for partition in ("p", "q"):
        origin.ack((partition, 0, 10), origin.epoch, {})
    origin.advance()
    assert origin.low("p") == 10, "a death of the reader would deliver it again: it is still known"
    origin.committed()
    assert (origin.low("p"), origin.low("q")) == (None, None)
    origin.issue("p", chunk(10, 20))
    origin.grant("a#1", 1)
    assert [(header.low, header.start) for _, header, _ in origin.assign()] == [(10, 10)]


def test_a_partition_that_has_something_open_is_not_forgotten() -> None:
    origin = origin_with(2)
    origin.ack(key(0, 10), origin.epoch, {})
    origin.advance()
    origin.committed()
    assert (origin.low("p"), origin.tip("p")) == (10, 20)


def test_the_halves_of_a_batch_take_its_turn() -> None:
    origin = origin_with(1)
    origin.issue("q", chunk(0, 10))
    halves = [(chunk(0, 4), Blame()), (chunk(4, 10), Blame())]
    origin.replace(key(0, 10), halves)
    origin.grant("a#1", 3)
    headers = [header for _, header, _ in origin.assign()]
    assert [header.id for header in headers] == [key(0, 4), key(4, 10), ("q", 0, 10)]
    assert len(origin) == 3


def test_a_batch_that_was_queued_twice_is_delivered_once() -> None:
    origin = origin_with(2)
    origin.grant("a#1", 2)
    assigned(origin)
    origin.failed(key(0, 10), origin.epoch, "a#1")
    origin.lost("a#1")
    origin.grant("b#1", 9)
    assert sorted(assigned(origin)) == [("b#1", 0), ("b#1", 10)]


@pytest.mark.parametrize("told_by", ["roster", "producer"])
def test_who_has_a_batch_since_a_death_keeps_it_when_its_suspicion_comes_after(told_by: str) -> None:
    origin = origin_with(1)
    origin.grant("a#1", 1)
    assert assigned(origin) == [("a#1", 0)]
    if told_by == "roster":
        origin.lost("a#1")
    else:
        assert origin.failed(key(0, 10), origin.epoch, "a#1", "checker.1#1 died")
    origin.grant("b#1", 2)
    assert assigned(origin) == [("b#1", 0)]
    suspect = origin.suspect(key(0, 10))
    assert suspect is not None
    origin.replace(key(0, 10), poison.blame(*suspect, Suspect(*key(0, 10), "worker_died", "how")))
    assert assigned(origin) == []
    assert origin.suspect(key(0, 10)) == (suspect[0], Blame(1, "worker_died", "how"))
    origin.lost("b#1")  # the next death counts as ever
    origin.grant("c#1", 1)
    assert assigned(origin) == [("c#1", 0)]
    assert origin.ack(key(0, 10), origin.epoch, {})
    assert len(origin.advance()) == 1


def test_a_suspicion_that_comes_before_the_death_is_known_gives_the_dead_nothing_again() -> None:
    origin = origin_with(1)
    for worker in ("a#1", "b#1"):
        origin.grant(worker, 2)
        assert assigned(origin) == [(worker, 0)]
        suspect = origin.suspect(key(0, 10))
        assert suspect is not None
        origin.replace(key(0, 10), poison.blame(*suspect, Suspect(*key(0, 10), "worker_died", "how")))
        assert assigned(origin) == [], "it has credit left, and is dead"
        origin.lost(worker)
    origin.grant("c#1", 1)
    assert assigned(origin) == [("c#1", 0)]


def test_what_is_void_is_delivered_again_without_its_records_and_only_that_is_waited_for() -> None:
    origin = origin_with(3)
    origin.issue("other", chunk(0, 10, unit=2))
    origin.grant("a#1", 4)
    before = {header.id: header for _, header, _ in origin.assign()}
    origin.ack(key(10, 20), origin.epoch, {"read": 1})
    assert [each.start for each in origin.void("p")] == [0, 10, 20]
    origin.grant("a#1", 4)
    again = list(origin.assign())
    assert [(header.id, data, header.lines) for _, header, data in again] == [
        (key(0, 10), b"", 0), (key(10, 20), b"", 0), (key(20, 30), b"", 0)]
    assert not any(origin.ack(key, old.epoch, {"read": 1}) for key, old in before.items() if key[0] == "p")
    assert origin.ack(("other", 0, 10), before["other", 0, 10].epoch, {"read": 1}), "the others are as they were"
    for _, header, _ in again:
        assert origin.ack(header.id, header.epoch, {})
    assert [(closed.unit, counts) for closed, counts in origin.advance()] == [
        (1, {}), (1, {}), (1, {}), (2, {"read": 1})]
    assert len(origin) == 0


def test_void_batches_make_room_for_bytes() -> None:
    origin = origin_with(3, window_bytes=30)
    assert not origin.has_room()
    origin.void("p")
    assert origin.has_room()
    assert origin.void("unknown") == []


def test_a_fault_that_is_void_is_no_fault_any_more() -> None:
    origin = Origin(1, 10, 1000)
    origin.issue("p", Chunk(1, "a", 0, 10, 0, 1, b"x", fault="line_too_long", detail="why"))
    origin.void("p")
    origin.grant("a#1", 1)
    ((_, header, data),) = origin.assign()
    assert (header.fault, header.detail, data) == ("", "", b"")
