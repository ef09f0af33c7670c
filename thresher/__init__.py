"""Thresher: record pipelines on all cores of a machine. This package is what users import; nothing else is.

    from thresher import Fold, Many, Pipeline, Reject           what an application is made of
    from thresher.sources import Files                          where records come from
    from thresher.sinks import DeadLetters, Lmdb                where they go
    from thresher.testing import run_inline                     a pipeline in the test's own process

``python -m thresher`` is the command ``thresher``. All that lies in ``actors`` is behind the door, and may move from
one version to the next. Names are imported when they are first used, so that importing this costs nothing.
``docs/reference.md`` says what each name takes and returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thresher._lazy import lazy

if TYPE_CHECKING:
    from actors.runtime.browse import Browse, Chart, Charts, Item, Items, Look
    from actors.runtime.errors import ConfigError, Finish, Lost, Reject, Retryable
    from actors.runtime.framing import Record
    from actors.runtime.links import Links
    from actors.runtime.outputs import Many
    from actors.runtime.panel import Bars, Curves, Panel
    from actors.runtime.pipeline import (
        Aggregates,
        Bulk,
        Distinct,
        Fold,
        Pipeline,
        Totals,
        Window,
        Windows,
        drop,
        identity,
        per_chunk,
    )
    from actors.runtime.progress import extend, progress
    from actors.runtime.questions import Moment, Question
    from actors.runtime.search import lines_with
    from actors.runtime.sections import (
        AggregatorOptions,
        BudgetOptions,
        CheckerOptions,
        FlowOptions,
        MonitorOptions,
        ParserOptions,
        RecycleOptions,
        RestartOptions,
        RunOptions,
        TracingOptions,
        WatchOptions,
        WindowOptions,
    )
    from actors.runtime.stored import Reader, Store
    from actors.runtime.values import InputUnit
    from thresher._run import RunResult, run
else:
    __getattr__, __dir__ = lazy(__name__, {
        "actors.runtime.browse": ("Browse", "Chart", "Charts", "Item", "Items", "Look"),
        "actors.runtime.errors": ("ConfigError", "Finish", "Lost", "Reject", "Retryable"),
        "actors.runtime.framing": ("Record",),
        "actors.runtime.links": ("Links",),
        "actors.runtime.outputs": ("Many",),
        "actors.runtime.panel": ("Bars", "Curves", "Panel"),
        "actors.runtime.pipeline": (
            "Aggregates", "Bulk", "Distinct", "Fold", "Pipeline", "Totals", "Window", "Windows", "drop", "per_chunk",
            "identity"),
        "actors.runtime.progress": ("extend", "progress"),
        "actors.runtime.questions": ("Moment", "Question"),
        "actors.runtime.search": ("lines_with",),
        "actors.runtime.sections": (
            "AggregatorOptions", "BudgetOptions", "CheckerOptions", "FlowOptions", "MonitorOptions", "ParserOptions",
            "RecycleOptions", "RestartOptions", "RunOptions", "TracingOptions", "WatchOptions", "WindowOptions"),
        "actors.runtime.stored": ("Reader", "Store"),
        "actors.runtime.values": ("InputUnit",),
        "thresher._run": ("RunResult", "run"),
    })

__all__ = [
    "Aggregates",
    "AggregatorOptions",
    "Bars",
    "Browse",
    "BudgetOptions",
    "Bulk",
    "Chart",
    "Charts",
    "CheckerOptions",
    "ConfigError",
    "Curves",
    "Distinct",
    "Finish",
    "FlowOptions",
    "Fold",
    "InputUnit",
    "Item",
    "Items",
    "Links",
    "Look",
    "Lost",
    "Many",
    "Moment",
    "MonitorOptions",
    "Panel",
    "ParserOptions",
    "Pipeline",
    "Question",
    "Reader",
    "Record",
    "RecycleOptions",
    "Reject",
    "RestartOptions",
    "Retryable",
    "RunOptions",
    "RunResult",
    "Store",
    "Totals",
    "TracingOptions",
    "WatchOptions",
    "Window",
    "WindowOptions",
    "Windows",
    "drop",
    "extend",
    "identity",
    "lines_with",
    "per_chunk",
    "progress",
    "run",
]
