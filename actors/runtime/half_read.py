"""A unit that is half read goes on with the framing that it was begun with; another one is refused before the run.

A range that was issued is cut again when it is delivered again, so under another framing it would be another number of
records: what was counted of the others of its batch, and what its sinks have taken, would not add up with it. And a
file of which one half is rows and the other half is lines is nothing that anybody asks for. So the ledger keeps what
records were (``CUT_AS``), with the first range of a run. Once nothing is half read, the framing may change.

What is followed is never read to its end: there only what was issued and is not committed counts as half read, which
a run that drains leaves none of. A ledger that does not know (of version 0.1.0) has read lines.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from actors.runtime.database import open_for_reading
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import Manifest
from actors.runtime.ports import SourceOptions
from actors.runtime.units import LEDGER, read_fact

#: The fact that says what a record was when the ledger was written last.
CUT_AS = "records are cut by"
_OLD: dict[str, object] = {"framing": "lines"}
_ISSUED = 'EXISTS (SELECT 1 FROM issued WHERE unit=id AND "end">low)'


def fact_of(options: SourceOptions) -> str:
    """What is kept as ``CUT_AS``; empty: this source's records are what they are."""
    cut_by = options.cut_by()
    return msgspec.json.encode(cut_by, order="sorted").decode() if cut_by else ""


def require_same_framing(manifest: Manifest) -> None:
    """Make sure that what is half read is gone on with as it was begun.

    Raises:
        ConfigError: it is not; says what is half read, and what to do.
    """
    options = manifest.source.load()
    wanted, ledger = options.cut_by(), Path(manifest.state) / LEDGER
    if manifest.is_retry or not wanted or not ledger.exists():
        return
    kept = read_fact(ledger, CUT_AS)
    begun = _OLD if kept is None else msgspec.json.decode(kept, type=dict[str, object])
    if begun == wanted or (kept is None and wanted["framing"] == begun["framing"]):
        return
    if name := _half_read(ledger, options.follows and bool(manifest.source.values.get("follow"))):
        raise ConfigError(
            f"source: {name} is read in part with {_said(begun)}, and cannot go on with {_said(wanted)}: finish it "
            "with what it was begun with, and change the framing then, or begin anew with --fresh or another --state")


def _half_read(ledger: Path, is_followed: bool) -> str:
    """The first unit that is half read and still there to be gone on with; empty: none."""
    try:
        with closing(open_for_reading(ledger)) as connection:
            names = connection.execute(
                "SELECT name FROM units WHERE status='reading' AND run NOT LIKE 'retry-%' AND "
                f"({_ISSUED}{'' if is_followed else ' OR low>base'}) ORDER BY id")
            return next((name for (name,) in names if os.path.exists(name)), "")
    except sqlite3.Error:
        return ""  # who opens it says what is wrong with it


def _said(cut_by: dict[str, object]) -> str:
    return ", ".join(f"source.{name} = {msgspec.json.encode(value).decode()}" for name, value in cut_by.items())
