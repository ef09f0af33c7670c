"""For ``check``: is the server reached, is the queue there, and may messages be lost in it?

What a queue does with a message that was delivered too often is no part of the protocol: AMQP says of a queue that is
there how many messages wait in it, and how many consumers it has. So its limits are asked of the management plugin,
where there is one; where there is none, and it was not named, only what the options declare is known.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from actors.rabbitmq.connection import Channel, Connection, Server
from actors.rabbitmq.faults import Refused
from actors.runtime.errors import ConfigError, Retryable
from actors.sources.rabbitmq_consumer import Wanted
from actors.sources.rabbitmq_queue import known_as

#: Where the management plugin listens, when nobody says otherwise.
_PORT = 15672
_PATIENCE_S = 5.0
_NOT_FOUND = 404
#: From this version on a quorum queue that nobody has given a limit has one.
_LIMITED_FROM, _LIMIT = 4, 20
#: An acknowledgement takes no longer than this, however slow the disk is.
_ACKNOWLEDGED_MS = 60_000

Facts = dict[str, Any]


def problems_of(server: Server, wanted: Wanted, management: str) -> list[str]:
    """Return what would keep a queue from being read, and what may lose messages in it, each with how to mend it.

    Raises:
        ConfigError: the server does not let this user in, its certificate is not trusted, or the queue is there with
            other arguments.
    """
    connection = Connection(server)
    try:
        connection.open()
        is_there, problems = _looked_at(connection.channel(), wanted)
        if is_there and wanted.declare:
            _require_the_same(connection.channel(), wanted, known_as(server.address, wanted.name))
    except Retryable as error:
        return [str(error)]
    finally:
        connection.close()
    try:
        facts = _facts(server, wanted.name, management) if is_there else {}
    except (OSError, ValueError) as error:
        if management:
            problems.append(f"source.management: {management}: {error}: expected the address of the management plugin")
        facts = {}
    problems += _limits(facts, wanted)
    return problems


def _looked_at(channel: Channel, wanted: Wanted) -> tuple[bool, list[str]]:
    """Whether the queue is there, and what is wrong with it."""
    try:
        channel.ask(lambda done: channel.client.queue_declare(wanted.name, passive=True, callback=done), "a queue")
    except Refused as error:
        if error.code != _NOT_FOUND:
            return False, [f"queue {wanted.name}: {error}: give the user its permissions there"]
        return False, [] if wanted.declare else [
            f"queue {wanted.name}: there is none: declare it, or set source.declare = true"]
    return True, []


def _require_the_same(channel: Channel, wanted: Wanted, shown: str) -> None:
    try:
        channel.ask(lambda done: channel.client.queue_declare(
            wanted.name, durable=True, arguments=wanted.arguments, callback=done), "a queue")
    except Refused as error:
        raise ConfigError(f"rabbitmq {shown}: {error}: set source.declare = false to take it as it is, or the options "
                          "that it was declared with (queue_type, single_active_consumer, arguments)") from error


def _facts(server: Server, queue: str, management: str) -> Facts:
    """What the management plugin knows of a queue; nothing when it is not at its usual place.

    Raises:
        OSError: it cannot be asked.
        ValueError: it is no management plugin.
    """
    address = server.address
    host = address.nodes[0][0]
    base = management or f"http://{f'[{host}]' if ':' in host else host}:{_PORT}"
    if urlsplit(base).scheme not in ("http", "https"):
        raise ValueError("it is no http:// or https://")
    login = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
    found: Facts = {}
    for what in (f"queues/{quote(address.vhost, safe='')}/{quote(queue, safe='')}", "overview"):
        request = urllib.request.Request(f"{base.rstrip('/')}/api/{what}", headers={"Authorization": f"Basic {login}"})
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            said = json.loads(answer.read())
        found |= said if isinstance(said, dict) else {}
    return found


def _limits(facts: Facts, wanted: Wanted) -> list[str]:
    """What a queue does that loses messages, of what is known of it."""
    given = facts.get("arguments", wanted.arguments)
    by_policy = facts.get("effective_policy_definition") or {}
    kind = facts.get("type", wanted.arguments.get("x-queue-type"))
    limit = given.get("x-delivery-limit", by_policy.get("delivery-limit"))
    version = str(facts.get("rabbitmq_version", "")).partition(".")[0]
    if limit is None and kind == "quorum" and version.isdigit() and int(version) >= _LIMITED_FROM:
        limit = _LIMIT
    problems = []
    has_exchange = "x-dead-letter-exchange" in given or "dead-letter-exchange" in by_policy
    if isinstance(limit, int) and limit >= 0 and not has_exchange:
        problems.append(f"queue {wanted.name}: it drops a message that was delivered {limit} times and not "
                        "acknowledged, and has no dead-letter exchange: give it one, by a policy or as "
                        "x-dead-letter-exchange, or no limit (x-delivery-limit = -1)")
    patience = given.get("x-consumer-timeout", by_policy.get("consumer-timeout"))
    if isinstance(patience, int) and patience < _ACKNOWLEDGED_MS:
        problems.append(f"queue {wanted.name}: a consumer has {patience} ms to acknowledge (consumer-timeout), and a "
                        f"slow disk may need more: expected {_ACKNOWLEDGED_MS} or more")
    return problems
