"""What was journalled and may come again: the ids of the un-acknowledged tail, and how far each stream was taken.

    delivered ──▶ journalled ──▶ acknowledged ──?──▶ the server has forgotten it
                       └── connection, server or reader die here: it is delivered again, and is known by its id

An acknowledgement is not answered. Whoever sends one learns that it has arrived from what is delivered next, and not at
all when something dies. So the identities of the last messages are kept: in the journal, where each message has its id
with it, and in one file beside its segments, which is written before a segment is deleted. They are no set with a
time: a server that was down for a week gives again what it had given before.

Which of them is a repeat: one that the server says it has delivered before, or that comes over another connection than
the one that was journalled (a server that was killed may have forgotten that it delivered it). Two messages of one
connection that the server delivers for the first time are two, whatever their ids: a producer may give all of its
messages the same. The identity is of id, body and queue, so that no message is taken for another.

Without an id a message is no repeat: it is read again (at least once). A message of a stream is known by its offset.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from actors.runtime.disk import sync_folder
from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.sources.framings.enveloped import Message, messages_in
from actors.sources.journal import KEPT as ASIDE
from actors.sources.journal import MESSAGES, SEGMENT

#: The file, in the journal's folder.
FILE = "seen.rabbitmq"
_CHECKSUM_BYTES = 4
#: Headers that the source puts into each record, and by which a message is known again.
QUEUE, MESSAGE_ID, STREAM_OFFSET = "amqp-queue", "amqp-message-id", "amqp-stream-offset"
#: So many identities are kept: more than are un-acknowledged at any time, and than a classic queue that was killed has
#: acknowledgements in its memory.
KEPT = 65_536
#: The session that what an earlier reader has journalled is of.
BEFORE = 0


class _Kept(msgspec.Struct):
    """What the file has."""

    ids: list[bytes]
    streams: dict[str, int]
    marks: dict[str, bytes] = {}


class Known(NamedTuple):
    """What a message is known by.

    Attributes:
        identity: of its id, body and queue; None: it has no id.
        place: the stream that it is of, and its offset there; None: it is of none.
        mark: in a stream, what tells it from what another stream has at this offset.
    """

    identity: bytes | None
    place: tuple[str, int] | None
    mark: bytes = b""


def known_by(message: Message) -> Known:
    """What a message is known by, as the source journals it."""
    found = dict(message.headers)
    queue, name, offset = found.get(QUEUE) or b"", found.get(MESSAGE_ID), found.get(STREAM_OFFSET)
    if offset is not None and offset.isdigit():
        # Nothing that an option, or a later version, reads in another way: it would be taken for another stream.
        said = hashlib.blake2b(repr((message.time, name)).encode(), digest_size=16)
        said.update(message.value or b"")
        return Known(None, (queue.decode(), int(offset)), said.digest())
    if name is None:
        return Known(None, None)
    head = b"%d %d " % (len(queue), len(name)) + queue + name + (b"0" if message.value is None else b"1")
    digest = hashlib.blake2b(head, digest_size=16)
    digest.update(message.value or b"")
    return Known(digest.digest(), None)


class Seen:
    """What was journalled last.

    Args:
        folder: the journal's.
        sync: wait for the disk.

    Attributes:
        streams: by queue, the offset behind the last message that was journalled.
        marks: by queue, that of this message, where it is known.
        repeats: so many messages were known, and not journalled again.
        problem: what is wrong with the file; empty: nothing.

    Raises:
        ConfigError: the file is not what was written, and cannot be kept aside.
    """

    def __init__(self, folder: Path, sync: bool) -> None:
        self.streams: dict[str, int] = {}
        self.marks: dict[str, bytes] = {}
        self.repeats = 0
        self.problem = ""
        self._folder = folder
        self._sync = sync
        self._sessions: dict[bytes, int] = {}  # the oldest first
        self._is_changed = False
        self._load()

    def is_repeat(self, known: Known, session: int, is_redelivered: bool) -> bool:
        """Whether a message, delivered in this session, was journalled before."""
        if known.place is not None:
            return known.place[1] < self.streams.get(known.place[0], 0)
        before = None if known.identity is None else self._sessions.get(known.identity)
        return before is not None and (is_redelivered or before != session)

    def add(self, messages: Sequence[tuple[Known, int]]) -> None:
        """These are in the journal, each of a session."""
        for (identity, place, mark), session in messages:
            if place is not None:
                self.streams[place[0]] = place[1] + 1
                self.marks[place[0]] = mark
            elif identity is not None:
                self._sessions.pop(identity, None)
                self._sessions[identity] = session
        for identity in list(self._sessions)[:max(0, len(self._sessions) - KEPT)] if self._is_over() else ():
            del self._sessions[identity]
        self._is_changed |= bool(messages)

    def begin_again(self, stream: str) -> None:
        """It is another stream than the one that was read: nothing of it is known."""
        self.streams[stream] = 0
        self.marks.pop(stream, None)
        self._is_changed = True

    def keep(self) -> None:
        """Write all to the file, so that segments of the journal may be deleted.

        Raises:
            Retryable: the disk is full, or has failed.
        """
        if not self._is_changed:
            return
        path = self._folder / FILE
        unfinished = path.with_name(f"{FILE}.new")
        try:
            with unfinished.open("wb") as file:
                kept = msgspec.msgpack.encode(_Kept(list(self._sessions)[-KEPT:], self.streams, self.marks))
                file.write(crc32(kept).to_bytes(_CHECKSUM_BYTES, "big") + kept)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            unfinished.replace(path)
            if self._sync:
                sync_folder(self._folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise Retryable(f"journal {self._folder}: {plain_reason(error)}") from error
        self._is_changed = False

    def _is_over(self) -> bool:
        """Whether so many more are kept than wanted that it pays to forget some."""
        return len(self._sessions) > KEPT + KEPT // 8

    def _load(self) -> None:
        """What an earlier reader has left: the file, and behind that the segments that are there."""
        path = self._folder / FILE
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes()
            kept = data[_CHECKSUM_BYTES:]
            if len(kept) and crc32(kept).to_bytes(_CHECKSUM_BYTES, "big") == data[:_CHECKSUM_BYTES]:
                known = msgspec.msgpack.decode(kept, type=_Kept)
                self._sessions = dict.fromkeys(known.ids, BEFORE)
                self.streams, self.marks = dict(known.streams), dict(known.marks)
            else:
                self._keep_aside(path)
        self._is_changed = False
        for path in sorted(self._folder.iterdir()):
            found = SEGMENT.fullmatch(path.name)
            if found is not None and found[3] == MESSAGES:
                with contextlib.suppress(msgspec.MsgspecError):  # the journal says what is wrong with it
                    for message in messages_in(path, found[2]):
                        self.add([(known_by(message), BEFORE)])

    def _keep_aside(self, path: Path) -> None:
        aside = path.with_name(f"{FILE}{ASIDE}")
        said = f"{path}: it is not what was written: something has changed it"
        try:
            path.replace(aside)
        except OSError as error:
            raise ConfigError(f"{said}, and it cannot be kept aside: {plain_reason(error)}: move it away") from error
        self.problem = (f"{said}: which messages come again, and how far streams were read, is known of what the "
                        f"journal has only; it is kept as {aside.name}")


def forget(folder: Path) -> None:
    """Remove the file, for a run that begins anew.

    Raises:
        OSError: it cannot be removed.
    """
    (folder / FILE).unlink(missing_ok=True)
