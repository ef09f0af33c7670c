"""A program that is wrong, and not its data: what its function gives as a time, or as a key, is never one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.runtime.errors import ConfigError, Reject


class Kind:
    """Watches what a function returns until it was right once; from then on a wrong value is that of its record alone.

    One value proves nothing, as a record may be what is odd: it is rejected, and the second ends the run.

    Args:
        kind: what is expected.
        words: of what the function, and what it is expected to return.
    """

    def __init__(self, kind: type, words: tuple[str, str]) -> None:
        self._kind = kind
        self._name, self._expected = words
        self._is_known = False
        self._strange = 0

    def see(self, values: Sequence[Any]) -> None:
        """It has returned these. None and rejects are no word on it.

        Raises:
            ConfigError: it has never returned anything else than what it must not.
        """
        if self._is_known:
            return
        if any(type(value) is self._kind for value in values):
            self._is_known = True
            return
        strange = [value for value in values if value is not None and not isinstance(value, Reject)]
        self._strange += len(strange)
        if strange and self._strange > 1:
            raise ConfigError(f"{self._name}: expected {self._expected}, and it has returned nothing but others, "
                              f"e.g. {strange[-1]!r:.60}")
