"""``thresher bench``: how fast a pipeline is here, with how many workers, when nothing is written.

Each number of workers is a run of its own, with real processes, in a scratch directory: everything is done but to
write, so no server can be the limit, and nothing is changed. What a sink can take is for a trial run to show.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from actors.console import surroundings
from actors.console.commandline import at_least, target_options
from actors.console.inputs import STDIN, settings_of
from actors.console.measuring import LEAST_S, Result, Suggestion, measure, suggest
from actors.runtime import loading
from actors.runtime.errors import ConfigError, ThresherError
from actors.runtime.manifest import Manifest, component_of
from actors.runtime.sections import MAX_WORKERS, MonitorOptions, TracingOptions
from actors.settings import Settings, load
from actors.sources.directory import Directory
from actors.sources.files import Files
from actors.sources.formats import HEAD_BYTES, packing_of
from actors.sources.matching import matching_files
from actors.verify.runs import Run, run_one

FAILURE, INTERRUPTED = 1, 3
#: A short input is repeated, by links to its files, so often at most.
_MOST_LINKS = 2000
#: So much more input than the time needs: more workers read it faster.
_SPARE = 1.5
#: How often a short input is made longer: of one that is over at once nobody knows how short it was.
_TRIES = 3
#: What is over in less cannot be seen.
_NO_TIME_S = 0.1
#: Files that are smaller, on the average, are put together before they are repeated, in a file of this size.
_LEAST_BYTES, _TOGETHER_BYTES = 64 * 1024, 4 * 1024 * 1024


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said to the verb."""
    target_options(parser, state=False)
    parser.add_argument("files", nargs="*", metavar="FILE", help="read these instead of the configured input; "
                        "the more, the better the figures")
    parser.add_argument("--seconds", type=at_least(1), default=5, metavar="S",
                        help="measure each number of workers for so long; default: 5")
    parser.add_argument("--workers", type=_numbers, default=None, metavar="N,N",
                        help="numbers of workers to try; default: 1, 2, 4, ... up to the cores of this machine")
    parser.add_argument("--json", action="store_true", help="all figures as one JSON object")
    parser.add_argument("--one", metavar="DIR", help=argparse.SUPPRESS)  # one run, as this verb starts it
    parser.epilog = ("Nothing is written, no position is kept, no file is renamed. busy: part of the time that a "
                     "stage's busiest process works; cores: CPU seconds in a second. Example: thresher bench "
                     "appsinstalled logs/*.tsv.gz --workers 1,2,4")


def main(options: argparse.Namespace, run: Run) -> int:
    """Measure, and print what was found."""
    if options.one:
        return run_one(Path(options.one), run)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: with everything tidied up
    cores = surroundings.usable_cores()
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as scratch:
        manifest = manifest_for(options, Path(scratch))
        results: list[Result] = []
        try:
            for result in _results(manifest, options, Path(scratch), cores):
                results.append(result)
                if not options.json:
                    print(("" if len(results) == 1 else "\n") + render(result), flush=True)
        except ConfigError:
            raise
        except ThresherError as error:
            print(f"bench {options.target}: {error}", file=sys.stderr)
            return FAILURE
    suggestion = suggest(results, cores)
    if options.json:
        print(json.dumps({"target": options.target, "source": manifest.source.load().describe(), "cores": cores,
                          "results": [result.fields() for result in results],
                          "suggestion": msgspec.to_builtins(suggestion)}))
    else:
        print(f"\n{render_suggestion(suggestion, manifest)}")
    return 0


def manifest_for(options: argparse.Namespace, scratch: Path) -> Manifest:
    """What is measured: the configuration, with an input that ends, and sinks that keep nothing.

    Raises:
        ConfigError: the configuration is wrong, or there is nothing to read.
    """
    manifest = _settings(options, str(scratch / "state")).manifest
    source = manifest.source.load()
    problems = source.check(scratch)
    if problems:
        raise ConfigError("\n".join(f"bench: {problem}" for problem in problems))
    if isinstance(source, Directory) and not (source.recursive or manifest.windowed):
        source = Files(paths=[os.path.join(path, source.pattern) if os.path.isdir(path) else path
                              for path in source.paths], **source.framing_set())
    if isinstance(source, Files):  # by their full names: a link to a relative one would lead nowhere
        paths = [os.path.abspath(path) for path in matching_files(source.pattern, source.paths)]
        source = msgspec.structs.replace(source, pattern="", paths=paths, rename="none")
        manifest = msgspec.structs.replace(manifest, source=component_of(source))
    return msgspec.structs.replace(manifest, monitor=MonitorOptions(), tracing=TracingOptions())


def _settings(options: argparse.Namespace, state: str) -> Settings:
    target, sets, files = options.target, options.set, options.files
    if STDIN in files:
        raise ConfigError("bench: standard input can be read only once: expected files")
    settings = settings_of(target, sets, state, dry=True)
    source = settings.manifest.source.load()
    if not source.takes_files:
        if not files and (source.listens or source.wants_stdin):
            raise ConfigError(f"bench: {target} reads from {source.describe()}, which cannot be read again and again: "
                              f"give files with the same lines, e.g. thresher bench {target} FILE")
        if not files:
            return settings
        others = [word for word in sets if not word.startswith("source.")]
        return load(target, sets=others, state=state, dry=True,
                    source=["source.type=files", f"source.paths={json.dumps(files)}"])
    once = source.follows
    return settings_of(target, sets, state, files=files, once=once, dry=True) if files or once else settings


def _results(manifest: Manifest, options: argparse.Namespace, scratch: Path, cores: float) -> Iterator[Result]:
    """Measure with each number of workers; a short input is repeated after the first look at it."""
    numbers = options.workers or _usual(cores)
    command = [*loading.fresh_interpreter("actors.cli"), "bench", options.target, "--one"]
    original, times, tries = manifest, 1, 0
    index = 0
    while index < len(numbers):
        workers = numbers[index]
        _say(f"{workers} worker{'s' * (workers != 1)}: measuring for {options.seconds} s")
        result = measure(with_workers(manifest, workers), workers, command, scratch / f"run-{tries}", options.seconds)
        tries += 1
        wanted = math.ceil(times * _SPARE * options.seconds * numbers[-1] / workers / max(_NO_TIME_S, result.seconds))
        if result.seconds < min(options.seconds, 2 * LEAST_S) and tries <= _TRIES and wanted > times:
            longer = repeated(original, wanted, scratch / f"input-{tries}")
            if longer is not None:
                manifest, times = longer, wanted
                continue
        index += 1
        yield result


def with_workers(manifest: Manifest, workers: int) -> Manifest:
    """The same with so many workers in each pool."""
    return msgspec.structs.replace(
        manifest, parser=msgspec.structs.replace(manifest.parser, workers=workers),
        checker=msgspec.structs.replace(manifest.checker, workers=workers))


def repeated(manifest: Manifest, times: int, folder: Path) -> Manifest | None:
    """The same with its files so many times, one after the other; None: they cannot be repeated.

    With windows in event time what comes again would be late. Tiny files are put together: it is the opening that takes
    the time, which is other work.
    """
    source = manifest.source.load()
    if not isinstance(source, Files) or manifest.windowed:
        return None
    size = sum(os.path.getsize(path) for path in source.paths)
    if size < _LEAST_BYTES * len(source.paths):
        lines = _lines_of(source)
        if not lines:
            return None
        folder.mkdir()
        (folder / "all").write_bytes(lines * (_TOGETHER_BYTES // len(lines) + 1))
        whole = msgspec.structs.replace(source, paths=[str(folder / "all")])
        times = math.ceil(times * size / _TOGETHER_BYTES)
        longer = msgspec.structs.replace(manifest, source=component_of(whole))
        return longer if times < 2 else repeated(longer, times, folder / "more")
    times = min(times, _MOST_LINKS // len(source.paths))
    if times < 2:
        return None
    folder.mkdir()
    links = []
    for number in range(times):
        for index, path in enumerate(source.paths):
            link = folder / f"{number:04}-{index:04}-{os.path.basename(path)}"
            link.symlink_to(path)
            links.append(str(link))
    return msgspec.structs.replace(manifest, source=component_of(msgspec.structs.replace(source, paths=links)))


def _lines_of(source: Files) -> bytes:
    """What is in these files, one after the other; nothing, if they are packed, or framed as something else."""
    found = b""
    for path in source.paths if source.framing == "lines" else ():
        content = Path(path).read_bytes()
        if packing_of(content[:HEAD_BYTES]):
            return b""
        found += content if content.endswith(b"\n") or not content else content + b"\n"
    return found


def _usual(cores: float) -> list[int]:
    """1, 2, 4, ... and the number of cores."""
    most = max(1, min(MAX_WORKERS, int(cores)))
    return sorted({most, *(1 << power for power in range(most.bit_length()))})


def _numbers(text: str) -> list[int]:
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if not all(1 <= number <= MAX_WORKERS for number in numbers):
        raise argparse.ArgumentTypeError(f"expected numbers from 1 to {MAX_WORKERS}, e.g. 1,2,4, got {text!r}")
    return sorted(set(numbers))


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


# What is printed ----------------------------------------------------------------------------------------------------


def render(result: Result) -> str:
    """One run as text."""
    lines = [f"{result.workers} worker{'s' * (result.workers != 1)}: {result.records_per_s:,.0f} records/s, "
             f"{result.bytes_per_s / 1e6:,.1f} MB/s, {result.cores:.1f} cores, in {result.seconds:.1f} s"]
    if result.doubt:
        lines.append(f"  {result.doubt}")
    if result.stages:
        lines.append(f"  {'stage':14} {'busy':>6} {'cores':>6} {'records per busy second and process':>36}")
    for stage in result.stages:
        name = f"{stage.stage} ×{stage.processes}" if stage.processes > 1 else stage.stage
        rate = f"{stage.records_per_busy_s:,.0f}" if stage.records_per_busy_s else "-"
        lines.append(f"  {name:14} {stage.busy:6.0%} {stage.cores:6.2f} {rate:>36}")
    return "\n".join(lines)


def render_suggestion(suggestion: Suggestion, manifest: Manifest) -> str:
    """How many workers to use, as text."""
    if suggestion.workers is None:
        return "no suggestion: " + "; ".join(suggestion.reasons)
    pools = "parser.workers" if manifest.parser.fused else "parser.workers and checker.workers"
    return f"{pools} = {suggestion.workers}: " + "; ".join(suggestion.reasons)
