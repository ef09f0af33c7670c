"""Which state an aggregator shard keeps: by what the application folds, and whether it does so in windows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from actors.runtime.lift import bind
from actors.runtime.manifest import Manifest
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import SinkOptions
from actors.runtime.shard import ShardState
from actors.runtime.state import FoldState, merge_of
from actors.runtime.topology import DEAD_LETTERS, process_name, writer_name

#: Options of sinks by name, and of the dead-letter store.
Sinks = tuple[Mapping[str, SinkOptions], SinkOptions]


def open_shard(
    manifest: Manifest, pipeline: Pipeline, options: msgspec.Struct | None, number: int, sinks: Sinks | None = None,
    generation: int = 1,
) -> ShardState:
    """Open the state of a shard.

    Args:
        manifest: where, and how many.
        pipeline: what is folded.
        options: the application's options, or None.
        number: of the shard, from 1.
        sinks: options of the sinks that are emitted to, and those of the dead-letter store; by default the manifest's.
        generation: of the shard's process: those before it have died.

    Raises:
        ConfigError: the state was made with another number of shards, or for other windows or numbers.
    """
    state, shards = Path(manifest.state), manifest.aggregator.shards
    if not manifest.emit_sinks:
        return FoldState(state / f"aggregator.{number}.db", shards, merge_of(pipeline.fold))
    from actors.runtime.emitter import Emitter

    to, letters = sinks or (
        {sink: manifest.sinks[sink].load() for sink in manifest.emit_sinks}, manifest.dead_letters.load())
    writers = {"": writer_name(DEAD_LETTERS), **{sink: writer_name(sink) for sink in to}}
    emitter = Emitter(process_name("aggregator", number), to, letters, writers)
    if pipeline.distinct is not None:
        from actors.runtime.distinct import DistinctState

        path = state / f"distinct.{number}.db"
        return DistinctState(path, shards, pipeline.distinct, manifest.aggregator.report_s, emitter)
    from actors.runtime.panes import WindowState

    assert pipeline.windows is not None
    emit = bind(pipeline.windows.emit, options)
    path = state / f"windows.{number}.db"
    state_of_windows = WindowState(path, shards, manifest.window, merge_of(pipeline.fold), emit, emitter)
    if manifest.is_retry:
        state_of_windows.stand_still()
    if generation > 1:
        state_of_windows.take_care()
    return state_of_windows
