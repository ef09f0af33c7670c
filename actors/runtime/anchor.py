"""Where event-time windows are counted from, when that is the first record: decided once, from what the workers report.

    batches, in order of issue   [span] [span] [no times] [span]  ?   [span] …
                                 first ─────────────────▶ greatest >= first + disorder: decided

The reader delivers batches without an anchor; a worker answers with the batch's ``Span``, and nothing is made of it.
(Of one without event times neither: ordered consumers could not apply it, as what is before it has not come to them.)
The anchor is the least event time that is not too late, and a record may be older than one before it by the allowed
disorder. So it is known as soon as a record is so much younger than the first that whatever is older than the first and
not yet seen would be late.

Guarantees:

* Only the answers that follow one another from the very first batch on count, up to the first that is young enough. So
  the order in which answers arrive, deaths and repetitions change nothing.
* What nobody can wait for any longer ends the waiting: the window is full, or there is no more input.

Where a source can say how the files begin that are there at first, the oldest of those beginnings decides, before
anything is read (``heads.py``); this is for what cannot be looked at, and for files that have only begun.

What does not work: the first answer that comes (it depends on who is fast); the least of all that have answered by then
(the same); the first record's own time (the ones before it, by the allowed disorder, would be late from the start).

Pure: no clock, no file. The reader keeps the value in its ledger, for all later runs on that state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from actors.runtime.messages import Span


class Anchor:
    """What windows are counted from.

    Args:
        start: ``clock``, ``first``, or an event time in ms: ``window.start``.
        disorder_ms: how much older than one before it a record may be.
        kept: what an earlier reader decided for ``first``; None if none has.

    Attributes:
        value: event time in ms; None as long as it is not known.
        most: it is not larger than this, whatever is to come (``heads.py``).
    """

    def __init__(self, start: Literal["clock", "first"] | int, disorder_ms: int, kept: int | None = None) -> None:
        self._disorder_ms = disorder_ms
        self.most: int | None = None
        self.value: int | None = kept if start == "first" else 0 if start == "clock" else start

    def decide(self, spans: Sequence[Span], is_all: bool) -> bool:
        """Decide, if that is possible; return whether the value is new.

        Args:
            spans: of the batches with event times that follow one another from the first on, without those that have
                not answered, and without any behind those.
            is_all: everything has answered, and nothing more can come before there is an anchor.
        """
        if self.value is not None or not spans:
            return False
        first = spans[0].first
        oldest = first - self._disorder_ms
        least = first
        for span in spans:
            if span.least >= oldest:
                least = min(least, span.least)
            if span.greatest >= first + self._disorder_ms:
                break
        else:
            if not is_all:
                return False
        self.value = least if self.most is None else min(least, self.most)
        return True
