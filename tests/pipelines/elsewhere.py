"""A pipeline that writes numbers to a sink of each kind that is a server elsewhere."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from tests.pipelines.everywhere import number_for
from thresher import Pipeline
from thresher.sinks import DeadLetters, Kafka, Memcached, RabbitMQ, Sql
from thresher.sources import Files

STORES = ("kept", "rowed", "told", "queued")


def parse(line: bytes) -> tuple[str, int]:
    """A number for one of the stores."""
    return number_for(line, STORES)


def encode(value: tuple[str, int]) -> Any:
    """As each sink takes it."""
    store, number = value
    match store:
        case "kept":
            return b"%d" % number, b"%d" % -number
        case "rowed":
            return (number,)
    return b"%d" % number


PIPELINE = Pipeline(
    name="elsewhere", source=Files(pattern="data/*.txt"), parse=parse, route=itemgetter(0), encode=encode,
    sinks={"kept": Memcached(server="127.0.0.1:1"), "rowed": Sql(table="numbers", columns={"number": "integer"}),
           "told": Kafka(topic="kafka://127.0.0.1:1/told", transactions=True),
           "queued": RabbitMQ(topic="amqp://127.0.0.1:1/?queue=queued")},
    dead_letters=DeadLetters())
