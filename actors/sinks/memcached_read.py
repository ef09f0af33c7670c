"""Values of memcached, looked up by their keys: all that it can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.runtime.errors import Retryable, plain_reason
from actors.runtime.stored import Reader

if TYPE_CHECKING:
    from pymemcache.client.base import Client


class MemcachedReader(Reader):
    """Looks keys up.

    Args:
        address: of the server.
        where: the same for people.
        connect_timeout_s: longest time to connect.
        timeout_s: longest time to wait for an answer.
    """

    def __init__(
        self, address: tuple[str, int] | str, where: str, connect_timeout_s: float, timeout_s: float
    ) -> None:
        self._address, self._where = address, where
        self._timeouts = connect_timeout_s, timeout_s
        self._client: Client | None = None

    def get(self, key: bytes) -> bytes | None:
        """Look a key up; one that memcached cannot have is not there."""
        from pymemcache.client.base import Client
        from pymemcache.exceptions import MemcacheError, MemcacheIllegalInputError

        if not key:
            return None
        connect_timeout_s, timeout_s = self._timeouts
        if self._client is None:
            self._client = Client(self._address, connect_timeout=connect_timeout_s, timeout=timeout_s, no_delay=True)
        try:
            found: bytes | None = self._client.get(key)
        except MemcacheIllegalInputError:
            return None
        except OSError as error:
            raise Retryable(f"{self._where}: {plain_reason(error)}") from error
        except MemcacheError as error:
            raise Retryable(f"{self._where}: expected memcached, it answers {error}") from error
        return found

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None
