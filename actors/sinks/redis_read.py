"""Keys and values of Redis, looked at: on a connection of its own, which watches nothing and holds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from actors.runtime.errors import Retryable, plain_reason
from actors.runtime.stored import Reader
from actors.sinks.redis_index import keys_of
from actors.sinks.redis_resp import Fault, Reply, Unclear, command
from actors.sinks.redis_server import Server, ServerOptions

#: Most keys that are asked for at once.
_KEYS = 1000


class IndexedOptions(ServerOptions, Protocol):
    """What is used of the sink's options."""

    @property
    def index(self) -> str: ...


class RedisReader(Reader):
    """Looks keys up.

    Args:
        options: of the sink.
        name: of the sink.
    """

    def __init__(self, options: IndexedOptions, name: str) -> None:
        self._server = Server(options, name)
        self._keys = keys_of(options.index.encode())

    def get(self, key: bytes) -> bytes | None:
        """Look a key up; one that is no string is not there."""
        found = self._ask(b"MGET", key)
        return found[0] if isinstance(found, list) else None

    def range(self, first: bytes = b"", last: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys in order, as the sorted set of all keys has them; those that are gone meanwhile are passed over."""
        start, end = b"[" + first, b"+" if last is None else b"(" + last
        while keys := self._ask(b"ZRANGEBYLEX", self._keys, start, end, b"LIMIT", b"0", b"%d" % _KEYS):
            assert isinstance(keys, list)
            values = self._ask(b"MGET", *keys)
            assert isinstance(values, list)
            yield from ((key, value) for key, value in zip(keys, values, strict=True) if value is not None)
            start = b"(" + keys[-1]

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def _ask(self, *words: bytes) -> Reply:
        try:
            if not self._server.is_open:
                self._server.connect()
            (reply,) = self._server.ask(command(*words))
        except (OSError, Unclear) as error:
            self._server.close()
            reason = plain_reason(error) if isinstance(error, OSError) else f"expected Redis, it answers {error}"
            raise Retryable(f"{self._server.where}: {reason}") from error
        if isinstance(reply, Fault):
            raise self._server.refused(reply, words[0].decode())
        return reply
