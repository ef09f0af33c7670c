"""The way to Redis: a connection on which this writer is the holder of its sink's positions, and knows them.

    WATCH positions ─▶ read them ─▶ compare with what was acknowledged ─▶ MULTI "it is me" EXEC ─▶ WATCH

Becoming the holder changes the watched hash, so that what an older connection has sent is there before the positions
are read, or is never done. See ``redis_store``.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from actors.runtime.errors import ConfigError, Fatal, Retryable, plain_reason
from actors.sinks.redis_applied import Owner, applied_key, owner_of, refused_key, require_kept
from actors.sinks.redis_group import StoreOptions
from actors.sinks.redis_index import LOAD
from actors.sinks.redis_resp import Fault, Reply, Unclear, command
from actors.sinks.redis_server import Server

#: What the field of the hash of positions begins with that says who is the holder.
HOLDER = b"holder "
#: Longest key or value of a server that does not say.
_MOST_BYTES = 512 * 1024 * 1024


class Line:
    """A connection of one sink, made again when it was lost.

    Args:
        options: of the sink.
        name: of it.
        state: the state directory.

    Attributes:
        server: the connection itself.
        owner: of the positions; None before the first connection.
        applied: by partition, up to where the server has it.
        has_refused: it may have refused something before.
        most_bytes: longest key or value that it takes.
        waiting: the command that waits until what was written is as safe as is wanted; empty: none is needed.
    """

    def __init__(self, options: StoreOptions, name: str, state: Path) -> None:
        self._options = options
        self._name = name
        self._state = state
        self._token = secrets.token_hex(8).encode()
        self._epoch = 0
        self.server = Server(options, name)
        self.owner: Owner | None = None
        self.applied: dict[str, int] = {}
        self.has_refused = False
        self.most_bytes = _MOST_BYTES
        self.waiting = b""

    @property
    def holder(self) -> bytes:
        """The field that says that this writer is the holder."""
        return HOLDER + self._token

    def connect(self, written: Mapping[str, int]) -> Owner:
        """See to it that there is a connection.

        Args:
            written: by partition, up to where this writer has answered for it.

        Raises:
            Retryable: there is none to be had now.
            ConfigError: the server does not let us in, or another process is the holder.
            Fatal: it has lost something that the next generation of this writer is given again.
            Lost: it has lost something that nobody holds any more.
        """
        if self.owner is not None and self.server.is_open:
            return self.owner
        self.owner = self.owner or owner_of(self._name, self._state)
        try:
            self.server.connect()
            self._greet(self.owner, written)
        except (OSError, Unclear) as error:
            self.server.close()
            raise self.failed(error) from error
        except BaseException:
            self.server.close()
            raise
        return self.owner

    def failed(self, error: OSError | Unclear) -> Retryable:
        """What to raise when a connection has failed."""
        reason = plain_reason(error) if isinstance(error, OSError) else f"expected Redis, it answers {error}"
        return Retryable(f"{self.server.where}: {reason}")

    def _greet(self, owner: Owner, written: Mapping[str, int]) -> None:
        applied = applied_key(owner, self._name)
        if self._options.index:
            (loaded,) = self.server.ask(LOAD)
            if isinstance(loaded, Fault):
                raise self.server.refused(loaded, "SCRIPT LOAD")
        self.waiting = self._waits()
        most, _, found, refused = self.server.ask(
            command(b"CONFIG", b"GET", b"proto-max-bulk-len"), command(b"WATCH", applied),
            command(b"HGETALL", applied), command(b"HLEN", refused_key(owner, self._name)))
        if isinstance(most, list) and len(most) == 2:  # the right to ask is not needed
            self.most_bytes = int(most[1])
        if not isinstance(found, list):
            raise self._refused(found)
        positions, holders = _positions_and_holders(found)
        self._require_mine(holders)
        self._require_kept(positions, owner, written)
        self._epoch = self._epoch or max(holders.values(), default=0) + 1
        self._become_holder(applied, [HOLDER + token for token in holders if token != self._token])
        self.applied, self.has_refused = positions, refused != 0

    def _become_holder(self, applied: bytes, others: list[bytes]) -> None:
        changes = [command(b"HDEL", applied, *others)] * bool(others)
        changes.append(command(b"HSET", applied, self.holder, b"%d" % self._epoch))
        *_, done, _ = self.server.ask(command(b"MULTI"), *changes, command(b"EXEC"), command(b"WATCH", applied))
        if done is None:
            raise Retryable(f"{self.server.where}: another writer has just connected")
        if not isinstance(done, list):
            raise self._refused(done)

    def _waits(self) -> bytes:
        options, most_ms = self._options, b"%d" % max(1, int(self._options.timeout_s * 500))
        if options.sync:
            (reply,) = self.server.ask(command(b"WAITAOF", b"1", b"0", b"1"))
            if not isinstance(reply, Fault):
                return command(b"WAITAOF", b"1", b"%d" % options.replicas, most_ms)
        return command(b"WAIT", b"%d" % options.replicas, most_ms) if options.replicas else b""

    def _refused(self, reply: Reply) -> ConfigError | Retryable:
        return self.server.refused(reply if isinstance(reply, Fault) else Fault(f"answers {reply!r:.100}"), "")

    def _require_mine(self, holders: Mapping[bytes, int]) -> None:
        """Where there is a later holder than this one, that goes on; an older one is a sign that data was lost."""
        if self._epoch and self._token not in holders and max(holders.values(), default=0) >= self._epoch:
            raise ConfigError(
                f"sinks.{self._name}: {self.server.where}: another process has opened this sink of this state, and "
                f"writes on: this one ends. Is a copy of {self._state} in use? Remove {self._name}.redis from the "
                "copy, or begin it with another --state")

    def _require_kept(self, positions: Mapping[str, int], owner: Owner, written: Mapping[str, int]) -> None:
        require_kept(self._name, self._state, self.server.where, positions, owner)
        behind = [partition for partition, position in written.items() if positions.get(partition, -1) < position]
        if behind:
            has = positions.get(behind[0], 0)
            raise Fatal(f"{self.server.where}: has lost positions {has} to {written[behind[0]]} of {behind[0]}, "
                        "which it had acknowledged: what was committed is there, what was not is written again")


def _positions_and_holders(found: list[bytes]) -> tuple[dict[str, int], dict[bytes, int]]:
    """The positions by partition, and the holders with the number of each, in the reply to HGETALL."""
    pairs = dict(zip(found[::2], found[1::2], strict=True))
    holders = {field.removeprefix(HOLDER): int(value) for field, value in pairs.items() if field.startswith(HOLDER)}
    return {field.decode(): int(value) for field, value in pairs.items() if not field.startswith(HOLDER)}, holders
