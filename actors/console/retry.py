"""``thresher dlq retry``: letters go in again, at the stage that rejected them, as new data of now.

    writer.NAME               ──▶ that sink itself, in this process                     ──▶ store
    aggregator.N              ──▶ nowhere: rows and windows that it could not emit are no input
    reader, parser, checker   ──▶ plan ──▶ a run of the pipeline that reads the plan    ──▶ settle ──▶ store

A retry through the pipeline is a run with an input unit and a partition of its own, so it touches neither the positions
of other runs nor what aggregators have applied of them. One that was interrupted is taken up first, as it was planned
and in the partition it began in, so nothing is folded twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from actors.console.letters import Filters, Store, matching
from actors.console.resend import resend
from actors.console.retry_plan import Plan, make_plan, settle, unfinished
from actors.runtime.errors import ConfigError
from actors.runtime.events import DONE, FAILED, OVER_BUDGET, RESUMABLE, Observer, RunResult
from actors.runtime.manifest import RETRY, Component, Manifest, component_of
from actors.runtime.poison import REASONS
from actors.runtime.ports import SinkOptions
from actors.runtime.rundir import RunDirectory
from actors.runtime.sections import BudgetOptions, MonitorOptions
from actors.sinks.returned import Returned
from actors.sources.dead_letters import PlannedLetters

#: A letter is a batch of its own here, so more of them are under way than in a run; bytes are bounded as ever.
_WINDOW_BATCHES, _CREDIT = 1024, 32

#: Letters that say what could not be read. A record without bytes that killed its worker is a record all the same.
_EMPTY = ("stage = 'reader' AND length(raw) = 0 AND (envelope = x'' OR reason NOT IN "
          f"({', '.join(map(repr, REASONS))}))")

Run = Callable[[Manifest, Observer], RunResult]


class Prepared(msgspec.Struct, frozen=True):
    """What a command is going to do.

    Attributes:
        interrupted: an earlier retry that did not end; it is taken up first.
        numbers: the letters beyond it.
        pieces: how many more match, but are pieces of input from the reader, and nobody asked for those: the first
            half of a line may pass for a whole record.
        empty: how many more match, but hold no bytes: they say what could not be read, and nothing can go in.
        emitted: how many more match, but are rows and windows that an aggregator could not emit: no input.
    """

    interrupted: Plan | None
    numbers: list[int]
    pieces: int
    empty: int
    emitted: int = 0


class Outcome(msgspec.Struct):
    """How it ended: letters done, letters rejected again by reason, and the exit code with its reason."""

    retried: int = 0
    rejected: Counter[str] = msgspec.field(default_factory=Counter)
    code: int = DONE
    reason: str = "all letters are done"


class Retry:
    """One command.

    Args:
        manifest: the configuration of now.
        store: where the letters are.
        run: the supervisor's ``run``.
        observer: who is told.
        only_missing: leave keys alone that are there already.
    """

    def __init__(self, manifest: Manifest, store: Store, run: Run, observer: Observer, only_missing: bool) -> None:
        self._manifest = manifest
        self._store = store
        self._run = run
        self._observer = observer
        self._only_missing = only_missing
        self._state = Path(manifest.state)

    def prepare(self, filters: Filters) -> Prepared:
        """Find the letters, and what stands in the way, before anything is sent.

        Raises:
            ConfigError: a run is going on; a letter's sink is not there; a sink cannot keep what is there.
        """
        with closing(RunDirectory(self._state)), closing(self._store.connect()) as connection:
            settle(connection, self._state)
            interrupted = unfinished(connection)
            if self._only_missing or (interrupted is not None and interrupted.only_missing):
                _keeping(self._manifest)
            found = set(matching(connection, filters))
            emitted = found & _numbers(connection, "stage GLOB 'aggregator.*'")
            found -= emitted
            if interrupted is not None:
                found -= _numbers(connection, "id IN (SELECT letter FROM planned)")
                found -= _numbers(connection, f"retry = {interrupted.retry}")  # it has rejected them already
            pieces = set[int]() if filters.ids or filters.stages else found & _numbers(connection, "stage = 'reader'")
            empty = (found - pieces) & _numbers(connection, _EMPTY)
            numbers = sorted(found - pieces - empty)
            self._check_sinks(connection, numbers)
            return Prepared(interrupted, numbers, len(pieces), len(empty), len(emitted))

    def carry_out(self, prepared: Prepared) -> Outcome:
        """Send the letters; return how it ended. What was not sent stays open."""
        outcome = Outcome()
        if prepared.interrupted is not None:
            self._through_pipeline(prepared.interrupted, outcome)
        if outcome.code == DONE:
            plan = self._straight(prepared.numbers, outcome)
            if plan is not None:
                self._through_pipeline(plan, outcome)
        if outcome.code == DONE and outcome.rejected:
            outcome.code, outcome.reason = OVER_BUDGET, "some letters were rejected again"
        return outcome

    def _check_sinks(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
        for stage, number, count in connection.execute(
                "SELECT stage, min(id), count(*) FROM letters WHERE stage GLOB 'writer.*' AND status = 'open' "
                "AND id IN (SELECT value FROM json_each(?)) GROUP BY stage", (json.dumps(numbers),)):
            name = stage.partition(".")[2]
            if name not in self._manifest.sinks:
                raise ConfigError(
                    f"letter {number}: refused by the sink {name!r} ({count} such), and {self._manifest.name} has none "
                    f"of that name: expected one of {', '.join(self._manifest.sinks)}: choose others with --stage, "
                    "or export and purge these")

    def _straight(self, numbers: Sequence[int], outcome: Outcome) -> Plan | None:
        """Send what writers had refused; return the plan for the others, unless a sink is down."""
        manifest = _keeping(self._manifest) if self._only_missing else self._manifest
        with closing(RunDirectory(self._state)), closing(self._store.connect()) as connection:
            resent = resend(manifest, connection, numbers, self._only_missing, self._observer)
            outcome.retried += resent.stored
            outcome.rejected += resent.refused
            if resent.problem:
                outcome.code, outcome.reason = RESUMABLE, resent.problem
                return None
            return make_plan(connection, numbers, self._only_missing)

    def _through_pipeline(self, plan: Plan, outcome: Outcome) -> None:
        result = self._run(self._manifest_of(plan), self._observer)
        with closing(self._store.connect()) as connection:
            settle(connection, self._state)
            left = unfinished(connection)
            for status, reason, number in connection.execute(
                    "SELECT status, reason, count(*) FROM letters WHERE retry = ? GROUP BY status, reason",
                    (plan.retry,)):
                if status == "retried":
                    outcome.retried += number
                else:
                    outcome.rejected[reason] += number
        if result.code != DONE:
            outcome.code, outcome.reason = (FAILED if result.code == FAILED else RESUMABLE), result.reason
        elif left is not None:
            outcome.code, outcome.reason = FAILED, f"{left.left} letters are sent and not settled: please report this"

    def _manifest_of(self, plan: Plan) -> Manifest:
        """The run of a plan: the configuration of now, with another source and another place for what is rejected."""
        manifest = _keeping(self._manifest) if plan.only_missing else self._manifest
        options, flow = self._store.options, manifest.flow
        return msgspec.structs.replace(
            manifest, run=f"{RETRY}{manifest.run}-{plan.retry}", budget=BudgetOptions(max_error_rate=1.0),
            monitor=MonitorOptions(),  # its port may be that of another run
            source=component_of(PlannedLetters(
                path=str(self._store.path), retry=plan.retry, key=plan.key, total=plan.total)),
            dead_letters=component_of(Returned(path=options.path, max_bytes=options.max_bytes, retry=plan.retry)),
            flow=msgspec.structs.replace(
                flow, window_batches=max(flow.window_batches, _WINDOW_BATCHES), credit=max(flow.credit, _CREDIT)))


def _numbers(connection: sqlite3.Connection, where: str) -> set[int]:
    return {number for (number,) in connection.execute(f"SELECT id FROM letters WHERE {where}")}


def _keeping(manifest: Manifest) -> Manifest:
    """The same with sinks that leave keys alone that are there already.

    Raises:
        ConfigError: a sink cannot.
    """
    sinks: dict[str, Component[SinkOptions]] = {}
    for name, component in manifest.sinks.items():
        options = component.load()
        keeping = options.keeping()
        if keeping is None:
            raise ConfigError(f"--only-missing: sinks.{name} ({options.describe()}) cannot tell whether a key is there "
                              "already: retry without it, and what is there is overwritten")
        sinks[name] = component_of(keeping)
    return msgspec.structs.replace(manifest, sinks=sinks)
