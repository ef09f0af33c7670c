"""Where a memcached server is, and a plain connection to it."""

from __future__ import annotations

import os
import socket

from actors.runtime.errors import ConfigError

_MAX_SOCKET_PATH_BYTES = 107


def connected(address: str | tuple[str, int], timeout_s: float) -> socket.socket:
    """Connect, within so many seconds.

    Raises:
        OSError: it cannot be reached.
    """
    if not isinstance(address, str):
        return socket.create_connection(address, timeout_s)
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(timeout_s)
    try:
        server.connect(address)
    except OSError:
        server.close()
        raise
    return server


def address_of(server: str) -> str | tuple[str, int]:
    """The path of a socket, or host and port.

    Raises:
        ConfigError: it is neither.
    """
    path = server.removeprefix("unix:")
    if path != server and 0 < len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        return path
    host, colon, port = server.rpartition(":")
    if not colon or not host or path != server or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"server: expected host:port, [ipv6]:port or unix:/path, got {server!r}")
    return host.strip("[]"), int(port)
