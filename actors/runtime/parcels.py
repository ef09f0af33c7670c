"""What leaves an actor: frames that fit, and small messages to one address that go together."""

from __future__ import annotations

from collections.abc import Sequence

from actors.runtime.codec import MAX_HEADER_BYTES, encode, encode_bundle
from actors.runtime.errors import Fatal
from actors.runtime.messages import Message

#: No frame is longer. A frame that claims to be is not read: its connection is closed.
MAX_FRAME_BYTES = 256 * 1024 * 1024
#: A message up to this size waits for others to the same address; so many go together at most, and so many bytes.
SMALL_BYTES, _MESSAGES, _BYTES = 16 * 1024, 256, 256 * 1024


class Parcel:
    """Small messages to one address that have not left."""

    __slots__ = ("frames", "headers", "size", "sizes")

    def __init__(self) -> None:
        self.headers: list[bytes] = []
        self.frames: list[bytes] = []
        self.sizes: list[list[int]] = []
        self.size = 0

    def add(self, header: bytes, frames: Sequence[bytes], size: int) -> bool:
        """Add a message; return whether that is enough."""
        self.headers.append(header)
        self.frames += frames
        self.sizes.append([len(frame) for frame in frames])
        self.size += len(header) + size
        return len(self.headers) >= _MESSAGES or self.size >= _BYTES

    def wire(self) -> list[bytes]:
        """The frames that say all of it."""
        if len(self.headers) == 1:
            return [self.headers[0], *self.frames]
        return [encode_bundle(self.headers, self.sizes), b"".join(self.frames)]


def fit(address: str, message: Message, frames: Sequence[bytes]) -> tuple[bytes, int]:
    """Return the header of a message, and the length of its longest frame.

    Raises:
        Fatal: one of them is longer than any consumer takes.
    """
    longest = max(map(len, frames), default=0)
    if longest > MAX_FRAME_BYTES:  # its connection would be closed, and the batch delivered again for ever
        raise Fatal(f"{type(message).__name__} for {address}: a frame of {longest} bytes, at most "
                    f"{MAX_FRAME_BYTES} are possible: make flow.batch_bytes or source.max_line_bytes smaller")
    header = encode(message)
    if len(header) > MAX_HEADER_BYTES:  # it would be dropped as garbage, and nobody would ever answer
        raise Fatal(f"{type(message).__name__} for {address}: a header of {len(header)} bytes, at most "
                    f"{MAX_HEADER_BYTES} are possible: file names and the reasons of rejects have to be shorter")
    return header, longest
