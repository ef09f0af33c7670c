"""Topics in Apache Kafka: followed, or read to their end (``docs/kafka.md``).

Each partition is a unit, and a partition of its own; positions are offsets, they count records. What was read is in
this run's ledger, and the broker is told of it, for lag tools and, in a group, for the next owner. With fixed
assignment (the default) a run reads all partitions, or those that it is given, for good; in a group the broker gives
them out, and takes them away again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from actors.kafka.addresses import Address, addresses_of, as_shown
from actors.kafka.clients import Heard, Value, configured, refuse, wrong_table
from actors.runtime.errors import ConfigError
from actors.runtime.extras import how_to_install
from actors.runtime.ports import Source, SourceOptions, UnitLedger
from actors.sources.kafka_inflow import DEFAULTS, OURS
from actors.sources.kafka_lookups import EARLIEST, LATEST
from actors.sources.kafka_topics import Wanted
from actors.sources.topic import moment_of

#: Topics that ``describe`` names before it only counts.
_NAMED = 3
#: What of ``client`` only a consumer knows: the client that asks has no use for it.
_OF_CONSUMERS = ("queued.", "fetch.", "max.poll", "session.", "heartbeat.", "check.crcs", "max.partition",
                 "receive.message", "consume.")


class Kafka(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read topics in Apache Kafka, as they are written or up to their end.

    Attributes:
        topics: which: ``kafka://host:port,host:port/name``, all of one cluster. With ``follow`` one may come later.
        start: where a topic begins that this state (or the group) has not read before: ``earliest``, ``latest``, or a
            time as ISO 8601 (UTC where it says nothing else) or in ms since 1970: the first record of that time or
            later. A partition that comes later, and a topic that is made anew, are read from their beginning.
        follow: False: read up to where the partitions end when it starts, and end. Not in a group.
        partitions: the numbers of those that this run reads, of each topic; empty: all, also those that are added.
        group: the name of a consumer group: the broker gives partitions to its members, and takes them away again. Such
            a pipeline cannot fold. Empty: the partitions are this run's for good.
        commit_as: with fixed assignment, the group under which the broker is told of positions, for lag tools; empty:
            ``thresher-`` and the id of the state directory.
        client: properties of the client by the names that librdkafka has for them (``security.protocol``,
            ``sasl.password``, ``ssl.ca.location``, ...). Secrets best as ``${env:NAME}``.
        drain_s: what the group asks back is finished first, for so long at most; less than ``max.poll.interval.ms``.
        idle_timeout_s: a partition that has been silent for so long is not waited for by the watermark.
        look_s: look so often which topics and partitions there are.

    Example::

        from thresher import sources  # there is a thresher.sinks.Kafka, too

        sources.Kafka(topics=["kafka://127.0.0.1:9092/live_ratings"], start="latest")
    """

    guarantee: ClassVar[str] = (
        "resumes at the last committed offset of each partition; what retention took before it was read is told")
    imports: ClassVar[tuple[str, ...]] = ("confluent_kafka",)
    follows: ClassVar[bool] = True
    max_outage_s: ClassVar[float] = 0.0
    addressed_by: ClassVar[str] = "topics"
    schemes: ClassVar[tuple[str, ...]] = ("kafka",)

    topics: list[str] = []
    start: str = "earliest"
    follow: bool = True
    partitions: list[Annotated[int, Meta(ge=0)]] = []
    group: str = ""
    commit_as: str = ""
    client: dict[str, str | int | float | bool] = {}
    drain_s: Annotated[float, Meta(ge=0, le=3600)] = 20.0
    idle_timeout_s: Annotated[float, Meta(ge=0)] = 60.0
    look_s: Annotated[float, Meta(gt=0)] = 1.0

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        refuse(self.client, OURS)
        if self.group and self.partitions:
            raise ValueError("partitions: expected none in a group, whose partitions the broker gives out, got "
                             f"{self.partitions}: leave group empty for a fixed assignment")
        if self.group and not self.follow:
            raise ValueError("follow: expected true in a group, for a member goes on until it is stopped, got false: "
                             "leave group empty to read to the end")
        if self.group and self.commit_as:
            raise ValueError(f"commit_as: expected nothing in a group, got {self.commit_as!r}: positions are told "
                             "under its name")

    def libraries(self) -> tuple[str, ...]:
        """Its client."""
        return ("confluent_kafka",)

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        """Begin to ask the cluster. Does not wait for it.

        Raises:
            ConfigError: no topic is named, or not as it has to be; ``start`` is no moment; the client refuses a
                property.
        """
        from actors.sources.kafka_reading import KafkaSource

        wanted, heard = self._wanted(), Heard(self.client)
        try:
            return KafkaSource(wanted, ledger, batch_bytes, self.configurations(ledger.state_id), heard, self.drain_s,
                               self.idle_timeout_s)
        except ImportError as error:
            raise _needs(error) from error
        except Exception as error:
            raise self.refused(error) from error

    def addresses(self) -> list[Address]:
        """The topics.

        Raises:
            ConfigError: none is named, or not as it has to be.
        """
        if not self.topics:
            raise ConfigError("the kafka source has nothing to read: topics is empty; expected e.g. topics = "
                              "[\"kafka://127.0.0.1:9092/live_ratings\"]")
        try:
            return addresses_of(self.topics)
        except ConfigError as error:
            raise ConfigError(f"source.topics: {error}") from error

    def _wanted(self) -> Wanted:
        addresses, moment = self.addresses(), moment_of(self.start)
        return Wanted(
            topics=[address.topic for address in addresses], partitions=frozenset(self.partitions),
            start=(LATEST if self.start == "latest" else EARLIEST) if moment is None else max(0, moment),
            follow=self.follow, group=self.group, look_s=self.look_s, where=f"kafka {addresses[0].servers}",
            client=self.client)

    def configurations(self, state_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The properties of the client that reads, and of the one that asks."""
        ours: dict[str, Value] = {
            "enable.auto.commit": False, "enable.auto.offset.store": False, "auto.offset.reset": "error",
            "isolation.level": "read_committed", "enable.partition.eof": True,
            "group.id": self.group or self.commit_as or f"thresher-{state_id}"}
        defaults = DEFAULTS
        if self.group:
            ours |= {"group.protocol": "classic", "partition.assignment.strategy": "cooperative-sticky",
                     "group.instance.id": f"thresher-{state_id}"}
            defaults = {**defaults, "topic.metadata.refresh.interval.ms": max(100, round(self.look_s * 1000))}
        servers = self.addresses()[0].servers
        asking: Mapping[str, Value] = {
            name: value for name, value in self.client.items() if not name.startswith(_OF_CONSUMERS)}
        return (configured(servers, defaults, self.client, ours),
                configured(servers, {**{name: DEFAULTS[name] for name in _BOTH}, **_ASKING}, asking, {}))

    def refused(self, error: Exception) -> ConfigError:
        """What the library says of a property, without the secrets of the table."""
        return ConfigError(f"source.client: {wrong_table(error, self.client)}")

    def promises(self) -> str:
        """In a group also what becomes of a partition that moves."""
        return self.guarantee if not self.group else (
            f"{self.guarantee}; in a group, what was not committed when a partition moves is done again by its next "
            "owner: nothing is lost, and a sink that is written by key has it once")

    def moves(self) -> bool:
        """In a group units move."""
        return bool(self.group)

    def describe(self) -> str:
        """Say where this reads: ``kafka 127.0.0.1:9092 topics live_ratings, followed``."""
        try:
            addresses = self.addresses()
        except ConfigError:  # said when it is opened
            return f"kafka topics {', '.join(map(as_shown, self.topics[:_NAMED])) or '(none)'}"
        more = f" and {len(addresses) - _NAMED} more" if len(addresses) > _NAMED else ""
        some = f" partitions {', '.join(map(str, self.partitions))}" if self.partitions else ""
        return (f"kafka {addresses[0].servers} topics {', '.join(one.topic for one in addresses[:_NAMED])}{more}{some}"
                f"{f', group {self.group}' if self.group else ''}{', followed' if self.follow else ''}")

    def sample(self) -> Kafka:
        """What is there when it is read, and no more."""
        return Kafka(topics=self.topics, start=self.start, follow=False, partitions=self.partitions, client=self.client,
                     idle_timeout_s=self.idle_timeout_s, look_s=self.look_s)

    def require_addresses(self, state: Path) -> None:
        """They are topics of one cluster, each once, and ``start`` is a moment."""
        self.addresses()
        moment_of(self.start)

    def check(self, state: Path) -> list[str]:
        """Say why the topics cannot be read now: the broker does not answer, a topic is not there, this user may not
        read it (or not commit as the group), what was to be read next is gone.

        Raises:
            ConfigError: only another configuration can help.
        """
        try:
            from actors.sources.kafka_check import problems_of

            return problems_of(self._wanted(), self.configurations("check"), self.group or self.commit_as, state,
                               self.refused)
        except ImportError as error:
            raise _needs(error) from error


def _needs(error: ImportError) -> ConfigError:
    return ConfigError(f"source: type kafka needs {error.name or error}: {how_to_install('kafka')}")


OPTIONS = Kafka

#: A client that asks finds a broker that was away by its metadata, which it may look at only so often.
_ASKING: Mapping[str, Value] = {"topic.metadata.refresh.interval.ms": 2000}
#: What both clients have of ``DEFAULTS``.
_BOTH = ("reconnect.backoff.ms", "reconnect.backoff.max.ms", "client.id")


