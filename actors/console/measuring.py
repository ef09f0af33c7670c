"""How fast a pipeline is on this machine, for ``thresher bench``: one run watched on its board, what its figures say.

A stage is *busy* while its process works on a batch, also when it waits for a core that others have. What it could do
with cores enough is told by its CPU seconds. So the suggestion goes by what was measured, and says the rest in words.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime import procfs
from actors.runtime.board import BUSY, BoardReader
from actors.runtime.errors import ConfigError, ThresherError
from actors.runtime.events import BAD_CONFIG, DONE, OVER_BUDGET, RESUMABLE
from actors.runtime.manifest import Manifest
from actors.runtime.rundir import BOARD, path_for
from actors.runtime.topology import MONITOR, stage_of

#: Looking at the board costs the run nothing.
_LOOK_S = 0.05
#: Less than this says nothing: the last batches of a run have no company.
LEAST_S, LEAST_BATCHES = 1.0, 10
#: A gain of less is none.
_WORTH = 0.05
#: Who works and uses less of a core than this waits for one.
_OWN_CORES = 0.75
#: After so long a run that was told to end is killed.
_END_S = 30.0
_OUTPUT_LINES = 10
_ENDS = (DONE, RESUMABLE, OVER_BUDGET)
#: CPU seconds of a process that has ended.
_GONE = -1.0


class Actor(msgspec.Struct, frozen=True):
    """One actor at one moment."""

    name: str
    generation: int
    batches: int
    records: int
    bytes_done: int
    busy_s: float
    cpu_s: float


class Sample(msgspec.Struct, frozen=True):
    """All actors at one moment, ``at`` seconds of a monotonic clock."""

    at: float
    actors: list[Actor]


class Stage(msgspec.Struct, frozen=True):
    """What one stage did.

    Attributes:
        stage: its name; writers are one stage.
        processes: how many there are.
        busy: part of the time that its busiest process worked.
        worked: seconds of work in each second, of all of them.
        cores: CPU seconds for each second, of all of them.
        records_per_busy_s: records of the pipeline for each second that one process worked.
    """

    stage: str
    processes: int
    busy: float
    worked: float
    cores: float
    records_per_busy_s: float


class Result(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        workers: of each pool.
        seconds: how long was measured.
        doubt: why the figures say nothing; empty when they do.
        cores: CPU seconds of all processes for each second.
    """

    workers: int
    seconds: float
    records: int
    bytes: int
    batches: int
    doubt: str
    cores: float
    stages: list[Stage]

    @property
    def records_per_s(self) -> float:
        """The rate."""
        return self.records / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_s(self) -> float:
        """The rate in (uncompressed) bytes."""
        return self.bytes / self.seconds if self.seconds else 0.0

    def fields(self) -> dict[str, Any]:
        """As a map, for machines."""
        return {**msgspec.to_builtins(self), "records_per_s": round(self.records_per_s),
                "bytes_per_s": round(self.bytes_per_s)}


def measure(manifest: Manifest, workers: int, command: Sequence[str], folder: Path, seconds: float) -> Result:
    """Run a manifest in a process of its own for so long, or to its end; leave nothing behind.

    Args:
        manifest: what to run, with another state directory.
        workers: of each pool, for the result.
        command: what runs the manifest of the folder that is added to it.
        folder: scratch; made here, and removed.
        seconds: how long is measured.

    Raises:
        ConfigError: the configuration is wrong.
        ThresherError: the run failed.
    """
    folder.mkdir()
    state = folder / "state"
    manifest = msgspec.structs.replace(manifest, state=str(state))
    manifest.save(folder / "manifest.json")
    output = folder / "output.txt"
    with output.open("wb") as file:
        child = subprocess.Popen([*command, str(folder)], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                 start_new_session=True)
    try:
        samples = _watch(child, path_for(state) / BOARD, seconds)
        if child.returncode not in _ENDS:
            lines = output.read_text(errors="replace").strip().splitlines()[-_OUTPUT_LINES:]
            text = "\n".join(lines) or f"the run ended with exit code {child.returncode}"
            raise ConfigError(text) if child.returncode == BAD_CONFIG else ThresherError(text)
        return result_of(samples, workers, "checker" if not manifest.parser.fused else "parser")
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
            shutil.rmtree(path_for(state), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _watch(child: subprocess.Popen[bytes], board: Path, seconds: float) -> list[Sample]:
    """Sample the board until enough was seen or the run has ended; then see to its end."""
    reader: BoardReader | None = None
    samples: list[Sample] = []
    try:
        while child.poll() is None:
            if reader is None and board.exists():
                reader = _opened(board)
            if reader is not None:
                sample = look(reader)
                if samples or any(actor.batches for actor in sample.actors if stage_of(actor.name) == "parser"):
                    samples.append(sample)
            if samples and samples[-1].at - samples[0].at >= seconds:
                break
            time.sleep(_LOOK_S)
    finally:
        if reader is not None:
            reader.close()
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            raise ThresherError(f"the run did not end within {_END_S:g} s") from None
    return samples


def _opened(board: Path) -> BoardReader | None:
    try:
        return BoardReader(board)
    except (OSError, ValueError):  # it is not there yet, or no longer
        return None


def look(reader: BoardReader) -> Sample:
    """Look at all actors once."""
    actors: list[Actor] = []
    for view in reader.views():
        process = procfs.look(view.pid) if view.pid else None
        if stage_of(view.actor) != MONITOR:
            busy_s = view.busy_s + (view.phase_s if view.phase in BUSY else 0.0)
            actors.append(Actor(view.actor, view.generation, view.batches, view.records, view.bytes_done, busy_s,
                                process.cpu_s if process is not None else _GONE))
    return Sample(time.monotonic(), actors)


def result_of(samples: Sequence[Sample], workers: int, counting: str) -> Result:
    """What these samples say, from the first to the last at which something had been done since the one before.

    ``counting``: the stage that knows what a record is.
    """
    used = _until_nothing_comes(samples)
    if len(used) < 2:
        return Result(workers, 0.0, 0, 0, 0, "the input was at its end before anything could be seen", 0.0, [])
    first, last = used[0], used[-1]
    before = {actor.name: actor for actor in first.actors}
    seconds = last.at - first.at
    made = [_difference(before[actor.name], actor) for actor in last.actors if actor.name in before]
    records = sum(actor.records for actor in made if stage_of(actor.name) == counting)
    parsed = [actor for actor in made if stage_of(actor.name) == "parser"]
    batches = sum(actor.batches for actor in parsed)
    doubt = ""
    if any(actor.name in before and actor.generation != before[actor.name].generation for actor in last.actors):
        doubt = "an actor died meanwhile: `thresher run` and `thresher status` show why"
    elif seconds < LEAST_S or batches < LEAST_BATCHES:
        doubt = f"{seconds:.1f} s and {batches} batch{'es' * (batches != 1)} are too little to tell: give more input"
    return Result(workers, seconds, records, sum(actor.bytes_done for actor in parsed), batches, doubt,
                  sum(actor.cpu_s for actor in made) / seconds, _stages(made, records, seconds))


def _until_nothing_comes(samples: Sequence[Sample]) -> Sequence[Sample]:
    def done(sample: Sample) -> int:
        return sum(actor.batches for actor in sample.actors if stage_of(actor.name) == "parser")

    last = len(samples)
    while last >= 2 and (done(samples[last - 1]) <= done(samples[last - 2]) or _is_leaving(samples[last - 1])):
        last -= 1
    return samples[:last]


def _is_leaving(sample: Sample) -> bool:
    """Whether a process has ended already: what it had used is not known any more."""
    return any(actor.cpu_s == _GONE for actor in sample.actors)


def _difference(before: Actor, after: Actor) -> Actor:
    return Actor(after.name, after.generation, after.batches - before.batches, after.records - before.records,
                 after.bytes_done - before.bytes_done, after.busy_s - before.busy_s, after.cpu_s - before.cpu_s)


def _stages(made: Sequence[Actor], records: int, seconds: float) -> list[Stage]:
    by_stage: dict[str, list[Actor]] = {"reader": [], "parser": [], "checker": [], "aggregator": [], "writer": []}
    for actor in made:
        by_stage.get(stage_of(actor.name), []).append(actor)
    stages: list[Stage] = []
    for stage, some in by_stage.items():
        if some:
            worked = sum(actor.busy_s for actor in some)
            busiest = max(actor.busy_s for actor in some)
            stages.append(Stage(stage, len(some), min(1.0, busiest / seconds), worked / seconds,
                                sum(actor.cpu_s for actor in some) / seconds, records / worked if worked > 0 else 0.0))
    return stages


# What the figures say -----------------------------------------------------------------------------------------------


class Suggestion(msgspec.Struct, frozen=True):
    """How many workers to use, None when nothing can be said; and why."""

    workers: int | None
    reasons: list[str]


def suggest(results: Sequence[Result], cores: float) -> Suggestion:
    """Return the fewest workers that are as fast as any."""
    sure = [result for result in results if not result.doubt and result.records]
    if not sure:
        return Suggestion(None, [result.doubt for result in results[:1]])
    most = max(result.records_per_s for result in sure)
    best = min((result for result in sure if result.records_per_s >= (1 - _WORTH) * most),
               key=lambda result: result.workers)
    others = ", ".join(f"{result.workers}: {result.records_per_s:,.0f}" for result in sure if result is not best)
    reasons = [f"{best.records_per_s:,.0f} records/s" + (f" (with {others})" if others else "")]
    busy = {stage.stage: stage for stage in best.stages}
    reader, parser = busy.get("reader"), busy.get("parser")
    if reader is not None and parser is not None and reader.busy > 0:
        feeds = max(1, int(best.workers * max(parser.busy, reader.busy) / reader.busy))
        reasons.append(f"the reader is busy {reader.busy:.0%}, so it would feed {feeds} parser{'s' * (feeds != 1)}")
    full = best.cores >= 0.9 * cores
    reasons.append(f"this machine has {cores:g} core{'s' * (cores != 1)}, of which the run used {best.cores:.1f}"
                   + (": more workers would only share them" if full else ""))
    if parser is not None and parser.cores < _OWN_CORES * parser.worked:
        reasons.append(f"its parsers had a core only {parser.cores / parser.worked:.0%} of the time that they worked: "
                       "something else uses this machine, or parse waits for something; figures may be too low")
    elif not full:
        limit = max(best.stages, key=lambda stage: stage.busy)
        if limit.stage != "parser":
            reasons.append(f"the {limit.stage} is what the others wait for: it is busy {limit.busy:.0%}")
        elif best is max(sure, key=lambda result: result.workers):
            reasons.append(f"nothing above {best.workers} was tried and cores are left: try --workers "
                           f"{best.workers},{2 * best.workers}")
    return Suggestion(best.workers, reasons)
