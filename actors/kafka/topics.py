"""What a cluster says of a topic, and how one is made: through the library's client for administrators."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from actors.kafka.clients import Heard, Properties, configured, took_too_long
from actors.runtime.progress import extend

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

#: Beyond what the library itself waits.
_MARGIN_S = 5.0
#: Between two looks at what is heard of the connection.
_TURN_S = 0.05
#: What a topic may be made with where it is there already: nothing comes of that.
_THERE = "TOPIC_ALREADY_EXISTS"
_NOT_THERE = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC")


class Found(msgspec.Struct, frozen=True):
    """A topic that is there.

    Attributes:
        id: another one, made later under the same name, has another; where a broker gives none, they are all the same.
        partitions: how many it has.
        operations: what this user may do with it (``WRITE``, ``READ``, ...); None: the broker does not say.
    """

    id: str
    partitions: int
    operations: frozenset[str] | None = None


class Cluster:
    """A cluster, asked about topics.

    Every call raises ``KafkaException`` where it cannot be asked, or refuses.

    Args:
        servers: to begin with.
        client: the table of the source or sink.
        timeout_s: longest time for an answer.
        heard: takes what is heard of its connections.
    """

    def __init__(self, servers: str, client: Properties, timeout_s: float, heard: Heard) -> None:
        from confluent_kafka.admin import AdminClient

        self._timeout_s = timeout_s
        self._heard = heard
        self._admin: AdminClient = AdminClient(configured(servers, {}, client, {"error_cb": heard.error_cb}))

    def found(self, topic: str) -> Found | None:
        """What is known of a topic; None: it is not there. Asking does not make it, whatever the broker's settings."""
        from confluent_kafka import KafkaException, TopicCollection

        try:
            said = self._answer(self._admin.describe_topics(
                TopicCollection([topic]), include_authorized_operations=True, request_timeout=self._timeout_s)[topic])
        except KafkaException as error:
            if error.args[0].name() in _NOT_THERE:
                return None
            raise
        operations = said.authorized_operations
        return Found(str(said.topic_id), len(said.partitions),
                     frozenset(one.name for one in operations) if operations else None)

    def make(self, topic: str, partitions: int, replication: int, settings: Mapping[str, str],
             only_ask: bool = False) -> None:
        """Make a topic; it may be there.

        Args:
            topic: its name.
            partitions: how many; 0: as the broker has it.
            replication: on how many brokers; 0: as the broker has it.
            settings: of the topic.
            only_ask: whether it could be made; nothing is changed.
        """
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import NewTopic

        new = NewTopic(topic, num_partitions=partitions or -1, replication_factor=replication or -1,
                       config=dict(settings))
        try:
            self._answer(self._admin.create_topics([new], operation_timeout=self._timeout_s,
                                                   request_timeout=self._timeout_s, validate_only=only_ask)[topic])
        except KafkaException as error:
            if error.args[0].name() != _THERE:
                raise

    def setting(self, topic: str, name: str) -> str | None:
        """A setting of a topic; None: the broker does not say, for it takes a right of its own to ask."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import ConfigResource

        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        try:
            said = self._answer(self._admin.describe_configs([resource], request_timeout=self._timeout_s)[resource])
        except KafkaException:
            return None
        return None if name not in said or said[name].value is None else str(said[name].value)

    def ends(self, topic: str, partitions: int, is_stable: bool = False) -> dict[int, int]:
        """The offset behind the last message of each partition, those of open transactions included.

        ``is_stable``: the first offset of the first open transaction instead, where there is one.
        """
        from confluent_kafka import IsolationLevel, TopicPartition
        from confluent_kafka.admin import OffsetSpec

        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        level = IsolationLevel.READ_COMMITTED if is_stable else IsolationLevel.READ_UNCOMMITTED
        asked = {TopicPartition(topic, number): latest for number in range(partitions)}
        return {where.partition: self._answer(future).offset for where, future in self._admin.list_offsets(
            asked, isolation_level=level, request_timeout=self._timeout_s).items()}

    def close(self) -> None:
        """Hear what is left to hear; the connections end with this object."""
        self._admin.poll(0)

    def _answer(self, future: concurrent.futures.Future[Any]) -> Any:
        """Wait for an answer, for no longer than one may come."""
        extend(self._timeout_s + 2 * _MARGIN_S)
        self._heard.begin()
        until = time.monotonic() + self._timeout_s + _MARGIN_S
        while not concurrent.futures.wait([future], _TURN_S).done:
            self._admin.poll(0)  # what was heard of the connection
            if self._heard.is_in_vain() or time.monotonic() > until:
                raise took_too_long("no answer")
        self._admin.poll(0)
        return future.result()
