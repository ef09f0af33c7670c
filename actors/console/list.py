"""``thresher list``: what there is to build a pipeline of, by name, with what each is for."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable

from actors.console import catalogue
from actors.console.commandline import VERBS

_WIDTH = 100


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said."""
    parser.add_argument("what", choices=_KINDS, metavar="|".join(_KINDS), help="what to list")
    parser.add_argument("--json", action="store_true")


def main(options: argparse.Namespace) -> int:
    """Print the list; return the exit code."""
    found = _KINDS[options.what]()
    if options.json:
        print(json.dumps([{"name": name, "about": text} for name, text in found.items()]))
        return 0
    width = max(map(len, found))
    for name, text in found.items():
        print("\n".join(textwrap.wrap(text, _WIDTH, initial_indent=f"{name:<{width}}  ",
                                      subsequent_indent=" " * (width + 2))))
    return 0


def _sources() -> dict[str, str]:
    return {section.name: _plain(section.text) for section in catalogue.sources()}


def _sinks() -> dict[str, str]:
    return {section.name: _plain(section.text) for section in catalogue.sinks()}


def _apps() -> dict[str, str]:
    from actors.targets import applications, summary_of

    return {name: _plain(summary_of(name)) for name in applications()}


def _plain(text: str) -> str:
    """The first sentence, without Markdown."""
    return text.partition("\n\n")[0].replace("`", "").replace("\n", " ")


_KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "sources": _sources, "sinks": _sinks, "apps": _apps, "verbs": lambda: VERBS}
