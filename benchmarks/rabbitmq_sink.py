#!/usr/bin/env python3
"""The RabbitMQ sink beside a plain publisher with a window of confirms, to a real server, in turn, and checked.

    python benchmarks/rabbitmq_sink.py [--messages 30000] [--bytes 1024] [--queue quorum] [--window 1000] [--rounds 3]
                                       [--url amqp://…] [--json]

Each round publishes the same messages, a key and a value each, to a queue of its own:

    plain    a program that uses the client as its documentation shows it: callbacks, one channel, a window of confirms
    sink     the sink `rabbitmq`: packed as workers do it, published as its writer does it, in groups of batches

Both are mandatory, persistent, with the same id and key. What a worker does (pack) is timed apart. What is in the queue
is then taken out and compared with what was published: each message once, in order. Exit code 1 when anything differs.
Without --url a server is started for it, which needs RabbitMQ on this machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from contextlib import closing, contextmanager  # noqa: E402
from typing import Any  # noqa: E402

import pika  # noqa: E402

from actors.rabbitmq.addresses import address_of  # noqa: E402
from actors.rabbitmq.connection import Connection, Server  # noqa: E402
from actors.rabbitmq.declaring import Queue, declare_queue  # noqa: E402
from actors.runtime.values import Payload  # noqa: E402
from actors.sinks.rabbitmq import RabbitMQ  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

#: Batches in a group, and messages in a batch.
GROUP, BATCH = 8, 500
Message = tuple[bytes, bytes]
Result = dict[str, float]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=30_000)
    parser.add_argument("--bytes", type=int, default=1024, help="of a value")
    parser.add_argument("--queue", choices=("quorum", "classic", "stream"), default="quorum")
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="amqp://USER:PASSWORD@HOST:PORT/VHOST, without a query")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    filler = b"x" * max(0, options.bytes - 12)
    messages = [(b"B%06d" % (number * 7919 % 100_003), b"%012d" % number + filler)
                for number in range(options.messages)]
    found: dict[str, list[Result]] = {"plain": [], "sink": []}
    measures: dict[str, Callable[..., tuple[float, float]]] = {"plain": _plain, "sink": _sink}
    with _server(options.url) as url:
        for _ in range(options.rounds):
            for kind, measure in measures.items():
                queue = f"benchmark-{uuid.uuid4().hex}"
                with closing(_connection(url)) as connection:
                    declare_queue(connection.channel(), Queue(queue, options.queue))
                cpu = time.process_time()
                pack_s, publish_s = measure(url, queue, options, messages)
                cpu = time.process_time() - cpu
                found[kind].append({"pack_s": pack_s, "publish_s": publish_s, "cpu_s": cpu,
                                    "wrong": _wrong(url, Queue(queue, options.queue), messages)})
    return _print(found, options)


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    from tests.rabbitmq import RabbitMQ as Started

    with Started() as server:
        yield server.url()


def _connection(url: str) -> Connection:
    connection = Connection(Server(address=address_of(url, (), "--url")))
    connection.open()
    return connection


def _plain(url: str, queue: str, options: argparse.Namespace, messages: Sequence[Message]) -> tuple[float, float]:
    published = confirmed = 0

    def publish(channel: Any) -> None:
        nonlocal published
        while published < len(messages) and published - confirmed < options.window:
            key, value = messages[published]
            channel.basic_publish("", queue, value, pika.BasicProperties(
                message_id=f"plain:{published}", delivery_mode=2, headers={"thresher-key": key.decode()}), True)
            published += 1

    def on_confirm(frame: Any) -> None:
        nonlocal confirmed
        assert frame.method.NAME == "Basic.Ack", "refused"
        confirmed = frame.method.delivery_tag if frame.method.multiple else confirmed + 1
        if confirmed == len(messages):
            connection.close()
        elif published - confirmed <= options.window // 2:
            publish(channels[0])

    def on_channel(channel: Any) -> None:
        channels.append(channel)
        channel.confirm_delivery(on_confirm, lambda _: publish(channel))

    channels: list[Any] = []
    began = time.perf_counter()
    connection = pika.SelectConnection(
        pika.URLParameters(url), on_open_callback=lambda opened: opened.channel(on_open_callback=on_channel),
        on_close_callback=lambda closed, _: closed.ioloop.stop())
    connection.ioloop.start()
    return 0.0, time.perf_counter() - began


def _sink(url: str, queue: str, options: argparse.Namespace, messages: Sequence[Message]) -> tuple[float, float]:
    sink = RabbitMQ(topic=f"{url}?queue={queue}", queue_type=options.queue, window=options.window)
    began = time.perf_counter()
    payloads = [Payload("run", at, at + BATCH, len(messages[at:at + BATCH]), sink.pack(messages[at:at + BATCH]))
                for at in range(0, len(messages), BATCH)]
    pack_s = time.perf_counter() - began
    began = time.perf_counter()
    with closing(sink.open("out", ROOT)) as opened:
        for start in range(0, len(payloads), GROUP):
            refusals = opened.write(payloads[start:start + GROUP])
            assert not refusals, refusals[0].detail
    return pack_s, time.perf_counter() - began


def _wrong(url: str, queue: Queue, messages: Sequence[Message]) -> int:
    """How many messages are not there once and in order; the queue is deleted."""
    found: list[Message] = []
    with closing(_connection(url)) as connection:
        channel = connection.channel()
        client: Any = channel.client

        def on_message(_: Any, method: Any, properties: Any, body: bytes) -> None:
            found.append((properties.headers["thresher-key"].encode(), body))
            if len(found) % 200 == 0:
                client.basic_ack(method.delivery_tag, multiple=True)

        channel.ask(lambda done: client.basic_qos(prefetch_count=1000, callback=done), "a prefetch")
        channel.ask(lambda done: client.basic_consume(
            queue.name, on_message, callback=done,
            arguments={"x-stream-offset": "first"} if queue.kind == "stream" else {}), "the messages")
        before = -1
        while before < len(found):
            before = len(found)
            connection.turn(5.0, lambda: len(found) > before)  # noqa: B023
        channel.ask(lambda done: client.queue_delete(queue.name, callback=done), "the end of the queue")
    return sum(one != wanted for one, wanted in zip(found, messages, strict=False)) + abs(len(found) - len(messages))


def _print(found: dict[str, list[Result]], options: argparse.Namespace) -> int:
    wrong = sum(int(one["wrong"]) for rounds in found.values() for one in rounds)
    rows = {kind: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            for kind, rounds in found.items()}
    if options.json:
        said = {name: value for name, value in vars(options).items() if name != "url"}
        print(json.dumps({"machine": platform.platform(), "options": said, "medians": rows, "wrong": wrong}))
        return 1 if wrong else 0
    print(f"{options.messages:,} messages of {options.bytes} bytes to a {options.queue} queue, window "
          f"{options.window}, median of {options.rounds}\n")
    print(f"{'':8}{'publish/s':>14}{'pack/s':>14}{'CPU µs each':>14}")
    for kind, row in rows.items():
        rates = (options.messages / row[name] if row[name] else 0 for name in ("publish_s", "pack_s"))
        cpu_us = row["cpu_s"] / options.messages * 1e6
        print(f"{kind:8}" + "".join(f"{rate:14,.0f}" for rate in rates) + f"{cpu_us:14.1f}")
    print("\n" + ("every message is there, once, and in order" if not wrong else f"{wrong:,} messages are wrong"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
