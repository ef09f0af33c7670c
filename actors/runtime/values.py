"""The values that cross the ports: chunks from a source, payloads for a sink, units and dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from actors.runtime.errors import short_word, storable

#: The fault of a chunk whose bytes were there, and are gone before they were read.
FILE_LOST = "file_lost"
#: The fault of a chunk that stands for records that its source had, and has no more: retention or compaction took them.
SOURCE_LOST = "source_lost"
#: The fault of a chunk that stands for records that are there, and are not what was written: a checksum says so.
SOURCE_DAMAGED = "source_damaged"
#: Faults for which a unit that goes on is not whole.
MISSED = (SOURCE_LOST, SOURCE_DAMAGED)
#: The status of a unit that another run goes on with.
HANDED_OVER = "handed_over"


class Chunk(msgspec.Struct, frozen=True):
    """A run of whole records of one input unit (for files: of one file), the payload of a batch.

    Positions count bytes of the partition: the units of a reader, one behind the other, uncompressed. In a chunk of
    records (``framing``) that are no part of a file they count records, and may have gaps: a chunk begins where the
    one before it ends, whatever the number of its first record is.

    Attributes:
        unit: the ledger's number of the input unit.
        source: the unit's name for people and dead letters, e.g. its path.
        start: position of the first byte in the partition.
        end: position after the last byte; always greater than ``start``.
        offset: byte offset of the first byte in the (uncompressed) unit; of records: where in the unit ``start`` is.
        line: number of the first line in the unit, from 1; 0 where there are no lines.
        data: the raw bytes; may lack the newline at the very end of the unit. Of records: as ``pack_records`` makes it.
        fault: ``""``, or a reason for which the whole payload is one dead letter (``truncated_gzip``).
        detail: for a fault: what happened, for a person.
        lines: number of newlines in ``data``; -1: not counted. Of records: of the unit's lines that are passed over.
        prefix: what the unit is known by up to the end of this chunk, in the words of its source; the ledger keeps it
            with the position. Empty: as before.
        framing: ``""``: ``data`` is lines; ``records``: see ``actors.runtime.framing``.
        only: of what is made of its record only this goes on, as ``DeadLetter.output`` has it; empty: all.
        seen_ms: when it was issued first, in ms since 1970. The ledger says it, and keeps it; a source does not.

    Example::

        Chunk(unit=1, source="a.log", start=0, end=4, offset=0, line=1, data=bytes(4))
    """

    unit: int
    source: str
    start: int
    end: int
    offset: int
    line: int
    data: bytes
    fault: str = ""
    detail: str = ""
    lines: int = -1
    prefix: str = ""
    framing: str = ""
    only: str = ""
    seen_ms: int = 0


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """A record that cannot go on, as it is stored. ``raw`` is the rejecting stage's input, byte for byte.

    ``index``: for a writer, of the item in its batch. ``envelope``: of a record that is no line, what it has besides
    its value (its key, headers and time), so that it can be sent again as it came; empty: it is a line. ``output``:
    which of the things that were made of the record it is about; empty: all of it.

    Example::

        DeadLetter(stage="parse", reason="columns", detail="expected 5, got 4", source="a.log", partition="reader.1",
                   position=0, offset=0, line=1, raw=b"a;b;c;d")
    """

    stage: str
    reason: str
    detail: str
    source: str
    partition: str
    position: int
    offset: int
    line: int
    raw: bytes
    index: int = 0
    envelope: bytes = b""
    output: str = ""

    def __post_init__(self) -> None:
        """Whoever makes one, the store can take it: ``reason`` and ``detail`` are cut (see ``errors.storable``)."""
        msgspec.structs.force_setattr(self, "reason", short_word(self.reason))
        msgspec.structs.force_setattr(self, "detail", storable(self.detail))


#: A part's claims name so many reasons at most, and so much of each: a reason made from the record is no short word.
_REASONS, _REASON_CHARS = 32, 60


def rejections(letters: Sequence[DeadLetter]) -> dict[str, int]:
    """The outcome counts of dead letters. Bounded, for they travel in a header: the rest is ``rejected.other``."""
    reasons = Counter(letter.reason[:_REASON_CHARS] for letter in letters)
    claims = {f"rejected.{reason}": number for reason, number in reasons.most_common(_REASONS)}
    others = len(letters) - sum(claims.values())
    if others:
        claims["rejected.other"] = claims.get("rejected.other", 0) + others
    return {"dead_lettered": len(letters), **claims}


class LettersOf(msgspec.Struct, frozen=True):
    """The dead letters of a unit: those of its partition, from a position on, and of its name where others share that.

    Attributes:
        partition: of the unit.
        start: from this position on.
        end: up to this position; None: all.
        source: its name; None: it is alone in its partition.
        is_same: what was loaded in its place has the same content, so its letters come again.

    Example::

        LettersOf(partition="0a1b", start=0, end=4096, source="a.log")
    """

    partition: str
    start: int
    end: int | None = None
    source: str | None = None
    is_same: bool = True


class Payload(msgspec.Struct, frozen=True):
    """What one batch holds for one sink: ``count`` items, packed by the sink's own ``pack``.

    Attributes:
        partition: that the batch is of.
        start: position of the batch in its partition.
        end: position behind it.
        count: of items.
        data: the items, packed.
        places: for a sink that asks for them (``SinkOptions.names_records``), the position of the record that each item
            was made of; several of one record have the same, one behind the other. Empty: what was emitted for a
            window, or made of a whole slice, is of no single record.

    Example::

        Payload(partition="reader.1", start=0, end=6, count=2, data=b"a;b")
    """

    partition: str
    start: int
    end: int
    count: int
    data: bytes | memoryview
    places: tuple[int, ...] = ()


class Packed(msgspec.Struct, frozen=True):
    """So many items for a sink that are packed already, just as the sink's own ``pack`` does it.

    Example::

        Packed(count=2, data=b"a;b")  # what pack makes of two items, made by the application itself
    """

    count: int
    data: bytes


class Refusal(msgspec.Struct, frozen=True):
    """An item that the outside system refuses for good, whatever the number of retries.

    Attributes:
        payload: index of the payload in the call to ``write``.
        item: index of the item in that payload.
        reason: a short stable word (``sink_rejected``, ``too_large``).
        detail: the system's answer.
        raw: the item as it was sent.

    Example::

        Refusal(payload=0, item=1, reason="too_large", detail="at most 1 MiB", raw=b"the item")
    """

    payload: int
    item: int
    reason: str
    detail: str
    raw: bytes


class Unit(msgspec.Struct):
    """An input unit (for files: a file) as the ledger knows it.

    Attributes:
        id: number in the ledger; a file that is given again after it was finished is a new unit.
        name: path or address.
        fingerprint: what its content is known by.
        base: position of its first byte in the partition.
        low: position below which everything is acknowledged and committed.
        lines: number of lines below ``low``.
        end: position after its last byte, once it was read to the end, else None.
        status: ``reading``; ``loaded`` (all durable, within the budget, to be put away); ``done`` (put away);
            ``failed`` (all durable, over the error budget); ``settled`` (failed, and its letters were retried or
            purged since); ``replaced`` (loaded again since); ``handed_over`` (another run goes on with it); ``broken``
            (could not be read).
        counts: outcomes so far, by name.
        problem: for a broken unit, or one with a fault: what happened.
        damage: why it is not whole (a packed file that is cut short, or damaged): it fails, whatever its error rate.
        note: what else a person should know of it.
        prefix: how far it was read, and a digest of that, in the words of its source.
        content: a digest of all of it, as on disk, where somebody may ask whether it is given again.
        before: how many of the records that were read earlier runs have read, as far as it is committed.

    Example::

        def what_is_left(unit: Unit, size: int) -> int:
            return unit.base + size - unit.low
    """

    id: int
    name: str
    fingerprint: str
    base: int
    low: int
    lines: int
    end: int | None
    status: str
    counts: dict[str, int]
    problem: str = ""
    damage: str = ""
    note: str = ""
    prefix: str = ""
    content: str = ""
    before: int = 0


class InputUnit(msgspec.Struct, frozen=True):
    """The input unit that records are of, as a ``parse`` with a parameter ``unit`` is given it.

    Attributes:
        number: of the unit in the ledger.
        name: for people, e.g. its path.
        seen_ms: when this part of it was read first, in ms since 1970. It stays that, whoever reads it again after a
            crash.

    Example::

        def parse(line: bytes, unit: InputUnit):
            return unit.seen_ms, line
    """

    number: int
    name: str
    seen_ms: int


class Revoked(msgspec.Struct, frozen=True):
    """Units that are taken away from a run, because others are to have them, or have them already.

    Attributes:
        units: as ``begin`` or ``known`` of the ledger gave them; each is a partition of its own.
        until: monotonic seconds up to which what is open of them is waited for. They are released when all of it is
            closed, and then at the latest: say a time well before whoever gives them out runs out of patience.
        is_lost: they are somebody else's already: nothing is waited for, and nothing more of them is committed.

    Example::

        def on_revoke(units: list[Unit], now: float) -> Revoked:
            return Revoked(units=tuple(units), until=now + 30.0)  # the broker waits for a minute
    """

    units: tuple[Unit, ...]
    until: float = 0.0
    is_lost: bool = False
