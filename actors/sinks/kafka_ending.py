"""How a writer that starts ends what lies open of its sink, and keeps what a killed broker has committed by half.

    init_transactions ──▶ look: what is open, and what of it was decided ──▶ the plan, on the disk
        ──▶ roll back a transaction that has a record in each partition: nothing is open any more
        ──▶ write the plan again, in one transaction, with its token ──▶ the plan is removed

``init_transactions`` ends what the coordinator of the broker knows of. Of what it has forgotten (it was killed) records
lie open for ever: nobody would get beyond them, and the next transaction would take them in, or away. An abort ends
them, and what is still on its way has an epoch that is over. What of them was decided (``kafka_halves``) is taken down
before, and written again after, in its order, to its partition, under its ids.

    STATE/NAME.kafka         the group that the broker has answered for last, and where the topic ended before that
    STATE/NAME.kafka.plan    what is written again; there from before it is rolled back until it is committed

Guarantees: whoever is killed on the way, the next one finds the plan, and in the topic of positions whether its token
is committed. The answer is in the file before anybody hears of it, so what was acknowledged is never rolled back.

What does not work: to commit in place (a record in each partition, and a commit: a broker that is killed in the midst
of it leaves the same halves, with nobody who knows what they are); to ask the broker whose transaction is open (its
client has no such question); the ledger for what was answered (a kill between the answer and the ledger).

What nobody prevents: a broker that is back before its client has noticed, while the next transaction is under way, and
a writer that is killed in that: its end takes both away. A power cut may take the file of the answer; it takes a broker
that is killed within the same second as well for that to matter.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from confluent_kafka import Message, Producer

from actors.kafka.applied import BEHIND, Applied, Row, read, row_of, send
from actors.kafka.clients import took_too_long
from actors.kafka.received import headers_of
from actors.kafka.topics import Cluster
from actors.runtime.disk import sync_folder
from actors.runtime.errors import Retryable, plain_reason
from actors.runtime.progress import extend
from actors.sinks.kafka_halves import Halves, Kept, is_of, kept, rows_of
from actors.sinks.kafka_producer import Broker, Patience

_TURN_S, _LOOK_S = 0.1, 0.02
_MARGIN_S = 5.0
T = TypeVar("T")


class Answered(msgspec.Struct, frozen=True):
    """What the broker has answered for last.

    Attributes:
        positions: by partition, up to where the last group is.
        ends: by number of the topic's partition, an offset from before that group, and from before the one after it.
    """

    positions: dict[str, int] = {}
    ends: dict[int, int] = {}


class Plan(msgspec.Struct, frozen=True):
    """What is written again.

    Attributes:
        token: what it is known by.
        rows: records for the topic of positions.
        messages: for the topic, in order.
        positions: what the records say.
        ends: by number of the topic's partition, where it ended when this was made.
    """

    token: str
    rows: list[Row]
    messages: list[Kept]
    positions: dict[str, int]
    ends: dict[int, int]


class Ending:
    """Ends what lies open of one sink.

    Args:
        broker: of the sink.
        name: of the sink.
        state: the state directory.
    """

    def __init__(self, broker: Broker, name: str, state: Path) -> None:
        self._broker = broker
        self._answered_at = state / f"{name}.kafka"
        self._plan_at = state / f"{name}.kafka.plan"
        self._answered: Answered | None = None
        self._ends: dict[int, int] = {}

    def end(self, producer: Producer, owner: str, token: str) -> None:
        """Roll back what is open, and write again what of it was decided.

        Args:
            producer: the sink's, when ``init_transactions`` has returned.
            owner: what the positions of the sink are known by.
            token: what it has said of the holder; empty: nothing yet.

        Raises:
            KafkaException: the broker cannot be asked now, or refuses.
            Retryable: it says nothing, or the state directory cannot be written to now.
        """
        plan = self._plan(owner, token)
        self._roll_back(producer)
        if plan is not None:
            self._write(producer, owner, plan)
        self.look()

    def look(self) -> None:
        """Remember where the topic ends now; nothing of this sink is under way."""
        self._ends = self._ends_of(self._broker.cluster(), self._broker.address.topic)

    def answered(self, positions: Mapping[str, int]) -> None:
        """The broker has said that a group is committed; before anybody else hears of it.

        Raises:
            Retryable: the file cannot be written now.
        """
        self._answered = Answered(dict(positions), self._ends)
        _replace(self._answered_at, msgspec.msgpack.encode(self._answered), is_synced=False)

    # What was decided -------------------------------------------------------------------------------------------------

    def _plan(self, owner: str, token: str) -> Plan | None:
        """What has to be written again, on the disk; None: nothing."""
        broker, cluster = self._broker, self._broker.cluster()
        answered = self._answered or _read(self._answered_at, Answered) or Answered()
        known = _read(self._plan_at, Plan)
        topic, positions = broker.address.topic, broker.options.applied_topic
        rows = [*rows_of(self._open(cluster, positions, lambda one: is_of(row_of(one), owner)), owner)]
        applied = read(cluster, broker.reading(), positions, owner, is_stable=True)
        if known is not None and applied.mended == known.token:  # as far as it is not open again
            answered = Answered({**answered.positions, **known.positions}, answered.ends)
            known = None
        if known is not None:
            there = {one.id for one in self._committed(cluster, known.ends)}
            return msgspec.structs.replace(known, messages=[one for one in known.messages if one.id not in there])
        halves = Halves(applied, answered.positions, rows, token=token)
        ours = {*applied.positions, *answered.positions, *halves.undecided()}
        halves.messages = list(map(kept, self._open(cluster, topic, lambda one: _partition_of(one) in ours)))
        is_asked = answered.ends and halves.undecided()
        left = halves.left(self._committed(cluster, answered.ends) if is_asked else ())
        if not left[0] and not left[1]:
            self._plan_at.unlink(missing_ok=True)
            return None
        plan = Plan(secrets.token_hex(8), *left, self._ends_of(cluster, topic))
        _replace(self._plan_at, msgspec.msgpack.encode(plan), is_synced=True)
        return plan

    def _open(self, cluster: Cluster, topic: str, is_ours: Callable[[Message], bool]) -> list[Message]:
        """What is open of this sink. Where a transaction of another one begins before it, that is waited for."""
        ends, found = self._ends_of(cluster, topic), list[Message]()

        def is_known() -> bool:
            found[:] = self._behind_stable(cluster, topic, ends)
            first: dict[int, bool] = {}
            for one in found:
                first.setdefault(one.partition() or 0, is_ours(one) or _is_blank(one))
            return all(first[one.partition() or 0] for one in found if is_ours(one))

        self._until(is_known)
        return [one for one in found if is_ours(one)]

    def _behind_stable(self, cluster: Cluster, topic: str, ends: Mapping[int, int]) -> list[Message]:
        """What lies from the first open transaction on, up to these ends: it is open, or behind what is."""
        stable = self._ends_of(cluster, topic, is_stable=True)
        return list(self._broker.reading().of(
            topic, {number: (stable.get(number, 0), end) for number, end in ends.items()}, BEHIND, is_committed=False))

    def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait until this is so.

        Raises:
            KafkaException: it is not within ``timeout_s``.
        """
        until = time.monotonic() + self._broker.options.timeout_s
        while not is_so():
            if time.monotonic() > until:
                raise took_too_long(BEHIND)
            extend(self._broker.options.timeout_s + _MARGIN_S)
            time.sleep(_LOOK_S)

    def _committed(self, cluster: Cluster, since: Mapping[int, int]) -> Iterator[Kept]:
        """The messages of the topic that are committed, from these offsets on."""
        topic = self._broker.address.topic
        ends = self._ends_of(cluster, topic, is_stable=True)
        stretches = {number: (since.get(number, 0), end) for number, end in ends.items()}
        return map(kept, self._broker.reading().of(topic, stretches, BEHIND))

    def _ends_of(self, cluster: Cluster, topic: str, is_stable: bool = False) -> dict[int, int]:
        found = cluster.found(topic)
        return {} if found is None else cluster.ends(topic, found.partitions, is_stable)

    # What is done -----------------------------------------------------------------------------------------------------

    def _roll_back(self, producer: Producer) -> None:
        """Roll back a transaction that has a record in each partition, whatever becomes of these."""
        broker, cluster = self._broker, self._broker.cluster()
        producer.begin_transaction()
        for topic in (broker.address.topic, broker.options.applied_topic):
            found = cluster.found(topic)
            for number in range(0 if found is None else found.partitions):
                send(producer, topic, [("", None)], number)
        self._wait(producer)
        producer.abort_transaction(broker.options.timeout_s)
        for topic in (broker.address.topic, broker.options.applied_topic):  # else the next one would commit the records
            ends = self._ends_of(cluster, topic)
            self._until(lambda topic=topic, ends=ends: not any(  # type: ignore[misc]
                map(_is_blank, self._behind_stable(cluster, topic, ends))))

    def _write(self, producer: Producer, owner: str, plan: Plan) -> None:
        broker = self._broker
        patience = Patience(broker, producer)
        producer.begin_transaction()
        for one in plan.messages:
            while True:
                try:
                    producer.produce(broker.address.topic, one.value, one.key, one.partition, timestamp=one.time,
                                     headers=list(one.headers))
                    break
                except BufferError:
                    patience.queue_is_full()
        send(producer, broker.options.applied_topic, [*plan.rows, Applied(owner).row_of_mended(plan.token)])
        self._wait(producer)
        producer.commit_transaction(broker.options.timeout_s)
        before = self._answered or _read(self._answered_at, Answered) or Answered()
        self._ends = before.ends
        self.answered({**before.positions, **plan.positions})
        self._plan_at.unlink(missing_ok=True)

    def _wait(self, producer: Producer) -> None:
        self._broker.wait(producer, lambda: producer.flush(_TURN_S))
        extend(self._broker.options.timeout_s + _MARGIN_S)


def _partition_of(message: Message) -> str:
    """The partition of the input that a message is of; empty: nobody says."""
    where = kept(message).where
    return "" if where is None else where[0]


def _is_blank(message: Message) -> bool:
    """Whether it is one of those that are rolled back to end what is open."""
    return not message.key() and message.value() is None and not headers_of(message)


def _read(path: Path, kind: type[T]) -> T | None:
    """What is in a file; None: there is none, or none that can be read (a power cut may empty one that was not synced).

    Raises:
        Retryable: it cannot be read now.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Retryable(f"{path}: {plain_reason(error)}") from error
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None


def _replace(path: Path, data: bytes, is_synced: bool) -> None:
    """Put a file in the place of another.

    Raises:
        Retryable: it cannot be written now.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            if is_synced:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
        if is_synced:
            sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise Retryable(f"{path}: {plain_reason(error)}") from error
