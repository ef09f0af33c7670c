"""What a real server delivers, or says, that is not as it should be: nothing is lost for it, nor called done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.queues import Reading, channel, declare, publish, take_all, waiting_in
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
