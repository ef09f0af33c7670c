"""The sections of a configuration that every pipeline has: what can be set, its default, its unit and its bounds.

A section is declared here once: that validates it, fills in defaults, and makes the JSON Schema for editors and
``docs/configuration.md``. Sources, sinks and applications declare their own options beside the code that reads them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.runtime import extras
from actors.runtime.links import is_loopback
from actors.runtime.ports import MAX_OUTAGE_S

#: No count is larger: SQLite and C have no larger numbers.
_MOST = (1 << 63) - 1
Count = Annotated[int, Meta(ge=1, le=_MOST)]
#: As browsers send it: no path, no capital letters.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
#: Most workers of a pool: the board has a slot for each.
MAX_WORKERS = 64
Workers = Annotated[int, Meta(ge=1, le=MAX_WORKERS)]
#: The lowest rate: about one record a day. The next one has to be due at a time that there is.
_LEAST_HZ = 0.00001
Seconds = Annotated[float, Meta(ge=0)]
Bytes = Annotated[int, Meta(ge=1, le=_MOST)]


class RecycleOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a worker is replaced by a fresh one: one at a time, after it has finished what it has.

    Attributes:
        max_rss_bytes: resident memory above which a worker is replaced, more than it has without work; 0: never.
        max_age_s: age above which a worker is replaced; 0: never.

    Example::

        RecycleOptions(max_age_s=86400)  # each worker is replaced by a fresh one once a day
    """

    max_rss_bytes: Annotated[int, Meta(ge=0, le=_MOST)] = 0
    max_age_s: Seconds = 0.0


class ParserOptions(RecycleOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pool that parses.

    Attributes:
        workers: number of processes.
        fused: run ``check`` in the parsers too: one hop less, the same results.
        max_rss_bytes: resident memory above which a worker is replaced, more than it has without work; 0: never.
        max_age_s: age above which a worker is replaced; 0: never.

    Example::

        ParserOptions(workers=4)  # four parsers; parse and check in one process
    """

    workers: Workers = 2
    fused: bool = True


class CheckerOptions(RecycleOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pool that checks, when it is not fused with the parsers.

    Attributes:
        workers: number of processes.
        max_rss_bytes: resident memory above which a worker is replaced, more than it has without work; 0: never.
        max_age_s: age above which a worker is replaced; 0: never.

    Example::

        CheckerOptions(workers=2)  # used with parser.fused = false
    """

    workers: Workers = 2


class AggregatorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The aggregators, when the application folds.

    Attributes:
        shards: number of processes; keys are spread over them by hash. State made with another number is refused.
        report_s: seconds between two reports by the clock, for an application that has them; 0: only one at the end.

    Example::

        AggregatorOptions(shards=2)  # the keys of the fold are spread over two aggregators
    """

    shards: Count = 1
    report_s: Seconds = 0.0


class FlowOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is under way at once. Memory is bounded by the window, whatever the size of the input.

    Attributes:
        batch_bytes: size of a batch, about; cut at newlines.
        batch_s: seconds of work in a batch, about: of records that take long a batch has fewer, down to one. What a
            record takes is learnt as the run goes on, from all stages together; 0: batches are cut by bytes alone.
        window_batches: most batches open (issued, not acknowledged) at a time.
        window_bytes: most bytes open at a time; one batch is always allowed.
        credit: batches a worker may hold before it has finished one; more, if they take next to no time.
        redeliver_s: seconds without any answer after which what is under way is delivered again, also to others; then
            twice as long each time.
        rate_hz: records a second that are read of the source, 0.00001 or more; 0: as fast as possible. Each goes when
            it is due. What the workers do not keep up with is a backlog, and is made up for.
        max_records: the input ends with so many records, of all runs on the same state that have this option; 0: all
            that there are.

    Example::

        FlowOptions(batch_bytes=256 * 1024, window_batches=32)
    """

    batch_bytes: Bytes = 1024 * 1024
    batch_s: Seconds = 0.2
    window_batches: Count = 256
    window_bytes: Bytes = 32 * 1024 * 1024
    credit: Count = 2
    redeliver_s: Annotated[float, Meta(gt=0)] = 60.0
    rate_hz: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    max_records: Annotated[int, Meta(ge=0, le=_MOST)] = 0

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        if self.rate_hz and not self.rate_hz >= _LEAST_HZ:
            raise ValueError(f"rate_hz: expected 0, or {_LEAST_HZ} (one record a day) or more, got {self.rate_hz!r}")


class BudgetOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When there are too many bad records.

    Attributes:
        max_error_rate: most ``errors / (processed + errors)`` of an input unit; above it the load failed (exit code 4).
        window_s: seconds over which the rate is looked at while the run goes on; 0: not at all. Above
            ``max_window_error_rate`` the run stops, resumable, with exit code 4.
        max_window_error_rate: see ``window_s``.
        window_records: so many records have to be in the window before it is judged.

    Example::

        BudgetOptions(max_error_rate=0.05)  # a file fails when more than one record in twenty is bad
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
        boot_failures: most deaths of an actor in a row, none of which had become ready.
        ready_s: longest time to boot, and, once all downstream is ready, to get ready.

    Example::

        RestartOptions(intensity=10, period_s=60)  # a pool may die ten times a minute
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

    Example::

        WatchOptions(hard_block_s=120)  # a worker may be blocked, without using a processor, for two minutes
    """

    suspect_s: Annotated[float, Meta(gt=0)] = 5.0
    hard_cpu_s: Annotated[float, Meta(gt=0)] = 60.0
    hard_block_s: Annotated[float, Meta(gt=0)] = 15.0
    stopped_s: Annotated[float, Meta(gt=0)] = 60.0
    term_s: Seconds = 2.0


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The run as a whole.

    Attributes:
        max_outage_s: longest time the source or a sink may be down; then the run stops, resumable, with exit code 3.
            0: for ever. ``"auto"``: the longest that one of them says: 30 s, and for ever with a message broker.
        drain_s: longest time for work under way to finish after SIGTERM or Ctrl-C.
        stop_s: longest time for an idle actor to end before it is killed.
        resume: what ``thresher run`` does without ``--fresh`` and ``--resume``: go on where the last run ended, or
            begin anew.
        base: what relative paths of the configuration (``source``, ``state``) are relative to: the folder in which the
            command is typed (``"here"``), or that of the TOML file (``"file"``, as ``thresher init`` writes it). What
            is typed, FILE and ``--state``, is relative to where it is typed.
        log_level: what Python's ``logging`` says of the application and of libraries, on standard error, each line
            behind the name of its actor.

    Example::

        RunOptions(max_outage_s=600)  # a server that is down for ten minutes stops the run, resumable
    """

    max_outage_s: Seconds | Literal["auto"] = "auto"
    drain_s: Seconds = 10.0
    stop_s: Seconds = 5.0
    resume: bool = True
    base: Literal["here", "file"] = "here"
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "warning"

    def said_by(self, *seconds: float) -> RunOptions:
        """The same, with the longest that source and sinks say (0, for ever, is the longest), where nobody has said
        anything else."""
        if self.max_outage_s != "auto":
            return self
        return msgspec.structs.replace(self, max_outage_s=max(seconds, key=lambda each: each or math.inf))

    def longest_outage_s(self) -> float:
        """How long the source or a sink may be down; infinite: for ever."""
        seconds = MAX_OUTAGE_S if self.max_outage_s == "auto" else self.max_outage_s
        return seconds or math.inf


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
            None: as much as the disorder, so no clock that is wrong can make late what comes from one that is right.
        jump_s: a record that is further ahead of the newest before it in its file closes nothing, and makes nothing
            late, before it is confirmed: one wrong clock does not close everybody's windows.
        jump_confirm: so many more records of that file as new as that confirm it; 0: none is needed.
        empty: ``emit``: windows without records, between those that have some, are emitted, too: ``emit`` is given no
            rows. At most 10,000 in a row, then one event tells of it. Not with keys, nor of other kinds than tumbling
            and hopping; all windows are of the first shard then.
        keep_bytes: of each shard: so much of tumbling and hopping windows that are closed stays on the disk, the
            newest, so that ``dlq retry`` of late letters can open them again (with a larger ``lateness_s``); 0: none.
        start: what windows are counted from: ``clock`` (full hours, in UTC, for a size of an hour), ``first`` (the
            first record in event time), or a time in ms since 1970.

    Example::

        WindowOptions(kind="tumbling", size_s=3600, disorder_s=300)  # hours; up to five minutes out of order
    """

    kind: Literal["tumbling", "hopping", "session", "global"] = "tumbling"
    size_s: Annotated[float, Meta(ge=0.001)] = 60.0
    every_s: Seconds = 0.0
    gap_s: Seconds = 0.0
    disorder_s: Seconds = 0.0
    lateness_s: Seconds = 0.0
    max_future_skew_s: Seconds | None = None
    jump_s: Seconds = 3600.0
    jump_confirm: Annotated[int, Meta(ge=0, le=1000)] = 3
    empty: Literal["skip", "emit"] = "skip"
    keep_bytes: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024
    start: Literal["clock", "first"] | int = "clock"

    def __post_init__(self) -> None:
        if self.empty == "emit" and self.kind not in ("tumbling", "hopping"):
            raise ValueError(f"empty: expected \"skip\" for {self.kind} windows, which have records, got \"emit\"")
        if self.kind == "hopping" and not 0.001 <= self.every_s <= self.size_s:
            raise ValueError("every_s: expected at least 0.001 and at most size_s "
                             f"({self.size_s:g}) for hopping windows, got {self.every_s:g}")
        if self.kind == "session" and self.gap_s < 0.001:
            raise ValueError(f"gap_s: expected at least 0.001 for session windows, got {self.gap_s:g}")


class MonitorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The monitor: probes, metrics and the dashboard over HTTP, from a process of its own.

    Attributes:
        enabled: whether it runs. ``thresher run --monitor`` switches it on.
        host: address that it listens on. Any but a loopback address needs ``token_secret``.
        port: port that it listens on; 0: any that is free. The run says which.
        token_secret: what clients have to show (``Authorization: Bearer TOKEN``, or ``?token=TOKEN`` once); at least
            16 characters. Best a reference: ``${file:/run/secrets/x}``. Empty: each run makes its own, which only this
            user can read. Probes need none.
        allow_control: whether ``POST /api/scale``, ``/api/reload`` and ``/api/stop`` are answered.
        interval_s: seconds between two looks at the run.
        max_streams: most event streams at a time.
        allow_origins: origins of pages of other sites that may read the application's panels (``/api/panels``), and
            nothing else: ``https://shop.example``.

    Example::

        MonitorOptions(enabled=True, host="127.0.0.1", port=8686)
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8686
    token_secret: str = ""
    allow_control: bool = False
    interval_s: Annotated[float, Meta(ge=0.1)] = 1.0
    max_streams: Count = 100
    allow_origins: list[str] = []

    def __post_init__(self) -> None:
        if self.token_secret and len(self.token_secret) < 16:
            raise ValueError("token_secret: expected 16 characters or more, "
                             f"got {len(self.token_secret)}: `openssl rand -hex 16` makes a good one")
        if not self.token_secret and not is_loopback(self.host):
            raise ValueError(f"token_secret: expected a token, for {self.host} can be reached from elsewhere, "
                             "got none: set one, or host to 127.0.0.1")
        for origin in self.allow_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"allow_origins: expected scheme://host or scheme://host:port, got {origin!r}")


class TracingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OpenTelemetry spans of batches; needs the extra ``otel``.

    Attributes:
        enabled: whether spans are made.
        endpoint: where they are sent, by OTLP over HTTP; ``/v1/traces`` is added.
        sample_ratio: part of the batches that are traced, from 0 to 1; which ones is decided by their trace ids.
        service: name of the service; by default ``thresher.`` and the pipeline's name.
        flush_s: longest time that an actor which stops waits for its last spans; ``limits.stop_s`` holds, too.

    Example::

        TracingOptions(enabled=True, endpoint="http://127.0.0.1:4318", sample_ratio=0.01)
    """

    enabled: bool = False
    endpoint: str = "http://127.0.0.1:4318"
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    service: str = ""
    flush_s: Seconds = 0.8

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/\s]+", self.endpoint):
            raise ValueError(f"endpoint: expected http://HOST:PORT or https://HOST:PORT, got {self.endpoint!r}")


#: The extra that a section needs when it is enabled.
_EXTRAS = {"monitor": "monitor", "tracing": "otel"}


def missing_extras(sections: Mapping[str, Any]) -> list[str]:
    """Say which enabled sections need something that is not installed."""
    return [f"{name}.enabled needs {' and '.join(lacking)}: {extras.how_to_install(extra)}"
            for name, extra in _EXTRAS.items() if sections[name].enabled and (lacking := extras.missing(extra))]
