"""Does content count twice that is loaded twice? And before a run: is there anything else in the input?"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from actors.runtime.database import open_for_reading
from actors.runtime.errors import ConfigError
from actors.runtime.given_again import Given
from actors.runtime.manifest import Component, Manifest
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import SinkOptions
from actors.runtime.units import LEDGER, STEPS


def why_twice(pipeline: Pipeline, sinks: Mapping[str, Component[SinkOptions]]) -> str:
    """Say why content counts twice that is loaded twice; empty: it does not."""
    if pipeline.fold is not None and "unit" not in pipeline.fold.keys:
        return f"what is folded by {', '.join(pipeline.fold.keys)} has no unit among its keys"
    for name, options in ((name, component.load()) for name, component in sinks.items()):
        if options.adds():
            return f"the sink {name} ({options.describe()}) has no key, so rows are only added"
    return ""


def require_new(manifest: Manifest) -> None:
    """Make sure that not all of the input was loaded before and would count twice.

    Raises:
        ConfigError: it was; says what to do.
    """
    path = Path(manifest.state) / LEDGER
    if manifest.dry or manifest.is_retry or not manifest.doubles or not path.exists():
        return
    try:
        with closing(open_for_reading(path, STEPS)) as connection:
            if connection.execute("SELECT 1 FROM units WHERE status = 'reading'").fetchone():
                return  # there is something to go on with
            why = manifest.source.load().all_given_again(
                Given(connection, manifest.run, manifest.doubles, lambda name, value: None))
    except sqlite3.Error:
        return  # who opens it says what is wrong with it, or brings it forward
    if why:
        raise ConfigError(why)
