"""The ``thresher`` command. Thin: reads the command line, calls what does the work, returns the exit code.

Exit codes: 0 done; 1 failure; 2 usage; 3 stopped with work left, resumable; 4 error budget exceeded; 78 invalid
configuration. When several apply: 1 goes before 3, 3 before 4.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import actors
from actors.runtime.errors import ConfigError

if TYPE_CHECKING:
    from actors.console.progress import JsonObserver, TerminalObserver, TextObserver
    from actors.runtime.manifest import Manifest
    from actors.settings import Settings

FAILURE, USAGE, BAD_CONFIG, INTERRUPTED = 1, 2, 78, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    try:
        options = _read(sys.argv[1:] if argv is None else list(argv))
        verb: Callable[[argparse.Namespace], int] = options.verb
        return verb(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone
        return FAILURE


def _read(words: list[str]) -> argparse.Namespace:
    """Read the command line; `run` also takes the flags of the application that it names."""
    parser, run = _parser()
    if words[:1] != ["run"]:
        return parser.parse_args(words)
    from actors.console import flags

    flags.add_flags(run, words[1:])
    options, rest = parser.parse_known_args(words)
    flags.take_rest(run, options, rest)
    options.flags = flags.given(options)
    return options


def _parser() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Return the parser of command lines, and that of the verb `run`."""
    parser = argparse.ArgumentParser(
        prog="thresher", description="Record pipelines on all cores of a machine.",
        epilog="TARGET: an application's name, a TOML file whose `app` names one, or a dotted module with a PIPELINE.")
    parser.add_argument("--version", action="version", version=f"thresher {actors.__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = _verb(verbs, "run", _run, "run a pipeline to its end")
    _target_options(run)
    run.add_argument("files", nargs="*", metavar="FILE", help="read these instead of the configured ones; "
                     "-: standard input")
    run.add_argument("--batch", nargs="*", metavar="FILE", help="run what the application has for whole files, e.g. a "
                     "query, over these; nothing is kept, unless --state is given")
    how = run.add_mutually_exclusive_group()
    how.add_argument("--follow", action="store_true", help="read the files as they are written, until told to stop")
    how.add_argument("--once", action="store_true", help="read what is there, and end, also where files are followed")
    run.add_argument("--dry-run", action="store_true", help="do everything but write, keep no position, rename nothing")
    anew = run.add_mutually_exclusive_group()
    anew.add_argument("--fresh", action="store_true",
                      help="begin anew: forget positions, aggregates and dead letters, empty files of lines")
    anew.add_argument("--resume", action="store_true", help="go on where the last run ended; default: run.resume")
    run.add_argument("--format", choices=("auto", "text", "json"), default="auto",
                     help="auto: text on a terminal, JSON lines otherwise")
    run.add_argument("-q", "--quiet", action="store_true", help="print nothing but the report")

    lint = _verb(verbs, "lint", _lint, "check configurations without running anything")
    lint.add_argument("targets", nargs="+", metavar="TARGET")
    lint.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    lint.add_argument("--json", action="store_true")

    verify = _verb(verbs, "verify", _verify, "run a pipeline on a sample in several ways, kill its actors, compare")
    _target_options(verify, state=False)
    verify.add_argument("files", nargs="*", metavar="FILE", help="the sample, instead of the configured files")
    verify.add_argument("--runs", type=_at_least(2), default=6, metavar="N", help="the reference included; default: 6")
    verify.add_argument("--seed", type=int, default=0, metavar="S", help="of the plan and of the kills; default: 0")
    verify.add_argument("--kills", type=_at_least(0), default=3, metavar="N", help="in each run with kills; default: 3")
    verify.add_argument("--json", action="store_true")
    verify.add_argument("--one", metavar="DIR", help=argparse.SUPPRESS)  # one run, as `actors.verify` starts it

    for name, function, text in (
            ("explain", _explain, "say what a configuration promises, who would run, and what a crash would cost"),
            ("echo", _echo, "print the effective configuration, secrets as references"),
            ("status", _status, "show the actors of a run that is going on, or how the last one ended"),
            ("report", _report, "print the report of the last run again")):
        verb = _verb(verbs, name, function, text)
        _target_options(verb)
        verb.add_argument("--json", action="store_true")
    for name, function, text in (
            ("reload", _command, "read the configuration again in a run that is going on; a bad one changes nothing"),
            ("stop", _command, "let a run that is going on finish what is under way, and stop it")):
        verb = _verb(verbs, name, function, text)
        _running_options(verb)
    scale = _verb(verbs, "scale", _scale, "change the number of workers of a run that is going on")
    scale.add_argument("pool", metavar="POOL=N", help="e.g. parser=4")
    _running_options(scale)
    _dlq_options(_verb(verbs, "dlq", _dlq, "look at, export, retry or purge what was rejected"))
    return parser, run


def _running_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", nargs="?", help="whose run; not needed when only one is going on")
    parser.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--state", metavar="DIR", help="the state directory of the run")


def _verb(verbs: Any, name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(verb=function, command=name)
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a number of {least} or more, got {text!r}")
        return int(text)

    return number


def _target_options(parser: argparse.ArgumentParser, state: bool = True) -> None:
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. parser.workers=4")
    if state:
        parser.add_argument(
            "--state", metavar="DIR", help="positions, dead letters, embedded stores; default: var/NAME")


def _dlq_options(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="what")
    for name, text in (("ls", "count letters by reason and stage, and list the newest"),
                       ("show", "print all that is known of one letter"),
                       ("retry", "send letters in again, at the stage that rejected them, as new data of now"),
                       ("export", "write letters out"), ("purge", "delete letters and free their space")):
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        _target_options(verb)
        if name == "show":
            verb.add_argument("id", type=int, metavar="ID")
            verb.add_argument("--raw", action="store_true", help="write its bytes, and nothing else")
        else:
            for word in ("reason", "stage", "source"):
                verb.add_argument(f"--{word}", action="append", default=[], help="may be a pattern; may be repeated")
            verb.add_argument("--id", type=int, action="append", default=[], help="may be repeated")
            verb.add_argument("--up-to", type=_count, default=0, metavar="ID", help="none with a higher number")
            verb.add_argument("--limit", type=_count, default=20 if name == "ls" else 0, metavar="N",
                              help="at most so many: the newest of them" if name == "ls" else "only the N oldest")
        if name not in ("show", "retry"):
            verb.add_argument("--status", choices=("open", "retried", "all"), default="open", help="default: open")
        if name == "export":
            verb.add_argument("--format", choices=("jsonl", "raw"), default="jsonl")
            verb.add_argument("--out", metavar="FILE", help="a new file; default: standard output")
        else:
            verb.add_argument("--json", action="store_true")
        if name == "retry":
            verb.add_argument("--only-missing", action="store_true", help="store nothing under keys that are there")
            verb.add_argument("-q", "--quiet", action="store_true", help="print nothing but the result")
        if name == "purge":
            verb.add_argument("--yes", action="store_true", help="do not ask")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number, 0 for all, got {text!r}")
    return int(text)


def _settings(options: argparse.Namespace, dry: bool = False) -> Settings:
    from actors.console.inputs import settings_of

    batch = getattr(options, "batch", None)
    return settings_of(
        options.target, options.set, getattr(options, "state", None), dry=dry, batch=batch is not None,
        files=[*getattr(options, "files", ()), *(batch or ())], flags=getattr(options, "flags", ()),
        follow=getattr(options, "follow", False), once=getattr(options, "once", False))


def _run(options: argparse.Namespace) -> int:
    scratch: Path | None = None
    if options.batch == [] and not options.files:
        print("--batch: expected the files to look at, got none: thresher run TARGET --batch FILE…", file=sys.stderr)
        return USAGE
    if options.dry_run or (options.batch is not None and options.state is None):
        from actors.runtime.rundir import scratch_directory

        scratch = scratch_directory()
        options.state = str(scratch)
    try:
        code = _run_settings(options, _settings(options, dry=options.dry_run))
        if options.batch is not None and code == 0:
            _say_if_nothing_was_found(options)
        return code
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _say_if_nothing_was_found(options: argparse.Namespace) -> None:
    from actors.runtime.ledger import read_units
    from actors.runtime.messages import merged

    counts = merged(unit.counts for unit in read_units(Path(options.state) / "positions.db"))
    if not counts.get("folded") and not counts.get("written"):
        print(f"{options.target}: nothing found in {counts.get('read', 0):,} records", file=sys.stderr)


def _run_settings(options: argparse.Namespace, settings: Settings) -> int:
    _begin_anew(options, settings.manifest)
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

    import supervisor
    from actors.console import report
    from actors.console.history import Recorder
    from actors.console.inputs import require_stdin

    require_stdin(settings)
    as_json = options.format == "json" or (options.format == "auto" and not sys.stdout.isatty())
    observer = _observer(as_json, options.quiet)
    recorder = Recorder(Path(settings.manifest.state), observer)
    try:
        result = supervisor.run(settings.manifest, recorder, lambda: _settings(options, dry=options.dry_run).manifest)
    finally:
        observer.close()
    final = report.build(settings.manifest, settings.pipeline, result, settings.manifest.run)
    recorder.ended(msgspec.structs.replace(result, code=final.code, reason=final.reason))
    try:
        print(json.dumps(final.fields()) if as_json else report.render(final), flush=True)
    except OSError as error:  # nobody reads any more, or the disk is full; how the run ended stays true
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"the report cannot be printed: {error.strerror}; see it with `thresher report`", file=sys.stderr)
    return final.code


def _observer(as_json: bool, quiet: bool) -> JsonObserver | TextObserver | TerminalObserver:
    from actors.console import progress

    if quiet:
        return progress.QuietObserver()
    if as_json:
        return progress.JsonObserver()
    has_screen = sys.stderr.isatty() and (sys.stdout is not sys.stderr or progress.is_off_screen(1))
    return progress.TerminalObserver() if has_screen else progress.TextObserver()


def _lint(options: argparse.Namespace) -> int:
    from actors.settings import load

    problems: dict[str, str] = {}
    for target in options.targets:
        try:
            load(target, sets=options.set)
        except ConfigError as error:
            problems[target] = str(error)
    if options.json:
        print(json.dumps([{"target": target, "ok": target not in problems, "problem": problems.get(target, "")}
                          for target in options.targets]))
    else:
        for target in options.targets:
            if target in problems:
                print(problems[target], file=sys.stderr)
            else:
                print(f"{target}: ok")
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

    if options.target is not None:
        state = Path(_settings(options).manifest.state)
    else:
        state = command.only_run() if options.state is None else Path(options.state)
    reply = command.ask(state, verb, *arguments)
    print(reply.text, file=sys.stdout if reply.ok else sys.stderr)
    return 0 if reply.ok else FAILURE


def _verify(options: argparse.Namespace) -> int:
    from actors.verify import runs

    if options.one:
        import supervisor

        return runs.run_one(Path(options.one), supervisor.run)
    from actors.console import verify

    settings = _settings(options)
    return verify.verify(settings, runs.command_of(options.target), options.runs, options.kills, options.seed,
                         options.json)


def _explain(options: argparse.Namespace) -> int:
    from actors.console import explain

    return _show(explain.explain(_settings(options).manifest), explain.render, options.json)


def _status(options: argparse.Namespace) -> int:
    from actors.console import status

    return _show(status.status(Path(_settings(options).manifest.state)), status.render, options.json)


def _echo(options: argparse.Namespace) -> int:
    from actors.console.echo import render

    return _show(_settings(options).shown, render, options.json)


def _report(options: argparse.Namespace) -> int:
    from actors.console import report

    settings = _settings(options)
    last = report.build(settings.manifest, settings.pipeline, None, None)
    print(json.dumps(last.fields()) if options.json else report.render(last))
    return last.code


def _dlq(options: argparse.Namespace) -> int:
    from actors.console import dlq

    settings = _settings(options)
    if options.what != "retry":
        return dlq.main(options, settings)
    import supervisor

    with _own_output(settings.manifest):
        observer = _observer(options.json, options.quiet)
        try:
            return dlq.retry(options, settings, supervisor.run, observer)
        finally:
            observer.close()


def _show(data: dict[str, Any], render: Callable[[dict[str, Any]], str], as_json: bool) -> int:
    print(json.dumps(data) if as_json else render(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
