"""Values of Redis, looked up by their keys: on a connection of its own, which watches nothing and holds nothing."""

from __future__ import annotations

from actors.runtime.errors import Retryable, plain_reason
from actors.runtime.stored import Reader
from actors.sinks.redis_resp import Fault, Reply, Unclear, command
from actors.sinks.redis_server import Server, ServerOptions


class RedisReader(Reader):
    """Looks keys up.

    Args:
        options: of the sink.
        name: of the sink.
    """

    def __init__(self, options: ServerOptions, name: str) -> None:
        self._server = Server(options, name)

    def get(self, key: bytes) -> bytes | None:
        """Look a key up; one that is no string is not there."""
        found = self._ask(b"MGET", key)
        return found[0] if isinstance(found, list) else None

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
