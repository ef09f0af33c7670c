"""The whole of a verification: plan, runs, comparison, verdict."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.manifest import Manifest
from actors.runtime.pipeline import Pipeline
from actors.verify.compare import Difference, differences, hints
from actors.verify.plan import Variant, manifest_of, plan, reference_of
from actors.verify.runs import Made, SampleChanged, make

#: Differences that are kept of each run; all are counted.
KEPT = 5


class RunReport(msgspec.Struct, frozen=True):
    """One run, for people and machines.

    Attributes:
        problem: why it did not come to its end; empty if it did.
        differences: how many; ``first`` are the first of them.
    """

    variant: Variant
    seconds: float
    killed: list[str]
    problem: str
    differences: int
    first: list[Difference]

    @property
    def is_same(self) -> bool:
        """Whether everything is as in the reference."""
        return not self.problem and not self.differences


class Verification(msgspec.Struct, frozen=True):
    """What is known after all runs.

    Attributes:
        same: the verdict: whether every run came to what the reference came to.
        records: records in the sample.
        allowed_disorder_s: how far lines may be moved in event time; 0: their order was kept.
    """

    name: str
    seed: int
    same: bool
    units: list[str]
    records: int
    allowed_disorder_s: float
    runs: list[RunReport]
    hints: list[str]


def verify(
    manifest: Manifest, pipeline: Pipeline, command: Sequence[str], runs: int, kills: int, seed: int,
    tell: Callable[[RunReport], None],
) -> Verification:
    """Run the pipeline ``runs`` times and compare; ``tell`` hears of each run when it has ended.

    Args:
        command: runs ``runs.run_one``, for the folder that is added to it.

    Raises:
        ConfigError: the source cannot be read again and again, the configuration is wrong, or there is no input.
        SampleChanged: the input is not the same any more.
    """
    scratch = Path(tempfile.mkdtemp(prefix="thresher-verify-"))
    try:
        manifest_of(manifest, reference_of(manifest), scratch)  # says what cannot be verified
        reference = make(manifest, pipeline, reference_of(manifest), scratch / "1", command)
        units = reference.outcome.units
        if not units and not reference.problem:
            raise ConfigError(f"nothing to verify with: no input in {manifest.source.load().describe()}")
        reports = [_report(reference, reference)]
        tell(reports[0])
        variants = plan(manifest, runs, kills, seed, reference.outcome.sample_bytes) if not reference.problem else []
        for number, variant in enumerate(variants, 2):
            made = make(manifest, pipeline, variant, scratch / str(number), command, reference.seconds)
            _check_sample(reference, made)
            reports.append(_report(reference, made))
            tell(reports[-1])
        differing = [report.variant.kind for report in reports if report.differences]
        return Verification(
            name=manifest.name, seed=seed, same=all(report.is_same for report in reports),
            units=[unit.name for unit in units], records=reference.outcome.read, allowed_disorder_s=0.0, runs=reports,
            hints=hints(differing, [report.variant.kind for report in reports]))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _report(reference: Made, made: Made) -> RunReport:
    # What a run that was cut short has not done is no difference of the pipeline.
    found = [] if made.problem or made is reference else differences(reference.outcome, made.outcome)
    return RunReport(made.variant, made.seconds, made.killed, made.problem, len(found), found[:KEPT])


def _check_sample(reference: Made, made: Made) -> None:
    expected = {unit.name: unit.fingerprint for unit in reference.outcome.units}
    got = {unit.name: unit.fingerprint for unit in made.outcome.units}
    changed = [name for name in expected if name in got and expected[name] != got[name]]
    missing = [name for name in {**expected, **got} if (name in expected) != (name in got)]
    if changed or (missing and not made.problem):
        raise SampleChanged(
            f"{(changed + missing)[0]} changed while it was verified: the runs cannot be compared; "
            "give files that nobody writes to")
