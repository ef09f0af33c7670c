"""Addresses of a RabbitMQ server: ``amqp://user:password@host:port/vhost?queue=NAME``, ``amqps://`` with TLS.

Several nodes of one cluster are named one behind the other (``amqp://a:5672,b:5672/vhost``): each is tried in turn. A
part that holds one of the characters ``:/?#[]@,&=%`` is percent-encoded; no path, and ``/`` alone, is the virtual host
``/``, which may be written ``/%2F`` too.

Pure: nothing is resolved, nothing connected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from actors.runtime.errors import ConfigError

#: Schemes, and the port that each has when none is given.
PORTS = {"amqp": 5672, "amqps": 5671}
#: Longest name of a queue, an exchange, a routing key, a user: what AMQP calls a short string, in bytes.
MOST_NAME_BYTES = 255
_ENCODE = ("in user, password and names the characters :/?#[]@,&=% are percent-encoded (a / is %2F, an @ is %40), also "
           "where they come from the environment or a file")
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


class Address(NamedTuple):
    """A server, and what is meant in it.

    Attributes:
        secure: TLS.
        nodes: host and port of each node of the cluster.
        user: who connects.
        password: theirs.
        vhost: the virtual host.
        query: what stands behind the question mark: ``queue``, ``exchange``, ``routing_key``.
    """

    secure: bool
    nodes: tuple[tuple[str, int], ...]
    user: str
    password: str
    vhost: str
    query: Mapping[str, str]

    @property
    def shown(self) -> str:
        """Where it is, for people: ``host:5672/vhost``, without user and password."""
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        return nodes if self.vhost == "/" else f"{nodes}/{self.vhost}"


def address_of(text: str, known: tuple[str, ...], option: str) -> Address:
    """Return the parts of an address.

    Args:
        text: the address.
        known: what may stand behind its question mark.
        option: where it was said (``source.topics``), for the sentence.

    Raises:
        ConfigError: it is none; the text never shows a password.

    Example::

        address_of("amqp://shop:pw@10.0.0.5/orders?queue=reviews", ("queue",), "source.topics").vhost  # "orders"
    """
    try:
        parts = urlsplit(text)
        scheme, netloc = parts.scheme, parts.netloc
    except ValueError:
        raise _wrong(option, known, f"a [ or ] that is not of an IPv6 address, or an odd letter, is in it: {_ENCODE}"
                     ) from None  # the reason may have the password in it
    if scheme not in PORTS:
        raise _wrong(option, known, f"got the scheme {scheme!r}" if scheme else "got no scheme")
    if "@" in text.split("://", 1)[-1].removeprefix(netloc):  # then what looks like the host is a piece of a password
        raise _wrong(option, known, f"an @ stands behind the host: {_ENCODE}")
    if parts.fragment:
        raise _wrong(option, known, "a # begins a fragment: write it %23")
    login, _, hosts = netloc.rpartition("@")
    user, colon, password = login.partition(":")
    query = _query(parts.query, known, option)
    nodes = tuple(_node(host, PORTS[scheme], known, option) for host in hosts.split(","))
    vhost = unquote(parts.path[1:]) or "/"
    _bounded(vhost, "the virtual host", option)
    return Address(scheme == "amqps", nodes, unquote(user) or "guest", unquote(password) if colon else "guest",
                   vhost, query)


def _node(text: str, port: int, known: tuple[str, ...], option: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise _wrong(option, known, f"{text!r} is no host:port" if text else "got no host")
    if found["port"] is not None and not 0 < int(found["port"]) < 65536:
        raise _wrong(option, known, f"{found['port']} is no port")
    return found["ipv6"] or unquote(found["name"]), int(found["port"] or port)


def _query(text: str, known: tuple[str, ...], option: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError as error:
        raise _wrong(option, known, f"behind the question mark: {error}") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise _wrong(option, known, f"{name!r} is not known behind the question mark: valid there are "
                                        f"{', '.join(known)}")
        if name in found:
            raise _wrong(option, known, f"{name} is given twice")
        _bounded(value, name, option)
        found[name] = value
    return found


def _bounded(name: str, what: str, option: str) -> None:
    if (size := len(name.encode())) > MOST_NAME_BYTES:
        raise ConfigError(f"{option}: {what}: expected at most {MOST_NAME_BYTES} bytes, got {size}")


def _wrong(option: str, known: tuple[str, ...], why: str) -> ConfigError:
    query = "&".join(f"{name}=…" for name in known)
    return ConfigError(f"{option}: expected amqp://USER:PASSWORD@HOST:PORT/VHOST?{query} (amqps:// for TLS); {why}")
