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
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from confluent_kafka import Producer
from msgspec.structs import replace

from actors.kafka.applied import Applied, Row, send
from actors.kafka.topics import Cluster
from actors.runtime.disk import sync_folder
from actors.runtime.errors import Retryable, plain_reason
from actors.runtime.progress import extend
from actors.sinks.kafka_halves import Halves, Kept
from actors.sinks.kafka_looking import BLANK, Looking
from actors.sinks.kafka_producer import Broker, Patience

_TURN_S = 0.1
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
        looking = Looking(self._broker, self._broker.cluster())
        plan = self._plan(looking, owner, token)
        self._roll_back(producer, looking)
        if plan is not None:
            self._write(producer, owner, plan)
        self._ends = looking.ends(self._broker.address.topic)

    def look(self, cluster: Cluster) -> None:
        """Remember where the topic ends now; nothing of this sink is under way.

        Raises:
            KafkaException: the broker cannot be asked now.
        """
        self._ends = Looking(self._broker, cluster).ends(self._broker.address.topic)

    def answered(self, positions: Mapping[str, int]) -> None:
        """The broker has said that a group is committed; before anybody else hears of it.

        Raises:
            Retryable: the file cannot be written now.
        """
        self._answered = Answered(dict(positions), self._ends)
        _replace(self._answered_at, msgspec.msgpack.encode(self._answered), is_synced=False)

    # What was decided -------------------------------------------------------------------------------------------------

    def _plan(self, looking: Looking, owner: str, token: str) -> Plan | None:
        """What has to be written again, on the disk; None: nothing."""
        answered, known = self._last(), _read(self._plan_at, Plan)
        rows, applied = looking.rows(owner), looking.applied(owner)
        if known is not None and applied.mended == known.token:  # as far as it is not open again
            answered = Answered({**answered.positions, **known.positions}, answered.ends)
            known = None
        if known is not None:
            there = {one.id for one in looking.committed(known.ends)}
            return replace(known, messages=[one for one in known.messages if one.id not in there])
        halves = Halves(applied, answered.positions, rows, token=token)
        halves.messages = looking.messages({*applied.positions, *answered.positions, *halves.undecided()})
        is_asked = answered.ends and halves.undecided()
        rows, messages, positions = halves.left(looking.committed(answered.ends) if is_asked else ())
        if not rows and not messages:
            self._plan_at.unlink(missing_ok=True)
            return None
        plan = Plan(secrets.token_hex(8), rows, messages, positions, looking.ends(self._broker.address.topic))
        _replace(self._plan_at, msgspec.msgpack.encode(plan), is_synced=True)
        return plan

    def _last(self) -> Answered:
        """What was answered last."""
        return self._answered or _read(self._answered_at, Answered) or Answered()

    # What is done -----------------------------------------------------------------------------------------------------

    def _roll_back(self, producer: Producer, looking: Looking) -> None:
        """Roll back a transaction that has a record in each partition, whatever becomes of these."""
        broker = self._broker
        topics = broker.address.topic, broker.options.applied_topic
        producer.begin_transaction()
        for topic in topics:
            for number in looking.ends(topic):
                send(producer, topic, [BLANK], number)
        self._wait(producer)
        producer.abort_transaction(broker.options.timeout_s)
        for topic in topics:  # the next transaction would commit what it has not ended
            looking.wait_for_blanks(topic)

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
        before = self._last()
        self._ends = before.ends
        self.answered({**before.positions, **plan.positions})
        self._plan_at.unlink(missing_ok=True)

    def _wait(self, producer: Producer) -> None:
        self._broker.wait(producer, lambda: producer.flush(_TURN_S))
        extend(self._broker.options.timeout_s + _MARGIN_S)


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
