"""What comes from Kafka: one client, of which records are taken without waiting, into the partitions that they are of.

    consume(n, 0) ──▶ records ────────────▶ partition.come
                 ├──▶ end of partition ───▶ partition.reached    how far the broker has skipped what is no record
                 ├──▶ out of range ───────▶ resets               nobody sets an offset but us: auto.offset.reset=error
                 ├──▶ log was cut back ───▶ resets               the client compares the epochs of its leaders
                 ├──▶ no such topic ──────▶ has_doubts           look which topics are there
                 └──▶ a rebalance ────────▶ callbacks (kafka_group)

The client prefetches into a queue of its own, bounded in bytes (``DEFAULTS``). To be paused costs it that queue, so a
reader that takes nothing is polled on for some seconds, and only then are its partitions paused; a rebalance un-pauses
them, so what is assigned meanwhile is paused as well.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from actors.kafka.clients import Heard, Properties, Said
from actors.kafka.received import Odd, headers_in, odd_of
from actors.runtime.framing import MOST_INT, Record
from actors.runtime.values import Unit
from actors.sources.kafka_partitions import OVERHEAD, Key, Partition, Run, size_of

#: What ``client`` may set otherwise. A queue of 6 MB and one answer of 4 MB under way are what a reader that stands
#: still adds; the time between two looks at a full queue is short, for it is empty again in milliseconds.
DEFAULTS: Properties = {
    "queued.max.messages.kbytes": 6144, "queued.min.messages": 5000, "fetch.max.bytes": 4 * 1024 * 1024,
    "fetch.queue.backoff.ms": 10, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 2000, "check.crcs": True,
    "client.id": "thresher"}
#: What it may not, and why.
OURS: Mapping[str, str] = {
    "enable.auto.commit": "a position is committed when all below it is durable",
    "enable.auto.offset.store": "a position is committed when all below it is durable",
    "auto.offset.reset": "where to begin is the option start, and what is gone is told",
    "isolation.level": "records of transactions that are open or aborted are not read",
    "enable.partition.eof": "the end of a partition says which offsets are skipped",
    "group.id": "set group, or commit_as", "group.instance.id": "it is that of the state directory",
    "group.protocol": "the classic protocol is the one that is tested",
    "group.remote.assignor": "the classic protocol is the one that is tested",
    "partition.assignment.strategy": "partitions move one by one (cooperative-sticky)",
    "offset_commit_cb": "it is a function", "on_commit": "it is a function", "rebalance_cb": "it is a function"}
#: So many bytes are taken at a time, about, and no more records.
TAKE_BYTES, _TAKE_MOST = 512 * 1024, 2000
#: A reader that has taken nothing for so long is paused.
PAUSE_S = 3.0
_RESET = "_AUTO_OFFSET_RESET"
#: How the library says that a log was cut back, and where; it has no code for it here.
_CUT_BACK = re.compile(r"log truncation detected", re.IGNORECASE)
_CUT_BACK_TO = re.compile(r"broker end offset is (\d+)")
#: A log was cut back, nobody knows where: nothing in it is as old as what was read.
ALL_OF_IT = -1
_END = "_PARTITION_EOF"
#: What may mean that a topic has gone.
_DOUBTS = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_ID", "INCONSISTENT_TOPIC_ID")
#: What comes of itself, or is said in another way.
_PASSING = ("_MAX_POLL_EXCEEDED", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE", "_WAIT_COORD",
            "NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS")


class Inflow:
    """See above.

    Args:
        configuration: of the client.
        partitions: those that are read, by topic and number.
        heard: what was heard of the connections.
        on_commit: told of each commit: its error, and what was committed.

    Attributes:
        assigned: the partitions that are fetched.
        resets: those whose next offset is not there: None, or, where the log was cut back, where it was cut
            (``ALL_OF_IT``: it is not known).
        is_paused: nothing is fetched, for nothing was taken for long.
        has_doubts: a topic may have gone.
        problem: an error of a partition, or of the group, that is not ours to mend; None: there is none.
    """

    def __init__(self, configuration: Mapping[str, Any], partitions: Mapping[Key, Partition], heard: Heard,
                 on_commit: Callable[[Said | None, Sequence[Any]], None]) -> None:
        from confluent_kafka import Consumer

        self.client = Consumer({**configuration, "error_cb": heard.error_cb, "on_commit": on_commit})
        self.assigned: set[Key] = set()
        self.resets: dict[Key, int | None] = {}
        self.has_doubts = False
        self.problem: Said | None = None
        self._partitions = partitions
        self.is_paused = False
        self._average = 1024.0  # bytes a record, about; not less, or what is taken first is many MB
        self._polled_at = 0.0

    def take(self, now: float) -> tuple[list[Partition], bool]:
        """Take what is at hand, some of it; return of which partitions something has come, and whether that was all."""
        if self.is_paused:
            self.is_paused = False
            self.client.resume(_places(self.assigned))
        count = max(1, min(_TAKE_MOST, int(TAKE_BYTES / self._average)))
        messages = self._consume(count, now)
        return self._sort(messages, now), len(messages) < count

    def poll(self, now: float, read_at: float) -> list[Partition]:
        """Be alive though nothing is taken, since ``read_at``; return of which partitions something has come all the
        same."""
        if not self.is_paused and now - read_at >= PAUSE_S and self.assigned:
            self.is_paused = True
            self.client.pause(_places(self.assigned))
        if now - self._polled_at < (0.1 if self.is_paused else 1.0):
            return []
        return self._sort(self._consume(1, now), now)

    def assign(self, partitions: Collection[Partition]) -> None:
        """Fetch these partitions from where they are on; those that are fetched already, from there on."""
        from confluent_kafka import TopicPartition

        keys = [partition.key for partition in partitions]
        self.unassign(key for key in keys if key in self.assigned)
        self.client.incremental_assign([TopicPartition(*one.key, offset, leader_epoch=epoch)
                                        for one in partitions for offset, epoch in (one.begins(),)])
        self.assigned.update(keys)
        # One that was paused when it was given up is so still when it comes back.
        (self.client.pause if self.is_paused else self.client.resume)(_places(keys))

    def unassign(self, keys: Iterable[Key]) -> None:
        """Fetch these partitions no more."""
        if keys := [key for key in keys if key in self.assigned]:
            self.client.incremental_unassign(_places(keys))
            self.assigned.difference_update(keys)
            for key in keys:
                self.resets.pop(key, None)

    def commit(self, units: Mapping[Key, Unit], state_id: str) -> None:
        """Tell the broker how far these are; what becomes of it is heard in a later turn."""
        from confluent_kafka import TopicPartition

        self.client.commit(asynchronous=True, offsets=[
            TopicPartition(*key, unit.low, metadata=state_id) for key, unit in units.items()])

    def high(self, key: Key) -> int | None:
        """Where a partition ends, as the last answer of the broker has it; None: there was none, or it was an error."""
        from confluent_kafka import TopicPartition

        if key not in self.assigned:
            return None
        found = self.client.get_watermark_offsets(TopicPartition(*key), cached=True)
        return found[1] if found is not None and found[1] >= 0 else None

    def close(self, is_answered: bool) -> None:
        """Leave. When the broker does not answer, that may take a minute, for which nobody waits."""
        if is_answered:
            self.client.close()
        else:
            threading.Thread(target=self.client.close, name="leaving kafka", daemon=True).start()

    def _consume(self, count: int, now: float) -> list[Any]:
        self._polled_at = now
        messages: list[Any] = self.client.consume(count, 0)
        return messages

    def _sort(self, messages: Sequence[Any], now: float) -> list[Partition]:
        """Give records to their partitions, run by run; take note of all else."""
        touched: dict[Key, Partition] = {}
        key: Key | None = None
        records: list[Record] = []
        last: Any = None
        size = in_all = 0
        for message in messages:
            found = message.topic(), message.partition()
            error = message.error()
            if found != key or error is not None:
                in_all += self._give(key, records, size, touched, now, last)
                key, records, size = found, [], 0
            if error is not None:
                self._note(error, found, message.offset(), touched)
                continue
            last = message
            value, own, (kind, time) = message.value(), message.key(), message.timestamp()
            try:
                headers, odd = headers_in(message), None
                if not -MOST_INT <= time <= MOST_INT:
                    odd = odd_of(message)
            except SystemError as unread:
                odd = odd_of(message, unread)
            if odd is not None:  # its neighbours are not to blame
                in_all += self._give(key, records, size, touched, now, last)
                in_all += self._give_odd(found, odd, touched, now, message)
                records, size = [], 0
                continue
            records.append(Record(message.offset(), value, -1, time if kind else None, own,
                                  tuple(headers) if headers else ()))
            size += OVERHEAD + len(value or b"") + len(own or b"")
            if headers:
                size += sum(len(name) + len(held or b"") for name, held in headers)
        in_all += self._give(key, records, size, touched, now, last)
        if in_all:
            self._average = (3 * self._average + in_all / len(messages)) / 4
        return list(touched.values())

    def _give_odd(self, key: Key, odd: Odd, touched: dict[Key, Partition], now: float, message: Any) -> int:
        partition = self._partitions.get(key)
        if partition is not None and self._is_good(key, partition, odd.record.offset):
            epoch = message.leader_epoch()
            partition.come_odd(odd, -1 if epoch is None else epoch, now)
            partition.ends(self.high(key))
            touched[key] = partition
        return size_of(odd.record)

    def _give(self, key: Key | None, records: list[Record], size: int, touched: dict[Key, Partition],
              now: float, last: Any) -> int:
        partition = self._partitions.get(key) if key is not None and records else None
        if partition is not None and key is not None and self._is_good(key, partition, records[0].offset):
            epoch = last.leader_epoch()  # that of the last one is enough: an older one is in the same log
            partition.come(Run(records, size, -1 if epoch is None else epoch), now)
            partition.ends(self.high(key))
            touched[key] = partition
        return size

    def _is_good(self, key: Key, partition: Partition, first: int) -> bool:
        """Whether what has come of a partition from this offset on is to be taken. A record where none was is of a log
        that was cut back to behind the last one."""
        if key in self.assigned and key not in self.resets and not partition.is_as_read(first):
            self.resets[key] = partition.behind
        return key in self.assigned and key not in self.resets

    def _note(self, error: Said, key: Key, offset: int, touched: dict[Key, Partition]) -> None:
        name = error.name()
        partition = self._partitions.get(key)
        if name == _END:
            if partition is not None and key in self.assigned and key not in self.resets:
                if partition.is_as_read(offset):
                    partition.reached(offset)
                    partition.ends(max(offset, self.high(key) or 0))
                    touched[key] = partition
                else:
                    self.resets[key] = None
        elif name == _RESET:
            cut = _CUT_BACK_TO.search(error.str())
            self.resets[key] = None if not _CUT_BACK.search(error.str()) else int(cut[1]) if cut else ALL_OF_IT
        elif name in _DOUBTS:
            self.has_doubts = True
        elif name not in _PASSING:
            self.problem = error


def _places(keys: Iterable[Key]) -> list[Any]:
    from confluent_kafka import TopicPartition

    return [TopicPartition(*key) for key in keys]
