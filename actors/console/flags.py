"""Flags that an application has of its own: ``thresher run connections --query FILE --host H``.

Which flags there are is known once TARGET is; so that is looked for first, and the command line is read with them.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence

from actors.runtime.errors import ConfigError
from actors.settings import pipeline_of

#: Where a flag's value is kept in the namespace.
_DEST = "flag "
_QUERY = "--query"


def add_flags(run: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags of the application that these words of a command line name, if they name one."""
    target, *_ = *plain_words(run, words, 1), ""
    try:
        pipeline = pipeline_of(target, query=_QUERY in words)
    except ConfigError:
        return  # whoever runs it will say so
    group = run.add_argument_group(f"flags of {pipeline.name}{f' {_QUERY}' * (_QUERY in words)}")
    for name, option in pipeline.flags.items():
        try:
            group.add_argument(f"--{name}", dest=_DEST + name, metavar="VALUE", help=f"sets {option}")
        except argparse.ArgumentError as error:
            raise ConfigError(f"{target}: its flag --{name} is one of `thresher run` itself: rename it") from error


def given(options: argparse.Namespace) -> list[tuple[str, str]]:
    """The application's flags that were given, with what was said after each."""
    return [(name.removeprefix(_DEST), value) for name, value in vars(options).items()
            if name.startswith(_DEST) and value is not None]


def refuse_unknown(run: argparse.ArgumentParser, options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Complain (and exit) about what is left when a flag is given that there is not."""
    if rest:
        # argparse has no public way to ask a parser which options it has.
        own = [text for action in run._actions for text in action.option_strings]
        run.error(_unknown(rest[0].partition("=")[0], options.target, options.query is not None, own))


def plain_words(parser: argparse.ArgumentParser, words: Sequence[str], most: int) -> list[str]:
    """The first words of a command line that are neither flags nor values of those that are known; TARGET is one."""
    # Not public, see above.
    with_value = {text for action in parser._actions if action.nargs is None for text in action.option_strings}
    expects_value = False
    found: list[str] = []
    for word in words:
        if not word.startswith("-") and not expects_value:
            found.append(word)
        expects_value = word in with_value and not expects_value
        if len(found) == most:
            break
    return found


def _unknown(flag: str, target: str, query: bool, own: Sequence[str]) -> str:
    """The text for a flag that there is not; ``own``: those that ``thresher run`` has for every application."""
    lines = [f"unknown flag {flag}"]
    known = list(own)
    for is_query in (query, not query):
        try:
            pipeline = pipeline_of(target, is_query)
        except ConfigError:
            continue
        names = [f"--{name}" for name in pipeline.flags]
        if names or is_query == query:
            what = f"flags of {target} with {_QUERY}" if is_query else f"flags of {target}"
            lines.append(f"  {what}: {', '.join(names) or '(none)'}")
        known += names
    if close := difflib.get_close_matches(flag, known, 1):
        lines.append(f"  did you mean {close[0]!r}?")
    return "\n".join(lines)
