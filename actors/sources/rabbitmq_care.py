"""How often in succession nothing came of what a queue had delivered; then it is taken one message at a time.

    session 1   so many in hand, none acknowledged, and it ends: a connection lost, a reader dead
    session 2   one at a time: those beside the culprit are acknowledged, and only its own deliveries are counted
    …           ``GIVE_UP`` of them: the run ends and says so; what was in hand stays in the queue

A queue that counts deliveries drops a message that has too many of them. Whatever ends a reader or a connection each
time that something is in hand (a message, a proxy, memory) would cost each of the messages beside it a delivery each
time, and in the end all of them. So that a session has something in hand of which nothing is acknowledged yet is in a
file, which is written when the first message comes, and goes with the first acknowledgement.

What does not work: to go by the deliveries that the server counts (it says so with the message, when all beside it are
under way, too, and a classic queue never says it).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from actors.runtime.errors import ConfigError

#: The file, in the journal's folder.
FILE = "in-hand.rabbitmq"
#: So many sessions in succession end with something in hand before the run does.
GIVE_UP = 3


class _Fruitless(msgspec.Struct):
    """Sessions in succession that have acknowledged nothing, and the deliveries that were counted of what they had."""

    sessions: int = 0
    deliveries: int = 0


class Care:
    """See above; queues by what they are called.

    Args:
        folder: the journal's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._fruitless: dict[str, _Fruitless] = {}
        self._alone: set[str] = set()
        self._in_hand: set[str] = set()  # the file says so
        self._acknowledged: set[str] = set()  # in this session
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self._fruitless = msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Fruitless])

    def begins(self, queue: str) -> None:
        """A session with a queue begins.

        Raises:
            ConfigError: too many have come to nothing, and deliveries are counted.
        """
        self._in_hand.discard(queue)
        self._acknowledged.discard(queue)
        found = self._fruitless.get(queue, _Fruitless())
        if found.sessions and queue not in self._alone:
            self._alone.add(queue)
        if found.sessions >= GIVE_UP and found.deliveries:
            self._fruitless[queue] = _Fruitless(1)  # another run tries it again, as carefully
            self._write()
            raise ConfigError(
                f"rabbitmq queue {queue}: {found.sessions} times in succession the reader died, or its connection was "
                f"lost, with messages in hand and before it could keep any, the last time with one that was delivered "
                f"{found.deliveries + 1} times: they stay in the queue, for a limit of deliveries would drop them; "
                "find out what ends it (memory, a proxy between, that message), and run again")

    def is_alone(self, queue: str) -> bool:
        """Whether its messages are to be taken one at a time."""
        return queue in self._alone

    def took(self, queue: str, is_redelivered: bool, deliveries: int) -> None:
        """A message has come; ``deliveries``: that were counted of it before."""
        is_due = queue in self._alone or queue not in self._acknowledged
        if not is_redelivered:
            self._alone.discard(queue)  # what was in hand before is behind us
        if is_due and queue not in self._in_hand:
            self._in_hand.add(queue)
            before = self._fruitless.get(queue, _Fruitless())
            self._fruitless[queue] = _Fruitless(before.sessions + 1, deliveries)
            self._write()

    def acknowledged(self, queue: str) -> None:
        """Something of it is ours now."""
        self._acknowledged.add(queue)
        self._in_hand.discard(queue)
        if self._fruitless.pop(queue, None) is not None:
            self._write()

    def close(self) -> None:
        """What is in hand goes back to its queue: no death, but the next session is careful."""
        for queue in self._in_hand:
            self._fruitless[queue] = _Fruitless(max(1, self._fruitless[queue].sessions - 1))
        if self._in_hand:
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, on which nothing is acknowledged either
            if self._fruitless:
                self._path.write_bytes(msgspec.json.encode(self._fruitless))
            else:
                self._path.unlink(missing_ok=True)
