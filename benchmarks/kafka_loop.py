#!/usr/bin/env python3
"""What `benchmarks/kafka.py` compares: a pipeline, and a plain loop that runs the same functions over the same topic.

    python benchmarks/kafka_loop.py SERVERS TOPIC FOLDER COUNT

The loop is the one that a careful user writes: it consumes some hundred messages at a time, works on each, and stores
and commits each second; it ends after COUNT messages. It prints ``ready`` when it begins to read.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import time

from thresher import Pipeline, Reject
from thresher.sinks import DeadLetters, Lmdb
from thresher.sources import Kafka

COMMIT_S = 1.0
Item = tuple[bytes, bytes]


def parse(value: bytes) -> dict[str, object]:
    """A review."""
    review: dict[str, object] = json.loads(value)
    if not 1.0 <= float(str(review["overall"])) <= 5.0:
        raise Reject("stars", f"expected 1.0 to 5.0, got {review['overall']}")
    return review


def encode(review: dict[str, object]) -> Item:
    """What is stored of it, by its number."""
    text = str(review["reviewText"])
    return str(review["number"]).encode(), json.dumps(
        {"asin": review["asin"], "overall": review["overall"], "words": len(text.split())}).encode()


PIPELINE = Pipeline(name="kafka-benchmark", source=Kafka(topics=["kafka://127.0.0.1:1/reviews"]), parse=parse,
                    encode=encode, sinks={"reviews": Lmdb()}, dead_letters=DeadLetters())


def main() -> int:
    """Run the loop."""
    from confluent_kafka import Consumer

    servers, topic, folder, count = sys.argv[1:5]
    sink = Lmdb(path="reviews.lmdb")
    opened = sink.open("reviews", Path(folder))
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "loop", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    consumer.subscribe([topic])
    print("ready", flush=True)
    done, items, at = 0, list[Item](), time.monotonic()
    while done < int(count):
        for message in consumer.consume(500, 0.1):
            assert message.error() is None, message.error()
            items.append(encode(parse(message.value() or b"")))
            done += 1
        if items and (time.monotonic() >= at + COMMIT_S or done >= int(count)):
            _store(opened, sink, items)
            consumer.commit(asynchronous=False)
            items, at = [], time.monotonic()
    consumer.close()
    opened.close()
    return 0


def _store(opened: object, sink: Lmdb, items: list[Item]) -> None:
    from actors.runtime.values import Payload

    opened.write([Payload("loop", 0, len(items), len(items), sink.pack(items))])  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
