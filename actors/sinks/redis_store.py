"""The opened ``redis`` sink: how a batch gets into Redis once, whoever dies when.

    connect   WATCH positions ─▶ read them ─▶ compare with what was acknowledged ─▶ MULTI "it is me" EXEC
    write     MULTI ─▶ the commands of what is not there yet ─▶ positions ─▶ EXEC ─▶ [WAIT] ─▶ WATCH, "is it me?"

All of a group is one ``MULTI``: what the server does not take (full, read-only, no permission) leaves nothing of it
there, and what it takes is there with its position, or with nothing of either.

Guarantees:

* A group is done once. The ``WATCH`` behind each group is answered before the next ``EXEC`` is sent, and every writer
  changes the watched positions when it connects. So what a killed or a slow writer had sent is either there before its
  successor reads the positions, or is never done. It costs no round trip.
* Of two processes that open the same sink of the same state (a copy of a state directory) the later one goes on, and
  the other ends with exit code 78.
* What the server has lost is noticed at the next connect (``redis_applied``), and emptying it at the next write: the
  positions are gone, so ``EXEC`` does nothing. What its origin still holds is given to the next generation of this
  writer, which is why this one ends then.
* An item that the server refuses for good is left out of the ``MULTI`` that has the position, and remembered in it:
  a writer that dies before the dead-letter store has it says so again.

What does not work: several ``MULTI`` under way at a time (one that fails in the middle would be passed by the next
one's position); ``WATCH`` in one go with the ``MULTI`` that it guards (it is done when the successor is there already);
to take a holder that is not us for another process (a server that has lost data shows an older holder, too).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from actors.runtime.errors import Retryable
from actors.runtime.ports import Sink
from actors.runtime.values import Payload, Refusal
from actors.sinks.redis_applied import EMITTED, Owner, applied_key, given, kind_of, lost, refused_key
from actors.sinks.redis_group import (
    Group,
    Outcome,
    Place,
    StoreOptions,
    place_of,
    refusals_again,
    too_large,
    waiting_of,
)
from actors.sinks.redis_line import Line
from actors.sinks.redis_resp import Fault, Unclear, command

#: Most bytes of one MULTI, unless a batch is longer: while it is done the server does nothing else.
_GROUP_BYTES = 1024 * 1024
#: Tries to write while others write there, too.
_TRIES = 5


def open_store(options: StoreOptions, name: str, state: Path) -> Store:
    """Open the sink; a server that is down is tried again by ``write``.

    Raises:
        ConfigError: it can never work.
        Lost: what was acknowledged is not there.
    """
    store = Store(options, name, state)
    try:
        store.connect()
    except Retryable:
        store.close()
    return store


class Store(Sink):
    """One server, and the keys of one sink in it.

    Args:
        options: of the sink.
        name: of it.
        state: the state directory.
    """

    def __init__(self, options: StoreOptions, name: str, state: Path) -> None:
        self._options = options
        self._name = name
        self._state = state
        self._line = Line(options, name, state)
        #: By partition, up to where this writer has answered for it.
        self._written: dict[str, int] = {}

    def connect(self) -> None:
        """See to it that there is a connection; see ``Line.connect``."""
        self._line.connect(self._written)

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Write all batches that are not there yet, and their positions."""
        try:
            return self._write(payloads)
        except (OSError, Unclear) as error:
            self.close()
            raise self._line.failed(error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._line.server.close()

    @property
    def _owner(self) -> Owner:
        owner = self._line.owner
        assert owner is not None, "it was never connected"
        return owner

    def _write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        self.connect()
        self._line.owner = given(self._owner, {kind_of(one.partition) for one in payloads}, self._name, self._state)
        there = dict(self._line.applied)
        new: list[int] = []
        old: list[int] = []
        for index, payload in enumerate(payloads):
            self._require_no_gap(payload, there)
            (old if payload.end <= there.get(payload.partition, -1) else new).append(index)
            there[payload.partition] = max(payload.end, there.get(payload.partition, -1))
        refusals = self._refused_before(payloads, old)
        if not new and any(payloads[index].end > self._written.get(payloads[index].partition, -1) for index in old):
            self._wait()
        for some in _groups(payloads, new):
            refusals += [msgspec.structs.replace(one, payload=some[one.payload])
                         for one in self._commit([payloads[index] for index in some])]
        for payload in payloads:
            self._written[payload.partition] = max(payload.end, self._written.get(payload.partition, -1))
        return sorted(refusals, key=lambda one: (one.payload, one.item))

    def _commit(self, payloads: list[Payload]) -> list[Refusal]:
        """Write these in one transaction; return what the server refuses, which is left out."""
        refused: dict[Place, Refusal] = {}
        for _ in range(_TRIES):
            self.connect()
            if all(each.end <= self._line.applied.get(each.partition, -1) for each in payloads):
                return list(refused.values())  # it was done, and its answer was lost
            refused |= too_large(payloads, self._line.most_bytes)
            outcome = self._sent(payloads, refused)
            refused |= outcome.refused
            if outcome.is_done:
                self._line.applied |= {each.partition: each.end for each in payloads}
                self._line.has_refused = self._line.has_refused or bool(refused)
                if outcome.waits:
                    raise Retryable(f"{self._line.server.where}: {outcome.waits}")
            if outcome.is_over or not outcome.is_holder:
                self.close()
            if outcome.is_done:
                return list(refused.values())
        raise Retryable(f"{self._line.server.where}: somebody else changes the positions of this sink all the time")

    def _sent(self, payloads: list[Payload], refused: dict[Place, Refusal]) -> Outcome:
        line, owner = self._line, self._owner
        group = Group(payloads, refused, self._options, line.waiting)
        outcome = group.sent(line.server, applied_key(owner, self._name), refused_key(owner, self._name), line.holder)
        if outcome.fault is not None:
            raise line.server.refused(outcome.fault, "")
        return outcome

    def _wait(self) -> None:
        """What is there already was not answered for: it may not be where it is waited for."""
        if not self._line.waiting:
            return
        (reply,) = self._line.server.ask(self._line.waiting)
        if problem := waiting_of(reply, self._options):
            raise Retryable(f"{self._line.server.where}: {problem}")

    def _refused_before(self, payloads: Sequence[Payload], indexes: list[int]) -> list[Refusal]:
        """What was refused of batches that are there, as their writer may have had no time to say."""
        line = self._line
        if not line.has_refused or not indexes:
            return []
        fields = [place_of(payloads[index]) for index in indexes]
        (found,) = line.server.ask(command(b"HMGET", refused_key(self._owner, self._name), *fields))
        if not isinstance(found, list):
            raise line.server.refused(found if isinstance(found, Fault) else Fault(f"{found!r}"), "HMGET")
        return [one for index, packed in zip(indexes, found, strict=True) if packed is not None
                for one in refusals_again(index, payloads[index], packed)]

    def _require_no_gap(self, payload: Payload, there: dict[str, int]) -> None:
        """What a shard emits is held for each sink as long as that has not answered for it, and for no longer: a writer
        that is new is given it from there on."""
        if kind_of(payload.partition) != EMITTED:
            return
        has = there.get(payload.partition)
        if payload.start > max(has or 0, self._owner.since.get(payload.partition, 0)):
            raise lost(self._name, self._state, self._line.server.where, [(payload.partition, has, payload.start)])


def _groups(payloads: Sequence[Payload], indexes: list[int]) -> Iterator[list[int]]:
    """Cut these into groups for one transaction each."""
    some: list[int] = []
    size = 0
    for index in indexes:
        if some and size + len(payloads[index].data) > _GROUP_BYTES:
            yield some
            some, size = [], 0
        some.append(index)
        size += len(payloads[index].data)
    if some:
        yield some
