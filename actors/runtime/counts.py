"""What has become of records, by name, and how such counts are added up."""

from __future__ import annotations

from collections.abc import Iterable

#: What becomes of a record that was read: one of these. ``handed_over``: another run has it to do.
OUTCOMES = ("written", "folded", "filtered", "dead_lettered", "handed_over")
#: Outcome counts: ``read`` and ``OUTCOMES``, ``written.SINK``, ``rejected.REASON``; ``many``: records that became
#: several, and ``made``: what was made of those; and ``finish``: records with which the application asked for the end.
Counts = dict[str, int]
#: The name of that last count. It goes no further than to the reader.
FINISH = "finish"
#: Records that earlier runs have read of a unit; they are among those that are ``read``.
BEFORE = "before"


def merge(total: Counts, more: Counts) -> Counts:
    """Add ``more`` to ``total``, in place, and return it."""
    for name, number in more.items():
        total[name] = total.get(name, 0) + number
    return total


def merged(many: Iterable[Counts]) -> Counts:
    """Return the sum of all counts."""
    total: Counts = {}
    for counts in many:
        merge(total, counts)
    return total
