"""Keeps a copy of every message that a process receives. For tests: Python imports this at its start.

With this folder first on ``PYTHONPATH``, the supervisor, all actors of all generations, and the commands of a person
have it, and none of their own code is another. What is kept is what came out of a socket, byte for byte: so it did
cross one. Each process appends to a file of its own in the folder ``WIRETAP``; a message is the number of its frames
and the length of each (32 bits, little-endian), then the frames.

Import nothing of the project here: it would hide an import that a process forgets.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import zmq

_receive = zmq.Socket.recv_multipart


def _keep(frames: list[bytes]) -> None:
    lengths = struct.pack(f"<{len(frames) + 1}I", len(frames), *map(len, frames))
    path = os.path.join(os.environ["WIRETAP"], str(os.getpid()))  # by pid: some actors are forked
    with open(path, "ab", buffering=0) as file:
        file.write(lengths + b"".join(frames))


def _tapped(socket: zmq.Socket[bytes], *arguments: Any, **options: Any) -> list[Any]:
    frames: list[Any] = _receive(socket, *arguments, **options)
    kind = socket.getsockopt(zmq.TYPE)
    if kind in (zmq.ROUTER, zmq.DEALER):  # the third kind is where libzmq asks who may connect: not our protocol
        _keep(frames[1:] if kind == zmq.ROUTER else frames)  # a ROUTER puts the sender's name before the message
    return frames


if "WIRETAP" in os.environ:
    zmq.Socket.recv_multipart = _tapped  # type: ignore[method-assign, assignment]
