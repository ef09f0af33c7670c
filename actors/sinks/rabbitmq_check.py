"""``thresher check`` of the RabbitMQ sink: reached, let in, the exchange and the queue there, the permission to write.

Nothing is made: exchange and queue are asked for, and a message is published in a transaction that is rolled back,
which the server judges like any other.
"""

from __future__ import annotations

from contextlib import closing

from actors.rabbitmq.connection import Connection
from actors.rabbitmq.declaring import OTHERWISE, Exchange, Queue, declare_exchange, declare_queue, is_there
from actors.rabbitmq.faults import Refused
from actors.runtime.errors import ConfigError, Retryable
from actors.sinks.rabbitmq_line import Plan


def problems_of(plan: Plan) -> list[str]:
    """Return what would keep the sink from working now, each with how to mend it: what a run waits for.

    Raises:
        ConfigError: only another configuration can help.
    """
    with closing(Connection(plan.server)) as connection:
        try:
            connection.open()
            return _problems(connection, plan)
        except Retryable as error:
            return [f"{error}: start it, or set {plan.section}.topic to where it is"]


def _problems(connection: Connection, plan: Plan) -> list[str]:
    wanted: list[Exchange | Queue] = [plan.exchange] if plan.exchange.name else []
    if plan.queue is not None:
        wanted.append(plan.queue)
    problems = []
    for one in wanted:
        problems += _problem_of(connection, plan, one)
    if not problems and (not plan.exchange.name or is_there(connection, plan.exchange)):
        _require_to_write(connection, plan)
    return problems


def _problem_of(connection: Connection, plan: Plan, wanted: Exchange | Queue) -> list[str]:
    noun = "queue" if isinstance(wanted, Queue) else "exchange"
    says = f"rabbitmq {connection.where}: {noun} {wanted.name}"
    try:
        if not is_there(connection, wanted):
            return [] if plan.declare else [f"{says} is not there: make it, or set {plan.section}.declare = true"]
        if plan.declare:  # what is there with these arguments stays as it is
            channel = connection.channel()
            if isinstance(wanted, Queue):
                declare_queue(channel, Queue(wanted.name, wanted.kind))
            else:
                declare_exchange(channel, wanted)
            channel.close()
    except Refused as error:
        if error.code == OTHERWISE:
            raise ConfigError(
                f"{says} is there with other arguments ({error.text}): set {plan.section}.{noun}_type to what it is, "
                f"or {plan.section}.declare = false to take it as it is") from error
        raise ConfigError(f"{says}: {error.text}: give this user the permission to configure it, or make it and set "
                          f"{plan.section}.declare = false") from error
    return []


def _require_to_write(connection: Connection, plan: Plan) -> None:
    """Make sure that this user may publish there."""
    channel = connection.channel()
    try:
        channel.ask(lambda done: channel.client.tx_select(callback=done), "a transaction")
        channel.client.basic_publish(plan.exchange.name, plan.route, b"")
        channel.ask(lambda done: channel.client.tx_rollback(callback=done), "the end of a transaction")
    except Refused as error:
        raise ConfigError(f"rabbitmq {connection.where}: {plan.target}: {error.text}: give this user the permission to "
                          "write to it") from error
    channel.close()
