"""Units of Kafka that end before anybody has asked for it: the one place where that is decided and told.

    a topic is removed, or made anew ─────────┐                      ┌─ was fetched ─────────▶ goes on
    so it was while nobody looked ────────────┼─▶ nothing more comes ┼─ is known of ─────────▶ told: its offsets
    a log was cut back behind what was read ──┘                      └─ the end is not known ▶ told: an offset, at least
    the run is stopped meanwhile ──▶ what was fetched, and not handed out, cannot be had again: told: its offsets

Told is: a dead letter ``source_lost`` with the range, an event, exit code 4. A range goes the way of all records,
behind those that were fetched, so it is told once, whoever is killed meanwhile. What does not work: to mark the unit
alone (``damaged`` without a letter is settled when the run ends, as if somebody had seen it).

When is the end known? When the client fetches until the last moment, nothing of it waits, and it has come as far as the
broker has ever said. One that was paused, or has not fetched yet, knows less.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.runtime.ports import UnitLedger
from actors.runtime.values import HANDED_OVER
from actors.sources.kafka_group import Membership
from actors.sources.kafka_inflow import ALL_OF_IT, Inflow
from actors.sources.kafka_partitions import (
    KIND,
    Partition,
    fingerprint,
    generation_of,
    gone,
    has_gone,
    partition_of,
)
from actors.sources.kafka_roster import Roster
from actors.sources.kafka_told import Told

REMOVED = "the topic was removed"
ANEW = "another topic was made in its place"


class CutBack(NamedTuple):
    """A log that was cut back.

    Attributes:
        at: from where on offsets are given anew; None: that is not known; ``ALL_OF_IT``: all that is there is new.
        first: where it begins.
        end: where it ends.
    """

    at: int | None
    first: int
    end: int


class Gone:
    """See above.

    Args:
        ledger: what is known of units.
        inflow: fetches partitions.
        roster: of the partitions that are read.
        told: tells the broker of positions.
        membership: in the group, or None.
    """

    def __init__(self, ledger: UnitLedger, inflow: Inflow, roster: Roster, told: Told,
                 membership: Membership | None) -> None:
        self._ledger = ledger
        self._inflow = inflow
        self._roster = roster
        self._told = told
        self._membership = membership

    def topic(self, name: str, why: str, now: float) -> None:
        """A topic of this name was being read, and is no more."""
        come, is_all = ([], False) if self._inflow.is_paused else self._inflow.take(now)
        self._roster.queue(come)
        for partition in [each for key, each in self._roster.by_key.items() if key[0] == name]:
            high = max(partition.high, partition.ended, self._inflow.high(partition.key) or 0)
            self._end(partition, why, high, is_all and partition.is_sure and partition.key in self._inflow.assigned)

    def older(self, name: str, topic: str, now: float) -> None:
        """What earlier readers read under this name is over, unless it is of the topic with this id (empty: there is
        none), and of its newest log."""
        units = [unit for unit in self._ledger.known(KIND) if unit.name.rpartition("/")[0] == name]
        newest = {partition_of(unit.fingerprint): unit for unit in units}
        for unit in units:
            id_, number = partition_of(unit.fingerprint)
            if has_gone(unit.fingerprint) or unit.status == HANDED_OVER or unit.id in self._roster.units or (
                    id_ == topic and newest[id_, number] is unit):
                continue
            recorded = self._ledger.boundaries(unit)
            partition = Partition((name, number), unit, recorded, now)
            why = REMOVED if not topic else ANEW if id_ != topic else f"the log of {unit.name} was cut back"
            self._end(partition, why, partition.high, is_all=False)

    def cut_back(self, partition: Partition, cut: CutBack, now: float, until: int | None) -> Partition:
        """The log of a partition was cut back behind what was read of it; return what is read in its place.

        Args:
            partition: that is over.
            cut: what is known of it.
            now: monotonic seconds.
            until: up to where the new one is read; None: for ever.
        """
        unit, seen = partition.unit, partition.seen
        start = cut.end if cut.at is None else cut.first if cut.at == ALL_OF_IT else cut.at
        why = (f"{unit.name} ends at offset {cut.end}, and was read up to {seen}: its log was cut back (an unclean "
               f"election), and offsets from {start} on are given anew")
        if cut.at is None:
            why += "; where it was cut is not known, and what is new below that is not read"
        topic, number = partition_of(unit.fingerprint)
        mark = fingerprint(topic, number, generation_of(unit.fingerprint) + 1)
        self._end(partition, why, partition.high, is_all=False)
        new = self._ledger.begin(unit.name, mark, alone=True, after=(start, 0))
        return Partition(partition.key, new, [], now, until)

    def _end(self, partition: Partition, why: str, high: int, is_all: bool) -> None:
        """Nothing more comes of this one."""
        unit, key = partition.unit, partition.key
        self._ledger.resume(unit, unit.name, gone(unit.fingerprint))  # it may be over, or an earlier reader's
        self._ledger.noted(unit, why)
        if self._roster.by_key.get(key) is partition:
            if self._membership is None or key not in self._membership.asked_back:  # those it gives up at once
                self._inflow.unassign((key,))
            self._told.forget((key,))
        partition.is_over = False
        partition.give_up(why, high, is_all)
        self._roster.take_leave(partition)
