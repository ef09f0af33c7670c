"""Which role an actor's name means, and what it needs: imported before it is told to start, opened after.

``prepare`` imports, so that a missing module is noticed at boot; the function it returns opens resources.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from actors.runtime.actor import Post, Role
from actors.runtime.errors import ConfigError, NotYet
from actors.runtime.manifest import Manifest, application
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import GatheringSink, Sink, SinkOptions, Source, SourceOptions, unfit, unpacks
from actors.runtime.rundir import path_for
from actors.runtime.topology import DEAD_LETTERS, MONITOR, aggregator_names, stage_of, writer_name
from actors.runtime.tracing import OFF, Tracer
from actors.runtime.trouble import Trouble
from actors.runtime.units import LEDGER

if TYPE_CHECKING:
    from actors.checker import Check
    from actors.runtime.tap import Taps

MakeRole = Callable[[Post], Role]
Opened = TypeVar("Opened", Source, Sink)


def prepare(name: str, manifest: Manifest) -> MakeRole:
    """Return what builds the role of the actor called ``name``."""
    which = name.partition(".")[2]
    stage = stage_of(name)
    if stage == "reader":
        return _reader(manifest)
    if stage == "parser":
        return _parser(manifest)
    if stage == "checker":
        return _checker(manifest)
    if stage == "aggregator":
        return _aggregator(manifest, int(which))
    if stage == MONITOR:
        return _monitor(manifest)
    return _writer(manifest, which)


def open_tracer(name: str, generation: int, manifest: Manifest, run_dir: Path) -> Tracer:
    """Return whom this actor tells the spans of its batches to; call in its own process."""
    if not manifest.tracing.enabled or stage_of(name) == MONITOR:
        return OFF
    from actors.telemetry import spans

    return spans.open_tracer(manifest.tracing, manifest.name, name, generation, run_dir)


def _reader(manifest: Manifest) -> MakeRole:
    from actors.reader import Reader
    from actors.runtime.half_read import CUT_AS, fact_of
    from actors.runtime.ledger import Ledger
    from actors.runtime.pacing import is_paced, open_paced

    options = manifest.source.load()

    def make(post: Post) -> Role:
        state = Path(manifest.state)
        def opens(ledger: Ledger, size: int) -> Source:
            if cut_as := fact_of(options):
                ledger.keep(CUT_AS, cut_as)
            return _opened("source", Source, options, lambda: options.open(ledger, size, state))

        if is_paced(manifest):
            return Reader(post, manifest, *open_paced(manifest, state / LEDGER, opens))
        ledger = Ledger(state / LEDGER, manifest.run, manifest.doubles)
        return Reader(post, manifest, ledger, opens(ledger, manifest.flow.batch_bytes))

    return _patiently("positions", make)


def _parser(manifest: Manifest) -> MakeRole:
    from actors import parser
    from actors.runtime.examine import TrialOfPayload
    from actors.runtime.lift import lift_parse
    from actors.runtime.worker import CareTaker, PoolWorker

    pipeline, options = application(manifest)
    parse = lift_parse(pipeline.parse, options)
    if manifest.parser.fused:
        work = parser.fused(parse, _check(manifest, pipeline, options),
                            parser.bulk_of(pipeline, options))
    else:
        work = parser.forwarding(parse)
    care = CareTaker("parser", lambda batch, frames: TrialOfPayload(work, batch, frames), _goes_by_chunks(pipeline))
    return lambda post: PoolWorker(post, work, manifest.flow.credit,
                                   lambda: _taps(post, manifest, pipeline, options), care=care)


def _checker(manifest: Manifest) -> MakeRole:
    from actors import checker
    from actors.runtime.rows import traveller
    from actors.runtime.worker import CareTaker, PoolWorker

    pipeline, options = application(manifest)
    check, decoder = _check(manifest, pipeline, options), traveller(pipeline.parse)
    work = checker.checking(check, decoder)
    care = CareTaker("checker", lambda batch, frames: checker.TrialOfRows(check, decoder, batch, frames),
                     _goes_by_chunks(pipeline))
    return lambda post: PoolWorker(post, work, manifest.flow.credit, care=care)


def _goes_by_chunks(pipeline: Pipeline) -> bool:
    """Whether a call of one of its functions may cost as much for one record as for hundreds."""
    from actors.runtime.lift import is_per_chunk

    return any(map(is_per_chunk, (pipeline.parse, pipeline.check, pipeline.route, pipeline.encode)))


def _aggregator(manifest: Manifest, number: int) -> MakeRole:
    from actors.aggregator import Aggregator
    from actors.shards import open_shard

    pipeline, options = application(manifest)
    return _patiently("aggregate state", lambda post: Aggregator(
        post, number - 1, open_shard(manifest, pipeline, options, number, generation=post.generation)))


def _patiently(what: str, make: MakeRole) -> MakeRole:
    """The same, for a role whose file may be on a disk that cannot be used now: that is said, and waited for."""
    known: list[Trouble] = []

    def tried(post: Post) -> Role:
        trouble = known[0] if known else Trouble(post)
        known[:] = [trouble]
        try:
            role = make(post)
        except sqlite3.OperationalError as error:
            raise NotYet(trouble.met(f"{what}: {error}", time.monotonic())) from error
        trouble.over(time.monotonic())
        return role

    return tried


def _opened(section: str, wanted: type, options: SinkOptions | SourceOptions, opens: Callable[[], Opened]) -> Opened:
    """Return what somebody's ``open`` returns, if it is what was wanted.

    Raises:
        ConfigError: it is not, or it is of a class that lacks a method.
    """
    try:
        opened = opens()
    except TypeError as error:
        if "abstract" not in str(error):  # of our own bases
            raise
        raise ConfigError(f"{section}: {error}") from error
    if problem := unfit(opened, wanted, options):
        raise ConfigError(f"{section}: {problem}")
    return opened


def _writer(manifest: Manifest, sink: str) -> MakeRole:
    from actors.writer import Writer

    letters = manifest.dead_letters.load()
    options = letters if sink == DEAD_LETTERS else manifest.sinks[sink].load()
    real: SinkOptions = options
    if manifest.dry:
        from actors.sinks.discard import Discard

        real = Discard()

    def make(post: Post) -> Role:
        wanted = GatheringSink if real.gathers else Sink
        opened = _opened(f"sinks.{sink}", wanted, real, lambda: real.open(sink, Path(manifest.state)))
        return Writer(post, sink, _asked_first(manifest, sink, opened), options.ordered, letters, real.contiguous)

    return make


def _asked_first(manifest: Manifest, name: str, sink: Sink) -> Sink:
    """The same, if it could be asked before the run how far it is; else one that is asked before its first write."""
    if name not in manifest.unasked:
        return sink
    from actors.runtime.agreement import Unasked, require_not_ahead

    state = Path(manifest.state)
    return Unasked(sink, lambda: require_not_ahead(
        name, manifest.sinks[name].load(), state, manifest.unasked[name]), path_for(state) / f"asked-{name}")


def _monitor(manifest: Manifest) -> MakeRole:
    from actors.monitor import Monitor

    return lambda post: Monitor(post, manifest)


def _taps(post: Post, manifest: Manifest, pipeline: Pipeline, options: msgspec.Struct | None) -> Taps:
    from actors.runtime.tap import Inspector, Taps
    from actors.runtime.windows import Placer

    sinks = {sink: component.load() for sink, component in manifest.sinks.items() if sink not in manifest.emit_sinks}
    placer = None if pipeline.windows is None else Placer(
        pipeline.windows, options, manifest.window, manifest.aggregator.shards)
    # A parser that does not check sees no dead letters but in its samples.
    letters = manifest.dead_letters.load()
    return Taps(post.address.partition("#")[0], Inspector(pipeline, options, sinks, placer,
                          letters if manifest.parser.fused and unpacks(letters) else None),
                writer_name(DEAD_LETTERS))


def _check(manifest: Manifest, pipeline: Pipeline, options: msgspec.Struct | None) -> Check:
    from actors.checker import Check, Destinations

    sinks = {sink: component.load() for sink, component in manifest.sinks.items() if sink not in manifest.emit_sinks}
    return Check(pipeline, options, Destinations(
        writers={sink: writer_name(sink) for sink in sinks}, sinks=sinks,
        dead_letters=writer_name(DEAD_LETTERS),
        dead_letter_options=manifest.dead_letters.load(),
        shards=aggregator_names(manifest), was_taken=lambda place: _was_taken(manifest, place)), manifest.window)


def _was_taken(manifest: Manifest, place: str) -> bool:
    """Whether something was taken in this state by a sink, or by the fold and the windows before it."""
    from actors.runtime.ledger import read_units

    sink = place.removeprefix("sinks.")
    names = ("written", "folded") if sink == place else (f"written.{sink}",)
    return any(unit.counts.get(name, 0) for unit in read_units(Path(manifest.state) / LEDGER) for name in names)
