"""A source and a sink in memory: options of a PIPELINE like any other, and what ``run_inline`` puts in place of others.

A store outlives its writers, as a server does, and is as forgetful as a key-value store: a payload that a writer's next
generation writes again changes nothing. Within one payload a store may fail half-way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.runtime.errors import Retryable
from actors.runtime.framing import Record
from actors.runtime.ports import Sink, SinkOptions, SourceOptions, UnitLedger
from actors.runtime.values import Payload, Refusal
from actors.testing.reading_memory import MemoryReading, require_order


class MemorySource(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read lines, or records, that are given with the options.

    Attributes:
        units: content by name, in the order of reading; a unit of bytes plays the part of a file of lines, one of
            records that of a topic: their offsets grow, and may have gaps.

    Example::

        MemorySource(units={"first.log": b"x", "topic": [Record(offset=0, value=b"a"), Record(offset=7, value=None)]})
    """

    guarantee: ClassVar[str] = "held in memory: read again from the last committed position"
    #: It can be read any number of times and nothing becomes of it: ``thresher verify`` asks.
    unchanging: ClassVar[bool] = True

    units: dict[str, bytes | list[Record]] = {}

    def __post_init__(self) -> None:
        """Refuse records that are in no order."""
        for name, content in self.units.items():
            require_order(name, content)

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> MemoryReading:
        """Open the source."""
        return MemoryReading(self.units, ledger, lambda: batch_bytes)

    def describe(self) -> str:
        """Say where this reads."""
        return f"memory ({len(self.units)} units)"


class MemoryStore(Sink):
    """What survives its writers: every item in the order applied, and the last value of each key.

    Args:
        unpack: from a payload's data to its items.
        refuses: why an item is refused for good; empty if it is not.
        holds_out: of so many items, how many are written before the store fails; all of them if it does not.

    Attributes:
        log: every item each time it was applied.
    """

    def __init__(
        self, unpack: Callable[[bytes | memoryview], list[Any]], refuses: Callable[[Any], str] = lambda item: "",
        holds_out: Callable[[int], int] = lambda items: items,
    ) -> None:
        self._unpack = unpack
        self._refuses = refuses
        self._holds_out = holds_out
        self.log: list[Any] = []
        self._payloads: dict[tuple[str, int, int], list[Any]] = {}
        self._starts: dict[str, list[int]] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._last: dict[Any, Any] | None = {}

    @property
    def items(self) -> list[Any]:
        """Every item, in the order applied; what was written again for a new generation of the writer counts once."""
        return [item for items in self._payloads.values() for item in items]

    @property
    def values(self) -> dict[Any, Any]:
        """The last value of each key, when all items are (key, value); else empty."""
        return dict(self._last or {})

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Apply all payloads, in order.

        Raises:
            Retryable: as ``holds_out`` says; a part of the payloads may have been applied.
        """
        refusals: list[Refusal] = []
        good = self._holds_out(sum(payload.count for payload in payloads))
        for index, payload in enumerate(payloads):
            taken: list[Any] = []
            for number, item in enumerate(self._unpack(payload.data)):
                if not good:
                    raise Retryable("the store is down, as the test wants it")
                good -= 1
                reason = self._refuses(item)
                if reason:
                    refusals.append(Refusal(index, number, reason, "refused in memory", repr(item).encode()))
                else:
                    taken.append(item)
                    self._put(item)
            if not self._is_part_of_another(payload):
                self._payloads[payload.partition, payload.start, payload.end] = taken
        return refusals

    def close(self) -> None:
        """Nothing is held: what was written stays."""

    def _is_part_of_another(self, payload: Payload) -> bool:
        """Whether this is a piece of a range that was written whole before; note it, if it is not. Ranges nest."""
        starts = self._starts.setdefault(payload.partition, [])
        at = bisect_right(starts, payload.start)
        before = starts[at - 1] if at else -1
        end = self._ends.get((payload.partition, before), -1)
        if end >= payload.end:
            return (before, end) != (payload.start, payload.end)
        if before != payload.start:
            starts.insert(at, payload.start)
        self._ends[payload.partition, payload.start] = payload.end
        return False

    def _put(self, item: Any) -> None:
        self.log.append(item)
        if self._last is None:
            return
        try:
            key, value = item if isinstance(item, tuple | list) else ()
            self._last[key] = value
        except (ValueError, TypeError):  # not a pair, or nothing that can be a key: it is no key-value store
            self._last = None


class MemorySink(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep items in the memory of their writer. A subclass may refuse some, as a server would.

    Example::

        Pipeline(name="try", source=MemorySource(units={"a.log": b"x"}), parse=bytes.upper, route=lambda record: "out",
                 sinks={"out": MemorySink()}, dead_letters=MemorySink())
    """

    ordered: ClassVar[bool] = True
    guarantee: ClassVar[str] = "kept in memory: gone with its process"

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return the items as one payload; plain data can travel."""
        return msgspec.msgpack.encode(list(items))

    def open(self, name: str, state: Path) -> MemoryStore:
        """Open a store that is empty."""
        return MemoryStore(msgspec.msgpack.decode, self.refuses)

    def refuses(self, item: Any) -> str:
        """Say in a short word why this item is refused for good; empty: it is taken."""
        return ""

    def describe(self) -> str:
        """Say where this writes."""
        return "memory"


class UnorderedMemorySink(MemorySink, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, for parts in any order.

    Example::

        UnorderedMemorySink()  # as a sink that does not care for the order
    """

    ordered: ClassVar[bool] = False


#: Begins the payload of an ``InlineSink``.
_SHELF = b"\0on the shelf at "


class InlineSink(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stands in for a sink of any kind within one process: items arrive as the very objects that ``encode`` made.

    Attributes:
        options: the sink it replaces, which still says whether it can pack an item.
    """

    ordered: ClassVar[bool] = True
    guarantee: ClassVar[str] = "kept in memory: gone with its process"

    options: SinkOptions
    shelf: list[list[Any]] = []

    def pack(self, items: Sequence[Any]) -> bytes:
        """Put the items on the shelf and return where they lie.

        Raises:
            Exception: what the replaced sink raises for items that are not in its form.
        """
        if type(self.options).pack is not MemorySink.pack:
            self.options.pack(items)
        self.shelf.append(list(items))
        return b"%s%d" % (_SHELF, len(self.shelf) - 1)

    def unpack(self, data: bytes | memoryview) -> list[Any]:
        """Return what was packed."""
        raw = bytes(data)
        return self.shelf[int(raw.removeprefix(_SHELF))] if raw.startswith(_SHELF) else [raw]  # packed by others

    def open(self, name: str, state: Path) -> MemoryStore:
        """Open a store that never fails."""
        return self.store(lambda items: items)

    def store(self, holds_out: Callable[[int], int]) -> MemoryStore:
        """Open a store that fails as ``holds_out`` says."""
        options = self.options
        return MemoryStore(
            self.unpack, options.refuses if isinstance(options, MemorySink) else lambda item: "", holds_out)

    def describe(self) -> str:
        """Say what it replaces."""
        return f"memory, in place of {self.options.describe()}"


class UnorderedInlineSink(InlineSink, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, for parts in any order."""

    ordered: ClassVar[bool] = False


def inline_sink(options: SinkOptions) -> InlineSink:
    """Return what stands in for a sink."""
    return InlineSink(options=options) if options.ordered else UnorderedInlineSink(options=options)
