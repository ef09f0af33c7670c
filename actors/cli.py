"""The ``thresher`` command. Thin: reads the command line, calls what does the work, returns the exit code.

Exit codes: 0 done; 1 failure; 2 usage; 3 stopped with work left, resumable; 4 error budget exceeded; 78 invalid
configuration. When several apply: 1 goes before 3, 3 before 4.
"""

from __future__ import annotations

import sys

from actors.runtime import inherited

if __name__ == "__main__":
    inherited.take_over()  # before anything is imported that takes time

import argparse
import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.console import commandline, folders
from actors.runtime import open_files, whole_lines
from actors.runtime.errors import ConfigError
from actors.runtime.events import RunEnded

FAILURE, USAGE, BAD_CONFIG, INTERRUPTED = 1, 2, 78, 3

if TYPE_CHECKING:
    from actors.console.progress import JsonObserver, TerminalObserver, TextObserver
    from actors.runtime.events import RunResult
    from actors.runtime.manifest import Manifest
    from actors.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    whole_lines.install(is_printable=True)  # the actors of a run write to the same streams
    words = sys.argv[1:] if argv is None else list(argv)
    options = argparse.Namespace()
    try:
        if argv is None or inherited.is_taken_over():  # else this is somebody's process
            inherited.hear(in_order=_begins_a_run(words))
        inherited.require_folder()
        folders.change(words)
        options = commandline.read(words)
        folders.settle(options)
        return _VERBS[options.command](options)
    except ConfigError as error:
        return _refused(options, error)
    except inherited.Stopped as stopped:
        return _stopped(words, f"stopped by {stopped} before the run had begun")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone
        return FAILURE
    except OSError as error:
        if not open_files.are_used_up(error):
            raise
        return _refused(options, ConfigError(open_files.used_up()))


def _begins_a_run(words: Sequence[str]) -> bool:
    return words[:1] == ["run"] or words[:2] == ["dlq", "retry"]


def _stopped(words: Sequence[str], reason: str) -> int:
    """Say that a run was stopped of which nothing else says so; on standard error, for it has no output yet.

    The command line may not have been read: for that the application is imported.
    """
    if not _begins_a_run(words):
        return INTERRUPTED
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--format", default="text" if words[0] == "dlq" else "auto")
    parser.add_argument("--json", dest="format", action="store_const", const="json")
    parser.add_argument("--report")
    options, _ = parser.parse_known_args(words)
    ended = RunEnded(INTERRUPTED, reason, 0.0)
    if options.report:
        _write_report(options.report, {**ended.fields(), "event": "stopped"})
    if options.format != "none":
        print(json.dumps(ended.fields()) if _is_json(options) else f"thresher: {reason}", file=sys.stderr)
    return INTERRUPTED


def _is_json(options: argparse.Namespace) -> bool:
    return options.format == "json" or (options.format == "auto" and not sys.stdout.isatty())


def _refused(options: argparse.Namespace, error: ConfigError) -> int:
    if getattr(options, "report", None):
        _write_report(options.report, {"event": "refused", "code": BAD_CONFIG, "reason": str(error)})
    if getattr(options, "format", "") != "none":
        print(error, file=sys.stderr)
    return BAD_CONFIG


def _write_report(path: str, fields: dict[str, Any]) -> None:
    try:
        Path(path).write_text(json.dumps(fields) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"--report {path}: the report cannot be written: {error.strerror}", file=sys.stderr)


def _settings(options: argparse.Namespace, dry: bool = False) -> Settings:
    from actors.console.inputs import settings_from

    return settings_from(options, dry)


def _run(options: argparse.Namespace) -> int:
    scratch: Path | None = None
    if options.query == [] and not options.files:
        print("--query: expected the files to look at, got none: thresher run TARGET --query FILE…", file=sys.stderr)
        return USAGE
    if options.inline and options.monitor:
        print("--inline: one process has no monitor beside it: expected no --monitor", file=sys.stderr)
        return USAGE
    if options.dry_run or (options.query is not None and options.state is None):
        from actors.runtime.rundir import scratch_directory

        scratch = scratch_directory()
        options.state = str(scratch)
    try:
        code = _run_settings(options, _settings(options, dry=options.dry_run))
        if options.query is not None and code == 0:
            _say_if_nothing_was_found(options)
        return code
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _say_if_nothing_was_found(options: argparse.Namespace) -> None:
    from actors.runtime.counts import merged
    from actors.runtime.ledger import read_units
    from actors.runtime.units import LEDGER

    counts = merged(unit.counts for unit in read_units(Path(options.state) / LEDGER))
    if not counts.get("folded") and not counts.get("written"):
        print(f"{options.target}: nothing found in {counts.get('read', 0):,} records", file=sys.stderr)


def _run_settings(options: argparse.Namespace, settings: Settings) -> int:
    from actors.console.libraries import require_libraries

    require_libraries(settings)
    settings.manifest.source.load().require_addresses(Path(settings.manifest.state))
    _begin_anew(options, settings.manifest)
    for note in settings.notes:
        print(f"{options.target}: note: {note}", file=sys.stderr)
    with _own_output(settings.manifest):
        return _run_and_report(options, settings)


def _begin_anew(options: argparse.Namespace, manifest: Manifest) -> None:
    from actors.console import anew

    fresh = options.fresh or not (options.resume or manifest.limits.resume)
    if not options.dry_run and (fresh or anew.is_half_done(Path(manifest.state))):
        anew.begin_anew(manifest)


def _own_output(manifest: Manifest) -> contextlib.AbstractContextManager[object]:
    """What is printed here goes to standard error when a sink writes to standard output."""
    from actors.console.progress import shares_output

    return contextlib.redirect_stdout(sys.stderr) if shares_output(manifest) else contextlib.nullcontext()


def _run_and_report(options: argparse.Namespace, settings: Settings) -> int:
    import msgspec

    from actors import launcher
    from actors.console import report, report_text
    from actors.console.history import Recorder
    from actors.console.inputs import require_matches, require_streams
    from actors.console.systemd import Notifier
    from actors.runtime.settling import settle

    require_streams(settings)
    require_matches(settings, [*options.files, *(options.query or ())])
    as_json = _is_json(options)
    observer = _observer(as_json, options.quiet or options.format == "none", options.inline)
    recorder = Recorder(Path(settings.manifest.state), observer)
    notifier = Notifier(recorder, os.environ)
    reports: list[report.Report] = []

    def judge(result: RunResult) -> RunResult:
        settle(settings.manifest)
        final = report.build(settings.manifest, settings.pipeline, result, settings.manifest.run, _as_target(options),
                             options.fresh)
        reports.append(final)
        inherited.ends_with(final.code)
        return msgspec.structs.replace(result, code=final.code, reason=final.reason)

    reload = notifier.reloading(lambda: _settings(options, dry=options.dry_run).manifest)
    try:
        recorder.ended(launcher.run_inline(settings.manifest, notifier, judge) if options.inline else
                       launcher.run(settings.manifest, notifier, reload, judge))
    finally:
        notifier.close()
        observer.close()
    final, = reports
    if options.report:
        _write_report(options.report, final.fields())
    if options.format == "none":
        return final.code
    try:
        print(json.dumps(final.fields()) if as_json else report_text.render(final), flush=True)
    except OSError as error:  # nobody reads any more, or the disk is full; how the run ended stays true
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"the report cannot be printed: {error.strerror}; see it with `thresher report`", file=sys.stderr)
    return final.code


def _as_target(options: argparse.Namespace) -> str:
    """What another verb is to be given for the same state and settings; what is secret in them is left out."""
    words = [options.target, *(word for said in options.set for word in ("--set", _shown(said)))]
    return shlex.join([*words, *(["--state", options.state] if options.state is not None else [])])


def _shown(said: str) -> str:
    from actors.runtime.options import is_secret, without_password

    key = said.partition("=")[0]
    is_hidden = key.endswith((".client", "_secret")) or is_secret(key.replace('"', ""))
    return f"{key}=***" if is_hidden else without_password(said)


def _observer(as_json: bool, quiet: bool, is_inline: bool = False) -> JsonObserver | TextObserver | TerminalObserver:
    from actors.console import progress

    if quiet:
        return progress.QuietObserver()
    if as_json:
        return progress.JsonObserver()
    has_screen = sys.stderr.isatty() and (sys.stdout is not sys.stderr or progress.is_off_screen(1))
    return progress.TerminalObserver() if has_screen and not is_inline else progress.TextObserver()


def _lint(options: argparse.Namespace) -> int:
    from actors.console.inputs import is_input, settings_of
    from actors.console.libraries import require_libraries

    problems: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    files = [word for word in options.targets if is_input(word)]
    options.targets = [word for word in options.targets if word not in files] or options.targets
    for target in options.targets:
        try:
            found = settings_of(target, options.set, files=files)
            require_libraries(found)
            found.manifest.source.load().require_addresses(Path(found.manifest.state))
            notes[target] = found.notes
        except ConfigError as error:
            problems[target] = str(error)
    if options.json:
        print(json.dumps([{"target": target, "ok": target not in problems, "problem": problems.get(target, ""),
                           "notes": notes.get(target, [])} for target in options.targets]))
    else:
        for target in options.targets:
            if target in problems:
                print(problems[target], file=sys.stderr)
            else:
                print("\n".join([f"{target}: ok", *(f"  note: {note}" for note in notes[target])]))
    return BAD_CONFIG if problems else 0


def _scale(options: argparse.Namespace) -> int:
    pool, equals, workers = options.pool.partition("=")
    if not equals:
        print(f"thresher scale {options.pool}: expected POOL=N, e.g. parser=4", file=sys.stderr)
        return USAGE
    return _ask(options, "scale", pool, workers)


def _command(options: argparse.Namespace) -> int:
    return _ask(options, options.command)


def _ask(options: argparse.Namespace, verb: str, *arguments: str) -> int:
    from actors.console import command

    state = _state(options)
    reply = command.ask(state, verb, *arguments)
    print(reply.text if options.target else f"{state}: {reply.text}", file=sys.stdout if reply.ok else sys.stderr)
    return 0 if reply.ok else FAILURE


def _state(options: argparse.Namespace) -> Path:
    """The state directory of the run that is meant: of TARGET, or of the only one that is going on."""
    from actors.console import command

    if options.target is not None:
        return Path(_settings(options).manifest.state)
    return command.only_run() if options.state is None else Path(options.state)


def _verify(options: argparse.Namespace) -> int:
    from actors.verify import runs

    if options.one:
        from actors import launcher

        return runs.run_one(Path(options.one), launcher.run)
    from actors.console import verify

    settings = _settings(options)
    return verify.verify(settings, runs.command_of(options.target), options.runs, options.kills, options.seed,
                         options.json)


def _explain(options: argparse.Namespace) -> int:
    from actors.console import explain

    return _show(explain.explain(_settings(options)), explain.render, options.json)


def _status(options: argparse.Namespace) -> int:
    from actors.console import status

    return _show(status.status(_state(options)), status.render, options.json)


def _echo(options: argparse.Namespace) -> int:
    from actors.console import echo

    shown = _settings(options).shown
    return _show(echo.nested(shown) if options.json else shown, echo.render, options.json)


def _report(options: argparse.Namespace) -> int:
    from actors.console import report, report_text

    settings = _settings(options)
    if options.groups:
        return report.print_groups(settings.manifest, settings.pipeline)
    last = report.build(settings.manifest, settings.pipeline, None, None, _as_target(options))
    print(json.dumps(last.fields()) if options.json else report_text.render(last))
    return last.code


def _dlq(options: argparse.Namespace) -> int:
    from actors.console import dlq

    settings = _settings(options)
    if options.what != "retry":
        return dlq.main(options, settings)
    from actors import launcher

    with _own_output(settings.manifest):
        observer = _observer(options.json, options.quiet)
        try:
            return dlq.retry(options, settings, launcher.run, observer)
        finally:
            observer.close()


def _show(data: dict[str, Any], render: Callable[[dict[str, Any]], str], as_json: bool) -> int:
    print(json.dumps(data) if as_json else render(data))
    return 0


def _module(options: argparse.Namespace) -> int:
    """A verb with a module of its own."""
    verb: Callable[..., int] = commandline.module_of(options.command).main
    if options.command != "bench":
        return verb(options)
    from actors import launcher

    return verb(options, launcher.run)


_VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run, "lint": _lint, "explain": _explain, "echo": _echo, "status": _status, "report": _report,
    "verify": _verify, "reload": _command, "stop": _command, "scale": _scale, "dlq": _dlq,
    **dict.fromkeys(commandline.MODULES, _module)}


if __name__ == "__main__":
    sys.exit(main())
