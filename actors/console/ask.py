"""``thresher ask``: a pipeline's own questions about what it has stored.

    thresher ask ascp                            which questions there are
    thresher ask ascp longest --help             what is said to one
    thresher ask config/ascp.toml longest --top 3 --json

Which words and flags a question takes is known once TARGET and QUESTION are; so these are looked for first. Nothing is
written, and no run is disturbed: see ``actors.runtime.stored``.
"""

from __future__ import annotations

import argparse
import datetime
import difflib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from actors.console.flags import plain_words
from actors.runtime.errors import ConfigError, Retryable, ThresherError
from actors.runtime.manifest import options_of
from actors.runtime.pipeline import Pipeline
from actors.runtime.questions import Argument, Moment, Question, arguments_of, open_store, rows_of, why_not
from actors.runtime.stored import NothingStored
from actors.runtime.whole_lines import as_is
from actors.settings import Settings, pipeline_of
from actors.targets import told

_DONE, _FAILURE = 0, 1
#: Where an argument's value is kept in the namespace.
_DEST = "argument "
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
#: A number from here on is one of ms: in seconds it would be the year 5138.
_FIRST_MS = 100_000_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said, whatever is asked."""
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. sinks.events.type=redis")
    parser.add_argument("--state", metavar="DIR", help="where the run keeps its state; default: var/NAME")
    form = parser.add_mutually_exclusive_group()
    for name, text in (("json", "JSON lines: an object for each row"), ("csv", "CSV, as it is where no terminal is"),
                       ("table", "a table, as it is on a terminal")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=text)
    parser.set_defaults(question=None)


def add_question(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the words and flags of the question that these words of a command line name, if they name one.

    Raises:
        ConfigError: there is no such pipeline, or the question has a flag that the verb has, too.
    """
    target, asked, *_ = *plain_words(parser, words, 2), "", ""
    if not target:
        parser.epilog = "TARGET alone lists its questions; TARGET QUESTION --help says what one takes."
        parser.add_argument("question", nargs="?", metavar="QUESTION")
        return
    pipeline = pipeline_of(target)
    if not asked:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.description = "\n".join(_listed(pipeline, {}))
        return
    name = _named(parser, pipeline, asked)
    question = pipeline.questions[name]
    parser.description = question.summary
    parser.set_defaults(question=name)
    if name == asked:
        parser.add_argument("question", metavar=name, help="the question")
    for argument in arguments_of(question):
        try:
            _add(parser, argument)
        except argparse.ArgumentError as error:
            raise ConfigError(f"{target}: questions[{name!r}]: its flag --{argument.name} is one of `thresher ask` "
                              "itself: rename it") from error


def _named(parser: argparse.ArgumentParser, pipeline: Pipeline, asked: str) -> str:
    """The question that is meant; if none is, complain and exit."""
    if asked in pipeline.questions:
        return asked
    close = difflib.get_close_matches(asked, pipeline.questions, 1)
    default = next((name for name, question in pipeline.questions.items() if question.default), None)
    if default is not None and not close:
        return default
    return parser.error(
        f"{pipeline.name} has no question {asked!r}" + (f"\n  did you mean {close[0]!r}?" if close else "")
        + f"\n  questions: {', '.join(pipeline.questions) or '(none)'}")


def refuse_unknown(parser: argparse.ArgumentParser, options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Where words are left over, complain of the first, and exit."""
    if not rest:
        return
    flag, asked = rest[0].partition("=")[0], " ".join(filter(None, (options.target, options.question)))
    # argparse has no public way to ask a parser which options it has.
    known = [text for action in parser._actions for text in action.option_strings if text.startswith("--")]
    close = difflib.get_close_matches(flag, known, 1)
    what = "flag" if flag.startswith("-") else "further word"
    parser.error(f"{asked} has no {what} {flag!r}" + (f"\n  did you mean {close[0]}?" if close else "")
                 + f"\n  flags: {', '.join(known)}")


def _add(parser: argparse.ArgumentParser, argument: Argument) -> None:
    shown = argument.name.rstrip("_")
    said = f" (default: {argument.default})" if argument.default not in (None, False, "", ()) else ""
    text = (argument.text + said).replace("%", "%%")
    how: dict[str, Any] = {"dest": _DEST + argument.name, "help": text}
    if argument.kind == "switch":
        parser.add_argument(f"--{shown.replace('_', '-')}", action="store_true", **how)
        return
    how |= {"choices": argument.choices} if argument.choices else {"type": _TYPES[argument.kind]}
    how["metavar"] = "|".join(argument.choices) or shown.upper()
    if not argument.word:
        parser.add_argument(f"--{shown.replace('_', '-')}", default=argument.default, required=argument.required, **how)
    elif argument.several:
        parser.add_argument(nargs="*", **how)
    else:
        parser.add_argument(**how, **({} if argument.required else {"nargs": "?", "default": argument.default}))


def main(options: argparse.Namespace) -> int:
    """Answer, or list the questions; return the exit code."""
    from actors.console.inputs import settings_from

    settings = settings_from(options)
    if options.question is None:
        return _list(settings, options.form == "json")
    question = settings.pipeline.questions[options.question]
    said = vars(options)
    arguments = arguments_of(question)
    words = [said[_DEST + each.name] for each in arguments if each.word and not each.several]
    words += [word for each in arguments if each.several for word in said[_DEST + each.name]]
    flags = {each.name: said[_DEST + each.name] for each in arguments if not each.word}
    try:
        return _answer(settings, question, words, flags, options)
    except NothingStored as error:
        print(f"{options.target}: nothing has been written yet ({error}): thresher run {options.target} writes it",
              file=sys.stderr)
    except Retryable as error:
        print(f"{options.target}: {options.question}: it cannot be asked now: {error}", file=sys.stderr)
    except _Broken as error:
        print(f"{options.target}: {options.question}: {error}", file=sys.stderr)
    return _FAILURE


class _Broken(Exception):
    """The function of the question has failed."""


def _answer(
    settings: Settings, question: Question, words: list[Any], flags: dict[str, Any], options: argparse.Namespace
) -> int:
    from actors.console.answers import Form, write_rows

    manifest = settings.manifest
    sinks = {name: component.load() for name, component in manifest.sinks.items()}
    given = {"options": options_of(manifest, settings.pipeline), "window": manifest.window}
    try:
        store = open_store(question, sinks, Path(manifest.state))
    except ConfigError as error:
        raise ConfigError(f"{options.target}: {options.question} cannot be answered: {error}") from error
    with store:
        form: Form = options.form or ("table" if sys.stdout.isatty() else "csv")
        count = write_rows(_of_the_function(rows_of(question, store, words, flags, given)), form, _out())
    if not count:
        print(f"{options.target}: {options.question}: nothing found", file=sys.stderr)
    return _DONE


def _out() -> TextIO:
    """Where rows go: what a program is given is data, as it is."""
    return sys.stdout if sys.stdout.isatty() else as_is(sys.stdout)


def _of_the_function(rows: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rows; what goes wrong in somebody's function is said in a sentence."""
    try:
        yield from rows
    except ThresherError:
        raise
    except Exception as error:
        raise _Broken(told(error)) from error


def _list(settings: Settings, as_json: bool) -> int:
    sinks = {name: component.load() for name, component in settings.manifest.sinks.items()}
    why = why_not(settings.pipeline.questions, sinks)
    if as_json:
        print(json.dumps([
            {"question": name, "about": question.summary, "why_not": why.get(name, ""),
             "arguments": [each.name for each in arguments_of(question)]}
            for name, question in settings.pipeline.questions.items()]))
    else:
        print("\n".join(_listed(settings.pipeline, why)))
    return _DONE


def _listed(pipeline: Pipeline, why: Mapping[str, str]) -> Iterator[str]:
    if not pipeline.questions:
        yield f"{pipeline.name} has no questions: `thresher docs questions` shows how one is given"
        return
    yield f"questions of {pipeline.name}:"
    width = max(map(len, pipeline.questions))
    for name, question in pipeline.questions.items():
        yield f"  {name:<{width}}  {question.summary}"
        if name in why:
            yield f"  {'':<{width}}  (not as it is configured: {why[name]})"


def _integer(text: str) -> int:
    if not text.removeprefix("-").isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return number


def _moment(text: str) -> Moment:
    """A time, in ms since 1970."""
    if text.removeprefix("-").isdecimal() and len(text) <= 18:
        return Moment(text if abs(int(text)) >= _FIRST_MS else 1000 * int(text))
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise argparse.ArgumentTypeError("expected seconds or ms since 1970, or a time with its zone as in "
                                         f"2018-10-11T00:00:00Z, got {text!r}")
    return Moment((when - _EPOCH) // datetime.timedelta(milliseconds=1))


_TYPES: dict[str, Callable[[str], Any]] = {"text": str, "integer": _integer, "number": _number, "moment": _moment}
