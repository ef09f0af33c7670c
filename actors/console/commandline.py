"""The command line: which verbs there are, and what can be said to each.

A verb of ``MODULES`` is all in its own module, which is imported when it is named: ``add_options(parser)`` declares
what can be said, ``main(options)`` does it and returns the exit code.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import actors

#: How wide the list of verbs is; what stands below it.
_WIDTH = 100
_EPILOG = """TARGET: an application's name (thresher list apps), a TOML file whose `app` names one, a dotted module with
a PIPELINE, or its file (path/to/words.py). thresher VERB --help says what can be said to a verb."""
#: No number that is said is larger.
_MOST = (1 << 63) - 1
#: Every verb, in the groups and the order of ``--help``: what it is for, and how it is used.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "write a pipeline": {
        "init": ("make a new pipeline that runs: functions, configuration, sample data, a test", "init access"),
        "completion": ("print a script by which bash or zsh complete what is typed", "completion bash"),
        "list": ("list the sources, sinks and applications that there are, or the verbs", "list sinks"),
        "docs": ("print a page of the documentation", "docs tutorial"),
        "schema": ("print the JSON Schema of configuration files, for editors",
                   "schema access.toml --out thresher.schema.json"),
    },
    "look before it runs": {
        "lint": ("check configurations without running anything", "lint access.toml"),
        "check": ("check a configuration and what it needs: servers, folders, room", "check access.toml"),
        "explain": ("say what a configuration promises, who would run, and what a crash would cost",
                    "explain access.toml"),
        "graph": ("draw the actors of a configuration and what goes between them", "graph access.toml"),
        "echo": ("print the effective configuration, secrets as references", "echo access.toml"),
        "keys": ("make CURVE keys for links over TCP, as a section of a configuration", "keys"),
        "doctor": ("say what this machine has that runs need, and what is missing", "doctor"),
    },
    "run it": {
        "run": ("run a pipeline to its end", "run access.toml 'logs/*.log' --workers 4"),
        "bench": ("run a pipeline without writing anything; rates of each stage, workers to use", "bench access.toml"),
        "verify": ("run a pipeline on a sample in several ways, kill its actors, compare", "verify access.toml"),
    },
    "a run that is going on, or was": {
        "top": ("watch a run that is going on: rates, backlog, who holds up whom", "top access.toml"),
        "status": ("show the actors of a run that is going on, or how the last one ended", "status access.toml"),
        "tap": ("show some of the records that pass a stage of a run that is going on", "tap parser access.toml"),
        "scale": ("change the number of workers of a run that is going on", "scale parser=4"),
        "reload": ("read the configuration again in a run that is going on; a bad one changes nothing", "reload"),
        "stop": ("let a run that is going on finish what is under way, and stop it", "stop"),
        "probe": ("answer with the exit code whether a run is live, ready, or started", "probe ready access.toml"),
        "report": ("print the report of the last run again", "report access.toml"),
    },
    "what came out": {
        "ask": ("ask a pipeline's own questions about what it has stored; a table, CSV or JSON lines",
                "ask ascp longest --top 3"),
        "browse": ("look at what a pipeline has stored in a browser, on the page that it has for that", "browse ascp"),
        "dlq": ("look at, export, retry or purge what was rejected", "dlq ls access.toml"),
        "topic": ("look at topics on this machine's disk, print their messages, let old ones go",
                  "topic tail var/feed/ratings"),
    },
}
VERBS: dict[str, str] = {name: text for verbs in GROUPS.values() for name, (text, _) in verbs.items()}
#: Those with a module of their own, ``actors.console.VERB``.
MODULES = ("top", "tap", "probe", "graph", "check", "doctor", "bench", "init", "schema", "docs", "topic", "ask",
           "browse", "list", "keys", "completion")


def read(words: list[str]) -> argparse.Namespace:
    """Read the command line; `run` also takes the flags of the application that it names."""
    parser, verbs = _parser(words)
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        close = difflib.get_close_matches(words[0], VERBS, 1)
        parser.error(f"unknown verb {words[0]!r}" + (f"\n  did you mean {close[0]!r}?" if close else "")
                     + f"\n  verbs: {', '.join(VERBS)}")
    if not words:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if words[:1] == ["ask"]:
        module_of("ask").add_question(verbs["ask"], words[1:])
        options, rest = parser.parse_known_args(words)
        module_of("ask").refuse_unknown(verbs["ask"], options, rest)
        return options
    if words[:1] != ["run"]:
        return _in_order(parser.parse_args(words), verbs)
    run = verbs["run"]
    from actors.console import flags

    flags.add_flags(run, words[1:])
    options, rest = parser.parse_known_args(words)
    flags.refuse_unknown(run, options, rest)
    options.flags = flags.given(options)
    return options


def _in_order(options: argparse.Namespace, verbs: dict[str, _Mixed]) -> argparse.Namespace:
    """Take TARGET and the verb's other word in any order, where they can be told apart."""
    if options.command == "scale" and options.target and "=" in options.target and "=" not in options.pool:
        options.pool, options.target = options.target, options.pool
    elif options.command == "tap" and (options.target or "").startswith(module_of("tap").STAGES) and (
            not options.stage.startswith(module_of("tap").STAGES)):
        options.stage, options.target = options.target, options.stage
    elif options.command == "dlq" and options.what == "show":
        if options.target.isdecimal() and not options.id.isdecimal():
            options.id, options.target = options.target, options.id
        try:
            options.id = at_least(0)(options.id)
        except argparse.ArgumentTypeError as error:
            verbs["dlq"].error(f"ID: {error}")
    return options


class _Top(argparse.ArgumentParser):
    """Lists its verbs in groups, and so not once more."""

    def format_help(self) -> str:
        lines = [line.rstrip() for line in super().format_help().splitlines()]
        return "\n".join(lines).replace("\n\n  VERB\n", "\n") + "\n"


class _Mixed(argparse.ArgumentParser):
    """Takes TARGET, files and options in any order: what argparse does alone ends at the first option in between."""

    mixes = True

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.mixes:
            return super().parse_known_args(args, namespace)
        self.mixes = False  # below, each of the two passes comes here again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.mixes = True

    def add_subparsers(self, **words: Any) -> Any:
        self.mixes = False  # its verbs mix, it has nothing else to take
        return super().add_subparsers(**words)


def module_of(verb: str) -> Any:
    """The module of a verb that has one of its own."""
    return importlib.import_module(f"actors.console.{verb}")


def flags_of(verb: str) -> list[str]:
    """The flags that a verb takes, and those of its own verbs."""
    found: list[argparse.ArgumentParser] = [_parser([verb])[1][verb]]
    flags: dict[str, None] = {}
    while found:
        for action in found.pop()._actions:  # argparse has no public way to ask
            flags |= dict.fromkeys(text for text in action.option_strings if text.startswith("--"))
            below = action.choices.values() if isinstance(action.choices, dict) else ()
            found += [each for each in below if isinstance(each, argparse.ArgumentParser)]
    return list(flags)


def _parser(words: Sequence[str]) -> tuple[argparse.ArgumentParser, dict[str, _Mixed]]:
    """Return the parser of command lines, and that of each verb; of ``MODULES`` only the one that is named has all."""
    parser = _Top(
        prog="thresher", description="Record pipelines on all cores of a machine.", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"thresher {actors.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="VERB", parser_class=_Mixed, title="verbs",
                                       description="\n\n".join(map(_group, GROUPS)))
    verbs = {name: _verb(subparsers, name, text, example) for group in GROUPS.values()
             for name, (text, example) in group.items()}
    verbs["init"].mixes = False  # its only word is one of several alternatives, which argparse cannot mix
    _run_options(verbs["run"])
    _lint_options(verbs["lint"])
    _verify_options(verbs["verify"])
    for name in ("explain", "echo", "report"):
        target_options(verbs[name])
    running_options(verbs["status"])
    for name in ("explain", "echo", "status", "report"):
        verbs[name].add_argument("--json", action="store_true")
    verbs["report"].add_argument("--groups", action="store_true",
                                 help="print everything that is folded, each group as a line of JSON")
    verbs["scale"].add_argument("pool", metavar="POOL=N", help="e.g. parser=4")
    for name in ("scale", "reload", "stop"):
        running_options(verbs[name])
    _dlq_options(verbs["dlq"])
    for name in MODULES:
        if words[:1] == [name]:
            module_of(name).add_options(verbs[name])
    return parser, verbs


def _run_options(run: argparse.ArgumentParser) -> None:
    target_options(run)
    run.add_argument("files", nargs="*", default=[], metavar="FILE", help="read these instead of the configured ones; "
                     "-: standard input")
    run.add_argument("--query", nargs="*", metavar="FILE", help="answer the question that the application has for "
                     "whole files, over these; nothing is kept, unless --state is given")
    run.add_argument("--workers", type=int, metavar="N", help="processes that run your functions (parser.workers)")
    how = run.add_mutually_exclusive_group()
    how.add_argument("--follow", action="store_true", help="read the files as they are written, until told to stop")
    how.add_argument("--once", action="store_true", help="read what is there, and end, also where files are followed")
    run.add_argument("--dry-run", action="store_true", help="do everything but write, keep no position, rename nothing")
    run.add_argument("--inline", action="store_true", help="in one process, for a debugger: breakpoint() works; slower")
    anew = run.add_mutually_exclusive_group()
    anew.add_argument("--fresh", action="store_true",
                      help="begin anew: forget positions, aggregates and dead letters, empty files of lines")
    anew.add_argument("--resume", action="store_true", help="go on where the last run ended; default: run.resume")
    run.add_argument("--monitor", action="store_true",
                     help="serve probes, metrics and the dashboard: monitor.host and monitor.port say where")
    run.add_argument("--format", choices=("auto", "text", "json", "none"), default="auto",
                     help="auto: text on a terminal, JSON lines otherwise; none: print nothing")
    run.add_argument("--report", metavar="FILE", help="write the report into this file as well, as JSON")
    run.add_argument("-q", "--quiet", action="store_true", help="print nothing but the report")


def _lint_options(lint: argparse.ArgumentParser) -> None:
    lint.add_argument("targets", nargs="+", metavar="TARGET", help="or FILE: what is no configuration and no module is "
                      "read in the place of the configured files")
    lint.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    lint.add_argument("--json", action="store_true")


def _verify_options(verify: argparse.ArgumentParser) -> None:
    target_options(verify, state=False)
    verify.add_argument("files", nargs="*", default=[], metavar="FILE",
                        help="the sample, instead of the configured files")
    verify.add_argument("--runs", type=at_least(2), default=6, metavar="N", help="the reference included; default: 6")
    verify.add_argument("--seed", type=int, default=0, metavar="S", help="of the plan and of the kills; default: 0")
    verify.add_argument("--kills", type=at_least(0), default=3, metavar="N", help="in each run with kills; default: 3")
    verify.add_argument("--json", action="store_true")
    verify.add_argument("--one", metavar="DIR", help=argparse.SUPPRESS)  # one run, as `actors.verify` starts it


def running_options(parser: argparse.ArgumentParser) -> None:
    """What is said to a verb that is for a run that is going on."""
    parser.add_argument("target", metavar="TARGET", nargs="?", help="whose run; not needed when only one is going on")
    parser.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--state", metavar="DIR", help="the state directory of the run")


def _group(name: str) -> str:
    """A group of verbs as ``--help`` lists it."""
    width = max(map(len, VERBS))
    lines = (textwrap.wrap(text, _WIDTH, initial_indent=f"  {verb:<{width}}  ", subsequent_indent=" " * (width + 4))
             for verb, (text, _) in GROUPS[name].items())
    return "\n".join([f"{name}:", *(line for some in lines for line in some)])


def _verb(verbs: Any, name: str, text: str, example: str) -> _Mixed:
    parser: _Mixed = verbs.add_parser(name, description=f"{text[0].upper()}{text[1:]}. "
                                      f"For example: thresher {example}")
    parser.set_defaults(command=name)
    parser.add_argument("--chdir", metavar="DIR", help="begin in this folder; TARGET and FILE are looked for there")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """A type of arguments: a number of this or more."""
    def number(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a number of {least} or more, got {text!r}")
        return _no_larger(text)

    return number


def target_options(parser: argparse.ArgumentParser, state: bool = True) -> None:
    """What is said to a verb that is for a configuration."""
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
        target_options(verb)
        if name == "show":
            verb.add_argument("id", metavar="ID")
            verb.add_argument("--raw", action="store_true", help="write its bytes, and nothing else")
        else:
            for word in ("reason", "stage", "source"):
                verb.add_argument(f"--{word}", action="append", default=[], help="may be a pattern; may be repeated")
            verb.add_argument("--id", type=at_least(0), action="append", default=[], help="may be repeated")
            verb.add_argument("--up-to", type=_count, default=0, metavar="ID", help="none with a higher number")
            verb.add_argument("--limit", type=_count, default=20 if name == "ls" else 0, metavar="N",
                              help="at most so many: the newest of them" if name == "ls" else "only the N oldest")
        if name not in ("show", "retry"):
            verb.add_argument("--status", choices=("open", "retried", "replaced", "all"), default="open",
                              help="default: open")
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
    return _no_larger(text)


def _no_larger(text: str) -> int:
    """The number, if it is one that SQLite and C have too."""
    if len(text) > len(str(_MOST)) or int(text) > _MOST:
        raise argparse.ArgumentTypeError(f"expected a number of {_MOST} or less, got {text!r}")
    return int(text)
