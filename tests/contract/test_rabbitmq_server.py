"""The RabbitMQ that tests use is a real one, and leaves nothing behind; that it keeps what it has confirmed when it is
killed, tests of sources and sinks show that kill it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from tests.processes import named_in_processes
from tests.rabbitmq import RabbitMQ, require_rabbitmq


def _publish(url: str, queue: str, bodies: list[bytes], **arguments: object) -> None:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments=arguments or None)
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2), mandatory=True)
    connection.close()


def _get_all(url: str, queue: str) -> list[bytes]:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel, found = connection.channel(), []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[2])
    connection.close()
    return found


def test_rabbitmq_takes_other_ports_where_one_is_taken_and_leaves_nothing_after_a_stop() -> None:
    server = RabbitMQ()
    taken = server._node_port
    with socket.create_server(("127.0.0.1", taken)), server as rabbitmq:  # another process was faster
        assert rabbitmq._node_port != taken
        _publish(rabbitmq.url(), "classic", [b"1", b"2"])
        assert _get_all(rabbitmq.url(), "classic") == [b"1", b"2"]
        rabbitmq.stop()
        folder, mapper = rabbitmq.folder, rabbitmq.mapper_port
    assert not folder.exists()
    assert not named_in_processes(str(folder))
    assert not named_in_processes("epmd", str(mapper))


def test_a_server_that_is_not_installed_skips_on_a_laptop_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.rabbitmq._SERVER", tmp_path / "rabbitmq-server")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install rabbitmq-server"):
        require_rabbitmq()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        require_rabbitmq()


def test_a_transaction_of_rabbitmq_is_all_or_nothing(rabbitmq: RabbitMQ) -> None:
    import pika

    queue = rabbitmq.new_name()
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url()))
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    channel.tx_select()
    channel.basic_publish("", queue, b"kept")
    channel.tx_commit()
    channel.basic_publish("", queue, b"rolled back")
    channel.tx_rollback()
    connection.close()
    assert _get_all(rabbitmq.url(), queue) == [b"kept"]


def test_a_stream_of_rabbitmq_is_read_from_an_offset(rabbitmq: RabbitMQ) -> None:
    import pika

    queue = rabbitmq.new_name()
    _publish(rabbitmq.url(), queue, [b"0", b"1", b"2"], **{"x-queue-type": "stream"})
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url()))
    channel = connection.channel()
    found: list[tuple[int, bytes]] = []
    channel.basic_qos(prefetch_count=10)
    for method, properties, body in channel.consume(
            queue, arguments={"x-stream-offset": 1}, inactivity_timeout=120):
        assert method is not None, f"the stream is silent after {found}"
        found.append((properties.headers["x-stream-offset"], body))
        channel.basic_ack(method.delivery_tag)
        if len(found) == 2:
            break
    connection.close()
    assert found == [(1, b"1"), (2, b"2")]


def test_rabbitmq_is_reached_with_tls_and_asked_by_http(rabbitmq: RabbitMQ) -> None:
    import pika

    queue = rabbitmq.new_name()
    _publish(rabbitmq.url(), queue, [b"1"])
    parameters = pika.URLParameters(rabbitmq.url(tls=True))
    parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=rabbitmq.authority), "localhost")
    connection = pika.BlockingConnection(parameters)
    assert connection.channel().basic_get(queue, auto_ack=True)[2] == b"1"
    connection.close()
    assert rabbitmq.ask(f"queues/%2F/{queue}")["durable"] is True
    parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        pika.BlockingConnection(parameters)
