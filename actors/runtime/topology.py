"""A manifest expanded to child specs: who runs, in which order, who talks to whom. All of it pure.

    layer -1 monitor.1          waits for nobody, nobody waits for it; stopped last
    layer 0  writer.dead_letters                        started first, stopped last
    layer 1  writer.NAME …
    layer 2  aggregator.N …     they emit to writers
    layer 3  checker.N …        (none when fused)
    layer 4  parser.N …
    layer 5  reader.1                                   started last, stopped first
"""

from __future__ import annotations

from collections.abc import Container

import msgspec

from actors.runtime.manifest import Component, Manifest
from actors.runtime.ports import SinkOptions
from actors.runtime.sections import MAX_WORKERS

DEAD_LETTERS = "dead_letters"
MONITOR = "monitor"

#: Which stages an actor of each stage sends to.
DOWNSTREAM: dict[str, tuple[str, ...]] = {
    "reader": ("parser", "aggregator"),
    "parser": ("checker",),
    "fused": ("writer", "aggregator", DEAD_LETTERS),
    "checker": ("writer", "aggregator", DEAD_LETTERS),
    "writer": (DEAD_LETTERS,),
    "aggregator": ("writer", DEAD_LETTERS),
    DEAD_LETTERS: (),
    MONITOR: (),
}


#: Which stages give work to an actor of each stage on credit: the pools.
GIVERS: dict[str, tuple[str, ...]] = {"parser": ("reader",), "checker": ("reader", "parser")}


#: The stages of those that are given parts of every batch.
CONSUMERS = ("writer", "aggregator", DEAD_LETTERS)


class ChildSpec(msgspec.Struct, frozen=True):
    """One actor, as its supervisor sees it.

    Attributes:
        name: ``reader.1``, ``parser.2``, ``writer.idfa``.
        stage: what the members of its pool have in common: ``reader``, ``parser``, ``checker``, ``writer``,
            ``aggregator``, ``dead_letters`` or ``monitor``.
        pool: the restart budget it shares.
        layer: order of start; stop is the other way round.
        restart: ``permanent`` (always), ``transient`` (when it crashes) or ``temporary`` (never).
        ordered: a fixed destination that applies parts in source order.
        emits: when the input has ended it has still to bring something to its end: an origin what it emits, a writer
            what its sink has gathered.
        vital: nothing gets on without it. One that is not holds nobody up, and its deaths never end a run.
    """

    name: str
    stage: str
    pool: str
    layer: int
    restart: str = "permanent"
    ordered: bool = False
    emits: bool = False
    vital: bool = True


def process_name(role: str, which: str | int) -> str:
    """The one place where actors get their names."""
    return f"{role}.{which}"


def free_members(pool: str, taken: Container[str], count: int) -> list[str]:
    """At most so many names of a pool's workers that are not taken, the lowest first."""
    names = (process_name(pool, number) for number in range(1, 1 + MAX_WORKERS))
    return [name for name in names if name not in taken][:max(0, count)]


def may_come(manifest: Manifest) -> list[str]:
    """The actors that ``scale`` may add to those of the start."""
    pools = {"parser": manifest.parser.workers} if manifest.parser.fused else {
        "parser": manifest.parser.workers, "checker": manifest.checker.workers}
    return [process_name(pool, number) for pool, workers in pools.items()
            for number in range(1 + workers, 1 + MAX_WORKERS)]


def process_title(name: str, pipeline: str) -> str:
    """What ``ps`` shows."""
    return f"thresher: {name} {pipeline}"


def expand(manifest: Manifest) -> tuple[ChildSpec, ...]:
    """Return every actor of a run, in the order of start."""
    fused = manifest.parser.fused
    specs = [ChildSpec(process_name(MONITOR, 1), MONITOR, MONITOR, -1, vital=False)] if manifest.monitor.enabled else []
    specs.append(ChildSpec(writer_name(DEAD_LETTERS), DEAD_LETTERS, writer_name(DEAD_LETTERS), 0))
    for sink in manifest.sinks:
        name = writer_name(sink)
        specs.append(ChildSpec(name, "writer", name, 1, ordered=component_ordered(manifest.sinks[sink]),
                               emits=manifest.sinks[sink].kind().gathers))
    for name in aggregator_names(manifest):
        specs.append(ChildSpec(name, "aggregator", name, 2, ordered=True, emits=bool(manifest.emit_sinks)))
    for index in range(1, 1 + (0 if fused else manifest.checker.workers)):
        specs.append(ChildSpec(process_name("checker", index), "checker", "checker", 3))
    for index in range(1, 1 + manifest.parser.workers):
        specs.append(ChildSpec(process_name("parser", index), "parser", "parser", 4))
    specs.append(ChildSpec(process_name("reader", 1), "reader", "reader", 5, restart="transient"))
    return tuple(specs)


def stage_of(name: str) -> str:
    """The stage of an actor, by its name."""
    return DEAD_LETTERS if name == writer_name(DEAD_LETTERS) else name.partition(".")[0]


def is_emitted(partition: str) -> bool:
    """Whether what is in this partition is emitted by a shard, and not read by a reader."""
    return partition.startswith("aggregator.") and "@" in partition


def writer_name(sink: str) -> str:
    """The writer of a sink."""
    return process_name("writer", sink)


def aggregator_names(manifest: Manifest) -> list[str]:
    """The aggregator shards, in order of shard."""
    shards = manifest.aggregator.shards if manifest.folds else 0
    return [process_name("aggregator", index) for index in range(1, 1 + shards)]


def component_ordered(component: Component[SinkOptions]) -> bool:
    """Whether a sink wants its parts in source order."""
    return component.kind().ordered


def downstream(manifest: Manifest, stage: str) -> tuple[str, ...]:
    """The stages that an actor of this stage sends to."""
    return DOWNSTREAM["fused" if stage == "parser" and manifest.parser.fused else stage]


def fixed_destinations(manifest: Manifest) -> frozenset[str]:
    """The actors that must be there before a batch is worth delivering: every writer and aggregator shard."""
    fed_by_shards = {writer_name(sink) for sink in manifest.emit_sinks}
    return frozenset(spec.name for spec in expand(manifest)
                     if spec.stage in ("writer", "aggregator", DEAD_LETTERS) and spec.name not in fed_by_shards)
