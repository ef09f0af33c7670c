#!/usr/bin/env python3
"""The plain loops of `benchmarks/ratings.py`: ratings published, read back and counted in one process.

    python benchmarks/ratings_loops.py FILE ADDRESS FORMAT

They run the functions of the pipelines with the client that our sink and source of this broker have: topics on this
disk, confluent-kafka (idempotent, all replicas, committed once a second), pika (a window of confirms, ``multiple``
acknowledgements). None of them would survive a kill with each rating counted once.
Prints microseconds for a message, and what was counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from actors.apps.ratings import feed, trends
from actors.apps.ratings.messages import Rating, decoder, encoder
from actors.topics.places import without_scheme

#: Messages that are published, and acknowledged, at a time; seconds between two commits.
BATCH, COMMIT_S = 1000, 1.0
_MINUTE_MS = 60_000
#: (product, rating as bytes)
Item = tuple[bytes, bytes]


class Minutes:
    """Sums and counts by minute and product.

    Args:
        form: of the messages.
    """

    def __init__(self, form: Any) -> None:
        self.counted = 0
        self._decode = decoder(Rating, form)
        self._found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0]))

    def add(self, value: bytes | None, time_ms: int) -> None:
        """Count a message."""
        rating = self._decode(value)
        numbers = self._found[time_ms - time_ms % _MINUTE_MS][rating.asin]
        numbers[0] += rating.overall
        numbers[1] += 1
        self.counted += 1

    def tops(self) -> int:
        """Rank the products of each minute; return how often all of them were rated."""
        tops = [trends.ranked([((asin,), numbers) for asin, numbers in found.items()])
                for found in self._found.values()]
        return sum(count for top in tops for _, _, count in top)


def main() -> int:
    """Publish, read back, count."""
    file, address, form = sys.argv[1:4]
    publish, consume = _CLIENTS[address.partition(":")[0]]
    minutes = Minutes(form)
    began = time.perf_counter()
    done = publish(address, _batches(file, form))
    fed = time.perf_counter()
    consume(address, minutes, done)
    counted = minutes.tops()
    ended = time.perf_counter()
    print(json.dumps({"feed_us": 1e6 * (fed - began) / done, "trends_us": 1e6 * (ended - fed) / done,
                      "counted": counted}))
    return 0


def _batches(file: str, form: Any) -> Iterator[list[Item]]:
    to_bytes = encoder(form)
    with open(file, "rb") as lines:
        while some := list(islice(lines, BATCH)):
            yield [(review.asin.encode(), to_bytes(Rating(
                asin=review.asin, reviewer_id=review.reviewer, overall=review.overall, unix_review_time=review.at)))
                for review in feed.parse(some) if isinstance(review, feed.Review)]


def _to_topic(address: str, batches: Iterator[list[Item]]) -> int:
    from actors.runtime.values import Payload
    from thresher import sinks

    options = sinks.Topic(topic=address)
    sink, done = options.open("plain", Path.cwd()), 0
    for items in batches:
        sink.write([Payload("plain", done, done + len(items), len(items), options.pack(items))])
        done += len(items)
    sink.close()
    return done


def _from_topic(address: str, minutes: Minutes, count: int) -> None:
    from actors.topics.reading import read_topic

    for _, record in read_topic(Path(without_scheme(address))):
        minutes.add(record.value, record.time or 0)


def _to_kafka(address: str, batches: Iterator[list[Item]]) -> int:
    from confluent_kafka import Producer

    from actors.kafka.addresses import address_of

    where, done = address_of(address), 0
    failed: list[Any] = []
    producer = Producer({"bootstrap.servers": where.servers, "enable.idempotence": True, "acks": "all", "linger.ms": 5,
                         "compression.type": "zstd"})

    def heard(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error)

    for items in batches:
        for key, value in items:
            while True:
                try:
                    producer.produce(where.topic, value, key, on_delivery=heard)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
        done += len(items)
    producer.flush()
    assert not failed, failed[0]
    return done


def _from_kafka(address: str, minutes: Minutes, count: int) -> None:
    from confluent_kafka import Consumer

    from actors.kafka.addresses import address_of

    where = address_of(address)
    consumer = Consumer({"bootstrap.servers": where.servers, "group.id": f"plain-{where.topic}",
                         "enable.auto.commit": False, "auto.offset.reset": "earliest",
                         "isolation.level": "read_committed"})
    consumer.subscribe([where.topic])
    at = time.monotonic()
    while minutes.counted < count:
        for message in consumer.consume(BATCH, 0.1):
            assert message.error() is None, message.error()
            minutes.add(message.value(), message.timestamp()[1])
        if time.monotonic() >= at + COMMIT_S and minutes.counted:
            consumer.commit(asynchronous=False)
            at = time.monotonic()
    consumer.commit(asynchronous=False)
    consumer.close()


def _to_rabbitmq(address: str, batches: Iterator[list[Item]]) -> int:
    """By callbacks, as the client's documentation shows it; the queue is there."""
    import pika

    url, queue = _queue_of(address)
    published = confirmed = 0
    items = (item for batch in batches for item in batch)
    channels: list[Any] = []
    is_over = False

    def publish(channel: Any) -> None:
        nonlocal published, is_over
        for key, value in islice(items, BATCH - (published - confirmed)):
            channel.basic_publish("", queue, value, pika.BasicProperties(
                message_id=f"plain:{published}", delivery_mode=2, timestamp=int(time.time()),
                headers={"thresher-key": key.decode()}), mandatory=True)
            published += 1
        is_over = published - confirmed < BATCH

    def on_confirm(frame: Any) -> None:
        nonlocal confirmed
        assert frame.method.NAME == "Basic.Ack", "refused"
        confirmed = frame.method.delivery_tag if frame.method.multiple else confirmed + 1
        if is_over and confirmed == published:
            connection.close()
        elif not is_over and published - confirmed <= BATCH // 2:
            publish(channels[0])

    def on_channel(channel: Any) -> None:
        channels.append(channel)
        channel.confirm_delivery(on_confirm, lambda _: publish(channel))

    connection = pika.SelectConnection(
        pika.URLParameters(url), on_open_callback=lambda opened: opened.channel(on_open_callback=on_channel),
        on_close_callback=lambda closed, _: closed.ioloop.stop())
    connection.ioloop.start()
    return published


def _from_rabbitmq(address: str, minutes: Minutes, count: int) -> None:
    import pika

    url, queue = _queue_of(address)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    client = connection.channel()
    client.basic_qos(prefetch_count=BATCH)
    for method, properties, body in client.consume(queue):
        minutes.add(body, properties.timestamp * 1000)
        if minutes.counted % BATCH == 0 or minutes.counted == count:
            client.basic_ack(method.delivery_tag, multiple=True)
        if minutes.counted == count:
            break
    connection.close()


def _queue_of(address: str) -> tuple[str, str]:
    url, _, query = address.partition("?queue=")
    return url, query


_CLIENTS: dict[str, tuple[Callable[[str, Iterator[list[Item]]], int], Callable[[str, Minutes, int], None]]] = {
    "topic": (_to_topic, _from_topic), "kafka": (_to_kafka, _from_kafka), "amqp": (_to_rabbitmq, _from_rabbitmq)}


if __name__ == "__main__":
    sys.exit(main())
