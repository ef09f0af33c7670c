"""The origin of batches, when more has to be in the header: what is late, windows' anchor, active units."""

from __future__ import annotations

from pathlib import Path

import msgspec

from actors.runtime.event_time import spans_of
from actors.runtime.ledger import Ledger
from actors.runtime.messages import NO_TIMES, Late, Span
from actors.runtime.origin import Origin
from actors.runtime.poison import Blame
from actors.runtime.values import Chunk
from tests.unit.test_origin import assigned, chunk, key, origin_with


def sent(batches: int, credit: int = 100) -> Origin:
    """An origin whose batches are all at one worker."""
    origin = origin_with(batches)
    origin.grant("a#1", credit)
    assert len(assigned(origin)) == batches
    return origin


def test_a_batch_that_is_needed_again_brings_what_is_late_for_each_shard_at_its_latest() -> None:
    origin = sent(1)
    assert origin.again(key(0, 10), origin.epoch, "a#1", (Late(1, 500, (9, 8)),))
    ((_, header, _),) = origin.assign()
    assert header.late == (Late(1, 500, (9, 8)),)
    assert origin.again(key(0, 10), origin.epoch, "a#1", (Late(0, 7), Late(1, 400, ())))
    ((_, header, _),) = origin.assign()
    assert header.late == (Late(0, 7), Late(1, 500, (9, 8))), "what was before it is what was said first"
    origin.new_epoch()
    ((_, header, _),) = origin.assign()
    assert header.late == (Late(0, 7), Late(1, 500, (9, 8)))


def test_the_halves_of_a_batch_bring_what_was_late_for_the_whole() -> None:
    origin = sent(1)
    origin.again(key(0, 10), origin.epoch, "a#1", (Late(1, 500, (9, 8)),))
    origin.replace(key(0, 10), [(chunk(0, 4), Blame()), (chunk(4, 10), Blame())])
    headers = [header for _, header, _ in origin.assign()]
    assert [header.late for header in headers] == [(Late(1, 500, (9, 8)),), (Late(1, 500),)]
    origin.again(key(0, 4), origin.epoch, "a#1", (Late(1, 600, (9, 8)),))
    origin.again(key(4, 10), origin.epoch, "a#1", (Late(2, 1, (9,)),))
    headers = [header for _, header, _ in origin.assign()]
    assert [header.late for header in headers] == [(Late(1, 600, (9, 8)),), (Late(1, 500), Late(2, 1, (9,)))]


def test_only_who_has_a_batch_in_this_epoch_can_need_it_again() -> None:
    origin = sent(2)
    assert not origin.again(key(0, 10), origin.epoch, "b#1", ())
    assert not origin.again(key(0, 10), origin.epoch - 1, "a#1", ())
    assert not origin.again(key(0, 9), origin.epoch, "a#1", ())
    origin.ack(key(0, 10), origin.epoch, {})
    assert not origin.again(key(0, 10), origin.epoch, "a#1", ())
    assert not origin.put_off(key(0, 10), origin.epoch, "a#1", NO_TIMES)
    assert assigned(origin) == []


def test_what_is_put_off_is_in_nobodys_hands_until_there_is_an_anchor() -> None:
    origin = sent(3)
    assert origin.is_waiting()
    for number in range(3):
        assert origin.put_off(key(10 * number, 10 * number + 10), origin.epoch, "a#1", Span(number, 0, 9))
    assert not origin.is_waiting()
    origin.lost("a#1")
    origin.new_epoch()
    origin.deliver_again()
    origin.grant("b#1", 9)
    assert assigned(origin) == []
    assert origin.advance() == []
    origin.resume(-5)
    assert [(header.start, header.anchor) for _, header, _ in origin.assign()] == [(0, -5), (10, -5), (20, -5)]


def test_what_was_reported_counts_from_the_first_batch_on_up_to_the_first_that_has_not_answered() -> None:
    origin = sent(3)
    spans = [Span(number, number, number) for number in range(3)]
    origin.put_off(key(10, 20), origin.epoch, "a#1", spans[1])
    assert spans_of(origin) == ([], False)
    origin.put_off(key(0, 10), origin.epoch, "a#1", spans[0])
    assert spans_of(origin) == (spans[:2], False)
    origin.put_off(key(20, 30), origin.epoch, "a#1", spans[2])
    assert spans_of(origin) == (spans, True)


def test_a_batch_without_times_is_delivered_at_once_unless_it_is_behind_one_that_is_put_off() -> None:
    origin = sent(3)
    origin.put_off(key(0, 10), origin.epoch, "a#1", NO_TIMES)
    origin.put_off(key(10, 20), origin.epoch, "a#1", Span(1, 1, 1))
    origin.put_off(key(20, 30), origin.epoch, "a#1", NO_TIMES)
    assert spans_of(origin) == ([Span(1, 1, 1)], False), "one is under way, and will make room"
    assert [(header.start, header.anchor) for _, header, _ in origin.assign()] == [(0, 0)]
    origin.ack(key(0, 10), origin.epoch, {})
    assert len(origin.advance()) == 1
    assert spans_of(origin) == ([Span(1, 1, 1)], True)
    assert assigned(origin) == []


def test_headers_say_what_is_active_when_they_are_delivered() -> None:
    origin = origin_with(1, generation=2)
    first = origin.roll
    origin.active, origin.roll = (3, 7), first + 1
    origin.grant("a#1", 2)
    ((_, header, _),) = origin.assign()
    assert (header.active, header.roll, header.anchor, header.late) == ((3, 7), first + 1, None, ())
    origin.active, origin.roll = (7,), first + 2
    origin.failed(key(0, 10), origin.epoch, "a#1")
    ((_, header, _),) = origin.assign()
    assert (header.active, header.roll) == ((7,), first + 2)
    assert origin_with(0, generation=3).roll > header.roll + 1000
    assert origin.open_units() == {1}


def test_what_a_shard_has_called_late_is_known_to_the_next_reader_of_a_file_that_is_followed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "positions.db", "run")
    unit = ledger.begin("log", "inode:1", alone=True)
    chunk = Chunk(unit.id, "log", 0, 10, 0, 1, b"123456789\n")
    ledger.issue(chunk)
    ledger.issued.refused(chunk, {0: Late(0, 5000, (7000, 6000)), 1: Late(1, 4000)})
    ledger.flush()
    ledger = Ledger(tmp_path / "positions.db", "run")
    (unit,) = ledger.known("inode:")
    ledger.resume(unit, "log", "inode:1")
    assert ledger.boundaries(unit) == [(0, 10)]
    assert ledger.issue(chunk).late == {0: Late(0, 5000, (7000, 6000)), 1: Late(1, 4000)}
    piece = msgspec.structs.replace(chunk, start=4, offset=4, data=chunk.data[4:])
    assert ledger.issue(piece).late == {0: Late(0, 5000), 1: Late(1, 4000)}
    ledger.close_file()
