"""The closing report as text, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from actors.console.groups import Group
from actors.console.report import Report, UnitReport, count_of_files, meaning
from actors.runtime.counts import merged
from actors.runtime.given_again import AGAIN
from actors.runtime.printable import one_line


def render(report: Report) -> str:
    """The report as plain text, at most some 100 columns wide."""
    lines = [f"{report.name}: dry run, nothing was written" if report.dry else f"{report.name}: report", ""]
    for unit in _condensed(report):
        lines += [*_unit_lines(unit), ""]
    if report.groups and report.units:
        of_units = any(unit.groups for unit in report.units)
        if len(report.units) > 1 or not of_units:
            lines += ["all files" if of_units else "so far, in all runs",
                      *_group_lines(report.groups, report.groups_count), ""]
    if report.read or report.units:
        outcomes = ", ".join(
            f"{number:,} {name.replace('_', '-')}" for name, number in report.outcomes.items() if number)
        rate = f" in {report.seconds:.1f} s ({report.records_per_s:,.0f} records/s)" if report.seconds else ""
        now = f", {report.read - report.read_before:,} of them now{rate}" if report.read_before else rate
        waiting = sum(unit.under_way for unit in report.units)
        did, more = ("finished", f"; {_batches(waiting)} more were read, and wait") if waiting else ("read", "")
        lines.append(f"{did} {report.read:,} records{now}: {outcomes or 'nothing'}{more}")
        if report.made != report.read:
            lines.append(f"made {report.made:,} items of them: a record counts as dead-lettered if any of its items "
                         "is, else as written if any is")
    if report.causes:
        width = max(map(len, report.causes))
        lines.append(f"why, the newest of each (thresher dlq ls {report.target} shows more):")
        lines += [f"  {reason:<{width}}  {cause.text}{f'  ({cause.at})' if cause.at else ''}"
                  for reason, cause in report.causes.items()]
    lines += [f"{count_of_files(some)} {what}: {', '.join(some.names)}{' …' if some.count > len(some.names) else ''}"
              for some, what in ((report.loaded_again, AGAIN), (report.skipped, "loaded before, skipped"),
                                 (report.refused, f"refused: {report.why_refused}"),
                                 (report.failed_before, "failed in earlier runs")) if some.count]
    lines += [f"still down: {writer}: {problem}" for writer, problem in report.outages.items()]
    if not report.dry:
        lines += [f"{name + ':':<14}{place}" for name, place in report.places.items()]
    lines.append(f"exit code {report.code} ({meaning(report)}): {report.reason}")
    return "\n".join(map(one_line, lines))


def _condensed(report: Report) -> list[UnitReport]:
    """The units, those of a journal that went the same way as one."""
    units: list[UnitReport] = []
    alike: dict[str, list[UnitReport]] = {}
    for unit in report.units:
        if report.journal and unit.name.startswith(f"{report.journal}/") and unit.balanced and not unit.problem:
            alike.setdefault(unit.verdict, []).append(unit)
        else:
            units.append(unit)
    for segments in alike.values():
        processed, errors = sum(unit.processed for unit in segments), sum(unit.errors for unit in segments)
        count = f"{len(segments):,} segment{'s' if len(segments) > 1 else ''}"
        units.append(msgspec.structs.replace(
            segments[0], name=f"{report.journal}, {count}", read=sum(unit.read for unit in segments),
            processed=processed, errors=errors, error_rate=errors / (processed + errors) if processed + errors else 0.0,
            rejected=merged(unit.rejected for unit in segments), written=merged(unit.written for unit in segments),
            late=sum(unit.late for unit in segments), partly_late=sum(unit.partly_late for unit in segments),
            made=sum(unit.made for unit in segments), handed_over=sum(unit.handed_over for unit in segments),
            under_way=sum(unit.under_way for unit in segments)))
    return units


def _batches(number: int) -> str:
    return f"{number:,} batch{'es' * (number != 1)}"


def _unit_lines(unit: UnitReport) -> list[str]:
    lines = [unit.name]
    if unit.status != "broken":
        lines.append(f"  processed {unit.processed:,}, errors {unit.errors:,}, error rate {unit.error_rate:.4f}")
        if unit.rejected:
            lines.append("  rejected: " + ", ".join(f"{name} {number:,}" for name, number in unit.rejected.items()))
        lines += _group_lines(unit.groups, unit.groups_count)
        if unit.written and not unit.groups:
            lines.append("  written: " + ", ".join(f"{name} {number:,}" for name, number in unit.written.items()))
        if unit.made != unit.read:
            lines.append(f"  made: {unit.made:,} of {unit.read:,} records")
        if unit.late:
            lines.append(f"  late: {unit.late:,} of these are written, and in no window: theirs were closed")
        if unit.partly_late:
            lines.append(f"  late: {unit.partly_late:,} of these are in some of their windows: the others were closed")
        if unit.handed_over:
            lines.append(f"  handed over: {unit.handed_over:,} that were read and not finished")
        if unit.under_way:
            folded = ": the table counts what of them is folded" if unit.groups else ""
            lines.append(f"  under way: {_batches(unit.under_way)} more, read and not finished{folded}")
        if unit.problem and unit.problem not in unit.verdict:
            lines.append(f"  note: {unit.problem}")
        if unit.note:
            lines.append(f"  note: {unit.note}")
        if not unit.balanced:
            lines.append(f"  THE OUTCOMES DO NOT ADD UP: read {unit.read:,}")
    lines.append(f"  {unit.verdict}")
    return lines


def _group_lines(groups: Sequence[Group], count: int) -> list[str]:
    if not groups:
        return []
    header = [*groups[0].keys, *groups[0].numbers]
    rows = [[*group.keys.values(), *(f"{number:,}" for number in group.numbers.values())] for group in groups]
    more = count - len(groups)
    return [*_table(header, rows, len(groups[0].keys)),
            *([f"  and {more:,} more: thresher report TARGET --groups prints all"] if more > 0 else [])]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterable[str]:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        cells = [cell.ljust(width) if column < left else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True))]
        yield ("  " + "  ".join(cells)).rstrip()
