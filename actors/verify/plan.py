"""Which runs make up a verification: each differs from the reference in something, so a difference tells its cause."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.manifest import Component, Manifest, component_of
from actors.runtime.ports import SourceOptions
from actors.runtime.sections import MonitorOptions, TracingOptions
from actors.sinks.dead_letters import DeadLetters
from actors.sources.files import Files
from actors.verify.recording import recording_of

REFERENCE, REPEATED, BATCHES, SPREAD, KILLED = "reference", "repeated", "batches", "spread", "killed"
#: In this order, as far as the number of runs goes; then ``killed`` again and again.
_ORDER = (KILLED, BATCHES, REPEATED, SPREAD)
#: Most batches that a sample is cut into.
_MOST_BATCHES = 1000
_LONGEST_BACKOFF_S = 0.05


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """How one run is laid out.

    Attributes:
        kind: ``reference``; ``repeated`` (the same again); ``batches`` (only their size differs); ``spread`` (the same
            batches on other workers, fused or not the other way round); ``killed`` (everything differs, and actors are
            killed).
        seed: of the kills.
    """

    kind: str
    workers: int
    checkers: int
    shards: int
    batch_bytes: int
    window_batches: int
    credit: int
    fused: bool
    kills: int = 0
    seed: int = 0


def reference_of(manifest: Manifest) -> Variant:
    """The run that the others are compared with: one worker, and everything else as configured."""
    return Variant(
        kind=REFERENCE, workers=1, checkers=1, shards=1, batch_bytes=manifest.flow.batch_bytes,
        window_batches=manifest.flow.window_batches, credit=manifest.flow.credit, fused=manifest.parser.fused)


def plan(manifest: Manifest, runs: int, kills: int, seed: int, sample_bytes: int) -> list[Variant]:
    """Return the runs after the reference.

    Args:
        runs: how many in all, the reference included.
        kills: kills in each ``killed`` run.
        seed: the same seed makes the same plan.
        sample_bytes: size of the sample, uncompressed.
    """
    rng = random.Random(seed)
    reference = reference_of(manifest)
    kinds = [*_ORDER[:runs - 1], *[KILLED] * (runs - 1 - len(_ORDER))]
    return [_variant(kind, reference, rng, kills, sample_bytes) for kind in kinds]


def _variant(kind: str, reference: Variant, rng: random.Random, kills: int, sample_bytes: int) -> Variant:
    replace = msgspec.structs.replace
    variant = replace(reference, kind=kind)
    if kind in (SPREAD, KILLED):
        variant = replace(variant, workers=rng.randint(2, 4), checkers=rng.randint(2, 4), shards=rng.randint(1, 3))
    if kind == SPREAD:
        variant = replace(variant, fused=not reference.fused)
    if kind in (BATCHES, KILLED):
        least = max(1, sample_bytes // _MOST_BATCHES)
        most = max(least, min(sample_bytes // 8, reference.batch_bytes // 2))
        variant = replace(variant, batch_bytes=round(least * (most / least) ** rng.random()))
    if kind == KILLED:
        variant = replace(
            variant, fused=rng.random() < 0.5, window_batches=rng.randint(2, 16), credit=rng.randint(1, 3), kills=kills,
            seed=rng.getrandbits(32))
    return variant


def manifest_of(manifest: Manifest, variant: Variant, state: Path) -> Manifest:
    """The manifest of one run: it reads where the configuration says, and writes to ``state`` and nowhere else."""
    replace = msgspec.structs.replace
    restart = manifest.restart
    if variant.kills:  # our own kills are not to use up its budget
        restart = replace(restart, intensity=restart.intensity + variant.kills,
                          max_backoff_s=min(_LONGEST_BACKOFF_S, restart.max_backoff_s))
    return replace(
        manifest, run=variant.kind, state=str(state), source=readable_again(manifest.source),
        monitor=MonitorOptions(), tracing=TracingOptions(),  # these are the service's, not of its rehearsals
        sinks={name: recording_of(component) for name, component in manifest.sinks.items()},
        dead_letters=component_of(DeadLetters()), restart=restart,
        parser=replace(manifest.parser, workers=variant.workers, fused=variant.fused),
        checker=replace(manifest.checker, workers=variant.checkers),
        aggregator=replace(manifest.aggregator, shards=variant.shards),
        flow=replace(manifest.flow, batch_bytes=variant.batch_bytes, window_batches=variant.window_batches,
                     credit=variant.credit, rate_hz=0.0))


def readable_again(source: Component[SourceOptions]) -> Component[SourceOptions]:
    """Return the source so that it leaves its input as it is.

    Raises:
        ConfigError: it cannot do so, or nothing is there.
    """
    if "rename" in source.values:
        return Component(source.type, {**source.values, "rename": "none"})
    options = source.load()
    sample = options.sample()
    if sample is not None:
        if isinstance(sample, Files) and not sample.paths:
            raise ConfigError(f"nothing to verify with: no input in {options.describe()}")
        return component_of(sample)
    if options.unchanging:
        return source
    raise ConfigError(
        f"source: verify reads its sample again and again, and {options.describe()} may not have it twice: expected "
        "files; set source.type=files and give the sample as FILES")
