"""Before a run: do the files of a state directory belong together?

    sinks  ≥  shards  ≥  positions

A position is committed only when every shard has what lies below it on its disk, and a shard sends only what is on its
own. So positions that are ahead of a shard, or a sink that is ahead of the shard whose rows it holds, are of no run: a
file was restored from another moment, removed, or lost by a disk that does not keep what it says it keeps. To go on
would leave out records without a word, or take new rows for repetitions. Nobody can tell what is missing, so it is
refused.

A shard without any position is that of a pipeline which did not fold before, unless something is half read. What is
in order is forgotten where it is over (``forgetting``), and both sides know up to where.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from actors.runtime.database import open_for_reading
from actors.runtime.errors import ConfigError
from actors.runtime.forgetting import Forgotten, UpTo, forget_what_is_over, forgotten_in_ledger, forgotten_in_shard
from actors.runtime.manifest import Manifest
from actors.runtime.topology import process_name
from actors.runtime.units import LEDGER

#: What the files of shards are called, whatever they keep.
_KINDS = ("aggregator", "windows", "distinct")
_OUTBOX = re.compile(r"(?P<shard>aggregator\.\d+)@(?P<identity>\w+)")


class Partition(NamedTuple):
    """What the ledger says of a partition: where it begins, up to where it is committed, and whether that is all.

    ``last``: the number of its last unit.
    """

    base: int
    low: int
    is_over: bool
    is_latest: bool
    last: int = 1 << 62


def require_agreement(manifest: Manifest) -> None:
    """Make sure that positions, shards and sinks are of one moment; forget what is over.

    Raises:
        ConfigError: they are not; says which file is behind, and what to do.
    """
    state = Path(manifest.state)
    if manifest.dry or manifest.query or not manifest.folds:
        return
    try:
        partitions, forgotten = committed_in(state / LEDGER), _forgotten(state / LEDGER)
        shards = {number: _shard(state, number) for number in range(1, manifest.aggregator.shards + 1)}
        emitted = {name: outbox for path in shards.values() if path for name, outbox in _outbox(path).items()}
        for number, path in shards.items():
            applied, up_to = _applied(path) if path else ({}, UpTo())
            behind = what_is_behind(partitions, applied, up_to.unit)
            if not behind and not forgotten.least <= up_to.times <= forgotten.most:
                behind = f"forgotten what is over {up_to.times} times, and by {LEDGER} {forgotten.least} times"
            if behind:
                raise ConfigError(_refusal(path or state / f"aggregator.{number}.db", behind))
    except sqlite3.Error:
        return  # who opens it says what is wrong with it
    if not (state / LEDGER).exists():
        return
    for sink in manifest.emit_sinks:
        for name, position in manifest.sinks[sink].load().positions(sink, state).items():
            known = _OUTBOX.fullmatch(name)
            shard = known and emitted.get(known["shard"])
            if known and shard and shard[0] == known["identity"] and position > shard[1]:
                raise ConfigError(
                    f"sink {sink} has {position} groups of rows of {known['shard']}, whose state knows of {shard[1]}: "
                    f"{_WHAT_TO_DO}")
    forget_what_is_over(state, [path for path in shards.values() if path])


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


def _outbox(shard: Path) -> dict[str, tuple[str, int]]:
    """By shard: the identity of what it emits, and the next number."""
    with closing(open_for_reading(shard)) as connection:
        try:
            row = connection.execute("SELECT identity, next FROM outbox_meta").fetchone()
        except sqlite3.OperationalError:  # it emits nothing
            return {}
    return {process_name("aggregator", int(shard.name.split(".")[1])): row} if row else {}
