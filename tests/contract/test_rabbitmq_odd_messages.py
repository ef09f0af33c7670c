"""What a real server delivers, or says, that is not as it should be: nothing is lost for it, nor called done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.runtime.errors import ConfigError
from tests.proxy import Proxy
from tests.queues import Reading, channel, declare, eventually, publish, take_all, waiting_in
from tests.rabbitmq import PASSWORD, USER
from tests.rabbitmq import RabbitMQ as Server

pika = pytest.importorskip("pika")


class Raw:
    """A value of a header as it is on the wire: what this client would not send, and others do."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


def test_no_message_however_odd_costs_the_connection_or_its_neighbours_a_delivery(
    tmp_path: Path, rabbitmq: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = rabbitmq.new_name()
    declare(rabbitmq.url(), queue, x_delivery_limit=1)
    encode = pika.data.encode_value
    monkeypatch.setattr(pika.data, "encode_value", lambda pieces, value: (
        pieces.append(value.raw) or len(value.raw) if isinstance(value, Raw) else encode(pieces, value)))
    odd: list[tuple[Any, dict[str, Any]]] = [
        (b"\xe4", {}), (queue, {"message_id": b"\xe4"}), (queue, {"content_type": b"\xe4", "type": b"\xff"}),
        (queue, {"headers": {b"\xe4": b"\xe4"}}), (queue, {"timestamp": (1 << 64) - 1}),
        *((queue, {"headers": {"odd": Raw(raw)}}) for raw in (
            b"T" + (1_700_000_000_000).to_bytes(8), b"d" + bytes.fromhex("400599999999999a"), b"D\xff\0\0\0\1",
            b"F\0\0\0\4\1\xe4t\1", b"A\0\0\0\6A\0\0\0\1V"))]
    with channel(rabbitmq.url()) as client:
        client.confirm_delivery()
        client.exchange_declare(queue, "fanout")
        client.queue_bind(queue, queue)
        for number, (key, said) in enumerate(odd):
            for body in (b"odd %d" % number, b"even %d" % number):
                client.basic_publish(queue, key if body[:1] == b"o" else "", body, pika.BasicProperties(
                    delivery_mode=2, **(said if body[:1] == b"o" else {})))
    with Reading(tmp_path, topics=[rabbitmq.url(f"?queue={queue}")], follow=False, declare=False) as here:
        assert here.until_exhausted() == [b"%s %d" % (kind, number) for number in range(len(odd))
                                          for kind in (b"odd", b"even")]
        assert (here.queue.session, here.problems) == (1, [])
    by_value = {record.value: record for record in here.records}
    assert by_value[b"odd 0"].key == b"\xe4"
    assert dict(by_value[b"odd 1"].headers)["amqp-message-id"] == b"\xe4"
    assert [dict(by_value[b"odd %d" % number].headers)["odd"] for number in (5, 6)] == [b"1700000000000", b"2.7"]


def test_a_queue_whose_leader_is_away_is_waited_for_though_the_server_says_that_it_is_empty(
    tmp_path: Path, rabbitmq: Server
) -> None:
    queue = rabbitmq.new_name()
    values = [b"%d" % number for number in range(40)]
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, values)
    with Reading(tmp_path, topics=[rabbitmq.url(f"?queue={queue}")], follow=False, prefetch=5) as here:
        here.until_values(5)
        rabbitmq.suspend(queue)
        try:
            here.until(lambda: any("its leader, or the majority" in one for one in here.problems), "the outage")
            assert waiting_in(rabbitmq.url(), queue) == 0 and not here.source.exhausted
        finally:
            rabbitmq.suspend(queue, on=False)
        assert here.until_exhausted() == values
    assert take_all(rabbitmq.url(), queue) == []


def test_what_is_delivered_and_never_arrives_comes_over_another_connection_after_a_while(
    tmp_path: Path, rabbitmq: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server believes that all is well: nothing waits in the queue, and it has its consumer."""
    queue = rabbitmq.new_name()
    declare(rabbitmq.url(), queue)
    with Proxy(rabbitmq.port) as between, Reading(
            tmp_path, topics=[f"amqp://{USER}:{PASSWORD}@{between.address}/?queue={queue}"]) as here:
        here.until(lambda: here.is_consuming, "a consumer")
        between.delay_s = 1000.0
        publish(rabbitmq.url(), queue, [b"1", b"2"])
        eventually(lambda: waiting_in(rabbitmq.url(), queue) == 0, "they are delivered")
        between.delay_s = 0.0
        monkeypatch.setattr("actors.sources.rabbitmq_consumer.RENEW_S", 0.5)
        assert here.until_values(2) == [b"1", b"2"]
        assert here.problems == []


def test_whatever_ends_each_reader_costs_only_the_message_in_hand_a_delivery_and_then_the_run_ends(
    tmp_path: Path, rabbitmq: Server
) -> None:
    queue, url = rabbitmq.new_name(), rabbitmq.url()
    values = [b"%d" % number for number in range(100)]
    declare(url, queue, x_delivery_limit=5)
    publish(url, queue, values)
    options: dict[str, Any] = {"topics": [rabbitmq.url(f"?queue={queue}")], "declare": False}

    def dies(deliveries: int) -> None:
        reader = Reading(tmp_path, **options)
        reader.turn()  # the journal has nothing
        reader.until(lambda: reader.owed == deliveries, "so many in hand", reads=False)
        reader.abandon()
        eventually(lambda: waiting_in(url, queue) == 100, "they are the server's again")

    for deliveries in (100, 1, 1):
        dies(deliveries)
    with Reading(tmp_path, **options) as here, pytest.raises(ConfigError, match="3 times in succession the"):
        here.until_values(1)
    dies(1)
    with Reading(tmp_path, **options) as here:
        assert sorted(here.until_values(100), key=lambda value: int(value or b"")) == values
        publish(url, queue, [b"new"], first=100)
        here.until_values(101)
        here.until(lambda: here.queue.prefetch == 2000 and here.is_consuming, "as many as ever")
        assert [path.suffix for path in (tmp_path / "journal").iterdir()] == [".messages"]
