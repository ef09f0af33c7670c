"""What a shard emits, packed for its sinks: rows that the application makes; what cannot be is a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from actors.runtime import stacks
from actors.runtime.attempts import Attempts
from actors.runtime.errors import Reject
from actors.runtime.messages import BatchId
from actors.runtime.outbox import Body, without_empty
from actors.runtime.pipeline import Window
from actors.runtime.ports import SinkOptions
from actors.runtime.values import DeadLetter, Packed

Emit = Callable[[Window, list[tuple[tuple[Any, ...], list[Any]]]], Iterable[tuple[str, Any]]]


class Emitter:
    """Makes and packs rows for one shard.

    Args:
        name: the shard: ``aggregator.1``.
        sinks: options of the sinks that may be emitted to, by name.
        dead_letters: options of the dead-letter store.
        writers: the writer of each sink; that of the dead-letter store under ``""``.
    """

    def __init__(
        self, name: str, sinks: Mapping[str, SinkOptions], dead_letters: SinkOptions, writers: Mapping[str, str]
    ) -> None:
        self.name = name
        self._sinks = sinks
        self._dead_letters = dead_letters
        self._writers = writers

    @property
    def ordered(self) -> list[str]:
        """The writers that get a part of every entry."""
        return [self._writers[name] for name, options in self._sinks.items() if options.ordered]

    def body(
        self, emit: Emit, windows: Sequence[tuple[Window, Mapping[tuple[Any, ...], list[Any]]]], entry: BatchId,
        attempts: Attempts,
    ) -> Body:
        """Return the packed rows of these windows, by writer.

        Args:
            emit: the application's function, its options bound.
            windows: each with the numbers of its keys.
            entry: what the rows will be known by: where dead letters say they are from.
            attempts: which windows kill.
        """
        rows: list[tuple[str, Any]] = []
        letters: list[DeadLetter] = []
        for window, numbers in windows:
            items = sorted_items(numbers)
            if deaths := attempts.deaths(window):
                letters.append(self._letter("worker_died", f"{self.name} died {deaths} times while emit made the rows "
                                            "of this window, or while they were packed", (window, items)))
                continue
            with attempts.at(window):
                try:
                    made = list(emit(window, items))
                    if attempts.is_on:  # what kills when it is packed kills here
                        self.packed(made, entry)
                except Exception as error:
                    letters.append(self._letter("emit_error", stacks.told(error), (window, items)))
                else:
                    rows += made
        return self.packed(rows, entry, letters)

    def packed(self, rows: Iterable[tuple[str, Any]], entry: BatchId, letters: Sequence[DeadLetter] = ()) -> Body:
        """Return rows packed by their sinks, by writer; those that cannot be are added to the letters."""
        letters = list(letters)
        by_sink: dict[str, list[Any]] = {}
        body: Body = {}
        for sink, item in rows:
            if isinstance(item, Packed) and sink in self._sinks:
                body[self._writers[sink]] = (item.count, item.data)
            elif sink in self._sinks:
                by_sink.setdefault(sink, []).append(item)
            else:
                letters.append(self._letter("route", f"no sink that is emitted to is called {sink!r}", item))
        body |= {self._writers[sink]: self._pack(sink, items, letters) for sink, items in by_sink.items()}
        if letters:
            partition, position, _ = entry
            placed = [msgspec.structs.replace(letter, partition=partition, position=position, index=index)
                      for index, letter in enumerate(letters)]
            body[self._writers[""]] = (len(letters), self._dead_letters.pack(placed))
        return without_empty(body)

    def _pack(self, sink: str, items: list[Any], letters: list[DeadLetter]) -> tuple[int, bytes]:
        pack = self._sinks[sink].pack
        try:
            return len(items), pack(items)
        except Exception:  # some of them: find out which
            good: list[Any] = []
            for item in items:
                try:
                    pack([item])
                    good.append(item)
                except Exception as error:
                    reason = error.reason if isinstance(error, Reject) else "encode_error"
                    letters.append(self._letter(reason, str(error), item))
            return len(good), pack(good)

    def _letter(self, reason: str, detail: str, what: Any) -> DeadLetter:
        try:
            raw = msgspec.json.encode(what)
        except Exception:
            raw = repr(what).encode(errors="replace")
        return DeadLetter(self.name, reason, detail, self.name, "", -1, -1, -1, raw)


def sorted_items(numbers: Mapping[tuple[Any, ...], list[Any]]) -> list[tuple[tuple[Any, ...], list[Any]]]:
    """The rows of a window in the order in which an application gets them."""
    try:
        return sorted(numbers.items(), key=lambda item: item[0])
    except TypeError:  # keys of several types
        return sorted(numbers.items(), key=lambda item: repr(item[0]))
