"""Fixtures that more than one folder uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.kafka import UNDISTURBED, Kafka
from tests.loads import DEVICE_TYPES
from tests.postgres import Postgres
from tests.rabbitmq import RabbitMQ
from tests.redis import Redis
from tests.servers import Memcached

# A machine that has much else to do is slow: no example of a property has a time limit.
settings.register_profile("patient", parent=settings(), deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL; a test makes a database of its own in it, and starts it again if it has stopped it."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A real Apache Kafka, with TLS and logins too; a test makes topics of its own in it, and never stops it."""
    with Kafka(secure=True, properties=UNDISTURBED) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A real RabbitMQ, with TLS and management too; a test makes queues of its own in it, and never stops it."""
    with RabbitMQ(secure=True, management=True) as server:
        yield server


@pytest.fixture(scope="session")
def _mortal_kafka() -> Iterator[Kafka]:
    with Kafka() as server:
        yield server


@pytest.fixture
def kafka_to_kill(_mortal_kafka: Kafka) -> Iterator[Kafka]:
    """A real Apache Kafka that a test may kill and start again; whatever it leaves, the next one finds it serving."""
    yield _mortal_kafka
    _mortal_kafka.start()


@pytest.fixture(scope="session")
def _mortal_rabbitmq() -> Iterator[RabbitMQ]:
    server = RabbitMQ()
    with (server.folder / "rabbitmq.conf").open("a") as file:
        file.write("max_message_size = 65536\n")
    with server:
        yield server


@pytest.fixture
def rabbitmq_to_kill(_mortal_rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """The same of RabbitMQ, which takes messages of 64 KiB at most."""
    yield _mortal_rabbitmq
    _mortal_rabbitmq.start()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A real Redis, with TLS and a socket too; a test empties it first, and starts it again if it has stopped it."""
    with Redis({"proto-max-bulk-len": "1mb", "unixsocket": "socket"}, secure=True) as server:
        yield server


@pytest.fixture
def servers() -> Iterator[dict[str, Memcached]]:
    """A real memcached for each device type."""
    started = {name: Memcached() for name in DEVICE_TYPES}
    try:
        for server in started.values():
            server.start()
        yield started
    finally:
        for server in started.values():
            server.stop()
