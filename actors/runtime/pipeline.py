"""The PIPELINE value: what an application is, besides its pure functions.

    line ──parse──▶ value ──check──▶ value ──route──▶ sink name
                                           ├─encode─▶ item, packed by that sink, written by its writer
                                           └─fold───▶ partial aggregates, merged by the aggregators

``parse``, ``check`` and ``encode`` take one record, or, marked ``@per_chunk``, a list and return one of equal length:
a call for each record costs about 0.1 µs, so a hot application works on lists.

Outcomes: ``parse`` returning None means "no record here" (a blank line) and counts as nothing; ``check`` returning
None means ``filtered``; raising ``Reject`` (or, per chunk, putting one in the list) means ``dead_lettered``; any
other exception dead-letters the one record that caused it, with its traceback.

One record may become several: ``parse`` returns ``Many([...])``, ``route`` a tuple of sinks. ``docs/many.md`` says what
then counts.

Four words. A *batch* is the unit on the wire: a range of the input's bytes (about ``flow.batch_bytes``, whole records)
that is numbered, delivered, and acknowledged as one. A *slice* is a part of a batch that a worker makes at a time:
whole lines, given to ``bulk`` as bytes, or parsed. A *chunk* is what a function that is marked ``@per_chunk`` is
given: a list of the records of (a slice of) a batch. A *query* is a pipeline that answers a question about whole files
and keeps nothing: ``Pipeline.query``, for ``thresher run TARGET --query FILE…``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from actors.runtime.browse import Browse
from actors.runtime.errors import ConfigError
from actors.runtime.links import Links
from actors.runtime.panel import Panel
from actors.runtime.ports import SinkOptions, SourceOptions
from actors.runtime.questions import Question
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

F = TypeVar("F", bound=Callable[..., Any])


def per_chunk(function: F) -> F:
    """Mark a function as one over chunks: it returns a list of the same length, Rejects in their places.

    A chunk: a list of the records of (a slice of) a batch. Where a batch or a slice ends is up to the engine.

    Example::

        @per_chunk
        def parse(lines):
            return [line.split(b";") if line.count(b";") == 4 else Reject("columns") for line in lines]
    """
    function.__per_chunk__ = True  # type: ignore[attr-defined]
    return function


class Window(msgspec.Struct, frozen=True, array_like=True):
    """One window of one key, as ``emit`` is given it: [start, end) in ms since 1970; revisions count from 1.

    Example::

        def emit(window: Window, groups):
            return [("reports", {"hour": window.start, "hosts": len(groups)})]
    """

    start: int
    end: int
    key: tuple[Any, ...] = ()
    revision: int = 1


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Event-time windows: what is folded is folded window by window, and comes out as rows when a window is closed.

    Attributes:
        time: ``value -> event time in ms``, or per chunk. None: the value belongs to no window, and is not folded.
        key: ``value -> tuple``: windows are kept for each key; by default there is one key, ``()``. Or per chunk.
        emit: ``(window, [(key, numbers), …]) -> [(sink name, item), …]``: the rows of a closed window, from what
            ``fold`` has in it, sorted by key. A pure function: it is called again after a crash.
        why_not: ``WindowOptions -> text``: why ``emit`` cannot do with these options, as ``NAME: expected …, got …``;
            empty: it can. A configuration with such options is refused before anything runs (exit code 78). None: it
            can do with any.

    Example::

        def emit(window, groups):  # the busiest host of each hour
            (host, *_), (number, *_) = max(groups, key=lambda group: group[1])
            return [("reports", {"hour": window.start, "host": host, "number": number})]

        Windows(time=lambda value: value[0], emit=emit)
    """

    time: Callable[..., Any]
    key: Callable[..., Any] | None = None
    emit: Callable[..., Any]
    why_not: Callable[..., str] | None = None


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """Partial aggregates: made from each batch in the workers, merged by key in the aggregators, exactly once.

    Attributes:
        partials: ``(values) -> {key: numbers}``, or ``(values, unit)``, where ``unit`` is the number of the input unit
            that the values are of; keys are tuples of str and int, numbers a list.
        keys: names of the key's members, for the report; a member named ``unit`` is shown as the unit's name.
        fields: names of the numbers, for the report.
        merge: ``(numbers, numbers) -> numbers``, associative and commutative; by default the sum of each.

    Example::

        def partials(values):
            return {(word,): [number] for word, number in dict(values).items()}

        Fold(partials=partials, keys=("word",), fields=("total",))
    """

    partials: Callable[..., dict[tuple[Any, ...], list[Any]]]
    keys: tuple[str, ...]
    fields: tuple[str, ...]
    merge: Callable[[list[Any], list[Any]], list[Any]] | None = None


class Totals(msgspec.Struct, frozen=True):
    """Of distinct numbers: how many new ones and how many duplicates since the last report; new ones in all.

    Example::

        def report(totals: Totals):
            return [("log", f"{totals.new} new, {totals.duplicates} known, {totals.total} in all")]
    """

    new: int
    duplicates: int
    total: int


class Distinct(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of which only the first of each goes on. What is folded is ``[numbers]``: little-endian uint32, packed.

    Attributes:
        limit: all numbers are below this; a bitmap of so many bits is kept.
        emit: ``numpy array of new numbers (uint32, each once) -> [(sink name, item), …]``; an item may be ``Packed``.
        report: ``Totals -> [(sink name, item), …]``, every ``aggregator.report_s`` and at the end; None: no reports.

    Example::

        Distinct(limit=10**9, emit=lambda numbers: [("log", b"%d" % number) for number in numbers])
    """

    limit: int
    emit: Callable[[Any], Any]
    report: Callable[[Totals], Any] | None = None


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """What ``bulk`` made of a slice: the same as the functions make of its records, one by one, but for rejects.

    Attributes:
        read: number of records in the slice.
        filtered: how many of them ``check`` filters.
        items: what ``encode`` makes of those that ``route`` sends to a sink, by sink, in source order.
        partials: what ``fold.partials`` makes of all that are not filtered.
        times: with windows that are not ``global``: the event times, in ms, of the first record that is folded, of the
            oldest and of the newest. When they are not all of the same window the slice goes line by line.

    Example::

        def bulk(data: bytes, lines: int) -> Bulk | None:
            if b'"' in data:  # this slice needs a look at each line
                return None
            return Bulk(read=lines, items={"log": data.splitlines()})
    """

    read: int
    filtered: int = 0
    items: dict[str, list[Any]] = {}
    partials: dict[tuple[Any, ...], list[Any]] = {}
    times: tuple[int, int, int] | None = None


class Aggregates(msgspec.Struct, frozen=True, kw_only=True):
    """What the aggregators keep now, of all shards: what a panel is drawn from.

    Attributes:
        windows: the open windows in order, each with ``[(key, numbers), …]``; without windows one, [0, 0).
        totals: of distinct numbers, else None.

    Example::

        def draw(aggregates: Aggregates):
            return Curves(values={"in all": float(aggregates.totals.total if aggregates.totals else 0)})
    """

    windows: list[tuple[Window, list[tuple[Any, Any]]]]
    totals: Totals | None = None


def drop(value: Any) -> None:
    """The route of an application whose records are only folded.

    Example::

        def route(record):
            return "errors" if record["level"] == "error" else drop(record)  # None: it goes to no sink
    """


def identity(value: Any) -> Any:
    """The encoding that changes nothing: the item is the value.

    Example::

        assert identity((b"key", b"value")) == (b"key", b"value")
    """
    return value


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """An application: its functions, where it reads, where it writes, and its defaults.

    The smallest one is a source, a ``parse`` and a sink.

    Attributes:
        name: what messages, process titles and the state directory (``var/NAME``) say; by default that of its module.
        source: options of the source, e.g. ``Files(pattern=...)``.
        parse: ``bytes -> value | Many([...]) | None``, or per chunk. With a parameter ``record`` (per chunk:
            ``records``) it is given the whole ``Record`` besides, which has a key, headers, a time and a place; with a
            parameter ``unit`` the ``InputUnit`` that it is of, which says when that was seen first.
        check: ``value -> value | None``, or per chunk.
        route: ``value -> sink name``, or a tuple of them: it goes to each; or None: the record goes to no sink;
            ``drop`` for all that. It may be left out where there is one sink, besides ``emit_sinks``: every record goes
            there; or none: records are only folded. A sink that no record can reach is refused.
        encode: ``value -> item`` in the form that the sinks take, e.g. ``(key, value)`` bytes.
        sinks: options of each sink, by the name that ``route`` returns.
        dead_letters: options of what keeps rejected records; by default ``DeadLetters()``.
        emit_sinks: those of the sinks that only the aggregators write to.
        fold: partial aggregates, or None.
        windows: event-time windows around the fold, or None.
        distinct: of what is folded, only what is new goes on; or None.
        bulk: ``bytes -> Bulk | None``: the short way for a slice of whole lines (the last one may lack its newline),
            where most records need no look of their own. It is also given the number of lines, when it has a parameter
            ``lines``. None: not for this slice, it goes line by line; so does one
            for which it raises. It is for lines of which each goes to one sink, or none. Used when parsers check as
            well (``parser.fused``).
            ``thresher.testing.assert_bulk_is_faithful`` shows that it does what the functions do.
        options: the application's own options (a frozen struct), given to functions that have a parameter ``options``
            (also ``fold.partials`` and ``bulk``).
        flags: flags of the command line, without their dashes, and the option that each one sets:
            ``{"host": "options.host"}``.
        required: those options that somebody has to set, as in ``flags``.
        panel: a panel of its own on the dashboard, or None.
        feeds: more panels, by name, that are not on the dashboard: for pages of one's own (``/api/panels/NAME``).
        query: the pipeline that ``run --query`` runs instead: it answers a question about the files that are given
            there. Of a configuration file it takes all but ``[source]``, ``[sinks]`` and ``[window]``.
        questions: what can be asked about what is stored, by name: ``thresher ask APP NAME``.
        browse: a page of its own about what is stored, or None: ``thresher browse APP``, ``/browse`` of the monitor.

    Example::

        PIPELINE = Pipeline(source=Files(pattern="logs/*.log"), parse=bytes.upper, sinks={"out": Lines()})
    """

    name: str = ""
    source: SourceOptions
    parse: Callable[..., Any]
    check: Callable[..., Any] | None = None
    route: Callable[..., Any] | None = None
    encode: Callable[..., Any] = identity
    sinks: dict[str, SinkOptions]
    dead_letters: SinkOptions | None = None
    emit_sinks: tuple[str, ...] = ()
    fold: Fold | None = None
    windows: Windows | None = None
    distinct: Distinct | None = None
    bulk: Callable[..., Bulk | None] | None = None
    options: msgspec.Struct | None = None
    flags: dict[str, str] = {}
    required: tuple[str, ...] = ()
    panel: Panel | None = None
    feeds: dict[str, Panel] = {}
    query: Pipeline | None = None
    questions: dict[str, Question] = {}
    browse: Browse | None = None
    parser: ParserOptions = ParserOptions()
    checker: CheckerOptions = CheckerOptions()
    aggregator: AggregatorOptions = AggregatorOptions()
    window: WindowOptions = WindowOptions()
    flow: FlowOptions = FlowOptions()
    budget: BudgetOptions = BudgetOptions()
    restart: RestartOptions = RestartOptions()
    watch: WatchOptions = WatchOptions()
    links: Links = Links()
    run: RunOptions = RunOptions()
    monitor: MonitorOptions = MonitorOptions()
    tracing: TracingOptions = TracingOptions()


def route_of(pipeline: Pipeline) -> Callable[..., Any]:
    """Return where the records of a pipeline go: its route, or what is meant when it is left out.

    Raises:
        ConfigError: it is left out, and there are several sinks to choose from.
    """
    if pipeline.route is not None:
        return pipeline.route
    sinks = [sink for sink in pipeline.sinks if sink not in pipeline.emit_sinks]
    if len(sinks) > 1:
        raise ConfigError(f"route: expected a function that says to which of the sinks {', '.join(sinks)} a record "
                          "goes, got nothing: give route=FUNCTION; those that only windows write to are emit_sinks")
    return per_chunk(functools.partial(_all_to, sinks[0])) if sinks else drop


def _all_to(sink: str, values: list[Any]) -> list[str]:
    return [sink] * len(values)
