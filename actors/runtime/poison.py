"""Poison: a record that kills or hangs its worker is found among thousands by three deaths, and given up alone.

    batch ──1st death──▶ the same batch, its records tried one by one, each marked on the board
          ──2nd death──▶ the same batch, the record that was in hand tried alone, before all others
          ──3rd death──▶ [what is before it] [a dead letter] [what is behind it, its records tried one by one]

So the first record of a batch costs three deaths, each further one two. Where a function takes a whole chunk of records
a mark is on an eighth of them, then on an eighth of that, until it is on one.

Guarantees:

* A record is given up only for a death in which it was *alone* in hand: nothing else was worked on by that process for
  a second before, nor until a second after it (``examine.py``). One death that others have caused (the kernel, for it
  needs memory; an operator) blames nobody for good: who survives is done, and its marks go with it.
* A death that comes late is not its neighbour's. What was done within the second before is suspect as well: within the
  batch it is tried next, in eighths with a second of silence behind each, when the record in hand has survived;
  another batch of the same worker when that has been near three deaths.
* A batch that nobody can find a record in (it kills as a whole, or is marked sixteen times) is split in halves, which
  are suspect from the start. So every death leads on, and there is an end.
* A consumer (a writer, a shard) cannot try what it applies: its first death names nothing, what it has in hand at two
  more is cut in sixteen, at each further one again, until a record is left, which is applied alone (``singly.py``). The
  rule is the same: a record is given up only for a death in which it was alone in hand. Deaths of all consumers count
  together, and a record that is alone is so at each of them: two that die of one record would else take turns for ever.
* Marks and splits are recorded before they are acted on (the ledger does that), so no restart forgets them, and a
  batch that was split never travels whole again.

A dead letter that goes on killing (too large for the machine, say) cannot be isolated any further: the run gives up.

What does not work: halves from the beginning (3 + log2 n + 3 deaths for each record, one record after the other, and
whoever does not die at once has its neighbour given up); marks on every record of every batch (a record costs as much
as its mark); to blame what was done last along with what is in hand (each death then holds up innocent batches for
seconds).

Pure: no clock, no file.
"""

from __future__ import annotations

import msgspec

from actors.runtime.errors import shortened
from actors.runtime.framing import cut_out, is_alone, split
from actors.runtime.marks import CONSUMER, NO_MARK, Care, Mark
from actors.runtime.messages import Suspect
from actors.runtime.values import Chunk

#: Deaths after which a record alone is given up, and those that a batch may have been near before it is tried itself.
ALLOWED = 3
#: Deaths that a dead letter may be in hand at, and a record at a consumer that is never alone: others may have caused
#: them.
MOST_AS_LETTER, MOST_BESIDE = 8, 6
#: Deaths of a batch in which nobody finds a record, before it is split.
MOST_MARKS = 16
#: A chunk that a consumer has died with is cut so often.
_HALVINGS = 4
#: Why a record is given up: its worker died, or was killed because it hung.
REASONS = ("worker_died", "timeout")
_rest = msgspec.msgpack.Decoder(tuple[int, str, Mark])


class Blame(msgspec.Struct, frozen=True):
    """How often a range was in hand at a death, and how the last one died.

    Attributes:
        marks: how often it was in hand.
        near: how often it had been done within the second before a death.
        stage: of whoever died.
        mark: what of it is to be tried before the rest; empty: nothing is known.
    """

    marks: int = 0
    reason: str = ""
    detail: str = ""
    near: int = 0
    stage: str = ""
    mark: Mark = NO_MARK

    def rest(self) -> bytes:
        """What is recorded of it besides marks, reason and detail; what was only near is forgotten."""
        return msgspec.msgpack.encode((self.near, self.stage, self.mark)) if self.marks else b""

    def care(self) -> Care | None:
        """How the range is to be worked on."""
        if not self.marks:
            return None
        return Care(self.mark.since, self.mark.start, self.mark.end, stage=self.stage)


def recalled(marks: int, reason: str, detail: str, rest: bytes) -> Blame:
    """The blame that was recorded."""
    near, stage, mark = _rest.decode(rest) if rest else (0, "", Mark(alone=True))  # by an older version
    return Blame(marks, reason, detail, near, stage, mark)


def blame(chunk: Chunk, before: Blame, death: Suspect) -> list[tuple[Chunk, Blame]]:
    """Return what to deliver in place of a chunk that was in hand at one more death."""
    marks = before.marks + 1 if death.stage == before.stage or chunk.fault else 1
    now = Blame(marks, death.reason, shortened(death.detail), before.near, death.stage)
    if chunk.fault:  # it stays given up, also for a reader that begins anew
        return [(chunk, msgspec.structs.replace(now, mark=before.mark))]
    if death.stage == CONSUMER:
        return _at_consumer(chunk, now, death)
    if marks == 1:
        return [(chunk, now)]
    mark = _named(chunk, death)
    if mark.alone and marks >= ALLOWED:
        return _without(chunk, mark, now)
    if mark == NO_MARK or marks >= MOST_MARKS:
        halves = split(chunk)
        if len(halves) > 1:
            again = msgspec.structs.replace(now, marks=1, near=0)
            return [(half, again) for half in halves]
    return [(chunk, msgspec.structs.replace(now, mark=mark if mark != NO_MARK else _all_of(chunk)))]


def _at_consumer(chunk: Chunk, now: Blame, death: Suspect) -> list[tuple[Chunk, Blame]]:
    """What to deliver in place of a chunk whose part a consumer had in hand: what it applies is not tried first, so the
    range is cut until a single record is left, which is applied alone then; see ``singly``."""
    if is_alone(chunk):
        was_alone = death.mark == Mark(chunk.start, chunk.start, chunk.end, True)
        now = msgspec.structs.replace(now, mark=Mark(chunk.start, chunk.start, chunk.end, was_alone))
        return [(given_up(chunk, now), now)]
    if now.marks < ALLOWED - 1:  # somebody may have killed it
        return [(chunk, now)]
    pieces = [chunk]
    for _ in range(_HALVINGS):
        pieces = [half for piece in pieces for half in split(piece)]
    again = msgspec.structs.replace(now, marks=ALLOWED - 1, near=0)  # the next death has these in hand, or one of these
    return [(piece, again) for piece in pieces]


def was_near(chunk: Chunk, before: Blame, death: Suspect) -> Blame:
    """The blame of a chunk that somebody had done within the second before its death."""
    near = before.near + 1
    if near < ALLOWED or before.mark != NO_MARK or chunk.fault:
        return msgspec.structs.replace(before, near=near)
    late = Mark(chunk.start, chunk.end, chunk.end)
    return Blame(max(2, before.marks), death.reason, shortened(death.detail), near, death.stage, late)


def given_up(chunk: Chunk, blamed: Blame) -> Chunk:
    """The chunk as a dead letter, when it is one record that was allowed its deaths; else as it is."""
    if not blamed.mark.alone or blamed.marks < ALLOWED or not is_alone(chunk) or chunk.fault:
        return chunk
    return msgspec.structs.replace(chunk, fault=blamed.reason, detail=blamed.detail)


def is_hopeless(chunk: Chunk, blamed: Blame) -> bool:
    """Whether a chunk kills though it is only a dead letter, or though it is one record and was never alone in hand at
    a death (who dies of what it is merged with, or of what it does next): nobody would ever be done with it."""
    if chunk.fault:
        return blamed.marks >= ALLOWED + MOST_AS_LETTER
    return blamed.stage == CONSUMER and blamed.marks >= MOST_BESIDE


def _named(chunk: Chunk, death: Suspect) -> Mark:
    """What was in hand of a chunk, if that can be: somebody else may have made the mark."""
    mark = death.mark
    if is_alone(chunk):  # whatever was marked: with marks before, its record was tried with nothing beside it
        return Mark(chunk.start, chunk.start, chunk.end, mark.alone or mark == NO_MARK)
    if not (chunk.start <= mark.since <= mark.start <= mark.end <= chunk.end and mark.since < mark.end):
        return NO_MARK
    if death.reason == "timeout" and mark.start < mark.end:  # what was done before it was long over
        return msgspec.structs.replace(mark, since=mark.start)
    return mark


def _all_of(chunk: Chunk) -> Mark:
    return Mark(chunk.start, chunk.start, chunk.end)


def _without(chunk: Chunk, mark: Mark, now: Blame) -> list[tuple[Chunk, Blame]]:
    """The chunk in pieces, of which one is the record in hand, given up."""
    pieces: list[tuple[Chunk, Blame]] = []
    for piece in cut_out(chunk, mark.start, mark.end):
        if piece.start >= mark.end:
            pieces.append((piece, msgspec.structs.replace(now, marks=1, near=0)))
        elif piece.end <= mark.start:
            pieces.append((piece, Blame()))
        else:
            alone = msgspec.structs.replace(now, mark=Mark(piece.start, piece.start, piece.end, True))
            pieces.append((given_up(piece, alone), alone))
    return pieces
