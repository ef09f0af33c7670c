"""For ``check``: is the server reached, is the queue there, may it be read, and may messages be lost in it?

Whether this user may read a queue only a consumer finds out. So the server is asked for one that it has to refuse: it
looks at permissions first (403), and then at the priority of the consumer, which is no number (406). Nothing is ever
delivered. In the same way it is asked to declare a queue that is not there: with arguments that no queue has.

What a queue does with a message that was delivered too often is no part of the protocol: AMQP says of a queue that is
there how many messages wait in it, and how many consumers it has. So its limits are asked of the management plugin,
where there is one; where there is none, and it was not named, only what the options declare is known.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit

from actors.rabbitmq.connection import Channel, Connection, Server
from actors.rabbitmq.faults import Refused
from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.sources.rabbitmq_consumer import Wanted
from actors.sources.rabbitmq_queue import known_as, why_of_another_kind

#: Where the management plugin listens, when nobody says otherwise.
_PORT = 15672
_PATIENCE_S = 5.0
_REFUSED, _NOT_FOUND = 403, 404
#: No priority of a consumer, and no time after which a queue goes.
_NO_NUMBER = "none"
#: From this version on a quorum queue that nobody has given a limit has one.
_LIMITED_FROM, _LIMIT = 4, 20
#: An acknowledgement takes no longer than this, however slow the disk is.
_ACKNOWLEDGED_MS = 60_000

Facts = dict[str, Any]


def problems_of(server: Server, wanted: Wanted, management: str) -> list[str]:
    """Return what would keep a queue from being read, and what may lose messages in it, each with how to mend it.

    Raises:
        ConfigError: the server does not let this user in, its certificate is not trusted, the user may not read the
            queue or declare it, or it is there with other arguments.
    """
    connection = Connection(server)
    shown = known_as(server.address, wanted.name)
    try:
        connection.open()
        is_there, problems = _looked_at(connection.channel(), wanted)
        _require_to_read(connection.channel(), wanted, shown)
        if wanted.declare:
            _require_to_declare(connection.channel(), wanted, shown, is_there)
    except Retryable as error:
        return [str(error)]
    finally:
        connection.close()
    facts: Facts = {}
    try:
        plugin = _plugin_at(management, server)
        facts = _facts(plugin, server, wanted.name) if is_there else {}
    except (OSError, ValueError, HTTPException) as error:
        if management:
            problems.append(f"source.management: {_plugin_shown(management)}: {_words(error)}: expected the address of "
                            "the management plugin, e.g. http://HOST:15672")
    problems += _limits(facts, wanted)
    return problems


def _looked_at(channel: Channel, wanted: Wanted) -> tuple[bool, list[str]]:
    """Whether the queue is there, and what is wrong with that."""
    try:
        channel.ask(lambda done: channel.client.queue_declare(wanted.name, passive=True, callback=done), "a queue")
    except Refused as error:
        if error.code != _NOT_FOUND:
            return False, [f"queue {wanted.name}: {error}: give the user its permissions there"]
        said = f"queue {wanted.name}: there is none: declare it, or set source.declare = true"
        if not wanted.declare and not wanted.may_come:
            raise ConfigError(said) from error
        return False, [] if wanted.declare else [said]
    return True, []


def _require_to_read(channel: Channel, wanted: Wanted, shown: str) -> None:
    """Ask for a consumer that can never be: why, says whether the permission lacks, and what kind of queue it is."""
    # To a stream a priority is one argument too many, to a queue an offset is.
    arguments = {"x-stream-offset": "next", "x-priority": 0} if wanted.is_stream else {"x-priority": _NO_NUMBER}
    error = _refusal_of(channel, lambda done: channel.client.basic_consume(
        wanted.name, lambda *_: None, arguments=arguments, callback=done))
    if error is not None and error.code == _REFUSED:
        raise ConfigError(f"rabbitmq {shown}: {error}: give the user the permission to read it")
    other = error is not None and why_of_another_kind(error.code, str(error), wanted.is_stream)
    if other:
        raise ConfigError(f"rabbitmq {shown}: {other}")


def _require_to_declare(channel: Channel, wanted: Wanted, shown: str, is_there: bool) -> None:
    """Declare it as it is to be, which changes nothing; one that is not there as it can never be."""
    arguments = wanted.arguments if is_there else {**wanted.arguments, "x-expires": _NO_NUMBER}
    error = _refusal_of(channel, lambda done: channel.client.queue_declare(
        wanted.name, durable=True, arguments=arguments, callback=done))
    if error is not None and error.code == _REFUSED:
        raise ConfigError(f"rabbitmq {shown}: {error}: give the user the permission to configure it, or set "
                          "source.declare = false to take it as it is")
    if error is not None and is_there:
        raise ConfigError(f"rabbitmq {shown}: {error}: set source.declare = false to take it as it is, or the options "
                          "that it was declared with (queue_type, single_active_consumer, arguments)") from error


def _refusal_of(channel: Channel, start: Callable[[Callable[[Any], None]], object]) -> Refused | None:
    try:
        channel.ask(start, "a queue")
    except Refused as error:
        return error
    channel.close()
    return None


class _Plugin(NamedTuple):
    """Where the management plugin is, and as whom it is asked."""

    base: str
    user: str
    password: str


def _plugin_at(management: str, server: Server) -> _Plugin:
    """The management plugin.

    Raises:
        ValueError: its address is none; the text has no password in it.
    """
    address = server.address
    host = address.nodes[0][0]
    if not management:
        base = f"http://{f'[{host}]' if ':' in host else host}:{_PORT}"
        return _Plugin(base, address.user, address.password)
    try:
        parts = urlsplit(management)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_one = False
    if not is_one or "@" in parts.path + parts.query + parts.fragment:
        raise ValueError("it is no http:// or https:// address")
    base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    return _Plugin(base, *((unquote(parts.username), unquote(parts.password or "")) if parts.username
                           else (address.user, address.password)))


def _plugin_shown(management: str) -> str:
    """Its address, for people: what is behind the last ``@``, for nothing before that is for them."""
    return management.rpartition("@")[2] if "@" in management else management


def _words(error: Exception) -> str:
    """An error in words that have no address in them."""
    if isinstance(error, HTTPError):
        return f"it answers {error.code} {error.reason}"
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        return plain_reason(error.reason)
    if isinstance(error, OSError):
        return plain_reason(error)
    return str(error) if type(error) is ValueError else "what answers there is no management plugin"


def _facts(plugin: _Plugin, server: Server, queue: str) -> Facts:
    """What the management plugin knows of a queue.

    Raises:
        OSError: it cannot be asked.
        ValueError: it is no management plugin; also HTTPException.
    """
    login = base64.b64encode(f"{plugin.user}:{plugin.password}".encode()).decode()
    found: Facts = {}
    for what in (f"queues/{quote(server.address.vhost, safe='')}/{quote(queue, safe='')}", "overview"):
        request = urllib.request.Request(f"{plugin.base}/api/{what}", headers={"Authorization": f"Basic {login}"})
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
