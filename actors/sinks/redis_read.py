"""Values of Redis, looked up by their keys, or in the order of these: on a connection of its own, which watches nothing
and holds nothing.

A range is read in pieces, the keys of the set of all of them (``redis_index``) and then their values: so it is no
snapshot, and a key that goes between the two is not in it. The server is busy for one piece at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.runtime.errors import Retryable, plain_reason
from actors.runtime.stored import Reader
from actors.sinks.redis_resp import Fault, Reply, Unclear, command
from actors.sinks.redis_server import Server, ServerOptions

#: Most keys, and about how many bytes of values, of a piece; so many keys has the first one, the next ones have more.
_KEYS, _BYTES = 1000, 1 << 20
_FIRST_KEYS, _GROWS = 4, 4


class RedisReader(Reader):
    """Looks keys up.

    Args:
        options: of the sink.
        name: of the sink.
        index: the set of all keys.
    """

    def __init__(self, options: ServerOptions, name: str, index: bytes) -> None:
        self._server = Server(options, name)
        self._index = index

    def get(self, key: bytes) -> bytes | None:
        """Look a key up; one that is no string is not there."""
        return self._values([key])[0]

    def range(
        self, first: bytes = b"", last: bytes | None = None, backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys in order; the first pieces are small, for who wants no more."""
        low, high = b"[" + first, b"+" if last is None else b"(" + last
        most = _FIRST_KEYS
        while True:
            ends = (b"ZREVRANGEBYLEX", self._index, high, low) if backwards else (
                b"ZRANGEBYLEX", self._index, low, high)
            found = self._ask(*ends, b"LIMIT", b"0", b"%d" % most)
            keys = [key for key in found if isinstance(key, bytes)] if isinstance(found, list) else []
            pairs = [(key, value) for key, value in zip(keys, self._values(keys), strict=True) if value is not None]
            yield from pairs
            if len(keys) < most:
                return
            low, high = (low, b"(" + keys[-1]) if backwards else (b"(" + keys[-1], high)
            mean = sum(len(value) for _, value in pairs) // len(keys)
            most = max(1, min(_KEYS, most * _GROWS, _BYTES // max(1, mean)))

    def _values(self, keys: list[bytes]) -> list[bytes | None]:
        found = self._ask(b"MGET", *keys) if keys else []
        assert isinstance(found, list)
        return [one if isinstance(one, bytes) else None for one in found]

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
