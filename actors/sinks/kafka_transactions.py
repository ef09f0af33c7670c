"""The sink with transactions: a group of batches, and up to where they are, in one transaction.

    open     init_transactions ──▶ what lies open is ended ──▶ end of ``thresher_applied`` ──▶ positions up to there
                                                                ──▶ "it is me" (a transaction)
    write    begin ──▶ the messages of what is not there yet ──▶ their positions ──▶ commit ──▶ the answer, in a file

Guarantees: for those who read what is committed each message is in the topic once, in source order for each key,
whoever is killed and whenever: what a killed writer had begun is ended by the ``init_transactions`` of the next one
before that reads how far it is. A broker that is killed itself may leave records of it open that its coordinator knows
nothing of, or that it has said to be committed: ``kafka_ending`` ends them, so a writer that has lost a connection
begins anew, before its next transaction decides them unseen. Whatever goes
wrong is mended in the one way that also mends a kill: the producer is let go, and the next call begins with a new one,
and with what the positions say. So a commit whose answer was lost is no case of its own. What is refused is remembered
with the positions: a writer that dies before the dead-letter store has it says so again.

Of two processes that open the same sink of the same state (a copy of a state directory) the later one goes on. The
other is fenced by the broker, finds in the positions that it is no longer the holder, and ends with exit code 78. A
fence without another holder is the broker's own (a transaction that took longer than ``transaction.timeout.ms``): it is
opened anew.

What does not work: to abort and go on with the same producer (after some errors it has to be a new one, so there would
be two ways); positions in the offsets of a consumer group (the broker forgets them); a fence that is believed at once
(a slow broker would end the run).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException, Producer

from actors.kafka.applied import SETTINGS, Applied, owner_of, read, send
from actors.kafka.identity import id_of, known_id
from actors.runtime.errors import ConfigError, Lost
from actors.runtime.ports import Sink
from actors.runtime.progress import extend
from actors.runtime.values import Payload, Refusal
from actors.sinks.kafka_ending import Ending
from actors.sinks.kafka_messages import Group, Place, is_refused, refusals_again
from actors.sinks.kafka_producer import Broker, Patience, ProducerOptions, let_go

_TURN_S = 0.1
_MARGIN_S = 5.0
_FENCED = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "_FATAL")


class Transactions(Sink):
    """The opened sink.

    Args:
        options: of it.
        name: of it.
        state: the state directory.
    """

    def __init__(self, options: ProducerOptions, name: str, state: Path) -> None:
        self._broker = Broker(options, name)
        self._name = name
        self._state = state
        self._token = secrets.token_hex(8)
        self._is_holder = False
        self._opened: tuple[Producer, Applied] | None = None
        self._ending = Ending(self._broker, name, state)
        self._heard = 0

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Write all batches that are not in the topic yet, and their positions, in one transaction."""
        with self._broker.says():
            try:
                self._look()
                refusals = self._write(payloads)
            except KafkaException as error:
                self._let_go()
                if error.args[0].name() in _FENCED or error.args[0].fatal():
                    self._require_held()
                raise
            except BaseException:
                self._let_go()
                raise
        self._broker.works()
        return refusals

    def close(self) -> None:
        """Let the producer go; a transaction that did not end is ended by the next one."""
        self._let_go()

    def _look(self) -> None:
        """Is the topic the same still, and were the brokers there all the time?"""
        if self._opened is not None and self._broker.heard.count != self._heard:
            self._let_go()
        cluster = self._broker.look()
        if cluster is not None and self._opened is not None:
            self._ending.look(cluster)

    def _write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        _, applied = self._open()
        there = dict(applied.positions)
        new: list[int] = []
        refusals: list[Refusal] = []
        for index, payload in enumerate(payloads):
            if payload.end > there.get(payload.partition, -1):
                there[payload.partition] = payload.end
                new.append(index)
            elif known := applied.refused.get((payload.partition, payload.start)):
                refusals += refusals_again(index, payload, known)
        if new:
            refusals += [Refusal(new[one.payload], one.item, one.reason, one.detail, one.raw)
                         for one in self._commit([payloads[index] for index in new])]
        return sorted(refusals, key=lambda one: (one.payload, one.item))

    def _commit(self, payloads: list[Payload]) -> list[Refusal]:
        """Write these in one transaction; return what the broker refuses, which is left out."""
        refused: dict[Place, Refusal] = {}
        is_careful = False
        while True:
            producer, applied = self._open(is_careful)
            group = Group(payloads, refused)
            producer.begin_transaction()
            self._send(producer, group)
            if not group.failed:
                break
            refused = self._refused(group, is_careful)
            with contextlib.suppress(KafkaException):  # the next producer waits a second for one that is open
                producer.abort_transaction(self._broker.options.timeout_s)
            self._let_go()
            is_careful = True
        by_batch: dict[tuple[str, int], list[Refusal]] = {}
        for one in group.refusals():
            payload = payloads[one.payload]
            by_batch.setdefault((payload.partition, payload.start), []).append(one)
        send(producer, self._broker.options.applied_topic, applied.rows_of(payloads, by_batch))
        self._end(producer)
        self._ending.answered({one.partition: one.end for one in payloads})
        if is_careful:
            self._let_go()
        return group.refusals()

    def _refused(self, group: Group, is_careful: bool) -> dict[Place, Refusal]:
        """Some have failed, so nothing of the transaction will be there; return what has to be left out of the next."""
        error = group.failed[min(group.failed)]
        if not any(map(is_refused, group.failed.values())):
            raise KafkaException(error)
        if is_careful:  # else it may be the whole batch: which of them it is shows when each goes alone
            group.refuse_failed()
        return group.refused

    def _send(self, producer: Producer, group: Group) -> None:
        """Send all of it, or as much as is taken until one has failed: then the library sends no more."""
        broker = self._broker
        try:
            group.send(producer, broker.address.topic, Patience(broker, producer).queue_is_full)
        except KafkaException:
            producer.flush(_TURN_S)
            if not group.failed:  # else that says why no more is taken
                raise
        broker.wait(producer, lambda: producer.flush(_TURN_S) if not group.failed else 0)

    def _end(self, producer: Producer) -> None:
        extend(self._broker.options.timeout_s + _MARGIN_S)
        producer.commit_transaction(self._broker.options.timeout_s)

    # Opening ----------------------------------------------------------------------------------------------------------

    def _open(self, is_careful: bool = False) -> tuple[Producer, Applied]:
        if self._opened is not None:
            return self._opened
        broker, options = self._broker, self._broker.options
        state_id = id_of(self._state)
        if self._is_holder:
            # Else the other one would be fenced by what comes now.
            self._require_holder(self._read(state_id, is_stable=True))
        require_topic(broker, self._name)
        producer = broker.producer(alone=is_careful, transactional_id=f"{state_id}/{self._name}")
        extend(options.timeout_s + _MARGIN_S)
        producer.init_transactions(options.timeout_s)
        self._ending.end(producer, owner_of(state_id, self._name, broker.address.topic),
                         self._token if self._is_holder else "")
        applied = self._read(state_id)
        if self._is_holder:
            self._require_holder(applied)
        else:
            producer.begin_transaction()
            send(producer, options.applied_topic, [applied.row_of_holder(self._token)])
            self._end(producer)
            self._is_holder = True
        self._opened, self._heard = (producer, applied), broker.heard.count
        return self._opened

    def _read(self, state_id: str, is_stable: bool = False) -> Applied:
        owner = owner_of(state_id, self._name, self._broker.address.topic)
        return read_applied(self._broker, owner, is_stable)

    def _require_held(self) -> None:
        """The broker has fenced this producer: is there another holder? Asked without fencing that one."""
        if self._is_holder:
            self._require_holder(self._read(id_of(self._state)))

    def _require_holder(self, applied: Applied) -> None:
        if not applied.holder:
            raise Lost(
                f"sinks.{self._name}: {self._broker.address.servers}: topic {self._broker.options.applied_topic} has "
                "lost the positions of this sink: it was removed, or made anew. Started again the run goes on, and "
                "what was written at last and not acknowledged may be there twice, under the same thresher-id")
        if applied.holder != self._token:
            raise ConfigError(
                f"sinks.{self._name}: {self._broker.address}: another process has opened this sink of this state, and "
                f"writes on: this one ends. Is a copy of {self._state} in use? Remove kafka.id from the copy, or "
                "begin it with another --state")

    def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            let_go(opened[0])


def require_topic(broker: Broker, name: str) -> None:
    """See to it that the topic of positions is there, and keeps them.

    Raises:
        ConfigError: it does not, or there is none and none is to be made.
        KafkaException: the broker cannot be asked now, or refuses.
    """
    options, cluster = broker.options, broker.cluster()
    topic = options.applied_topic
    if cluster.found(topic) is None:
        if not options.create:
            raise ConfigError(f"sinks.{name}: {broker.address.servers}: there is no topic {topic}, which keeps the "
                              "positions of transactions: make it, with cleanup.policy=compact, or set "
                              f"sinks.{name}.create = true")
        cluster.make(topic, 1, options.replication, SETTINGS)
    if problem := wrong_policy(cluster.setting(topic, "cleanup.policy"), topic):
        raise ConfigError(f"sinks.{name}: {problem}")


def wrong_policy(policy: str | None, topic: str) -> str:
    """Why a topic does not keep positions, or nothing; None: it is not known."""
    if policy is None or policy == "compact":
        return ""
    return (f"topic {topic}: expected cleanup.policy=compact, got {policy}: positions would be lost by and by: change "
            "it, or set applied_topic")


def read_applied(broker: Broker, owner: str, is_stable: bool = False) -> Applied:
    """Read what a sink has written; only up to the first transaction that is open, or to the end.

    Raises:
        KafkaException: it cannot be read now.
    """
    return read(broker.cluster(), broker.reading(), broker.options.applied_topic, owner, is_stable)


def positions_of(options: ProducerOptions, name: str, state: Path) -> dict[str, int]:
    """Up to where the sink of this state has each partition in its topic; nothing is fenced, and nothing made.

    Raises:
        Retryable: the broker cannot be asked now.
    """
    state_id = known_id(state)
    if not state_id:
        return {}
    broker = Broker(options, name)
    with broker.says():
        return read_applied(broker, owner_of(state_id, name, broker.address.topic)).positions
