"""The client's connection, with what is sent in a burst joined to one write.

Imported only where a connection is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pika.adapters.select_connection import SelectConnection


class Client(SelectConnection):  # type: ignore[misc]  # it is not typed
    """A connection with callbacks, on a loop that its owner turns."""

    # Its transport makes a system call for each frame, and a message has three. What an adapter does with the bytes
    # that are to be sent is one method, which each adapter of the client has for itself; it is not documented. The
    # tests send through it to a real server, so a release that has it not is noticed.
    _gathered: list[bytes] | None = None

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is None:
            super()._adapter_emit_data(data)
        else:
            self._gathered.append(data)

    @contextmanager
    def burst(self) -> Iterator[None]:
        """Gather what is sent while this is entered; it goes out at its end."""
        self._gathered = []
        try:
            yield
        finally:
            gathered: Any = self._gathered
            self._gathered = None
            if gathered and self.is_open:
                super()._adapter_emit_data(b"".join(gathered))
