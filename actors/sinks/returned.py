"""The dead-letter store in a retry: a letter that is rejected again keeps its row.

    rejected again                                       becomes
    all of the letter's record, or one output of it      the letter's own row, with the reason and the bytes of now
    another output of the record that the letter is      a letter of its own: the rest of the record is done
    a record of a letter of several lines                a letter of its own: the other lines are done

A letter of several lines is a piece of input that was no good as a whole. A letter that was a record (it has an
envelope) is one record, however many newlines it holds. What was rejected is known by the letter that was sent, which
the source of the retry calls its source: ``dead letter 17``.

Guarantees:

* Whatever is delivered again changes nothing: neither a second row nor a second attempt.
* A retry that is taken up again sends what it began with, though the row may hold something else by now (a line went
  through, and its packed item was refused): ``planned`` keeps it.
* Of several things that are rejected of one letter none takes the row of another, in whatever order they come again:
  ``planned.taken`` says which one has the letter's row.

What does not work: to let a letter change its output (with its place that is its key, and another may have that); to
tell a piece of input by its newlines (a record may have any number of them).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from actors.runtime.ports import Sink
from actors.runtime.values import DeadLetter
from actors.sinks.dead_letters import INSERT, DeadLetters, LetterStore, now

#: What the source of a retry calls its letters.
_SOURCE = re.compile(r"dead letter (\d+)")
_SENT = """
SELECT coalesce(p.raw, l.raw), p.envelope, p.output, p.taken, l.partition, l.position, l.source, l."offset", l.line
FROM letters l JOIN planned p ON p.letter = l.id AND p.retry = ? WHERE l.id = ?
"""
_KEEP_SENT = """
UPDATE planned SET raw=(SELECT raw FROM letters WHERE id=?1) WHERE letter=?1 AND retry=?2 AND raw IS NULL
AND (SELECT raw FROM letters WHERE id=?1) != ?3
"""
_PUT_BACK = """
UPDATE letters SET stage=?, reason=?, detail=?, envelope=?, raw=?, tried=?, status='open',
    attempts=attempts + (retry != ?), retry=? WHERE id=?
"""


class Returned(DeadLetters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dead-letter store in a retry, which knows each letter by its source: ``dead letter 17``.

    Attributes:
        retry: number of the retry.
    """

    guarantee: ClassVar[str] = "a letter that is rejected again keeps its number"

    retry: int

    def open(self, name: str, state: Path) -> Sink:
        """Open the store. Its size is not limited: nearly all that comes replaces what is there."""
        return _ReturnedStore(state / self.path, self.retry)


class _Sent(msgspec.Struct, frozen=True):
    """What a retry has sent of a letter, what of that has the letter's row, and the letter's place."""

    raw: bytes
    envelope: bytes
    output: str
    taken: str
    partition: str
    position: int
    source: str
    offset: int
    line: int

    @property
    def is_piece(self) -> bool:
        """Whether it was a piece of input, of several lines."""
        return not self.envelope and b"\n" in self.raw[:-1]


class _ReturnedStore(LetterStore):
    """The opened store in a retry."""

    def __init__(self, path: Path, retry: int) -> None:
        super().__init__(path, 0)
        self._retry = retry

    def put(self, connection: sqlite3.Connection, letters: Sequence[DeadLetter]) -> None:
        """Put each letter where it belongs, within a transaction."""
        for letter in letters:
            match = _SOURCE.fullmatch(letter.source)
            if match is None:
                super().put(connection, [letter])  # of no letter that we know: kept all the same
                continue
            number = int(match[1])
            row = connection.execute(_SENT, (self._retry, number)).fetchone()
            if row is not None:  # else it was purged in the meantime
                self._put_one(connection, letter, number, _Sent(*row))

    def _put_one(self, connection: sqlite3.Connection, letter: DeadLetter, number: int, sent: _Sent) -> None:
        what = f"{letter.stage} {letter.index} {letter.output}"
        if sent.is_piece:
            self._put_line(connection, letter, sent)
        elif letter.output in ("", sent.output) and sent.taken in ("", what):
            self._put_back(connection, letter, number, what)
        else:
            self._put_beside(connection, letter, number, sent)

    def _put_back(self, connection: sqlite3.Connection, letter: DeadLetter, number: int, what: str) -> None:
        """The letter was rejected again: in its own row, once."""
        connection.execute(_KEEP_SENT, (number, self._retry, letter.raw))
        connection.execute("UPDATE planned SET taken=? WHERE letter=? AND retry=?", (what, number, self._retry))
        connection.execute(_PUT_BACK, (letter.stage, letter.reason, letter.detail, letter.envelope, letter.raw, now(),
                                       self._retry, self._retry, number))

    def _put_line(self, connection: sqlite3.Connection, letter: DeadLetter, sent: _Sent) -> None:
        """A line of a letter of several was rejected: it is a letter of its own from here on."""
        within = max(0, letter.offset - sent.offset)
        connection.execute(INSERT, (
            sent.partition, sent.position + within, letter.stage, letter.index, letter.output, letter.stage, now(),
            letter.reason, letter.detail, sent.source, letter.offset, letter.line, self._retry, letter.envelope,
            letter.raw))

    def _put_beside(self, connection: sqlite3.Connection, letter: DeadLetter, number: int, sent: _Sent) -> None:
        """Something else that was made of the letter's record was rejected: it is a letter of its own."""
        origin = f"{letter.stage} of letter {number}"  # what a stage rejected here in another run has the stage alone
        connection.execute(INSERT, (
            sent.partition, sent.position, origin, letter.index, letter.output, letter.stage, now(), letter.reason,
            letter.detail, sent.source, sent.offset, sent.line, self._retry, letter.envelope, letter.raw))
