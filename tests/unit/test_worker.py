"""A worker of a pool, alone: what it answers to who gives it work."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from actors.runtime.lift import lift
from actors.runtime.mailbox import SUPERVISOR
from actors.runtime.messages import Ack, Again, Batch, Credit, Hello, Hold, Late, Member, Part, Span, Tap
from actors.runtime.tap import Taps
from actors.runtime.worker import Made, Output, PoolWorker
from tests.outbox import Outbox

READER, WRITER, CHECKER = "reader.1#1", "writer.a#1", "checker.1#1"
BATCH = Batch("p", 0, 10, 3, 0, 1, 1, "in", 0, 1)


def worker(made: Made, clock: Callable[[], float] = time.monotonic) -> tuple[PoolWorker, Outbox]:
    """A worker that has made this of a batch."""
    outbox = Outbox("parser.1", Member("writer.a", 1, "writer", "", True, 1))
    role = PoolWorker(outbox, lambda batch, frames: made, 2, turn_s=0.0, clock=clock)
    role.message(CHECKER, Credit(1), [])
    role.message(READER, BATCH, [b"x"])
    role.work(0.0)
    return role, outbox


def working(took_s: float, batches: int) -> tuple[Outbox, PoolWorker, list[float]]:
    """A worker that has been given so many batches at time 0, each of which takes so long."""
    outbox, at = Outbox("parser.1"), [0.0]

    def make(batch: Batch, frames: list[bytes]) -> Made:
        at[0] += took_s
        return Made({"read": 1})

    role = PoolWorker(outbox, make, 2, clock=lambda: at[0])
    role.message(READER, Hello("run"), [])
    for start in range(batches):
        role.message(READER, Batch("p", start, start + 1, 3, 0, 1, 1, "in", 0, 1), [b"x"])
    outbox.sent.clear()
    return outbox, role, at


@pytest.mark.parametrize(("took_s", "times"), [
    (0.0, [30]), (0.0013, [4, 8, 12, 16, 20, 24, 28, 30]), (1.0, list(range(1, 31)))])
def test_what_takes_no_time_is_worked_off_in_turns_between_which_messages_are_looked_at(
    took_s: float, times: list[int]
) -> None:
    outbox, role, at = working(took_s, 30)
    done = []
    while role.work(at[0]) is not None:
        done.append(sum(isinstance(message, Ack) for _, message in outbox.sent))
    assert done == times


def test_a_producer_may_have_as_much_here_as_is_worked_off_in_no_time_and_no_more() -> None:
    def here(took_s: float, batches: int) -> int:
        outbox, role, at = working(took_s, batches)
        while role.work(at[0]) is not None:
            pass
        return 2 - batches + sum(message.batches for _, message in outbox.sent if isinstance(message, Credit))

    assert [here(0.0, batches) for batches in (1, 2, 3, 4, 5, 6, 7)] == [4, 8, 16, 32, 64, 64, 64]
    assert [here(took_s, 100) for took_s in (0.00021, 0.0011, 0.004, 1.0)] == [47, 9, 2, 2]


def test_who_has_come_to_take_long_takes_back_what_it_had_granted() -> None:
    outbox, role, at = working(0.0, 0)
    quick, here = [0.0], [2]

    def give(batches: int) -> None:
        for _ in range(batches):
            role.message(READER, BATCH, [b"x"])
            role.work(at[0])
            at[0] += quick[0]
        here[0] += sum(message.batches for _, message in outbox.sent if isinstance(message, Credit)) - batches
        outbox.sent.clear()

    def make(batch: Batch, frames: list[bytes]) -> Made:
        at[0] += quick[0]
        return Made({"read": 1})

    role = PoolWorker(outbox, make, 2, clock=lambda: at[0])
    role.message(READER, Hello("run"), [])
    outbox.sent.clear()
    give(10)
    assert here == [64]
    quick[0] = 1.0
    give(62)
    assert here == [2]
    give(5)
    assert here == [2]


def test_with_its_credit_a_worker_says_what_it_has_worked_off_and_how_long_it_took() -> None:
    outbox, role, at = working(0.002, 0)
    for start, lines in ((0, 5), (10, 3), (20, -1)):
        role.message(READER, msgspec.structs.replace(BATCH, start=start, end=start + 10, lines=lines), [b"x"])
    role.work(at[0])
    (credit,) = [message for _, message in outbox.sent if isinstance(message, Credit)]
    assert (credit.done, credit.records) == (3, 5 + 3 + 1), "lines of which nothing was made are work, too"
    assert credit.seconds == credit.spent_s == pytest.approx(0.006)


def test_what_a_parser_sends_on_is_counted_by_who_works_it_off_with_the_time_of_both() -> None:
    at = [0.0]

    def make(batch: Batch, frames: list[bytes]) -> Made:
        at[0] += 0.5
        return Made({}, forward=[b"x"]) if batch.spent_s == 0.0 else Made({"read": 4})

    posts = [Outbox(name) for name in ("parser.1", "checker.1")]
    parser, checker = (PoolWorker(post, make, 2, clock=lambda: at[0]) for post in posts)
    parser.message(READER, Hello("run"), [])
    checker.message("parser.1#1", Hello("run"), [])
    parser.message(CHECKER, Credit(2), [])
    parser.message(READER, BATCH, [b"x"])
    parser.work(0.0)
    (sent_on,) = [message for _, message in posts[0].sent if isinstance(message, Batch)]
    assert posts[0].sent[-1] == (READER, Credit(1, 1, 0.5))
    checker.message("parser.1#1", sent_on, [b"x"])
    checker.work(0.0)
    address, credit = posts[1].sent[-1]
    assert isinstance(credit, Credit)
    assert (address, credit) == ("parser.1#1", Credit(1, 1, 0.5, 4, 1.0))
    assert isinstance(credit, Credit)
    parser.message(CHECKER, credit, [])
    assert posts[0].sent[-1] == (READER, Credit(0, records=4, spent_s=1.0))


def test_a_batch_that_takes_too_long_is_given_back_with_the_credit_and_nothing_of_it_is_sent() -> None:
    outbox = Outbox("parser.1", Member("writer.a", 1, "writer", "", True, 1))
    at = [0.0]

    def check(number: int) -> int:
        at[0] += 1.0
        return number

    def make(batch: Batch, frames: list[bytes]) -> Made:
        done = lift(check, "check")(list(range(batch.lines)))
        return Made({"read": len(done)}, [Output("writer.a", len(done), {}, [b"x"])])

    role = PoolWorker(outbox, make, 2, clock=lambda: at[0])
    role.message(READER, Hello("run"), [])
    outbox.sent.clear()
    hasty = msgspec.structs.replace(BATCH, lines=300, give_back_s=1e-9)
    role.message(READER, hasty, [b"x"])
    role.work(0.0)
    (_, again), (_, credit) = outbox.sent
    assert isinstance(again, Again)
    assert again.id == hasty.id
    assert again.too_long is not None
    records, seconds = again.too_long
    assert 1 <= records < 300
    assert seconds > 0.0
    assert credit == Credit(1, 1, at[0])
    outbox.sent.clear()
    role.message(READER, msgspec.structs.replace(hasty, lines=1), [b"x"])
    role.message(READER, msgspec.structs.replace(BATCH, lines=300), [b"x"])
    role.work(at[0])
    role.work(at[0])
    counts = [part.count for _, part in outbox.sent if isinstance(part, Part)]
    assert counts == [1, 300], "a single record is waited for, and so is all of a batch that says nothing"


def test_a_batch_of_which_nothing_can_be_made_yet_goes_back_with_its_event_times_and_the_credit() -> None:
    span = Span(5, 3, 9)
    role, outbox = worker(Made({}, again=span), lambda: 0.0)
    assert outbox.sent == [(READER, Again(*BATCH.id, BATCH.epoch, span)), (READER, Credit(1, 1, records=1))]
    role.message(WRITER, Ack(*BATCH.id, BATCH.epoch, {}), [])
    assert len(outbox.sent) == 2, "nothing waits for an answer"


def test_what_a_shard_needs_again_is_said_to_who_gave_the_batch() -> None:
    role, outbox = worker(Made({"read": 1}, [Output("writer.a", 1, {}, [b"x"])]), lambda: 0.0)
    (address, part), credit = outbox.sent
    assert isinstance(part, Part)
    assert (address, credit) == (WRITER, (READER, Credit(1, 1, records=1)))
    again = Again(*BATCH.id, BATCH.epoch, late=(Late(0, 400),))
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
