"""What a killed broker has committed by half, and what of that has to be there.

A transaction ends with a mark in each of its partitions. A broker that is killed in the midst of a commit, and started
again, may say that it is complete with no mark in some of them, or in none: what lies there stays open, and the next
mark of the same producer decides it, whichever that is. So before one is made it has to be known what was decided:

    the position is committed                           ──▶ so are its messages: those that are open are missing
    it is open, and the broker has answered             ──▶ it was committed: all that is open of it is missing
    it is open, one of its messages is committed        ──▶ the same: a position of less would bring that again
    it is open, nothing of it is committed or answered  ──▶ it was not: its batches are given again

Pure, but for what it is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from actors.kafka.applied import Applied, Row, row_of
from actors.kafka.received import bytes_of, headers_of
from actors.runtime.framing import Headers
from actors.sinks.kafka_messages import RECORD_ID
from actors.topics.record_ids import place_of

if TYPE_CHECKING:
    from confluent_kafka import Message

#: Partition, position of the record or start of the batch, position behind it.
Where = tuple[str, int, int]


class Kept(msgspec.Struct, frozen=True):
    """A message as it lies in the topic.

    Attributes:
        partition: number of the topic's partition.
        value: of it; None: a tombstone.
        key: of it.
        time: ms since 1970.
        headers: of it, the id of its record among them.
    """

    partition: int
    value: bytes | None
    key: bytes | None
    time: int
    headers: Headers

    @property
    def id(self) -> str:
        """The id of its record; empty: it has none."""
        return next(((value or b"").decode(errors="replace") for name, value in self.headers if name == RECORD_ID), "")

    @property
    def where(self) -> Where | None:
        """Where its record is."""
        return place_of(self.id)


def kept(message: Message) -> Kept:
    """What was received, to be written again."""
    return Kept(message.partition() or 0, bytes_of(message.value()), bytes_of(message.key()), message.timestamp()[1],
                headers_of(message))


class Halves(msgspec.Struct):
    """What is known of the last transactions of a sink.

    Attributes:
        applied: what is committed of its positions.
        answered: by partition, the position of the last group of which the broker has said that it is committed.
        rows: its records in the topic of positions that are open, in order.
        messages: the messages that are open, in order.
        token: what it said of the holder; empty: it never did.
    """

    applied: Applied
    answered: Mapping[str, int]
    rows: list[Row] = []
    messages: list[Kept] = []
    token: str = ""

    def undecided(self) -> dict[str, int]:
        """Positions that are open, and nobody has answered for."""
        decided = self._decided({})
        return {partition: end for partition, end in self._open().positions.items()
                if end > decided.get(partition, -1)}

    def left(self, committed: Iterable[Kept] = ()) -> tuple[list[Row], list[Kept], dict[str, int]]:
        """What has to be written again, if anything: records of positions, messages, and the positions that they say.

        Args:
            committed: messages that are committed, from before the last transaction on.
        """
        undecided, known = self.undecided(), self._decided({})
        places = (one.where for one in committed)
        is_begun = any(where and where[0] in undecided and where[2] > known.get(where[0], -1) for where in places)
        decided = self._decided(undecided if is_begun else {})
        rows = list(self._rows(decided))
        messages = [one for one in self.messages if (where := one.where) and where[2] <= decided.get(where[0], -1)]
        said = Applied(self.applied.owner)
        for row in rows:
            said.take(*row)
        return rows, messages, said.positions

    def _open(self) -> Applied:
        said = Applied(self.applied.owner)
        for row in self.rows:
            said.take(*row)
        return said

    def _decided(self, more: Mapping[str, int]) -> dict[str, int]:
        """Up to where each partition has to be there."""
        found = dict(self.applied.positions)
        for said in (self.answered, more):
            for partition, end in said.items():
                found[partition] = max(end, found.get(partition, -1))
        return found

    def _rows(self, decided: Mapping[str, int]) -> Iterator[Row]:
        for key, value in self.rows:
            kind, _, *rest = json.loads(key)
            if kind == "holder":
                if self.token and value == json.dumps(self.token):
                    yield key, value
            elif kind == "applied" and value is not None:
                if int(json.loads(value)) <= decided.get(rest[0], -1):
                    yield key, value
            elif kind == "refused" and value is not None and int(rest[1]) < decided.get(rest[0], -1):
                yield key, value


def rows_of(messages: Iterable[Message], owner: str) -> Iterator[Row]:
    """The records of a sink in its topic of positions."""
    for message in messages:
        row = row_of(message)
        if is_of(row, owner):
            yield row


def is_of(row: Row, owner: str) -> bool:
    """Whether a record of the topic of positions is of this sink."""
    try:
        said = json.loads(row[0])
    except ValueError:
        return False
    return isinstance(said, list) and len(said) > 1 and said[1] == owner
