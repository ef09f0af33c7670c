"""The PIPELINE value: what an application is, besides its pure functions.

    line ──parse──▶ value ──check──▶ value ──route──▶ sink name
                                           ├─encode─▶ item, packed by that sink, written by its writer
                                           └─fold───▶ partial aggregates, merged by the aggregators

``parse``, ``check`` and ``encode`` take one record, or, marked ``@per_chunk``, a list and return one of equal length:
a call for each record costs about 0.1 µs, so a hot application works on lists.

Outcomes: ``parse`` returning None means "no record here" (a blank line) and counts as nothing; ``check`` returning
None means ``filtered``; raising ``Reject`` (or, per chunk, putting one in the list) means ``dead_lettered``; any
other exception dead-letters the one record that caused it, with its traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from actors.runtime.links import Links
from actors.runtime.ports import SinkOptions, SourceOptions

F = TypeVar("F", bound=Callable[..., Any])

Count = Annotated[int, Meta(ge=1)]
#: Most workers of a pool: the board has a slot for each.
MAX_WORKERS = 64
Workers = Annotated[int, Meta(ge=1, le=MAX_WORKERS)]
Seconds = Annotated[float, Meta(ge=0)]
Bytes = Annotated[int, Meta(ge=1)]


def per_chunk(function: F) -> F:
    """Mark a function as working on lists: it returns a list of the same length, Rejects in their places."""
    function.__per_chunk__ = True  # type: ignore[attr-defined]
    return function


class RecycleOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a worker is replaced by a fresh one: one at a time, after it has finished what it has.

    Attributes:
        max_rss_bytes: resident memory above which a worker is replaced; 0: never.
        max_age_s: age above which a worker is replaced; 0: never.
    """

    max_rss_bytes: Annotated[int, Meta(ge=0)] = 0
    max_age_s: Seconds = 0.0


class ParserOptions(RecycleOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pool that parses.

    Attributes:
        workers: number of processes.
        fuse: run ``check`` in the parsers too: one hop less, the same results.
        max_rss_bytes: resident memory above which a worker is replaced; 0: never.
        max_age_s: age above which a worker is replaced; 0: never.
    """

    workers: Workers = 2
    fuse: bool = True


class CheckerOptions(RecycleOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pool that checks, when it is not fused with the parsers.

    Attributes:
        workers: number of processes.
        max_rss_bytes: resident memory above which a worker is replaced; 0: never.
        max_age_s: age above which a worker is replaced; 0: never.
    """

    workers: Workers = 2


class AggregatorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The aggregators, when the application folds.

    Attributes:
        shards: number of processes; keys are spread over them by hash. State made with another number is refused.
        report_s: seconds between two reports by the clock, for an application that has them; 0: only one at the end.
    """

    shards: Count = 1
    report_s: Seconds = 0.0


class FlowOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is under way at once. Memory is bounded by the window, whatever the size of the input.

    Attributes:
        batch_bytes: size of a batch, about; cut at newlines.
        window_batches: most batches open (issued, not acknowledged) at a time.
        window_bytes: most bytes open at a time; one batch is always allowed.
        credit: batches a worker may hold before it has finished one.
        redeliver_s: seconds without any answer after which what is under way is delivered again, also to others; then
            twice as long each time.
    """

    batch_bytes: Bytes = 1024 * 1024
    window_batches: Count = 64
    window_bytes: Bytes = 32 * 1024 * 1024
    credit: Count = 2
    redeliver_s: Annotated[float, Meta(gt=0)] = 60.0


class BudgetOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When there are too many bad records.

    Attributes:
        max_error_rate: most ``errors / (processed + errors)`` of an input unit; above it the load failed (exit code 4).
        window_s: seconds over which the rate is looked at while the run goes on; 0: not at all. Above
            ``max_window_error_rate`` the run stops, resumable, with exit code 4.
        max_window_error_rate: see ``window_s``.
        window_records: so many records have to be in the window before it is judged.
    """

    max_error_rate: Annotated[float, Meta(ge=0, le=1)] = 0.01
    window_s: Seconds = 0.0
    max_window_error_rate: Annotated[float, Meta(ge=0, le=1)] = 0.1
    window_records: Count = 1000


class RestartOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often processes may die before the run gives up.

    Attributes:
        intensity: most restarts of one pool within ``period_s``; one more and the whole pool is restarted.
        period_s: see ``intensity``.
        tree_intensity: most restarts of whole pools within ``tree_period_s``; one more ends the run (exit code 1).
        tree_period_s: see ``tree_intensity``.
        backoff_s: base of the delay before a restart; the first restart is at once, then full jitter, doubling.
        max_backoff_s: longest such delay.
        boot_failures: most deaths in a row before an actor was ever ready.
        ready_s: longest time to boot, and, once all downstream is ready, to get ready.
    """

    intensity: Count = 5
    period_s: Seconds = 30.0
    tree_intensity: Count = 3
    tree_period_s: Seconds = 60.0
    backoff_s: Seconds = 0.1
    max_backoff_s: Seconds = 30.0
    boot_failures: Count = 3
    ready_s: Seconds = 30.0


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an actor is taken for hung. Budgets begin anew with each sign of progress; see ``runtime/progress.py``.

    Attributes:
        suspect_s: silence while working after which nothing new is given to an actor.
        hard_cpu_s: CPU seconds of silence after which it is killed: an endless loop.
        hard_block_s: seconds of silence without using the CPU after which it is killed: a deadlock.
        stopped_s: seconds after which a process that a signal has stopped is killed.
        term_s: time between SIGTERM and SIGKILL.
    """

    suspect_s: Annotated[float, Meta(gt=0)] = 5.0
    hard_cpu_s: Annotated[float, Meta(gt=0)] = 60.0
    hard_block_s: Annotated[float, Meta(gt=0)] = 15.0
    stopped_s: Annotated[float, Meta(gt=0)] = 60.0
    term_s: Seconds = 2.0


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The run as a whole.

    Attributes:
        max_outage_s: longest time a sink may be down; then the run stops, resumable, with exit code 3.
        drain_s: longest time for work under way to finish after SIGTERM or Ctrl-C.
        stop_s: longest time for an idle actor to end before it is killed.
        resume: what ``thresher run`` does without ``--fresh`` and ``--resume``: go on where the last run ended, or
            begin anew.
    """

    max_outage_s: Seconds = 30.0
    drain_s: Seconds = 10.0
    stop_s: Seconds = 5.0
    resume: bool = True


class WindowOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Event-time windows, for an application that has them. Times are the records' own.

    Attributes:
        kind: ``tumbling``: one behind the other; ``hopping``: one begins every ``every_s``; ``session``: records of one
            key that are less than ``gap_s`` apart; ``global``: one window, closed at the end of the input.
        size_s: length of a tumbling or hopping window.
        every_s: hopping: seconds between the beginnings of two windows.
        gap_s: session: silence that ends one.
        disorder_s: how much older than the newest record before it a record may be. A window is closed, and its rows
            are emitted, when the newest record is this much younger than its end; what comes for it then is late.
        lateness_s: seconds (of event time) that a closed window is kept for: late records are added, its rows
            are emitted again with the next revision. What is later still goes to the dead letters (``late``).
        max_future_skew_s: a record that is further ahead of this machine's clock goes to the dead letters (``future``).
        start: what windows are counted from: ``clock`` (full hours, in UTC, for a size of an hour), ``first`` (the
            first record in event time), or a time in ms since 1970.
    """

    kind: Literal["tumbling", "hopping", "session", "global"] = "tumbling"
    size_s: Annotated[float, Meta(gt=0)] = 60.0
    every_s: Seconds = 0.0
    gap_s: Seconds = 0.0
    disorder_s: Seconds = 0.0
    lateness_s: Seconds = 0.0
    max_future_skew_s: Seconds = 3600.0
    start: Literal["clock", "first"] | int = "clock"

    def __post_init__(self) -> None:
        if self.kind == "hopping" and not 0 < self.every_s <= self.size_s:
            raise ValueError(f"every_s: expected more than 0 and at most size_s ({self.size_s:g}) for hopping windows, "
                             f"got {self.every_s:g}")
        if self.kind == "session" and not self.gap_s:
            raise ValueError("gap_s: expected more than 0 for session windows, got 0")


class Window(msgspec.Struct, frozen=True, array_like=True):
    """One window of one key, as ``emit`` is given it: [start, end) in ms since 1970; revisions count from 1."""

    start: int
    end: int
    key: tuple[Any, ...] = ()
    revision: int = 1


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Event-time windows: what is folded is folded window by window, and comes out as rows when a window is closed.

    Attributes:
        time: ``value -> event time in ms``, or per chunk.
        key: ``value -> tuple``: windows are kept for each key; by default there is one key, ``()``. Or per chunk.
        emit: ``(window, [(key, numbers), …]) -> [(sink name, item), …]``: the rows of a closed window, from what
            ``fold`` has in it, sorted by key. A pure function: it is called again after a crash.
    """

    time: Callable[..., Any]
    key: Callable[..., Any] | None = None
    emit: Callable[..., Any]


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """Partial aggregates: made from each batch in the workers, merged by key in the aggregators, exactly once.

    Attributes:
        partials: ``(values, chunk_unit) -> {key: numbers}``; keys are tuples of str and int, numbers a list.
        keys: names of the key's members, for the report; a member named ``unit`` is shown as the unit's name.
        fields: names of the numbers, for the report.
        merge: ``(numbers, numbers) -> numbers``, associative and commutative; by default the sum of each.
    """

    partials: Callable[..., dict[tuple[Any, ...], list[Any]]]
    keys: tuple[str, ...]
    fields: tuple[str, ...]
    merge: Callable[[list[Any], list[Any]], list[Any]] | None = None


class Totals(msgspec.Struct, frozen=True):
    """Of distinct numbers: how many new ones, and how many known ones, since the last report; new ones in all."""

    new: int
    again: int
    total: int


class Distinct(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of which only the first of each goes on. What is folded is ``[numbers]``: little-endian uint32, packed.

    Attributes:
        size: all numbers are below this; a bitmap of so many bits is kept.
        emit: ``numpy array of new numbers (uint32, each once) -> [(sink name, item), …]``; an item may be ``Packed``.
        report: ``Totals -> [(sink name, item), …]``, every ``aggregator.report_s`` and at the end; None: no reports.
    """

    size: int
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
    """

    read: int
    filtered: int = 0
    items: dict[str, list[Any]] = {}
    partials: dict[tuple[Any, ...], list[Any]] = {}
    times: tuple[int, int, int] | None = None


def nowhere(value: Any) -> None:
    """The route of an application whose records are only folded."""


def unchanged(value: Any) -> Any:
    """An encoding that changes nothing."""
    return value


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """An application: its functions, where it reads, where it writes, and its defaults.

    Attributes:
        name: what ``thresher run NAME`` and process titles say.
        source: options of the source, e.g. ``Files(pattern=...)``.
        parse: ``bytes -> value | None``, or per chunk.
        check: ``value -> value | None``, or per chunk.
        route: ``value -> sink name``, or None: the record goes to no sink.
        encode: ``value -> item`` in the form that the sinks take, e.g. ``(key, value)`` bytes.
        sinks: options of each sink, by the name that ``route`` returns.
        emits: those of the sinks that only the aggregators write to.
        fold: partial aggregates, or None.
        windows: event-time windows around the fold, or None.
        distinct: of what is folded, only what is new goes on; or None.
        bulk: ``bytes -> Bulk | None``: the short way for a slice of whole lines (the last one may lack its newline),
            where most records need no look of their own. It is also given the number of lines, when it has a parameter
            ``lines``. None: not for this slice, it goes line by line; so does one
            for which it raises. Used when parsers check as well (``parser.fuse``).
            ``actors.testing.assert_bulk_is_faithful`` shows that it does what the functions do.
        options: the application's own options (a frozen struct), given to functions that have a parameter ``options``
            (also ``fold.partials`` and ``bulk``).
        flags: flags of the command line, without their dashes, and the option that each one sets:
            ``{"host": "options.host"}``.
        required: those options that somebody has to set, as in ``flags``.
        batch: the pipeline that ``run --batch`` runs instead, over the files that are given there. Of a configuration
            file it takes all but ``[source]``, ``[sinks]`` and ``[window]``.
    """

    name: str
    source: SourceOptions
    parse: Callable[..., Any]
    check: Callable[..., Any] | None = None
    route: Callable[..., Any] = nowhere
    encode: Callable[..., Any] = unchanged
    sinks: dict[str, SinkOptions]
    dead_letters: SinkOptions
    emits: tuple[str, ...] = ()
    fold: Fold | None = None
    windows: Windows | None = None
    distinct: Distinct | None = None
    bulk: Callable[..., Bulk | None] | None = None
    options: msgspec.Struct | None = None
    flags: dict[str, str] = {}
    required: tuple[str, ...] = ()
    batch: Pipeline | None = None
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
