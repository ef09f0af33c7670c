"""A real Apache Kafka for tests: one node in a folder of its own, started and stopped by whoever needs it."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.kafka import Node, NotThere, answers, find_jars, find_java
from tests.certificates import make_certificates, require_openssl
from tests.monitors import eventually
from tests.processes import Broker, Served
from tests.servers import free_port

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, Producer
    from confluent_kafka.admin import AdminClient

#: Who may log in to a secure one, all with this password. Nobody is kept from a topic that has no rule of its own.
USER, STRANGER, PASSWORD = "thresher", "stranger", "correct-horse"
#: For one that is never killed: it may be without a processor for long and still counts as there.
UNDISTURBED = {"broker.session.timeout.ms": "60000", "broker.heartbeat.interval.ms": "2000"}
WATCHDOG_S = 120.0


def require_kafka() -> None:
    """Without Java or the jars a test is skipped on a laptop and fails in CI."""
    try:
        find_java()
        find_jars()
    except NotThere as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


class Kafka(Broker):
    """A broker on 127.0.0.1 that makes no topic by itself; a context manager.

    Args:
        secure: whether it has listeners for TLS and for TLS with a login as well, and rules of who may do what.
        properties: of the broker, besides.
        heap_mb: of its virtual machine.
        quick: whether that starts soon; false for measurements, where it is to compile well.

    Attributes:
        address: ``host:port`` without a login, where everything is allowed.
        tls_address: with TLS, where everything is allowed; ``authority`` vouches for it.
        login_address: with TLS and a login by SASL: PLAIN, or SCRAM-SHA-256 for who is let in (``Topics.let_in``).
        authority: the file of the certificate that a client has to trust.
    """

    def __init__(self, *, secure: bool = False, properties: Mapping[str, str] | None = None,
                 heap_mb: int = 256, quick: bool = True) -> None:
        require_kafka()
        if secure:
            require_openssl()
        super().__init__(Path(tempfile.mkdtemp(prefix="thresher-kafka-")))
        self.address, self.tls_address, self.login_address = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.authority = self.folder / "certificates" / "authority.pem"
        listeners = {f"TLS://{self.tls_address}": "SSL", f"LOGIN://{self.login_address}": "SASL_SSL"}
        more = dict(self._secure() if secure else {}) | {"auto.create.topics.enable": "false"} | dict(properties or {})
        self._node = Node(self.folder, _port(self.address), free_port(), listeners=listeners if secure else {},
                          more=more, heap_mb=heap_mb, quick=quick)

    def _begin(self) -> Served:
        self._node.prepare()
        return Served(self._node.command(), self.folder, {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"})

    def _serves(self) -> bool:
        return answers(self._node.port)

    def _secure(self) -> dict[str, str]:
        made = make_certificates(self.folder / "certificates")
        users = " ".join(f'user_{name}="{PASSWORD}"' for name in (USER, STRANGER))
        login = "org.apache.kafka.common.security.{} required"
        return {
            "ssl.keystore.type": "PEM", "ssl.keystore.location": str(made.both),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "listener.name.login.plain.sasl.jaas.config": f"{login.format('plain.PlainLoginModule')} {users};",
            "listener.name.login.scram-sha-256.sasl.jaas.config": f"{login.format('scram.ScramLoginModule')};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true", "super.users": "User:ANONYMOUS",
        }


class Topics:
    """Topics of a broker, each with a name of its own, and the plainest of clients for them.

    Args:
        address: ``host:port`` of the broker, without a login.

    Attributes:
        admin: a client that makes and asks.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        #: What is under way ends with an error when its client is collected.
        self.admin = self._admin()

    def make(self, partitions: int = 1, name: str = "", copies: int = 1, **options: object) -> str:
        """Make a topic; return its name. Options are the broker's, with ``_`` for ``.``: ``retention_ms=1``."""
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.cimpl import NewTopic

        name = name or f"t{uuid.uuid4().hex}"
        config = {key.replace("_", "."): str(value) for key, value in options.items()}
        deadline = time.monotonic() + WATCHDOG_S
        while True:
            try:
                self._finish(self.admin.create_topics([NewTopic(name, partitions, copies, config=config)]))
                return name
            except KafkaException as error:  # a node that had no processor for seconds does not count just now
                is_short = error.args[0].code() == KafkaError.INVALID_REPLICATION_FACTOR
                if not is_short or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def grow(self, name: str, partitions: int) -> None:
        """Let a topic have so many partitions in all; the broker says so to others when this returns."""
        from confluent_kafka import TopicCollection
        from confluent_kafka.cimpl import NewPartitions

        self._finish(self.admin.create_partitions([NewPartitions(name, partitions)]))
        asked = TopicCollection([name])
        eventually(lambda: len(self.admin.describe_topics(asked)[name].result(WATCHDOG_S).partitions) == partitions,
                   f"{partitions} partitions of {name}")

    def delete(self, name: str) -> None:
        """Delete a topic."""
        self._finish(self.admin.delete_topics([name]))

    def forget(self, name: str, partition: int, before: int) -> None:
        """Delete the records before an offset, as retention does."""
        from confluent_kafka import TopicPartition

        self._finish(self.admin.delete_records([TopicPartition(name, partition, before)]))

    def let_in(self, user: str, password: str) -> None:
        """Let a user log in by SCRAM-SHA-256."""
        from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        self._finish(self.admin.alter_user_scram_credentials([change]))

    @contextmanager
    def credulous(self) -> Iterator[None]:
        """Meanwhile the broker takes what is said to be of a transaction without asking the coordinator."""
        try:
            self._verify("false")
            yield
        finally:
            self._verify("true")

    def _verify(self, value: str) -> None:
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

        entry = ConfigEntry("transaction.partition.verification.enable", value,
                            incremental_operation=AlterConfigOpType.SET)
        self._finish(self.admin.incremental_alter_configs(
            [ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])]))

    def send(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Send records and wait until all are acknowledged: each the arguments of ``Producer.produce``."""
        failed: list[KafkaError] = []

        def note(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failed.append(error)

        producer = self.producer()
        for record in records:
            producer.produce(name, **record, on_delivery=note)
            producer.poll(0)
        assert producer.flush(WATCHDOG_S) == 0 and not failed, failed

    def read(self, name: str, isolation: str = "read_committed") -> list[Message]:
        """All that a topic has now, partition by partition."""
        from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

        consumer = self.consumer(**{"isolation.level": isolation, "enable.partition.eof": True})
        try:
            found = consumer.list_topics(name, timeout=WATCHDOG_S).topics[name].partitions
            consumer.assign([TopicPartition(name, one, OFFSET_BEGINNING) for one in found])
            messages: list[Message] = []
            open_ones = set(found)
            while open_ones:
                message = consumer.poll(WATCHDOG_S)
                assert message is not None, f"{name} does not end: {len(messages)} records, {open_ones} are open"
                error = message.error()
                if error is None:
                    messages.append(message)
                    continue
                assert error.code() == KafkaError._PARTITION_EOF, error
                open_ones.discard(message.partition())
            return sorted(messages, key=lambda one: (one.partition(), one.offset()))
        finally:
            consumer.close()

    def in_step(self, name: str) -> dict[int, list[int]]:
        """The nodes that have all of each partition."""
        partitions = self.admin.list_topics(name, timeout=WATCHDOG_S).topics[name].partitions
        return {number: partition.isrs for number, partition in partitions.items()}

    def first(self, name: str, partition: int = 0) -> int:
        """The offset of the first record that a partition still has; that of the next one when it is empty."""
        from confluent_kafka import TopicPartition

        consumer = self.consumer()
        try:
            return consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=WATCHDOG_S)[0]
        finally:
            consumer.close()

    def committed(self, group: str, name: str, partition: int = 0) -> int:
        """The offset that a group has committed of a partition; negative when there is none."""
        from confluent_kafka import TopicPartition

        consumer = self.consumer(**{"group.id": group})
        try:
            return int(consumer.committed([TopicPartition(name, partition)], timeout=WATCHDOG_S)[0].offset)
        finally:
            consumer.close()

    def producer(self, **options: object) -> Producer:
        """A client that writes; options are librdkafka's."""
        from confluent_kafka import Producer

        return Producer({"bootstrap.servers": self._address, "log_level": 2, "linger.ms": 0, **options})

    def consumer(self, **options: object) -> Consumer:
        """A client that reads, in a group of its own if nothing else is said; options are librdkafka's."""
        from confluent_kafka import Consumer

        return Consumer({"bootstrap.servers": self._address, "log_level": 2, "group.id": uuid.uuid4().hex,
                         "enable.auto.commit": False, "auto.offset.reset": "earliest", **options})

    def _admin(self) -> AdminClient:
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self._address, "log_level": 2})

    @staticmethod
    def _finish(under_way: Mapping[Any, Any]) -> None:
        for one in under_way.values():
            one.result(WATCHDOG_S)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
