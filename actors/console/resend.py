"""Letters of writers in a retry: each is a packed item, and goes straight to the sink that refused it.

A group is written, then marked, in this process. Who dies in between leaves letters open that are stored already: they
are written again with the next retry, which sinks that store by key or keep positions do not notice.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from actors.console.retry_plan import in_source_order
from actors.runtime.errors import Reject, Retryable
from actors.runtime.events import Observer, OutageEnded
from actors.runtime.manifest import Manifest
from actors.runtime.outages import outage_began
from actors.runtime.ports import GatheringSink, Sink
from actors.runtime.restart import full_jitter
from actors.runtime.topology import writer_name
from actors.runtime.values import Payload
from actors.sinks.dead_letters import StoredLetter, now, select_letters

#: Most letters, and bytes, in one call of a sink; they are marked together.
GROUP_LETTERS, GROUP_BYTES = 64, 4 * 1024 * 1024
_RETRY_BASE_S, _RETRY_MAX_S = 0.05, 2.0
#: For a letter that its sink has refused again: reason, detail, and the item as it was sent.
Refused = tuple[str, str, bytes]


class Resent(msgspec.Struct):
    """What became of letters: how many were stored, and how many refused, by reason; and why it stopped, if it did."""

    stored: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    problem: str = ""


class Resending:
    """Letters on their way to one sink.

    Args:
        name: the sink's name.
        manifest: its options and how long it may be down.
        connection: the dead-letter store.
        observer: who is told.
    """

    def __init__(self, name: str, manifest: Manifest, connection: sqlite3.Connection, observer: Observer) -> None:
        self._writer = writer_name(name)
        self._options = manifest.sinks[name].load()
        self._max_outage_s = manifest.limits.longest_outage_s()
        self._connection = connection
        self._observer = observer
        self._random = random.Random()
        self.resent = Resent()

    def send(self, sink: Sink, numbers: Sequence[int]) -> None:
        """Write and mark these letters, or as many as can be before the sink is down for too long."""
        for group in self._groups(numbers):
            try:
                self._mark(group, self._refused(sink, group))
            except Retryable as error:
                self.resent.problem = f"{self._writer}: {error}, for more than {self._max_outage_s:g} s"
                return
        if isinstance(sink, GatheringSink):
            with contextlib.suppress(Retryable):  # it is as durable as it is: the next run brings it to its end
                sink.end()

    def _groups(self, numbers: Sequence[int]) -> Iterator[list[StoredLetter]]:
        group: list[StoredLetter] = []
        for number in numbers:
            group += select_letters(self._connection, "id = ?", [number])  # none, if it was purged in the meantime
            if len(group) >= GROUP_LETTERS or sum(len(letter.raw) for letter in group) >= GROUP_BYTES:
                yield group
                group = []
        if group:
            yield group

    def _refused(self, sink: Sink, group: list[StoredLetter]) -> dict[int, Refused]:
        """Write a group; return those that were refused, by number."""
        refused: dict[int, Refused] = {}
        payloads: list[Payload] = []
        sent: list[StoredLetter] = []
        for letter in group:
            try:
                data = self._packed(letter.raw)
            except Reject as error:
                refused[letter.id] = (error.reason, error.detail, letter.raw)
                continue
            # A name of its own for each try: a sink that keeps positions stores it once, also when we die in between.
            place = f"{letter.partition} {letter.position} {letter.origin} {letter.item}"
            partition = f"{place}{letter.output and f' {letter.output}'} try {letter.attempts + 1}"
            payloads.append(Payload(partition, 0, 1, 1, data))
            sent.append(letter)
        try:
            for refusal in self._written(sink, payloads) if payloads else ():
                refused[sent[refusal.payload].id] = (refusal.reason, refusal.detail, refusal.raw)
        except Retryable:
            raise
        except Exception as error:  # bytes that the sink cannot make sense of; which of them, it does not say
            if len(group) == 1:
                return {group[0].id: ("sink_error", f"{type(error).__name__}: {error}", group[0].raw)}
            return {number: why for letter in group for number, why in self._refused(sink, [letter]).items()}
        return refused

    def _packed(self, raw: bytes) -> bytes:
        """Return an item as it is sent with the options of now.

        It is taken apart first: another kind of sink may have packed it, and a server takes what comes for commands.
        """
        items = self._options.unpack(raw)
        if items is None:
            return raw
        if len(items) != 1:
            raise Reject("format", f"expected one item, got {len(items)}")
        packed: bytes = self._options.pack(items)
        return packed

    def _written(self, sink: Sink, payloads: list[Payload]) -> list[Any]:
        failures, began = 0, time.monotonic()
        while True:
            try:
                refusals = sink.write(payloads)
            except Retryable as error:
                passed = time.monotonic() - began
                if passed >= self._max_outage_s:
                    raise
                if not failures:
                    self._observer.event(outage_began(self._writer, str(error), self._max_outage_s))
                delay = full_jitter(failures, _RETRY_BASE_S, _RETRY_MAX_S, self._random)
                time.sleep(min(delay, self._max_outage_s - passed))
                failures += 1
                continue
            if failures:
                self._observer.event(OutageEnded(self._writer, time.monotonic() - began))
            return refusals

    def _mark(self, group: list[StoredLetter], refused: dict[int, Refused]) -> None:
        time_now = now()
        self._connection.execute("BEGIN IMMEDIATE")
        for letter in group:
            if letter.id in refused:
                reason, detail, raw = refused[letter.id]
                self.resent.refused[reason] += 1
                self._connection.execute(
                    "UPDATE letters SET reason=?, detail=?, raw=?, attempts=attempts + 1, tried=? WHERE id=?",
                    (reason, detail, raw, time_now, letter.id))
            else:
                self.resent.stored += 1
                self._connection.execute(
                    "UPDATE letters SET status='retried', attempts=attempts + 1, tried=? WHERE id=?",
                    (time_now, letter.id))
        self._connection.execute("COMMIT")


def resend(
    manifest: Manifest, connection: sqlite3.Connection, numbers: Sequence[int], only_missing: bool, observer: Observer
) -> Resent:
    """Send those of these letters that writers had refused to their sinks; return what became of them."""
    total = Resent()
    for name, component in manifest.sinks.items():
        chosen = [number for number, _, _ in in_source_order(
            connection, numbers, only_missing, f"= {_quoted(writer_name(name))}")]
        if not chosen:
            continue
        resending = Resending(name, manifest, connection, observer)
        with closing(component.load().open(name, Path(manifest.state))) as sink:
            resending.send(sink, chosen)
        total.stored += resending.resent.stored
        total.refused += resending.resent.refused
        total.problem = total.problem or resending.resent.problem
    return total


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
