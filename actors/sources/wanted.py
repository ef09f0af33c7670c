"""Which files a directory source is to read: what is asked of its options, and what follows from them."""

from __future__ import annotations

import importlib.util
from typing import Literal, Protocol

from actors.runtime.ports import UnitLedger
from actors.sources.glimpses import text_of
from actors.sources.listing import Listing
from actors.sources.watch import Watch


class Search(Protocol):
    """Which files, and for how long: what is asked of the options of the source, which say what each means."""

    @property
    def paths(self) -> list[str]: ...
    @property
    def pattern(self) -> str: ...
    @property
    def recursive(self) -> bool: ...
    @property
    def follow(self) -> bool: ...
    @property
    def idle_timeout_s(self) -> float: ...
    @property
    def poll_s(self) -> float: ...
    @property
    def again(self) -> Literal["load", "skip"]: ...


def listing_of(options: Search) -> Listing:
    """What is there now."""
    return Listing(options.paths, options.pattern, options.recursive)


def watch_for(options: Search) -> Watch | None:
    """The notices of the kernel; None: nothing that comes later is read, or what asks for them is not installed."""
    if not options.follow:
        return None
    return Watch(options.poll_s) if importlib.util.find_spec("watchfiles") else None


class Problems:
    """What is named and cannot be read, each told once.

    Args:
        ledger: is told.
        follow: what is missing may come later.
    """

    def __init__(self, ledger: UnitLedger, follow: bool) -> None:
        self._ledger = ledger
        self._follow = follow
        self._told: set[str] = set()

    def tell(self, listing: Listing) -> None:
        """Tell what is new in this look."""
        missing = [] if self._follow else listing.missing
        why_missing = "there is no such file or directory (check the name; it may have been moved or deleted)"
        for path, why in (*listing.problems.items(), *((path, why_missing) for path in missing)):
            if path not in self._told:
                self._told.add(path)
                self._ledger.broken(text_of(path), f"cannot read {text_of(path)}: {why}")
