"""What a state directory knows to be in a table of another system, which can be dropped or put back behind its back.

    table   thresher_applied: a row for each partition, and one of this state, which counts its transactions
    state   NAME.applied: the same, as it was when the last transaction had been committed

The file is written behind the commit, so it never says more than there was: a table that has less has lost what was
acknowledged (it was dropped and made anew, a backup was put back, a replica that was behind has taken over). Nobody
can give that again, so it is told. The file is not waited for: after a power cut it may say less, or be none.

What does not work: to look for the rows of partitions alone (those of runs that are over may be deleted); the positions
of the reader (a sink has nothing of what was filtered, or went elsewhere).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import msgspec

from actors.runtime.errors import ConfigError

#: What the name of a state's own row begins with; no partition is called so.
MARK = "state "
#: ``changed`` of that row: it is not to be deleted with those that are old.
NEVER = 2**62
#: Partitions that are known by their positions: those that were written to last.
_MOST = 1024
_SHOWN = 3


class _Known(msgspec.Struct):
    where: str
    mark: str
    count: int = 0
    positions: dict[str, int] = {}


class Witness:
    """What is known of one table.

    Args:
        path: of the file.
        where: the table and its database; what is known of another one is none of this.
    """

    def __init__(self, path: Path, where: str) -> None:
        self._path = path
        self._where = where
        self._known = _read(path, where) or _Known(where, MARK + secrets.token_hex(8))

    @property
    def mark(self) -> str:
        """The partition whose position is the number of transactions."""
        return self._known.mark

    @property
    def has_written(self) -> bool:
        """Whether anything is known to be there."""
        return self._known.count > 0

    @property
    def partitions(self) -> set[str]:
        """What ``require`` is to be given the positions of, as far as they are there, when it is asked of all."""
        return {self._known.mark, *self._known.positions}

    def require(self, found: Mapping[str, int], partitions: set[str]) -> None:
        """Make sure that a table has of these partitions what was written of them.

        Raises:
            ConfigError: it has less; says what is missing.
        """
        known, less = self._known, found.get(self.mark, 0) < self._known.count
        lost = {name: position for name, position in known.positions.items()
                if found.get(name, -1) < position and (less or (name in partitions and name in found))}
        if not less and not lost:
            return
        ranges = [f"{name} up to {position}, got {f'up to {found[name]}' if name in found else 'nothing'}"
                  for name, position in islice(reversed(lost.items()), _SHOWN)]
        more = f" (and of {len(lost) - _SHOWN} more)" if len(lost) > _SHOWN else ""
        raise ConfigError(
            f"{self._where}: rows that were acknowledged are not there: expected {known.count} transactions of this "
            f"state in thresher_applied, got {found.get(self.mark, 0)}; expected {'; '.join(ranges) or 'no less'}"
            f"{more}: the database was dropped and made anew, or put back to an earlier moment: put back what is "
            f"missing, begin anew (--fresh), or remove {self._path} to go on without it")

    def wrote(self, count: int, news: Mapping[str, int]) -> None:
        """This was committed: so many transactions, and up to where partitions are."""
        positions = {name: position for name, position in self._known.positions.items() if name not in news}
        positions.update(news)
        for name in list(islice(positions, max(0, len(positions) - _MOST))):
            del positions[name]
        self._known.count, self._known.positions = count, positions
        unfinished = self._path.with_name(f"{self._path.name}.new")
        with contextlib.suppress(OSError):  # it says less then; what was committed stays so
            unfinished.write_bytes(msgspec.json.encode(self._known))
            unfinished.replace(self._path)


def witness_path(name: str, state: Path) -> Path:
    """Where a state directory keeps what it knows of the table of the sink called ``name``."""
    return state / f"{name}.applied"


def forget(name: str, state: Path) -> None:
    """A run begins anew: nothing is known any more."""
    witness_path(name, state).unlink(missing_ok=True)


def _read(path: Path, where: str) -> _Known | None:
    try:
        known = msgspec.json.decode(path.read_bytes(), type=_Known)
    except (OSError, msgspec.MsgspecError):
        return None
    return known if known.where == where else None
