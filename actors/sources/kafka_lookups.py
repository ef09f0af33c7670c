"""Questions to a Kafka cluster that nobody waits for: which topics there are, where they begin and end, what a group
has committed. Each is asked of all at once and looked at in later turns; one that fails is asked anew by whoever asked
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from actors.kafka.clients import Heard, Said
from actors.sources.kafka_partitions import Key

#: Where to look for an offset, besides a time in ms since 1970.
EARLIEST, LATEST = -2, -1
#: What a broker says of a moment behind the newest record.
_NO_OFFSET = -1
#: What a topic's id is on a broker that gives none.
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"

K = TypeVar("K")
V = TypeVar("V")


class TopicFound(NamedTuple):
    """A topic that is there.

    Attributes:
        id: another one, made later under the same name, has another; where a broker gives none, it is the name.
        partitions: how many.
        operations: what this user may do with it, by name (``READ``), if that was asked.
    """

    id: str
    partitions: int
    operations: frozenset[str] = frozenset()


class Committed(NamedTuple):
    """What a group has committed of a partition.

    Attributes:
        offset: the next record to be read.
        state_id: of the state directory that says so.
    """

    offset: int
    state_id: str


class Question(Generic[K, V]):
    """What was asked.

    Args:
        futures: the answers to come.
        read: makes of an answer what is wanted.
    """

    def __init__(self, futures: Mapping[K, Future[Any]], read: Callable[[Any], V]) -> None:
        self._futures = dict(futures)
        self._read = read

    def is_answered(self) -> bool:
        """Whether all answers are there, or have failed."""
        return all(future.done() for future in self._futures.values())

    def answers(self) -> tuple[dict[K, V], dict[K, Said]]:
        """What was found, and what has failed."""
        from confluent_kafka import KafkaException

        found: dict[K, V] = {}
        failed: dict[K, Said] = {}
        for key, future in self._futures.items():
            try:
                found[key] = self._read(future.result(0))
            except KafkaException as error:
                failed[key] = error.args[0]
        return found, failed


class Lookups:
    """See above.

    Args:
        configuration: of the client that asks.
        heard: told what goes wrong with its connections.
        timeout_s: most seconds until an answer.
    """

    def __init__(self, configuration: Mapping[str, Any], heard: Heard, timeout_s: float = 5.0) -> None:
        from confluent_kafka.admin import AdminClient

        both: dict[str, Any] = {**configuration, "error_cb": heard.error_cb}
        self._client = AdminClient(both)
        self._timeout_s = timeout_s

    def topics(self, names: Iterable[str], operations: bool = False) -> Question[str, TopicFound]:
        """Which of these topics are there."""
        from confluent_kafka import TopicCollection

        futures = self._client.describe_topics(
            TopicCollection(list(names)), request_timeout=self._timeout_s, include_authorized_operations=operations)
        return Question(futures, _topic_of)

    def offsets(self, asked: Mapping[Key, int], is_committed: bool = True) -> Question[Key, int | None]:
        """Where partitions begin, end, or were at a moment (None: nothing is as new).

        Args:
            asked: by partition ``EARLIEST``, ``LATEST``, or ms since 1970.
            is_committed: the end is in front of the first transaction that is open.
        """
        from confluent_kafka import IsolationLevel, TopicPartition

        if not asked:
            return Question({}, _offset_of)
        isolation = IsolationLevel.READ_COMMITTED if is_committed else IsolationLevel.READ_UNCOMMITTED
        futures = self._client.list_offsets(
            {TopicPartition(*key): _spec(place) for key, place in asked.items()}, isolation_level=isolation,
            request_timeout=self._timeout_s)
        return Question({(one.topic, one.partition): future for one, future in futures.items()}, _offset_of)

    def commits(self, group: str) -> Question[str, dict[Key, Committed]]:
        """What a group has committed, by partition."""
        from confluent_kafka import ConsumerGroupTopicPartitions

        futures = self._client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=self._timeout_s)
        return Question(futures, _commits_of)

    def groups(self, names: Iterable[str]) -> Question[str, frozenset[str]]:
        """What this user may do with these groups, by name (``READ``)."""
        futures = self._client.describe_consumer_groups(
            list(names), request_timeout=self._timeout_s, include_authorized_operations=True)
        return Question(futures, _operations_of)

    def poll(self, wait_s: float = 0) -> None:
        """Hear what the client has to say of its connections."""
        self._client.poll(wait_s)

    def wait(self, question: Question[K, V]) -> tuple[dict[K, V], dict[K, Said]]:
        """Wait for the answers, for as long as they may take."""
        while not question.is_answered():
            self.poll(0.05)
        return question.answers()


def _spec(place: int) -> Any:
    from confluent_kafka import admin

    spec: Any = admin.OffsetSpec
    if place == EARLIEST:
        return spec.earliest()
    return spec.latest() if place == LATEST else spec.for_timestamp(place)


def _topic_of(answer: Any) -> TopicFound:
    mark = str(answer.topic_id)
    return TopicFound(answer.name if mark == _NO_ID else mark, len(answer.partitions), _operations_of(answer))


def _operations_of(answer: Any) -> frozenset[str]:
    return frozenset(operation.name for operation in answer.authorized_operations or ())


def _offset_of(answer: Any) -> int | None:
    return None if answer.offset == _NO_OFFSET else int(answer.offset)


def _commits_of(answer: Any) -> dict[Key, Committed]:
    return {(one.topic, one.partition): Committed(one.offset, one.metadata or "")
            for one in answer.topic_partitions if one.offset >= 0 and one.error is None}
