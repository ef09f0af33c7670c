"""Whether Redis still has what was acknowledged: its positions beside those of this state directory.

    Redis      thresher_applied:ID/NAME      partition ─ up to where its batches are there
    ledger     positions.db                  partition ─ up to where all is acknowledged and committed
    shards     aggregator.N.db               the same, of what they emit
    STATE/NAME.redis                         ID, and up to where each partition was when this sink was first given any

The sink is given every range, so its positions are never behind those of the state: when they are, the server has lost
something. What lies above the state's position is held by its origin, and is given again to the next writer; what lies
below is held by nobody.

    Redis has       110 ────┐
    ledger  100 ────────────┼──────────▶  given again from 100 on, of which Redis leaves out what it has
    ledger                  └── 140 ───▶  lost: 110 to 140

``STATE/NAME.redis`` tells the sinks of one state directory from those of all others, and a sink that begins in the
middle of a run, which has nothing of what was before it, from one whose server was emptied. It says, too, of which kind
the partitions are that this sink is given: what was read, or what shards emit; it is never given the others.

What does not work: to remember in the writer what was acknowledged (its next generation, and the next run, know
nothing of it); positions of the batches with items alone (a sink that was given nothing lately looks like one that has
lost it).
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from actors.runtime.agreement import acknowledged_in
from actors.runtime.disk import make_folder, sync_folder
from actors.runtime.errors import ConfigError, Lost, Retryable, plain_reason
from actors.sinks.redis_index import RESERVED

EMITTED, _READ = "emitted", "read"
#: What a shard emits is called so.
_OUTBOX = re.compile(r"aggregator\.\d+@")
_SHOWN = 3


class Owner(msgspec.Struct, frozen=True):
    """A sink of one state directory.

    Attributes:
        id: what tells it from all others.
        kinds: of the partitions that it is given.
        since: by partition, up to where it was acknowledged when this sink was first given one of its kind.
    """

    id: str
    kinds: tuple[str, ...] = ()
    since: dict[str, int] = {}


def marker_of(name: str, state: Path) -> Path:
    """The file that says since when there is this sink."""
    return state / f"{name}.redis"


def known_owner(name: str, state: Path) -> Owner | None:
    """Return the owner of a sink; None: it has never been opened.

    Raises:
        Retryable: its file cannot be read now.
        ConfigError: it is none.
    """
    path = marker_of(name, state)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Owner)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Retryable(f"{path}: {plain_reason(error)}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}: put back the file as it was; without it nobody knows what this state has "
                          "written") from error


def owner_of(name: str, state: Path) -> Owner:
    """Return the owner of a sink, which is made when there is none; it is on the disk when this returns.

    Raises:
        Retryable: its file cannot be read or written now.
        ConfigError: what is there is none.
    """
    if known := known_owner(name, state):
        return known
    return _keep(Owner(secrets.token_hex(8)), name, state)


def kind_of(partition: str) -> str:
    """Of which kind a partition is."""
    return EMITTED if _OUTBOX.match(partition) else _READ


def given(owner: Owner, kinds: Iterable[str], name: str, state: Path) -> Owner:
    """Return the owner of a sink that is about to write partitions of these kinds; on the disk when this returns.

    Raises:
        Retryable: its file cannot be written now, or the state not be read.
    """
    new = set(kinds) - set(owner.kinds)
    if not new:
        return owner
    since = {partition: position for partition, position in _acknowledged(state).items() if kind_of(partition) in new}
    return _keep(Owner(owner.id, (*owner.kinds, *sorted(new)), {**owner.since, **since}), name, state)


def _keep(owner: Owner, name: str, state: Path) -> Owner:
    path = marker_of(name, state)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        make_folder(state)
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(owner) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        sync_folder(state)
    except OSError as error:
        raise Retryable(f"{path}: {plain_reason(error)}") from error
    return owner


def applied_key(owner: Owner, name: str) -> bytes:
    """The hash with the positions of a sink."""
    return RESERVED + f"applied:{owner.id}/{name}".encode()


def refused_key(owner: Owner, name: str) -> bytes:
    """The hash with what was refused of its batches."""
    return RESERVED + f"refused:{owner.id}/{name}".encode()


def require_kept(name: str, state: Path, where: str, applied: Mapping[str, int], owner: Owner) -> None:
    """Make sure that Redis has all that this state directory has acknowledged.

    Args:
        name: of the sink.
        state: the state directory.
        where: the server, for people.
        applied: the positions that it has.
        owner: of the sink.

    Raises:
        Lost: it has not; says what is missing.
        Retryable: the state cannot be read now.
    """
    acknowledged = _acknowledged(state) if owner.kinds else {}
    missing = [(partition, applied.get(partition), position) for partition, position in acknowledged.items()
               if kind_of(partition) in owner.kinds
               and position > max(applied.get(partition, 0), owner.since.get(partition, 0))]
    if missing:
        raise lost(name, state, where, missing)


def lost(name: str, state: Path, where: str, missing: list[tuple[str, int | None, int]]) -> Lost:
    """What to raise when these are missing: of each partition what the server has, and what was acknowledged."""
    ranges = "; ".join(f"{0 if has is None else has} to {position} of {partition}"
                       for partition, has, position in missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more partitions" if len(missing) > _SHOWN else ""
    return Lost(
        f"sinks.{name}: {where}: has lost what it had acknowledged, and nobody holds it any more: positions "
        f"{ranges}{more} (it was restarted from an older file, a replica that lagged became the master, or it was "
        "emptied): put back its data; or begin anew with --fresh or another --state; or, to go on without it, remove "
        f"{marker_of(name, state)}")


def _acknowledged(state: Path) -> dict[str, int]:
    try:
        return acknowledged_in(state)
    except sqlite3.Error as error:
        raise Retryable(f"{state}: positions cannot be read: {error}") from error
