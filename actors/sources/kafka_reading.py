"""The opened source `kafka`: a turn of the reader, seen from Kafka.

    tick      poll (also while nothing is read), look, take up; what is asked back ──▶ revoked
    read      take what is at hand ──▶ partitions ──▶ the next chunk, in turn
    committed ──▶ the broker, about once a second, with the id of this state directory
    released  ──▶ the broker, at once; when all that was asked back is released it goes to its next owner
    stop      what is held stays for a later run; of what has gone since, that it is lost is handed out

Everything runs in the reader's thread, and nothing in it waits for the cluster: the client has threads of its own.
While records come the reader looks again after milliseconds, and the less comes, the later.

Guarantees: see ``docs/kafka.md``.

What does not work: to give up partitions within the client's callback (the reader cannot drain while it is in there);
to commit what was read (durable is what the ledger has committed); to let the client begin where it likes
(``auto.offset.reset``: what retention took would be a gap that nobody hears of); to pause whenever the window is full
(the client throws its queue away each time).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.kafka.clients import Heard, Said, is_hopeless, sentence
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.ports import Source, UnitLedger
from actors.runtime.values import Chunk, Revoked, Unit
from actors.sources.kafka_ends import Ends
from actors.sources.kafka_gone import Gone
from actors.sources.kafka_group import Membership
from actors.sources.kafka_inflow import TAKE_BYTES, Inflow
from actors.sources.kafka_lookups import Lookups
from actors.sources.kafka_partitions import Key, Partition
from actors.sources.kafka_roster import Roster
from actors.sources.kafka_told import Told
from actors.sources.kafka_topics import Topics, Wanted

#: Seconds until the next look, when there was nothing: the first after something came, and at most.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.002, 0.1
#: Seconds between two ticks while nothing is read, and while an answer is waited for.
_BLOCKED_S, _ASKING_S = 0.5, 0.02
#: Seconds between two looks at how far partitions go.
_HIGH_S = 0.5
#: What the broker says of a partition is shown for so long: it says it now and then.
_TROUBLE_S = 2.0
#: Seconds that what is taken away is kept for, until it is known whether its topic is there.
_SURE_S = 5.0
#: This user may not commit.
_NO_GROUP = "GROUP_AUTHORIZATION_FAILED"
#: What no retry mends: another client has this member's name, or the client has given up.
_FATAL = ("_FATAL", "FENCED_INSTANCE_ID", "_FENCED")


class KafkaSource(Source):
    """The opened source.

    Args:
        wanted: what is to be read.
        ledger: what is known about it.
        batch_bytes: size of a chunk, about.
        configuration: of the client that reads, and of the one that asks.
        heard: what is heard of their connections.
        drain_s: what is asked back is drained for so long.
        idle_timeout_s: a partition that is silent for so long is not waited for.
        clock: monotonic seconds.
    """

    def __init__(self, wanted: Wanted, ledger: UnitLedger, batch_bytes: int,
                 configuration: tuple[Mapping[str, Any], Mapping[str, Any]], heard: Heard, drain_s: float,
                 idle_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.exhausted = False
        self.endless = wanted.follow
        self._wanted = wanted
        self._ledger = ledger
        self._batch_bytes = batch_bytes
        self._drain_s, self._idle_timeout_s = drain_s, idle_timeout_s
        self._clock = clock
        self._roster = Roster()
        self._told = Told(ledger.state_id)
        self._inflow = Inflow(configuration[0], self._roster.by_key, heard, self._told.heard)
        self._membership = Membership(self._inflow) if wanted.group else None
        lookups = Lookups(configuration[1], heard)
        self._topics = Topics(wanted, ledger, lookups, self._inflow, self._roster, heard, self._membership,
                              Gone(ledger, self._inflow, self._roster, self._told, self._membership))
        self._ends = Ends(lookups)
        if self._membership is not None:
            self._membership.join(wanted.topics)
        self._leaving: dict[int, Partition] = {}  # asked back, by unit
        self._news: list[Revoked] = []
        self._read_at = clock()
        self._look_s = _LAST_LOOK_S
        self._is_hungry = self._is_closed = self._is_stopped = False
        self._noted: set[int] = set()  # units of which it is said that nobody is told
        self._sure_of: set[Key] = set()  # taken away, and looked at whether their topics are there, until then
        self._sure_by = 0.0
        self._high_at = 0.0
        self._trouble = "", 0.0
        self._read_bytes = self._ahead_bytes = self._read_records = 0

    def read(self) -> Chunk | None:
        """Return the next chunk, of the partition whose turn it is; None: no partition has more now."""
        if self.exhausted:
            return None
        now = self._read_at = self._clock()
        is_all = False
        if self._is_stopped:
            chunk = self._roster.next(self._batch_bytes, True, now, self._drained)
            self.exhausted = not self._roster.is_waiting()
            return chunk
        if self._roster.held_bytes() < max(TAKE_BYTES, self._batch_bytes):
            come, is_all = self._inflow.take(now)
            self._roster.queue(come)
            if come:
                self._look_s = _FIRST_LOOK_S
        chunk = self._roster.next(self._batch_bytes, is_all, now, self._drained)
        if chunk is None and not is_all:  # as much is held as may be, and none of it makes a batch
            chunk = self._roster.next(self._batch_bytes, True, now, self._drained)
        self._is_hungry = chunk is None
        if chunk is not None:
            self._read_bytes += len(chunk.data)
            self._read_records += chunk.end - chunk.start
        elif not self._wanted.follow and not self._roster.is_waiting() and self._topics.is_all_taken_up():
            self.exhausted = all(partition.is_over for partition in self._roster.by_key.values())
        return chunk

    def tick(self, now: float) -> float | None:
        """Poll, look which partitions there are, take up those that are new.

        Raises:
            Retryable: the cluster cannot be reached, or there is no such topic (yet).
            ConfigError: only another configuration can help.
        """
        self._roster.queue(self._inflow.poll(now, self._read_at))
        self._hear_the_group(now)
        self._topics.tick(now)
        if self._topics.lost:
            self._news.append(Revoked(tuple(self._topics.lost), is_lost=True))
            self._topics.lost.clear()
        if now >= self._high_at:
            self._high_at = now + _HIGH_S
            self._look_how_far_they_go(now)
        self._told.tell(self._inflow, now)
        self._say_that_nobody_is_told()
        self._raise_what_is_wrong(now)
        if self._topics.is_asking():
            return now + _ASKING_S
        if not self._is_hungry:
            return now + _BLOCKED_S
        wait_s, self._look_s = self._look_s, min(_LAST_LOOK_S, 2 * self._look_s)
        return now + wait_s

    def revoked(self) -> Sequence[Revoked]:
        """What the group has asked back, and what it has given to others already."""
        news, self._news = self._news, []
        return news

    def released(self, units: Sequence[Unit]) -> None:
        """Tell the broker how far they are; when all that was asked back is released, let it go."""
        over = {self._leaving.pop(unit.id).key: unit for unit in units if unit.id in self._leaving}
        self._told.take_note(over)
        self._told.tell(self._inflow, self._clock(), at_once=True)
        self._told.forget(over)
        if self._membership is not None and over and not self._leaving:
            self._membership.let_go()

    def committed(self, units: Sequence[Unit]) -> None:
        """The broker is to be told, soon."""
        keys = {one.unit.id: key for key, one in self._roster.by_key.items() if not one.is_leaving}
        self._told.take_note({keys[unit.id]: unit for unit in units if unit.id in keys})

    def stop(self) -> None:
        """Read no further: what is not read stays for the next run. What was fetched of topics that are gone cannot, so
        that it is lost is still to be handed out."""
        self._is_stopped = True
        self._roster.stop("the run was stopped before all that was fetched of a topic that is gone was handed out")
        self.exhausted = not self._roster.is_waiting()

    def active(self) -> tuple[int, ...]:
        """The ids of those units that have something unread, or something of which has come within
        ``idle_timeout_s``."""
        since = self._clock() - self._idle_timeout_s
        return tuple(sorted(
            partition.unit.id for partition in self._roster.by_key.values() if not partition.is_over and (
                partition.has_more() or partition.high > partition.seen or partition.touched > since)))

    def progress(self) -> tuple[int, int]:
        """Bytes read, and known to be there, about: of records that are not fetched only the number is known."""
        return self._read_bytes, self._read_bytes + self._ahead_bytes

    def lag(self) -> dict[int, int]:
        """By unit, how many offsets the end of its partition is ahead of what is durable; nobody is waited for."""
        now = self._clock()
        return {partition.unit.id: max(0, max(partition.high, self._ends.of(partition, now)) - partition.unit.low)
                for partition in self._roster.by_key.values() if not partition.is_over}

    def close(self) -> None:
        """Tell the broker the last positions, and leave."""
        if self._is_closed:
            return
        self._is_closed = True
        is_answered = self._told.tell_the_last(self._inflow)
        if self._membership is not None:
            self._membership.leave()
        self._inflow.close(is_answered)

    def _drained(self, partition: Partition) -> None:
        """Nothing of a partition is held now: it may be over."""
        if not partition.is_over and (partition.is_gone or partition.is_read()):
            partition.is_over = True
            self._ledger.end(partition.unit, partition.position)
            if not partition.is_gone:
                self._inflow.unassign((partition.key,))

    def _hear_the_group(self, now: float) -> None:
        membership = self._membership
        if membership is None:
            return
        taken = membership.asked_back.union(membership.lost)
        self._roster.hold(taken)
        self._told.forget(membership.lost)
        if not self._is_sure(taken, now):
            return
        lost, membership.lost = membership.lost, []
        gone = [partition for key in lost if (partition := self._roster.drop(key)) is not None]
        gone += [partition for partition in self._leaving.values() if partition.key in lost]
        if gone:
            self._news.append(Revoked(tuple(partition.unit for partition in gone), is_lost=True))
            self._told.forget(partition.key for partition in gone)
            for partition in gone:
                self._leaving.pop(partition.unit.id, None)
        asked = [partition for key in sorted(membership.asked_back)
                 if (partition := self._roster.drop(key)) is not None]
        if asked:
            self._leaving.update({partition.unit.id: partition for partition in asked})
            self._news.append(Revoked(tuple(partition.unit for partition in asked), until=now + self._drain_s))
        elif membership.asked_back and not self._leaving:
            membership.let_go()  # none of it was being read

    def _is_sure(self, taken: set[Key], now: float) -> bool:
        """Whether it is known if what is taken away goes to somebody: of a topic that was removed nothing does."""
        new = taken & self._roster.by_key.keys() - self._sure_of
        if new:
            self._sure_by = self._sure_by if self._sure_of else now + min(_SURE_S, self._drain_s)
            self._topics.make_sure()
        self._sure_of = (self._sure_of | new) & taken
        return not (self._sure_of and self._topics.is_unsure and now < self._sure_by)

    def _look_how_far_they_go(self, now: float) -> None:
        self._ends.turn(self._roster.by_key.values(), not self._is_hungry or self._inflow.is_paused, now)
        ahead = 0
        for key, partition in self._roster.by_key.items():
            partition.high = max(partition.high, partition.seen, self._inflow.high(key) or 0)
            ahead += max(partition.high, self._ends.of(partition, now)) - partition.position
        self._ahead_bytes = ahead * self._read_bytes // max(1, self._read_records) if ahead else 0

    def _say_that_nobody_is_told(self) -> None:
        if self._told.refused is None:
            return
        for partition in self._roster.by_key.values():  # it may be known before they are
            if partition.unit.id not in self._noted:
                self._noted.add(partition.unit.id)
                self._ledger.noted(partition.unit, "positions are not told to the broker: "
                                   + sentence(self._told.refused, self._wanted.client))

    def _raise_what_is_wrong(self, now: float) -> None:
        error: Said | None = self._inflow.problem
        self._inflow.problem = None
        if error is not None and error.name() == _NO_GROUP and self._membership is None:
            self._told.refused, error = error, None  # that is all that a group is for
        if error is not None:
            text = f"{self._wanted.where}: {sentence(error, self._wanted.client)}"
            if error.name() in _FATAL:
                raise ConfigError(f"source: {text}: expected one run with this state directory in the group (was it "
                                  "copied? each needs one of its own)")
            if is_hopeless(error) and not self._read_records:
                raise ConfigError(f"source: {text}")
            self._trouble = text, now + _TROUBLE_S
        problem, until = self._trouble
        if self._is_stopped:
            return
        if self._topics.problem or now < until:
            raise Retryable(self._topics.problem or problem)
        if self._topics.missing and not self._roster.is_waiting():  # what was fetched of one that has gone goes on
            raise Retryable(self._topics.missing)
