"""``thresher verify``: a line for each run as it ends, then the first differences, their likely cause, the verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import msgspec

from actors.runtime.events import DONE, FAILED
from actors.settings import Settings
from actors.verify.plan import REFERENCE
from actors.verify.runs import SampleChanged
from actors.verify.verification import RunReport, Verification
from actors.verify.verification import verify as make_runs

_ORDER_KEPT = "order of lines: kept (without event time no disorder is allowed)"
_HEADER = (f"{'run':<10} {'workers':>7} {'fused':>5} {'shards':>6} {'batch bytes':>11} {'window':>6} {'kills':>5} "
           f"{'seconds':>7}  result")


def verify(settings: Settings, command: Sequence[str], runs: int, kills: int, seed: int, as_json: bool) -> int:
    """Verify, print, and return the exit code: 0 all the same, 1 different or not finished."""
    def tell(report: RunReport) -> None:
        if not as_json:
            if report.variant.kind == REFERENCE:
                print(f"{settings.manifest.name}: verifying with {settings.manifest.source.load().describe()}, "
                      f"{runs} runs, seed {seed}\n{_ORDER_KEPT}\n\n{_HEADER}")
            print(row(report), flush=True)

    try:
        verification = make_runs(settings.manifest, settings.pipeline, command, runs, kills, seed, tell)
    except SampleChanged as error:
        print(error, file=sys.stderr)
        return FAILED
    print(json.dumps(msgspec.to_builtins(verification)) if as_json else "\n" + render(verification))
    return DONE if verification.same else FAILED


def row(report: RunReport) -> str:
    """One run as a row of the table."""
    variant = report.variant
    wanted = f"{len(report.killed)}/{variant.kills}" if variant.kills != len(report.killed) else str(variant.kills)
    return (f"{variant.kind:<10} {variant.workers:>7} {'yes' if variant.fused else 'no':>5} {variant.shards:>6} "
            f"{variant.batch_bytes:>11,} {variant.window_batches:>6} {wanted:>5} {report.seconds:>7.2f}  "
            f"{_result(report)}")


def render(verification: Verification) -> str:
    """The verdict with its reasons, as plain text."""
    runs = verification.runs
    lines = [line for number, run in enumerate(runs, 1) if run.problem
             for line in (f"run {number} ({run.variant.kind}) did not finish: {run.problem}", "")]
    if runs[0].problem:
        return "\n".join([*lines, "no verdict: without a reference there is nothing to compare with"])
    differing = [run for run in runs if run.differences]
    number = f"{verification.records:,} records of {len(verification.units)} units, {len(runs)} runs"
    if verification.same:
        return "\n".join([*lines, f"the same: {number}, every one came to what one worker came to without kills"])
    if differing:
        lines += [f"first differences of the run {differing[0].variant.kind!r}:"]
        for each in differing[0].first:
            lines += [f"  {each.where}: {each.record}", f"    expected {each.expected}", f"    got      {each.got}"]
        lines += ["", *(f"likely: {hint}" for hint in verification.hints), ""]
    unequal = sum(not run.is_same for run in runs)
    return "\n".join([*lines, f"DIFFERENT: {number}, {unequal} of them did not come to what the reference came to"])


def _result(report: RunReport) -> str:
    if report.problem:
        return "did not finish"
    if report.variant.kind == REFERENCE:
        return "reference"
    return f"{report.differences:,} differences" if report.differences else "the same"
