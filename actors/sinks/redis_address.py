"""Addresses of Redis: one server, or the Sentinels that know which server is the master now.

    redis://user:password@host:6379/0                     one server; rediss:// with TLS
    redis+unix://user:password@/run/redis/redis.sock?db=0 by its socket on this machine
    redis+sentinel://host:26379,other:26379/name/0        the master called so; rediss+sentinel:// with TLS

User, password and database may be left out; a part that holds one of the characters ``:/?#[]@,%`` is percent-encoded.

Pure: nothing is resolved, nothing connected.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from actors.runtime.errors import ConfigError

SCHEMES = ("redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel")
_PORT, _SENTINEL_PORT = 6379, 26379
_EXPECTED = ("url: expected redis://USER:PASSWORD@HOST:PORT/DATABASE (rediss:// for TLS), redis+unix:///PATH?db=NUMBER "
             "or redis+sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE")
_ENCODE = "in user, password and names the characters :/?#[]@,% are percent-encoded (a / is %2F, an @ is %40)"
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")
#: What a path of a socket may have, with the NUL at its end.
_MAX_SOCKET_PATH_BYTES = 107


class Address(NamedTuple):
    """Where the server is, and who writes there.

    Attributes:
        secure: TLS.
        nodes: host and port of the server, or of each Sentinel; none of a socket.
        master: what the Sentinels call the master; empty: there are none.
        path: of a socket on this machine; empty: it is none.
        user: who connects; empty: the default user.
        password: theirs; empty: none.
        database: its number.
    """

    secure: bool
    nodes: tuple[tuple[str, int], ...]
    master: str
    path: str
    user: str
    password: str
    database: int

    @property
    def shown(self) -> str:
        """Where it is, for people, without user and password: ``10.0.0.5:6379/0``, ``mymaster/0 of a:26379,b:26379``.
        """
        where = self.path or ",".join(shown_node(node) for node in self.nodes)
        return f"{self.master}/{self.database} of {where}" if self.master else f"{where}/{self.database}"


def shown_node(node: tuple[str, int]) -> str:
    """A host and its port, as they are written."""
    host, port = node
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(url: str) -> Address:
    """Return the parts of an address.

    Raises:
        ConfigError: it is none; the text never shows a password.

    Example::

        address_of("redis+sentinel://a,b:26380/main/2").nodes  # (("a", 26379), ("b", 26380))
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # the reason may have the password in it
        raise _wrong(f"a [ or ] that is not of an IPv6 address, or an odd letter, is in it: {_ENCODE}") from None
    if parts.scheme not in SCHEMES:
        raise _wrong(f"got the scheme {parts.scheme!r}" if parts.scheme else "got no scheme")
    if parts.fragment:
        raise _wrong("a # begins a fragment: write it %23")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    who = unquote(user), unquote(password)
    secure, kind = parts.scheme.startswith("rediss"), parts.scheme.rpartition("+")[2]
    if "@" in parts.path + parts.query and (parts.netloc or kind != "unix"):  # what looks like the host is no host
        raise _wrong(f"an @ stands behind the host: {_ENCODE}")
    if kind == "unix":
        return _socket(hosts, unquote(parts.path), parts.query, who)
    if parts.query:
        raise _wrong("nothing is known behind a question mark there")
    names = [unquote(name) for name in parts.path.split("/")[1:]]
    if kind == "sentinel":
        if not names or not names[0]:
            raise _wrong("got no name of the master, as the Sentinels call it")
        nodes = tuple(_node(host, _SENTINEL_PORT) for host in hosts.split(","))
        return Address(secure, nodes, names[0], "", *who, _database(names[1:]))
    return Address(secure, (_node(hosts, _PORT),), "", "", *who, _database(names))


def _socket(hosts: str, path: str, query: str, who: tuple[str, str]) -> Address:
    if hosts or not 1 < len(path.encode()) <= _MAX_SOCKET_PATH_BYTES:
        raise _wrong(f"a socket has no host, and a path of at most {_MAX_SOCKET_PATH_BYTES} bytes")
    found = dict(parse_qsl(query, keep_blank_values=True))
    if set(found) - {"db"}:
        raise _wrong("behind the question mark only db is known")
    return Address(False, (), "", path, *who, _database([found.get("db", "")]))


def _node(text: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise _wrong(f"{text!r} is no host:port" if text else "got no host")
    if found["port"] is not None and not 0 < int(found["port"]) < 65536:
        raise _wrong(f"{found['port']} is no port")
    return found["ipv6"] or unquote(found["name"]), int(found["port"] or port)


def _database(names: list[str]) -> int:
    if names in ([], [""]):
        return 0
    if len(names) > 1 or not names[0].isdecimal():
        raise _wrong(f"{'/'.join(names)!r} is no number of a database")
    return int(names[0])


def _wrong(why: str) -> ConfigError:
    return ConfigError(f"{_EXPECTED}; {why}")
