"""The reader's ledger: input units, committed positions, issued boundaries, outcome counts. One SQLite file.

A *unit* is a piece of input with a name and a content (for files: a file). The units that one run takes up, one behind
the other, are a *partition*: positions count its bytes. A unit that an earlier run left unfinished goes on in the
partition it began in, because consumers with durable state know its ranges by that name. A unit that is in no order
among the others (a connection, a log that grows) is begun *alone*: it is a partition of its own, ``RUN/ID``.

Guarantees:

* ``low`` of a unit moves only to a position below which everything is acknowledged, in one transaction with the
  outcome counts up to there: a resumed run's totals are right.
* A range is recorded before it is issued and until it is committed, so another batch size or a restart does not cut
  it anew. Who died with it in hand, and how it was split for that, is recorded with it.
* A commit survives SIGKILL of any process at once; one that fails (disk full) loses nothing that was said.
* Positions of a partition are given out once. A unit goes on in a partition that it shares only as long as nothing
  behind it went on without it: consumers apply in order, and what lies below their position is a repetition to them.

What does not work: one partition for ever (an unfinished file that is given again after another was read would lie
below what consumers have applied); a partition per file (the order of two values for one key in two files is lost).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.runtime.at_hand import AtHand, is_alone
from actors.runtime.counts import Counts, merge
from actors.runtime.database import open_database, transaction
from actors.runtime.given_again import Given
from actors.runtime.handed_over import HandedOver
from actors.runtime.issued import Decided, Issued, wall_ms
from actors.runtime.poison import REASONS
from actors.runtime.units import ANY_RUN as ANY_RUN
from actors.runtime.units import COLUMNS, FACTS, SAVE, STEPS, last_used, row_of, unit_of, units_where
from actors.runtime.units import read_units as read_units
from actors.runtime.values import HANDED_OVER, SOURCE_LOST, Chunk, Unit


class Ledger:
    """The ledger of one reader, opened by that reader alone.

    Args:
        path: the database file.
        run: identity of this run; also the name of the partition of the units that begin in it.
        doubles: why content counts twice that is loaded twice; empty: it does not.
        clock: ms since 1970.
    """

    def __init__(self, path: Path, run: str, doubles: str = "", clock: Callable[[], int] = wall_ms) -> None:
        self._run = run
        self._connection = open_database(path, STEPS)
        self._connection.execute(FACTS)
        #: In memory is only what is not over, so that a look at it costs no more the more input there was.
        self._at_hand = AtHand()
        self.given = Given(self._connection, run, doubles, self.keep)
        self.handed_over = HandedOver(self._connection, run)
        self.issued = Issued(self._connection, clock)
        self._next_id, self._tip = last_used(self._connection, run)
        self._first_id = self._next_id
        #: What the next transaction writes: units that the file does not know, units that have changed, facts.
        self._begun: set[int] = set()
        self._dirty: set[int] = set()
        self._facts: dict[str, str] = {}

    def begin(self, name: str, fingerprint: str, alone: bool = False, after: tuple[int, int] = (0, 0),
              instead_of: Sequence[tuple[Unit, bool]] = ()) -> Unit:
        """Return the unit to read under this name: the unfinished one of the same content, or a new one.

        ``alone``: a new one is a partition of its own. One that was begun stays in the partition that it began in.
        ``after``: so many bytes and lines of a new one were loaded as another unit, so it begins behind them.
        ``instead_of``: the units that a new one takes the place of, and whether they have the same content.

        A unit that this very run has finished is returned as it is: a restarted reader is given everything again,
        and must not load again what only its predecessor knew to be loaded.
        """
        for unit in self._at_hand.of_name(name):
            if unit.fingerprint == fingerprint and unit.status != HANDED_OVER:
                return unit
        row = self._connection.execute(
            f"SELECT partition, {COLUMNS} FROM units WHERE name=? AND fingerprint=? "
            f"AND (status IN ('reading', 'loaded') OR (run=? AND status<>'{HANDED_OVER}')) ORDER BY id DESC LIMIT 1",
            (name, fingerprint, self._run)).fetchone()
        if row is None or self._is_handed_over(row[1]):
            return self.given.begun(self._new(name, fingerprint, "reading", "", alone, after), instead_of, after[0])
        unit = unit_of(row[1:])
        before = [] if is_alone(row[0]) else self._left_behind(row[0], unit)
        broken = [other for other in before if self.is_broken(other.name)]
        if broken:
            return self._new(name, "", "broken", f"waits for {broken[0].name}, which was begun before it")
        for other in before:  # nobody gives it any more
            other.status = "abandoned"
            self._take_up(other, row[0])
        self._take_up(unit, row[0])
        self.issued.recall(unit)
        return unit

    def boundaries(self, unit: Unit) -> list[tuple[int, int]]:
        """Ranges issued beyond ``unit.low`` and not committed, in order."""
        if unit.id in self._begun and unit.id >= self._first_id:
            return []  # it is new
        ranges = self._connection.execute(
            'SELECT start, "end" FROM issued WHERE unit=? AND start>=? ORDER BY start', (unit.id, unit.low)).fetchall()
        self._at_hand.was_issued(unit.id, ranges)
        return ranges

    def is_repeated(self, chunk: Chunk) -> bool:
        """Whether a chunk is one of the ``boundaries`` that its source was given."""
        return self._at_hand.is_repeated(chunk.unit, chunk.start)

    def end(self, unit: Unit, position: int) -> None:
        """The unit was read to its end, which is at ``position``."""
        unit.end = position
        self._touch(unit)
        self._passed(unit.id, position)

    def damaged(self, unit: Unit, why: str, prefix: str) -> None:
        """This unit is not whole, so it fails; ``prefix`` says how far it was read, for ``not_whole``."""
        unit.damage, unit.prefix = why, prefix
        self._touch(unit)

    def noted(self, unit: Unit, text: str) -> None:
        """The report says this of the unit, besides all else."""
        unit.note = f"{unit.note}; {text}" if unit.note and text not in unit.note else text
        self._touch(unit)

    def not_whole(self, name: str) -> Unit | None:
        """The unit that was read under this name last, if it was not whole."""
        row = self._connection.execute(
            f"SELECT {COLUMNS} FROM units WHERE name=? AND status NOT IN ('reading', 'abandoned', 'broken') "
            "ORDER BY id DESC LIMIT 1", (name,)).fetchone()
        unit = None if row is None else unit_of(row)
        return unit if unit is not None and unit.damage else None

    def broken(self, name: str, problem: str) -> None:
        """This unit cannot be read (or put away): the report says so, and the exit code is 1."""
        for unit in self._at_hand.of_name(name):
            unit.problem = problem
            self._dirty.add(unit.id)
            self._at_hand.stuck.add(unit.id)
            return
        if not self.is_broken(name):
            self._new(name, "", "broken", problem)

    def is_stuck(self, unit: Unit) -> bool:
        """Whether the source has said that it cannot read on, or put away, this unit."""
        return unit.id in self._at_hand.stuck

    def loaded_before(self) -> list[Unit]:
        """Units that an earlier run has loaded and not seen put away: it ended in between."""
        found = units_where(self._connection, "status='loaded' AND run<>? AND run NOT LIKE 'retry-%'", self._run)
        return [unit for unit in found if unit.id not in self._at_hand.units]

    def recall_loaded(self) -> None:
        """Take up the units that an earlier reader of this run has loaded, and may have put away, when it died."""
        for row in self._connection.execute(
                f"SELECT partition, {COLUMNS} FROM units WHERE status='loaded' AND run=? ORDER BY id", (self._run,)):
            self._take_up(unit_of(row[1:]), row[0])

    def put_away(self, units: Sequence[Unit]) -> None:
        """Units of an earlier run are put away at last; they stay that run's."""
        with transaction(self._connection) as connection:
            connection.executemany("UPDATE units SET status='done' WHERE id=?", [(unit.id,) for unit in units])

    def partition(self, unit: int) -> str:
        """The partition that a unit of this run belongs to."""
        return self._at_hand.partitions[unit]

    def is_alone(self, unit: int) -> bool:
        """Whether a unit of this run is a partition of its own."""
        return is_alone(self._at_hand.partitions[unit])

    def taken_up(self) -> list[Unit]:
        """The units of this run that are not finished or not put away, in the order of input."""
        return [unit for unit in self._at_hand.units.values() if unit.status in ("reading", "loaded")]

    def take_closed(self) -> list[Unit]:
        """Take out the units all of which is closed, those that share a partition in their order."""
        return self._at_hand.take_closed()

    @property
    def state_id(self) -> str:
        """What tells this state directory from all others; durable with the next ``flush`` or ``commit``."""
        known = self.fact("state id")
        if known is None:
            known = uuid.uuid4().hex
            self.keep("state id", known)
        return known

    def fact(self, name: str) -> str | None:
        """What was kept under this name, by any run."""
        row = self._connection.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
        return self._facts.get(name, None if row is None else row[0])

    def keep(self, name: str, value: str) -> None:
        """Keep a fact; durable with the next ``flush`` or ``commit``."""
        self._facts[name] = value

    def has_changes(self) -> bool:
        """Whether anything waits for a commit."""
        return bool(self._dirty)

    def is_flushed(self) -> bool:
        """Whether all boundaries that were recorded are durable."""
        return not (self.issued.has_changes or self._facts)

    def issue(self, chunk: Chunk) -> Decided:
        """Record the range of a chunk; call ``flush`` before anything can come of it. Return what is decided of it."""
        self._passed(chunk.unit, chunk.end)
        return self.issued.issue(chunk)

    def close(self, chunk: Chunk, counts: Counts) -> None:
        """All up to the end of this chunk is durable; these are its outcomes. Call in order."""
        unit = self._at_hand.units[chunk.unit]
        unit.low = chunk.end
        unit.prefix = chunk.prefix or unit.prefix
        unit.lines += chunk.data.count(b"\n") if chunk.lines < 0 else chunk.lines
        if chunk.fault and chunk.fault not in REASONS and not unit.problem:
            unit.problem = chunk.detail or chunk.fault
        if chunk.fault == SOURCE_LOST:
            unit.damage = unit.damage or chunk.detail or chunk.fault
        merge(unit.counts, counts)
        self._dirty.add(unit.id)

    def hand_over(self, unit: Unit, end: int, records: int, is_lost: bool) -> None:
        """Another run goes on with this unit: it was read up to ``end``, and ``records`` of that are void.

        ``is_lost``: nothing more of it is committed; what was closed since the last commit is void as well.
        """
        records += self.handed_over.undo(unit) if is_lost else 0
        if records:
            merge(unit.counts, {"read": records, HANDED_OVER: records})
        unit.end = max(end, unit.low)
        self.settle(unit, HANDED_OVER)

    def settle(self, unit: Unit, status: str) -> None:
        """Give a unit its new status; durable with the next ``commit``."""
        unit.status = status
        self._touch(unit)

    def commit(self) -> None:
        """Make all that was said durable, in one transaction.

        Raises:
            sqlite3.OperationalError: the disk is full; nothing is lost, call again.
        """
        self._write(self._begun | self._dirty)
        self._dirty.clear()
        self._at_hand.forget_what_is_over()
        self.issued.forget_what_is_committed(self._at_hand.units)

    def flush(self) -> None:
        """Make the recorded boundaries durable, before the first message about them leaves.

        Raises:
            sqlite3.OperationalError: the disk is full; nothing is lost, call again.
        """
        self._write(self._begun)

    def close_file(self) -> None:
        """Commit and close."""
        self.commit()
        self._connection.close()

    def _write(self, changed: set[int]) -> None:
        """Write the rows of these units, and the recorded ranges, in one transaction."""
        if not (changed or self._facts or self.issued.has_changes):
            return
        units = [self._at_hand.units[key] for key in changed]
        with transaction(self._connection) as connection:
            connection.executemany(SAVE, [
                row_of(self._run, self._at_hand.partitions[unit.id], unit) for unit in units])
            self.issued.write(connection, units)
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(self._facts.items()))
            self.given.write(connection)
            self.handed_over.write(connection)
        self._begun.clear()
        self._facts.clear()
        self.issued.written()
        self.given.written()
        self.handed_over.written()

    def _new(self, name: str, fingerprint: str, status: str, problem: str, alone: bool = False,
             after: tuple[int, int] = (0, 0)) -> Unit:
        key, self._next_id = self._next_id, self._next_id + 1
        low = after[0] if alone else self._tip
        unit = Unit(key, name, fingerprint, low - after[0], low, after[1], None, status, {}, problem)
        self._take_up(unit, f"{self._run}/{key}" if alone else self._run)
        return unit

    def _touch(self, unit: Unit) -> None:
        """This unit has changed. One that was over, and is known to its source still, is this run's again."""
        if unit.id in self._at_hand.units:
            self._at_hand.changed(unit)
        else:
            self._at_hand.add(unit, self._partition_of(unit))
            self.issued.recall(unit)
        self._dirty.add(unit.id)

    def _partition_of(self, unit: Unit) -> str:
        (partition,) = self._connection.execute("SELECT partition FROM units WHERE id=?", (unit.id,)).fetchone()
        return str(partition)

    def _is_handed_over(self, key: int) -> bool:
        """Whether a unit is handed over, and its file does not say so yet."""
        return key in self._at_hand.units and self._at_hand.units[key].status == HANDED_OVER

    def _take_up(self, unit: Unit, partition: str) -> None:
        """From here on this unit is one of this run's."""
        self._at_hand.add(unit, partition)
        self._begun.add(unit.id)

    def _passed(self, unit: int, position: int) -> None:
        """What lies below this position in a unit's partition is given out."""
        if self._at_hand.partitions[unit] == self._run:
            self._tip = max(self._tip, position)

    def _left_behind(self, partition: str, unit: Unit) -> list[Unit]:
        """Unfinished units that lie before this one in its partition, and are not this run's (so far)."""
        found = units_where(self._connection, "partition=? AND id<? AND status='reading'", partition, unit.id)
        return [other for other in found if other.id not in self._at_hand.units]

    def is_broken(self, name: str) -> bool:
        """Whether this run could not read a unit of this name."""
        if any(unit.status == "broken" for unit in self._at_hand.of_name(name)):
            return True
        return self._connection.execute("SELECT 1 FROM units WHERE run=? AND name=? AND status='broken'",
                                        (self._run, name)).fetchone() is not None

    def known(self, kind: str) -> list[Unit]:
        """All units, of all runs and finished or not, whose fingerprint begins with ``kind``, in order."""
        found = units_where(self._connection, "substr(fingerprint, 1, ?)=? AND status NOT IN ('abandoned', 'broken', "
                            "'replaced') AND id NOT IN (SELECT unit FROM replaced)", len(kind), kind)
        return [self._at_hand.units.get(unit.id, unit) for unit in found]

    def unfinished(self, folder: str) -> list[Unit]:
        """All units, of all runs, that are being read, and whose name begins so, in order."""
        found = units_where(self._connection, "status='reading' AND substr(name, 1, ?)=?", len(folder), folder)
        return [self._at_hand.units.get(unit.id, unit) for unit in found]

    def resume(self, unit: Unit, name: str, fingerprint: str) -> None:
        """Read on this unit, finished or not; it is called so, and known by this, from here on."""
        if unit.id not in self._at_hand.units:
            self._take_up(unit, self._partition_of(unit))
            self.issued.recall(unit)
        unit.status, unit.end = "reading", None
        self._at_hand.changed(unit)
        self._at_hand.stuck.discard(unit.id)
        self.renamed(unit, name, fingerprint)

    def renamed(self, unit: Unit, name: str, fingerprint: str) -> None:
        """A unit that is being read is called so from here on, and known by this."""
        unit.name, unit.fingerprint = name, fingerprint
        self._at_hand.named(unit)
        self._dirty.add(unit.id)
