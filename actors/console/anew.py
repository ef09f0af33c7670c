"""Beginning anew (``thresher run --fresh``): a state directory is emptied of what runs made, and of nothing else.

    lock ─▶ look at everything ─▶ mark ─▶ sinks, source, dead letters ─▶ journal ─▶ aggregates ─▶ positions ─▶ unmark

Half of it done would be worse than none of it: positions without their aggregates count too little, aggregates
without their positions count twice. So a mark is there while it goes on, and the next run finishes what was begun. What
has a name of ours and is not ours is an error before anything is touched.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import msgspec

from actors.console import history
from actors.runtime import deaths
from actors.runtime.database import remove_database, require_database
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.manifest import Component, Either, Manifest
from actors.runtime.rundir import RunDirectory
from actors.runtime.units import LEDGER
from actors.sources.journal import SEGMENT

MARK = "beginning-anew"
_SHARD = re.compile(r"(?:aggregator|windows|distinct)\.\d+\.db")
#: Where a source's journal is when it does not say.
_JOURNAL = "journal"
#: Tables that tell our databases from others of the same name.
_POSITIONS, _AGGREGATES = "units", "applied"


def is_half_done(state: Path) -> bool:
    """Whether a run that was to begin anew died before it had emptied the state directory."""
    return (state / MARK).exists()


def begin_anew(manifest: Manifest) -> None:
    """Empty the state directory, and what the sinks that can be emptied own.

    Raises:
        ConfigError: a run is going on; something has a name of ours and is not ours; something cannot be removed.
    """
    state = Path(manifest.state)
    with closing(RunDirectory(state)):
        aggregates = [path for path in sorted(state.iterdir()) if _SHARD.fullmatch(path.name)]
        require_database(state / LEDGER, _POSITIONS)
        for path in aggregates:
            require_database(path, _AGGREGATES)
        try:
            _empty(manifest, state, aggregates)
        except OSError as error:
            raise ConfigError(f"begin anew: {error.filename or state}: {plain_reason(error)}: expected to be able to "
                              "remove it: mend it and run again") from error


def _empty(manifest: Manifest, state: Path, aggregates: list[Path]) -> None:
    owners: dict[str, Component[Either]] = {
        **manifest.sinks, "source": manifest.source, "dead_letters": manifest.dead_letters}
    (state / MARK).touch(mode=0o600)
    begun = False
    for name, component in owners.items():
        try:
            begun = _clear(name, component, state) or begun
        except ConfigError:
            if not begun:  # nothing has been touched: it may still be gone on with
                (state / MARK).unlink()
            raise
    _remove_segments(state / (manifest.source.load().journal_folder() or _JOURNAL))
    for path in aggregates:
        remove_database(path)
    for name in (history.FILE, f"{history.FILE}.new"):
        (state / name).unlink(missing_ok=True)
    if _are_deaths(state / deaths.FILE):
        (state / deaths.FILE).unlink()
    remove_database(state / LEDGER)
    (state / MARK).unlink()


def _clear(name: str, component: Component[Either], state: Path) -> bool:
    """Empty what a sink or the source owns; say whether it can be emptied at all."""
    return component.load().clear(name, state)


def _remove_segments(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            if SEGMENT.fullmatch(path.name):
                path.unlink()


def _are_deaths(path: Path) -> bool:
    """Whether a file begins with a death record."""
    try:
        with path.open("rb") as file:
            msgspec.json.decode(file.readline(1 << 20), type=deaths.Death)
    except (OSError, msgspec.MsgspecError):
        return False
    return True
