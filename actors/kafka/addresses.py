"""Addresses of topics in Kafka: ``kafka://host:port,host:port/name``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from actors.runtime.errors import ConfigError
from actors.runtime.options import without_password

SCHEME = "kafka://"
_EXPECTED = "expected kafka://host:port,host:port/name"
_DEFAULT_PORT = 9092
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?")
#: As the broker has it.
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class Address(NamedTuple):
    """Where a topic is.

    Attributes:
        servers: ``host:port,host:port``: one of them is enough, the rest of the cluster is learnt from it.
        topic: its name.
    """

    servers: str
    topic: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.servers}/{self.topic}"


def address_of(text: str) -> Address:
    """Return the address that a text is; a server without a port has 9092.

    Raises:
        ConfigError: it is none. The text does not begin with the name of the option, which the caller knows.

    Example::

        address_of("kafka://10.0.0.5:9092,10.0.0.6:9092/ratings").topic  # "ratings"
    """
    shown = as_shown(text)
    if not text.startswith(SCHEME):
        raise ConfigError(f"{_EXPECTED}, got {shown!r}")
    servers, slash, topic = text.removeprefix(SCHEME).partition("/")
    if "@" in text:
        raise ConfigError(f"{_EXPECTED}, got one with a user in it: set client = {{\"sasl.username\" = …, "
                          "\"sasl.password\" = …}")
    if "?" in topic:
        raise ConfigError(f"{_EXPECTED}, got {shown!r}: what is behind the ? goes into the table client, under the "
                          "names that librdkafka has for it")
    if not slash or not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        raise ConfigError(f"{_EXPECTED}, where name is 1 to 249 of letters, digits, '.', '_' and '-', got {shown!r}")
    return Address(",".join(_server(server, shown) for server in servers.split(",")), topic)


def addresses_of(texts: Iterable[str]) -> list[Address]:
    """Return the addresses of topics that are read together.

    Raises:
        ConfigError: one is none, is named twice, or is of other servers than the first.
    """
    found: list[Address] = []
    for text in texts:
        address = address_of(text)
        if found and set(address.servers.split(",")) != set(found[0].servers.split(",")):
            raise ConfigError(f"expected topics of one cluster, with the same servers, got {found[0]} and {address}")
        if address.topic in {one.topic for one in found}:
            raise ConfigError(f"expected each topic once, got {address} twice")
        found.append(address)
    return found


def as_shown(text: str) -> str:
    """As people may see it: nothing behind a ? is any of an address, and it may be anything."""
    shown, mark, _ = without_password(text).partition("?")
    return f"{shown}{mark}***" if mark else shown


def _server(text: str, shown: str) -> str:
    match = _SERVER.fullmatch(text.strip())
    port = int(match[2] or _DEFAULT_PORT) if match is not None else 0
    if match is None or not 0 < port < 65_536:
        raise ConfigError(f"{_EXPECTED}, got {shown!r}: {text.strip()!r} is no host:port")
    return f"{match[1]}:{port}"
