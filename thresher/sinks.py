"""Where records go: the options of each sink that ships, and what a sink of one's own is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thresher._lazy import lazy

if TYPE_CHECKING:
    from actors.runtime.framing import record_of
    from actors.runtime.ports import GatheringSink, Sink, SinkOptions
    from actors.runtime.values import DeadLetter, Packed, Payload, Refusal
    from actors.sinks.csv import Csv
    from actors.sinks.dead_letters import DeadLetters
    from actors.sinks.discard import Discard
    from actors.sinks.jsonl import Jsonl
    from actors.sinks.kafka import Kafka
    from actors.sinks.lines import Lines
    from actors.sinks.lmdb import Lmdb
    from actors.sinks.memcached import Memcached
    from actors.sinks.parquet import Parquet
    from actors.sinks.rabbitmq import RabbitMQ
    from actors.sinks.redis import Indexed, Redis
    from actors.sinks.sql import Deleted, Sql
    from actors.sinks.stdout import Stdout
    from actors.sinks.topic import Message, Topic
else:
    __getattr__, __dir__ = lazy(__name__, {
        "actors.runtime.framing": ("record_of",),
        "actors.runtime.ports": ("GatheringSink", "Sink", "SinkOptions"),
        "actors.runtime.values": ("DeadLetter", "Packed", "Payload", "Refusal"),
        "actors.sinks.csv": ("Csv",),
        "actors.sinks.dead_letters": ("DeadLetters",),
        "actors.sinks.discard": ("Discard",),
        "actors.sinks.jsonl": ("Jsonl",),
        "actors.sinks.kafka": ("Kafka",),
        "actors.sinks.lines": ("Lines",),
        "actors.sinks.lmdb": ("Lmdb",),
        "actors.sinks.memcached": ("Memcached",),
        "actors.sinks.parquet": ("Parquet",),
        "actors.sinks.rabbitmq": ("RabbitMQ",),
        "actors.sinks.redis": ("Indexed", "Redis"),
        "actors.sinks.sql": ("Deleted", "Sql"),
        "actors.sinks.stdout": ("Stdout",),
        "actors.sinks.topic": ("Message", "Topic"),
    })

__all__ = [
    "Csv", "DeadLetter", "DeadLetters", "Deleted", "Discard", "GatheringSink", "Indexed", "Jsonl", "Kafka", "Lines",
    "Lmdb", "Memcached", "Message", "Packed", "Parquet", "Payload", "RabbitMQ", "Redis", "Refusal", "Sink",
    "SinkOptions", "Sql", "Stdout", "Topic", "record_of"]
