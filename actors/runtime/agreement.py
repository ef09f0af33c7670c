"""Before a run: do the files of a state directory belong together?

    sinks  ≥  shards  ≥  positions

A position is committed only when every shard has what lies below it on its disk, a shard sends only what is on its own,
and a range is recorded before anybody is given it. So positions that are ahead of a shard, a sink that is ahead of the
shard whose rows it holds, or a shard or sink with more of a partition than was ever recorded, are of no run: a
file was restored from another moment, removed, or lost by a disk that does not keep what it says it keeps. To go on
would leave out records without a word, or take new rows for repetitions. Nobody can tell what is missing, so it is
refused.

A shard without any position is that of a pipeline which did not fold before, unless something is half read. What is
in order is forgotten where it is over (``forgetting``), and both sides know up to where.

A sink that cannot be asked before the run (its server is down) is asked by its writer, before the first write of the
run: later it could not be told what the run itself has added.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from actors.runtime.database import open_for_reading
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.forgetting import Forgotten, UpTo, forget_what_is_over, forgotten_in_ledger, forgotten_in_shard
from actors.runtime.half_read import require_same_framing
from actors.runtime.manifest import Manifest
from actors.runtime.outbox import partition_of
from actors.runtime.ports import GatheringSink, Sink, SinkOptions
from actors.runtime.topology import process_name
from actors.runtime.units import LEDGER
from actors.runtime.values import Payload, Refusal

#: What the files of shards are called, whatever they keep.
_KINDS = ("aggregator", "windows", "distinct")


class Partition(NamedTuple):
    """What the ledger says of a partition: where it begins, up to where it is committed, and whether that is all.

    ``last``: the number of its last unit.
    """

    base: int
    low: int
    is_over: bool
    is_latest: bool
    last: int = 1 << 62


def require_agreement(manifest: Manifest) -> Manifest:
    """Make sure that positions, shards and sinks are of one moment; forget what is over; return the manifest, with
    which sinks have yet to be asked.

    Raises:
        ConfigError: they are not; says which file is behind, and what to do. Or what is half read was begun with
            another framing.
    """
    state = Path(manifest.state)
    if manifest.dry or manifest.query:
        return manifest
    require_same_framing(manifest)
    try:
        if (state / LEDGER).exists():
            _require_recorded(manifest, state)
        if not manifest.folds:
            return manifest
        partitions, forgotten = committed_in(state / LEDGER), _forgotten(state / LEDGER)
        shards = {number: _shard(state, number) for number in range(1, manifest.aggregator.shards + 1)}
        emitted = {name: known for path in shards.values() if path for name, known in _outbox(path).items()}
        for number, path in shards.items():
            applied, up_to = _applied(path) if path else ({}, UpTo())
            behind = what_is_behind(partitions, applied, up_to.unit)
            if not behind and not forgotten.least <= up_to.times <= forgotten.most:
                behind = f"forgotten what is over {up_to.times} times, and by {LEDGER} {forgotten.least} times"
            if behind:
                raise ConfigError(_refusal(path or state / f"aggregator.{number}.db", behind))
    except sqlite3.Error:
        return manifest  # who opens it says what is wrong with it
    if not (state / LEDGER).exists():
        return manifest
    unasked: dict[str, dict[str, int]] = {}
    for sink in manifest.emit_sinks if emitted else ():
        try:
            require_not_ahead(sink, manifest.sinks[sink].load(), state, emitted)
        except Retryable:
            unasked[sink] = emitted
    forget_what_is_over(state, [path for path in shards.values() if path])
    return msgspec.structs.replace(manifest, unasked=unasked) if unasked else manifest


def _require_recorded(manifest: Manifest, state: Path) -> None:
    """Make sure that nobody has more than the ledger knows to have been given out."""
    recorded = recorded_in(state / LEDGER)
    held = {str(path): _applied(path)[0] for number in range(1, manifest.aggregator.shards + 1)
            if manifest.folds and (path := _shard(state, number))}
    for name, component in manifest.sinks.items():
        options = component.load()
        if name not in manifest.emit_sinks and (place := options.place(name, state)):  # what is a file costs little
            with contextlib.suppress(Retryable):
                held[str(place)] = options.positions(name, state)
    for holder, positions in held.items():
        for partition, position in positions.items():
            if position > recorded.get(partition, position):
                raise ConfigError(f"{holder} has {position} bytes of what was read as {partition}, of which {LEDGER} "
                                  f"knows {recorded[partition]}: {_WHAT_TO_DO}")


def recorded_in(ledger: Path) -> dict[str, int]:
    """Up to where a ledger knows that each partition was given out."""
    with closing(open_for_reading(ledger)) as connection:
        return dict(connection.execute(
            'SELECT partition, max(max(low, coalesce("end", 0), coalesce(most, 0))) FROM units LEFT JOIN '
            '(SELECT unit, max("end") AS most FROM issued GROUP BY unit) ON unit=id GROUP BY partition'))


def require_not_ahead(name: str, options: SinkOptions, state: Path, emitted: Mapping[str, int]) -> None:
    """Make sure that a sink has no more of what its shards emit than they know of.

    Raises:
        ConfigError: it has.
        Retryable: it cannot be asked now.
    """
    for outbox, position in options.positions(name, state).items():
        known = emitted.get(outbox, position)
        if position > known:
            raise ConfigError(f"sink {name} has {position} groups of rows of {outbox.partition('@')[0]}, whose state "
                              f"knows of {known}: {_WHAT_TO_DO}")


def acknowledged_in(state: Path) -> dict[str, int]:
    """Up to where each partition is acknowledged by all, and committed: of what was read, and of what shards emit. A
    sink that is ``contiguous`` has all of it. Without any, a partition is not there.

    Raises:
        sqlite3.Error: a file cannot be read now.
    """
    found: dict[str, int] = {}
    if (state / LEDGER).exists():
        with closing(open_for_reading(state / LEDGER)) as connection:
            found |= dict(connection.execute(  # of a unit that begins behind another's end nothing is counted at first
                "SELECT partition, max(low) FROM units WHERE low>base AND counts<>'{}' AND status<>'broken' "
                "AND run NOT LIKE 'retry-%' GROUP BY partition"))
    for shard in (path for kind in _KINDS for path in state.glob(f"{kind}.*.db")):
        for partition, position in _outbox(shard, "(SELECT coalesce(min(seq), next) FROM outbox)").items():
            found[partition] = position
    return found


class Unasked(GatheringSink):
    """A sink that could not be asked before the run: it is, before its first write.

    Args:
        sink: the opened sink.
        ask: makes sure that it is not ahead of its shards.
        mark: a file of this run, which says to the next generation of this writer that it was asked.
    """

    def __init__(self, sink: Sink, ask: Callable[[], None], mark: Path) -> None:
        self._sink = sink
        self._ask = ask
        self._mark = mark
        self._is_asked = mark.exists()

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Ask, once; then write."""
        if not self._is_asked:
            self._ask()
            self._mark.touch()
            self._is_asked = True
        return self._sink.write(payloads)

    def tick(self) -> float | None:
        """As the sink does: what it has gathered is in it already."""
        return self._sink.tick() if isinstance(self._sink, GatheringSink) else None

    def end(self) -> None:
        """As the sink does."""
        if isinstance(self._sink, GatheringSink):
            self._sink.end()

    def close(self) -> None:
        """Close it."""
        self._sink.close()


def what_is_behind(partitions: Mapping[str, Partition], applied: Mapping[str, int], forgotten: int = 0) -> str:
    """What the ledger has committed and a shard has not applied; empty when there is nothing.

    ``forgotten``: of units up to this number the shard need not know any more.
    """
    for name, partition in partitions.items():
        if partition.low <= partition.base:
            continue
        known = applied.get(name)
        is_due = partition.last > forgotten and (
            not partition.is_over or (partition.is_latest and (applied or forgotten)))
        if known is None and is_due:
            return f"nothing of what was read as {name}, of which {LEDGER} says that {partition.low} bytes are done"
        if known is not None and known < partition.low:
            return f"{known} bytes of what was read as {name}, of which {LEDGER} says that {partition.low} are done"
    return ""


_WHAT_TO_DO = ("these files are not of one moment (one was restored, removed, or lost by its disk): put back those "
               "that belong together, or begin anew with --fresh or another --state")


def _refusal(path: Path, behind: str) -> str:
    return f"{path} has {behind}: {_WHAT_TO_DO}"


def _shard(state: Path, number: int) -> Path | None:
    paths = (state / f"{kind}.{number}.db" for kind in _KINDS)
    return next((path for path in paths if path.exists()), None)


def committed_in(ledger: Path) -> dict[str, Partition]:
    """What a ledger has committed, by partition; nothing when there is none."""
    if not ledger.exists():
        return {}
    with closing(open_for_reading(ledger)) as connection:
        latest = connection.execute(
            "SELECT run FROM units WHERE run NOT LIKE 'retry-%' ORDER BY id DESC LIMIT 1").fetchone()
        # Units are committed in order: what lies behind the first that is not over only begins there.
        rows = connection.execute(
            "SELECT partition, max(0, min(base)), min(CASE WHEN status='reading' THEN low END), max(low), max(run), "
            "max(id) FROM units WHERE status<>'broken' AND run NOT LIKE 'retry-%' GROUP BY partition")
        return {name: Partition(base, last if first is None else first, first is None,
                                latest is not None and run == latest[0], number)
                for name, base, first, last, run, number in rows}


def _forgotten(ledger: Path) -> Forgotten:
    if not ledger.exists():
        return Forgotten()
    with closing(open_for_reading(ledger)) as connection:
        return forgotten_in_ledger(connection)


def _applied(shard: Path) -> tuple[dict[str, int], UpTo]:
    """The positions that a shard knows, and what it has forgotten."""
    with closing(open_for_reading(shard)) as connection:
        return dict(connection.execute("SELECT partition, position FROM applied")), forgotten_in_shard(connection)


def _outbox(shard: Path, which: str = "next") -> dict[str, int]:
    """The next number that a shard emits, or another, by the partition that it emits as."""
    with closing(open_for_reading(shard)) as connection:
        try:
            row = connection.execute(f"SELECT identity, {which} FROM outbox_meta").fetchone()
        except sqlite3.OperationalError:  # it emits nothing
            return {}
    return {partition_of(process_name("aggregator", int(shard.name.split(".")[1])), row[0]): row[1]} if row else {}
