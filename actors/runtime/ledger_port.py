"""The port of the reader's ledger: what a source asks, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.runtime.given_again_port import GivenAgain
from actors.runtime.values import Unit


class UnitLedger(Protocol):
    """What a source may ask of the reader's ledger.

    Example::

        def open_unit(ledger: UnitLedger, name: str) -> Unit:
            return ledger.begin(name, f"name {name}")  # the unfinished one of this content, or a new one
    """

    @property
    def given(self) -> GivenAgain:
        """What it knows of content that is given again."""
        ...

    @property
    def state_id(self) -> str:
        """What tells this state directory from all others, for ever: beside a position that is kept elsewhere it says
        that this ledger knows better."""
        ...

    def begin(self, name: str, fingerprint: str, alone: bool = False, after: tuple[int, int] = (0, 0),
              instead_of: Sequence[tuple[Unit, bool]] = ()) -> Unit:
        """Return the unit to read under this name: the unfinished one of the same content, or a new one. One that was
        handed over is not gone on with: when it comes back it is a new one.

        ``alone``: it is a partition of its own (``base`` is 0), in no order among the others. ``after``: so many bytes
        and lines of it were loaded as another unit, or by another run, so a new one begins behind them (``low`` is
        ``base`` and that).
        ``instead_of``: the earlier units that a new one takes the place of, and whether they have the same content:
        when it is over, their letters go (or, of another content, are marked as replaced).
        """
        ...

    def damaged(self, unit: Unit, why: str, prefix: str) -> None:
        """This unit is not whole: it fails, whatever its error rate. ``prefix``: how far it was read, and a digest of
        that, for the one that is given in its place."""
        ...

    def noted(self, unit: Unit, text: str) -> None:
        """The report says this of the unit, besides all else."""
        ...

    def not_whole(self, name: str) -> Unit | None:
        """The unit that was read under this name last, if that was not whole; its ``prefix`` is as it was given."""
        ...

    def boundaries(self, unit: Unit) -> list[tuple[int, int]]:
        """Ranges issued beyond ``unit.low`` and not committed, in order: they must be cut the same again."""
        ...

    def known(self, kind: str) -> list[Unit]:
        """All units, of all runs and finished or not, whose fingerprint begins with ``kind``, in order."""
        ...

    def unfinished(self, folder: str) -> list[Unit]:
        """All units, of all runs, that are not read to their end or not all durable, and whose name begins so."""
        ...

    def resume(self, unit: Unit, name: str, fingerprint: str) -> None:
        """Read on this unit, which ``begin`` or ``known`` gave, finished or not; it is called so, and known by this."""
        ...

    def renamed(self, unit: Unit, name: str, fingerprint: str) -> None:
        """A unit that is being read is called so from here on, and known by this."""
        ...

    def end(self, unit: Unit, position: int) -> None:
        """The unit was read to its end, which is at ``position``."""
        ...

    def broken(self, name: str, problem: str) -> None:
        """This unit cannot be read at all; it is in the report and the run's exit code is 1."""
        ...
