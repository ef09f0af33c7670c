"""``thresher check``: a configuration, and what it needs of this machine and of its servers, before anything runs.

``lint`` looks at the configuration alone. This asks, too: can state and sockets be kept, is there input, do the servers
answer, are ports free, is what is wanted installed? Nothing is changed, and nothing but a greeting is sent.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from actors.console import surroundings
from actors.console.commandline import target_options
from actors.console.inputs import require_matches, settings_from
from actors.runtime import open_files, rundir
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.extras import EXTRAS, how_to_install, is_installed
from actors.runtime.manifest import Manifest
from actors.runtime.ports import SinkOptions, looks
from actors.runtime.printable import one_line
from actors.runtime.topology import DEAD_LETTERS, expand
from actors.settings import Settings

FAILURE, BAD_CONFIG = 1, 78
#: Sinks have time-outs of their own; this is for servers that take a connection and say nothing.
_PATIENCE_S = 30.0
#: Problems of one source or sink that are told.
_TOLD = 5


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        what: ``configuration``, ``state``, ``run directory``, ``source``, ``sinks.NAME``, ...
        verdict: ``ok``, ``problem`` or ``skipped``.
        text: what was found; of a problem also how to mend it.
        code: exit code of a problem.
    """

    what: str
    verdict: str
    text: str
    code: int = 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said to the verb."""
    target_options(parser)
    parser.add_argument("files", nargs="*", default=[], metavar="FILE", help="look at these instead of the configured "
                        "ones")
    parser.add_argument("--offline", action="store_true", help="ask no server")
    parser.add_argument("--json", action="store_true", help="findings as one JSON array")
    parser.epilog = ("One line for each finding; a problem says how to mend it. Exit code: 0 all is well, 1 something "
                     "is missing here that may come, 78 the configuration is wrong: `run` would end with that, too. "
                     "Example: thresher check config.toml && thresher "
                     "run config.toml")


def main(options: argparse.Namespace) -> int:
    """Print what was found."""
    findings = list(check(lambda: _settings(options), options.offline))
    if options.json:
        print(json.dumps([{"check": each.what, "result": each.verdict, "text": each.text} for each in findings]))
    else:
        width = max(len(each.what) for each in findings)
        for each in findings:
            lines = [one_line(line) for line in each.text.splitlines()] or [""]
            text = f"\n{'':{width + 11}}".join(lines)
            print(f"{each.verdict:8} {each.what:{width}}  {text}")
    return max((each.code for each in findings), default=0)


def _settings(options: argparse.Namespace) -> Settings:
    settings = settings_from(options)
    require_matches(settings, options.files)
    return settings


def check(load: Callable[[], Settings], offline: bool) -> Iterator[Finding]:
    """Yield a finding for everything that is looked at, in the order of a run's needs."""
    try:
        settings = load()
    except ConfigError as error:
        yield Finding("configuration", "problem", str(error), BAD_CONFIG)
        return
    manifest = settings.manifest
    yield Finding("configuration", "ok", "\n".join([f"{manifest.name}, {len(expand(manifest))} actors",
                                                    *settings.notes]))
    state = Path(manifest.state)
    is_running = rundir.find(state) is not None
    yield _judged("state", surroundings.state_problem(state),
                  f"{state}: {surroundings.size(surroundings.free_bytes(state))} free")
    yield _judged("run directory", surroundings.run_directory_problem(), str(rundir.base()))
    yield _judged("open files", open_files.problem(len(expand(manifest))), "enough", BAD_CONFIG)
    yield from _installed(settings)
    yield _source(manifest, state, is_running)
    yield from _sinks(manifest, state, offline)
    if manifest.monitor.enabled:
        yield _monitor_port(manifest, is_running)


def _judged(what: str, problem: str, otherwise: str, code: int = FAILURE) -> Finding:
    return Finding(what, "problem", problem, code) if problem else Finding(what, "ok", otherwise)


def _asked(what: str, ask: Callable[[], list[str]], otherwise: str) -> Finding:
    """What a source or sink says of itself; what it raises is a finding, too."""
    try:
        problems = ask()
    except ConfigError as error:
        return Finding(what, "problem", str(error), BAD_CONFIG)
    except OSError as error:
        problems = [f"{otherwise}: {plain_reason(error)}"]
    except Exception as error:  # somebody's own source or sink
        problems = [f"{otherwise}: its check failed: {type(error).__name__}: {error}"]
    if len(problems) > _TOLD:
        problems = [*problems[:_TOLD], f"and {len(problems) - _TOLD} more"]
    text = "\n".join(problem if otherwise in problem else f"{otherwise}: {problem}" for problem in problems)
    return _judged(what, text, otherwise)


def _assured(found: Finding, options: SinkOptions, name: str, state: Path) -> Finding:
    """The same; where nothing is wrong, with what the outside system does to what is written there."""
    if found.verdict != "ok":
        return found
    try:
        text = options.assures(name, state)
    except Exception as error:  # it has just answered; or somebody's own sink
        text = f"what it guarantees is not known: {error}"
    return msgspec.structs.replace(found, text=f"{found.text}\n{text}") if text else found


def _installed(settings: Settings) -> Iterator[Finding]:
    """Modules that this configuration needs, with the command that brings each."""
    manifest = settings.manifest
    needed = {"numbers": settings.pipeline.distinct is not None, "monitor": manifest.monitor.enabled,
              "otel": manifest.tracing.enabled}
    wanted = [(module, extra) for extra, is_needed in needed.items() if is_needed for module in EXTRAS[extra]]
    for component in manifest.components():
        wanted += [(module, "") for module in component.load().imports]
    missing = {module: extra for module, extra in wanted if not is_installed(module)}
    text = "\n".join(f"{module} is not installed: "
                     + (how_to_install(extra) if extra else f"pip install {module.partition('.')[0]}")
                     for module, extra in missing.items())
    yield _judged("installed", text, "everything that it imports", BAD_CONFIG)  # as a run has it


def _source(manifest: Manifest, state: Path, is_running: bool) -> Finding:
    options = manifest.source.load()
    if not looks(options):
        return Finding("source", "ok", f"{options.describe()} (nothing to look at)")
    if is_running and options.listens:
        return Finding("source", "skipped", f"{options.describe()}: a run listens there")
    return _asked("source", lambda: options.check(state), options.describe())


def _sinks(manifest: Manifest, state: Path, offline: bool) -> Iterator[Finding]:
    """Ask all of them at once: of servers that are down each takes its time-out."""
    found: dict[str, Finding] = {}
    asking: list[threading.Thread] = []
    for name, component in (*manifest.sinks.items(), (DEAD_LETTERS, manifest.dead_letters)):
        what = name if name == DEAD_LETTERS else f"sinks.{name}"
        options = component.load()
        if not looks(options):
            found[what] = Finding(what, "ok", f"{options.describe()} (no server)")
        elif offline:
            found[what] = Finding(what, "skipped", f"{options.describe()} (--offline)")
        else:
            found[what] = Finding(what, "problem", f"{options.describe()}: no answer within {_PATIENCE_S:g} s: is it "
                                  "the right server?", FAILURE)

            def look(what: str = what, name: str = name, options: SinkOptions = options) -> None:
                found[what] = _assured(_asked(what, lambda: options.check(name, state), options.describe()), options,
                                       name, state)

            asking.append(threading.Thread(target=look, daemon=True))
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(_PATIENCE_S)
    yield from found.values()


def _monitor_port(manifest: Manifest, is_running: bool) -> Finding:
    options = manifest.monitor
    where = f"{options.host}:{options.port}" if options.port else f"{options.host}, any free port"
    if is_running:
        return Finding("monitor", "skipped", f"{where}: a run is going on")
    problem = surroundings.port_problem(options.host, options.port)
    return _judged("monitor", problem and f"{where}: {problem}: stop who listens there (`ss -ltnp 'sport = "
                   f":{options.port}'` shows who), or set monitor.port", where)
