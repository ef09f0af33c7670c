"""A source and a sink in memory: options of a PIPELINE like any other, and what ``run_inline`` puts in place of others.

A store outlives its writers, as a server does, and is as forgetful as a key-value store: a payload that a writer's next
generation writes again changes nothing. Within one payload a store may fail half-way.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.runtime.errors import Retryable
from actors.runtime.ports import Sink, SinkOptions, Source, SourceOptions, UnitLedger
from actors.runtime.values import Chunk, Payload, Refusal, Unit


class MemorySource(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read bytes that are given with the options.

    Attributes:
        units: content by name, in the order of reading; a unit plays the part of a file.

    Example::

        MemorySource(units={"first.log": bytes(3), "second.log": b"x"})
    """

    guarantee: ClassVar[str] = "held in memory: read again from the last committed position"
    #: It can be read any number of times and nothing becomes of it: ``thresher verify`` asks.
    unchanging: ClassVar[bool] = True

    units: dict[str, bytes] = {}

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> MemoryReading:
        """Open the source."""
        return MemoryReading(self.units, ledger, lambda: batch_bytes)

    def describe(self) -> str:
        """Say where this reads."""
        return f"memory ({len(self.units)} units)"


class MemoryReading(Source):
    """The opened source: cuts the ranges that are recorded, then others of about the size that is asked for.

    Args:
        units: content by name.
        ledger: what is known about them.
        batch_bytes: called for the size of each next chunk.
    """

    def __init__(self, units: Mapping[str, bytes], ledger: UnitLedger, batch_bytes: Callable[[], int]) -> None:
        self._queue = deque(units.items())
        self._total = sum(map(len, units.values()))
        self._ledger = ledger
        self._batch_bytes = batch_bytes
        self._unit: Unit | None = None
        self._data = b""
        self._recorded: deque[tuple[int, int]] = deque()
        self._at = self._passed = 0
        self._is_new = True
        self._stopping = False
        self.exhausted = False

    def read(self) -> Chunk | None:
        """Return the next chunk, or None at the end of the last unit."""
        self._is_new = False
        while self._unit is None or self._at >= self._unit.base + len(self._data):
            if self._unit is not None:
                self._ledger.end(self._unit, self._at)
                self._passed += len(self._data)
                self._unit = None
            if not self._queue:
                self.exhausted = True
                return None
            self._take_up(*self._queue.popleft())
        if self._stopping and not self._recorded:
            self.exhausted = True
            return None
        return self._cut(self._unit)

    def finished(self, unit: Unit) -> None:
        """Nothing is put away."""

    def stop(self) -> None:
        """Hand out only what an earlier generation had handed out."""
        self._stopping = True
        if not self._is_new and self._unit is None:
            self.exhausted = True

    def progress(self) -> tuple[int, int]:
        """Bytes read so far, and in all."""
        return self._passed + (0 if self._unit is None else self._at - self._unit.base), self._total

    def close(self) -> None:
        """Nothing is held."""

    def _take_up(self, name: str, data: bytes) -> None:
        unit = self._ledger.begin(name, f"{zlib.crc32(data):08x}")
        if unit.status not in ("reading", "loaded"):
            self._passed += len(data)
            return
        self._unit, self._data, self._at = unit, data, unit.low
        self._recorded = deque(self._ledger.boundaries(unit))

    def _cut(self, unit: Unit) -> Chunk:
        start = self._at - unit.base
        if self._recorded:
            end = self._recorded.popleft()[1] - unit.base
        else:  # behind the last newline within a batch, or else behind the next one
            wanted = start + max(1, self._batch_bytes())
            end = wanted if wanted >= len(self._data) else (
                self._data.rfind(b"\n", start, wanted) + 1 or self._data.find(b"\n", wanted) + 1)
            end = min(end, len(self._data)) or len(self._data)
        self._at = unit.base + end
        return Chunk(unit.id, unit.name, unit.base + start, unit.base + end, start,
                     self._data.count(b"\n", 0, start) + 1, self._data[start:end])


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
            self._payloads[payload.partition, payload.start, payload.end] = taken
        return refusals

    def close(self) -> None:
        """Nothing is held: what was written stays."""

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
