"""The closing report: what became of every file, by reason and by group, from what is durable in the state directory.

First a struct (``build``), then text (``report_text``) or JSON: what a person reads and what a machine reads are the
same figures.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from actors.console.causes import Cause, newest_causes
from actors.console.groups import Group, Groups, all_groups, folded_groups
from actors.console.history import read_record, why_no_record
from actors.runtime.counts import OUTCOMES
from actors.runtime.database import OtherVersion, open_for_reading
from actors.runtime.errors import ConfigError
from actors.runtime.events import BAD_CONFIG, DONE, FAILED, OVER_BUDGET, RESUMABLE, RunResult
from actors.runtime.given_again import AGAIN, Some, Told, told_of
from actors.runtime.ledger import ANY_RUN, read_units
from actors.runtime.manifest import Manifest
from actors.runtime.pipeline import Pipeline
from actors.runtime.rundir import find
from actors.runtime.settling import failed_before
from actors.runtime.topology import DEAD_LETTERS
from actors.runtime.units import LEDGER, under_way
from actors.runtime.values import FILE_LOST, HANDED_OVER, MISSED, SOURCE_DAMAGED, SOURCE_LOST, Unit
from actors.sinks.dead_letters import DeadLetters

ACCEPTABLE = "acceptable error rate, successful load"
NO_GOOD = "no good record, and budget.max_error_rate allows that: successful load"
HIGH = "high error rate, failed load"
NOT_WHOLE = ("not whole, failed load: kept its name; give the whole file under the same name, it goes on behind what "
             "was read")
LOST = ("not whole, failed load: bytes are gone before they were read, the rest is loaded; given again, the file is "
        "read from there on")
TAKEN = ("not whole: what its source had is gone before it was read (retention or compaction took it, or somebody "
         "removed it); what it has is loaded")
DAMAGED = "not whole: some of what its source had is not what was written any more; the rest is loaded"
HANDED = "handed over: another run goes on with it"
UNFINISHED = "not finished: kept its name, run again to resume"
OPEN_ENDED = "loaded so far; a later run goes on from here"
ALL_LOADED = "all input is loaded"
NOT_PUT_AWAY = "not put away yet: run again to finish"
NO_GROUPS = Groups()
#: What units are called: files, or the partitions of a topic, or the parts of what was taken from a queue.
FILES, PARTITIONS, PARTS = "files", "partitions", "parts"
_MEANING = {
    DONE: "done",
    FAILED: "failure",
    RESUMABLE: "stopped with work left: run the same command again {how}to resume",
    BAD_CONFIG: "the configuration is invalid, or something that it names cannot be used",
    OVER_BUDGET: "error budget exceeded: see the rejected records, mend or raise budget.max_error_rate, run again",
}
#: What is safe when files have failed, by cause.
_SAFE_WHEN_BAD = ("error budget exceeded: good records are stored; mend the cause of the rejected ones, then "
                  "thresher dlq retry {target}: a run would load the files again from their beginning")
_SAFE_WHEN_BAD_FOLLOWED = ("error budget exceeded: good records are stored; mend the cause of the rejected ones, then "
                           "thresher dlq retry {target}: a run reads on behind them, and never again what it has read")
_SAFE_BEFORE = ("files of earlier runs failed, and have open dead letters: thresher dlq retry {target}, or "
                "thresher dlq purge {target}, or give the files again")
_SAFE_WHEN_REFUSED = ("files were loaded before and would count twice: take them away, leave them out by "
                      "source.again = \"skip\", or count them twice by source.again = \"load\"")
_SAFE_WHEN_LOST = ("bytes of files are gone before they were read, the rest is loaded: give a copy of each whole file, "
                   "if there is one, under the same name and run again: only what is missing is loaded")
_SAFE_WHEN_TAKEN = ("records of the source are gone before they were read: read sooner, or let it keep them for "
                    "longer; thresher dlq purge {target} takes note of those that are gone")
_SAFE_WHEN_CUT = "files are not whole: give each whole file under the same name and run again: only the rest is loaded"
_SAFE_WHEN_DAMAGED = ("records of the source are damaged, the rest is loaded: mend what has damaged them; "
                      "thresher dlq purge {target} takes note of them")


class UnitReport(msgspec.Struct, frozen=True):
    """What became of one file. Of very many ``groups`` the largest are here, and how many there are.

    ``late``: so many were written, and are in no window, for theirs were closed. ``partly_late``: so many are in some
    of their windows, and the others were closed. ``made``: how many things were made of the records, each of which has
    one outcome: as many, unless ``parse`` returns ``Many`` or ``route`` several sinks. ``handed_over``: so many were
    read, and are another run's to do. ``under_way``: so many batches were read and are not finished: no outcome of
    theirs is counted, and what of them is folded is in ``groups``.
    """

    name: str
    status: str
    verdict: str
    read: int
    processed: int
    errors: int
    error_rate: float
    rejected: dict[str, int]
    written: dict[str, int]
    groups: list[Group]
    problem: str
    balanced: bool
    damage: str = ""
    note: str = ""
    groups_count: int = 0
    late: int = 0
    partly_late: int = 0
    made: int = 0
    handed_over: int = 0
    under_way: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether it is a cause for exit code 4. One that goes on, or was handed over, is when its source lost some."""
        return self.status == "failed" or (
            bool(self.damage) and any(fault in self.rejected for fault in MISSED))


class Report(msgspec.Struct, frozen=True):
    """The whole report; ``groups`` are those of all units together, the largest of them when there are very many.

    ``journal``: the folder of the source's own files, which nobody has given it: they are shown together. ``target``:
    what ``thresher dlq`` is to be given for this state. Of what was given again: how many, and the first names.
    ``read_before``: those that earlier runs have read. ``made``: as in ``UnitReport``. ``what``: what its units are, in
    the plural. ``causes``: of each reason for which records were rejected, the newest. ``how``:
    what is different in the command that resumes.
    """

    name: str
    dry: bool
    units: list[UnitReport]
    groups: list[Group]
    read: int
    outcomes: dict[str, int]
    seconds: float
    records_per_s: float
    outages: dict[str, str]
    places: dict[str, str]
    state: str
    code: int
    reason: str
    journal: str = ""
    groups_count: int = 0
    target: str = ""
    loaded_again: Some = Some()
    skipped: Some = Some()
    refused: Some = Some()
    why_refused: str = ""
    failed_before: Some = Some()
    made: int = 0
    what: str = FILES
    read_before: int = 0
    causes: dict[str, Cause] = {}
    how: str = ""

    def fields(self) -> dict[str, Any]:
        """As a map, for machines."""
        return {"event": "report", **msgspec.to_builtins(self), "meaning": meaning(self)}


def build(
    manifest: Manifest, pipeline: Pipeline, result: RunResult | None, run: str | None, target: str = "",
    is_fresh: bool = False
) -> Report:
    """Read the state directory and return the report of a run (``is_fresh``: that was told to begin anew); of the last
    one when ``run`` is None."""
    state = Path(manifest.state)
    last = read_record(state) if run is None else None
    asked = run is None
    if last is not None:
        result, run = last.result, last.run
    try:
        units = read_units(state / LEDGER, run)
    except sqlite3.Error as error:
        if asked and isinstance(error, OtherVersion):  # at the end of a run it was said
            raise
        units = []
    groups, of_unit, unfit, unread = _folded(manifest, pipeline, units)
    is_done = result is not None and result.code == DONE
    waiting = {} if run is None else under_way(state / LEDGER, run)
    reports = [_unit_report(unit, of_unit.get(unit.id, NO_GROUPS), is_done, waiting.get(unit.id, 0)) for unit in units]
    outcomes = {name: sum(unit.counts.get(name, 0) for unit in units) for name in OUTCOMES}
    read = sum(unit.counts.get("read", 0) for unit in units)
    read_before = sum(unit.before for unit in units)
    seconds = 0.0 if result is None else result.seconds
    told, failed = _given_again(state / LEDGER, run, units)
    code, reason = _verdict(result, reports, told.refused, failed, what := _what_units_are(manifest),
                            _where_it_hung(manifest, result, units))
    if result is None and find(state) is not None:
        code, reason = RESUMABLE, "the run is going on: thresher status shows it"
    elif result is None and last is not None and code in (DONE, OVER_BUDGET):
        code, reason = RESUMABLE, "the run was killed before its end"
    elif asked and last is None and (why := why_no_record(state)):
        code, reason = FAILED, why
    elif result is None and not units:
        code, reason = FAILED, f"nothing has run with the state directory {state}"
    elif not units and code == DONE and reason == ALL_LOADED:
        reason = f"nothing to do: no new input in {manifest.source.load().describe()}"
    code, reason = (FAILED, unfit) if unfit else (code, reason)
    if unread:
        reason = f"{reason}; what was folded cannot be read now ({unread}): thresher report shows it when it can"
    return Report(
        name=manifest.name, dry=manifest.dry, units=reports, groups=groups.shown, read=read,
        outcomes=outcomes, seconds=seconds, records_per_s=(read - read_before) / seconds if seconds else 0.0,
        outages={} if result is None else result.outages, places=_places(manifest), state=manifest.state,
        code=code, reason=reason, journal=manifest.source.load().journal_folder(),
        groups_count=groups.count, target=target or manifest.name, skipped=told.skipped, refused=told.refused,
        why_refused=told.why, failed_before=failed, loaded_again=_some(
            unit.name for unit in units if unit.note.startswith(AGAIN)), made=sum(unit.made for unit in reports),
        what=what, read_before=read_before, causes=_causes(manifest, reports),
        how="with --resume " if not manifest.limits.resume else "without --fresh " if is_fresh else "")


def _causes(manifest: Manifest, reports: Sequence[UnitReport]) -> dict[str, Cause]:
    letters = manifest.dead_letters.load()
    if manifest.dry or not isinstance(letters, DeadLetters):
        return {}
    path = letters.place(DEAD_LETTERS, Path(manifest.state))
    return newest_causes(path, sorted({reason for unit in reports for reason in unit.rejected}))


def _what_units_are(manifest: Manifest) -> str:
    """Files are read again from their beginning when they have failed; what has an address is read on."""
    source = manifest.source.load()
    if not source.addressed_by:
        return FILES
    return PARTS if source.journal_folder() else PARTITIONS


def _folded(
    manifest: Manifest, pipeline: Pipeline, units: Sequence[Unit]
) -> tuple[Groups, Mapping[int, Groups], str, str]:
    """What was folded; why it does not fit: the run has failed then, whatever it says; and why it cannot be read now,
    on a disk that is full, say: it is there all the same."""
    try:
        return *folded_groups(manifest, pipeline, units), "", ""
    except ConfigError as error:
        if isinstance(error, OtherVersion):
            raise
        return NO_GROUPS, {}, str(error), ""
    except sqlite3.Error as error:
        return NO_GROUPS, {}, "", str(error)


def _some(names: Iterable[str]) -> Some:
    some = Some()
    for name in names:
        some = some.plus(name)
    return some


def _given_again(ledger: Path, run: str | None, units: Sequence[Unit]) -> tuple[Told, Some]:
    """What was skipped and refused in a run, and which files other runs have failed."""
    if not ledger.exists() or run is None:
        return Told(""), Some()
    try:
        with closing(open_for_reading(ledger)) as connection:
            return told_of(connection, run), _some(failed_before(connection, run))
    except sqlite3.Error:
        return Told(""), Some()


def meaning(report: Report) -> str:
    """What the exit code means, and what is safe to do, by the causes that there are."""
    failed = [unit for unit in report.units if unit.has_failed] if report.code == OVER_BUDGET else []
    lost = {next((fault for fault in (SOURCE_LOST, FILE_LOST) if fault in unit.rejected), "")
            for unit in failed if unit.damage}
    cut = _SAFE_WHEN_CUT if report.what == FILES else _SAFE_WHEN_DAMAGED
    causes = [text.format(target=report.target) for fault, text in (
        ("", cut), (FILE_LOST, _SAFE_WHEN_LOST), (SOURCE_LOST, _SAFE_WHEN_TAKEN)) if fault in lost]
    if any(not unit.damage for unit in failed):
        bad = _SAFE_WHEN_BAD if report.what == FILES else _SAFE_WHEN_BAD_FOLLOWED
        causes.insert(0, bad.format(target=report.target))
    if report.code == OVER_BUDGET:
        causes += [_SAFE_WHEN_REFUSED] if report.refused.count else []
        causes += [_SAFE_BEFORE.format(target=report.target)] if report.failed_before.count else []
    return "; ".join(causes) or _MEANING.get(report.code, "").format(how=report.how)


def _where_it_hung(manifest: Manifest, result: RunResult | None, units: Sequence[Unit]) -> str:
    """What a reader was at that hung, as far as is known: whoever waits for it has no batch that tells."""
    if result is None or not re.match(r"reader\.\d+ hung ", result.reason):
        return ""
    options = manifest.source.load()
    where = next((f"{unit.name}, behind its byte {unit.low - unit.base}" for unit in units if unit.status == "reading"),
                 options.describe())
    first = options.cut_by().get("record_start")
    return f"; it was reading {where}" + (
        f"; record_start = {first!r} may take without end on a line there" if first else "")


def _verdict(
    result: RunResult | None, units: Sequence[UnitReport], refused: Some, failed_before: Some, noun: str,
    where: str
) -> tuple[int, str]:
    unbalanced = [unit.name for unit in units if not unit.balanced]
    broken = [unit.name for unit in units if unit.status == "broken" or (unit.status == "loaded" and unit.problem)]
    if unbalanced:
        return FAILED, f"the outcomes of {unbalanced[0]} do not add up to what was read: please report this"
    if result is not None and result.code == FAILED:
        return FAILED, result.reason + where
    if broken:
        return FAILED, f"{len(broken)} of {len(units)} {noun} could not be read or put away, the first is {broken[0]}"
    if result is not None and result.code != DONE:
        return result.code, result.reason
    # When a run has ended well, those that it was still reading have no end yet.
    unfinished = [unit.name for unit in units if unit.status in ("reading", "loaded")[result is not None:]]
    if unfinished:
        return RESUMABLE, f"{len(unfinished)} of {len(units)} {noun} are not finished, the first is {unfinished[0]}"
    failed = [unit for unit in units if unit.has_failed]
    causes = [f"{len(names)} of {len(units)} {noun} {what}, the first is {names[0]}"
              for what, names in (("had too many errors", [unit.name for unit in failed if not unit.damage]),
                                  ("are not whole", [unit.name for unit in failed if unit.damage])) if names]
    causes += [f"{count_of_files(some)} {what}, the first is {some.names[0]}" for some, what in (
        (refused, "loaded before and not loaded again"), (failed_before, "of earlier runs failed")) if some.count]
    if causes:
        return OVER_BUDGET, "; ".join(causes)
    return DONE, ALL_LOADED if result is None else result.reason


def count_of_files(some: Some) -> str:
    return f"{some.count:,} file{'' if some.count == 1 else 's'}"


def _unit_report(unit: Unit, groups: Groups, is_done: bool, waiting: int = 0) -> UnitReport:
    counts = unit.counts
    outcomes = {name: counts.get(name, 0) for name in OUTCOMES}
    errors, handed_over = outcomes["dead_lettered"], outcomes["handed_over"]
    processed = sum(outcomes.values()) - errors - handed_over
    return UnitReport(
        name=unit.name, status=unit.status, verdict=_verdict_of(unit, is_done), read=counts.get("read", 0),
        processed=processed, errors=errors, error_rate=errors / (processed + errors) if processed + errors else 0.0,
        rejected=_with_prefix(counts, "rejected."), written=_with_prefix(counts, "written."), groups=groups.shown,
        problem=unit.problem, balanced=counts.get("read", 0) == sum(outcomes.values()), groups_count=groups.count,
        damage=unit.damage, note=unit.note, late=counts.get("late", 0), partly_late=counts.get("partly_late", 0),
        made=_made_of(counts), handed_over=handed_over, under_way=waiting)


def _made_of(counts: dict[str, int]) -> int:
    """How many things were made of the records: of most one each."""
    return counts.get("read", 0) - counts.get("many", 0) + counts.get("made", 0)


def _verdict_of(unit: Unit, is_done: bool) -> str:
    if unit.status == "broken":
        return f"could not be read: {unit.problem}"
    if unit.status == "loaded" and unit.problem:
        return f"{ACCEPTABLE}; {unit.problem}"
    if unit.status == "loaded":
        return f"{ACCEPTABLE}; {NOT_PUT_AWAY}"
    if unit.damage and unit.counts.get(f"rejected.{SOURCE_LOST}"):
        return TAKEN
    if unit.damage and unit.counts.get(f"rejected.{SOURCE_DAMAGED}"):
        return DAMAGED
    if unit.status == HANDED_OVER:
        return HANDED
    if unit.status == "failed" and unit.damage:
        return LOST if unit.counts.get(f"rejected.{FILE_LOST}") else NOT_WHOLE
    counts = unit.counts
    good = NO_GOOD if 0 < counts.get("dead_lettered", 0) == counts.get("read", 0) else ACCEPTABLE
    return {"failed": HIGH, "reading": OPEN_ENDED if is_done else UNFINISHED}.get(unit.status, good)


def _with_prefix(counts: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): number for name, number in sorted(counts.items()) if name.startswith(prefix)}


def _places(manifest: Manifest) -> dict[str, str]:
    state = Path(manifest.state)
    places: dict[str, str] = {}
    for name, component in [*manifest.sinks.items(), ("dead letters", manifest.dead_letters)]:
        options = component.load()
        places[name] = str(options.place(name, state) or options.describe())
    return places


def print_groups(manifest: Manifest, pipeline: Pipeline) -> int:
    """Print everything that is folded, by all runs: a JSON object for each group, one line after the other; return the
    exit code."""
    state, printed = Path(manifest.state), 0
    try:
        units = read_units(state / LEDGER, ANY_RUN)
    except sqlite3.OperationalError:  # nothing has run here
        units = []
    for group in all_groups(manifest, pipeline, units):
        print(msgspec.json.encode(group).decode())
        printed += 1
    if not printed and not (state / LEDGER).exists() and (why := why_no_record(state)):
        print(why, file=sys.stderr)
        return FAILED
    return DONE


# Text -------------------------------------------------------------------------------------------------------------
