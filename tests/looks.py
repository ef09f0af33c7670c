"""Snapshots of runs that never were, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.runtime.events import BATCH_BOUNDS_S, ActorView
from actors.runtime.manifest import Component, Manifest
from actors.runtime.ports import SinkOptions
from actors.runtime.sections import FlowOptions, ParserOptions
from actors.runtime.topology import stage_of
from actors.telemetry.model import ActorStatus, Snapshot

NOTHING: Component[SinkOptions] = Component("actors.sinks.discard:Discard", {})


def manifest(fused: bool = True, sinks: Sequence[str] = ("a",), emits: Sequence[str] = (), **options: Any) -> Manifest:
    """Of a run with a reader, two parsers, a writer for each sink and, if ``folds``, an aggregator."""
    values: dict[str, Any] = {
        "run": "run", "name": "test", "app": "", "state": "/nowhere", "source": NOTHING, "dead_letters": NOTHING,
        "folds": bool(emits), "sinks": dict.fromkeys(sinks, NOTHING), "emit_sinks": tuple(emits),
        "parser": ParserOptions(workers=2, fused=fused), "flow": FlowOptions(window_batches=16)}
    return Manifest(**{**values, **options})


def took(*counts: int) -> tuple[int, ...]:
    """A histogram of batch times that begins with these buckets."""
    return (*counts, *[0] * (1 + len(BATCH_BOUNDS_S) - len(counts)))


def actor(name: str, *, cpu_s: float = 0.0, restarts: int = 0, **values: Any) -> ActorStatus:
    """An actor that is up and idle, but for these values of its slot."""
    numbers: dict[str, Any] = dict.fromkeys(
        ("phase_s", "batches", "records", "bytes_done", "bytes_total", "open", "rss_bytes", "busy_s", "starved_s",
         "heartbeat_s"), 0)
    words = {"actor": name, "generation": 1, "pid": 100, "state": "READY", "phase": "IDLE", "note": ""}
    return ActorStatus(view=ActorView(**{**numbers, **words, **values}), stage=stage_of(name), cpu_s=cpu_s,
                       restarts=restarts)


def look(clock: float, *actors: ActorStatus, **values: Any) -> Snapshot:
    """A look at a run that is running."""
    facts: dict[str, Any] = {
        "name": "test", "run": "run", "state": "/nowhere", "mode": "running", "started": 1000.0, "at": 1000.0 + clock,
        "clock": clock, "beat_s": 0.1, "outcomes": {}, "deaths": {}, "happenings": [], "not_ready": []}
    return Snapshot(actors=list(actors), **{**facts, **values})
