"""``thresher check`` of a topic of Kafka: is the broker reached, is the topic there, may it be made and written to?

What a run would wait for is a problem; what would end it with exit code 78 is an error here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from confluent_kafka import KafkaException

from actors.kafka.applied import SETTINGS
from actors.kafka.clients import is_hopeless, sentence
from actors.kafka.topics import Cluster
from actors.runtime.errors import ConfigError
from actors.sinks.kafka_producer import Broker, ProducerOptions
from actors.sinks.kafka_transactions import wrong_policy


class CheckedOptions(ProducerOptions, Protocol):
    """What is asked of the options besides."""

    @property
    def transactions(self) -> bool: ...


def problems_of(options: CheckedOptions, name: str) -> list[str]:
    """What would keep this sink from working now; nothing is made.

    Raises:
        ConfigError: only another configuration, or another user, can help.
    """
    broker = Broker(options, name)
    broker.require_client()
    cluster = broker.cluster()
    try:
        _require(options, cluster, name)
    except KafkaException as error:
        if broker.heard.hopeless or is_hopeless(error.args[0]):
            raise ConfigError(broker.heard.hopeless or sentence(error.args[0], options.client)) from error
        said = sentence(error.args[0], options.client, broker.heard.last())
        return [f"{said}: start the broker, or set sinks.{name}.topic to where it is"]
    return []


def _require(options: CheckedOptions, cluster: Cluster, name: str) -> None:
    _require_topic(options, cluster, name, options.address.topic, options.partitions, {}, ("WRITE",))
    if options.transactions:
        topic = options.applied_topic
        _require_topic(options, cluster, name, topic, 1, SETTINGS, ("WRITE", "READ"))
        if problem := wrong_policy(cluster.setting(topic, "cleanup.policy"), topic):
            raise ConfigError(problem)


def _require_topic(
    options: CheckedOptions, cluster: Cluster, name: str, topic: str, partitions: int, settings: Mapping[str, str],
    needed: tuple[str, ...],
) -> None:
    found = cluster.found(topic)
    if found is None and not options.create:
        raise ConfigError(f"there is no topic {topic}: make it, or set sinks.{name}.create = true")
    if found is None:
        try:
            cluster.make(topic, partitions, options.replication, settings, only_ask=True)
        except KafkaException as error:
            if not is_hopeless(error.args[0]):
                raise
            raise ConfigError(
                f"there is no topic {topic}, and it cannot be made: {sentence(error.args[0], options.client)}: make "
                "it by other means, or set partitions and replication to what the cluster has") from error
    elif found.operations is not None:
        for operation in needed:
            if operation not in found.operations and "ALL" not in found.operations:
                raise ConfigError(f"topic {topic}: this user may not {operation.lower()} it: let it (an ACL of the "
                                  "topic), or set sasl.* in client")
