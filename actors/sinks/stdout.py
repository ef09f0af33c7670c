"""Standard output: what a run says to whoever reads it, line after line. Its own events go to standard error then.

Nobody reading fast enough is no outage: a pager that was left open holds the run up for as long as it likes, as it does
with any program. A reader that has gone (``| head``) is the end: nothing that comes later could reach anybody, so the
run is finished as if the application had asked for it.

What does not work: remembering what was written (a pipe has no past to look into, so after a crash of the writer the
lines of the group it was at come again); a retry when the reader has gone (it does not come back); to cut what is
written at a number of bytes (others write to the same stream, and what they say came into the middle of a line).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from actors.runtime.errors import Finish, Reject, Retryable, plain_reason
from actors.runtime.ports import Repeated, Sink, SinkOptions
from actors.runtime.progress import extend
from actors.runtime.values import Payload, Refusal
from actors.runtime.whole_lines import Turns, write_some

_DESCRIPTOR = 1
#: How much is written at a time, or one line that is longer; while it is not taken, the writer is not taken for hung
#: for so long.
_WRITE_BYTES, _PATIENCE_S = 64 * 1024, 24 * 3600.0
#: How the end of what reads looks: of a pipe, of a socket, of a terminal.
_GONE = (errno.EPIPE, errno.ECONNRESET)


class Stdout(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The standard output of ``thresher run``. An item is a line of text or bytes, or several: a block.

    Example::

        Stdout()  # items are bytes, a line each
    """

    ordered: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = "in source order, at least once: a line may be repeated after a crash of its writer"
    #: Events, progress and the closing report leave standard output to this sink.
    console: ClassVar[bool] = True

    def pack(self, items: Sequence[bytes | str]) -> bytes:
        """Return the items as they are printed, each ended by a newline.

        Raises:
            Reject: an item is neither text nor bytes.
        """
        return b"".join([_block(item) for item in items])

    def open(self, name: str, state: Path) -> Sink:
        """Open the sink; the descriptor is the one that the process was started with."""
        return _Console(_DESCRIPTOR)

    def adds(self) -> bool:
        """No: each run has an output of its own."""
        return False

    def repeated(self) -> Repeated:
        """It is printed again."""
        return "added"

    def describe(self) -> str:
        """Say where this writes."""
        return "standard output"


OPTIONS = Stdout


def _block(item: bytes | str) -> bytes:
    if isinstance(item, str):
        item = item.encode()
    elif not isinstance(item, bytes):
        raise Reject("text", f"expected text or bytes for standard output, got {type(item).__name__}")
    return item if item.endswith(b"\n") else item + b"\n"


class _Console(Sink):
    """The descriptor, which stays open: it is not ours.

    Args:
        descriptor: where to write.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._turns = Turns(descriptor)
        self._group: tuple[tuple[str, int, int], ...] = ()
        self._sent = 0

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Write every payload; what an earlier call with these payloads has written is not written again.

        Raises:
            Finish: nobody reads any more.
        """
        group = tuple((payload.partition, payload.start, payload.end) for payload in payloads)
        if group != self._group:
            self._group, self._sent = group, 0
        data = b"".join([payload.data for payload in payloads])
        try:
            while self._sent < len(data):
                self._write(data, _end_of_lines(data, self._sent))
        except OSError as error:
            if error.errno in _GONE:
                raise Finish("nobody reads standard output any more") from error
            raise Retryable(f"standard output: {plain_reason(error)}") from error
        self._group, self._sent = (), 0
        return []

    def close(self) -> None:
        """Nothing is given back."""

    def _write(self, data: bytes, end: int) -> None:
        extend(_PATIENCE_S)
        try:
            with self._turns.turn(), memoryview(data) as view:
                while self._sent < end:
                    self._sent += write_some(self._descriptor, view[self._sent:end])
        finally:
            extend(0.0)


def _end_of_lines(data: bytes, start: int) -> int:
    """Where the lines end that are written together: as many as fit, or the one that does not fit."""
    end = start + _WRITE_BYTES
    if end >= len(data):
        return len(data)
    return data.rfind(b"\n", start, end) + 1 or data.find(b"\n", end) + 1 or len(data)
