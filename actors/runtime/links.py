"""How the actors of a run reach one another, and who else may: nobody.

    ipc   sockets with mode 0600 in a directory with mode 0700; the kernel says which process calls
    tcp   CURVE: encrypted, and only holders of the client's secret key get in

A socket on a file is open to every process of its user, which may be anything. So each connection is looked at before
its first message is (ZeroMQ's ZAP): the kernel names the process at the other end, and it has to be the supervisor or
one of its children. There is no secret that could leak, and nothing to configure. Where commands of a person come in,
it has to be of the same user.

What does not work: a token in the first message (what a stranger sends has then been read already, and a stranger who
takes an actor's address before the actor does keeps the actor out); ZeroMQ's ``ZMQ_IPC_FILTER_PID`` (deprecated, and
it wants to know all processes before they exist); CURVE without a list of client keys (whoever knows the server's
*public* key is then welcome).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

import msgspec

from actors.runtime import procfs
from actors.runtime.errors import ConfigError

#: A CURVE key as people write it: 32 bytes in Z85.
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_PEER = re.compile(r":([0-9]+):([0-9]+):([0-9]+)$")
_KEYS = ("server_public", "server_secret", "client_public", "client_secret")


class Links(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How actors reach one another.

    Attributes:
        transport: ``ipc`` (sockets in the run directory) or ``tcp``, which needs the four keys.
        host: for ``tcp``: the address to bind, one of this machine's.
        server_public: CURVE key of whoever is connected to, in Z85 (40 characters).
        server_secret: its other half.
        client_public: CURVE key of whoever connects; no other client is let in.
        client_secret: its other half.

    Example::

        Links(transport="ipc")  # sockets in the run directory, which is the user's alone
    """

    transport: Literal["ipc", "tcp"] = "ipc"
    host: str = "127.0.0.1"
    server_public: str = ""
    server_secret: str = ""
    client_public: str = ""
    client_secret: str = ""

    def require_keys(self, endpoint: str) -> None:
        """Refuse a TCP endpoint without all four keys.

        Raises:
            ConfigError: which keys are missing or are none, and how to mend it; no key is shown.
        """
        wrong = [name for name in _KEYS if not _KEY.fullmatch(getattr(self, name))]
        if wrong:
            raise ConfigError(
                f"links: {endpoint}: TCP is refused without CURVE keys: expected links.{', links.'.join(wrong)} of "
                "40 characters each (Z85): `thresher keys` makes two pairs; give them as ${file:...} or "
                "${env:...}, or set links.transport = \"ipc\"")


def is_of_this_user(peer: str, uid: int) -> bool:
    """Whether the process at the other end of an ipc connection is one of this user's, or root's.

    Args:
        peer: what libzmq says of it: ``localhost:UID:GID:PID``.
        uid: this user.
    """
    found = _PEER.search(peer)
    return found is None or int(found[1]) in (uid, 0)


def is_of_this_run(peer: str, me: int, head: int) -> bool:
    """Whether the process at the other end of an ipc connection is one of this run's.

    Args:
        peer: what libzmq says of it: ``localhost:UID:GID:PID``.
        me: our own process.
        head: the supervisor, whose children all actors are.
    """
    found = _PEER.search(peer)
    if found is None:  # libzmq was built for a system that cannot tell: the modes of file and directory have to do
        return True
    pid = int(found[3])
    if pid in (me, head):
        return True
    process = procfs.look(pid)
    return process is not None and process.parent == head


def is_loopback(host: str) -> bool:
    """Whether an address, by name or number, can be reached from this machine alone."""
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
