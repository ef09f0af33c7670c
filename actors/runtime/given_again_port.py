"""The port of the ledger's knowledge of content that is given again: what a source asks, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.runtime.values import Unit


class GivenAgain(Protocol):
    """What a source may ask about content that is given again after an earlier run has finished it.

    Example::

        def is_new(given: GivenAgain, name: str, fingerprint: str) -> bool:
            return not any(unit.fingerprint == fingerprint for unit in given.earlier(name, fingerprint))
    """

    @property
    def doubles(self) -> str:
        """Why content counts twice that is loaded twice, as part of a sentence; empty: it does not."""
        ...

    def known_as(self, names: Sequence[str]) -> str:
        """Which of these names, all of one piece of input, it knows a unit by; the first, when it knows none."""
        ...

    def earlier(self, name: str, fingerprint: str) -> list[Unit]:
        """Units of this name that earlier runs have finished, the last one first; none when ``begin`` goes on with
        one that is not finished."""
        ...

    def is_of_earlier(self, unit: Unit) -> bool:
        """Whether it was an earlier run that has finished this unit."""
        ...

    def is_gone_on_with(self, unit: Unit) -> bool:
        """Whether this unit was finished by a run that did not come to its end, and that this run goes on with."""
        ...

    def skip(self, name: str) -> None:
        """This was finished before, and is not loaded again: the report says so."""
        ...

    def refuse(self, name: str, why: str) -> None:
        """This would count twice, so it is not loaded: the report says so, and the exit code is 4."""
        ...
