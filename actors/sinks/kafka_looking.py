"""What the broker says of the two topics of a sink with transactions: where they end, what is open, what is committed.

    ─ committed ─ … ─ committed ─┬─ open or behind what is open ─┬─ end
                                 └─ where the stable part ends: the first record of the first open transaction

The client does not say whose transaction a record is of. One of this sink is known by its owner or by its id, and where
the first one behind the stable part is of this sink, so is that transaction: it has no mark yet, and all of this sink
behind it has none either. Where another one is first, it is waited for: what lies behind may have its mark.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from confluent_kafka import Message

from actors.kafka.applied import BEHIND, Applied, Row, read, row_of
from actors.kafka.clients import took_too_long
from actors.kafka.received import headers_of
from actors.kafka.topics import Cluster
from actors.runtime.progress import extend
from actors.sinks.kafka_halves import Kept, is_of, kept, rows_of
from actors.sinks.kafka_producer import Broker

#: What is rolled back in each partition to end what is open. It may be open itself, when the broker is killed then.
BLANK: Row = ("", None)
_LOOK_S = 0.02
_MARGIN_S = 5.0


class Looking:
    """Asks about the topics of one sink, of whom nothing is under way.

    Every call raises ``KafkaException`` where the broker cannot be asked now.

    Args:
        broker: of the sink.
        cluster: is asked.
    """

    def __init__(self, broker: Broker, cluster: Cluster) -> None:
        self._broker = broker
        self._cluster = cluster

    def ends(self, topic: str, is_stable: bool = False) -> dict[int, int]:
        """Where each partition ends, or its stable part; nothing when there is no such topic."""
        found = self._cluster.found(topic)
        return {} if found is None else self._cluster.ends(topic, found.partitions, is_stable)

    def applied(self, owner: str) -> Applied:
        """What is committed of the positions; ask for ``rows`` before, which waits for others."""
        broker = self._broker
        return read(self._cluster, broker.reading(), broker.options.applied_topic, owner, is_stable=True)

    def rows(self, owner: str) -> list[Row]:
        """The records of positions that are open."""
        topic = self._broker.options.applied_topic
        return list(rows_of(self._open(topic, lambda one: is_of(row_of(one), owner)), owner))

    def messages(self, partitions: Iterable[str]) -> list[Kept]:
        """The messages that are open of these partitions of the input."""
        ours = frozenset(partitions)
        return list(map(kept, self._open(self._broker.address.topic, lambda one: _partition_of(one) in ours)))

    def committed(self, since: Mapping[int, int]) -> Iterator[Kept]:
        """The messages that are committed, from these offsets on, by number of the topic's partition."""
        topic = self._broker.address.topic
        stretches = {number: (since.get(number, 0), end) for number, end in self.ends(topic, is_stable=True).items()}
        return map(kept, self._broker.reading().of(topic, stretches, BEHIND))

    def wait_for_blanks(self, topic: str) -> None:
        """Wait until those that were rolled back are no longer open, and with them all that was before them."""
        ends = self.ends(topic)
        self._until(lambda: not any(map(_is_blank, self._behind_stable(topic, ends))))

    def _open(self, topic: str, is_ours: Callable[[Message], bool]) -> list[Message]:
        ends, found = self.ends(topic), list[Message]()

        def is_known() -> bool:
            found[:] = self._behind_stable(topic, ends)
            first: dict[int, bool] = {}
            for one in found:
                first.setdefault(one.partition() or 0, is_ours(one) or _is_blank(one))
            return all(first[one.partition() or 0] for one in found if is_ours(one))

        self._until(is_known)
        return [one for one in found if is_ours(one)]

    def _behind_stable(self, topic: str, ends: Mapping[int, int]) -> list[Message]:
        stable = self.ends(topic, is_stable=True)
        return list(self._broker.reading().of(
            topic, {number: (stable.get(number, 0), end) for number, end in ends.items()}, BEHIND, is_committed=False))

    def _until(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + self._broker.options.timeout_s
        while not is_so():
            if time.monotonic() > until:
                raise took_too_long(BEHIND)
            extend(self._broker.options.timeout_s + _MARGIN_S)
            time.sleep(_LOOK_S)


def _partition_of(message: Message) -> str:
    """The partition of the input that a message is of; empty: nobody says."""
    where = kept(message).where
    return "" if where is None else where[0]


def _is_blank(message: Message) -> bool:
    return not message.key() and message.value() is None and not headers_of(message)
