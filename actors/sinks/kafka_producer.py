"""A producer: how it is configured, waited for and let go, and what is said when it cannot go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from actors.kafka.addresses import Address
from actors.kafka.clients import Heard, Properties, configured, is_hopeless, sentence, took_too_long, wrong_table
from actors.kafka.stretches import Reading
from actors.kafka.topics import Cluster, Found
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.progress import extend

#: Beyond what is waited for, before the process may be taken for hung.
_MARGIN_S = 5.0
#: A look at the queue, so often.
_LOOK_S = 0.1
#: A look at whether the topic is still the one that was written to, so often while there is something to write.
_SAME_S = 1.0
#: A message with its framing is at least so small in a batch that the broker takes.
_LEAST_BATCH_BYTES = 1000
_BATCH_BYTES = 1_000_000
_DEFAULTS: Properties = {"linger.ms": 5, "queue.buffering.max.messages": 100_000, "queue.buffering.max.kbytes": 32_768,
                         "partitioner": "murmur2_random"}


class ProducerOptions(Protocol):
    """What is asked of the options of the sink, which say what each means."""

    @property
    def address(self) -> Address: ...
    @property
    def compression(self) -> str: ...
    @property
    def create(self) -> bool: ...
    @property
    def partitions(self) -> int: ...
    @property
    def replication(self) -> int: ...
    @property
    def applied_topic(self) -> str: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def client(self) -> Properties: ...


class Broker:
    """The brokers that a sink writes to, as it knows them.

    Args:
        options: of the sink.
        name: of the sink.
    """

    def __init__(self, options: ProducerOptions, name: str) -> None:
        self.options = options
        self.address = options.address
        self.heard = Heard(options.client)
        self._name = name
        self._largest: int | None = None
        self._has_worked = False
        self._asks: Cluster | None = None
        self._topic_id = ""
        self._looked_at = 0.0

    def producer(self, alone: bool = False, **more: Any) -> Producer:
        """Return a new producer, when the topic is there, or was made.

        Args:
            alone: each message goes in a batch of its own, so what is refused is refused for its own sake.
            more: properties, with ``_`` for the dots.

        Raises:
            ConfigError: the client does not take its properties, or there is no topic and none is to be made.
            KafkaException: the broker cannot be asked now, or refuses.
        """
        self._prepare()
        return self._made(alone, more)

    def require_client(self) -> None:
        """Make sure that the library takes the table ``client``; nobody is waited for.

        Raises:
            ConfigError: it does not.
        """
        self._made(False, {})

    def _made(self, alone: bool, more: Mapping[str, Any]) -> Producer:
        options = self.options
        ours: dict[str, Any] = {
            "enable.idempotence": True, "acks": "all", "compression.type": options.compression,
            "delivery.report.only.error": True, "error_cb": self.heard.error_cb,
            **{name.replace("_", "."): value for name, value in more.items()}}
        defaults = dict(_DEFAULTS)
        if self._largest is not None:
            defaults["batch.size"] = max(_LEAST_BATCH_BYTES, min(_BATCH_BYTES, self._largest))
        if alone:
            ours |= {"batch.num.messages": 1, "max.in.flight.requests.per.connection": 1}
        try:
            return Producer(configured(self.address.servers, defaults, options.client, ours))
        except KafkaException as error:  # of its properties: nobody was asked yet
            raise self.wrong_client(error) from error

    def cluster(self) -> Cluster:
        """Return what is asked about topics.

        Raises:
            ConfigError: the client does not take its properties.
        """
        try:
            return Cluster(self.address.servers, self.options.client, self.options.timeout_s, self.heard)
        except KafkaException as error:
            raise self.wrong_client(error) from error

    def reading(self) -> Reading:
        """Return how its topics are read."""
        return Reading(self.address.servers, self.options.client, self.heard, self.options.timeout_s)

    def works(self) -> None:
        """Something was written: what goes wrong from here on may pass."""
        self._has_worked = True
        self.heard.forget()

    def look(self) -> Cluster | None:
        """See whether the topic is still the one that was written to; about once a second: else return None.

        Return whom it has asked.

        Raises:
            Retryable: it is not, or it is gone: said once, and the next producer writes to what is there.
            KafkaException: the broker cannot be asked now.
        """
        now = time.monotonic()
        if not self._topic_id or now - self._looked_at < _SAME_S:
            return None
        asks, self._asks = self._asks or self.cluster(), None
        self._require_same(asks.found(self.address.topic))
        self._asks, self._looked_at = asks, now
        return asks

    def wait(self, producer: Producer, turn: Callable[[], int]) -> None:
        """Wait until ``turn`` says that nothing is left.

        Raises:
            Retryable: there was no less for ``timeout_s``.
        """
        patience = Patience(self, producer)
        while left := turn():
            patience.look(left)

    @contextlib.contextmanager
    def says(self) -> Iterator[None]:
        """Turn what the library raises into what the writer understands."""
        try:
            yield
        except KafkaException as error:
            raise self.trouble(error.args[0]) from error

    def trouble(self, error: KafkaError) -> Retryable | ConfigError:
        """What an error means for the writer: the text names the broker and the topic."""
        text = f"{self.address}: {sentence(error, self.options.client, self.heard.last())}"
        if self._has_worked:
            return Retryable(text)
        if is_hopeless(error):
            return ConfigError(f"sinks.{self._name}: {text}")
        if self.heard.hopeless:
            return ConfigError(f"sinks.{self._name}: {self.address}: {self.heard.hopeless}")
        return Retryable(text)

    def wrong_client(self, error: Exception) -> ConfigError:
        """The library does not take the table."""
        return ConfigError(f"sinks.{self._name}.client: {wrong_table(error, self.options.client)}")

    def silent(self) -> Retryable | ConfigError:
        """Nothing has come for ``timeout_s``."""
        return self.trouble(took_too_long(
            f"no answer for {self.options.timeout_s:g} s: is it stuck, or are fewer replicas in step than the topic's "
            "min.insync.replicas?").args[0])

    def _prepare(self) -> None:
        """See to it that the topic is there, and learn what it takes."""
        options, topic = self.options, self.address.topic
        cluster = self.cluster()
        found = cluster.found(topic)
        self._require_same(found)
        if found is None:
            self._require_to_make()
            cluster.make(topic, options.partitions, options.replication, {})
            found = cluster.found(topic)
        self._topic_id = "" if found is None else found.id
        self._looked_at = time.monotonic()
        largest = cluster.setting(topic, "max.message.bytes")
        self._largest = None if largest is None else int(largest)

    def _require_same(self, found: Found | None) -> None:
        """Say once that the topic that was written to is not there any more.

        Raises:
            Retryable: it is not.
        """
        before, self._topic_id = self._topic_id, "" if found is None else found.id
        if before and before != self._topic_id:
            self._topic_id = ""
            what = "was removed" if found is None else "was removed and made anew"
            raise Retryable(f"{self.address}: the topic {what}: what was written to it until then is gone with it; "
                            "what comes is written to the new one")

    def _require_to_make(self) -> None:
        """There is no topic: is it to be made?

        Raises:
            ConfigError: it is not, and there never was one.
            Retryable: there was one, so it may come again.
        """
        if self.options.create:
            return
        said = f"{self.address}: there is no such topic: make it, or set sinks.{self._name}.create = true"
        raise Retryable(said) if self._has_worked else ConfigError(f"sinks.{self._name}: {said}")


class Patience:
    """Waits for a producer, as long as it gets further.

    Args:
        broker: of the sink.
        producer: of which something is waited for.
        clock: monotonic seconds.
    """

    def __init__(self, broker: Broker, producer: Producer, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._producer = producer
        self._clock = clock
        self._left = -1
        self._since = clock()

    def queue_is_full(self) -> None:
        """Wait a while for room.

        Raises:
            Retryable: nothing went out for ``timeout_s``.
        """
        self._producer.poll(_LOOK_S)
        self.look(len(self._producer))

    def look(self, left: int) -> None:
        """So much is left to do.

        Raises:
            Retryable: it is no less than ``timeout_s`` ago.
        """
        now = self._clock()
        if left != self._left:
            self._left, self._since = left, now
            extend(self._broker.options.timeout_s + _MARGIN_S)
        elif now - self._since > self._broker.options.timeout_s:
            raise self._broker.silent()


def let_go(producer: Producer) -> None:
    """Have it send nothing more; it ends when nobody has it any more."""
    with contextlib.suppress(KafkaException):
        producer.purge()
        producer.flush(_MARGIN_S)  # the reports of what was purged
