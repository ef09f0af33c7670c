"""How many records the next batch has, by what those before it have cost: about ``batch_s`` of work.

    worked off: 3 records in 0.06 s ──▶ 0.02 s a record ──▶ 0.2 s / 0.02 s = 10 records, but

      * no more than four times as many as were worked off in all so far: little is known after a few records;
      * of the last input in sight a fair part only, so that all workers end at about the same time;
      * no less than ``LEAST_S`` of work, for a batch has a price of its own; and never less than one record.

So a function that takes half a second is given single records from the first to the last, and one that takes a
microsecond is given whole chunks after a handful of small batches.

What is said to be slow is believed at once, what is said to be quick little by little (a quarter of the cost at least
is left by one answer): of records that are quick in one place and slow in another the batches are rather too small than
too large. An answer about few records, beside what a batch would have now, says little: that some of them took long
moves the cost half of the way, as a factor, unless that alone was as long as a batch is to take; that they were quick,
not at all. What took next to no time is never taken for slow.

What does not work: the mean over all records (of a file that is quick at its beginning, batches stay large for long
after it has become slow); the last answer alone (one quick record, a header that is rejected, makes the next batch a
large one); to begin with a batch of usual size (the only one that there is, of a few slow records).

Pure: no clock. Decides how input is cut, never what comes of it.
"""

from __future__ import annotations

import math

#: A batch of less work than this, in seconds, costs more than it brings.
LEAST_S = 0.02
#: What took less, in seconds, says nothing about being slow: the price of a batch, a process that had to wait.
NOISE_S = 0.005
#: A record that takes as long, in seconds, is slow.
SLOW_RECORD_S = 0.001
#: What a batch takes besides its records, in seconds.
PRICE_S = 0.0003
#: So many times as many records as were worked off so far has a batch at most.
GROWTH = 4
#: No answer makes the cost of a record fall by more than this.
_FALL = 4
#: Into so many batches for each worker the last input in sight is cut.
SHARES = 2
#: What the ledger calls what was shown at the end of the last run: as ``"0.02 10"``.
LEARNT = "learnt"
#: No record is taken for quicker than this.
_QUICKEST_S = 1e-9


class Sizing:
    """What records cost, and how many make a batch.

    Args:
        batch_s: seconds of work in a batch; 0: batches are not cut by work.

    Attributes:
        record_s: what a record costs, in seconds; None as long as nobody has said.

    Example::

        sizing = Sizing(0.2)
        sizing.learn(records=1, seconds=0.05)
        sizing.learn(records=1, seconds=0.05)
        sizing.count(left=1000, workers=4, is_last=False)  # 4
    """

    def __init__(self, batch_s: float) -> None:
        self._batch_s = batch_s
        self._worked_off = 0
        self.record_s: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether batches are cut by work at all."""
        return self._batch_s > 0

    @property
    def is_learning(self) -> bool:
        """Whether so little is known that it, and not the cost of a record, bounds the next batch."""
        return self.is_on and (
            self.record_s is None or GROWTH * self._worked_off < self._batch_s / self.record_s)

    def are_slow(self) -> bool:
        """Whether a record takes so long that which worker has it matters; so it is, too, before anything is known."""
        return self.record_s is None or self.record_s >= SLOW_RECORD_S

    def learn(self, records: int, seconds: float, is_certain: bool = False) -> None:
        """So many records were worked off in so many seconds, those of all stages together.

        ``is_certain``: of a batch that takes far too long; few records say enough then.
        """
        if records <= 0:
            return
        cost = max(_QUICKEST_S, (seconds - PRICE_S) / records)
        is_much = is_certain or _FALL * records >= self.most()
        self._worked_off += records
        if self.record_s is None:
            self.record_s = cost
        elif cost <= self.record_s:
            if is_much:
                self.record_s = max(cost, self.record_s / _FALL)
        elif seconds >= NOISE_S:
            self.record_s = cost if is_much or seconds >= self._batch_s else math.sqrt(cost * self.record_s)

    def most(self) -> float:
        """How many records a batch has at most, by what is known now; infinite when it is not cut by work."""
        if not self.is_on:
            return math.inf
        if self.record_s is None:
            return 1
        return max(1, min(GROWTH * self._worked_off, int(self._batch_s / self.record_s)))

    def shown(self) -> tuple[float, int]:
        """For people: seconds of work in a record, 0 when not known; records in a batch at most, 0: as many as come."""
        most = self.most()
        is_cut = self.record_s is not None and not self.is_learning and most < math.inf
        return self.record_s or 0.0, min(int(most), 1 << 31) if is_cut else 0

    def count(self, left: int, workers: int, is_last: bool) -> int:
        """How many records the next batch has, of those that were read and are left (1 or more).

        Args:
            left: how many those are.
            workers: who is there to work on them.
            is_last: no more input is in sight.
        """
        most = self.most()
        if is_last and self.is_on and self.record_s is not None:
            fair = max(math.ceil(left / (SHARES * workers)), int(LEAST_S / self.record_s))
            most = min(most, max(1, fair))
        if left <= most:
            return left
        return math.ceil(left / math.ceil(left / most))  # of equal size, and no small one at the end
