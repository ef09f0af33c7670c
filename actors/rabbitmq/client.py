"""The client's connection, with what is sent in a burst joined to one write, and a decoding that never raises.

Imported only where a connection is opened.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pika.adapters.select_connection import SelectConnection
from pika.frame import Header
from pika.spec import BasicProperties

from actors.rabbitmq.decoding import properties_in

#: The frame that has a message's properties; what stands before and behind the content of any frame.
_HEADER, _BEFORE, _BEHIND, _END = 2, struct.Struct(">BHI"), 1, 0xCE
#: What stands before the properties: their class, and the size of the body.
_SIZES = struct.Struct(">HxxQ")


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

    def _read_frame(self) -> tuple[int, Any]:
        """The frame at the beginning of what was received, and its length; 0 and None: it is not whole yet.

        Not documented; the tests send to it, through a real server, what the client's own decoding breaks at.
        """
        received = self._frame_buffer
        if len(received) < _BEFORE.size or received[0] != _HEADER:
            return super()._read_frame()  # type: ignore[no-any-return]
        _, channel, size = _BEFORE.unpack_from(received)
        length = _BEFORE.size + size + _BEHIND
        if len(received) < length or size < _SIZES.size or received[length - 1] != _END:
            return super()._read_frame()  # type: ignore[no-any-return]
        kind, body_size = _SIZES.unpack_from(received, _BEFORE.size)
        if kind != BasicProperties.INDEX:
            return super()._read_frame()  # type: ignore[no-any-return]
        found = properties_in(received[_BEFORE.size + _SIZES.size:length - _BEHIND])
        return length, Header(channel, body_size, BasicProperties(**found))
