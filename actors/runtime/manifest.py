"""What one run is: the effective configuration, written by the supervisor, read by each actor.

An actor loads only the components it needs: a writer never imports the application, a reader no sink.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from actors import __version__
from actors.runtime import loading
from actors.runtime.errors import ConfigError
from actors.runtime.links import Links
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import SinkOptions, SourceOptions
from actors.runtime.sections import (
    AggregatorOptions,
    BudgetOptions,
    CheckerOptions,
    FlowOptions,
    MonitorOptions,
    ParserOptions,
    RestartOptions,
    RunOptions,
    TracingOptions,
    WatchOptions,
    WindowOptions,
)

#: What an application's value is called, where nothing else is said.
PIPELINE = "PIPELINE"
#: What the names of runs begin with that send dead letters in again.
RETRY = "retry-"


#: The options of a source, or of a sink.
Either = SourceOptions | SinkOptions
_Given = TypeVar("_Given", bound=Either)
Options = TypeVar("Options", bound=Either, covariant=True)
Kind = type[Options]


class Component(msgspec.Struct, Generic[Options], frozen=True):
    """A source or sink by name: ``type`` is ``module:class`` of its options, ``values`` their fields."""

    type: str
    values: dict[str, Any]

    def kind(self) -> Kind[Options]:
        """Import the options class."""
        kind: Kind[Options] = loading.named(self.type)
        return kind

    def load(self) -> Options:
        """Import the options class and build it from the values."""
        return msgspec.convert(self.values, self.kind())


def component_of(options: _Given) -> Component[_Given]:
    """Return the component that ``load`` turns back into these options (a frozen struct)."""
    cls = type(options)
    return Component(f"{cls.__module__}:{cls.__qualname__}", msgspec.to_builtins(options))


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The effective configuration of a run.

    Attributes:
        run: identity of this run, new at each start.
        name: the pipeline's name, shown in process titles.
        app: what holds the pipeline: a dotted module, or the path of a file; then ``:NAME`` if it is not ``PIPELINE``.
        state: absolute path of the state directory.
        dry: write nothing to sinks, keep no position, rename nothing.
        query: run the pipeline that answers a question about whole files (``Pipeline.query``).
        folds: whether the application has a ``fold``.
        windowed: whether it has event-time windows around it.
        emit_sinks: sinks that only the aggregators write to.
        doubles: why content counts twice that is loaded twice; empty: it does not.
        unasked: sinks that could not be asked how far they are, with what their shards had emitted before the run.
        options: the application's own options, or None.
        links: how actors reach one another.
        version: of Thresher; who is of another takes no part in the run.
    """

    run: str
    name: str
    app: str
    state: str
    dry: bool = False
    source: Component[SourceOptions]
    sinks: dict[str, Component[SinkOptions]]
    dead_letters: Component[SinkOptions]
    folds: bool
    options: dict[str, Any] | None = None
    parser: ParserOptions = ParserOptions()
    checker: CheckerOptions = CheckerOptions()
    aggregator: AggregatorOptions = AggregatorOptions()
    window: WindowOptions = WindowOptions()
    query: bool = False
    windowed: bool = False
    emit_sinks: tuple[str, ...] = ()
    doubles: str = ""
    unasked: dict[str, dict[str, int]] = {}
    flow: FlowOptions = FlowOptions()
    budget: BudgetOptions = BudgetOptions()
    restart: RestartOptions = RestartOptions()
    watch: WatchOptions = WatchOptions()
    limits: RunOptions = RunOptions()
    links: Links = Links()
    monitor: MonitorOptions = MonitorOptions()
    tracing: TracingOptions = TracingOptions()
    version: str = __version__

    def components(self) -> list[Component[Either]]:
        """The source, the sinks, the dead-letter store."""
        return [self.source, *self.sinks.values(), self.dead_letters]

    @property
    def is_retry(self) -> bool:
        """Whether this run sends dead letters in again."""
        return self.run.startswith(RETRY)

    def save(self, path: Path) -> None:
        """Write the manifest, readable by this user alone."""
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(self))


def application(manifest: Manifest) -> tuple[Pipeline, msgspec.Struct | None]:
    """Import the pipeline that a run is of; return it with the application's own options, as configured."""
    pipeline: Pipeline = loading.named(manifest.app, PIPELINE)
    if manifest.query and pipeline.query is not None:
        pipeline = pipeline.query
    return pipeline, options_of(manifest, pipeline)


def options_of(manifest: Manifest, pipeline: Pipeline) -> msgspec.Struct | None:
    """The application's own options, as configured; None: it has none."""
    if manifest.options is None or pipeline.options is None:
        return pipeline.options
    return msgspec.convert(manifest.options, type(pipeline.options))


class _Head(msgspec.Struct):
    """What can be read of the manifest of any version."""

    state: str = ""
    version: str = ""


def load_manifest(path: Path) -> Manifest:
    """Read a manifest that ``save`` wrote.

    Raises:
        ConfigError: the run is one of another version of Thresher.
        OSError: there is none.
        msgspec.MsgspecError: it is no manifest.
    """
    data = path.read_bytes()
    found = msgspec.json.decode(data, type=_Head).version
    if found != __version__:
        raise ConfigError(
            f"{path}: the run was started by Thresher {found or 'of an unknown version'}, expected {__version__}: "
            "stop the run and start it again: it goes on where it was")
    return msgspec.json.decode(data, type=Manifest)


def state_in(path: Path) -> Path:
    """Return the state directory that a manifest names, whichever version wrote it.

    Raises:
        OSError: there is none.
        msgspec.MsgspecError: it is no manifest.
    """
    return Path(msgspec.json.decode(path.read_bytes(), type=_Head).state)
