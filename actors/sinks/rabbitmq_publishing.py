"""The opened RabbitMQ sink: a window of messages that the server has not confirmed yet.

    payloads ──▶ publish, ``window`` at most unconfirmed ──▶ confirms, in any order, many at once ──▶ written
                   ▲                                             │ nack, returned, connection lost
                   └────── again from the first unconfirmed ◀────┘ with the same ids, after the writer's back-off

Guarantees: ``write`` returns when the server has confirmed every message, and no sooner: then it is on the disk of a
quorum queue's majority, of a stream, or of a durable queue. What was unconfirmed when something failed is published
again under the same ``message_id``, by this process or the one that follows it: at least once, and once for a consumer
that drops ids that it has seen. Messages go out in source order on one channel; after a failure everything from the
first unconfirmed one on goes out again, so in each queue the last message of a key stays the newest.

The server's alarm (memory, disk) is an outage that is told: nothing is published while it lasts, the connection and
what is unconfirmed stay as they are.

A server that lives and does not confirm has a quorum queue without its majority, which will, or one that has no leader
and gets none (its node was killed before it had written down that there is one): nobody can tell. So what is not
confirmed for ``timeout_s`` is published again on a new connection, one message at a time until one is confirmed.

What does not work: one confirm at a time (a tenth of the rate); transactions of AMQP (slower still, and no atomicity
over queues); to take a connection that looks open for one that is: between two calls nobody answers heartbeats, so a
sink that was silent for long finds it closed, and opens another one without a word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from actors.rabbitmq.faults import Refused
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.ports import Sink
from actors.runtime.values import Payload, Refusal
from actors.sinks.rabbitmq_line import Line, Plan, why_not_published, why_refused
from actors.sinks.rabbitmq_round import Round

#: Most bytes of values that are published and not confirmed; one message may have more.
_MOST_BYTES = 8 * 1024 * 1024
#: Messages that go out in one write.
_BURST = 128


def open_publisher(plan: Plan) -> Publisher:
    """Open the sink; a server that is down is tried again by ``write``.

    Raises:
        ConfigError: it can never work.
    """
    publisher = Publisher(plan)
    try:
        publisher.connect()
    except Retryable:  # `write` says what is wrong, and tries again
        pass
    except BaseException:
        publisher.close()
        raise
    return publisher


class Publisher(Sink):
    """The opened sink.

    Args:
        plan: what it does.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._line = Line(plan, self._on_confirm, self._on_return)
        self._round: Round | None = None
        self._has_worked = False

    def connect(self) -> None:
        """See to it that there is a channel.

        Raises:
            Retryable: the server cannot be reached.
            ConfigError: it does not let us in, or what is to be declared is there and something else.
        """
        try:
            if self._line.connect() and self._round is not None:
                self._round.begin_again(careful=False)
        except Refused as error:
            raise why_not_published(error, self._plan) from error

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Publish all messages; return when each is confirmed, or refused for good.

        Raises:
            Retryable: the server cannot be reached, is blocked by an alarm, or does not take them now.
            ConfigError: only another configuration can help; once something was published that is waited for, too: a
                server that comes back half made says the same.
        """
        try:
            refusals = self._write(payloads)
        except ConfigError as error:
            if not self._has_worked:
                raise
            raise Retryable(str(error)) from error
        self._has_worked = True
        return refusals

    def close(self) -> None:
        """Close the connection."""
        self._line.close()

    def _write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        round_ = self._round_of(payloads)
        while not round_.is_over:
            self.connect()
            try:
                while not round_.is_over:
                    self._go_on(round_)
            except Refused as error:
                self._find_what_is_refused(round_, error)
        self._round = None
        return sorted(round_.refusals, key=lambda refusal: (refusal.payload, refusal.item))

    def _round_of(self, payloads: Sequence[Payload]) -> Round:
        if self._round is not None and not self._round.messages.are_of(payloads):
            self._line.give_up()  # answers to what was published may still come
            self._round = None
        if self._round is None:
            self._round = Round(payloads, self._plan.waits)
        return self._round

    def _go_on(self, round_: Round) -> None:
        """Publish as much as there is room for, and wait until there is room again, or all is confirmed."""
        if round_.has_failed:
            self._wait(round_, lambda: False)
            why = self._why_not_taken(round_)
            if round_.unrouted and self._plan.declare:
                self._line.renew()  # somebody may have deleted what was declared
            round_.begin_again(careful=True)
            raise Retryable(f"rabbitmq {self._line.connection.where}: {why}")
        if self._line.connection.blocked:
            raise Retryable(f"rabbitmq {self._line.connection.where}: {self._line.connection.blocked}")
        self._publish(round_)
        self._wait(round_, lambda: round_.has_failed or (round_.has_more and self._has_room(round_, share=2)))

    def _publish(self, round_: Round) -> None:
        """Publish until the window is full, or nothing is left."""
        connection, line = self._line.connection, self._line
        now = int(time.time() * 1000)
        while self._has_room(round_) and not connection.blocked:
            with connection.burst():
                for _ in range(_BURST):
                    if not self._has_room(round_) or (found := round_.take(line.tag + 1)) is None:
                        break
                    line.send(*found, now)
            line.turn(0.0, lambda: True)

    def _has_room(self, round_: Round, share: int = 1) -> bool:
        """Whether another message may be published now; within which share of the window."""
        if round_.has_failed or not round_.has_more:
            return False
        held = len(round_.outstanding)
        most = 1 if round_.next < round_.careful_until else self._plan.window
        return not held or (held * share < most and round_.outstanding.bytes * share < _MOST_BYTES)

    def _wait(self, round_: Round, is_done: Callable[[], bool]) -> None:
        """Turn until this is true, or nothing is unconfirmed.

        Raises:
            Retryable: the server is blocked, confirms nothing for ``timeout_s``, or is lost.
            Refused: it has closed the channel.
        """
        timeout_s = self._plan.server.timeout_s
        connection = self._line.connection
        while round_.outstanding and not is_done():
            held = len(round_.outstanding)
            found = self._line.turn(timeout_s, lambda: len(round_.outstanding) < held)  # noqa: B023
            if connection.blocked and round_.outstanding and not is_done():
                raise Retryable(f"rabbitmq {connection.where}: {connection.blocked}")
            if not found:
                self._line.give_up()
                round_.begin_again(careful=True)
                raise Retryable(f"rabbitmq {connection.where}: it has confirmed nothing for {timeout_s:g} s: a queue "
                                "has no leader, or too few of its members are up: publishing again")

    def _why_not_taken(self, round_: Round) -> str:
        if round_.unrouted:
            what = ("what was declared is gone, with all that was in it: it is declared again" if self._plan.declare
                    else "it is waited for one that is bound there")
            return f"{round_.unrouted}: no queue takes it: {what}"
        return "a queue refuses a message (nack): it is full (x-overflow), or has lost its leader"

    def _find_what_is_refused(self, round_: Round, error: Refused) -> None:
        """The server has closed the channel: for one message (it is too large), or for all of them.

        Raises:
            Retryable: what it misses may come.
            ConfigError: this user may not.
        """
        if not (reason := why_refused(error)):
            raise why_not_published(error, self._plan) from error
        if len(round_.outstanding) == 1:
            round_.refuse_first(reason, error.text)
        round_.begin_again(careful=True)

    def _on_confirm(self, tag: int, multiple: bool, is_taken: bool) -> None:
        if self._round is not None:
            self._round.confirmed(tag, multiple, is_taken)

    def _on_return(self, record_id: str, why: str) -> None:
        if self._round is not None:
            self._round.returned(record_id, why)
