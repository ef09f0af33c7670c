"""What becomes of the messages of one call of the RabbitMQ sink, whatever the server answers, and in whatever order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.values import Payload
from actors.sinks.rabbitmq_round import Round
from actors.topics.blocks import Message, pack_items, stored_in


def payloads(*counts: int) -> list[Payload]:
    found, number = [], 0
    for at, count in enumerate(counts):
        found.append(Payload("run", 10 * at, 10 * at + 10, count, pack_items(
            [b"%d" % one for one in range(number, number + count)], 1)))
        number += count
    return found


def published(round_: Round, tag: int) -> tuple[str, bytes]:
    found = round_.take(tag)
    assert found is not None
    return found[0], found[1].value or b""


def test_messages_come_in_order_each_under_the_id_of_its_batch_and_item() -> None:
    round_ = Round(payloads(2, 0, 1), waits=True)
    assert [published(round_, tag) for tag in (1, 2, 3)] == [
        ("run:0-10:0", b"0"), ("run:0-10:1", b"1"), ("run:20-30:0", b"2")]
    assert round_.take(4) is None
    assert not round_.is_over
    round_.confirmed(3, multiple=True, is_taken=True)
    assert round_.is_over
    assert round_.refusals == []


def test_confirms_come_in_any_order_and_only_what_is_confirmed_from_the_beginning_is_settled() -> None:
    round_ = Round(payloads(4), waits=True)
    for tag in (1, 2, 3, 4):
        published(round_, tag)
    round_.confirmed(3, multiple=False, is_taken=True)
    assert (round_.first, len(round_.outstanding)) == (0, 3)
    round_.confirmed(2, multiple=True, is_taken=True)
    assert (round_.first, len(round_.outstanding), round_.outstanding.bytes) == (3, 1, 1)
    round_.confirmed(3, multiple=False, is_taken=True)  # told twice
    round_.begin_again(careful=False)
    assert published(round_, 1)[1] == b"3"


def test_after_a_failure_all_from_the_first_unconfirmed_one_go_out_again_under_the_same_ids() -> None:
    round_ = Round(payloads(2, 2), waits=True)
    first = [published(round_, tag) for tag in (1, 2, 3, 4)]
    round_.confirmed(1, multiple=False, is_taken=True)
    round_.confirmed(4, multiple=False, is_taken=True)  # behind what is not confirmed: it goes again
    round_.begin_again(careful=False)
    assert [published(round_, tag) for tag in (1, 2, 3)] == first[1:]


def test_a_message_that_its_queue_refuses_is_published_again_and_alone() -> None:
    round_ = Round(payloads(3), waits=True)
    for tag in (1, 2, 3):
        published(round_, tag)
    round_.confirmed(2, multiple=False, is_taken=False)
    round_.confirmed(3, multiple=True, is_taken=True)
    assert round_.has_failed
    assert not round_.is_over
    round_.begin_again(careful=True)
    assert not round_.has_failed
    assert (round_.first, round_.next, round_.careful_until) == (1, 1, 3)


def test_a_message_that_nobody_takes_is_a_refusal_with_the_item_as_it_was_and_never_published_again() -> None:
    round_ = Round(payloads(1, 2), waits=False)
    for tag in (1, 2, 3):
        published(round_, tag)
    round_.returned("run:10-20:0", "NO_ROUTE")
    round_.confirmed(2, multiple=False, is_taken=True)
    assert not round_.has_failed
    round_.begin_again(careful=False)
    assert [published(round_, tag)[1] for tag in (1, 2)] == [b"0", b"2"]
    assert round_.take(3) is None
    round_.confirmed(2, multiple=True, is_taken=True)
    assert round_.is_over
    (refusal,) = round_.refusals
    assert (refusal.payload, refusal.item, refusal.reason, refusal.detail) == (1, 0, "unroutable", "NO_ROUTE")
    assert [one.value for one in stored_in(refusal.raw)] == [b"1"]


def test_a_message_that_nobody_takes_is_waited_for_when_that_is_asked_for() -> None:
    round_ = Round(payloads(2), waits=True)
    published(round_, 1)
    round_.returned("run:0-10:0", "NO_ROUTE")
    round_.confirmed(1, multiple=False, is_taken=True)
    assert round_.unrouted == "NO_ROUTE"
    round_.begin_again(careful=True)
    assert published(round_, 2)[1] == b"0"
    round_.confirmed(2, multiple=False, is_taken=True)
    assert (round_.first, round_.has_failed) == (1, False)


def test_a_return_of_something_else_is_passed_over() -> None:
    round_ = Round(payloads(1), waits=False)
    published(round_, 1)
    for other in ("", "x", "run:0-10:", "run:0-10:x", "run:0-11:0", "other:0-10:0"):
        round_.returned(other, "NO_ROUTE")
    round_.confirmed(1, multiple=False, is_taken=True)
    assert round_.is_over
    assert round_.refusals == []


def test_the_same_payloads_are_known_again_and_others_are_not() -> None:
    round_ = Round(payloads(2, 1), waits=True)
    assert round_.messages.are_of(payloads(2, 1))
    for other in (payloads(2), payloads(2, 2), payloads(1, 2), []):
        assert not round_.messages.are_of(other)


@given(st.data(), st.lists(st.integers(0, 5), min_size=1, max_size=5), st.booleans(), st.integers(1, 6))
def test_whatever_the_server_answers_each_message_is_in_the_queue_or_refused_and_the_last_ones_are_in_order(
    data: st.DataObject, counts: Sequence[int], waits: bool, window: int
) -> None:
    round_ = Round(payloads(*counts), waits)
    queue: list[int] = []
    patience = 40
    tag = 0
    while not round_.is_over:
        answers: dict[int, bool] = {}
        while len(round_.outstanding) < window and (found := round_.take(tag + 1)) is not None:
            tag += 1
            fate = data.draw(st.sampled_from(("taken", "taken", "nack", "return"))) if patience else "taken"
            if fate == "return":
                round_.returned(found[0], "NO_ROUTE")
            elif fate == "taken":
                queue.append(int(found[1].value or b""))
            answers[tag] = fate != "nack"
        lost = patience and data.draw(st.booleans())
        order = data.draw(st.permutations(list(answers))) if patience else list(answers)
        for one in order[:len(order) // 2] if lost else order:
            round_.confirmed(one, multiple=False, is_taken=answers[one])
        patience = max(0, patience - 1)
        if lost:
            tag = 0
            round_.begin_again(careful=False)
        elif round_.has_failed:
            round_.begin_again(careful=data.draw(st.booleans()) if patience else True)
    refused = {int(stored_in(one.raw)[0].value or b"") for one in round_.refusals}
    assert len(refused) == len(round_.refusals), "a message was refused twice"
    assert set(queue) | refused == set(range(sum(counts)))
    if waits:
        assert not refused
    last = {number: at for at, number in enumerate(queue) if number not in refused}
    assert sorted(last, key=lambda number: last[number]) == sorted(last)


def test_what_was_refused_can_be_packed_again() -> None:
    message = Message(None, b"k", 5, (("a", b"\xff"), ("a", None)))
    round_ = Round([Payload("run", 0, 1, 1, pack_items([message], 1))], waits=False)
    round_.take(1)
    round_.refuse_first("too_large", "so it says")
    assert round_.is_over
    (one,) = stored_in(round_.refusals[0].raw)
    assert Message(one.value, one.key, one.time, one.headers) == message

