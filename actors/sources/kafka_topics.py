"""Which partitions of which topics are read, and from where on.

    look ──▶ a topic, its id ──▶ partitions that are not read yet ──▶ starts, ends, commits ──▶ units ──▶ fetched
         ├─▶ another id, or none ──▶ what was read of the old one is all that there is: told
         └─▶ out of range ──▶ retention took it: told, read on behind it │ the log was cut back: told, a new unit
What is gone is told in one place: ``kafka_gone``.

Nothing here waits: a question is asked in one turn, and its answer found in a later one. One that fails is asked anew,
and what the cluster says meanwhile is ``problem``.

Whose position counts: with fixed assignment the ledger's. In a group the broker's commit, unless this state directory
has made it: then the ledger knows better. A partition that moved A → B → A on the ledger's word alone would be read
twice.

Where a topic begins that was not read before is ``start``; partitions that were added since, and a topic that was made
anew, begin at their beginning, or what was published before somebody looked would be skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from actors.kafka.clients import Heard, Properties, Said, is_hopeless, sentence
from actors.runtime.errors import ConfigError
from actors.runtime.ports import UnitLedger
from actors.runtime.values import HANDED_OVER, Unit
from actors.sources.kafka_gone import ANEW, REMOVED, CutBack, Gone
from actors.sources.kafka_group import Membership
from actors.sources.kafka_inflow import Inflow
from actors.sources.kafka_lookups import EARLIEST, LATEST, Committed, Lookups, Question, TopicFound
from actors.sources.kafka_partitions import KIND, Key, Partition, fingerprint, has_gone, partition_of, there
from actors.sources.kafka_roster import Roster

#: Seconds between two questions while there is no answer.
_RETRY_S = 0.5
#: And until one that says that a topic is missing is asked again: a broker may know less than the others for a moment.
_AGAIN_S = 0.3
#: And until one says a second time that a log ends in front of what was read: one that has just started again may know
#: less of its own log. Not so what the client finds out by epochs.
_CUT_AGAIN_S = 2.0
_MISSING = ("UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID", "_UNKNOWN_TOPIC")


class Wanted(msgspec.Struct, frozen=True):
    """What is to be read.

    Attributes:
        topics: names.
        partitions: numbers; empty: all.
        start: ``EARLIEST``, ``LATEST`` or ms since 1970.
        offset: where partitions begin; negative: so many before their end; None: where ``start`` says.
        follow: False: up to where the partitions end when they are taken up.
        group: of consumers; empty: none, assignment is fixed.
        look_s: seconds between two looks.
        where: the cluster, for people.
        client: the table, for its secrets.
    """

    topics: Sequence[str]
    partitions: Collection[int]
    start: int
    offset: int | None
    follow: bool
    group: str
    look_s: float
    where: str
    client: Properties


class _Starting(NamedTuple):
    """Partitions that are being taken up."""

    keys: list[Key]
    firsts: Question[Key, int | None]
    ends: Question[Key, int | None]
    moments: Question[Key, int | None]
    commits: Question[str, dict[Key, Committed]] | None

    def is_answered(self) -> bool:
        asked = (self.firsts, self.ends, self.moments, self.commits)
        return all(question is None or question.is_answered() for question in asked)


class _Resetting(NamedTuple):
    """Partitions whose next offset is not there."""

    firsts: Question[Key, int | None]
    ends: Question[Key, int | None]


class _Opening:
    """What is known of partitions before they are taken up.

    Args:
        known: the units of the ledger.
        committed: what the group has committed, by partition.
        read: topics that are being read.

    Attributes:
        newest: the newest unit of each partition, by the id of its topic and its number.
    """

    def __init__(self, known: Sequence[Unit], committed: Mapping[Key, Committed], read: set[str]) -> None:
        self.newest = {partition_of(unit.fingerprint): unit for unit in known}
        self.committed = committed
        self._topics = read | {unit.name.rpartition("/")[0] for unit in known} | {topic for topic, _ in committed}

    def is_added(self, key: Key) -> bool:
        """Whether partitions of this topic were read before: then one that is new was added since."""
        return key[0] in self._topics


class Topics:
    """See above.

    Args:
        wanted: what is to be read.
        ledger: what is known about it.
        lookups: to ask the cluster.
        inflow: to fetch partitions.
        roster: of the partitions that are read.
        heard: what was heard of the connections.
        membership: in the group, or None.
        gone: what becomes of units that end.

    Attributes:
        problem: why nothing can be read now; empty: it can, as far as is known.
        missing: which topic there is not, when there is none of them.
        lost: units that another run has gone on with.
        is_unsure: whether topics are gone is being looked up, since ``make_sure``.
    """

    def __init__(self, wanted: Wanted, ledger: UnitLedger, lookups: Lookups, inflow: Inflow, roster: Roster,
                 heard: Heard, membership: Membership | None, gone: Gone) -> None:
        self.problem = self.missing = ""
        self.lost: list[Unit] = []
        self._wanted = wanted
        self._ledger = ledger
        self._lookups = lookups
        self._inflow = inflow
        self._roster = roster
        self._heard = heard
        self._membership = membership
        self._gone = gone
        self._found: dict[str, TopicFound] = {}
        #: Names that were missing in the last answer, and of those the ones that are taken for removed.
        self._doubted: set[str] = set()
        self._removed: set[str] = set()
        self.is_unsure = False
        self._look: Question[str, TopicFound] | None = None
        self._look_at = 0.0
        self._starting: _Starting | None = None
        self._resetting: _Resetting | None = None
        self._was_reached = self._is_settled = False

    def is_all_taken_up(self) -> bool:
        """Whether all topics were found, and all their partitions that are wanted are being read, or are over."""
        return self._starting is None and not self._left() and (
            len(self._found) + len(self._removed) == len(self._wanted.topics))

    def is_asking(self) -> bool:
        """Whether an answer is waited for."""
        return self._look is not None or self._starting is not None or self._resetting is not None

    def make_sure(self) -> None:
        """Look at once which topics there are: what was asked before does not count."""
        self.is_unsure = True
        self._look, self._look_at = None, 0.0

    def tick(self, now: float) -> None:
        """Look, ask, take up.

        Raises:
            ConfigError: no retry mends it.
        """
        self._lookups.poll()
        if self._heard.hopeless and not self._was_reached:
            raise ConfigError(f"source: {self._wanted.where}: {self._heard.hopeless}")
        if self._look is not None and self._look.is_answered():
            self._hear(now, *self._look.answers())
            self._look = None
        elif self._look is None and (now >= self._look_at or (self._inflow.has_doubts and not self.problem)):
            self._inflow.has_doubts = False
            self._look = self._lookups.topics(self._wanted.topics)
        if self._membership is None or not self._membership.asked_back:  # a rebalance is answered first
            self._take_up(now)
            self._reset(now)

    # Topics ----------------------------------------------------------------------------------------------------------

    def _hear(self, now: float, found: Mapping[str, TopicFound], failed: Mapping[str, Said]) -> None:
        self._look_at = now + self._wanted.look_s
        self.problem = self.missing = ""
        for name, error in failed.items():
            if error.name() in _MISSING:
                self._miss(name, now)
            else:
                self._cannot(now, error)
        for name, topic in found.items():
            self._was_reached = True
            self._doubted.discard(name)
            self._removed.discard(name)
            absent = [number for number in self._wanted.partitions if number >= topic.partitions]
            if absent:
                raise ConfigError(f"source.partitions: expected 0 to {topic.partitions - 1}, as topic {name} has them, "
                                  f"got {absent[0]}")
            before = self._found.get(name)
            if before is not None and before.id != topic.id:
                self._gone.topic(name, ANEW, now)
            if before is None or before.id != topic.id:
                self._gone.older(name, topic.id, now)
            self._found[name] = topic
        if self._doubted and not self._found and self._wanted.follow:
            self.missing = f"{self._wanted.where}: there is no topic {min(self._doubted)} (it may come)"
        self.is_unsure = self.is_unsure and bool(self._doubted - self._removed)
        if not failed:
            self._heard.forget()

    def _miss(self, name: str, now: float) -> None:
        """There is no such topic. One that was there is taken for removed when it is missing a second time."""
        self._was_reached = True
        if not self._wanted.follow and name not in self._found and name not in self._removed:
            raise ConfigError(f"source.topics: {self._wanted.where}: there is no topic {name}: expected one that is "
                              "there; one that is followed may come later")
        if name not in self._doubted:
            self._doubted.add(name)
            self._look_at = now + _AGAIN_S
        elif name not in self._removed:
            self._removed.add(name)
            if self._found.pop(name, None) is not None:
                self._gone.topic(name, REMOVED, now)
            self._gone.older(name, "", now)

    def _cannot(self, now: float, error: Said) -> None:
        """The cluster did not answer, or not as it has to."""
        text = f"{self._wanted.where}: {sentence(error, self._wanted.client, self._heard.last())}"
        if is_hopeless(error) and not self._was_reached:
            raise ConfigError(f"source: {text}")
        self.problem = text
        self._look_at = min(self._look_at, now + _RETRY_S)

    # Partitions ------------------------------------------------------------------------------------------------------

    def _left(self) -> list[Key]:
        """The partitions that are to be read, and are not yet."""
        keys: Collection[Key] = self._membership.given if self._membership is not None else [
            (name, number) for name, topic in self._found.items() for number in range(topic.partitions)
            if not self._wanted.partitions or number in self._wanted.partitions]
        return sorted(key for key in keys if key not in self._roster.by_key and key[0] in self._found)

    def _take_up(self, now: float) -> None:
        if self._starting is not None:
            if self._starting.is_answered():
                starting, self._starting = self._starting, None
                self._begin(starting, now)
            return
        keys = [] if self.problem or self.lost else self._left()
        if keys:
            ask, start = self._lookups.offsets, self._wanted.start
            self._starting = _Starting(
                keys, ask(dict.fromkeys(keys, EARLIEST)), ask(dict.fromkeys(keys, LATEST)),
                ask(dict.fromkeys(keys, start) if start >= 0 else {}),
                self._lookups.commits(self._wanted.group) if self._wanted.group else None)
        elif self._membership is not None and self._membership.is_told:
            self._lose_what_others_have()

    def _begin(self, starting: _Starting, now: float) -> None:
        firsts, no_first = starting.firsts.answers()
        ends, no_end = starting.ends.answers()
        moments, no_moment = starting.moments.answers()
        commits, no_commits = ({}, {}) if starting.commits is None else starting.commits.answers()
        for error in (*no_first.values(), *no_end.values(), *no_moment.values(), *no_commits.values()):
            self._cannot(now, error)
            return
        opening = _Opening(self._ledger.known(KIND), commits.get(self._wanted.group, {}),
                           {topic for topic, _ in self._roster.by_key})
        wanted = set(self._left())
        read: list[Partition] = []
        for key in starting.keys:
            end = ends[key] or 0
            start = self._start(firsts[key] or 0, end, moments.get(key), opening.is_added(key))
            partition = self._open(key, opening, start, end, now) if key in wanted else None
            if partition is None:
                continue
            self._roster.add(partition)
            if not partition.is_read():
                read.append(partition)
        if read:
            self._inflow.assign(read)
        if self._membership is not None and not self.lost:
            self._lose_what_others_have()

    def _start(self, first: int, end: int, moment: int | None, is_added: bool) -> int:
        """Where a partition begins that was not read before. What is gone at an offset that was named will be told."""
        offset = self._wanted.offset
        if not is_added and offset is not None:
            return min(offset, end) if offset >= 0 else max(first, end + offset)
        if is_added or self._wanted.start == EARLIEST:
            return first
        return end if moment is None else moment

    def _open(self, key: Key, opening: _Opening, start: int, end: int, now: float) -> Partition | None:
        """Begin the unit of a partition, or go on with it; None: not now (what another run has gone on with is given up
        first)."""
        name, number = key
        topic = self._found[name].id
        unit, commit = opening.newest.get((topic, number)), opening.committed.get(key)
        mark = fingerprint(topic, number) if unit is None else there(unit.fingerprint)
        is_ours = commit is None or commit.state_id == self._ledger.state_id
        if unit is None and is_ours:
            commit = None  # it was told of another topic of this name, that was removed since
        recorded: list[tuple[int, int]] = []
        if unit is not None and unit.status == "reading" and has_gone(unit.fingerprint) and (
                unit.id in self._roster.units):
            return None  # it was taken for gone, and was not: when all of that is durable it is gone on with
        if unit is not None and unit.status == "reading" and not is_ours:
            self.lost.append(unit)
            return None
        if unit is None or unit.status == HANDED_OVER:
            own = unit.low if unit is not None and is_ours else -1
            first = max(own, commit.offset if commit is not None else -1)
            unit = self._ledger.begin(f"{name}/{number}", mark, alone=True, after=(start if first < 0 else first, 0))
        else:
            recorded = self._ledger.boundaries(unit)
            self._ledger.resume(unit, f"{name}/{number}", mark)
        # One whose log was cut back is read, though it seems to be over, so that the client finds that out.
        partition = Partition(key, unit, recorded, now, None if self._wanted.follow or unit.low > end else end)
        partition.ended = end
        return partition

    def _lose_what_others_have(self) -> None:
        """What an earlier reader was reading, and this member was not given, is somebody else's."""
        if self._is_settled or self._membership is None or (
                len(self._found) + len(self._removed) < len(self._wanted.topics)):
            return
        self._is_settled = True
        for unit in self._ledger.known(KIND):
            (topic, number), name = partition_of(unit.fingerprint), unit.name.rpartition("/")[0]
            found = self._found.get(name)
            if unit.status == "reading" and (name, number) not in self._membership.given and (
                    found is not None and found.id == topic):
                self.lost.append(unit)

    # What is not there -----------------------------------------------------------------------------------------------

    def _reset(self, now: float) -> None:
        if self._resetting is None:
            keys = [key for key in self._inflow.resets if key in self._roster.by_key
                    and now >= self._roster.by_key[key].short_until]
            if keys and not self.problem:
                self._resetting = _Resetting(
                    self._lookups.offsets(dict.fromkeys(keys, EARLIEST)),
                    self._lookups.offsets(dict.fromkeys(keys, LATEST), is_committed=False))
            return
        if not (self._resetting.firsts.is_answered() and self._resetting.ends.is_answered()):
            return
        resetting, self._resetting = self._resetting, None
        firsts, no_first = resetting.firsts.answers()
        ends, no_end = resetting.ends.answers()
        for error in (*no_first.values(), *no_end.values()):
            self._cannot(now, error)
            return
        for key in firsts:
            if key in self._inflow.resets and key in self._roster.by_key:
                cut = CutBack(self._inflow.resets[key], firsts[key] or 0, ends[key] or 0)
                self._read_on(self._roster.by_key[key], cut, now)

    def _read_on(self, partition: Partition, cut: CutBack, now: float) -> None:
        """The next offset of this partition was not there."""
        seen, first, name = partition.seen, cut.first, partition.unit.name
        if cut.at is None and seen > cut.end and not partition.short_until:
            partition.short_until = now + _CUT_AGAIN_S
            return
        partition.short_until = 0.0
        if cut.at is not None or seen > cut.end:
            partition = self._gone.cut_back(partition, cut, now, None if self._wanted.follow else cut.end)
            self._roster.add(partition)
        elif seen < first:
            why = (f"offsets {seen} to {first - 1} of {name} were not there any more when their turn came: retention "
                   "took them, or somebody deleted them")
            partition.lost(first, why)
            self._roster.queue((partition,))
        partition.behind = -1  # what the client could find out by the epoch it has said
        if partition.is_read():
            self._inflow.unassign((partition.key,))
        else:
            self._inflow.assign((partition,))
