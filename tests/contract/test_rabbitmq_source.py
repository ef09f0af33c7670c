"""The rabbitmq source as its reader and a real server see it."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.framing import Record
from actors.runtime.pieces import record_count
from actors.sources import rabbitmq_place
from actors.sources.rabbitmq import RabbitMQ
from actors.sources.rabbitmq_seen import FILE
from tests.queues import WATCHDOG_S, Reading, channel, declare, eventually, publish, take_all, waiting_in
from tests.rabbitmq import RabbitMQ as Server

pika = pytest.importorskip("pika")
VALUES = [b"value\n%d" % number for number in range(40)]


@pytest.fixture
def queue(rabbitmq: Server) -> str:
    return rabbitmq.new_name()


def at(server: Server, queue: str, **how: Any) -> dict[str, Any]:
    return {"topics": [server.url(f"?queue={queue}", **how)]}


def held(record: Record) -> dict[str, bytes | None]:
    return dict(record.headers)


@pytest.mark.parametrize("kind", ["quorum", "classic", "stream"])
def test_messages_are_journalled_acknowledged_and_handed_out_in_order(
    tmp_path: Path, rabbitmq: Server, queue: str, kind: str
) -> None:
    declare(rabbitmq.url(), queue, kind)
    publish(rabbitmq.url(), queue, VALUES)
    with Reading(tmp_path, **at(rabbitmq, queue), queue_type=kind) as here:
        assert here.until_values(40) == VALUES
        assert [path.suffix for path in (tmp_path / "journal").iterdir()] == [".messages"]
    if kind != "stream":
        assert take_all(rabbitmq.url(), queue) == []


def test_a_record_has_all_that_the_message_came_with(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    declare(rabbitmq.url(), queue)
    with channel(rabbitmq.url()) as client:
        client.exchange_declare(f"{queue}.x", "topic")
        client.queue_bind(queue, f"{queue}.x", "shop.#")
        client.basic_publish(f"{queue}.x", "shop.reviews", b"\n5\n", pika.BasicProperties(
            message_id="m1", content_type="text/plain", timestamp=1_700_000_000, app_id="shop",
            headers={"stars": 5, "größe": "ß", "raw": b"\xff", "amqp-queue": "forged"}))
    with Reading(tmp_path, **at(rabbitmq, queue)) as here:
        here.until_values(1)
    (record,) = here.records
    assert (record.value, record.key, record.time) == (b"\n5\n", b"shop.reviews", 1_700_000_000_000)
    assert held(record) == {
        "stars": b"5", "größe": "ß".encode(), "raw": b"\xff", "amqp-exchange": f"{queue}.x".encode(),
        "amqp-routing-key": b"shop.reviews", "amqp-message-id": b"m1", "amqp-content-type": b"text/plain",
        "amqp-app-id": b"shop", "amqp-queue": f"127.0.0.1:{rabbitmq.port}/{queue}".encode()}


def test_the_key_may_be_in_a_header(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, [b"a"], headers={"product": "B00A"})
    with Reading(tmp_path, **at(rabbitmq, queue), key="header:product") as here:
        here.until_values(1)
    assert here.records[0].key == b"B00A"


def test_what_was_not_committed_comes_again_from_the_journal_in_the_same_ranges(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, VALUES)
    with Reading(tmp_path, batch_bytes=50, **at(rabbitmq, queue)) as before:
        before.until_values(40)
        before.ledger.close(before.chunks[0], {})
    publish(rabbitmq.url(), queue, [b"new"], first=40)
    with Reading(tmp_path, before.ledger.reopened(), batch_bytes=50, **at(rabbitmq, queue)) as here:
        here.until(lambda: b"new" in here.values, "the new one")
        assert here.chunks[:-1] == before.chunks[1:]


@pytest.mark.parametrize("kind", ["quorum", "classic", "stream"])
@pytest.mark.parametrize("is_put_away", [False, True])
def test_a_message_whose_acknowledgement_was_lost_is_read_once(
    tmp_path: Path, rabbitmq: Server, queue: str, monkeypatch: pytest.MonkeyPatch, kind: str, is_put_away: bool
) -> None:
    declare(rabbitmq.url(), queue, kind)
    publish(rabbitmq.url(), queue, VALUES)
    options = {**at(rabbitmq, queue), "queue_type": kind, "segment_bytes": 1}
    before = Reading(tmp_path, **options)
    monkeypatch.setattr("actors.sources.rabbitmq_queue.Queue.acknowledge", lambda *_: None)
    before.until_values(40)
    if is_put_away:  # all of it is durable elsewhere, and its segments are gone
        before.close_all()
        for unit in before.ledger.units:
            before.source.finished(unit)
        assert [path.name for path in (tmp_path / "journal").iterdir()] == [FILE]
    before.abandon()
    monkeypatch.undo()
    publish(rabbitmq.url(), queue, [b"last"], first=40)
    with Reading(tmp_path, before.ledger.reopened(), **options) as here:
        here.until(lambda: b"last" in here.values, "the last one")
        assert here.values == ([b"last"] if is_put_away else [*VALUES, b"last"])
        assert here.source._intake.seen.repeats == (0 if kind == "stream" else 40)
        here.close_all()
        here.source.finished(here.ledger.units[-1])
        told = "40 messages were delivered again, and known: not read twice"
        assert here.ledger.units[-1].note == ("" if kind == "stream" else told)
    if kind != "stream":
        assert take_all(rabbitmq.url(), queue) == []


def test_one_without_an_id_is_read_again_when_its_acknowledgement_was_lost(
    tmp_path: Path, rabbitmq: Server, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, [b"a"], ids=False)
    before = Reading(tmp_path, **at(rabbitmq, queue))
    monkeypatch.setattr("actors.sources.rabbitmq_queue.Queue.acknowledge", lambda *_: None)
    before.until_values(1)
    before.abandon()
    monkeypatch.undo()
    with Reading(tmp_path, before.ledger.reopened(), **at(rabbitmq, queue)) as here:
        assert here.until_values(2) == [b"a", b"a"]


def test_two_messages_of_one_id_are_two_unless_ids_are_said_to_be_unique(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    declare(rabbitmq.url(), queue)
    for is_unique in (False, True):
        for _ in range(3):
            publish(rabbitmq.url(), queue, [b"same"])
        publish(rabbitmq.url(), queue, [b"last"], first=1)
        with Reading(tmp_path / str(is_unique), **at(rabbitmq, queue), unique_ids=is_unique) as here:
            here.until(lambda: b"last" in here.values, "the last one")
        assert here.values == [b"same"] * (1 if is_unique else 3) + [b"last"]


def test_while_nothing_can_be_handed_out_nothing_stays_unacknowledged_and_memory_is_bounded(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    declare(rabbitmq.url(), queue, x_delivery_limit=1)
    values = [b"%05d" % number + bytes(1000) for number in range(400)]
    publish(rabbitmq.url(), queue, values)
    with Reading(tmp_path, **at(rabbitmq, queue), declare=False, prefetch=20,
                 journal_bytes=50_000) as here:
        here.turn()
        here.until(lambda: here.is_consuming, "a consumer", reads=False)
        here.until(lambda: here.queue.is_held and not here.is_owing, "held", reads=False)
        left = waiting_in(rabbitmq.url(), queue)
        assert 0 < left < 400 - 50_000 // 1100 + 1
        assert here.until_values(400) == values  # it has gone on by itself
        assert not any("x-delivery-count" in held(record) for record in here.records)
    assert take_all(rabbitmq.url(), queue) == []


def test_a_stop_acknowledges_what_was_delivered_and_leaves_the_rest_as_it_was(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    declare(rabbitmq.url(), queue, x_delivery_limit=1)
    publish(rabbitmq.url(), queue, [b"%d" % number for number in range(200)])
    with Reading(tmp_path, **at(rabbitmq, queue), declare=False, prefetch=10) as here:
        here.until_values(20)
        here.source.stop()
        taken = here.until_exhausted()
    rest = take_all(rabbitmq.url(), queue)
    assert [*taken, *(body for body, _ in rest)] == [b"%d" % number for number in range(200)]
    assert not any(is_redelivered for _, is_redelivered in rest)


def test_not_followed_it_ends_when_the_queues_are_empty(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    other = rabbitmq.new_name()
    for name in (queue, other):
        declare(rabbitmq.url(), name)
    publish(rabbitmq.url(), queue, VALUES[:30])
    publish(rabbitmq.url(), other, VALUES[30:])
    topics = [rabbitmq.url(f"?queue={name}") for name in (queue, other)]
    with Reading(tmp_path, topics=topics, follow=False) as here:
        assert sorted(here.until_exhausted(), key=str) == sorted(VALUES, key=str)


def test_a_queue_that_is_deleted_is_declared_again_and_read_on_with_the_same_prefetch(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    with Reading(tmp_path, **at(rabbitmq, queue), prefetch=7) as here:
        here.until(lambda: here.is_consuming, "a consumer")
        first = here.queue.session
        with channel(rabbitmq.url()) as client:
            client.queue_delete(queue)
        here.until(lambda: bool(here.problems), "the problem")
        assert "it was deleted, or the node that has it went down" in here.problems[0]
        here.until(lambda: here.is_consuming, "another consumer")
        assert here.queue.session > first
        publish(rabbitmq.url(), queue, [b"a"])
        assert here.until_values(1) == [b"a"]

        def prefetches() -> set[int]:
            return {one["prefetch_count"] for one in rabbitmq.ask("consumers") if one["queue"]["name"] == queue}

        eventually(lambda: prefetches() == {7}, "the prefetch is set again")


def test_one_that_is_not_there_is_waited_for_and_named(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    with Reading(tmp_path, **at(rabbitmq, queue), declare=False) as here:
        here.until(lambda: bool(here.problems), "the problem")
        assert f"queue {queue}: there is none: declare it, or set source.declare = true" in here.problems[0]
        declare(rabbitmq.url(), queue, "classic")
        publish(rabbitmq.url(), queue, [b"a"])
        assert here.until_values(1) == [b"a"]


def test_only_the_active_consumer_is_given_messages(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    options = {**at(rabbitmq, queue), "single_active_consumer": True}
    with Reading(tmp_path / "one", **options) as one:
        one.until(lambda: one.is_consuming, "a consumer")
        with Reading(tmp_path / "two", **options) as two:
            two.until(lambda: two.is_consuming, "a consumer that waits")
            publish(rabbitmq.url(), queue, VALUES)
            assert one.until_values(40) == VALUES
            one.source.stop()
            one.until_exhausted()
            publish(rabbitmq.url(), queue, VALUES, first=40)
            assert two.until_values(40) == VALUES
            assert one.values == VALUES


def test_a_run_that_waits_for_another_active_consumer_says_so_and_ends_when_that_has_taken_all(
    tmp_path: Path, rabbitmq: Server, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sources.rabbitmq_intake.NOT_GIVEN_S", 0.3)
    options = {**at(rabbitmq, queue), "single_active_consumer": True}
    with Reading(tmp_path / "one", **options, prefetch=10) as one:
        one.until(lambda: one.is_consuming, "a consumer")
        publish(rabbitmq.url(), queue, VALUES)
        with Reading(tmp_path / "two", **options, follow=False) as two:
            two.until(lambda: bool(two.problems), "a word")
            assert two.problems == [
                f"rabbitmq 127.0.0.1:{rabbitmq.port}: 30 messages wait in queue {queue}, and none is delivered to this "
                "run: another consumer is the active one (single active consumer): end that one, or wait for it"]
            assert one.until_values(40) == VALUES
            assert two.until_exhausted() == []


@pytest.mark.parametrize(("options", "said"), [
    ({"queue_type": "classic"}, "inequivalent arg 'x-queue-type'"),
    ({"single_active_consumer": True}, "inequivalent arg 'x-single-active-consumer'"),
    ({"arguments": {"x-max-length": 5}}, "inequivalent arg 'x-max-length'")])
def test_a_queue_with_other_arguments_is_never_changed_and_the_run_ends_and_says_what_differs(
    tmp_path: Path, rabbitmq: Server, queue: str, options: dict[str, Any], said: str
) -> None:
    declare(rabbitmq.url(), queue)
    with Reading(tmp_path, **at(rabbitmq, queue), **options) as here, pytest.raises(ConfigError) as refused:
        here.until(lambda: False, "a refusal")
    assert said in str(refused.value)
    assert "set source.declare = false to take it as it is" in str(refused.value)
    with Reading(tmp_path, **at(rabbitmq, queue), **options, declare=False) as here:
        publish(rabbitmq.url(), queue, [b"a"])
        assert here.until_values(1) == [b"a"]


def test_a_stream_that_is_read_as_a_queue_is_refused_and_so_is_a_queue_as_a_stream(
    tmp_path: Path, rabbitmq: Server
) -> None:
    """Of a stream only what comes from then on would be delivered, as if it were all."""
    for kind, other, said in (("stream", "quorum", r'it is a stream, .*set source\.queue_type = "stream"'),
                              ("quorum", "stream", r'it is no stream: set source\.queue_type = "quorum" or "classic"'),
                              ("classic", "stream", "it is no stream")):
        queue = rabbitmq.new_name()
        declare(rabbitmq.url(), queue, kind)
        publish(rabbitmq.url(), queue, VALUES)
        wrong = {**at(rabbitmq, queue), "declare": False, "queue_type": other}
        with Reading(tmp_path / kind, **wrong) as here, pytest.raises(ConfigError, match=said):
            here.until(lambda: False, "a refusal")
        with pytest.raises(ConfigError, match=said):
            RabbitMQ(**wrong).check(tmp_path)
        assert RabbitMQ(**{**wrong, "queue_type": kind}).check(tmp_path) == []


def test_a_queue_that_another_consumer_has_for_itself_is_waited_for(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    declare(rabbitmq.url(), queue, "classic")
    with Reading(tmp_path, **at(rabbitmq, queue), declare=False) as here:
        with channel(rabbitmq.url()) as other:
            other.basic_consume(queue, lambda *_: None, exclusive=True)
            assert RabbitMQ(**at(rabbitmq, queue), declare=False).check(tmp_path) == []
            here.until(lambda: bool(here.problems), "the problem")
            assert "another consumer has it for itself" in here.problems[0]
        publish(rabbitmq.url(), queue, [b"a"])
        assert here.until_values(1) == [b"a"]


def test_a_stream_is_read_on_behind_the_last_message_that_was_journalled(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    options = {**at(rabbitmq, queue), "queue_type": "stream"}
    declare(rabbitmq.url(), queue, "stream")
    publish(rabbitmq.url(), queue, VALUES[:20])
    with Reading(tmp_path, **options) as here:
        assert here.until_values(20) == VALUES[:20]
        assert [held(record)["amqp-stream-offset"] for record in here.records] == [b"%d" % n for n in range(20)]
        here.close_all()
    publish(rabbitmq.url(), queue, VALUES[20:])
    with Reading(tmp_path, here.ledger.reopened(), **options) as again:
        assert again.until_values(20) == VALUES[20:]
    with Reading(tmp_path / "other", **options) as other:  # another state reads all of it
        assert other.until_values(40) == VALUES


def test_a_stream_that_is_made_anew_is_read_from_its_beginning_and_told_be_it_shorter_or_longer(
    tmp_path: Path, rabbitmq: Server, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is asked for an offset delivers nothing below it, and says nothing."""
    monkeypatch.setattr(rabbitmq_place, "SILENT_S", 0.3)

    def anew(values: Sequence[bytes]) -> None:
        with channel(rabbitmq.url()) as client:
            client.queue_delete(queue)
        declare(rabbitmq.url(), queue, "stream")
        publish(rabbitmq.url(), queue, values)

    options = {**at(rabbitmq, queue), "queue_type": "stream", "declare": False}
    declare(rabbitmq.url(), queue, "stream")
    publish(rabbitmq.url(), queue, VALUES[:20])
    with Reading(tmp_path, **options) as here:
        assert here.until_values(20) == VALUES[:20]
        anew([b"a", b"b", b"c"])  # while it is read
        assert here.until_values(23)[20:] == [b"a", b"b", b"c"]
        (told,) = here.ledger.problems
        assert told.endswith(f"{queue} up to 20"), told
        here.close_all()
    anew(VALUES)  # while it is not
    with Reading(tmp_path, here.ledger.reopened(), **options) as again:
        assert again.until_values(40) == VALUES
        assert [name.rpartition(" ")[2] for name in again.ledger.problems] == ["3"]
        again.close_all()
    publish(rabbitmq.url(), queue, [b"more"])
    with Reading(tmp_path, again.ledger.reopened(), **options) as last:
        assert last.until_values(1) == [b"more"]
        assert not last.ledger.problems, "the same stream is the same"


def test_a_stream_may_begin_at_its_end_or_at_a_time(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    options = {**at(rabbitmq, queue), "queue_type": "stream"}
    declare(rabbitmq.url(), queue, "stream")
    publish(rabbitmq.url(), queue, VALUES[:5])
    with Reading(tmp_path / "end", **options, start="latest") as here:
        here.until(lambda: here.is_consuming, "a consumer")
        here.turn()
        publish(rabbitmq.url(), queue, [b"new"])
        assert here.until_values(1) == [b"new"]
    with Reading(tmp_path / "time", **options, start=str(int(time.time() * 1000) - 3_600_000)) as here:
        assert here.until_values(6) == [*VALUES[:5], b"new"]


def test_messages_that_are_long_are_prefetched_by_their_bytes_and_memory_is_bounded(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    declare(rabbitmq.url(), queue, x_delivery_limit=1)
    values = [b"%04d" % number + bytes(60_000) for number in range(300)]
    publish(rabbitmq.url(), queue, values)
    most = 0
    with Reading(tmp_path, **at(rabbitmq, queue), declare=False, prefetch_bytes=600_000) as here:

        def is_all() -> bool:
            nonlocal most
            most = max(most, here.source._intake.consumers._waiting_bytes)
            return sum(map(record_count, here.chunks)) == 300

        here.until(is_all, "all")
        assert here.values == values
        assert not any("x-delivery-count" in held(record) for record in here.records), "none was delivered in vain"
        assert here.queue.prefetch in range(5, 11)
    assert most < 600_000 + 2 * 102_400 + 70_000  # what is read off a socket at a time, and a message
    assert take_all(rabbitmq.url(), queue) == []


def test_a_stream_that_is_not_followed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a stream has no end"):
        RabbitMQ(topics=["amqp://h/?queue=q"], queue_type="stream", follow=False).queues()


@pytest.mark.parametrize(("topics", "said"), [
    ([], "topics is empty"), (["amqp://u:pw@h/v"], "expected \\?queue=NAME"), (["kafka://h/q"], "amqp://"),
    (["amqp://h/?queue=q", "amqp://u:pw@h/?queue=q"], "queue q is named twice")])
def test_what_is_no_queue_is_said_and_never_the_password(topics: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        RabbitMQ(topics=topics).queues()
    assert "pw" not in str(refused.value)


def test_what_waits_is_known_behind_the_unit_that_is_written(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, VALUES)
    with Reading(tmp_path, **at(rabbitmq, queue), prefetch=1, journal_bytes=1) as here:
        assert here.source.lag() == {}
        here.until_values(1)
        here.until(lambda: here.queue.is_held, "held", reads=False)
        here.source._intake.consumers.ask(0)
        here.until(lambda: sum(here.source.lag().values()) >= 35, "the lag", reads=False)
        assert list(here.source.lag()) == [here.chunks[0].unit]
        here.abandon()
        with pytest.raises(Retryable):  # it is not none that waits
            here.source.lag()
        here.until(lambda: here.queue.consumer is not None, "another connection", reads=False)
        assert sum(here.source.lag().values()) >= 35, "it is as it was said last"


def test_with_tls_a_server_of_a_known_ca_is_read(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, VALUES)
    with Reading(tmp_path, **at(rabbitmq, queue, tls=True), ca_file=str(rabbitmq.authority)) as here:
        assert here.until_values(40) == VALUES


@pytest.mark.parametrize(("how", "said"), [
    ({"tls": True}, "its certificate is not trusted"),
    ({"password": "wrong-secret"}, "it refuses this user, or the password"),
    ({"user": "nobody"}, "it refuses this user, or the password"),
    ({"vhost": "nowhere"}, "nowhere")])
def test_who_is_not_let_in_is_told_what_to_correct_and_never_the_password(
    tmp_path: Path, rabbitmq: Server, queue: str, how: dict[str, Any], said: str
) -> None:
    with Reading(tmp_path, **at(rabbitmq, queue, **how)) as here, pytest.raises(ConfigError) as refused:
        here.until(lambda: False, "a refusal")
    assert said in str(refused.value)
    assert "wrong-secret" not in str(refused.value)
    with pytest.raises(ConfigError):
        RabbitMQ(**at(rabbitmq, queue, **how)).check(tmp_path)


def test_a_connection_is_made_in_time_by_ticks_alone(tmp_path: Path, rabbitmq: Server, queue: str) -> None:
    declare(rabbitmq.url(), queue)
    with Reading(tmp_path, **at(rabbitmq, queue), connect_timeout_s=1.0) as here:
        here.turn()
        deadline = time.monotonic() + WATCHDOG_S
        while not here.is_consuming:  # as while the reader waits for an outage to end
            due = here.source.tick(time.monotonic())
            assert due is not None and time.monotonic() < deadline and not here.queue.problem
            time.sleep(max(0.0, due - time.monotonic()))


def test_a_server_that_is_not_there_is_waited_for_and_named(tmp_path: Path) -> None:
    with Reading(tmp_path, topics=["amqp://u:secret@127.0.0.1:1/?queue=q"]) as here:
        here.until(lambda: bool(here.problems), "the problem")
    assert here.problems == ["rabbitmq 127.0.0.1:1: connection refused"]


def test_check_says_what_is_not_there_and_what_may_lose_messages_and_takes_nothing(
    tmp_path: Path, rabbitmq: Server, queue: str
) -> None:
    management = f"http://127.0.0.1:{rabbitmq.management_port}"
    here = {**at(rabbitmq, queue), "management": management}
    assert RabbitMQ(**here).check(tmp_path) == []
    assert RabbitMQ(**here, declare=False).check(tmp_path) == [
        f"queue {queue}: there is none: declare it, or set source.declare = true"]
    with pytest.raises(ConfigError, match="there is none: declare it"):  # nobody waits for it
        RabbitMQ(**here, declare=False, follow=False).check(tmp_path)
    declare(rabbitmq.url(), queue, x_delivery_limit=3)
    publish(rabbitmq.url(), queue, VALUES)
    (problem,) = RabbitMQ(**here, declare=False).check(tmp_path)
    assert "drops a message that was delivered 3 times and not acknowledged, and has no dead-letter exchange" in problem
    with pytest.raises(ConfigError, match="x-delivery-limit"):
        RabbitMQ(**here).check(tmp_path)
    assert waiting_in(rabbitmq.url(), queue) == 40
    (problem,) = RabbitMQ(topics=["amqp://127.0.0.1:1/?queue=q"]).check(tmp_path)
    assert problem == "rabbitmq 127.0.0.1:1: connection refused"


def test_check_finds_that_a_user_may_not_read_or_declare_and_takes_nothing_and_makes_nothing(
    tmp_path: Path, rabbitmq: Server
) -> None:
    quorum, stream, none = (rabbitmq.new_name() for _ in range(3))
    declare(rabbitmq.url(), quorum)
    declare(rabbitmq.url(), stream, "stream")
    publish(rabbitmq.url(), quorum, VALUES)
    for user, read, configure in (("writer", "^$", ".*"), ("reader", ".*", "^$")):
        with rabbitmq.user(user, configure=configure, read=read):
            for queue, kind in ((quorum, "quorum"), (stream, "stream"), (none, "quorum")):
                how = {**at(rabbitmq, queue, user=user, password=user), "queue_type": kind}
                with pytest.raises(ConfigError) as refused:
                    RabbitMQ(**how).check(tmp_path)
                assert "403 ACCESS_REFUSED" in str(refused.value) and queue in str(refused.value)
                what = "read it" if user == "writer" else "configure it, or set source.declare = false"
                assert f"give the user the permission to {what}" in str(refused.value)
    assert take_all(rabbitmq.url(), quorum) == [(value, False) for value in VALUES]
    with pytest.raises(urllib.error.HTTPError):
        rabbitmq.ask(f"queues/%2F/{none}")


@pytest.mark.parametrize(("management", "said"), [
    ("http://guest:hidden-word@127.0.0.1:{port}", "127.0.0.1:{port}: it answers 401 Unauthorized"),
    ("http://guest:hidden-word@127.0.0.1:1", "127.0.0.1:1: connection refused"),
    ("http://guest:hidden-word@127.0.0.1:port", "it is no http:// or https:// address"),
    ("http://guest:hidden-word/hidden-word@127.0.0.1:1", "it is no http:// or https:// address"),
    ("ftp://guest:hidden-word@127.0.0.1", "it is no http:// or https:// address"),
    ("http://guest:hidden-word@127.0.0.1:{amqp}", "127.0.0.1:{amqp}: ")])
def test_an_address_of_the_management_may_have_a_password_of_its_own_which_nobody_is_shown(
    tmp_path: Path, rabbitmq: Server, queue: str, management: str, said: str
) -> None:
    declare(rabbitmq.url(), queue)
    ports = {"port": str(rabbitmq.management_port), "amqp": str(rabbitmq.port)}
    source = RabbitMQ(**at(rabbitmq, queue), declare=False, management=management.format(**ports))
    (problem, *_) = source.check(tmp_path)
    assert problem.startswith("source.management: ") and said.format(**ports) in problem
    assert "hidden-word" not in problem
    right = management.replace("hidden-word", "guest").format(**ports)
    if right == f"http://guest:guest@127.0.0.1:{rabbitmq.management_port}":
        found = RabbitMQ(**at(rabbitmq, queue), declare=False, management=right).check(tmp_path)
        assert not [problem for problem in found if "management" in problem]
