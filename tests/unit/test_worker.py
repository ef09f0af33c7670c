"""A worker of a pool, alone: what it answers to who gives it work."""

from __future__ import annotations

import time

import msgspec

from actors.runtime.mailbox import SUPERVISOR
from actors.runtime.messages import Ack, Again, Batch, Credit, Hold, Member, Part, Span, Tap
from actors.runtime.tap import Taps
from actors.runtime.worker import Made, Output, PoolWorker
from tests.outbox import Outbox

READER, WRITER, CHECKER = "reader.1#1", "writer.a#1", "checker.1#1"
BATCH = Batch("p", 0, 10, 3, 0, 1, 1, "in", 0, 1)


def worker(made: Made) -> tuple[PoolWorker, Outbox]:
    """A worker that has made this of a batch."""
    outbox = Outbox("parser.1", Member("writer.a", 1, "writer", "", True, 1))
    role = PoolWorker(outbox, lambda batch, frames: made, 2)
    role.message(CHECKER, Credit(1), [])
    role.message(READER, BATCH, [b"x"])
    role.work(0.0)
    return role, outbox


def test_a_batch_of_which_nothing_can_be_made_yet_goes_back_with_its_event_times_and_the_credit() -> None:
    span = Span(5, 3, 9)
    role, outbox = worker(Made({}, again=span))
    assert outbox.sent == [(READER, Again(*BATCH.id, BATCH.epoch, span)), (READER, Credit(1))]
    role.message(WRITER, Ack(*BATCH.id, BATCH.epoch, {}), [])
    assert len(outbox.sent) == 2, "nothing waits for an answer"


def test_what_a_shard_needs_again_is_said_to_who_gave_the_batch() -> None:
    role, outbox = worker(Made({"read": 1}, [Output("writer.a", 1, {}, [b"x"])]))
    (address, part), credit = outbox.sent
    assert isinstance(part, Part)
    assert (address, credit) == (WRITER, (READER, Credit(1)))
    again = Again(*BATCH.id, BATCH.epoch, late=((0, 400),))
    role.message(WRITER, again, [])
    role.message(WRITER, Ack(*BATCH.id, BATCH.epoch, {"written": 1}), [])
    assert outbox.sent[2:] == [(READER, again)]


def test_what_the_next_pool_needs_again_is_passed_up() -> None:
    role, outbox = worker(Made({}, forward=[b"x"]))
    again = Again(*BATCH.id, BATCH.epoch, Span(5, 3, 9))
    role.message(CHECKER, again, [])
    assert [address for address, _ in outbox.sent] == [CHECKER, READER, READER]
    assert outbox.sent[-1] == (READER, again)


def test_records_that_the_next_pool_counts_are_on_the_board_and_in_no_acknowledgement() -> None:
    role, outbox = worker(Made({}, forward=[b"x"], records=7))
    assert outbox.slot.records == 7
    role.message(CHECKER, Ack(*BATCH.id, BATCH.epoch, {"read": 7}), [])
    assert outbox.sent[-1] == (READER, Ack(*BATCH.id, BATCH.epoch, {"read": 7}))


def test_that_the_application_has_enough_comes_back_with_the_acknowledgement() -> None:
    role, outbox = worker(Made({"read": 1, "filtered": 1, "finish": 1}, [Output("writer.a", 0, {}, [])]))
    role.message(WRITER, Ack(*BATCH.id, BATCH.epoch, {}), [])
    assert outbox.sent[-1] == (READER, Ack(*BATCH.id, BATCH.epoch, {"read": 1, "filtered": 1, "finish": 1}))


def test_what_waits_here_and_how_long_is_on_the_board_and_what_the_next_pool_would_take() -> None:
    role, outbox = worker(Made({}, forward=[b"x"]))
    slot = outbox.slot
    assert (slot.queued, slot.waiting_since, slot.credit) == (0, 0.0, 1)
    role.message(CHECKER, Credit(2), [])
    before = time.monotonic()
    for start in (10, 20, 30):
        role.message(READER, msgspec.structs.replace(BATCH, start=start, end=start + 10), [b"x"])
    role.work(0.0)
    assert (slot.queued, slot.credit) == (2, 2)
    assert before <= slot.waiting_since <= time.monotonic()
    role.message(SUPERVISOR, Hold(CHECKER, True), [])
    role.work(0.0)
    assert (slot.queued, slot.credit, slot.now_in) == (1, 0, "WORK")
    role.roster([], [Member("reader", 1, "reader", "", False, 1), Member("reader.1", 1, "reader", "", False, 1)])
    role.work(0.0)
    assert (slot.queued, slot.waiting_since) == (0, 0.0)


def test_every_batch_that_was_made_is_in_the_histogram() -> None:
    role, outbox = worker(Made({}, forward=[b"x"]))
    role.message(READER, msgspec.structs.replace(BATCH, start=10, end=20), [b"x"])
    role.work(0.0)
    assert (len(outbox.slot.times), outbox.slot.batches) == (2, 2)
    assert all(0.0 <= each < 10.0 for each in outbox.slot.times)


def test_a_tap_that_cannot_be_made_is_nobodys_death() -> None:
    def make_taps() -> Taps:
        raise OSError("too many open files")

    outbox = Outbox("parser.1", Member("writer.a", 1, "writer", "", True, 1))
    role = PoolWorker(outbox, lambda batch, frames: Made({"read": 1}), 2, make_taps)
    role.message(SUPERVISOR, Tap("/nowhere", 6.0), [])
    role.message(READER, BATCH, [b"x"])
    role.work(0.0)
    assert (READER, Ack(*BATCH.id, BATCH.epoch, {"read": 1})) in outbox.sent
