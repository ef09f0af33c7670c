"""Bisection: a record that kills or hangs its worker is found in a batch of thousands, and given up alone.

    batch ──in hand at 3 deaths──▶ two halves ──1 death each──▶ … ──▶ one record ──3 deaths──▶ a dead letter

The first deaths are given the benefit of the doubt: a worker can die for many reasons. Once a batch has been split its
halves are suspect already, so each death halves again: 3 + log2(records) + 3 deaths for one bad record. Halves that
let their worker live are done and never looked at again.

Only the batch that a worker had *in hand* is suspect, and only when nobody had asked the worker to end; what waited in
its queue is delivered again without a mark. Marks and splits are recorded before they are acted on (the ledger does
that), so no restart forgets them, and a batch that was split never travels whole again.

A dead letter that goes on killing (too large for the machine, say) cannot be isolated any further: the run gives up.

Pure: no clock, no file.
"""

from __future__ import annotations

import msgspec

from actors.runtime.framing import is_alone, split
from actors.runtime.values import Chunk

#: Deaths that a batch is allowed before it is split, and a record alone before it is given up.
ALLOWED = 3
#: Why a record is given up: its worker died, or was killed because it hung.
REASONS = ("worker_died", "timeout")


class Blame(msgspec.Struct, frozen=True):
    """How often a range was in hand at a death, and how the last one died."""

    marks: int = 0
    reason: str = ""
    detail: str = ""


def blame(chunk: Chunk, before: Blame, reason: str, detail: str) -> list[tuple[Chunk, Blame]]:
    """Return what to deliver in place of a chunk that was in hand at one more death."""
    now = Blame(before.marks + 1, reason, detail)
    if now.marks < ALLOWED or chunk.fault:
        return [(chunk, now)]
    halves = split(chunk)
    if len(halves) == 1:
        return [(given_up(chunk, now), now)]
    return [(half, Blame(0 if is_alone(half) else ALLOWED - 1, reason, detail)) for half in halves]


def given_up(chunk: Chunk, blamed: Blame) -> Chunk:
    """The chunk as a dead letter, when it is one record that was allowed its deaths; else as it is."""
    if blamed.marks < ALLOWED or not is_alone(chunk) or chunk.fault:
        return chunk
    return msgspec.structs.replace(chunk, fault=blamed.reason, detail=blamed.detail)


def is_hopeless(chunk: Chunk, blamed: Blame) -> bool:
    """Whether a chunk kills though it is only a dead letter: nobody would ever be done with it."""
    return bool(chunk.fault) and blamed.marks >= 2 * ALLOWED
