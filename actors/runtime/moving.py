"""Before a run: may units of its source go from one run to another? May it be read and nothing kept?"""

from __future__ import annotations

from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import SourceOptions


def why_not_moved(pipeline: Pipeline, source: SourceOptions) -> str:
    """Say why units of this source must not go from one run of this pipeline to another; empty: they may, or do not."""
    if pipeline.fold is None or not source.moves():
        return ""
    kept = "distinct numbers are" if pipeline.distinct is not None else (
        "windows are" if pipeline.windows is not None else "what is folded is")
    return (f"source: in a group, units of {source.describe()} move from run to run, but {kept} kept in the state "
            "directory of one run: leave the option group empty, then they are this run's for good, or fold in a "
            "pipeline of its own")


def why_not_dry(source: SourceOptions) -> str:
    """Say why this source must not be read by a run that keeps nothing; empty: it may."""
    if not source.takes_away:
        return ""
    return (f"source: a dry run of {source.describe()} would take the messages away and keep nothing of them: read a "
            "copy of them, or try the functions with thresher.testing.run_inline")
